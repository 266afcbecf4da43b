//! The experiment spec as a person writes it: every section, every key, its default and its source.
//!
//! These types are the single definition of the file format: serde reads them, schemars turns them into
//! `schemas/spec.schema.json`, and `runner validate` checks files against that schema. Defaults are the
//! paper's (or its released code's, where the paper is silent); presets and files replace them.

pub use crate::rlhf::entropy::EntropySpec;
pub use crate::rlhf::kl::{KlSchedule, KlSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A partial spec: the same keys, all optional. Used by `[profile.NAME]` and `[runs.NAME]`.
pub type Overlay = toml::Table;

/// One experiment. See README.md, "How to write a spec".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Version of this file format.
    #[schemars(range(min = 1, max = 1))]
    pub spec_version: u32,
    /// Name of the experiment; the default results directory is `results/<name>`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub name: String,
    /// One sentence for `runner ls` and the report.
    #[serde(default)]
    pub description: String,
    /// Tables and figures of the paper that this spec contributes to.
    #[serde(default)]
    pub reproduces: Vec<String>,
    /// Root of all random streams.
    #[serde(default = "one")]
    pub seed: u64,
    /// Whose numbers the task's preset gives where the paper and its released code differ.
    #[serde(default)]
    pub follows: Follows,
    #[serde(default)]
    pub model: ModelSpec,
    #[serde(default)]
    pub supervised: SupervisedSpec,
    #[serde(default)]
    pub task: TaskSpec,
    #[serde(default)]
    pub labeler: LabelerSpec,
    #[serde(default)]
    pub collect: CollectSpec,
    #[serde(default)]
    pub reward: RewardSpec,
    #[serde(default)]
    pub policy: PolicySpec,
    #[serde(default)]
    pub evaluate: EvaluateSpec,
    #[serde(default)]
    pub guards: GuardsSpec,
    /// Named variants of this spec that are run and plotted together; each is a partial spec.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, serde_json::Map<String, serde_json::Value>>")]
    pub runs: BTreeMap<String, Overlay>,
}

fn one() -> u64 {
    1
}

/// Where the numbers of a preset come from. What the paper does not say, both take from the released code
/// (docs/hyperparameters.md lists every difference).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Follows {
    Paper,
    #[default]
    ReleasedCode,
}

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

/// The pretrained language model ρ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    pub size: ModelSize,
    /// Replaces `size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<Dimensions>,
    pub weights: WeightsSpec,
}

impl Default for ModelSpec {
    fn default() -> Self {
        Self { size: ModelSize::Tiny, dimensions: None, weights: WeightsSpec::default() }
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
    /// Write each document's summary after it, as the task asks for it (prefix, text, suffix, summary). GPT-2 knows "TL;DR:"
    /// from the web's pages; a model made here has seen nothing else.
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

/// What supervised fine-tuning learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SupervisedOn {
    /// No fine-tuning: ρ is used as it comes.
    Nothing,
    /// The task's documents as text, as on BookCorpus before the stylistic tasks (paper section 3.1).
    Text,
    /// The reference summary that follows each query: the supervised baseline (paper section 3.2).
    Summaries,
}

/// Supervised fine-tuning of ρ before anything else, with Adam, cosine decay to 0 and a sweep of learning rates: the one with the lowest validation
/// loss is kept (paper section 3.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisedSpec {
    pub on: SupervisedOn,
    /// Learning rates to try. Default: the paper's 8 values from 1e-4 to 3e-4, evenly spaced in their logarithm.
    #[schemars(length(min = 1, max = 100), inner(range(min = 0.0, max = 1.0)))]
    pub lrs: Vec<f64>,
    #[schemars(range(min = 1, max = 1000))]
    pub epochs: usize,
    /// Sequences per step.
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: usize,
    /// Tokens per sequence of `on = "text"`.
    #[schemars(range(min = 2, max = 1048576))]
    pub sequence_length: usize,
    /// Probability of dropping embeddings, attention weights and residual branches, as in GPT-2.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub dropout: f64,
    /// Training documents held out to choose the learning rate.
    #[schemars(range(min = 1, max = 100000000))]
    pub validation: usize,
    pub adam: AdamSpec,
}

