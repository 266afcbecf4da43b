//! The fused operations inside a gradient graph: each keeps what its backward pass reads, and computes only the
//! gradients that somebody asked for.

use super::fused::{Fused, FusedOps};
use crate::spec::Precision;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata};
use burn::tensor::{DType, Shape};
use runner_kernels::adam;

#[derive(Debug)]
struct Embed;

impl<B: Fused> Backward<B, 2> for Embed {
    /// Both tables' shapes, ids and positions.
    type State = ([Shape; 2], [IntTensor<B>; 2]);
    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let g = gradients.consume::<B>(&ops.node);
        let (shapes, places) = ops.state;
        for ((parent, shape), places) in ops.parents.into_iter().zip(shapes).zip(places) {
            if let Some(node) = parent {
                gradients.register::<B>(node.id, B::embed_gradient(shape, &places, &g));
            }
        }
    }
}

#[derive(Debug)]
struct Gelu;

impl<B: Fused> Backward<B, 1> for Gelu {
    type State = FloatTensor<B>;
    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let g = gradients.consume::<B>(&ops.node);
        if let Some(node) = parent {
            gradients.register::<B>(node.id, B::gelu_gradient(&ops.state, &g));
        }
    }
}

#[derive(Debug)]
struct LayerNorm;

impl<B: Fused> Backward<B, 3> for LayerNorm {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);
    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let g = gradients.consume::<B>(&ops.node);
        let (x, weight, epsilon) = ops.state;
        let found = B::layer_norm_backward(&x, &weight, &g, epsilon);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let Some(node) = parent {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}

/// A gradient as it enters a product with what was kept.
fn beside<B: Fused>(kept: &FloatTensor<B>, g: &FloatTensor<B>) -> FloatTensor<B> {
    match kept.dtype() {
        DType::F16 => B::operand(g.clone(), Precision::F16),
        _ => g.clone(),
    }
}

/// With three parents (input, weight, bias) or four (and the residual).
#[derive(Debug)]
struct Linear;

impl<B: Fused, const N: usize> Backward<B, N> for Linear {
    type State = (FloatTensor<B>, FloatTensor<B>);
    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let g = gradients.consume::<B>(&ops.node);
        let (x, w) = ops.state;
        let factor = beside::<B>(&x, &g);
        for (i, parent) in ops.parents.into_iter().enumerate() {
            let Some(node) = parent else { continue };
            let gradient = match i {
                0 => B::linear_input_gradient(&w, &factor),
                1 => B::linear_weight_gradient(&x, &factor),
                2 => B::linear_bias_gradient(&g),
                _ => g.clone(),
            };
            gradients.register::<B>(node.id, gradient);
        }
    }
}

#[derive(Debug)]
struct TokenLogprobs;

