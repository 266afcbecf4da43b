//! The command line: definitions here, one file per command beside this one. Output for machines goes to standard
//! output, everything else to standard error. Exit codes: 0 done, 1 failed or regressed, 2 wrong input, 3 waiting for
//! people, 4 stopped.

pub mod bench;
pub mod cluster;
pub mod compare;
pub mod doctor;
pub mod explain;
pub mod fetch;
pub mod import;
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
pub mod sources;
pub mod stop;
pub mod validate;

use crate::model::memory::keep_freed_memory;
use crate::printed::for_terminal;
use crate::report::formats::Format;
use crate::sources::{Catalogue, use_file};
use crate::spec::{Options, Problem, Selection, shipped};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "runner",
    version,
    override_usage = "runner [OPTIONS] SPEC...\n       runner [OPTIONS] <COMMAND>",
    about = "Fine-tune language models from human preferences (Ziegler et al. 2019), from a TOML spec",
    after_help = "Examples:\n  runner quickstart --profile smoke               the whole pipeline, tiny, in seconds\n  runner quickstart                               for real, in minutes; the same command continues or reuses\n  runner init mine                                a spec to start from\n  runner validate specs/*.toml                    all errors of all files at once\n  runner plan quickstart                          what it will take: time, memory, disk\n  runner compare results/a results/b              spec differences, then metrics with intervals\n\nExit codes: 0 done, 1 failed or regressed, 2 wrong input, 3 waiting for people's labels, 4 stopped by a guard or a person"
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
    /// A sources.toml over those of the working and the configuration directory: your places of named sources
    #[arg(long, global = true, value_name = "FILE")]
    sources: Option<PathBuf>,
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
    /// What a run will take: stages and which are done, work, time, memory, disk, downloads; and what the spec sets
    #[command(
        after_help = "Examples:\n  runner plan specs/quickstart.toml --values                  every value and where it came from\n  runner plan specs/table4_rouge.toml --device wgpu --memory 80GB   for a GPU that is not in this machine\n  runner plan specs/table4_rouge.toml --format json                 for programs (schemas/plan.schema.json)\n\nTimes come from what `runner doctor` measured on the device, or from --tflops. docs/planning.md explains the numbers."
    )]
    Plan(plan::PlanArgs),
    /// Where a key of a spec acts: type, default, what the paper and its code say, which stages depend on it
    #[command(
        after_help = "Examples:\n  runner explain policy.kl.target\n  runner explain                       every key, one per line"
    )]
    Explain {
        /// A key with its sections, such as policy.kl.target; all keys without it
        key: Option<String>,
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
    /// A suite on a cluster: submit its tasks, see where they stand, cancel them
    Cluster {
        #[command(subcommand)]
        command: cluster::ClusterCommand,
    },
    /// Stop a run at its next step and say why: the andon cord
    #[command(
        after_help = "The run saves and exits with code 4. `runner stop DIR --undo` and the run's own command go on with it. A file named `stop` in the results directory does the same, as do the buttons of `runner labels serve --results DIR`. DIR/stops.jsonl keeps who stopped what, and why."
    )]
    Stop(stop::StopArgs),
    /// Write a spec to start from: NAME.toml, on top of one that the program has inside
    Init(init::InitArgs),
    /// Bring everything that runs of these specs take from outside: texts, weights, reviews, labels
    Fetch(fetch::FetchArgs),
    /// Models of other programs' formats as model directories of ours
    Import {
        #[command(subcommand)]
        command: import::ImportCommand,
    },
    /// The named sources that specs use, and where each would come from here
    Sources(sources::SourcesArgs),
    /// What runs now; specs and suites, here or inside the program, and the tables they make; the results in results/
    Ls,
    /// Devices and backends found, with a numeric self-test of each; with --bench, whole PPO updates timed on one; or what
    /// a file system can do for several processes
    Doctor(doctor::DoctorArgs),
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

