//! Comma- and tab-separated values. With a header line both follow RFC 4180 (quotes, line ends inside them). A TSV
//! without one has lines of text, tab, label, taken as they are.

use super::columns::{Names, Want, label_text};
use super::lines::{Lines, open_bytes, read_error};
use super::{Reader, Record};
use crate::data::error::{DataError, file_error, line_error};
use crate::spec::ColumnsSpec;
use csv::{ByteRecord, ErrorKind, ReaderBuilder};
use std::cell::Cell;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub fn csv(path: &Path, columns: &ColumnsSpec, want: Want) -> Result<Reader, DataError> {
    with_header(path, b',', columns, want)
}

pub fn tsv(path: &Path, columns: &ColumnsSpec, want: Want) -> Result<Reader, DataError> {
    let mut lines = Lines::open(path)?;
    let header = match lines.next_line()? {
        None => return Err(file_error(path, "is empty")),
        Some((_, line)) => {
            let cells: Vec<&str> = line.split('\t').map(|c| c.trim().trim_matches('"')).collect();
            Names::look_like_header(columns, want, &cells)
        }
    };
    match header {
        true => with_header(path, b'\t', columns, want),
        false => without_header(path, want),
    }
}

/// Lines of text, tab, label.
fn without_header(path: &Path, want: Want) -> Result<Reader, DataError> {
    let mut lines = Lines::open(path)?;
    let next = move || loop {
        let (number, line) = match lines.next_line() {
            Ok(None) => return None,
            Err(e) => return Some(Err(e)),
            Ok(Some(line)) => line,
        };
        let found = match pair(line) {
            Ok((text, label)) => Ok((text.trim().to_string(), label_text(label))),
            Err(message) => Err(message),
        };
        let record = match found {
            // A first line of column names is not data.
            Ok((_, Err(_))) if number == 1 => continue,
            Ok((text, Ok(label))) => Ok(Record { text, summary: None, label: Some(label) }),
            Ok((text, Err(_))) if want == Want::Documents => Ok(Record { text, summary: None, label: None }),
            Ok((_, Err(message))) | Err(message) => Err(lines.error(number, message)),
        };
        return Some(record);
    };
    Ok(Reader::new(None, std::iter::from_fn(next)))
}

fn pair(line: &str) -> Result<(&str, &str), String> {
    if line.contains('\0') {
        return Err("contains NUL bytes; this is not a text file".into());
    }
    line.rsplit_once('\t').ok_or_else(|| "no tab; expected text, tab, label".into())
}

/// How far a file has been read.
#[derive(Debug, Default)]
struct Progress {
    /// The last byte that is no white space.
    last: Cell<u8>,
    /// Whether the end has been met, which the last row's own line end comes before.
    ended: Cell<bool>,
}

/// Hands bytes on and remembers how far it came.
struct Tail<R> {
    inner: R,
    progress: Rc<Progress>,
}

impl<R: Read> Read for Tail<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.ended.set(read == 0);
        if let Some(last) = buffer[..read].iter().rev().find(|b| !b.is_ascii_whitespace()) {
            self.progress.last.set(*last);
        }
        Ok(read)
    }
}

/// A file with named columns.
struct Table<R> {
    path: PathBuf,
    rows: csv::Reader<Tail<R>>,
    row: ByteRecord,
    progress: Rc<Progress>,
    text: usize,
    summary: Option<usize>,
    label: Option<usize>,
    done: bool,
}

fn with_header(path: &Path, delimiter: u8, columns: &ColumnsSpec, want: Want) -> Result<Reader, DataError> {
    let progress = Rc::new(Progress::default());
    let tail = Tail { inner: open_bytes(path)?, progress: Rc::clone(&progress) };
    let mut rows = ReaderBuilder::new().delimiter(delimiter).from_reader(tail);
    let header = rows.byte_headers().map_err(|e| csv_error(path, &e))?;
    let header: Vec<String> = header.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_string()).collect();
    if header.iter().all(String::is_empty) {
        return Err(file_error(path, "is empty"));
    }
    let position = |name: &str| header.iter().position(|cell| cell == name);
    let twice = |name: &&String| header.iter().filter(|cell| cell == name).count() > 1;
    let names = Names::find(columns, want, &|name| position(name).is_some(), &|| header.clone())
        .map_err(|message| line_error(path, 1, format!("{message} (the first line names the columns)")))?;
    if let Some(name) =
        [Some(&names.text), names.summary.as_ref(), names.label.as_ref()].into_iter().flatten().find(twice)
    {
        return Err(line_error(path, 1, format!("there are several columns {name:?}; rename all but one")));
    }
    let mut table = Table {
        path: path.into(),
        rows,
        row: ByteRecord::new(),
        progress,
        text: position(&names.text).unwrap_or_default(),
        summary: names.summary.as_deref().and_then(position),
        label: names.label.as_deref().and_then(position),
        done: false,
    };
    let first = table.next().ok_or_else(|| file_error(path, "has no rows"))?;
    Ok(Reader::new(Some(names), std::iter::once(first).chain(std::iter::from_fn(move || table.next()))))
}

impl<R: Read> Table<R> {
    fn next(&mut self) -> Option<Result<Record, DataError>> {
        if self.done {
            return None;
        }
        let result = match self.rows.read_byte_record(&mut self.row) {
            Ok(false) => return None,
            Ok(true) => self.record(),
            Err(e) => Err(csv_error(&self.path, &e)),
        };
        self.done = result.is_err();
        Some(result)
    }

    fn record(&mut self) -> Result<Record, DataError> {
        let line = self.row.position().map_or(0, |p| p.line() as usize);
        let error = |message: String| line_error(&self.path, line, message);
        let cell = |index: usize| match std::str::from_utf8(self.row.get(index).unwrap_or_default()) {
            Ok(text) => Ok(text.replace("\r\n", "\n")),
            Err(_) => Err(error(format!("cell {} is not UTF-8; convert the file, for example with iconv", index + 1))),
        };
        let record = Record {
            text: cell(self.text)?,
            summary: self.summary.map(cell).transpose()?.filter(|s| !s.is_empty()),
            label: self.label.map(|i| label_text(&cell(i)?).map_err(error)).transpose()?,
        };
        // A quote that is never closed takes everything after it into the last cell of the last row.
        let last = self.row.iter().next_back().unwrap_or_default();
        if last.contains(&b'\n') && self.progress.ended.get() && self.progress.last.get() != b'"' {
            return Err(error("a quote is opened in this row and never closed; double the quotes inside text".into()));
        }
        Ok(record)
    }
}

fn csv_error(path: &Path, e: &csv::Error) -> DataError {
    match e.kind() {
        ErrorKind::Io(e) => read_error(path, e),
        ErrorKind::UnequalLengths { pos, expected_len, len } => line_error(
            path,
            pos.as_ref().map_or(0, |p| p.line() as usize),
            format!(
                "{len} cells, and the rows before have {expected_len}; put text with separators in quotes, and double the quotes inside it"
            ),
        ),
        _ => file_error(path, e),
    }
}
