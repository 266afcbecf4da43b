//! What became of what a reader read: every record is kept, or dropped for a reason that is counted. Whoever reads a
//! source (documents, queries, reviews, labels, answers of other tools) gives one of these; it goes into the log and
//! the manifest.

use super::error::DataError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Records of a source, kept and dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadReport {
    /// The part of the spec, or the file, that names the source.
    pub source: String,
    /// What is counted: documents, queries, reviews, labels, answers.
    pub what: String,
    pub files: u64,
    /// Records that the readers of the files saw.
    pub records: u64,
    pub kept: u64,
    /// Dropped records by reason.
    pub dropped: BTreeMap<String, u64>,
    /// What was taken for granted: separators, meanings of labels, files that were left out.
    pub remarks: Vec<String>,
}

impl ReadReport {
    pub fn new(source: impl Into<String>, what: impl Into<String>) -> Self {
        Self { source: source.into(), what: what.into(), ..Self::default() }
    }

    /// Counts a record that stays.
    pub fn keep(&mut self) {
        self.records += 1;
        self.kept += 1;
    }

    /// Counts `count` records that do not.
    pub fn drop(&mut self, reason: &str, count: u64) {
        self.records += count;
        self.explain(reason, count);
    }

    /// Records that were kept at first are dropped after all.
    pub fn drop_kept(&mut self, reason: &str, count: u64) {
        self.kept = self.kept.saturating_sub(count);
        self.explain(reason, count);
    }

    fn explain(&mut self, reason: &str, count: u64) {
        if count > 0 {
            *self.dropped.entry(reason.into()).or_default() += count;
        }
    }

    /// Says something once.
    pub fn remark(&mut self, remark: impl Into<String>) {
        let remark = remark.into();
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    /// Err: records went missing without a reason, after the readers of the files saw `seen`. That is a mistake of this
    /// program, and going on would train on something else than the files hold.
    pub fn check(&self, seen: u64) -> Result<(), DataError> {
        let explained = self.kept + self.dropped.values().sum::<u64>();
        if seen == self.records && explained == self.records {
            return Ok(());
        }
        Err(DataError::Other(format!(
            "{}: {seen} {} were read, {} are kept and {} dropped for a reason; the rest is lost without one, which is a \
             mistake of this program: please report it with the first lines of the file",
            self.source,
            self.what,
            self.kept,
            explained - self.kept
        )))
    }
}

/// `task.data: 60 documents of 2 files, 57 kept; dropped: 3 empty`
impl fmt::Display for ReadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, what, files, records, kept, .. } = self;
        write!(f, "{source}: {records} {what}")?;
        match files {
            0 => {}
            1 => write!(f, " of 1 file")?,
            n => write!(f, " of {n} files")?,
        }
        write!(f, ", {kept} kept")?;
        if !self.dropped.is_empty() {
            let reasons: Vec<String> = self.dropped.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
            write!(f, "; dropped: {}", reasons.join(", "))?;
        }
        self.remarks.iter().try_for_each(|remark| write!(f, "; {remark}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_missing_without_a_reason_stops_the_reader() {
        let mut report = ReadReport::new("task.data", "documents");
        report.files = 2;
        (0..4).for_each(|_| report.keep());
        report.drop("empty", 2);
        report.drop_kept("of the larger class", 1);
        report.remark("the separator is \";\"");
        report.remark("the separator is \";\"");
        assert!(report.check(6).is_ok());
        assert_eq!(
            report.to_string(),
            "task.data: 6 documents of 2 files, 3 kept; dropped: 2 empty, 1 of the larger class; the separator is \";\""
        );
        let lost = report.check(9).unwrap_err().to_string();
        assert!(lost.contains("9 documents were read, 3 are kept and 3 dropped"), "{lost}");
        report.kept = 1;
        assert!(report.check(6).is_err());
    }
}
