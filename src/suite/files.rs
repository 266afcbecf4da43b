//! manifest.json of a suite's results directory: which members ran, at which seeds, how it ended, and what waits for
//! people.

use crate::results::{Outcome, StageRecord};
use crate::store::lock::is_held;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where a member, a question or a whole suite stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "State")]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// Not begun.
    Pending,
    Running,
    Done,
    /// For answers of people (exit code 3).
    Waiting,
    /// By a guard or a person (exit code 4).
    Stopped,
    Failed,
    /// By `--members` or `--skip`, and without results of an earlier time.
    #[serde(rename = "left out")]
    LeftOut,
    /// Never in a file: one says `running`, and nobody holds the lock of the suite's directory.
    #[serde(skip)]
    Interrupted,
}

impl MemberState {
    /// The word used in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::LeftOut => "left out",
            Self::Interrupted => "interrupted",
        }
    }

    /// Of what ended so.
    pub fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Waiting => Self::Waiting,
            Outcome::Stopped => Self::Stopped,
            Outcome::Failed | Outcome::WrongInput => Self::Failed,
        }
    }
}

/// How many ended how: "2 done, 1 waiting, 3 failed".
pub fn counted(states: &[MemberState]) -> String {
    let all = [
        MemberState::Done,
        MemberState::Waiting,
        MemberState::Stopped,
        MemberState::Failed,
        MemberState::Running,
        MemberState::Interrupted,
        MemberState::Pending,
        MemberState::LeftOut,
    ];
    let count = |state: MemberState| states.iter().filter(|other| **other == state).count();
    let words: Vec<String> = all
        .into_iter()
        .filter(|state| count(*state) > 0)
        .map(|state| format!("{} {}", count(state), state.word()))
        .collect();
    words.join(", ")
}

/// One member at one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemberRecord {
    pub member: String,
    pub seed: u64,
    /// Its results directory, relative to the suite's.
    pub dir: String,
    pub state: MemberState,
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
    pub state: MemberState,
    pub exit_code: i32,
    /// What is missing: a model, answers, or what went wrong.
    pub message: Option<String>,
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteManifest {
    pub name: String,
    pub makes: String,
    pub state: MemberState,
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
    /// The worst of members, then of questions: see [`Outcome::worse`].
    pub fn outcome(&self) -> Outcome {
        let members = self.members.iter().map(|m| m.exit_code.unwrap_or(0));
        members
            .chain(self.questions.iter().map(|q| q.exit_code))
            .map(Outcome::of_code)
            .fold(Outcome::Done, Outcome::worse)
    }

    /// Members that were left out and have no results, each once.
    pub fn left_out(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.members.iter().filter(|m| m.state == MemberState::LeftOut).map(|m| m.member.as_str()).collect();
        names.dedup();
        names
    }

    /// As the file says, but for what it says to be running in a directory that nobody works in: that was killed.
    pub fn now(mut self, dir: &Path) -> Self {
        let all = self.members.iter_mut().map(|m| &mut m.state).chain(self.questions.iter_mut().map(|q| &mut q.state));
        let running: Vec<&mut MemberState> =
            all.chain([&mut self.state]).filter(|state| **state == MemberState::Running).collect();
        if !running.is_empty() && !is_held(dir) {
            running.into_iter().for_each(|state| *state = MemberState::Interrupted);
        }
        self
    }

    pub fn record(&self, member: &str, seed: u64) -> Option<&MemberRecord> {
        self.members.iter().find(|record| record.member == member && record.seed == seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_counted_in_words() {
        assert_eq!(
            counted(&[MemberState::Failed, MemberState::Waiting, MemberState::Failed, MemberState::Done]),
            "1 done, 1 waiting, 2 failed"
        );
    }

    #[test]
    fn a_suite_that_was_killed_does_not_run() {
        let member =
            |state: &str| serde_json::json!({ "member": "a", "seed": 1, "dir": "members/a-seed-1", "state": state });
        let text = serde_json::json!({ "name": "t", "makes": "table5", "state": "running", "program_version": "", "device": "cpu",
            "seeds": [1], "members": [member("done"), member("running"), member("pending")], "started_at": "" });
        let dir = tempfile::tempdir().unwrap();
        let states = |dir: &Path| {
            let manifest = serde_json::from_value::<SuiteManifest>(text.clone()).unwrap().now(dir);
            (manifest.state, manifest.members.iter().map(|m| m.state).collect::<Vec<_>>())
        };
        assert_eq!(
            states(dir.path()),
            (MemberState::Interrupted, vec![MemberState::Done, MemberState::Interrupted, MemberState::Pending])
        );
        let _lock = crate::store::lock::Lock::acquire(dir.path()).unwrap().unwrap();
        assert_eq!(
            states(dir.path()),
            (MemberState::Running, vec![MemberState::Done, MemberState::Running, MemberState::Pending])
        );
    }
}
