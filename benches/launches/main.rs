//! Counts what a PPO update asks of a GPU: kernel launches, read-backs, waits. No GPU is needed: a software driver is
//! asked the same. Models are small; since every layer asks the same, two numbers of layers give what a layer adds and
//! what is asked once, and two others check that.
//!
//!     cargo bench --bench launches                 # the table
//!     cargo bench --bench launches -- --kernels    # and which kernels
//!     cargo bench --bench launches -- --device wgpu:1
//!
//! The estimate of an update's time on named cards is arithmetic with these counts and is no measurement.

mod count;
mod estimate;
mod traffic;
#[path = "../workload/mod.rs"]
mod workload;

use burn::tensor::Device;
use clap::Parser;
use count::{Counts, NAMES, counted};
use runner::model::device::{self, choose};
use runner::model::gpu::{self, Limits};
use runner::model::optimizer::Adam;
use runner::spec::{Dimensions, ModelSize, Precision};
use std::error::Error;
use workload::{Setting, Workload};

#[derive(Debug, Parser)]
struct Args {
    #[arg(long, default_value = "wgpu")]
    device: String,
    /// Products of float16.
    #[arg(long)]
    half: bool,
    /// Launches by kernel, of the larger model.
    #[arg(long)]
    kernels: bool,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The parts of an update: what is asked for each token of a response, once per batch of episodes, for each training
/// pass, its gradients added to others', and for each step of Adam, less the sum that the first pass of a step is spared.
const PARTS: [&str; 4] = ["token of a response", "rest of sampling, ρ and r", "training pass", "Adam step less a sum"];
const EPOCHS: f64 = 4.0;
/// Episodes in a batch.
const BATCH: usize = 4;

fn workload(layers: usize, width: usize, response: usize) -> Workload {
    let small = Workload::new(ModelSize::Test, Some(1000), (20, response), BATCH);
    Workload { dimensions: Dimensions { layers, heads: width / 32, width, ..small.dimensions }, ..small }
}

/// Counts of the [`PARTS`] at one size of model.
fn parts(device: &Device, precision: Precision, layers: usize, width: usize) -> Result<[Counts; 4], Box<dyn Error>> {
    let roomy = Limits { memory: 1 << 40, ..gpu::limits() };
    let mut sampled = Vec::new();
    let mut learned = Vec::new();
    for response in [3, 5] {
        let (setting, policy) = Setting::new(&workload(layers, width, response), device)?;
        let (setting, mut policy) = (setting.with(precision), policy.with(precision));
        gpu::set_limits(roomy);
        let (rollout, counts) = counted(device, || setting.episodes(&policy, 0))?;
        sampled.push(counts);
        // Adam's moments are there from its second step on.
        let mut adam = Adam::new(setting.spec.policy.adam);
        for (warm, memory) in [(true, roomy.memory), (false, roomy.memory), (false, 0)] {
            gpu::set_limits(Limits { memory, ..roomy });
            let (trained, counts) = counted(device, || setting.learn(policy, &mut adam, &rollout))?;
            policy = trained;
            if !warm && response == 3 {
                learned.push(counts);
            }
        }
    }
    let token = sampled[1].with(&sampled[0], |b, a| (b - a) / 2.0);
    let rest = sampled[0].with(&token, |all, token| all - 3.0 * token);
    // No memory at all is one row to a pass.
    let pass = learned[1].with(&learned[0], |many, one| (many - one) / EPOCHS / (BATCH - 1) as f64);
    let step = learned[0].with(&pass, |one, pass| one / EPOCHS - pass);
    Ok([token, rest, pass, step])
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    count::listen()?;
    let chosen = choose(&args.device)?;
    let precision = if args.half { Precision::F16 } else { Precision::F32 };
    chosen.check_precision(precision)?;
    println!("{}, {}", chosen.name, chosen.driver.as_deref().unwrap_or("no driver"));
    let sizes = [(1, 64), (2, 64), (3, 64), (4, 128)];
    let found = sizes
        .into_iter()
        .map(|(layers, width)| parts(&chosen.device, precision, layers, width))
        .collect::<Result<Vec<_>, _>>()?;
    println!(
        "\n| part | asked | per layer | once | 3 layers: counted, predicted | 4 wider layers |\n|---|---|---|---|---|---|"
    );
    for (part, name) in PARTS.iter().enumerate() {
        let at = |size: usize| found[size][part].numbers();
        for (i, asked) in NAMES.iter().enumerate() {
            let layer = at(1)[i] - at(0)[i];
            let once = at(0)[i] - layer;
            let checked = |size: usize| format!("{:.2}, {:.2}", at(size)[i], once + layer * sizes[size].0 as f64);
            println!("| {name} | {asked} | {layer:.2} | {once:.2} | {} | {} |", checked(2), checked(3));
        }
        if args.kernels {
            let (two, one) = (&found[1][part], &found[0][part]);
            println!("{name}:");
            for (kernel, (layer, once)) in &two.with(one, |b, a| b - a).kernels.iter().fold(
                std::collections::BTreeMap::new(),
                |mut all, (kernel, layer)| {
                    let first = one.kernels.get(kernel).copied().unwrap_or(0.0);
                    all.insert(kernel.clone(), (*layer, first - layer));
                    all
                },
            ) {
                println!("    {layer:>6} per layer {once:>6} once  {kernel}");
            }
        }
    }
    if args.half {
        // Bytes are listed of float32 alone.
        device::settle();
        return Ok(());
    }
    for (counts, (layers, _)) in found.iter().zip(sizes) {
        traffic::check(counts, layers as f64)?;
    }
    estimate::print(&found[0], &found[1]);
    device::settle();
    Ok(())
}
