//! One update of π after another (paper section 2.2).

use super::rollout::Inputs;
use super::{Algorithm, Rewards, Rollout, Settings, Statistics, guards, optimise, roll_out};
use crate::context::StageError;
use crate::model::gpt2::{ScalarHead, ScalarModel};
use crate::model::optimizer::Adam;
use crate::random;
use crate::results::MetricsLine;
use crate::rlhf::advantages::{moments, token_rewards};
use crate::rlhf::{entropy, kl};

/// π, its Adam, and the coefficients that follow its KL and its entropy.
pub struct Trainer<'a> {
    /// Sizes, rates, limits.
    pub settings: Settings<'a>,
    /// What learns.
    pub algorithm: &'a dyn Algorithm,
    /// What episodes are made of and scored by.
    pub inputs: Inputs<'a>,
    /// [`token_rewards`]; a test of the guards gives another.
    pub rewards: Rewards,
    /// π with its value head.
    pub model: ScalarModel,
    /// Its step count and moments.
    pub adam: Adam,
    /// β.
    pub kl_coef: f64,
    /// α of the entropy bonus; 0 without one.
    pub entropy_coef: f64,
}

/// What an update has to say.
#[derive(Debug)]
pub struct Update {
    /// Without the numbers of labels and of time, which whoever runs the trainer knows.
    pub metrics: MetricsLine,
    /// Mean score of the batch, under r_s where there is one.
    pub score: f64,
    /// Err: a guard stops the run; the metrics are still worth keeping.
    pub guarded: Result<(), StageError>,
}

impl<'a> Trainer<'a> {
    /// π before the first update: ρ, and a value head of zeros.
    pub fn new(settings: Settings<'a>, algorithm: &'a dyn Algorithm, inputs: Inputs<'a>) -> Self {
        let (reference, p) = (inputs.reference, settings.policy);
        let head = ScalarHead::init(reference.dimensions().width, 0.0, 0, &reference.device());
        Self {
            settings,
            algorithm,
            inputs,
            rewards: token_rewards,
            model: ScalarModel { trunk: reference.clone(), head },
            adam: Adam::new(p.adam),
            kl_coef: p.kl.init,
            entropy_coef: p.entropy.map_or(0.0, |e| e.init),
        }
    }

    /// Update number `update`, from 0. By value: weights that nobody else holds are changed in place.
    ///
    /// # Errors
    /// Those of the device; a reward that is not r - β log(π/ρ), from which nothing is learned.
    pub fn update(self, update: usize) -> Result<(Self, Update), StageError> {
        let rollout = roll_out(&self.settings, &self.inputs, &self.model, update)?;
        let rewards = self.rewards(&rollout)?;
        let lr = self.learning_rate(update);
        let (mut this, statistics) = self.learn(update, lr, &rollout, &rewards)?;
        let metrics = MetricsLine { lr, ..this.describe(&rollout, &rewards, &statistics) };
        let metrics = if this.algorithm.has_values() { metrics } else { metrics.without_values() };
        let guarded = guards::check(&this.settings, &metrics, &statistics);
        this.adapt(update, &rollout);
        let score = mean(rollout.mock_scores.as_ref().unwrap_or(&rollout.scores));
        Ok((this, Update { metrics, score, guarded }))
    }

    /// R(x, y) = r(x, y) - β log(π(y|x)/ρ(y|x)) by token, checked, and the entropy bonus where the spec has one.
    fn rewards(&self, r: &Rollout) -> Result<Vec<Vec<f32>>, StageError> {
        let mut rewards = (self.rewards)(&r.scores, &r.logprobs, &r.ref_logprobs, self.kl_coef);
        guards::total_rewards(&rewards, &r.scores, &r.logprobs, &r.ref_logprobs, self.kl_coef)?;
        if self.settings.policy.entropy.is_some() {
            entropy::add_bonus(&mut rewards, &r.logprobs, self.entropy_coef);
        }
        Ok(rewards)
    }

    /// Falls linearly to zero over the run (released code: train_policy.py).
    fn learning_rate(&self, update: usize) -> f64 {
        self.settings.policy.lr * (1.0 - update as f64 / self.settings.updates() as f64)
    }

    fn learn(
        mut self,
        update: usize,
        lr: f64,
        rollout: &Rollout,
        rewards: &[Vec<f32>],
    ) -> Result<(Self, Statistics), StageError> {
        let settings = self.settings;
        let order = |epoch| order(&settings, update, epoch);
        let with = (self.model, &mut self.adam);
        let (model, statistics) = optimise((&settings, self.algorithm), &order, lr, with, rollout, rewards)?;
        Ok((Self { model, ..self }, statistics))
    }

    /// β and α for the next batch.
    fn adapt(&mut self, update: usize, rollout: &Rollout) {
        let p = self.settings.policy;
        let episodes = ((update + 1) * p.batch_size) as f64;
        self.entropy_coef =
            p.entropy.map_or(0.0, |e| entropy::next_coefficient(&e, self.entropy_coef, rollout.surprise()));
        let done = episodes / p.episodes as f64;
        self.kl_coef = kl::next_coefficient(&p.kl, self.kl_coef, rollout.kl(), p.batch_size, done);
    }

    fn describe(&self, r: &Rollout, rewards: &[Vec<f32>], s: &Statistics) -> MetricsLine {
        let total: f64 = rewards.iter().flatten().map(|v| f64::from(*v)).sum::<f64>() / rewards.len() as f64;
        let complete = r.responses.iter().filter(|y| self.inputs.task.cut(y).is_some()).count() as f64;
        let (value_mean, value_var) = moments(&r.values);
        MetricsLine {
            kl: r.kl(),
            kl_coef: self.kl_coef,
            entropy: r.surprise(),
            token_entropy: f64::from(r.entropy),
            score: mean(&r.scores),
            score_total: total,
            truncated: complete / r.responses.len() as f64,
            value_mean: Some(value_mean),
            value_var: Some(value_var),
            mock_score: r.mock_scores.as_ref().map(|scores| mean(scores)),
            entropy_coef: self.settings.policy.entropy.map(|_| self.entropy_coef),
            ..s.line()
        }
    }
}

/// The rows of a batch in the order of an epoch's minibatches. Where blocks are whitened, each keeps its rows, shuffles
/// them by itself and gives every minibatch as many, as the released code's processes did.
fn order(settings: &Settings<'_>, update: usize, epoch: usize) -> Vec<usize> {
    let (p, name) = (settings.policy, format!("minibatches {update}/{epoch}"));
    let n = p.batch_size;
    if !p.whitens_blocks() {
        return random::shuffled(settings.seed, &name, n, 0, n);
    }
    let rows = n / p.blocks;
    let of = |block: usize| {
        let order = random::shuffled(settings.seed, &format!("{name}/{block}"), rows, 0, rows);
        order.into_iter().map(|row| block * rows + row).collect()
    };
    let blocks: Vec<Vec<usize>> = (0..p.blocks).map(of).collect();
    let part = rows / p.minibatches;
    (0..p.minibatches).flat_map(|m| blocks.iter().flat_map(move |block| block[m * part..][..part].to_vec())).collect()
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64
}
