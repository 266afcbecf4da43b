//! GPT-2 (pre-LN transformer, tied LM head) as in paper section 2.1 and the released code's model.py.
//!
//! Shapes: `batch` rows, `time` positions, `width` channels, `vocab` tokens. Rows are left-padded: a padded
//! position is masked out of attention and does not advance the position index.

use super::ModelError;
use super::device::is_cpu;
use super::fused::{self, Rows, attention, attention_step, attention_weights, gelu, split_heads};
use super::sampling::targets;
use super::vocabulary::check_ids;
use crate::spec::Dimensions;
use burn::tensor::module::embedding;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use crate::spec::config::LAYER_NORM_EPSILON;
/// Added to the attention scores of masked positions.
const MASKED: f32 = -1e9;

/// One named parameter; its rank is part of its type so that no reshape is needed in the forward pass.
#[derive(Debug, Clone)]
pub enum Weight {
    Vector(Tensor<1>),
    Matrix(Tensor<2>),
}

impl Weight {
    /// Shape, outermost first.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Vector(t) => t.dims().to_vec(),
            Self::Matrix(t) => t.dims().to_vec(),
        }
    }
    /// All elements, row-major, as `[elements]`.
    pub fn flatten(self) -> Tensor<1> {
        match self {
            Self::Vector(t) => t,
            Self::Matrix(t) => {
                let [a, b] = t.dims();
                t.reshape([a * b])
            }
        }
    }
    /// The inverse of [`Weight::flatten`] for a weight of this shape.
    pub fn like(&self, flat: Tensor<1>) -> Self {
        Self::of_shape(&self.shape(), flat)
    }
    /// A weight of one dimension or two from its elements.
    pub fn of_shape(shape: &[usize], flat: Tensor<1>) -> Self {
        match shape {
            [rows, columns] => Self::Matrix(flat.reshape([*rows, *columns])),
            _ => Self::Vector(flat),
        }
    }
    /// The same numbers without a gradient graph.
    pub fn inner(self) -> Self {
        match self {
            Self::Vector(t) => Self::Vector(if t.is_autodiff() { t.inner() } else { t }),
            Self::Matrix(t) => Self::Matrix(if t.is_autodiff() { t.inner() } else { t }),
        }
    }
    /// A leaf of a gradient graph with the same numbers.
    pub fn trainable(self) -> Self {
        match self.inner() {
            Self::Vector(t) => Self::Vector(t.autodiff().require_grad()),
            Self::Matrix(t) => Self::Matrix(t.autodiff().require_grad()),
        }
    }
}

/// Anything made of named weights: lets saving, loading and the optimiser work on every model alike.
pub trait Weights: Sized {
    /// Replaces each weight by `f(name, weight)`; names are Hugging Face's without the `transformer.` prefix.
    fn map_weights<E>(self, f: &mut dyn FnMut(&str, Weight) -> Result<Weight, E>) -> Result<Self, E>;

    /// A copy that records gradients.
    fn trainable(self) -> Self {
        infallible(self.map_weights(&mut |_, w| Ok(w.trainable())))
    }
    /// A copy without gradients, for sampling and scoring.
    fn frozen(self) -> Self {
        infallible(self.map_weights(&mut |_, w| Ok(w.inner())))
    }
}

/// Unwraps a result whose error type has no values.
fn infallible<T>(result: Result<T, std::convert::Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// `x W + b` on `[rows, in]`; W is `[in, out]` as in GPT-2's Conv1D.
#[derive(Debug, Clone)]
pub struct Linear {
    pub weight: Tensor<2>,
    pub bias: Tensor<1>,
}

impl Linear {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        fused::linear(x, self.weight.clone(), self.bias.clone(), None)
    }
    /// residual + x W + b
    fn onto(&self, residual: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        fused::linear(x, self.weight.clone(), self.bias.clone(), Some(residual))
    }
}

/// Layer normalisation over the last axis.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    pub weight: Tensor<1>,
    pub bias: Tensor<1>,
    pub epsilon: f64,
}

impl LayerNorm {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        fused::layer_norm(x, self.weight.clone(), self.bias.clone(), self.epsilon)
    }
}

/// One transformer block.
#[derive(Debug, Clone)]
pub struct Block {
    pub ln_1: LayerNorm,
    pub c_attn: Linear,
    pub attn_proj: Linear,
    pub ln_2: LayerNorm,
    pub c_fc: Linear,
    pub mlp_proj: Linear,
}

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
}

