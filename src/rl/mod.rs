//! Reinforcement learning of π on R(x, y) = r(x, y) - β log(π(y|x)/ρ(y|x)) (paper section 2.2; released code:
//! train_policy.py).
//!
//! - `trainer.rs`: one update, from queries to the next β; read it first
//! - `rollout.rs`: sampling a batch of episodes, and all that stays fixed while π learns from it
//! - `optimise.rs`: passes over the batch in minibatches
//! - `ppo.rs`: what the paper's algorithm makes of rewards; others implement [`Algorithm`] beside it
//! - `rloo.rs`: one that does
//! - `guards.rs`: every guard, its limit and its message
//! - `log.rs`: metrics.jsonl, its copy in the results, TensorBoard
//!
//! Stages (src/stage/policy.rs) add what a run of days needs: checkpoints, people, the cord.

#![warn(missing_docs)]

pub mod guards;
pub mod log;
pub mod optimise;
pub mod ppo;
pub mod rloo;
pub mod rollout;
pub mod trainer;

pub use optimise::{Statistics, optimise};
pub use ppo::Ppo;
pub use rloo::Rloo;
pub use rollout::{Rollout, roll_out};
pub use trainer::Trainer;

use crate::rlhf::ppo::{Loss, Targets};
use crate::spec::{GuardsSpec, PolicySpec, Spec};
use burn::tensor::Tensor;
use std::borrow::Cow;

/// Per-token rewards `[rows][response]` of (scores `[rows]`, logprobs, ref_logprobs, both `[rows][response]`, β).
pub type Rewards = fn(&[f32], &[Vec<f32>], &[Vec<f32>], f64) -> Vec<Vec<f32>>;

/// Advantages and returns of a minibatch, `[rows][response]` both.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Advantages {
    /// How much better a token was than expected.
    pub advantages: Vec<Vec<f32>>,
    /// What values are taught.
    pub returns: Vec<Vec<f32>>,
}

/// What learners differ in: how rewards become advantages, and the loss.
pub trait Algorithm: Sync {
    /// What each token is credited with, of a whole batch's token rewards `[rows][response]`, before it is divided into
    /// minibatches; responses to one query stand one after the other. The rewards as they are, where they do not depend
    /// on one another.
    fn credit<'r>(&self, rewards: &'r [Vec<f32>]) -> Cow<'r, [Vec<f32>]> {
        Cow::Borrowed(rewards)
    }

    /// Of a minibatch's credited rewards and the values at sampling time, `[rows][response]` both.
    fn advantages(&self, rewards: &[Vec<f32>], values: &[Vec<f32>]) -> Advantages;

    /// Of a part of a minibatch: `logprobs` and `values` are `[rows * response]`.
    fn loss(&self, logprobs: Tensor<1>, values: Tensor<1>, fixed: &Targets) -> Loss;

    /// Whether values are learned: else nothing is said of them.
    fn has_values(&self) -> bool {
        true
    }
}

/// The parts of a spec that training reads.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Sizes, rates and the β schedule.
    pub policy: &'a PolicySpec,
    /// Limits of the guards.
    pub guards: &'a GuardsSpec,
    /// Root of the random streams.
    pub seed: u64,
    /// Tokens of every response.
    pub response_length: usize,
    /// Divides logits, in sampling and in log-probabilities.
    pub temperature: f64,
}

impl<'a> Settings<'a> {
    /// Those of a spec.
    pub fn of(spec: &'a Spec) -> Self {
        Self {
            policy: &spec.policy,
            guards: &spec.guards,
            seed: spec.seed,
            response_length: spec.task.response_length,
            temperature: spec.task.temperature,
        }
    }

    /// Updates of the whole run.
    pub fn updates(&self) -> usize {
        self.policy.episodes / self.policy.batch_size.max(1)
    }
}
