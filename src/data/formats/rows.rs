//! Rows of comma-separated values as RFC 4180 has them, with the lines that an editor shows. Stricter than most readers
//! in one thing: a quoted cell ends where its quote is closed, so that a quote that is not doubled stops the reading
//! where others glue rows together.

use std::io::{self, BufRead};

/// What is wrong, and in which line.
#[derive(Debug)]
pub enum RowError {
    Io(io::Error),
    Line(usize, String),
}

/// A row's cells in one piece of memory.
#[derive(Debug, Default)]
pub struct DelimitedRow {
    /// The line that it starts in, from 1; whatever ends lines, and wherever cells have line ends of their own.
    pub line: usize,
    bytes: Vec<u8>,
    /// Where each cell ends in `bytes`.
    ends: Vec<usize>,
}

impl DelimitedRow {
    /// Cells of the row, empty ones too.
    pub fn width(&self) -> usize {
        self.ends.len()
    }

    /// A cell; empty for one that is not there.
    pub fn cell(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        match (start, self.ends.get(index)) {
            (Some(start), Some(end)) => &self.bytes[start..*end],
            _ => &[],
        }
    }

    /// Whether nothing is in any cell.
    pub fn is_blank(&self) -> bool {
        self.bytes.iter().all(u8::is_ascii_whitespace)
    }

    fn end_cell(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Nothing of the cell has been read.
    Start,
    Plain,
    Quoted,
    /// Behind a quote that closes a cell, or is the first of two that stand for one.
    Closed,
}

/// The rows of a reader, one in memory at a time.
pub struct DelimitedRows {
    reader: Box<dyn BufRead>,
    separator: u8,
    row: DelimitedRow,
    /// The line that is being read.
    line: usize,
    /// The last byte was a carriage return, so that a newline belongs to it.
    returned: bool,
}

impl DelimitedRows {
    pub fn new(reader: Box<dyn BufRead>, separator: u8) -> Self {
        Self { reader, separator, row: DelimitedRow::default(), line: 1, returned: false }
    }

    /// The next row that has anything in its line; `None` at the end.
    pub fn next_row(&mut self) -> Result<Option<&DelimitedRow>, RowError> {
        loop {
            self.row.bytes.clear();
            self.row.ends.clear();
            self.row.line = self.line;
            let more = self.read()?;
            let empty_line = self.row.ends.len() == 1 && self.row.bytes.is_empty();
            if !empty_line && !self.row.ends.is_empty() {
                return Ok(Some(&self.row));
            }
            if !more {
                return Ok(None);
            }
        }
    }

    /// Ends the last row, which need not have a line's end.
    fn end_file(&mut self, at: At) -> Result<(), RowError> {
        if at == At::Quoted {
            let message = "a quote is opened in this row and never closed; double the quotes inside text";
            return Err(RowError::Line(self.row.line, message.into()));
        }
        if at != At::Start || !self.row.ends.is_empty() {
            self.row.end_cell();
        }
        Ok(())
    }

    /// Reads up to a row's end; false: that was the end of the file.
    fn read(&mut self) -> Result<bool, RowError> {
        let mut at = At::Start;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(RowError::Io(e)),
            };
            if buffer.is_empty() {
                self.end_file(at)?;
                return Ok(false);
            }
            let (mut used, mut ended) = (0, false);
            for byte in buffer {
                used += 1;
                let after_return = std::mem::replace(&mut self.returned, *byte == b'\r');
                if *byte == b'\n' && after_return {
                    // The second half of a line's end.
                    if at == At::Quoted {
                        self.row.bytes.push(b'\n');
                    }
                    continue;
                }
                let newline = matches!(byte, b'\n' | b'\r');
                self.line += usize::from(newline);
                at = match (at, *byte) {
                    (At::Start, b'"') => At::Quoted,
                    (At::Quoted, b'"') => At::Closed,
                    (At::Quoted, byte) => {
                        self.row.bytes.push(byte);
                        At::Quoted
                    }
                    (At::Closed, b'"') => {
                        self.row.bytes.push(b'"');
                        At::Quoted
                    }
                    (_, byte) if byte == self.separator => {
                        self.row.end_cell();
                        At::Start
                    }
                    _ if newline => {
                        self.row.end_cell();
                        ended = true;
                        break;
                    }
                    // Blanks between a closing quote and the separator.
                    (At::Closed, b' ') => At::Closed,
                    (At::Closed, _) => return Err(misplaced(&self.row, self.line)),
                    (_, byte) => {
                        self.row.bytes.push(byte);
                        At::Plain
                    }
                };
            }
            self.reader.consume(used);
            if ended {
                return Ok(true);
            }
        }
    }
}

fn misplaced(row: &DelimitedRow, line: usize) -> RowError {
    let closed = if line == row.line { String::new() } else { format!(" in line {line}") };
    let message = format!(
        "the quote that opens cell {} is closed{closed} in the middle of text; double the quotes inside text, for else rows \
         run together",
        row.ends.len() + 1
    );
    RowError::Line(row.line, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn rows(text: &'static str, capacity: usize) -> Vec<String> {
        let reader = BufReader::with_capacity(capacity, text.as_bytes());
        let mut rows = DelimitedRows::new(Box::new(reader), b',');
        let mut all = Vec::new();
        loop {
            match rows.next_row() {
                Ok(None) => return all,
                Ok(Some(row)) => {
                    let cells = (0..row.width()).map(|i| String::from_utf8_lossy(row.cell(i)).into_owned());
                    all.push(format!("{}:{}", row.line, cells.collect::<Vec<_>>().join("|")));
                }
                Err(RowError::Line(line, message)) => {
                    all.push(format!("{line}! {message}"));
                    return all;
                }
                Err(RowError::Io(e)) => panic!("{e}"),
            }
        }
    }

    #[test]
    fn lines_are_those_of_an_editor_whatever_ends_them() {
        for capacity in [1, 2, 3, 1000] {
            let wanted = ["1:a|b", "2:1|x\ny", "5:2|z"];
            assert_eq!(rows("a,b\n1,\"x\ny\"\n\n2,z", capacity), wanted, "{capacity}");
            let wanted = ["1:a|b", "2:1|x\r\ny", "5:2|z"];
            assert_eq!(rows("a,b\r\n1,\"x\r\ny\"\r\n\r\n2,z\r\n", capacity), wanted, "{capacity}");
            assert_eq!(rows("a,b\r1,x\r\r2,z\r", capacity), ["1:a|b", "2:1|x", "4:2|z"], "{capacity}");
        }
    }

    #[test]
    fn quotes_that_are_not_doubled_do_not_glue_rows() {
        assert_eq!(rows("\"a \"\"b\"\" c\",\"\" ,d\"e,\n", 4), ["1:a \"b\" c||d\"e|"]);
        let glued = rows("a,b\n1,\"x\n2,y\n3,\"z\n", 5);
        assert!(glued[1].starts_with("2! the quote that opens cell 2 is closed in line 4 in the middle"), "{glued:?}");
        let open = rows("a,b\n1,x\n2,\"y\n3,z\n", 5);
        assert!(open[2].starts_with("3! a quote is opened in this row and never closed"), "{open:?}");
        assert_eq!(rows("", 3), [""; 0]);
        assert_eq!(rows(",\n", 3), ["1:|"]);
    }
}
