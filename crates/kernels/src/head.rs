//! The LM head on the CPU: from hidden states to log-probabilities of given tokens, or to sampled tokens.
//!
//! With z = h Wᵀ / temperature, log p(y) = z_y - log Σ exp z. The vocabulary is worked through in chunks that stay in
//! the cache: a running maximum and sum per row are all that is needed of a chunk, and the logits `[rows, vocab]` never
//! exist at once. Backward, d log p(y) / dz = onehot(y) - p, and each chunk of it gives its rows of dW and its share of
//! dh; its logits are those of the forward pass if all of them are few, and else computed again.

use crate::product::{View, Write, multiply, product_transposed};
use crate::{floats, integers, tensor, vectors};
use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;
use std::sync::Arc;

/// Tokens of the vocabulary in a chunk.
pub const CHUNK: usize = 2048;
/// Most logits that are kept for the backward pass: 64 MiB.
pub const KEPT: usize = 1 << 24;

/// What the backward pass needs.
#[derive(Debug, Clone)]
pub struct Saved {
    hidden: FlexTensor,
    wte: FlexTensor,
    targets: Vec<usize>,
    scale: f32,
    /// Largest logit and Σ exp(scale · (logit - largest)) of each row.
    softmax: Vec<(f32, f32)>,
    /// Logits chunk by chunk, `[rows, chunk]` each.
    logits: Option<Arc<Vec<f32>>>,
}

/// First and one past the last token of each chunk.
fn chunks(vocab: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..vocab).step_by(CHUNK).map(move |from| (from, vocab.min(from + CHUNK)))
}

/// Logits of tokens `from..to`: `[rows, to - from]`.
fn logits(hidden: &[f32], wte: &[f32], rows: usize, width: usize, (from, to): (usize, usize), out: &mut [f32]) {
    let (h, w) = (View::rows(hidden, width), View::rows(&wte[from * width..to * width], width));
    multiply((rows, width, to - from), out, to - from, h, w.transposed(), Write::Set, true);
}

/// Rows of a chunk that are worth a task of their own.
const ROWS: usize = 16;

/// Log-probabilities `[rows]` of `targets` from `hidden` `[rows, width]` and `wte` `[vocab, width]`, logits times
/// `scale`; and what [`backward`] needs, with the logits if it will be called and they are few.
pub fn forward(
    hidden: &FlexTensor,
    wte: &FlexTensor,
    targets: &FlexTensor,
    scale: f64,
    keep: bool,
) -> (FlexTensor, Saved) {
    let (hidden, wte, targets) = (hidden.to_contiguous(), wte.to_contiguous(), integers(targets));
    let (rows, [vocab, width]) = (targets.len(), [wte.layout().shape()[0], wte.layout().shape()[1]]);
    let scale = scale as f32;
    let mut softmax = vec![(f32::NEG_INFINITY, 0.0); rows];
    let mut chosen = vec![0.0; rows];
    let keep = keep && rows * vocab <= KEPT;
    let mut kept = vec![0.0; if keep { rows * vocab } else { rows * CHUNK.min(vocab) }];
    let mut rest = kept.as_mut_slice();
    for (from, to) in chunks(vocab) {
        let (chunk, after) = rest.split_at_mut(rows * (to - from));
        logits(floats(&hidden), floats(&wte), rows, width, (from, to), chunk);
        softmax
            .par_chunks_mut(ROWS)
            .zip(chosen.par_chunks_mut(ROWS))
            .zip(targets.par_chunks(ROWS))
            .zip(chunk.par_chunks(ROWS * (to - from)))
            .for_each(|(((softmax, chosen), targets), chunk)| {
                for (((softmax, chosen), target), row) in
                    softmax.iter_mut().zip(chosen).zip(targets).zip(chunk.chunks(to - from))
                {
                    vectors::extend_softmax(row, scale, &mut softmax.0, &mut softmax.1);
                    if (from..to).contains(target) {
                        *chosen = row[target - from];
                    }
                }
            });
        rest = if keep { after } else { kept.as_mut_slice() };
    }
    let logprobs = chosen.iter().zip(&softmax).map(|(z, (top, sum))| (z - top) * scale - sum.ln()).collect();
    let logits = keep.then(|| Arc::new(kept));
    (tensor(logprobs, Shape::new([rows])), Saved { hidden, wte, targets, scale, softmax, logits })
}

