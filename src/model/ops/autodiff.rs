//! The fused operations inside a gradient graph: each keeps what its backward pass reads, and computes only the
//! gradients that somebody asked for.

use super::CpuOps;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Flex};
use burn_flex::FlexTensor;
use runner_kernels::{adam, attention, elementwise, head, linear};

#[derive(Debug)]
struct Gelu;

impl Backward<Flex, 1> for Gelu {
    type State = FlexTensor;
    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let g = gradients.consume::<Flex>(&ops.node);
        if let Some(node) = parent {
            gradients.register::<Flex>(node.id, elementwise::gelu_backward(&ops.state, &g));
        }
    }
}

#[derive(Debug)]
struct LayerNorm;

impl Backward<Flex, 3> for LayerNorm {
    type State = (FlexTensor, FlexTensor, f64);
    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let g = gradients.consume::<Flex>(&ops.node);
        let (x, weight, epsilon) = ops.state;
        let (gx, g_weight, g_bias) = elementwise::layer_norm_backward(&x, &weight, &g, epsilon);
        for (parent, gradient) in ops.parents.into_iter().zip([gx, g_weight, g_bias]) {
            if let Some(node) = parent {
                gradients.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// With three parents (input, weight, bias) or four (and the residual).
#[derive(Debug)]
struct Linear;

impl<const N: usize> Backward<Flex, N> for Linear {
    type State = (FlexTensor, FlexTensor);
    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let g = gradients.consume::<Flex>(&ops.node);
        let (x, w) = ops.state;
        for (i, parent) in ops.parents.into_iter().enumerate() {
            let Some(node) = parent else { continue };
            let gradient = match i {
                0 => linear::input_gradient(&w, &g),
                1 => linear::weight_gradient(&x, &g),
                2 => linear::bias_gradient(&g),
                _ => g.clone(),
            };
            gradients.register::<Flex>(node.id, gradient);
        }
    }
}

#[derive(Debug)]
struct TokenLogprobs;

impl Backward<Flex, 2> for TokenLogprobs {
    type State = head::Saved;
    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let g = gradients.consume::<Flex>(&ops.node);
        let (g_hidden, g_wte) = head::backward(&ops.state, &g);
        for (parent, gradient) in ops.parents.into_iter().zip([g_hidden, g_wte]) {
            if let Some(node) = parent {
                gradients.register::<Flex>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct Attention;

impl Backward<Flex, 1> for Attention {
    type State = (FlexTensor, FlexTensor, usize);
    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let g = gradients.consume::<Flex>(&ops.node);
        if let Some(node) = parent {
            let (qkv, lengths, heads) = ops.state;
            gradients.register::<Flex>(node.id, attention::backward(&qkv, &lengths, &g, heads));
        }
    }
}

impl<C: CheckpointStrategy> CpuOps for Autodiff<Flex, C> {
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        match Gelu.prepare::<C>([node]).compute_bound().stateful() {
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
        match LayerNorm.prepare::<C>([x_node, weight_node, bias_node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => {
                op.finish((x.clone(), weight.clone(), epsilon), Flex::fused_layer_norm(x, weight, bias, epsilon))
            }
            OpsKind::UnTracked(op) => op.finish(Flex::fused_layer_norm(x, weight, bias, epsilon)),
        }
    }

    fn fused_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((x, x_node), (w, w_node), (b, b_node)) = (x.into_parts(), w.into_parts(), b.into_parts());
        match Linear.prepare::<C>([x_node, w_node, b_node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => op.finish((x.clone(), w.clone()), Flex::fused_linear(x, w, b)),
            OpsKind::UnTracked(op) => op.finish(Flex::fused_linear(x, w, b)),
        }
    }

    fn fused_linear_residual(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        residual: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (w, w_node), (b, b_node), (residual, r_node)) =
            (x.into_parts(), w.into_parts(), b.into_parts(), residual.into_parts());
        match Linear.prepare::<C>([x_node, w_node, b_node, r_node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => op.finish((x.clone(), w.clone()), Flex::fused_linear_residual(x, w, b, residual)),
            OpsKind::UnTracked(op) => op.finish(Flex::fused_linear_residual(x, w, b, residual)),
        }
    }

    fn fused_token_logprobs(
        hidden: FloatTensor<Self>,
        wte: FloatTensor<Self>,
        targets: IntTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        let ((hidden, hidden_node), (wte, wte_node)) = (hidden.into_parts(), wte.into_parts());
        match TokenLogprobs.prepare::<C>([hidden_node, wte_node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => {
                let (logprobs, saved) = head::forward(&hidden, &wte, &targets, scale, true);
                op.finish(saved, logprobs)
            }
            OpsKind::UnTracked(op) => op.finish(Flex::fused_token_logprobs(hidden, wte, targets, scale)),
        }
    }

    fn fused_attention(qkv: FloatTensor<Self>, lengths: IntTensor<Self>, heads: usize) -> FloatTensor<Self> {
        let (qkv, node) = qkv.into_parts();
        match Attention.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(op) => {
                op.finish((qkv.clone(), lengths.clone(), heads), Flex::fused_attention(qkv, lengths, heads))
            }
            OpsKind::UnTracked(op) => op.finish(Flex::fused_attention(qkv, lengths, heads)),
        }
    }

    // No gradient flows through these: results are constants.
    fn fused_attention_step(
        qkv: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        real: IntTensor<Self>,
        at: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [qkv, keys, values] = [qkv, keys, values].map(Self::inner);
        let (out, keys, values) = attention::step(&qkv, keys, values, &real, at);
        (Self::from_inner(out), Self::from_inner(keys), Self::from_inner(values))
    }

    fn fused_draw(
        hidden: FloatTensor<Self>,
        wte: FloatTensor<Self>,
        uniforms: FloatTensor<Self>,
        scale: f64,
    ) -> (IntTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [hidden, wte, uniforms] = [hidden, wte, uniforms].map(Self::inner);
        let (tokens, logprobs, entropies) = head::draw(&hidden, &wte, &uniforms, scale);
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
        let [p, m, v] = adam::step(p, &g, m, v, &step).map(Self::from_inner);
        (p, m, v)
    }
}
