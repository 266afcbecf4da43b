//! The operations made of the backend's own: what tests compare the fused forms with, and what computes numbers that
//! no fused form takes.

use super::{attention_weights, split_heads};
use crate::model::gpt2::{LayerCache, MASKED};
use crate::spec::Precision;
use burn::tensor::activation::{log_softmax, sigmoid};
use burn::tensor::module::embedding;
use burn::tensor::{FloatDType, Int, Tensor};
use runner_kernels::adam;

pub fn embed(wte: Tensor<2>, wpe: Tensor<2>, ids: Tensor<2, Int>, positions: Tensor<2, Int>) -> Tensor<2> {
    let ([b, t], width) = (ids.dims(), wte.dims()[1]);
    (embedding(wte, ids) + embedding(wpe, positions)).reshape([b * t, width])
}

pub fn gelu(x: Tensor<2>) -> Tensor<2> {
    const SCALE: f64 = 1.595_769_121_605_730_8;
    let square = x.clone() * x.clone();
    let z = x.clone() * (square * (0.044715 * SCALE) + SCALE);
    x * sigmoid(z)
}

pub fn layer_norm(x: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<2> {
    burn::tensor::module::layer_norm(x, weight, Some(bias), epsilon)
}

/// A factor of a product, rounded to the nearest number that the precision has. Gradients pass as if it were not: x + (r - x)
/// is r to the last bit, since r - x is exact.
pub fn rounded<const D: usize>(x: Tensor<D>, p: Precision) -> Tensor<D> {
    if p.is_f32() {
        return x;
    }
    let nearest = x.clone().cast(FloatDType::F16).cast(FloatDType::F32);
    x.clone() + (nearest - x).detach()
}

pub fn linear(x: Tensor<2>, w: Tensor<2>, b: Tensor<1>, residual: Option<Tensor<2>>, p: Precision) -> Tensor<2> {
    let y = rounded(x, p).matmul(rounded(w, p)) + b.unsqueeze::<2>();
    match residual {
        Some(residual) => residual + y,
        None => y,
    }
}

pub fn token_logprobs(
    hidden: Tensor<2>,
    wte: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f64,
    p: Precision,
) -> Tensor<1> {
    let n = targets.dims()[0];
    let logits = rounded(hidden, p).matmul(rounded(wte, p).transpose());
    log_softmax(logits / temperature, 1).gather(1, targets.reshape([n, 1])).reshape([n])
}

/// The first of `vocab` tokens whose cumulative probability exceeds uniform · total: `[rows, vocab]`, `[rows, 1]` -> `[rows,
/// 1]`. Two short sums stand for a long one, whose kernel on a GPU reads all before it for every token: the sums of
/// about √vocab chunks say in which chunk the token is, and those inside the chunk which it is.
fn first_above(probabilities: Tensor<2>, uniforms: Tensor<2>, vocab: usize) -> Tensor<2, Int> {
    let n = uniforms.dims()[0];
    let size = (vocab as f64).sqrt().ceil() as usize;
    let chunks = vocab.div_ceil(size);
    let device = probabilities.device();
    let rest = Tensor::zeros([n, chunks * size - vocab], &device);
    let parts = match chunks * size == vocab {
        true => probabilities,
        false => Tensor::cat(vec![probabilities, rest], 1),
    };
    let parts = parts.reshape([n, chunks, size]);
    let ends = parts.clone().sum_dim(2).reshape([n, chunks]).cumsum(1);
    let threshold = ends.clone().slice([0..n, chunks - 1..chunks]) * uniforms;
    // Rounding can leave the last ones at cumulative = threshold: stay inside.
    let count = |cumulative: Tensor<2>, width: usize| {
        let below = cumulative.lower_equal(threshold.clone().expand([n, width])).int().sum_dim(1);
        below.clamp_max(width as i64 - 1)
    };
    let chunk = count(ends.clone(), chunks);
    let starts = Tensor::cat(vec![Tensor::zeros([n, 1], &device), ends.slice([0..n, 0..chunks - 1])], 1);
    let start = starts.gather(1, chunk.clone());
    let picked = chunk.clone().reshape([n, 1, 1]).expand([n, 1, size]);
    let inside = parts.gather(1, picked).reshape([n, size]).cumsum(1) + start;
    (chunk * size as i64 + count(inside, size)).clamp_max(vocab as i64 - 1)
}

pub fn draw(
    hidden: Tensor<2>,
    wte: Tensor<2>,
    uniforms: Tensor<1>,
    temperature: f64,
    p: Precision,
) -> (Tensor<2, Int>, Tensor<2>, Tensor<2>) {
    let logits = rounded(hidden, p).matmul(rounded(wte, p).transpose());
    let logprobs = log_softmax(logits / temperature, 1);
    let [n, vocab] = logprobs.dims();
    let probabilities = logprobs.clone().exp();
    let entropies = (probabilities.clone() * logprobs.clone()).sum_dim(1).neg();
    let tokens = first_above(probabilities, uniforms.reshape([n, 1]), vocab);
    (tokens.clone(), logprobs.gather(1, tokens), entropies)
}

/// What to add to the scores of keys that a query does not see. `real`: `[batch, time]`, 0 at padding -> `[batch, 1, time,
/// time]`: 0 where the key is not after the query and real, or the query's own.
fn hiding(real: Tensor<2, Int>) -> Tensor<4> {
    let ([b, t], device) = (real.dims(), real.device());
    let at = Tensor::<1, Int>::arange(0..t as i64, &device);
    let query = at.clone().reshape([1, 1, t, 1]).expand([1, 1, t, t]);
    let key = at.reshape([1, 1, 1, t]).expand([1, 1, t, t]);
    let own = query.clone().equal(key.clone()).float().expand([b, 1, t, t]);
    let before = key.lower_equal(query).float().expand([b, 1, t, t]);
    let seen = (own + real.float().reshape([b, 1, 1, t]).expand([b, 1, t, t])).clamp_max(1.0) * before;
    (-seen + 1.0) * f64::from(MASKED)
}

/// `real`: as in [`super::BatchRows::Padded`].
pub fn attention(qkv: Tensor<2>, real: Tensor<2, Int>, heads: usize, p: Precision) -> Tensor<2> {
    let [batch, time] = real.dims();
    let [q, k, v] = split_heads(rounded(qkv, p), batch, time, heads);
    attend(q, k, v, hiding(real), p)
}

/// softmax(q kᵀ / √d + bias) v -> `[batch * time, width]`.
fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, bias: Tensor<4>, p: Precision) -> Tensor<2> {
    let [batch, heads, time, head] = q.dims();
    let weights = rounded(attention_weights(q, k, bias), p);
    weights.matmul(v).swap_dims(1, 2).reshape([batch * time, heads * head])
}

