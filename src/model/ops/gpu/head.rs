//! Log-probabilities of given tokens. Logits are made for some rows at a time; the backward pass turns them into their
//! own gradients in place, and makes them a second time where not all of them could be kept: `[rows, vocab]` is never
//! there twice.

use super::half::beside;
use super::{UNITS, cubes, dims, flat, floats, largest, product, row_units, total, transposed};
use crate::model::gpu;
use burn::backend::Cube;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{FloatDType, Slice};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// What the backward pass reads.
#[derive(Debug, Clone)]
pub struct Saved {
    hidden: CubeTensor,
    wte: CubeTensor,
    targets: CubeTensor,
    /// log Σ exp(logits · scale) of each row.
    normalizers: CubeTensor,
    /// All logits, where they are one chunk.
    logits: Option<CubeTensor>,
    scale: f64,
}

/// With s = scale · logits of a row, n = log Σ exp s: the row's target gets s[target] - n. One look at the logits: each
/// unit keeps the largest of its own so far, and the sum of exp of the differences to it.
#[cube(launch)]
fn logprobs_kernel(
    logits: &[f32],
    targets: &[i32],
    logprobs: &mut [f32],
    normalizers: &mut [f32],
    rows: usize,
    vocab: usize,
    scale: f32,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut scratch = Shared::new_slice(UNITS);
    let start = row * vocab;
    let mut most = f32::new(-3.0e38);
    let mut sum = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < vocab {
        let s = logits[start + i] * scale;
        if s > most {
            sum = sum * (most - s).exp() + 1.0;
            most = s;
        } else {
            sum += (s - most).exp();
        }
        i += CUBE_DIM as usize;
    }
    let all = largest(most, &mut scratch);
    let normalizer = all + total(sum * (most - all).exp(), &mut scratch).ln();
    if UNIT_POS == 0 {
        normalizers[row] = normalizer;
        logprobs[row] = logits[start + targets[row] as usize] * scale - normalizer;
    }
}

/// logits = g · scale · (1[target] - exp(scale · logits - n)), in place.
#[cube(launch)]
#[allow(clippy::too_many_arguments, reason = "as many arrays and sizes")]
fn gradient_kernel(
    logits: &mut [f32],
    targets: &[i32],
    normalizers: &[f32],
    g: &[f32],
    rows: usize,
    vocab: usize,
    scale: f32,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let start = row * vocab;
    let target = targets[row] as usize;
    let normalizer = normalizers[row];
    let factor = g[row] * scale;
    let mut i = UNIT_POS as usize;
    while i < vocab {
        let probability = (logits[start + i] * scale - normalizer).exp();
        let mut d = -probability;
        if i == target {
            d = 1.0 - probability;
        }
        logits[start + i] = d * factor;
        i += CUBE_DIM as usize;
    }
}

/// Rows whose logits are there at once.
fn chunk(rows: usize, vocab: usize) -> usize {
    let most = gpu::limits().piece();
    (most / vocab.max(1)).clamp(1, rows.max(1))
}

/// Some rows of `[rows]` or `[rows, n]`.
fn part(t: &CubeTensor, from: usize, to: usize) -> CubeTensor {
    if from == 0 && to == t.meta.shape()[0] {
        return t.clone();
    }
    let rest = t.meta.shape().iter().skip(1).map(|n| Slice::from(0..*n));
    let slices: Vec<Slice> = std::iter::once(Slice::from(from..to)).chain(rest).collect();
    into_contiguous(Cube::float_slice(t.clone(), &slices))
}

/// Pieces of rows one after the other; of no rows, `none`.
fn joined(mut pieces: Vec<CubeTensor>, none: &CubeTensor) -> CubeTensor {
    match pieces.len() {
        0 => none.clone(),
        1 => pieces.remove(0),
        _ => Cube::float_cat(pieces, 0),
    }
}

pub fn forward(
    hidden: &CubeTensor,
    wte: &CubeTensor,
    targets: &CubeTensor,
    scale: f64,
    keep: bool,
) -> (CubeTensor, Saved) {
    let ([rows, _], [vocab, _]) = (dims(hidden), dims(wte));
    let step = chunk(rows, vocab);
    let (mut kept, mut found, mut normalizers) = (None, Vec::new(), Vec::new());
    for from in (0..rows).step_by(step) {
        let to = (from + step).min(rows);
        let logits = product(part(hidden, from, to), transposed(wte));
        let outputs = [floats(hidden, [to - from]), floats(hidden, [to - from])];
        let [logprobs, n] = outputs.clone().map(CubeTensor::into_buffer_arg);
        logprobs_kernel::launch(
            &hidden.client,
            cubes(to - from),
            row_units(vocab),
            flat(&logits),
            flat(&part(targets, from, to)),
            logprobs,
            n,
            to - from,
            vocab,
            scale as f32,
        );
        let [logprobs, n] = outputs;
        found.push(logprobs);
        normalizers.push(n);
        kept = (keep && step >= rows).then_some(logits);
    }
    let saved = Saved {
        hidden: hidden.clone(),
        wte: wte.clone(),
        targets: targets.clone(),
        normalizers: joined(normalizers, &floats(hidden, [0])),
        logits: kept,
        scale,
    };
    (joined(found, &floats(hidden, [0])), saved)
}

pub fn backward(saved: Saved, g: &CubeTensor) -> [CubeTensor; 2] {
    let Saved { hidden, wte, targets, normalizers, logits: mut kept, scale } = saved;
    let ([rows, width], [vocab, _]) = (dims(&hidden), dims(&wte));
    let step = chunk(rows, vocab);
    let (mut g_hidden, mut g_wte) = (Vec::new(), None);
    for from in (0..rows).step_by(step) {
        let to = (from + step).min(rows);
        let hidden = part(&hidden, from, to);
        // A graph is walked once, but nothing says that nobody else holds the logits.
        let logits = kept.take().filter(CubeTensor::can_mut);
        let logits = into_contiguous(logits.unwrap_or_else(|| product(hidden.clone(), transposed(&wte))));
        gradient_kernel::launch(
            &hidden.client,
            cubes(to - from),
            row_units(vocab),
            logits.clone().into_buffer_arg(),
            flat(&part(&targets, from, to)),
            flat(&part(&normalizers, from, to)),
            flat(&part(g, from, to)),
            to - from,
            vocab,
            scale as f32,
        );
        let logits = beside(&wte, logits);
        let found = product(transposed(&logits), hidden);
        g_hidden.push(product(logits, wte.clone()));
        g_wte = Some(match g_wte {
            None => found,
            Some(sum) => Cube::float_add(sum, found),
        });
    }
    let g_wte = g_wte.unwrap_or_else(|| Cube::float_zeros(wte.meta.shape().clone(), &wte.device, FloatDType::F32));
    let none = floats(&hidden, [0, width]);
    [joined(g_hidden, &none), g_wte]
}
