//! `runner cluster`: a suite on a cluster; src/cluster does it, this reads the command line and prints.

use super::{Overrides, print_problems};
use crate::cluster::status::Row;
use crate::cluster::submit::{Request, Submitted, dry_run, submit};
use crate::cluster::{ClusterError, cancel, config, ledger, status};
use crate::printed::for_terminal;
use crate::report::formats::in_columns;
use crate::results::Outcome;
use crate::run::place::{default_out, results_name};
use crate::spec::shipped;
use crate::suite::load::SuiteOptions;
use crate::suite::{self, FileKind};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum ClusterCommand {
    /// Hand every task of a suite that is not done to the cluster, after the stages they share, before the drawing
    #[command(
        after_help = "cluster.toml says how jobs are asked for: beside the suite, in the working directory, or in ~/.config/runner. docs/cluster.md starts from nothing. The same command again submits only what is neither done nor alive."
    )]
    Submit(SubmitArgs),
    /// What each task's own files say, beside the queue's word
    Status(WhichArgs),
    /// Take what waits out of the queue; what runs saves and ends, and `submit` goes on with it
    Cancel(WhichArgs),
}

#[derive(Args)]
pub struct SubmitArgs {
    /// A suite: a file, or the name of one that the program has inside
    #[arg(value_parser = super::spec_path())]
    suite: PathBuf,
    /// A cluster of cluster.toml
    #[arg(long, value_name = "NAME")]
    cluster: String,
    #[command(flatten)]
    overrides: Overrides,
    /// Seeds of every member: 1..5 or 1,3,7
    #[arg(long, conflicts_with = "seed")]
    seeds: Option<String>,
    /// Results directory (default: results/NAME of the suite); all hosts must see it
    #[arg(long)]
    out: Option<PathBuf>,
    /// How many tasks run at once (default: at_most of cluster.toml)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    at_most: Option<u32>,
    /// Print the scripts; submit and write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub struct WhichArgs {
    /// The suite, or its results directory
    target: PathBuf,
    /// Only as a check: the cluster to which it was submitted
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The profile with which it was submitted
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The results directory with which it was submitted
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What of the command line every task is given too.
pub struct Global {
    pub sources: Option<PathBuf>,
    pub threads: Option<u16>,
}

/// Exit code 0 done, 1 the engine refuses or a file system does, 2 wrong input.
pub fn cluster(command: &ClusterCommand, global: &Global) -> i32 {
    let done = match command {
        ClusterCommand::Submit(args) => submitted(args, global),
        ClusterCommand::Status(args) => shown(args),
        ClusterCommand::Cancel(args) => cancelled(args),
    };
    match done {
        Ok(()) => Outcome::Done.code(),
        Err(e) => {
            match &e {
                ClusterError::Config(problems) => print_problems(problems),
                other => eprintln!("error: {}", for_terminal(&other.to_string())),
            }
            e.outcome().code()
        }
    }
}

fn place(out: Option<&PathBuf>, name: &str, profile: Option<&str>) -> PathBuf {
    out.cloned().unwrap_or_else(|| default_out(&results_name(name, profile, None)))
}

fn submitted(args: &SubmitArgs, global: &Global) -> Result<(), ClusterError> {
    if FileKind::of(&args.suite) != FileKind::Suite {
        let message = format!("{} is no suite; `runner ls` lists suites", args.suite.display());
        return Err(ClusterError::Input(message));
    }
    let seeds = args.seeds.as_deref().map(super::run::parse_seeds);
    let wrong = || ClusterError::Input("--seeds: expected 1..5 or 1,3,7".into());
    let seeds = seeds.map(|seeds| seeds.ok_or_else(wrong)).transpose()?;
    let options = SuiteOptions::of(&args.overrides.options(true));
    let options = SuiteOptions { seeds: seeds.or(options.seeds), ..options };
    let suite = suite::load(&args.suite, &options).map_err(ClusterError::Config)?;
    let cluster = config::find(&args.cluster, Some(&args.suite))?;
    let out = place(args.out.as_ref(), &suite.suite.name, args.overrides.profile.as_deref());
    let command = command(args, global, &cluster.device, &out)?;
    let request =
        Request { suite: &suite, out: &out, name: &args.cluster, cluster: &cluster, command, at_most: args.at_most };
    if args.dry_run {
        let Submitted { scripts, done, .. } = dry_run(&request)?;
        for (name, text) in &scripts {
            println!("# {name}\n{text}");
        }
        eprintln!("{} of {} tasks are done; nothing was submitted", done, suite.members.len());
        return Ok(());
    }
    let submitted = submit(&request)?;
    for job in &submitted.jobs {
        let tasks = if job.tasks.is_empty() { String::new() } else { format!(", {} tasks", job.tasks.len()) };
        println!("{} {}{tasks}", job.id.as_deref().unwrap_or("?"), job.file);
    }
    let Submitted { done, live, jobs, .. } = &submitted;
    let now = jobs.iter().filter(|job| job.kind == ledger::Kind::Members).map(|job| job.tasks.len()).sum::<usize>();
    eprintln!(
        "{}: {} tasks: {done} done, {live} waiting or running from before, {now} submitted",
        out.display(),
        suite.members.len()
    );
    eprintln!("runner cluster status {}", crate::printed::shell_path(&out));
    Ok(())
}

/// `runner SUITE ...`, as a task is called.
fn command(args: &SubmitArgs, global: &Global, device: &str, out: &Path) -> Result<Vec<String>, ClusterError> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let program = std::env::current_exe().map_err(|source| ClusterError::Io { path: "runner".into(), source })?;
    // What is inside the program is unpacked on every host: its name says which it is.
    let inside = shipped::folder().is_ok_and(|folder| args.suite.starts_with(folder));
    let suite =
        args.suite.file_stem().filter(|_| inside).map_or_else(|| text(&args.suite), |n| n.to_string_lossy().into());
    let mut command = vec![text(&program)];
    let mut add =
        |option: &str, value: Option<String>| command.extend(value.into_iter().flat_map(|v| [option.into(), v]));
    add("--sources", global.sources.as_deref().map(text));
    add("--threads", global.threads.map(|threads| threads.to_string()));
    let Overrides { set, profile, seed, members, skip } = &args.overrides;
    command.extend(["run".into(), suite, "--no-progress".into()]);
    let mut add =
        |option: &str, value: Option<String>| command.extend(value.into_iter().flat_map(|v| [option.into(), v]));
    add("--device", Some(device.into()));
    add("--out", Some(text(out)));
    add("--profile", profile.clone());
    add("--seed", seed.map(|seed| seed.to_string()));
    add("--seeds", args.seeds.clone());
    add("--members", (!members.is_empty()).then(|| members.join(",")));
    add("--skip", (!skip.is_empty()).then(|| skip.join(",")));
    set.iter().for_each(|set| add("--set", Some(set.clone())));
    Ok(command)
}

