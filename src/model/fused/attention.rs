//! Causal self-attention on the CPU, one row of the batch per task: its forward pass, its gradient (which computes the
//! probabilities again instead of keeping them), and the step of cached sampling.

use super::product::{View, Write, multiply};
use super::{PER_THREAD, floats, integers, kernels, shape, tensor};
use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Attention's sizes and masks.
struct Heads {
    time: usize,
    width: usize,
    heads: usize,
    /// `[batch * time]`
    real: Vec<bool>,
}

impl Heads {
    fn new(qkv: &FlexTensor, real: &FlexTensor, heads: usize) -> Self {
        let time = real.layout().shape()[1];
        let real = integers(real).into_iter().map(|r| r != 0).collect();
        Self { time, width: qkv.layout().shape()[1] / 3, heads, real }
    }
    fn head(&self) -> usize {
        self.width / self.heads
    }
    fn scale(&self) -> f32 {
        (self.head() as f32).powf(-0.5)
    }

    /// softmax(q kᵀ / √d) of one head of one row; `qkv` is the row's `[time, 3 * width]`.
    fn probabilities(&self, qkv: &[f32], real: &[bool], head: usize, out: &mut [f32]) {
        let (t, w, d) = (self.time, self.width, self.head());
        let (q, k) = (View::rows(&qkv[head * d..], 3 * w), View::rows(&qkv[w + head * d..], 3 * w));
        multiply((t, d, t), out, t, q, k.transposed(), Write::Set, false);
        kernels::causal_softmax(out, real, self.scale());
    }

    /// One row of the batch: `[time, 3 * width]` -> `[time, width]`.
    fn forward(&self, qkv: &[f32], real: &[bool], out: &mut [f32], scratch: &mut [f32]) {
        let (t, w, d) = (self.time, self.width, self.head());
        for head in 0..self.heads {
            self.probabilities(qkv, real, head, scratch);
            let (p, v) = (View::rows(scratch, t), View::rows(&qkv[2 * w + head * d..], 3 * w));
            multiply((t, t, d), &mut out[head * d..], w, p, v, Write::Set, false);
        }
    }

    /// Gradient of [`Heads::forward`]; `g`: `[time, width]`, `out`: `[time, 3 * width]`.
    fn backward(&self, qkv: &[f32], real: &[bool], g: &[f32], out: &mut [f32], scratch: &mut [f32]) {
        let (t, w, d) = (self.time, self.width, self.head());
        let (p, dp) = scratch.split_at_mut(t * t);
        for head in 0..self.heads {
            let (q, k, v) = (head * d, w + head * d, 2 * w + head * d);
            self.probabilities(qkv, real, head, p);
            // dV = Pᵀ dO; dP = dO Vᵀ; dS from the softmax; dQ = dS K; dK = dSᵀ Q.
            let wide = |at: usize| View::rows(&qkv[at..], 3 * w);
            let g = View::rows(&g[q..], w);
            multiply((t, t, d), &mut out[v..], 3 * w, View::rows(p, t).transposed(), g, Write::Set, false);
            multiply((t, d, t), dp, t, g, wide(v).transposed(), Write::Set, false);
            kernels::softmax_backward(p, dp, t, self.scale());
            let ds = View::rows(dp, t);
            multiply((t, t, d), &mut out[q..], 3 * w, ds, wide(k), Write::Set, false);
            multiply((t, t, d), &mut out[k..], 3 * w, ds.transposed(), wide(q), Write::Set, false);
        }
    }
}

/// `[batch * time, 3 * width]`, `[batch, time]` -> `[batch * time, width]`.
pub fn forward(qkv: &FlexTensor, real: &FlexTensor, heads: usize) -> FlexTensor {
    let qkv = qkv.to_contiguous();
    let h = Heads::new(&qkv, real, heads);
    let row = h.time * h.width;
    let rows = h.real.len();
    let mut out = vec![0.0; rows * h.width];
    out.par_chunks_mut(row)
        .zip(floats(&qkv).par_chunks(3 * row))
        .zip(h.real.par_chunks(h.time))
        .with_min_len(PER_THREAD.div_ceil(3 * row))
        .for_each_init(|| vec![0.0; h.time * h.time], |scratch, ((out, qkv), real)| h.forward(qkv, real, out, scratch));
    tensor(out, Shape::new([rows, h.width]))
}

/// Gradient of [`forward`] to `qkv`.
pub fn backward(qkv: &FlexTensor, real: &FlexTensor, g: &FlexTensor, heads: usize) -> FlexTensor {
    let (qkv, g) = (qkv.to_contiguous(), g.to_contiguous());
    let h = Heads::new(&qkv, real, heads);
    let row = h.time * h.width;
    let mut out = vec![0.0; floats(&qkv).len()];
    out.par_chunks_mut(3 * row)
        .zip(floats(&qkv).par_chunks(3 * row))
        .zip(floats(&g).par_chunks(row))
        .zip(h.real.par_chunks(h.time))
        .with_min_len(PER_THREAD.div_ceil(3 * row))
        .for_each_init(
            || vec![0.0; 2 * h.time * h.time],
            |scratch, (((out, qkv), g), real)| h.backward(qkv, real, g, out, scratch),
        );
    tensor(out, shape(&qkv))
}

/// Attention of one new position per row, whose keys and values are put into the cache in place. `qkv`: `[rows, 3 * width]`;
/// `keys`, `values`: `[rows, heads, capacity, head width]`; `real`: `[rows, capacity]`; `at`: the new position's slot.
/// -> `[rows, width]`, keys, values.
pub fn step(
    qkv: &FlexTensor,
    mut keys: FlexTensor,
    mut values: FlexTensor,
    real: &FlexTensor,
    at: usize,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let qkv = qkv.to_contiguous();
    let size = shape(&keys);
    let (rows, heads, capacity, d) = (size[0], size[1], size[2], size[3]);
    let width = heads * d;
    let seen: Vec<bool> = integers(real).into_iter().map(|r| r != 0).collect();
    let mut out = vec![0.0; rows * width];
    // The caches are whole tensors that nobody else holds: they were made by `zeros` and come from here ever since.
    out.par_chunks_mut(width)
        .zip(keys.storage_mut::<f32>().par_chunks_mut(width * capacity))
        .zip(values.storage_mut::<f32>().par_chunks_mut(width * capacity))
        .zip(floats(&qkv).par_chunks(3 * width))
        .zip(seen.par_chunks(capacity))
        .with_min_len(PER_THREAD.div_ceil(2 * width * (at + 1)))
        .for_each_init(
            || vec![0.0; at + 1],
            |scores, ((((out, keys), values), qkv), real)| {
                for head in 0..heads {
                    let (from, new) = (head * capacity * d, head * capacity * d + at * d);
                    keys[new..new + d].copy_from_slice(&qkv[width + head * d..][..d]);
                    values[new..new + d].copy_from_slice(&qkv[2 * width + head * d..][..d]);
                    let (q, out) = (&qkv[head * d..][..d], &mut out[head * d..][..d]);
                    let (keys, values) = (&keys[from..new + d], &values[from..new + d]);
                    kernels::attend_once(q, keys, values, &real[..=at], (d as f32).powf(-0.5), scores, out);
                }
            },
        );
    (tensor(out, Shape::new([rows, width])), keys, values)
}
