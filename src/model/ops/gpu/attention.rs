//! Causal attention. Scores `[rows, heads, time, time]` are there for some rows at a time and are not kept: the backward
//! pass makes them a second time from q, k and v, which are the layer's input anyway.

use super::half::{beside, rounded};
use super::{UNITS, cubes, dims, empty, flat, floats, largest, owned, product, row_units, total, transposed, units};
use crate::model::gpu;
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use half::f16;

/// Token, and channel among the token's `heads · d`, of number `i` of an array `[rows, heads, time, d]` whose rows begin at
/// token `first`.
#[cube]
fn place(i: usize, first: usize, time: usize, heads: usize, d: usize) -> (usize, usize) {
    let row = i / (d * time * heads);
    let head = (i / (d * time)) % heads;
    (first + row * time + (i / d) % time, head * d + i % d)
}

/// q / √d, k and v of some rows, each `[rows, heads, time, d]`, from tokens `first..` of `qkv` `[tokens, 3 · heads · d]`.
#[cube(launch)]
#[allow(clippy::too_many_arguments, reason = "as many arrays and sizes")]
fn split_kernel<T: Float>(
    qkv: &[T],
    q: &mut [T],
    k: &mut [T],
    v: &mut [T],
    first: usize,
    time: usize,
    heads: usize,
    d: usize,
    scale: f32,
) {
    let i = ABSOLUTE_POS;
    if i >= q.len() {
        terminate!();
    }
    let width = heads * d;
    let (token, channel) = place(i, first, time, heads, d);
    let from = token * 3 * width + channel;
    q[i] = T::cast_from(f32::cast_from(qkv[from]) * scale);
    k[i] = qkv[from + width];
    v[i] = qkv[from + 2 * width];
}

/// `[rows, heads, time, d]` from tokens `first..` of `x` `[tokens, heads · d]`.
#[cube(launch)]
fn by_heads_kernel<T: Float>(x: &[f32], y: &mut [T], first: usize, time: usize, heads: usize, d: usize) {
    let i = ABSOLUTE_POS;
    if i >= y.len() {
        terminate!();
    }
    let (token, channel) = place(i, first, time, heads, d);
    y[i] = rounded::<T>(x[token * heads * d + channel]);
}

/// The inverse: to tokens `first..` of `y`.
#[cube(launch)]
fn by_tokens_kernel(x: &[f32], y: &mut [f32], first: usize, time: usize, heads: usize, d: usize) {
    let i = ABSOLUTE_POS;
    if i >= x.len() {
        terminate!();
    }
    let (token, channel) = place(i, first, time, heads, d);
    y[token * heads * d + channel] = x[i];
}

/// Gradients of q / √d, k and v to tokens `first..` of that of `qkv`.
#[cube(launch)]
#[allow(clippy::too_many_arguments, reason = "as many arrays and sizes")]
fn merge_kernel(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    qkv: &mut [f32],
    first: usize,
    time: usize,
    heads: usize,
    d: usize,
    scale: f32,
) {
    let i = ABSOLUTE_POS;
    if i >= q.len() {
        terminate!();
    }
    let width = heads * d;
    let (token, channel) = place(i, first, time, heads, d);
    let to = token * 3 * width + channel;
    qkv[to] = q[i] * scale;
    qkv[to + width] = k[i];
    qkv[to + 2 * width] = v[i];
}

