//! The files of a results directory that reports read and write: their types, lenient readers, atomic writer.
//!
//! Readers skip fields they do not know (a newer program may have written them) and name file and line of what
//! they cannot read. A last line without its newline is a line still being written, and is left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::measures::Texts;
use crate::data::read_report::ReadReport;
use crate::label::simulated::SimulatedReport;
use crate::store::lock::is_held;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the column "paper" says when there is no number to put there.
/// Of a value of the paper that one secondary source has; the mark stands beside the value.
pub const SECONDARY: &str = "one secondary source";
pub const SECONDARY_MARK: &str = "(B)";
pub const NOT_RECORDED: &str = "not recorded in the paper's copy we have";

/// Why a report could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The operating system refused to read.
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// The operating system refused to write.
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    /// A file whose content is not what it should be.
    #[error("{path}:{line}: {message}")]
    Content { path: PathBuf, line: usize, message: String },
    /// A plot could not be drawn.
    #[error("cannot draw {name}: {message}")]
    Plot { name: String, message: String },
    /// Something is not a results directory.
    #[error("{path} is not a results directory: {message}")]
    NotResults { path: PathBuf, message: String },
    /// Two directories whose numbers say nothing about each other.
    #[error("{a} and {b} cannot be compared: {reason}")]
    Incomparable { a: PathBuf, b: PathBuf, reason: String },
    /// A call that makes no sense.
    #[error("{0}")]
    Usage(String),
}

/// Mean and standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Moments {
    pub mean: f64,
    pub std: f64,
}

/// One held-out query: the judge's score of ρ's and of π's response, and KL of π's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Context {
    pub reference: f64,
    pub policy: f64,
    pub kl: f64,
}

/// How often r agrees with the labeler on held-out labels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Accuracy {
    pub correct: u64,
    pub n: u64,
    /// Expected share of `correct` by guessing.
    #[serde(default = "one_in_four")]
    pub chance: f64,
}

fn one_in_four() -> f64 {
    0.25
}

/// One point of the closed-form optimum, estimated by re-weighting samples of ρ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FrontierPoint {
    pub beta: f64,
    pub kl: f64,
    /// Standard error of `kl`.
    pub kl_se: f64,
    pub reward: f64,
    /// Standard error of `reward`.
    pub reward_se: f64,
}

/// Held-out perplexity per token of ρ beside two baselines.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Perplexity {
    pub model: f64,
    pub unigram: f64,
    pub uniform: f64,
    pub tokens: u64,
}

/// Whose scores an evaluation reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// The mock labeler r_s: log-odds of "positive".
    #[default]
    Mock,
    /// The reward model r that learned from people's labels, normalised on samples of ρ.
    Reward,
}

impl Judge {
    /// What the score is called in tables and on axes.
    pub fn score(self) -> &'static str {
        match self {
            Self::Mock => "mock score",
            Self::Reward => "score under r",
        }
    }
    /// The same with its unit.
    pub fn axis(self) -> &'static str {
        match self {
            Self::Mock => "mock score (log-odds)",
            Self::Reward => "score under r (sd of ρ's scores)",
        }
    }
    /// The metric of a PPO update that it gives.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Mock => "objective/mock_score",
            Self::Reward => "objective/score",
        }
    }
}

/// runs/RUN/evaluation.json: what one trained policy reached on held-out queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evaluation {
    pub run: String,
    /// "direct" (PPO on the mock score itself), "offline", "batched" or "online" (a reward model from labels, trained once
    /// or in rounds), "given" (a reward model that is given) or "none" (no RL).
    pub schedule: String,
    #[serde(default)]
    pub labels: Option<u64>,
    pub episodes: u64,
    #[serde(default)]
    pub kl_target: Option<f64>,
    /// Held-out queries.
    pub n: usize,
    /// Whose scores `reference`, `policy`, `contexts` and `frontier` are.
    #[serde(default)]
    pub judge: Judge,
    /// Score of ρ's responses.
    pub reference: Moments,
    /// Score of π's responses.
    pub policy: Moments,
    #[serde(default)]
    pub contexts: Vec<Context>,
    pub kl: Moments,
    /// Mean score of π's responses under the learned reward.
    #[serde(default)]
    pub score_policy_r: Option<f64>,
    #[serde(default)]
    pub reward_accuracy: Option<Accuracy>,
    /// Share of π's responses without the truncation token.
    pub missing_truncation: f64,
    #[serde(default)]
    pub frontier: Vec<FrontierPoint>,
    #[serde(default)]
    pub perplexity: Option<Perplexity>,
    /// What the responses of ρ and π are like as texts, and of what they are compared with.
    #[serde(default)]
    pub texts: Vec<Texts>,
    /// How the simulated labelers behaved, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<SimulatedReport>,
}

