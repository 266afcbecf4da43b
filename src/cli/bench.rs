//! `runner doctor --bench`: one PPO update on this machine's device as a table for docs/benchmarks.md: the rate of large
//! matrix products, tokens per second, share of that rate, memory, and the same update in PyTorch where a Python is
//! named that has it.

use super::doctor::matmul_speed;
use crate::model::device::{ChosenDevice, is_cpu};
use crate::model::flops::{body, head};
use crate::model::gpt2::{Gpt2, ScalarHead, ScalarModel};
use crate::model::memory::{Shape, keep_freed_memory};
use crate::model::optimizer::Adam;
use crate::model::{ModelError, faults, gpu};
use crate::plan::units::{bytes, duration};
use crate::rl::rollout::Inputs;
use crate::rl::{Ppo, Settings, optimise, roll_out};
use crate::rlhf::advantages::token_rewards;
use crate::rlhf::reward::Normalization;
use crate::run::ready_device;
use crate::spec::{ModelSize, Precision, Spec};
use crate::task::{Query, Scorer, Task};
use burn::tensor::FloatDType;
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What all of it may take.
const ALL: Duration = Duration::from_secs(570);
/// About what the larger update of a configuration may take.
const ONE: f64 = 45.0;
/// Episodes of the first update, whose time says how many the timed one can have.
const FIRST: usize = 4;
/// The paper's.
const MOST: usize = 512;
/// Lengths of the paper's queries and responses: sentiment and summaries.
const TASKS: [(usize, usize); 2] = [(64, 24), (500, 75)];
/// Share of the rate of products that is expected of an update that nothing is known of.
const EXPECTED_SHARE: f64 = 0.05;
const PEER: &str = include_str!("bench_peer.py");

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Time whole PPO updates, in under ten minutes, and print a table for docs/benchmarks.md
    #[arg(long, conflicts_with = "shared")]
    bench: bool,
    /// auto, cpu, wgpu or wgpu:N
    #[arg(long, requires = "bench", default_value = "auto")]
    device: String,
    /// Sizes of models, largest last [default: 124M, and 774M where it fits]
    #[arg(long = "size", requires = "bench", value_name = "SIZE", value_delimiter = ',')]
    sizes: Vec<String>,
    /// Memory of the GPU, such as 80GB
    #[arg(long = "device-memory", requires = "bench", value_name = "SIZE", value_parser = crate::plan::units::parse_bytes)]
    memory: Option<u64>,
    /// Of matrix products, as `model.precision` in a spec: f32 or f16
    #[arg(long, requires = "bench", value_name = "WORD", default_value = "f32", value_parser = precision)]
    precision: Precision,
    /// A Python with PyTorch, which does the same update beside it
    #[arg(long, requires = "bench", value_name = "PATH")]
    python: Option<PathBuf>,
}

impl BenchArgs {
    pub fn is_wanted(&self) -> bool {
        self.bench
    }

    fn sizes(&self) -> Result<Vec<(String, ModelSize)>, String> {
        let usual = ["124M".to_string(), "774M".to_string()];
        let names = if self.sizes.is_empty() { &usual[..] } else { &self.sizes };
        let size = |name: &String| {
            let parsed: Result<ModelSize, _> = serde_json::from_value(json!(name));
            parsed.map(|size| (name.clone(), size)).map_err(|e| format!("--size {name}: {e}"))
        };
        names.iter().map(size).collect()
    }
}

/// Exit code 0 if the table was made, 2 where an argument is wrong, 1 otherwise.
pub fn bench(args: &BenchArgs) -> i32 {
    let sizes = match args.sizes() {
        Ok(sizes) => sizes,
        Err(message) => {
            eprintln!("error: {message}");
            return 2;
        }
    };
    keep_freed_memory();
    match table(args, &sizes) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("error: {error}");
            if matches!(error, ModelError::Input(_)) { 2 } else { 1 }
        }
    }
}

