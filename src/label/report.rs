//! What a label file holds, counted while it is read: labels_report.json beside labels.jsonl, and what
//! `runner labels status` prints.

use super::recorded::{Malformed, Reason};
use super::{Judgement, Label, LabelError, LabelKind};
use crate::data::entries::Entry;
use crate::data::error::DataError;
use crate::data::read_report::ReadReport;
use crate::spec::LabelFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Largest share of malformed entries in a usable file. A few broken ones among many are an accident of collection;
/// more means that the file is not what it is taken for.
pub const MALFORMED_SHARE: f64 = 0.01;
/// Malformed entries whose places are kept.
const PLACES: usize = 20;

/// Smallest, mean and largest number of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lengths {
    pub min: usize,
    pub mean: f64,
    pub max: usize,
    pub n: u64,
}

impl Lengths {
    fn add(&mut self, length: usize) {
        self.min = if self.n == 0 { length } else { self.min.min(length) };
        self.max = self.max.max(length);
        self.n += 1;
        self.mean += (length as f64 - self.mean) / self.n as f64;
    }
}

/// Mean and population standard deviation of ratings or differences, with their range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Numbers {
    pub n: u64,
    pub mean: f64,
    pub std: f64,
    pub min: f64,
    pub max: f64,
}

impl Numbers {
    fn add(&mut self, number: f64) {
        self.min = if self.n == 0 { number } else { self.min.min(number) };
        self.max = if self.n == 0 { number } else { self.max.max(number) };
        // Welford's update, on variance n instead of the sum so that `std` is always the truth.
        let n = self.n as f64;
        let step = (number - self.mean) / (n + 1.0);
        let squares = self.std * self.std * n + step * (number - self.mean) * n;
        self.n += 1;
        self.mean += step;
        self.std = (squares / self.n as f64).max(0.0).sqrt();
    }
}

/// A malformed entry and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BadEntry {
    pub path: String,
    /// From 1, in this file.
    pub entry: u64,
    pub line: u64,
    /// In bytes, from 1.
    pub column: u64,
    pub reason: Reason,
    pub message: String,
}

/// One file as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileRead {
    pub path: String,
    pub format: LabelFormat,
    pub entries: u64,
}

/// labels_report.json: what the recorded labels are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabelsReport {
    pub files: Vec<FileRead>,
    /// Entries read: usable, malformed and left out.
    pub entries: u64,
    pub usable: u64,
    pub malformed: u64,
    /// Malformed entries by reason.
    pub malformed_reasons: BTreeMap<Reason, u64>,
    /// The first malformed entries.
    pub malformed_first: Vec<BadEntry>,
    /// Well-formed entries of another split than the one asked for.
    pub other_split: u64,
    /// Well-formed entries whose text gives no query by the task's rule.
    pub no_query: u64,
    /// Optional fields that could not be read and were left empty, by name; their entries count all the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unread_fields: BTreeMap<String, u64>,
    /// best_of_N, scalar_rating or scalar_compare.
    pub label_type: Option<String>,
    /// Samples per label.
    pub candidates: Option<usize>,
    /// Usable labels by which sample was preferred: a position that wins too often is a habit of the labelers.
    pub best: Vec<u64>,
    /// Usable labels all of whose samples are the same, so that any choice is right.
    pub identical_samples: u64,
    /// Ratings or differences.
    pub numbers: Option<Numbers>,
    /// Well-formed entries by split, the asked-for one or not.
    pub splits: BTreeMap<String, u64>,
    /// Usable labels by batch.
    pub batches: BTreeMap<String, u64>,
    /// Usable labels by worker.
    pub workers: BTreeMap<String, u64>,
    /// Usable labels by confidence.
    pub confidence: BTreeMap<i64, u64>,
    /// Tokens of usable labels' queries, without padding.
    pub query_tokens: Lengths,
    /// Tokens of their samples, without padding.
    pub sample_tokens: Lengths,
    /// Labels that train r, and that are held out; of those, how many have a query that is trained on too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_with_known_query: Option<u64>,
    /// Why these labels cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    *counts.entry(key).or_default() += 1;
}