/// A left- or right-padded batch of token rows, ready for the device: without its padding on the CPU, where rows of any
/// length can follow each other, with it elsewhere.
#[derive(Debug, Clone)]
pub struct Batch {
    /// `[1, tokens]`; padding that is kept is token 0.
    pub ids: Tensor<2, Int>,
    /// `[1, tokens]`: number of real tokens before each real one. Padding's positions are never seen; they stay inside
    /// the context however long the row is.
    pub positions: Tensor<2, Int>,
    pub rows: Rows,
    /// Rows, and positions of each with its padding.
    pub dims: [usize; 2],
    /// Index of the last real token of each row.
    pub last: Vec<usize>,
    /// Where each of the batch · time positions lies among the tokens: a padded one where the last real token before it
    /// does (the row's first, where there is none). None where nothing is padded away.
    places: Option<Vec<usize>>,
}

impl Batch {
    /// Rows of equal length; `None` is padding. [`Gpt2::batch`] checks that a model can look them up.
    pub(super) fn new(rows: &[Vec<Option<u32>>], device: &Device) -> Self {
        if is_cpu(device) { Self::packed(rows, device) } else { Self::padded(rows, device).0 }
    }

    fn packed(rows: &[Vec<Option<u32>>], device: &Device) -> Self {
        let time = rows.first().map_or(0, Vec::len);
        let (mut ids, mut positions, mut lengths) = (Vec::new(), Vec::new(), Vec::with_capacity(rows.len()));
        let (mut places, mut last) = (Vec::with_capacity(rows.len() * time), vec![0; rows.len()]);
        for (r, row) in rows.iter().enumerate() {
            let start = ids.len();
            for (i, token) in row.iter().enumerate() {
                if let Some(token) = token {
                    positions.push((ids.len() - start) as i32);
                    ids.push(*token as i32);
                    last[r] = i;
                }
                places.push(ids.len().saturating_sub(1).max(start));
            }
            if ids.len() == start && time > 0 {
                // Of nothing but padding, one token stays.
                ids.push(0);
                positions.push(0);
            }
            lengths.push((ids.len() - start) as i32);
        }
        let places = (ids.len() < places.len()).then_some(places);
        let lengths = Tensor::from_data(TensorData::new(lengths, [rows.len()]), device);
        Self::build(ids, positions, Rows::Packed(lengths), [rows.len(), time], last, places, device)
    }

    /// The same with its padding, and what hides the padding from attention.
    fn padded(rows: &[Vec<Option<u32>>], device: &Device) -> (Self, Tensor<4>) {
        let (b, t) = (rows.len(), rows.first().map_or(0, Vec::len));
        let mut ids = vec![0i32; b * t];
        let mut positions = vec![0i32; b * t];
        let mut last = vec![0; b];
        let mut bias = vec![MASKED; b * t * t];
        for (r, row) in rows.iter().enumerate() {
            let mut seen = 0;
            for (i, token) in row.iter().enumerate() {
                positions[r * t + i] = if token.is_some() { seen } else { (seen - 1).max(0) };
                if let Some(token) = token {
                    ids[r * t + i] = *token as i32;
                    last[r] = i;
                    seen += 1;
                }
                for j in 0..=i {
                    if row[j].is_some() || i == j {
                        bias[(r * t + i) * t + j] = 0.0;
                    }
                }
            }
        }
        let bias = Tensor::from_data(TensorData::new(bias, [b, 1, t, t]), device);
        (Self::build(ids, positions, Rows::Padded(bias.clone()), [b, t], last, None, device), bias)
    }

    fn build(
        ids: Vec<i32>,
        positions: Vec<i32>,
        rows: Rows,
        dims: [usize; 2],
        last: Vec<usize>,
        places: Option<Vec<usize>>,
        device: &Device,
    ) -> Self {
        let n = ids.len();
        let ints = |values| Tensor::from_data(TensorData::new(values, [1, n]), device);
        Self { ids: ints(ids), positions: ints(positions), rows, dims, last, places }
    }

    /// Which tokens stand at some of the batch · time positions.
    fn tokens_at(&self, positions: &[usize]) -> Tensor<1, Int> {
        let at = |p: &usize| self.places.as_ref().map_or(*p, |places| places[*p]) as i32;
        let at: Vec<i32> = positions.iter().map(at).collect();
        let n = at.len();
        Tensor::from_data(TensorData::new(at, [n]), &self.ids.device())
    }

