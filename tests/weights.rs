//! Model directories from outside: `runner logprobs` against transformers' numbers (tests/fixtures/make_weights.py) on
//! every layout and number type, `runner sample`, and damaged or unsuitable files, each refused by name.

use assert_cmd::Command;
use predicates::prelude::*;
use runner::model::LanguageModel;
use runner::model::device::cpu;
use runner::model::sampling::logprobs_of_pairs;
use runner::model::weights::{load_gpt2, load_scalar, save_gpt2, save_scalar};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Float32 rounding at these logits (up to about 10) is 1e-6 to 1e-5; a mistake is above 1e-2.
const TOLERANCE: f64 = 5e-5;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights")
}

fn runner(command: &str, model: &Path) -> Command {
    let mut c = Command::cargo_bin("runner").expect("the program");
    c.env_remove("RUST_LOG").args([command, "--device", "cpu", "--model"]).arg(model);
    c
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    text.lines().map(|l| serde_json::from_str(l).expect("a JSON line")).collect()
}

/// Log-probabilities of a file of pairs, or of lines on standard input.
fn logprobs(model: &Path, input: &str, temperature: &str) -> Vec<Vec<f64>> {
    let mut command = runner("logprobs", model);
    command.args(["--temperature", temperature]);
    if input.ends_with(".jsonl") {
        command.arg("--input").arg(fixtures().join(input));
    } else {
        command.args(["--input", "-"]).write_stdin(input.to_string());
    }
    let output = command.assert().success().get_output().stdout.clone();
    let numbers = |v: &Value| v.as_array().expect("a list").iter().map(|p| p.as_f64().expect("a number")).collect();
    lines(&output).iter().map(|l| numbers(&l["logprobs"])).collect()
}

fn expected(model: &str, temperature: &str) -> Vec<Vec<f64>> {
    let text = fs::read_to_string(fixtures().join("expected.json")).expect("expected values");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    serde_json::from_value(all[model][temperature].clone()).expect("numbers")
}

fn assert_close(ours: &[Vec<f64>], theirs: &[Vec<f64>], what: &str) {
    let lengths = |rows: &[Vec<f64>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(lengths(ours), lengths(theirs), "{what}");
    for (a, b) in ours.concat().iter().zip(theirs.concat()) {
        assert!((a - b).abs() < TOLERANCE, "{what}: {a} and {b}");
    }
}

/// A copy of a fixture that a test may damage.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for entry in fs::read_dir(fixtures().join(name)).expect("the fixture") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copied");
    }
    dir
}

