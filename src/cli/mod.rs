//! The command line: definitions here, one file per command beside this one. Output for machines goes to standard
//! output, everything else to standard error. Exit codes: 0 done, 1 failed or regressed, 2 wrong input, 3 waiting for
//! people, 4 stopped.

pub mod compare;
pub mod doctor;
pub mod init;
pub mod labels;
pub mod labels_batches;
pub mod labels_exchange;
pub mod logprobs;
pub mod ls;
pub mod math;
pub mod model;
pub mod plan;
pub mod report;
pub mod run;
pub mod sample;
pub mod schema;
pub mod stop;
pub mod suite;
mod timeline;
pub mod validate;

use crate::model::memory::keep_freed_memory;
use crate::report::formats::Format;
use crate::spec::{Options, Problem, shipped};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "runner",
    version,
    about = "Fine-tune language models from human preferences (Ziegler et al. 2019), from a TOML spec",
    after_help = "Examples:\n  runner quickstart --profile smoke               the whole pipeline, tiny, in seconds\n  runner quickstart                               for real, in minutes; the same command continues or reuses\n  runner init mine                                a spec to start from\n  runner validate specs/*.toml                    all errors of all files at once\n  runner plan specs/quickstart.toml               every value and where it came from\n  runner compare results/a results/b              spec differences, then metrics with intervals\n\nExit codes: 0 done, 1 failed or regressed, 2 wrong input, 3 waiting for people's labels, 4 stopped by a guard or a person"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log more (-v: debug, -vv: trace)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Threads of the CPU backend (default: RAYON_NUM_THREADS, else one per core); results do not depend on it
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    /// Run specs (what `runner SPEC...` does); continues what is unfinished, reuses what is done
    Run(run::RunArgs),
    /// Check everything that can be checked without running; all errors at once
    Validate {
        #[arg(required = true, value_parser = spec_path())]
        specs: Vec<PathBuf>,
        #[command(flatten)]
        overrides: Overrides,
        #[arg(long, value_enum, default_value = "text")]
        format: ProblemFormat,
    },
    /// The resolved spec with the origin of each value, the stages, and estimates of work and memory
    Plan {
        #[arg(value_parser = spec_path())]
        spec: PathBuf,
        #[command(flatten)]
        overrides: Overrides,
        /// The device whose cached stages are looked up
        #[arg(long, default_value = "auto")]
        device: String,
        /// Results directory (default: results/NAME of the spec); the stage cache is beside it
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Spec differences first, then metrics: value, interval, difference, verdict
    Compare(compare::CompareArgs),
    /// Draw the tables, plots and page of a results directory again, or print its tables for pasting
    Report(report::ReportArgs),
    /// Continuations of a prompt under a model directory
    Sample(sample::SampleArgs),
    /// Per-token log-probabilities of responses under a model directory, JSON lines in and out
    Logprobs(logprobs::LogprobsArgs),
    /// Labels of people: files, batches of questions, the page on which people answer them
    Labels {
        #[command(subcommand)]
        command: labels::LabelsCommand,
    },
    /// Stop a run at its next step and say why: the andon cord
    #[command(
        after_help = "The run saves and exits with code 4. `runner stop DIR --undo` and the run's own command go on with it. A file named `stop` in the results directory does the same, as do the buttons of `runner labels serve --results DIR`. DIR/stops.jsonl keeps who stopped what, and why."
    )]
    Stop(stop::StopArgs),
    /// Write a spec to start from: NAME.toml, on top of one that the program has inside
    Init(init::InitArgs),
    /// What runs now; specs and suites, here or inside the program, and the tables they make; the results in results/
    Ls,
    /// Devices and backends found, with a numeric self-test of each
    Doctor,
    /// One numeric kernel on JSON: reads an object from standard input, prints one (`runner math OP < in.json`)
    #[command(after_help = math::help())]
    Math {
        #[arg(value_parser = math::parser(), hide_possible_values = true)]
        op: String,
    },
    /// Write schemas/*.json from the program's types
    Schema {
        /// Only check that they are up to date
        #[arg(long)]
        check: bool,
    },
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Write the manual: runner.1, and a page for each command
    Man {
        /// Folder for the pages
        dir: PathBuf,
    },
}

