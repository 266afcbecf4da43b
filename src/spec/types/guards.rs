//! What stops a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Guards that stop a run with exit code 4 and say why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardsSpec {
    /// Largest |ratio - 1| allowed on the first minibatch of an update.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ratio_tolerance: f64,
    /// Stop when the batch's KL exceeds this many times the target (adaptive schedule).
    #[schemars(range(min = 1.0, max = 1000000.0))]
    pub kl_times_target: f64,
    /// Stop when the batch's KL falls below minus this many nats; in batches of fewer responses than ln(10⁹) / this,
    /// below
    /// -ln(10⁹) / responses, which chance does once in 10⁹ updates.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub negative_kl: f64,
}

impl GuardsSpec {
    /// What `ratio_tolerance` is where products are float16 and nothing else is said: docs/precision.md has what was
    /// measured.
    pub const RATIO_TOLERANCE_F16: f64 = 0.05;
}

impl Default for GuardsSpec {
    fn default() -> Self {
        Self { ratio_tolerance: 0.01, kl_times_target: 5.0, negative_kl: 0.5 }
    }
}
