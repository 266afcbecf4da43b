//! What the benchmarks work on: models of three sizes with random weights, queries of the paper's two lengths, and a
//! spec with its PPO constants. Everything follows from the sizes alone, so that a run can be repeated.

mod setting;

#[allow(unused_imports, reason = "each benchmark uses a part of it")]
pub use setting::Setting;

use burn::tensor::Device;
use runner::model::gpt2::{Gpt2, ScalarHead, ScalarModel};
use runner::rlhf::reward::Normalization;
use runner::spec::{AdamForm, Dimensions, ModelSize, Spec};
use runner::task::scoring::Scorer;
use runner::task::{Query, Task};

/// Longest sequence of every size: GPT-2's, so that both tasks fit.
const CONTEXT: usize = 1024;
/// Every token whose id is this modulo [`STOP_EVERY`] ends a response, so that random responses are cut at random.
const STOP_AT: usize = 13;
const STOP_EVERY: usize = 16;

/// Shape of a model and of one batch of episodes.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    pub dimensions: Dimensions,
    pub vocab: usize,
    /// Tokens of a query, padding included.
    pub query: usize,
    pub response: usize,
    /// Episodes per update.
    pub batch: usize,
}

#[allow(dead_code, reason = "each benchmark uses a part of it")]
impl Workload {
    /// `vocab`: by default GPT-2's, and for the test size one of a tokenizer trained on little text.
    pub fn new(size: ModelSize, vocab: Option<usize>, (query, response): (usize, usize), batch: usize) -> Self {
        let dimensions = Dimensions { context: CONTEXT, ..size.dimensions() };
        let usual = if size == ModelSize::Test { 1024 } else { 50_257 };
        Self { dimensions, vocab: vocab.unwrap_or(usual), query, response, batch }
    }

    /// A language model; GPT-2's initialisation.
    pub fn language_model(&self, seed: u64, device: &Device) -> Gpt2 {
        Gpt2::init(&self.dimensions, self.vocab, seed, device)
    }

    /// A language model with a scalar head. Not zero as at the start of training, so that all its gradients are at
    /// work.
    pub fn scalar_model(&self, seed: u64, device: &Device) -> ScalarModel {
        let width = self.dimensions.width;
        let head = ScalarHead::init(width, (width as f64 + 1.0).powf(-0.5), seed, device);
        ScalarModel { trunk: self.language_model(seed, device), head }
    }

    /// As many queries as a batch, of random tokens and of all lengths from half to full, padded on the left; others for
    /// every update.
    pub fn queries(&self, update: usize) -> Vec<Query> {
        let row = |r: usize| {
            let length = self.query - r * self.query / (2 * self.batch);
            let row = (update * self.batch + r) as u64;
            let token = |i: usize| Some((mix(row, i as u64) % self.vocab as u64) as u32);
            (0..self.query).map(|i| if i < self.query - length { None } else { token(i) }).collect()
        };
        (0..self.batch).map(row).collect()
    }

    /// Random responses, where nothing is sampled.
    pub fn responses(&self) -> Vec<Vec<u32>> {
        let token = |r: usize, i: usize| (mix(r as u64, (i + CONTEXT) as u64) % self.vocab as u64) as u32;
        (0..self.batch).map(|r| (0..self.response).map(|i| token(r, i)).collect()).collect()
    }

    /// Where responses are cut before r reads them: from two thirds of their length on, as in the paper's tasks.
    pub fn task(&self) -> Task {
        Task {
            truncates: (0..self.vocab).map(|id| id % STOP_EVERY == STOP_AT).collect(),
            after: 2 * self.response / 3,
            missing_score: -1.0,
            prefix: Vec::new(),
            suffix: Vec::new(),
            formatted: false,
            query_length: self.query,
        }
    }

    /// r with no normalisation.
    pub fn scorer(&self, seed: u64, device: &Device) -> Scorer {
        Scorer { source: self.scalar_model(seed, device).into(), normalization: Normalization { gain: 1.0, bias: 0.0 } }
    }

    /// The released code's PPO constants with Adam in PyTorch's form, so that the peer can use its own Adam.
    #[allow(dead_code, reason = "each benchmark uses a part of it")]
    pub fn spec(&self) -> Result<Spec, toml::de::Error> {
        let mut spec: Spec = toml::from_str("spec_version = 1\nname = \"bench\"")?;
        spec.policy.batch_size = self.batch;
        spec.policy.adam.form = AdamForm::Torch;
        spec.task.response_length = self.response;
        spec.task.query_length = self.query;
        Ok(spec)
    }
}

/// A well-mixed number from two (the finaliser of SplitMix64).
fn mix(a: u64, b: u64) -> u64 {
    let x = (a << 32 | b).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
