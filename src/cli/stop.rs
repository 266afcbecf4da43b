//! `runner stop DIR`: the andon cord from a terminal.

use super::labels_batches::user;
use super::model::{CommandFailure, exit_code};
use crate::results::file;
use crate::results::stops::{StopAnswer, StopRequest, ask, now, requested, stop_file};
use crate::store::lock::is_held;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct StopArgs {
    /// Results directory of the run
    dir: PathBuf,
    /// Why; kept in stops.jsonl
    #[arg(long, default_value = "")]
    reason: String,
    /// Who stops it (default: the user's name)
    #[arg(long)]
    by: Option<String>,
    /// Take the request back, so that the run can be started again
    #[arg(long, conflicts_with_all = ["reason", "by"])]
    undo: bool,
}

/// Exit code 0 asked, or nothing to stop; 2 no results directory, 1 where writing fails.
pub fn stop(args: &StopArgs) -> i32 {
    exit_code(run(args))
}

fn run(args: &StopArgs) -> Result<(), CommandFailure> {
    let dir = args.dir.display();
    let suite = args.dir.join(file::SUITE).is_file();
    if !suite && !args.dir.join(file::SPEC).is_file() {
        return Err(CommandFailure::Input(format!(
            "{dir} is no results directory (it has no spec.toml); give the one of the run"
        )));
    }
    let failed = |e: std::io::Error| CommandFailure::Run(format!("{}: {e}", stop_file(&args.dir).display()));
    if args.undo {
        match requested(&args.dir) {
            Some(_) => std::fs::remove_file(stop_file(&args.dir)).map_err(failed)?,
            None => eprintln!("nobody asked the run in {dir} to stop"),
        }
        eprintln!("the same command that started the run goes on with it");
        return Ok(());
    }
    let asked = StopRequest { by: args.by.clone().unwrap_or_else(user), reason: args.reason.clone(), at: Some(now()) };
    match ask(&args.dir, &asked).map_err(failed)? {
        StopAnswer::NotRunning(ended) => {
            eprintln!("the run in {dir} is not in progress ({ended}): there is nothing to stop");
            return Ok(());
        }
        StopAnswer::Already(first) => eprintln!("{} has asked already", first.by),
        StopAnswer::Stops => {}
    }
    let when = match (suite, is_held(&args.dir)) {
        (_, false) => "is not in progress; when it is started again, it stops at once",
        (true, true) => "stops before its next member (to stop the member at work, name its directory)",
        (false, true) => "stops at its next step, saves",
    };
    eprintln!(
        "the run in {dir} {when}, and exits with code 4; stops.jsonl says who and why\nto go on: runner stop {dir} --undo, and the run's own command again"
    );
    Ok(())
}