impl LabelsReport {
    /// Counts a malformed entry.
    pub(super) fn add_malformed(&mut self, path: &Path, entry: &Entry<'_>, malformed: &Malformed) {
        self.malformed += 1;
        count(&mut self.malformed_reasons, malformed.reason);
        if self.malformed_first.len() < PLACES {
            let (line, column) = malformed.place_in(entry);
            self.malformed_first.push(BadEntry {
                path: path.display().to_string(),
                entry: entry.number,
                line,
                column,
                reason: malformed.reason,
                message: malformed.message.clone(),
            });
        }
    }

    pub(super) fn add_unread(&mut self, names: &[String]) {
        names.iter().for_each(|name| count(&mut self.unread_fields, name.clone()));
    }

    /// What was kept and dropped. Err: an entry went missing without a reason.
    pub fn read_report(&self, source: &str) -> Result<ReadReport, DataError> {
        let mut report = ReadReport::new(source, "labels");
        report.files = self.files.len() as u64;
        (0..self.usable).for_each(|_| report.keep());
        for (reason, count) in &self.malformed_reasons {
            report.drop(&format!("malformed ({})", reason.name()), *count);
        }
        report.drop("of another split", self.other_split);
        report.drop("without a query by the task's rule", self.no_query);
        for (name, count) in &self.unread_fields {
            report.remark(format!("{name} of {count} could not be read and is left out"));
        }
        report.check(self.entries)?;
        Ok(report)
    }

    pub(super) fn add_split(&mut self, split: &str) {
        count(&mut self.splits, split.to_string());
    }

    /// Counts a usable label, which has passed [`Label::check`].
    pub(super) fn add(&mut self, label: &Label) {
        self.usable += 1;
        if let Judgement::Best(best) = label.judgement {
            self.best.resize(self.best.len().max(label.samples.len()), 0);
            self.best[best] += 1;
        }
        if let Some(number) = label.judgement.number() {
            self.numbers.get_or_insert_default().add(f64::from(number));
        }
        if label.samples.len() > 1 && label.samples.iter().all(|s| *s == label.samples[0]) {
            self.identical_samples += 1;
        }
        self.query_tokens.add(label.query.len());
        label.samples.iter().for_each(|sample| self.sample_tokens.add(sample.len()));
        label.batch.iter().for_each(|batch| count(&mut self.batches, batch.clone()));
        label.worker.iter().for_each(|worker| count(&mut self.workers, worker.clone()));
        label.confidence.iter().for_each(|confidence| count(&mut self.confidence, *confidence));
    }

    /// Takes the type of the first label; false: this one's is another.
    pub(super) fn same_kind(&mut self, kind: LabelKind) -> bool {
        let name = kind.to_string();
        self.candidates.get_or_insert(kind.samples());
        *self.label_type.get_or_insert_with(|| name.clone()) == name
    }

    /// Err: why these labels cannot be used.
    pub fn check(&self) -> Result<(), LabelError> {
        let places: String = self
            .malformed_first
            .iter()
            .take(3)
            .map(|bad| format!("\n  {}:{}:{}: entry {}: {}", bad.path, bad.line, bad.column, bad.entry, bad.message))
            .collect();
        if self.malformed as f64 > MALFORMED_SHARE * self.entries as f64 {
            return Err(LabelError::Unusable(format!(
                "{} of {} entries are malformed, more than {:.0}%: is this the right file, in the right format?{places}",
                self.malformed,
                self.entries,
                100.0 * MALFORMED_SHARE
            )));
        }
        if self.usable > 0 {
            return Ok(());
        }
        Err(LabelError::Unusable(match self.entries {
            0 => "there are no entries".into(),
            n if self.other_split > 0 => {
                let splits: Vec<String> = self.splits.iter().map(|(name, n)| format!("{name} ({n})")).collect();
                let known = if splits.is_empty() { "no splits at all".into() } else { splits.join(", ") };
                format!("none of {n} entries is of the split asked for; there are {known}")
            }
            n => format!("none of {n} entries gives a query by the task's rule (task.query_start, task.query_end)"),
        }))
    }

