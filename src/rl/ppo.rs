//! Proximal policy optimisation as the released code has it: generalised advantages, both whitened, and the clipped
//! loss.

use super::{Advantages, Algorithm};
use crate::rlhf::advantages::{gae, whiten};
use crate::rlhf::ppo::{Clip, Loss, Targets, loss};
use crate::spec::PolicySpec;
use burn::tensor::Tensor;

/// PPO's constants.
#[derive(Debug, Clone, Copy)]
pub struct Ppo {
    /// Clip ranges, and the weight of the value loss.
    pub clip: Clip,
    /// Discount per token.
    pub gamma: f64,
    /// λ of generalised advantage estimation.
    pub lam: f64,
    /// Whether rewards are whitened per minibatch, without shifting their mean.
    pub whiten_rewards: bool,
}

impl Ppo {
    /// Those of a spec.
    pub fn of(p: &PolicySpec) -> Self {
        let clip = Clip { cliprange: p.cliprange, cliprange_value: p.cliprange_value, vf_coef: p.vf_coef };
        Self { clip, gamma: p.gamma, lam: p.lam, whiten_rewards: p.whiten_rewards }
    }
}

impl Algorithm for Ppo {
    fn advantages(&self, rewards: &[Vec<f32>], values: &[Vec<f32>]) -> Advantages {
        let whitened = self.whiten_rewards.then(|| whiten(rewards, false));
        let (advantages, returns) = gae(whitened.as_deref().unwrap_or(rewards), values, self.gamma, self.lam);
        Advantages { advantages: whiten(&advantages, true), returns }
    }

    fn loss(&self, logprobs: Tensor<1>, values: Tensor<1>, fixed: &Targets) -> Loss {
        loss(logprobs, values, fixed, &self.clip)
    }
}
