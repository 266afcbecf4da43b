//! `runner math` against independent software: every fixture in fixtures/math (made by fixtures/make_math.py) through
//! the program, and wrong input of every kind. No Python is needed here.

use assert_cmd::Command;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// Results of 64-bit arithmetic: a few roundings, and the fixtures' 12 digits.
const DOUBLE: f64 = 1e-10;
/// Results of 32-bit arithmetic: a float keeps 6e-8 of its value, sums of a few hundred terms some times that.
const SINGLE: f64 = 2e-6;
/// Twenty to fifty Adam steps, each rounding parameters and both moments to 32 bits.
const STEPS: f64 = 1e-5;

fn cases(name: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/math").join(format!("{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn math(op: &str, input: &str) -> std::process::Output {
    Command::cargo_bin("runner").expect("the program").args(["math", op]).write_stdin(input).output().expect("it runs")
}

fn answer(op: &str, input: &Value) -> Value {
    let output = math(op, &input.to_string());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{op} {input}: {errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Equal but for numbers, which may differ by `tolerance` of the larger of 1 and their size.
fn compare(got: &Value, expected: &Value, tolerance: f64, path: &str) {
    match (got, expected) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().expect("f64"), b.as_f64().expect("f64"));
            assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{path}: {a} is not {b}");
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{path}: {got} is not {expected}");
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| compare(a, b, tolerance, &format!("{path}[{i}]")));
        }
        (Value::Object(a), Value::Object(b)) => {
            let keys = |o: &serde_json::Map<String, Value>| {
                let mut keys: Vec<String> = o.keys().cloned().collect();
                keys.sort();
                keys
            };
            assert_eq!(keys(a), keys(b), "{path}");
            a.iter().for_each(|(k, v)| compare(v, &b[k], tolerance, &format!("{path}.{k}")));
        }
        _ => assert_eq!(got, expected, "{path}"),
    }
}

fn check(op: &str, tolerance: f64) {
    let cases = cases(op);
    assert!(!cases.is_empty());
    for (i, case) in cases.iter().enumerate() {
        compare(&answer(op, &case["in"]), &case["out"], tolerance, &format!("{op} case {i}"));
    }
}

#[test]
fn advantages_and_rewards_per_token() {
    // Whitening divides by the deviation: where it is 1e-3 around a mean of 5, the output's own size is 1 to 5 and
    // statistics are 64-bit, so only the inputs' and outputs' last digit is lost.
    ["whiten", "gae", "token_rewards"].iter().for_each(|op| check(op, SINGLE));
}

#[test]
fn losses() {
    ["ppo_loss", "reward_loss", "rloo_advantages", "dpo_loss"].iter().for_each(|op| check(op, SINGLE));
}

#[test]
fn adam_in_both_forms() {
    check("adam", STEPS);
}

#[test]
fn controllers_schedules_and_normalisation() {
    ["kl_controller", "reward_norm", "label_schedule", "interval", "agreement"].iter().for_each(|op| check(op, DOUBLE));
}

#[test]
fn the_optimum_and_the_best_of_n() {
    check("optimum", DOUBLE);
    check("best_of", DOUBLE);
    check("optimal_frontier", DOUBLE);
}

#[test]
fn truncation_is_exact() {
    check("truncate", 0.0);
}

#[test]
fn tokens_are_tiktokens() {
    check("tokenize", 0.0);
    check("detokenize", 0.0);
}

#[test]
fn sentences_and_novelty() {
    ["sentences", "lead3", "novelty"].iter().for_each(|op| check(op, DOUBLE));
}

#[test]
fn copying_and_repetition() {
    ["copying", "copied_start", "repetition"].iter().for_each(|op| check(op, DOUBLE));
}

#[test]
fn rouge_is_rouge_scores() {
    // All through the function that evaluation calls, some through the program: a process each would take long.
    for (i, case) in cases("rouge").iter().enumerate() {
        let text = |name: &str| case["in"][name].as_str().expect("text").to_string();
        let stemmer = case["in"]["stemmer"] == json!(true);
        let got = runner::metric::rouge::rouge(&text("prediction"), &text("reference"), stemmer);
        compare(&serde_json::to_value(got).expect("JSON"), &case["out"], DOUBLE, &format!("rouge case {i}"));
        if i % 10 == 0 {
            compare(&answer("rouge", &case["in"]), &case["out"], DOUBLE, &format!("rouge case {i}"));
        }
    }
}

#[test]
fn stems_are_nltks() {
    for pair in cases("stems") {
        let (word, expected) = (pair[0].as_str().expect("text"), pair[1].as_str().expect("text"));
        assert_eq!(runner::metric::stem::stem(word), expected, "{word}");
    }
}

