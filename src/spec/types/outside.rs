//! Who answers from outside: a language model behind an endpoint, a program of the user's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an endpoint is asked to hold a judge's answer to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Structured {
    /// The strictest of the others that the endpoint accepts.
    #[default]
    Auto,
    /// `response_format` with a JSON schema (OpenAI, vLLM, SGLang, Ollama).
    JsonSchema,
    /// `response_format` of any JSON object, with the schema beside it (llama.cpp's servers).
    JsonObject,
    /// Nothing: the answer must be one letter.
    None,
}

/// A language model behind an OpenAI-compatible endpoint that compares responses. Its key comes from the environment
/// alone. What it said is kept in `labeler.batches`, so that no answer is paid twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JudgeSpec {
    /// As the endpoint calls it.
    pub model: String,
    /// Where `/chat/completions` is, without it.
    pub base_url: String,
    /// The environment variable that holds the key; empty: the endpoint wants none.
    pub key_env: String,
    /// A file with `{query}` and `{candidates}` in it, and where wanted `{instructions}` and `{letters}`. Default: a
    /// prompt from the task's instructions for labelers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    pub structured: Structured,
    /// Ask every question in the reversed order too; an answer counts where both are the same.
    pub both_orders: bool,
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
    /// Most tokens of one answer; a model that thinks first needs more.
    #[schemars(range(min = 1, max = 1000000))]
    pub max_answer_tokens: u64,
    /// Most answers that are asked for in this directory of batches, all runs together: then the run ends with exit code
    /// 3, and the same command with a larger number goes on. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000000))]
    pub max_requests: Option<u64>,
    /// The same for tokens, of prompts and of answers; what is under way when they are spent still comes in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000000000_u64))]
    pub max_tokens: Option<u64>,
    /// Requests that are under way at once.
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: usize,
    /// Times that a request is sent again after a passing failure.
    #[schemars(range(min = 0, max = 100))]
    pub retries: u32,
    /// Seconds that an answer may take.
    #[schemars(range(min = 0.1, max = 86400.0))]
    pub timeout: f64,
}

impl Default for JudgeSpec {
    fn default() -> Self {
        Self {
            model: String::new(),
            base_url: "https://api.openai.com/v1".into(),
            key_env: "OPENAI_API_KEY".into(),
            prompt: None,
            structured: Structured::default(),
            both_orders: false,
            temperature: 0.0,
            max_answer_tokens: 256,
            max_requests: None,
            max_tokens: None,
            concurrency: 4,
            retries: 6,
            timeout: 120.0,
        }
    }
}

/// A program that reads JSON lines and answers each with one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CommandSpec {
    /// The program and its arguments; no shell reads them. Words that are files beside the spec are those files.
    #[schemars(length(min = 1, max = 1000))]
    pub run: Vec<String>,
    /// Seconds without an answer after which the program is ended.
    #[schemars(range(min = 0.1, max = 86400.0))]
    pub timeout: f64,
}

impl Default for CommandSpec {
    fn default() -> Self {
        Self { run: Vec::new(), timeout: 600.0 }
    }
}

/// A reward that no model of ρ's kind gives: words that `reward.source` may be besides the names of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutsideReward {
    /// `reward.command`.
    Command,
    /// ROUGE-L (F1) with the query's reference summary.
    Rouge,
}

impl OutsideReward {
    /// The word used in specs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Rouge => "rouge",
        }
    }

    /// By that word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Command, Self::Rouge].into_iter().find(|reward| reward.word() == word)
    }
}