/// Gradients to `hidden` and `wte`, given that to the log-probabilities, `[rows]`.
pub fn backward(saved: &Saved, g: &FlexTensor) -> (FlexTensor, FlexTensor) {
    let Saved { hidden, wte, targets, scale, softmax, logits: kept } = saved;
    let g = g.to_contiguous();
    let (rows, [vocab, width]) = (targets.len(), [wte.layout().shape()[0], wte.layout().shape()[1]]);
    let (mut g_hidden, mut g_wte) = (vec![0.0; rows * width], vec![0.0; vocab * width]);
    let mut scratch = vec![0.0; rows * CHUNK.min(vocab)];
    for (from, to) in chunks(vocab) {
        let n = to - from;
        let chunk = &mut scratch[..rows * n];
        match kept {
            Some(kept) => chunk.copy_from_slice(&kept[rows * from..rows * to]),
            None => logits(floats(hidden), floats(wte), rows, width, (from, to), chunk),
        }
        // g · scale · (onehot - p)
        chunk.par_chunks_mut(n).with_min_len(ROWS).enumerate().for_each(|(r, row)| {
            let ((top, sum), g) = (softmax[r], floats(&g)[r] * scale);
            vectors::scaled_exponentials(row, *scale, top, -g / sum);
            if (from..to).contains(&targets[r]) {
                row[targets[r] - from] += g;
            }
        });
        let (d, w) = (View::rows(chunk, n), View::rows(&floats(wte)[from * width..to * width], width));
        multiply((rows, n, width), &mut g_hidden, width, d, w, Write::Add, true);
        let h = View::rows(floats(hidden), width);
        let g_wte = &mut g_wte[from * width..to * width];
        multiply((n, rows, width), g_wte, width, d.transposed(), h, Write::Set, true);
    }
    (tensor(g_hidden, Shape::new([rows, width])), tensor(g_wte, Shape::new([vocab, width])))
}

/// One draw per row from softmax(scale · h Wᵀ) by inverting the cumulative distribution at `uniforms` `[rows]`: tokens
/// (integers), their log-probabilities, and the distributions' entropies in nats, each `[rows]`.
pub fn draw(
    hidden: &FlexTensor,
    wte: &FlexTensor,
    uniforms: &FlexTensor,
    scale: f64,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let (hidden, wte, uniforms) = (hidden.to_contiguous(), wte.to_contiguous(), uniforms.to_contiguous());
    let (rows, [vocab, width]) = (floats(&uniforms).len(), [wte.layout().shape()[0], wte.layout().shape()[1]]);
    let mut logits = product_transposed(floats(&hidden), floats(&wte), (rows, width, vocab));
    let drawn: Vec<(i64, f32, f32)> = logits
        .par_chunks_mut(vocab)
        .zip(floats(&uniforms))
        .map(|(row, u)| {
            let weighted = vectors::weights_of_logits(row, scale as f32);
            let (token, total) = invert(row, *u);
            // log p = log(e / Σe) of the weights e, of which none is 0; H = log Σe - Σ e z / Σe.
            let (total, log_total) = (total as f32, total.ln() as f32);
            (token as i64, row[token].ln() - log_total, log_total - weighted / total)
        })
        .collect();
    let shape = || Shape::new([rows]);
    let tokens: Vec<i64> = drawn.iter().map(|d| d.0).collect();
    (
        FlexTensor::new(Bytes::from_elems(tokens), Layout::contiguous(shape()), DType::I64),
        tensor(drawn.iter().map(|d| d.1).collect(), shape()),
        tensor(drawn.iter().map(|d| d.2).collect(), shape()),
    )
}

/// The first index up to which the sum of `weights` exceeds u · total, and the total.
fn invert(weights: &[f32], u: f32) -> (usize, f64) {
    const PART: usize = 512;
    let parts: Vec<f64> = weights.chunks(PART).map(|part| f64::from(vectors::total(part))).collect();
    let total: f64 = parts.iter().sum();
    let threshold = f64::from(u) * total;
    let mut before = 0.0;
    for (part, sum) in parts.iter().enumerate() {
        if before + sum > threshold {
            for (i, weight) in weights[part * PART..].iter().take(PART).enumerate() {
                before += f64::from(*weight);
                if before > threshold {
                    return (part * PART + i, total);
                }
            }
        } else {
            before += sum;
        }
    }
    // Rounding can leave the whole sum at the threshold: stay inside the vocabulary.
    (weights.len() - 1, total)
}
