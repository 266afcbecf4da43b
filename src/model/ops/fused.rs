//! What a backend computes in one pass, with its gradient: the CPU's are crates/kernels, those of a GPU are in `gpu`.
//! `autodiff` puts them into gradient graphs, and the extension makes burn's dispatch find them.

use crate::spec::Precision;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::{IndexingUpdateOp, Shape};
use burn_flex::FlexTensor;
use runner_kernels::{adam, attention, elementwise, head, linear};
use std::fmt::Debug;

/// Fused operations and their gradients. Shapes are those of the functions in [`super`]; gradients are in the order of
/// the inputs.
pub(super) trait Fused: Backend {
    /// What the head's backward pass reads.
    type Head: Clone + Debug + Send + 'static;

    /// What enters a product of this precision, or is kept for a gradient, rounded to it; `x` as it is where that is
    /// float32.
    fn operand(x: FloatTensor<Self>, _: Precision) -> FloatTensor<Self> {
        x
    }
    /// Rows of both tables, added up.
    fn embed(tables: [FloatTensor<Self>; 2], ids: IntTensor<Self>, positions: IntTensor<Self>) -> FloatTensor<Self> {
        let [wte, wpe] = tables;
        Self::float_add(Self::float_select(wte, 0, ids), Self::float_select(wpe, 0, positions))
    }
    /// The gradient of a table of this shape from that of its rows at `places`.
    fn embed_gradient(shape: Shape, places: &IntTensor<Self>, g: &FloatTensor<Self>) -> FloatTensor<Self> {
        let zeros = Self::float_zeros(shape, &g.device(), g.dtype().into());
        Self::float_select_assign(zeros, 0, places.clone(), g.clone(), IndexingUpdateOp::Add)
    }
    fn gelu(x: &FloatTensor<Self>) -> FloatTensor<Self>;
    fn gelu_gradient(x: &FloatTensor<Self>, g: &FloatTensor<Self>) -> FloatTensor<Self>;
    fn layer_norm(
        x: &FloatTensor<Self>,
        weight: &FloatTensor<Self>,
        bias: &FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
    /// Gradients of x, weight and bias.
    fn layer_norm_backward(
        x: &FloatTensor<Self>,
        weight: &FloatTensor<Self>,
        g: &FloatTensor<Self>,
        epsilon: f64,
    ) -> [FloatTensor<Self>; 3];
    fn linear(
        x: &FloatTensor<Self>,
        w: &FloatTensor<Self>,
        b: &FloatTensor<Self>,
        residual: Option<&FloatTensor<Self>>,
    ) -> FloatTensor<Self>;
    fn linear_input_gradient(w: &FloatTensor<Self>, g: &FloatTensor<Self>) -> FloatTensor<Self>;
    fn linear_weight_gradient(x: &FloatTensor<Self>, g: &FloatTensor<Self>) -> FloatTensor<Self>;
    fn linear_bias_gradient(g: &FloatTensor<Self>) -> FloatTensor<Self>;
    /// `keep`: a backward pass will follow.
    fn token_logprobs(
        hidden: &FloatTensor<Self>,
        wte: &FloatTensor<Self>,
        targets: &IntTensor<Self>,
        scale: f64,
        keep: bool,
    ) -> (FloatTensor<Self>, Self::Head);
    /// Gradients of hidden states and embedding.
    fn token_logprobs_backward(saved: Self::Head, g: &FloatTensor<Self>) -> [FloatTensor<Self>; 2];
    /// `rows`: how they lie in `qkv`, as the backend's [`super::BatchRows`] say.
    fn attention(qkv: &FloatTensor<Self>, rows: &IntTensor<Self>, heads: usize) -> FloatTensor<Self>;
    fn attention_backward(
        qkv: &FloatTensor<Self>,
        rows: &IntTensor<Self>,
        g: &FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;
    fn attention_step(
        qkv: &FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        real: &IntTensor<Self>,
        at: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn draw(
        hidden: &FloatTensor<Self>,
        wte: &FloatTensor<Self>,
        uniforms: &FloatTensor<Self>,
        scale: f64,
    ) -> (IntTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn adam(
        p: FloatTensor<Self>,
        g: &FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        step: &adam::Step,
    ) -> [FloatTensor<Self>; 3];
}

impl Fused for Flex {
    type Head = head::Saved;

    fn gelu(x: &FlexTensor) -> FlexTensor {
        elementwise::gelu(x)
    }
    fn gelu_gradient(x: &FlexTensor, g: &FlexTensor) -> FlexTensor {
        elementwise::gelu_backward(x, g)
    }
    fn layer_norm(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor, epsilon: f64) -> FlexTensor {
        elementwise::layer_norm(x, weight, bias, epsilon)
    }
    fn layer_norm_backward(x: &FlexTensor, weight: &FlexTensor, g: &FlexTensor, epsilon: f64) -> [FlexTensor; 3] {
        elementwise::layer_norm_backward(x, weight, g, epsilon).into()
    }
    fn linear(x: &FlexTensor, w: &FlexTensor, b: &FlexTensor, residual: Option<&FlexTensor>) -> FlexTensor {
        linear::forward(x, w, b, residual)
    }
    fn linear_input_gradient(w: &FlexTensor, g: &FlexTensor) -> FlexTensor {
        linear::input_gradient(w, g)
    }
    fn linear_weight_gradient(x: &FlexTensor, g: &FlexTensor) -> FlexTensor {
        linear::weight_gradient(x, g)
    }
    fn linear_bias_gradient(g: &FlexTensor) -> FlexTensor {
        linear::bias_gradient(g)
    }
    fn token_logprobs(
        hidden: &FlexTensor,
        wte: &FlexTensor,
        targets: &FlexTensor,
        scale: f64,
        keep: bool,
    ) -> (FlexTensor, head::Saved) {
        head::forward(hidden, wte, targets, scale, keep)
    }
    fn token_logprobs_backward(saved: head::Saved, g: &FlexTensor) -> [FlexTensor; 2] {
        head::backward(&saved, g).into()
    }
    fn attention(qkv: &FlexTensor, rows: &FlexTensor, heads: usize) -> FlexTensor {
        attention::forward(qkv, rows, heads)
    }
    fn attention_backward(qkv: &FlexTensor, rows: &FlexTensor, g: &FlexTensor, heads: usize) -> FlexTensor {
        attention::backward(qkv, rows, g, heads)
    }
    fn attention_step(
        qkv: &FlexTensor,
        keys: FlexTensor,
        values: FlexTensor,
        real: &FlexTensor,
        at: usize,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        attention::step(qkv, keys, values, real, at)
    }
    fn draw(
        hidden: &FlexTensor,
        wte: &FlexTensor,
        uniforms: &FlexTensor,
        scale: f64,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        head::draw(hidden, wte, uniforms, scale)
    }
    fn adam(p: FlexTensor, g: &FlexTensor, m: FlexTensor, v: FlexTensor, step: &adam::Step) -> [FlexTensor; 3] {
        adam::step(p, g, m, v, step)
    }
}

/// The operations as an extension of burn's backends.
#[backend_extension(Flex, Cube: cfg(feature = "wgpu"), Autodiff)]
pub(super) trait FusedOps: Backend {
    fn fused_embed(
        wte: FloatTensor<Self>,
        wpe: FloatTensor<Self>,
        ids: IntTensor<Self>,
        positions: IntTensor<Self>,
    ) -> FloatTensor<Self>;
    fn fused_gelu(x: FloatTensor<Self>, p: Precision) -> FloatTensor<Self>;
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
    fn fused_linear(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        p: Precision,
    ) -> FloatTensor<Self>;
    fn fused_linear_residual(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        p: Precision,
    ) -> FloatTensor<Self>;
    fn fused_token_logprobs(
        hidden: FloatTensor<Self>,
        wte: FloatTensor<Self>,
        targets: IntTensor<Self>,
        scale: f64,
        p: Precision,
    ) -> FloatTensor<Self>;
    fn fused_attention(qkv: FloatTensor<Self>, rows: IntTensor<Self>, heads: usize, p: Precision) -> FloatTensor<Self>;
    fn fused_attention_step(
        qkv: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        real: IntTensor<Self>,
        at: usize,
        p: Precision,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn fused_draw(
        hidden: FloatTensor<Self>,
        wte: FloatTensor<Self>,
        uniforms: FloatTensor<Self>,
        scale: f64,
        p: Precision,
    ) -> (IntTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn fused_adam(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        step: adam::Step,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

macro_rules! without_gradients {
    ($backend:ty) => {
        impl FusedOps for $backend {
            fn fused_embed(
                wte: FloatTensor<Self>,
                wpe: FloatTensor<Self>,
                ids: IntTensor<Self>,
                positions: IntTensor<Self>,
            ) -> FloatTensor<Self> {
                Self::embed([wte, wpe], ids, positions)
            }
            fn fused_gelu(x: FloatTensor<Self>, p: Precision) -> FloatTensor<Self> {
                Self::gelu(&Self::operand(x, p))
            }
            fn fused_layer_norm(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                epsilon: f64,
            ) -> FloatTensor<Self> {
                Self::layer_norm(&x, &weight, &bias, epsilon)
            }
            fn fused_linear(
                x: FloatTensor<Self>,
                w: FloatTensor<Self>,
                b: FloatTensor<Self>,
                p: Precision,
            ) -> FloatTensor<Self> {
                Self::linear(&Self::operand(x, p), &Self::operand(w, p), &b, None)
            }
            fn fused_linear_residual(
                x: FloatTensor<Self>,
                w: FloatTensor<Self>,
                b: FloatTensor<Self>,
                residual: FloatTensor<Self>,
                p: Precision,
            ) -> FloatTensor<Self> {
                Self::linear(&Self::operand(x, p), &Self::operand(w, p), &b, Some(&residual))
            }
            fn fused_token_logprobs(
                hidden: FloatTensor<Self>,
                wte: FloatTensor<Self>,
                targets: IntTensor<Self>,
                scale: f64,
                p: Precision,
            ) -> FloatTensor<Self> {
                Self::token_logprobs(&Self::operand(hidden, p), &Self::operand(wte, p), &targets, scale, false).0
            }
            fn fused_attention(
                qkv: FloatTensor<Self>,
                rows: IntTensor<Self>,
                heads: usize,
                p: Precision,
            ) -> FloatTensor<Self> {
                Self::attention(&Self::operand(qkv, p), &rows, heads)
            }
            fn fused_attention_step(
                qkv: FloatTensor<Self>,
                keys: FloatTensor<Self>,
                values: FloatTensor<Self>,
                real: IntTensor<Self>,
                at: usize,
                p: Precision,
            ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                Self::attention_step(&Self::operand(qkv, p), keys, values, &real, at)
            }
            fn fused_draw(
                hidden: FloatTensor<Self>,
                wte: FloatTensor<Self>,
                uniforms: FloatTensor<Self>,
                scale: f64,
                p: Precision,
            ) -> (IntTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                Self::draw(&Self::operand(hidden, p), &Self::operand(wte, p), &uniforms, scale)
            }
            fn fused_adam(
                p: FloatTensor<Self>,
                g: FloatTensor<Self>,
                m: FloatTensor<Self>,
                v: FloatTensor<Self>,
                step: adam::Step,
            ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                Self::adam(p, &g, m, v, &step).into()
            }
        }
    };
}

without_gradients!(Flex);
#[cfg(feature = "wgpu")]
without_gradients!(burn::backend::Cube);
