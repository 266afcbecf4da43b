//! How many rows a GPU works on at once. wgpu does not say how much memory a card has, and a failed allocation is not
//! noticed in time: rows are computed from shapes and a budget, so that a batch of any size fits. Without a word from
//! the user the budget is that of a card of 24 GB whatever the card, so that results do not depend on it.
//!
//! A GPU keeps, per token and layer, 25 widths and 3.4 numbers for each head and position that attention sees, 1.4 of
//! the latter whatever the number of layers, four copies of the logits where log-probabilities are learned, and seven
//! copies of the weights in PPO: π, its gradient, two moments, what Adam makes of them, ρ and r. The coefficients
//! were measured on a software driver (docs/planning.md), of burn's own operations: the fused ones (src/model/ops) keep
//! less, no attention scores and logits once, so that these are bounds.

use super::memory::{F32, Memory, Shape};
use crate::spec::Dimensions;
use std::sync::Mutex;

/// Widths per token that one layer needs at a time where nothing is kept: query, key, value, the MLP's inside before
/// and after GELU, and the stream, some of them twice.
const PASS_WIDTHS: f64 = 20.0;
/// Attention scores at once in such a pass.
const PASS_SCORES: f64 = 3.0;
/// Arrays of all logits while a token is drawn.
pub const DRAWN: f64 = 5.0;
/// What dropout adds per token and layer: both branches before their masks, with the masks; attention's mask and what it
/// makes of the weights.
pub const DROPOUT_WIDTHS: f64 = 4.0;
pub const DROPOUT_SCORES: f64 = 2.0;
/// Most numbers in one array of attention scores or of logits: more are worked on in pieces (256 MiB).
pub const PIECE: usize = 1 << 26;
/// Copies of the weights beside a training pass: the seven of PPO, and a sum of gradients.
const MODELS: f64 = 8.0;
/// Share of the memory that is used: drivers and other programs have the rest.
const SHARE: f64 = 0.9;

/// What a GPU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of the largest array that a kernel can read.
    pub largest_buffer: u64,
    /// How often passes were halved since, because the device had no memory for them.
    pub halvings: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 24_000_000_000, largest_buffer: u64::MAX, halvings: 0 }
    }
}

impl Limits {
    /// What is known of a device, and what stands for the rest.
    pub fn known(memory: Option<u64>, largest_buffer: Option<u64>) -> Self {
        let usual = Self::default();
        let largest_buffer = largest_buffer.unwrap_or(usual.largest_buffer);
        Self { memory: memory.unwrap_or(usual.memory), largest_buffer, ..usual }
    }

    /// Rows that fit beside `models` bytes of weights, where each takes `row` bytes in all and `array` in one array.
    fn rows(&self, models: f64, row: f64, array: f64) -> usize {
        let free = (SHARE * self.memory as f64 - models) / row.max(1.0);
        let fit = free.min(self.largest_buffer as f64 / array.max(1.0));
        (fit / f64::from(self.halvings).exp2()).max(1.0) as usize
    }
}

/// Of the GPU that this process works on.
static LIMITS: Mutex<Option<Limits>> = Mutex::new(None);

/// From here on passes are cut to these limits.
pub fn set_limits(limits: Limits) {
    if let Ok(mut now) = LIMITS.lock() {
        *now = Some(limits);
    }
}

/// What passes are cut to.
pub fn limits() -> Limits {
    LIMITS.lock().ok().and_then(|now| *now).unwrap_or_default()
}

/// From here on passes have half as many rows.
pub fn halve() {
    set_limits(Limits { halvings: limits().halvings + 1, ..limits() });
}

/// Whether this process works on a GPU: then one thread gives it work, whose order is the program's.
pub fn is_in_use() -> bool {
    LIMITS.lock().is_ok_and(|now| now.is_some())
}

impl Shape {
    /// Bytes of one row in a training pass: activations, logits, and its largest array.
    fn gpu_row(&self, head: bool, dropout: bool) -> (f64, f64, f64) {
        let Dimensions { layers, heads, width, .. } = self.dimensions;
        let (t, l, w, h) = (self.time as f64, layers as f64, width as f64, heads as f64);
        let logits = if head { F32 * (self.response * self.vocab) as f64 } else { 0.0 };
        let dropped = if dropout { self.dropped(DROPOUT_SCORES) } else { 0.0 };
        let kept = F32 * t * (25.0 * l * w + (3.4 * l + 1.4) * h * t) + dropped;
        (kept, 4.0 * logits, logits.max(F32 * h * t * t).max(F32 * t * 4.0 * w))
    }

    /// Bytes that dropout adds to a row's activations; `scores`: numbers per attention score.
    pub fn dropped(&self, scores: f64) -> f64 {
        let d = &self.dimensions;
        let per_token = DROPOUT_WIDTHS * d.width as f64 + scores * (d.heads * self.time) as f64;
        F32 * self.time as f64 * d.layers as f64 * per_token
    }

