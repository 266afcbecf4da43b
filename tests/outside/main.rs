//! Answers from outside: a language model behind an endpoint (a stand-in in this process, which goes wrong in every way),
//! programs as labelers and as rewards, and ROUGE as a reward.

mod judge;
#[cfg(unix)]
mod programs;
mod stand_in_judge;
mod suite;

use assert_cmd::Command;
use serde_json::Value;
use stand_in_judge::KEY;
use std::fs;
use std::path::{Path, PathBuf};

/// Sizes that run in seconds: 4 updates of 8 episodes.
const TINY: &str = r#"
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
[policy]
episodes = 32
batch_size = 8
checkpoint_every = 1
lr = 1e-3
[reward]
batch_size = 8
normalize_samples = 16
lr = 1e-3
[evaluate]
queries = 8
optimum_queries = 2
optimum_samples = 8
samples = 4
"#;

/// A directory with a spec, its own stage cache, and results in `out`.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new(spec: &str) -> Self {
        let place = Self { dir: tempfile::tempdir().expect("a directory") };
        place.write("spec.toml", &format!("{spec}{TINY}"));
        place
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::cargo_bin("runner").expect("the program");
        command.current_dir(self.dir.path()).env_remove("RUNNER_CACHE").env_remove("RUST_LOG");
        command.env("OPENAI_API_KEY", KEY).args(arguments);
        command
    }
    /// Exit code and what is said.
    pub fn run(&self, more: &[&str]) -> (i32, String) {
        let mut command = self.command(&["spec.toml", "--device", "cpu", "--out", "out", "--no-progress"]);
        finished(command.args(more))
    }
    pub fn json(&self, file: &str) -> Value {
        let path = self.path(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).expect("JSON")
    }
    pub fn lines(&self, file: &str) -> Vec<Value> {
        let path = self.path(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
    /// No file here holds these words.
    pub fn holds_nowhere(&self, words: &str) {
        fn walk(dir: &Path, words: &[u8]) {
            for path in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()) {
                match path.is_dir() {
                    true => walk(&path, words),
                    false => {
                        let bytes = fs::read(&path).expect("a file");
                        assert!(!bytes.windows(words.len()).any(|w| w == words), "{}", path.display());
                    }
                }
            }
        }
        walk(self.dir.path(), words.as_bytes());
    }
}

pub fn finished(command: &mut Command) -> (i32, String) {
    let out = command.output().expect("it runs");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code().unwrap_or(-1), said)
}

/// A JSON value against a schema of this repository.
pub fn check(schema: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(schema);
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).expect("a schema")).expect("JSON");
    jsonschema::validate(&schema, value).unwrap_or_else(|e| panic!("{e}: {value}"));
}
