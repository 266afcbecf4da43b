//! What people compare and π learns: the query that a document gives, the response, and where it ends.
//!
//! - `queries.rs`: a document -> queries: clean, cut, pad
//! - `response.rs`: a response -> what is scored of it: truncate
//! - `scoring.rs`: what r, or r_s, makes of it
//! - `instructions.rs`: what labelers are told

#![warn(missing_docs)]

pub mod instructions;
pub mod queries;
pub mod response;
pub mod scoring;
#[cfg(test)]
mod text_tests;

pub use queries::{Example, QueryFormat, examples};
pub use scoring::{OutsideScores, ROWS, ScoreSource, Scorer, raw_scores};

use crate::metric::copying::Preamble;
use crate::model::ModelError;
use crate::model::tokenizer::Tokenizer;
use crate::spec::{Synthetic, TaskPreset, TaskSpec};
use response::{truncate, truncation_ids};

/// A query as the model reads it, padded on the left to the task's one width; `None` is padding.
///
/// The released code pads between query and suffix instead. Both are the same to the model: padding is masked out of
/// the attention and does not advance positions, so that only the order of the real tokens counts.
pub type Query = Vec<Option<u32>>;

/// Whether responses are summaries of their queries, by the task's preset; else they continue them.
pub fn summarizes(task: &TaskSpec) -> bool {
    matches!(task.preset, TaskPreset::Tldr | TaskPreset::Cnndm)
}

/// The paper's rule for what an uninformative beginning of the task's texts is (table 7).
pub fn preamble(task: &TaskSpec) -> Preamble {
    match (task.preset, task.data.synthetic) {
        (TaskPreset::Cnndm, _) | (_, Some(Synthetic::Articles)) => Preamble::Colon,
        _ => Preamble::Greeting,
    }
}

/// A task in a tokenizer's ids: where responses end, what surrounds its queries, and so what ρ, π and scorers read.
#[derive(Debug, Clone)]
pub struct Task {
    /// Which ids end a response, `[vocab]`.
    pub truncates: Vec<bool>,
    /// First position (from 0) at which a response may end.
    pub after: usize,
    /// Score in RL of a response without such an id.
    pub missing_score: f32,
    /// Put before and after every bare query for ρ and π.
    pub prefix: Vec<u32>,
    /// Put after every bare query for ρ and π.
    pub suffix: Vec<u32>,
    /// Whether scorers read prefix and suffix too.
    pub formatted: bool,
    /// Bare queries are padded to this many tokens.
    pub query_length: usize,
}

impl Task {
    /// Encodes the task's texts; `formatted`: whether scorers read what stands around a query.
    ///
    /// # Errors
    /// A text that must be one token is several, or no token ends a response.
    pub fn new(task: &TaskSpec, formatted: bool, tokenizer: &Tokenizer) -> Result<Self, ModelError> {
        Ok(Self {
            truncates: truncation_ids(task, tokenizer)?,
            after: task.truncate_after,
            missing_score: task.missing_score as f32,
            prefix: tokenizer.encode_own(&task.query_prefix)?,
            suffix: tokenizer.encode_own(&task.query_suffix)?,
            formatted,
            query_length: task.query_length,
        })
    }
    /// A query's tokens without padding, prefix and suffix: what label files hold.
    pub fn bare(&self, query: &Query) -> Vec<u32> {
        let tokens: Vec<u32> = query.iter().flatten().copied().collect();
        let (from, to) = (self.prefix.len().min(tokens.len()), tokens.len().saturating_sub(self.suffix.len()));
        tokens[from..to.max(from)].to_vec()
    }
    /// A bare query as scorers read it, padded on the left.
    pub fn scored_query(&self, bare: &[u32]) -> Query {
        match self.formatted {
            true => self.asked_query(bare),
            false => self.padded(bare, (&[], &[])),
        }
    }
    /// A bare query as ρ and π read it, between prefix and suffix, padded on the left.
    pub fn asked_query(&self, bare: &[u32]) -> Query {
        self.padded(bare, (&self.prefix, &self.suffix))
    }
    fn padded(&self, bare: &[u32], (prefix, suffix): (&[u32], &[u32])) -> Query {
        let padding = self.query_length.saturating_sub(bare.len());
        let tokens = [prefix, bare, suffix].concat();
        std::iter::repeat_n(None, padding).chain(tokens.into_iter().map(Some)).collect()
    }
    /// Length of the truncated response, `None` where the token is missing.
    pub fn cut(&self, response: &[u32]) -> Option<usize> {
        truncate(response, &self.truncates, self.after)
    }
    /// What a scorer reads of a sampled query and response: the response truncated and padded on the right.
    pub fn row(&self, query: &Query, response: &[u32]) -> Query {
        self.bare_row(&self.bare(query), response)
    }
    /// The same for a bare query.
    pub fn bare_row(&self, bare: &[u32], response: &[u32]) -> Query {
        let kept = self.cut(response).unwrap_or(response.len());
        let response = response.iter().enumerate().map(|(i, t)| (i < kept).then_some(*t));
        self.scored_query(bare).into_iter().chain(response).collect()
    }
}
