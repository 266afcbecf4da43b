//! Decoding token by token: each layer's keys and values are kept, so that a step computes its own position alone.

use super::{Gpt2, TokenBatch};
use crate::model::device::is_cpu;
use crate::model::ops::attention_step;
use crate::spec::Precision;
use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};

/// Keys and values of one layer: `[batch, heads, capacity, head width]`, allocated once.
#[derive(Debug, Clone)]
pub struct LayerCache {
    pub keys: Tensor<4>,
    pub values: Tensor<4>,
}

/// Which cache slots a new position may see, those up to its own aside: `[batch, capacity]`, 0 at padding.
#[derive(Debug, Clone)]
pub struct CacheMask {
    pub real: Tensor<2, Int>,
}

impl CacheMask {
    /// For `k` rows per query: slots of the queries' padding are hidden.
    pub fn new(queries: &[Vec<Option<u32>>], k: usize, capacity: usize, device: &Device) -> Self {
        let n = queries.len() * k;
        let mut real = vec![1i32; n * capacity];
        for (row, slots) in real.chunks_mut(capacity).enumerate() {
            slots.iter_mut().zip(&queries[row / k]).for_each(|(slot, token)| *slot = i32::from(token.is_some()));
        }
        Self { real: Tensor::from_data(TensorData::new(real, [n, capacity]), device) }
    }
}

/// Each row `k` times, with room for `capacity` positions.
fn widen(cache: Tensor<4>, k: usize, capacity: usize) -> Tensor<4> {
    let [q, h, t, d] = cache.dims();
    let (device, dtype) = (cache.device(), cache.dtype());
    let repeated = cache.reshape([q, 1, h * t, d]).repeat_dim(1, k).reshape([q * k, h, t, d]);
    Tensor::zeros([q * k, h, capacity, d], (&device, dtype)).slice_assign([0..q * k, 0..h, 0..t, 0..d], repeated)
}

impl LayerCache {
    /// As a step at this precision keeps them: half as large in 16 bit. The CPU's stay float32.
    pub(super) fn rounded(self, p: Precision) -> Self {
        match p.is_f32() || is_cpu(&self.keys.device()) {
            true => self,
            false => Self { keys: self.keys.cast(FloatDType::F16), values: self.values.cast(FloatDType::F16) },
        }
    }

    /// Each row `k` times, with room for `capacity` positions.
    pub(super) fn widened(self, k: usize, capacity: usize) -> Self {
        Self { keys: widen(self.keys, k, capacity), values: widen(self.values, k, capacity) }
    }
}

impl Gpt2 {
    /// [`Gpt2::hidden_at`], and each layer's keys and values at all positions.
    pub(super) fn prefilled(&self, batch: &TokenBatch, positions: &[usize]) -> (Tensor<2>, Vec<LayerCache>) {
        let mut caches = Vec::with_capacity(self.blocks.len());
        let hidden = self.forward(batch, Some(positions), Some(&mut caches));
        (hidden, caches)
    }

    /// One cached step. `ids`, `positions`: `[batch, 1]`; `at` is the cache slot written. Returns the final hidden
    /// state `[batch, width]`.
    pub(super) fn stepped(
        &self,
        ids: Tensor<2, Int>,
        positions: Tensor<2, Int>,
        mask: &CacheMask,
        at: usize,
        caches: &mut Vec<LayerCache>,
    ) -> Tensor<2> {
        let mut x = self.embed(ids, positions);
        let old = std::mem::take(caches);
        for (block, cache) in self.blocks.iter().zip(old) {
            let qkv = block.c_attn.forward(block.ln_1.forward(x.clone()), self.precision);
            let (attended, cache) = attention_step(qkv, cache, &mask.real, at, self.precision);
            x = self.finish(block, x, attended);
            caches.push(cache);
        }
        self.ln_f.forward(x)
    }
}
