//! `runner doctor`: the devices of this machine and build, each with the known-answer test a run starts with.

use crate::model::device::{Chosen, adapters, choose, cpu, self_test};

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

fn examine(name: &str, chosen: &Chosen) -> bool {
    let started = std::time::Instant::now();
    match self_test(&chosen.device) {
        Ok(t) => {
            let verdict = if t.passed() { "computes correctly" } else { "COMPUTES WRONGLY: do not use it" };
            println!(
                "{name}: {verdict}; largest differences: cached and full log-probs {:.1e}, to the CPU's {:.1e}, gradient {:.1e}; {:.1} s",
                t.cached_vs_full,
                t.logprobs_vs_cpu,
                t.gradient_vs_cpu,
                started.elapsed().as_secs_f64()
            );
            t.passed()
        }
        Err(e) => {
            println!("{name}: {e}");
            false
        }
    }
}
