//! Evaluation at the end of a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Evaluation at the end of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateSpec {
    /// Held-out queries; one response of ρ and one of π for each.
    #[schemars(range(min = 2, max = 10000000))]
    pub queries: usize,
    /// Samples of ρ per query for the closed-form optimum of figure 3.
    #[schemars(range(min = 2, max = 1000000))]
    pub optimum_samples: usize,
    /// Queries used for the closed-form optimum.
    #[schemars(range(min = 2, max = 10000000))]
    pub optimum_queries: usize,
    /// Rows written to samples.jsonl.
    pub samples: usize,
    /// Best-of-n: of n samples of ρ per query the one that r likes best, for each of these n, in rising order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(range(min = 1, max = 1000000)))]
    pub best_of: Vec<usize>,
}

impl Default for EvaluateSpec {
    fn default() -> Self {
        Self { queries: 1024, optimum_samples: 256, optimum_queries: 64, samples: 32, best_of: Vec::new() }
    }
}
