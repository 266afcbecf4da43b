//! Passes over a batch of episodes in minibatches, one Adam step each.

use super::guards::direction;
use super::{Advantages, Algorithm, Rollout, Settings};
use crate::context::StageError;
use crate::model::LanguageModel;
use crate::model::gpt2::ScalarModel;
use crate::model::optimizer::Adam;
use crate::model::parallel::{gradients_in_blocks, training_rows};
use crate::model::sampling::{by_length, joined, to_vec, trimmed};
use crate::results::MetricsLine;
use crate::rlhf::advantages::moments;
use crate::rlhf::ppo::{Loss, Targets, flat};
use crate::task::Query;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Statistics of an update, averaged over all its steps; `results::MetricsLine` says what each is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Statistics {
    /// Clipped policy loss.
    pub loss_policy: f64,
    /// Half the clipped squared error of the values.
    pub loss_value: f64,
    /// Policy loss plus vf_coef times value loss.
    pub loss_total: f64,
    /// 0.5 mean (log π - log π_old)².
    pub approxkl: f64,
    /// Share of tokens whose ratio is clipped.
    pub clipfrac: f64,
    /// Share of tokens whose value is clipped.
    pub value_clipfrac: f64,
    /// Mean of the values.
    pub vpred: f64,
    /// Mean squared difference of values and returns.
    pub value_error: f64,
    /// Mean of the returns.
    pub returns_mean: f64,
    /// Variance of the returns.
    pub returns_var: f64,
    /// 1 - value error / variance of the returns.
    pub var_explained: f64,
    /// Largest |ratio - 1| on the first minibatch.
    pub ratio_error: f64,
    /// Correlation of what the update raised with its rewards; None with one epoch.
    pub direction: Option<f64>,
}

impl Statistics {
    /// The first ten in their order.
    fn means(m: [f64; 10]) -> Self {
        let [loss_policy, loss_value, loss_total, approxkl, clipfrac, value_clipfrac, vpred, value_error, ..] = m;
        let [.., returns_mean, returns_var] = m;
        // Of the means, as in the released code: minibatches differ in the variance of their returns.
        let var_explained = 1.0 - value_error / returns_var.max(1e-12);
        Self {
            loss_policy,
            loss_value,
            loss_total,
            approxkl,
            clipfrac,
            value_clipfrac,
            vpred,
            value_error,
            returns_mean,
            returns_var,
            var_explained,
            ratio_error: f64::NAN,
            direction: None,
        }
    }

    /// The same as a line of metrics.jsonl; all else of it is 0.
    pub fn line(&self) -> MetricsLine {
        MetricsLine {
            loss_policy: self.loss_policy,
            loss_value: Some(self.loss_value),
            loss_total: self.loss_total,
            approxkl: self.approxkl,
            clipfrac: self.clipfrac,
            value_clipfrac: Some(self.value_clipfrac),
            vpred: Some(self.vpred),
            value_error: Some(self.value_error),
            returns_mean: Some(self.returns_mean),
            returns_var: Some(self.returns_var),
            var_explained: Some(self.var_explained),
            ratio_error: self.ratio_error,
            direction: self.direction,
            ..MetricsLine::default()
        }
    }

    /// Whether every number is one.
    pub fn is_finite(&self) -> bool {
        let all = [self.loss_policy, self.loss_value, self.loss_total, self.approxkl, self.clipfrac];
        let more = [self.value_clipfrac, self.vpred, self.value_error, self.returns_mean, self.returns_var];
        let rest = [self.var_explained, self.ratio_error, self.direction.unwrap_or(0.0)];
        all.iter().chain(&more).chain(&rest).all(|v| v.is_finite())
    }
}

/// The rows of a minibatch.
struct Minibatch {
    queries: Vec<Query>,
    responses: Vec<Vec<u32>>,
    /// `[rows][response]`, as all below.
    old_logprobs: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    learned: Advantages,
}

