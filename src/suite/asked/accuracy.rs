//! Which summaries are accurate (paper table 8): a form for people, `asked/accuracy.csv`, with a row for every summary
//! to judge, in a random order and without the writer's name. Whoever judges fills the column `accurate` with yes or
//! no; further judges fill copies named `accuracy-NAME.csv`, and the majority counts. No program judges this.

use super::writers::{ReadyMember, TextSource};
use super::{Asking, QuestionStanding};
use crate::context::StageError;
use crate::data::formats::{DelimitedRow, DelimitedRows, RowError};
use crate::printed::spreadsheet_cell;
use crate::random;
use crate::store::atomic::write_atomic;
use crate::store::input::open_text;
use crate::suite::types::Baseline;
use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The form's name, and that of the key to it.
pub const FORM: &str = "accuracy.csv";
const KEY: &str = "accuracy_key.json";

/// Who wrote the summary of one row of the form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    pub id: String,
    pub task: String,
    /// A member's name or "zero-shot".
    pub writer: String,
    pub seed: u64,
}

/// What has been judged of one writer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    pub accurate: u64,
    pub judged: u64,
    /// Rows of the form.
    pub of: u64,
}

/// Writes the form and its key where they are not there yet, and counts what has been filled in.
pub fn ask(asking: &Asking<'_>, desks: &[&ReadyMember<'_>], dir: &Path) -> Result<QuestionStanding, StageError> {
    if !dir.join(FORM).exists() {
        write(asking, desks, dir)?;
    }
    let counts = read(dir)?;
    let (done, of) = counts.values().fold((0, 0), |sum, j| (sum.0 + j.judged, sum.1 + j.of));
    Ok(if done == of { QuestionStanding::Answered } else { QuestionStanding::Waiting { done, of, at: dir.join(FORM) } })
}

fn write(asking: &Asking<'_>, desks: &[&ReadyMember<'_>], dir: &Path) -> Result<(), StageError> {
    let mut rows = Vec::new();
    let mut zero_shot: Vec<(String, u64)> = Vec::new();
    for desk in desks {
        let (task, seed) = (desk.task(), desk.spec.seed);
        let mut writers = vec![(TextSource::Policy, desk.member.clone())];
        // ρ is one model of a task and seed, whoever's desk it is read at.
        if !zero_shot.contains(&(task.clone(), seed)) {
            zero_shot.push((task.clone(), seed));
            writers.push((TextSource::Baseline(Baseline::ZeroShot), "zero-shot".into()));
        }
        for (writer, name) in writers {
            let texts = desk.texts(writer, &name, 1)?;
            for (i, candidates) in texts.into_iter().enumerate().take(asking.settings.judged) {
                for candidate in candidates {
                    let (source, text) = (desk.sources[i].clone(), candidate.response.text);
                    rows.push((
                        Written { id: String::new(), task: task.clone(), writer: name.clone(), seed },
                        source,
                        text,
                    ));
                }
            }
        }
    }
    rows.shuffle(&mut random::stream(1, "accuracy form", 0));
    let mut out = csv::Writer::from_writer(Vec::new());
    let failed = |e: csv::Error| super::input(format!("the form cannot be written: {e}"));
    out.write_record(["id", "source", "summary", "accurate"]).map_err(failed)?;
    let mut key = Vec::new();
    for (i, (written, source, summary)) in rows.into_iter().enumerate() {
        let id = format!("{:05}", i + 1);
        let (source, summary) = (spreadsheet_cell(source.trim()), spreadsheet_cell(summary.trim()));
        out.write_record([id.as_str(), &source, &summary, ""]).map_err(failed)?;
        key.push(Written { id, ..written });
    }
    let bytes = out.into_inner().map_err(|e| super::input(format!("the form cannot be written: {e}")))?;
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        write_atomic(&path, bytes).map_err(StageError::io(path))
    };
    put(KEY, format!("{}\n", serde_json::to_string_pretty(&key)?).as_bytes())?;
    put(FORM, &bytes)
}

