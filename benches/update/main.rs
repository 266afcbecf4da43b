//! One PPO update through the trainer's own functions, timed by its phases: sampling, the reference's
//! log-probabilities, scores under r, and the epochs of optimisation. Prints one JSON object.
//!
//!     cargo bench --bench update -- --size 124M --query 64 --response 24 --batch 8
//!     cargo bench --bench update -- --size small --check DIR     # models and numbers for benches/peer/peer.py
//!     cargo bench --bench update -- --gemm 2048                  # FLOP/s of a large matrix product
//!
//! Model weights are random and made from a seed. benches/peer/compare.py runs this against PyTorch.

mod check;
mod measure;
#[path = "../workload/mod.rs"]
mod workload;

use burn::tensor::{Device, Tensor};
use clap::Parser;
use measure::{Phases, cpu_seconds, peak_memory, reset_peak_memory};
use runner::model::memory::keep_freed_memory;
use runner::model::optimizer::Adam;
use runner::rl::{Ppo, Settings, optimise};
use runner::spec::ModelSize;
use serde::Deserialize;
use serde::de::value::{Error as NameError, StrDeserializer};
use serde_json::{Map, Value, json};
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;
use tracing::trace_span;
use workload::{Setting, Workload};

#[derive(Debug, Parser)]
struct Args {
    /// test, tiny, small, 124M, 355M, 774M or 1558M.
    #[arg(long, default_value = "test", value_parser = parse_size)]
    size: ModelSize,
    /// Tokens of the vocabulary; default 50257, and 1024 for the test size.
    #[arg(long)]
    vocab: Option<usize>,
    /// Tokens of a query, padding included.
    #[arg(long, default_value_t = 64)]
    query: usize,
    #[arg(long, default_value_t = 24)]
    response: usize,
    /// Episodes per update.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Updates that are timed.
    #[arg(long, default_value_t = 1)]
    updates: usize,
    /// Updates before the timed ones.
    #[arg(long, default_value_t = 1)]
    warmup: usize,
    /// Write the models and the numbers of one update to this directory, for the peer to verify.
    #[arg(long)]
    check: Option<PathBuf>,
    /// Measure products of two square matrices of this many rows instead.
    #[arg(long)]
    gemm: Option<usize>,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn parse_size(name: &str) -> Result<ModelSize, NameError> {
    ModelSize::deserialize(StrDeserializer::new(name))
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    keep_freed_memory();
    let workload = Workload::new(args.size, args.vocab, (args.query, args.response), args.batch);
    let result = match (&args.check, args.gemm) {
        (Some(dir), _) => check::write(dir, &workload)?,
        (None, Some(rows)) => gemm(rows),
        (None, None) => time(&args, &workload)?,
    };
    println!("{result}");
    Ok(())
}

fn time(args: &Args, workload: &Workload) -> Result<Value, Box<dyn Error>> {
    let phases = Phases::install()?;
    let (setting, mut policy) = Setting::new(workload, &Device::flex())?;
    let mut adam = Adam::new(setting.spec.policy.adam);
    reset_peak_memory();
    let mut updates = Vec::new();
    let mut cpu_before = 0.0;
    for update in 0..args.warmup + args.updates {
        if update == args.warmup {
            cpu_before = cpu_seconds();
        }
        let started = Instant::now();
        let rollout = setting.episodes(&policy, update)?;
        let rewards = setting.rewards(&rollout);
        let order = |_| (0..args.batch).collect();
        policy = trace_span!("optimise")
            .in_scope(|| {
                let with = (&Settings::of(&setting.spec), &Ppo::of(&setting.spec.policy) as _);
                optimise(with, &order, setting.spec.policy.lr, (policy, &mut adam), &rollout, &rewards)
            })?
            .0;
        let total = started.elapsed().as_secs_f64();
        let mut line: Map<String, Value> = phases.take().into_iter().map(|(k, v)| (k.to_string(), v.into())).collect();
        line.insert("total".into(), total.into());
        if update >= args.warmup {
            updates.push(line);
        }
    }
    Ok(json!({
        "side": "ours",
        "threads": std::thread::available_parallelism().map_or(1, usize::from),
        "updates": updates,
        "cpu_seconds": (cpu_seconds() - cpu_before) / args.updates as f64,
        "peak_bytes": peak_memory(),
    }))
}

/// Products of two `[rows, rows]` on the CPU backend: FLOP per second, the best of ten, and per processor second, of
/// all.
fn gemm(rows: usize) -> Value {
    const TURNS: usize = 10;
    let device = Device::flex();
    let (a, b) = (Tensor::<2>::ones([rows, rows], &device), Tensor::<2>::ones([rows, rows], &device));
    let flops = 2.0 * (rows as f64).powi(3);
    let cpu_before = cpu_seconds();
    let seconds = |_| {
        let started = Instant::now();
        std::hint::black_box(a.clone().matmul(b.clone()));
        started.elapsed().as_secs_f64()
    };
    let best = (0..TURNS).map(seconds).fold(f64::INFINITY, f64::min);
    let cpu = cpu_seconds() - cpu_before;
    json!({ "flops": flops / best, "flops_per_cpu_second": TURNS as f64 * flops / cpu })
}