impl Minibatch {
    /// `whitened`: rows that are whitened as one.
    fn new(
        algorithm: &dyn Algorithm,
        rollout: &Rollout,
        rewards: &[Vec<f32>],
        picked: &[usize],
        whitened: usize,
    ) -> Self {
        let part = |values: &[Vec<f32>]| rows_of(values, picked);
        let (values, rewards) = (part(&rollout.values), part(rewards));
        let mut learned = Advantages::default();
        for (rewards, values) in rewards.chunks(whitened.max(1)).zip(values.chunks(whitened.max(1))) {
            let Advantages { advantages, returns } = algorithm.advantages(rewards, values);
            learned.advantages.extend(advantages);
            learned.returns.extend(returns);
        }
        Self {
            queries: picked.iter().map(|i| rollout.queries[*i].clone()).collect(),
            responses: picked.iter().map(|i| rollout.responses[*i].clone()).collect(),
            old_logprobs: part(&rollout.logprobs),
            learned,
            values,
        }
    }

    /// Its rows in blocks, each in the order in which it is worked on.
    fn blocks(&self, count: usize) -> Vec<Vec<usize>> {
        let rows = (self.queries.len() / count.max(1)).max(1);
        let of = |(i, block): (usize, &[Query])| by_length(block).into_iter().map(|row| i * rows + row).collect();
        self.queries.chunks(rows).enumerate().map(of).collect()
    }

