//! Operations of the transformer that the CPU backend does in one pass each, with hand-written gradients; elsewhere
//! they are made of the backend's own operations. Everything here computes the same function on every device: the plain
//! body of each function is what its fused form is tested against.
//!
//! The fused forms are in crates/kernels; `autodiff` puts them into gradient graphs.

mod autodiff;

use super::device::is_cpu;
use super::gpt2::LayerCache;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::activation::{log_softmax, sigmoid, softmax};
use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::FlexTensor;
use runner_kernels::{adam, attention as attended, elementwise, head, linear as product};

/// GELU with the tanh approximation (GPT-2's).
pub fn gelu(x: Tensor<2>) -> Tensor<2> {
    if is_cpu(&x.device()) {
        return Tensor::from_dispatch(<Dispatch as CpuOps>::fused_gelu(x.into_dispatch()));
    }
    plain::gelu(x)
}

/// Layer normalisation of `[rows, width]` over the last axis.
pub fn layer_norm(x: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<2> {
    if is_cpu(&x.device()) {
        let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as CpuOps>::fused_layer_norm(x, weight, bias, epsilon));
    }
    plain::layer_norm(x, weight, bias, epsilon)
}

/// x W + b, plus `residual` where there is one: `[rows, in]`, `[in, out]`, `[out]`, `[rows, out]` -> `[rows, out]`.
pub fn linear(x: Tensor<2>, w: Tensor<2>, b: Tensor<1>, residual: Option<Tensor<2>>) -> Tensor<2> {
    if is_cpu(&x.device()) {
        let (x, w, b) = (x.into_dispatch(), w.into_dispatch(), b.into_dispatch());
        return Tensor::from_dispatch(match residual {
            Some(r) => <Dispatch as CpuOps>::fused_linear_residual(x, w, b, r.into_dispatch()),
            None => <Dispatch as CpuOps>::fused_linear(x, w, b),
        });
    }
    plain::linear(x, w, b, residual)
}

/// log softmax(hidden · wteᵀ / temperature) at `targets`: `[rows, width]`, `[vocab, width]`, `[rows]` -> `[rows]`.
pub fn token_logprobs(hidden: Tensor<2>, wte: Tensor<2>, targets: Tensor<1, Int>, temperature: f64) -> Tensor<1> {
    if is_cpu(&hidden.device()) {
        let (hidden, wte, targets) = (hidden.into_dispatch(), wte.into_dispatch(), targets.into_dispatch());
        let scale = 1.0 / temperature;
        return Tensor::from_dispatch(<Dispatch as CpuOps>::fused_token_logprobs(hidden, wte, targets, scale));
    }
    plain::token_logprobs(hidden, wte, targets, temperature)
}

/// One token per row from softmax(hidden · wteᵀ / temperature): the first whose cumulative probability exceeds its
/// row's uniform number. `[rows, width]`, `[vocab, width]`, `[rows]` -> tokens `[rows, 1]`, their log-probabilities
/// `[rows, 1]` and the distributions' entropies in nats `[rows, 1]`.
pub fn draw(
    hidden: Tensor<2>,
    wte: Tensor<2>,
    uniforms: &[f32],
    temperature: f64,
) -> (Tensor<2, Int>, Tensor<2>, Tensor<2>) {
    let n = uniforms.len();
    let uniforms = Tensor::<1>::from_data(TensorData::new(uniforms.to_vec(), [n]), &hidden.device());
    if is_cpu(&hidden.device()) {
        let (hidden, wte, uniforms) = (hidden.into_dispatch(), wte.into_dispatch(), uniforms.into_dispatch());
        let (tokens, logprobs, entropies) = <Dispatch as CpuOps>::fused_draw(hidden, wte, uniforms, 1.0 / temperature);
        let column = |t| Tensor::<1>::from_dispatch(t).reshape([n, 1]);
        return (Tensor::<1, Int>::from_dispatch(tokens).reshape([n, 1]), column(logprobs), column(entropies));
    }
    plain::draw(hidden, wte, uniforms, temperature)
}

/// How the rows of a batch lie in `[tokens, width]`.
#[derive(Debug, Clone)]
pub enum BatchRows {
    /// One after the other without their padding; `[batch]` numbers of tokens. The CPU's.
    Packed(Tensor<1, Int>),
    /// All of the same length; `[batch, 1, time, time]` to add to attention scores: 0 where key ≤ query and the key is
    /// real.
    Padded(Tensor<4>),
}

