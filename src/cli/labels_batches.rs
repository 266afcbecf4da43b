//! `runner labels serve | drop | restore | agreement`: directories of batches and the people who answer them
//! (docs/batches.md).

use super::chain;
use super::model::{CommandFailure, write_line};
use crate::label::LabelError;
use crate::label::batch::append::append_event;
use crate::label::batch::read::{self, check_labeler};
use crate::label::batch::status::{BatchesReport, agreement_markdown, agreement_text, inspect};
use crate::label::batch::{LabelerAction, LabelerEvent};
use crate::label::serve::{Found, ServeOptions, Server};
use crate::printed::for_terminal;
use crate::results::file;
use crate::results::stops::now;
use crate::spec::{QualitySpec, did_you_mean};
use clap::{Args, ValueEnum};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Args)]
pub struct ServeArgs {
    /// The directory of batches: labeler.batches of the spec
    dir: PathBuf,
    /// Address and port; other addresses than this machine's own ask for a token, which is printed
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Results directory of the run: its curve on the dashboard, and the button that stops it
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// The lead's token, to keep addresses over restarts (default: RUNNER_LABELS_TOKEN, which unlike this one nobody
    /// else on the machine sees in the list of processes; else a random one each time)
    #[arg(long)]
    token: Option<String>,
    /// Minutes for which an item is one labeler's
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=1440))]
    lease: u64,
}

#[derive(Args)]
pub struct DecideArgs {
    /// The labeler's name
    labeler: String,
    /// The directory of batches
    #[arg(long)]
    dir: PathBuf,
    /// Why; kept in labelers.jsonl
    #[arg(long, default_value = "")]
    reason: String,
    /// Who decides (default: the user's name)
    #[arg(long)]
    by: Option<String>,
}

#[derive(Args)]
pub struct AgreementArgs {
    /// The directory of batches, or one batch
    dir: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    Markdown,
}

/// Wrong labels are wrong input; the disk's refusals are not told apart from them.
fn input(e: LabelError) -> CommandFailure {
    CommandFailure::Input(chain(&e))
}

/// The login name, for records of who decided.
pub fn user() -> String {
    let name = ["USER", "USERNAME", "LOGNAME"].iter().find_map(|v| std::env::var(v).ok()).unwrap_or_default();
    if check_labeler(&name).is_ok() { name } else { "somebody at the command line".into() }
}

/// The report on a path that is a directory of batches, or one batch of one.
pub fn report(path: &Path) -> Result<BatchesReport, LabelError> {
    let spec = QualitySpec::default();
    if !path.join("batch.json").is_file() {
        return inspect(path, None, &spec);
    }
    let whole = std::path::absolute(path).map_err(|e| LabelError::file(path, e))?;
    match (whole.parent(), whole.file_name()) {
        (Some(parent), Some(name)) => inspect(parent, Some(&name.to_string_lossy()), &spec),
        _ => Err(LabelError::file(path, "a batch has a directory of batches around it")),
    }
}

pub fn agreement(args: &AgreementArgs) -> Result<(), CommandFailure> {
    let report = report(&args.dir).map_err(input)?;
    let mut out = std::io::stdout().lock();
    if report.batches.is_empty() {
        return Err(CommandFailure::Input(format!("{}: there are no batches", args.dir.display())));
    }
    let lost: usize = report.batches.iter().map(|batch| batch.problems.len()).sum();
    if lost > 0 {
        eprintln!("warning: {lost} lines of answers do not count; `runner labels status` names them");
    }
    match args.format {
        Format::Json => write_line(&mut out, &report.quality),
        Format::Text => {
            out.write_all(for_terminal(&agreement_text(&report.quality)).as_bytes()).map_err(CommandFailure::Output)
        }
        Format::Markdown => {
            out.write_all(agreement_markdown(&report.quality).as_bytes()).map_err(CommandFailure::Output)
        }
    }
}