impl Default for SupervisedSpec {
    fn default() -> Self {
        let lr = |i: usize| 1e-4 * 3f64.powf(i as f64 / 7.0);
        Self {
            on: SupervisedOn::Nothing,
            // Rounded to what a person would write.
            lrs: (0..8).map(|i| (lr(i) * 1e7).round() / 1e7).collect(),
            epochs: 1,
            batch_size: 64,
            sequence_length: 512,
            dropout: 0.1,
            validation: 30_000,
            adam: AdamSpec { form: AdamForm::Torch, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
        }
    }
}

/// Named defaults of a task (paper section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskPreset {
    /// Continue a passage with positive sentiment.
    Sentiment,
    /// Continue a passage with vivid description.
    Descriptiveness,
    /// Summarize a Reddit post.
    Tldr,
    /// Summarize a news article.
    Cnndm,
    /// No defaults: the spec says everything.
    Custom,
}

/// How documents become queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueryRule {
    /// Every run of whole sentences that fits, without overlap; many queries from a long document.
    Sentences,
    /// The released code's rule, one query per document: what follows the first `query_start` token, cut to
    /// `query_length` tokens and then after the last `query_end` token. Documents without the tokens give none.
    Excerpt,
}

/// Clean-up of documents before anything else (released code: datasets/tldr.py and datasets/cnndm.py).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Clean {
    /// As it is.
    None,
    /// Mojibake repaired, three and more newlines become two, no white space at the ends.
    Tldr,
    /// The same, and no byline, "(CNN) --" lead, curly single quotes, or anything from "@highlight" on.
    Cnndm,
}

/// Which tokens end a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TruncateMatch {
    /// The one token that `truncate_at` is (released code).
    Token,
    /// Every token that contains it.
    Contains,
}

/// What is asked of the model: queries, responses, truncation (paper section 3.1, released code lm_tasks.py).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TaskSpec {
    pub preset: TaskPreset,
    pub data: DataSpec,
    pub clean: Clean,
    pub query_rule: QueryRule,
    /// Text of the token after which an excerpt starts; empty: at the beginning.
    pub query_start: String,
    /// Text of the token with which an excerpt ends; empty: wherever it is cut.
    pub query_end: String,
    /// Put before every query; not counted in `query_length`.
    pub query_prefix: String,
    /// Put after every query; not counted in `query_length`.
    pub query_suffix: String,
    /// Most tokens of a query; shorter ones are padded on the left.
    #[schemars(range(min = 1, max = 1048576))]
    pub query_length: usize,
    /// Shortest query in tokens.
    #[schemars(range(min = 1, max = 1048576))]
    pub query_min_length: usize,
    #[schemars(range(min = 1, max = 1048576))]
    pub response_length: usize,
    /// The response ends after the first token of this text, at or after `truncate_after`.
    pub truncate_at: String,
    pub truncate_match: TruncateMatch,
    /// First response position (0-based) where truncation is allowed.
    pub truncate_after: usize,
    /// Fixed score in RL of a response without the truncation token.
    pub missing_score: f64,
    /// Divides the logits, in sampling and wherever log-probabilities are computed.
    #[schemars(range(min = 0.01, max = 100.0))]
    pub temperature: f64,
}

impl Default for TaskSpec {
    fn default() -> Self {
        Self {
            preset: TaskPreset::Sentiment,
            data: DataSpec::default(),
            clean: Clean::None,
            query_rule: QueryRule::Sentences,
            query_start: String::new(),
            query_end: ".".into(),
            query_prefix: String::new(),
            query_suffix: String::new(),
            query_length: 64,
            query_min_length: 32,
            response_length: 24,
            truncate_at: ".".into(),
            truncate_match: TruncateMatch::Contains,
            truncate_after: 16,
            missing_score: -1.0,
            temperature: 0.7,
        }
    }
}