/// One training of r in a run with rounds, and what it was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoundReport {
    /// From 1.
    pub round: usize,
    /// Labels that r was trained on, of all rounds so far.
    pub labels: u64,
    /// Of these, the ones of this round.
    pub new_labels: u64,
    /// PPO updates and episodes that follow under this r.
    pub updates: u64,
    pub episodes: u64,
    /// How often r agrees with the held-out labels on samples of ρ, the same ones in every round.
    #[serde(default)]
    pub accuracy: Option<Accuracy>,
    /// How often the r before agreed with this round's new labels, before it was replaced; none in the first round.
    #[serde(default)]
    pub accuracy_before: Option<Accuracy>,
    /// The last loss of training.
    pub final_loss: f64,
    /// Online: of `validations` answers so far to two samples of ρ beside two of π, how many chose one of π's.
    #[serde(default)]
    pub wins: u64,
    #[serde(default)]
    pub validations: u64,
}

/// runs/RUN/rounds.json: the rounds of a run with batched or online collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rounds {
    pub run: String,
    /// "batched" or "online".
    pub schedule: String,
    pub rounds: Vec<RoundReport>,
}

/// Where a run or suite stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Running,
    Done,
    /// For answers of people.
    Waiting,
    Stopped,
    Failed,
    /// Never in a file: one says `running`, and no process holds the directory's lock. It was killed, or the machine went down.
    #[serde(skip)]
    Interrupted,
}

impl State {
    /// What a manifest's state is in truth: see [`State::Interrupted`].
    pub fn now(self, dir: &Path) -> Self {
        match self {
            State::Running if !is_held(dir) => State::Interrupted,
            state => state,
        }
    }
    /// The word used in the file.
    pub fn word(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Done => "done",
            State::Waiting => "waiting",
            State::Stopped => "stopped",
            State::Failed => "failed",
            State::Interrupted => "interrupted",
        }
    }
}

/// One stage that ran, or was found in the cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageRecord {
    #[serde(default)]
    pub run: Option<String>,
    pub stage: String,
    /// Hash of the stage's inputs.
    pub key: String,
    pub seconds: f64,
    pub cached: bool,
    /// For another process that was making it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited: Option<Waited>,
}

/// A stage that two runs with one cache wanted at the same time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waited {
    /// Host and process.
    pub by: String,
    pub seconds: f64,
}

/// What a run took from outside: from the Hugging Face hub, or by the name of a source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceRecord {
    /// The part of the spec that names it.
    pub key: String,
    /// The name of the source, where the spec gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The place of the source that had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Of the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The files of a data set that are read.
    #[serde(default)]
    pub files: Vec<String>,
    /// Those for evaluation alone.
    #[serde(default)]
    pub held_out: Vec<String>,
    /// SHA-256 of files that came from plain addresses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
}

/// manifest.json: what made this directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    pub name: String,
    pub state: State,
    pub program_version: String,
    #[serde(default)]
    pub git_commit: Option<String>,
    pub device: String,
    #[serde(default)]
    pub driver: Option<String>,
    pub seeds: Vec<u64>,
    pub runs: Vec<String>,
    #[serde(default)]
    pub stages: Vec<StageRecord>,
    #[serde(default)]
    pub sources: Vec<SourceRecord>,
    /// What was read of every source, and what was dropped of it, by reason.
    #[serde(default)]
    pub reads: Vec<ReadReport>,
    pub started_at: String,
    #[serde(default)]
    pub finished_at: Option<String>,
    #[serde(default)]
    pub peak_memory_bytes: Option<u64>,
    /// Why it is not done, where it failed, was stopped or waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The spec's profile that was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What `--set` changed in the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
}

/// One number of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// What a reader calls it.
    pub name: String,
    pub run: String,
    /// What a program calls it.
    pub metric: String,
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub n: u64,
    pub seeds: Vec<u64>,
    pub paper: Option<f64>,
    pub paper_note: String,
    pub verdict: String,
    /// Of models that were not trained here: "authors' release".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// tables/NAME.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    pub id: String,
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

