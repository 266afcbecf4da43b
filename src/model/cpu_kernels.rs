//! The CPU's element-wise kernels: plain loops over slices that the compiler turns into vector code, compiled twice
//! and chosen at run time, so that a binary built anywhere uses AVX2 where there is one. Both versions do the same
//! operations in the same order: results do not depend on which one runs.

use std::f32::consts::LOG2_E;

/// Compiles each function for AVX2 as well, and calls that version where the processor has it.
macro_rules! vectorized {
    ($($(#[$doc:meta])* pub fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block)*) => {$(
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        pub fn $name($($arg: $type),*) $(-> $out)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($arg: $type),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $type),*) $(-> $out)? { body($($arg),*) }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has just been asked.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    )*};
}

/// eˣ to about 2 units in the last place: 2ⁿ times a polynomial on ±ln2/2 (Cephes' expf).
#[inline(always)]
fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Adding and subtracting 1.5·2²³ rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let n = (x * LOG2_E + ROUND) - ROUND;
    let f = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_2e-4;
    let p = p * f + 1.398_199_9e-3;
    let p = p * f + 8.333_452e-3;
    let p = p * f + 4.166_579_6e-2;
    let p = p * f + 1.666_666_5e-1;
    let p = p * f + 5e-1;
    let y = p * f * f + f + 1.0;
    y * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

/// Sums in sixteen lanes, then across them: one order of additions, whatever the processor.
#[inline(always)]
fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += f(*v);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|v| f(*v)).sum::<f32>()
}

/// Σ x · (y - offset)
#[inline(always)]
fn dot(x: &[f32], y: &[f32], offset: f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (xs, ys) = (x.chunks_exact(16), y.chunks_exact(16));
    let rest: f32 = xs.remainder().iter().zip(ys.remainder()).map(|(a, b)| a * (b - offset)).sum();
    for (a, b) in xs.zip(ys) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * (b - offset);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[inline(always)]
fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = if *v > *lane { *v } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a })
}

/// Mean and 1/√(variance + ε) of a row.
#[inline(always)]
fn row_moments(x: &[f32], epsilon: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum(x, |v| v) / n;
    let variance = sum(x, |v| (v - mean) * (v - mean)) / n;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// 2√(2/π)
const GELU_SCALE: f32 = 1.595_769;
const GELU_CUBIC: f32 = 0.044715;

vectorized! {
    /// GELU's tanh form, x·σ(2√(2/π)(x + 0.044715 x³)).
    pub fn gelu(x: &[f32], y: &mut [f32]) {
        for (x, y) in x.iter().zip(y) {
            let z = GELU_SCALE * x * (1.0 + GELU_CUBIC * x * x);
            *y = x / (1.0 + exp(-z));
        }
    }

    /// Gradient of [`gelu`] at `x` times `g`.
    pub fn gelu_backward(x: &[f32], g: &[f32], out: &mut [f32]) {
        for ((x, g), out) in x.iter().zip(g).zip(out) {
            let z = GELU_SCALE * x * (1.0 + GELU_CUBIC * x * x);
            let s = 1.0 / (1.0 + exp(-z));
            let dz = GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * x * x);
            *out = g * s * (1.0 + x * (1.0 - s) * dz);
        }
    }

    /// Rows of `weight.len()`: (x - mean) / √(variance + ε) · weight + bias.
    pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, y: &mut [f32]) {
        let width = weight.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let (mean, rate) = row_moments(x, epsilon);
            for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = (x - mean) * rate * w + b;
            }
        }
    }

    /// Gradients of [`layer_norm`]; those of weight and bias are added to what is there.
    pub fn layer_norm_backward(
        x: &[f32],
        weight: &[f32],
        g: &[f32],
        epsilon: f32,
        gx: &mut [f32],
        g_weight: &mut [f32],
        g_bias: &mut [f32],
    ) {
        let width = weight.len();
        for ((x, g), gx) in x.chunks_exact(width).zip(g.chunks_exact(width)).zip(gx.chunks_exact_mut(width)) {
            let (mean, rate) = row_moments(x, epsilon);
            for (i, gx) in gx.iter_mut().enumerate() {
                let normal = (x[i] - mean) * rate;
                g_weight[i] += g[i] * normal;
                g_bias[i] += g[i];
                *gx = g[i] * weight[i];
            }
            let mean_g = sum(gx, |v| v) / width as f32;
            let mean_gx = dot(gx, x, mean) * rate / width as f32;
            for (gx, x) in gx.iter_mut().zip(x) {
                *gx = rate * (*gx - mean_g - (x - mean) * rate * mean_gx);
            }
        }
    }

    /// log softmax(row / temperature)[target] of one row.
    pub fn token_logprob(row: &[f32], target: usize, scale: f32) -> f32 {
        let top = max(row);
        (row[target] - top) * scale - sum(row, |v| exp((v - top) * scale)).ln()
    }

    /// Gradient of [`token_logprob`] to the row, times `g`.
    pub fn token_logprob_backward(row: &[f32], target: usize, scale: f32, g: f32, out: &mut [f32]) {
        let top = max(row);
        for (out, v) in out.iter_mut().zip(row) {
            *out = exp((v - top) * scale);
        }
        let rate = -g * scale / sum(out, |v| v);
        for out in out.iter_mut() {
            *out *= rate;
        }
        out[target] += g * scale;
    }

    /// softmax(scale · scores) of `[time, time]` in place: key j counts for query i where j ≤ i and `real[j]`, or j = i.
    pub fn causal_softmax(scores: &mut [f32], real: &[bool], scale: f32) {
        let time = real.len();
        for i in 0..time {
            let (row, later) = scores[i * time..(i + 1) * time].split_at_mut(i + 1);
            for (score, real) in row[..i].iter_mut().zip(real) {
                *score = if *real { *score } else { f32::NEG_INFINITY };
            }
            let top = max(row);
            for (j, score) in row.iter_mut().enumerate() {
                *score = if real[j] || j == i { exp((*score - top) * scale) } else { 0.0 };
            }
            let rate = 1.0 / sum(row, |v| v);
            for score in row.iter_mut() {
                *score *= rate;
            }
            later.fill(0.0);
        }
    }

    /// From probabilities and the gradient to them (in `g`), the gradient to the scores, in place.
    pub fn softmax_backward(probabilities: &[f32], g: &mut [f32], time: usize, scale: f32) {
        for (p, g) in probabilities.chunks_exact(time).zip(g.chunks_exact_mut(time)) {
            let mean = dot(p, g, 0.0);
            for (p, g) in p.iter().zip(g) {
                *g = p * (*g - mean) * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_to_float_precision() {
        for i in -8000..=8000 {
            let x = i as f32 * 0.01;
            let right = f64::from(x).exp();
            assert!((f64::from(exp(x)) / right - 1.0).abs() < 3e-7, "{x}: {} {right}", exp(x));
        }
        assert!(exp(-1e9) < 1e-37 && exp(1e9).is_finite());
    }
}
