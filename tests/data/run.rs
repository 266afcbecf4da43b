//! A whole run whose model, text and reviews come from the hub: fetched once, pinned, and done again without the
//! network.

use crate::stand_in_hub::{StandInHub, TOKEN};
use assert_cmd::Command;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const SPEC: &str = r#"
spec_version = 1
name = "hub"
[model]
weights = { hf = "ada/tiny", revision = "v1" }
[task]
preset = "sentiment"
data = { hf = "ada/stories", columns = { text = "story" } }
query_rule = "sentences"
truncate_match = "contains"
query_length = 12
query_min_length = 4
response_length = 12
truncate_after = 4
[labeler]
kind = "mock"
reviews = { hf = "ada/reviews" }
classifier = { dimensions = { layers = 1, heads = 2, width = 16, context = 64 }, steps = 5, batch_size = 4 }
[collect]
labels = 8
held_out = 4
[reward]
batch_size = 4
normalize_samples = 8
[policy]
episodes = 8
batch_size = 8
blocks = 1
whiten_in = "minibatch"
[evaluate]
queries = 4
optimum_queries = 2
optimum_samples = 4
samples = 2
"#;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).expect("the fixture")
}

/// A hub with a model, stories with a test split, and private reviews.
fn hub() -> (StandInHub, [String; 3]) {
    let hub = StandInHub::start();
    let names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    let contents: Vec<Vec<u8>> = names.iter().map(|name| fixture(&format!("weights/base/{name}"))).collect();
    let files: Vec<(&str, &[u8])> = names.into_iter().zip(contents.iter().map(Vec::as_slice)).collect();
    let model = hub.commit("models/ada/tiny", "v1", &files);
    let story =
        |i: usize| json!({ "story": format!("The cat {i} sat down. A dog ran to the house {i}. It was a good day.") });
    let lines = |from: usize, to: usize| (from..to).map(|i| format!("{}\n", story(i))).collect::<String>();
    let (train, test) = (lines(0, 30), lines(30, 40));
    let stories = hub.commit(
        "datasets/ada/stories",
        "main",
        &[("README.md", b"# Stories"), ("data/train.jsonl", train.as_bytes()), ("data/test.jsonl", test.as_bytes())],
    );
    let labels = fixture("data/parquet/label_int64.parquet");
    let reviews = hub.commit(
        "datasets/ada/reviews",
        "main",
        &[("data/train-00000-of-00001.parquet", &labels), ("data/test-00000-of-00001.parquet", b"never read")],
    );
    hub.make_private("datasets/ada/reviews");
    (hub, [model, stories, reviews])
}

struct Place {
    dir: tempfile::TempDir,
    endpoint: String,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    /// Exit code and standard error of a run with its cache of the hub in `home`.
    fn run(&self, out: &str, home: &str, offline: bool, token: &str) -> (i32, String) {
        let mut command = Command::cargo_bin("runner").expect("the program");
        command.current_dir(self.dir.path()).env_remove("RUNNER_CACHE").env_remove("RUST_LOG").env("NO_COLOR", "1");
        for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN"] {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_HOME", self.path(home)).env("HF_TOKEN", token);
        command.env("HF_HUB_OFFLINE", if offline { "1" } else { "0" });
        let output = command.args(["spec.toml", "--device", "cpu", "--out", out]).output().expect("it runs");
        let text = String::from_utf8(output.stderr).expect("text");
        assert!(!text.contains(TOKEN), "a token is never printed: {text}");
        (output.status.code().expect("an exit code"), text)
    }
}

#[test]
fn a_run_from_the_hub_is_pinned_and_needs_the_hub_once() {
    let (hub, commits) = hub();
    let place = Place { dir: tempfile::tempdir().expect("a temporary directory"), endpoint: hub.endpoint() };
    fs::write(place.path("spec.toml"), SPEC).expect("written");

    let (code, text) = place.run("none", "hf", true, "");
    assert!(code == 2 && text.contains("model ada/tiny") && text.contains("HF_HUB_OFFLINE is set"), "{code}: {text}");
    let (code, text) = place.run("none", "hf", false, "");
    assert!(code == 2 && text.contains("data set ada/reviews: there is none of that name"), "{code}: {text}");
    assert!(text.contains("or it is private (then set HF_TOKEN)"), "{text}");

    let (code, text) = place.run("one", "hf", false, TOKEN);
    assert_eq!(code, 0, "{text}");
    assert!(commits.iter().all(|commit| text.contains(commit.as_str())), "the commits are named: {text}");
    assert!(hub.seen().iter().all(|s| !s.path.contains("test-00000")), "the classifier needs no test split");
    let manifest = fs::read_to_string(place.path("one/manifest.json")).expect("the manifest");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let sources =
        |key: &str| manifest["sources"].as_array().expect("sources").iter().map(|s| s[key].clone()).collect::<Vec<_>>();
    assert_eq!(sources("key"), ["model.weights", "task.data", "labeler.reviews"]);
    assert_eq!(sources("commit"), commits);
    assert_eq!(sources("held_out"), [json!([]), json!(["data/test.jsonl"]), json!([])]);

    // The branches move on and the hub goes away: what was fetched is used, from wherever the cache is now.
    drop(hub);
    fs::rename(place.path("hf"), place.path("moved")).expect("moved");
    let (code, text) = place.run("one", "moved", true, "");
    assert_eq!(code, 0, "{text}");
    let (code, text) = place.run("two", "moved", true, "");
    assert_eq!(code, 0, "{text}");
    let policy = |out: &str| fs::read(place.path(out).join("runs/main/models/policy/model.safetensors"));
    let policy = |out: &str| policy(out).unwrap_or_else(|e| panic!("{out}: {e}"));
    assert!(policy("one") == policy("two"));
}
