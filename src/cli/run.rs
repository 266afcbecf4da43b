//! `runner SPEC...`: runs specs into results directories; the same command continues what is unfinished.

use super::directory::{default_out, prepare, results_name};
use super::{Overrides, chain, panics, print_problems, print_remarks, signals};
use crate::model::ModelError;
use crate::model::config::read_config;
use crate::model::device::{Chosen, choose};
use crate::model::self_test::self_test;
use crate::plan::{Run, timeline};
use crate::printed::{for_terminal, shell_path};
use crate::report::Results;
use crate::report::compare::compare;
use crate::report::files::{Manifest, State as RunState, Table, read_json};
use crate::report::formats::{Format, on_screen, wrapped};
use crate::report::headline::{Headline, headline};
use crate::spec::paths::portable_spec;
use crate::spec::{Loaded, PretrainTokenizer, Spec, load, resolved_toml};
use crate::stage::context::Context;
use crate::stage::progress::{Progress, Timeline};
use crate::stage::{StageError, experiment, stop};
use crate::store::atomic::write_atomic;
use crate::store::cache::Cache;
use crate::suite::files::{State, counted, worse};
use crate::suite::{self, FileKind, LoadedSuite};
use clap::Args;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
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
    /// Several seeds, one results directory each (results/NAME-seed-N): 1..5 or 1,3,7; of a suite, those of every member
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
    pub(super) fresh: bool,
    #[arg(long)]
    pub(super) no_progress: bool,
    /// Memory of the device, such as 80GB (default: what the machine says; wgpu does not say it)
    #[arg(long, value_name = "SIZE", value_parser = crate::plan::units::parse_bytes)]
    memory: Option<u64>,
    /// Start even if `runner plan` says that the device has no room
    #[arg(long)]
    no_memory_check: bool,
}

/// The log file of the run in progress.
static LOG: Mutex<Option<File>> = Mutex::new(None);

/// Writes to [`LOG`], or nowhere between runs.
struct LogFile;

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match LOG.lock().ok().as_deref_mut() {
            Some(Some(file)) => file.write(bytes),
            _ => Ok(bytes.len()),
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
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
    let _ = tracing_subscriber::registry().with(screen).with(file).try_init();
}

/// Where the log goes from here on.
pub(super) fn log_to(out: &Path) {
    if let Ok(mut log) = LOG.lock() {
        *log = File::options().create(true).append(true).open(out.join("log.txt")).ok();
    }
}

