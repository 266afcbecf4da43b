//! (Re)draws a suite's tables/, plots/ and report.html from what its directory holds.

use super::results::SuiteResults;
use super::table::RELEASED_PREFERENCE;
use super::types::Makes;
use super::{page, plots, table};
use crate::report::formats::{Format, write};
use crate::report::theme::themed;
use crate::report::write_table;
use crate::results::{ResultsError, SECONDARY, SECONDARY_MARK, Table, file, write_atomic};
use std::fs;
use std::path::Path;

/// Writes everything; the tables are returned.
pub fn draw(dir: &Path) -> Result<Vec<Table>, ResultsError> {
    let results = SuiteResults::load(dir)?;
    let tables = table::build(&results);
    for table in &tables {
        write_table(dir, table)?;
        write_atomic(&dir.join(format!("tables/{}.md", table.id)), text(&results, table).as_bytes())?;
    }
    let mut drawn = plots::draw(&results, &tables)?;
    drawn.iter_mut().for_each(|plot| plot.svg = themed(&plot.svg));
    let folder = dir.join("plots");
    // A plot of data that are gone would be a lie.
    for old in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = old.file_name().to_string_lossy().into_owned();
        if name.ends_with(".svg") && !drawn.iter().any(|plot| format!("{}.svg", plot.id) == name) {
            fs::remove_file(old.path()).map_err(|source| ResultsError::Write { path: old.path(), source })?;
        }
    }
    for plot in &drawn {
        write_atomic(&folder.join(format!("{}.svg", plot.id)), plot.svg.as_bytes())?;
    }
    let page = page::page(&results, &tables, &drawn);
    write_atomic(&dir.join(file::REPORT), page.as_bytes())?;
    Ok(tables)
}

/// A table as Markdown, with what the reader has to know of it below.
pub fn text(results: &SuiteResults, table: &Table) -> String {
    // The tables of single runs say that they are of one seed; here the column says it.
    let mut text = write(table, Format::Markdown);
    if let Some(at) = text.find("\nIntervals are over held-out queries") {
        text.truncate(at);
    }
    for note in notes(results, &table.id) {
        text += &format!("\n{note}\n");
    }
    text
}

/// What goes under a table.
pub fn notes(results: &SuiteResults, id: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(left_out) = results.manifest.as_ref().map(|m| m.left_out()).filter(|names| !names.is_empty()) {
        notes.push(format!("Left out by --members or --skip: {}.", left_out.join(", ")));
    }
    let makes = results.suite.makes;
    let interval = match id {
        _ if id == makes.word() && makes.compares() && makes != Makes::ReleasedModels || id == RELEASED_PREFERENCE => {
            "Intervals are 95%: the wider of Wilson's over items and a bootstrap over contexts."
        }
        "preference" => "Intervals are 95%.",
        _ if makes.asks() && makes != Makes::ReleasedModels => "Intervals are 95%.",
        _ if results.suite.seeds.len() > 1 => {
            "Intervals are 95%: of the spread between seeds where there are several, over held-out queries where there is one."
        }
        _ => "Intervals are 95%, over held-out queries at one seed; they do not cover the spread between seeds.",
    };
    notes.push(interval.to_string());
    let paper = super::paper::paper();
    if let Some(recorded) = paper.and_then(|p| p.table(id)) {
        notes.push(format!("The paper's values (arXiv 1909.08593v2): {}.", recorded.source));
        if recorded.has_secondary() {
            notes.push(format!("{SECONDARY_MARK}: a value that is known from {SECONDARY} only."));
        }
        notes.extend(recorded.unknown.as_ref().map(|unknown| format!("Of the paper: {unknown}.")));
    }
    notes.extend(results.caveat());
    notes
}
