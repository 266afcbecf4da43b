//! The labels of a round, as they are kept: labels.jsonl, and round.json, which says what its lines are.

use super::questions::{Asked, Comparison, VALIDATION_REFERENCES};
use crate::context::StageError;
use crate::label::{Label, read_lines};
use crate::spec::Spec;
use crate::store::atomic::write_atomic;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How often π's samples were preferred to ρ's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Tally {
    /// Answers that chose one of π's.
    pub wins: u64,
    /// Answers.
    pub n: u64,
}

impl Tally {
    /// Counts one answer.
    pub fn add(&mut self, win: bool) {
        self.wins += u64::from(win);
        self.n += 1;
    }
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self { wins: self.wins + other.wins, n: self.n + other.n }
    }
}

/// round.json beside labels.jsonl: what its lines are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundLabels {
    /// From 1.
    pub round: usize,
    /// The first lines of labels.jsonl.
    pub training: usize,
    /// The lines after those.
    pub held_out: usize,
    /// Answers to validation items, which are among the training labels.
    pub validation: Tally,
}

/// Writes a round's files.
pub(super) fn write_round(dir: &Path, lines: &str, round: &RoundLabels) -> Result<(), StageError> {
    let path = dir.join("labels.jsonl");
    write_atomic(&path, lines.as_bytes()).map_err(StageError::io(path))?;
    let path = dir.join("round.json");
    write_atomic(&path, format!("{}\n", serde_json::to_string(round)?).as_bytes()).map_err(StageError::io(path))
}

/// Labels of several rounds together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gathered {
    /// Labels of all rounds to train on, in order.
    pub training: Vec<Label>,
    /// Labels that r is measured by.
    pub held_out: Vec<Label>,
    /// Of `training`, those of the last directory.
    pub fresh: usize,
    /// Answers to validation items so far.
    pub validation: Tally,
}

/// Reads the labels of rounds, in order. `training`: how many of the labels are to train on, where a directory does not
/// say so itself (recorded labels).
pub fn gather(dirs: &[PathBuf], training: usize) -> Result<Gathered, StageError> {
    let mut all = Gathered::default();
    for dir in dirs {
        let mut labels = read(dir)?;
        let path = dir.join("round.json");
        let (training, validation) = match path.exists() {
            true => {
                let round: RoundLabels = crate::results::read_json(&path)?;
                (round.training, round.validation)
            }
            false => (training, Tally::default()),
        };
        all.held_out.extend(labels.split_off(training.min(labels.len())));
        all.fresh = labels.len();
        all.training.extend(labels);
        all.validation = all.validation.plus(validation);
    }
    Ok(all)
}

/// Reads labels.jsonl.
pub fn read(dir: &Path) -> Result<Vec<Label>, StageError> {
    Ok(read_lines(&dir.join("labels.jsonl"))?)
}

/// What a label says about the round that it comes from; nothing where there is only one.
pub(super) fn batch_of(spec: &Spec, asked: &Asked<'_>, comparison: &Comparison) -> Option<String> {
    let kind = if comparison.validation { "-validation" } else { "" };
    spec.collect.schedule.in_rounds().then(|| format!("round-{:04}{kind}", asked.round.number))
}

/// Finds how often π won, and counts labels.
#[derive(Default)]
pub(super) struct Count {
    n: usize,
    validation: Tally,
}

impl Count {
    pub fn add(&mut self, comparison: &Comparison, best: usize) {
        self.n += 1;
        if comparison.validation {
            self.validation.add(best >= VALIDATION_REFERENCES);
        }
    }

    pub fn finish(self, asked: &Asked<'_>) -> RoundLabels {
        let training = asked.round.new.min(self.n);
        RoundLabels { round: asked.round.number, training, held_out: self.n - training, validation: self.validation }
    }
}
