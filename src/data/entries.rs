//! A JSON file as a stream of its entries: the elements of an array, or the lines of JSON lines. Only one entry is in
//! memory at a time, and one that is not JSON does not hide those after it: entries are told apart by brackets and
//! quotes alone, and parsed afterwards.

use super::error::{DataError, file_error};
use crate::store::input::open_text;
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// Longest entry of labels in bytes; a released one has 10,000.
pub const LARGEST_LABEL: usize = 16 << 20;

/// How entries follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// `[entry, entry, ...]`
    Array,
    /// One entry per line; empty lines are skipped.
    Lines,
    /// Entries one after the other, each over as many lines as it likes.
    Values,
}

/// One entry's bytes, and where they start.
#[derive(Debug)]
pub struct Entry<'a> {
    pub bytes: &'a [u8],
    /// From 1.
    pub number: u64,
    pub line: u64,
    /// In bytes, from 1.
    pub column: u64,
}

impl Entry<'_> {
    /// Where in the file a place in the entry is, which is given as line and column from 1; `None` is the entry's
    /// start.
    pub fn place(&self, within: Option<(usize, usize)>) -> (u64, u64) {
        match within {
            None | Some((0, _)) => (self.line, self.column),
            Some((1, column)) => (self.line, self.column + (column as u64).saturating_sub(1)),
            Some((line, column)) => (self.line + line as u64 - 1, column as u64),
        }
    }
}

/// A place in the file.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    line: u64,
    column: u64,
}

impl Cursor {
    fn pass(&mut self, bytes: &[u8]) {
        match bytes.iter().rposition(|b| *b == b'\n') {
            Some(last) => {
                self.line += bytes.iter().filter(|b| **b == b'\n').count() as u64;
                self.column = (bytes.len() - last) as u64;
            }
            None => self.column += bytes.len() as u64,
        }
    }
}

/// The entries of a file, in order. After an error there are no more.
pub struct Entries<R = Box<dyn BufRead>> {
    path: PathBuf,
    reader: R,
    /// Longest entry in bytes.
    largest: usize,
    container: Container,
    at: Cursor,
    number: u64,
    bytes: Vec<u8>,
    ended: bool,
}

impl Entries {
    /// Opens a file; its first character says how entries follow each other.
    pub fn open(path: &Path, largest: usize) -> Result<Self, DataError> {
        Self::new(path, open_text(path).map_err(|e| file_error(path, e))?, largest)
    }

    /// The same where an entry outside an array may be of several lines.
    pub fn open_values(path: &Path, largest: usize) -> Result<Self, DataError> {
        let mut entries = Self::open(path, largest)?;
        if entries.container == Container::Lines {
            entries.container = Container::Values;
        }
        Ok(entries)
    }
}

impl<R: BufRead> Entries<R> {
    /// Entries of any reader; `path` is for messages.
    pub fn new(path: &Path, reader: R, largest: usize) -> Result<Self, DataError> {
        let mut entries = Self {
            path: path.into(),
            reader,
            largest,
            container: Container::Lines,
            at: Cursor { line: 1, column: 1 },
            number: 0,
            bytes: Vec::new(),
            ended: false,
        };
        match entries.peek()? {
            Some(b'[') => {
                entries.container = Container::Array;
                entries.consume(1)?;
            }
            Some(b'{' | b'"') => {}
            None => return Err(file_error(path, "is empty")),
            Some(other) => {
                let message =
                    format!("starts with {:?}; expected `[` (a JSON array) or `{{` (JSON lines)", char::from(other));
                return Err(entries.here(message));
            }
        }
        Ok(entries)
    }

    pub fn container(&self) -> Container {
        self.container
    }