/// One line of runs/RUN/samples.jsonl.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sample {
    pub query: String,
    pub reference_response: String,
    pub response: String,
    pub reference_score: Option<f64>,
    pub score: Option<f64>,
    pub kl: Option<f64>,
    pub mock_score: Option<f64>,
    pub reference_mock_score: Option<f64>,
}

/// One line of runs/RUN/metrics.jsonl: one PPO update, under the names of the released code where it has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsLine {
    /// Mean over the batch of the summed log π - log ρ, in nats per response.
    #[serde(rename = "objective/kl")]
    pub kl: f64,
    /// β during this update.
    #[serde(rename = "objective/kl_coef")]
    pub kl_coef: f64,
    /// α of the entropy bonus during this update, where there is one.
    #[serde(rename = "objective/entropy_coef", default, skip_serializing_if = "Option::is_none")]
    pub entropy_coef: Option<f64>,
    /// Mean over the batch of the summed -log π of the sampled tokens, in nats per response.
    #[serde(rename = "objective/entropy")]
    pub entropy: f64,
    /// Mean entropy of the distributions that the tokens were sampled from, in nats per token.
    #[serde(rename = "ppo/policy/entropy")]
    pub token_entropy: f64,
    /// Mean score that RL optimises: reward model (or r_s in direct mode) with the rule for missing truncation tokens.
    #[serde(rename = "objective/score")]
    pub score: f64,
    /// Mean of the summed token rewards: score minus β times KL.
    #[serde(rename = "objective/score_total")]
    pub score_total: f64,
    /// Mean log-odds under the mock labeler r_s, where there is one.
    #[serde(rename = "objective/mock_score", default, skip_serializing_if = "Option::is_none")]
    pub mock_score: Option<f64>,
    /// Share of responses that hold the truncation token after its earliest position.
    #[serde(rename = "objective/truncated")]
    pub truncated: f64,
    /// Mean of the values at sampling time.
    #[serde(rename = "ppo/val/mean")]
    pub value_mean: f64,
    /// Variance of the values at sampling time.
    #[serde(rename = "ppo/val/var")]
    pub value_var: f64,
    #[serde(rename = "ppo/loss/policy")]
    pub loss_policy: f64,
    #[serde(rename = "ppo/loss/value")]
    pub loss_value: f64,
    /// Policy loss plus vf_coef times value loss.
    #[serde(rename = "ppo/loss/total")]
    pub loss_total: f64,
    /// 0.5 mean (log π - log π_old)².
    #[serde(rename = "ppo/policy/approxkl")]
    pub approxkl: f64,
    /// Share of tokens whose probability ratio is clipped.
    #[serde(rename = "ppo/policy/clipfrac")]
    pub clipfrac: f64,
    /// Share of tokens whose value is clipped.
    #[serde(rename = "ppo/val/clipfrac")]
    pub value_clipfrac: f64,
    /// Mean of the values during optimisation.
    #[serde(rename = "ppo/val/vpred")]
    pub vpred: f64,
    /// Mean squared difference of values and returns.
    #[serde(rename = "ppo/val/error")]
    pub value_error: f64,
    #[serde(rename = "ppo/returns/mean")]
    pub returns_mean: f64,
    #[serde(rename = "ppo/returns/var")]
    pub returns_var: f64,
    /// 1 - value error / variance of the returns.
    #[serde(rename = "ppo/val/var_explained")]
    pub var_explained: f64,
    /// Largest |ratio - 1| on the first minibatch: 0 to rounding if sampling and training agree.
    #[serde(rename = "ppo/ratio_error")]
    pub ratio_error: f64,
    /// Correlation over the batch's responses of how far the update raised a response's log-probability with its total
    /// reward less its value. Positive, or the update goes the wrong way; absent where there is one epoch alone.
    #[serde(rename = "ppo/direction", default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<f64>,
    /// In rounds: how many times r has been trained.
    #[serde(rename = "labels/round", default, skip_serializing_if = "Option::is_none")]
    pub labels_round: Option<f64>,
    /// In rounds: labels that the present r was trained on.
    #[serde(rename = "labels/collected", default, skip_serializing_if = "Option::is_none")]
    pub labels_collected: Option<f64>,
    /// Online: share of answers to validation items (two samples of ρ, two of π) that chose one of π's.
    #[serde(rename = "labels/win_rate", default, skip_serializing_if = "Option::is_none")]
    pub win_rate: Option<f64>,
    /// Number of these answers.
    #[serde(rename = "labels/win_rate_n", default, skip_serializing_if = "Option::is_none")]
    pub win_rate_n: Option<f64>,
    /// Learning rate of this update.
    #[serde(rename = "ppo/lr")]
    pub lr: f64,
    /// Updates done, counting this one.
    #[serde(rename = "elapsed/updates")]
    pub updates: f64,
    /// Episodes done, counting this update's.
    #[serde(rename = "elapsed/episodes")]
    pub episodes: f64,
    /// Episodes per second since this process began.
    #[serde(rename = "elapsed/fps")]
    pub fps: f64,
    /// Seconds since this process began training.
    #[serde(rename = "elapsed/time")]
    pub time: f64,
}

