//! The CPU's element-wise kernels: plain loops over slices that the compiler turns into vector code, compiled once for
//! each kind of processor and chosen at run time, so that a binary built anywhere uses what there is. All versions of an
//! element-wise loop do the same operations in the same order; those of products and sums do not (`processor.rs`).

use std::f32::consts::LOG2_E;
use std::sync::OnceLock;

/// What the processor can do, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub enum Level {
    /// What the program was compiled for.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// The above and AVX-512F.
    Avx512,
}

/// What the kernels use: what the processor has, or less if the environment variable `RUNNER_CPU` is `portable` or
/// `avx2`.
pub fn level() -> Level {
    #[cfg(test)]
    if let Some(level) = tests::CHOSEN.get() {
        return level;
    }
    static FOUND: OnceLock<Level> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let most = match std::env::var("RUNNER_CPU").as_deref() {
            Ok("portable") => Level::Portable,
            Ok("avx2") => Level::Avx2,
            _ => Level::Avx512,
        };
        detected().min(most)
    })
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn detected() -> Level {
    match (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"), is_x86_feature_detected!("avx512f")) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        (false, _) => Level::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn detected() -> Level {
    Level::Portable
}

/// Compiles each function for AVX2 and AVX-512 as well, and calls the version that the processor has.
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
                #[target_feature(enable = "avx512f")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $type),*) $(-> $out)? { body($($arg),*) }
                match level() {
                    // SAFETY: the processor has been asked.
                    Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Level::Avx2 => return unsafe { avx2($($arg),*) },
                    Level::Portable => {}
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
    // Adding 1.5·2²³ rounds to the nearest integer n, which is then in the low bits; from there it goes to the
    // exponent. (A conversion to an integer saturates in Rust, which compilers do one number at a time.)
    const ROUND: f32 = 12_582_912.0;
    let rounded = x * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    let f = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_2e-4;
    let p = p * f + 1.398_199_9e-3;
    let p = p * f + 8.333_452e-3;
    let p = p * f + 4.166_579_6e-2;
    let p = p * f + 1.666_666_5e-1;
    let p = p * f + 0.5;
    let y = p * f * f + f + 1.0;
    y * power
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

    /// Adds a piece of a row of logits to a running softmax: `top` is the largest logit so far and `sum` is
    /// Σ exp(scale · (logit - top)); both start at -∞ and 0.
    pub fn extend_softmax(piece: &[f32], scale: f32, top: &mut f32, sum_so_far: &mut f32) {
        let larger = max(piece).max(*top);
        // The first piece finds a sum of nothing, whatever exp makes of -∞.
        *sum_so_far *= exp((*top - larger) * scale);
        *sum_so_far += sum(piece, |v| exp((v - larger) * scale));
        *top = larger;
    }

    /// rate · exp(scale · (logit - top)) in place: a row's probabilities times `rate` times the running sum.
    pub fn scaled_exponentials(row: &mut [f32], scale: f32, top: f32, rate: f32) {
        for v in row.iter_mut() {
            *v = exp((*v - top) * scale) * rate;
        }
    }

    /// exp(z) in place for z = scale · (logit - largest logit); returns Σ exp(z) · z.
    pub fn weights_of_logits(row: &mut [f32], scale: f32) -> f32 {
        let top = max(row);
        let mut lanes = [0.0f32; 16];
        let mut chunks = row.chunks_exact_mut(16);
        for chunk in &mut chunks {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                let z = (*v - top) * scale;
                *v = exp(z);
                *lane += *v * z;
            }
        }
        let mut total: f32 = lanes.iter().sum();
        for v in chunks.into_remainder() {
            let z = (*v - top) * scale;
            *v = exp(z);
            total += *v * z;
        }
        total
    }

    /// Σ x
    pub fn total(x: &[f32]) -> f32 {
        sum(x, |v| v)
    }

    /// y += x
    pub fn add(x: &[f32], y: &mut [f32]) {
        for (x, y) in x.iter().zip(y) {
            *y += x;
        }
    }

    /// Adam's step for some numbers in place: both moments, and p -= rate · m / (√v + ε).
    pub fn adam(g: &[f32], beta1: f32, beta2: f32, rate: f32, epsilon: f32, keep: [f32; 2], p: &mut [f32], m: &mut [f32], v: &mut [f32]) {
        for (((g, p), m), v) in g.iter().zip(p).zip(m).zip(v) {
            *m = *m * beta1 + g * keep[0];
            *v = *v * beta2 + g * g * keep[1];
            *p -= *m / (v.sqrt() + epsilon) * rate;
        }
    }

    /// One query against the keys so far: softmax(scale · q·k) v, over the `real` ones. `keys`, `values`: `[real.len(),
    /// d]`.
    pub fn attend_once(q: &[f32], keys: &[f32], values: &[f32], real: &[bool], scale: f32, scores: &mut [f32], out: &mut [f32]) {
        let d = q.len();
        for ((score, key), real) in scores.iter_mut().zip(keys.chunks_exact(d)).zip(real) {
            *score = if *real { dot(q, key, 0.0) } else { f32::NEG_INFINITY };
        }
        let top = max(scores);
        for (score, real) in scores.iter_mut().zip(real) {
            *score = if *real { exp((*score - top) * scale) } else { 0.0 };
        }
        let rate = 1.0 / sum(scores, |v| v);
        out.fill(0.0);
        for (score, value) in scores.iter().zip(values.chunks_exact(d)) {
            for (out, v) in out.iter_mut().zip(value) {
                *out += score * rate * v;
            }
        }
    }

    /// softmax(scale · scores) of `[time, time]` in place: key j counts for query i where j ≤ i.
    pub fn causal_softmax(scores: &mut [f32], time: usize, scale: f32) {
        for (i, scores) in scores.chunks_exact_mut(time).enumerate() {
            let (row, later) = scores.split_at_mut(i + 1);
            let top = max(row);
            for score in row.iter_mut() {
                *score = exp((*score - top) * scale);
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
    use std::cell::Cell;

    thread_local! {
        /// What the kernels called on this thread use, whatever the processor has.
        pub static CHOSEN: Cell<Option<Level>> = const { Cell::new(None) };
    }

    #[test]
    fn kernels_give_the_same_numbers_at_every_level() {
        let numbers = |n: usize, seed: usize| -> Vec<f32> {
            (0..n).map(|i| ((i + seed) * 2_654_435_761 % 4_001) as f32 / 500.0 - 4.0).collect()
        };
        let (width, rows) = (37, 5);
        let (x, g, w) = (numbers(width * rows, 1), numbers(width * rows, 2), numbers(width, 3));
        let all = |level: Level| -> Vec<Vec<f32>> {
            CHOSEN.set(Some(level));
            let mut out = vec![vec![0.0; width * rows]; 4];
            gelu(&x, &mut out[0]);
            gelu_backward(&x, &g, &mut out[1]);
            layer_norm(&x, &w, &w, 1e-5, &mut out[2]);
            let (mut g_weight, mut g_bias) = (vec![0.0; width], vec![0.0; width]);
            layer_norm_backward(&x, &w, &g, 1e-5, &mut out[3], &mut g_weight, &mut g_bias);
            let (mut top, mut sum) = (f32::NEG_INFINITY, 0.0);
            x.chunks(17).for_each(|piece| extend_softmax(piece, 0.7, &mut top, &mut sum));
            let mut weights = x.clone();
            let entropy = weights_of_logits(&mut weights, 0.7);
            let mut gradient = x.clone();
            scaled_exponentials(&mut gradient, 0.7, top, -0.3);
            let (mut p, mut m, mut v) = (x.clone(), g.clone(), weights.clone());
            adam(&g, 0.9, 0.999, 0.1, 1e-5, [0.1, 0.001], &mut p, &mut m, &mut v);
            let (mut scores, real) = (vec![0.0; rows], [false, true, true, false, true]);
            let mut attended = vec![0.0; width];
            attend_once(&w, &x, &g, &real, 0.16, &mut scores, &mut attended);
            let mut square = numbers(25, 4);
            causal_softmax(&mut square, 5, 0.16);
            let mut back = numbers(25, 5);
            softmax_backward(&square, &mut back, 5, 0.16);
            CHOSEN.set(None);
            out.extend([g_weight, g_bias, vec![top, sum, entropy], weights, gradient, p, m, v, attended, square, back]);
            out
        };
        let portable = all(Level::Portable);
        assert!(portable.iter().flatten().all(|v| v.is_finite()));
        for level in [Level::Avx2, Level::Avx512] {
            if detected() >= level {
                assert_eq!(all(level), portable, "{level:?}");
            }
        }
    }

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
