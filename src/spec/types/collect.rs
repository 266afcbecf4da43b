//! When labels are collected, and how many.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When labels are collected (paper section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CollectSchedule {
    /// No labels: PPO straight on the mock labeler's own score (upper curve of figure 2).
    Direct,
    /// All labels on samples of ρ; the reward model is trained once.
    Offline,
    /// In rounds: labels on samples of ρ, a reward model from them, PPO for a part of the episodes; then labels on
    /// samples of π, a new reward model from all labels, the next part; and so on (paper section 4.1 recommends it).
    Batched,
    /// Labels on samples of π while it is trained, most of them early; the reward model is trained before the first
    /// episode and again `retrain` times (paper section 2.3).
    Online,
    /// No RL: π is the supervised model, and the reference is what it was fine-tuned from. Recorded and simulated
    /// labels train a reward model all the same, which then scores both.
    None,
}

/// Label collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CollectSpec {
    pub schedule: CollectSchedule,
    /// 4-way comparisons in all.
    #[schemars(range(min = 1, max = 10000000))]
    pub labels: usize,
    /// Held-out comparisons that measure the reward model's accuracy; of ρ's samples, whatever the schedule.
    #[schemars(range(min = 0, max = 10000000))]
    pub held_out: usize,
    /// Batched: how many rounds. Episodes are divided evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub rounds: Option<usize>,
    /// Batched: labels of each round, `labels` in all. Default: divided evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000), inner(range(min = 1, max = 10000000)))]
    pub round_labels: Option<Vec<usize>>,
    /// Online: labels before the first episode, on samples of ρ. Default: one in ten.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000000))]
    pub initial: Option<usize>,
    /// Online: how often the reward model is trained again, at even spacing in labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub retrain: Option<usize>,
    /// Online: share of the later labels that compare two samples of ρ with two of π, to see how often π wins. They are
    /// trained on like all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation_share: Option<f64>,
    /// Online, with people: unanswered requests at which training waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000000))]
    pub outstanding: Option<usize>,
}

impl Default for CollectSpec {
    fn default() -> Self {
        Self {
            schedule: CollectSchedule::Offline,
            labels: 5_000,
            held_out: 200,
            rounds: None,
            round_labels: None,
            initial: None,
            retrain: None,
            validation_share: None,
            outstanding: None,
        }
    }
}

impl CollectSchedule {
    /// The word used in specs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Offline => "offline",
            Self::Batched => "batched",
            Self::Online => "online",
            Self::None => "none",
        }
    }
    /// Whether π is trained at all.
    pub fn has_rl(self) -> bool {
        self != Self::None
    }
    /// Whether labels are collected and r is trained more than once.
    pub fn in_rounds(self) -> bool {
        matches!(self, Self::Batched | Self::Online)
    }
    /// Whether samples are asked about while π is trained.
    pub fn is_online(self) -> bool {
        self == Self::Online
    }
}

impl CollectSpec {
    /// Defaults of the keys that only one schedule has.
    pub const ROUNDS: usize = 2;
    pub const RETRAIN: usize = 19;
    pub const VALIDATION_SHARE: f64 = 0.1;
    pub const OUTSTANDING: usize = 1000;

    pub fn rounds(&self) -> usize {
        let given = self.round_labels.as_ref().map(Vec::len);
        self.rounds.or(given).unwrap_or(Self::ROUNDS)
    }
    /// N_r⁰: labels before the first episode.
    pub fn initial(&self) -> usize {
        self.initial.unwrap_or((self.labels / 10).max(1))
    }
    pub fn retrain(&self) -> usize {
        self.retrain.unwrap_or(Self::RETRAIN)
    }
    pub fn validation_share(&self) -> f64 {
        self.validation_share.unwrap_or(Self::VALIDATION_SHARE)
    }
    pub fn outstanding(&self) -> usize {
        self.outstanding.unwrap_or(Self::OUTSTANDING)
    }
}
