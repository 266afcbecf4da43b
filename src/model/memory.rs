//! Memory on the CPU: how much a PPO update takes, how many rows are worked on at once so that it fits, and how the
//! allocator is told to keep what will be needed again.
//!
//! A block keeps, per token, for its backward pass: its input, the first normalisation, query, key and value, what the
//! heads attended to, the middle of the residual stream, the second normalisation, and the MLP's four times wider inside
//! before and after GELU: 1 + 1 + 3 + 1 + 1 + 1 + 4 + 4 = 16 widths. The last block keeps 6 of them for every token and the
//! rest, with the two that are picked out, at the response's tokens alone. Attention's probabilities are computed again.

use super::fused::head;
use crate::spec::Dimensions;

/// Bytes of a number.
const F32: f64 = 4.0;
/// Activations of one shard are kept below this, where one row allows it.
const ACTIVATIONS: f64 = (1u64 << 30) as f64;
/// Most rows of a shard on the CPU: more would not make the products faster.
pub const SHARD_ROWS: usize = 16;
/// Most shards whose gradients are made at the same time.
pub const SHARDS: usize = 8;

/// A transformer and the sequences it is trained on.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub dimensions: Dimensions,
    pub vocab: usize,
    /// Tokens of query and response.
    pub time: usize,
    /// Tokens of a row whose log-probabilities are needed.
    pub response: usize,
}

impl Shape {
    /// Bytes of all weights.
    pub fn weights(&self) -> f64 {
        let Dimensions { layers, width, context, .. } = self.dimensions;
        let (layers, width) = (layers as f64, width as f64);
        let block = 12.0 * width * width + 13.0 * width;
        F32 * (layers * block + (self.vocab + context + 2) as f64 * width)
    }

    /// Bytes of the token embedding.
    fn embedding(&self) -> f64 {
        F32 * (self.vocab * self.dimensions.width) as f64
    }

    /// Bytes that the forward pass of one row keeps for its backward pass, the head aside.
    pub fn activations(&self) -> f64 {
        let (time, response) = (self.time as f64, self.response as f64);
        let whole = (self.dimensions.layers as f64 - 1.0) * 16.0 * time;
        F32 * self.dimensions.width as f64 * (whole + 6.0 * time + 12.0 * response + response)
    }

    /// Rows of a shard, so that their activations stay below a gibibyte: from 1 to [`SHARD_ROWS`]. A function of the shapes
    /// alone, so that results do not depend on the machine.
    pub fn rows(&self) -> usize {
        (ACTIVATIONS / self.activations()).clamp(1.0, SHARD_ROWS as f64) as usize
    }

    /// Bytes of one shard of `rows` at its peak: all activations, the head's chunks and its gradient when the backward pass
    /// begins, or, when it ends, the gradients of all weights and a second one of the embedding's, for its use as input.
    fn shard(&self, rows: usize) -> f64 {
        let logits = rows * self.response * self.vocab;
        let logits = if logits <= head::KEPT { logits } else { 0 } + 2 * rows * self.response * head::CHUNK;
        let begin = rows as f64 * self.activations() + F32 * logits as f64 + self.embedding();
        begin.max(self.weights() + self.embedding())
    }

    /// Bytes at the peak of a PPO update of `rows` episodes per minibatch on `threads`: weights and two moments of π, the
    /// frozen ρ and r, the sum of gradients, and the shards at work.
    pub fn update(&self, rows: usize, threads: usize) -> f64 {
        let per_shard = self.rows().min(rows);
        let shards = rows.div_ceil(per_shard.max(1));
        let sum = if shards > 1 { self.weights() } else { 0.0 };
        5.0 * self.weights() + sum + shards.min(threads).min(SHARDS) as f64 * self.shard(per_shard)
    }
}

/// Tells glibc's allocator to reuse large blocks instead of returning each to the system: a training step asks for the same
/// ones again and again, and the system clears every page anew (124M: 10% of the time, for 5% more memory at the peak;
/// mimalloc takes 12% more and still returns them). Elsewhere this does nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        const TRIM_THRESHOLD: i32 = -1;
        const MMAP_MAX: i32 = -4;
        const ARENA_MAX: i32 = -8;
        // SAFETY: mallopt takes any numbers and only changes the allocator's settings; one arena, 0 mapped blocks and no
        // trimming are values that its manual page names.
        unsafe {
            // One arena: what one thread frees, another can have. With several, each keeps a shard's blocks of its own.
            mallopt(ARENA_MAX, 1);
            mallopt(MMAP_MAX, 0);
            mallopt(TRIM_THRESHOLD, -1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ModelSize;

    #[test]
    fn the_papers_batches_fit_16_gb_at_124m() {
        let shape = |time, response| Shape { dimensions: ModelSize::M124.dimensions(), vocab: 50_257, time, response };
        let (sentiment, tldr) = (shape(88, 24), shape(575, 75));
        assert_eq!((sentiment.rows(), tldr.rows()), (16, 3));
        for threads in [1, 2, 64] {
            assert!(sentiment.update(512, threads) < 16e9 && tldr.update(512, threads) < 16e9, "{threads}");
        }
        // 124,439,808 weights, as transformers counts them.
        assert_eq!(sentiment.weights(), 4.0 * 124_439_808.0);
    }
}