/// Softmax of the scores of each query over the keys that it sees, in place, 0 elsewhere: those not after it that are
/// real, and its own. `real`: `[all rows, time]`, of which `scores` has rows `first..`.
#[cube(launch)]
fn softmax_kernel(scores: &mut [f32], real: &[i32], first: usize, queries: usize, time: usize, heads: usize) {
    let row = CUBE_POS;
    if row >= queries {
        terminate!();
    }
    let mut scratch = Shared::new_slice(UNITS);
    let query = row % time;
    let keys = (first + row / (time * heads)) * time;
    let start = row * time;
    let mut own = f32::new(-3.0e38);
    let mut key = UNIT_POS as usize;
    while key <= query {
        if real[keys + key] != 0 || key == query {
            let s = scores[start + key];
            if s > own {
                own = s;
            }
        }
        key += CUBE_DIM as usize;
    }
    let most = largest(own, &mut scratch);
    let mut sum = 0.0f32;
    let mut key = UNIT_POS as usize;
    while key < time {
        let mut e = 0.0f32;
        if key <= query && (real[keys + key] != 0 || key == query) {
            e = (scores[start + key] - most).exp();
        }
        scores[start + key] = e;
        sum += e;
        key += CUBE_DIM as usize;
    }
    let sum = total(sum, &mut scratch);
    let mut key = UNIT_POS as usize;
    while key < time {
        scores[start + key] /= sum;
        key += CUBE_DIM as usize;
    }
}

/// g = p (g - Σ p g), in place: the gradient of scores from that of their softmax p.
#[cube(launch)]
fn softmax_gradient_kernel(p: &[f32], g: &mut [f32], queries: usize, time: usize) {
    let row = CUBE_POS;
    if row >= queries {
        terminate!();
    }
    let mut scratch = Shared::new_slice(UNITS);
    let start = row * time;
    let mut dot = 0.0f32;
    let mut key = UNIT_POS as usize;
    while key < time {
        dot += p[start + key] * g[start + key];
        key += CUBE_DIM as usize;
    }
    let dot = total(dot, &mut scratch);
    let mut key = UNIT_POS as usize;
    while key < time {
        g[start + key] = p[start + key] * (g[start + key] - dot);
        key += CUBE_DIM as usize;
    }
}

/// `n` numbers from one place to another, a unit to a number.
#[cube]
fn copy<T: Float>(a: &[T], from: usize, b: &mut [T], to: usize, n: usize) {
    let mut i = UNIT_POS as usize;
    while i < n {
        b[to + i] = a[from + i];
        i += CUBE_DIM as usize;
    }
}

/// Σ a b over `n` numbers.
#[cube]
fn dot<T: Float>(a: &[T], from: usize, b: &[T], other: usize, n: usize) -> f32 {
    let mut sum = 0.0f32;
    for i in 0..n {
        sum += f32::cast_from(a[from + i]) * f32::cast_from(b[other + i]);
    }
    sum
}

/// The same where the other array is one that the kernel also writes.
#[cube]
fn with_key<T: Float>(a: &[T], from: usize, b: &mut [T], other: usize, n: usize) -> f32 {
    let mut sum = 0.0f32;
    for i in 0..n {
        sum += f32::cast_from(a[from + i]) * f32::cast_from(b[other + i]);
    }
    sum
}

/// Σ weight · value over the slots before `at`, values being `d` apart.
#[cube]
fn mixed<T: Float>(weights: &Shared<[f32]>, values: &mut [T], from: usize, d: usize, at: usize) -> f32 {
    let mut sum = 0.0f32;
    for slot in 0..at {
        sum += weights[slot] * f32::cast_from(values[from + slot * d]);
    }
    sum
}