    /// Rows of a training pass. `head`: the loss is of log-probabilities.
    pub fn gpu_rows(&self, head: bool, dropout: bool, limits: Limits) -> usize {
        let (activations, logits, array) = self.gpu_row(head, dropout);
        limits.rows(MODELS * self.weights(), activations + logits, array)
    }

    /// The peak of a training step of `all` rows, `at_once` of them in a pass: memory, and the largest array.
    pub fn gpu_training(&self, all: usize, at_once: usize, head: bool, dropout: bool) -> (Memory, f64) {
        let rows = at_once.min(all).max(1) as f64;
        let (activations, logits, array) = self.gpu_row(head, dropout);
        // A sum of gradients, where there are several passes.
        let sum = if all > at_once { 1.0 } else { 0.0 };
        let weights = self.weights();
        let memory = Memory {
            weights: 2.0 * weights,
            gradients: (1.0 + sum) * weights,
            adam: 2.0 * weights,
            activations: rows * activations,
            kv_cache: 0.0,
            logits: rows * logits,
        };
        (memory, rows * array)
    }

    /// Bytes of one row in a pass without gradients, whose logits come in pieces, and of its largest array.
    pub fn gpu_pass_row(&self) -> (f64, f64) {
        let Dimensions { heads, width, .. } = self.dimensions;
        let (t, w) = (self.time as f64, width as f64);
        let scores = heads as f64 * t * t;
        (F32 * (t * PASS_WIDTHS * w + PASS_SCORES * scores), F32 * scores.max(4.0 * t * w))
    }

    /// Rows of a pass without gradients.
    pub fn gpu_pass_rows(&self, limits: Limits) -> usize {
        let (row, array) = self.gpu_pass_row();
        limits.rows(MODELS * self.weights(), row, array)
    }

    /// Rows that are sampled at once, with a cache of `time` positions.
    pub fn gpu_sampling_rows(&self, limits: Limits) -> usize {
        let Dimensions { layers, width, .. } = self.dimensions;
        let layer = 2.0 * F32 * (self.time * width) as f64;
        let logits = F32 * self.vocab as f64;
        let (prefill, array) = self.gpu_pass_row();
        // What a step has seen is copied out of a layer, and a layer written anew.
        let row = layers as f64 * layer + prefill.max(3.0 * layer) + DRAWN * logits;
        limits.rows(MODELS * self.weights(), row, array.max(logits).max(layer / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ModelSize;

    fn shape(size: ModelSize, query: usize, response: usize) -> Shape {
        Shape { dimensions: size.dimensions(), vocab: 50_257, time: query + response, response }
    }

    #[test]
    fn the_papers_sizes_fit_their_cards_whatever_the_batch() {
        for (shape, gigabytes) in [
            (shape(ModelSize::M124, 64, 24), 24),
            (shape(ModelSize::M124, 500, 75), 24),
            (shape(ModelSize::M774, 64, 24), 80),
            (shape(ModelSize::M774, 500, 75), 80),
        ] {
            let limits = Limits { memory: gigabytes * 1_000_000_000, ..Limits::default() };
            let rows = shape.gpu_rows(true, false, limits);
            for batch in [rows, 32, 512, 100_000] {
                let (memory, _) = shape.gpu_training(batch, rows, true, false);
                // ρ and r beside it.
                let total = memory.total() + 2.0 * shape.weights();
                assert!(total < limits.memory as f64, "{shape:?}: {:.1} GB", total / 1e9);
            }
        }
    }

    #[test]
    fn no_array_is_larger_than_a_kernel_can_read() {
        let shape = shape(ModelSize::M124, 64, 24);
        let lavapipe = Limits { largest_buffer: 128 << 20, ..Limits::default() };
        let rows = shape.gpu_rows(true, false, lavapipe);
        assert!(shape.gpu_training(512, rows, true, false).1 <= (128 << 20) as f64 && rows >= 8, "{rows}");
        assert!(shape.gpu_pass_rows(lavapipe) < shape.gpu_pass_rows(Limits::default()));
    }

    #[test]
    fn what_was_halved_has_half_the_rows_and_one_at_least() {
        let shape = shape(ModelSize::M124, 64, 24);
        let rows = |halvings| shape.gpu_rows(true, false, Limits { halvings, ..Limits::default() });
        assert!(rows(0) >= 8 && rows(1) == rows(0) / 2 && rows(30) == 1, "{} and {}", rows(0), rows(1));
    }

    #[test]
    fn a_small_card_works_on_fewer_rows_and_never_on_none() {
        let shape = shape(ModelSize::M774, 500, 75);
        let of = |gigabytes: u64| {
            let limits = Limits { memory: gigabytes * 1_000_000_000, ..Limits::default() };
            (shape.gpu_rows(true, false, limits), shape.gpu_sampling_rows(limits))
        };
        assert!(of(8) == (1, 1) && of(80).0 > 1 && of(80).1 < 256, "{:?}", of(80));
    }
}
