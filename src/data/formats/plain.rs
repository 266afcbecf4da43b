//! Plain text: one file is one document. Hard-wrapped lines of a paragraph become one line, unless the spec says that
//! each line stands by itself.

use super::{Reader, Record, Want, no_labels};
use crate::data::error::{DataError, file_error};
use crate::spec::TextLines;
use crate::store::input::{not_utf8, open_text};
use std::io::Read;
use std::path::Path;

/// Largest file read into memory.
const MAX_BYTES: u64 = 4 << 30;

/// So many lines without a blank one between them are not the lines of one paragraph.
const NO_PARAGRAPH: usize = 100;

pub fn open(path: &Path, lines: TextLines, want: Want) -> Result<Reader, DataError> {
    no_labels(path, want)?;
    let text = read_text(path)?;
    let paragraphs = paragraphs(&text, lines);
    let count = text.lines().count();
    let reader = Reader::of_one(Record { text: paragraphs.join("\n"), summary: None, label: None });
    if lines == TextLines::Wrapped && paragraphs.len() == 1 && count > NO_PARAGRAPH {
        reader.tally.remark(format!(
            "{count} lines of a file without a blank line were joined into one paragraph; if each is a sentence or \
             paragraph of its own, say lines = \"separate\""
        ));
    }
    Ok(reader)
}

/// Reads one UTF-8 text file; CRLF, and CR alone, become LF.
pub fn read_text(path: &Path) -> Result<String, DataError> {
    let mut bytes = Vec::new();
    open_text(path)
        .and_then(|reader| reader.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|e| file_error(path, e))?;
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
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// Paragraphs, each as one line: the text between blank lines, or every line. A line of white space is a blank one.
fn paragraphs(text: &str, lines: TextLines) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    for line in text.lines() {
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.is_empty() || lines == TextLines::Separate {
            paragraphs.push(String::new());
        }
        if let Some(paragraph) = paragraphs.last_mut() {
            if !paragraph.is_empty() && !words.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(&words);
        }
    }
    paragraphs.retain(|p| !p.is_empty());
    paragraphs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_white_space_ends_a_paragraph() {
        let wrapped = |text| paragraphs(text, TextLines::Wrapped);
        assert_eq!(wrapped("one\n two \n \nthree\n\t\u{a0}\n\nfour"), ["one two", "three", "four"]);
        assert_eq!(wrapped("\n \none  two\r\n\r\nthree\n"), ["one two", "three"]);
    }

    #[test]
    fn lines_of_old_machines_are_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("book.txt");
        std::fs::write(&path, "one\rtwo\r\rthree\r\nfour\r\n\r\nfive").unwrap();
        assert_eq!(paragraphs(&read_text(&path).unwrap(), TextLines::Wrapped), ["one two", "three four", "five"]);
    }

    #[test]
    fn a_sentence_per_line_stays_one() {
        assert_eq!(paragraphs("one .\ntwo\n\nthree .\n", TextLines::Separate), ["one .", "two", "three ."]);
    }
}