    /// The next entry.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, DataError> {
        self.bytes.clear();
        let start = match self.container {
            _ if self.ended => Ok(None),
            Container::Array => self.next_element(),
            Container::Lines => self.next_line(),
            Container::Values => self.next_value(),
        }
        .inspect_err(|_| self.ended = true)?;
        let Some(start) = start else {
            self.ended = true;
            return Ok(None);
        };
        Ok(Some(Entry { bytes: &self.bytes, number: self.number, line: start.line, column: start.column }))
    }

    fn next_line(&mut self) -> Result<Option<Cursor>, DataError> {
        loop {
            let start = self.at;
            self.bytes.clear();
            self.capture(&mut LineScan)?;
            if self.bytes.is_empty() {
                return Ok(None);
            }
            let kept = self.bytes.trim_ascii_end().len();
            if kept > 0 {
                self.bytes.truncate(kept);
                self.number += 1;
                return Ok(Some(start));
            }
        }
    }

    fn next_value(&mut self) -> Result<Option<Cursor>, DataError> {
        if self.peek()?.is_none() {
            return Ok(None);
        }
        let start = self.at;
        self.number += 1;
        if !self.capture(&mut ValueScan::default())? {
            return Err(self.unfinished(start));
        }
        match self.bytes.is_empty() {
            true => Err(self.here(format!("expected entry {}", self.number))),
            false => Ok(Some(start)),
        }
    }

    fn next_element(&mut self) -> Result<Option<Cursor>, DataError> {
        let first = self.number == 0;
        match (self.peek()?, first) {
            (Some(b']'), _) => {
                self.consume(1)?;
                return self.nothing_follows().map(|()| None);
            }
            (None, _) => return Err(self.truncated("before the array's `]`")),
            (Some(b','), false) => {
                self.consume(1)?;
                if matches!(self.peek()?, Some(b',' | b']')) {
                    return Err(self.here("there is no entry after `,`".into()));
                }
            }
            (Some(_), true) => {}
            (Some(other), false) => {
                let message = format!("expected `,` or `]` after entry {}, found {:?}", self.number, char::from(other));
                return Err(self.here(message));
            }
        }
        if self.peek()?.is_none() {
            return Err(self.truncated("after a `,`"));
        }
        let start = self.at;
        self.number += 1;
        if !self.capture(&mut ValueScan::default())? {
            return Err(self.unfinished(start));
        }
        Ok(Some(start))
    }

    /// Takes bytes up to where `scan` says that the entry ends; false: the file ended first.
    fn capture(&mut self, scan: &mut impl Scan) -> Result<bool, DataError> {
        loop {
            let buffer = self.reader.fill_buf().map_err(|e| file_error(&self.path, e))?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let (used, done) = scan.feed(buffer);
            self.bytes.extend_from_slice(&buffer[..used]);
            self.at.pass(&buffer[..used]);
            self.reader.consume(used);
            if done {
                return Ok(true);
            }
            if self.bytes.len() > self.largest {
                let what = format!("entry {} is longer than {} bytes; is the format right?", self.number, self.largest);
                return Err(self.here(what));
            }
        }
    }

    fn nothing_follows(&mut self) -> Result<(), DataError> {
        match self.peek()? {
            None => Ok(()),
            Some(_) => {
                let message = format!("something follows the array's `]` (after {} entries)", self.number);
                Err(self.here(message))
            }
        }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Result<Option<u8>, DataError> {
        loop {
            let buffer = self.reader.fill_buf().map_err(|e| file_error(&self.path, e))?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let found = buffer.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
            let blank = found.unwrap_or(buffer.len());
            let byte = found.map(|i| buffer[i]);
            self.at.pass(&buffer[..blank]);
            self.reader.consume(blank);
            if byte.is_some() {
                return Ok(byte);
            }
        }
    }

    fn consume(&mut self, count: usize) -> Result<(), DataError> {
        let buffer = self.reader.fill_buf().map_err(|e| file_error(&self.path, e))?;
        let count = count.min(buffer.len());
        self.at.pass(&buffer[..count]);
        self.reader.consume(count);
        Ok(())
    }

    fn here(&self, message: String) -> DataError {
        let (line, column) = (self.at.line as usize, self.at.column as usize);
        DataError::Place { path: self.path.clone(), line, column, message }
    }

    fn unfinished(&self, start: Cursor) -> DataError {
        self.truncated(&format!("inside entry {}, which starts at {}:{}", self.number, start.line, start.column))
    }

    fn truncated(&self, place: &str) -> DataError {
        self.here(format!("the file ends {place}: it is truncated; download or copy it again"))
    }
}

/// Finds the end of an entry in bytes that come in pieces.
trait Scan {
    /// How many bytes belong to the entry, and whether it ends there.
    fn feed(&mut self, bytes: &[u8]) -> (usize, bool);
}

/// A line with its end.
struct LineScan;