/// Prints the machine, then a row as soon as it is there.
fn table(args: &BenchArgs, sizes: &[(String, ModelSize)]) -> Result<(), ModelError> {
    let started = Instant::now();
    let chosen = ready_device(&args.device)?;
    chosen.check_precision(args.precision)?;
    let on_cpu = is_cpu(&chosen.device);
    if !on_cpu {
        gpu::set_limits(gpu::Limits::known(args.memory, chosen.largest_buffer));
    }
    let gemm = matmul_speed(&chosen.device, None)?;
    println!("{}", machine(&chosen, gemm)?);
    let peer = args.python.as_deref().map(|python| Peer { python });
    if let Some(peer) = &peer {
        println!("{}\n", peer.machine());
    }
    println!(
        "| size/tokens | episodes | update | tokens/s | share of the products' rate | memory: held, estimate | PyTorch | PyTorch / ours |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut share = EXPECTED_SHARE;
    for (name, size) in sizes {
        for (query, response) in TASKS {
            let case = Case { precision: args.precision, ..Case::new(*size, query, response) };
            let label = format!("{name}/{}", query + response);
            let left = ALL.saturating_sub(started.elapsed()).as_secs_f64();
            let first = FIRST as f64 * case.flops() / (share * gemm);
            if let Some(why) = case.no_room(&chosen).or_else(|| (2.0 * first > left).then(|| too_long(first))) {
                println!("| {label} | | left out: {why} | | | | | |");
                continue;
            }
            let timed = case.time(&chosen, left.min(ONE))?;
            share = timed.episodes as f64 * case.flops() / timed.seconds / gemm;
            let left = ALL.saturating_sub(started.elapsed());
            let theirs = peer.as_ref().map(|peer| peer.time(&case, timed.episodes, left));
            println!("{}", row(&label, &case, &timed, gemm, theirs));
        }
    }
    println!("\n{} in all.", duration(started.elapsed().as_secs_f64()));
    Ok(())
}

fn precision(word: &str) -> Result<Precision, String> {
    [Precision::F32, Precision::F16].into_iter().find(|p| p.word() == word).ok_or_else(|| match word {
        "bf16" => Precision::NO_BF16.to_string(),
        _ => "it is f32 or f16".into(),
    })
}

fn too_long(seconds: f64) -> String {
    format!("{FIRST} episodes would take about {}", duration(seconds))
}

/// What the numbers depend on.
fn machine(chosen: &ChosenDevice, gemm: f64) -> Result<String, ModelError> {
    let driver = chosen.driver.as_deref().unwrap_or("none");
    let half = match chosen.half {
        true => format!("{:.1} GFLOP/s in float16", matmul_speed(&chosen.device, Some(FloatDType::F16))? / 1e9),
        false => "none in 16 bits, which it does not have".into(),
    };
    let budget = match is_cpu(&chosen.device) {
        true => format!("{} threads", rayon::current_num_threads()),
        false => format!("passes cut to {}", bytes(gpu::limits().memory as f64)),
    };
    Ok(format!(
        "{}; driver {driver}; {budget}; runner {}. Matrix products: {:.1} GFLOP/s in float32, {half}.\n",
        chosen.name,
        env!("CARGO_PKG_VERSION"),
        gemm / 1e9
    ))
}

/// The larger update of a configuration.
struct Timed {
    episodes: usize,
    seconds: f64,
    /// Bytes that the device's allocator holds after it.
    held: Option<f64>,
}

fn row(label: &str, case: &Case, timed: &Timed, gemm: f64, theirs: Option<Result<f64, String>>) -> String {
    let Timed { episodes, seconds, held } = timed;
    let share = 100.0 * *episodes as f64 * case.flops() / seconds / gemm;
    let tokens = (episodes * (case.query + case.response)) as f64 / seconds;
    let held = held.map_or("–".into(), bytes);
    let (peer, ratio) = match theirs {
        None => ("–".into(), "–".into()),
        Some(Ok(peer)) => (format!("{peer:.3} s"), format!("{:.2}", peer / seconds)),
        Some(Err(why)) => (why, "–".into()),
    };
    let estimate = bytes(case.estimate(*episodes));
    format!(
        "| {label} | {episodes} | {seconds:.3} s | {tokens:.0} | {share:.1}% | {held}, {estimate} | {peer} | {ratio} |"
    )
}

/// A size of model and a length of episodes.
struct Case {
    shape: Shape,
    query: usize,
    response: usize,
    precision: Precision,
}

impl Case {
    /// In float32.
    fn new(size: ModelSize, query: usize, response: usize) -> Self {
        let mut dimensions = size.dimensions();
        dimensions.context = dimensions.context.max(query + response);
        let vocab = if matches!(size, ModelSize::Test) { 1024 } else { 50_257 };
        let shape = Shape { dimensions, vocab, time: query + response, response };
        Self { shape, query, response, precision: Precision::F32 }
    }

    /// Of one episode, as docs/benchmarks.md counts them.
    fn flops(&self) -> f64 {
        let d = &self.shape.dimensions;
        15.0 * body(d, 0, self.shape.time) + 14.0 * head(d, self.shape.vocab, self.response)
    }

    /// Bytes of an update on a GPU: training of π, beside ρ and r.
    fn estimate(&self, episodes: usize) -> f64 {
        let rows = self.shape.gpu_rows(true, false, gpu::limits());
        let (training, _) = self.shape.gpu_training(episodes, rows, (true, false), gpu::limits());
        2.0 * self.shape.weights() + training.total()
    }

    /// Why a GPU has no room for a single row.
    fn no_room(&self, chosen: &ChosenDevice) -> Option<String> {
        if is_cpu(&chosen.device) {
            return None;
        }
        let d = &self.shape.dimensions;
        let array = self
            .shape
            .gpu_training(1, 1, (true, false), gpu::limits())
            .1
            .max(4.0 * (self.shape.vocab * d.width) as f64);
        let limits = gpu::limits();
        if array > limits.largest_buffer as f64 {
            let limit = bytes(limits.largest_buffer as f64);
            return Some(format!("an array of {}, and this driver takes {limit} at most", bytes(array)));
        }
        let needed = self.estimate(1);
        (needed > limits.memory as f64).then(|| {
            format!("needs {}, and there are {} (--device-memory)", bytes(needed), bytes(limits.memory as f64))
        })
    }

    /// One update to warm up, one that says how long an episode takes, and one of as many as `seconds` allow.
    fn time(&self, chosen: &ChosenDevice, seconds: f64) -> Result<Timed, ModelError> {
        let mut update = Update::new(self, chosen);
        update.run(FIRST)?;
        let first = update.run(FIRST)?;
        let fits = (seconds / 2.0 / (first / FIRST as f64)) as usize;
        // A power of two.
        let episodes = if fits < 2 * FIRST { FIRST } else { (1usize << fits.ilog2()).min(MOST) };
        let timed = if episodes == FIRST { first } else { update.run(episodes)? };
        let held = chosen.device.memory_pool_usage().map(|usage| usage.bytes_reserved as f64);
        drop(update);
        chosen.device.memory_cleanup();
        Ok(Timed { episodes, seconds: timed, held: held.filter(|_| !is_cpu(&chosen.device)) })
    }
}

/// Models of random weights, and π's Adam.
struct Update<'a> {
    case: &'a Case,
    reference: Gpt2,
    scorer: Scorer,
    task: Task,
    policy: Option<ScalarModel>,
    adam: Adam,
    done: usize,
}

