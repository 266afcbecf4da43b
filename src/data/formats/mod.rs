//! Readers of the file formats that text and rated reviews come in, one small file each. A reader gives one record
//! after the other and never holds a whole file (but plain text and stories, which are one record each).

mod columns;
mod delimited;
mod json;
mod lines;
mod loose;
mod parquet;
mod plain;
mod rows;
mod story;
#[cfg(test)]
mod tests;

pub use columns::{Names, Want};
pub use delimited::named_separator;
pub use loose::parse as parse_loose;
pub use rows::{DelimitedRow, DelimitedRows, RowError};

use super::error::{DataError, file_error};
use super::read_report::ReadReport;
use crate::spec::{ColumnsSpec, DataFormat, TextLines};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

/// A document, or a rated review.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub text: String,
    pub summary: Option<String>,
    /// 0 or 1, or stars from 1 to 5; read only where labels are wanted.
    pub label: Option<f64>,
}

type Records = Box<dyn Iterator<Item = Result<Record, DataError>>>;

/// What a reader saw and dropped; complete when it has been read to its end.
#[derive(Debug, Default)]
pub struct Tally {
    read: Cell<u64>,
    dropped: RefCell<BTreeMap<&'static str, u64>>,
    remarks: RefCell<BTreeSet<String>>,
}

impl Tally {
    fn read(&self) {
        self.read.set(self.read.get() + 1);
    }

    fn leave_out(&self, reason: &'static str) {
        *self.dropped.borrow_mut().entry(reason).or_default() += 1;
    }

    fn remark(&self, remark: impl Into<String>) {
        self.remarks.borrow_mut().insert(remark.into());
    }

    /// Records that were in the file, dropped ones included.
    pub fn records(&self) -> u64 {
        self.read.get()
    }

    /// Adds what was dropped and said to a report; the kept ones are counted by who keeps them.
    pub fn add_to(&self, report: &mut ReadReport) {
        self.dropped.borrow().iter().for_each(|(reason, count)| report.drop(reason, *count));
        self.remarks.borrow().iter().for_each(|remark| report.remark(remark.clone()));
    }
}

/// The records of one file, in their order.
pub struct Reader {
    /// Which columns were found; `None` for formats without.
    pub names: Option<Names>,
    pub tally: Rc<Tally>,
    records: Records,
}

impl Iterator for Reader {
    type Item = Result<Record, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.next()
    }
}

impl Reader {
    fn new(
        names: Option<Names>,
        tally: Rc<Tally>,
        records: impl Iterator<Item = Result<Record, DataError>> + 'static,
    ) -> Self {
        Self { names, tally, records: Box::new(records) }
    }

    /// The one record that a file is.
    fn of_one(record: Record) -> Self {
        let tally = Tally::default();
        tally.read();
        Self::new(None, Rc::new(tally), std::iter::once(Ok(record)))
    }
}

/// Opens one file; `lines` says what a line of plain text is. Errors name the file and line (or row) and say what to
/// do.
pub fn open(
    path: &Path,
    format: DataFormat,
    columns: &ColumnsSpec,
    lines: TextLines,
    want: Want,
) -> Result<Reader, DataError> {
    match format {
        DataFormat::Text => plain::open(path, lines, want),
        DataFormat::Stories => story::open(path, want),
        DataFormat::Tsv => delimited::tsv(path, columns, want),
        DataFormat::Csv => delimited::csv(path, columns, want),
        DataFormat::Jsonl => json::lines(path, columns, want),
        DataFormat::Json => json::whole(path, columns, want),
        DataFormat::Parquet => parquet::open(path, columns, want),
    }
}

/// Plain text and stories cannot carry labels.
fn no_labels(path: &Path, want: Want) -> Result<(), DataError> {
    match want {
        Want::Reviews => {
            Err(file_error(path, "reviews need labels: use format = \"tsv\", csv, jsonl, json or parquet"))
        }
        Want::Documents => Ok(()),
    }
}
