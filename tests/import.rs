//! `runner import tensorflow` on checkpoints that TensorFlow itself wrote
//! (tests/fixtures/tensorflow/make_tensorflow.py, which also says with which versions): every tensor bit for bit,
//! log-probabilities, values and rewards as TensorFlow computes them, and every kind of damage refused by its place.

use assert_cmd::Command;
use runner::model::LanguageModel;
use runner::model::device::cpu;
use runner::model::sampling::{logprobs, to_vec};
use runner::model::tokenizer::Tokenizer;
use runner::model::weights::{load_gpt2, load_scalar};
use runner::rlhf::reward::Normalization;
use runner::tensorflow::{Bundle, Checkpoint, ScopeKind, import};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// Both sides compute in 32 bits; sums in another order differ by some 1e-7 at these sizes.
const TOLERANCE: f64 = 1e-5;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn fixtures() -> PathBuf {
    root().join("tests/fixtures/tensorflow")
}

fn expected() -> Value {
    let text = fs::read_to_string(fixtures().join("expected.json")).expect("expected values");
    serde_json::from_str(&text).expect("JSON")
}

/// The prefix of a fixture's files.
fn prefix(name: &str) -> PathBuf {
    let at = match name {
        "runs/test/policy" => "checkpoints/model.ckpt-3",
        "runs/test/reward_model" => "checkpoints/model.ckpt",
        _ => "model.ckpt",
    };
    fixtures().join(name).join(at)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("the fixture").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => {
                fs::copy(entry.path(), target).expect("copied");
            }
        }
    }
}

/// A copy of a fixture that a test may damage.
fn damaged(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    copy(&fixtures().join(name), dir.path());
    dir
}

/// Imports into a directory of its own.
fn imported(from: &Path, scope: Option<&str>) -> Result<(tempfile::TempDir, ScopeKind), String> {
    let to = tempfile::tempdir().expect("a directory");
    let done = Checkpoint::open(from).and_then(|checkpoint| import(&checkpoint, scope, to.path()));
    done.map(|imported| (to, imported.kind)).map_err(|e| e.to_string())
}

fn refusal(from: &Path) -> String {
    imported(from, None).map(|_| ()).expect_err("a refusal")
}

