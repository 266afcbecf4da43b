//! Memory of PPO updates on Linux, where a process can read its own: the estimate that `runner plan` prints against the
//! peak, and, as an ignored test of some minutes, that a thousand updates do not grow:
//!
//!     cargo test --release --test memory -- --ignored --nocapture
//!
//! A software driver has its device's memory in the process: with RUNNER_TEST_DEVICE=wgpu two hundred updates must not grow
//! there (docs/benchmarks.md, GPUs).

#![cfg(target_os = "linux")]

use burn::tensor::Device;
use runner::model::device::choose;
use runner::model::gpt2::{Gpt2, ScalarHead, ScalarModel};
use runner::model::memory::{Shape, keep_freed_memory};
use runner::model::optimizer::Adam;
use runner::model::sampling::{Sampling, logprobs, sample};
use runner::rl::{Ppo, Rollout, Settings, optimise};
use runner::rlhf::advantages::token_rewards;
use runner::spec::Spec;
use runner::task::scoring::raw_scores;
use serde_json::json;

/// Bytes of a line of /proc/self/status.
fn memory(key: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':')).expect("the line");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
}

/// Everything an update needs.
struct Update {
    spec: Spec,
    vocab: usize,
    reference: Gpt2,
    scorer: ScalarModel,
    policy: Option<ScalarModel>,
    adam: Adam,
}

impl Update {
    fn new(size: &str, vocab: usize, batch: usize, query: usize, response: usize, epochs: usize) -> Self {
        Self::on(&Device::flex(), size, vocab, [batch, query, response, epochs])
    }

    fn on(device: &Device, size: &str, vocab: usize, [batch, query, response, epochs]: [usize; 4]) -> Self {
        let spec: Spec = serde_json::from_value(json!({
            "spec_version": 1, "name": "memory", "model": { "size": size },
            "task": { "query_length": query, "response_length": response },
            "policy": { "batch_size": batch, "minibatches": 1, "epochs": epochs },
        }))
        .expect("a spec");
        let d = spec.model.dimensions();
        let reference = Gpt2::init(&d, vocab, 1, device);
        let head = |std| ScalarHead::init(d.width, std, 3, device);
        let scorer = ScalarModel { trunk: Gpt2::init(&d, vocab, 2, device), head: head(0.1) };
        let policy = Some(ScalarModel { trunk: reference.clone(), head: head(0.0) });
        let adam = Adam::new(spec.policy.adam);
        Self { spec, vocab, reference, scorer, policy, adam }
    }

    fn run(&mut self, number: usize) {
        let (batch, response) = (self.spec.policy.batch_size, self.spec.task.response_length);
        let policy = self.policy.take().expect("a policy");
        // Lengths differ from row to row and from update to update.
        let query = self.spec.task.query_length;
        let token = |r: usize, i: usize| {
            let padding = (number * 7 + r * 3) % (query / 2);
            (i >= padding).then(|| ((number * 31 + r * query + i) * 7919 % self.vocab) as u32)
        };
        let queries: Vec<Vec<Option<u32>>> = (0..batch).map(|r| (0..query).map(|i| token(r, i)).collect()).collect();
        let uniform = |i: usize| (i * 104_729 % 100_003) as f32 / 100_003.0;
        let uniforms: Vec<Vec<f32>> =
            (0..response).map(|i| (0..batch).map(|r| uniform(number + i * batch + r)).collect()).collect();
        let temperature = self.spec.task.temperature;
        let args = Sampling {
            queries: &queries,
            k: 1,
            response_length: response,
            temperature,
            uniforms: &uniforms,
            value_head: Some(&policy.head),
        };
        let sampled = sample(&policy.trunk, &args).expect("samples");
        let rows: Vec<Vec<Option<u32>>> = queries
            .iter()
            .zip(&sampled.responses)
            .map(|(q, r)| q.iter().copied().chain(r.iter().map(|t| Some(*t))).collect())
            .collect();
        let rollout = Rollout {
            scores: raw_scores(&self.scorer, &rows).expect("scores"),
            ref_logprobs: logprobs(&self.reference, &queries, &sampled.responses, temperature).expect("logprobs"),
            queries,
            responses: sampled.responses,
            logprobs: sampled.logprobs,
            values: sampled.values,
            ..Rollout::default()
        };
        let rewards = token_rewards(&rollout.scores, &rollout.logprobs, &rollout.ref_logprobs, 0.15);
        let order = |_| (0..batch).collect();
        let with = (&Settings::of(&self.spec), &Ppo::of(&self.spec.policy) as _);
        let updated = optimise(with, &order, 1e-5, (policy, &mut self.adam), &rollout, &rewards);
        self.policy = Some(updated.expect("an update").0);
    }
}

