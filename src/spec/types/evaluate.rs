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
}

impl Default for EvaluateSpec {
    fn default() -> Self {
        Self { queries: 1024, optimum_samples: 256, optimum_queries: 64, samples: 32 }
    }
}
