//! Operations of the transformer that the CPU backend does in one pass each, with hand-written gradients; elsewhere
//! they are made of the backend's own operations. Everything here computes the same function on every device.

use super::cpu_kernels as kernels;
use super::device::is_cpu;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::activation::{log_softmax, sigmoid, softmax};
use burn::tensor::{Bytes, DType, Int, Shape, Tensor};
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;

/// Elements that a thread should have to do before it is worth waking another.
const PER_THREAD: usize = 1 << 16;

/// GELU with the tanh approximation (GPT-2's).
pub fn gelu(x: Tensor<2>) -> Tensor<2> {
    if is_cpu(&x.device()) {
        return Tensor::from_dispatch(<Dispatch as CpuOps>::fused_gelu(x.into_dispatch()));
    }
    const SCALE: f64 = 1.595_769_121_605_730_8;
    let square = x.clone() * x.clone();
    let z = x.clone() * (square * (0.044715 * SCALE) + SCALE);
    x * sigmoid(z)
}

/// Layer normalisation of `[rows, width]` over the last axis.
pub fn layer_norm(x: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<2> {
    if is_cpu(&x.device()) {
        let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as CpuOps>::fused_layer_norm(x, weight, bias, epsilon));
    }
    burn::tensor::module::layer_norm(x, weight, Some(bias), epsilon)
}

/// log softmax(logits / temperature) at `targets`: `[rows, vocab]`, `[rows]` -> `[rows]`.
pub fn token_logprobs(logits: Tensor<2>, targets: Tensor<1, Int>, temperature: f64) -> Tensor<1> {
    if is_cpu(&logits.device()) {
        let (logits, targets) = (logits.into_dispatch(), targets.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as CpuOps>::fused_token_logprobs(logits, targets, 1.0 / temperature));
    }
    let n = targets.dims()[0];
    log_softmax(logits / temperature, 1).gather(1, targets.reshape([n, 1])).reshape([n])
}

/// Causal self-attention. `qkv`: `[batch * time, 3 * width]`; `real`: `[batch, time]`, 0 at padding; `bias`: the same
/// as `[batch, 1, time, time]` to add to scores, for devices other than the CPU. -> `[batch * time, width]`.
pub fn attention(qkv: Tensor<2>, real: Tensor<2, Int>, bias: Option<Tensor<4>>, heads: usize) -> Tensor<2> {
    let [batch, time] = real.dims();
    let Some(bias) = bias else {
        return Tensor::from_dispatch(<Dispatch as CpuOps>::fused_attention(
            qkv.into_dispatch(),
            real.into_dispatch(),
            heads,
        ));
    };
    let [q, k, v] = split_heads(qkv, batch, time, heads);
    attend(q, k, v, bias)
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
    fn fused_token_logprobs(logits: FloatTensor<Self>, targets: IntTensor<Self>, scale: f64) -> FloatTensor<Self>;
    fn fused_attention(qkv: FloatTensor<Self>, real: IntTensor<Self>, heads: usize) -> FloatTensor<Self>;
}

/// A tensor's numbers, row-major.
fn floats(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().unwrap_or_else(|| unreachable!("contiguous tensors of f32 come here"))
}

fn integers(tensor: &FlexTensor) -> Vec<usize> {
    let tensor = tensor.to_contiguous();
    if let Some(values) = tensor.as_slice::<i64>() {
        return values.iter().map(|v| *v as usize).collect();
    }
    let values = tensor.as_slice::<i32>().unwrap_or_else(|| unreachable!("indices are i32 or i64"));
    values.iter().map(|v| *v as usize).collect()
}

fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}

fn shape(tensor: &FlexTensor) -> Shape {
    tensor.layout().shape().clone()
}

/// Rows of `width` in pieces of at least [`PER_THREAD`] elements.
fn piece(width: usize) -> usize {
    PER_THREAD.div_ceil(width) * width
}

