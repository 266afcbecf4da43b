//! One token for each row of logits.

use super::{UNITS, cubes, dims, empty, flat, floats, largest, total, units};
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

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
    let unit = UNIT_POS as usize;
    let start = row * vocab;

    let mut own = f32::new(-3.0e38);
    let mut i = unit;
    while i < vocab {
        let s = logits[start + i] * scale;
        if s > own {
            own = s;
        }
        i += UNITS;
    }
    let most = largest(own, &mut scratch);

    let run = vocab.div_ceil(UNITS);
    let from = unit * run;
    let mut to = from + run;
    if to > vocab {
        to = vocab;
    }
    let mut sum = 0.0f32;
    let mut weighted = 0.0f32;
    let mut i = from;
    while i < to {
        let s = logits[start + i] * scale - most;
        let e = s.exp();
        sum += e;
        weighted += e * s;
        i += 1;
    }
    let weighted = total(weighted, &mut scratch);
    sums[unit] = sum;
    sync_cube();
    if unit == 0 {
        let mut all = 0.0f32;
        for other in 0..UNITS {
            all += sums[other];
        }
        let threshold = uniforms[row] * all;
        let mut before = 0.0f32;
        let mut chosen = 0usize;
        let mut start_of_chosen = 0.0f32;
        let mut done = false;
        for other in 0..UNITS {
            // Rounding can leave all of them at or below the threshold: the last that has any weight is it then.
            if !done && sums[other] > 0.0 {
                chosen = other;
                start_of_chosen = before;
                before += sums[other];
                done = before > threshold;
            }
        }
        picked[0] = chosen as f32;
        picked[1] = start_of_chosen;
        picked[2] = threshold;
        entropies[row] = all.ln() - weighted / all;
        sums[0] = all;
    }
    sync_cube();
    if unit == picked[0] as usize {
        let all = sums[0];
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
        logprobs[row] = logits[start + token] * scale - most - all.ln();
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
        units(UNITS),
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
