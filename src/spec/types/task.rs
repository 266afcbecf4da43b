//! What is asked of the model.

use super::data::DataSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
