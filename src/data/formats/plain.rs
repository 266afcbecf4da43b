//! Plain text: one file is one document. Hard-wrapped lines of a paragraph become one line.

use super::lines::{not_utf8, open_bytes, read_error};
use super::{Reader, Record, Want, no_labels};
use crate::data::error::{DataError, file_error};
use std::io::Read;
use std::path::Path;

/// Largest file read into memory.
const MAX_BYTES: u64 = 4 << 30;

pub fn open(path: &Path, want: Want) -> Result<Reader, DataError> {
    no_labels(path, want)?;
    let text = unwrap_lines(&read_text(path)?);
    Ok(Reader::new(None, std::iter::once(Ok(Record { text, summary: None, label: None }))))
}

/// Reads one UTF-8 text file; CRLF becomes LF.
pub fn read_text(path: &Path) -> Result<String, DataError> {
    let mut bytes = Vec::new();
    open_bytes(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| read_error(path, &e))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(file_error(path, format!("more than {MAX_BYTES} bytes: split the file")));
    }
    let text = String::from_utf8(bytes).map_err(|e| file_error(path, not_utf8(e.utf8_error().valid_up_to() as u64)))?;
    if text.contains('\0') {
        return Err(file_error(path, "contains NUL bytes; this is not a text file"));
    }
    if text.trim().is_empty() {
        return Err(file_error(path, "is empty"));
    }
    Ok(text.replace("\r\n", "\n"))
}

/// Hard-wrapped lines of a paragraph become one line; blank lines still separate paragraphs.
fn unwrap_lines(text: &str) -> String {
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|p| !p.is_empty())
        .collect();
    paragraphs.join("\n")
}
