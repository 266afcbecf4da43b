//! Comma- and tab-separated values. CSV follows RFC 4180 (quotes, line ends inside them), and its separator is told by
//! the first line. TSV has one grammar, with a header and without: a line is a row, and quotes are text.

use super::columns::{Names, Want, label_text};
use super::lines::Lines;
use super::rows::{DelimitedRow, DelimitedRows, RowError};
use super::{Reader, Record, Tally};
use crate::data::error::{DataError, file_error, line_error};
use crate::spec::ColumnsSpec;
use crate::store::input::open_text;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What may stand between cells, the likeliest first. Spreadsheets write semicolons where a comma is the decimal point.
const SEPARATORS: [(u8, &str); 4] = [(b',', ","), (b';', ";"), (b'\t', "tab"), (b'|', "|")];

/// Rows of one of the two grammars.
enum Source {
    Rows(DelimitedRows),
    /// Tabs between cells.
    Lines(Lines),
}

/// Hands a row's line and cells over, where there is one more.
type Each<'a, T> = &'a mut dyn FnMut(usize, usize, &dyn Fn(usize) -> Vec<u8>) -> T;

impl Source {
    /// Calls `each` with the next row's line, its number of cells, and its cells by index.
    fn next<T>(&mut self, path: &Path, each: Each<'_, T>) -> Result<Option<T>, DataError> {
        match self {
            Self::Rows(rows) => {
                let row = rows.next_row().map_err(|e| row_error(path, e))?;
                Ok(row.map(|row| each(row.line, row.width(), &|i| row.cell(i).to_vec())))
            }
            Self::Lines(lines) => {
                let line = lines.next_line()?;
                Ok(line.map(|(number, line)| {
                    let cells: Vec<&str> = line.split('\t').collect();
                    each(number, cells.len(), &|i| cells.get(i).map(|c| c.as_bytes().to_vec()).unwrap_or_default())
                }))
            }
        }
    }
}

fn row_error(path: &Path, e: RowError) -> DataError {
    match e {
        RowError::Io(e) => file_error(path, e),
        RowError::Line(line, message) => line_error(path, line, message),
    }
}

fn open_rows(path: &Path, separator: u8) -> Result<DelimitedRows, DataError> {
    Ok(DelimitedRows::new(open_text(path).map_err(|e| file_error(path, e))?, separator))
}

/// The names in a file's first row.
fn header(row: &DelimitedRow) -> Vec<String> {
    (0..row.width()).map(|i| String::from_utf8_lossy(row.cell(i)).trim().to_string()).collect()
}

/// The separator that a first line `sep=;` names, which Excel writes and heeds.
pub fn named_separator(names: &[String]) -> Option<u8> {
    let [first, rest @ ..] = names else { return None };
    match (first.strip_prefix("sep=")?.as_bytes(), rest) {
        ([separator], []) => Some(*separator),
        // The comma itself, taken for one.
        ([], [empty]) if empty.is_empty() => Some(b','),
        _ => None,
    }
}

pub fn csv(path: &Path, columns: &ColumnsSpec, want: Want) -> Result<Reader, DataError> {
    let first = |separator: u8| -> Result<Option<(DelimitedRows, Vec<String>)>, DataError> {
        let mut rows = open_rows(path, separator)?;
        let names = rows.next_row().map_err(|e| row_error(path, e))?.map(header);
        Ok(names.map(|names| (rows, names)))
    };
    let comma = first(b',');
    if matches!(&comma, Ok(found) if found.as_ref().is_none_or(|(_, names)| names.iter().all(String::is_empty))) {
        return Err(file_error(path, "is empty"));
    }
    if let Some(separator) = comma.as_ref().ok().and_then(|found| named_separator(&found.as_ref()?.1)) {
        let mut rows = open_rows(path, separator)?;
        rows.next_row().map_err(|e| row_error(path, e))?;
        let names = rows.next_row().map_err(|e| row_error(path, e))?.map(header).unwrap_or_default();
        return table(path, Source::Rows(rows), names, columns, want, 2);
    }
    let fits = |names: &[String]| Names::find(columns, want, &|n| names.iter().any(|c| c == n), &Vec::new).is_ok();
    // Without one that fits, the one that makes most cells says what is missing.
    let mut best: Option<(bool, usize, u8)> = None;
    for (separator, _) in SEPARATORS {
        if let Ok(Some((_, names))) = first(separator) {
            let (fit, cells) = (fits(&names), names.len());
            if best.is_none_or(|(f, c, _)| (fit && !f) || (fit == f && !fit && cells > c)) {
                best = Some((fit, cells, separator));
            }
        }
    }
    // A first line that no separator makes sense of is refused as comma-separated.
    let separator = match (best, comma) {
        (Some((_, _, separator)), _) => separator,
        (None, Err(e)) => return Err(e),
        (None, Ok(_)) => b',',
    };
    let (rows, names) = first(separator)?.ok_or_else(|| file_error(path, "is empty"))?;
    let reader = table(path, Source::Rows(rows), names, columns, want, 1);
    match SEPARATORS.iter().find(|(byte, _)| *byte == separator && separator != b',') {
        None => reader,
        Some((_, name)) => {
            let remark = format!("the separator seems to be {name:?} rather than a comma");
            let reader = reader.map_err(|e| with_hint(e, &remark))?;
            reader.tally.remark(remark);
            Ok(reader)
        }
    }
}

