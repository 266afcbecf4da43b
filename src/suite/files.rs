//! manifest.json of a suite's results directory: which members ran, at which seeds, how it ended, and what waits for people.

use crate::report::files::StageRecord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a member, a question or a whole suite stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not begun.
    Pending,
    Running,
    Done,
    /// For answers of people (exit code 3).
    Waiting,
    /// By a guard or a person (exit code 4).
    Stopped,
    Failed,
}

impl State {
    /// The word used in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// Of what ended with this exit code.
    pub fn of_code(code: i32) -> Self {
        match code {
            0 => Self::Done,
            3 => Self::Waiting,
            4 => Self::Stopped,
            _ => Self::Failed,
        }
    }
}

/// One member at one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemberRecord {
    pub member: String,
    pub seed: u64,
    /// Its results directory, relative to the suite's.
    pub dir: String,
    pub state: State,
    pub exit_code: Option<i32>,
    /// Of the last time it was run; what was done is found done in no time.
    pub seconds: Option<f64>,
    pub error: Option<String>,
}

/// Something that readers are asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuestionRecord {
    pub id: String,
    pub seed: Option<u64>,
    pub state: State,
    pub exit_code: i32,
    /// What is missing: a model, answers, or what went wrong.
    pub message: Option<String>,
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteManifest {
    pub name: String,
    pub makes: String,
    pub state: State,
    pub profile: Option<String>,
    pub program_version: String,
    pub git_commit: Option<String>,
    pub device: String,
    pub driver: Option<String>,
    pub seeds: Vec<u64>,
    pub members: Vec<MemberRecord>,
    #[serde(default)]
    pub questions: Vec<QuestionRecord>,
    /// Of the questions: sampling of texts to compare. Members have their own manifests.
    #[serde(default)]
    pub stages: Vec<StageRecord>,
    pub started_at: String,
    pub finished_at: Option<String>,
    pub seconds: Option<f64>,
    pub peak_memory_bytes: Option<u64>,
}

impl SuiteManifest {
    /// The first exit code that is not 0, of members, then of questions.
    pub fn exit_code(&self) -> i32 {
        let members = self.members.iter().map(|m| m.exit_code.unwrap_or(0));
        members.chain(self.questions.iter().map(|q| q.exit_code)).find(|code| *code != 0).unwrap_or(0)
    }

    pub fn record(&self, member: &str, seed: u64) -> Option<&MemberRecord> {
        self.members.iter().find(|record| record.member == member && record.seed == seed)
    }
}