    /// `[tokens, n]` at all of the batch · time positions.
    fn spread(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.places {
            None => x,
            Some(places) => {
                let every: Vec<usize> = (0..places.len()).collect();
                x.select(0, self.tokens_at(&every))
            }
        }
    }
}

/// GPT-2's dropout for one training pass: of embeddings, attention weights and both residual branches. Masks are drawn on
/// the host from a stream of the caller's, so that they are the same on every device and for every number of threads.
#[derive(Debug)]
pub struct Dropout {
    probability: f64,
    rng: ChaCha8Rng,
}

impl Dropout {
    /// Each number is dropped with `probability`; those kept are divided by 1 - probability.
    pub fn new(probability: f64, rng: ChaCha8Rng) -> Self {
        Self { probability, rng }
    }

    fn apply<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
        let shape = x.dims();
        // 16 bits decide about one number: probabilities are exact to 1/65,536.
        let dropped = (self.probability * 65_536.0).round() as u32;
        let kept = (65_536.0 / f64::from(65_536 - dropped)) as f32;
        let n: usize = shape.iter().product();
        let mut bits = vec![0u16; n];
        self.rng.fill(&mut bits[..]);
        let mask: Vec<f32> = bits.into_iter().map(|b| if u32::from(b) < dropped { 0.0 } else { kept }).collect();
        x.clone() * Tensor::from_data(TensorData::new(mask, shape), &x.device())
    }
}

/// Keys and values of one layer: `[batch, heads, capacity, head width]`, allocated once.
#[derive(Debug, Clone)]
pub struct LayerCache {
    pub keys: Tensor<4>,
    pub values: Tensor<4>,
}

/// Which cache slots a new position may see, those up to its own aside: `real` `[batch, capacity]`, 0 at padding, and the
/// same as `[batch, 1, 1, capacity]` to add to scores, for devices other than the CPU.
#[derive(Debug, Clone)]
pub struct CacheMask {
    pub real: Tensor<2, Int>,
    pub bias: Option<Tensor<4>>,
}

impl CacheMask {
    /// For `k` rows per query: slots of the queries' padding are hidden.
    pub fn new(queries: &[Vec<Option<u32>>], k: usize, capacity: usize, device: &Device) -> Self {
        let n = queries.len() * k;
        let mut real = vec![1i32; n * capacity];
        for (row, slots) in real.chunks_mut(capacity).enumerate() {
            slots.iter_mut().zip(&queries[row / k]).for_each(|(slot, token)| *slot = i32::from(token.is_some()));
        }
        let bias = (!is_cpu(device)).then(|| {
            let bias: Vec<f32> = real.iter().map(|r| if *r == 1 { 0.0 } else { MASKED }).collect();
            Tensor::from_data(TensorData::new(bias, [n, 1, 1, capacity]), device)
        });
        Self { real: Tensor::from_data(TensorData::new(real, [n, capacity]), device), bias }
    }
}

