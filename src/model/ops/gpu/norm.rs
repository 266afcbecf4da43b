//! Layer normalisation: a cube to a row.

use super::{UNITS, cubes, dims, flat, floats, total, units};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Mean of a row, and 1 / √(variance + ε).
#[cube]
fn moments(x: &[f32], start: usize, width: usize, epsilon: f32, scratch: &mut Shared<[f32]>) -> (f32, f32) {
    let mut sum = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < width {
        sum += x[start + i];
        i += CUBE_DIM as usize;
    }
    let mean = total(sum, scratch) / width as f32;
    let mut squares = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < width {
        let centred = x[start + i] - mean;
        squares += centred * centred;
        i += CUBE_DIM as usize;
    }
    let variance = total(squares, scratch) / width as f32;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// y = x̂ · weight + bias, x̂ = (x - mean) / √(variance + ε) of each row.
#[cube(launch)]
fn forward_kernel(x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32], rows: usize, width: usize, epsilon: f32) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut scratch = Shared::new_slice(UNITS);
    let start = row * width;
    let (mean, rate) = moments(x, start, width, epsilon, &mut scratch);
    let mut i = UNIT_POS as usize;
    while i < width {
        y[start + i] = (x[start + i] - mean) * rate * weight[i] + bias[i];
        i += CUBE_DIM as usize;
    }
}

/// With d = g · weight: gx = (d - mean(d) - x̂ mean(d x̂)) / √(variance + ε). Leaves each row's mean and rate in `found`.
#[cube(launch)]
#[allow(clippy::too_many_arguments, reason = "as many arrays and sizes")]
fn input_gradient_kernel(
    x: &[f32],
    weight: &[f32],
    g: &[f32],
    gx: &mut [f32],
    found: &mut [f32],
    rows: usize,
    width: usize,
    epsilon: f32,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut scratch = Shared::new_slice(UNITS);
    let start = row * width;
    let (mean, rate) = moments(x, start, width, epsilon, &mut scratch);
    let mut sum = 0.0f32;
    let mut with_x = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < width {
        let d = g[start + i] * weight[i];
        sum += d;
        with_x += d * (x[start + i] - mean) * rate;
        i += CUBE_DIM as usize;
    }
    let sum = total(sum, &mut scratch) / width as f32;
    let with_x = total(with_x, &mut scratch) / width as f32;
    let mut i = UNIT_POS as usize;
    while i < width {
        let normal = (x[start + i] - mean) * rate;
        gx[start + i] = (g[start + i] * weight[i] - sum - normal * with_x) * rate;
        i += CUBE_DIM as usize;
    }
    if UNIT_POS == 0 {
        found[2 * row] = mean;
        found[2 * row + 1] = rate;
    }
}

/// Sums of g x̂ and of g over `BLOCK` rows, a unit to a column: `parts` `[blocks, 2, width]`.
#[cube(launch)]
fn block_sums_kernel(x: &[f32], g: &[f32], found: &[f32], parts: &mut [f32], rows: usize, width: usize) {
    let i = ABSOLUTE_POS;
    let block = i / width;
    let column = i % width;
    let from = block * BLOCK;
    if from >= rows {
        terminate!();
    }
    let mut to = from + BLOCK;
    if to > rows {
        to = rows;
    }
    let mut weight = 0.0f32;
    let mut bias = 0.0f32;
    for row in from..to {
        let gradient = g[row * width + column];
        weight += gradient * (x[row * width + column] - found[2 * row]) * found[2 * row + 1];
        bias += gradient;
    }
    parts[2 * block * width + column] = weight;
    parts[(2 * block + 1) * width + column] = bias;
}

/// The sums of all blocks, block by block.
#[cube(launch)]
fn sums_kernel(parts: &[f32], weight: &mut [f32], bias: &mut [f32], blocks: usize, width: usize) {
    let column = ABSOLUTE_POS;
    if column >= width {
        terminate!();
    }
    let mut sum = 0.0f32;
    let mut other = 0.0f32;
    for block in 0..blocks {
        sum += parts[2 * block * width + column];
        other += parts[(2 * block + 1) * width + column];
    }
    weight[column] = sum;
    bias[column] = other;
}

/// Rows whose gradients of weight and bias one unit adds up.
const BLOCK: usize = 64;

pub fn forward(x: &CubeTensor, weight: &CubeTensor, bias: &CubeTensor, epsilon: f64) -> CubeTensor {
    let [rows, width] = dims(x);
    let y = floats(x, [rows, width]);
    let out = y.clone().into_buffer_arg();
    let (count, dim) = (cubes(rows), units(UNITS));
    forward_kernel::launch(&x.client, count, dim, flat(x), flat(weight), flat(bias), out, rows, width, epsilon as f32);
    y
}

pub fn backward(x: &CubeTensor, weight: &CubeTensor, g: &CubeTensor, epsilon: f64) -> [CubeTensor; 3] {
    let [rows, width] = dims(x);
    let blocks = rows.div_ceil(BLOCK);
    let (gx, found) = (floats(x, [rows, width]), floats(x, [rows, 2]));
    let (parts, g_weight, g_bias) = (floats(x, [blocks, 2, width]), floats(x, [width]), floats(x, [width]));
    let arg = |t: &CubeTensor| t.clone().into_buffer_arg();
    input_gradient_kernel::launch(
        &x.client,
        cubes(rows),
        units(UNITS),
        flat(x),
        flat(weight),
        flat(g),
        arg(&gx),
        arg(&found),
        rows,
        width,
        epsilon as f32,
    );
    let count = cubes((blocks * width).div_ceil(UNITS));
    block_sums_kernel::launch(&x.client, count, units(UNITS), flat(x), flat(g), arg(&found), arg(&parts), rows, width);
    let (count, dim) = (cubes(width.div_ceil(UNITS)), units(UNITS));
    sums_kernel::launch(&x.client, count, dim, arg(&parts), arg(&g_weight), arg(&g_bias), blocks, width);
    [gx, g_weight, g_bias]
}