impl Command {
    /// Whether it reads specs, and with them the users' sources.toml.
    fn reads_sources(&self) -> bool {
        matches!(
            self,
            Self::Run(_)
                | Self::Validate { .. }
                | Self::Plan { .. }
                | Self::Fetch(_)
                | Self::Import { .. }
                | Self::Sources(_)
                | Self::Report(_)
                | Self::Cluster { .. }
        )
    }
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
    /// Of a suite, only these members
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub members: Vec<String>,
    /// Of a suite, all but these members
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub skip: Vec<String>,
}

impl Overrides {
    pub fn options(&self, for_run: bool) -> Options {
        let selection = Selection { members: self.members.clone(), skip: self.skip.clone() };
        let (set, profile) = (self.set.clone(), self.profile.clone());
        Options { set, profile, seed: self.seed, for_run, selection, ..Options::default() }
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
    problems.iter().for_each(|p| eprintln!("error: {}", for_terminal(&p.to_string())));
}

/// Prints what is odd and is done all the same to standard error.
pub fn print_remarks(remarks: &[Problem]) {
    remarks.iter().for_each(|p| eprintln!("warning: {}", for_terminal(&p.to_string())));
}

/// An error with its causes, on one line, for a terminal: it may quote what a file has in it.
pub fn chain(error: &dyn std::error::Error) -> String {
    for_terminal(&crate::run::chain(error)).into_owned()
}

/// What commands without a log file of their own have to say while they work.
fn start_screen_log(level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("warn,runner={level}")));
    let layer = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    crate::model::faults::listen();
    let _ = layer.with_env_filter(filter).try_init();
}

/// Whether a terminal is written to in colour: not where NO_COLOR is set (no-color.org) or TERM is `dumb`, which shows
/// the sequences as letters.
fn in_colour(terminal: bool, variable: &dyn Fn(&str) -> Option<OsString>) -> bool {
    terminal && variable("NO_COLOR").is_none_or(|v| v.is_empty()) && variable("TERM").is_none_or(|term| term != "dumb")
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
    let code = crate::output::finished(command());
    crate::model::device::settle();
    code
}

fn command() -> i32 {
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
    if let Some(file) = &cli.sources {
        use_file(file);
    }
    if let (true, Err(problems)) = (cli.command.reads_sources(), Catalogue::current()) {
        print_problems(problems);
        return 2;
    }
    let level = if cli.quiet { "error" } else { ["info", "debug", "trace"][usize::from(cli.verbose.min(2))] };
    match cli.command {
        Command::Run(args) => run::run(&args, level),
        Command::Validate { specs, overrides, format } => {
            validate::validate(&specs, &overrides.options(false), format == ProblemFormat::Json)
        }
        Command::Plan(args) => plan::plan(&args),
        Command::Explain { key } => explain::run(key.as_deref()),
        Command::Compare(args) => compare::compare(&args),
        Command::Report(args) => report::report(&args),
        Command::Sample(args) => sample::sample(&args),
        Command::Logprobs(args) => logprobs::logprobs(&args),
        Command::Labels { command } => {
            start_screen_log(level);
            labels::labels(&command)
        }
        Command::Cluster { command } => {
            start_screen_log(level);
            cluster::cluster(&command, &cluster::Global { sources: cli.sources, threads: cli.threads })
        }
        Command::Stop(args) => stop::stop(&args),
        Command::Init(args) => init::init(&args),
        Command::Fetch(args) => fetch::fetch(&args, level),
        Command::Import { command } => import::import(&command, level),
        Command::Sources(args) => sources::sources(&args),
        Command::Ls => ls::ls(),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Math { op } => math::math(&op),
        Command::Schema { check } => schema::schema(check),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "runner", &mut script);
            print!("{}", String::from_utf8_lossy(&script));
            0
        }
        Command::Man { dir } => man(&dir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_and_a_dumb_terminal_are_heeded() {
        let with = |set: &'static [(&'static str, &'static str)]| {
            in_colour(true, &|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v)))
        };
        assert!(with(&[("TERM", "xterm")]) && with(&[]) && with(&[("NO_COLOR", "")]));
        assert!(!with(&[("NO_COLOR", "1"), ("TERM", "xterm")]) && !with(&[("TERM", "dumb")]));
        assert!(!in_colour(false, &|_| None));
    }
}