fn with_hint(e: DataError, hint: &str) -> DataError {
    match e {
        DataError::Line { path, line, message } => {
            DataError::Line { path, line, message: format!("{message}; {hint}") }
        }
        other => other,
    }
}

pub fn tsv(path: &Path, columns: &ColumnsSpec, want: Want) -> Result<Reader, DataError> {
    let mut lines = Lines::open(path)?;
    let names: Vec<String> = match lines.next_line()? {
        None => return Err(file_error(path, "is empty")),
        Some((_, line)) => line.split('\t').map(|cell| cell.trim().to_string()).collect(),
    };
    let bare: Vec<&str> = names.iter().map(|name| name.trim_matches('"')).collect();
    if !Names::look_like_header(columns, want, &bare) {
        return without_header(path, want);
    }
    if bare.iter().zip(&names).any(|(bare, name)| bare != name) {
        let message = "the names are in quotes, which are text in a TSV; for tab-separated cells with quotes as in CSV say \
                       format = \"csv\"";
        return Err(line_error(path, 1, message));
    }
    table(path, Source::Lines(lines), names, columns, want, 1)
}

/// Lines of text, tab, label.
fn without_header(path: &Path, want: Want) -> Result<Reader, DataError> {
    let mut lines = Lines::open(path)?;
    let tally = Rc::new(Tally::default());
    let counted = Rc::clone(&tally);
    let next = move || loop {
        let (number, line) = match lines.next_line() {
            Ok(None) => return None,
            Err(e) => return Some(Err(e)),
            Ok(Some(line)) => line,
        };
        counted.read();
        let found = match pair(line) {
            Ok((text, label)) => Ok((text.trim().to_string(), label_text(label))),
            Err(message) => Err(message),
        };
        let record = match found {
            // A first line of column names is not data.
            Ok((_, Err(_))) if number == 1 => {
                counted.leave_out("a heading");
                continue;
            }
            Ok((text, Ok(label))) => Ok(Record { text, summary: None, label: Some(label) }),
            Ok((text, Err(_))) if want == Want::Documents => Ok(Record { text, summary: None, label: None }),
            Ok((_, Err(message))) | Err(message) => Err(lines.error(number, message)),
        };
        return Some(record);
    };
    Ok(Reader::new(None, tally, std::iter::from_fn(next)))
}

fn pair(line: &str) -> Result<(&str, &str), String> {
    if line.contains('\0') {
        return Err("contains NUL bytes; this is not a text file".into());
    }
    line.rsplit_once('\t').ok_or_else(|| "no tab; expected text, tab, label".into())
}

/// A file with named columns.
struct Table {
    path: PathBuf,
    source: Source,
    tally: Rc<Tally>,
    /// Cells of the first line, and those of them that have a name.
    width: usize,
    named: usize,
    text: usize,
    summary: Option<usize>,
    label: Option<usize>,
    done: bool,
}