/// One new position of each row, a cube to a row and head: its key and value go to slot `at` of the cache, and its query
/// looks at the slots up to there that are real, and its own: softmax(q kᵀ / √d) v.
#[cube(launch)]
#[allow(clippy::too_many_arguments, reason = "as many arrays and sizes")]
fn step_kernel<T: Float>(
    qkv: &[T],
    keys: &mut [T],
    values: &mut [T],
    real: &[i32],
    out: &mut [f32],
    rows: usize,
    heads: usize,
    d: usize,
    capacity: usize,
    at: usize,
    scale: f32,
    #[comptime] most: usize,
) {
    let place = CUBE_POS;
    if place >= rows * heads {
        terminate!();
    }
    let mut scratch = Shared::new_slice(UNITS);
    let mut weights = Shared::<[f32]>::new_slice(most);
    let (row, head, unit) = (place / heads, place % heads, UNIT_POS as usize);
    let (width, cache) = (heads * d, place * capacity * d);
    let query = row * 3 * width + head * d;
    copy::<T>(qkv, query + width, keys, cache + at * d, d);
    copy::<T>(qkv, query + 2 * width, values, cache + at * d, d);
    let mut own = f32::new(-3.0e38);
    let mut slot = unit;
    while slot <= at {
        let mut score = dot::<T>(qkv, query, qkv, query + width, d) * scale;
        if slot != at {
            score = with_key::<T>(qkv, query, keys, cache + slot * d, d) * scale;
        }
        weights[slot] = score;
        if score > own && (slot == at || real[row * capacity + slot] != 0) {
            own = score;
        }
        slot += CUBE_DIM as usize;
    }
    let highest = largest(own, &mut scratch);
    let mut sum = 0.0f32;
    let mut slot = unit;
    while slot <= at {
        let mut e = 0.0f32;
        if slot == at || real[row * capacity + slot] != 0 {
            e = (weights[slot] - highest).exp();
        }
        weights[slot] = e;
        sum += e;
        slot += CUBE_DIM as usize;
    }
    // After this all weights are there.
    let sum = total(sum, &mut scratch);
    let mut channel = unit;
    while channel < d {
        let own = weights[at] * f32::cast_from(qkv[query + 2 * width + channel]);
        let value = own + mixed::<T>(&weights, values, cache + channel, d, at);
        out[row * width + head * d + channel] = value / sum;
        channel += CUBE_DIM as usize;
    }
}

/// How the rows of a batch lie.
#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    time: usize,
    heads: usize,
    d: usize,
}

impl Shape {
    fn of(qkv: &CubeTensor, real: &CubeTensor, heads: usize) -> Self {
        let ([_, width], [rows, time]) = (dims(qkv), dims(real));
        Self { rows, time, heads, d: width / 3 / heads }
    }

    /// Runs of rows whose scores are there at once.
    fn blocks(self) -> impl Iterator<Item = (usize, Self)> {
        let most = gpu::limits().piece();
        let step = (most / (self.heads * self.time * self.time).max(1)).clamp(1, self.rows.max(1));
        (0..self.rows).step_by(step).map(move |from| (from, Self { rows: step.min(self.rows - from), ..self }))
    }

    fn scale(self) -> f32 {
        (self.d as f32).powf(-0.5)
    }

    /// One new `[rows, heads, time, d]` of the same numbers.
    fn array(self, like: &CubeTensor) -> CubeTensor {
        empty(like, [self.rows, self.heads, self.time, self.d], like.dtype)
    }

    /// A unit for each of its numbers.
    fn each(self) -> (CubeCount, CubeDim) {
        (cubes((self.rows * self.heads * self.time * self.d).div_ceil(UNITS)), units(UNITS))
    }

    fn split(self, qkv: &CubeTensor, first: usize) -> [CubeTensor; 3] {
        let parts = [self.array(qkv), self.array(qkv), self.array(qkv)];
        let (count, dim) = self.each();
        let [q, k, v] = parts.clone().map(CubeTensor::into_buffer_arg);
        let Self { time, heads, d, .. } = self;
        let launch = if qkv.dtype == DType::F16 { split_kernel::launch::<f16> } else { split_kernel::launch::<f32> };
        launch(&qkv.client, count, dim, flat(qkv), q, k, v, first * time, time, heads, d, self.scale());
        parts
    }

    /// softmax(q kᵀ) of its rows, `[rows, heads, time, time]`.
    fn weights(self, q: &CubeTensor, k: &CubeTensor, real: &CubeTensor, first: usize) -> CubeTensor {
        let scores = into_contiguous(product(q.clone(), transposed(k)));
        let Self { rows, time, heads, .. } = self;
        let queries = rows * heads * time;
        let target = scores.clone().into_buffer_arg();
        softmax_kernel::launch(
            &q.client,
            cubes(queries),
            row_units(time),
            target,
            flat(real),
            first,
            queries,
            time,
            heads,
        );
        scores
    }

