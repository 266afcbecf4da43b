//! Floating-point operations of each stage: two for each weight of a product and token, causal attention's pairs, the
//! LM head where it is needed; a backward pass costs two forward passes. docs/benchmarks.md ("Roofline") counts the
//! same way. Every query is taken to be as long as the longest.

use super::sizes::Model;
use crate::labeler::CANDIDATES;
use crate::labeler::rounds::{Round, wanted};
use crate::model::flops::{body, head};
use crate::spec::Spec;
use crate::stage::frontier;
use schemars::JsonSchema;
use serde::Serialize;

/// Operations by the kind of work, since devices do not do all of it at one speed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Work")]
pub struct Operations {
    /// One token at a time, with a cache.
    pub sampling: f64,
    /// Whole sequences, without a gradient.
    pub forward: f64,
    /// Forward and backward.
    pub training: f64,
}

impl Operations {
    pub fn total(&self) -> f64 {
        self.sampling + self.forward + self.training
    }

    fn times(self, n: f64) -> Self {
        Self { sampling: n * self.sampling, forward: n * self.forward, training: n * self.training }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            sampling: self.sampling + other.sampling,
            forward: self.forward + other.forward,
            training: self.training + other.training,
        }
    }
}

fn sampling(flops: f64) -> Operations {
    Operations { sampling: flops, ..Operations::default() }
}
fn forward(flops: f64) -> Operations {
    Operations { forward: flops, ..Operations::default() }
}
/// Forward, and twice that backward.
fn training(flops: f64) -> Operations {
    Operations { training: 3.0 * flops, ..Operations::default() }
}

/// Tokens of a task's sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskLengths {
    /// A query with what surrounds it.
    pub query: usize,
    pub response: usize,
    /// What r and r_s read: query and response, mostly without what surrounds the query.
    pub scored: usize,
}

impl TaskLengths {
    /// Of a spec; a token of prefix or suffix is taken to have three characters.
    pub fn of(spec: &Spec) -> Self {
        let t = &spec.task;
        let around = (t.query_prefix.len() + t.query_suffix.len()).div_ceil(3);
        let formatted = if spec.reward.formatted_queries { around } else { 0 };
        Self {
            query: t.query_length + around,
            response: t.response_length,
            scored: t.query_length + formatted + t.response_length,
        }
    }

    pub fn whole(&self) -> usize {
        self.query + self.response
    }
}

/// What a spec's stages are counted from.
pub struct Counter<'a> {
    pub spec: &'a Spec,
    pub model: &'a Model,
    pub lengths: TaskLengths,
}

impl<'a> Counter<'a> {
    pub fn new(spec: &'a Spec, model: &'a Model) -> Self {
        Self { spec, model, lengths: TaskLengths::of(spec) }
    }

    /// `k` responses to one query, which is read once.
    fn samples(&self, k: usize) -> Operations {
        let (d, l) = (&self.model.dimensions, self.lengths);
        let each = body(d, l.query, l.whole()) + head(d, self.model.vocab, l.response);
        forward(body(d, 0, l.query)).plus(sampling(each).times(k as f64))
    }

    /// Log-probabilities of one response.
    fn logprobs(&self) -> f64 {
        let (d, l) = (&self.model.dimensions, self.lengths);
        body(d, 0, l.whole()) + head(d, self.model.vocab, l.response)
    }

    /// One score under r.
    fn reward_score(&self) -> f64 {
        body(&self.model.dimensions, 0, self.lengths.scored)
    }

    /// One score under r_s; nothing where there is none.
    fn mock_score(&self) -> f64 {
        let labeler = &self.spec.labeler;
        if self.spec.has_classifier() { body(&labeler.classifier.dimensions, 0, self.lengths.scored) } else { 0.0 }
    }

    /// Reading weights and measuring their perplexity on 256 rows of 64 tokens.
    pub fn import(&self) -> Operations {
        let d = &self.model.dimensions;
        let length = 64.min(d.context);
        forward(256.0 * (body(d, 0, length) + head(d, self.model.vocab, length)))
    }

    /// Pretraining from scratch; nothing where weights are given.
    pub fn pretrain(&self) -> Operations {
        let Some(p) = &self.spec.model.weights.pretrain else { return Operations::default() };
        let (d, length) = (&self.model.dimensions, p.sequence_length);
        let row = body(d, 0, length) + head(d, self.model.vocab, length);
        training(row).times((p.steps * p.batch_size) as f64)
    }

    /// A sweep of learning rates over `rows` sequences of which `predicted` tokens are learned.
    pub fn supervised(&self, rows: f64, length: usize, predicted: usize) -> Operations {
        let s = &self.spec.supervised;
        let d = &self.model.dimensions;
        let row = body(d, 0, length) + head(d, self.model.vocab, predicted);
        let (rates, held) = (s.lrs.len() as f64, s.validation as f64);
        let learned = training(row).times(rates * s.epochs as f64 * (rows - held).max(0.0));
        learned.plus(forward(row).times((rates + 1.0) * held))
    }

    pub fn classifier(&self) -> Operations {
        let (c, task) = (&self.spec.labeler.classifier, &self.spec.task);
        let row = body(&c.dimensions, 0, task.query_length + task.response_length);
        training(row).times((c.steps * c.batch_size) as f64)
    }

    /// The comparisons of one round: samples, and what programs compute to answer.
    pub fn labels(&self, round: &Round, sampled_before: bool) -> Operations {
        if self.spec.labeler.is().recorded {
            return Operations::default();
        }
        let asked = round.asked(self.spec.collect.held_out) as f64;
        let samples = if sampled_before { Operations::default() } else { self.samples(CANDIDATES).times(asked) };
        samples.plus(forward(CANDIDATES as f64 * asked * self.mock_score()))
    }

