//! Where text comes from, and how files of it are read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Records that make one document, in their order: for files of one sentence per record. Punctuation that stands
    /// apart from its word, as in BookCorpus, closes up.
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
