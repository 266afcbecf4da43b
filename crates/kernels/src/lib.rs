//! What burn's CPU backend does in one pass each for a transformer: one file per operation, forward beside backward, on
//! contiguous tensors of f32. `vectors` and `product` are the loops; they are compiled once for each kind of processor
//! and chosen at run time. `RUNNER_CPU=portable` turns off what depends on the processor.
//!
//! Gradient graphs and the bodies that other devices use are in the runner's `model::fused`, whose tests compare the
//! two.

pub mod adam;
pub mod attention;
pub mod elementwise;
pub mod head;
pub mod linear;
pub mod processor;
mod product;
mod vectors;

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};

/// Elements that a thread should have to do before it is worth waking another.
const PER_THREAD: usize = 1 << 16;

/// A tensor's numbers, row-major.
pub fn floats(tensor: &FlexTensor) -> &[f32] {
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

/// A contiguous tensor of f32.
pub fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}

fn shape(tensor: &FlexTensor) -> Shape {
    tensor.layout().shape().clone()
}

/// Rows of `width` in pieces of at least [`PER_THREAD`] elements.
fn piece(width: usize) -> usize {
    PER_THREAD.div_ceil(width) * width
}
