//! Who says which response is best: 4-way comparisons, x ~ D, y0..y3 ~ ρ(.|x) or a later π(.|x), and somebody's choice
//! (paper sections 2.1 and 2.3). [`Labeler`] is what each of them does, [`labeler`] makes the one that a spec asks for.
//!
//! - `questions.rs`: what is asked; `rounds.rs`: when, and how much
//! - `mock.rs`, `simulated.rs`: programs, which answer at once; `command.rs`: a program of the user's
//! - `human.rs`: people, who answer when they come to it; `judge.rs`: a language model; `batches.rs`: what both are asked
//! - `recorded.rs`: people, some time ago
//! - `collected.rs`: the labels of a round as they are kept
//!
//! Files of labels, batches of questions and the page on which people answer them are in src/label.

#![warn(missing_docs)]

mod batches;
pub mod collected;
mod command;
mod human;
mod judge;
mod mock;
pub mod questions;
mod recorded;
pub mod rounds;
mod simulated;

pub use collected::{Tally, gather, read};
pub use questions::{Asked, CANDIDATES, Comparison, read_requests, request, sample_all, sample_each};
pub use recorded::count as count_recorded;

use crate::context::{Context, StageError};
use crate::model::tokenizer::Tokenizer;
use crate::spec::keyed::{RoundsKey, TextsKey};
use crate::spec::{LabelerKind, Spec};
use crate::store::cache::Key;
use crate::task::{Query, Scorer, Task};
use rounds::Round;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// Of the code that makes labels.
const VERSION: u32 = 2;
/// Of the rounds after the first, and of all rounds of batched and online.
const ROUNDS: u32 = 1;

/// Whether what labels depend on is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Of all that they depend on.
    Key(Key),
    /// Not before people have answered.
    Unanswered,
}

/// Makes a round's questions and hands them over: of ρ, or of π as the round before left it.
pub type Ask<'a> = &'a mut dyn FnMut(&mut dyn FnMut(Asked<'_>) -> Result<(), StageError>) -> Result<(), StageError>;

/// What a labeler may work with.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    /// Device, cache, progress, the cord.
    pub context: &'a Context,
    /// The run of the spec that the labels are for.
    pub run: &'a str,
    /// The run's own spec.
    pub spec: &'a Spec,
    /// r_s, where there is one.
    pub mock: Option<&'a Scorer>,
    /// The task's rule for texts.
    pub task: &'a Task,
    /// The task's training queries.
    pub queries: &'a [Query],
    /// The reference summary of each query.
    pub summaries: &'a [Option<String>],
    /// The model's.
    pub tokenizer: &'a Tokenizer,
    /// Directory of the tokenizer's files.
    pub tokenizer_dir: &'a Path,
    /// Directory of the model that is asked about.
    pub weights: &'a Path,
}

/// Somebody who answers a round's questions.
pub trait Labeler {
    /// Before any stage. Err: it cannot be asked, and answers are missing.
    fn begin(&self, _context: &Context, _spec: &Spec) -> Result<(), StageError> {
        Ok(())
    }

    /// What labels of a round depend on. `upstream`: ρ, and r_s where there is one; `previous`: π of the round before.
    fn key(&self, spec: &Spec, round: &Round, upstream: &[String], previous: Option<&Key>)
    -> Result<Known, StageError>;

    /// Err: the answers to a round are not there yet; they have been asked for. `of`: the name of all that its
    /// questions depend on.
    fn ready(&self, _desk: &Desk<'_>, _round: &Round, _of: &str, _ask: Ask<'_>) -> Result<(), StageError> {
        Ok(())
    }

    /// Writes labels.jsonl and round.json into `dir`, with what else there is to say of them.
    fn label(&self, desk: &Desk<'_>, round: &Round, ask: Ask<'_>, dir: &Path) -> Result<(), StageError>;

    /// Online, before each update: asks what is new of the next round's questions. Err: too many are unanswered.
    fn waits(&self, _desk: &Desk<'_>, _next: &Round, _requests: &[Comparison]) -> Result<(), StageError> {
        Ok(())
    }

    /// A report on its answers to these rounds, for labels/RUN_NAME.json.
    fn report(&self, _spec: &Spec, _rounds: &[Round]) -> Result<Option<(&'static str, Value)>, StageError> {
        Ok(None)
    }
}

/// The labeler that a spec asks for.
pub fn labeler(kind: LabelerKind) -> &'static dyn Labeler {
    match kind {
        LabelerKind::Mock => &mock::Mock,
        LabelerKind::Simulated => &simulated::Simulated,
        LabelerKind::Recorded => &recorded::Recorded,
        LabelerKind::Human => &human::Human,
        LabelerKind::Judge => &judge::LanguageModel,
        LabelerKind::Command => &command::Command,
    }
}

/// Key of a round of a program's labels, batched or online: which labels are in the round, not how many rounds follow.
fn program_key(
    spec: &Spec,
    round: &Round,
    who: &impl Serialize,
    upstream: &[String],
    previous: Option<&Key>,
) -> Result<Key, StageError> {
    let (rounds, texts) = (RoundsKey::of(&spec.collect), TextsKey::of(&spec.task));
    // The first round's samples are of ρ; how many updates there will be decides online what is asked when.
    let (updates, previous) = (rounds::updates(spec), previous.map(Key::to_string));
    let inputs = ("round", ROUNDS, round.number, rounds, updates, texts, who, spec.seed, upstream, previous);
    Ok(Key::new("labels", VERSION, &inputs)?)
}