fn layer_norm_backward(
    x: &FlexTensor,
    weight: &FlexTensor,
    g: &FlexTensor,
    epsilon: f64,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let (x, weight, g) = (x.to_contiguous(), weight.to_contiguous(), g.to_contiguous());
    let width = floats(&weight).len();
    let mut gx = vec![0.0; floats(&x).len()];
    let sums: Vec<(Vec<f32>, Vec<f32>)> = gx
        .par_chunks_mut(piece(width))
        .zip(floats(&x).par_chunks(piece(width)))
        .zip(floats(&g).par_chunks(piece(width)))
        .map(|((gx, x), g)| {
            let (mut g_weight, mut g_bias) = (vec![0.0; width], vec![0.0; width]);
            kernels::layer_norm_backward(x, floats(&weight), g, epsilon as f32, gx, &mut g_weight, &mut g_bias);
            (g_weight, g_bias)
        })
        .collect();
    let (mut g_weight, mut g_bias) = (vec![0.0; width], vec![0.0; width]);
    for (w, b) in sums {
        g_weight.iter_mut().zip(w).for_each(|(sum, v)| *sum += v);
        g_bias.iter_mut().zip(b).for_each(|(sum, v)| *sum += v);
    }
    (tensor(gx, shape(&x)), tensor(g_weight, Shape::new([width])), tensor(g_bias, Shape::new([width])))
}

