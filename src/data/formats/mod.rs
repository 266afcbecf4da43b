//! Readers of the file formats that text and rated reviews come in, one small file each. A reader gives one record
//! after the other and never holds a whole file (but plain text and stories, which are one record each, and the wanted part of
//! a JSON array).

mod columns;
mod delimited;
mod json;
mod lines;
mod parquet;
mod plain;
mod story;
#[cfg(test)]
mod tests;

pub use columns::{Names, Want};

use super::error::{DataError, file_error};
use crate::spec::{ColumnsSpec, DataFormat};
use std::path::Path;

/// A document, or a rated review.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub text: String,
    pub summary: Option<String>,
    /// 0 or 1, or stars from 1 to 5; read only where labels are wanted.
    pub label: Option<f64>,
}

type Records = Box<dyn Iterator<Item = Result<Record, DataError>>>;

/// The records of one file, in their order.
pub struct Reader {
    /// Which columns were found; `None` for formats without.
    pub names: Option<Names>,
    records: Records,
}

impl Iterator for Reader {
    type Item = Result<Record, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.next()
    }
}

impl Reader {
    fn new(names: Option<Names>, records: impl Iterator<Item = Result<Record, DataError>> + 'static) -> Self {
        Self { names, records: Box::new(records) }
    }
}

/// Opens one file; at most `limit` records will be asked for. Errors name the file and line (or row) and say what to do.
pub fn open(
    path: &Path,
    format: DataFormat,
    columns: &ColumnsSpec,
    want: Want,
    limit: Option<usize>,
) -> Result<Reader, DataError> {
    match format {
        DataFormat::Text => plain::open(path, want),
        DataFormat::Stories => story::open(path, want),
        DataFormat::Tsv => delimited::tsv(path, columns, want),
        DataFormat::Csv => delimited::csv(path, columns, want),
        DataFormat::Jsonl => json::lines(path, columns, want),
        DataFormat::Json => json::whole(path, columns, want, limit),
        DataFormat::Parquet => parquet::open(path, columns, want),
    }
}

/// The format that a file name (or the end of a pattern) tells; `.gz` may follow it.
pub fn format_of(name: &str) -> Option<DataFormat> {
    let name = name.to_ascii_lowercase();
    let (packed, plain) = match name.strip_suffix(".gz") {
        Some(rest) => (true, rest),
        None => (false, name.as_str()),
    };
    let format = match plain.rsplit_once('.')?.1 {
        "txt" => DataFormat::Text,
        "tsv" => DataFormat::Tsv,
        "csv" => DataFormat::Csv,
        "jsonl" | "ndjson" => DataFormat::Jsonl,
        "json" => DataFormat::Json,
        "parquet" => DataFormat::Parquet,
        "story" => DataFormat::Stories,
        _ => return None,
    };
    (!packed || format != DataFormat::Parquet).then_some(format)
}

/// The one format of a folder's files. A folder with `.txt` files, or without any known file, is text; `None` where
/// several other formats are mixed.
pub fn folder_format(dir: &Path) -> Option<DataFormat> {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name());
    let mut formats: Vec<DataFormat> =
        names.filter_map(|n| n.to_str().filter(|n| !n.starts_with('.')).and_then(format_of)).collect();
    formats.dedup();
    match formats.first() {
        None => Some(DataFormat::Text),
        Some(_) if formats.contains(&DataFormat::Text) => Some(DataFormat::Text),
        Some(first) if formats.iter().all(|f| f == first) => Some(*first),
        Some(_) => None,
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
