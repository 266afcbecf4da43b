//! Labels: a query, samples of a policy, and what a labeler said about them (paper section 2.1; the label types are the
//! released code's, label_types.py). One type for mock and for human labels, one line of labels.jsonl each.

pub mod batch;
pub mod draw;
pub mod exchange;
pub mod human;
mod lm_human_preferences;
mod preference_pairs;
pub mod recorded;
pub mod report;
pub mod serve;
pub mod simulated;
mod summarize_from_feedback;

use crate::data::error::DataError;
use crate::model::ModelError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// What is wrong with a label file, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    #[error("{path}: {message}", path = path.display())]
    File { path: PathBuf, message: String },
    /// `column` counts bytes, from 1.
    #[error("{path}:{line}:{column}: {message}", path = path.display())]
    Place { path: PathBuf, line: u64, column: u64, message: String },
    /// The file could not be taken apart.
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{0}")]
    Unusable(String),
}

impl LabelError {
    /// A problem with a file as a whole.
    pub fn file(path: impl Into<PathBuf>, message: impl fmt::Display) -> Self {
        Self::File { path: path.into(), message: message.to_string() }
    }
}

/// What the labeler said.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Index of the preferred sample (`best_of_N`).
    Best(usize),
    /// The rating of the one sample (`scalar_rating`).
    Rating(f32),
    /// How much better sample 1 is than sample 0 (`scalar_compare`).
    Difference(f32),
}

impl Judgement {
    /// The rating or difference; comparisons have none.
    pub fn number(self) -> Option<f32> {
        match self {
            Self::Best(_) => None,
            Self::Rating(number) | Self::Difference(number) => Some(number),
        }
    }
}

/// One label; a line of labels.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Label {
    /// Token ids without padding; of recorded labels without the task's prefix and suffix, too.
    pub query: Vec<u32>,
    /// Token ids of each sample: 2 or more of a `best`, 1 of a `rating`, 2 of a `difference`.
    pub samples: Vec<Vec<u32>>,
    #[serde(flatten)]
    pub judgement: Judgement,
    /// The mock labeler's log-odds of "positive", or a simulated labeler's utility before noise; one per sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Vec<f32>>,
    /// Who answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The batch that the question was in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// The file's own split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// How sure the labeler was, on the file's own scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<i64>,
}

/// A label type with its number of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelKind {
    Best { candidates: usize },
    Rating,
    Difference,
}

impl LabelKind {
    /// Samples per label.
    pub fn samples(self) -> usize {
        match self {
            Self::Best { candidates } => candidates,
            Self::Rating => 1,
            Self::Difference => 2,
        }
    }
}

/// The released code's names: best_of_4, scalar_rating, scalar_compare.
impl fmt::Display for LabelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best { candidates } => write!(f, "best_of_{candidates}"),
            Self::Rating => f.write_str("scalar_rating"),
            Self::Difference => f.write_str("scalar_compare"),
        }
    }
}

impl Label {
    /// The type, whatever the samples say; see [`Label::check`].
    pub fn kind(&self) -> LabelKind {
        match self.judgement {
            Judgement::Best(_) => LabelKind::Best { candidates: self.samples.len() },
            Judgement::Rating(_) => LabelKind::Rating,
            Judgement::Difference(_) => LabelKind::Difference,
        }
    }

    /// The number on the labels' own scale whose mean and deviation r should start with (released code:
    /// `target_scales`); comparisons have none. A difference of two rewards has twice the variance of one around its
    /// mean, hence half of it.
    pub fn scale(&self) -> Option<f32> {
        match self.judgement {
            Judgement::Best(_) => None,
            Judgement::Rating(rating) => Some(rating),
            Judgement::Difference(difference) => Some(difference / 2.0),
        }
    }

    /// Samples that are the preferred one token for token, itself included; no labeler and no model tells them apart.
    pub fn equal_to_best(&self) -> usize {
        match self.judgement {
            Judgement::Best(best) => self.samples.iter().filter(|s| Some(*s) == self.samples.get(best)).count(),
            _ => 0,
        }
    }

    /// Err: why judgement and samples do not go together.
    pub fn check(&self) -> Result<(), String> {
        let n = self.samples.len();
        match self.judgement {
            Judgement::Best(_) if n < 2 => Err(format!("a comparison needs 2 samples or more, and there are {n}")),
            Judgement::Best(best) if best >= n => Err(format!("best is {best}, and there are {n} samples, from 0 on")),
            Judgement::Rating(_) if n != 1 => Err(format!("a rating is of 1 sample, and there are {n}")),
            Judgement::Difference(_) if n != 2 => Err(format!("a difference is of 2 samples, and there are {n}")),
            Judgement::Rating(number) | Judgement::Difference(number) if !number.is_finite() => {
                Err(format!("{number} is not a finite number"))
            }
            _ => Ok(()),
        }
    }
}