/// The seeds of `--seeds`: `1..5` (both ends) or `1,3,7`.
fn parse_seeds(text: &str) -> Option<Vec<u64>> {
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

/// Runs all specs; returns the worst exit code: see [`worse`].
pub fn run(args: &RunArgs, level: &str) -> i32 {
    start_logging(level);
    let seeds: Vec<Option<u64>> = match args.seeds.as_deref().map(parse_seeds) {
        None => vec![args.overrides.seed],
        Some(Some(seeds)) => seeds.into_iter().map(Some).collect(),
        Some(None) => {
            eprintln!("error: --seeds: expected 1..5 or 1,3,7");
            return 2;
        }
    };
    let suites = args.specs.iter().filter(|path| FileKind::of(path) == FileKind::Suite).count();
    if args.out.is_some() && (args.specs.len() > 1 || (seeds.len() > 1 && suites == 0)) {
        eprintln!("error: --out names one directory; give one spec and one seed with it");
        return 2;
    }
    let mut jobs = Vec::new();
    let (mut problems, mut remarks) = (Vec::new(), Vec::new());
    for path in &args.specs {
        if FileKind::of(path) == FileKind::Suite {
            let given: Vec<u64> = seeds.iter().copied().flatten().collect();
            let options = super::suite::options(&args.overrides, (!given.is_empty()).then_some(given), true);
            match suite::load(path, &options) {
                Ok(loaded) => {
                    remarks.extend(loaded.members.iter().flat_map(|member| member.loaded.remarks.iter().cloned()));
                    jobs.push(Job::Suite(Box::new(loaded)));
                }
                Err(found) => problems.extend(found),
            }
            continue;
        }
        for seed in &seeds {
            let options = crate::spec::Options { seed: *seed, ..args.overrides.options(true) };
            let found = load(path, &options).inspect(|loaded| remarks.extend(loaded.remarks.iter().cloned()));
            match found {
                Ok(loaded) if args.seeds.is_some() => {
                    jobs.push(Job::Spec { seed: Some(loaded.spec.seed), loaded: Box::new(loaded.of_several_seeds()) });
                }
                Ok(loaded) => jobs.push(Job::Spec { loaded: Box::new(loaded), seed: None }),
                Err(found) => problems.extend(found),
            }
        }
    }
    if !problems.is_empty() {
        print_problems(&problems);
        return 2;
    }
    // Of several seeds, once.
    remarks.sort();
    remarks.dedup();
    print_remarks(&remarks);
    // Before the device's test, which takes its time on a GPU.
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Err(e) = signals::listen(Arc::clone(&interrupted)) {
        tracing::warn!("Ctrl-C will not save: {e}");
    }
    panics::remember();
    let chosen = match ready_device(&args.device) {
        Ok(chosen) => chosen,
        Err(message) => {
            eprintln!("error: {message}");
            return if message.contains("is not a device") { 2 } else { 1 };
        }
    };
    if interrupted.load(Ordering::SeqCst) {
        eprintln!("error: stopped by {} before the first stage", stop::signal());
        return 4;
    }
    let (mut code, several) = (0, jobs.len() > 1);
    let mut ended = Vec::new();
    let mut of_seeds = Vec::new();
    for job in jobs {
        let this = match job {
            Job::Spec { loaded, seed } => {
                let name = results_name(&loaded.spec.name, args.overrides.profile.as_deref(), seed);
                let out = args.out.clone().unwrap_or_else(|| default_out(&name));
                let place = Place { out: &out, cache: Cache::beside(&out), quiet: false, timeline: None };
                let code = run_one(args, &loaded, &place, &chosen, &interrupted).code;
                of_seeds.extend((seed.is_some() && code == 0).then_some(out));
                code
            }
            Job::Suite(loaded) => {
                let name = results_name(&loaded.suite.name, args.overrides.profile.as_deref(), None);
                let out = args.out.clone().unwrap_or_else(|| default_out(&name));
                super::suite::run(args, &loaded, &out, &chosen, &interrupted)
            }
        };
        code = worse(code, this);
        ended.push(State::of_code(this));
        if interrupted.load(Ordering::SeqCst) {
            break;
        }
    }
    if several {
        eprintln!("{}", counted(&ended));
    }
    if args.specs.len() == 1 && of_seeds.len() > 1 {
        // The runs are done whether or not this can be said of them.
        match compare(&of_seeds, Format::Text, 0.0) {
            Ok(summary) => print!("\n{}", summary.text),
            Err(e) => tracing::warn!("the seeds are not summed up: {}", chain(&e)),
        }
    }
    code
}

/// The device, after it has passed the known-answer test.
pub fn ready_device(name: &str) -> Result<Chosen, String> {
    let chosen = choose(name).map_err(|e| chain(&e))?;
    let test = self_test(&chosen.device).map_err(|e| chain(&e))?;
    if !test.passed() {
        return Err(format!(
            "{} computes wrongly ({test:?}): refused. Update its driver, or use --device cpu",
            chosen.name
        ));
    }
    tracing::info!("device: {}", chosen.name);
    Ok(chosen)
}

/// Where a spec is run into.
pub(super) struct Place<'a> {
    pub out: &'a Path,
    pub cache: Cache,
    /// Its table is not for standard output: a member's of a suite.
    pub quiet: bool,
    /// Of the whole of which this run is a part, where it is one.
    pub timeline: Option<Arc<Mutex<Timeline>>>,
}

/// How a run ended.
pub(super) struct Ended {
    pub code: i32,
    /// What went wrong, where something did; it has been printed.
    pub error: Option<String>,
}

impl Ended {
    /// Prints a message and is its exit code.
    pub fn refused(code: i32, message: String) -> Self {
        eprintln!("error: {}", for_terminal(&message));
        Self { code, error: Some(message) }
    }
}