#[test]
fn every_tensor_is_what_tensorflow_reads_bit_for_bit() {
    let all = expected();
    let mut compared = 0;
    for (name, tensors) in all["tensors"].as_object().expect("fixtures") {
        let bundle = Bundle::open(&prefix(name)).expect(name);
        for (tensor, known) in tensors.as_object().expect("tensors") {
            let shape: Vec<usize> = serde_json::from_value(known["shape"].clone()).expect("a shape");
            assert_eq!(bundle.get(tensor).expect(tensor).shape, shape, "{name} {tensor}");
            let bytes: Vec<u8> = bundle.read(tensor).expect(tensor).iter().flat_map(|v| v.to_le_bytes()).collect();
            let sum: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(Some(sum.as_str()), known["sha256"].as_str(), "{name} {tensor}");
            compared += 1;
        }
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn an_imported_model_holds_the_checkpoints_numbers() {
    let bundle = Bundle::open(&prefix("runs/test/policy")).expect("a checkpoint");
    let (dir, kind) = imported(&fixtures().join("runs/test/policy"), None).expect("imported");
    assert_eq!(kind, ScopeKind::Policy);
    let model = load_gpt2(dir.path(), &cpu().device).expect("a model");
    let ours = |weight: burn::tensor::Tensor<2>| {
        let n: usize = weight.dims().iter().product();
        to_vec(weight.reshape([n])).expect("numbers")
    };
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let theirs = |name: &str| bits(bundle.read(name).expect(name));
    assert_eq!(bits(ours(model.wte.clone())), theirs("policy/model/wte"));
    assert_eq!(bits(ours(model.blocks[1].c_attn.weight.clone())), theirs("policy/model/h1/attn/c_attn/w"));
    assert_eq!(bits(ours(model.blocks[0].mlp_proj.weight.clone())), theirs("policy/model/h0/mlp/c_proj/w"));
    // The other models of the same checkpoint, by name.
    let (reference, kind) = imported(&fixtures().join("runs/test/policy"), Some("ref_policy")).expect("imported");
    assert_eq!(kind, ScopeKind::Policy);
    let reference = load_gpt2(reference.path(), &cpu().device).expect("a model");
    assert_eq!(bits(ours(reference.wte)), theirs("ref_policy/model/wte"));
    assert_eq!(
        imported(&prefix("runs/test/policy"), Some("reward_model/")).expect("imported").1,
        ScopeKind::RewardModel
    );
    // Half the precision is exact in 32 bits; shards and Snappy change nothing.
    for name in ["half", "bfloat16", "snappy", "sharded", "gpt2"] {
        let (dir, kind) = imported(&fixtures().join(name), None).expect(name);
        assert_eq!(kind, ScopeKind::LanguageModel);
        let wpe = load_gpt2(dir.path(), &cpu().device).expect(name).wpe;
        assert_eq!(bits(ours(wpe)), bits(Bundle::open(&prefix(name)).expect(name).read("model/wpe").expect(name)));
    }
}

/// Rows of tokens; `null` is padding.
fn rows(value: &Value) -> Vec<Vec<Option<u32>>> {
    serde_json::from_value(value.clone()).expect("rows")
}

fn numbers(value: &Value) -> Vec<f64> {
    match value.as_array() {
        Some(all) => all.iter().flat_map(numbers).collect(),
        None => vec![value.as_f64().expect("a number")],
    }
}

fn largest_difference(what: &str, ours: &[f32], theirs: &Value) -> f64 {
    let theirs = numbers(theirs);
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let found = ours.iter().zip(&theirs).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    eprintln!("{what}: largest difference {found:.2e} of {} numbers", ours.len());
    assert!(found < TOLERANCE, "{what}: {found}");
    found
}

/// The policy's log-probabilities and values, and the reward model's rewards, of one batch.
fn forward(what: &str, policy: &Path, reward: Option<&Path>, case: &Value) {
    let query = case["query"].as_u64().expect("a length") as usize;
    let all = rows(&case["tokens"]);
    let queries: Vec<Vec<Option<u32>>> = all.iter().map(|row| row[..query].to_vec()).collect();
    let responses: Vec<Vec<u32>> =
        all.iter().map(|row| row[query..].iter().map(|t| t.expect("a token")).collect()).collect();
    let (dir, _) = imported(policy, None).expect("a policy");
    let model = load_gpt2(dir.path(), &cpu().device).expect("a model");
    let found = logprobs(&model, &queries, &responses, expected()["temperature"].as_f64().expect("a temperature"));
    largest_difference(&format!("{what} logprobs"), &found.expect("logprobs").concat(), &case["logprobs"]);
    if case["values"].is_array() {
        let with_head = tempfile::tempdir().expect("a directory");
        fs::copy(dir.path().join("config.json"), with_head.path().join("config.json")).expect("copied");
        let weights = dir.path().join("with_value_head.safetensors");
        fs::copy(weights, with_head.path().join("model.safetensors")).expect("copied");
        let scalar = load_scalar(with_head.path(), &cpu().device).expect("a policy with its value head");
        let batch = scalar.trunk.batch(&all).expect("a batch");
        let [n, time, width] = scalar.trunk.hidden(&batch).dims();
        let hidden = scalar.trunk.hidden(&batch).slice([0..n, query - 1..time - 1, 0..width]);
        let values = scalar.head.forward(hidden.reshape([n * (time - query), width]));
        largest_difference(&format!("{what} values"), &to_vec(values).expect("values"), &case["values"]);
    }
    if let Some(reward) = reward {
        let (dir, kind) = imported(reward, None).expect("a reward model");
        assert_eq!(kind, ScopeKind::RewardModel);
        let model = load_scalar(dir.path(), &cpu().device).expect("a reward model");
        let text = fs::read_to_string(dir.path().join("reward.json")).expect("its normalisation");
        let scale: Value = serde_json::from_str(&text).expect("JSON");
        let scale: Normalization = serde_json::from_value(scale["normalization"].clone()).expect("a normalisation");
        let raw = model.score(&model.trunk.batch(&rows(&case["truncated"])).expect("a batch"));
        let rewards: Vec<f32> = to_vec(raw).expect("scores").into_iter().map(|v| scale.apply(v)).collect();
        largest_difference(&format!("{what} rewards"), &rewards, &case["rewards"]);
    }
}

#[test]
fn logprobs_values_and_rewards_are_what_tensorflow_computes() {
    let all = expected();
    let runs = fixtures().join("runs/test");
    forward("test", &runs.join("policy"), Some(&runs.join("reward_model")), &all["test"]);
    forward("gpt2", &fixtures().join("gpt2"), None, &all["gpt2"]);
    let smoke = root().join("specs/released_smoke");
    forward("smoke", &smoke.join("policy"), Some(&smoke.join("reward_model")), &all["smoke"]);
}

#[test]
fn what_cannot_be_read_is_refused_by_its_name() {
    let of = |name: &str| refusal(&fixtures().join(name));
    for (name, words) in [
        ("double", vec!["model/wpe", "float64"]),
        ("partitioned", vec!["model/wte", "partitioned"]),
        ("first_version", vec!["first version", "write_version V2"]),
        ("objects", vec!["no GPT-2", "objects"]),
        ("foreign", vec!["no GPT-2", "dense/kernel"]),
        ("runs", vec!["holds no checkpoint"]),
    ] {
        let message = of(name);
        assert!(words.iter().all(|word| message.contains(word)), "{name}: {message}");
    }
    let scope = imported(&fixtures().join("gpt2"), Some("policy")).map(|_| ()).expect_err("a refusal");
    assert!(scope.contains("\"policy\"") && scope.contains("model"), "{scope}");
}

#[test]
fn what_is_beside_a_checkpoint_is_needed_and_believed() {
    let dir = damaged("gpt2");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
    let hparams = fs::read_to_string(dir.path().join("hparams.json")).expect("hparams");
    write("hparams.json", &hparams.replace("\"n_layer\": 2", "\"n_layer\": 3"));
    assert!(refusal(dir.path()).contains("`model/h2/ln_1/g` is missing"), "{}", refusal(dir.path()));
    write("hparams.json", &hparams.replace("\"n_layer\": 2", "\"n_layer\": 1"));
    assert!(refusal(dir.path()).contains("`model/h1/"), "{}", refusal(dir.path()));
    write("hparams.json", &hparams.replace("\"n_ctx\": 8", "\"n_ctx\": 9"));
    let message = refusal(dir.path());
    assert!(message.contains("`model/wpe` has shape [8, 7]; expected [9, 7]"), "{message}");
    fs::remove_file(dir.path().join("hparams.json")).expect("removed");
    assert!(refusal(dir.path()).contains("heads"));
    write("hparams.json", &hparams);
    fs::remove_file(dir.path().join("encoder.json")).expect("removed");
    let message = refusal(dir.path());
    assert!(message.contains("27 tokens") && message.contains("encoder.json and vocab.bpe"), "{message}");
    write("checkpoint", "nothing");
    assert!(refusal(dir.path()).contains("does not name a checkpoint"));
    write("checkpoint", "model_checkpoint_path: \"model.ckpt-7\"");
    assert!(refusal(dir.path()).contains("model.ckpt-7.index: is not there"));
}

#[test]
fn a_damaged_index_is_never_taken_for_a_whole_one() {
    for name in ["gpt2", "snappy"] {
        let dir = damaged(name);
        let index = dir.path().join("model.ckpt.index");
        let whole = fs::read(&index).expect("the index");
        let known = Bundle::open(&prefix(name)).expect("a bundle");
        let mut refused = 0;
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x41;
            fs::write(&index, &bytes).expect("written");
            match Bundle::open(&dir.path().join("model.ckpt")) {
                Err(e) => {
                    refused += 1;
                    assert!(e.to_string().contains("model.ckpt.index"), "{e}");
                }
                // Padding of the footer is no part of what is said.
                Ok(found) => assert!(known.names().eq(found.names()) && at >= whole.len() - 48, "byte {at}"),
            }
            fs::write(&index, &whole[..at]).expect("written");
            assert!(Bundle::open(&dir.path().join("model.ckpt")).is_err(), "cut at {at}");
        }
        assert!(refused > whole.len() - 48, "{refused}");
    }
}

#[test]
fn damaged_data_name_the_tensor() {
    let dir = damaged("gpt2");
    let data = dir.path().join("model.ckpt.data-00000-of-00001");
    let whole = fs::read(&data).expect("the data");
    for at in (0..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&data, &bytes).expect("written");
        let message = refusal(dir.path());
        assert!(message.contains("data-00000-of-00001: tensor `model/") && message.contains("check sum"), "{message}");
    }
    fs::write(&data, &whole[..whole.len() - 1]).expect("written");
    assert!(refusal(dir.path()).contains("truncated"), "{}", refusal(dir.path()));
    fs::remove_file(&data).expect("removed");
    assert!(refusal(dir.path()).contains("which is missing"));
    let sharded = damaged("sharded");
    fs::remove_file(sharded.path().join("model.ckpt.data-00001-of-00002")).expect("removed");
    let message = refusal(sharded.path());
    assert!(message.contains("data-00001-of-00002: tensor `model/") && message.contains("missing"), "{message}");
}

