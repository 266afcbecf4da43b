//! What is done to each number by itself, in one launch each.

use super::{dims, each, flat, floats, owned};
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use half::f16;
use runner_kernels::adam::Step;

/// 1 / (1 + exp(-z)). Beyond ±80 it is 0 or 1 to the last bit, and WGSL says nothing of infinities.
#[cube]
fn sigmoid(z: f32) -> f32 {
    let mut bounded = z;
    let limit = f32::new(80.0);
    if z < -limit {
        bounded = -limit;
    }
    if z > limit {
        bounded = limit;
    }
    f32::new(1.0) / (f32::new(1.0) + (-bounded).exp())
}

/// x σ(z), z = √(8/π) (x + 0.044715 x³): GELU with the tanh approximation, since (1 + tanh y) / 2 = σ(2y).
#[cube(launch)]
fn gelu_kernel<T: Float>(x: &[T], y: &mut [f32]) {
    let i = ABSOLUTE_POS;
    if i >= y.len() {
        terminate!();
    }
    let x = f32::cast_from(x[i]);
    y[i] = x * sigmoid(1.595_769 * x * (1.0 + 0.044_715 * x * x));
}

/// g (σ(z) + x σ(z) (1 - σ(z)) z'), z' = √(8/π) (1 + 3 · 0.044715 x²).
#[cube(launch)]
fn gelu_gradient_kernel<T: Float>(x: &[T], g: &[f32], result: &mut [f32]) {
    let i = ABSOLUTE_POS;
    if i >= result.len() {
        terminate!();
    }
    let x = f32::cast_from(x[i]);
    let s = sigmoid(1.595_769 * x * (1.0 + 0.044_715 * x * x));
    let slope = 1.595_769 * (1.0 + 0.134_145 * x * x);
    result[i] = g[i] * (s + x * s * (1.0 - s) * slope);
}

/// y += bias, and += residual where there is one; `width` numbers to a row.
#[cube(launch)]
fn add_bias_kernel(y: &mut [f32], bias: &[f32], residual: &[f32], width: usize, #[comptime] with_residual: bool) {
    let i = ABSOLUTE_POS;
    if i >= y.len() {
        terminate!();
    }
    let sum = y[i] + bias[i % width];
    if with_residual {
        y[i] = residual[i] + sum;
    } else {
        y[i] = sum;
    }
}

/// m = β₁ m + (1 - β₁) g, v = β₂ v + (1 - β₂) g², p -= rate · m / (√v + ε), in place.
#[cube(launch)]
#[allow(clippy::too_many_arguments, reason = "Adam's step has as many numbers")]
fn adam_kernel(
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    beta1: f32,
    beta2: f32,
    keep1: f32,
    keep2: f32,
    rate: f32,
    epsilon: f32,
) {
    let i = ABSOLUTE_POS;
    if i >= p.len() {
        terminate!();
    }
    let gradient = g[i];
    let first = m[i] * beta1 + gradient * keep1;
    let second = v[i] * beta2 + gradient * gradient * keep2;
    m[i] = first;
    v[i] = second;
    p[i] -= first / (second.sqrt() + epsilon) * rate;
}

pub fn gelu(x: &CubeTensor) -> CubeTensor {
    let y = floats(x, dims::<2>(x));
    let (count, dim) = each(&y);
    let launch = if x.dtype == DType::F16 { gelu_kernel::launch::<f16> } else { gelu_kernel::launch::<f32> };
    launch(&x.client, count, dim, flat(x), y.clone().into_buffer_arg());
    y
}

pub fn gelu_backward(x: &CubeTensor, g: &CubeTensor) -> CubeTensor {
    let result = floats(x, dims::<2>(x));
    let (count, dim) = each(&result);
    let launch =
        if x.dtype == DType::F16 { gelu_gradient_kernel::launch::<f16> } else { gelu_gradient_kernel::launch::<f32> };
    launch(&x.client, count, dim, flat(x), flat(g), result.clone().into_buffer_arg());
    result
}

/// `y`: a product that nobody else holds.
pub fn add_bias(y: CubeTensor, bias: &CubeTensor, residual: Option<&CubeTensor>) -> CubeTensor {
    let y = into_contiguous(y);
    let [_, width] = dims(&y);
    let (count, dim) = each(&y);
    let target = y.clone().into_buffer_arg();
    // Where there is no residual the kernel does not look at it.
    let (other, with) = (flat(residual.unwrap_or(bias)), residual.is_some());
    add_bias_kernel::launch(&y.client, count, dim, target, flat(bias), other, width, with);
    y
}

pub fn adam(p: CubeTensor, g: &CubeTensor, m: CubeTensor, v: CubeTensor, step: &Step) -> [CubeTensor; 3] {
    let [p, m, v] = [p, m, v].map(owned);
    let (count, dim) = each(&p);
    adam_kernel::launch(
        &p.client,
        count,
        dim,
        p.clone().into_buffer_arg(),
        flat(g),
        m.clone().into_buffer_arg(),
        v.clone().into_buffer_arg(),
        step.beta1 as f32,
        step.beta2 as f32,
        (1.0 - step.beta1) as f32,
        (1.0 - step.beta2) as f32,
        step.rate as f32,
        step.epsilon as f32,
    );
    [p, m, v]
}
