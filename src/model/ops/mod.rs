//! Operations of the transformer, each fused where a device has a fused form with a hand-written gradient, and made of
//! the backend's own elsewhere. Everything here computes the same function on every device: the plain body of each
//! function is what its fused forms are tested against.
//!
//! The CPU's fused forms are in crates/kernels, those of a GPU in `gpu`; `autodiff` puts them into gradient graphs.

mod autodiff;
mod fused;
#[cfg(feature = "wgpu")]
mod gpu;
mod plain;

use super::device::is_cpu;
use super::gpt2::LayerCache;
use crate::spec::Precision;
use burn::backend::Dispatch;
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Int, Tensor, TensorData};
use fused::FusedOps;
use runner_kernels::adam;

/// Whether there is a fused form for these numbers: on the CPU, and of float32 on a GPU.
fn is_fused<const D: usize>(x: &Tensor<D>) -> bool {
    is_cpu(&x.device()) || (cfg!(feature = "wgpu") && x.dtype() == DType::F32)
}

/// Whether a fused form has this precision in its products. The CPU's have float32 alone; its plain bodies round what
/// others would be given, and are what those are tested against.
fn multiplies<const D: usize>(x: &Tensor<D>, p: Precision) -> bool {
    is_fused(x) && (p.is_f32() || !is_cpu(&x.device()))
}

/// Token plus position embeddings: `[vocab, width]`, `[context, width]`, both `[batch, time]` -> `[batch * time, width]`.
pub fn embed(wte: Tensor<2>, wpe: Tensor<2>, ids: Tensor<2, Int>, positions: Tensor<2, Int>) -> Tensor<2> {
    // The CPU's two look-ups are as fast.
    if is_cpu(&wte.device()) || !is_fused(&wte) {
        return plain::embed(wte, wpe, ids, positions);
    }
    let [b, t] = ids.dims();
    let [ids, positions] = [ids, positions].map(|ints| ints.reshape::<1, _>([b * t]).into_dispatch());
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_embed(wte.into_dispatch(), wpe.into_dispatch(), ids, positions))
}

/// GELU with the tanh approximation (GPT-2's), of numbers that are kept for the gradient in this precision.
pub fn gelu(x: Tensor<2>, p: Precision) -> Tensor<2> {
    if multiplies(&x, p) {
        return Tensor::from_dispatch(<Dispatch as FusedOps>::fused_gelu(x.into_dispatch(), p));
    }
    plain::gelu(plain::rounded(x, p))
}

/// Layer normalisation of `[rows, width]` over the last axis.
pub fn layer_norm(x: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<2> {
    if is_fused(&x) {
        let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as FusedOps>::fused_layer_norm(x, weight, bias, epsilon));
    }
    plain::layer_norm(x, weight, bias, epsilon)
}

/// x W + b, plus `residual` where there is one: `[rows, in]`, `[in, out]`, `[out]`, `[rows, out]` -> `[rows, out]`.
pub fn linear(x: Tensor<2>, w: Tensor<2>, b: Tensor<1>, residual: Option<Tensor<2>>, p: Precision) -> Tensor<2> {
    if multiplies(&x, p) {
        let (x, w, b) = (x.into_dispatch(), w.into_dispatch(), b.into_dispatch());
        return Tensor::from_dispatch(match residual {
            Some(r) => <Dispatch as FusedOps>::fused_linear_residual(x, w, b, r.into_dispatch(), p),
            None => <Dispatch as FusedOps>::fused_linear(x, w, b, p),
        });
    }
    plain::linear(x, w, b, residual, p)
}

/// log softmax(hidden · wteᵀ / temperature) at `targets`: `[rows, width]`, `[vocab, width]`, `[rows]` -> `[rows]`.
pub fn token_logprobs(
    hidden: Tensor<2>,
    wte: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f64,
    p: Precision,
) -> Tensor<1> {
    if multiplies(&hidden, p) {
        let (hidden, wte, targets) = (hidden.into_dispatch(), wte.into_dispatch(), targets.into_dispatch());
        let scale = 1.0 / temperature;
        return Tensor::from_dispatch(<Dispatch as FusedOps>::fused_token_logprobs(hidden, wte, targets, scale, p));
    }
    plain::token_logprobs(hidden, wte, targets, temperature, p)
}

