//! Times one PPO update on the CPU phase by phase (sample, score, reference, optimise), in processor seconds and in wall
//! seconds, with the peak memory of each phase (Linux), and the matrix products of its shapes:
//!
//!     RAYON_NUM_THREADS=1 cargo run --release --example update -- 124M 8
//!     RAYON_NUM_THREADS=1 cargo run --release --example update -- products
//!
//! Arguments: size (tiny, small, 124M, ...), batch size, and optionally query length (64), response length (24), epochs (4)
//! and updates (1: the first also pays for pages the process has never touched).

use burn::tensor::{Device, Tensor};
use runner::model::gpt2::{Gpt2, ScalarHead, ScalarModel};
use runner::model::optimizer::Adam;
use runner::model::sampling::{Sampling, logprobs, sample};
use runner::rlhf::advantages::token_rewards;
use runner::spec::Spec;
use runner::stage::policy::{Rollout, optimise};
use runner::stage::scoring::raw_scores;
use serde_json::json;
use std::error::Error;
use std::time::Instant;

/// User and system seconds of this process so far.
fn processor_seconds() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(f64::NAN) / 100.0;
    (ticks(11), ticks(12))
}

/// Megabytes of a line of /proc/self/status.
fn memory(key: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

/// Runs a phase and prints what it cost.
fn phase<T>(name: &str, f: impl FnOnce() -> T) -> T {
    // Linux: 5 resets the peak to what is held now.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let (before, started) = (processor_seconds(), Instant::now());
    let result = f();
    let (after, wall) = (processor_seconds(), started.elapsed().as_secs_f64());
    println!(
        "{name:<10} user {:>7.2} s  system {:>6.2} s  wall {wall:>7.2} s  peak {:>6.0} MB  now {:>6.0} MB",
        after.0 - before.0,
        after.1 - before.1,
        memory("VmHWM"),
        memory("VmRSS")
    );
    result
}

/// Billions of operations per second of the products of a 124M model's training step.
fn products() {
    let device = Device::flex();
    let random =
        |a: usize, b: usize| Tensor::<2>::random([a, b], burn::tensor::Distribution::Uniform(-1.0, 1.0), &device);
    let shapes = [
        (704, 768, 3072),
        (704, 3072, 768),
        (704, 768, 2304),
        (704, 768, 768),
        (192, 768, 50257),
        (8, 768, 50257),
        (8, 768, 3072),
    ];
    for (m, k, n) in shapes {
        let (x, w, g) = (random(m, k), random(k, n), random(m, n));
        let wt = random(n, k);
        let forms: [(&str, Box<dyn Fn() -> Tensor<2>>); 4] = [
            ("x w", Box::new(|| x.clone().matmul(w.clone()))),
            ("x wT", Box::new(|| x.clone().matmul(wt.clone().transpose()))),
            ("g wT", Box::new(|| g.clone().matmul(w.clone().transpose()))),
            ("xT g", Box::new(|| x.clone().transpose().matmul(g.clone()))),
        ];
        for (name, f) in forms {
            let operations = 2.0 * (m * k * n) as f64;
            let times = (2e10 / operations).ceil() as usize;
            f();
            let before = processor_seconds().0;
            (0..times).for_each(|_| drop(f()));
            let seconds = processor_seconds().0 - before;
            println!("[{m}, {k}] [{k}, {n}] {name}: {:.1} GFLOP/s", operations * times as f64 / seconds / 1e9);
        }
    }
}

pub fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let size = arguments.first().map_or("small", String::as_str);
    if size == "products" {
        products();
        return Ok(());
    }
    let number = |i: usize, default: usize| arguments.get(i).map_or(Ok(default), |a| a.parse());
    let (batch, query, response) = (number(1, 8)?, number(2, 64)?, number(3, 24)?);
    let (epochs, updates) = (number(4, 4)?, number(5, 1)?);
    let spec: Spec = serde_json::from_value(json!({
        "spec_version": 1, "name": "update", "model": { "size": size },
        "task": { "query_length": query, "response_length": response },
        "policy": { "batch_size": batch, "minibatches": 1, "epochs": epochs },
    }))?;
    let (device, vocabulary) = (Device::flex(), 50_257);
    let d = spec.model.dimensions();
    let reference = Gpt2::init(&d, vocabulary, 1, &device);
    let scorer =
        ScalarModel { trunk: Gpt2::init(&d, vocabulary, 2, &device), head: ScalarHead::init(d.width, 0.1, 3, &device) };
    let mut policy = ScalarModel { trunk: reference.clone(), head: ScalarHead::init(d.width, 0.0, 0, &device) };
    let mut adam = Adam::new(spec.policy.adam);
    let token = |i: usize| Some((i * 7919 % vocabulary) as u32);
    let queries: Vec<Vec<Option<u32>>> =
        (0..batch).map(|r| (0..query).map(|i| token(r * query + i)).collect()).collect();
    let uniform = |i: usize| (i * 104_729 % 100_003) as f32 / 100_003.0;
    let uniforms: Vec<Vec<f32>> = (0..response).map(|i| (0..batch).map(|r| uniform(i * batch + r)).collect()).collect();
    let temperature = spec.task.temperature;
    for _ in 0..updates {
        let args = Sampling {
            queries: &queries,
            k: 1,
            response_length: response,
            temperature,
            uniforms: &uniforms,
            value_head: Some(&policy.head),
        };
        let sampled = phase("sample", || sample(&policy.trunk, &args))?;
        let rows: Vec<Vec<Option<u32>>> = queries
            .iter()
            .zip(&sampled.responses)
            .map(|(q, r)| q.iter().copied().chain(r.iter().map(|t| Some(*t))).collect())
            .collect();
        let scores = phase("score", || raw_scores(&scorer, &rows))?;
        let ref_logprobs = phase("reference", || logprobs(&reference, &queries, &sampled.responses, temperature))?;
        let rollout = Rollout {
            queries: queries.clone(),
            responses: sampled.responses,
            logprobs: sampled.logprobs,
            ref_logprobs,
            values: sampled.values,
            scores,
            ..Rollout::default()
        };
        let rewards = token_rewards(&rollout.scores, &rollout.logprobs, &rollout.ref_logprobs, 0.15);
        let order = |_| (0..batch).collect();
        let (next, line) = phase("optimise", || optimise(&spec, &order, 1e-5, policy, &mut adam, &rollout, &rewards))?;
        policy = next;
        let total = line.iter().find(|(n, _)| *n == "ppo/loss/total").map_or(f64::NAN, |(_, v)| *v);
        println!("loss {total:.6}");
    }
    Ok(())
}
