//! Scores of responses under a reward model or r_s: truncate, score, overwrite with the fixed score where the
//! truncation token is missing (released code: train_policy.py and lm_tasks.py).

use super::StageError;
use crate::data::queries::{Query, truncate, truncation_ids};
use crate::model::gpt2::ScalarModel;
use crate::model::parallel::{map_shards, shard_rows};
use crate::model::sampling::{by_length, restored, to_vec, trimmed};
use crate::model::tokenizer::Tokenizer;
use crate::rlhf::reward::Normalization;
use crate::spec::Spec;

/// Rows per forward pass without gradients.
pub const ROWS: usize = 64;

/// How a tokenizer's ids become what scorers read: the task's truncation rule, and what surrounds its queries.
#[derive(Debug, Clone)]
pub struct Rule {
    pub truncates: Vec<bool>,
    pub after: usize,
    pub missing_score: f32,
    /// Put before and after every bare query for ρ and π.
    pub prefix: Vec<u32>,
    pub suffix: Vec<u32>,
    /// Whether scorers read prefix and suffix too.
    pub formatted: bool,
    /// Bare queries are padded to this many tokens.
    pub query_length: usize,
}

impl Rule {
    pub fn new(spec: &Spec, tokenizer: &Tokenizer) -> Result<Self, StageError> {
        let task = &spec.task;
        let truncates = truncation_ids(task, tokenizer)?;
        Ok(Self {
            truncates,
            after: task.truncate_after,
            missing_score: task.missing_score as f32,
            prefix: tokenizer.encode_own(&task.query_prefix)?,
            suffix: tokenizer.encode_own(&task.query_suffix)?,
            formatted: spec.reward.formatted_queries,
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
        let (prefix, suffix) = if self.formatted { (&self.prefix[..], &self.suffix[..]) } else { (&[][..], &[][..]) };
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

/// Raw scores of token rows, in passes of [`ROWS`].
pub fn raw_scores(model: &ScalarModel, rows: &[Query]) -> Result<Vec<f32>, StageError> {
    let device = model.trunk.device();
    let order = by_length(rows);
    let scores = map_shards(&order, shard_rows(&device).min(ROWS), |picked| {
        let rows = trimmed(picked.iter().map(|i| rows[*i].clone()).collect());
        to_vec(model.score(&model.trunk.batch(&rows)?))
    })?;
    Ok(restored(&order, scores.concat()))
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