    /// A few lines for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            if !value.is_empty() {
                let _ = writeln!(text, "{name:<22}{value}");
            }
        };
        for file in &self.files {
            let format = super::recorded::format_name(file.format);
            line("file", format!("{} ({format}, {} entries)", file.path, file.entries));
        }
        line("entries", self.entries.to_string());
        line("usable", self.usable.to_string());
        line("malformed", format!("{}{}", self.malformed, reasons(&self.malformed_reasons)));
        line("of another split", some(self.other_split));
        line("without a query", some(self.no_query));
        line("fields not read", largest(&self.unread_fields));
        line("label type", self.label_type.clone().unwrap_or_default());
        line("best, by sample", shares(&self.best));
        line("same samples", some(self.identical_samples));
        if let Some(n) = self.numbers {
            // Ratings are 32-bit numbers; their 64-bit digits are none of the file's.
            let (min, max) = (n.min as f32, n.max as f32);
            line("numbers", format!("mean {:.4}, std {:.4}, {min} to {max}", n.mean, n.std));
        }
        line("query tokens", lengths(&self.query_tokens));
        line("sample tokens", lengths(&self.sample_tokens));
        line("splits", largest(&self.splits));
        line("batches", largest(&self.batches));
        let each = if self.workers.is_empty() { "" } else { ": " };
        line("workers", format!("{}{each}{}", some(self.workers.len() as u64), largest(&self.workers)));
        let confidence: Vec<String> = self.confidence.iter().map(|(level, n)| format!("{level}: {n}")).collect();
        line("confidence", confidence.join(", "));
        for bad in &self.malformed_first {
            line("", format!("{}:{}:{}: entry {}: {}", bad.path, bad.line, bad.column, bad.entry, bad.message));
        }
        let more = self.malformed - self.malformed_first.len() as u64;
        if more > 0 {
            line("", format!("and {more} more"));
        }
        text
    }
}

/// Nothing for 0.
fn some(n: u64) -> String {
    if n == 0 { String::new() } else { n.to_string() }
}

fn lengths(l: &Lengths) -> String {
    if l.n == 0 { String::new() } else { format!("{} to {}, mean {:.1}", l.min, l.max, l.mean) }
}

fn reasons(counts: &BTreeMap<Reason, u64>) -> String {
    let parts: Vec<String> = counts.iter().map(|(reason, n)| format!("{}: {n}", reason.name())).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// How often each position was chosen.
fn shares(counts: &[u64]) -> String {
    let all: u64 = counts.iter().sum();
    let share = |n: u64| 100.0 * n as f64 / all.max(1) as f64;
    counts.iter().enumerate().map(|(i, n)| format!("{i}: {:.1}%", share(*n))).collect::<Vec<_>>().join(", ")
}

/// The most frequent ones.
fn largest(counts: &BTreeMap<String, u64>) -> String {
    const SHOWN: usize = 8;
    let mut all: Vec<(&String, &u64)> = counts.iter().collect();
    all.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let shown: Vec<String> = all.iter().take(SHOWN).map(|(name, n)| format!("{name} ({n})")).collect();
    let rest = if all.len() > SHOWN { format!(", {} more", all.len() - SHOWN) } else { String::new() };
    shown.join(", ") + &rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_numbers() {
        let mut numbers = Numbers::default();
        for x in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0] {
            numbers.add(x);
        }
        assert!((numbers.mean - 5.0).abs() < 1e-12 && (numbers.std - 2.0).abs() < 1e-12, "{numbers:?}");
        assert_eq!((numbers.n, numbers.min, numbers.max), (8, 2.0, 9.0));
        let mut lengths = Lengths::default();
        [3, 1, 2].into_iter().for_each(|n| lengths.add(n));
        assert_eq!(lengths, Lengths { min: 1, mean: 2.0, max: 3, n: 3 });
    }

    #[test]
    fn one_malformed_entry_in_a_hundred_is_allowed() {
        let mut report = LabelsReport { entries: 100, usable: 99, malformed: 1, ..LabelsReport::default() };
        assert!(report.check().is_ok());
        report.entries = 99;
        assert!(report.check().unwrap_err().to_string().contains("1 of 99 entries are malformed, more than 1%"));
        let none = LabelsReport { entries: 5, other_split: 5, splits: [("train".into(), 5)].into(), ..report };
        let none = LabelsReport { usable: 0, malformed: 0, ..none };
        assert!(none.check().unwrap_err().to_string().contains("train (5)"));
    }
}
