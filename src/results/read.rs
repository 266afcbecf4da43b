//! Reading and writing the files of a results directory.
//!
//! Readers skip fields they do not know (a newer program may have written them) and name file and line of what
//! they cannot read. A last line without its newline is a line still being written, and is left out.

use crate::store::{atomic, input};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Why a report could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The operating system refused to read.
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// The operating system refused to write.
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    /// A file whose content is not what it should be.
    #[error("{path}:{line}: {message}")]
    Content { path: PathBuf, line: usize, message: String },
    /// A plot could not be drawn.
    #[error("cannot draw {name}: {message}")]
    Plot { name: String, message: String },
    /// Something is not a results directory.
    #[error("{path} is not a results directory: {message}")]
    NotResults { path: PathBuf, message: String },
    /// Two directories whose numbers say nothing about each other.
    #[error("{a} and {b} cannot be compared: {reason}")]
    Incomparable { a: PathBuf, b: PathBuf, reason: String },
    /// A call that makes no sense.
    #[error("{0}")]
    Usage(String),
}

/// A file's text; bytes that are not UTF-8 are an error with their line.
pub fn read_text(path: &Path) -> Result<String, ResultsError> {
    let bytes = input::read(path).map_err(|source| ResultsError::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let line = e.as_bytes().iter().take(good).filter(|b| **b == b'\n').count() + 1;
        ResultsError::Content { path: path.to_owned(), line, message: "not UTF-8 text".to_owned() }
    })
}

/// One JSON document.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ResultsError> {
    serde_json::from_str(&read_text(path)?).map_err(|e| ResultsError::Content {
        path: path.to_owned(),
        line: e.line().max(1),
        message: e.to_string(),
    })
}

/// One JSON document per line; blank lines are skipped, and so is an unreadable last line without a newline.
pub fn read_jsonl<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ResultsError> {
    let text = read_text(path)?;
    let count = text.lines().count();
    let mut out = Vec::with_capacity(count);
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(value) => out.push(value),
            Err(_) if index + 1 == count && !text.ends_with('\n') => {}
            Err(e) => {
                let message = format!("column {}: {}", e.column(), reason(&e));
                return Err(ResultsError::Content { path: path.to_owned(), line: index + 1, message });
            }
        }
    }
    Ok(out)
}

/// serde_json's message without its own line and column.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// Writes a whole file or nothing; a reader sees the old content or the new.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), ResultsError> {
    atomic::write_atomic(path, bytes).map_err(|source| ResultsError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::super::{Evaluation, number, read_metrics};
    use super::*;
    use std::fs;

    #[test]
    fn errors_name_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        fs::write(&path, "{\"a\":1}\n\n{\"a\":oops}\n{\"a\":2}\n").unwrap();
        let message = read_metrics(&path).unwrap_err().to_string();
        assert!(message.contains("metrics.jsonl:3: column"), "{message}");
        fs::write(&path, b"{}\n\xff\n").unwrap();
        assert!(read_metrics(&path).unwrap_err().to_string().contains("metrics.jsonl:2: not UTF-8"));
    }

    #[test]
    fn a_line_being_written_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        fs::write(&path, "{\"a\":1,\"b\":null}\n{\"a\":2").unwrap();
        let steps = read_metrics(&path).unwrap();
        assert_eq!(steps.len(), 1);
        assert_eq!(number(&steps[0], "a"), Some(1.0));
        assert_eq!(number(&steps[0], "b"), None);
    }

    #[test]
    fn unknown_fields_are_skipped_and_missing_ones_named() {
        let text = r#"{"run":"a","schedule":"direct","episodes":1,"n":0,"reference":{"mean":0,"std":1},
            "policy":{"mean":0,"std":1},"kl":{"mean":0,"std":1},"missing_truncation":0,"later":true}"#;
        assert!(serde_json::from_str::<Evaluation>(text).is_ok());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("evaluation.json");
        fs::write(&path, "{\"run\":\"a\"}").unwrap();
        assert!(read_json::<Evaluation>(&path).unwrap_err().to_string().contains("missing field"));
    }

    #[test]
    fn writing_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/file.txt");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