    /// Loss of some rows times their share of the minibatch, and what they add to its statistics. `last`: how far rows
    /// moved is wanted.
    fn loss(
        &self,
        (settings, algorithm): (&Settings<'_>, &dyn Algorithm),
        model: &ScalarModel,
        rows: &[usize],
        last: bool,
    ) -> Result<(Tensor<1>, Part), StageError> {
        let device = model.trunk.device();
        let part = |values: &[Vec<f32>]| flat(&rows_of(values, rows), &device);
        let fixed = Targets {
            old_logprobs: part(&self.old_logprobs),
            old_values: part(&self.values),
            advantages: part(&self.learned.advantages),
            returns: part(&self.learned.returns),
        };
        let queries: Vec<Query> = rows.iter().map(|r| self.queries[*r].clone()).collect();
        let responses: Vec<Vec<u32>> = rows.iter().map(|r| self.responses[*r].clone()).collect();
        let batch = model.trunk.batch(&trimmed(joined(&queries, &responses)))?;
        let hidden = model.trunk.hidden_before_last(&batch, settings.response_length);
        let targets = model.trunk.targets(&responses)?;
        let lp = model.trunk.token_logprobs(hidden.clone(), targets, settings.temperature);
        let predicted = model.head.forward(hidden);
        let l = algorithm.loss(lp.clone(), predicted.clone(), &fixed);
        let weight = rows.len() as f64 / self.queries.len() as f64;
        let mut found = Part::read(&l, predicted, &fixed, weight)?;
        if last {
            found.moved = raised(lp, &self.old_logprobs, rows)?;
        }
        Ok((l.total * weight, found))
    }
}

fn rows_of(values: &[Vec<f32>], rows: &[usize]) -> Vec<Vec<f32>> {
    rows.iter().map(|r| values[*r].clone()).collect()
}

/// Passes over the batch, each in its own `order` of rows; per minibatch the algorithm's advantages and one Adam step
/// at the rate `lr`. `rewards`: `[rows][response]`. Returns the new model.
///
/// # Errors
/// Those of the device.
pub fn optimise(
    (settings, algorithm): (&Settings<'_>, &dyn Algorithm),
    order: &dyn Fn(usize) -> Vec<usize>,
    lr: f64,
    (mut model, adam): (ScalarModel, &mut Adam),
    rollout: &Rollout,
    rewards: &[Vec<f32>],
) -> Result<(ScalarModel, Statistics), StageError> {
    let p = settings.policy;
    let rewards = &algorithm.credit(rewards)[..];
    let mut sums: Option<[f64; 10]> = None;
    let mut ratio_error = None;
    let mut moved = vec![f64::NAN; rollout.scores.len()];
    for epoch in 0..p.epochs {
        for picked in order(epoch).chunks(p.batch_size / p.minibatches) {
            let whitened = if p.whitens_blocks() { picked.len() / p.blocks } else { picked.len() };
            let minibatch = Minibatch::new(algorithm, rollout, rewards, picked, whitened);
            let blocks = minibatch.blocks(p.blocks);
            let width = minibatch.queries.first().map_or(0, Vec::len) + settings.response_length;
            let at_once = training_rows(&model.trunk, width, settings.response_length);
            let last = epoch > 0 && epoch + 1 == p.epochs;
            let (found, parts) = gradients_in_blocks(&model, &mut adam.scale, &blocks, at_once, |model, rows| {
                minibatch.loss((settings, algorithm), model, rows, last)
            })?;
            ratio_error.get_or_insert(largest(parts.iter().map(|part| part.ratio_error)));
            parts.iter().flat_map(|part| &part.moved).for_each(|(row, by)| moved[picked[*row]] = *by);
            let step = step_means(&parts, &minibatch.learned.returns);
            match &mut sums {
                None => sums = Some(step),
                Some(sums) => sums.iter_mut().zip(step).for_each(|(sum, value)| *sum += value),
            }
            model = adam.update(model, found, lr)?;
        }
    }
    let steps = (p.epochs * p.minibatches) as f64;
    let means = Statistics::means(sums.unwrap_or([f64::NAN; 10]).map(|sum| sum / steps));
    let statistics = Statistics {
        ratio_error: ratio_error.unwrap_or(f64::NAN),
        direction: direction(&moved, &rollout.scores, rewards, &rollout.values),
        ..means
    };
    Ok((model, statistics))
}

/// The largest, or a number that is none.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |a, b| if b.is_nan() { b } else { a.max(b) })
}

/// Of a step: its parts' means add up, and the returns are those of the whole minibatch.
fn step_means(parts: &[Part], returns: &[Vec<f32>]) -> [f64; 10] {
    let (mean, variance) = moments(returns);
    let mut step = [0.0; 10];
    step[8..].copy_from_slice(&[mean, variance]);
    for (i, part) in parts.iter().enumerate() {
        for (sum, value) in step.iter_mut().zip(part.means) {
            *sum = if i == 0 { value } else { *sum + value };
        }
    }
    step
}

/// What a part of a minibatch adds to its step's statistics.
#[derive(Serialize, Deserialize)]
struct Part {
    /// Means over the part times its share of the minibatch, so that they add up.
    means: [f64; 8],
    /// Largest |ratio - 1|.
    ratio_error: f64,
    /// Rows of the minibatch and how far their log-probabilities rose in the epochs before the last.
    moved: Vec<(usize, f64)>,
}

impl Part {
    /// Reads all numbers from the device at once.
    fn read(l: &Loss, values: Tensor<1>, fixed: &Targets, weight: f64) -> Result<Self, StageError> {
        let inner = |t: &Tensor<1>| if t.is_autodiff() { t.clone().inner() } else { t.clone() };
        let values = inner(&values);
        let error = values.clone() - inner(&fixed.returns);
        let error = (error.clone() * error).mean();
        let all = [&l.policy, &l.value, &l.total, &l.approxkl, &l.clipfrac, &l.value_clipfrac];
        let mut tensors: Vec<Tensor<1>> = all.into_iter().map(inner).collect();
        tensors.extend([values.mean(), error, inner(&l.ratio_error)]);
        let read: Vec<f64> = to_vec(Tensor::cat(tensors, 0))?.into_iter().map(f64::from).collect();
        let mut means = [f64::NAN; 8];
        means.iter_mut().zip(&read).for_each(|(mean, value)| *mean = value * weight);
        Ok(Self { means, ratio_error: read.get(8).copied().unwrap_or(f64::NAN), moved: Vec::new() })
    }
}

/// Of each of the minibatch's `rows`: its log-probability now, `[rows * response]`, less that at sampling.
fn raised(logprobs: Tensor<1>, old: &[Vec<f32>], rows: &[usize]) -> Result<Vec<(usize, f64)>, StageError> {
    let now = to_vec(if logprobs.is_autodiff() { logprobs.inner() } else { logprobs })?;
    let mut rest = now.as_slice();
    let sum = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>();
    let of = |row: &usize| {
        let (own, after) = rest.split_at(old[*row].len().min(rest.len()));
        rest = after;
        (*row, sum(own) - sum(&old[*row]))
    };
    Ok(rows.iter().map(of).collect())
}