/// A refusal with exit code 2 whose message has all of `parts`, and nothing on standard output.
fn refused(op: &str, input: &str, parts: &[&str]) {
    let output = math(op, input);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{op} {input}: {message}");
    assert!(output.stdout.is_empty() && !message.contains("panicked"), "{op} {input}: {message}");
    parts.iter().for_each(|part| assert!(message.contains(part), "{op} {input}: {part:?} is not in {message:?}"));
}

#[test]
fn learners_are_refused_what_they_cannot_learn_from() {
    let rows = r#""scores": [1, 2, 3], "logprobs": [[0], [0], [0]], "ref_logprobs": [[0], [0], [0]], "kl_coef": 0.1"#;
    let rloo = |k: &str| format!("{{{rows}, \"samples_per_query\": {k}}}");
    refused("rloo_advantages", &rloo("1"), &["samples_per_query", "must be 2 or more"]);
    refused("rloo_advantages", &rloo("2"), &["scores: has 3 elements", "queries of 2"]);
    let dpo =
        |best: &str, lp: &str| format!(r#"{{"logprobs": {lp}, "ref_logprobs": {lp}, "best": [{best}], "beta": 0.1}}"#);
    refused("dpo_loss", &dpo("2", "[[0, 1]]"), &["best[0]: 2 is no index of 2 candidates"]);
    refused("dpo_loss", &dpo("0", "[[0]]"), &["logprobs[0]: has 1 candidates"]);
    refused(
        "dpo_loss",
        r#"{"logprobs": [[0, 1]], "ref_logprobs": [[0, 1]], "best": [0], "beta": 0}"#,
        &["beta", "above 0"],
    );
    let best = |n: &str| format!(r#"{{"scores": [[1, 2]], "values": [[1, 2]], "n": [{n}]}}"#);
    refused("best_of", &best("0"), &["n[0]: must be from 1 to 2"]);
    refused("best_of", &best("1, 3"), &["n[1]: must be from 1 to 2"]);
}

#[test]
fn malformed_input_is_refused_with_its_place() {
    refused("whiten", "{\"values\": [1,\n 2,]}", &["not JSON", "line 2:4"]);
    refused("whiten", "", &["not JSON", "line 1:0"]);
    refused("whiten", "{\"values\": [NaN], \"shift_mean\": true}", &["not JSON", "line 1:13"]);
    refused("whiten", "{\"values\": [1e999], \"shift_mean\": true}", &["out of range"]);
    refused("whiten", "{} {}", &["trailing characters"]);
    refused("whiten", "[1]", &["expected an object", "values, shift_mean"]);
    refused("tokenize", &"[".repeat(100_000), &["recursion limit"]);
    let output = Command::cargo_bin("runner")
        .expect("the program")
        .args(["math", "tokenize"])
        .write_stdin(b"{\"text\": \"\xff\"}".to_vec())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not UTF-8 from byte 10"));
}

#[test]
fn wrong_fields_are_refused_with_their_path() {
    let wrong = |op: &str, input: Value, parts: &[&str]| refused(op, &input.to_string(), parts);
    wrong("whiten", json!({"value": [[1]], "shift_mean": true}), &["value: unknown field", "did you mean `values`"]);
    wrong("whiten", json!({"values": [[1]]}), &["shift_mean: missing"]);
    wrong("whiten", json!({"values": [[1, 2], [3]], "shift_mean": true}), &["values[1]", "1 elements", "has 2"]);
    wrong("whiten", json!({"values": [[1, "x"]], "shift_mean": true}), &["values[0][1]", "a text"]);
    wrong("whiten", json!({"values": [[1, null]], "shift_mean": true}), &["values[0][1]", "null"]);
    wrong("whiten", json!({"values": [[]], "shift_mean": true}), &["values[0]: is empty"]);
    wrong("whiten", json!({"values": [], "shift_mean": true}), &["values: is empty"]);
    wrong("whiten", json!({"values": [1e39], "shift_mean": true}), &["values[0]", "32-bit"]);
    wrong("whiten", json!({"values": [1], "shift_mean": 1}), &["shift_mean: expected true or false"]);
    let gae = |values: Value| json!({"rewards": [[1, 2]], "values": values, "gamma": 1, "lam": 1});
    wrong("gae", gae(json!([[1]])), &["values: has shape [1][1]", "rewards has [1][2]"]);
    wrong("gae", gae(json!([1, 2])), &["values"]);
    wrong("reward_loss", json!({"rewards": [[1, 2]], "best": [2]}), &["best[0]", "2 is no index of 2"]);
    wrong("reward_loss", json!({"rewards": [[1, 2]], "best": [-1]}), &["best[0]", "from 0 on"]);
    wrong("reward_loss", json!({"rewards": [[1, 2]], "best": [0, 0]}), &["best: has 2 elements"]);
    wrong("reward_norm", json!({"mean": 0, "std": 0, "target_mean": 0, "target_std": 1}), &["std: must be above 0"]);
    wrong("detokenize", json!({"ids": [0, 50257]}), &["ids[1]", "50256"]);
    wrong("detokenize", json!({"ids": [1.5]}), &["ids[0]", "whole number"]);
    wrong("interval", json!({"wins": 3, "n": 2}), &["wins: 3 is more than n = 2"]);
    wrong("agreement", json!({"answers": [[1, null], [null, 2]]}), &["no item has two answers"]);
    wrong("agreement", json!({"answers": [[1, 2], [1]]}), &["answers[1]"]);
    wrong("label_schedule", json!({"initial": 1, "total": 2, "episodes": 9, "at": [0, 10]}), &["at[1]"]);
    let frontier = |logprobs: Value, writers: Value| json!({"rewards": [[1, 2]], "logprobs": logprobs, "writers": writers, "betas": [1]});
    wrong("optimal_frontier", frontier(json!([[[-1], [-2]]]), json!([0, 1])), &["writers[1]: 1 is no writer"]);
    wrong("optimal_frontier", frontier(json!([[[-1]]]), json!([0, 0])), &["logprobs[0]: has shape [1][1]"]);
    wrong("optimal_frontier", frontier(json!([[[-1], [-2, 1]]]), json!([0, 0])), &["logprobs[0][1]: has 2 elements"]);
    wrong("optimal_frontier", frontier(json!([[[-1], [-2]], [[0], [0]]]), json!([0, 0])), &["logprobs: has 2 queries"]);
    wrong("optimal_frontier", frontier(json!([[[-1], [-2]]]), json!([0])), &["writers: has 1 elements"]);
    wrong("optimum", json!({"rewards": [[1, 2]], "betas": [0]}), &["betas[0]: must be above 0"]);
    wrong("copying", json!({"source": "a"}), &["summary: missing"]);
    wrong("copying", json!({"source": 1, "summary": "a"}), &["source: expected a text, got a number"]);
    let start = |preamble: &str| json!({"source": "a", "summary": "b", "preamble": preamble});
    wrong("copied_start", start("greetings"), &["preamble: expected greeting or colon"]);
    wrong("repetition", json!({"texts": []}), &["texts: is empty"]);
    wrong("repetition", json!({"texts": ["a", null]}), &["texts[1]: expected a text, got null"]);
    wrong("repetition", json!({"texts": "a"}), &["texts: expected a list, got a text"]);
    let kl =
        |gain: Value| json!({"schedule": "adaptive", "init": 1, "target": 6, "gain": gain, "horizon": 9, "kls": [1]});
    wrong("kl_controller", kl(json!(0.1)), &["gain: given beside horizon"]);
    wrong("kl_controller", json!({"schedule": "adaptive", "init": 1, "kls": [1]}), &["target: missing"]);
    wrong(
        "kl_controller",
        json!({"schedule": "adaptiv", "init": 1, "kls": [1]}),
        &["schedule", "constant or adaptive"],
    );
    let adam = |form: &str, lrs: Value| json!({"params": [1], "grads": [[1], [2]], "lrs": lrs, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-5, "form": form});
    wrong("adam", adam("keras", json!([1, 1])), &["form: expected tensorflow or torch"]);
    wrong("adam", adam("torch", json!([1])), &["lrs: has 1 elements, but grads has 2"]);
}

#[test]
fn overflow_is_an_error_and_no_null() {
    let ppo = json!({
        "logprobs": [[1000.0]], "old_logprobs": [[0.0]], "advantages": [[-1.0]], "values": [[0.0]], "old_values": [[0.0]],
        "returns": [[0.0]], "cliprange": 0.2, "cliprange_value": 0.2, "vf_coef": 0.1,
    });
    refused("ppo_loss", &ppo.to_string(), &["loss: this result is not finite"]);
}

#[test]
fn operations_are_listed_and_the_nearest_is_suggested() {
    let help = Command::cargo_bin("runner").expect("the program").args(["math", "--help"]).output().expect("it runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for op in fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/math")).expect("fixtures") {
        let file = op.expect("a file").file_name().to_string_lossy().into_owned();
        let op = file.trim_end_matches(".json");
        assert!(op == "stems" || help.contains(&format!("  {op} {{")), "{op} is not in the help");
    }
    refused("whitten", "{}", &["whiten"]);
}