impl Gpt2 {
    /// Random weights: N(0, 0.02), output projections scaled by 1/√(2·layers), biases 0 (GPT-2's init).
    pub fn init(d: &Dimensions, vocab: usize, seed: u64, device: &Device) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let projection = 0.02 / (2.0 * d.layers as f64).sqrt();
        let w = d.width;
        let norm = || LayerNorm {
            weight: Tensor::ones([w], device),
            bias: Tensor::zeros([w], device),
            epsilon: LAYER_NORM_EPSILON,
        };
        let linear = |i: usize, o: usize, std: f64, rng: &mut ChaCha8Rng| Linear {
            weight: normal([i, o], std, rng, device),
            bias: Tensor::zeros([o], device),
        };
        let blocks = (0..d.layers)
            .map(|_| Block {
                ln_1: norm(),
                c_attn: linear(w, 3 * w, 0.02, &mut rng),
                attn_proj: linear(w, w, projection, &mut rng),
                ln_2: norm(),
                c_fc: linear(w, 4 * w, 0.02, &mut rng),
                mlp_proj: linear(4 * w, w, projection, &mut rng),
            })
            .collect();
        Self {
            wte: normal([vocab, w], 0.02, &mut rng, device),
            wpe: normal([d.context, w], 0.01, &mut rng, device),
            blocks,
            ln_f: norm(),
            heads: d.heads,
        }
    }

    /// A model whose weights are still to be loaded: every tensor is one number spread over its shape, so that it takes
    /// no memory.
    pub fn blank(d: &Dimensions, vocab: usize, epsilon: f64, device: &Device) -> Self {
        let w = d.width;
        let vector = |n: usize| Tensor::<1>::zeros([1], device).expand([n]);
        let matrix = |a: usize, b: usize| Tensor::<2>::zeros([1, 1], device).expand([a, b]);
        let norm = || LayerNorm { weight: vector(w), bias: vector(w), epsilon };
        let linear = |i: usize, o: usize| Linear { weight: matrix(i, o), bias: vector(o) };
        let block = || Block {
            ln_1: norm(),
            c_attn: linear(w, 3 * w),
            attn_proj: linear(w, w),
            ln_2: norm(),
            c_fc: linear(w, 4 * w),
            mlp_proj: linear(4 * w, w),
        };
        Self {
            wte: matrix(vocab, w),
            wpe: matrix(d.context, w),
            blocks: (0..d.layers).map(|_| block()).collect(),
            ln_f: norm(),
            heads: d.heads,
        }
    }

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

    /// Rows of equal length as this model reads them; `None` is padding.
    ///
    /// # Errors
    /// An id that has no row, or a row with more tokens than the context: on a GPU both would be read from beyond the end
    /// of a table without a word.
    pub fn batch(&self, rows: &[Vec<Option<u32>>]) -> Result<Batch, ModelError> {
        self.check(rows)?;
        Ok(Batch::new(rows, &self.device()))
    }

    fn check(&self, rows: &[Vec<Option<u32>>]) -> Result<(), ModelError> {
        check_ids(rows.iter().flatten().flatten(), self.vocab())?;
        let (longest, context) = (rows.iter().map(|r| r.iter().flatten().count()).max(), self.dimensions().context);
        match longest.filter(|longest| *longest > context) {
            Some(longest) => {
                Err(ModelError::Input(format!("a text has {longest} tokens, and the model's context is {context}")))
            }
            None => Ok(()),
        }
    }

    /// Response tokens as `[rows * response]`; 0 where a response is shorter than the longest.
    ///
    /// # Errors
    /// An id that has no row.
    pub fn targets(&self, responses: &[Vec<u32>]) -> Result<Tensor<1, Int>, ModelError> {
        check_ids(responses.iter().flatten(), self.vocab())?;
        Ok(targets(responses, &self.device()))
    }

    /// Token plus position embeddings `[batch * time, width]`.
    fn embed(&self, ids: Tensor<2, Int>, positions: Tensor<2, Int>) -> Tensor<2> {
        let [b, t] = ids.dims();
        let x = embedding(self.wte.clone(), ids) + embedding(self.wpe.clone(), positions);
        x.reshape([b * t, self.wte.dims()[1]])
    }

    /// What the block's second residual branch projects, `[rows, 4 * width]`.
    fn mlp_inner(block: &Block, x: Tensor<2>) -> Tensor<2> {
        gelu(block.c_fc.forward(block.ln_2.forward(x)))
    }

    /// The block after its attention: both residual branches added up.
    fn finish(block: &Block, x: Tensor<2>, attended: Tensor<2>) -> Tensor<2> {
        let x = block.attn_proj.onto(x, attended);
        block.mlp_proj.onto(x.clone(), Self::mlp_inner(block, x))
    }

    /// Final hidden states `[batch, time, width]` (after `ln_f`).
    pub fn hidden(&self, batch: &Batch) -> Tensor<3> {
        let [b, t] = batch.dims;
        batch.spread(self.forward(batch, None, None)).reshape([b, t, self.wte.dims()[1]])
    }

    /// Final hidden states `[positions, width]` at some positions alone, given as row · time + position. What the last block
    /// does after its attention is done there only: nobody reads it elsewhere.
    pub fn hidden_at(&self, batch: &Batch, positions: &[usize]) -> Tensor<2> {
        self.forward(batch, Some(positions), None)
    }

    /// [`Gpt2::hidden_at`], and each layer's keys and values at all positions.
    pub fn prefill(&self, batch: &Batch, positions: &[usize]) -> (Tensor<2>, Vec<LayerCache>) {
        let mut caches = Vec::with_capacity(self.blocks.len());
        let hidden = self.forward(batch, Some(positions), Some(&mut caches));
        (hidden, caches)
    }

    fn forward(
        &self,
        batch: &Batch,
        positions: Option<&[usize]>,
        mut caches: Option<&mut Vec<LayerCache>>,
    ) -> Tensor<2> {
        let [b, t] = batch.dims;
        let positions = positions.map(|positions| batch.tokens_at(positions));
        let mut x = self.embed(batch.ids.clone(), batch.positions.clone());
        for (i, block) in self.blocks.iter().enumerate() {
            let qkv = block.c_attn.forward(block.ln_1.forward(x.clone()));
            if let Some(caches) = caches.as_deref_mut() {
                let [_, keys, values] = split_heads(batch.spread(qkv.clone()), b, t, self.heads);
                caches.push(LayerCache { keys, values });
            }
            let mut attended = attention(qkv, &batch.rows, self.heads);
            if let Some(positions) = positions.as_ref().filter(|_| i + 1 == self.blocks.len()) {
                (x, attended) = (x.select(0, positions.clone()), attended.select(0, positions.clone()));
            }
            x = Self::finish(block, x, attended);
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
        let (batch, bias) = Batch::padded(rows, &self.device());
        let [b, t] = batch.dims;
        let width = self.wte.dims()[1];
        let mut x = dropout.apply(self.embed(batch.ids.clone(), batch.positions.clone()));
        for block in &self.blocks {
            let qkv = block.c_attn.forward(block.ln_1.forward(x.clone()));
            let [q, k, v] = split_heads(qkv, b, t, self.heads);
            let weights = dropout.apply(attention_weights(q, k, bias.clone()));
            let attended = weights.matmul(v).swap_dims(1, 2).reshape([b * t, width]);
            x = x + dropout.apply(block.attn_proj.forward(attended));
            x = x.clone() + dropout.apply(block.mlp_proj.forward(Self::mlp_inner(block, x)));
        }
        Ok(self.ln_f.forward(x).reshape([b, t, width]))
    }

    /// One cached step. `ids`, `positions`: `[batch, 1]`; `at` is the cache slot written. Returns the final hidden state
    /// `[batch, width]`.
    pub fn step(
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
            let qkv = block.c_attn.forward(block.ln_1.forward(x.clone()));
            let (attended, cache) = attention_step(qkv, cache, &mask.real, mask.bias.as_ref(), at);
            x = Self::finish(block, x, attended);
            caches.push(cache);
        }
        self.ln_f.forward(x)
    }

    /// Logits at temperature 1 of hidden states `[rows, width]` -> `[rows, vocab]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.wte.clone().transpose())
    }

    /// Hidden states that predict the response: positions `query-1 .. query+response-1` of `[batch, time, width]`,
    /// as `[batch * response, width]`.
    pub fn response_hidden(hidden: Tensor<3>, query: usize, response: usize) -> Tensor<2> {
        let [b, _, w] = hidden.dims();
        hidden.slice([0..b, query - 1..query + response - 1, 0..w]).reshape([b * response, w])
    }

    /// The same computed for rows that end in their responses, without what is not needed for it.
    pub fn hidden_before_last(&self, batch: &Batch, response: usize) -> Tensor<2> {
        let [b, t] = batch.dims;
        let at: Vec<usize> = (0..b).flat_map(|r| (t - response - 1..t - 1).map(move |i| r * t + i)).collect();
        self.hidden_at(batch, &at)
    }

    /// Log-probabilities of `targets` `[rows]` at `temperature` from hidden states `[rows, width]` -> `[rows]`.
    pub fn token_logprobs(&self, hidden: Tensor<2>, targets: Tensor<1, Int>, temperature: f64) -> Tensor<1> {
        fused::token_logprobs(hidden, self.wte.clone(), targets, temperature)
    }
}

