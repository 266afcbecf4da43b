//! Scores of responses under a reward model or r_s: truncate, score, overwrite with the fixed score where the
//! truncation token is missing (released code: train_policy.py and lm_tasks.py).

use super::StageError;
use crate::data::queries::{Query, truncate, truncation_ids};
use crate::model::gpt2::{Batch, ScalarModel};
use crate::model::parallel::{map_shards, shard_rows};
use crate::model::sampling::to_vec;
use crate::rlhf::reward::Normalization;
use crate::spec::TaskSpec;

/// Rows per forward pass without gradients.
pub const ROWS: usize = 64;

/// The task's truncation rule over a tokenizer's ids.
#[derive(Debug, Clone)]
pub struct Rule {
    pub truncates: Vec<bool>,
    pub after: usize,
    pub missing_score: f32,
}

impl Rule {
    pub fn new(task: &TaskSpec, tokenizer: &crate::model::tokenizer::Tokenizer) -> Result<Self, StageError> {
        let truncates = truncation_ids(task, tokenizer)?;
        Ok(Self { truncates, after: task.truncate_after, missing_score: task.missing_score as f32 })
    }
    /// Length of the truncated response, `None` where the token is missing.
    pub fn cut(&self, response: &[u32]) -> Option<usize> {
        truncate(response, &self.truncates, self.after)
    }
    /// Query and truncated response, padded on the right.
    pub fn row(&self, query: &Query, response: &[u32]) -> Query {
        let kept = self.cut(response).unwrap_or(response.len());
        query.iter().copied().chain(response.iter().enumerate().map(|(i, t)| (i < kept).then_some(*t))).collect()
    }
}

/// Raw scores of token rows, in passes of [`ROWS`].
pub fn raw_scores(model: &ScalarModel, rows: &[Query]) -> Result<Vec<f32>, StageError> {
    let device = model.trunk.device();
    let scores =
        map_shards(rows, shard_rows(&device).min(ROWS), |rows| to_vec(model.score(&Batch::new(rows, &device))))?;
    Ok(scores.concat())
}

/// A scorer of responses: the trained reward model, or r_s itself in direct mode.
#[derive(Debug, Clone)]
pub struct Scorer {
    pub model: ScalarModel,
    pub normalization: Normalization,
}

impl Scorer {
    /// Normalised scores of truncated responses, without the missing-token rule.
    pub fn plain(&self, rule: &Rule, queries: &[Query], responses: &[Vec<u32>]) -> Result<Vec<f32>, StageError> {
        let rows: Vec<Query> = queries.iter().zip(responses).map(|(q, r)| rule.row(q, r)).collect();
        Ok(raw_scores(&self.model, &rows)?.into_iter().map(|s| self.normalization.apply(s)).collect())
    }
    /// Scores as RL sees them: the fixed score where the truncation token is missing.
    pub fn scores(&self, rule: &Rule, queries: &[Query], responses: &[Vec<u32>]) -> Result<Vec<f32>, StageError> {
        let plain = self.plain(rule, queries, responses)?;
        Ok(plain
            .into_iter()
            .zip(responses)
            .map(|(s, r)| if rule.cut(r).is_some() { s } else { rule.missing_score })
            .collect())
    }
}
