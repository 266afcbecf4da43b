//! `runner doctor`: the devices of this machine and build, each with the known-answer test a run starts with and the
//! speed that `runner plan` makes times from.

use crate::model::ModelError;
use crate::model::device::{ChosenDevice, adapters, choose, cpu};
use crate::model::faults::confirm;
use crate::model::sampling::to_vec;
use crate::model::self_test::self_test;
use crate::model::throughput::{WIDTHS, measure};
use crate::plan::throughput;
use burn::tensor::{Device, FloatDType, Tensor};
use std::time::Instant;

/// Exit code 0 if every device computes correctly, 1 otherwise.
pub fn doctor() -> i32 {
    println!(
        "runner {} ({})",
        env!("CARGO_PKG_VERSION"),
        if cfg!(feature = "wgpu") {
            "cpu and wgpu backends"
        } else {
            "cpu backend only; build with --features wgpu for GPUs"
        }
    );
    let mut all_right = examine("cpu", &cpu());
    for (i, adapter) in adapters().iter().enumerate() {
        let name = format!("wgpu:{i}");
        println!("{name}: {} ({}, {}, {})", adapter.name, adapter.kind, adapter.backend, adapter.driver);
        match choose(&name) {
            Ok(chosen) => all_right &= examine(&name, &chosen),
            Err(e) => println!("  {e}"),
        }
    }
    i32::from(!all_right)
}

fn examine(name: &str, chosen: &ChosenDevice) -> bool {
    let started = Instant::now();
    match self_test(&chosen.device) {
        Ok(t) => {
            let verdict = if t.passed() { "computes correctly" } else { "COMPUTES WRONGLY: do not use it" };
            println!(
                "{name}: {verdict}; largest differences: cached and full log-probs {:.1e}, to the CPU's {:.1e}, values {:.1e}, gradient {:.1e}, Adam's step {:.1e}, drawn tokens {:.1e}; {:.1} s",
                t.cached_vs_full,
                t.logprobs_vs_cpu,
                t.values_vs_cpu,
                t.gradient_vs_cpu,
                t.update_vs_cpu,
                t.drawn_vs_cpu,
                started.elapsed().as_secs_f64()
            );
            if t.passed() {
                products(name, chosen);
                training_speed(name, chosen);
            }
            t.passed()
        }
        Err(e) => {
            println!("{name}: {e}");
            false
        }
    }
}

fn products(name: &str, chosen: &ChosenDevice) {
    let half = chosen.half.then_some(("float16", Some(FloatDType::F16)));
    for (word, dtype) in [("float32", None)].into_iter().chain(half) {
        match matmul_speed(&chosen.device, dtype) {
            Ok(rate) => println!("{name}: matrix products up to {:.1} GFLOP/s in {word}", rate / 1e9),
            Err(e) => println!("{name}: matrix products in {word}: {e}"),
        }
    }
}

/// Measures what plans make times from, and keeps it.
fn training_speed(name: &str, chosen: &ChosenDevice) {
    let mut all = Vec::new();
    for width in WIDTHS {
        match measure(&chosen.device, width) {
            Ok(rates) => {
                let [sampling, forward, training] = [rates.sampling, rates.forward, rates.training].map(|r| r / 1e9);
                println!(
                    "{name}: width {width}: sampling {sampling:.1}, passes {forward:.1}, training {training:.1} GFLOP/s"
                );
                all.push(rates);
            }
            Err(e) => println!("{name}: width {width}: cannot be measured: {e}"),
        }
    }
    if all.is_empty() {
        return;
    }
    match throughput::keep(chosen, all) {
        Ok(path) => println!("{name}: kept for `runner plan` in {}", path.display()),
        Err(why) => println!("{name}: not kept for `runner plan`: {why}"),
    }
}

/// The best rate of matrix products, in floating-point operations per second: squares of growing size, until one takes
/// a tenth of a second. In float32, or in a type that the device has.
pub(super) fn matmul_speed(device: &Device, dtype: Option<FloatDType>) -> Result<f64, ModelError> {
    let mut best = 0.0f64;
    for n in [128, 256, 512, 1024, 2048, 4096, 8192] {
        let a = Tensor::<2>::ones([n, n], device);
        let a = dtype.map_or(a.clone(), |dtype| a.cast(dtype));
        let product = || -> Result<f64, ModelError> {
            let started = Instant::now();
            // Waits for the device; data that nobody looks at need not arrive.
            let corner = a.clone().matmul(a.clone()).slice([0..1, 0..1]);
            let corner = to_vec(corner.cast(FloatDType::F32))?;
            let seconds = started.elapsed().as_secs_f64();
            // Powers of two are numbers of every type here.
            match corner[..] == [n as f32] {
                true => Ok(seconds),
                false => Err(ModelError::Device(format!("a product of {n} ones is {corner:?}"))),
            }
        };
        // The first one may compile a kernel.
        product()?;
        let seconds = product()?.min(product()?);
        best = best.max(2.0 * (n as f64).powi(3) / seconds);
        if seconds > 0.1 {
            break;
        }
    }
    confirm()?;
    Ok(best)
}
