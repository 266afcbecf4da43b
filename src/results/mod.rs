//! Every file of a results directory: its name, its type, how it is read and written; and how a run can end.
//!
//! - `outcome.rs`: done, waiting, stopped, failed, wrong input, and their exit codes
//! - `manifest.rs`, `progress.rs`, `stops.rs`: the run: what made it, how far it is, who stopped it
//! - `metrics.rs`, `tensorboard.rs`, `rounds.rs`: training
//! - `evaluation.rs`, `frontier.rs`, `texts.rs`, `labelers.rs`: what came of it
//! - `table.rs`: numbers beside the paper's
//! - `load.rs`: a directory as a whole; `read.rs`: one file

/// Names of the files in a results directory, or below it in `runs/RUN`.
pub mod file {
    /// The resolved spec, or suite, that made the directory.
    pub const SPEC: &str = "spec.toml";
    pub const SUITE: &str = "suite.toml";
    pub const MANIFEST: &str = "manifest.json";
    pub const LOG: &str = "log.txt";
    /// While a run goes on.
    pub const PROGRESS: &str = "progress.json";
    /// Its being there stops the run.
    pub const STOP: &str = "stop";
    pub const STOPS: &str = "stops.jsonl";
    pub const REPORT: &str = "report.html";
    /// The optimum of figure 3, from samples of all runs.
    pub const FRONTIER: &str = "frontier.json";
    /// Of a run, as all below.
    pub const METRICS: &str = "metrics.jsonl";
    pub const EVALUATION: &str = "evaluation.json";
    pub const SAMPLES: &str = "samples.jsonl";
    pub const ROUNDS: &str = "rounds.json";
}

pub mod evaluation;
pub mod frontier;
pub mod labelers;
pub mod load;
pub mod manifest;
pub mod metrics;
pub mod outcome;
pub mod progress;
pub mod read;
pub mod rounds;
pub mod stops;
pub mod table;
pub mod tensorboard;
pub mod texts;

pub use evaluation::{Accuracy, BestOf, ContextScores, Evaluation, FrontierPoint, Judge, Moments, Perplexity, Sample};
pub use frontier::{Frontier, OptimumAt, PolicyBelow};
pub use labelers::{JudgeReport, Share, SimulatedReport};
pub use load::{Results, Run, unlike_the_paper, with_origin};
pub use manifest::{Manifest, SourceRecord, StageRecord, State, Waited};
pub use metrics::{AnyMetricsLine, DpoMetricsLine, MetricsLine, name, number, read_metrics};
pub use outcome::Outcome;
pub use progress::Progress;
pub use read::{ResultsError, read_json, read_jsonl, read_text, write_atomic};
pub use rounds::{RoundReport, Rounds};
pub use table::{NOT_RECORDED, Row, SECONDARY, SECONDARY_MARK, Table};
pub use texts::{CopyingMeans, Estimate, NoveltyMeans, RougeMeans, Texts, Writer};