/// Causal self-attention of each row: `[tokens, 3 * width]` -> `[tokens, width]`.
pub fn attention(qkv: Tensor<2>, rows: &BatchRows, heads: usize) -> Tensor<2> {
    match rows {
        BatchRows::Packed(lengths) => {
            let (qkv, lengths) = (qkv.into_dispatch(), lengths.clone().into_dispatch());
            Tensor::from_dispatch(<Dispatch as CpuOps>::fused_attention(qkv, lengths, heads))
        }
        BatchRows::Padded(bias) => {
            let [batch, _, time, _] = bias.dims();
            let [q, k, v] = split_heads(qkv, batch, time, heads);
            attend(q, k, v, bias.clone())
        }
    }
}

/// Attention of one new position per row, written to slot `at` of the cache. `qkv`: `[rows, 3 * width]`; `real`:
/// `[rows, capacity]`, 0 at slots that hold padding; `bias`: the same as `[rows, 1, 1, capacity]` to add to scores, for
/// devices other than the CPU. -> `[rows, width]` and the cache.
pub fn attention_step(
    qkv: Tensor<2>,
    cache: LayerCache,
    real: &Tensor<2, Int>,
    bias: Option<&Tensor<4>>,
    at: usize,
) -> (Tensor<2>, LayerCache) {
    let Some(bias) = bias else {
        let (keys, values) = (cache.keys.into_dispatch(), cache.values.into_dispatch());
        let (out, keys, values) = <Dispatch as CpuOps>::fused_attention_step(
            qkv.into_dispatch(),
            keys,
            values,
            real.clone().into_dispatch(),
            at,
        );
        let cache = LayerCache { keys: Tensor::from_dispatch(keys), values: Tensor::from_dispatch(values) };
        return (Tensor::from_dispatch(out), cache);
    };
    plain::attention_step(qkv, cache, bias, at)
}

/// One step of Adam for `[n]` numbers: parameters, gradient, both moments -> parameters and moments.
pub fn adam(
    p: Tensor<1>,
    g: Tensor<1>,
    m: Tensor<1>,
    v: Tensor<1>,
    step: adam::Step,
) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
    if is_cpu(&p.device()) {
        let (p, g, m, v) = (p.into_dispatch(), g.into_dispatch(), m.into_dispatch(), v.into_dispatch());
        let (p, m, v) = <Dispatch as CpuOps>::fused_adam(p, g, m, v, step);
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

/// softmax(q kᵀ / √d + bias) v -> `[batch * time, width]`.
pub fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, bias: Tensor<4>) -> Tensor<2> {
    let [batch, heads, time, head] = q.dims();
    attention_weights(q, k, bias).matmul(v).swap_dims(1, 2).reshape([batch * time, heads * head])
}

/// softmax(q kᵀ / √d + bias) -> `[batch, heads, time, keys]`.
pub fn attention_weights(q: Tensor<4>, k: Tensor<4>, bias: Tensor<4>) -> Tensor<4> {
    let head = q.dims()[3];
    softmax((q * (head as f64).powf(-0.5)).matmul(k.swap_dims(2, 3)) + bias, 3)
}

/// The same functions of the backend's own operations: what devices other than the CPU use, and what tests compare
/// with.
mod plain {
    use super::*;

    pub fn gelu(x: Tensor<2>) -> Tensor<2> {
        const SCALE: f64 = 1.595_769_121_605_730_8;
        let square = x.clone() * x.clone();
        let z = x.clone() * (square * (0.044715 * SCALE) + SCALE);
        x * sigmoid(z)
    }

