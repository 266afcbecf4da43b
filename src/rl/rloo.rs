//! REINFORCE leave-one-out: several responses to each query, each credited with its total reward less the mean of the
//! others'. There is no value function.

use super::{Advantages, Algorithm};
use crate::rlhf::ppo::{Loss, Targets};
use crate::rlhf::rloo;
use crate::spec::PolicySpec;
use burn::tensor::Tensor;
use std::borrow::Cow;

/// RLOO's constants.
#[derive(Debug, Clone, Copy)]
pub struct Rloo {
    /// Responses to each query.
    pub k: usize,
    /// ε of a whole response's probability ratio.
    pub cliprange: f64,
    /// Tokens of a response.
    pub response_length: usize,
}

impl Rloo {
    /// Those of a spec.
    pub fn of(p: &PolicySpec, response_length: usize) -> Self {
        Self { k: p.samples_per_query(), cliprange: p.cliprange, response_length }
    }
}

impl Algorithm for Rloo {
    /// The advantage stands on the last token, as the score does.
    fn credit<'r>(&self, rewards: &'r [Vec<f32>]) -> Cow<'r, [Vec<f32>]> {
        let totals: Vec<f64> = rewards.iter().map(|row| row.iter().map(|v| f64::from(*v)).sum()).collect();
        let advantages = rloo::advantages(&totals, self.k);
        let row = |(advantage, row): (f64, &Vec<f32>)| {
            let mut credit = vec![0.0; row.len()];
            credit.iter_mut().next_back().into_iter().for_each(|last| *last = advantage as f32);
            credit
        };
        advantages.into_iter().zip(rewards).map(row).collect()
    }

    fn advantages(&self, rewards: &[Vec<f32>], values: &[Vec<f32>]) -> Advantages {
        Advantages { advantages: rewards.to_vec(), returns: values.to_vec() }
    }

    fn loss(&self, logprobs: Tensor<1>, _values: Tensor<1>, fixed: &Targets) -> Loss {
        let t = self.response_length;
        let rows = logprobs.dims()[0] / t.max(1);
        let table = |flat: Tensor<1>| flat.reshape([rows, t]);
        let advantages = table(fixed.advantages.clone()).slice([0..rows, t - 1..t]).reshape([rows]);
        let zero = fixed.advantages.zeros_like().slice(0..1);
        let l = rloo::loss(table(logprobs), table(fixed.old_logprobs.clone()), advantages, self.cliprange);
        Loss {
            total: l.policy.clone(),
            policy: l.policy,
            value: zero.clone(),
            clipfrac: l.clipfrac,
            value_clipfrac: zero,
            approxkl: l.approxkl,
            ratio_error: l.ratio_error,
        }
    }

    fn has_values(&self) -> bool {
        false
    }
}
