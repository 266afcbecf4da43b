//! A results directory against the paper: every row of its tables for which a value of the paper is recorded.

use super::super::formats::{Format, csv_line, in_columns, markdown_line};
use super::super::tables::show;
use super::WrittenComparison;
use crate::results::{ResultsError, Row, Table, read_json};
use schemars::JsonSchema;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// One number beside the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct AgainstPaper {
    pub table: String,
    pub run: String,
    pub name: String,
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub n: u64,
    pub seeds: Vec<u64>,
    pub paper: f64,
    pub difference: Option<f64>,
    /// "inside interval", "within tolerance", "outside", or "missing".
    pub verdict: String,
    /// What the table itself says about the row.
    pub note: String,
}

/// Compares all tables of a run or suite with the paper's values in them. "Outside" (and exit code 1) is a value whose
/// 95% interval does not hold the paper's and that is further from it than `tolerance`, in the row's unit.
pub fn against_paper(dir: &Path, format: Format, tolerance: f64) -> Result<WrittenComparison, ResultsError> {
    if !tolerance.is_finite() || tolerance < 0.0 {
        return Err(ResultsError::Usage(format!("the tolerance must be a number from 0 up, not {tolerance}")));
    }
    let tables = tables(dir)?;
    let rows: Vec<AgainstPaper> =
        tables.iter().flat_map(|table| table.rows.iter().filter_map(|row| beside(table, row, tolerance))).collect();
    if rows.is_empty() {
        return Err(ResultsError::Usage(format!(
            "{}: no row of its {} tables has a value in the paper's copy we have; `runner ls` says which specs make which table of the paper",
            dir.display(),
            tables.len()
        )));
    }
    let regressed = rows.iter().any(|row| row.verdict == "outside");
    Ok(WrittenComparison { text: text(&rows, format, tolerance, regressed), regressed })
}

/// tables/*.json, by name.
fn tables(dir: &Path) -> Result<Vec<Table>, ResultsError> {
    let folder = dir.join("tables");
    let none = |message: &str| ResultsError::NotResults { path: dir.to_owned(), message: message.to_owned() };
    let entries = fs::read_dir(&folder).map_err(|_| none("it has no tables/; `runner report` makes them"))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    if paths.is_empty() {
        return Err(none("its tables/ is empty; `runner report` makes them"));
    }
    paths.iter().map(|path| read_json(path)).collect()
}

fn beside(table: &Table, row: &Row, tolerance: f64) -> Option<AgainstPaper> {
    let paper = row.paper?;
    let difference = row.value.map(|v| v - paper);
    let inside = matches!((row.low, row.high), (Some(low), Some(high)) if (low..=high).contains(&paper));
    let verdict = match difference {
        None => "missing",
        Some(_) if inside => "inside interval",
        Some(d) if d.abs() <= tolerance => "within tolerance",
        Some(_) => "outside",
    };
    Some(AgainstPaper {
        table: table.id.clone(),
        run: row.run.clone(),
        name: row.name.clone(),
        value: row.value,
        low: row.low,
        high: row.high,
        n: row.n,
        seeds: row.seeds.clone(),
        paper,
        difference,
        verdict: verdict.to_owned(),
        note: row.verdict.clone(),
    })
}

const HEAD: [&str; 10] =
    ["table", "run", "name", "value", "95% interval", "n", "paper", "difference", "verdict", "note"];

fn cells(row: &AgainstPaper) -> Vec<String> {
    let interval = match (row.low, row.high) {
        (Some(_), Some(_)) => format!("{} to {}", show(row.low), show(row.high)),
        _ => "–".to_owned(),
    };
    vec![
        row.table.clone(),
        row.run.clone(),
        row.name.clone(),
        show(row.value),
        interval,
        row.n.to_string(),
        show(Some(row.paper)),
        show(row.difference),
        row.verdict.clone(),
        row.note.clone(),
    ]
}

fn text(rows: &[AgainstPaper], format: Format, tolerance: f64, regressed: bool) -> String {
    let head = HEAD.map(str::to_owned).to_vec();
    let all = || std::iter::once(head.clone()).chain(rows.iter().map(cells)).collect::<Vec<_>>();
    match format {
        Format::Json => {
            let value = serde_json::json!({ "tolerance": tolerance, "regressed": regressed, "rows": rows });
            format!("{value:#}\n")
        }
        Format::Csv => all().iter().map(|row| csv_line(row)).collect(),
        Format::Markdown => {
            let rule = format!("|{}\n", " --- |".repeat(HEAD.len()));
            markdown_line(&head) + &rule + &rows.iter().map(|row| markdown_line(&cells(row))).collect::<String>()
        }
        Format::Text | Format::Latex => in_columns(&all()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tables::{row, table};
    use crate::report::write_table;

    #[test]
    fn verdicts_are_by_interval_then_by_tolerance() {
        let dir = tempfile::tempdir().unwrap();
        let with = |value: f64, low: f64, high: f64, paper: Option<f64>| {
            let mut line = row("win rate", "60k", "win_rate", (value, low, high), 100, &[1], "same direction");
            line.paper = paper;
            line
        };
        let none = against_paper(dir.path(), Format::Text, 0.0).unwrap_err().to_string();
        assert!(none.contains("no tables/"), "{none}");
        write_table(dir.path(), &table("t", "T", vec![with(90.0, 80.0, 95.0, None)])).unwrap();
        assert!(against_paper(dir.path(), Format::Text, 0.0).is_err(), "nothing to compare with");
        let rows = vec![
            with(90.0, 80.0, 97.0, Some(96.0)),
            with(90.0, 88.0, 92.0, Some(93.0)),
            with(f64::NAN, f64::NAN, f64::NAN, Some(93.0)),
        ];
        write_table(dir.path(), &table("t", "T", rows)).unwrap();
        let loose = against_paper(dir.path(), Format::Csv, 5.0).unwrap();
        let verdicts: Vec<&str> = loose.text.lines().skip(1).map(|l| l.split(',').nth(8).unwrap()).collect();
        assert_eq!(verdicts, ["inside interval", "within tolerance", "missing"]);
        assert!(!loose.regressed && against_paper(dir.path(), Format::Json, 1.0).unwrap().regressed);
    }
}