/// What is wrong with the last tensor is found when files are written already.
#[test]
fn an_import_that_failed_or_was_killed_is_made_again_by_the_same_command() {
    let dir = damaged("runs/test/policy");
    let data = dir.path().join("checkpoints/model.ckpt-3.data-00000-of-00001");
    let whole = fs::read(&data).expect("the data");
    let to = tempfile::tempdir().expect("a directory");
    let model = to.path().join("model");
    let import = || import(&Checkpoint::open(dir.path()).expect("a checkpoint"), Some("policy"), &model);
    let bundle = Bundle::open(&dir.path().join("checkpoints/model.ckpt-3")).expect("a bundle");
    let head = bundle.read("policy/model/heads/value/w").expect("a head");
    let bytes: Vec<u8> = head.iter().flat_map(|v| v.to_le_bytes()).collect();
    let at = whole.windows(bytes.len()).position(|found| found == bytes).expect("its place");
    let mut wrong = whole.clone();
    wrong[at] ^= 1;
    fs::write(&data, &wrong).expect("written");
    let message = import().expect_err("a refusal").to_string();
    assert!(message.contains("heads/value/w") && !model.exists(), "{message}");
    // Killed in the middle.
    fs::write(&data, &whole).expect("written");
    fs::create_dir_all(model.join(".unfinished_import")).expect("made");
    fs::write(model.join(".unfinished_import/model.safetensors"), "half").expect("written");
    import().expect("imported");
    let mut names: Vec<_> = fs::read_dir(&model).expect("the model").flatten().map(|e| e.file_name()).collect();
    names.sort();
    assert!(names.iter().any(|n| n == "config.json") && !names.iter().any(|n| n == ".unfinished_import"), "{names:?}");
    assert!(import().is_err());
}

