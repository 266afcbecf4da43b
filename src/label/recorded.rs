//! Reading recorded human labels: every file of a path, entry by entry, into labels of token ids. Malformed entries are
//! counted with their places and do not stop the reading; what would make all labels wrong does (damaged files, mixed
//! label types, texts too long for the task).

use super::report::{FileRead, LabelsReport};
use super::{Judgement, Label, LabelError, lm_human_preferences, preference_pairs, summarize_from_feedback};
use crate::data::entries::{Container, Entries, Entry, LARGEST_LABEL};
use crate::data::formats::parse_loose;
use crate::model::ModelError;
use crate::spec::{DataFormat, LabelFormat};
use crate::store::atomic::hash_file;
use schemars::JsonSchema;
use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::error::Category;
use std::fmt;
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
        entry.place(Some((self.line, self.column)))
    }
}

/// A query or sample as it stands in the file, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordedPart {
    Ids(Vec<u32>),
    Text(String),
}

/// A well-formed entry of either format.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    pub query: RecordedPart,
    pub samples: Vec<RecordedPart>,
    pub judgement: Judgement,
    pub worker: Option<String>,
    pub batch: Option<String>,
    pub split: Option<String>,
    pub confidence: Option<i64>,
    /// Optional fields that say nothing that can be read.
    pub unread: Vec<String>,
}

/// A whole number from 0 on; tables with gaps write 1.0 for 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole(pub u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Whole;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0 on")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole, E> {
                u64::try_from(number).map(Whole).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
                match number.fract() == 0.0 && (0.0..1e15).contains(&number) {
                    true => Ok(Whole(number as u64)),
                    false => Err(E::invalid_value(Unexpected::Float(number), &self)),
                }
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// A name in an optional field, which may be a number; anything else is not read, and said to be so in `unread`.
pub(super) fn word(name: &str, value: Option<Value>, unread: &mut Vec<String>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Null => None,
        _ => {
            unread.push(name.into());
            None
        }
    }
}

/// Text to token ids.
pub type Encode<'a> = &'a dyn Fn(&str) -> Result<Vec<u32>, ModelError>;
/// The text of a document to the ids of its query by the task's rule, without the task's prefix and suffix; `None`
/// where the rule gives none.
pub type QueryOf<'a> = &'a dyn Fn(&str) -> Result<Option<Vec<u32>>, ModelError>;

/// How to read, and what labels must fit.
pub struct Reading<'a> {
    /// Default: what the keys of a file's first entry say.
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
    /// The task's prefix and suffix, which the prompts of preference pairs may have already.
    pub around: (&'a str, &'a str),
}

/// A format's name in a spec.
pub fn format_name(format: LabelFormat) -> &'static str {
    match format {
        LabelFormat::LmHumanPreferences => "lm_human_preferences",
        LabelFormat::SummarizeFromFeedback => "summarize_from_feedback",
        LabelFormat::PreferencePairs => "preference_pairs",
    }
}

/// What the keys of an entry say of its format; `None` where they say nothing.
fn format_of(entry: &[u8]) -> Option<LabelFormat> {
    let text = std::str::from_utf8(entry).ok()?;
    let value = serde_json::from_str(text).ok().or_else(|| Some(parse_loose(text)?.value))?;
    let has = |key: &str| value.get(key).is_some();
    if has("chosen") || has("rejected") {
        Some(LabelFormat::PreferencePairs)
    } else if has("info") || has("summaries") {
        Some(LabelFormat::SummarizeFromFeedback)
    } else if has("query") {
        Some(LabelFormat::LmHumanPreferences)
    } else {
        None
    }
}

/// One entry of a format. What strict JSON refuses is tried again without the values that nobody reads.
pub(super) fn parse_entry(format: LabelFormat, bytes: &[u8]) -> Result<Raw, Malformed> {
    let parse = |bytes: &[u8]| match format {
        LabelFormat::LmHumanPreferences => lm_human_preferences::parse(bytes),
        LabelFormat::SummarizeFromFeedback => summarize_from_feedback::parse(bytes),
        LabelFormat::PreferencePairs => preference_pairs::parse(bytes),
    };
    parse(bytes).or_else(|malformed| {
        let found = match malformed.reason {
            Reason::NotJson => std::str::from_utf8(bytes).ok().and_then(parse_loose),
            _ => None,
        };
        let Some(found) = found else { return Err(malformed) };
        let mut raw = parse(found.value.to_string().as_bytes()).map_err(|_| malformed)?;
        raw.unread.extend(found.unreadable);
        Ok(raw)
    })
}

/// Whether a file of a folder holds labels by its name.
fn is_label_file(name: &str) -> bool {
    matches!(crate::spec::names::format_of(name), Some(DataFormat::Json | DataFormat::Jsonl))
}

/// The label file, or the .json and .jsonl files of a folder in name order.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, LabelError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| LabelError::file(path, e))? {
        let file = entry.map_err(|e| LabelError::file(path, e))?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if is_label_file(&name) && !name.starts_with('.') && !file.is_dir() {
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
        let mut entries = Entries::open(&file, LARGEST_LABEL).map_err(LabelError::from)?;
        let container = match entries.container() {
            Container::Array => LabelFormat::LmHumanPreferences,
            Container::Lines | Container::Values => LabelFormat::SummarizeFromFeedback,
        };
        let mut known = reading.format;
        while let Some(entry) = entries.next_entry().map_err(LabelError::from)? {
            let first = entry.number == 1;
            let format = *known.get_or_insert_with(|| format_of(entry.bytes).unwrap_or(container));
            if first {
                ids_are_theirs(&file, format, reading)?;
                report.files.push(FileRead { path: file.display().to_string(), format, entries: 0 });
            }
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
    let mut raw = match parse_entry(format, entry.bytes) {
        Ok(raw) => raw,
        Err(malformed) => {
            report.add_malformed(file, entry, &malformed);
            return Ok(None);
        }
    };
    report.add_unread(&raw.unread);
    if let (LabelFormat::PreferencePairs, RecordedPart::Text(prompt)) = (format, &mut raw.query) {
        *prompt = bare_prompt(prompt, reading.around).to_string();
    }
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

/// A prompt without the task's prefix and suffix, which every query gets again.
fn bare_prompt<'t>(prompt: &'t str, (prefix, suffix): (&str, &str)) -> &'t str {
    let prompt = prompt.strip_prefix(prefix).unwrap_or(prompt);
    let suffix = suffix.trim_end();
    match suffix.is_empty() {
        true => prompt,
        false => prompt.trim_end().strip_suffix(suffix).unwrap_or(prompt),
    }
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
        RecordedPart::Ids(ids) => ids,
        RecordedPart::Text(text) => match (reading.query_of)(&text)? {
            Some(ids) => ids,
            None => return Ok(Encoded::NoQuery),
        },
    };
    let mut samples = Vec::with_capacity(raw.samples.len());
    for part in raw.samples {
        samples.push(match part {
            RecordedPart::Ids(ids) => ids,
            RecordedPart::Text(text) => {
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
