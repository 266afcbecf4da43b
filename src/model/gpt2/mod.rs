//! GPT-2 (pre-LN transformer, tied LM head) as in paper section 2.1 and the released code's model.py.
//!
//! Shapes: `batch` rows, `time` positions, `width` channels, `vocab` tokens. Rows are left-padded: a padded
//! position is masked out of attention and does not advance the position index.

mod batch;
mod cache;
mod heads;
mod init;
mod layers;
mod walk;

pub use crate::spec::config::LAYER_NORM_EPSILON;
pub use batch::TokenBatch;
pub use cache::{CacheMask, LayerCache};
pub use heads::{ScalarHead, ScalarModel};
pub use layers::{Block, Dropout, LayerNorm, Linear};
pub use walk::{Weight, Weights};

use super::device::is_cpu;
use super::ops::{attention, attention_weights, embed, gelu, split_heads};
use super::{LanguageModel, ModelError};
use crate::spec::{Dimensions, Precision};
use burn::tensor::{Device, FloatDType, Int, Tensor};

/// Added to the attention scores of masked positions.
pub(super) const MASKED: f32 = -1e9;

/// The transformer without a head.
#[derive(Debug, Clone)]
pub struct Gpt2 {
    /// Token embedding `[vocab, width]`, also the LM head.
    pub wte: Tensor<2>,
    /// Position embedding `[context, width]`.
    pub wpe: Tensor<2>,
    pub blocks: Vec<Block>,
    pub ln_f: LayerNorm,
    pub heads: usize,
    /// Of matrix products.
    pub precision: Precision,
    /// The LM head as products have it, in a model that is [prepared](LanguageModel::prepared).
    rounded_head: Option<Tensor<2>>,
}

impl Gpt2 {
    pub fn dimensions(&self) -> Dimensions {
        let [context, width] = self.wpe.dims();
        Dimensions { layers: self.blocks.len(), heads: self.heads, width, context }
    }
    pub fn vocab(&self) -> usize {
        self.wte.dims()[0]
    }
    pub fn device(&self) -> Device {
        self.wte.device()
    }

    /// The same weights, whose products are of this precision.
    pub fn with(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Token plus position embeddings `[batch * time, width]`.
    fn embed(&self, ids: Tensor<2, Int>, positions: Tensor<2, Int>) -> Tensor<2> {
        embed(self.wte.clone(), self.wpe.clone(), ids, positions)
    }

    /// What the block's second residual branch projects, `[rows, 4 * width]`.
    fn mlp_inner(&self, block: &Block, x: Tensor<2>) -> Tensor<2> {
        gelu(block.c_fc.forward(block.ln_2.forward(x), self.precision), self.precision)
    }

    /// The block after its attention: both residual branches added up.
    fn finish(&self, block: &Block, x: Tensor<2>, attended: Tensor<2>) -> Tensor<2> {
        let x = block.attn_proj.onto(x, attended, self.precision);
        block.mlp_proj.onto(x.clone(), self.mlp_inner(block, x), self.precision)
    }

    /// Final hidden states `[batch, time, width]` (after `ln_f`).
    pub fn hidden(&self, batch: &TokenBatch) -> Tensor<3> {
        let [b, t] = batch.dims;
        batch.spread(self.forward(batch, None, None)).reshape([b, t, self.wte.dims()[1]])
    }

    /// Final hidden states `[positions, width]` at some positions alone, given as row · time + position. What the last
    /// block does after its attention is done there only: nobody reads it elsewhere.
    pub fn hidden_at(&self, batch: &TokenBatch, positions: &[usize]) -> Tensor<2> {
        self.forward(batch, Some(positions), None)
    }

    fn forward(
        &self,
        batch: &TokenBatch,
        positions: Option<&[usize]>,
        mut caches: Option<&mut Vec<LayerCache>>,
    ) -> Tensor<2> {
        let [b, t] = batch.dims;
        let positions = positions.map(|positions| batch.tokens_at(positions));
        let mut x = self.embed(batch.ids.clone(), batch.positions.clone());
        for (i, block) in self.blocks.iter().enumerate() {
            let qkv = block.c_attn.forward(block.ln_1.forward(x.clone()), self.precision);
            if let Some(caches) = caches.as_deref_mut() {
                let [_, keys, values] = split_heads(batch.spread(qkv.clone()), b, t, self.heads);
                caches.push(LayerCache { keys, values }.rounded(self.precision));
            }
            let mut attended = attention(qkv, &batch.rows, self.heads, self.precision);
            if let Some(positions) = positions.as_ref().filter(|_| i + 1 == self.blocks.len()) {
                (x, attended) = (x.select(0, positions.clone()), attended.select(0, positions.clone()));
            }
            x = self.finish(block, x, attended);
        }
        self.ln_f.forward(x)
    }

    /// [`Gpt2::hidden`] of rows of equal length, in training with dropout.
    ///
    /// # Errors
    /// Those of [`Gpt2::batch`].
    pub fn hidden_with_dropout(
        &self,
        rows: &[Vec<Option<u32>>],
        dropout: &mut Dropout,
    ) -> Result<Tensor<3>, ModelError> {
        self.check(rows)?;
        // Attention weights that are dropped out are no fused operation: with the padding on every device.
        let (batch, bias) = (TokenBatch::padded(rows, &self.device()), TokenBatch::hiding(rows, &self.device()));
        let [b, t] = batch.dims;
        let width = self.wte.dims()[1];
        let mut x = dropout.apply(self.embed(batch.ids.clone(), batch.positions));
        for block in &self.blocks {
            let qkv = block.c_attn.forward(block.ln_1.forward(x.clone()), self.precision);
            let [q, k, v] = split_heads(qkv, b, t, self.heads);
            let weights = dropout.apply(attention_weights(q, k, bias.clone()));
            let attended = weights.matmul(v).swap_dims(1, 2).reshape([b * t, width]);
            x = x + dropout.apply(block.attn_proj.forward(attended, self.precision));
            x = x.clone() + dropout.apply(block.mlp_proj.forward(self.mlp_inner(block, x), self.precision));
        }
        Ok(self.ln_f.forward(x).reshape([b, t, width]))
    }

    /// Logits at temperature 1, of float32 products, of hidden states `[rows, width]` -> `[rows, vocab]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.wte.clone().transpose())
    }

