//! The part of evaluation.json about texts: ROUGE, novelty, copying, length, repetition. docs/metrics.md defines each;
//! src/stage/measures.rs computes them, the functions are src/metric's.

use super::labelers::Share;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Writer {
    /// The first three sentences of each source.
    Lead3,
    /// The reference summaries.
    Summary,
    /// ρ.
    Reference,
    /// π.
    Policy,
}

impl Writer {
    /// What a reader calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lead3 => "lead-3",
            Self::Summary => "reference summaries",
            Self::Reference => "ρ",
            Self::Policy => "π",
        }
    }
    /// What a program calls it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Lead3 => "lead3",
            Self::Summary => "summary",
            Self::Reference => "reference",
            Self::Policy => "policy",
        }
    }
}

/// A mean over texts with its 95% percentile bootstrap interval, which one text does not have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    pub mean: f64,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Texts that the measure is defined for.
    pub n: u64,
}

/// F1 of ROUGE against the reference summaries, 0 to 1, with stemming.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RougeMeans {
    pub rouge1: Estimate,
    pub rouge2: Estimate,
    #[serde(rename = "rougeL")]
    pub rouge_l: Estimate,
    /// Mean of the three (paper table 4).
    pub mean: Estimate,
}

/// Shares (0 to 1) of n-grams and sentences that the source does not have (paper figure 5).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NoveltyMeans {
    pub ngram1: Option<Estimate>,
    pub ngram2: Option<Estimate>,
    pub ngram3: Option<Estimate>,
    pub ngram4: Option<Estimate>,
    pub sentence: Option<Estimate>,
}

/// What is copied, and from where (paper figures 6 and 7).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CopyingMeans {
    /// Share of a text's words that lie in copied spans of 4 words or more.
    pub copied: Option<Estimate>,
    /// Copied spans of all texts by where in the source they begin, in equal parts of it from its start to its end.
    pub span_positions: Vec<u64>,
    /// The same of whole copied sentences.
    pub sentence_positions: Vec<u64>,
    /// Mean relative position of the spans, each text's own mean counted once.
    pub span_position: Option<Estimate>,
    /// Texts that begin with their source's first 3 words (paper table 7).
    pub start: Share,
    /// The same among sources with an uninformative preamble.
    pub start_after_preamble: Share,
}

/// What the texts of one writer are like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Texts {
    pub writer: Writer,
    pub n: u64,
    /// Length in the model's tokens, cut at the truncation token.
    pub tokens: Option<Estimate>,
    /// Length in words.
    pub words: Option<Estimate>,
    /// Different n-grams of all texts / all n-grams. No mean over texts, hence without interval.
    pub distinct1: Option<f64>,
    pub distinct2: Option<f64>,
    pub distinct3: Option<f64>,
    /// Share of a text's 4-grams that it has had before.
    pub repeated4: Option<Estimate>,
    /// Where there are reference summaries, of the texts that have one.
    pub rouge: Option<RougeMeans>,
    /// Of summarization tasks.
    pub novelty: Option<NoveltyMeans>,
    /// Of summarization tasks.
    pub copying: Option<CopyingMeans>,
}