    fn softmax_gradient(self, p: &CubeTensor, g: CubeTensor) -> CubeTensor {
        let g = into_contiguous(g);
        let queries = self.rows * self.heads * self.time;
        let target = g.clone().into_buffer_arg();
        softmax_gradient_kernel::launch(
            &p.client,
            cubes(queries),
            row_units(self.time),
            flat(p),
            target,
            queries,
            self.time,
        );
        g
    }
}

/// `[tokens, 3 · width]`, real tokens `[rows, time]` -> `[tokens, width]`.
pub fn forward(qkv: &CubeTensor, real: &CubeTensor, heads: usize) -> CubeTensor {
    let shape = Shape::of(qkv, real, heads);
    let out = floats(qkv, [shape.rows * shape.time, heads * shape.d]);
    for (first, block) in shape.blocks() {
        let [q, k, v] = block.split(qkv, first);
        let weights = beside(&v, block.weights(&q, &k, real, first));
        let attended = product(weights, v);
        let (count, dim) = block.each();
        let target = out.clone().into_buffer_arg();
        let Shape { time, heads, d, .. } = block;
        by_tokens_kernel::launch(&qkv.client, count, dim, flat(&attended), target, first * time, time, heads, d);
    }
    out
}

pub fn backward(qkv: &CubeTensor, real: &CubeTensor, g: &CubeTensor, heads: usize) -> CubeTensor {
    let shape = Shape::of(qkv, real, heads);
    let result = floats(qkv, [shape.rows * shape.time, 3 * heads * shape.d]);
    for (first, block) in shape.blocks() {
        let Shape { time, heads, d, .. } = block;
        let [q, k, v] = block.split(qkv, first);
        let p = block.weights(&q, &k, real, first);
        let out = block.array(qkv);
        let (count, dim) = block.each();
        let target = out.clone().into_buffer_arg();
        let launch =
            if qkv.dtype == DType::F16 { by_heads_kernel::launch::<f16> } else { by_heads_kernel::launch::<f32> };
        launch(&qkv.client, count, dim, flat(g), target, first * time, time, heads, d);
        let gv = product(transposed(&beside(&v, p.clone())), out.clone());
        let scores = block.softmax_gradient(&p, product(out, transposed(&v)));
        let scores = beside(&v, scores);
        drop((p, v));
        let gk = product(transposed(&scores), q);
        let gq = product(scores, k);
        let (count, dim) = block.each();
        let target = result.clone().into_buffer_arg();
        merge_kernel::launch(
            &qkv.client,
            count,
            dim,
            flat(&gq),
            flat(&gk),
            flat(&gv),
            target,
            first * time,
            time,
            heads,
            d,
            block.scale(),
        );
    }
    result
}

/// `[rows, 3 · width]`, caches `[rows, heads, capacity, d]`, real slots `[rows, capacity]` -> `[rows, width]` and the
/// caches.
pub fn step(
    qkv: &CubeTensor,
    keys: CubeTensor,
    values: CubeTensor,
    real: &CubeTensor,
    at: usize,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let [rows, heads, capacity, d] = dims(&keys);
    let [keys, values] = [keys, values].map(owned);
    let out = floats(qkv, [rows, heads * d]);
    let launch = if qkv.dtype == DType::F16 { step_kernel::launch::<f16> } else { step_kernel::launch::<f32> };
    launch(
        &qkv.client,
        cubes(rows * heads),
        units(d.next_power_of_two().clamp(32, UNITS)),
        flat(qkv),
        keys.clone().into_buffer_arg(),
        values.clone().into_buffer_arg(),
        flat(real),
        out.clone().into_buffer_arg(),
        rows,
        heads,
        d,
        capacity,
        at,
        (d as f32).powf(-0.5),
        // Few sizes, so that few kernels are compiled.
        capacity.next_multiple_of(128),
    );
    (out, keys, values)
}
