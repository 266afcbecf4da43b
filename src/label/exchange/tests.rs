//! Imports into a batch by hand: places of what is wrong, and which of several answers counts.

use super::*;
use crate::label::batch::read::{answers, items};
use serde_json::{Value, json};
use std::fs;

/// The batch `r` of two items with four candidates.
fn batch() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let candidate = |text: &str| json!({ "text": text, "source": "policy" });
    let item = |id: &str| {
        json!({ "id": id, "query": { "text": "=1+1" }, "order": [2, 0, 1, 3],
                "candidates": [candidate("zero"), candidate("-one"), candidate("two"), candidate("'@three")] })
    };
    let head = json!({ "batch_version": 1, "id": "r", "purpose": "training", "items": 2, "labelers_per_item": 1, "spec": "s",
        "spec_hash": "", "policy_hash": "", "tokenizer_hash": "", "update": 0, "temperature": 0.7, "seed": 1,
        "instructions": "", "instructions_version": "", "created_at": "2026-01-01T00:00:00Z" });
    fs::create_dir_all(dir.path().join("r")).unwrap();
    fs::write(dir.path().join("r/batch.json"), head.to_string()).unwrap();
    fs::write(dir.path().join("r/items.jsonl"), format!("{}\n{}\n", item("r-0"), item("r-1"))).unwrap();
    dir
}

fn import_text(dir: &Path, name: &str, text: &str, format: Format) -> Result<Imported, String> {
    let file = dir.join(name);
    fs::write(&file, text).unwrap();
    let options = Importing { labeler: None, name: Some("tool".into()) };
    import(&file, format, &dir.join("r"), &options).map_err(|e| e.to_string())
}

/// Item, labeler and choice of the answers that count.
fn counted(dir: &Path) -> Vec<(String, String, Option<usize>)> {
    let all = answers(dir, "r", &items(dir, "r").unwrap()).unwrap();
    assert!(all.problems.is_empty(), "{:?}", all.problems);
    all.counted.into_iter().map(|a| (a.item, a.labeler, a.best)).collect()
}

#[test]
fn lines_of_a_csv_are_those_of_an_editor() {
    let dir = batch();
    for end in ["\n", "\r\n"] {
        let text =
            ["item,query,best,labeler", "r-0,\"two", "lines\",e,ada", "r-1,q,7,ada", "r-2,q,a,ada", ""].join(end);
        let message = import_text(dir.path(), "bad.csv", &text, Format::Csv).unwrap_err();
        assert!(message.contains("bad.csv:2:1: `best`: \"e\" is not one of a to d, or 1 to 4"), "{message}");
        assert!(message.contains("line 4: `best`: \"7\"") && message.contains("line 5: item \"r-2\""), "{message}");
    }
}

#[test]
fn candidates_are_called_as_on_the_page_or_by_letters() {
    let dir = batch();
    let text = "item;best;labeler\nr-0;1;ada\nr-1;D;'=ada\n";
    let done = import_text(dir.path(), "x.csv", text, Format::Csv).unwrap();
    assert_eq!((done.answers, done.new, done.report.kept), (2, 2, 2));
    let wanted = [("r-0", "ada", Some(2)), ("r-1", "=ada", Some(3))];
    assert_eq!(counted(dir.path()), wanted.map(|(i, l, b)| (i.to_string(), l.to_string(), b)));
}

#[test]
fn an_exported_csv_holds_no_formulas_and_comes_back() {
    let dir = batch();
    import_text(dir.path(), "x.csv", "item,best,labeler,note\nr-0,a,'=ada,'+1\nr-1,b,bob,\n", Format::Csv).unwrap();
    let mut out = Vec::new();
    export(dir.path(), Format::Csv, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains(",'=1+1,two,zero,'-one,''@three,a,'=ada,,'+1"), "{text}");
    let again = import_text(dir.path(), "again.csv", &text, Format::Csv).unwrap();
    assert_eq!((again.answers, again.new), (2, 0));
    assert_eq!(again.report.dropped.get("known already"), Some(&2));
}

fn annotated(choices: &[(&str, &str)]) -> String {
    let annotation = |(choice, at): &(&str, &str)| -> Value {
        let value = json!({ "choices": [choice] });
        json!({ "completed_by": "ada", "updated_at": at, "created_at": "2026-01-01T00:00:00Z",
                "result": [{ "type": "choices", "from_name": "best", "value": value }] })
    };
    json!([{ "data": { "item": "r-0" }, "annotations": choices.iter().map(annotation).collect::<Vec<_>>() }])
        .to_string()
}

#[test]
fn the_newest_annotation_counts_and_not_the_last_in_the_file() {
    let dir = batch();
    let of = |choice: usize| vec![("r-0".to_string(), "ada".to_string(), Some(choice))];
    let newest_first = annotated(&[("a", "2026-01-03T10:00:00.5+01:00"), ("b", "2026-01-02T10:00:00Z")]);
    import_text(dir.path(), "x.json", &newest_first, Format::LabelStudio).unwrap();
    assert_eq!(counted(dir.path()), of(2));
    // An export from before brings an answer that nobody knew, and that is older.
    let old =
        import_text(dir.path(), "y.json", &annotated(&[("c", "2026-01-01T10:00:00Z")]), Format::LabelStudio).unwrap();
    assert_eq!((old.new, old.report.dropped.get("older than the labeler's last answer")), (0, Some(&1)));
    assert_eq!(counted(dir.path()), of(2));
    import_text(dir.path(), "z.json", &annotated(&[("d", "2026-01-04T10:00:00Z")]), Format::LabelStudio).unwrap();
    assert_eq!(counted(dir.path()), of(3));
}

#[test]
fn of_two_tools_the_newest_answer_counts() {
    let dir = batch();
    let answer = |best: usize, at: &str| json!({ "item": "r-0", "best": best, "labeler": "ada", "answered_at": at });
    fs::write(dir.path().join("r/answers-a.jsonl"), format!("{}\n", answer(0, "2026-01-02T00:00:00Z"))).unwrap();
    fs::write(dir.path().join("r/answers-b.jsonl"), format!("{}\n", answer(1, "2026-01-03T00:00:00Z"))).unwrap();
    fs::write(dir.path().join("r/answers-c.jsonl"), format!("{}\n", answer(2, "2026-01-01T00:00:00Z"))).unwrap();
    assert_eq!(counted(dir.path()), [("r-0".to_string(), "ada".to_string(), Some(1))]);
}
