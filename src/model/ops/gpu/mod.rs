//! The fused operations of a GPU: cubecl kernels, small ones, around the backend's matrix products. Numbers are float32;
//! the mathematics is in the docstring of each kernel, and `plain` has the same of the backend's own operations.

mod attention;
mod draw;
mod elementwise;
mod embedding;
mod half;
mod head;
mod norm;

use super::fused::Fused;
use crate::spec::Precision;
use burn::backend::Cube;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;
use runner_kernels::adam;

/// Most units of a cube, as WebGPU has them.
const UNITS: usize = 256;

/// Units of a cube that work on a row of `n` numbers together: a power of two, with some numbers for each.
fn row_units(n: usize) -> CubeDim {
    units(n.div_ceil(4).next_power_of_two().clamp(32, UNITS))
}

/// The sum of the units' numbers, for all of them. `scratch`: a number per unit.
#[cube]
fn total(value: f32, scratch: &mut Shared<[f32]>) -> f32 {
    let unit = UNIT_POS as usize;
    // Nobody still reads what the last total left here.
    sync_cube();
    scratch[unit] = value;
    sync_cube();
    let mut half = CUBE_DIM as usize / 2;
    while half > 0 {
        if unit < half {
            let other = scratch[unit + half];
            scratch[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    scratch[0]
}

/// The largest of the units' numbers, for all of them.
#[cube]
fn largest(value: f32, scratch: &mut Shared<[f32]>) -> f32 {
    let unit = UNIT_POS as usize;
    sync_cube();
    scratch[unit] = value;
    sync_cube();
    let mut half = CUBE_DIM as usize / 2;
    while half > 0 {
        if unit < half {
            let other = scratch[unit + half];
            if other > scratch[unit] {
                scratch[unit] = other;
            }
        }
        sync_cube();
        half /= 2;
    }
    scratch[0]
}

/// `n` cubes, as many as a device takes in one direction and the rest in another.
fn cubes(n: usize) -> CubeCount {
    const MOST: usize = 32_768;
    let n = n.max(1);
    CubeCount::Static(n.min(MOST) as u32, n.div_ceil(MOST) as u32, 1)
}

fn units(n: usize) -> CubeDim {
    CubeDim::new_1d(n as u32)
}

/// Where a launch with a unit per number runs.
fn each(t: &CubeTensor) -> (CubeCount, CubeDim) {
    let n = t.meta.num_elements();
    let dim = CubeDim::new(&t.client, n);
    (calculate_cube_count_elemwise(&t.client, n, dim), dim)
}

/// A new array; its numbers are whatever was there.
fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D], dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), dtype)
}

fn floats<const D: usize>(like: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    empty(like, shape, DType::F32)
}

fn dims<const D: usize>(t: &CubeTensor) -> [usize; D] {
    t.meta.shape().dims()
}

/// The same numbers one after the other.
fn flat(t: &CubeTensor) -> BufferArg {
    into_contiguous(t.clone()).into_buffer_arg()
}

/// The same numbers in an array that nobody else holds.
fn owned(t: CubeTensor) -> CubeTensor {
    let t = into_contiguous(t);
    if t.can_mut() { t } else { t.copy() }
}

/// Factors of one type, float32 or 16 bit; products are added up in float32, and so is the result.
fn product(a: CubeTensor, b: CubeTensor) -> CubeTensor {
    // As the backend's own of float32, which has no other way to fail either.
    #[allow(clippy::unwrap_used, reason = "shapes that do not fit have been refused by whoever made the tensors")]
    matmul(a, b, None, MatmulStrategy::default(), DType::F32).unwrap()
}

/// The last two axes exchanged; nothing is moved.
fn transposed(t: &CubeTensor) -> CubeTensor {
    Cube::float_transpose(t.clone())
}

impl Fused for Cube {
    type Head = head::Saved;

    fn operand(x: CubeTensor, p: Precision) -> CubeTensor {
        if p == Precision::F16 { half::halved(x) } else { x }
    }
    fn embed(tables: [CubeTensor; 2], ids: CubeTensor, positions: CubeTensor) -> CubeTensor {
        embedding::forward(&tables, &ids, &positions)
    }
    fn embed_gradient(shape: Shape, places: &CubeTensor, g: &CubeTensor) -> CubeTensor {
        embedding::backward(shape, places, g)
    }
    fn gelu(x: &CubeTensor) -> CubeTensor {
        elementwise::gelu(x)
    }
    fn gelu_gradient(x: &CubeTensor, g: &CubeTensor) -> CubeTensor {
        elementwise::gelu_backward(x, g)
    }
    fn layer_norm(x: &CubeTensor, weight: &CubeTensor, bias: &CubeTensor, epsilon: f64) -> CubeTensor {
        norm::forward(x, weight, bias, epsilon)
    }
    fn layer_norm_backward(x: &CubeTensor, weight: &CubeTensor, g: &CubeTensor, epsilon: f64) -> [CubeTensor; 3] {
        norm::backward(x, weight, g, epsilon)
    }
    fn linear(x: &CubeTensor, w: &CubeTensor, b: &CubeTensor, residual: Option<&CubeTensor>) -> CubeTensor {
        elementwise::add_bias(product(x.clone(), w.clone()), b, residual)
    }
    fn linear_input_gradient(w: &CubeTensor, g: &CubeTensor) -> CubeTensor {
        product(g.clone(), transposed(w))
    }
    fn linear_weight_gradient(x: &CubeTensor, g: &CubeTensor) -> CubeTensor {
        product(transposed(x), g.clone())
    }
    fn linear_bias_gradient(g: &CubeTensor) -> CubeTensor {
        let [_, width] = dims(g);
        Cube::float_reshape(Cube::float_sum_dim(g.clone(), 0), [width].into())
    }
    fn token_logprobs(
        hidden: &CubeTensor,
        wte: &CubeTensor,
        targets: &CubeTensor,
        scale: f64,
        keep: bool,
    ) -> (CubeTensor, head::Saved) {
        head::forward(hidden, wte, targets, scale, keep)
    }
    fn token_logprobs_backward(saved: head::Saved, g: &CubeTensor) -> [CubeTensor; 2] {
        head::backward(saved, g)
    }
    fn attention(qkv: &CubeTensor, rows: &CubeTensor, heads: usize) -> CubeTensor {
        attention::forward(qkv, rows, heads)
    }
    fn attention_backward(qkv: &CubeTensor, rows: &CubeTensor, g: &CubeTensor, heads: usize) -> CubeTensor {
        attention::backward(qkv, rows, g, heads)
    }
    fn attention_step(
        qkv: &CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        real: &CubeTensor,
        at: usize,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        attention::step(qkv, keys, values, real, at)
    }
    fn draw(
        hidden: &CubeTensor,
        wte: &CubeTensor,
        uniforms: &CubeTensor,
        scale: f64,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        draw::draw(product(hidden.clone(), transposed(wte)), uniforms, scale)
    }
    fn adam(p: CubeTensor, g: &CubeTensor, m: CubeTensor, v: CubeTensor, step: &adam::Step) -> [CubeTensor; 3] {
        elementwise::adam(p, g, m, v, step)
    }
}