impl<B: Fused> Backward<B, 2> for TokenLogprobs {
    type State = B::Head;
    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let g = gradients.consume::<B>(&ops.node);
        let found = B::token_logprobs_backward(ops.state, &g);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let Some(node) = parent {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct Attention;

impl<B: Fused> Backward<B, 1> for Attention {
    type State = (FloatTensor<B>, IntTensor<B>, usize);
    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let g = gradients.consume::<B>(&ops.node);
        if let Some(node) = parent {
            let (qkv, rows, heads) = ops.state;
            gradients.register::<B>(node.id, B::attention_backward(&qkv, &rows, &g, heads));
        }
    }
}

impl<B: Fused + FusedOps, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn fused_embed(
        wte: FloatTensor<Self>,
        wpe: FloatTensor<Self>,
        ids: IntTensor<Self>,
        positions: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((wte, wte_node), (wpe, wpe_node)) = (wte.into_parts(), wpe.into_parts());
        match Backward::<B, 2>::prepare::<C>(Embed, [wte_node, wpe_node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => {
                let state = ([wte.shape(), wpe.shape()], [ids.clone(), positions.clone()]);
                op.finish(state, B::fused_embed(wte, wpe, ids, positions))
            }
            OpsKind::UnTracked(op) => op.finish(B::fused_embed(wte, wpe, ids, positions)),
        }
    }

    fn fused_gelu(x: FloatTensor<Self>, p: Precision) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let x = B::operand(x, p);
        match Backward::<B, 1>::prepare::<C>(Gelu, [node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => op.finish(x.clone(), <B as Fused>::gelu(&x)),
            OpsKind::UnTracked(op) => op.finish(<B as Fused>::gelu(&x)),
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
        match Backward::<B, 3>::prepare::<C>(LayerNorm, [x_node, weight_node, bias_node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => {
                op.finish((x.clone(), weight.clone(), epsilon), B::fused_layer_norm(x, weight, bias, epsilon))
            }
            OpsKind::UnTracked(op) => op.finish(B::fused_layer_norm(x, weight, bias, epsilon)),
        }
    }

    fn fused_linear(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        p: Precision,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (w, w_node), (b, b_node)) = (x.into_parts(), w.into_parts(), b.into_parts());
        let (x, w) = (B::operand(x, p), B::operand(w, p));
        match Backward::<B, 3>::prepare::<C>(Linear, [x_node, w_node, b_node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => op.finish((x.clone(), w.clone()), <B as Fused>::linear(&x, &w, &b, None)),
            OpsKind::UnTracked(op) => op.finish(<B as Fused>::linear(&x, &w, &b, None)),
        }
    }

    fn fused_linear_residual(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        p: Precision,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (w, w_node), (b, b_node), (residual, r_node)) =
            (x.into_parts(), w.into_parts(), b.into_parts(), residual.into_parts());
        let (x, w) = (B::operand(x, p), B::operand(w, p));
        match Backward::<B, 4>::prepare::<C>(Linear, [x_node, w_node, b_node, r_node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => {
                op.finish((x.clone(), w.clone()), <B as Fused>::linear(&x, &w, &b, Some(&residual)))
            }
            OpsKind::UnTracked(op) => op.finish(<B as Fused>::linear(&x, &w, &b, Some(&residual))),
        }
    }

    fn fused_token_logprobs(
        hidden: FloatTensor<Self>,
        wte: FloatTensor<Self>,
        targets: IntTensor<Self>,
        scale: f64,
        p: Precision,
    ) -> FloatTensor<Self> {
        let ((hidden, hidden_node), (wte, wte_node)) = (hidden.into_parts(), wte.into_parts());
        let (hidden, wte) = (B::operand(hidden, p), B::operand(wte, p));
        match Backward::<B, 2>::prepare::<C>(TokenLogprobs, [hidden_node, wte_node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => {
                let (logprobs, saved) = B::token_logprobs(&hidden, &wte, &targets, scale, true);
                op.finish(saved, logprobs)
            }
            OpsKind::UnTracked(op) => op.finish(B::token_logprobs(&hidden, &wte, &targets, scale, false).0),
        }
    }

    fn fused_attention(qkv: FloatTensor<Self>, rows: IntTensor<Self>, heads: usize, p: Precision) -> FloatTensor<Self> {
        let (qkv, node) = qkv.into_parts();
        let qkv = B::operand(qkv, p);
        match Backward::<B, 1>::prepare::<C>(Attention, [node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => {
                op.finish((qkv.clone(), rows.clone(), heads), <B as Fused>::attention(&qkv, &rows, heads))
            }
            OpsKind::UnTracked(op) => op.finish(<B as Fused>::attention(&qkv, &rows, heads)),
        }
    }

    // No gradient flows through these: results are constants.
    fn fused_attention_step(
        qkv: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        real: IntTensor<Self>,
        at: usize,
        p: Precision,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [qkv, keys, values] = [qkv, keys, values].map(Self::inner);
        let qkv = B::operand(qkv, p);
        let (out, keys, values) = B::attention_step(&qkv, keys, values, &real, at);
        (Self::from_inner(out), Self::from_inner(keys), Self::from_inner(values))
    }

    fn fused_draw(
        hidden: FloatTensor<Self>,
        wte: FloatTensor<Self>,
        uniforms: FloatTensor<Self>,
        scale: f64,
        p: Precision,
    ) -> (IntTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [hidden, wte, uniforms] = [hidden, wte, uniforms].map(Self::inner);
        let (tokens, logprobs, entropies) = B::draw(&B::operand(hidden, p), &B::operand(wte, p), &uniforms, scale);
        (tokens, Self::from_inner(logprobs), Self::from_inner(entropies))
    }

    fn fused_adam(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        step: adam::Step,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [p, g, m, v] = [p, g, m, v].map(Self::inner);
        let [p, m, v] = B::adam(p, &g, m, v, &step).map(Self::from_inner);
        (p, m, v)
    }
}
