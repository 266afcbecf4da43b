//! `runner labels status` on label files of both formats and of every kind of damage (fixtures/labels, made by
//! make_labels.py there).

use assert_cmd::Command;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/labels").join(name)
}

/// Exit code, standard output, standard error.
fn status(path: &Path, more: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("runner")
        .expect("the program")
        .args(["labels", "status"])
        .arg(path)
        .args(more)
        .output()
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// The report of a usable file, which has the published schema.
fn report(name: &str, more: &[&str]) -> Value {
    let (code, out, error) = status(&fixture(name), &[&["--format", "json"], more].concat());
    assert_eq!(code, 0, "{name}: {error}");
    let report: Value = serde_json::from_str(&out).expect("one JSON object");
    valid(&report);
    report
}

fn valid(report: &Value) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/labels_report.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(file).expect("the schema")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    assert!(
        validator.is_valid(report),
        "{report:#}: {:?}",
        validator.iter_errors(report).next().map(|e| e.to_string())
    );
}

#[test]
fn both_formats_and_all_types_are_counted() {
    let sentiment = report("sentiment.json", &[]);
    assert_eq!(sentiment["label_type"], "best_of_4");
    assert_eq!((&sentiment["usable"], &sentiment["malformed"]), (&40.into(), &0.into()));
    assert!(sentiment["query_tokens"]["max"].as_u64() < Some(24), "padding is not counted");
    assert_eq!(sentiment["files"][0]["format"], "lm_human_preferences");
    let rating = report("rating.json", &[]);
    assert_eq!((&rating["label_type"], &rating["candidates"]), (&"scalar_rating".into(), &1.into()));
    assert!((4.0..6.0).contains(&rating["numbers"]["mean"].as_f64().expect("a mean")));
    assert_eq!(report("compare.json", &[])["label_type"], "scalar_compare");
    let comparisons = report("comparisons.jsonl", &[]);
    assert_eq!((&comparisons["label_type"], &comparisons["usable"]), (&"best_of_2".into(), &60.into()));
    assert_eq!(comparisons["workers"].as_object().map(|w| w.len()), Some(3));
    let train = report("comparisons.jsonl", &["--split", "train"]);
    assert_eq!(train["usable"], comparisons["splits"]["train"]);
    assert_eq!(train["other_split"].as_u64(), Some(60 - train["usable"].as_u64().expect("a count")));
}

#[test]
fn odd_but_good_files_are_read() {
    assert_eq!(report("bom.json", &[])["usable"], 3);
    assert_eq!(report("padding_anywhere.json", &[])["usable"], 1);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let lines = dir.path().join("ids.jsonl");
    let text = std::fs::read_to_string(fixture("rating.json")).expect("the fixture");
    let entries: Vec<Value> = serde_json::from_str(&text).expect("an array");
    let text: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
    std::fs::write(&lines, text).expect("written");
    let (code, out, error) = status(&lines, &["--label-format", "lm_human_preferences"]);
    assert!(code == 0 && out.contains("std 1.2191, 2.72 to 7.402\n"), "{out}{error}");
    let (code, out, error) = status(&lines, &[]);
    assert!(code == 0 && out.contains("(lm_human_preferences, "), "{out}{error}");
    let nearly = report("one_in_two_hundred.json", &[]);
    assert_eq!((&nearly["usable"], &nearly["malformed"]), (&199.into(), &1.into()));
    let bad = &nearly["malformed_first"][0];
    assert_eq!((&bad["entry"], &bad["line"], &bad["reason"]), (&18.into(), &18.into(), &"choice_out_of_range".into()));
}

#[test]
fn awkward_files_are_refused_with_their_places() {
    for (name, words) in [
        ("truncated.json", "inside entry 5, which starts at 5:2: it is truncated"),
        ("trailing_garbage.json", "trailing_garbage.json:7:1: something follows the array's `]`"),
        ("wrong_types.json", "entry 3: `query`: invalid type: string"),
        ("best_out_of_range.json", "entry 2: the choice is 2, and there are 2 samples"),
        ("ids_out_of_range.json", "entry 4: sample 0 has token 50257, outside the vocabulary of 50257"),
        ("no_best.json", "entry 4: has no `best`"),
        ("nan.json", "entry 1: expected value"),
        ("huge_numbers.json", "entry 1: number out of range"),
        ("duplicate_keys.json", "entry 1: duplicate field `best`"),
        ("empty_array.json", "there are no entries"),
        ("empty.json", "is empty"),
        ("mixed_types.json", "mixed_types.json:3:2: entry 3: is scalar_rating, and those before it are best_of_2"),
        ("mixed_candidates.json", "entry 3: is best_of_3, and those before it are best_of_2"),
        ("unfinished.jsonl", "unfinished.jsonl:3:"),
        ("axis_evals.jsonl", "rates one summary along axes"),
    ] {
        let path = fixture("awkward").join(name);
        let (code, out, error) = status(&path, &[]);
        assert!(code == 2 && error.contains(words), "{name}: {code}: {error}");
        assert!(!error.contains("panicked") && out.contains("entries"), "{name}: {out}");
        let (code, out, _) = status(&path, &["--format", "json"]);
        let report: Value = serde_json::from_str(&out).expect("one JSON object");
        assert!(code == 2 && report["problem"].as_str().is_some_and(|p| p.contains(words)), "{name}: {report}");
        valid(&report);
    }
    let (code, _, error) = status(&fixture("no_such.json"), &[]);
    assert!(code == 2 && error.matches("no_such.json").count() == 1, "{error}");
    let (code, _, error) = status(&fixture("make_labels.py"), &[]);
    assert!(code == 2 && error.contains("is this the right file, in the right format?"), "{error}");
    let (code, _, error) = status(&fixture("comparisons.jsonl"), &["--split", "test"]);
    assert!(code == 2 && error.contains("there are train ("), "{error}");
    let (code, _, error) = status(&fixture("sentiment.json"), &["--label-format", "summarize_from_feedback"]);
    assert!(code == 2 && error.contains("40 of 40 entries are malformed"), "{error}");
}

#[test]
fn a_folder_is_read_as_one_and_several_paths_apart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for name in ["a.json", "b.JSON"] {
        std::fs::copy(fixture("bom.json"), dir.path().join(name)).expect("copied");
    }
    std::fs::write(dir.path().join("notes.txt"), "x").expect("written");
    let (code, out, error) = status(dir.path(), &["--format", "json"]);
    let report: Value = serde_json::from_str(&out).expect("one JSON object");
    assert_eq!((code, &report["usable"], report["files"].as_array().map(Vec::len)), (0, &6.into(), Some(2)), "{error}");
    let two = fixture("sentiment.json");
    let (code, out, _) = status(dir.path(), &[two.to_str().expect("a path"), "--format", "json"]);
    assert_eq!((code, out.lines().count()), (0, 2));
    std::fs::copy(&two, dir.path().join("c.json")).expect("copied");
    let (code, _, error) = status(dir.path(), &[]);
    assert!(code == 2 && error.contains("c.json:1:2: entry 1: is best_of_4"), "{error}");
}
