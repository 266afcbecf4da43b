//! Batches in other tools' formats, out and back in. Questions go out with their candidates in the order in which they
//! are to be shown, called a, b, c, ..; answers come back as `answers-NAME.jsonl` beside the batch, each under its
//! item's id.
//!
//! | format | what goes out | an item is known by |
//! |---|---|---|
//! | label_studio | tasks with data {item, query, a, b, .., items}, answers as annotations | `data.item` |
//! | csv | one row per question and answer | the column `item` |
//! | lm_human_preferences | counted answers as the paper's label files | its token ids |
//! | summarize_from_feedback | counted answers as comparisons of texts | `info.id`, else its texts |
//!
//! docs/batches.md describes all four; docs/label_studio.xml is a labeling interface for the first.

mod csv;
mod label_studio;
mod published;
#[cfg(test)]
mod tests;

use super::LabelError;
use super::batch::write::existing;
use super::batch::{Answer, Batch, Item, read};
use crate::data::read_report::ReadReport;
use crate::store::atomic::write_atomic;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A format of another tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    LmHumanPreferences,
    SummarizeFromFeedback,
    LabelStudio,
    Csv,
}

impl Format {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::LmHumanPreferences => "lm_human_preferences",
            Self::SummarizeFromFeedback => "summarize_from_feedback",
            Self::LabelStudio => "label_studio",
            Self::Csv => "csv",
        }
    }
}

/// Problems that are named one by one.
const MOST_PROBLEMS: usize = 5;

/// A batch with its answers: the latest of each labeler whose answers count.
#[derive(Debug, Clone)]
pub struct Opened {
    pub dir: PathBuf,
    pub batch: Batch,
    pub items: Vec<Item>,
    pub answers: Vec<Answer>,
}

impl Opened {
    /// Reads the batch in `dir`.
    pub fn open(dir: &Path) -> Result<Self, LabelError> {
        let none = || LabelError::file(dir, "is no batch: it has no batch.json");
        let (batch, items) = existing(dir)?.ok_or_else(none)?;
        let parent = dir.parent().unwrap_or(Path::new(""));
        let read::Answers { counted: answers, problems, .. } = read::answers(parent, &batch.id, &items)?;
        for problem in problems.iter().take(MOST_PROBLEMS) {
            tracing::warn!("an answer does not count: {problem}");
        }
        if let Some(more) = problems.len().checked_sub(MOST_PROBLEMS).filter(|more| *more > 0) {
            tracing::warn!("{more} more answers to {} do not count; `runner labels status` names all", batch.id);
        }
        Ok(Self { dir: dir.into(), batch, items, answers })
    }

    /// Each item with its answers.
    fn answered(&self) -> impl Iterator<Item = (&Item, Vec<&Answer>)> {
        let mut by_item: BTreeMap<&str, Vec<&Answer>> = BTreeMap::new();
        for answer in &self.answers {
            by_item.entry(answer.item.as_str()).or_default().push(answer);
        }
        self.items.iter().map(move |item| (item, by_item.remove(item.id.as_str()).unwrap_or_default()))
    }
}

/// The batch in `dir`, or all batches in it, by name.
pub fn batches(dir: &Path) -> Result<Vec<Opened>, LabelError> {
    if dir.join("batch.json").exists() {
        return Ok(vec![Opened::open(dir)?]);
    }
    let entries = std::fs::read_dir(dir).map_err(|e| LabelError::file(dir, e))?;
    let mut paths: Vec<PathBuf> =
        entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.join("batch.json").exists()).collect();
    paths.sort();
    if paths.is_empty() {
        return Err(LabelError::file(dir, "is no batch, and has none in it (a batch has a batch.json)"));
    }
    paths.iter().map(|path| Opened::open(path)).collect()
}

/// How much was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    pub batches: usize,
    /// Rows, tasks or labels.
    pub entries: usize,
}

