//! Models before their training: random weights, or none yet.

use super::{Block, Gpt2, LAYER_NORM_EPSILON, LayerNorm, Linear};
use crate::spec::{Dimensions, Precision};
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

impl Gpt2 {
    /// Random weights: N(0, 0.02), output projections scaled by 1/√(2·layers), biases 0 (GPT-2's init).
    pub fn init(d: &Dimensions, vocab: usize, seed: u64, device: &Device) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let projection = 0.02 / (2.0 * d.layers as f64).sqrt();
        let w = d.width;
        let norm = || LayerNorm {
            weight: Tensor::ones([w], device),
            bias: Tensor::zeros([w], device),
            epsilon: LAYER_NORM_EPSILON,
        };
        let linear = |i: usize, o: usize, std: f64, rng: &mut ChaCha8Rng| Linear {
            weight: normal([i, o], std, rng, device),
            bias: Tensor::zeros([o], device),
        };
        let blocks = (0..d.layers)
            .map(|_| Block {
                ln_1: norm(),
                c_attn: linear(w, 3 * w, 0.02, &mut rng),
                attn_proj: linear(w, w, projection, &mut rng),
                ln_2: norm(),
                c_fc: linear(w, 4 * w, 0.02, &mut rng),
                mlp_proj: linear(4 * w, w, projection, &mut rng),
            })
            .collect();
        Self {
            wte: normal([vocab, w], 0.02, &mut rng, device),
            wpe: normal([d.context, w], 0.01, &mut rng, device),
            blocks,
            ln_f: norm(),
            heads: d.heads,
            precision: Precision::F32,
            rounded_head: None,
        }
    }

    /// A model whose weights are still to be loaded: every tensor is one number spread over its shape, so that it takes
    /// no memory.
    pub fn blank(d: &Dimensions, vocab: usize, epsilon: f64, device: &Device) -> Self {
        let w = d.width;
        let vector = |n: usize| Tensor::<1>::zeros([1], device).expand([n]);
        let matrix = |a: usize, b: usize| Tensor::<2>::zeros([1, 1], device).expand([a, b]);
        let norm = || LayerNorm { weight: vector(w), bias: vector(w), epsilon };
        let linear = |i: usize, o: usize| Linear { weight: matrix(i, o), bias: vector(o) };
        let block = || Block {
            ln_1: norm(),
            c_attn: linear(w, 3 * w),
            attn_proj: linear(w, w),
            ln_2: norm(),
            c_fc: linear(w, 4 * w),
            mlp_proj: linear(4 * w, w),
        };
        Self {
            wte: matrix(vocab, w),
            wpe: matrix(d.context, w),
            blocks: (0..d.layers).map(|_| block()).collect(),
            ln_f: norm(),
            heads: d.heads,
            precision: Precision::F32,
            rounded_head: None,
        }
    }
}

/// Normal numbers by Box-Muller from the given stream, so that initialisation is the same on every device.
pub(super) fn normal<const D: usize>(shape: [usize; D], std: f64, rng: &mut ChaCha8Rng, device: &Device) -> Tensor<D> {
    let n: usize = shape.iter().product();
    let mut values = Vec::with_capacity(n + 1);
    while values.len() < n {
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        let radius = (-2.0 * u.ln()).sqrt() * std;
        values.push((radius * (std::f64::consts::TAU * v).cos()) as f32);
        values.push((radius * (std::f64::consts::TAU * v).sin()) as f32);
    }
    values.truncate(n);
    Tensor::from_data(TensorData::new(values, shape), device)
}
