//! The entropy bonus that takes the place of the KL penalty in the second half of the paper's table 10.
//!
//! The paper gives its target, 30 nats, and that its coefficient is adapted; how, it does not say. Here the reward of a
//! token gains α (-log π): summed over a response and averaged over responses this estimates α H(π), and so does its
//! gradient, since E[∇ log π] = 0. α follows the paper's own controller of β (section 2.2) with the sign turned round:
//! too little entropy raises it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A bonus in every token's reward, α (-log π): the variant of table 10 that has it in place of the KL penalty (for
/// which `kl = { schedule = "constant", init = 0.0 }`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EntropySpec {
    /// α at the start.
    #[schemars(range(min = 0.0, max = 1000000.0))]
    pub init: f64,
    /// Wanted entropy in nats per response, to which α is adapted. Without it, α is constant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.000001, max = 1000000.0))]
    pub target: Option<f64>,
    /// α ← α (1 + gain · e) per batch, e = clip((target - entropy) / target, -0.2, 0.2).
    #[schemars(range(min = 0.0, max = 5.0))]
    pub gain: f64,
}

impl Default for EntropySpec {
    fn default() -> Self {
        Self { init: 0.01, target: None, gain: 0.1 }
    }
}

/// Adds -α logprob to every token's reward. Both `[rows][response]`.
pub fn add_bonus(rewards: &mut [Vec<f32>], logprobs: &[Vec<f32>], coefficient: f64) {
    for (row, lp) in rewards.iter_mut().zip(logprobs) {
        row.iter_mut().zip(lp).for_each(|(reward, lp)| *reward -= (coefficient * f64::from(*lp)) as f32);
    }
}

/// α after a batch whose responses have this entropy: the mean summed -logprob, in nats per response. Without a target
/// it stays.
pub fn next_coefficient(spec: &EntropySpec, current: f64, entropy: f64) -> f64 {
    match spec.target {
        None => current,
        Some(target) => current * (1.0 + spec.gain * (1.0 - entropy / target).clamp(-0.2, 0.2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bonus_is_the_surprise_of_each_token() {
        let mut rewards = vec![vec![0.0, 1.0], vec![0.5, 0.0]];
        add_bonus(&mut rewards, &[vec![-2.0, -1.0], vec![0.0, -4.0]], 0.5);
        assert_eq!(rewards, [vec![1.0, 1.5], vec![0.5, 2.0]]);
    }

    #[test]
    fn too_little_entropy_raises_the_coefficient_and_too_much_lowers_it() {
        let spec = EntropySpec { init: 0.1, target: Some(30.0), gain: 0.1 };
        assert!((next_coefficient(&spec, 0.1, 0.0) - 0.1 * 1.02).abs() < 1e-12);
        assert!((next_coefficient(&spec, 0.1, 27.0) - 0.1 * 1.01).abs() < 1e-12);
        assert!((next_coefficient(&spec, 0.1, 90.0) - 0.1 * 0.98).abs() < 1e-12);
        assert_eq!(next_coefficient(&EntropySpec { target: None, ..spec }, 0.1, 0.0), 0.1);
    }
}
