//! What a transformer is made of, and the dropout between.

use crate::model::ops;
use crate::spec::Precision;
use burn::tensor::{Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// `x W + b` on `[rows, in]`; W is `[in, out]` as in GPT-2's Conv1D.
#[derive(Debug, Clone)]
pub struct Linear {
    pub weight: Tensor<2>,
    pub bias: Tensor<1>,
}

impl Linear {
    pub(super) fn forward(&self, x: Tensor<2>, p: Precision) -> Tensor<2> {
        ops::linear(x, self.weight.clone(), self.bias.clone(), None, p)
    }
    /// residual + x W + b
    pub(super) fn onto(&self, residual: Tensor<2>, x: Tensor<2>, p: Precision) -> Tensor<2> {
        ops::linear(x, self.weight.clone(), self.bias.clone(), Some(residual), p)
    }
}

/// Layer normalisation over the last axis.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    pub weight: Tensor<1>,
    pub bias: Tensor<1>,
    pub epsilon: f64,
}

impl LayerNorm {
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        ops::layer_norm(x, self.weight.clone(), self.bias.clone(), self.epsilon)
    }
}

/// One transformer block.
#[derive(Debug, Clone)]
pub struct Block {
    pub ln_1: LayerNorm,
    pub c_attn: Linear,
    pub attn_proj: Linear,
    pub ln_2: LayerNorm,
    pub c_fc: Linear,
    pub mlp_proj: Linear,
}

/// GPT-2's dropout for one training pass: of embeddings, attention weights and both residual branches. Masks are drawn
/// on the host from a stream of the caller's, so that they are the same on every device and for every number of
/// threads.
#[derive(Debug)]
pub struct Dropout {
    probability: f64,
    rng: ChaCha8Rng,
}

impl Dropout {
    /// Each number is dropped with `probability`; those kept are divided by 1 - probability.
    pub fn new(probability: f64, rng: ChaCha8Rng) -> Self {
        Self { probability, rng }
    }

    pub(super) fn apply<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
        let shape = x.dims();
        // 16 bits decide about one number: probabilities are exact to 1/65,536.
        let dropped = (self.probability * 65_536.0).round() as u32;
        let kept = (65_536.0 / f64::from(65_536 - dropped)) as f32;
        let n: usize = shape.iter().product();
        let mut bits = vec![0u16; n];
        self.rng.fill(&mut bits[..]);
        let mask: Vec<f32> = bits.into_iter().map(|b| if u32::from(b) < dropped { 0.0 } else { kept }).collect();
        x.clone() * Tensor::from_data(TensorData::new(mask, shape), &x.device())
    }
}
