//! `runner fetch SPEC|SUITE...`: brings everything that runs of these specs take from outside; `--dry-run` says what
//! that is.

use super::run::start_logging;
use super::sources::{SourceRow, print_rows};
use super::{Overrides, chain, print_problems};
use crate::data::hub::Hub;
use crate::run::signals;
use crate::sources::{Finder, Need, needs};
use crate::spec::{self, Spec};
use crate::stage::sources::finder;
use crate::suite::{self, FileKind};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Args)]
pub struct FetchArgs {
    /// Specs of experiments, or of suites
    #[arg(required = true, value_parser = super::spec_path())]
    specs: Vec<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// Only say what is needed: names, sizes, places, licences, and what is here already; nothing is asked of the
    /// network
    #[arg(long)]
    dry_run: bool,
    /// text or json (of --dry-run)
    #[arg(long, value_enum, default_value = "text")]
    format: super::ProblemFormat,
    #[arg(long)]
    no_progress: bool,
}

/// Exit codes: 0 everything is here (or was listed), 1 something could not be brought, 2 wrong input, 4 stopped.
pub fn fetch(args: &FetchArgs, level: &str) -> i32 {
    start_logging(level);
    let needed = match needed(&args.specs, &args.overrides) {
        Ok(needed) => needed,
        Err(code) => return code,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let hub = match Hub::from_env() {
        Ok(hub) => Hub { progress: !args.no_progress, stop: Some(Arc::clone(&stop)), ..hub },
        Err(e) => return failed(&e),
    };
    let looking = match finder(hub.clone().cache_only()) {
        Ok(finder) => finder,
        Err(e) => return failed(&e),
    };
    if args.dry_run {
        let rows: Vec<SourceRow> = needed.iter().map(|need| SourceRow::of_need(need, &looking)).collect();
        return print_rows(&rows, args.format == super::ProblemFormat::Json);
    }
    if let Err(e) = signals::listen(Arc::clone(&stop)) {
        tracing::warn!("Ctrl-C will not be heeded: {e}");
    }
    let finder = Finder { hub, ..looking };
    let mut code = 0;
    for need in &needed {
        let name = need.name();
        match need.bring(&finder) {
            Ok(place) => eprintln!("{}: here ({place})", name),
            Err(e) if stop.load(Ordering::SeqCst) => {
                eprintln!("stopped: {}; what came is kept, and the same command continues", chain(&e));
                return 4;
            }
            Err(e) => {
                eprintln!("error: {}: {}", name, chain(&e));
                code = code.max(if e.is_wrong_input() { 2 } else { 1 });
            }
        }
    }
    code
}

fn failed(e: &crate::data::error::DataError) -> i32 {
    eprintln!("error: {}", chain(e));
    if e.is_wrong_input() { 2 } else { 1 }
}

/// What all variants of all specs need, each once.
fn needed(specs: &[PathBuf], overrides: &Overrides) -> Result<Vec<Need>, i32> {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for path in specs {
        match variants(path, overrides) {
            Ok(variants) => all.extend(variants.iter().flat_map(needs)),
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        print_problems(&problems);
        return Err(2);
    }
    let mut once: Vec<Need> = Vec::new();
    for need in all {
        if !once.contains(&need) {
            once.push(need);
        }
    }
    Ok(once)
}

fn variants(path: &Path, overrides: &Overrides) -> Result<Vec<Spec>, Vec<spec::Problem>> {
    let specs = |loaded: &spec::Loaded| loaded.variants.iter().map(|(_, spec)| spec.clone()).collect();
    if FileKind::of(path) == FileKind::Suite {
        let loaded = suite::load(path, &suite::load::SuiteOptions::of(&overrides.options(false)))?;
        return Ok(loaded.members.iter().flat_map(|member| -> Vec<Spec> { specs(&member.loaded) }).collect());
    }
    spec::load(path, &overrides.options(false)).map(|loaded| specs(&loaded))
}
