//! Numbers as they enter products of 16 bit.

use super::each;
use super::flat;
use burn::tensor::DType;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use half::f16;

/// y = x, rounded. What is beyond the largest float16 becomes infinite whichever way a driver rounds: a saturated factor
/// would be a wrong number that nobody notices, an infinite one is seen in the gradient.
#[cube]
pub fn rounded<T: Float>(x: f32) -> T {
    let mut bounded = x;
    let largest = f32::new(65_504.0);
    if x > largest || x < -largest {
        bounded = x * f32::new(1.0e35);
    }
    T::cast_from(bounded)
}

#[cube(launch)]
fn halve_kernel<T: Float>(x: &[f32], y: &mut [T]) {
    let i = ABSOLUTE_POS;
    if i >= y.len() {
        terminate!();
    }
    y[i] = rounded::<T>(x[i]);
}

/// The numbers in float16, of any shape; as they are where they are that already.
pub fn halved(x: CubeTensor) -> CubeTensor {
    if x.dtype == DType::F16 {
        return x;
    }
    let y = empty_device_contiguous_dtype(x.client.clone(), x.device.clone(), x.meta.shape().clone(), DType::F16);
    let (count, dim) = each(&y);
    halve_kernel::launch::<f16>(&x.client, count, dim, flat(&x), y.clone().into_buffer_arg());
    y
}

/// The other factor of a product with `kept`, in its type.
pub fn beside(kept: &CubeTensor, x: CubeTensor) -> CubeTensor {
    if kept.dtype == DType::F16 { halved(x) } else { x }
}
