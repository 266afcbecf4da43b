//! How many rows a GPU works on at once. wgpu does not say how much memory a card has, and a failed allocation is not
//! noticed in time: rows are computed from shapes and a budget, so that a batch of any size fits. Without a word from
//! the user the budget is that of a card of 24 GB whatever the card, so that results do not depend on it.
//!
//! What is in memory follows from the operations (src/model/ops), array by array; tests/memory.rs holds it against what a
//! device's allocator had. A block keeps 16 widths per token, as on the CPU (memory.rs): its input, the first
//! normalisation, query, key and value, what the heads attended to, the middle of the stream, the second normalisation,
//! and the MLP's inside before and after GELU. Scores and logits are there for some rows at a time, [`PIECE`] of them.

use super::memory::{F32, Memory, Shape};
use std::sync::Mutex;

/// Widths per token that a block keeps for its backward pass; of those, what its attention needs: input, normalisation,
/// query, key and value.
const BLOCK: f64 = 16.0;
const BEFORE_ATTENTION: f64 = 5.0;
/// The widths of the last block at the positions that are read: the other 11, its output, and the normalised output.
const READ: f64 = BLOCK - BEFORE_ATTENTION + 2.0;
/// Widths per token in attention's backward pass: the gradients of the stream, of what was attended to, and of query, key
/// and value; and of rows whose scores are there: query, key and value by heads, and the gradients of value and output.
const ATTENTION_GRADIENTS: f64 = 5.0;
const SCORED_GRADIENTS: f64 = 5.0;
/// Widths per token in the MLP's backward pass beside what is kept: the gradient of the stream, and of the inside.
const MLP_GRADIENTS: f64 = 5.0;
/// Widths per token of a pass without a gradient: the stream, and the MLP's inside before and after GELU; or the stream,
/// query, key and value, and what was attended to, and of rows whose scores are there the same by heads.
const PASS_MLP: f64 = 9.0;
const PASS_ATTENTION: f64 = 5.0;
const PASS_SCORED: f64 = 4.0;
/// What dropout adds per token and block: both branches before their masks, with the masks. Attention is no fused
/// operation then: it keeps, for each head and position, exp of the scores, the weights, a mask and their product, and
/// its backward pass has two more.
const DROPOUT_WIDTHS: f64 = 4.0;
const DROPOUT_SCORES: f64 = 4.0;
const DROPOUT_SCORE_GRADIENTS: f64 = 2.0;
/// Most numbers in one array of attention scores or of logits: more are worked on in pieces (256 MiB).
pub const PIECE: usize = 1 << 26;
/// Copies of the weights beside what a pass makes: π and its two moments; ρ and r.
const TRAINED: f64 = 3.0;
const FROZEN: f64 = 2.0;
/// More rows than these are never at work at once.
const MOST_ROWS: usize = 1 << 20;
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

    /// The most rows, one at least, of which `needed` says that they fit: bytes in all, and of the largest array.
    fn rows(&self, needed: impl Fn(usize) -> (f64, f64)) -> usize {
        let fits = |rows: usize| {
            let (bytes, array) = needed(rows);
            bytes <= SHARE * self.memory as f64 && array <= self.largest_buffer as f64
        };
        // More rows need more memory.
        let (mut most, mut too_many) = (1, MOST_ROWS);
        while too_many - most > 1 {
            let middle = most.midpoint(too_many);
            if fits(middle) { most = middle } else { too_many = middle }
        }
        (most >> self.halvings.min(usize::BITS - 1)).max(1)
    }

    /// Numbers of scores or logits that are there at once.
    pub fn piece(&self) -> usize {
        PIECE.min((self.largest_buffer / F32 as u64).try_into().unwrap_or(usize::MAX))
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

/// A training pass.
#[derive(Debug, Clone, Copy)]
struct Pass {
    /// The loss is of log-probabilities.
    head: bool,
    dropout: bool,
    /// Gradients are added to those of other passes.
    summed: bool,
}

impl Shape {
    /// Bytes of some numbers per token of each row and width.
    fn widths(&self, rows: f64, tokens: usize, widths: f64) -> f64 {
        F32 * rows * tokens as f64 * widths * self.dimensions.width as f64
    }

    /// Bytes of one number for each head and pair of positions of a row.
    fn scores(&self) -> f64 {
        F32 * (self.dimensions.heads * self.time * self.time) as f64
    }

    /// Rows whose scores are there at once.
    fn scored(&self, rows: usize, limits: Limits) -> f64 {
        (limits.piece() as f64 * F32 / self.scores().max(1.0)).floor().clamp(1.0, rows.max(1) as f64)
    }

    /// Bytes of the logits that are there at once.
    fn logits(&self, rows: usize, limits: Limits) -> f64 {
        let row = F32 * self.vocab as f64;
        let piece = (limits.piece() / self.vocab.max(1)).max(1) as f64;
        row * piece.min((rows * self.response) as f64)
    }

    /// What a training pass of so many rows makes, at its three worst moments: the head's gradient, when all is kept;
    /// attention's of the last block; and the embedding's at the end, when all gradients are there.
    fn gpu_moments(&self, rows: usize, pass: Pass, limits: Limits) -> [Memory; 3] {
        let (n, t, width) = (rows as f64, self.time, self.dimensions.width as f64);
        let r = if pass.dropout { t } else { self.response.clamp(1, t) };
        let dropped = if pass.dropout { n * self.dropped(DROPOUT_SCORES) } else { 0.0 };
        let whole = self.widths(n, t, BLOCK * (self.dimensions.layers as f64 - 1.0) + BEFORE_ATTENTION) + dropped;
        let embedding = if pass.head { self.embedding() } else { 0.0 };
        let logits = if pass.head { self.logits(rows, limits) } else { 0.0 };
        let pieces = if logits < F32 * (rows * self.response * self.vocab) as f64 { 2.0 } else { 1.0 };
        let of = |activations, gradients, logits| Memory { activations, gradients, logits, ..Memory::default() };
        let mlp = F32 * 4.0 * width * width;
        let head = of(whole + self.widths(n, r, READ), pieces * embedding, logits).larger(of(
            whole + self.widths(n, r, BLOCK - BEFORE_ATTENTION + MLP_GRADIENTS),
            embedding + mlp,
            0.0,
        ));
        let scored = match pass.dropout {
            true => n * DROPOUT_SCORE_GRADIENTS * self.scores() + self.widths(n, t, SCORED_GRADIENTS),
            false => {
                let scored = self.scored(rows, limits);
                self.widths(scored, t, SCORED_GRADIENTS) + scored * 2.0 * self.scores()
            }
        };
        let attention = of(
            whole + self.widths(n, t, ATTENTION_GRADIENTS) + scored,
            embedding + 2.0 * mlp + F32 * width * width,
            0.0,
        );
        // The stream's gradient, and its sums by token.
        [head, attention, of(self.widths(n, t, 2.0), self.weights() + embedding, 0.0)]
    }

    /// Bytes of the largest array of a pass of so many rows, with or without a gradient, the weights aside.
    fn gpu_array(&self, rows: usize, dropout: bool, limits: Limits) -> f64 {
        let scored = if dropout { rows as f64 } else { self.scored(rows, limits) };
        let inside = self.widths(rows as f64, self.time, 4.0);
        inside.max(scored * self.scores()).max(self.logits(rows, limits))
    }

    /// Bytes that dropout adds to a row's activations; `scores`: numbers per attention score.
    pub fn dropped(&self, scores: f64) -> f64 {
        let layers = self.dimensions.layers as f64;
        layers * (self.widths(1.0, self.time, DROPOUT_WIDTHS) + scores * self.scores())
    }

    /// Rows of a training pass of PPO's, which has more beside it than any other. `head`: the loss is of
    /// log-probabilities.
    pub fn gpu_rows(&self, head: bool, dropout: bool, limits: Limits) -> usize {
        let pass = Pass { head, dropout, summed: true };
        limits.rows(|rows| {
            let memory = self.gpu_trained(rows, pass, limits);
            (memory.total() + FROZEN * self.weights(), self.gpu_array(rows, dropout, limits))
        })
    }

    /// π, its moments, and what a training pass of so many rows makes.
    fn gpu_trained(&self, rows: usize, pass: Pass, limits: Limits) -> Memory {
        let weights = self.weights();
        let [head, attention, end] = self.gpu_moments(rows, pass, limits);
        let most = head.larger(attention).larger(end);
        let sum = if pass.summed { weights } else { 0.0 };
        Memory { weights, adam: 2.0 * weights, gradients: most.gradients + sum, ..most }
    }

    /// The peak of a training step of `all` rows, `at_once` of them in a pass: memory, and the largest array.
    pub fn gpu_training(
        &self,
        all: usize,
        at_once: usize,
        (head, dropout): (bool, bool),
        limits: Limits,
    ) -> (Memory, f64) {
        let rows = at_once.min(all).max(1);
        let pass = Pass { head, dropout, summed: all > at_once };
        (self.gpu_trained(rows, pass, limits), self.gpu_array(rows, dropout, limits))
    }

    /// Bytes of a pass of so many rows without gradients, and of its largest array.
    pub fn gpu_pass(&self, rows: usize, limits: Limits) -> (Memory, f64) {
        let (n, t) = (rows as f64, self.time);
        let scored = self.scored(rows, limits);
        let attention =
            self.widths(n, t, PASS_ATTENTION) + self.widths(scored, t, PASS_SCORED) + scored * self.scores();
        let activations = attention.max(self.widths(n, t, PASS_MLP));
        let pass = Memory { activations, ..Memory::default() };
        // The head begins when the blocks are done.
        let (activations, logits) = (self.widths(n, self.response, 1.0), self.logits(rows, limits));
        let memory = pass.larger(Memory { activations, logits, ..Memory::default() });
        (memory, self.gpu_array(rows, false, limits))
    }

    /// Rows of a pass without gradients.
    pub fn gpu_pass_rows(&self, limits: Limits) -> usize {
        limits.rows(|rows| {
            let (memory, array) = self.gpu_pass(rows, limits);
            ((TRAINED + FROZEN) * self.weights() + memory.total(), array)
        })
    }

    /// Bytes while `rows` responses are sampled, `k` of a query, with a cache of `time` positions; and of the largest array.
    pub fn gpu_sampling(&self, rows: usize, k: usize, limits: Limits) -> (Memory, f64) {
        let query = self.time.saturating_sub(self.response).max(1);
        let queries = rows.div_ceil(k.max(1));
        let (prefill, array) = Self { time: query, response: 1, ..*self }.gpu_pass(queries, limits);
        let layers = self.dimensions.layers as f64;
        // The caches of queries are there before they are widened, a layer at a time.
        let prefill = Memory { kv_cache: layers * self.widths(queries as f64, query, 2.0), ..prefill };
        let layer = self.widths(rows as f64, self.time, 2.0);
        let logits = F32 * (rows * self.vocab) as f64;
        let widened = Memory { kv_cache: layers * layer, activations: layer / 2.0, ..Memory::default() };
        let drawn = Memory { kv_cache: layers * layer, logits, ..Memory::default() };
        (prefill.larger(widened).larger(drawn), array.max(logits).max(layer / 2.0))
    }

    /// Rows that are sampled at once, with a cache of `time` positions.
    pub fn gpu_sampling_rows(&self, limits: Limits) -> usize {
        limits.rows(|rows| {
            let (memory, array) = self.gpu_sampling(rows, 1, limits);
            ((TRAINED + FROZEN) * self.weights() + memory.total(), array)
        })
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
                let (memory, _) = shape.gpu_training(batch, rows, (true, false), limits);
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
        assert!(shape.gpu_training(512, rows, (true, false), lavapipe).1 <= (128 << 20) as f64 && rows >= 8, "{rows}");
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
        assert!(of(8) == (1, 1) && of(80).0 > 1 && of(40).1 < of(80).1, "{:?} {:?}", of(40), of(80));
    }
}
