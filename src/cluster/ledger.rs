//! jobs.json: what was submitted, written before a job is handed to the engine (by its name) and again with its number.
//! Whoever submits a second time, or after a crash between the two, finds what is there.

use super::{ClusterError, FOLDER};
use crate::store::atomic::write_atomic;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file's name, in the folder `cluster` of a suite's results directory.
pub const FILE: &str = "jobs.json";

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JobKind")]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Tasks as far as a stage that several need.
    Wave,
    Members,
    /// Draws what all have made.
    Gather,
}

/// A job; an array of as many as it has tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// By which the engine knows it; no two jobs of a directory have the same.
    pub name: String,
    /// Its script is FILE.sh, its logs are FILE-JOB.log or FILE-JOB_TASK.log.
    pub file: String,
    pub kind: Kind,
    /// Of the array, in order.
    #[serde(default)]
    pub tasks: Vec<String>,
    /// Of a wave: the last stage of each task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub until: Vec<String>,
    /// The engine's number; none while it is handed over.
    #[serde(default)]
    pub id: Option<String>,
}

/// Jobs that were handed over together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Submission {
    /// From 1.
    pub number: usize,
    /// The name in cluster.toml.
    pub cluster: String,
    /// RFC 3339.
    pub at: String,
    pub jobs: Vec<Job>,
}

/// Everything that was submitted for a results directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    /// The suite's name.
    pub suite: String,
    /// What tells this directory's jobs from those of others of the same suite.
    pub hash: String,
    pub submissions: Vec<Submission>,
}

impl Ledger {
    /// One for a suite of which nothing was submitted into `out` yet.
    pub fn new(suite: &str, out: &Path) -> Self {
        let place = std::path::absolute(out).unwrap_or_else(|_| out.to_path_buf());
        let own = format!("{suite} {}", place.display());
        Self { suite: suite.into(), hash: blake3::hash(own.as_bytes()).to_hex()[..8].into(), submissions: Vec::new() }
    }

    /// Where it is kept.
    pub fn path(out: &Path) -> PathBuf {
        out.join(FOLDER).join(FILE)
    }

    /// The one of a results directory; none where nothing was submitted.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(out: &Path) -> Result<Option<Self>, ClusterError> {
        let path = Self::path(out);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(ClusterError::io(&path)(e)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            ClusterError::Input(format!(
                "{}: {e}; it says which jobs are there: put it right, or remove it when none of them runs any more",
                path.display()
            ))
        })
    }

    /// Writes it, synced.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, out: &Path) -> Result<(), ClusterError> {
        let path = Self::path(out);
        let text = serde_json::to_string_pretty(self).map_err(|e| ClusterError::Input(e.to_string()))?;
        write_atomic(&path, format!("{text}\n").as_bytes()).map_err(ClusterError::io(&path))
    }

    /// All jobs, in the order in which they were handed over.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.submissions.iter().flat_map(|submission| &submission.jobs)
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.jobs().map(|job| job.name.clone()).collect()
    }

    /// The next job's name.
    pub fn name(&self, number: usize, what: &str) -> String {
        format!("runner-{}-{}-{number}-{what}", self.suite, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Ledger::read(dir.path()).unwrap(), None);
        let mut ledger = Ledger::new("t", dir.path());
        let name = ledger.name(1, "members");
        let job = Job { name, file: "1-members".into(), kind: Kind::Members, tasks: vec![], until: vec![], id: None };
        ledger.submissions.push(Submission { number: 1, cluster: "c".into(), at: "now".into(), jobs: vec![job] });
        ledger.write(dir.path()).unwrap();
        assert_eq!(Ledger::read(dir.path()).unwrap(), Some(ledger.clone()));
        assert_ne!(Ledger::new("t", &dir.path().join("x")).name(1, "members"), ledger.name(1, "members"));
        std::fs::write(Ledger::path(dir.path()), "{").unwrap();
        assert!(Ledger::read(dir.path()).unwrap_err().to_string().contains("jobs.json"));
    }
}
