//! Answers from outside: a language model behind an endpoint (a stand-in in this process, which goes wrong in every way),
//! programs as labelers and as rewards, and ROUGE as a reward.

#[path = "../common/mod.rs"]
mod common;
mod judge;
#[cfg(unix)]
mod programs;
mod stand_in_judge;
mod suite;

use assert_cmd::Command;
pub use common::Place;
use common::tiny;
use serde_json::Value;
use stand_in_judge::KEY;
use std::fs;
use std::path::Path;

impl Place {
    pub fn new(spec: &str) -> Self {
        Self::with(&[("spec.toml", &format!("{spec}{}", tiny(32)))])
    }
    pub fn keyed(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.env("OPENAI_API_KEY", KEY);
        command
    }
    /// Exit code and what is said.
    pub fn run(&self, more: &[&str]) -> (i32, String) {
        let mut command = self.keyed(&["spec.toml", "--device", "cpu", "--out", "out", "--no-progress"]);
        finished(command.args(more))
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
        walk(self.dir(), words.as_bytes());
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
