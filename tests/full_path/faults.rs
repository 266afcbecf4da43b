//! What goes wrong between a name and its file: nothing wrong is ever taken for data, and each message says what to do.

use super::stand_in_hub::{Fault, StandInHub};
use assert_cmd::Command;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::PathBuf;

/// A server with one source, `tiny`, and a directory whose sources.toml says where it is.
struct Place {
    server: StandInHub,
    dir: tempfile::TempDir,
}

const CONTENT: &[u8] =
    b"[{\"query\": [1, 2], \"sample0\": [3], \"sample1\": [4], \"sample2\": [5], \"sample3\": [6], \"best\": 0}]";

impl Place {
    fn new(more: &str) -> Self {
        let place = Self { server: StandInHub::start(), dir: tempfile::tempdir().expect("a directory") };
        place.server.plain("labels/tiny.json", CONTENT);
        let url = format!("{}/plain/labels/tiny.json", place.server.endpoint());
        place.sources(&format!("[sources.tiny]\nuse = \"labels\"\nplaces = [{{ urls = [\"{url}\"]{more} }}]\n"));
        place.write(
            "spec.toml",
            "spec_version = 1\nname = \"x\"\ntask = { preset = \"custom\", data = { synthetic = \"storyworld\" } }\nlabeler = { kind = \"recorded\", source = \"tiny\" }\ncollect.labels = 32\n",
        );
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn sources(&self, text: &str) {
        self.write("sources.toml", &format!("sources_version = 1\n{text}"));
    }

    fn runner(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::cargo_bin("runner").expect("the program");
        command.current_dir(self.dir.path()).env_remove("RUST_LOG").env("NO_COLOR", "1").env_remove("HF_HUB_OFFLINE");
        command.env("HF_ENDPOINT", self.server.endpoint()).env("HF_HOME", self.path("hf"));
        command.env("RUNNER_SOURCES", self.path("kept")).env("XDG_CONFIG_HOME", self.path("config"));
        let out = command.args(args).output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
    }

    /// `runner fetch spec.toml` must fail with these words, and leave nothing that looks like the file.
    fn refused(&self, code: i32, words: &[&str]) {
        let (found, _, text) = self.runner(&["fetch", "spec.toml", "--no-progress"]);
        assert_eq!(found, code, "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
        assert!(!self.path("kept/tiny/tiny.json").exists(), "nothing wrong is kept: {text}");
    }

    fn fetched(&self) {
        let (code, _, text) = self.runner(&["fetch", "spec.toml", "--no-progress"]);
        assert_eq!(code, 0, "{text}");
        assert_eq!(fs::read(self.path("kept/tiny/tiny.json")).expect("the file"), CONTENT);
    }
}

#[test]
fn a_page_in_the_place_of_a_file_is_refused_and_the_next_try_fetches_the_file() {
    let place = Place::new("");
    place.server.fault("tiny.json", 2, Fault::Page);
    place.refused(1, &["tiny.json", "is a web page, not the file", "put tiny.json in", "sources.toml"]);
    place.fetched();
    let (_, listed, _) = place.runner(&["sources", "tiny"]);
    assert!(listed.contains("here      yes"), "{listed}");
}

#[test]
fn a_file_that_is_not_there_or_not_for_us_says_so() {
    let place = Place::new("");
    place.server.fault("tiny.json", 1, Fault::Status(404, None));
    place.refused(1, &["is not there (status 404)"]);
    place.server.fault("tiny.json", 1, Fault::Status(403, None));
    place.refused(1, &["access is refused (status 403)"]);
    place.fetched();
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    let place = Place::new("");
    // The first request asks for the size; the second breaks off after ten bytes.
    let url = "labels/tiny.json";
    place.server.fault_after(url, 1, 1, Fault::Drop(10));
    place.fetched();
    let ranges: Vec<_> = place.server.seen().into_iter().filter_map(|seen| seen.range).collect();
    assert!(ranges.contains(&"bytes=10-".to_string()), "{ranges:?}");
}

#[test]
fn a_file_that_changed_while_it_was_fetched_is_fetched_anew() {
    let place = Place::new("");
    let kept = |name: &str| place.path("kept/tiny").join(name);
    fs::create_dir_all(kept("")).expect("made");
    fs::write(kept(".tiny.json.incomplete"), b"[{\"old\": 1").expect("written");
    fs::write(kept(".tiny.json.incomplete.json"), b"{\"url\":\"another\"}").expect("written");
    place.fetched();
}

#[test]
fn a_check_sum_decides_and_a_second_place_is_tried() {
    let sum = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let place = Place::new(&format!(", sha256 = {{ \"tiny.json\" = \"{}\" }}", sum(CONTENT)));
    place.server.plain("labels/tiny.json", b"another file");
    place.refused(1, &["does not have the check sum"]);
    place.server.plain("second/tiny.json", CONTENT);
    let base = place.server.endpoint();
    let both = |first: &str, second: &str| {
        place.sources(&format!(
            "[sources.tiny]\nuse = \"labels\"\nplaces = [{{ urls = [\"{base}/plain/{first}\"], sha256 = {{ \"tiny.json\" = \"{0}\" }} }}, {{ urls = [\"{base}/plain/{second}\"], sha256 = {{ \"tiny.json\" = \"{0}\" }} }}]\n",
            sum(CONTENT)
        ));
    };
    both("labels/tiny.json", "nowhere/tiny.json");
    place.refused(1, &["does not have the check sum", "nowhere/tiny.json: is not there (status 404)"]);
    both("labels/tiny.json", "second/tiny.json");
    place.fetched();
    // By hand, and not the file that is meant.
    fs::write(place.path("kept/tiny/tiny.json"), b"[]").expect("written");
    fs::remove_file(place.path("kept/tiny/.tiny.json.source.json")).expect("removed");
    let (code, _, text) = place.runner(&["fetch", "spec.toml"]);
    assert!(code == 2 && text.contains("is another file than the catalogue means"), "{code}: {text}");
}

#[test]
fn a_mistake_in_sources_toml_says_where() {
    let place = Place::new("");
    let refused = |sources: &str, words: &[&str]| {
        place.sources(sources);
        let (code, out, text) = place.runner(&["validate", "spec.toml"]);
        let text = out + &text;
        assert!(code == 2 && words.iter().all(|word| text.contains(word)), "{code} {words:?}: {text}");
    };
    refused("[sources.tldr]\npaths = \"x\"\n", &["sources.toml:3:1", "unknown key"]);
    refused("[sources]\nmine = \"x\"\n", &["sources.toml:3:1", "is a new name, and nothing says what it is for"]);
    refused(
        "[sources.tldr]\nplaces = [{ hf = \"a/b\", path = \"x\" }]\n",
        &["a place has 2 of `hf`, `urls`, `tensorflow` and `path`"],
    );
    refused("[sources.tldr]\nplaces = [{ urls = [\"ftp://x/y\"] }]\n", &["is not an address"]);
    refused("[sources]\ntldr = \"hf:a/b/c\"\n", &["is not a name on the hub"]);
    refused("[sources]\n", &["there is no source \"tiny\"", "labels/tldr_offline_60k"]);
}

#[test]
fn an_unknown_or_unfitting_name_is_refused_with_the_nearest() {
    let place = Place::new("");
    let refused = |set: &str, words: &[&str]| {
        let (code, text, _) = place.runner(&["validate", "spec.toml", "--set", set]);
        assert!(code == 2 && words.iter().all(|word| text.contains(word)), "{code} {words:?}: {text}");
    };
    refused("task.data.source=tdlr", &["there is no source \"tdlr\"", "did you mean \"tldr\"?"]);
    refused("model.weights.source=tldr", &["the source \"tldr\" is for task.data, not for model.weights"]);
}

#[test]
fn a_users_file_replaces_places_by_name_and_its_paths_are_its_own() {
    let place = Place::new("");
    place.write("config/runner/sources.toml", "[sources]\ntiny = { use = \"labels\", places = [{ path = \"elsewhere.json\" }] }\n\"labels/tldr_offline_60k\" = \"mine.json\"\n");
    place.write("config/runner/mine.json", "[]");
    let (code, text, _) = place.runner(&["sources", "labels/tldr_offline_60k"]);
    assert!(code == 0 && text.contains("config/runner/mine.json") && text.contains("yes"), "{text}");
    // The working directory's file stands above the configuration directory's.
    let (_, text, _) = place.runner(&["sources", "tiny"]);
    assert!(text.contains("/plain/labels/tiny.json"), "{text}");
    place.write("given/sources.toml", "[sources]\ntiny = \"a.json\"\n");
    let (_, text, _) = place.runner(&["sources", "tiny", "--sources", "given/sources.toml"]);
    assert!(text.contains("given/a.json"), "{text}");
}

#[test]
fn what_a_run_lacks_is_said_before_anything_is_fetched() {
    let place = Place::new("");
    let (code, text, _) = place.runner(&["fetch", "spec.toml", "--dry-run"]);
    assert!(code == 0 && text.contains("tiny") && text.contains("1 sources, 1 not here"), "{text}");
    assert!(place.server.seen().is_empty(), "nothing is asked of the network");
    let (code, text, _) = place.runner(&["fetch", "spec.toml", "--dry-run", "--format", "json"]);
    let rows: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(code == 0 && rows[0]["here"] == false && rows[0]["use"] == "labels", "{text}");
}