/// Writes the batch, or all batches, in `dir`.
pub fn export(dir: &Path, format: Format, out: &mut dyn Write) -> Result<Exported, LabelError> {
    let all = batches(dir)?;
    let entries = match format {
        Format::LmHumanPreferences => published::write_ids(&all, out),
        Format::SummarizeFromFeedback => published::write_texts(&all, out),
        Format::LabelStudio => label_studio::write(&all, out),
        Format::Csv => csv::write(&all, out),
    };
    let entries = entries.map_err(|e| LabelError::file(dir, format!("cannot be exported: {e}")))?;
    Ok(Exported { batches: all.len(), entries })
}

/// The letter of a place: a, b, c, ..
fn letter(place: usize) -> String {
    u8::try_from(place)
        .ok()
        .filter(|p| *p < 26)
        .map_or_else(|| format!("{place}"), |p| char::from(b'a' + p).to_string())
}

/// The candidate shown at the place that a letter names, or the number that the labelers' page has for it.
fn candidate(item: &Item, text: &str) -> Result<usize, String> {
    let wanted = text.trim().to_lowercase();
    let count = item.order.len();
    let place = (0..count).find(|place| letter(*place) == wanted || (place + 1).to_string() == wanted);
    let last = letter(count.saturating_sub(1));
    place.map(|place| item.order[place]).ok_or_else(|| format!("{text:?} is not one of a to {last}, or 1 to {count}"))
}

/// Err: under a letter stands the text of another candidate than in the batch, and an answer by letters would be another's.
/// Texts that a program has changed in another way are left to it. `written`: the text under each place's letter.
fn same_places<'t>(item: &Item, written: impl Fn(usize) -> Option<&'t str>) -> Result<(), String> {
    let texts: Vec<&str> =
        item.order.iter().filter_map(|c| item.candidates.get(*c)).map(|c| c.response.text.trim()).collect();
    for (place, ours) in texts.iter().enumerate() {
        let theirs = written(place).map(str::trim);
        if theirs.is_some_and(|text| text != *ours && texts.contains(&text)) {
            let letter = letter(place);
            return Err(format!(
                "item {:?}: under {letter} stands the text of another candidate; export again",
                item.id
            ));
        }
    }
    Ok(())
}

/// The place at which a candidate is shown.
fn place(item: &Item, candidate: usize) -> usize {
    item.order.iter().position(|c| *c == candidate).unwrap_or(candidate)
}

/// An answer of another tool and where it stands in its file.
struct Found {
    line: u64,
    answer: Answer,
}

/// What could not be read, by line.
type Problems = Vec<(u64, String)>;

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The file of answers.
    pub path: PathBuf,
    /// Answers in the imported file.
    pub answers: usize,
    /// Of these, how many were new or changed.
    pub new: usize,
    /// What was kept and dropped of the file.
    pub report: ReadReport,
}

/// How to read another tool's answers.
#[derive(Debug, Clone, Default)]
pub struct Importing {
    /// Who answered, where the file does not say.
    pub labeler: Option<String>,
    /// Of `answers-NAME.jsonl`; default: the file's name.
    pub name: Option<String>,
}

/// Reads answers to the batch in `dir` and adds those that are new to `answers-NAME.jsonl`. Anything that is wrong with
/// the file stops the import before anything is written. The same file twice adds nothing.
pub fn import(file: &Path, format: Format, dir: &Path, options: &Importing) -> Result<Imported, LabelError> {
    let none = || LabelError::file(dir, "is no batch: it has no batch.json");
    let (_, items) = existing(dir)?.ok_or_else(none)?;
    let by_id: BTreeMap<&str, &Item> = items.iter().map(|item| (item.id.as_str(), item)).collect();
    let mut problems = Problems::new();
    let found = match format {
        Format::LmHumanPreferences => published::read_ids(file, &items, options, &mut problems)?,
        Format::SummarizeFromFeedback => published::read_texts(file, &items, options, &mut problems)?,
        Format::LabelStudio => label_studio::read(file, &by_id, options, &mut problems)?,
        Format::Csv => csv::read(file, &by_id, options, &mut problems)?,
    };
    for found in &found {
        if found.answer.labeler.trim().is_empty() {
            problems.push((found.line, "does not say who answered; give it by --labeler NAME".into()));
            continue;
        }
        let candidates = by_id.get(found.answer.item.as_str()).map_or(0, |item| item.candidates.len());
        if let Err(message) = read::check_answer(&found.answer, candidates) {
            problems.push((found.line, message));
        }
    }
    refuse(file, problems)?;
    if found.is_empty() {
        return Err(LabelError::file(file, "has no answers"));
    }
    let name = options.name.clone().unwrap_or_else(|| {
        file.file_stem().map_or_else(|| "import".into(), |stem| stem.to_string_lossy().into_owned())
    });
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let mut report = ReadReport::new(file.display().to_string(), "answers");
    report.files = 1;
    add(&dir.join(format!("answers-{name}.jsonl")), found, report)
}

