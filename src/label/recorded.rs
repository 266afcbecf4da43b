//! Reading recorded human labels: every file of a path, entry by entry, into labels of token ids. Malformed entries are
//! counted with their places and do not stop the reading; what would make all labels wrong does (damaged files, mixed
//! label types, texts too long for the task).

use super::entries::{Container, Entries, Entry};
use super::report::{FileRead, LabelsReport};
use super::{Judgement, Label, LabelError};
use super::{lm_human_preferences, summarize_from_feedback};
use crate::model::ModelError;
use crate::spec::LabelFormat;
use crate::store::atomic::hash_file;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use std::path::{Path, PathBuf};

/// Tokens of GPT-2's vocabulary; the label files of token ids hold these.
pub const GPT2_VOCABULARY: usize = 50_257;

/// What kind of mistake a malformed entry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    NotJson,
    WrongType,
    MissingKey,
    DuplicateKey,
    ChoiceOutOfRange,
    TokenOutOfRange,
    Empty,
    NotFinite,
}

impl Reason {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotJson => "not JSON",
            Self::WrongType => "wrong type",
            Self::MissingKey => "missing key",
            Self::DuplicateKey => "duplicate key",
            Self::ChoiceOutOfRange => "choice out of range",
            Self::TokenOutOfRange => "token out of range",
            Self::Empty => "empty",
            Self::NotFinite => "not finite",
        }
    }
}

/// Why an entry is no label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    pub reason: Reason,
    pub message: String,
    /// Within the entry, from 1; 0 where only the entry is known.
    pub line: usize,
    pub column: usize,
}

impl Malformed {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), line: 0, column: 0 }
    }

    /// What serde_json found.
    pub fn json(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
        let reason = match error.classify() {
            Category::Data if text.contains("duplicate field") => Reason::DuplicateKey,
            Category::Data => Reason::WrongType,
            _ => Reason::NotJson,
        };
        Self { line: error.line(), column: error.column(), ..Self::new(reason, text) }
    }

    /// Line and column in the file.
    pub fn place_in(&self, entry: &Entry<'_>) -> (u64, u64) {
        match self.line {
            0 => (entry.line, entry.column),
            1 => (entry.line, entry.column + (self.column as u64).saturating_sub(1)),
            line => (entry.line + line as u64 - 1, self.column as u64),
        }
    }
}

/// A query or sample as it stands in the file, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Ids(Vec<u32>),
    Text(String),
}

/// A well-formed entry of either format.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    pub query: Part,
    pub samples: Vec<Part>,
    pub judgement: Judgement,
    pub worker: Option<String>,
    pub batch: Option<String>,
    pub split: Option<String>,
    pub confidence: Option<i64>,
}

/// Text to token ids.
pub type Encode<'a> = &'a dyn Fn(&str) -> Result<Vec<u32>, ModelError>;
/// The text of a document to the ids of its query by the task's rule, without the task's prefix and suffix; `None`
/// where the rule gives none.
pub type QueryOf<'a> = &'a dyn Fn(&str) -> Result<Option<Vec<u32>>, ModelError>;

/// How to read, and what labels must fit.
pub struct Reading<'a> {
    /// Default: an array is lm_human_preferences, lines are summarize_from_feedback.
    pub format: Option<LabelFormat>,
    /// Only labels of this split.
    pub split: Option<&'a str>,
    /// Tokens of the model's vocabulary.
    pub vocabulary: usize,
    /// Whether GPT-2's ids mean there what they mean in the files; others may follow them.
    pub gpt2_ids: bool,
    /// Most tokens of a query; longer ones are an error, for they are of another task.
    pub query_length: usize,
    /// Most tokens of a sample: longer ids are an error, longer text is cut.
    pub response_length: usize,
    pub encode: Encode<'a>,
    pub query_of: QueryOf<'a>,
}

/// A format's name in a spec.
pub fn format_name(format: LabelFormat) -> &'static str {
    match format {
        LabelFormat::LmHumanPreferences => "lm_human_preferences",
        LabelFormat::SummarizeFromFeedback => "summarize_from_feedback",
    }
}

/// The label file, or the .json and .jsonl files of a folder in name order.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, LabelError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| LabelError::file(path, e))? {
        let file = entry.map_err(|e| LabelError::file(path, e))?.path();
        let hidden = file.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let known = file.extension().is_some_and(|e| e.eq_ignore_ascii_case("json") || e.eq_ignore_ascii_case("jsonl"));
        if known && !hidden && file.is_file() {
            found.push(file);
        }
    }
    if found.is_empty() {
        return Err(LabelError::file(path, "holds no .json or .jsonl file"));
    }
    found.sort();
    Ok(found)
}

/// blake3 of each file's content, in order.
pub fn hashes(path: &Path) -> Result<Vec<String>, LabelError> {
    files(path)?.iter().map(|file| hash_file(file).map_err(|e| LabelError::file(file, e))).collect()
}

/// Reads all labels of a file or folder; `visit` gets each in order. Everything is counted in `report`, which says
/// afterwards whether the labels can be used ([`LabelsReport::check`]).
///
/// # Errors
/// Files that cannot be read or are damaged as a whole, label types that differ, a vocabulary that is not GPT-2's for
/// files of ids, parts too long for the task, and whatever `visit` returns.
pub fn read<E: From<LabelError>>(
    path: &Path,
    reading: &Reading<'_>,
    report: &mut LabelsReport,
    visit: &mut dyn FnMut(Label) -> Result<(), E>,
) -> Result<(), E> {
    for file in files(path)? {
        let mut entries = Entries::open(&file)?;
        let format = reading.format.unwrap_or(match entries.container() {
            Container::Array => LabelFormat::LmHumanPreferences,
            Container::Lines => LabelFormat::SummarizeFromFeedback,
        });
        ids_are_theirs(&file, format, reading)?;
        let name = file.display().to_string();
        report.files.push(FileRead { path: name, format, entries: 0 });
        while let Some(entry) = entries.next_entry()? {
            report.entries += 1;
            if let Some(last) = report.files.last_mut() {
                last.entries += 1;
            }
            if let Some(label) = label_of(&file, format, &entry, reading, report)? {
                visit(label)?;
            }
        }
    }
    Ok(())
}