impl<'a> Update<'a> {
    fn new(case: &'a Case, chosen: &ChosenDevice) -> Self {
        let (d, vocab, device) = (case.shape.dimensions, case.shape.vocab, &chosen.device);
        let reference = Gpt2::init(&d, vocab, 1, device).with(case.precision);
        let head = |std| ScalarHead::init(d.width, std, 3, device);
        let r = ScalarModel { trunk: Gpt2::init(&d, vocab, 2, device).with(case.precision), head: head(0.1) };
        let normalization = Normalization { gain: 1.0, bias: 0.0 };
        let policy = Some(ScalarModel { trunk: reference.clone(), head: head(0.0) });
        Self {
            case,
            reference,
            scorer: Scorer { source: r.into(), normalization },
            // Any token ends a response at its last place, so that r reads all of it.
            task: Task {
                truncates: vec![true; vocab],
                after: case.response.saturating_sub(1),
                missing_score: -1.0,
                prefix: Vec::new(),
                suffix: Vec::new(),
                formatted: true,
                query_length: case.query,
            },
            policy,
            adam: Adam::new(crate::spec::AdamSpec::default()),
            done: 0,
        }
    }

    /// Seconds of an update of so many episodes, by the trainer's own functions.
    fn run(&mut self, episodes: usize) -> Result<f64, ModelError> {
        let (Case { query, response, shape, .. }, failed) =
            (self.case, |e: &dyn std::fmt::Display| ModelError::Device(format!("the update could not be done: {e}")));
        let spec: Spec = serde_json::from_value(json!({
            "spec_version": 1, "name": "bench", "model": { "size": "test" },
            "task": { "query_length": query, "response_length": response },
            "policy": { "batch_size": episodes, "minibatches": 1, "epochs": 4 },
        }))
        .map_err(|e| failed(&e))?;
        self.done += 1;
        let token = |r: usize, i: usize| ((self.done * 31 + r * query + i) * 7919 % shape.vocab) as u32;
        let queries: Vec<Query> = (0..episodes).map(|r| (0..*query).map(|i| Some(token(r, i))).collect()).collect();
        let inputs = Inputs {
            reference: &self.reference,
            scorer: &self.scorer,
            mock: None,
            task: &self.task,
            queries: &queries,
            end_of_text: 0,
        };
        let started = Instant::now();
        let policy = self.policy.take().ok_or_else(|| failed(&"the one before failed"))?;
        let (settings, ppo, order) = (Settings::of(&spec), Ppo::of(&spec.policy), |_| (0..episodes).collect());
        let rollout = roll_out(&settings, &inputs, &policy, self.done).map_err(|e| failed(&e))?;
        let rewards = token_rewards(&rollout.scores, &rollout.logprobs, &rollout.ref_logprobs, 0.15);
        let updated = optimise((&settings, &ppo), &order, 1e-5, (policy, &mut self.adam), &rollout, &rewards);
        self.policy = Some(updated.map_err(|e| failed(&e))?.0);
        faults::confirm()?;
        Ok(started.elapsed().as_secs_f64())
    }
}

