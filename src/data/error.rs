//! What can be wrong with data: a message says what, where, and what to do.

use crate::spec::did_you_mean;
use std::path::{Path, PathBuf};

/// A problem with a data file or with fetching one.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("{path}: {message}", path = path.display())]
    File { path: PathBuf, message: String },
    #[error("{path}:{line}: {message}", path = path.display())]
    Line { path: PathBuf, line: usize, message: String },
    #[error("{path}:{line}:{column}: {message}", path = path.display())]
    Place { path: PathBuf, line: usize, column: usize, message: String },
    /// The hub refuses, or does not have it.
    #[error("{what}: {message}")]
    Hub { what: String, message: String },
    /// The network, the hub or the disk failed: the same command may do later.
    #[error("{what}: {message}")]
    Fetch { what: String, message: String },
    #[error("{0}")]
    Other(String),
}

impl DataError {
    /// Whether the input is to blame, rather than the network or the disk.
    pub fn is_wrong_input(&self) -> bool {
        !matches!(self, Self::Fetch { .. })
    }
}

pub(crate) fn file_error(path: &Path, message: impl std::fmt::Display) -> DataError {
    DataError::File { path: path.into(), message: message.to_string() }
}

pub(crate) fn line_error(path: &Path, line: usize, message: impl std::fmt::Display) -> DataError {
    DataError::Line { path: path.into(), line, message: message.to_string() }
}

/// `a, b, c and 7 more`: names for a message.
pub(crate) fn list<S: AsRef<str>>(names: &[S], most: usize) -> String {
    let shown: Vec<&str> = names.iter().take(most).map(AsRef::as_ref).collect();
    match names.len() {
        0 => "none".into(),
        n if n > most => format!("{} and {} more", shown.join(", "), n - most),
        _ => shown.join(", "),
    }
}

/// What there is instead of `name`, for the message that it is not there: the one that was probably meant, then all.
pub(crate) fn instead<S: AsRef<str>>(name: &str, there: &[S], most: usize) -> String {
    let meant = did_you_mean(name, there.iter().map(AsRef::as_ref));
    let meant = meant.map(|(question, _)| format!("{question} ")).unwrap_or_default();
    format!("{meant}there are {}", list(there, most))
}
