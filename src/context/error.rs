//! Why a stage did not finish, and how a run then ends.

use crate::data::source::DataError;
use crate::label::LabelError;
use crate::model::ModelError;
use crate::ranks::{Elsewhere, Failure};
use crate::results::stops::Halt;
use crate::results::{Outcome, ResultsError};
use crate::store::chunks::Broken;
use std::path::{Path, PathBuf};

/// Why a stage did not finish.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Label(#[from] LabelError),
    #[error(transparent)]
    Report(#[from] ResultsError),
    #[error("cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Input(String),
    #[error("guard `{name}` stopped the run: {message}")]
    Guard { name: &'static str, message: String },
    #[error("stopped by {by} after step {update}; {kept}")]
    Stopped { by: String, update: usize, kept: Kept },
    /// Not an error: as far as `--until` wanted.
    #[error("ready as far as `{0}`, as --until asked; the same command without it goes on")]
    Reached(String),
    #[error(
        "the program failed, which is a mistake in it and not in the spec: {0}; please report it. Finished stages and checkpoints are kept"
    )]
    Panicked(String),
    /// Somebody outside does not answer who may answer later.
    #[error("{0}")]
    Unanswered(String),
    /// What may be asked of somebody who is paid has been asked.
    #[error("{0}")]
    Spent(String),
    /// `serve`: the directory to hand to the command that serves batches; `results`: of the run, for its curve and the
    /// cord.
    #[error("{run} waits for people: batch {batch} has {answered} of {wanted} answers{more}; collect them with `runner labels serve {serve} --results {results}` (or import them with `runner labels import`), and the same command continues", batch = batch.display(), serve = crate::printed::shell_path(serve), results = crate::printed::shell_path(results))]
    Waiting {
        run: Box<str>,
        batch: Box<Path>,
        serve: Box<Path>,
        results: Box<Path>,
        answered: usize,
        wanted: usize,
        more: Box<str>,
    },
}

/// What a stage keeps when it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Everything,
    /// Of the stage itself nothing.
    Stages,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Everything => "everything is saved, and the same command continues",
            Self::Stages => {
                "finished stages are kept; this one keeps nothing until it is done, and the same command begins it again"
            }
        })
    }
}

impl From<Elsewhere> for StageError {
    fn from(e: Elsewhere) -> Self {
        Self::Model(e.into())
    }
}

impl Failure for StageError {
    fn code(&self) -> i32 {
        self.outcome().code()
    }
}

impl From<Broken> for StageError {
    fn from(Broken { path, source }: Broken) -> Self {
        Self::Io { path, source }
    }
}

impl StageError {
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
    /// How a run ends with it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Input(_) | Self::Label(_) | Self::Model(ModelError::Input(_)) => Outcome::WrongInput,
            Self::Data(e) if e.is_wrong_input() => Outcome::WrongInput,
            Self::Model(ModelError::Elsewhere(e)) => Outcome::of_code(e.code),
            Self::Waiting { .. } | Self::Spent(_) => Outcome::Waiting,
            Self::Guard { .. } | Self::Stopped { .. } | Self::Reached(_) => Outcome::Stopped,
            _ => Outcome::Failed,
        }
    }
    /// Whether all ranks of the run know of it already, as of one that another rank has ended with.
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Model(ModelError::Elsewhere(e)) if e.settled)
    }
    /// Who halted the run, where somebody or something did.
    pub fn halt(&self) -> Option<Halt> {
        match self {
            Self::Guard { name, message } => Some(Halt::Guard { name: (*name).into(), message: message.clone() }),
            Self::Stopped { by, update, .. } => Some(Halt::Asked { by: by.clone(), update: *update }),
            _ => None,
        }
    }
}