pub fn attention_step(
    qkv: Tensor<2>,
    cache: LayerCache,
    real: Tensor<2, Int>,
    at: usize,
    p: Precision,
) -> (Tensor<2>, LayerCache) {
    let [n, h, _, d] = cache.keys.dims();
    let [q, k, v] = split_heads(rounded(qkv, p), n, 1, h);
    let keys = cache.keys.slice_assign([0..n, 0..h, at..at + 1, 0..d], k);
    let values = cache.values.slice_assign([0..n, 0..h, at..at + 1, 0..d], v);
    let seen = |t: &Tensor<4>| t.clone().slice([0..n, 0..h, 0..at + 1, 0..d]);
    let hidden = (-real.slice([0..n, 0..at + 1]).float() + 1.0) * f64::from(MASKED);
    let bias = hidden.reshape([n, 1, 1, at + 1]);
    (attend(q, seen(&keys), seen(&values), bias, p), LayerCache { keys, values })
}

pub fn adam(
    p: Tensor<1>,
    g: Tensor<1>,
    m: Tensor<1>,
    v: Tensor<1>,
    step: adam::Step,
) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
    let m = m * step.beta1 + g.clone() * (1.0 - step.beta1);
    let v = v * step.beta2 + g.clone() * g * (1.0 - step.beta2);
    let p = p - m.clone() / (v.clone().sqrt() + step.epsilon) * step.rate;
    (p, m, v)
}