/// Drops or restores a labeler whose name is known.
pub fn decide(args: &DecideArgs, action: LabelerAction) -> Result<(), CommandFailure> {
    let dropped = read::dropped(&args.dir).map_err(input)?;
    let mut known = dropped.clone();
    known.extend(labelers(&args.dir).map_err(input)?);
    if !known.contains(&args.labeler) {
        let meant = did_you_mean(&args.labeler, known.iter().map(String::as_str)).map(|(q, _)| format!("{q} "));
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let names =
            if names.is_empty() { "nobody has answered yet".into() } else { format!("there are {}", names.join(", ")) };
        let message =
            format!("{}: no labeler {:?}: {}{names}", args.dir.display(), args.labeler, meant.unwrap_or_default());
        return Err(CommandFailure::Input(message));
    }
    let is_dropped = dropped.contains(&args.labeler);
    if is_dropped == (action == LabelerAction::Drop) {
        let state = if is_dropped { "dropped already" } else { "not dropped" };
        eprintln!("{} is {state}; nothing to do", args.labeler);
        return Ok(());
    }
    let by = args.by.clone().unwrap_or_else(user);
    let (labeler, reason) = (args.labeler.clone(), args.reason.clone());
    append_event(&args.dir, &LabelerEvent { labeler, action, by, reason, at: now() }).map_err(input)?;
    let what = match action {
        LabelerAction::Drop => "does not count any more; the next run of the spec trains r without these answers",
        LabelerAction::Restore => "counts again",
    };
    eprintln!("what {} answered {what}", args.labeler);
    Ok(())
}

/// Everybody with an answer in one of the batches.
fn labelers(dir: &Path) -> Result<BTreeSet<String>, LabelError> {
    let mut names = BTreeSet::new();
    for batch in read::batches(dir)? {
        for path in read::answer_files(&dir.join(&batch.id))? {
            read::each_answer(&path, &mut |_, answer| names.extend(answer.ok().map(|a| a.labeler)))?;
        }
    }
    Ok(names)
}

/// `labeler.human.quality` of the run in a results directory; off where that has none.
fn thresholds(results: &Path) -> QualitySpec {
    let text = std::fs::read_to_string(results.join(file::SPEC)).unwrap_or_default();
    let spec: toml::Table = text.parse().unwrap_or_default();
    let spec = toml::Value::Table(spec);
    let found = ["labeler", "human", "quality"].iter().try_fold(&spec, |at, key| at.get(key)).cloned();
    found.and_then(|quality| quality.try_into().ok()).unwrap_or_default()
}

pub fn serve(args: &ServeArgs) -> Result<(), CommandFailure> {
    if let Some(results) = args.results.as_ref().filter(|r| !r.is_dir()) {
        return Err(CommandFailure::Input(format!("--results {}: no such directory", results.display())));
    }
    let options = ServeOptions {
        dir: args.dir.clone(),
        listen: args.listen,
        results: args.results.clone(),
        token: args
            .token
            .clone()
            .or_else(|| std::env::var("RUNNER_LABELS_TOKEN").ok().filter(|token| !token.is_empty())),
        lease: Duration::from_secs(60 * args.lease),
        quality: args.results.as_deref().map(thresholds).unwrap_or_default(),
    };
    let server = Server::open(options).map_err(input)?;
    let Found { questions, checks, batches, problems } = server.found();
    problems.iter().take(20).for_each(|p| eprintln!("does not count: {}", for_terminal(p)));
    eprintln!("{questions} questions and {checks} checks in {batches} batches of {}", args.dir.display());
    if batches == 0 {
        let below = with_batches_below(&args.dir);
        match below.is_empty() {
            true => eprintln!("there are none yet; they appear on the page by themselves"),
            false => eprintln!("did you mean {}?", below.join(" or ")),
        }
    }
    let (page, dashboard) = server.addresses();
    println!("labelers:  {page}");
    println!("dashboard: {dashboard}");
    std::io::stdout().flush().map_err(CommandFailure::Output)?;
    eprintln!("every answer is on disk before the page moves on; Ctrl-C ends the server");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| CommandFailure::Run(e.to_string()))?;
    let served = runtime.block_on(server.run(ended()));
    served.map_err(|e| CommandFailure::Run(e.to_string()))
}

/// Folders below that hold batches: a directory of several, or of a run's results, is easily given instead of one.
fn with_batches_below(dir: &Path) -> Vec<String> {
    let entries =
        |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
    let mut found: Vec<String> = entries(dir)
        .into_iter()
        .filter(|path| entries(path).iter().any(|inner| inner.join("batch.json").is_file()))
        .map(|path| path.display().to_string())
        .collect();
    found.sort();
    found
}

/// Ready when the server should end.
async fn ended() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending::<()>().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {},
        () = terminate => {},
    }
    eprintln!("ending");
}
