//! `runner SPEC...`: runs specs into results directories; the same command continues what is unfinished. src/run runs
//! them, this reads the command line and says what came out.

use super::{Overrides, chain, print_problems, print_remarks};
use crate::context::{StageError, signal};
use crate::model::faults;
use crate::printed::for_terminal;
use crate::ranks::{self, Elsewhere};
use crate::report::compare::compare;
use crate::report::formats::{Format, on_screen, wrapped};
use crate::results::{Outcome, Table, file, read_json};
use crate::run::log::LogFile;
use crate::run::place::{default_out, results_name};
use crate::run::task::{self, STAGES};
use crate::run::{Ended, Place, RunSettings, Session, SuiteEnded, panics, signals};
use crate::spec::{Loaded, Problem, Spec, load, resolved_toml};
use crate::suite::files::{MemberState, counted};
use crate::suite::{self, FileKind, LoadedMember, LoadedSuite};
use clap::Args;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

#[derive(Args)]
pub struct RunArgs {
    /// Specs of experiments, or of suites: files, or names of those that the program has inside (`runner ls`)
    #[arg(required = true, value_parser = super::spec_path())]
    specs: Vec<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// Several seeds, one results directory each (results/NAME-seed-N): 1..5 or 1,3,7; of a suite, those of every
    /// member
    #[arg(long, conflicts_with = "seed")]
    seeds: Option<String>,
    /// auto, cpu, wgpu or wgpu:N (see `runner doctor`)
    #[arg(long, default_value = "auto")]
    device: String,
    /// Results directory (default: results/NAME of the spec, results/NAME-PROFILE with a profile)
    #[arg(long)]
    out: Option<PathBuf>,
    /// Keep results of another spec aside (DIR.old-N) and start a new directory
    #[arg(long)]
    fresh: bool,
    /// Of a suite, run one task alone: MEMBER-seed-N, or its place in the suite's order from 0 (such as
    /// "$SLURM_ARRAY_TASK_ID"); --gather draws when all have run
    #[arg(long, value_name = "TASK", conflicts_with_all = ["fresh", "gather"])]
    member: Option<String>,
    /// With --member: end after the first stage of this name
    #[arg(long, value_name = "STAGE", requires = "member", value_parser = STAGES)]
    until: Option<String>,
    /// Of a suite, train nothing: read what its tasks have made and draw; asks readers where the table does
    #[arg(long, conflicts_with = "fresh")]
    gather: bool,
    #[arg(long)]
    no_progress: bool,
    /// Memory of the device, such as 80GB: a GPU's passes are cut to it (default: what the machine says; of a GPU, which
    /// does not say it, 24GB)
    #[arg(long, visible_alias = "device-memory", value_name = "SIZE", value_parser = crate::plan::units::parse_bytes)]
    memory: Option<u64>,
    /// Start even if `runner plan` says that the device has no room
    #[arg(long)]
    no_memory_check: bool,
}

pub(super) fn start_logging(level: &str) {
    // The libraries below us log at info; only their warnings matter here.
    let filter = |level: &str| EnvFilter::new(format!("warn,runner={level}"));
    let screen = EnvFilter::try_from_default_env().unwrap_or_else(|_| filter(level));
    let screen = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(super::in_colour(std::io::stderr().is_terminal(), &|name| std::env::var_os(name)))
        .with_target(false)
        .without_time()
        .with_filter(screen);
    let file = fmt::layer().with_writer(|| LogFile).with_ansi(false).with_filter(filter("debug"));
    // Before the subscriber, which takes the libraries' log for itself where nobody has it.
    faults::listen();
    let _ = tracing_subscriber::registry().with(screen).with(file).try_init();
}

/// The seeds of `--seeds`: `1..5` (both ends) or `1,3,7`.
pub(super) fn parse_seeds(text: &str) -> Option<Vec<u64>> {
    let seeds: Vec<u64> = match text.split_once("..") {
        Some((a, b)) => (a.trim().parse().ok()?..=b.trim_start_matches('=').trim().parse().ok()?).collect(),
        None => text.split(',').map(|s| s.trim().parse().ok()).collect::<Option<_>>()?,
    };
    (1..=1000).contains(&seeds.len()).then_some(seeds)
}

