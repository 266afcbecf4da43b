//! What tests of whole runs share: pieces of specs that run in seconds, and a directory with the program in it.

#![allow(dead_code, reason = "each binary uses a part of it")]

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The smallest model, made here, on made-up stories: what a spec `tiny` begins with.
pub const STORIES: &str = r#"
spec_version = 1
name = "tiny"
[model]
size = "test"
weights = { pretrain = { vocabulary = 512, passages = 300, steps = 10, batch_size = 8, sequence_length = 32 } }
[task]
preset = "sentiment"
data = { synthetic = "storyworld" }
query_rule = "sentences"
query_length = 12
query_min_length = 4
response_length = 12
truncate_after = 4
"#;

/// Its r_s, in the table `[labeler]`.
pub const CLASSIFIER: &str = r#"reviews = { synthetic = "reviews" }
classifier = { dimensions = { layers = 1, heads = 2, width = 16, context = 64 }, reviews = 200, steps = 10, batch_size = 8 }
"#;

/// Two updates of 16 episodes, and an evaluation.
pub const LEARNING: &str = r#"[policy]
episodes = 32
batch_size = 16
blocks = 1
whiten_in = "minibatch"
lr = 1e-3
[evaluate]
queries = 8
optimum_queries = 2
optimum_samples = 8
samples = 4
"#;

/// Sizes that run in seconds, with a checkpoint after each update of 8 episodes.
pub fn tiny(episodes: usize) -> String {
    r#"
spec_version = 1
name = "t"
model = { size = "test", weights = { pretrain = { vocabulary = 512, passages = 300, steps = 20, batch_size = 8, sequence_length = 32 } } }
[task]
query_rule = "sentences"
query_length = 12
query_min_length = 4
response_length = 12
truncate_after = 4
data.synthetic = "storyworld"
[labeler.classifier]
dimensions = { layers = 1, heads = 2, width = 16, context = 64 }
reviews = 200
steps = 20
batch_size = 8
[reward]
batch_size = 8
normalize_samples = 16
lr = 1e-3
[policy]
episodes = EPISODES
batch_size = 8
checkpoint_every = 1
lr = 1e-3
[evaluate]
queries = 8
optimum_queries = 2
optimum_samples = 8
samples = 4
"#
    .replace("EPISODES", &episodes.to_string())
}

/// A directory with files, its own stage cache, and results.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn with(files: &[(&str, &str)]) -> Self {
        let place = Self(tempfile::tempdir().expect("a directory"));
        files.iter().for_each(|(name, text)| place.write(name, text));
        place
    }
    pub fn dir(&self) -> &Path {
        self.0.path()
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).expect("JSON")
    }
    pub fn lines(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
    /// The program here, with nothing of the tester's surroundings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::cargo_bin("runner").expect("the program");
        command.current_dir(self.dir()).env_remove("RUNNER_CACHE").env_remove("RUST_LOG").args(arguments);
        command
    }
    /// A run on the CPU without a terminal.
    pub fn on_cpu(&self, arguments: &[&str]) -> Command {
        self.command(&[arguments, &["--device", "cpu", "--no-progress"]].concat())
    }
}
