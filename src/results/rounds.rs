//! runs/RUN/rounds.json: the rounds of batched and online collection.

use super::evaluation::Accuracy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One training of r in a run with rounds, and what it was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoundReport {
    /// From 1.
    pub round: usize,
    /// Labels that r was trained on, of all rounds so far.
    pub labels: u64,
    /// Of these, the ones of this round.
    pub new_labels: u64,
    /// PPO updates and episodes that follow under this r.
    pub updates: u64,
    pub episodes: u64,
    /// How often r agrees with the held-out labels on samples of ρ, the same ones in every round.
    #[serde(default)]
    pub accuracy: Option<Accuracy>,
    /// How often the r before agreed with this round's new labels, before it was replaced; none in the first round.
    #[serde(default)]
    pub accuracy_before: Option<Accuracy>,
    /// The last loss of training.
    pub final_loss: f64,
    /// Online: of `validations` answers so far to two samples of ρ beside two of π, how many chose one of π's.
    #[serde(default)]
    pub wins: u64,
    #[serde(default)]
    pub validations: u64,
}

/// runs/RUN/rounds.json: the rounds of a run with batched or online collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rounds {
    pub run: String,
    /// "batched" or "online".
    pub schedule: String,
    pub rounds: Vec<RoundReport>,
}
