//! Training of the policy π.

use super::adam::AdamSpec;
use crate::rlhf::entropy::EntropySpec;
use crate::rlhf::kl::KlSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What learns; PPO where a spec says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlgorithmKind {
    /// Proximal policy optimisation, the paper's: token-wise ratios, a value function.
    #[default]
    Ppo,
    /// REINFORCE leave-one-out (Ahmadian et al. 2024): several responses to each query, each compared with the mean of
    /// the others; no value function.
    Rloo,
    /// Direct preference optimisation (Rafailov et al. 2023) on the labels themselves: no reward model, no episodes.
    Dpo,
}

impl AlgorithmKind {
    /// The word used in specs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ppo => "ppo",
            Self::Rloo => "rloo",
            Self::Dpo => "dpo",
        }
    }

    /// Whether it is the paper's.
    pub fn is_ppo(&self) -> bool {
        *self == Self::Ppo
    }
}

/// Direct preference optimisation: the best of each label against each of the others. Defaults: Rafailov et al. 2023,
/// appendix B.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DpoSpec {
    /// Its KL coefficient: small values go further from ρ.
    #[schemars(range(min = 0.000001, max = 1000000.0))]
    pub beta: f64,
    /// Decays linearly to 0 over all steps.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lr: f64,
    /// Passes over the labels.
    #[schemars(range(min = 1, max = 1000))]
    pub epochs: usize,
    /// Labels per step.
    #[schemars(range(min = 1, max = 1048576))]
    pub batch_size: usize,
}

impl Default for DpoSpec {
    fn default() -> Self {
        Self { beta: 0.1, lr: 1e-6, epochs: 1, batch_size: 64 }
    }
}

/// Responses per query of RLOO where the spec does not say.
const SAMPLES_PER_QUERY: usize = 4;

/// Training of π (paper section 2.2, released code train_policy.py).
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
    /// What learns: the paper's PPO, RLOO from the same rewards, or DPO from the same labels.
    #[serde(skip_serializing_if = "AlgorithmKind::is_ppo")]
    pub algorithm: AlgorithmKind,
    /// RLOO: responses to each query of a batch, 2 or more; divides `batch_size`. Default: 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub samples_per_query: Option<usize>,
    /// DPO's own numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpo: Option<DpoSpec>,
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
            algorithm: AlgorithmKind::Ppo,
            samples_per_query: None,
            dpo: None,
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

impl PolicySpec {
    /// Responses to each query of a batch.
    pub fn samples_per_query(&self) -> usize {
        match self.algorithm {
            AlgorithmKind::Rloo => self.samples_per_query.unwrap_or(SAMPLES_PER_QUERY).max(1),
            AlgorithmKind::Ppo | AlgorithmKind::Dpo => 1,
        }
    }

    /// What the algorithm reads; the rest as it is by default, so that no result depends on it.
    pub fn settled(self) -> Self {
        let other = Self::default();
        match self.algorithm {
            AlgorithmKind::Ppo => self,
            AlgorithmKind::Rloo => Self {
                gamma: other.gamma,
                lam: other.lam,
                cliprange_value: other.cliprange_value,
                vf_coef: other.vf_coef,
                whiten_rewards: other.whiten_rewards,
                ..self
            },
            AlgorithmKind::Dpo => Self {
                source: self.source,
                path: self.path,
                algorithm: self.algorithm,
                samples_per_query: self.samples_per_query,
                dpo: self.dpo,
                adam: self.adam,
                checkpoint_every: self.checkpoint_every,
                ..other
            },
        }
    }

    /// DPO's numbers, with their defaults.
    pub fn dpo(&self) -> DpoSpec {
        self.dpo.unwrap_or_default()
    }
}
