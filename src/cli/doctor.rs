//! `runner doctor`: the devices of this machine and build, each with the known-answer test a run starts with and the
//! speed that `runner plan` makes times from; or what a file system can do for several processes.

use super::bench::{BenchArgs, bench};
use crate::model::ModelError;
use crate::model::device::{ChosenDevice, adapters, choose, cpu};
use crate::model::faults::confirm;
use crate::model::sampling::to_vec;
use crate::model::self_test::self_test;
use crate::model::throughput::{WIDTHS, measure};
use crate::plan::throughput;
use crate::spec::Precision;
use crate::store::shared::{Finding, Side, file_system, try_out};
use burn::tensor::{Device, FloatDType, Tensor};
use clap::Args;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

#[derive(Args)]
pub struct DoctorArgs {
    /// Try a directory instead, with two processes: locks, leases, renames. In a Slurm job of two tasks
    /// (`srun -N2 -n2 runner doctor --shared DIR`) the two are those
    #[arg(long, value_name = "DIR")]
    shared: Option<PathBuf>,
    /// By hand on two hosts: `first` on one, `second` on the other
    #[arg(long = "as", value_name = "SIDE", requires = "shared", value_parser = ["first", "second"])]
    side: Option<String>,
    /// What the two processes have in common and others have not
    #[arg(long, requires = "side", hide = true)]
    token: Option<String>,
    #[command(flatten)]
    bench: BenchArgs,
}

/// Exit code 0 if every device computes correctly, or the file system is as it must be; 1 otherwise, 2 wrong input.
pub fn doctor(args: &DoctorArgs) -> i32 {
    match &args.shared {
        None if args.bench.is_wanted() => bench(&args.bench),
        None => devices(),
        Some(dir) => shared(dir, args).unwrap_or_else(|e| {
            eprintln!("error: {}: {e}", dir.display());
            1
        }),
    }
}

/// The side and token of this process, and the other one where it is started here.
fn sides(dir: &Path, args: &DoctorArgs) -> io::Result<(Side, String, Option<Child>)> {
    if let Some(side) = &args.side {
        let side = if side == "first" { Side::First } else { Side::Second };
        return Ok((side, args.token.clone().unwrap_or_else(|| "by-hand".into()), None));
    }
    let variable = |name: &str| std::env::var(name).ok();
    if let (Some("2"), Some(rank), Some(job)) =
        (variable("SLURM_STEP_NUM_TASKS").as_deref(), variable("SLURM_PROCID"), variable("SLURM_JOB_ID"))
    {
        let side = if rank == "0" { Side::First } else { Side::Second };
        let step = variable("SLURM_STEP_ID").unwrap_or_default();
        return Ok((side, format!("{job}-{step}"), None));
    }
    let token = format!("{}-{}", std::process::id(), jiff::Timestamp::now().as_millisecond());
    let mut other = Command::new(std::env::current_exe()?);
    other.args(["doctor", "--as", "second", "--token", &token, "--shared"]).arg(dir);
    Ok((Side::First, token, Some(other.spawn()?)))
}

fn shared(dir: &Path, args: &DoctorArgs) -> io::Result<i32> {
    if !dir.is_dir() {
        eprintln!("error: {} is no directory", dir.display());
        return Ok(2);
    }
    let (side, token, other) = sides(dir, args)?;
    let found = try_out(dir, &token, side);
    if let Some(mut other) = other {
        if found.is_err() {
            let _ = other.kill();
        }
        let _ = other.wait();
    }
    let found = found?;
    if side == Side::Second {
        return Ok(0);
    }
    println!("{}: {}", dir.display(), file_system(dir).unwrap_or_else(|| "an unknown file system".into()));
    for Finding { what, wrong, said } in &found {
        match wrong {
            None => println!("{what}: {said}"),
            Some(wrong) => println!("{what}: NO ({said}): {wrong}"),
        }
    }
    let wrong = found.iter().filter(|found| found.wrong.is_some()).count();
    println!(
        "{}",
        if wrong == 0 { "results and cache can be here" } else { "see above before results and cache go here" }
    );
    Ok(i32::from(wrong > 0))
}

fn devices() -> i32 {
    println!(
        "runner {} ({})",
        env!("CARGO_PKG_VERSION"),
        if cfg!(feature = "wgpu") {
            "cpu and wgpu backends"
        } else {
            "cpu backend only; build with --features wgpu for GPUs"
        }
    );
    let mut all_right = examine("cpu", &cpu(), true);
    for (i, adapter) in adapters().iter().enumerate() {
        let name = format!("wgpu:{i}");
        println!("{name}: {} ({}, {}, {})", adapter.name, adapter.kind, adapter.backend, adapter.driver);
        match choose(&name) {
            // A software driver would take minutes to be as slow as it is known to be.
            Ok(chosen) => all_right &= examine(&name, &chosen, adapter.kind != "Cpu"),
            Err(e) => println!("  {e}"),
        }
    }
    i32::from(!all_right)
}

/// `timed`: its speed is measured too.
fn examine(name: &str, chosen: &ChosenDevice, timed: bool) -> bool {
    let right = examine_in(name, chosen, Precision::F32);
    if right && chosen.half {
        // A device that is wrong in it alone can be used without.
        examine_in(name, chosen, Precision::F16);
    }
    match (right, timed) {
        (true, true) => {
            products(name, chosen);
            training_speed(name, chosen);
        }
        (true, false) => println!("{name}: a software driver, whose speed is not measured"),
        (false, _) => {}
    }
    right
}

/// The known-answer test, with what it found.
fn examine_in(name: &str, chosen: &ChosenDevice, precision: Precision) -> bool {
    let started = Instant::now();
    let of =
        if precision.is_f32() { String::new() } else { format!(" with model.precision = \"{}\"", precision.word()) };
    match self_test(&chosen.device, precision) {
        Ok(t) => {
            let verdict = if t.passed() { "computes correctly" } else { "COMPUTES WRONGLY: do not use it" };
            println!(
                "{name}: {verdict}{of}; largest differences: cached and full log-probs {:.1e}, to the CPU's {:.1e}, values {:.1e}, gradient {:.1e}, Adam's step {:.1e}, drawn tokens {:.1e}; {:.1} s",
                t.cached_vs_full,
                t.logprobs_vs_cpu,
                t.values_vs_cpu,
                t.gradient_vs_cpu,
                t.update_vs_cpu,
                t.drawn_vs_cpu,
                started.elapsed().as_secs_f64()
            );
            t.passed()
        }
        Err(e) => {
            println!("{name}{of}: {e}");
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