/// One token per row from softmax(hidden · wteᵀ / temperature): the first whose cumulative probability exceeds its
/// row's uniform number. `[rows, width]`, `[vocab, width]`, `[rows]` -> tokens `[rows, 1]`, their log-probabilities
/// `[rows, 1]` and the distributions' entropies in nats `[rows, 1]`.
pub fn draw(
    hidden: Tensor<2>,
    wte: Tensor<2>,
    uniforms: &[f32],
    temperature: f64,
    p: Precision,
) -> (Tensor<2, Int>, Tensor<2>, Tensor<2>) {
    let n = uniforms.len();
    let uniforms = Tensor::<1>::from_data(TensorData::new(uniforms.to_vec(), [n]), &hidden.device());
    if multiplies(&hidden, p) {
        let (hidden, wte, uniforms) = (hidden.into_dispatch(), wte.into_dispatch(), uniforms.into_dispatch());
        let (tokens, logprobs, entropies) =
            <Dispatch as FusedOps>::fused_draw(hidden, wte, uniforms, 1.0 / temperature, p);
        let column = |t| Tensor::<1>::from_dispatch(t).reshape([n, 1]);
        return (Tensor::<1, Int>::from_dispatch(tokens).reshape([n, 1]), column(logprobs), column(entropies));
    }
    plain::draw(hidden, wte, uniforms, temperature, p)
}

/// How the rows of a batch lie in `[tokens, width]`.
#[derive(Debug, Clone)]
pub enum BatchRows {
    /// One after the other without their padding; `[batch]` numbers of tokens. The CPU's.
    Packed(Tensor<1, Int>),
    /// All of the same length; `[batch, time]`, 0 at padding, which nothing but itself sees.
    Padded(Tensor<2, Int>),
}

/// Causal self-attention of each row: `[tokens, 3 * width]` -> `[tokens, width]`.
pub fn attention(qkv: Tensor<2>, rows: &BatchRows, heads: usize, p: Precision) -> Tensor<2> {
    // The CPU's own form, whose weights are float32, is given rounded numbers.
    let qkv = if is_cpu(&qkv.device()) { plain::rounded(qkv, p) } else { qkv };
    let rows = match rows {
        BatchRows::Padded(real) if is_cpu(&qkv.device()) || !is_fused(&qkv) => {
            return plain::attention(qkv, real.clone(), heads, p);
        }
        BatchRows::Packed(lengths) => lengths.clone().into_dispatch(),
        BatchRows::Padded(real) => real.clone().into_dispatch(),
    };
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_attention(qkv.into_dispatch(), rows, heads, p))
}

/// Attention of one new position per row, written to slot `at` of the cache. `qkv`: `[rows, 3 * width]`; `real`:
/// `[rows, capacity]`, 0 at slots that hold padding. -> `[rows, width]` and the cache.
pub fn attention_step(
    qkv: Tensor<2>,
    cache: LayerCache,
    real: &Tensor<2, Int>,
    at: usize,
    p: Precision,
) -> (Tensor<2>, LayerCache) {
    if !multiplies(&qkv, p) {
        return plain::attention_step(qkv, cache, real.clone(), at, p);
    }
    let (qkv, real) = (qkv.into_dispatch(), real.clone().into_dispatch());
    let (keys, values) = (cache.keys.into_dispatch(), cache.values.into_dispatch());
    let (out, keys, values) = <Dispatch as FusedOps>::fused_attention_step(qkv, keys, values, real, at, p);
    let cache = LayerCache { keys: Tensor::from_dispatch(keys), values: Tensor::from_dispatch(values) };
    (Tensor::from_dispatch(out), cache)
}

/// One step of Adam for `[n]` numbers: parameters, gradient, both moments -> parameters and moments.
pub fn adam(
    p: Tensor<1>,
    g: Tensor<1>,
    m: Tensor<1>,
    v: Tensor<1>,
    step: adam::Step,
) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
    if is_fused(&p) {
        let (p, g, m, v) = (p.into_dispatch(), g.into_dispatch(), m.into_dispatch(), v.into_dispatch());
        let (p, m, v) = <Dispatch as FusedOps>::fused_adam(p, g, m, v, step);
        return (Tensor::from_dispatch(p), Tensor::from_dispatch(m), Tensor::from_dispatch(v));
    }
    plain::adam(p, g, m, v, step)
}

/// Splits `[batch * time, 3 * width]` into q, k, v, each `[batch, heads, time, head width]`.
pub fn split_heads(qkv: Tensor<2>, batch: usize, time: usize, heads: usize) -> [Tensor<4>; 3] {
    let width = qkv.dims()[1] / 3;
    let part = |i: usize| qkv.clone().slice([0..batch * time, i * width..(i + 1) * width]);
    [0, 1, 2].map(|i| part(i).reshape([batch, time, heads, width / heads]).swap_dims(1, 2))
}

/// softmax(q kᵀ / √d + bias) -> `[batch, heads, time, keys]`.
pub fn attention_weights(q: Tensor<4>, k: Tensor<4>, bias: Tensor<4>) -> Tensor<4> {
    let head = q.dims()[3];
    softmax((q * (head as f64).powf(-0.5)).matmul(k.swap_dims(2, 3)) + bias, 3)
}

#[cfg(test)]
mod tests;
