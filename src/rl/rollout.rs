//! A batch of episodes: x ~ D, y ~ π(.|x), and everything about them that stays fixed while π learns from them.

use super::Settings;
use crate::context::StageError;
use crate::model::gpt2::{Gpt2, ScalarModel};
use crate::model::memory::SHARD_ROWS;
use crate::model::parallel::map_shards;
use crate::model::sampling::{Sampled, Sampling, logprobs, sample};
use crate::task::{Query, Scorer, Task};
use crate::{random, ranks};
use serde::{Deserialize, Serialize};
use tracing::trace_span;

/// What episodes are made of and scored by.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// ρ.
    pub reference: &'a Gpt2,
    /// r.
    pub scorer: &'a Scorer,
    /// r_s, logged beside the score, where there is one; in direct mode the scorer itself.
    pub mock: Option<&'a Scorer>,
    /// Where responses end, and what scorers read.
    pub task: &'a Task,
    /// Training queries.
    pub queries: &'a [Query],
    /// Of the vocabulary, for the model that is written at the end.
    pub end_of_text: u32,
}

/// One batch of episodes, `[rows]` or `[rows][response]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Rollout {
    /// `[rows]`, padded on the left to one width; a query with several responses stands before each.
    pub queries: Vec<Query>,
    /// Sampled tokens.
    pub responses: Vec<Vec<u32>>,
    /// Under π, when they were sampled.
    pub logprobs: Vec<Vec<f32>>,
    /// Under ρ.
    pub ref_logprobs: Vec<Vec<f32>>,
    /// Of the states that predict each token.
    pub values: Vec<Vec<f32>>,
    /// Under r, with the fixed score where the truncation token is missing; `[rows]`.
    pub scores: Vec<f32>,
    /// Log-odds under r_s, `[rows]`.
    pub mock_scores: Option<Vec<f32>>,
    /// Mean entropy of the distributions that the tokens were sampled from, in nats per token.
    pub entropy: f32,
}

impl Rollout {
    /// Mean over the batch of the summed logprob - ref_logprob, in nats per response.
    pub fn kl(&self) -> f64 {
        let sum: f64 =
            self.logprobs.iter().flatten().zip(self.ref_logprobs.iter().flatten()).map(|(a, b)| f64::from(a - b)).sum();
        sum / self.scores.len() as f64
    }

    /// The rows of one of so many blocks after these.
    fn extend(&mut self, block: Self, blocks: usize) {
        let Self { queries, responses, logprobs, ref_logprobs, values, scores, mock_scores, entropy } = block;
        self.queries.extend(queries);
        self.responses.extend(responses);
        self.logprobs.extend(logprobs);
        self.ref_logprobs.extend(ref_logprobs);
        self.values.extend(values);
        self.scores.extend(scores);
        if let Some(all) = &mut self.mock_scores {
            all.extend(mock_scores.unwrap_or_default());
        }
        self.entropy += entropy / blocks as f32;
    }

    /// Mean over the batch of the summed -logprob, in nats per response.
    pub fn surprise(&self) -> f64 {
        let sum: f64 = self.logprobs.iter().flatten().map(|lp| -f64::from(*lp)).sum();
        sum / self.logprobs.len() as f64
    }
}

/// Samples the batch of update `update`; the spans `sample`, `reference` and `score` say how long each part takes.
pub fn roll_out(
    settings: &Settings<'_>,
    inputs: &Inputs<'_>,
    model: &ScalarModel,
    update: usize,
) -> Result<Rollout, StageError> {
    let (n, length, temperature) = (settings.policy.batch_size, settings.response_length, settings.temperature);
    let k = settings.policy.samples_per_query();
    let count = n / k;
    let picked = random::shuffled(settings.seed, "policy queries", inputs.queries.len(), update * count, count);
    let asked: Vec<Query> = picked.iter().map(|i| inputs.queries[*i].clone()).collect();
    let u = random::uniforms(settings.seed, "policy samples", update as u64, length, n);
    // Responses to one query stay together.
    let blocks = settings.policy.blocks.min(1 << count.trailing_zeros().min(16));
    let sizes = Sizes { k, length, temperature };
    if blocks == 1 {
        return episodes(sizes, inputs, model, &asked, &u);
    }
    // Ranks share the blocks; shards of a whole batch on a GPU would be fewer than they are.
    let (numbers, rows): (Vec<usize>, usize) = ((0..blocks).collect(), count / blocks);
    let one = |block: usize| {
        let place = block * rows..(block + 1) * rows;
        let u: Vec<Vec<f32>> = u.iter().map(|row| row[place.start * k..place.end * k].to_vec()).collect();
        episodes(sizes, inputs, model, &asked[place], &u)
    };
    // Blocks of many rows keep all threads busy one by one.
    let at_once = if rows * k > SHARD_ROWS { blocks } else { 1 };
    let parts = map_blocks(&numbers, at_once, one)?;
    let mut all = Rollout { mock_scores: inputs.mock.map(|_| Vec::new()), ..Rollout::default() };
    parts.into_iter().for_each(|part| all.extend(part, blocks));
    Ok(all)
}

/// What `one` makes of each block, in order. `at_once`: blocks that one thread works on one after the other.
fn map_blocks(
    blocks: &[usize],
    at_once: usize,
    one: impl Fn(usize) -> Result<Rollout, StageError> + Sync,
) -> Result<Vec<Rollout>, StageError> {
    // A shard for each rank at least.
    let at_once = at_once.min(blocks.len() / ranks::size().clamp(1, blocks.len()));
    let parts = map_shards(blocks, at_once, |blocks| {
        blocks.iter().map(|block| one(*block)).collect::<Result<Vec<Rollout>, StageError>>()
    })?;
    Ok(parts.concat())
}

/// Responses per query, tokens of a response, and the temperature.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    k: usize,
    length: usize,
    temperature: f64,
}

/// The episodes of these queries.
fn episodes(
    Sizes { k, length, temperature }: Sizes,
    inputs: &Inputs<'_>,
    model: &ScalarModel,
    asked: &[Query],
    uniforms: &[Vec<f32>],
) -> Result<Rollout, StageError> {
    let args =
        Sampling { queries: asked, k, response_length: length, temperature, uniforms, value_head: Some(&model.head) };
    let sampled = trace_span!("sample").in_scope(|| sample(&model.trunk, &args))?;
    let queries: Vec<Query> = asked.iter().flat_map(|query| std::iter::repeat_n(query.clone(), k)).collect();
    let Sampled { responses, logprobs: lp, values, entropy } = sampled;
    let ref_logprobs =
        trace_span!("reference").in_scope(|| logprobs(inputs.reference, &queries, &responses, temperature))?;
    let scores = trace_span!("score").in_scope(|| inputs.scorer.scores(inputs.task, &queries, &responses))?;
    let mock_scores = inputs.mock.map(|mock| mock.plain(inputs.task, &queries, &responses)).transpose()?;
    Ok(Rollout { queries, responses, logprobs: lp, ref_logprobs, values, scores, mock_scores, entropy })
}
