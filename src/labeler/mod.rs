//! Collecting labels: 4-way comparisons, x ~ D, y0..y3 ~ ρ(.|x) or a later π(.|x), and somebody's choice (paper sections 2.1
//! and 2.3). Programs answer at once (programs.rs), people when they come to it (people.rs); recorded labels of people come
//! from files, in an order shuffled by the seed (recorded.rs). One artifact per round: labels.jsonl holds the round's labels
//! to train on and then, in the first round, `collect.held_out` more.

pub mod human;
mod programs;
pub mod questions;
mod recorded;
pub mod rounds;

pub use programs::Simulation;
pub use questions::{Asked, CANDIDATES, Comparison, read_requests, request, sample_all, sample_each};
pub use recorded::count as count_recorded;

use crate::context::{Context, StageError};
use crate::label::recorded::{QueryOf, hashes};
use crate::label::{Label, read_lines};
use crate::model::tokenizer::Tokenizer;
use crate::spec::{CollectSchedule, CollectSpec, DataSpec, LabelerKind, Spec, TaskSpec};
use crate::store::atomic::write_atomic;
use crate::store::cache::Key;
use crate::task::Scorer;
use rounds::Round;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const VERSION: u32 = 2;
/// Of the simulated labelers' rules.
const SIMULATED: u32 = 1;
/// Of the rounds after the first, and of all rounds of batched and online.
const ROUNDS: u32 = 1;

/// How often π's samples were preferred to ρ's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Tally {
    pub wins: u64,
    pub n: u64,
}

impl Tally {
    pub fn add(&mut self, win: bool) {
        self.wins += u64::from(win);
        self.n += 1;
    }
    pub fn plus(self, other: Self) -> Self {
        Self { wins: self.wins + other.wins, n: self.n + other.n }
    }
}

/// round.json beside labels.jsonl: what its lines are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundLabels {
    pub round: usize,
    /// The first lines of labels.jsonl.
    pub training: usize,
    /// The lines after those.
    pub held_out: usize,
    /// Answers to validation items, which are among the training labels.
    pub validation: Tally,
}

/// Who answers.
pub enum Source<'a> {
    /// r_s.
    Mock { asked: Asked<'a>, labeler: &'a Scorer },
    /// Simulated labelers (label/simulated.rs).
    Simulated { asked: Asked<'a>, simulation: Simulation<'a> },
    /// People, some time ago: the files of `labeler.path`.
    Recorded {
        /// The model's.
        tokenizer: &'a Tokenizer,
        /// The task's rule from a document to its query, without the task's prefix and suffix.
        query_of: QueryOf<'a>,
    },
    /// People, who have answered all that was asked in this round.
    Human(&'a human::Answered),
}

/// What labels of a round depend on. `upstream`: ρ, and r_s where it is the labeler; `previous`: π of the round before.
/// People's labels depend on their answers instead: [`human::Answered::key`].
pub fn key(spec: &Spec, round: &Round, upstream: &[String], previous: Option<&Key>) -> Result<Key, StageError> {
    let task = spec.task.without_place();
    match (spec.labeler.kind, spec.collect.schedule) {
        (LabelerKind::Mock | LabelerKind::Simulated, CollectSchedule::Batched | CollectSchedule::Online) => {
            // Which labels are in a round, not how many rounds follow.
            let collect = CollectSpec { outstanding: None, ..spec.collect.clone() };
            let simulated =
                (spec.labeler.kind == LabelerKind::Simulated).then_some((SIMULATED, &spec.labeler.simulated));
            let who = (spec.labeler.kind, simulated);
            let previous = previous.map(Key::to_string);
            let inputs = ("round", ROUNDS, round.number, collect, &task, who, spec.seed, upstream, previous);
            Ok(Key::new("labels", VERSION, &inputs)?)
        }
        (LabelerKind::Mock, _) => {
            Ok(Key::new("labels", VERSION, &(&spec.collect, &task, spec.labeler.kind, spec.seed, upstream))?)
        }
        (LabelerKind::Simulated, _) => {
            let inputs = ("simulated", SIMULATED, &spec.collect, &task, &spec.labeler.simulated, spec.seed, upstream);
            Ok(Key::new("labels", VERSION, &inputs)?)
        }
        (LabelerKind::Recorded, _) => {
            // The files' content, not their place; and nothing of the task's data, which they do not come from.
            let task = TaskSpec { data: DataSpec::default(), ..spec.task.clone() };
            let (format, split) = (spec.labeler.format, &spec.labeler.split);
            let files = hashes(recorded::labels_path(spec)?)?;
            let inputs = ("recorded", &spec.collect, task, format, split, files, spec.seed, upstream);
            Ok(Key::new("labels", VERSION, &inputs)?)
        }
        (LabelerKind::Human, _) => Err(StageError::Input("labels of people have no key before they answer".into())),
    }
}

/// The labels' directory: labels.jsonl and round.json; of recorded ones labels_report.json, of simulated ones
/// simulated.json, of people's human.json.
pub fn run(context: &Context, run: &str, spec: &Spec, key: &Key, source: &Source<'_>) -> Result<PathBuf, StageError> {
    let dir = context.artifact(Some(run), key, |work| match source {
        Source::Mock { asked, labeler } => programs::mock(context, spec, asked, labeler, &work.dir),
        Source::Simulated { asked, simulation } => programs::simulated(context, spec, asked, simulation, &work.dir),
        Source::Recorded { tokenizer, query_of } => {
            recorded::from_files(context, spec, tokenizer, *query_of, &work.dir)
        }
        Source::Human(answered) => answered.write(&work.dir),
    })?;
    context.has_read_for(&dir)?;
    Ok(dir)
}

/// Writes a round's files.
fn write_round(dir: &Path, lines: &str, round: &RoundLabels) -> Result<(), StageError> {
    let path = dir.join("labels.jsonl");
    write_atomic(&path, lines.as_bytes()).map_err(StageError::io(path))?;
    let path = dir.join("round.json");
    write_atomic(&path, format!("{}\n", serde_json::to_string(round)?).as_bytes()).map_err(StageError::io(path))
}

/// Labels of several rounds together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gathered {
    pub training: Vec<Label>,
    pub held_out: Vec<Label>,
    /// Of `training`, those of the last directory.
    pub fresh: usize,
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