/// The one type of all labels; Err: the first label that has another, or none at all.
pub fn kind_of(labels: &[Label]) -> Result<LabelKind, String> {
    let first = labels.first().ok_or("there are no labels")?.kind();
    match labels.iter().position(|label| label.kind() != first) {
        None => Ok(first),
        Some(i) => Err(format!("label {} is {}, and those before it are {first}", i + 1, labels[i].kind())),
    }
}

/// How many of `held_out` have a query that `training` has too.
pub fn shared_queries(training: &[Label], held_out: &[Label]) -> usize {
    let known: HashSet<&[u32]> = training.iter().map(|label| label.query.as_slice()).collect();
    held_out.iter().filter(|label| known.contains(label.query.as_slice())).count()
}

/// Reads labels.jsonl; every line is checked.
pub fn read_lines(path: &Path) -> Result<Vec<Label>, LabelError> {
    let file = std::fs::File::open(path).map_err(|e| LabelError::file(path, e))?;
    let mut labels = Vec::new();
    for (i, line) in BufReader::new(file).lines().enumerate() {
        let place = |column: usize, message: String| LabelError::Place {
            path: path.into(),
            line: i as u64 + 1,
            column: column as u64,
            message,
        };
        let line = line.map_err(|e| place(1, e.to_string()))?;
        let label: Label = serde_json::from_str(&line).map_err(|e| place(e.column(), e.to_string()))?;
        label.check().map_err(|message| place(1, message))?;
        labels.push(label);
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(judgement: Judgement, samples: usize) -> Label {
        Label {
            query: vec![1, 2],
            samples: vec![vec![3]; samples],
            judgement,
            scores: None,
            worker: None,
            batch: None,
            split: None,
            confidence: None,
        }
    }

    #[test]
    fn lines_of_the_mock_labeler_keep_their_bytes() {
        let line = r#"{"query":[5,6],"samples":[[1,2],[3,4]],"best":1,"scores":[-0.1,2.3456788]}"#;
        let read: Label = serde_json::from_str(line).unwrap();
        assert_eq!((read.judgement, read.kind()), (Judgement::Best(1), LabelKind::Best { candidates: 2 }));
        assert_eq!(serde_json::to_string(&read).unwrap(), line);
    }

    #[test]
    fn every_type_survives_a_round_trip() {
        for (judgement, samples, name, key) in [
            (Judgement::Best(3), 4, "best_of_4", "\"best\":3"),
            (Judgement::Rating(0.1), 1, "scalar_rating", "\"rating\":0.1"),
            (Judgement::Difference(-2.5), 2, "scalar_compare", "\"difference\":-2.5"),
        ] {
            let made = Label {
                worker: Some("w".into()),
                batch: Some("b".into()),
                split: Some("train".into()),
                confidence: Some(7),
                ..label(judgement, samples)
            };
            let text = serde_json::to_string(&made).unwrap();
            assert!(text.contains(key) && !text.contains("scores"), "{text}");
            assert_eq!(serde_json::from_str::<Label>(&text).unwrap(), made);
            assert_eq!(made.kind().to_string(), name);
            made.check().unwrap();
        }
    }

    #[test]
    fn judgement_and_samples_must_go_together() {
        assert!(label(Judgement::Best(2), 2).check().unwrap_err().contains("best is 2"));
        assert!(label(Judgement::Best(0), 1).check().is_err());
        assert!(label(Judgement::Rating(1.0), 2).check().is_err());
        assert!(label(Judgement::Rating(f32::NAN), 1).check().is_err());
        assert!(label(Judgement::Difference(1.0), 1).check().is_err());
        let mixed = [label(Judgement::Best(0), 2), label(Judgement::Best(0), 3)];
        assert_eq!(kind_of(&mixed).unwrap_err(), "label 2 is best_of_3, and those before it are best_of_2");
        assert!(kind_of(&[]).is_err());
    }

    #[test]
    fn a_wrong_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.jsonl");
        std::fs::write(
            &path,
            "{\"query\":[1],\"samples\":[[1],[2]],\"best\":0}\n{\"query\":[1],\"samples\":[[1],[2]],\"best\":2}\n",
        )
        .unwrap();
        let message = read_lines(&path).unwrap_err().to_string();
        assert!(message.contains("labels.jsonl:2:1: best is 2"), "{message}");
    }
}
