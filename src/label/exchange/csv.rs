//! Comma-separated values for spreadsheets: item, query, a, b, .., best, labeler, skip, note. Write the letter of the
//! best candidate into `best`, or a reason into `skip`, and a name into `labeler`; rows without either are open
//! questions.
//!
//! A cell that a spreadsheet would take for a formula goes out behind an apostrophe, and comes back without it.

use super::{Found, Importing, Opened, Problems, blank, candidate, letter, place, same_places};
use crate::data::formats::{DelimitedRow, DelimitedRows, RowError, named_separator};
use crate::label::LabelError;
use crate::label::batch::{Answer, Item};
use crate::printed::{of_spreadsheet, spreadsheet_cell};
use crate::store::input::open_text;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Questions without answers have one row, others one for each answer; says how many rows there are.
pub fn write(all: &[Opened], out: &mut dyn Write) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let most = all.iter().flat_map(|b| &b.items).map(|item| item.order.len()).max().unwrap_or(0);
    let mut writer = csv::Writer::from_writer(out);
    let letters: Vec<String> = (0..most).map(letter).collect();
    let columns = |first: [String; 2], middle: Vec<String>, last: [String; 4]| -> Vec<String> {
        first.into_iter().chain(middle).chain(last).map(|cell| spreadsheet_cell(&cell).into_owned()).collect()
    };
    let names = ["best", "labeler", "skip", "note"].map(String::from);
    writer.write_record(columns(["item".into(), "query".into()], letters, names))?;
    let mut rows = 0;
    for batch in all {
        for (item, answers) in batch.answered() {
            let shown = |place: usize| {
                let candidate = item.order.get(place).and_then(|c| item.candidates.get(*c));
                candidate.map(|c| c.response.text.clone()).unwrap_or_default()
            };
            let mut row = |last: [String; 4]| {
                rows += 1;
                let first = [item.id.clone(), item.query.text.clone()];
                writer.write_record(columns(first, (0..most).map(shown).collect(), last))
            };
            if answers.is_empty() {
                row(Default::default())?;
            }
            for answer in answers {
                let best = answer.best.map(|best| letter(place(item, best))).unwrap_or_default();
                let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
                row([best, answer.labeler.clone(), or_empty(&answer.skip), or_empty(&answer.note)])?;
            }
        }
    }
    writer.flush()?;
    Ok(rows)
}

/// A file's rows by commas, or by semicolons, which spreadsheets write where a comma is the decimal point; or by what a
/// first line such as `sep=;` says, which Excel writes.
fn open(file: &Path) -> Result<(DelimitedRows, Vec<String>), LabelError> {
    let mut first = None;
    let mut separators = vec![b',', b';', b'\t'];
    let mut skip = false;
    while !separators.is_empty() {
        let mut rows =
            DelimitedRows::new(open_text(file).map_err(|e| LabelError::file(file, e))?, separators.remove(0));
        if skip {
            names_of(&mut rows, file)?;
        }
        let Some(names) = names_of(&mut rows, file)? else { continue };
        if let Some(separator) = named_separator(&names).filter(|_| !skip) {
            (separators, skip) = (vec![separator], true);
            continue;
        }
        let has = |name: &str| names.iter().any(|n| n == name);
        if has("item") && has("best") {
            let twice = COLUMNS.iter().find(|name| names.iter().filter(|n| n == *name).count() > 1);
            return match twice {
                None => Ok((rows, names)),
                Some(name) => Err(first_line(file, format!("two columns are called {name:?}; which counts?"))),
            };
        }
        first.get_or_insert(names);
    }
    let names = first.unwrap_or_default();
    Err(first_line(file, format!("the first line names the columns {names:?}, and `item` and `best` are needed")))
}

/// Columns that say something.
const COLUMNS: [&str; 5] = ["item", "best", "skip", "note", "labeler"];

fn first_line(file: &Path, message: String) -> LabelError {
    LabelError::Place { path: file.into(), line: 1, column: 1, message }
}

