//! Training of the policy π.

use super::adam::AdamSpec;
use crate::rlhf::entropy::EntropySpec;
use crate::rlhf::kl::KlSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// PPO (paper section 2.2, released code train_policy.py).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySpec {
    /// A named source of a policy that is given instead of trained, such as `released/sentiment/policy`: it is
    /// evaluated beside ρ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The same by a directory: `models/policy` of a run, what `runner import` wrote, or a TensorFlow checkpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Episodes in all; a multiple of `batch_size`.
    #[schemars(range(min = 1, max = 1000000000))]
    pub episodes: usize,
    /// Episodes per update.
    #[schemars(range(min = 1, max = 1048576))]
    pub batch_size: usize,
    /// Minibatches per optimisation epoch; divides `batch_size`.
    #[schemars(range(min = 1, max = 65536))]
    pub minibatches: usize,
    /// Optimisation epochs per batch.
    #[schemars(range(min = 1, max = 1000))]
    pub epochs: usize,
    /// Decays linearly to 0 over all episodes.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lr: f64,
    pub adam: AdamSpec,
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gamma: f64,
    /// λ of generalised advantage estimation.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lam: f64,
    #[schemars(range(min = 0.0, max = 100.0))]
    pub cliprange: f64,
    #[schemars(range(min = 0.0, max = 100.0))]
    pub cliprange_value: f64,
    /// Weight of the value loss.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub vf_coef: f64,
    /// Whiten rewards per minibatch, without shifting their mean.
    pub whiten_rewards: bool,
    /// A minibatch's gradient is the sum of the gradients of so many parts of it, added in a fixed binary tree: a power of
    /// two that divides the minibatch. As many processes can share an update as divide it (docs/mpi.md); results do not
    /// depend on how many do.
    #[schemars(range(min = 1, max = 1024))]
    pub blocks: usize,
    /// Which rows rewards and advantages are whitened over, and shuffled among.
    pub whiten_in: WhitenIn,
    /// Updates between two checkpoints.
    #[schemars(range(min = 1, max = 1000000))]
    pub checkpoint_every: usize,
    pub kl: KlSpec,
    /// A bonus for the policy's entropy (table 10); none without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy: Option<EntropySpec>,
}

/// Which rows are whitened, and shuffled, as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhitenIn {
    /// All rows of a minibatch.
    #[default]
    Minibatch,
    /// Each of its blocks by itself, as each of the released code's processes did with its own rows (launch.py, mpi=8).
    Block,
}

impl PolicySpec {
    /// Whether there are blocks whose rows stay together.
    pub fn whitens_blocks(&self) -> bool {
        self.whiten_in == WhitenIn::Block && self.blocks > 1
    }
}

impl Default for PolicySpec {
    fn default() -> Self {
        Self {
            source: None,
            path: None,
            episodes: 1_000_448,
            batch_size: 512,
            minibatches: 1,
            epochs: 4,
            lr: 1e-5,
            adam: AdamSpec::default(),
            gamma: 1.0,
            lam: 0.95,
            cliprange: 0.2,
            cliprange_value: 0.2,
            vf_coef: 0.1,
            whiten_rewards: true,
            blocks: 1,
            whiten_in: WhitenIn::Minibatch,
            checkpoint_every: 10,
            kl: KlSpec::default(),
            entropy: None,
        }
    }
}