/// File format of a data source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// Plain text: a .txt file or a folder of them.
    Text,
    /// Tab-separated: text, tab, label; or with a header line of column names.
    Tsv,
    /// Comma-separated with a header line of column names.
    Csv,
    /// One JSON object per line.
    Jsonl,
    /// An array of JSON objects.
    Json,
    /// Apache Parquet.
    Parquet,
    /// CNN/Daily Mail: a folder of `.story` files, each an article with its `@highlight` paragraphs.
    Stories,
}

impl DataFormat {
    /// The word used in specs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Tsv => "tsv",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Stories => "stories",
        }
    }
}

/// What a line of a plain text file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextLines {
    /// A part of a paragraph; blank lines separate paragraphs, whose lines are joined.
    #[default]
    Wrapped,
    /// A paragraph or a sentence of its own, as in BookCorpus.
    Separate,
}

/// Which columns (or JSON keys) hold what. Default: the first known name that the file has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnsSpec {
    /// Known: text, content, article, document, passage, body, reviewText, review, sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Known: summary, highlights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// 0/1 or 1-5 stars. Known: label, overall, stars, rating, sentiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A corpus the program makes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Synthetic {
    /// Short narrative passages from a probabilistic grammar.
    Storyworld,
    /// Product reviews with ratings, from another grammar.
    Reviews,
    /// Posts of 5 to 12 sentences with a summary each, in the shape of the TL;DR task.
    Posts,
    /// News articles with highlights, in the shape of CNN/Daily Mail.
    Articles,
}

/// Where text comes from; exactly one of `source`, `synthetic`, `path` and `hf`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {
    /// A named source, such as `tldr` (`runner sources` lists them).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<Synthetic>,
    /// A file or folder, relative to the file that says so, else to the directory the program is started in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A data set of the Hugging Face hub, `owner/name`; downloaded once into the hub's own cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hf: Option<String>,
    /// Branch, tag or commit of `hf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Which files of the folder or data set to read, with `*` and `?`: `data/train-*.parquet`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
    /// Files that are read for evaluation alone. Without it, every tenth document is held out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_files: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<DataFormat>,
    /// What a line of a plain text file is (default: wrapped).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines: Option<TextLines>,
    #[serde(skip_serializing_if = "ColumnsSpec::is_empty")]
    pub columns: ColumnsSpec,
    /// Records that make one document, in their order: for files of one sentence per record. Punctuation that stands apart
    /// from its word, as in BookCorpus, closes up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 10000))]
    pub join: Option<usize>,
    /// Read at most this many documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub limit: Option<usize>,
}

impl ColumnsSpec {
    /// Nothing is mapped by hand.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Who answers the 4-way comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabelerKind {
    /// A sentiment classifier r_s; the response with the highest log-odds of "positive" wins (paper section 3.1.1).
    Mock,
    /// People, some time ago: labels are read from files in one of the published formats.
    Recorded,
    /// Several programs that stand in for people: they prefer what `labeler.simulated` says, with noise and a habit of
    /// taking the first one shown.
    Simulated,
    /// People, now: questions are written to `labeler.batches`, and the run waits for their answers.
    Human,
}

/// What the rest of the program asks of a kind of labeler: where a new kind says what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// What its labels are called in plans.
    pub about: &'static str,
    /// Its answers are in files: nothing is sampled for it.
    pub recorded: bool,
    /// It is people, whom a run asks and waits for.
    pub asked: bool,
    /// It is people: nothing but r can judge.
    pub people: bool,
    /// It is r_s, which also judges what comes of the labels.
    pub judges: bool,
    /// It stands in for people, and whatever shows numbers says so.
    pub simulated: bool,
    /// It saw responses as they were sampled, and r is to read them truncated; people saw them truncated.
    pub saw_whole: bool,
}

impl LabelerKind {
    /// The word used in specs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mock => "mock",
            Self::Recorded => "recorded",
            Self::Simulated => "simulated",
            Self::Human => "human",
        }
    }

    /// What it is.
    pub const fn nature(self) -> Nature {
        const NONE: Nature = Nature {
            about: "",
            recorded: false,
            asked: false,
            people: false,
            judges: false,
            simulated: false,
            saw_whole: false,
        };
        match self {
            Self::Mock => Nature { about: "comparisons answered by r_s", judges: true, saw_whole: true, ..NONE },
            Self::Recorded => Nature { about: "recorded labels", recorded: true, people: true, ..NONE },
            Self::Simulated => Nature { about: "simulated comparisons", simulated: true, saw_whole: true, ..NONE },
            Self::Human => Nature { about: "comparisons for people", asked: true, people: true, ..NONE },
        }
    }
}