/// What the forms in `dir` say, by task and writer; nothing where there is no form.
pub fn read(dir: &Path) -> Result<BTreeMap<(String, String), Judged>, StageError> {
    let path = dir.join(KEY);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let key: Vec<Written> = crate::results::read_json(&path)?;
    let mut votes: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for form in forms(dir) {
        for (id, accurate) in filled(&form)? {
            let of = votes.entry(id).or_default();
            if accurate { of.0 += 1 } else { of.1 += 1 }
        }
    }
    let mut counts: BTreeMap<(String, String), Judged> = BTreeMap::new();
    for written in key {
        let judged = counts.entry((written.task, written.writer)).or_default();
        judged.of += 1;
        if let Some((yes, no)) = votes.get(&written.id).filter(|(yes, no)| yes != no) {
            judged.judged += 1;
            judged.accurate += u64::from(yes > no);
        }
    }
    Ok(counts)
}

fn forms(dir: &Path) -> Vec<PathBuf> {
    let named = |name: &str| name == FORM || (name.starts_with("accuracy-") && name.ends_with(".csv"));
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.filter(|e| named(&e.file_name().to_string_lossy())).map(|e| e.path()).collect();
    found.sort();
    found
}

/// The rows of a form that have been filled in.
fn filled(path: &Path) -> Result<Vec<(String, bool)>, StageError> {
    let wrong = |line: usize, message: String| super::input(format!("{}:{line}: {message}", path.display()));
    let failed = |e: RowError| match e {
        RowError::Io(e) => super::input(format!("{}: {e}", path.display())),
        RowError::Line(line, message) => wrong(line, message),
    };
    let text = |row: &DelimitedRow, cell: usize| String::from_utf8_lossy(row.cell(cell)).trim().to_string();
    let mut reader = DelimitedRows::new(open_text(path).map_err(|e| failed(RowError::Io(e)))?, b',');
    let head: Vec<String> = match reader.next_row().map_err(failed)? {
        Some(row) => (0..row.width()).map(|i| text(row, i)).collect(),
        None => Vec::new(),
    };
    let column = |name: &str| {
        head.iter().position(|h| h == name).ok_or_else(|| wrong(1, format!("there is no column {name:?}")))
    };
    let (id, accurate) = (column("id")?, column("accurate")?);
    let mut rows = Vec::new();
    while let Some(row) = reader.next_row().map_err(failed)? {
        let (line, said, id) = (row.line, text(row, accurate).to_lowercase(), text(row, id));
        let yes = match said.as_str() {
            "" => continue,
            "yes" | "y" | "1" | "true" => true,
            "no" | "n" | "0" | "false" => false,
            other => return Err(wrong(line, format!("accurate: expected yes or no, found {other:?}"))),
        };
        // Spreadsheets turn 00012 into 12.
        rows.push((id.parse::<u64>().map_or_else(|_| id.clone(), |n| format!("{n:05}")), yes));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_are_counted_by_majority_and_spreadsheets_are_forgiven() {
        let dir = tempfile::tempdir().unwrap();
        let written =
            |id: &str, writer: &str| Written { id: id.into(), task: "tldr".into(), writer: writer.into(), seed: 1 };
        let key = [written("00001", "a"), written("00002", "a"), written("00003", "zero-shot")];
        std::fs::write(dir.path().join(KEY), serde_json::to_string(&key).unwrap()).unwrap();
        let form = "id,source,summary,accurate\n1,\"x, y\",z,Yes\n00002,x,y,no\n00003,x,y,\n";
        std::fs::write(dir.path().join(FORM), form).unwrap();
        let of = |writer: &str| read(dir.path()).unwrap()[&("tldr".to_string(), writer.to_string())].clone();
        assert_eq!(of("a"), Judged { accurate: 1, judged: 2, of: 2 });
        assert_eq!(of("zero-shot"), Judged { accurate: 0, judged: 0, of: 1 });
        std::fs::write(dir.path().join("accuracy-bob.csv"), "id,accurate\n1,no\n").unwrap();
        assert_eq!(of("a"), Judged { accurate: 0, judged: 1, of: 2 });
        std::fs::write(dir.path().join("accuracy-eve.csv"), "id,accurate\n1,perhaps\n").unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("accuracy-eve.csv:2: accurate: expected yes or no"));
    }
}