/// The results directory that is meant.
fn directory(args: &WhichArgs) -> Result<PathBuf, ClusterError> {
    let out = match args.target.is_dir() {
        true => args.target.clone(),
        false => {
            let path = shipped::located(&args.target).unwrap_or_else(|_| args.target.clone());
            if !path.is_file() || FileKind::of(&path) != FileKind::Suite {
                let message = format!("{} is neither a suite nor a results directory", args.target.display());
                return Err(ClusterError::Input(message));
            }
            let about = suite::load::glance(&path);
            let name = about.as_ref().and_then(|about| about["name"].as_str()).ok_or_else(|| {
                ClusterError::Input(format!("{} has no name; `runner validate` says more", args.target.display()))
            })?;
            place(args.out.as_ref(), name, args.profile.as_deref())
        }
    };
    if let (Some(wanted), Some(ledger)) = (&args.cluster, ledger::Ledger::read(&out)?)
        && !ledger.submissions.iter().any(|submission| submission.cluster == *wanted)
    {
        let mut names: Vec<&str> = ledger.submissions.iter().map(|submission| submission.cluster.as_str()).collect();
        names.dedup();
        let message = format!("{} was submitted to {}, not to {wanted}", out.display(), names.join(", "));
        return Err(ClusterError::Input(message));
    }
    Ok(out)
}

fn shown(args: &WhichArgs) -> Result<(), ClusterError> {
    let out = directory(args)?;
    let (ledger, standing) = status::status(&out)?;
    let mut rows = vec![["TASK", "STATE", "JOB", "SAYS"].map(String::from).to_vec()];
    let cells = |row: &Row| vec![row.task.clone(), row.state.clone(), row.job.clone(), row.said.clone()];
    rows.extend(standing.rows.iter().map(cells));
    print!("{}", for_terminal(&in_columns(&rows)));
    standing.others.iter().for_each(|other| println!("{}", for_terminal(other)));
    let done = standing.rows.iter().filter(|row| row.state == "done").count();
    eprintln!("{}: {done} of {} tasks done", ledger.suite, standing.rows.len());
    match standing.unasked {
        None => Ok(()),
        Some(why) => Err(ClusterError::Engine(format!("what is alive is not known: {why}"))),
    }
}

fn cancelled(args: &WhichArgs) -> Result<(), ClusterError> {
    let out = directory(args)?;
    let cancelled = cancel::cancel(&out)?;
    if cancelled == (cancel::Cancelled { waiting: 0, running: 0 }) {
        eprintln!("{}: nothing waits or runs", out.display());
        return Ok(());
    }
    eprintln!(
        "{}: {} taken out of the queue, {} save and end (`runner cluster status` shows when); `runner cluster submit` goes on with all",
        out.display(),
        cancelled.waiting,
        cancelled.running
    );
    Ok(())
}