    /// r from ρ on all labels so far, its scale before and after, and its agreement with held-out labels.
    pub fn reward(&self, round: &Round) -> Operations {
        let (r, score) = (&self.spec.reward, self.reward_score());
        let candidates = CANDIDATES as f64;
        let measured = self.spec.collect.held_out + if round.number > 1 { round.new } else { 0 };
        training(score)
            .times(candidates * (round.total * r.epochs) as f64)
            .plus(forward(score).times(candidates * measured as f64 + 2.0 * r.normalize_samples as f64))
            .plus(self.samples(1).times(r.normalize_samples as f64))
    }

    /// PPO updates `from..to`: sampling, ρ's pass, scores, and each epoch's forward and backward; with online
    /// collection what is sampled to be asked.
    pub fn policy(&self, from: usize, to: usize, online: bool) -> Operations {
        let (p, direct) = (&self.spec.policy, !self.spec.has_reward_model());
        let score = if direct { self.mock_score() } else { self.reward_score() };
        // Queries are read once for all their samples.
        let k = p.samples_per_query();
        let episode = self
            .samples(k)
            .times(1.0 / k as f64)
            .plus(forward(self.logprobs() + score + self.mock_score()))
            .plus(training(self.logprobs()).times(p.epochs as f64));
        let asked = if online { wanted(self.spec, to) - wanted(self.spec, from) } else { 0 };
        episode.times(((to - from) * p.batch_size) as f64).plus(self.samples(CANDIDATES).times(asked as f64))
    }

    /// DPO: each candidate of each label under ρ, in every epoch forward and backward, and of held-out labels under both
    /// models.
    pub fn dpo(&self, labels: usize) -> Operations {
        let (epochs, held_out) = (self.spec.policy.dpo().epochs as f64, self.spec.collect.held_out as f64);
        let candidate = training(self.logprobs()).times(epochs).plus(forward(self.logprobs()));
        candidate
            .times((labels * CANDIDATES) as f64)
            .plus(forward(2.0 * self.logprobs()).times(held_out * CANDIDATES as f64))
    }

    /// Held-out queries under ρ and π, their scores, and many samples of ρ for best-of-n and for the closed-form optimum.
    pub fn evaluate(&self) -> Operations {
        let e = &self.spec.evaluate;
        let learns = self.spec.has_reward_model();
        let (reward, mock) = (if learns { self.reward_score() } else { 0.0 }, self.mock_score());
        let judge = if mock > 0.0 { mock } else { reward };
        let query = self.samples(1).times(2.0).plus(forward(self.logprobs() + 2.0 * (judge + mock + reward)));
        let optimum = self.samples(e.optimum_samples).plus(forward(e.optimum_samples as f64 * judge));
        let most = e.best_of.iter().max().map_or(0, |n| *n);
        let scored = most as f64 * (if learns { reward } else { mock } + judge);
        let best_of = if most > 0 { self.samples(most).plus(forward(scored)) } else { Operations::default() };
        let normalised = if learns { 0.0 } else { self.spec.reward.normalize_samples as f64 };
        query
            .plus(best_of)
            .times(e.queries as f64)
            .plus(optimum.times(e.optimum_queries as f64))
            .plus(self.samples(1).plus(forward(mock)).times(normalised))
    }

    /// Samples of every writer to the same queries, and each response under all writers and r_s.
    pub fn frontier(&self, policies: usize) -> Operations {
        let (responses, writers) = frontier::sizes(self.spec, policies);
        let queries = self.spec.evaluate.optimum_queries.max(1);
        let each = self.samples(responses / queries).times(queries as f64);
        each.plus(forward(responses as f64 * (writers as f64 * self.logprobs() + self.mock_score())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Dimensions, ModelSize};
    use serde_json::json;

    fn spec(value: serde_json::Value) -> Spec {
        serde_json::from_value(value).unwrap()
    }

    fn model(size: ModelSize) -> Model {
        Model { dimensions: size.dimensions(), vocab: 50_257, from: String::new() }
    }

    #[test]
    fn an_episode_is_fifteen_bodies_and_fourteen_heads() {
        // docs/benchmarks.md: 252 GFLOP per episode at 124M with 24 of 88 tokens, 1,640 with 75 of 575.
        for (query, response, gflop) in [(64, 24, 252.0), (500, 75, 1_640.0)] {
            let spec = spec(json!({
                "spec_version": 1, "name": "t", "labeler": { "kind": "recorded" },
                "task": { "query_length": query, "response_length": response },
                "policy": { "batch_size": 1, "episodes": 1, "epochs": 4 },
            }));
            let model = model(ModelSize::M124);
            let counter = Counter::new(&spec, &model);
            let (d, t) = (&model.dimensions, query + response);
            let wanted = 15.0 * body(d, 0, t) + 14.0 * head(d, model.vocab, response);
            let found = counter.policy(0, 1, false).total();
            assert!((found / wanted - 1.0).abs() < 1e-9, "{found:e} {wanted:e}");
            assert!((found / 1e9 / gflop - 1.0).abs() < 0.005, "{found:e}");
        }
    }

    #[test]
    fn direct_mode_scores_with_the_classifier_alone() {
        let with = |schedule| {
            let spec = spec(json!({ "spec_version": 1, "name": "t", "collect": { "schedule": schedule } }));
            let model = model(ModelSize::M774);
            Counter::new(&spec, &model).policy(0, 1, false).forward
        };
        let saved = (with("offline") - with("direct")) / 512.0;
        let (small, large) =
            (Dimensions { layers: 6, heads: 8, width: 512, context: 128 }, ModelSize::M774.dimensions());
        assert!((saved / (body(&large, 0, 88) - body(&small, 0, 88)) - 1.0).abs() < 1e-9, "{saved:e}");
    }
}