/// The first problems, in one message.
fn refuse(file: &Path, mut problems: Problems) -> Result<(), LabelError> {
    problems.sort();
    let Some((line, first)) = problems.first() else { return Ok(()) };
    let mut message = first.clone();
    for (line, problem) in problems.iter().take(MOST_PROBLEMS).skip(1) {
        message = format!("{message}\n  line {line}: {problem}");
    }
    if problems.len() > MOST_PROBLEMS {
        message = format!("{message}\n  and {} more; nothing was imported", problems.len() - MOST_PROBLEMS);
    } else {
        message = format!("{message}; nothing was imported");
    }
    Err(LabelError::Place { path: file.into(), line: *line, column: 1, message })
}

/// What an answer says, but for when and how often.
fn said(answer: &Answer) -> String {
    let plain = Answer { shown_at: None, answered_at: None, revision: 0, ..answer.clone() };
    serde_json::to_string(&plain).unwrap_or_default()
}

/// What is known of a labeler's answers to an item.
#[derive(Default)]
struct Known {
    /// All that was ever said: a file that is imported again brings old answers along.
    said: BTreeSet<String>,
    /// Of the next change of mind.
    revision: u32,
    /// When the last one was given, where that is known.
    last: Option<Timestamp>,
}

/// When an answer was given.
fn time(answer: &Answer) -> Option<Timestamp> {
    answer.answered_at.as_deref()?.parse().ok()
}

/// Adds answers to a file. One that differs from the labeler's last answer to the item is a change of mind, and the
/// newest counts by its time and not by its place in the file.
fn add(path: &Path, mut found: Vec<Found>, mut report: ReadReport) -> Result<Imported, LabelError> {
    // Answers without a time keep their places before those with one.
    found.sort_by_key(|found| time(&found.answer));

    let mut text = match crate::store::input::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(LabelError::file(path, e)),
    };
    let there: Vec<Answer> = if text.is_empty() { Vec::new() } else { super::batch::write::lines(path)? };
    let mut known: BTreeMap<(String, String), Known> = BTreeMap::new();
    for answer in &there {
        let entry = known.entry((answer.item.clone(), answer.labeler.clone())).or_default();
        entry.said.insert(said(answer));
        entry.revision = entry.revision.max(answer.revision.saturating_add(1));
        entry.last = entry.last.max(time(answer));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let (answers, mut new) = (found.len(), 0);
    for Found { mut answer, .. } in found {
        let entry = known.entry((answer.item.clone(), answer.labeler.clone())).or_default();
        if !entry.said.insert(said(&answer)) {
            report.drop("known already", 1);
            continue;
        }
        if time(&answer).is_some_and(|time| entry.last.is_some_and(|last| time < last)) {
            report.drop("older than the labeler's last answer", 1);
            continue;
        }
        report.keep();
        entry.last = entry.last.max(time(&answer));
        answer.revision = entry.revision;
        entry.revision = entry.revision.saturating_add(1);
        new += 1;
        text.push_str(&serde_json::to_string(&answer).map_err(|e| LabelError::file(path, e))?);
        text.push('\n');
    }
    if new > 0 {
        write_atomic(path, text.as_bytes()).map_err(|e| LabelError::file(path, e))?;
    }
    report.check(answers as u64)?;
    Ok(Imported { path: path.into(), answers, new, report })
}

/// An answer without anything said.
fn blank(item: &str, labeler: String) -> Answer {
    Answer {
        item: item.into(),
        best: None,
        skip: None,
        ranking: None,
        confidence: None,
        note: None,
        labeler,
        shown_at: None,
        answered_at: None,
        revision: 0,
    }
}