    pub fn layer_norm(x: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<2> {
        burn::tensor::module::layer_norm(x, weight, Some(bias), epsilon)
    }

    pub fn linear(x: Tensor<2>, w: Tensor<2>, b: Tensor<1>, residual: Option<Tensor<2>>) -> Tensor<2> {
        let y = x.matmul(w) + b.unsqueeze::<2>();
        match residual {
            Some(residual) => residual + y,
            None => y,
        }
    }

    pub fn token_logprobs(hidden: Tensor<2>, wte: Tensor<2>, targets: Tensor<1, Int>, temperature: f64) -> Tensor<1> {
        let n = targets.dims()[0];
        let logits = hidden.matmul(wte.transpose());
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
    ) -> (Tensor<2, Int>, Tensor<2>, Tensor<2>) {
        let logprobs = log_softmax(hidden.matmul(wte.transpose()) / temperature, 1);
        let [n, vocab] = logprobs.dims();
        let probabilities = logprobs.clone().exp();
        let entropies = (probabilities.clone() * logprobs.clone()).sum_dim(1).neg();
        let tokens = first_above(probabilities, uniforms.reshape([n, 1]), vocab);
        (tokens.clone(), logprobs.gather(1, tokens), entropies)
    }

    pub fn attention_step(qkv: Tensor<2>, cache: LayerCache, bias: &Tensor<4>, at: usize) -> (Tensor<2>, LayerCache) {
        let [n, h, _, d] = cache.keys.dims();
        let [q, k, v] = split_heads(qkv, n, 1, h);
        let keys = cache.keys.slice_assign([0..n, 0..h, at..at + 1, 0..d], k);
        let values = cache.values.slice_assign([0..n, 0..h, at..at + 1, 0..d], v);
        let seen = |t: &Tensor<4>| t.clone().slice([0..n, 0..h, 0..at + 1, 0..d]);
        let bias = bias.clone().slice([0..n, 0..1, 0..1, 0..at + 1]);
        (attend(q, seen(&keys), seen(&values), bias), LayerCache { keys, values })
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
}

/// The operations as an extension of burn's CPU backend; other backends never get here.
#[backend_extension(Flex, Autodiff)]
trait CpuOps: Backend {
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
    fn fused_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_linear_residual(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        residual: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn fused_token_logprobs(
        hidden: FloatTensor<Self>,
        wte: FloatTensor<Self>,
        targets: IntTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self>;
    fn fused_attention(qkv: FloatTensor<Self>, lengths: IntTensor<Self>, heads: usize) -> FloatTensor<Self>;
    fn fused_attention_step(
        qkv: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        real: IntTensor<Self>,
        at: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn fused_draw(
        hidden: FloatTensor<Self>,
        wte: FloatTensor<Self>,
        uniforms: FloatTensor<Self>,
        scale: f64,
    ) -> (IntTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn fused_adam(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        step: adam::Step,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl CpuOps for Flex {
    fn fused_gelu(x: FlexTensor) -> FlexTensor {
        elementwise::gelu(&x)
    }
    fn fused_layer_norm(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, epsilon: f64) -> FlexTensor {
        elementwise::layer_norm(&x, &weight, &bias, epsilon)
    }
    fn fused_linear(x: FlexTensor, w: FlexTensor, b: FlexTensor) -> FlexTensor {
        product::forward(&x, &w, &b, None)
    }
    fn fused_linear_residual(x: FlexTensor, w: FlexTensor, b: FlexTensor, residual: FlexTensor) -> FlexTensor {
        product::forward(&x, &w, &b, Some(&residual))
    }
    fn fused_token_logprobs(hidden: FlexTensor, wte: FlexTensor, targets: FlexTensor, scale: f64) -> FlexTensor {
        head::forward(&hidden, &wte, &targets, scale, false).0
    }
    fn fused_attention(qkv: FlexTensor, lengths: FlexTensor, heads: usize) -> FlexTensor {
        attended::forward(&qkv, &lengths, heads)
    }
    fn fused_attention_step(
        qkv: FlexTensor,
        keys: FlexTensor,
        values: FlexTensor,
        real: FlexTensor,
        at: usize,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        attended::step(&qkv, keys, values, &real, at)
    }
    fn fused_draw(
        hidden: FlexTensor,
        wte: FlexTensor,
        uniforms: FlexTensor,
        scale: f64,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        head::draw(&hidden, &wte, &uniforms, scale)
    }
    fn fused_adam(
        p: FlexTensor,
        g: FlexTensor,
        m: FlexTensor,
        v: FlexTensor,
        step: adam::Step,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [p, m, v] = adam::step(p, &g, m, v, &step);
        (p, m, v)
    }
}

#[cfg(test)]
mod tests;