/// Published formats of human labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabelFormat {
    /// The paper's own label files: a JSON array of objects of GPT-2 token ids.
    LmHumanPreferences,
    /// The comparisons of Stiennon et al. 2020: JSON lines with info, summaries and choice.
    SummarizeFromFeedback,
    /// Objects with prompt, chosen and rejected, as TRL reads them.
    PreferencePairs,
}

/// The labeler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelerSpec {
    pub kind: LabelerKind,
    /// Recorded: a named source of labels, such as `labels/tldr_offline_60k` (`runner sources` lists them).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Recorded: the label file, or a folder of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Recorded: the files' format. Default: by the first character, `[` (lm_human_preferences) or `{`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LabelFormat>,
    /// Recorded: only labels of this split (summarize_from_feedback's `split`, for example "train").
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Human: the directory of batches (docs/batches.md), made where it is missing; in a profile that does not say another one,
    /// with `-PROFILE` after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batches: Option<String>,
    /// Human: how questions are asked and answers are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub human: Option<HumanSpec>,
    /// Simulated: what the labelers care for, and how much they differ.
    pub simulated: SimulatedSpec,
    /// Rated reviews the mock classifier learns from: synthetic, or a TSV of `text<TAB>label` (label 0/1, or stars 1-5).
    pub reviews: DataSpec,
    pub classifier: ClassifierSpec,
}

impl Default for LabelerSpec {
    fn default() -> Self {
        Self {
            kind: LabelerKind::Mock,
            source: None,
            path: None,
            format: None,
            split: None,
            batches: None,
            human: None,
            simulated: SimulatedSpec::default(),
            reviews: DataSpec::default(),
            classifier: ClassifierSpec::default(),
        }
    }
}

impl LabelerSpec {
    /// What the labeler is.
    pub fn is(&self) -> Nature {
        self.kind.nature()
    }
    /// Whether r_s is trained: it is the mock labeler, or part of what simulated ones care for.
    pub fn has_classifier(&self) -> bool {
        match self.kind {
            LabelerKind::Mock => true,
            LabelerKind::Recorded | LabelerKind::Human => false,
            LabelerKind::Simulated => self.simulated.weight_score != 0.0,
        }
    }
}

/// What several answers to one question become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// A label each.
    #[default]
    Each,
    /// One label, the answer given most often; of equally frequent ones one drawn at random.
    Majority,
}

/// Questions for people, and what becomes of their answers (paper section 2.1 and appendix; three labelers and a
/// majority are the paper's for evaluation).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HumanSpec {
    /// Different labelers who answer each question.
    #[schemars(range(min = 1, max = 100))]
    pub labelers_per_item: usize,
    pub combine: Combine,
    /// Questions whose best answer is known, one item per line (schemas/items.schema.json, `gold` set). They check
    /// labelers and are never trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gold: Option<String>,
    /// Gold questions put among the others, per question.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gold_share: f64,
    /// Questions that are asked a second time, as a share of all.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub repeat_share: f64,
    /// A Markdown file of what labelers are told. Default: the task's own text (src/label/instructions.rs).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    pub quality: QualitySpec,
}

impl Default for HumanSpec {
    fn default() -> Self {
        Self {
            labelers_per_item: 1,
            combine: Combine::Each,
            gold: None,
            gold_share: 0.05,
            repeat_share: 0.0,
            instructions: None,
            quality: QualitySpec::default(),
        }
    }
}

