//! The model ρ: its size, and where its weights come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Size of a GPT-2 shaped transformer (paper section 2.1; `tiny`, `test` and `small` are this project's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ModelSize {
    #[serde(rename = "test")]
    Test,
    #[serde(rename = "tiny")]
    Tiny,
    #[serde(rename = "small")]
    Small,
    #[serde(rename = "124M")]
    M124,
    #[serde(rename = "355M")]
    M355,
    #[serde(rename = "774M")]
    M774,
    #[serde(rename = "1558M")]
    M1558,
}

/// Explicit transformer dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dimensions {
    #[schemars(range(min = 1, max = 200))]
    pub layers: usize,
    #[schemars(range(min = 1, max = 256))]
    pub heads: usize,
    /// Width of the residual stream; a multiple of `heads`.
    #[schemars(range(min = 1, max = 65536))]
    pub width: usize,
    /// Longest sequence in tokens.
    #[schemars(range(min = 1, max = 1048576))]
    pub context: usize,
}

impl ModelSize {
    /// Layers, heads, width and context of the size.
    pub fn dimensions(self) -> Dimensions {
        let (layers, heads, width, context) = match self {
            Self::Test => (2, 2, 32, 128),
            Self::Tiny => (4, 4, 128, 128),
            Self::Small => (6, 6, 384, 512),
            Self::M124 => (12, 12, 768, 1024),
            Self::M355 => (24, 16, 1024, 1024),
            Self::M774 => (36, 20, 1280, 1024),
            Self::M1558 => (48, 25, 1600, 1024),
        };
        Dimensions { layers, heads, width, context }
    }
}

/// What matrix products are computed in, of every model of a run. Weights, Adam's moments, the residual stream, layer
/// norms, softmax, losses and all sums are float32 in any case, and so are weights on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32.
    #[default]
    F32,
    /// Factors are rounded to IEEE float16 and sums of their products are float32; losses are scaled. For GPUs whose
    /// kernels have float16 (`runner doctor` says which).
    F16,
}

impl Precision {
    /// What to say to whoever asks for bfloat16, which other programs have.
    pub const NO_BF16: &str = "no device computes in bfloat16 here: kernels for GPUs are WGSL, which has no such type; \"f16\" is as small, and its losses are scaled";

    /// As specs have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// What whoever shows numbers says of it; nothing of float32.
    pub fn mark(self) -> Option<String> {
        (!self.is_f32()).then(|| "products in float16".to_owned())
    }

    /// A kind of device as names of stages have it, which computes in this precision.
    pub fn on(self, device_kind: &str) -> String {
        if self.is_f32() { device_kind.to_string() } else { format!("{device_kind} {}", self.word()) }
    }

    /// Whether this is what all computed in before there was a choice: such a spec has the bytes that it had then.
    pub fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}

/// The pretrained language model ρ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    pub size: ModelSize,
    /// Replaces `size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<Dimensions>,
    /// What matrix products are computed in.
    #[serde(skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    pub weights: WeightsSpec,
}

impl Default for ModelSpec {
    fn default() -> Self {
        Self { size: ModelSize::Tiny, dimensions: None, precision: Precision::F32, weights: WeightsSpec::default() }
    }
}

impl ModelSpec {
    pub fn dimensions(&self) -> Dimensions {
        self.dimensions.unwrap_or_else(|| self.size.dimensions())
    }
}

/// Where ρ's weights come from; exactly one key. Default: pretrain from scratch on the task's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightsSpec {
    /// A named source of weights, such as `gpt2` (`runner sources` lists them).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A directory with config.json, model.safetensors and tokenizer.json (Hugging Face GPT-2 layout).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A model of the Hugging Face hub, `owner/name`; downloaded once into the hub's own cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hf: Option<String>,
    /// Branch, tag or commit of `hf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Train a byte-level BPE tokenizer and the model from scratch on the task's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrain: Option<PretrainSpec>,
}

impl Default for WeightsSpec {
    fn default() -> Self {
        Self { source: None, path: None, hf: None, revision: None, pretrain: Some(PretrainSpec::default()) }
    }
}

/// The tokenizer of a model that is pretrained from scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PretrainTokenizer {
    /// A byte-level BPE trained on the task's text.
    Trained,
    /// GPT-2's own, so that its token ids (the released label files') mean the same.
    Gpt2,
}

/// Language-model pretraining: AdamW-free plain Adam, linear warm-up then cosine decay to 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainSpec {
    pub tokenizer: PretrainTokenizer,
    /// Tokens in the trained byte-level BPE vocabulary, `<|endoftext|>` included; GPT-2's own has 50,257.
    #[schemars(range(min = 257, max = 65536))]
    pub vocabulary: usize,
    /// Synthetic passages to generate (ignored for data read from files).
    #[schemars(range(min = 1, max = 100000000))]
    pub passages: usize,
    #[schemars(range(min = 1, max = 100000000))]
    pub steps: usize,
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: usize,
    /// Tokens per training sequence.
    #[schemars(range(min = 2, max = 1048576))]
    pub sequence_length: usize,
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lr: f64,
    pub warmup_steps: usize,
    /// Write each document's summary after it, as the task asks for it (prefix, text, suffix, summary). GPT-2 knows
    /// "TL;DR:" from the web's pages; a model made here has seen nothing else.
    pub summaries: bool,
}

impl Default for PretrainSpec {
    fn default() -> Self {
        Self {
            tokenizer: PretrainTokenizer::Trained,
            vocabulary: 1024,
            passages: 20_000,
            steps: 600,
            batch_size: 32,
            sequence_length: 64,
            lr: 2e-3,
            warmup_steps: 50,
            summaries: false,
        }
    }
}
