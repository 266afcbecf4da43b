//! manifest.json: what made a results directory, and where it stands.

use crate::data::read_report::ReadReport;
use crate::spec::Precision;
use crate::store::lock::is_held;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Where a run or suite stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Running,
    Done,
    /// For answers of people.
    Waiting,
    Stopped,
    Failed,
    /// Never in a file: one says `running`, and no process holds the directory's lock. It was killed, or the machine
    /// went down.
    #[serde(skip)]
    Interrupted,
}

impl State {
    /// What a manifest's state is in truth: see [`State::Interrupted`].
    pub fn now(self, dir: &Path) -> Self {
        match self {
            State::Running if !is_held(dir) => State::Interrupted,
            state => state,
        }
    }
    /// The word used in the file.
    pub fn word(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Done => "done",
            State::Waiting => "waiting",
            State::Stopped => "stopped",
            State::Failed => "failed",
            State::Interrupted => "interrupted",
        }
    }
}

/// One stage that ran, or was found in the cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageRecord {
    #[serde(default)]
    pub run: Option<String>,
    pub stage: String,
    /// Hash of the stage's inputs.
    pub key: String,
    pub seconds: f64,
    pub cached: bool,
    /// For another process that was making it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited: Option<Waited>,
}

/// A stage that two runs with one cache wanted at the same time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waited {
    /// Host and process.
    pub by: String,
    pub seconds: f64,
}

/// What a run took from outside: from the Hugging Face hub, or by the name of a source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceRecord {
    /// The part of the spec that names it.
    pub key: String,
    /// The name of the source, where the spec gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The place of the source that had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Of the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The files of a data set that are read.
    #[serde(default)]
    pub files: Vec<String>,
    /// Those for evaluation alone.
    #[serde(default)]
    pub held_out: Vec<String>,
    /// SHA-256 of files that came from plain addresses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
}

/// manifest.json: what made this directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    pub name: String,
    pub state: State,
    pub program_version: String,
    #[serde(default)]
    pub git_commit: Option<String>,
    pub device: String,
    /// What keys have of the device: results of one kind are the same bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_kind: Option<String>,
    /// Of matrix products, where it was not float32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    #[serde(default)]
    pub driver: Option<String>,
    pub seeds: Vec<u64>,
    pub runs: Vec<String>,
    #[serde(default)]
    pub stages: Vec<StageRecord>,
    #[serde(default)]
    pub sources: Vec<SourceRecord>,
    /// What was read of every source, and what was dropped of it, by reason.
    #[serde(default)]
    pub reads: Vec<ReadReport>,
    pub started_at: String,
    #[serde(default)]
    pub finished_at: Option<String>,
    #[serde(default)]
    pub peak_memory_bytes: Option<u64>,
    /// Why it is not done, where it failed, was stopped or waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The spec's profile that was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What `--set` changed in the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
}