/// What a file of the command line asks for.
enum Job {
    /// With its seed, where there are several.
    Spec {
        loaded: Box<Loaded>,
        seed: Option<u64>,
    },
    Suite(Box<LoadedSuite>),
}

impl Job {
    /// All that it depends on, to compare with other ranks'.
    fn text(&self) -> String {
        let one = |(name, spec): &(String, Spec)| format!("[{name}]\n{}", resolved_toml(spec));
        let specs = |loaded: &Loaded| loaded.variants.iter().map(one).collect::<String>();
        match self {
            Self::Spec { loaded, seed } => format!("{seed:?}\n{}", specs(loaded)),
            Self::Suite(suite) => suite.members.iter().map(|member| specs(&member.loaded)).collect(),
        }
    }
}

/// The part of a suite that is wanted.
enum Part<'a> {
    Task(&'a LoadedSuite, &'a LoadedMember),
    Gather(&'a LoadedSuite),
}

impl RunArgs {
    fn settings(&self) -> RunSettings {
        RunSettings {
            device: self.device.clone(),
            out: self.out.clone(),
            fresh: self.fresh,
            progress: !self.no_progress,
            memory: self.memory,
            memory_check: !self.no_memory_check,
            profile: self.overrides.profile.clone(),
            set: self.overrides.set.clone(),
            interrupted: Arc::default(),
        }
    }

    /// The seeds that are asked for; None stands for the spec's own.
    fn seeds(&self) -> Result<Vec<Option<u64>>, String> {
        let seeds: Vec<Option<u64>> = match self.seeds.as_deref().map(parse_seeds) {
            None => vec![self.overrides.seed],
            Some(Some(seeds)) => seeds.into_iter().map(Some).collect(),
            Some(None) => return Err("--seeds: expected 1..5 or 1,3,7".into()),
        };
        let suites = self.specs.iter().filter(|path| FileKind::of(path) == FileKind::Suite).count();
        if self.out.is_some() && (self.specs.len() > 1 || (seeds.len() > 1 && suites == 0)) {
            return Err("--out names one directory; give one spec and one seed with it".into());
        }
        Ok(seeds)
    }

