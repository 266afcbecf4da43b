//! Clean-up and queries of awkward documents against reference values (tests/fixtures/text/make_text.py). Other files of
//! that script can be named with RUNNER_TEXT_CASES.

use super::clean::clean;
use super::queries::QueryFormat;
use crate::model::tokenizer::Tokenizer;
use crate::spec::{Clean, QueryRule, TaskSpec};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A document, and what the rules make of it; a cleaned text is left out where it equals the one before.
#[derive(Deserialize)]
struct Case {
    text: String,
    tldr: Option<String>,
    cnndm: Option<String>,
    /// Of the tasks in the order of [`tasks`], as GPT-2's ids; none where a document gives no query.
    queries: [Option<Vec<u32>>; 4],
}

fn cases() -> Vec<Case> {
    let path = std::env::var_os("RUNNER_TEXT_CASES").map(PathBuf::from);
    let path = path.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text/text.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Style tasks, TL;DR by the released code and by the paper, CNN/Daily Mail.
fn tasks() -> [TaskSpec; 4] {
    let excerpt = TaskSpec { query_rule: QueryRule::Excerpt, query_min_length: 1, ..TaskSpec::default() };
    let style = TaskSpec {
        clean: Clean::None,
        query_start: ".".into(),
        query_end: ".".into(),
        query_length: 64,
        ..excerpt.clone()
    };
    let tldr = TaskSpec {
        clean: Clean::Tldr,
        query_start: String::new(),
        query_end: String::new(),
        query_suffix: "\n\nTL;DR:".into(),
        query_length: 500,
        ..excerpt
    };
    let to_line_end = TaskSpec { query_end: "\n".into(), ..tldr.clone() };
    let cnndm = TaskSpec { clean: Clean::Cnndm, query_prefix: "Article:\n\n".into(), ..to_line_end.clone() };
    [style, tldr, to_line_end, cnndm]
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
fn queries_are_those_of_the_released_code() {
    let tokenizer = Tokenizer::gpt2().unwrap();
    let formats = tasks().map(|task| QueryFormat::new(&task, &tokenizer).unwrap());
    let mut found = [0; 4];
    for case in cases() {
        for (i, (format, expected)) in formats.iter().zip(&case.queries).enumerate() {
            let queries = format.queries(&case.text, &tokenizer).unwrap();
            assert!(queries.len() <= 1);
            let query: Option<Vec<u32>> = queries.first().map(|query| query.iter().flatten().copied().collect());
            assert_eq!(&query, expected, "task {i}: {:?}", case.text);
            assert!(queries.iter().all(|query| query.len() == format.width()));
            found[i] += usize::from(query.is_some());
        }
    }
    assert!(found.iter().all(|n| *n > 60), "{found:?}");
}