/// Simulated labelers. Each takes the candidate with the largest sum of weight · standardised quality (mean 0, deviation 1
/// over all candidates of all comparisons), position bias and noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatedSpec {
    /// How many there are; each comparison is answered by one of them, drawn at random.
    #[schemars(range(min = 1, max = 1000))]
    pub labelers: usize,
    /// Weight of r_s, the mock labeler's log-odds of "positive"; at 0 no r_s is trained.
    #[schemars(range(min = -1000.0, max = 1000.0))]
    pub weight_score: f64,
    /// Weight of the share of the response's 4-grams that the source has too.
    #[schemars(range(min = -1000.0, max = 1000.0))]
    pub weight_copy: f64,
    /// Weight of ROUGE-L (F1) with the reference summary, which all queries must then have.
    #[schemars(range(min = -1000.0, max = 1000.0))]
    pub weight_rouge: f64,
    /// Added to the candidate that is shown first; the order is random for every answer.
    #[schemars(range(min = -1000.0, max = 1000.0))]
    pub position_bias: f64,
    /// Scale of the Gumbel noise that each labeler adds to each candidate: choices are a softmax at this temperature. At 0
    /// all labelers are one.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub temperature: f64,
}

impl Default for SimulatedSpec {
    fn default() -> Self {
        Self {
            labelers: 5,
            weight_score: 0.0,
            weight_copy: 1.0,
            weight_rouge: 0.0,
            position_bias: 0.2,
            temperature: 1.0,
        }
    }
}

/// Training of the mock sentiment classifier r_s. Paper: 6 layers, 8 heads, 512 wide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierSpec {
    pub dimensions: Dimensions,
    /// Synthetic reviews to generate (ignored for data read from files).
    #[schemars(range(min = 10, max = 100000000))]
    pub reviews: usize,
    #[schemars(range(min = 1, max = 100000000))]
    pub steps: usize,
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: usize,
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lr: f64,
}

impl Default for ClassifierSpec {
    fn default() -> Self {
        Self {
            dimensions: Dimensions { layers: 6, heads: 8, width: 512, context: 128 },
            reviews: 20_000,
            steps: 2_000,
            batch_size: 32,
            lr: 3e-4,
        }
    }
}

/// When labels are collected (paper section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CollectSchedule {
    /// No labels: PPO straight on the mock labeler's own score (upper curve of figure 2).
    Direct,
    /// All labels on samples of ρ; the reward model is trained once.
    Offline,
    /// In rounds: labels on samples of ρ, a reward model from them, PPO for a part of the episodes; then labels on samples
    /// of π, a new reward model from all labels, the next part; and so on (paper section 4.1 recommends it).
    Batched,
    /// Labels on samples of π while it is trained, most of them early; the reward model is trained before the first episode
    /// and again `retrain` times (paper section 2.3).
    Online,
    /// No RL: π is the supervised model, and the reference is what it was fine-tuned from. Recorded and simulated labels
    /// train a reward model all the same, which then scores both.
    None,
}

/// Label collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CollectSpec {
    pub schedule: CollectSchedule,
    /// 4-way comparisons in all.
    #[schemars(range(min = 1, max = 10000000))]
    pub labels: usize,
    /// Held-out comparisons that measure the reward model's accuracy; of ρ's samples, whatever the schedule.
    #[schemars(range(min = 0, max = 10000000))]
    pub held_out: usize,
    /// Batched: how many rounds. Episodes are divided evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub rounds: Option<usize>,
    /// Batched: labels of each round, `labels` in all. Default: divided evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000), inner(range(min = 1, max = 10000000)))]
    pub round_labels: Option<Vec<usize>>,
    /// Online: labels before the first episode, on samples of ρ. Default: one in ten.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000000))]
    pub initial: Option<usize>,
    /// Online: how often the reward model is trained again, at even spacing in labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub retrain: Option<usize>,
    /// Online: share of the later labels that compare two samples of ρ with two of π, to see how often π wins. They are
    /// trained on like all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation_share: Option<f64>,
    /// Online, with people: unanswered requests at which training waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000000))]
    pub outstanding: Option<usize>,
}

impl Default for CollectSpec {
    fn default() -> Self {
        Self {
            schedule: CollectSchedule::Offline,
            labels: 5_000,
            held_out: 200,
            rounds: None,
            round_labels: None,
            initial: None,
            retrain: None,
            validation_share: None,
            outstanding: None,
        }
    }
}

