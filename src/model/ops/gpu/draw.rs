//! One token for each row of logits.

use super::{UNITS, cubes, dims, empty, flat, floats, largest, row_units, total};
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// The largest of scale · logits that this unit looks at.
#[cube]
fn own_largest(logits: &[f32], start: usize, vocab: usize, scale: f32) -> f32 {
    let mut own = f32::new(-3.0e38);
    let mut i = UNIT_POS as usize;
    while i < vocab {
        let s = logits[start + i] * scale;
        if s > own {
            own = s;
        }
        i += CUBE_DIM as usize;
    }
    own
}

/// Of the units' sums: which unit's run has the token, what is summed up before it, and the threshold go to `picked`, the
/// sum of all to `sums[0]`, and back. Rounding can leave all of them at or below the threshold: the last that has any
/// weight is it then.
#[cube]
fn choose(sums: &mut Shared<[f32]>, picked: &mut Shared<[f32]>, uniform: f32, units: usize) -> f32 {
    let mut all = 0.0f32;
    for unit in 0..units {
        all += sums[unit];
    }
    let threshold = uniform * all;
    let mut before = 0.0f32;
    let mut chosen = 0usize;
    let mut start = 0.0f32;
    let mut done = false;
    for unit in 0..units {
        if !done && sums[unit] > 0.0 {
            chosen = unit;
            start = before;
            before += sums[unit];
            done = before > threshold;
        }
    }
    picked[0] = chosen as f32;
    picked[1] = start;
    picked[2] = threshold;
    sums[0] = all;
    all
}

/// Σ e and Σ e s of a run of tokens, s = scale · logits - most and e = exp s.
#[cube]
#[allow(clippy::needless_range_loop, reason = "a kernel has no iterators")]
fn sums_of(logits: &[f32], from: usize, to: usize, most: f32, scale: f32) -> (f32, f32) {
    let mut sum = 0.0f32;
    let mut weighted = 0.0f32;
    for i in from..to {
        let s = logits[i] * scale - most;
        let e = s.exp();
        sum += e;
        weighted += e * s;
    }
    (sum, weighted)
}

/// With s = scale · logits of a row and e = exp(s - max s): the first token whose cumulative e exceeds uniform · Σ e, its
/// s - max s - log Σ e, and the entropy log Σ e - Σ e (s - max s) / Σ e in nats. A unit adds up a run of tokens, one unit
/// the runs, and the one in whose run the token is goes through it again.
#[cube(launch)]
#[allow(clippy::too_many_arguments, reason = "as many arrays and sizes")]
fn draw_kernel(
    logits: &[f32],
    uniforms: &[f32],
    tokens: &mut [i32],
    logprobs: &mut [f32],
    entropies: &mut [f32],
    rows: usize,
    vocab: usize,
    scale: f32,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut scratch = Shared::new_slice(UNITS);
    let mut sums = Shared::new_slice(UNITS);
    // Where the token's run begins, what is summed up before it, and the threshold.
    let mut picked = Shared::<[f32]>::new_slice(3usize);
    let (unit, units) = (UNIT_POS as usize, CUBE_DIM as usize);
    let start = row * vocab;

    let most = largest(own_largest(logits, start, vocab, scale), &mut scratch);

    let run = vocab.div_ceil(units);
    let from = unit * run;
    let mut to = from + run;
    if to > vocab {
        to = vocab;
    }
    let (sum, weighted) = sums_of(logits, start + from, start + to, most, scale);
    let weighted = total(weighted, &mut scratch);
    sums[unit] = sum;
    sync_cube();
    if unit == 0 {
        let all = choose(&mut sums, &mut picked, uniforms[row], units);
        entropies[row] = all.ln() - weighted / all;
    }
    sync_cube();
    if unit == picked[0] as usize {
        let mut reached = picked[1];
        let mut token = from;
        let mut done = false;
        let mut i = from;
        while i < to {
            let e = (logits[start + i] * scale - most).exp();
            if !done && e > 0.0 {
                token = i;
                reached += e;
                done = reached > picked[2];
            }
            i += 1;
        }
        tokens[row] = token as i32;
        logprobs[row] = logits[start + token] * scale - most - sums[0].ln();
    }
}

/// `[rows, vocab]`, `[rows]` -> tokens, log-probabilities and entropies, each `[rows]`.
pub fn draw(logits: CubeTensor, uniforms: &CubeTensor, scale: f64) -> (CubeTensor, CubeTensor, CubeTensor) {
    let [rows, vocab] = dims(&logits);
    let (tokens, logprobs, entropies) =
        (empty(&logits, [rows], DType::I32), floats(&logits, [rows]), floats(&logits, [rows]));
    draw_kernel::launch(
        &logits.client,
        cubes(rows),
        row_units(vocab),
        flat(&logits),
        flat(uniforms),
        tokens.clone().into_buffer_arg(),
        logprobs.clone().into_buffer_arg(),
        entropies.clone().into_buffer_arg(),
        rows,
        vocab,
        scale as f32,
    );
    (tokens, logprobs, entropies)
}
