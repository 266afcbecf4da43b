//! Memory on the CPU: how much a PPO update takes, how many rows are worked on at once so that it fits, and how the
//! allocator is told to keep what will be needed again.
//!
//! A block keeps, per token, for its backward pass: its input, the first normalisation, query, key and value, what the
//! heads attended to, the middle of the residual stream, the second normalisation, and the MLP's four times wider
//! inside before and after GELU: 1 + 1 + 3 + 1 + 1 + 1 + 4 + 4 = 16 widths. The last block keeps 6 of them for every
//! token and the rest, with the two that are picked out, at the response's tokens alone. Attention's probabilities are
//! computed again.

use crate::spec::Dimensions;
use runner_kernels::head;
use schemars::JsonSchema;
use serde::Serialize;

/// Bytes of a number.
pub(super) const F32: f64 = 4.0;
/// Activations of one shard are kept below this, where one row allows it.
const ACTIVATIONS: f64 = (1u64 << 30) as f64;
/// Most rows of a shard on the CPU: more would not make the products faster.
pub const SHARD_ROWS: usize = 16;
/// Most shards whose gradients are made at the same time.
pub const SHARDS: usize = 8;

/// A transformer and the sequences it is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    pub(super) fn embedding(&self) -> f64 {
        F32 * (self.vocab * self.dimensions.width) as f64
    }

    /// Bytes that the forward pass of one row keeps for its backward pass, the head aside.
    pub fn activations(&self) -> f64 {
        let (time, response) = (self.time as f64, self.response as f64);
        let whole = (self.dimensions.layers as f64 - 1.0) * 16.0 * time;
        F32 * self.dimensions.width as f64 * (whole + 6.0 * time + 12.0 * response + response)
    }

    /// Rows of a shard, so that their activations stay below a gibibyte: from 1 to [`SHARD_ROWS`]. A function of the
    /// shapes alone, so that results do not depend on the machine.
    pub fn rows(&self) -> usize {
        (ACTIVATIONS / self.activations()).clamp(1.0, SHARD_ROWS as f64) as usize
    }

    /// Bytes of one shard of `rows` at its peak: all activations, the head's chunks and its gradient when the backward
    /// pass begins, or, when it ends, the gradients of all weights and a second one of the embedding's, for its use as
    /// input. Without the LM head the embedding has one use.
    fn shard(&self, rows: usize, head: bool) -> Memory {
        let kept = rows * self.response * self.vocab;
        let kept = if kept <= head::KEPT { kept } else { 0 };
        let (logits, second) = match head {
            true => (F32 * (kept + 2 * rows * self.response * head::CHUNK) as f64, self.embedding()),
            false => (0.0, 0.0),
        };
        let begin =
            Memory { activations: rows as f64 * self.activations(), logits, gradients: second, ..Memory::default() };
        let end = Memory { gradients: self.weights() + second, ..Memory::default() };
        begin.larger(end)
    }

    /// The peak of a training step on the CPU, of a minibatch of `rows` of which shards have `at_once`, on `threads`:
    /// the weights, two moments, the sum of gradients, and the shards at work. `head`: the loss is of
    /// log-probabilities.
    pub fn training(&self, rows: usize, at_once: usize, threads: usize, head: bool) -> Memory {
        let per_shard = at_once.min(rows).max(1);
        let shards = rows.div_ceil(per_shard);
        let sum = if shards > 1 { self.weights() } else { 0.0 };
        let at_work = shards.min(threads).clamp(1, SHARDS) as f64;
        let shard = self.shard(per_shard, head);
        Memory {
            weights: self.weights(),
            adam: 2.0 * self.weights(),
            gradients: sum + at_work * shard.gradients,
            activations: at_work * shard.activations,
            logits: at_work * shard.logits,
            kv_cache: 0.0,
        }
    }

    /// Bytes at the peak of a PPO update of `rows` episodes per minibatch on `threads`: training of π, and the frozen ρ
    /// and r.
    pub fn update(&self, rows: usize, threads: usize) -> f64 {
        2.0 * self.weights() + self.training(rows, self.rows(), threads, true).total()
    }
}

/// Bytes, by what they hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct Memory {
    /// Of all models that are there.
    pub weights: f64,
    pub gradients: f64,
    /// Both moments of Adam.
    pub adam: f64,
    /// What the forward pass keeps for the backward pass, or what one layer needs where there is none.
    pub activations: f64,
    /// Keys and values of all layers while sampling.
    pub kv_cache: f64,
    pub logits: f64,
}

impl Memory {
    pub fn total(&self) -> f64 {
        self.weights + self.gradients + self.adam + self.activations + self.kv_cache + self.logits
    }

    /// Of two moments of a stage, the one that takes more.
    pub fn larger(self, other: Self) -> Self {
        if other.total() > self.total() { other } else { self }
    }
}

/// Tells glibc's allocator to reuse large blocks instead of returning each to the system: a training step asks for the
/// same ones again and again, and the system clears every page anew (124M: 10% of the time, for 5% more memory at the
/// peak; mimalloc takes 12% more and still returns them). Elsewhere this does nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        const TRIM_THRESHOLD: i32 = -1;
        const MMAP_MAX: i32 = -4;
        const ARENA_MAX: i32 = -8;
        // SAFETY: mallopt takes any numbers and only changes the allocator's settings; one arena, 0 mapped blocks and
        // no trimming are values that its manual page names.
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