/// What changes a spec from the command line.
#[derive(Args, Clone, Default)]
pub struct Overrides {
    /// Override one value, typed as TOML: --set policy.lr=1e-5 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Apply [profile.NAME] of the spec
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Root of all random streams
    #[arg(long)]
    pub seed: Option<u64>,
}

impl Overrides {
    pub fn options(&self, for_run: bool) -> Options {
        Options { set: self.set.clone(), profile: self.profile.clone(), seed: self.seed, for_run, ..Options::default() }
    }
}

/// How problems are printed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum ProblemFormat {
    Text,
    Json,
}

fn parse_format(name: &str) -> Result<Format, String> {
    Format::of(name).ok_or_else(|| format!("expected one of {}", Format::WORDS.join(", ")))
}

/// Prints problems to standard error.
pub fn print_problems(problems: &[Problem]) {
    problems.iter().for_each(|p| eprintln!("error: {p}"));
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

/// What commands without a log file of their own have to say while they work.
fn start_screen_log(level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("warn,runner={level}")));
    let layer = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    let _ = layer.with_env_filter(filter).try_init();
}

/// `runner SPEC...` is short for `runner run SPEC...`.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let names: Vec<String> = Cli::command().get_subcommands().map(|c| c.get_name().to_string()).collect();
    let is_spec =
        |a: &OsString| a.to_str().is_none_or(|a| !a.starts_with('-') && a != "help" && !names.iter().any(|n| n == a));
    let looks_like_file = |a: &OsString| {
        let path = std::path::Path::new(a);
        a.to_string_lossy().ends_with(".toml") || path.exists() || shipped::meant(path).is_some()
    };
    if arguments.get(1).is_some_and(|a| is_spec(a) && looks_like_file(a)) {
        arguments.insert(1, "run".into());
    }
    arguments
}

/// A spec's path; a name at which there is nothing may be one that the program has inside.
pub(crate) fn spec_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|text| shipped::located(std::path::Path::new(&text)))
}

/// Writes the manual's pages.
fn man(dir: &std::path::Path) -> i32 {
    let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    match written {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("error: {}: {e}", dir.display());
            1
        }
    }
}

/// Runs the program; returns its exit code.
pub fn main() -> i32 {
    let cli = match Cli::try_parse_from(arguments()) {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return e.exit_code();
        }
    };
    keep_freed_memory();
    if let Some(threads) = cli.threads
        && let Err(e) = rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global()
    {
        eprintln!("error: --threads: {}", chain(&e));
        return 1;
    }
    let level = if cli.quiet { "error" } else { ["info", "debug", "trace"][usize::from(cli.verbose.min(2))] };
    match cli.command {
        Command::Run(args) => run::run(&args, level),
        Command::Validate { specs, overrides, format } => {
            validate::validate(&specs, &overrides.options(false), format == ProblemFormat::Json)
        }
        Command::Plan { spec, overrides, device, out } => {
            plan::plan(&spec, &overrides.options(false), &device, out.as_deref())
        }
        Command::Compare(args) => compare::compare(&args),
        Command::Report(args) => report::report(&args),
        Command::Sample(args) => sample::sample(&args),
        Command::Logprobs(args) => logprobs::logprobs(&args),
        Command::Labels { command } => {
            start_screen_log(level);
            labels::labels(&command)
        }
        Command::Stop(args) => stop::stop(&args),
        Command::Init(args) => init::init(&args),
        Command::Ls => ls::ls(),
        Command::Doctor => doctor::doctor(),
        Command::Math { op } => math::math(&op),
        Command::Schema { check } => schema::schema(check),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "runner", &mut std::io::stdout());
            0
        }
        Command::Man { dir } => man(&dir),
    }
}