/// c = a · b on one thread; strides are (row, column).
#[allow(clippy::too_many_arguments)]
fn multiply(
    (m, k, n): (usize, usize, usize),
    c: &mut [f32],
    c_row: usize,
    a: &[f32],
    (a_row, a_column): (usize, usize),
    b: &[f32],
    (b_row, b_column): (usize, usize),
) {
    assert!(c.len() > (m - 1) * c_row + n - 1);
    assert!(a.len() > (m - 1) * a_row + (k - 1) * a_column);
    assert!(b.len() > (k - 1) * b_row + (n - 1) * b_column);
    // SAFETY: the largest index of each matrix is inside its slice, and `c` is borrowed mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            c_row as isize,
            false,
            a.as_ptr(),
            a_column as isize,
            a_row as isize,
            b.as_ptr(),
            b_column as isize,
            b_row as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Attention's sizes and masks.
struct Heads {
    time: usize,
    width: usize,
    heads: usize,
    /// `[batch * time]`
    real: Vec<bool>,
}

impl Heads {
    fn new(qkv: &FlexTensor, real: &FlexTensor, heads: usize) -> Self {
        let time = real.layout().shape()[1];
        let real = integers(real).into_iter().map(|r| r != 0).collect();
        Self { time, width: qkv.layout().shape()[1] / 3, heads, real }
    }
    fn head(&self) -> usize {
        self.width / self.heads
    }
    fn scale(&self) -> f32 {
        (self.head() as f32).powf(-0.5)
    }

    /// softmax(q kᵀ / √d) of one head of one row; `qkv` is the row's `[time, 3 * width]`.
    fn probabilities(&self, qkv: &[f32], real: &[bool], head: usize, out: &mut [f32]) {
        let (t, w, d) = (self.time, self.width, self.head());
        multiply((t, d, t), out, t, &qkv[head * d..], (3 * w, 1), &qkv[w + head * d..], (1, 3 * w));
        kernels::causal_softmax(out, real, self.scale());
    }

    /// One row of the batch: `[time, 3 * width]` -> `[time, width]`.
    fn forward(&self, qkv: &[f32], real: &[bool], out: &mut [f32], scratch: &mut [f32]) {
        let (t, w, d) = (self.time, self.width, self.head());
        for head in 0..self.heads {
            self.probabilities(qkv, real, head, scratch);
            multiply((t, t, d), &mut out[head * d..], w, scratch, (t, 1), &qkv[2 * w + head * d..], (3 * w, 1));
        }
    }

    /// Gradient of [`Heads::forward`]; `g`: `[time, width]`, `out`: `[time, 3 * width]`.
    fn backward(&self, qkv: &[f32], real: &[bool], g: &[f32], out: &mut [f32], scratch: &mut [f32]) {
        let (t, w, d) = (self.time, self.width, self.head());
        let (p, dp) = scratch.split_at_mut(t * t);
        for head in 0..self.heads {
            let (q, k, v) = (head * d, w + head * d, 2 * w + head * d);
            self.probabilities(qkv, real, head, p);
            // dV = Pᵀ dO; dP = dO Vᵀ; dS from the softmax; dQ = dS K; dK = dSᵀ Q.
            multiply((t, t, d), &mut out[v..], 3 * w, p, (1, t), &g[q..], (w, 1));
            multiply((t, d, t), dp, t, &g[q..], (w, 1), &qkv[v..], (1, 3 * w));
            kernels::softmax_backward(p, dp, t, self.scale());
            multiply((t, t, d), &mut out[q..], 3 * w, dp, (t, 1), &qkv[k..], (3 * w, 1));
            multiply((t, t, d), &mut out[k..], 3 * w, dp, (1, t), &qkv[q..], (3 * w, 1));
        }
    }
}

fn attention_backward(qkv: &FlexTensor, real: &FlexTensor, g: &FlexTensor, heads: usize) -> FlexTensor {
    let (qkv, g) = (qkv.to_contiguous(), g.to_contiguous());
    let h = Heads::new(&qkv, real, heads);
    let row = h.time * h.width;
    let mut out = vec![0.0; floats(&qkv).len()];
    out.par_chunks_mut(3 * row)
        .zip(floats(&qkv).par_chunks(3 * row))
        .zip(floats(&g).par_chunks(row))
        .zip(h.real.par_chunks(h.time))
        .with_min_len(PER_THREAD.div_ceil(3 * row))
        .for_each_init(
            || vec![0.0; 2 * h.time * h.time],
            |scratch, (((out, qkv), g), real)| h.backward(qkv, real, g, out, scratch),
        );
    tensor(out, shape(&qkv))
}

impl CpuOps for Flex {
    fn fused_gelu(x: FlexTensor) -> FlexTensor {
        let x = x.to_contiguous();
        let mut y = vec![0.0; floats(&x).len()];
        y.par_chunks_mut(PER_THREAD).zip(floats(&x).par_chunks(PER_THREAD)).for_each(|(y, x)| kernels::gelu(x, y));
        tensor(y, shape(&x))
    }

    fn fused_layer_norm(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, epsilon: f64) -> FlexTensor {
        let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
        let piece = piece(floats(&weight).len());
        let mut y = vec![0.0; floats(&x).len()];
        y.par_chunks_mut(piece)
            .zip(floats(&x).par_chunks(piece))
            .for_each(|(y, x)| kernels::layer_norm(x, floats(&weight), floats(&bias), epsilon as f32, y));
        tensor(y, shape(&x))
    }

    fn fused_token_logprobs(logits: FlexTensor, targets: FlexTensor, scale: f64) -> FlexTensor {
        let logits = logits.to_contiguous();
        let targets = integers(&targets);
        let vocab = logits.layout().shape()[1];
        let mut out = vec![0.0; targets.len()];
        out.par_iter_mut()
            .zip(floats(&logits).par_chunks(vocab))
            .zip(&targets)
            .with_min_len(PER_THREAD.div_ceil(vocab))
            .for_each(|((out, row), target)| *out = kernels::token_logprob(row, *target, scale as f32));
        tensor(out, Shape::new([targets.len()]))
    }

    fn fused_attention(qkv: FlexTensor, real: FlexTensor, heads: usize) -> FlexTensor {
        let qkv = qkv.to_contiguous();
        let h = Heads::new(&qkv, &real, heads);
        let row = h.time * h.width;
        let rows = h.real.len();
        let mut out = vec![0.0; rows * h.width];
        out.par_chunks_mut(row)
            .zip(floats(&qkv).par_chunks(3 * row))
            .zip(h.real.par_chunks(h.time))
            .with_min_len(PER_THREAD.div_ceil(3 * row))
            .for_each_init(
                || vec![0.0; h.time * h.time],
                |scratch, ((out, qkv), real)| h.forward(qkv, real, out, scratch),
            );
        tensor(out, Shape::new([rows, h.width]))
    }
}

#[derive(Debug)]
struct GeluGradient;

impl Backward<Flex, 1> for GeluGradient {
    type State = FlexTensor;
    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let g = gradients.consume::<Flex>(&ops.node).to_contiguous();
        if let Some(node) = parent {
            let x = ops.state.to_contiguous();
            let mut out = vec![0.0; floats(&x).len()];
            out.par_chunks_mut(PER_THREAD)
                .zip(floats(&x).par_chunks(PER_THREAD))
                .zip(floats(&g).par_chunks(PER_THREAD))
                .for_each(|((out, x), g)| kernels::gelu_backward(x, g, out));
            gradients.register::<Flex>(node.id, tensor(out, shape(&x)));
        }
    }
}

