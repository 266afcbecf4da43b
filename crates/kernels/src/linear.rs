//! y = x W + b (+ residual) on the CPU and its gradients. The product is added to rows that hold bias and residual
//! already, which saves reading and writing the result once more for each.

use crate::product::{View, Write, add_product, multiply};
use crate::{floats, piece, shape, tensor, vectors};
use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// `[rows, in]`, `[in, out]`, `[out]`, and `[rows, out]` to add -> `[rows, out]`.
pub fn forward(x: &FlexTensor, w: &FlexTensor, b: &FlexTensor, residual: Option<&FlexTensor>) -> FlexTensor {
    let (x, w, b, residual) =
        (x.to_contiguous(), w.to_contiguous(), b.to_contiguous(), residual.map(FlexTensor::to_contiguous));
    let ([rows, inputs], outputs) = ([x.layout().shape()[0], x.layout().shape()[1]], floats(&b).len());
    let mut y = Vec::with_capacity(rows * outputs);
    match &residual {
        Some(residual) => {
            for row in floats(residual).chunks_exact(outputs) {
                y.extend(row.iter().zip(floats(&b)).map(|(r, b)| r + b));
            }
        }
        None => (0..rows).for_each(|_| y.extend_from_slice(floats(&b))),
    }
    add_product(floats(&x), floats(&w), (rows, inputs, outputs), &mut y);
    tensor(y, Shape::new([rows, outputs]))
}

/// dx = g Wᵀ.
pub fn input_gradient(w: &FlexTensor, g: &FlexTensor) -> FlexTensor {
    let (w, g) = (w.to_contiguous(), g.to_contiguous());
    let ([inputs, outputs], rows) = ([w.layout().shape()[0], w.layout().shape()[1]], g.layout().shape()[0]);
    let mut gx = vec![0.0; rows * inputs];
    let (from, by) = (View::rows(floats(&g), outputs), View::rows(floats(&w), outputs).transposed());
    multiply((rows, outputs, inputs), &mut gx, inputs, from, by, Write::Set, true);
    tensor(gx, Shape::new([rows, inputs]))
}

/// Rows of a weight gradient that are computed together: a taller result leaves the cache (12% slower).
const TALL: usize = 768;

/// dW = xᵀ g.
pub fn weight_gradient(x: &FlexTensor, g: &FlexTensor) -> FlexTensor {
    let (x, g) = (x.to_contiguous(), g.to_contiguous());
    let ([rows, inputs], outputs) = ([x.layout().shape()[0], x.layout().shape()[1]], g.layout().shape()[1]);
    let mut gw = vec![0.0; inputs * outputs];
    for (i, part) in gw.chunks_mut(TALL * outputs).enumerate() {
        let from = View::rows(&floats(&x)[(i * TALL).min(floats(&x).len())..], inputs).transposed();
        let by = View::rows(floats(&g), outputs);
        multiply((part.len() / outputs, rows, outputs), part, outputs, from, by, Write::Set, true);
    }
    tensor(gw, Shape::new([inputs, outputs]))
}

/// db = Σ over rows of g.
pub fn bias_gradient(g: &FlexTensor) -> FlexTensor {
    let g = g.to_contiguous();
    let outputs = shape(&g)[1];
    let sum = |rows: &[f32]| {
        let mut sum = vec![0.0; outputs];
        rows.chunks_exact(outputs).for_each(|row| vectors::add(row, &mut sum));
        sum
    };
    let parts: Vec<Vec<f32>> = floats(&g).par_chunks(piece(outputs)).map(sum).collect();
    tensor(sum(&parts.concat()), Shape::new([outputs]))
}