impl CollectSchedule {
    /// The word used in specs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Offline => "offline",
            Self::Batched => "batched",
            Self::Online => "online",
            Self::None => "none",
        }
    }
    /// Whether π is trained at all.
    pub fn has_rl(self) -> bool {
        self != Self::None
    }
    /// Whether labels are collected and r is trained more than once.
    pub fn in_rounds(self) -> bool {
        matches!(self, Self::Batched | Self::Online)
    }
    /// Whether samples are asked about while π is trained.
    pub fn is_online(self) -> bool {
        self == Self::Online
    }
}

impl CollectSpec {
    /// Defaults of the keys that only one schedule has.
    pub const ROUNDS: usize = 2;
    pub const RETRAIN: usize = 19;
    pub const VALIDATION_SHARE: f64 = 0.1;
    pub const OUTSTANDING: usize = 1000;

    pub fn rounds(&self) -> usize {
        let given = self.round_labels.as_ref().map(Vec::len);
        self.rounds.or(given).unwrap_or(Self::ROUNDS)
    }
    /// N_r⁰: labels before the first episode.
    pub fn initial(&self) -> usize {
        self.initial.unwrap_or((self.labels / 10).max(1))
    }
    pub fn retrain(&self) -> usize {
        self.retrain.unwrap_or(Self::RETRAIN)
    }
    pub fn validation_share(&self) -> f64 {
        self.validation_share.unwrap_or(Self::VALIDATION_SHARE)
    }
    pub fn outstanding(&self) -> usize {
        self.outstanding.unwrap_or(Self::OUTSTANDING)
    }
}

/// Which Adam (paper.md section 6: the placement of epsilon differs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdamForm {
    /// step = lr √(1-β₂ᵗ)/(1-β₁ᵗ) · m / (√v + ε)
    Tensorflow,
    /// step = lr/(1-β₁ᵗ) · m / (√(v/(1-β₂ᵗ)) + ε)
    Torch,
}

/// Adam's constants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamSpec {
    pub form: AdamForm,
    #[schemars(range(min = 0.0, max = 0.999999999))]
    pub beta1: f64,
    #[schemars(range(min = 0.0, max = 0.999999999))]
    pub beta2: f64,
    #[schemars(range(min = 0.0, max = 1.0))]
    pub epsilon: f64,
}

impl Default for AdamSpec {
    fn default() -> Self {
        Self { form: AdamForm::Tensorflow, beta1: 0.9, beta2: 0.999, epsilon: 1e-5 }
    }
}

/// Reward-model training (paper section 2.2, released code train_reward.py).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewardSpec {
    /// A named source of a reward model that is given instead of trained, such as `released/sentiment/reward_model`: no labels
    /// are asked for, and no r_s is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The same by a directory: `models/reward` of a run, what `runner import` wrote, or a TensorFlow checkpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Decays linearly to 0 over the one epoch.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lr: f64,
    /// Comparisons per step.
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: usize,
    #[schemars(range(min = 1, max = 1000))]
    pub epochs: usize,
    pub adam: AdamSpec,
    /// Let r read queries with the task's prefix and suffix. The released code gives it the bare query (rewards.py).
    pub formatted_queries: bool,
    /// Samples of ρ from which gain and bias are set, before and again after training.
    #[schemars(range(min = 8, max = 10000000))]
    pub normalize_samples: usize,
    pub target_mean: f64,
    #[schemars(range(min = 0.000001, max = 1000000.0))]
    pub target_std: f64,
}

impl Default for RewardSpec {
    fn default() -> Self {
        Self {
            source: None,
            path: None,
            lr: 5e-5,
            batch_size: 32,
            epochs: 1,
            adam: AdamSpec::default(),
            formatted_queries: false,
            normalize_samples: 256,
            target_mean: 0.0,
            target_std: 1.0,
        }
    }
}

