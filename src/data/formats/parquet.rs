//! Apache Parquet, read column by column: only the columns that are wanted, a batch of rows at a time. Columns of
//! nested structs are written `a.b`; lists and maps hold no single text and are passed over.

use super::columns::{Names, Want, label_number, label_text};
use super::{Reader, Record, Tally};
use crate::data::error::{DataError, file_error};
use crate::spec::ColumnsSpec;
use crate::store::input;
use ::parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::DataType;
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Rows in memory at a time.
const BATCH: usize = 256;

/// One wanted column of the file.
#[derive(Debug, Clone)]
struct Column {
    name: String,
    index: usize,
    /// Level of a value that is there; a lower one is a null, of the value or of a struct around it.
    defined: i16,
    holds: Holds,
}

/// What the values of a column mean.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holds {
    Text,
    /// Numbers, or whole numbers that count in powers of ten: a decimal's digits behind its point.
    Numbers {
        scale: u32,
    },
    /// Neither text nor labels, in the format's own words.
    Other(String),
}

/// A cell.
#[derive(Debug, Clone)]
enum Cell {
    Null,
    Bytes(Vec<u8>),
    Number(f64),
}

/// Rows of a file, one row group after the other.
struct Rows {
    path: PathBuf,
    tally: Rc<Tally>,
    file: SerializedFileReader<File>,
    text: Column,
    summary: Option<Column>,
    label: Option<Column>,
    /// The next row group.
    group: usize,
    /// Readers of the wanted columns in the current row group, and its rows that are still to be read.
    readers: Vec<ColumnReader>,
    left: usize,
    /// Rows read so far.
    row: usize,
    batch: std::vec::IntoIter<Vec<Cell>>,
    failed: bool,
}

pub fn open(path: &Path, columns: &ColumnsSpec, want: Want) -> Result<Reader, DataError> {
    let error = |message: String| file_error(path, message);
    let file = input::open(path).map_err(|e| file_error(path, e))?;
    if file.metadata().map_err(|e| file_error(path, e))?.len() == 0 {
        return Err(error("is empty".into()));
    }
    let file = guarded(|| SerializedFileReader::new(file)).map_err(|e| file_error(path, damaged(&e)))?;
    let metadata = file.metadata().file_metadata();
    if metadata.num_rows() <= 0 {
        return Err(error("is empty".into()));
    }
    let schema = metadata.schema_descr();
    let all = flat_columns(schema);
    let find = |name: &str| all.iter().find(|c| c.name == name);
    let there = || all.iter().map(|c| c.name.clone()).collect();
    let names = Names::find(columns, want, &|name| find(name).is_some(), &there).map_err(error)?;
    let typed = |name: &String, text_only: bool| {
        let column = find(name).ok_or_else(|| error(format!("there is no column {name:?}")))?;
        let wanted = if text_only { "text" } else { "labels" };
        match &column.holds {
            Holds::Text => Ok(column.clone()),
            Holds::Numbers { .. } if !text_only => Ok(column.clone()),
            Holds::Numbers { .. } => {
                let physical = schema.column(column.index).physical_type();
                Err(error(format!("column {name:?} holds {physical}, not {wanted}")))
            }
            Holds::Other(what) => Err(error(format!("column {name:?} holds {what}, not {wanted}"))),
        }
    };
    let tally = Rc::new(Tally::default());
    let mut rows = Rows {
        path: path.into(),
        tally: Rc::clone(&tally),
        text: typed(&names.text, true)?,
        summary: names.summary.as_ref().map(|name| typed(name, true)).transpose()?,
        label: names.label.as_ref().map(|name| typed(name, false)).transpose()?,
        file,
        group: 0,
        readers: Vec::new(),
        left: 0,
        row: 0,
        batch: Vec::new().into_iter(),
        failed: false,
    };
    Ok(Reader::new(Some(names), tally, std::iter::from_fn(move || rows.next_record())))
}

fn damaged(e: &ParquetError) -> String {
    if e.to_string().contains("Disabled feature") {
        return format!("packed in a way that is not read here ({e}); write it with snappy, zstd, gzip, lz4 or none");
    }
    format!("not a complete Parquet file, or one of a kind that is not read here ({e}); fetch it again")
}