type Raw = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Rewrites a safetensors file.
fn edit(path: &Path, change: impl FnOnce(&mut Raw)) {
    let bytes = fs::read(path).expect("the file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut raw: Raw =
        file.iter().map(|(n, v)| (n.to_string(), (v.dtype(), v.shape().to_vec(), v.data().to_vec()))).collect();
    change(&mut raw);
    let views = raw.iter().map(|(n, (t, s, b))| (n, TensorView::new(*t, s.clone(), b).expect("a tensor")));
    fs::write(path, safetensors::serialize(views, None).expect("serialized")).expect("written");
}

/// Exit code 2 and a message that holds all of `parts`.
fn assert_refused(model: &Path, parts: &[&str]) {
    let mut assert = runner("logprobs", model).arg("--input").arg(fixtures().join("ids.jsonl")).assert().code(2);
    for part in parts {
        assert = assert.stderr(predicate::str::contains(*part));
    }
    assert.stdout("");
}

#[test]
fn text_and_ids_of_all_lengths_have_the_log_probabilities_of_transformers() {
    for temperature in ["1.0", "0.7"] {
        let ours = logprobs(&fixtures().join("base"), "pairs.jsonl", temperature);
        assert_close(&ours, &expected("base", temperature), temperature);
    }
}

#[test]
fn padding_in_a_batch_changes_nothing_that_matters() {
    let text = fs::read_to_string(fixtures().join("pairs.jsonl")).expect("pairs");
    let alone: Vec<Vec<f64>> = text.lines().flat_map(|line| logprobs(&fixtures().join("base"), line, "1.0")).collect();
    assert_close(&alone, &expected("base", "1.0"), "each line alone");
}

#[test]
fn every_layout_and_number_type_is_read() {
    for name in ["sharded", "plain", "with_head", "float16", "bfloat16"] {
        assert_close(&logprobs(&fixtures().join(name), "ids.jsonl", "1.0"), &expected(name, "1.0"), name);
    }
}

#[test]
fn files_longer_than_a_batch_keep_their_order() {
    let line = |i: u32| json!({ "query": [i % 300, 7], "response": vec![i % 290; (i % 5 + 1) as usize] }).to_string();
    let base = fixtures().join("base");
    let text: String = (0..1100).map(|i| line(i) + "\n").collect();
    let all = logprobs(&base, &text, "1.0");
    assert_eq!(all.len(), 1100);
    for i in [0, 513, 1099] {
        assert_close(&all[i..=i], &logprobs(&base, &line(i as u32), "1.0"), "one line of many");
    }
}

#[test]
fn wrong_lines_are_named_and_what_came_before_is_written() {
    let good = r#"{"query": [1, 2], "response": [3]}"#;
    for (line, message) in [
        (r#"{"query": [1], "response": [3]"#, ":2:30: not JSON: EOF while parsing an object"),
        ("", ":2: is blank, but more lines follow"),
        (r#"{"query": [1]}"#, ":2: `response` is missing"),
        (r#"{"query": 5, "response": [3]}"#, ":2: `query` is neither text nor a list of token ids"),
        (r#"{"query": [1], "response": [-3]}"#, ":2: `response` holds something that is not a token id"),
        (r#"{"query": [1], "response": []}"#, ":2: `response` is empty"),
        (r#"{"query": "", "response": [3]}"#, ":2: `query` is empty"),
        (r#"{"query": [1], "response": [300]}"#, ":2: `response`: token 300 is outside the model's vocabulary of 300"),
        (
            &json!({ "query": vec![1; 60], "response": vec![1; 5] }).to_string(),
            ":2: query and response have 65 tokens (60 + 5); the model's context is 64",
        ),
    ] {
        let output = runner("logprobs", &fixtures().join("base"))
            .args(["--input", "-"])
            .write_stdin(format!("{good}\n{line}\n{good}\n"))
            .assert()
            .code(2)
            .stderr(predicate::str::contains(format!("<stdin>{message}")));
        assert_eq!(lines(&output.get_output().stdout).len(), 1, "{line}");
    }
}

#[test]
fn an_output_file_appears_only_when_every_line_is_done() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (input, out) = (dir.path().join("in.jsonl"), dir.path().join("out.jsonl"));
    let run = |text: &str| {
        fs::write(&input, text).expect("written");
        runner("logprobs", &fixtures().join("base")).arg("--input").arg(&input).arg("--out").arg(&out).assert()
    };
    let wrong = run("{\"query\": [1], \"response\": [3]}\nnothing\n").code(2).stdout("");
    wrong.stderr(predicate::str::contains(format!("{}:2:", input.display())));
    assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 1, "only the input is there");
    run("{\"query\": [1], \"response\": [3]}\r\n{\"query\": [1], \"response\": [3]}").success().stdout("");
    let found = lines(&fs::read(&out).expect("the output"));
    assert!(found.len() == 2 && found[0] == found[1]);
}

#[test]
fn usage_mistakes_are_exit_code_2() {
    let base = fixtures().join("base");
    runner("logprobs", &base)
        .args(["--input", "/nowhere.jsonl"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("/nowhere.jsonl"));
    runner("logprobs", &base).args(["--input", "-", "--temperature", "0"]).assert().code(2);
    runner("sample", &base).args(["--prompt", "a", "--temperature", "nan"]).assert().code(2);
    runner("sample", &base)
        .args(["--prompt", "a", "--length", "64"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("context of 64"));
    runner("sample", Path::new("/nowhere"))
        .args(["--prompt", "a"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("/nowhere"));
    let mut wrong_device = Command::cargo_bin("runner").expect("the program");
    wrong_device.args(["logprobs", "--input", "-", "--device", "tpu", "--model"]).arg(&base).assert().code(2);
}

#[test]
fn samples_repeat_and_have_the_log_probabilities_of_a_full_pass() {
    let base = fixtures().join("base");
    let sample = |k: &str, seed: &str| {
        let mut command = runner("sample", &base);
        command.args(["--prompt", "The cat", "-k", k, "--length", "20", "--temperature", "0.7", "--seed", seed]);
        let output = command.args(["--format", "json"]).assert().success().get_output().stdout.clone();
        (lines(&output), String::from_utf8(output).expect("UTF-8"))
    };
    let (five, text) = sample("5", "3");
    assert_eq!(five.len(), 5);
    assert_eq!(text, sample("5", "3").1);
    assert_ne!(five[0]["response"], five[1]["response"]);
    assert_ne!(five[0]["response"], sample("1", "4").0[0]["response"]);
    // The first samples are the same however many are drawn.
    assert_eq!(five[0]["response"], sample("1", "3").0[0]["response"]);
    assert_eq!(sample("33", "3").0[4]["response"], five[4]["response"]);
    let full = logprobs(&base, &text, "0.7");
    let cached: Vec<Vec<f64>> =
        five.iter().map(|s| serde_json::from_value(s["logprobs"].clone()).expect("numbers")).collect();
    assert_close(&full, &cached, "cached sampling and full pass");
    let plain = runner("sample", &base).args(["--prompt", "", "--length", "5"]).assert().success();
    assert!(!plain.get_output().stdout.is_empty());
}

#[test]
fn damaged_weights_are_refused_with_file_and_tensor() {
    let file = "model.safetensors";
    let tensor = "transformer.h.0.mlp.c_fc.weight";
    let damaged = |change: &dyn Fn(&Path), parts: &[&str]| {
        let dir = copy("base");
        change(&dir.path().join(file));
        assert_refused(dir.path(), &[&[file], parts].concat());
    };
    let cut = |keep: usize| move |p: &Path| fs::write(p, &fs::read(p).expect("read")[..keep]).expect("written");
    damaged(&cut(100_000), &["tensor `", "truncated"]);
    damaged(&cut(300), &["header is longer than the file"]);
    damaged(&cut(3), &["no header"]);
    damaged(&cut(0), &["no header"]);
    damaged(&|p| fs::write(p, b"\x10\0\0\0\0\0\0\0{\"not\": \"closed\" ").expect("written"), &["header"]);
    damaged(
        &|p| fs::write(p, [fs::read(p).expect("read"), vec![0; 4]].concat()).expect("written"),
        &["4 bytes follow"],
    );
    damaged(&|p| edit(p, |t| drop(t.remove(tensor))), &["`h.0.mlp.c_fc.weight` is missing"]);
    damaged(
        &|p| edit(p, |t| drop(t.insert("transformer.h.2.ln_1.bias".into(), (Dtype::F32, vec![1], vec![0; 4])))),
        &["`h.2.ln_1.bias` does not belong to this model"],
    );
    damaged(
        &|p| edit(p, |t| t.get_mut(tensor).expect("it").1 = vec![128, 32]),
        &["`h.0.mlp.c_fc.weight` has shape [128, 32]; expected [32, 128]"],
    );
    damaged(&|p| edit(p, |t| t.get_mut(tensor).expect("it").0 = Dtype::I32), &["c_fc.weight` has type I32"]);
    damaged(
        &|p| {
            edit(p, |t| {
                let mut head = t["transformer.wte.weight"].clone();
                head.2[5] ^= 1;
                t.insert("lm_head.weight".into(), head);
            });
        },
        &["`lm_head.weight` differs from wte.weight"],
    );
    damaged(&|p| fs::remove_file(p).expect("removed"), &["is not there"]);
}

#[test]
fn damaged_shards_are_refused_with_their_names() {
    let shard = |dir: &Path| -> PathBuf {
        let text = fs::read_to_string(dir.join("model.safetensors.index.json")).expect("the index");
        let index: Value = serde_json::from_str(&text).expect("JSON");
        dir.join(index["weight_map"]["transformer.h.0.ln_1.weight"].as_str().expect("a name"))
    };
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().to_string();
    let dir = copy("sharded");
    edit(&shard(dir.path()), |t| drop(t.remove("transformer.h.0.ln_1.weight")));
    assert_refused(dir.path(), &[&name(&shard(dir.path())), "`transformer.h.0.ln_1.weight` is missing"]);
    let dir = copy("sharded");
    edit(&shard(dir.path()), |t| drop(t.insert("stray".into(), (Dtype::F32, vec![1], vec![0; 4]))));
    assert_refused(dir.path(), &[&name(&shard(dir.path())), "`stray`", "does not list it"]);
    let dir = copy("sharded");
    fs::remove_file(shard(dir.path())).expect("removed");
    assert_refused(dir.path(), &[&name(&shard(dir.path()))]);
    let dir = copy("sharded");
    fs::write(dir.path().join("model.safetensors.index.json"), r#"{"weight_map": {"a": "../x.safetensors"}}"#)
        .expect("written");
    assert_refused(dir.path(), &["model.safetensors.index.json", "not a file name"]);
}

#[test]
fn configs_that_we_do_not_compute_are_refused() {
    for (key, value) in [
        ("model_type", json!("llama")),
        ("activation_function", json!("relu")),
        ("scale_attn_by_inverse_layer_idx", json!(true)),
        ("n_head", json!(5)),
    ] {
        let dir = copy("base");
        let path = dir.path().join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).expect("config")).expect("JSON");
        config[key] = value;
        fs::write(&path, config.to_string()).expect("written");
        assert_refused(dir.path(), &["config.json", key]);
    }
}

#[test]
fn a_model_written_and_read_again_is_the_same() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let device = cpu().device;
    // `plain` has its own LayerNorm epsilon.
    for name in ["base", "plain", "bfloat16"] {
        let model = load_gpt2(&fixtures().join(name), &device).expect("a model");
        let copy = dir.path().join(name);
        save_gpt2(&copy, &model, 299).expect("written");
        let again = load_gpt2(&copy, &device).expect("a model");
        let pairs = [(vec![1, 2, 3], vec![4, 5]), (vec![299], vec![0])];
        let logprobs = |m| logprobs_of_pairs(m, &pairs, 1.0).expect("log-probabilities");
        assert_eq!(logprobs(&model), logprobs(&again), "{name}");
    }
}

#[test]
fn a_git_lfs_pointer_is_called_one() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abab\nsize 548105171\n";
    for name in ["model.safetensors", "config.json"] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for file in ["config.json", "model.safetensors"] {
            fs::copy(fixtures().join("base").join(file), dir.path().join(file)).expect("copied");
        }
        fs::write(dir.path().join(name), pointer).expect("written");
        assert_refused(dir.path(), &[name, "git-lfs pointer, not the file of 548105171 bytes", "git lfs pull"]);
    }
}

#[test]
fn a_scalar_model_has_the_names_and_shapes_of_sequence_classification() {
    use burn::tensor::{Tensor, TensorData};
    use runner::model::gpt2::{ScalarHead, ScalarModel};
    use runner::model::sampling::to_vec;
    let device = cpu().device;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut head = ScalarHead::init(32, 0.2, 5, &device);
    head.bias = Tensor::from_data(TensorData::new(vec![0.25f32], [1]), &device);
    let model = ScalarModel { trunk: load_gpt2(&fixtures().join("base"), &device).expect("a model"), head };
    save_scalar(dir.path(), &model, 299).expect("written");
    let bytes = fs::read(dir.path().join("model.safetensors")).expect("the file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    assert_eq!(file.tensor("score.weight").expect("the head").shape(), [1, 32]);
    assert_eq!(file.tensor("transformer.wte.weight").expect("the embedding").shape(), [300, 32]);
    let again = load_scalar(dir.path(), &device).expect("a model");
    let rows = [vec![None, Some(3), Some(7)], vec![Some(1), Some(2), None]];
    let batch = model.trunk.batch(&rows).expect("known ids");
    let score = |m: &ScalarModel| to_vec(m.score(&batch)).expect("scores");
    assert_eq!(score(&model), score(&again));
    // A reward model is not a language model.
    assert_refused(dir.path(), &["model.safetensors", "`score.", "reward model"]);
}
