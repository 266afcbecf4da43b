//! The stages of an experiment, one file each. A stage reads the artifacts of the ones before it and writes its
//! own into the cache; a finished one is reused.

pub mod chain;
pub mod classifier;
pub mod collect;
pub mod context;
pub mod evaluate;
pub mod experiment;
pub mod guards;
pub mod measures;
pub mod policy;
pub mod pretrain;
pub mod progress;
pub mod quality;
pub mod reward;
pub mod rounds;
pub mod scoring;
pub mod sources;
pub mod stop;
pub mod supervised;
pub mod training;

#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod label_tests;

use crate::data::source::DataError;
use crate::label::LabelError;
use crate::model::ModelError;
use std::path::PathBuf;

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
    Report(#[from] crate::report::ReportError),
    #[error("cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Input(String),
    #[error("guard `{name}` stopped the run: {message}")]
    Guard { name: &'static str, message: String },
    #[error("stopped by {by} after update {update}; everything is saved, and the same command continues")]
    Stopped { by: String, update: usize },
    /// `serve`: the directory to hand to the command that serves batches; `results`: of the run, for its curve and the cord.
    #[error("{run} waits for people: batch {batch} has {answered} of {wanted} answers{more}; collect them with `runner labels serve {serve} --results {results}` (or import them with `runner labels import`), and the same command continues", batch = batch.display(), serve = serve.display(), results = results.display())]
    Waiting { run: String, batch: PathBuf, serve: PathBuf, results: PathBuf, answered: usize, wanted: usize, more: String },
    #[error("another runner is working in {path}; wait for it, or stop it", path = _0.display())]
    Locked(PathBuf),
}

impl StageError {
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
    /// Exit codes: 2 wrong input, 3 waiting for people, 4 stopped by a guard or a person, 1 anything else.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Input(_) | Self::Label(_) | Self::Model(ModelError::Input(_)) => 2,
            Self::Data(e) if e.is_wrong_input() => 2,
            Self::Waiting { .. } => 3,
            Self::Guard { .. } | Self::Stopped { .. } => 4,
            _ => 1,
        }
    }
}
