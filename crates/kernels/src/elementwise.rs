//! GELU and layer normalisation on the CPU, in pieces on all threads.

use crate::{PER_THREAD, floats, piece, shape, tensor, vectors};
use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

pub fn gelu(x: &FlexTensor) -> FlexTensor {
    let x = x.to_contiguous();
    let mut y = vec![0.0; floats(&x).len()];
    y.par_chunks_mut(PER_THREAD).zip(floats(&x).par_chunks(PER_THREAD)).for_each(|(y, x)| vectors::gelu(x, y));
    tensor(y, shape(&x))
}

/// Gradient of [`gelu`] at `x`, times `g`.
pub fn gelu_backward(x: &FlexTensor, g: &FlexTensor) -> FlexTensor {
    let (x, g) = (x.to_contiguous(), g.to_contiguous());
    let mut out = vec![0.0; floats(&x).len()];
    out.par_chunks_mut(PER_THREAD)
        .zip(floats(&x).par_chunks(PER_THREAD))
        .zip(floats(&g).par_chunks(PER_THREAD))
        .for_each(|((out, x), g)| vectors::gelu_backward(x, g, out));
    tensor(out, shape(&x))
}

pub fn layer_norm(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor, epsilon: f64) -> FlexTensor {
    let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
    let piece = piece(floats(&weight).len());
    let mut y = vec![0.0; floats(&x).len()];
    y.par_chunks_mut(piece)
        .zip(floats(&x).par_chunks(piece))
        .for_each(|(y, x)| vectors::layer_norm(x, floats(&weight), floats(&bias), epsilon as f32, y));
    tensor(y, shape(&x))
}

/// Gradients of [`layer_norm`] to `x`, weight and bias.
pub fn layer_norm_backward(
    x: &FlexTensor,
    weight: &FlexTensor,
    g: &FlexTensor,
    epsilon: f64,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let (x, weight, g) = (x.to_contiguous(), weight.to_contiguous(), g.to_contiguous());
    let width = floats(&weight).len();
    let mut gx = vec![0.0; floats(&x).len()];
    let sums: Vec<(Vec<f32>, Vec<f32>)> = gx
        .par_chunks_mut(piece(width))
        .zip(floats(&x).par_chunks(piece(width)))
        .zip(floats(&g).par_chunks(piece(width)))
        .map(|((gx, x), g)| {
            let (mut g_weight, mut g_bias) = (vec![0.0; width], vec![0.0; width]);
            vectors::layer_norm_backward(x, floats(&weight), g, epsilon as f32, gx, &mut g_weight, &mut g_bias);
            (g_weight, g_bias)
        })
        .collect();
    let (mut g_weight, mut g_bias) = (vec![0.0; width], vec![0.0; width]);
    for (w, b) in sums {
        g_weight.iter_mut().zip(w).for_each(|(sum, v)| *sum += v);
        g_bias.iter_mut().zip(b).for_each(|(sum, v)| *sum += v);
    }
    (tensor(gx, shape(&x)), tensor(g_weight, Shape::new([width])), tensor(g_bias, Shape::new([width])))
}