impl Scan for LineScan {
    fn feed(&mut self, bytes: &[u8]) -> (usize, bool) {
        match bytes.iter().position(|b| *b == b'\n') {
            Some(end) => (end + 1, true),
            None => (bytes.len(), false),
        }
    }
}

/// A JSON value: to its last bracket, or for numbers and words to what follows them.
#[derive(Default)]
struct ValueScan {
    depth: usize,
    /// The quote that ends a string; Python writes both kinds.
    quoted: Option<u8>,
    escaped: bool,
}

impl Scan for ValueScan {
    fn feed(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (i, byte) in bytes.iter().enumerate() {
            if let Some(quote) = self.quoted {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    byte if *byte == quote => {
                        self.quoted = None;
                        if self.depth == 0 {
                            return (i + 1, true);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' | b'\'' => self.quoted = Some(*byte),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth == 0 => return (i, true),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (i + 1, true);
                    }
                }
                b',' | b' ' | b'\t' | b'\n' | b'\r' if self.depth == 0 => return (i, true),
                _ => {}
            }
        }
        (bytes.len(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// All entries as text with their places; then the error's words.
    fn entries(text: &[u8], capacity: usize) -> (Vec<String>, Option<String>) {
        let reader = BufReader::with_capacity(capacity, text);
        let mut found = Vec::new();
        let mut entries = match Entries::new(Path::new("x"), reader, LARGEST_LABEL) {
            Ok(entries) => entries,
            Err(e) => return (found, Some(e.to_string())),
        };
        loop {
            match entries.next_entry() {
                Ok(Some(e)) => found.push(format!("{}:{}:{}", e.line, e.column, String::from_utf8_lossy(e.bytes))),
                Ok(None) => return (found, None),
                Err(e) => return (found, Some(e.to_string())),
            }
        }
    }

    #[test]
    fn elements_have_their_places_whatever_the_buffer() {
        let text = b" [\n {\"a\": \"]},{\\\"\"},\n  [1, [2]],3 ,\t\"x\",\n null ]\n ";
        let wanted = ["2:2:{\"a\": \"]},{\\\"\"}", "3:3:[1, [2]]", "3:12:3", "3:16:\"x\"", "4:2:null"];
        for capacity in [3, 4, 5, 7, 64, 1000] {
            assert_eq!(entries(text, capacity), (wanted.iter().map(|s| s.to_string()).collect(), None), "{capacity}");
        }
        assert_eq!(entries(b"[]", 64), (vec![], None));
    }

    #[test]
    fn lines_may_be_empty_and_end_in_any_way() {
        let text = b"{\"a\": 1}\r\n\n  \n{\"b\": 2}\nnonsense\n{}";
        let wanted = ["1:1:{\"a\": 1}", "4:1:{\"b\": 2}", "5:1:nonsense", "6:1:{}"];
        for capacity in [1, 2, 8, 1000] {
            assert_eq!(entries(text, capacity), (wanted.iter().map(|s| s.to_string()).collect(), None), "{capacity}");
        }
    }

    #[test]
    fn a_broken_entry_does_not_hide_the_next() {
        let (found, error) = entries(b"[{\"a\": NaN}, {\"b\": 01}, {\"c\" 2}, {}]", 8);
        assert_eq!((found.len(), error), (4, None));
    }

    #[test]
    fn damage_is_named_with_its_place() {
        let message = |text: &[u8]| entries(text, 16).1.unwrap_or_default();
        assert_eq!(message(b""), "x: is empty");
        assert_eq!(message(b" \n "), "x: is empty");
        assert!(message(b"\n 7").starts_with("x:2:2: starts with '7'"));
        assert!(message(b"[{}, {\"a\": [1").contains("inside entry 2, which starts at 1:6: it is truncated"));
        assert!(message(b"[{},").contains("after a `,`"));
        assert!(message(b"[{}").contains("before the array's `]`"));
        assert!(message(b"[{}] {}").starts_with("x:1:6: something follows"));
        assert!(message(b"[{},,{}]").contains("no entry after"));
        assert!(message(b"[{},]").contains("no entry after"));
        assert!(message(b"[{} {}]").contains("expected `,` or `]` after entry 1"));
        let long = [b"[{\"a\": \"".as_slice(), &vec![b'x'; LARGEST_LABEL + 9]].concat();
        assert!(message(&long).contains("entry 1 is longer than"));
    }
}