#[test]
fn the_estimate_is_within_a_fifth_of_the_peak() {
    keep_freed_memory();
    let start = memory("VmRSS");
    let (batch, query, response, vocab) = (16, 64, 24, 20_000);
    let mut update = Update::new("small", vocab, batch, query, response, 1);
    let shape = Shape { dimensions: update.spec.model.dimensions(), vocab, time: query + response, response };
    // Where other processes take a worker's core, the other workers run ahead, and what they have done waits for its
    // turn: the least of several peaks is the program's own.
    let mut peak = f64::INFINITY;
    for turn in 0..3 {
        // Forgets the peak so far (proc_pid_clear_refs(5)).
        std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
        (0..2).for_each(|i| update.run(2 * turn + i));
        peak = peak.min(memory("VmHWM") - start);
    }
    let estimate = shape.update(batch, rayon::current_num_threads());
    println!("peak {:.0} MB, estimate {:.0} MB", peak / 1e6, estimate / 1e6);
    assert!((estimate / peak - 1.0).abs() < 0.2, "peak {peak:.3e}, estimate {estimate:.3e}");
}

#[test]
#[ignore = "some minutes"]
fn a_thousand_updates_do_not_grow() {
    keep_freed_memory();
    let mut update = Update::new("test", 1024, 32, 24, 12, 4);
    const SETTLED: usize = 100;
    let mut settled = f64::NAN;
    for i in 1..=1_000 {
        update.run(i);
        if i == SETTLED {
            settled = memory("VmRSS");
        }
        if i % 100 == 0 {
            println!("{i} updates: {:.2} MB", memory("VmRSS") / 1e6);
        }
    }
    let drift = memory("VmRSS") / settled - 1.0;
    println!("drift from update {SETTLED} to 1,000: {:.2}%", drift * 100.0);
    assert!(drift < 0.02, "memory grew by {:.1}%", drift * 100.0);
}

/// The GPU that RUNNER_TEST_DEVICE names, where it names one.
fn gpu() -> Option<Device> {
    let name = std::env::var("RUNNER_TEST_DEVICE").ok().filter(|name| name.starts_with("wgpu"))?;
    Some(choose(&name).expect("the device").device)
}

#[test]
#[ignore = "a minute, and a software driver"]
fn two_hundred_updates_on_a_gpu_do_not_grow() {
    let Some(device) = gpu() else { return };
    let mut update = Update::on(&device, "test", 256, [8, 16, 6, 1]);
    const SETTLED: usize = 50;
    let mut settled = f64::NAN;
    for i in 1..=200 {
        update.run(i);
        if i == SETTLED {
            settled = memory("VmRSS");
        }
        if i % 25 == 0 {
            println!("{i} updates: {:.2} MB", memory("VmRSS") / 1e6);
        }
    }
    let drift = memory("VmRSS") / settled - 1.0;
    println!("drift from update {SETTLED} to 200: {:.2}%", drift * 100.0);
    assert!(drift < 0.05, "memory grew by {:.1}%", drift * 100.0);
}
