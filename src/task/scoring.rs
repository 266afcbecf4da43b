//! Scores of responses under a reward model or r_s: truncate, score, overwrite with the fixed score where the
//! truncation token is missing (released code: train_policy.py and lm_tasks.py).

use super::{Query, Task};
use crate::model::gpt2::ScalarModel;
use crate::model::parallel::{map_shards, pass_rows};
use crate::model::sampling::{by_length, restored, to_vec, trimmed};
use crate::model::{LanguageModel, ModelError};
use crate::rlhf::reward::Normalization;
use std::sync::Arc;

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

/// Scores that no model of ρ's kind gives: those of a program, or a measure of texts.
pub trait OutsideScores: std::fmt::Debug + Send + Sync {
    /// One score per bare query and truncated response, `[rows]` each.
    ///
    /// # Errors
    /// Whoever scores does not answer, or not with a number.
    fn scores(&self, queries: &[Vec<u32>], responses: &[Vec<u32>]) -> Result<Vec<f32>, ModelError>;
}

/// What gives raw scores.
#[derive(Debug, Clone)]
pub enum ScoreSource {
    /// Transformer and scalar head.
    Model(Box<ScalarModel>),
    /// Somebody outside.
    Outside(Arc<dyn OutsideScores>),
}

impl From<ScalarModel> for ScoreSource {
    fn from(model: ScalarModel) -> Self {
        Self::Model(Box::new(model))
    }
}

/// A scorer of responses: the trained reward model, r_s itself in direct mode, or somebody outside.
#[derive(Debug, Clone)]
pub struct Scorer {
    /// Where raw scores come from.
    pub source: ScoreSource,
    /// Gain and bias on the scores of the head.
    pub normalization: Normalization,
}

impl Scorer {
    /// The model, where one gives the scores.
    pub fn model(&self) -> Option<&ScalarModel> {
        match &self.source {
            ScoreSource::Model(model) => Some(model),
            ScoreSource::Outside(_) => None,
        }
    }
    /// Raw scores of truncated responses, before gain and bias.
    pub fn raw(&self, task: &Task, queries: &[Query], responses: &[Vec<u32>]) -> Result<Vec<f32>, ModelError> {
        match &self.source {
            ScoreSource::Model(model) => {
                let rows: Vec<Query> = queries.iter().zip(responses).map(|(q, r)| task.row(q, r)).collect();
                raw_scores(model, &rows)
            }
            ScoreSource::Outside(outside) => {
                let cut = |r: &Vec<u32>| r[..task.cut(r).unwrap_or(r.len())].to_vec();
                let bare: Vec<Vec<u32>> = queries.iter().map(|query| task.bare(query)).collect();
                outside.scores(&bare, &responses.iter().map(cut).collect::<Vec<_>>())
            }
        }
    }
    /// Normalised scores of truncated responses, without the missing-token rule.
    pub fn plain(&self, task: &Task, queries: &[Query], responses: &[Vec<u32>]) -> Result<Vec<f32>, ModelError> {
        Ok(self.raw(task, queries, responses)?.into_iter().map(|s| self.normalization.apply(s)).collect())
    }
    /// Scores as RL sees them: the fixed score where the truncation token is missing.
    pub fn scores(&self, task: &Task, queries: &[Query], responses: &[Vec<u32>]) -> Result<Vec<f32>, ModelError> {
        Ok(self.of_raw(task, self.raw(task, queries, responses)?, responses))
    }
    /// [`Scorer::scores`] from raw ones.
    pub fn of_raw(&self, task: &Task, raw: Vec<f32>, responses: &[Vec<u32>]) -> Vec<f32> {
        let one = |(score, response): (f32, &Vec<u32>)| match task.cut(response) {
            Some(_) => self.normalization.apply(score),
            None => task.missing_score,
        };
        raw.into_iter().zip(responses).map(one).collect()
    }
}
