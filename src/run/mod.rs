//! Runs specs and suites: from a loaded spec to a results directory that says how it ended.
//!
//! [`run`] is the whole of it in one call. The command line takes the parts: it loads several files, opens one
//! [`Session`] for all of them, and prints what ended how.
//!
//! - `session.rs`: the device and the settings that all runs of one invocation share
//! - `place.rs`: the results directory: whose it is, and the lock that keeps others out
//! - `spec.rs`, `suite.rs`, `task.rs`: one spec; every member of a suite; one of them, and what all have made
//! - `log.rs`, `panics.rs`, `signals.rs`: what a process that runs for days needs

#![warn(missing_docs)]

pub mod log;
pub mod panics;
pub mod place;
mod session;
pub mod signals;
mod spec;
mod suite;
pub mod task;

pub use session::{RunSettings, Session, ready_device};
pub use spec::{Ended, Place};
pub use suite::SuiteEnded;

use crate::model::ModelError;
use crate::spec::{Options, Problem, load};
use crate::suite::FileKind;
use place::{default_out, results_name};
use std::path::Path;

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Every mistake of the file, each with its place.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Spec(Vec<Problem>),
    /// The device is not there, or computes wrongly.
    #[error(transparent)]
    Device(#[from] ModelError),
}

/// Runs a spec or a suite into its results directory; where that holds a part of it, goes on from there.
///
/// # Errors
/// The file cannot be run at all, or the device cannot be used. How a run that began has ended is in [`Ended`].
pub fn run(path: &Path, options: &Options, settings: RunSettings) -> Result<Ended, RunError> {
    let options = Options { for_run: true, ..options.clone() };
    let profile = options.profile.as_deref();
    let at = |name: &str| settings.out.clone().unwrap_or_else(|| default_out(&results_name(name, profile, None)));
    if FileKind::of(path) == FileKind::Suite {
        let loaded =
            crate::suite::load(path, &crate::suite::load::SuiteOptions::of(&options)).map_err(RunError::Spec)?;
        let out = at(&loaded.suite.name);
        return Ok(Session::open(settings)?.suite(&loaded, &out, &|_| ()).ended);
    }
    let loaded = load(path, &options).map_err(RunError::Spec)?;
    let out = at(&loaded.spec.name);
    Ok(Session::open(settings)?.spec(&loaded, &Place::alone(&out)))
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = e.source();
    }
    text
}

/// Peak resident memory in bytes; known on Linux only.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
