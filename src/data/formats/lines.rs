//! Bytes and lines of a text file: gzip undone, a byte-order mark skipped, UTF-8 checked, and every line numbered.

use crate::data::error::{DataError, file_error, line_error};
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A longer line is no line of a data file.
const LONGEST_LINE: u64 = 1 << 30;
const BUFFER: usize = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"))
}

/// A file's bytes from behind a byte-order mark, unpacked where its name ends in .gz.
pub fn open_bytes(path: &Path) -> Result<Box<dyn BufRead>, DataError> {
    let error = |e: io::Error| read_error(path, &e);
    let file = File::open(path).map_err(error)?;
    if file.metadata().map_err(error)?.is_dir() {
        return Err(file_error(path, "is a folder; a file is expected"));
    }
    let file = BufReader::with_capacity(BUFFER, file);
    let mut reader: Box<dyn BufRead> = match is_gzip(path) {
        true => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file))),
        false => Box::new(file),
    };
    let start = reader.fill_buf().map_err(error)?;
    if UTF_16.iter().any(|mark| start.starts_with(mark)) {
        return Err(file_error(path, "is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"));
    }
    if start.starts_with(BYTE_ORDER_MARK) {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    Ok(reader)
}

/// What went wrong in reading; a gzip file that ends early or has wrong check sums says so.
pub fn read_error(path: &Path, e: &io::Error) -> DataError {
    let broken =
        matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData);
    match is_gzip(path) && broken {
        true => file_error(path, format!("not a complete gzip file ({e}); fetch it again")),
        false => file_error(path, e),
    }
}

/// The message for bytes that are no UTF-8, the first of them at `at` from the file's start.
pub fn not_utf8(at: u64) -> String {
    format!("not UTF-8 at byte {at}; convert it, for example with iconv")
}

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
        Ok(Self { path: path.into(), reader: open_bytes(path)?, line: Vec::new(), before: 0, number: 0 })
    }

    /// The next line that is not blank, without its end, and its number from 1; `None` at the end of the file.
    pub fn next_line(&mut self) -> Result<Option<(usize, &str)>, DataError> {
        loop {
            self.before += self.line.len() as u64;
            self.line.clear();
            let read = (&mut self.reader).take(LONGEST_LINE).read_until(b'\n', &mut self.line);
            let read = read.map_err(|e| read_error(&self.path, &e))?;
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
