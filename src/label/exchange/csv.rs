//! Comma-separated values for spreadsheets: item, query, a, b, .., best, labeler, skip, note. Write the letter of the best
//! candidate into `best`, or a reason into `skip`, and a name into `labeler`; rows without either are open questions.

use super::{Found, Importing, Opened, Problems, blank, candidate, letter, place};
use crate::label::LabelError;
use crate::label::batch::Item;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Questions without answers have one row, others one for each answer; says how many rows there are.
pub fn write(all: &[Opened], out: &mut dyn Write) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let most = all.iter().flat_map(|b| &b.items).map(|item| item.order.len()).max().unwrap_or(0);
    let mut writer = csv::Writer::from_writer(out);
    let letters: Vec<String> = (0..most).map(letter).collect();
    let columns = |first: [String; 2], middle: Vec<String>, last: [String; 4]| -> Vec<String> {
        first.into_iter().chain(middle).chain(last).collect()
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

/// Answers of a filled-in file.
pub fn read(
    file: &Path,
    items: &BTreeMap<&str, &Item>,
    options: &Importing,
    problems: &mut Problems,
) -> Result<Vec<Found>, LabelError> {
    let mut rows = csv::ReaderBuilder::new().from_path(file).map_err(|e| LabelError::file(file, e))?;
    let header: Vec<String> = rows
        .headers()
        .map_err(|e| LabelError::file(file, e))?
        .iter()
        .map(|name| name.trim().trim_start_matches('\u{feff}').to_lowercase())
        .collect();
    let column = |name: &str| header.iter().position(|h| h == name);
    let (Some(id), Some(best)) = (column("item"), column("best")) else {
        let message = format!("the first line names the columns {header:?}, and `item` and `best` are needed");
        return Err(LabelError::Place { path: file.into(), line: 1, column: 1, message });
    };
    let (skip, note, labeler) = (column("skip"), column("note"), column("labeler"));
    let mut found = Vec::new();
    for row in rows.records() {
        let row = match row {
            Ok(row) => row,
            Err(e) => {
                problems.push((e.position().map_or(0, csv::Position::line), csv_message(&e)));
                continue;
            }
        };
        let line = row.position().map_or(0, csv::Position::line);
        let cell = |column: Option<usize>| {
            let text = column.and_then(|c| row.get(c)).map(str::trim).unwrap_or_default();
            (!text.is_empty()).then(|| text.to_string())
        };
        let (best, skip) = (cell(Some(best)), cell(skip));
        if best.is_none() && skip.is_none() {
            continue;
        }
        let name = cell(Some(id)).unwrap_or_default();
        let Some(item) = items.get(name.as_str()) else {
            problems.push((line, format!("item {name:?} is not of this batch")));
            continue;
        };
        let labeler = cell(labeler).or_else(|| options.labeler.clone()).unwrap_or_default();
        let mut answer = blank(&item.id, labeler);
        answer.note = cell(note);
        match (best, skip) {
            (Some(_), Some(_)) => {
                problems.push((line, "has both `best` and `skip`; keep one".into()));
                continue;
            }
            (Some(best), None) => match candidate(item, &best) {
                Ok(best) => answer.best = Some(best),
                Err(message) => {
                    problems.push((line, format!("`best`: {message}")));
                    continue;
                }
            },
            (None, skip) => answer.skip = skip,
        }
        found.push(Found { line, answer });
    }
    Ok(found)
}

fn csv_message(e: &csv::Error) -> String {
    match e.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} cells, and the first line has {expected_len}; put text with commas in quotes")
        }
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8; save the file as UTF-8".into(),
        _ => e.to_string(),
    }
}