    /// Loads every file, at every seed; all mistakes at once.
    fn jobs(&self, seeds: &[Option<u64>]) -> Result<Vec<Job>, Vec<Problem>> {
        let mut jobs = Vec::new();
        let (mut problems, mut remarks) = (Vec::new(), Vec::new());
        for path in &self.specs {
            if FileKind::of(path) == FileKind::Suite {
                match suite::load(path, &self.suite_options(seeds)) {
                    Ok(loaded) => {
                        remarks.extend(loaded.members.iter().flat_map(|member| member.loaded.remarks.iter().cloned()));
                        jobs.push(Job::Suite(Box::new(loaded)));
                    }
                    Err(found) => problems.extend(found),
                }
                continue;
            }
            for seed in seeds {
                let options = crate::spec::Options { seed: *seed, ..self.overrides.options(true) };
                let found = load(path, &options).inspect(|loaded| remarks.extend(loaded.remarks.iter().cloned()));
                match found {
                    Ok(loaded) if self.seeds.is_some() => {
                        let seed = Some(loaded.spec.seed);
                        jobs.push(Job::Spec { seed, loaded: Box::new(loaded.of_several_seeds()) });
                    }
                    Ok(loaded) => jobs.push(Job::Spec { loaded: Box::new(loaded), seed: None }),
                    Err(found) => problems.extend(found),
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        // Of several seeds, once.
        remarks.sort();
        remarks.dedup();
        if ranks::is_first() {
            print_remarks(&remarks);
        }
        Ok(jobs)
    }

    fn suite_options(&self, seeds: &[Option<u64>]) -> suite::load::SuiteOptions {
        let given: Vec<u64> = seeds.iter().copied().flatten().collect();
        let options = suite::load::SuiteOptions::of(&self.overrides.options(true));
        suite::load::SuiteOptions { seeds: if given.is_empty() { options.seeds } else { Some(given) }, ..options }
    }
}

impl RunArgs {
    /// `--member` and `--gather`. None: all of it is wanted.
    fn part<'a>(&self, jobs: &'a [Job]) -> Result<Option<Part<'a>>, String> {
        let option = match (&self.member, self.gather) {
            (None, false) => return Ok(None),
            (Some(_), _) => "--member",
            (None, true) => "--gather",
        };
        let [Job::Suite(loaded)] = jobs else {
            return Err(format!("{option} takes one suite (`runner ls` lists them)"));
        };
        let Some(word) = &self.member else { return Ok(Some(Part::Gather(loaded))) };
        let member = task::task(loaded, word)?;
        self.until.as_ref().map_or(Ok(()), |until| task::check_until(member, until))?;
        Ok(Some(Part::Task(loaded, member)))
    }
}

/// Runs all specs, with the other processes that a launcher may have started for the same; returns the exit code of the
/// worst end: see [`Outcome::worse`].
pub fn run(args: &RunArgs, level: &str) -> i32 {
    if let Err(message) = ranks::start() {
        eprintln!("error: {message}");
        return Outcome::WrongInput.code();
    }
    ranks::finish(run_here(args, level))
}

/// The same on this rank. What all ranks would say, the first says.
fn run_here(args: &RunArgs, level: &str) -> i32 {
    start_logging(if ranks::is_first() { level } else { "error" });
    let jobs = match args.seeds().map(|seeds| args.jobs(&seeds)) {
        Ok(Ok(jobs)) => jobs,
        Ok(Err(problems)) => {
            print_problems(&problems);
            return Outcome::WrongInput.code();
        }
        Err(message) => {
            eprintln!("error: {message}");
            return Outcome::WrongInput.code();
        }
    };
    let part = match args.part(&jobs) {
        Ok(part) => part,
        Err(message) => {
            eprintln!("error: {message}");
            return Outcome::WrongInput.code();
        }
    };
    if let Some(Part::Gather(loaded)) = part.as_ref().filter(|part| !part.needs_device()) {
        return first_alone(|| gathered(args, loaded, None).code());
    }
    let settings = args.settings();
    // Before the device's test, which takes its time on a GPU.
    if let Err(e) = signals::listen(Arc::clone(&settings.interrupted)) {
        tracing::warn!("Ctrl-C will not save: {e}");
    }
    panics::remember();
    let session = match Session::open(settings) {
        Ok(session) => session,
        Err(e) => {
            eprintln!("error: {}", chain(&e));
            return StageError::from(e).outcome().code();
        }
    };
    let asked: String = jobs.iter().map(Job::text).collect();
    if let Err(Elsewhere { rank, code, message, .. }) = session.check_ranks(&asked) {
        if ranks::is_first() {
            eprintln!("error: rank {rank}: {message}");
        }
        return code;
    }
    if session.is_interrupted() {
        eprintln!("error: stopped by {} before the first stage", signal::name());
        return Outcome::Stopped.code();
    }
    match part {
        None => all(args, &session, &jobs).code(),
        Some(Part::Gather(loaded)) => first_alone(|| gathered(args, loaded, Some(&session)).code()),
        Some(Part::Task(loaded, member)) => {
            let out = place(args, &loaded.suite.name, None);
            let ended = session.member(loaded, member, &out, args.until.as_deref());
            print_ended(&ended, Some("scores"));
            if ended.reached { Outcome::Done.code() } else { ended.outcome.code() }
        }
    }
}

/// The exit code of what one process does; others of the same run have nothing to do.
fn first_alone(work: impl FnOnce() -> i32) -> i32 {
    if ranks::is_first() { ranks::alone(work) } else { Outcome::Done.code() }
}

impl Part<'_> {
    /// Whether something is computed: a gathered suite only where readers are shown texts, or its models are looked at together.
    fn needs_device(&self) -> bool {
        match self {
            Self::Task(..) => true,
            Self::Gather(loaded) => loaded.suite.makes.has_work_after_members(),
        }
    }
}

fn gathered(args: &RunArgs, loaded: &LoadedSuite, session: Option<&Session>) -> Outcome {
    let ended = task::gather(loaded, &place(args, &loaded.suite.name, None), session);
    print_suite(&ended);
    ended.ended.outcome
}