/// Runs one spec into one directory.
pub(super) fn run_one(
    args: &RunArgs,
    loaded: &Loaded,
    place: &Place<'_>,
    chosen: &Chosen,
    interrupted: &Arc<AtomicBool>,
) -> Ended {
    let out = place.out;
    if let Err(message) = check_room(args, &[loaded], &place.cache, chosen) {
        return Ended::refused(2, message);
    }
    if let Err(e) = loaded.variants.iter().try_for_each(|(_, spec)| room_for(chosen, spec)) {
        return Ended::refused(1, e.to_string());
    }
    let _lock = match prepare(args.fresh, &resolved_toml(&portable_spec(&loaded.spec, out)), "spec.toml", out) {
        Ok(lock) => lock,
        Err((code, message)) => return Ended::refused(code, message),
    };
    log_to(out);
    let context = Context {
        device: chosen.device.clone(),
        device_kind: chosen.kind(),
        cache: place.cache.clone(),
        out: out.to_path_buf(),
        progress: !args.no_progress,
        interrupted: Arc::clone(interrupted),
        records: Mutex::new(Vec::new()),
        sources: Mutex::new(Vec::new()),
        reads: Mutex::new(Vec::new()),
        timeline: place.timeline.clone().unwrap_or_else(|| {
            let runs = Run::of(loaded, loaded.variants.clone(), None);
            Arc::new(Mutex::new(timeline(&runs, &chosen.kind())))
        }),
    };
    let mut manifest = Manifest {
        name: loaded.spec.name.clone(),
        state: RunState::Running,
        program_version: env!("CARGO_PKG_VERSION").into(),
        git_commit: option_env!("RUNNER_GIT_COMMIT").map(str::to_string),
        device: chosen.name.clone(),
        driver: chosen.driver.clone(),
        seeds: vec![loaded.spec.seed],
        runs: loaded.variants.iter().map(|(n, _)| n.clone()).collect(),
        stages: Vec::new(),
        sources: Vec::new(),
        reads: Vec::new(),
        started_at: now(),
        finished_at: None,
        peak_memory_bytes: None,
        error: None,
        profile: args.overrides.profile.clone(),
        set: args.overrides.set.clone(),
    };
    let result =
        save_manifest(out, &manifest).and_then(|()| panics::caught(|| experiment::run(&context, &loaded.variants)));
    manifest.stages = context.records.into_inner().unwrap_or_default();
    manifest.sources = context.sources.into_inner().unwrap_or_default();
    manifest.reads = context.reads.into_inner().unwrap_or_default();
    manifest.state = match &result {
        Ok(()) => RunState::Done,
        Err(e) if e.exit_code() == 3 => RunState::Waiting,
        Err(e) if e.exit_code() == 4 => RunState::Stopped,
        Err(_) => RunState::Failed,
    };
    // Whoever reads it would take the run for one that goes on, or was killed.
    let _ = std::fs::remove_file(Progress::path(out));
    manifest.error = result.as_ref().err().map(|e| chain(e));
    manifest.finished_at = Some(now());
    manifest.peak_memory_bytes = peak_memory();
    let result =
        result.and_then(|()| save_manifest(out, &manifest)).or_else(|e| save_manifest(out, &manifest).and(Err(e)));
    if let Err(e) = &result
        && let Err(failed) = stop::record(out, e)
    {
        tracing::error!("{}: who stopped the run is not recorded: {failed}", out.display());
    }
    let code = result.as_ref().err().map_or(0, StageError::exit_code);
    match (&manifest.error, code) {
        (Some(message), 3) => tracing::warn!("{message}"),
        (Some(message), _) => tracing::error!("{message}"),
        (None, _) => {}
    }
    finish(out, place.quiet, code, manifest.error)
}

/// Refuses what the device has no memory for, unless told not to.
pub(super) fn check_room(args: &RunArgs, specs: &[&Loaded], cache: &Cache, chosen: &Chosen) -> Result<(), String> {
    if args.no_memory_check { Ok(()) } else { super::plan::room(specs, cache, chosen, args.memory) }
}

/// Whether the device holds a spec's model; what is wrong with a model directory is for its stage to say.
fn room_for(chosen: &Chosen, spec: &Spec) -> Result<(), ModelError> {
    let weights = &spec.model.weights;
    let (vocab, width) = match (&weights.path, &weights.pretrain) {
        (Some(path), _) => match read_config(Path::new(path)) {
            Ok(config) => (config.vocab, config.dimensions.width),
            Err(_) => return Ok(()),
        },
        (None, Some(p)) if p.tokenizer == PretrainTokenizer::Trained => (p.vocabulary, spec.model.dimensions().width),
        // GPT-2's, here and on the hub.
        _ => (50_257, spec.model.dimensions().width),
    };
    chosen.check_room(vocab, width)
}

/// Draws the report, says what came out, and where it is.
fn finish(out: &Path, quiet: bool, code: i32, error: Option<String>) -> Ended {
    let drawn = crate::report::draw(out).and_then(|()| Results::load(out));
    let results = match drawn {
        Ok(results) => results,
        Err(e) => {
            let message = format!("the report is not drawn: {}; try `runner report {}`", chain(&e), shell_path(out));
            tracing::error!("{message}");
            return Ended { code: if code == 0 { 1 } else { code }, error: error.or(Some(message)) };
        }
    };
    if code == 0 && !quiet {
        print_table(out, "scores");
    }
    let Headline { result, .. } = headline(&results);
    // What went wrong has been said.
    if code == 0 {
        eprintln!("\n{}", wrapped(&result, screen_width()).join("\n"));
    }
    eprintln!("report: {}", out.join("report.html").display());
    Ended { code, error }
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

fn save_manifest(out: &Path, manifest: &Manifest) -> Result<(), StageError> {
    let path = out.join("manifest.json");
    let text = serde_json::to_string_pretty(manifest).map_err(|e| StageError::Input(e.to_string()))?;
    write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))
}

pub(super) fn now() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string()
}

/// Peak resident memory; known on Linux only.
pub(super) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