impl Weights for Gpt2 {
    fn map_weights<E>(mut self, f: &mut dyn FnMut(&str, Weight) -> Result<Weight, E>) -> Result<Self, E> {
        self.wte = matrix(self.wte, "wte.weight", f)?;
        self.wpe = matrix(self.wpe, "wpe.weight", f)?;
        self.blocks = self
            .blocks
            .into_iter()
            .enumerate()
            .map(|(i, b)| {
                Ok(Block {
                    ln_1: layer_norm(b.ln_1, &format!("h.{i}.ln_1"), f)?,
                    c_attn: linear(b.c_attn, &format!("h.{i}.attn.c_attn"), f)?,
                    attn_proj: linear(b.attn_proj, &format!("h.{i}.attn.c_proj"), f)?,
                    ln_2: layer_norm(b.ln_2, &format!("h.{i}.ln_2"), f)?,
                    c_fc: linear(b.c_fc, &format!("h.{i}.mlp.c_fc"), f)?,
                    mlp_proj: linear(b.mlp_proj, &format!("h.{i}.mlp.c_proj"), f)?,
                })
            })
            .collect::<Result<_, E>>()?;
        self.ln_f = layer_norm(self.ln_f, "ln_f", f)?;
        Ok(self)
    }
}

/// A transformer with a linear head to one number: the value function, the reward model, r_s.
#[derive(Debug, Clone)]
pub struct ScalarHead {
    /// `[width, 1]`
    pub weight: Tensor<2>,
    /// `[1]`
    pub bias: Tensor<1>,
}