#[test]
fn the_command_writes_a_model_that_other_commands_read_and_overwrites_nothing() {
    let to = tempfile::tempdir().expect("a directory");
    let model = to.path().join("model");
    let runner = |args: &[&str]| {
        let mut command = Command::cargo_bin("runner").expect("the program");
        command.current_dir(root()).args(args).assert()
    };
    let import = |from: &str| runner(&["import", "tensorflow", from, "--to", &model.display().to_string()]);
    let output = import("specs/released_smoke/policy").success().get_output().stderr.clone();
    assert!(String::from_utf8_lossy(&output).contains("the policy in policy"), "{}", String::from_utf8_lossy(&output));
    let again = import("specs/released_smoke/gpt2").code(2).get_output().stderr.clone();
    assert!(String::from_utf8_lossy(&again).contains("not empty"));
    let tokenizer = Tokenizer::load(&model).expect("a tokenizer");
    assert_eq!(tokenizer.vocab(), 384);
    let text = "The dog went home. \"Ünï\"\n";
    assert_eq!(tokenizer.decode(&tokenizer.encode(text).expect("ids")).expect("text"), text);
    runner(&["sample", "--model", &model.display().to_string(), "--prompt", "The dog", "--device", "cpu"]).success();
    runner(&["import", "tensorflow", "tests/fixtures/tensorflow/foreign", "--to", "/nowhere/x"]).code(2);
}

/// The part of specs/released_models.toml that trains nothing, on models of the released form that stand in for the
/// authors'.
#[test]
fn the_suite_of_released_models_scores_what_is_given() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::cargo_bin("runner").expect("the program");
    command.current_dir(root()).env("RUNNER_CACHE", dir.path().join("cache")).env_remove("RUST_LOG");
    command.env("RUNNER_SOURCES", dir.path().join("sources")).env("HF_HUB_OFFLINE", "1");
    let out = dir.path().join("out");
    let members = ["--members", "sentiment_authors,tldr_authors", "--device", "cpu", "--no-progress", "--out"];
    command.args(["specs/released_models.toml", "--profile", "smoke"]).args(members).arg(&out).assert().success();
    let table = fs::read_to_string(out.join("tables/released_models.md")).expect("the table");
    for words in [
        "| sentiment | zero-shot: score under r of stand-in for the authors' release (given policy) |",
        "| tldr | stand-in for the authors' release (given policy): KL(π, ρ) per response, nats |",
        "| tldr | stand-in for the authors' release (given policy): words in copied spans of 4 or more, % |",
        "Left out by --members",
    ] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let home = out.join("members/sentiment_authors-seed-1");
    let scores = fs::read_to_string(home.join("tables/scores.md")).expect("a table");
    assert!(scores.contains("| main (given policy; r: given) | score under r of π |"), "{scores}");
    assert!(
        !home.join("runs/main/metrics.jsonl").exists() && home.join("runs/main/models/reward/reward.json").exists()
    );
}