/// The library's own checks of damaged files have gaps: a panic there is an error like any other.
fn guarded<T>(read: impl FnOnce() -> ParquetResult<T>) -> ParquetResult<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(ParquetError::General("damaged content".into())))
}

/// All leaves outside lists and maps.
fn flat_columns(schema: &SchemaDescriptor) -> Vec<Column> {
    let flat = |(index, column): (usize, &std::sync::Arc<ColumnDescriptor>)| {
        (column.max_rep_level() == 0).then(|| Column {
            name: column.path().string(),
            index,
            defined: column.max_def_level(),
            holds: holds(column),
        })
    };
    schema.columns().iter().enumerate().filter_map(flat).collect()
}

/// The logical type says what the bytes of the physical one mean; files of older writers have a converted type instead.
fn holds(column: &ColumnDescriptor) -> Holds {
    let (physical, logical) = (column.physical_type(), column.logical_type_ref());
    let decimal = matches!(logical, Some(LogicalType::Decimal(_)))
        || (logical.is_none() && column.converted_type() == ConvertedType::DECIMAL);
    if decimal {
        return Holds::Numbers { scale: u32::try_from(column.type_scale()).unwrap_or(0) };
    }
    let plain = match logical {
        None => matches!(
            column.converted_type(),
            ConvertedType::NONE
                | ConvertedType::UTF8
                | ConvertedType::ENUM
                | ConvertedType::JSON
                | ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::UINT_64
                | ConvertedType::INT_8
                | ConvertedType::INT_16
                | ConvertedType::INT_32
                | ConvertedType::INT_64
        ),
        Some(LogicalType::String | LogicalType::Enum | LogicalType::Json | LogicalType::Integer(_)) => true,
        Some(_) => false,
    };
    if !plain {
        let what = logical.map_or_else(|| format!("{:?}", column.converted_type()), |logical| format!("{logical:?}"));
        return Holds::Other(format!("{physical} as {what}"));
    }
    match physical {
        Physical::BYTE_ARRAY => Holds::Text,
        Physical::BOOLEAN | Physical::INT32 | Physical::INT64 | Physical::FLOAT | Physical::DOUBLE => {
            Holds::Numbers { scale: 0 }
        }
        Physical::INT96 | Physical::FIXED_LEN_BYTE_ARRAY => Holds::Other(physical.to_string()),
    }
}

impl Rows {
    fn columns(&self) -> Vec<Column> {
        [Some(&self.text), self.summary.as_ref(), self.label.as_ref()].into_iter().flatten().cloned().collect()
    }

    fn next_record(&mut self) -> Option<Result<Record, DataError>> {
        if self.failed {
            return None;
        }
        let result = self.next_row().and_then(|row| row.map(|cells| self.record(cells)).transpose());
        self.failed = result.is_err();
        result.transpose()
    }

    fn next_row(&mut self) -> Result<Option<Vec<Cell>>, DataError> {
        loop {
            if let Some(row) = self.batch.next() {
                self.row += 1;
                self.tally.read();
                return Ok(Some(row));
            }
            if self.left == 0 && self.group == self.file.num_row_groups() {
                return Ok(None);
            }
            let read = guarded(|| self.next_batch());
            self.batch = read.map_err(|e| self.error(self.row + 1, damaged(&e)))?.into_iter();
        }
    }

    /// Cells of the next rows, `[rows][wanted columns]`; none where a row group is empty.
    fn next_batch(&mut self) -> ParquetResult<Vec<Vec<Cell>>> {
        let columns = self.columns();
        if self.left == 0 {
            let group = self.file.get_row_group(self.group)?;
            self.group += 1;
            self.left = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
            self.readers = columns.iter().map(|c| group.get_column_reader(c.index)).collect::<ParquetResult<_>>()?;
        }
        let count = self.left.min(BATCH);
        let mut rows: Vec<Vec<Cell>> = vec![Vec::with_capacity(columns.len()); count];
        for (reader, column) in self.readers.iter_mut().zip(&columns) {
            let cells = cells(reader, count, column)?;
            if cells.len() != count {
                return Err(ParquetError::General(format!("column {:?} ends early", column.name)));
            }
            rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
        }
        self.left -= count;
        Ok(rows)
    }

