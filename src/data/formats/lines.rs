//! Lines of a text file: UTF-8 checked, and every line numbered.

use crate::data::error::{DataError, file_error, line_error};
use crate::store::input::{not_utf8, open_text};
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

/// A longer line is no line of a data file.
const LONGEST_LINE: u64 = 1 << 30;

/// Numbered lines, one in memory at a time.
pub struct Lines {
    pub path: PathBuf,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    /// Bytes before the current line.
    before: u64,
    number: usize,
}

impl Lines {
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Ok(Self {
            path: path.into(),
            reader: open_text(path).map_err(|e| file_error(path, e))?,
            line: Vec::new(),
            before: 0,
            number: 0,
        })
    }

    /// The next line that is not blank, without its end, and its number from 1; `None` at the end of the file.
    pub fn next_line(&mut self) -> Result<Option<(usize, &str)>, DataError> {
        loop {
            self.before += self.line.len() as u64;
            self.line.clear();
            let read = (&mut self.reader).take(LONGEST_LINE).read_until(b'\n', &mut self.line);
            let read = read.map_err(|e| file_error(&self.path, e))?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read as u64 == LONGEST_LINE {
                let message = format!("a line of more than {LONGEST_LINE} bytes; is the format right?");
                return Err(line_error(&self.path, self.number, message));
            }
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                break;
            }
        }
        match std::str::from_utf8(&self.line) {
            Ok(text) => Ok(Some((self.number, text.trim_end_matches(['\n', '\r'])))),
            Err(e) => Err(line_error(&self.path, self.number, not_utf8(self.before + e.valid_up_to() as u64))),
        }
    }

    pub fn error(&self, line: usize, message: impl std::fmt::Display) -> DataError {
        line_error(&self.path, line, message)
    }
}