#[derive(Debug)]
struct LayerNormGradient;

impl Backward<Flex, 3> for LayerNormGradient {
    type State = (FlexTensor, FlexTensor, f64);
    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let g = gradients.consume::<Flex>(&ops.node);
        let (x, weight, epsilon) = ops.state;
        let (gx, g_weight, g_bias) = layer_norm_backward(&x, &weight, &g, epsilon);
        for (parent, gradient) in ops.parents.into_iter().zip([gx, g_weight, g_bias]) {
            if let Some(node) = parent {
                gradients.register::<Flex>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct TokenLogprobsGradient;

impl Backward<Flex, 1> for TokenLogprobsGradient {
    type State = (FlexTensor, FlexTensor, f64);
    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let g = gradients.consume::<Flex>(&ops.node).to_contiguous();
        if let Some(node) = parent {
            let (logits, targets, scale) = ops.state;
            let logits = logits.to_contiguous();
            let targets = integers(&targets);
            let vocab = logits.layout().shape()[1];
            let mut out = vec![0.0; floats(&logits).len()];
            out.par_chunks_mut(vocab)
                .zip(floats(&logits).par_chunks(vocab))
                .zip(&targets)
                .zip(floats(&g))
                .with_min_len(PER_THREAD.div_ceil(vocab))
                .for_each(|(((out, row), target), g)| {
                    kernels::token_logprob_backward(row, *target, scale as f32, *g, out)
                });
            gradients.register::<Flex>(node.id, tensor(out, shape(&logits)));
        }
    }
}

#[derive(Debug)]
struct AttentionGradient;

impl Backward<Flex, 1> for AttentionGradient {
    type State = (FlexTensor, FlexTensor, usize);
    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let g = gradients.consume::<Flex>(&ops.node);
        if let Some(node) = parent {
            let (qkv, real, heads) = ops.state;
            gradients.register::<Flex>(node.id, attention_backward(&qkv, &real, &g, heads));
        }
    }
}

impl<C: CheckpointStrategy> CpuOps for Autodiff<Flex, C> {
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        match GeluGradient.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => op.finish(x.clone(), Flex::fused_gelu(x)),
            OpsKind::UnTracked(op) => op.finish(Flex::fused_gelu(x)),
        }
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node), (bias, bias_node)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        match LayerNormGradient.prepare::<C>([x_node, weight_node, bias_node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => {
                op.finish((x.clone(), weight.clone(), epsilon), Flex::fused_layer_norm(x, weight, bias, epsilon))
            }
            OpsKind::UnTracked(op) => op.finish(Flex::fused_layer_norm(x, weight, bias, epsilon)),
        }
    }

    fn fused_token_logprobs(logits: FloatTensor<Self>, targets: IntTensor<Self>, scale: f64) -> FloatTensor<Self> {
        let (logits, node) = logits.into_parts();
        match TokenLogprobsGradient.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => {
                op.finish((logits.clone(), targets.clone(), scale), Flex::fused_token_logprobs(logits, targets, scale))
            }
            OpsKind::UnTracked(op) => op.finish(Flex::fused_token_logprobs(logits, targets, scale)),
        }
    }

    fn fused_attention(qkv: FloatTensor<Self>, real: IntTensor<Self>, heads: usize) -> FloatTensor<Self> {
        let (qkv, node) = qkv.into_parts();
        match AttentionGradient.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => {
                op.finish((qkv.clone(), real.clone(), heads), Flex::fused_attention(qkv, real, heads))
            }
            OpsKind::UnTracked(op) => op.finish(Flex::fused_attention(qkv, real, heads)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device::largest_difference;
    use crate::model::sampling::to_vec;
    use burn::tensor::{Device, Tensor, TensorData};
    use rand::{RngExt, SeedableRng};

    /// Random numbers in [-2, 2).
    fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random::<f32>() * 4.0 - 2.0).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff())
    }

    /// Value and gradients of two functions of `[rows, width]`, weighted by random numbers, differ by rounding alone.
    fn same<const D: usize>(
        x: &Tensor<2>,
        fused: impl Fn(Tensor<2>) -> Tensor<D>,
        plain: impl Fn(Tensor<2>) -> Tensor<D>,
    ) {
        let evaluate = |f: &dyn Fn(Tensor<2>) -> Tensor<D>| {
            let x = x.clone().require_grad();
            let y = f(x.clone());
            let weights = random(y.dims(), 99);
            let gradients = (y.clone() * weights).sum().backward();
            let gradient = x.grad(&gradients).expect("a gradient");
            (to_vec(y.inner()).expect("values"), to_vec(gradient).expect("values"))
        };
        let ((a, da), (b, db)) = (evaluate(&fused), evaluate(&plain));
        assert!(largest_difference(&a, &b) < 3e-6, "values differ by {}", largest_difference(&a, &b));
        assert!(largest_difference(&da, &db) < 3e-5, "gradients differ by {}", largest_difference(&da, &db));
    }

    #[test]
    fn gelu_is_the_tanh_form() {
        let tanh_form = |x: Tensor<2>| {
            let inner = (x.clone() + x.clone().powi_scalar(3) * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
            x * (inner.tanh() + 1.0) * 0.5
        };
        same(&(random([7, 33], 1) * 3.0), gelu, tanh_form);
    }

    #[test]
    fn layer_norm_is_what_it_is_made_of() {
        let (w, b) = (random([37], 2), random([37], 3));
        let plain = |x: Tensor<2>| {
            let centred = x.clone() - x.mean_dim(1);
            let variance = (centred.clone() * centred.clone()).mean_dim(1);
            centred / (variance + 1e-5).sqrt() * w.clone().unsqueeze::<2>() + b.clone().unsqueeze::<2>()
        };
        same(&random([5, 37], 4), |x| layer_norm(x, w.clone(), b.clone(), 1e-5), plain);
        // Its own weights have gradients too.
        let x = random([5, 37], 5);
        let gradient = |f: &dyn Fn(Tensor<1>, Tensor<1>) -> Tensor<2>| {
            let (w, b) = (w.clone().require_grad(), b.clone().require_grad());
            let found = (f(w.clone(), b.clone()) * random([5, 37], 6)).sum().backward();
            [w, b].map(|t| to_vec(t.grad(&found).expect("a gradient")).expect("values")).concat()
        };
        let normal =
            |x: Tensor<2>| layer_norm(x, Tensor::ones([37], &w.device()), Tensor::zeros([37], &w.device()), 1e-5);
        let a = gradient(&|w, b| layer_norm(x.clone(), w, b, 1e-5));
        let b = gradient(&|w, b| normal(x.clone()).detach() * w.unsqueeze::<2>() + b.unsqueeze::<2>());
        assert!(largest_difference(&a, &b) < 1e-5, "{}", largest_difference(&a, &b));
    }

    #[test]
    fn token_logprobs_are_log_softmax_and_gather() {
        let targets = Tensor::<1, Int>::from_data(TensorData::new(vec![0, 50, 17, 3], [4]), &Device::flex().autodiff());
        let plain = |x: Tensor<2>| log_softmax(x / 0.7, 1).gather(1, targets.clone().reshape([4, 1])).reshape([4]);
        same(&(random([4, 51], 7) * 4.0), |x| token_logprobs(x, targets.clone(), 0.7), plain);
    }

    #[test]
    fn attention_is_softmax_of_masked_products() {
        // Left padding, right padding, a whole row of padding, none.
        let real = [[0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]];
        let device = Device::flex().autodiff();
        let mut bias = Vec::new();
        for row in real {
            for i in 0..5 {
                bias.extend((0..5).map(|j| if j <= i && (row[j] == 1 || i == j) { 0.0f32 } else { -1e9 }));
            }
        }
        let bias = Tensor::<4>::from_data(TensorData::new(bias, [4, 1, 5, 5]), &device);
        let real = Tensor::<2, Int>::from_data(TensorData::new(real.concat(), [4, 5]), &device);
        let x = random([20, 3 * 12], 8);
        same(&x, |x| attention(x, real.clone(), None, 3), |x| attention(x, real.clone(), Some(bias.clone()), 3));
    }
}
