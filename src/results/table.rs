//! tables/NAME.json: numbers beside the paper's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Of a value of the paper that one secondary source has; the mark stands beside the value.
pub const SECONDARY: &str = "one secondary source";
pub const SECONDARY_MARK: &str = "(B)";
/// What the column "paper" says when there is no number to put there.
pub const NOT_RECORDED: &str = "not recorded in the paper's copy we have";

/// One number of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// What a reader calls it.
    pub name: String,
    pub run: String,
    /// What a program calls it.
    pub metric: String,
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub n: u64,
    pub seeds: Vec<u64>,
    pub paper: Option<f64>,
    pub paper_note: String,
    pub verdict: String,
    /// Of models that were not trained here: "authors' release".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// tables/NAME.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    pub id: String,
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}