/// Reads what follows the line `line` with the columns' names.
fn table(
    path: &Path,
    source: Source,
    header: Vec<String>,
    columns: &ColumnsSpec,
    want: Want,
    line: usize,
) -> Result<Reader, DataError> {
    let position = |name: &str| header.iter().position(|cell| cell == name);
    let twice = |name: &&String| header.iter().filter(|cell| cell == name).count() > 1;
    let names = Names::find(columns, want, &|name| position(name).is_some(), &|| header.clone())
        .map_err(|message| line_error(path, line, format!("{message} (the first line names the columns)")))?;
    if let Some(name) =
        [Some(&names.text), names.summary.as_ref(), names.label.as_ref()].into_iter().flatten().find(twice)
    {
        return Err(line_error(path, line, format!("there are several columns {name:?}; rename all but one")));
    }
    let tally = Rc::new(Tally::default());
    let mut table = Table {
        path: path.into(),
        source,
        tally: Rc::clone(&tally),
        width: header.len(),
        named: header.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1),
        text: position(&names.text).unwrap_or_default(),
        summary: names.summary.as_deref().and_then(position),
        label: names.label.as_deref().and_then(position),
        done: false,
    };
    let first = table.next().ok_or_else(|| file_error(path, "has no rows"))?;
    Ok(Reader::new(Some(names), tally, std::iter::once(first).chain(std::iter::from_fn(move || table.next()))))
}

impl Table {
    fn next(&mut self) -> Option<Result<Record, DataError>> {
        loop {
            if self.done {
                return None;
            }
            let (width, named, quoted) = (self.width, self.named, matches!(self.source, Source::Rows(_)));
            let wanted = [Some(self.text), self.summary, self.label];
            let read = self.source.next(&self.path, &mut |line, count, cell| {
                let blank = |mut range: std::ops::Range<usize>| range.all(|i| cell(i).trim_ascii().is_empty());
                if blank(0..count) {
                    return Ok(None);
                }
                // Empty cells at the end are spreadsheets' and mean nothing.
                if count < named || !blank(width..count) {
                    return Err((line, unequal(count, width, quoted)));
                }
                Ok(Some((line, wanted.map(|index| index.map(cell)))))
            });
            let row = match read {
                Ok(None) => return None,
                Ok(Some(Ok(row))) => row,
                Ok(Some(Err((line, message)))) => {
                    self.done = true;
                    return Some(Err(line_error(&self.path, line, message)));
                }
                Err(e) => {
                    self.done = true;
                    return Some(Err(e));
                }
            };
            self.tally.read();
            let Some((line, cells)) = row else {
                self.tally.leave_out("blank rows");
                continue;
            };
            let record = self.record(line, cells);
            self.done = record.is_err();
            return Some(record);
        }
    }

    fn record(&self, line: usize, cells: [Option<Vec<u8>>; 3]) -> Result<Record, DataError> {
        let error = |message: String| line_error(&self.path, line, message);
        let [text, summary, label] = cells;
        let utf8 = |cell: Option<Vec<u8>>, index: Option<usize>| match cell.map(String::from_utf8).transpose() {
            Ok(text) => Ok(text.map(|text| text.replace("\r\n", "\n"))),
            Err(_) => Err(error(format!(
                "cell {} is not UTF-8; convert the file, for example with iconv",
                index.unwrap_or_default() + 1
            ))),
        };
        let text = utf8(text, Some(self.text))?.unwrap_or_default();
        if matches!(self.source, Source::Lines(_)) && looks_quoted(&text) {
            self.tally
                .remark("cells begin and end with quotes, which are text in a TSV (format = \"csv\" takes them away)");
        }
        let label = utf8(label, self.label)?;
        Ok(Record {
            text,
            summary: utf8(summary, self.summary)?.filter(|s| !s.is_empty()),
            label: label.map(|text| label_text(&text).map_err(error)).transpose()?,
        })
    }
}

/// Whether a cell is what a writer of CSV makes of a text with quotes in it.
fn looks_quoted(cell: &str) -> bool {
    let inner = cell.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| inner.contains("\"\"") && !inner.replace("\"\"", "").contains('"'))
}

fn unequal(count: usize, width: usize, quoted: bool) -> String {
    let remedy = match quoted {
        true => "put text with separators in quotes, and double the quotes inside it",
        false => "a TSV has no tabs and line ends inside cells; where cells are quoted as in CSV, say format = \"csv\"",
    };
    format!("{count} cells, and the rows before have {width}; {remedy}")
}
