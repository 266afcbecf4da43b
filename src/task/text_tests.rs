//! The text rules of the paper's four tasks, as their presets have them: clean-up and queries of awkward documents
//! against reference values (tests/fixtures/text/make_text.py), and where responses end. Other files of that script can
//! be named with RUNNER_TEXT_CASES.

use super::QueryFormat;
use super::response::{truncate, truncation_ids};
use crate::data::clean::clean;
use crate::model::tokenizer::Tokenizer;
use crate::spec::{Clean, Options, TaskSpec, load};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A document, and what the rules make of it; a cleaned text is left out where it equals the one before.
#[derive(Deserialize)]
struct Case {
    text: String,
    tldr: Option<String>,
    cnndm: Option<String>,
    /// Of sentiment and descriptiveness, TL;DR, TL;DR to a line's end, and CNN/DM, as GPT-2's ids; none where a
    /// document gives no query.
    queries: [Option<Vec<u32>>; 4],
}

fn cases() -> Vec<Case> {
    let path = std::env::var_os("RUNNER_TEXT_CASES").map(PathBuf::from);
    let path = path.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text/text.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A task as a spec that names nothing but its preset has it.
fn task(preset: &str) -> TaskSpec {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spec.toml");
    let spec = format!(
        "spec_version = 1\nname = \"x\"\nmodel = {{ size = \"124M\", weights = {{ hf = \"openai-community/gpt2\" }} }}\n\
         task = {{ preset = \"{preset}\", data = {{ hf = \"owner/name\" }} }}\n\
         labeler = {{ kind = \"recorded\", path = \"\", format = \"lm_human_preferences\" }}\n"
    );
    std::fs::write(&path, spec).unwrap();
    load(&path, &Options::default()).unwrap_or_else(|problems| panic!("{preset}: {problems:?}")).spec.task
}

#[test]
fn documents_are_cleaned_as_by_the_released_code() {
    let cases = cases();
    assert!(cases.len() > 400);
    for case in cases {
        let tldr = case.tldr.unwrap_or_else(|| case.text.clone());
        assert_eq!(clean(&case.text, Clean::Tldr), tldr, "TL;DR: {:?}", case.text);
        assert_eq!(clean(&case.text, Clean::Cnndm), case.cnndm.unwrap_or(tldr), "CNN/DM: {:?}", case.text);
        assert_eq!(clean(&case.text, Clean::None), case.text);
    }
}

#[test]
fn queries_of_the_four_tasks_are_the_released_codes() {
    let tokenizer = Tokenizer::gpt2().unwrap();
    let tldr_to_newline = TaskSpec { query_end: "\n".into(), ..task("tldr") };
    let tasks = [
        ("sentiment", 0, task("sentiment")),
        ("descriptiveness", 0, task("descriptiveness")),
        ("tldr", 1, task("tldr")),
        ("tldr to a line's end", 2, tldr_to_newline),
        ("cnndm", 3, task("cnndm")),
    ];
    for (name, index, task) in tasks {
        let format = QueryFormat::new(&task, &tokenizer).unwrap();
        let mut made = 0;
        for case in cases() {
            let found = format.queries(&case.text, &tokenizer).unwrap();
            assert!(found.len() <= 1, "{name}: {:?}", case.text);
            let query = found.into_iter().next();
            assert!(query.as_ref().is_none_or(|query| query.len() == format.width()), "{name}");
            let tokens: Option<Vec<u32>> = query.map(|query| query.into_iter().flatten().collect());
            made += usize::from(tokens.is_some());
            assert_eq!(tokens, case.queries[index], "{name}: {:?}", case.text);
        }
        assert!(made > 50, "{name}: only {made} documents give a query");
    }
}

#[test]
fn responses_end_at_the_tasks_token_and_not_before_its_index() {
    let tokenizer = Tokenizer::gpt2().unwrap();
    // launch.py: truncate_token and truncate_after. Token 628 is "\n\n", 986 is "...": neither ends a response.
    for (preset, token, after, length, near) in [
        ("sentiment", 13, 16, 24, 986),
        ("descriptiveness", 13, 16, 24, 986),
        ("tldr", 198, 55, 75, 628),
        ("cnndm", 198, 55, 75, 628),
    ] {
        let task = task(preset);
        assert_eq!((task.truncate_after, task.response_length, task.missing_score), (after, length, -1.0), "{preset}");
        let ends = truncation_ids(&task, &tokenizer).unwrap();
        let ids: Vec<usize> = ends.iter().enumerate().filter(|(_, ends)| **ends).map(|(id, _)| id).collect();
        assert_eq!(ids, [token], "{preset}");
        let truncated = |at: &[usize]| {
            let mut response = vec![near; length];
            at.iter().for_each(|i| response[*i] = token as u32);
            truncate(&response, &ends, task.truncate_after)
        };
        assert_eq!(truncated(&[]), None);
        assert_eq!(truncated(&[0, after - 1]), None, "before the index");
        assert_eq!(truncated(&[after - 1, after]), Some(after + 1), "the token stays");
        assert_eq!(truncated(&[after + 2, after + 4]), Some(after + 3), "the first one counts");
        assert_eq!(truncated(&[length - 1]), Some(length));
        assert_eq!(truncate(&[token as u32; 3], &ends, task.truncate_after), None, "shorter than the index");
        assert_eq!(truncate(&[u32::MAX; 80], &ends, task.truncate_after), None, "no token of the vocabulary");
    }
}