    fn record(&self, cells: Vec<Cell>) -> Result<Record, DataError> {
        let error = |message: String| self.error(self.row, message);
        let mut cells = cells.into_iter();
        let mut next = || cells.next().unwrap_or(Cell::Null);
        let found = text(&self.text.name, next()).map_err(error)?;
        let summary = match &self.summary {
            Some(column) => text(&column.name, next()).map_err(error)?,
            None => None,
        };
        let text = found.ok_or_else(|| error(format!("{:?} is null; leave such rows out", self.text.name)))?;
        let label = match &self.label {
            Some(column) => Some(label(&column.name, next()).map_err(error)?),
            None => None,
        };
        Ok(Record { text, summary, label })
    }

    fn error(&self, row: usize, message: String) -> DataError {
        file_error(&self.path, format!("row {row}: {message}"))
    }
}

fn text(name: &str, cell: Cell) -> Result<Option<String>, String> {
    match cell {
        Cell::Null => Ok(None),
        Cell::Number(_) => Err(format!("{name:?} is a number, not text")),
        Cell::Bytes(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(e) => Err(format!("{name:?} is not UTF-8 at byte {} of the value", e.utf8_error().valid_up_to())),
        },
    }
}

fn label(name: &str, cell: Cell) -> Result<f64, String> {
    match cell {
        Cell::Number(value) => label_number(value),
        other => label_text(&text(name, other)?.ok_or_else(|| format!("{name:?} is null"))?),
    }
}

/// The next `count` cells of a column.
fn cells(reader: &mut ColumnReader, count: usize, column: &Column) -> ParquetResult<Vec<Cell>> {
    let defined = column.defined;
    let scale = match column.holds {
        Holds::Numbers { scale } => Some(scale),
        _ => None,
    };
    let number = |value: f64| Cell::Number(value / 10f64.powi(scale.unwrap_or(0) as i32));
    let bytes = |data: &[u8]| match scale {
        Some(_) => number(two_s_complement(data)),
        None => Cell::Bytes(data.to_vec()),
    };
    match reader {
        ColumnReader::BoolColumnReader(r) => read(r, count, defined, |v| number(f64::from(u8::from(v)))),
        ColumnReader::Int32ColumnReader(r) => read(r, count, defined, |v| number(f64::from(v))),
        ColumnReader::Int64ColumnReader(r) => read(r, count, defined, |v| number(v as f64)),
        ColumnReader::FloatColumnReader(r) => read(r, count, defined, |v| number(f64::from(v))),
        ColumnReader::DoubleColumnReader(r) => read(r, count, defined, number),
        ColumnReader::ByteArrayColumnReader(r) => read(r, count, defined, |v| bytes(v.data())),
        ColumnReader::FixedLenByteArrayColumnReader(r) => read(r, count, defined, |v| bytes(v.data())),
        _ => Err(ParquetError::General("a type that holds neither text nor labels".into())),
    }
}

/// A big-endian whole number of any length, as decimals are stored.
fn two_s_complement(bytes: &[u8]) -> f64 {
    let start = if bytes.first().is_some_and(|b| *b >= 0x80) { -1.0 } else { 0.0 };
    bytes.iter().fold(start, |value, byte| value * 256.0 + f64::from(*byte))
}

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    count: usize,
    defined: i16,
    cell: impl Fn(T::T) -> Cell,
) -> ParquetResult<Vec<Cell>> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    reader.read_records(count, Some(&mut levels), None, &mut values)?;
    let mut values = values.into_iter().map(cell);
    if defined == 0 {
        return Ok(values.collect());
    }
    let place = |level: &i16| match *level == defined {
        true => values.next().ok_or_else(|| ParquetError::General("fewer values than rows".into())),
        false => Ok(Cell::Null),
    };
    levels.iter().map(place).collect()
}