/// PyTorch in a process of its own.
struct Peer<'a> {
    python: &'a Path,
}

/// What bench_peer.py prints.
#[derive(Debug, Deserialize)]
struct PeerSays {
    machine: Option<String>,
    seconds: Option<f64>,
}

impl Peer<'_> {
    fn machine(&self) -> String {
        match self.run(&["--machine".to_string()], Duration::from_secs(120)) {
            Ok(says) => format!("PyTorch: {}.", says.machine.unwrap_or_default()),
            Err(why) => format!("PyTorch: {why}."),
        }
    }

    fn time(&self, case: &Case, episodes: usize, left: Duration) -> Result<f64, String> {
        let d = &case.shape.dimensions;
        let numbers = [d.layers, d.heads, d.width, d.context, case.shape.vocab, case.query, case.response, episodes];
        let says = self.run(&numbers.map(|n| n.to_string()), left)?;
        says.seconds.ok_or_else(|| "says no seconds".into())
    }

    fn run(&self, args: &[String], left: Duration) -> Result<PeerSays, String> {
        let python = self.python.display();
        let mut child = Command::new(self.python)
            .args(["-c", PEER])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{python} cannot be started: {e}"))?;
        let started = Instant::now();
        while child.try_wait().map_err(|e| e.to_string())?.is_none() {
            if started.elapsed() > left {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("not done in {}", duration(left.as_secs_f64())));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let last = |text: &str| text.lines().last().unwrap_or_default().to_string();
        if !output.status.success() {
            return Err(format!("{python}: {}", last(&err)));
        }
        serde_json::from_str(&last(&out)).map_err(|e| format!("{python}: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device::cpu;

    #[test]
    fn an_update_of_a_small_model_is_timed_and_has_its_row() {
        let case = Case::new(ModelSize::Test, 12, 4);
        let timed = case.time(&cpu(), 0.05).unwrap();
        assert!(timed.seconds > 0.0 && timed.episodes >= FIRST && timed.held.is_none());
        let line = row("test/16", &case, &timed, 1e9, Some(Ok(2.0 * timed.seconds)));
        assert!(
            line.starts_with("| test/16 | ") && line.ends_with("| 2.00 |") && line.matches('|').count() == 9,
            "{line}"
        );
    }

    #[test]
    fn what_does_not_fit_is_left_out_with_the_reason() {
        let before = gpu::limits();
        assert!(Case::new(ModelSize::M774, 64, 24).no_room(&cpu()).is_none());
        assert!(Case::new(ModelSize::M774, 64, 24).estimate(1) > before.memory as f64 / 2.0);
        let gone = Peer { python: Path::new("/no/python") };
        assert!(gone.machine().contains("/no/python cannot be started"));
    }

    #[test]
    fn operations_are_those_of_the_benchmarks() {
        // docs/benchmarks.md: 252 GFLOP per episode at 124M/88.
        assert!((Case::new(ModelSize::M124, 64, 24).flops() / 1e9 - 252.0).abs() < 1.0);
    }
}
