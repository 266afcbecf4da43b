//! Models as lists of named weights, for whatever treats all weights alike.

use super::{Block, Gpt2, LayerNorm, Linear};
use crate::spec::Precision;
use burn::tensor::Tensor;

/// One named parameter; its rank is part of its type so that no reshape is needed in the forward pass.
#[derive(Debug, Clone)]
pub enum Weight {
    Vector(Tensor<1>),
    Matrix(Tensor<2>),
}

impl Weight {
    /// Shape, outermost first.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Vector(t) => t.dims().to_vec(),
            Self::Matrix(t) => t.dims().to_vec(),
        }
    }
    /// All elements, row-major, as `[elements]`.
    pub fn flatten(self) -> Tensor<1> {
        match self {
            Self::Vector(t) => t,
            Self::Matrix(t) => {
                let [a, b] = t.dims();
                t.reshape([a * b])
            }
        }
    }
    /// The inverse of [`Weight::flatten`] for a weight of this shape.
    pub fn like(&self, flat: Tensor<1>) -> Self {
        Self::of_shape(&self.shape(), flat)
    }
    /// A weight of one dimension or two from its elements.
    pub fn of_shape(shape: &[usize], flat: Tensor<1>) -> Self {
        match shape {
            [rows, columns] => Self::Matrix(flat.reshape([*rows, *columns])),
            _ => Self::Vector(flat),
        }
    }
    /// The same numbers without a gradient graph.
    pub fn inner(self) -> Self {
        match self {
            Self::Vector(t) => Self::Vector(if t.is_autodiff() { t.inner() } else { t }),
            Self::Matrix(t) => Self::Matrix(if t.is_autodiff() { t.inner() } else { t }),
        }
    }
    /// A leaf of a gradient graph with the same numbers.
    pub fn trainable(self) -> Self {
        match self.inner() {
            Self::Vector(t) => Self::Vector(t.autodiff().require_grad()),
            Self::Matrix(t) => Self::Matrix(t.autodiff().require_grad()),
        }
    }
}

/// Anything made of named weights: lets saving, loading and the optimiser work on every model alike.
pub trait Weights: Sized {
    /// Replaces each weight by `f(name, weight)`; names are Hugging Face's without the `transformer.` prefix.
    fn map_weights<E>(self, f: &mut dyn FnMut(&str, Weight) -> Result<Weight, E>) -> Result<Self, E>;

    /// Of its matrix products.
    fn precision(&self) -> Precision;

    /// A copy that records gradients.
    fn trainable(self) -> Self {
        infallible(self.map_weights(&mut |_, w| Ok(w.trainable())))
    }
    /// A copy without gradients, for sampling and scoring.
    fn frozen(self) -> Self {
        infallible(self.map_weights(&mut |_, w| Ok(w.inner())))
    }
}

/// Unwraps a result whose error type has no values.
fn infallible<T>(result: Result<T, std::convert::Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

impl Weights for Gpt2 {
    fn precision(&self) -> Precision {
        self.precision
    }

    fn map_weights<E>(mut self, f: &mut dyn FnMut(&str, Weight) -> Result<Weight, E>) -> Result<Self, E> {
        self.wte = matrix(self.wte, "wte.weight", f)?;
        self.wpe = matrix(self.wpe, "wpe.weight", f)?;
        self.blocks = self
            .blocks
            .into_iter()
            .enumerate()
            .map(|(i, b)| {
                Ok(Block {
                    ln_1: layer_norm(b.ln_1, &format!("h.{i}.ln_1"), f)?,
                    c_attn: linear(b.c_attn, &format!("h.{i}.attn.c_attn"), f)?,
                    attn_proj: linear(b.attn_proj, &format!("h.{i}.attn.c_proj"), f)?,
                    ln_2: layer_norm(b.ln_2, &format!("h.{i}.ln_2"), f)?,
                    c_fc: linear(b.c_fc, &format!("h.{i}.mlp.c_fc"), f)?,
                    mlp_proj: linear(b.mlp_proj, &format!("h.{i}.mlp.c_proj"), f)?,
                })
            })
            .collect::<Result<_, E>>()?;
        self.ln_f = layer_norm(self.ln_f, "ln_f", f)?;
        Ok(self)
    }
}

type Map<'a, E> = &'a mut dyn FnMut(&str, Weight) -> Result<Weight, E>;

pub(super) fn matrix<E>(t: Tensor<2>, name: &str, f: Map<'_, E>) -> Result<Tensor<2>, E> {
    let shape = t.dims();
    Ok(match f(name, Weight::Matrix(t))? {
        Weight::Matrix(t) => t,
        Weight::Vector(t) => t.reshape(shape),
    })
}
pub(super) fn vector<E>(t: Tensor<1>, name: &str, f: Map<'_, E>) -> Result<Tensor<1>, E> {
    Ok(f(name, Weight::Vector(t))?.flatten())
}
fn linear<E>(l: Linear, name: &str, f: Map<'_, E>) -> Result<Linear, E> {
    Ok(Linear {
        weight: matrix(l.weight, &format!("{name}.weight"), f)?,
        bias: vector(l.bias, &format!("{name}.bias"), f)?,
    })
}
fn layer_norm<E>(l: LayerNorm, name: &str, f: Map<'_, E>) -> Result<LayerNorm, E> {
    Ok(LayerNorm {
        weight: vector(l.weight, &format!("{name}.weight"), f)?,
        bias: vector(l.bias, &format!("{name}.bias"), f)?,
        epsilon: l.epsilon,
    })
}