/// Every job, until somebody stops the line.
fn all(args: &RunArgs, session: &Session, jobs: &[Job]) -> Outcome {
    let mut outcome = Outcome::Done;
    let (mut ended, mut of_seeds) = (Vec::new(), Vec::new());
    for job in jobs {
        let this = match job {
            Job::Spec { loaded, seed } => {
                let out = place(args, &loaded.spec.name, *seed);
                let this = session.spec(loaded, &Place::alone(&out));
                print_ended(&this, Some("scores"));
                of_seeds.extend((seed.is_some() && this.outcome == Outcome::Done).then_some(out));
                this.outcome
            }
            Job::Suite(loaded) => {
                let out = place(args, &loaded.suite.name, None);
                let this = session.suite(loaded, &out, &|member| print_ended(member, None));
                print_suite(&this);
                this.ended.outcome
            }
        };
        outcome = outcome.worse(this);
        ended.push(MemberState::of(this));
        if session.is_interrupted() {
            break;
        }
    }
    if !ranks::is_first() {
        return outcome;
    }
    if jobs.len() > 1 {
        eprintln!("{}", counted(&ended));
    }
    if args.specs.len() == 1 && of_seeds.len() > 1 {
        // The runs are done whether or not this can be said of them.
        match compare(&of_seeds, Format::Text, 0.0) {
            Ok(summary) => print!("\n{}", summary.text),
            Err(e) => tracing::warn!("the seeds are not summed up: {}", chain(&e)),
        }
    }
    outcome
}

fn place(args: &RunArgs, name: &str, seed: Option<u64>) -> PathBuf {
    let name = results_name(name, args.overrides.profile.as_deref(), seed);
    args.out.clone().unwrap_or_else(|| default_out(&name))
}

/// What came of a run: a table of it, the result in words, and where the page is; or why nothing was begun.
fn print_ended(ended: &Ended, table: Option<&str>) {
    if !ranks::is_first() {
        return;
    }
    if ended.refused {
        eprintln!("error: {}", for_terminal(ended.error.as_deref().unwrap_or_default()));
    }
    let Some(result) = &ended.result else { return };
    // What went wrong has been said.
    if ended.outcome == Outcome::Done {
        table.into_iter().for_each(|id| print_table(&ended.out, id));
        eprintln!("\n{}", wrapped(result, screen_width()).join("\n"));
    }
    eprintln!("report: {}", ended.out.join(file::REPORT).display());
}

/// Members and questions that are not done, how many are, and the suite's first table with what it says.
fn print_suite(SuiteEnded { ended, manifest, table }: &SuiteEnded) {
    if !ranks::is_first() {
        return;
    }
    let Some(manifest) = manifest else { return print_ended(ended, None) };
    let because = |reason: &Option<String>| reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let said = |state: MemberState| !matches!(state, MemberState::Done | MemberState::LeftOut);
    for m in manifest.members.iter().filter(|m| said(m.state)) {
        eprintln!("{}, seed {}: {}{}", m.member, m.seed, m.state.word(), because(&m.error));
    }
    for q in manifest.questions.iter().filter(|q| q.state != MemberState::Done) {
        eprintln!("{}: {}{}", q.id, q.state.word(), because(&q.message));
    }
    let states: Vec<MemberState> = manifest.members.iter().map(|m| m.state).collect();
    eprintln!("{}: {}", manifest.name, counted(&states));
    if let Some(result) = &ended.result {
        table.iter().for_each(|id| print_table(&ended.out, id));
        eprintln!("\n{}", wrapped(result, screen_width()).join("\n"));
        eprintln!("report: {}", ended.out.join(file::REPORT).display());
    }
}

/// A table on standard output: in columns on a screen, as Markdown for whatever else reads it.
pub(super) fn print_table(out: &Path, id: &str) {
    let path = |ending: &str| out.join(format!("tables/{id}.{ending}"));
    let text = match std::io::stdout().is_terminal() {
        true => read_json::<Table>(&path("json")).ok().map(|table| on_screen(&table, screen_width())),
        false => std::fs::read_to_string(path("md")).ok(),
    };
    print!("{}", text.unwrap_or_default());
}

/// Characters of a terminal's line, at most what is read easily; 100 where there is no terminal.
pub(super) fn screen_width() -> usize {
    let size = terminal_size::terminal_size();
    size.map_or(100, |(width, _)| usize::from(width.0).clamp(20, 120))
}
