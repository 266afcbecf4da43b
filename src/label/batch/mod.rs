//! Batches of questions for people, and their answers: plain files that any tool can read and write (docs/batches.md).
//!
//! `labeler.batches` names a directory; each batch is a directory in it:
//!
//! ```text
//! labels/sentiment/
//!   labelers.jsonl          whose answers do not count (append-only, one [`LabelerEvent`] per line)
//!   round-0001/
//!     batch.json            what was asked, of which policy, when ([`Batch`])
//!     items.jsonl           one [`Item`] per line; never changes once batch.json is there
//!     answers.jsonl         append-only, one [`Answer`] per line, written by `runner labels serve`
//!     answers-NAME.jsonl    the same, from another tool; all files of this form count
//! ```
//!
//! Candidates are numbered 0, 1, .. as they stand in the item; `order` says in which place a labeler sees which. An
//! answer always names a candidate's number, never its place. The last revision of a labeler's answer to an item
//! counts.

pub mod append;
pub mod outline;
pub mod quality;
pub mod read;
pub mod status;
pub mod write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of this format.
pub const BATCH_VERSION: u32 = 1;

/// What a batch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Comparisons that the reward model learns from (paper section 2.1).
    Training,
    /// y0, y1 ~ ρ and y2, y3 ~ π: how often π beats ρ while it is trained (paper section 2.3).
    Validation,
    /// Comparisons of finished models (paper section 3, tables 1 and 5).
    Evaluation,
}

/// batch.json: written last, so that a directory without it is a batch that is still being made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Batch {
    #[schemars(range(min = 1, max = 1))]
    pub batch_version: u32,
    /// The name of its directory.
    pub id: String,
    pub purpose: Purpose,
    /// Lines of items.jsonl.
    pub items: usize,
    /// Answers of different labelers wanted for each item; items that are repeats of another want one.
    pub labelers_per_item: usize,
    /// Name of the spec, and blake3 of its resolved text.
    pub spec: String,
    pub spec_hash: String,
    /// Hash of the weights that the candidates were sampled from; of the policy where there are several.
    pub policy_hash: String,
    /// Hash of the tokenizer that the ids belong to.
    pub tokenizer_hash: String,
    /// PPO updates the policy had behind it; 0 for ρ.
    pub update: usize,
    pub temperature: f64,
    pub seed: u64,
    /// What labelers are told, as Markdown; shown by the page.
    pub instructions: String,
    /// Changes whenever the instructions do.
    pub instructions_version: String,
    /// RFC 3339.
    pub created_at: String,
}

/// A text with its token ids; another tool may leave the ids out of what it makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Text {
    pub text: String,
    #[serde(default)]
    pub ids: Vec<u32>,
}

/// One response to compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    #[serde(flatten)]
    pub response: Text,
    /// Who wrote it: "reference" (ρ), "policy" (π), or another model's name. Never shown to labelers.
    pub source: String,
    /// Sum of its tokens' log-probabilities under its source, at the batch's temperature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprob: Option<f64>,
    /// Whether it has the truncation token.
    #[serde(default = "yes")]
    pub valid: bool,
}

fn yes() -> bool {
    true
}

/// One question: which candidate is best?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// Stable, and unique in all batches of a directory.
    pub id: String,
    pub query: Text,
    pub candidates: Vec<Candidate>,
    /// `order[place]` is the candidate shown at that place: a permutation, drawn at random.
    pub order: Vec<usize>,
    /// The best candidate according to the authors; quality control, never trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold: Option<usize>,
    /// The item that this one asks again, in another order; quality control, never trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_of: Option<String>,
}

impl Item {
    /// Whether it is there to check labelers, not to learn from.
    pub fn is_check(&self) -> bool {
        self.gold.is_some() || self.repeat_of.is_some()
    }
}

/// One answer: `best`, or `skip`, never both and never neither.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The item's id.
    pub item: String,
    /// Number of the best candidate (not its place).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<usize>,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<String>,
    /// All candidates, best first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranking: Option<Vec<usize>>,
    /// 0 (guessed) to 1 (sure).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub labeler: String,
    /// RFC 3339, when the item was shown and when it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<String>,
    /// 0 for the first answer of this labeler to this item, one more for each change of mind; the highest counts, of
    /// equal ones the newest by `answered_at`, and without times the first.
    #[serde(default)]
    pub revision: u32,
}

/// A line of labelers.jsonl; the last one about a labeler counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabelerEvent {
    pub labeler: String,
    pub action: LabelerAction,
    /// Who decided: a person, or "guard" with the threshold in `reason`.
    pub by: String,
    pub reason: String,
    pub at: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabelerAction {
    /// Answers stay on disk and do not count.
    Drop,
    /// They count again.
    Restore,
}

#[cfg(test)]
mod tests;
