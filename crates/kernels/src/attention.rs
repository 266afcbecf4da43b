//! Causal self-attention on the CPU, one row of the batch per task: its forward pass, its gradient (which computes the
//! probabilities again instead of keeping them), and the step of cached sampling.

use crate::product::{View, Write, multiply};
use crate::{PER_THREAD, floats, integers, shape, tensor, vectors};
use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Attention's sizes. Rows follow each other without padding: `lengths` are their numbers of tokens.
struct Heads {
    width: usize,
    heads: usize,
    lengths: Vec<usize>,
}

impl Heads {
    fn new(qkv: &FlexTensor, lengths: &FlexTensor, heads: usize) -> Self {
        let size = qkv.layout().shape();
        let lengths: Vec<usize> = integers(lengths);
        assert_eq!(lengths.iter().sum::<usize>(), size[0], "rows that fill the batch");
        Self { width: size[1] / 3, heads, lengths }
    }
    fn head(&self) -> usize {
        self.width / self.heads
    }
    fn scale(&self) -> f32 {
        (self.head() as f32).powf(-0.5)
    }
    fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }
    /// Rows that are worth a task of their own.
    fn rows_per_task(&self) -> usize {
        PER_THREAD.div_ceil((3 * self.longest() * self.width).max(1))
    }

    /// softmax(q kᵀ / √d) of one head of one row; `qkv` is the row's `[time, 3 * width]`.
    fn probabilities(&self, qkv: &[f32], time: usize, head: usize, out: &mut [f32]) {
        let (t, w, d) = (time, self.width, self.head());
        let (q, k) = (View::rows(&qkv[head * d..], 3 * w), View::rows(&qkv[w + head * d..], 3 * w));
        multiply((t, d, t), out, t, q, k.transposed(), Write::Set, false);
        vectors::causal_softmax(out, t, self.scale());
    }

    /// One row of the batch: `[time, 3 * width]` -> `[time, width]`.
    fn forward(&self, qkv: &[f32], out: &mut [f32], scratch: &mut [f32]) {
        let (w, d) = (self.width, self.head());
        let t = out.len() / w;
        for head in 0..self.heads {
            let p = &mut scratch[..t * t];
            self.probabilities(qkv, t, head, p);
            let (p, v) = (View::rows(p, t), View::rows(&qkv[2 * w + head * d..], 3 * w));
            multiply((t, t, d), &mut out[head * d..], w, p, v, Write::Set, false);
        }
    }

    /// Gradient of [`Heads::forward`]; `g`: `[time, width]`, `out`: `[time, 3 * width]`.
    fn backward(&self, qkv: &[f32], g: &[f32], out: &mut [f32], scratch: &mut [f32]) {
        let (w, d) = (self.width, self.head());
        let t = g.len() / w;
        let (p, dp) = scratch[..2 * t * t].split_at_mut(t * t);
        for head in 0..self.heads {
            let (q, k, v) = (head * d, w + head * d, 2 * w + head * d);
            self.probabilities(qkv, t, head, p);
            // dV = Pᵀ dO; dP = dO Vᵀ; dS from the softmax; dQ = dS K; dK = dSᵀ Q.
            let wide = |at: usize| View::rows(&qkv[at..], 3 * w);
            let g = View::rows(&g[q..], w);
            multiply((t, t, d), &mut out[v..], 3 * w, View::rows(p, t).transposed(), g, Write::Set, false);
            multiply((t, d, t), dp, t, g, wide(v).transposed(), Write::Set, false);
            vectors::softmax_backward(p, dp, t, self.scale());
            let ds = View::rows(dp, t);
            multiply((t, t, d), &mut out[q..], 3 * w, ds, wide(k), Write::Set, false);
            multiply((t, t, d), &mut out[k..], 3 * w, ds.transposed(), wide(q), Write::Set, false);
        }
    }

    /// A slice of `[tokens, width]` cut into the batch's rows.
    fn rows<'a>(&self, mut all: &'a [f32], width: usize) -> Vec<&'a [f32]> {
        let cut = |n: &usize| {
            let (row, rest) = all.split_at(n * width);
            all = rest;
            row
        };
        self.lengths.iter().map(cut).collect()
    }

    fn rows_mut<'a>(&self, mut all: &'a mut [f32], width: usize) -> Vec<&'a mut [f32]> {
        let cut = |n: &usize| {
            let (row, rest) = std::mem::take(&mut all).split_at_mut(n * width);
            all = rest;
            row
        };
        self.lengths.iter().map(cut).collect()
    }
}

/// `[tokens, 3 * width]`, `[batch]` -> `[tokens, width]`.
pub fn forward(qkv: &FlexTensor, lengths: &FlexTensor, heads: usize) -> FlexTensor {
    let qkv = qkv.to_contiguous();
    let h = Heads::new(&qkv, lengths, heads);
    let tokens = qkv.layout().shape()[0];
    let mut out = vec![0.0; tokens * h.width];
    let rows: Vec<_> = h.rows_mut(&mut out, h.width).into_iter().zip(h.rows(floats(&qkv), 3 * h.width)).collect();
    rows.into_par_iter()
        .with_min_len(h.rows_per_task())
        .for_each_init(|| vec![0.0; h.longest() * h.longest()], |scratch, (out, qkv)| h.forward(qkv, out, scratch));
    tensor(out, Shape::new([tokens, h.width]))
}

/// Gradient of [`forward`] to `qkv`.
pub fn backward(qkv: &FlexTensor, lengths: &FlexTensor, g: &FlexTensor, heads: usize) -> FlexTensor {
    let (qkv, g) = (qkv.to_contiguous(), g.to_contiguous());
    let h = Heads::new(&qkv, lengths, heads);
    let mut out = vec![0.0; floats(&qkv).len()];
    let given = h.rows(floats(&qkv), 3 * h.width).into_iter().zip(h.rows(floats(&g), h.width));
    let rows: Vec<_> = h.rows_mut(&mut out, 3 * h.width).into_iter().zip(given).collect();
    rows.into_par_iter().with_min_len(h.rows_per_task()).for_each_init(
        || vec![0.0; 2 * h.longest() * h.longest()],
        |scratch, (out, (qkv, g))| h.backward(qkv, g, out, scratch),
    );
    tensor(out, shape(&qkv))
}

/// Attention of one new position per row, whose keys and values are put into the cache in place. `qkv`: `[rows, 3 *
/// width]`; `keys`, `values`: `[rows, heads, capacity, head width]`; `real`: `[rows, capacity]`; `at`: the new
/// position's slot.
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
                    vectors::attend_once(q, keys, values, &real[..=at], (d as f32).powf(-0.5), scores, out);
                }
            },
        );
    (tensor(out, Shape::new([rows, width])), keys, values)
}
