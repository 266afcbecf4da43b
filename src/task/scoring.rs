//! Scores of responses under a reward model or r_s: truncate, score, overwrite with the fixed score where the
//! truncation token is missing (released code: train_policy.py and lm_tasks.py).

use super::{Query, Task};
use crate::model::gpt2::ScalarModel;
use crate::model::parallel::{map_shards, pass_rows};
use crate::model::sampling::{by_length, restored, to_vec, trimmed};
use crate::model::{LanguageModel, ModelError};
use crate::rlhf::reward::Normalization;

/// Rows per forward pass without gradients.
pub const ROWS: usize = 64;

/// Raw scores of token rows, in passes of [`ROWS`].
pub fn raw_scores(model: &ScalarModel, rows: &[Query]) -> Result<Vec<f32>, ModelError> {
    let device = model.trunk.device();
    let order = by_length(rows);
    let time = rows.iter().map(Vec::len).max().unwrap_or(0);
    let at_once = pass_rows(model.trunk.dimensions(), model.trunk.vocab(), time, &device).min(ROWS);
    let scores = map_shards(&order, at_once, |picked| {
        let rows = trimmed(picked.iter().map(|i| rows[*i].clone()).collect());
        to_vec(model.score(&model.trunk.batch(&rows)?))
    })?;
    Ok(restored(&order, scores.concat()))
}

/// A scorer of responses: the trained reward model, or r_s itself in direct mode.
#[derive(Debug, Clone)]
pub struct Scorer {
    /// Transformer and scalar head.
    pub model: ScalarModel,
    /// Gain and bias on the scores of the head.
    pub normalization: Normalization,
}

impl Scorer {
    /// Normalised scores of truncated responses, without the missing-token rule.
    pub fn plain(&self, task: &Task, queries: &[Query], responses: &[Vec<u32>]) -> Result<Vec<f32>, ModelError> {
        let rows: Vec<Query> = queries.iter().zip(responses).map(|(q, r)| task.row(q, r)).collect();
        Ok(raw_scores(&self.model, &rows)?.into_iter().map(|s| self.normalization.apply(s)).collect())
    }
    /// Scores as RL sees them: the fixed score where the truncation token is missing.
    pub fn scores(&self, task: &Task, queries: &[Query], responses: &[Vec<u32>]) -> Result<Vec<f32>, ModelError> {
        let plain = self.plain(task, queries, responses)?;
        Ok(plain
            .into_iter()
            .zip(responses)
            .map(|(s, r)| if task.cut(r).is_some() { s } else { task.missing_score })
            .collect())
    }
}
