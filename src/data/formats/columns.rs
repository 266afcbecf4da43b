//! Which column (or JSON key) holds the text, the summary and the label, and what a label means.

use crate::data::error::{instead, list};
use crate::spec::ColumnsSpec;

const TEXT: [&str; 9] =
    ["text", "content", "article", "document", "passage", "body", "reviewText", "review", "sentence"];
pub const SUMMARY: [&str; 2] = ["summary", "highlights"];
const LABEL: [&str; 5] = ["label", "overall", "stars", "rating", "sentiment"];
/// Column names in a message.
const MOST_NAMES: usize = 20;

/// What is read: documents have text and perhaps a summary, reviews have text and a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    Documents,
    Reviews,
}

impl Want {
    /// The table of a spec that names such a source.
    pub fn key(self) -> &'static str {
        match self {
            Self::Documents => "task.data",
            Self::Reviews => "labeler.reviews",
        }
    }
}

/// The columns that a file is read by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    pub text: String,
    pub summary: Option<String>,
    pub label: Option<String>,
    /// Others that are there and go by such names too.
    pub beside: Vec<String>,
}

impl Names {
    /// The columns named by hand, else the first known name that `has` knows. `there` lists what a file has, for the
    /// message where something is missing.
    pub fn find(
        columns: &ColumnsSpec,
        want: Want,
        has: &dyn Fn(&str) -> bool,
        there: &dyn Fn() -> Vec<String>,
    ) -> Result<Self, String> {
        let find = |key: &str, given: &Option<String>, known: &[&str]| match given {
            Some(name) if has(name) => Ok(Some(name.clone())),
            Some(name) => {
                Err(format!("there is no column {name:?} (columns.{key}); {}", instead(name, &there(), MOST_NAMES)))
            }
            None => Ok(known.iter().find(|name| has(name)).map(|name| name.to_string())),
        };
        let required = |key: &str, given, known: &[&str]| {
            find(key, given, known)?.ok_or_else(|| {
                format!(
                    "no column for the {key}: none of {}; there are {}: name one with columns.{key}",
                    known.join(", "),
                    list(&there(), MOST_NAMES)
                )
            })
        };
        let text = required("text", &columns.text, &TEXT)?;
        let (summary, label) = match want {
            Want::Documents => (find("summary", &columns.summary, &SUMMARY)?, None),
            Want::Reviews => (None, Some(required("label", &columns.label, &LABEL)?)),
        };
        let open = [
            (&TEXT[..], columns.text.is_none()),
            (&SUMMARY[..], columns.summary.is_none() && want == Want::Documents),
            (&LABEL[..], columns.label.is_none() && want == Want::Reviews),
        ];
        let read = [Some(&text), summary.as_ref(), label.as_ref()];
        let known = open.into_iter().filter(|(_, open)| *open).flat_map(|(known, _)| known).copied();
        let beside = known.filter(|name| has(name) && !read.iter().flatten().any(|read| read == name));
        let beside = beside.map(str::to_string).collect();
        Ok(Self { text, summary, label, beside })
    }

    /// Whether the first line of a TSV names columns rather than being data.
    pub fn look_like_header(columns: &ColumnsSpec, want: Want, cells: &[&str]) -> bool {
        let named = columns.text.is_some() || columns.label.is_some() || columns.summary.is_some();
        let has = |known: &[&str]| cells.iter().any(|c| known.contains(c));
        named || (has(&TEXT) && (want == Want::Documents || has(&LABEL)))
    }
}

/// A rating as a number: 0 or 1, or stars from 1 to 5.
pub fn label_number(value: f64) -> Result<f64, String> {
    if value == 0.0 || (1.0..=5.0).contains(&value) {
        return Ok(value);
    }
    Err(format!("label {value}; {EXPECTED}"))
}

/// The same for text: a number, or a word for positive and negative.
pub fn label_text(text: &str) -> Result<f64, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "positive" | "pos" | "true" => Ok(1.0),
        "negative" | "neg" | "false" => Ok(0.0),
        number => match number.parse() {
            Ok(value) => label_number(value),
            Err(_) => Err(format!("label {:?}; {EXPECTED}", text.trim())),
        },
    }
}

const EXPECTED: &str = "expected 0 or 1, 1 to 5 stars, or positive/negative";
