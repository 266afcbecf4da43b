//! The optimum of figure 3 from samples of ρ and of trained policies: `frontier.json` of an experiment,
//! `asked/frontier-seed-N.json` of a suite.

use super::evaluation::Judge;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The best possible score at each KL, and the policies beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Frontier {
    /// "frontier-seed-N".
    pub frontier: String,
    pub seed: u64,
    /// Whose score.
    pub judge: Judge,
    /// Held-out queries, over which intervals are.
    pub queries: u64,
    /// Responses of ρ to each query.
    pub samples_of_reference: u64,
    /// Responses of every other writer to each query.
    pub samples: u64,
    /// ρ ("reference"), then the policies; those with equal weights write once.
    pub writers: Vec<String>,
    /// Models with weights between ρ's and a policy's that wrote too.
    #[serde(default)]
    pub between: u64,
    /// Effective samples per query below which the curve ends.
    pub least_effective: f64,
    /// The curve, by rising KL, as far as the samples show it.
    pub points: Vec<OptimumAt>,
    /// The first point that they do not show.
    #[serde(default)]
    pub lost: Option<OptimumAt>,
    /// KL up to which the samples of ρ alone show it.
    #[serde(default)]
    pub reach_of_reference: Option<f64>,
    pub policies: Vec<PolicyBelow>,
}

/// The optimum at one β.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OptimumAt {
    /// KL coefficient, in units of the score.
    pub beta: f64,
    /// KL(optimum, ρ) in nats, with its 95% bootstrap interval.
    pub kl: f64,
    #[serde(default)]
    pub kl_low: Option<f64>,
    #[serde(default)]
    pub kl_high: Option<f64>,
    /// Mean score of the optimum.
    pub reward: f64,
    /// 95% bootstrap interval of the best score at `kl`.
    #[serde(default)]
    pub reward_low: Option<f64>,
    #[serde(default)]
    pub reward_high: Option<f64>,
    /// Effective samples per query.
    pub effective_samples: f64,
}

/// A policy beside the curve, on the curve's queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyBelow {
    /// A run's name; in a suite, the member's.
    pub policy: String,
    /// KL(π, ρ) of its samples, nats.
    pub kl: f64,
    /// Their mean score.
    pub reward: f64,
    /// Best score at its KL less its own; none where the curve does not reach its KL.
    #[serde(default)]
    pub below: Option<f64>,
    /// 95% bootstrap interval of it. Beyond the curve: what is at least, and at most, possible.
    #[serde(default)]
    pub low: Option<f64>,
    #[serde(default)]
    pub high: Option<f64>,
}

impl Frontier {
    /// KL of the curve's end.
    pub fn reach(&self) -> Option<f64> {
        self.points.last().map(|point| point.kl)
    }

    /// A policy's distance from the curve.
    pub fn of(&self, policy: &str) -> Option<&PolicyBelow> {
        self.policies.iter().find(|p| p.policy == policy)
    }
}

impl PolicyBelow {
    /// What a reader has to know of `below`.
    pub fn remark(&self) -> &'static str {
        match (self.below, self.low) {
            (Some(_), _) => "in units of the score",
            (None, Some(_)) => "its KL is beyond the curve: between what surely is and what surely is not possible",
            (None, None) => "nothing is known of the optimum from so few samples",
        }
    }
}
