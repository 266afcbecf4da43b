//! The KL coefficient β over training (paper section 2.2; released code: train_policy.py, AdaptiveKLController).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How β changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KlSchedule {
    /// β stays what it is.
    Constant,
    /// Log-space proportional control towards `target`.
    Adaptive,
    /// From `init` to `end`, linearly in episodes.
    Linear,
}

/// The KL coefficient β (paper section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KlSpec {
    /// How β changes.
    pub schedule: KlSchedule,
    /// β at the start.
    #[schemars(range(min = 0.0, max = 1000000.0))]
    pub init: f64,
    /// Adaptive: wanted KL in nats per response.
    #[schemars(range(min = 0.000001, max = 1000000.0))]
    pub target: f64,
    /// Adaptive, the paper's form: β ← β (1 + gain · e) per batch. Replaces `horizon`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 5.0))]
    pub gain: Option<f64>,
    /// Adaptive, the released code's form: β ← β (1 + e · batch_size / horizon) per batch.
    #[schemars(range(min = 1.0, max = 1000000000000.0))]
    pub horizon: f64,
    /// Linear: β at the end.
    #[schemars(range(min = 0.0, max = 1000000.0))]
    pub end: f64,
}

impl Default for KlSpec {
    fn default() -> Self {
        Self { schedule: KlSchedule::Adaptive, init: 0.15, target: 6.0, gain: None, horizon: 10_000.0, end: 0.0 }
    }
}

/// β after a batch. `kl`: the batch's mean summed (logprob - ref_logprob); `episodes`: batch size;
/// `progress`: fraction of all episodes done after this batch (for the linear schedule).
pub fn next_coefficient(spec: &KlSpec, current: f64, kl: f64, episodes: usize, progress: f64) -> f64 {
    match spec.schedule {
        KlSchedule::Constant => current,
        KlSchedule::Linear => spec.init + (spec.end - spec.init) * progress.clamp(0.0, 1.0),
        KlSchedule::Adaptive => {
            let error = (kl / spec.target - 1.0).clamp(-0.2, 0.2);
            let gain = spec.gain.unwrap_or(episodes as f64 / spec.horizon);
            current * (1.0 + error * gain)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_controller_clip_the_error() {
        let code = KlSpec { init: 0.1, target: 5.0, horizon: 1000.0, ..KlSpec::default() };
        assert!((next_coefficient(&code, 0.1, 50.0, 100, 0.0) - 0.1 * 1.02).abs() < 1e-12);
        assert!((next_coefficient(&code, 0.1, 4.5, 100, 0.0) - 0.1 * 0.99).abs() < 1e-12);
        let paper = KlSpec { gain: Some(0.1), ..code };
        assert!((next_coefficient(&paper, 0.1, 0.0, 100, 0.0) - 0.1 * 0.98).abs() < 1e-12);
    }

    #[test]
    fn linear_ends_at_its_end_and_constant_stays() {
        let linear = KlSpec { schedule: KlSchedule::Linear, init: 1.0, end: 0.2, ..KlSpec::default() };
        assert!((next_coefficient(&linear, 0.7, 3.0, 8, 1.0) - 0.2).abs() < 1e-12);
        let constant = KlSpec { schedule: KlSchedule::Constant, ..linear };
        assert_eq!(next_coefficient(&constant, 0.7, 99.0, 8, 0.5), 0.7);
    }
}
