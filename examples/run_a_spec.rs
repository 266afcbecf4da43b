//! Runs a spec as `runner SPEC` does, from a library: the quickstart's smoke profile, on the CPU, into a folder that is
//! given.
//!
//! cargo run --release --example run_a_spec -- /tmp/smoke

use runner::results::{Outcome, Results};
use runner::run::RunSettings;
use runner::spec::{Options, shipped};
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let out: PathBuf = std::env::args_os().nth(1).ok_or("say where the results go")?.into();
    let spec = shipped::located(Path::new("quickstart"))?;
    let options = Options { profile: Some("smoke".into()), ..Options::default() };
    let settings = RunSettings { device: "cpu".into(), out: Some(out.clone()), ..RunSettings::default() };
    let ended = runner::run(&spec, &options, settings)?;
    if ended.outcome != Outcome::Done {
        return Err(ended.error.unwrap_or_default().into());
    }
    println!("{}", ended.result.unwrap_or_default());
    for (run, evaluation) in Results::load(&out)?.evaluations() {
        println!("{run}: score {:.2} at {:.2} nats", evaluation.policy.mean, evaluation.kl.mean);
    }
    Ok(())
}