    /// Hidden states that predict the response: positions `query-1 .. query+response-1` of `[batch, time, width]`,
    /// as `[batch * response, width]`.
    pub fn response_hidden(hidden: Tensor<3>, query: usize, response: usize) -> Tensor<2> {
        let [b, _, w] = hidden.dims();
        hidden.slice([0..b, query - 1..query + response - 1, 0..w]).reshape([b * response, w])
    }
}

impl LanguageModel for Gpt2 {
    type Cache = Vec<LayerCache>;

    fn dimensions(&self) -> Dimensions {
        Self::dimensions(self)
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn head(&self) -> &Tensor<2> {
        self.rounded_head.as_ref().unwrap_or(&self.wte)
    }

    fn prepared(&self) -> Option<Self> {
        if self.precision.is_f32() || is_cpu(&self.device()) {
            return None;
        }
        let half = |t: &Tensor<2>| t.clone().cast(FloatDType::F16);
        let linear = |l: &Linear| Linear { weight: half(&l.weight), bias: l.bias.clone() };
        let block = |b: &Block| Block {
            c_attn: linear(&b.c_attn),
            attn_proj: linear(&b.attn_proj),
            c_fc: linear(&b.c_fc),
            mlp_proj: linear(&b.mlp_proj),
            ..b.clone()
        };
        let blocks = self.blocks.iter().map(block).collect();
        Some(Self { blocks, rounded_head: Some(half(&self.wte)), ..self.clone() })
    }

    fn hidden_at(&self, batch: &TokenBatch, positions: &[usize]) -> Tensor<2> {
        Self::hidden_at(self, batch, positions)
    }

    fn prefill(&self, batch: &TokenBatch, last: &[usize], k: usize, capacity: usize) -> (Tensor<2>, Self::Cache) {
        let (hidden, caches) = self.prefilled(batch, last);
        let [rows, width] = hidden.dims();
        let hidden = hidden.reshape([rows, 1, width]).repeat_dim(1, k).reshape([rows * k, width]);
        (hidden, caches.into_iter().map(|cache| cache.widened(k, capacity)).collect())
    }

    fn step(
        &self,
        ids: Tensor<2, Int>,
        positions: Tensor<2, Int>,
        mask: &CacheMask,
        at: usize,
        cache: &mut Self::Cache,
    ) -> Tensor<2> {
        self.stepped(ids, positions, mask, at, cache)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device::largest_difference;
    use crate::model::sampling::to_vec;
    use crate::spec::ModelSize;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn hidden(probability: f64, seed: u64) -> Vec<f32> {
        let device = Device::flex();
        let model = Gpt2::init(&ModelSize::Test.dimensions(), 50, 1, &device);
        let rows = [vec![None, Some(3), Some(7), Some(9)], vec![Some(1), Some(2), Some(30), None]];
        let mut dropout = Dropout::new(probability, ChaCha8Rng::seed_from_u64(seed));
        to_vec(model.hidden_with_dropout(&rows, &mut dropout).unwrap()).unwrap()
    }

    #[test]
    fn without_probability_dropout_changes_nothing() {
        let device = Device::flex();
        let model = Gpt2::init(&ModelSize::Test.dimensions(), 50, 1, &device);
        let rows = [vec![None, Some(3), Some(7), Some(9)], vec![Some(1), Some(2), Some(30), None]];
        let plain = to_vec(model.hidden(&TokenBatch::new(&rows, &device))).unwrap();
        let dropped = hidden(0.0, 1);
        // Hidden states of padding are never read; both forms give it some number.
        let real = |v: &[f32]| [&v[32..4 * 32], &v[4 * 32..7 * 32]].concat();
        assert!(largest_difference(&real(&plain), &real(&dropped)) < 1e-5);
    }

    #[test]
    fn dropout_is_its_stream_and_keeps_the_mean() {
        assert_eq!(hidden(0.1, 1), hidden(0.1, 1));
        assert_ne!(hidden(0.1, 1), hidden(0.1, 2));
        let mut dropout = Dropout::new(0.1, ChaCha8Rng::seed_from_u64(3));
        let ones = to_vec(dropout.apply(Tensor::<2>::ones([300, 300], &Device::flex()))).unwrap();
        let zeros = ones.iter().filter(|v| **v == 0.0).count() as f64 / 90_000.0;
        let mean = ones.iter().map(|v| f64::from(*v)).sum::<f64>() / 90_000.0;
        // Standard errors are 0.001 and 0.0011.
        assert!((zeros - 0.1).abs() < 0.005 && (mean - 1.0).abs() < 0.006, "{zeros} {mean}");
    }
}
