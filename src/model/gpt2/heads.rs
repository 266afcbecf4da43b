//! Linear heads to one number.

use super::init::normal;
use super::walk::{matrix, vector};
use super::{Gpt2, TokenBatch, Weight, Weights};
use crate::model::LanguageModel;
use crate::spec::Precision;
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A transformer with a linear head to one number: the value function, the reward model, r_s. The head is float32.
#[derive(Debug, Clone)]
pub struct ScalarHead {
    /// `[width, 1]`
    pub weight: Tensor<2>,
    /// `[1]`
    pub bias: Tensor<1>,
}

impl ScalarHead {
    /// Weights ~ N(0, std), bias 0. The released code: std = 0 for values, 1/√(width+1) for rewards.
    pub fn init(width: usize, std: f64, seed: u64, device: &Device) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self { weight: normal([width, 1], std, &mut rng, device), bias: Tensor::zeros([1], device) }
    }
    /// `[rows, width]` -> `[rows]`
    pub fn forward(&self, hidden: Tensor<2>) -> Tensor<1> {
        let rows = hidden.dims()[0];
        (hidden.matmul(self.weight.clone()) + self.bias.clone().unsqueeze::<2>()).reshape([rows])
    }
}

/// Transformer and scalar head, sharing no weights with any other model (the authors found sharing overfits).
#[derive(Debug, Clone)]
pub struct ScalarModel<M = Gpt2> {
    pub trunk: M,
    pub head: ScalarHead,
}

impl ScalarModel {
    /// The same weights, whose products are of this precision.
    pub fn with(self, precision: Precision) -> Self {
        Self { trunk: self.trunk.with(precision), ..self }
    }
}

impl<M: LanguageModel> ScalarModel<M> {
    /// The scalar at the last real token of each row -> `[batch]` (padding repeats the last real token's state).
    pub fn score(&self, batch: &TokenBatch) -> Tensor<1> {
        let [_, t] = batch.dims;
        let last: Vec<usize> = batch.last.iter().enumerate().map(|(r, last)| r * t + last).collect();
        self.head.forward(self.trunk.hidden_at(batch, &last))
    }
}

impl<M: Weights> Weights for ScalarModel<M> {
    fn precision(&self) -> Precision {
        self.trunk.precision()
    }

    fn map_weights<E>(mut self, f: &mut dyn FnMut(&str, Weight) -> Result<Weight, E>) -> Result<Self, E> {
        self.trunk = self.trunk.map_weights(f)?;
        self.head.weight = matrix(self.head.weight, "score.weight", f)?;
        self.head.bias = vector(self.head.bias, "score.bias", f)?;
        Ok(self)
    }
}
