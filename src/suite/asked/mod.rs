//! What a suite asks readers: which of two models' texts is better (tables 1 and 5), which of four samples of ρ (table
//! 9), whether a summary is accurate (table 8); and what only all members' models together say: scores under each other's
//! reward models, the curve of figure 3. Questions and answers are files of the batch format (label/batch),
//! whoever answers, so that a table can be made again from them alone.

pub mod accuracy;
pub mod agreement;
pub mod answers;
pub mod comparison;
pub mod frontier;
pub mod judges;
pub mod scores;
pub mod writers;

use super::types::Respondents;
use crate::context::{Context, StageError};
use crate::outside::Judge;
use crate::task::instructions::built_in;
use std::path::PathBuf;

/// Where a question stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuestionStanding {
    Answered,
    /// People have answered this many of so many.
    Waiting {
        done: u64,
        of: u64,
        at: PathBuf,
    },
}

/// How a suite asks.
pub struct Asking<'a> {
    pub context: &'a Context,
    /// Name of the suite, which batches carry.
    pub suite: &'a str,
    pub settings: &'a super::types::Preference,
    /// Folder of the batches: of people's in `labels/`, of programs' in the results.
    pub batches: PathBuf,
}

impl Asking<'_> {
    /// Answers per item.
    pub fn wanted(&self) -> usize {
        if self.settings.kind == Respondents::Judge { 1 } else { self.settings.labelers }
    }

    /// The language model that answers about a member's texts, if one does.
    pub fn judge(&self, desk: &writers::ReadyMember<'_>) -> Result<Option<Judge>, StageError> {
        match (self.settings.kind, &self.settings.judge) {
            (Respondents::Judge, Some(judge)) => {
                let preset = desk.spec.task.preset;
                Ok(Some(Judge::of(judge, preset, built_in(preset))?))
            }
            (Respondents::Judge, None) => Err(input("preference.judge: no model is named")),
            _ => Ok(None),
        }
    }

    /// Whether programs answer.
    pub fn simulated(&self) -> bool {
        self.settings.kind == Respondents::Simulated
    }
}

/// A name that is unique among a suite's questions, and can be a folder's.
pub fn question_id(parts: &[&str], seed: u64) -> String {
    let plain = |text: &&str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect()
    };
    format!("{}-seed-{seed}", parts.iter().map(plain).collect::<Vec<_>>().join("-vs-"))
}

/// A message about wrong input.
fn input(message: impl Into<String>) -> StageError {
    StageError::Input(message.into())
}