/// One entry's label; `None` where it is malformed or left out, which `report` then counts.
fn label_of(
    file: &Path,
    format: LabelFormat,
    entry: &Entry<'_>,
    reading: &Reading<'_>,
    report: &mut LabelsReport,
) -> Result<Option<Label>, LabelError> {
    let parsed = match format {
        LabelFormat::LmHumanPreferences => lm_human_preferences::parse(entry.bytes),
        LabelFormat::SummarizeFromFeedback => summarize_from_feedback::parse(entry.bytes),
    };
    let raw = match parsed {
        Ok(raw) => raw,
        Err(malformed) => {
            report.add_malformed(file, entry, &malformed);
            return Ok(None);
        }
    };
    if let Some(split) = &raw.split {
        report.add_split(split);
    }
    if reading.split.is_some_and(|wanted| raw.split.as_deref() != Some(wanted)) {
        report.other_split += 1;
        return Ok(None);
    }
    let label = match encoded(raw, reading)? {
        Encoded::Label(label) => label,
        Encoded::NoQuery => {
            report.no_query += 1;
            return Ok(None);
        }
        Encoded::Malformed(malformed) => {
            report.add_malformed(file, entry, &malformed);
            return Ok(None);
        }
    };
    fits(&label, reading).map_err(|message| at(file, entry, &message))?;
    if !report.same_kind(label.kind()) {
        let first = report.label_type.as_deref().unwrap_or_default();
        let message =
            format!("is {}, and those before it are {first}; train on one label type at a time", label.kind());
        return Err(at(file, entry, &message));
    }
    report.add(&label);
    Ok(Some(label))
}

fn at(file: &Path, entry: &Entry<'_>, message: &str) -> LabelError {
    LabelError::Place {
        path: file.into(),
        line: entry.line,
        column: entry.column,
        message: format!("entry {}: {message}", entry.number),
    }
}

/// Ids mean nothing to a model with another vocabulary. How many tokens it has says nothing: GPT-2's is the same with a
/// padding token after it, and others have as many tokens.
fn ids_are_theirs(file: &Path, format: LabelFormat, reading: &Reading<'_>) -> Result<(), LabelError> {
    if format != LabelFormat::LmHumanPreferences || reading.gpt2_ids {
        return Ok(());
    }
    let message = format!(
        "holds GPT-2's token ids (a vocabulary of {GPT2_VOCABULARY}), and the model's tokenizer, of {} tokens, is not \
         GPT-2's; take a GPT-2 model, or model.weights.pretrain.tokenizer = \"gpt2\"",
        reading.vocabulary
    );
    Err(LabelError::file(file, message))
}

enum Encoded {
    Label(Label),
    NoQuery,
    Malformed(Malformed),
}

/// Texts as ids, and every id in the vocabulary.
fn encoded(raw: Raw, reading: &Reading<'_>) -> Result<Encoded, LabelError> {
    let query = match raw.query {
        Part::Ids(ids) => ids,
        Part::Text(text) => match (reading.query_of)(&text)? {
            Some(ids) => ids,
            None => return Ok(Encoded::NoQuery),
        },
    };
    let mut samples = Vec::with_capacity(raw.samples.len());
    for part in raw.samples {
        samples.push(match part {
            Part::Ids(ids) => ids,
            Part::Text(text) => {
                let mut ids = (reading.encode)(&text)?;
                ids.truncate(reading.response_length);
                ids
            }
        });
    }
    let parts = || {
        std::iter::once(("query".to_string(), &query))
            .chain(samples.iter().enumerate().map(|(i, s)| (format!("sample {i}"), s)))
    };
    if let Some((name, _)) = parts().find(|(_, ids)| ids.is_empty()) {
        return Ok(Encoded::Malformed(Malformed::new(Reason::Empty, format!("{name} has no tokens"))));
    }
    let outside = |ids: &[u32]| ids.iter().find(|id| **id as usize >= reading.vocabulary).copied();
    if let Some((name, id)) = parts().find_map(|(name, ids)| Some((name, outside(ids)?))) {
        let message = format!("{name} has token {id}, outside the vocabulary of {}", reading.vocabulary);
        return Ok(Encoded::Malformed(Malformed::new(Reason::TokenOutOfRange, message)));
    }
    Ok(Encoded::Label(Label {
        query,
        samples,
        judgement: raw.judgement,
        scores: None,
        worker: raw.worker,
        batch: raw.batch,
        split: raw.split,
        confidence: raw.confidence,
    }))
}

/// A part longer than the task's is no accident: these labels were made for another task.
fn fits(label: &Label, reading: &Reading<'_>) -> Result<(), String> {
    let too_long = |what: &str, length: usize, key: &str, most: usize| {
        format!("the {what} has {length} tokens, and {key} is {most}; these labels are of another task")
    };
    if label.query.len() > reading.query_length {
        return Err(too_long("query", label.query.len(), "task.query_length", reading.query_length));
    }
    let longest = label.samples.iter().map(Vec::len).max().unwrap_or(0);
    if longest > reading.response_length {
        return Err(too_long("longest sample", longest, "task.response_length", reading.response_length));
    }
    Ok(())
}
