//! The reward model while it is trained: reward = gain · (score.weight · h + score.bias) + bias, with gain and bias
//! among the trained weights (released code: rewards.py, get_params).
//!
//! Adam's steps do not scale with its weights, so a head with the gain multiplied in would learn 1/gain times as fast:
//! gain and head are separate here, and multiplied only when training is over.

use super::gpt2::{ScalarModel, TokenBatch, Weight, Weights};
use crate::rlhf::reward::Normalization;
use crate::spec::Precision;
use burn::tensor::{Tensor, TensorData};

/// A scalar model with a trained normalisation.
#[derive(Debug, Clone)]
pub struct RewardModel {
    pub model: ScalarModel,
    /// `[1]`
    pub gain: Tensor<1>,
    /// `[1]`
    pub bias: Tensor<1>,
}

impl RewardModel {
    pub fn new(model: ScalarModel, n: Normalization) -> Self {
        let device = model.trunk.device();
        let one = |v: f64| Tensor::from_data(TensorData::new(vec![v as f32], [1]), &device);
        Self { model, gain: one(n.gain), bias: one(n.bias) }
    }

    /// Rewards of padded rows of query and response -> `[batch]`.
    pub fn score(&self, batch: &TokenBatch) -> Tensor<1> {
        self.model.score(batch) * self.gain.clone() + self.bias.clone()
    }

    /// The same function as a scalar model: gain and bias multiplied into the head.
    pub fn folded(self) -> ScalarModel {
        let Self { mut model, gain, bias } = self;
        model.head.weight = model.head.weight * gain.clone().unsqueeze::<2>();
        model.head.bias = model.head.bias * gain + bias;
        model
    }
}

impl Weights for RewardModel {
    fn precision(&self) -> Precision {
        self.model.precision()
    }

    fn map_weights<E>(mut self, f: &mut dyn FnMut(&str, Weight) -> Result<Weight, E>) -> Result<Self, E> {
        self.model = self.model.map_weights(f)?;
        self.gain = f("reward_norm.gain", Weight::Vector(self.gain))?.flatten();
        self.bias = f("reward_norm.bias", Weight::Vector(self.bias))?.flatten();
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gpt2::{Gpt2, ScalarHead};
    use crate::model::sampling::to_vec;
    use crate::spec::ModelSize;
    use burn::tensor::Device;

    #[test]
    fn folding_keeps_the_rewards() {
        let (device, d) = (Device::flex(), ModelSize::Test.dimensions());
        let model =
            ScalarModel { trunk: Gpt2::init(&d, 50, 1, &device), head: ScalarHead::init(d.width, 0.5, 2, &device) };
        let model = RewardModel::new(model, Normalization { gain: 3.0, bias: -0.75 });
        let batch = TokenBatch::new(&[vec![None, Some(3), Some(4)], vec![Some(7), Some(1), None]], &device);
        let (apart, folded) = (to_vec(model.score(&batch)).unwrap(), to_vec(model.folded().score(&batch)).unwrap());
        apart.iter().zip(&folded).for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} and {b}"));
    }
}