impl ScalarHead {
    /// Weights ~ N(0, std), bias 0. The released code: std = 0 for values, 1/√(width+1) for rewards.
    pub fn init(width: usize, std: f64, seed: u64, device: &Device) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self { weight: normal([width, 1], std, &mut rng, device), bias: Tensor::zeros([1], device) }
    }
    /// `[rows, width]` -> `[rows]`
    pub fn forward(&self, hidden: Tensor<2>) -> Tensor<1> {
        let rows = hidden.dims()[0];
        (hidden.matmul(self.weight.clone()) + self.bias.clone().unsqueeze::<2>()).reshape([rows])
    }
}

/// Transformer and scalar head, sharing no weights with any other model (the authors found sharing overfits).
#[derive(Debug, Clone)]
pub struct ScalarModel {
    pub trunk: Gpt2,
    pub head: ScalarHead,
}

impl ScalarModel {
    /// The scalar at the last real token of each row -> `[batch]` (padding repeats the last real token's state).
    pub fn score(&self, batch: &Batch) -> Tensor<1> {
        let [_, t] = batch.dims;
        let last: Vec<usize> = batch.last.iter().enumerate().map(|(r, last)| r * t + last).collect();
        self.head.forward(self.trunk.hidden_at(batch, &last))
    }
}

impl Weights for ScalarModel {
    fn map_weights<E>(mut self, f: &mut dyn FnMut(&str, Weight) -> Result<Weight, E>) -> Result<Self, E> {
        self.trunk = self.trunk.map_weights(f)?;
        self.head.weight = matrix(self.head.weight, "score.weight", f)?;
        self.head.bias = vector(self.head.bias, "score.bias", f)?;
        Ok(self)
    }
}

type Map<'a, E> = &'a mut dyn FnMut(&str, Weight) -> Result<Weight, E>;

fn matrix<E>(t: Tensor<2>, name: &str, f: Map<'_, E>) -> Result<Tensor<2>, E> {
    let shape = t.dims();
    Ok(match f(name, Weight::Matrix(t))? {
        Weight::Matrix(t) => t,
        Weight::Vector(t) => t.reshape(shape),
    })
}
fn vector<E>(t: Tensor<1>, name: &str, f: Map<'_, E>) -> Result<Tensor<1>, E> {
    Ok(f(name, Weight::Vector(t))?.flatten())
}
fn linear<E>(l: Linear, name: &str, f: Map<'_, E>) -> Result<Linear, E> {
    Ok(Linear {
        weight: matrix(l.weight, &format!("{name}.weight"), f)?,
        bias: vector(l.bias, &format!("{name}.bias"), f)?,
    })
}
fn layer_norm<E>(l: LayerNorm, name: &str, f: Map<'_, E>) -> Result<LayerNorm, E> {
    Ok(LayerNorm {
        weight: vector(l.weight, &format!("{name}.weight"), f)?,
        bias: vector(l.bias, &format!("{name}.bias"), f)?,
        epsilon: l.epsilon,
    })
}

/// Normal numbers by Box-Muller from the given stream, so that initialisation is the same on every device.
fn normal<const D: usize>(shape: [usize; D], std: f64, rng: &mut ChaCha8Rng, device: &Device) -> Tensor<D> {
    let n: usize = shape.iter().product();
    let mut values = Vec::with_capacity(n + 1);
    while values.len() < n {
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        let radius = (-2.0 * u.ln()).sqrt() * std;
        values.push((radius * (std::f64::consts::TAU * v).cos()) as f32);
        values.push((radius * (std::f64::consts::TAU * v).sin()) as f32);
    }
    values.truncate(n);
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device::largest_difference;
    use crate::model::sampling::to_vec;
    use crate::spec::ModelSize;

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
        let plain = to_vec(model.hidden(&Batch::new(&rows, &device))).unwrap();
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