/// The cells of the next row; `None` where it cannot be parted so.
fn names_of(rows: &mut DelimitedRows, file: &Path) -> Result<Option<Vec<String>>, LabelError> {
    match rows.next_row() {
        Ok(Some(row)) => {
            let cell = |i: usize| String::from_utf8_lossy(row.cell(i)).trim().to_lowercase();
            Ok(Some((0..row.width()).map(cell).collect()))
        }
        Ok(None) => Ok(Some(Vec::new())),
        Err(RowError::Io(e)) => Err(LabelError::file(file, e)),
        Err(RowError::Line(..)) => Ok(None),
    }
}

/// Answers of a filled-in file.
pub fn read(
    file: &Path,
    items: &BTreeMap<&str, &Item>,
    options: &Importing,
    problems: &mut Problems,
) -> Result<Vec<Found>, LabelError> {
    let (mut rows, header) = open(file)?;
    let column = |name: &str| header.iter().position(|h| h == name);
    let places = Columns {
        item: column("item"),
        best: column("best"),
        skip: column("skip"),
        note: column("note"),
        labeler: column("labeler"),
    };
    let mut found = Vec::new();
    loop {
        let row = match rows.next_row() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(found),
            Err(RowError::Io(e)) => return Err(LabelError::file(file, e)),
            Err(RowError::Line(line, message)) => {
                // What follows a quote that is not closed cannot be told apart.
                problems.push((line as u64, message));
                return Ok(found);
            }
        };
        let line = row.line as u64;
        match answer(row, &header, &places, items, options) {
            Ok(Some(answer)) => found.push(Found { line, answer }),
            Ok(None) => {}
            Err(message) => problems.push((line, message)),
        }
    }
}

/// Where the columns are that say something.
struct Columns {
    item: Option<usize>,
    best: Option<usize>,
    skip: Option<usize>,
    note: Option<usize>,
    labeler: Option<usize>,
}

/// The answer of a row; `None` for a question that nobody has answered.
fn answer(
    row: &DelimitedRow,
    header: &[String],
    columns: &Columns,
    items: &BTreeMap<&str, &Item>,
    options: &Importing,
) -> Result<Option<Answer>, String> {
    if (header.len()..row.width()).any(|i| !row.cell(i).trim_ascii().is_empty()) {
        let (len, expected) = (row.width(), header.len());
        return Err(format!("{len} cells, and the first line has {expected}; put text with commas in quotes"));
    }
    let cell = |column: Option<usize>| -> Result<Option<String>, String> {
        let bytes = column.map(|c| row.cell(c)).unwrap_or_default();
        let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8; save the file as UTF-8".to_string())?.trim();
        Ok((!text.is_empty()).then(|| of_spreadsheet(text).to_string()))
    };
    let (best, skip) = (cell(columns.best)?, cell(columns.skip)?);
    if best.is_none() && skip.is_none() {
        return Ok(None);
    }
    let name = cell(columns.item)?.unwrap_or_default();
    let item = items.get(name.as_str()).ok_or_else(|| format!("item {name:?} is not of this batch"))?;
    let text_at = |place: usize| {
        let column = header.iter().position(|name| *name == letter(place))?;
        std::str::from_utf8(row.cell(column)).ok().map(of_spreadsheet)
    };
    same_places(item, text_at)?;
    let labeler = cell(columns.labeler)?.or_else(|| options.labeler.clone()).unwrap_or_default();
    let mut answer = blank(&item.id, labeler);
    answer.note = cell(columns.note)?;
    match (best, skip) {
        (Some(_), Some(_)) => return Err("has both `best` and `skip`; keep one".into()),
        (Some(best), None) => {
            answer.best = Some(candidate(item, &best).map_err(|message| format!("`best`: {message}"))?)
        }
        (None, skip) => answer.skip = skip,
    }
    Ok(Some(answer))
}
