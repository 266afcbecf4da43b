//! Training of the reward model r.

use super::adam::AdamSpec;
use super::outside::CommandSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reward-model training (paper section 2.2, released code train_reward.py).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewardSpec {
    /// A named source of a reward model that is given instead of trained, such as `released/sentiment/reward_model`;
    /// "command", a program that scores texts (`reward.command`); or "rouge", ROUGE-L (F1) with the reference summary. No
    /// labels are asked for, and no r_s is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The same by a directory: `models/reward` of a run, what `runner import` wrote, or a TensorFlow checkpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Of `source = "command"`: the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandSpec>,
    /// Decays linearly to 0 over the one epoch.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lr: f64,
    /// Comparisons per step.
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: usize,
    #[schemars(range(min = 1, max = 1000))]
    pub epochs: usize,
    pub adam: AdamSpec,
    /// Let r read queries with the task's prefix and suffix. The released code gives it the bare query (rewards.py).
    pub formatted_queries: bool,
    /// Samples of ρ from which gain and bias are set, before and again after training.
    #[schemars(range(min = 8, max = 10000000))]
    pub normalize_samples: usize,
    pub target_mean: f64,
    #[schemars(range(min = 0.000001, max = 1000000.0))]
    pub target_std: f64,
}

impl Default for RewardSpec {
    fn default() -> Self {
        Self {
            source: None,
            path: None,
            command: None,
            lr: 5e-5,
            batch_size: 32,
            epochs: 1,
            adam: AdamSpec::default(),
            formatted_queries: false,
            normalize_samples: 256,
            target_mean: 0.0,
            target_std: 1.0,
        }
    }
}