/// A file's text; bytes that are not UTF-8 are an error with their line.
pub fn read_text(path: &Path) -> Result<String, ReportError> {
    let bytes =
        crate::store::input::read(path).map_err(|source| ReportError::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let line = e.as_bytes().iter().take(good).filter(|b| **b == b'\n').count() + 1;
        ReportError::Content { path: path.to_owned(), line, message: "not UTF-8 text".to_owned() }
    })
}

/// One JSON document.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ReportError> {
    serde_json::from_str(&read_text(path)?).map_err(|e| ReportError::Content {
        path: path.to_owned(),
        line: e.line().max(1),
        message: e.to_string(),
    })
}

/// One JSON document per line; blank lines are skipped, and so is an unreadable last line without a newline.
pub fn read_jsonl<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ReportError> {
    let text = read_text(path)?;
    let count = text.lines().count();
    let mut out = Vec::with_capacity(count);
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(value) => out.push(value),
            Err(_) if index + 1 == count && !text.ends_with('\n') => {}
            Err(e) => {
                let message = format!("column {}: {}", e.column(), reason(&e));
                return Err(ReportError::Content { path: path.to_owned(), line: index + 1, message });
            }
        }
    }
    Ok(out)
}

/// serde_json's message without its own line and column.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// The steps of a metrics.jsonl.
pub fn read_metrics(path: &Path) -> Result<Vec<Map<String, Value>>, ReportError> {
    read_jsonl(path)
}

/// A finite number of a metrics line.
pub fn number(step: &Map<String, Value>, key: &str) -> Option<f64> {
    step.get(key).and_then(Value::as_f64).filter(|v| v.is_finite())
}

/// Writes a whole file or nothing; a reader sees the old content or the new.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    crate::store::atomic::write_atomic(path, bytes)
        .map_err(|source| ReportError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn errors_name_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        fs::write(&path, "{\"a\":1}\n\n{\"a\":oops}\n{\"a\":2}\n").unwrap();
        let message = read_metrics(&path).unwrap_err().to_string();
        assert!(message.contains("metrics.jsonl:3: column"), "{message}");
        fs::write(&path, b"{}\n\xff\n").unwrap();
        assert!(read_metrics(&path).unwrap_err().to_string().contains("metrics.jsonl:2: not UTF-8"));
    }

    #[test]
    fn a_line_being_written_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        fs::write(&path, "{\"a\":1,\"b\":null}\n{\"a\":2").unwrap();
        let steps = read_metrics(&path).unwrap();
        assert_eq!(steps.len(), 1);
        assert_eq!(number(&steps[0], "a"), Some(1.0));
        assert_eq!(number(&steps[0], "b"), None);
    }

    #[test]
    fn unknown_fields_are_skipped_and_missing_ones_named() {
        let text = r#"{"run":"a","schedule":"direct","episodes":1,"n":0,"reference":{"mean":0,"std":1},
            "policy":{"mean":0,"std":1},"kl":{"mean":0,"std":1},"missing_truncation":0,"later":true}"#;
        assert!(serde_json::from_str::<Evaluation>(text).is_ok());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("evaluation.json");
        fs::write(&path, "{\"run\":\"a\"}").unwrap();
        assert!(read_json::<Evaluation>(&path).unwrap_err().to_string().contains("missing field"));
    }

    #[test]
    fn writing_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/file.txt");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