/// PPO (paper section 2.2, released code train_policy.py).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySpec {
    /// A named source of a policy that is given instead of trained, such as `released/sentiment/policy`: it is evaluated beside ρ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The same by a directory: `models/policy` of a run, what `runner import` wrote, or a TensorFlow checkpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Episodes in all; a multiple of `batch_size`.
    #[schemars(range(min = 1, max = 1000000000))]
    pub episodes: usize,
    /// Episodes per update.
    #[schemars(range(min = 1, max = 1048576))]
    pub batch_size: usize,
    /// Minibatches per optimisation epoch; divides `batch_size`.
    #[schemars(range(min = 1, max = 65536))]
    pub minibatches: usize,
    /// Optimisation epochs per batch.
    #[schemars(range(min = 1, max = 1000))]
    pub epochs: usize,
    /// Decays linearly to 0 over all episodes.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lr: f64,
    pub adam: AdamSpec,
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gamma: f64,
    /// λ of generalised advantage estimation.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lam: f64,
    #[schemars(range(min = 0.0, max = 100.0))]
    pub cliprange: f64,
    #[schemars(range(min = 0.0, max = 100.0))]
    pub cliprange_value: f64,
    /// Weight of the value loss.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub vf_coef: f64,
    /// Whiten rewards per minibatch, without shifting their mean.
    pub whiten_rewards: bool,
    /// Updates between two checkpoints.
    #[schemars(range(min = 1, max = 1000000))]
    pub checkpoint_every: usize,
    pub kl: KlSpec,
    /// A bonus for the policy's entropy (table 10); none without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy: Option<EntropySpec>,
}

impl Default for PolicySpec {
    fn default() -> Self {
        Self {
            source: None,
            path: None,
            episodes: 1_000_448,
            batch_size: 512,
            minibatches: 1,
            epochs: 4,
            lr: 1e-5,
            adam: AdamSpec::default(),
            gamma: 1.0,
            lam: 0.95,
            cliprange: 0.2,
            cliprange_value: 0.2,
            vf_coef: 0.1,
            whiten_rewards: true,
            checkpoint_every: 10,
            kl: KlSpec::default(),
            entropy: None,
        }
    }
}

/// Evaluation at the end of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateSpec {
    /// Held-out queries; one response of ρ and one of π for each.
    #[schemars(range(min = 2, max = 10000000))]
    pub queries: usize,
    /// Samples of ρ per query for the closed-form optimum of figure 3.
    #[schemars(range(min = 2, max = 1000000))]
    pub optimum_samples: usize,
    /// Queries used for the closed-form optimum.
    #[schemars(range(min = 2, max = 10000000))]
    pub optimum_queries: usize,
    /// Rows written to samples.jsonl.
    pub samples: usize,
}

impl Default for EvaluateSpec {
    fn default() -> Self {
        Self { queries: 1024, optimum_samples: 256, optimum_queries: 64, samples: 32 }
    }
}

/// When a labeler's answers stop to count without anybody deciding (`labeler.human.quality`); at 0 a threshold is off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QualitySpec {
    /// Share of gold items to get right; a labeler is dropped when the whole 95% interval of theirs is below.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_gold_accuracy: f64,
    /// Most choices of one place in a row.
    #[schemars(range(min = 0, max = 1000000))]
    pub max_straight_line: usize,
    /// Least median of seconds per answer, over ten answers or more.
    #[schemars(range(min = 0.0, max = 86400.0))]
    pub min_seconds: f64,
}

/// Guards that stop a run with exit code 4 and say why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardsSpec {
    /// Largest |ratio - 1| allowed on the first minibatch of an update.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ratio_tolerance: f64,
    /// Stop when the batch's KL exceeds this many times the target (adaptive schedule).
    #[schemars(range(min = 1.0, max = 1000000.0))]
    pub kl_times_target: f64,
    /// Stop when the batch's KL falls below minus this many nats; in batches of fewer responses than ln(10⁹) / this, below
    /// -ln(10⁹) / responses, which chance does once in 10⁹ updates.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub negative_kl: f64,
}

impl Default for GuardsSpec {
    fn default() -> Self {
        Self { ratio_tolerance: 0.01, kl_times_target: 5.0, negative_kl: 0.5 }
    }
}
