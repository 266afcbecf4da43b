//! Collecting labels from outside: rounds (batched, online) with programs that answer and with people who do not yet,
//! kills in every phase, batches and their answers, and other tools' formats.

mod common;

use assert_cmd::Command;
use common::{Place, tiny};
use predicates::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

const BATCHED: &str = "collect = { schedule = \"batched\", labels = 50, held_out = 16, rounds = 3 }\n";
const ONLINE: &str = "collect = { schedule = \"online\", labels = 60, held_out = 16, initial = 20, retrain = 4, validation_share = 0.25 }\n";

impl Place {
    /// 12 updates.
    fn new(spec: &str) -> Self {
        Self::with(&[("spec.toml", &format!("{spec}{}", tiny(96)))])
    }
    fn run(&self, more: &[&str]) -> Command {
        let mut command = self.command(&["spec.toml", "--device", "cpu", "--out", "out"]);
        command.args(more);
        command
    }
    fn of_run(&self, file: &str) -> PathBuf {
        self.path("out/runs/main").join(file)
    }
    /// Answers every question of a batch that has none yet: labelers take turns, and all like late letters.
    fn answer(&self, batch: &str, labelers: &[&str]) -> usize {
        let file = self.path(batch).join("answers.jsonl");
        let mut text = fs::read_to_string(&file).unwrap_or_default();
        let done: BTreeSet<String> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["item"].to_string()).collect();
        let mut new = 0;
        for (i, item) in lines(&self.path(batch).join("items.jsonl")).iter().enumerate() {
            if done.contains(&item["id"].to_string()) {
                continue;
            }
            let texts: Vec<&str> = item["candidates"]
                .as_array()
                .expect("candidates")
                .iter()
                .map(|c| c["text"].as_str().expect("text"))
                .collect();
            let best = (0..texts.len()).max_by_key(|c| texts[*c]).expect("some");
            let answer = json!({ "item": item["id"], "best": best, "labeler": labelers[i % labelers.len()] });
            text.push_str(&format!("{answer}\n"));
            new += 1;
        }
        fs::write(file, text).expect("written");
        new
    }
    fn drop_labeler(&self, batches: &str, labeler: &str) {
        let event =
            json!({ "labeler": labeler, "action": "drop", "by": "test", "reason": "r", "at": "2026-01-01T00:00:00Z" });
        fs::write(self.path(batches).join("labelers.jsonl"), format!("{event}\n")).expect("written");
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).expect("JSON")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

/// Metrics without the two that measure time.
fn timeless(path: &Path) -> Vec<Value> {
    let mut all = lines(path);
    for line in &mut all {
        let line = line.as_object_mut().expect("an object");
        assert!(line.remove("elapsed/time").is_some() && line.remove("elapsed/fps").is_some());
    }
    all
}

fn check(schema: &str, values: &[Value]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(schema);
    let schema = jsonschema::validator_for(&json(&file)).expect("a schema");
    assert!(!values.is_empty());
    values.iter().for_each(|v| assert!(schema.is_valid(v), "{:?} in {v}", schema.iter_errors(v).next()));
}

fn numbers(lines: &[Value], key: &str) -> Vec<f64> {
    lines.iter().filter_map(|line| line[key].as_f64()).collect()
}

/// Everything that must be the same however a run was interrupted.
fn assert_same(a: &Place, b: &Place) {
    for file in [
        "models/policy/model.safetensors",
        "models/policy/with_value_head.safetensors",
        "models/reward/model.safetensors",
        "models/reward/reward.json",
        "samples.jsonl",
        "evaluation.json",
        "rounds.json",
    ] {
        let read = |place: &Place| fs::read(place.of_run(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(read(a) == read(b), "{file} differs");
    }
    assert_eq!(timeless(&a.of_run("metrics.jsonl")), timeless(&b.of_run("metrics.jsonl")));
    let labels = |place: &Place| fs::read(place.path("out/labels/main.jsonl")).expect("labels");
    assert!(labels(a) == labels(b), "labels differ");
}

/// Finished artifacts, and lines of metrics that a watcher sees.
fn progress(place: &Place) -> (usize, usize) {
    let sealed = |e: &fs::DirEntry| e.path().join("artifact.json").exists();
    let artifacts = fs::read_dir(place.path(".cache")).map_or(0, |d| d.filter_map(Result::ok).filter(sealed).count());
    let metrics = fs::read_to_string(place.of_run("metrics.jsonl")).map_or(0, |text| text.lines().count());
    (artifacts, metrics)
}

/// Kills the run whenever an artifact is finished or two updates are done, until one comes to its end.
fn run_with_kills(place: &Place) -> usize {
    let mut kills = 0;
    loop {
        let before = progress(place);
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("runner"))
            .current_dir(place.dir())
            .env_remove("RUNNER_CACHE")
            .args(["spec.toml", "--device", "cpu", "--out", "out"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("a status") {
                assert!(status.success(), "{status}");
                return kills;
            }
            let now = progress(place);
            if now.0 > before.0 || now.1 > before.1 + 1 {
                child.kill().expect("killed");
                child.wait().expect("gone");
                kills += 1;
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(120), "no progress from {before:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn batched_rounds_are_a_chain_of_stages() {
    let place = Place::new(BATCHED);
    place.run(&[]).assert().success();
    let metrics = lines(&place.of_run("metrics.jsonl"));
    check("metrics.schema.json", &metrics);
    assert_eq!(numbers(&metrics, "elapsed/updates"), (1..=12).map(f64::from).collect::<Vec<_>>());
    // Four updates under each r; labels 17, 34 and 50.
    assert_eq!(numbers(&metrics, "labels/round"), [1., 1., 1., 1., 2., 2., 2., 2., 3., 3., 3., 3.]);
    assert_eq!(numbers(&metrics, "labels/collected")[3..9], [17., 34., 34., 34., 34., 50.]);
    // One schedule over all episodes, not one per round.
    let lrs = numbers(&metrics, "ppo/lr");
    assert!(lrs.windows(2).all(|pair| pair[1] < pair[0]) && (lrs[11] - 1e-3 / 12.0).abs() < 1e-9, "{lrs:?}");
    assert!(numbers(&metrics, "elapsed/time").windows(2).all(|pair| pair[1] > pair[0]));
    assert!(numbers(&metrics, "ppo/ratio_error").iter().all(|e| *e < 1e-4));

    let labels = lines(&place.path("out/labels/main.jsonl"));
    check("labels.schema.json", &labels);
    let of = |batch: &str| labels.iter().filter(|l| l["batch"] == batch).count();
    assert_eq!((labels.len(), of("round-0001"), of("round-0002"), of("round-0003")), (66, 17 + 16, 17, 16));
    let rounds = json(&place.of_run("rounds.json"));
    check("rounds.schema.json", std::slice::from_ref(&rounds));
    let rounds = rounds["rounds"].as_array().expect("rounds");
    assert_eq!(rounds.iter().map(|r| r["labels"].as_u64()).collect::<Vec<_>>(), [Some(17), Some(34), Some(50)]);
    assert!(rounds[0]["accuracy_before"].is_null() && rounds[1]["accuracy_before"]["n"] == 17, "{rounds:?}");
    assert!(rounds.iter().all(|r| r["accuracy"]["n"] == 16));
    let evaluation = json(&place.of_run("evaluation.json"));
    assert_eq!((&evaluation["schedule"], &evaluation["labels"]), (&json!("batched"), &json!(50)));
    assert!(
        fs::read_to_string(place.path("out/report.html")).expect("the page").contains("round 3, 50 labels: r agrees")
    );
    check("table.schema.json", &[json(&place.path("out/tables/rounds.json"))]);

    // All of it is in the cache, and the plan knows.
    place.run(&[]).assert().success();
    let stages = json(&place.path("out/manifest.json"))["stages"].as_array().cloned().expect("stages");
    let policies = stages.iter().filter(|s| s["stage"] == "policy").count();
    assert!(policies == 3 && stages.iter().all(|s| s["cached"] == true), "{stages:?}");
    let plan = place.command(&["plan", "spec.toml", "--device", "cpu", "--out", "out"]).assert().success();
    let plan = String::from_utf8_lossy(&plan.get_output().stdout).into_owned();
    assert!(plan.contains("round 3") && !plan.contains("to do") && plan.contains("cached policy-"), "{plan}");

    // What π was between two rounds may be thrown away; it is large, and nothing is made again for it.
    let first = stages.iter().find(|s| s["stage"] == "policy").expect("a policy");
    let first = place.path(".cache").join(first["key"].as_str().expect("a key"));
    fs::remove_dir_all(&first).expect("removed");
    place.run(&[]).assert().success();
    let stages = json(&place.path("out/manifest.json"))["stages"].as_array().cloned().expect("stages");
    assert!(!first.exists() && stages.iter().all(|s| s["cached"] == true), "{stages:?}");
}

#[test]
fn killed_rounds_end_with_the_same_bytes() {
    for spec in [BATCHED, ONLINE] {
        let (whole, killed) = (Place::new(spec), Place::new(spec));
        whole.run(&[]).assert().success();
        let kills = run_with_kills(&killed);
        assert!(kills >= 10, "{kills} kills");
        assert_same(&whole, &killed);
    }
}

#[test]
fn online_labels_follow_their_schedule() {
    let place = Place::new(ONLINE);
    place.run(&[]).assert().success();
    let metrics = lines(&place.of_run("metrics.jsonl"));
    check("metrics.schema.json", &metrics);
    assert_eq!(metrics.len(), 12);
    let collected = numbers(&metrics, "labels/collected");
    // r has all labels wanted by the episodes before, but for those since its last training.
    for (update, collected) in collected.iter().enumerate() {
        let left = 1.0 - update as f64 / 12.0;
        let wanted = (20.0 + 40.0 * (1.0 - left * left)).ceil();
        assert!(*collected <= wanted || update == 11, "update {update}: {collected} of {wanted}");
    }
    assert_eq!((collected[0], *collected.last().expect("some")), (20.0, 60.0));
    // 10 of the 40 later labels are validation items, and the running share of wins is logged as they come in.
    let n = numbers(&metrics, "labels/win_rate_n");
    assert!(!n.is_empty() && n.windows(2).all(|pair| pair[0] <= pair[1]) && *n.last().expect("some") == 10.0, "{n:?}");
    assert!(numbers(&metrics, "labels/win_rate").iter().all(|rate| (0.0..=1.0).contains(rate)));
    let labels = lines(&place.path("out/labels/main.jsonl"));
    assert_eq!(labels.len(), 76);
    let validation = labels.iter().filter(|l| l["batch"].as_str().is_some_and(|b| b.ends_with("-validation"))).count();
    assert_eq!(validation, 10);
    let rounds = json(&place.of_run("rounds.json"))["rounds"].as_array().cloned().expect("rounds");
    assert!(rounds.len() == 5 && rounds[4]["labels"] == 60 && rounds[4]["validations"] == 10, "{rounds:?}");
}

#[test]
fn simulated_labelers_answer_in_rounds() {
    for spec in [BATCHED, ONLINE] {
        let place = Place::new(&format!("labeler.kind = \"simulated\"\n{spec}"));
        place.run(&[]).assert().success();
        let labels = lines(&place.path("out/labels/main.jsonl"));
        assert!(labels.iter().all(|l| l["worker"].as_str().is_some_and(|w| w.starts_with("simulated-"))));
        assert!(place.path("out/labels/main_simulated.json").exists());
    }
}

const HUMAN: &str = r#"
labeler.kind = "human"
labeler.batches = "labels"
labeler.human = { gold = "gold.jsonl", gold_share = 0.25, repeat_share = 0.125 }
"#;

/// A spec with people, and gold questions beside it.
fn with_people(collect: &str) -> Place {
    let place = Place::new(&format!("{HUMAN}{collect}"));
    let candidate = |text: &str| json!({ "text": text, "source": "authors" });
    let gold: String = (0..8)
        .map(|i| {
            let candidates: Vec<Value> = ["a", "b", "c", "d"].into_iter().map(candidate).collect();
            let item = json!({ "id": format!("g{i}"), "query": { "text": "q" }, "candidates": candidates, "order": [0, 1, 2, 3], "gold": 3 });
            format!("{item}\n")
        })
        .collect();
    place.write("gold.jsonl", &gold);
    place
}

const OFFLINE: &str = "collect = { labels = 16, held_out = 8 }\n";

#[test]
fn a_run_waits_for_people_and_goes_on() {
    let place = with_people(OFFLINE);
    let waiting = place.run(&[]).assert().code(3);
    let message = String::from_utf8_lossy(&waiting.get_output().stderr).into_owned();
    for words in ["labels/round-0001 has 0 of 24 answers", "runner labels serve labels", "the same command continues"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert_eq!(json(&place.path("out/manifest.json"))["state"], "waiting");
    check("manifest.schema.json", &[json(&place.path("out/manifest.json"))]);
    let batch = json(&place.path("labels/round-0001/batch.json"));
    check("batch.schema.json", std::slice::from_ref(&batch));
    let items = lines(&place.path("labels/round-0001/items.jsonl"));
    check("items.schema.json", &items);
    assert_eq!((batch["items"].as_u64(), items.len()), (Some(33), 24 + 6 + 3));
    assert!(batch["instructions"].as_str().is_some_and(|t| t.contains("positive")));
    for item in items.iter().filter(|item| item["gold"].is_null()) {
        for candidate in item["candidates"].as_array().expect("candidates") {
            assert!(candidate["source"] == "reference" && candidate["logprob"].as_f64().expect("a number") < 0.0);
            // What people see ends where r stops reading.
            assert!(candidate["valid"] == false || candidate["text"].as_str().expect("text").contains('.'));
        }
    }
    let plan = place.command(&["plan", "spec.toml", "--device", "cpu", "--out", "out"]).assert().success();
    assert!(String::from_utf8_lossy(&plan.get_output().stdout).contains("after people's answers"));

    // Nothing changes while nobody answers, or some.
    let bytes = || {
        (
            fs::read(place.path("labels/round-0001/items.jsonl")).expect("items"),
            fs::read(place.path("labels/round-0001/batch.json")).expect("batch"),
        )
    };
    let before = bytes();
    place.answer("labels/round-0001", &["anna", "ben"]);
    let answers = place.path("labels/round-0001/answers.jsonl");
    let all = fs::read_to_string(&answers).expect("answers");
    let some: String = all.lines().take(10).map(|line| format!("{line}\n")).collect();
    fs::write(&answers, &some).expect("written");
    place
        .run(&[])
        .assert()
        .code(3)
        .stderr(predicate::str::is_match("has ([5-9]|10) of 24 answers").expect("a pattern"));
    assert!(bytes() == before);

    // One of ben's is a skip, and nothing replaces it.
    let ben =
        all.lines().position(|line| line.contains("\"ben\"") && !is_check(&items, line)).expect("an answer of ben's");
    let skipped: String = all
        .lines()
        .enumerate()
        .map(|(i, line)| {
            let answer: Value = serde_json::from_str(line).expect("JSON");
            let skip = json!({ "item": answer["item"], "skip": "unclear", "labeler": answer["labeler"] });
            format!("{}\n", if i == ben { &skip } else { &answer })
        })
        .collect();
    fs::write(&answers, skipped).expect("written");
    place.run(&[]).assert().success();
    assert_eq!(json(&place.path("out/manifest.json"))["state"], "done");
    let labels = lines(&place.path("out/labels/main.jsonl"));
    check("labels.schema.json", &labels);
    assert!(labels.len() == 23 && labels.iter().all(|l| l["batch"] == "round-0001" && l["worker"].is_string()));
    let report = json(&place.path("out/labels/main_human.json"));
    check("human.schema.json", std::slice::from_ref(&report));
    assert_eq!((report["batches"][0]["skipped"].as_u64(), report["batches"][0]["checks"].as_u64()), (Some(1), Some(9)));
    let counted: u64 = report["labelers"].as_object().expect("labelers").values().filter_map(Value::as_u64).sum();
    assert_eq!(counted, 23);
    let reward = json(&place.of_run("models/reward/reward.json"));
    assert_eq!(reward["labels"].as_u64().expect("labels") + reward["n"].as_u64().expect("n"), 23);
    assert_eq!(json(&place.of_run("evaluation.json"))["judge"], "reward");
    let stages = || json(&place.path("out/manifest.json"))["stages"].as_array().cloned().expect("stages");
    place.run(&[]).assert().success();
    assert!(stages().iter().all(|s| s["cached"] == true));

    // Without ben, r is trained again on what is left, and nobody is asked again.
    place.drop_labeler("labels", "ben");
    place.run(&[]).assert().success();
    assert!(stages().iter().filter(|s| s["cached"] == false).count() == 4, "{:?}", stages());
    let labels = lines(&place.path("out/labels/main.jsonl"));
    assert!(!labels.is_empty() && labels.len() < 23 && labels.iter().all(|l| l["worker"] == "anna"));
    let report = json(&place.path("out/labels/main_human.json"));
    assert_eq!(report["dropped"], json!(["ben"]));
    assert!(bytes() == before);
}

/// Whether an answer is to a gold item or a repeat.
fn is_check(items: &[Value], answer: &str) -> bool {
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    let item = items.iter().find(|item| item["id"] == answer["item"]).expect("an item");
    item.get("gold").is_some() || item.get("repeat_of").is_some()
}

#[test]
fn a_batch_of_another_spec_is_refused() {
    let place = with_people(OFFLINE);
    place.run(&[]).assert().code(3);
    let before = fs::read(place.path("labels/round-0001/items.jsonl")).expect("items");
    let other = ["--seed", "2", "--out", "other"];
    let mut command = place.command(&["spec.toml", "--device", "cpu"]);
    let refused = command.args(other).assert().code(2);
    let message = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    for words in ["labels/round-0001: is a batch of other questions", "seed 1", "never overwritten", "labeler.batches"]
    {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert!(fs::read(place.path("labels/round-0001/items.jsonl")).expect("items") == before);
    // How π is trained has nothing to do with what was asked about ρ.
    let mut command = place.command(&["spec.toml", "--device", "cpu", "--set", "policy.lr=1e-4", "--out", "third"]);
    command.assert().code(3);
}

/// With one directory for all seeds, the second seed's questions were refused as "a batch of other questions".
#[test]
fn every_seed_waits_for_people_in_a_directory_of_its_own() {
    let place = with_people(OFFLINE);
    let waiting = place.command(&["spec.toml", "--device", "cpu", "--seeds", "1..2"]).assert().code(3);
    let said = String::from_utf8_lossy(&waiting.get_output().stderr).into_owned();
    assert!(said.ends_with("2 waiting\n"), "{said}");
    for seed in 1..=2 {
        assert!(place.path(&format!("labels-seed-{seed}/round-0001/items.jsonl")).is_file());
    }
    assert!(!place.path("labels").exists());
}

#[test]
fn several_labelers_are_combined() {
    let place = with_people(OFFLINE);
    let settings = ["--set", "labeler.human.labelers_per_item=2", "--set", "labeler.human.combine=majority"];
    place.run(&settings).assert().code(3).stderr(predicate::str::contains("0 of 48 answers"));
    place.answer("labels/round-0001", &["anna"]);
    place.run(&settings).assert().code(3).stderr(predicate::str::contains("24 of 48 answers"));
    let answers = place.path("labels/round-0001/answers.jsonl");
    let annas = fs::read_to_string(&answers).expect("answers");
    fs::write(place.path("labels/round-0001/answers-second.jsonl"), annas.replace("anna", "ben")).expect("written");
    place.run(&settings).assert().success();
    let labels = lines(&place.path("out/labels/main.jsonl"));
    assert!(labels.len() == 24 && labels.iter().all(|l| l.get("worker").is_none()));
}

#[test]
fn people_are_asked_again_in_every_round() {
    let place = with_people("collect = { schedule = \"batched\", labels = 32, held_out = 8, rounds = 2 }\n");
    place.run(&[]).assert().code(3);
    place.answer("labels/round-0001", &["anna", "ben", "carl"]);
    place.run(&[]).assert().code(3).stderr(predicate::str::contains("round-0002 has 0 of 16 answers"));
    let batch = json(&place.path("labels/round-0002/batch.json"));
    assert_eq!(batch["update"], 6);
    assert_ne!(batch["policy_hash"], json(&place.path("labels/round-0001/batch.json"))["policy_hash"]);
    let items = lines(&place.path("labels/round-0002/items.jsonl"));
    let sources =
        |item: &Value| item["candidates"].as_array().expect("candidates").iter().all(|c| c["source"] == "policy");
    assert_eq!(items.iter().filter(|item| sources(item)).count(), 18);
    place.answer("labels/round-0002", &["anna", "ben", "carl"]);
    place.run(&[]).assert().success();
    let before = fs::read(place.path("labels/round-0002/items.jsonl")).expect("items");
    // Without carl the first r is another one, and so is the policy; what people were asked stays what it was.
    place.drop_labeler("labels", "carl");
    place.run(&[]).assert().success().stderr(predicate::str::contains("sampled from another policy"));
    assert!(fs::read(place.path("labels/round-0002/items.jsonl")).expect("items") == before);
    let labels = lines(&place.path("out/labels/main.jsonl"));
    assert!(labels.iter().all(|l| l["worker"] != "carl") && labels.iter().any(|l| l["batch"] == "round-0002"));
}

#[test]
fn online_training_waits_where_people_fall_behind() {
    let collect = "collect = { schedule = \"online\", labels = 60, held_out = 8, initial = 16, retrain = 2, validation_share = 0.25, outstanding = 10 }\n";
    let (place, killed) = (with_people(collect), with_people(collect));
    let finish = |place: &Place, impatient: bool| -> Vec<String> {
        let mut waits = Vec::new();
        loop {
            let done = place.run(&[]).output().expect("ran");
            match done.status.code() {
                Some(0) => return waits,
                Some(3) => {}
                code => panic!("{code:?}: {}", String::from_utf8_lossy(&done.stderr)),
            }
            if impatient {
                // Asking twice changes nothing.
                assert_eq!(place.run(&[]).output().expect("ran").status.code(), Some(3));
            }
            let mut batches: Vec<String> = fs::read_dir(place.path("labels"))
                .expect("batches")
                .map(|e| e.expect("a batch").file_name().to_string_lossy().into_owned())
                .collect();
            batches.sort();
            let new: Vec<String> =
                batches.into_iter().filter(|batch| place.answer(&format!("labels/{batch}"), &["anna"]) > 0).collect();
            assert!(!new.is_empty(), "it waits and asks nothing");
            waits.push(new.join(" "));
        }
    };
    let waits = finish(&place, false);
    assert!(waits.len() > 3 && waits[0] == "round-0001", "{waits:?}");
    assert!(
        waits.iter().any(|w| w.contains("-validation")) && waits.iter().any(|w| w.contains("round-0002-2")),
        "{waits:?}"
    );
    assert_eq!(finish(&killed, true), waits);
    assert_same(&place, &killed);
    let metrics = lines(&place.of_run("metrics.jsonl"));
    assert_eq!(numbers(&metrics, "elapsed/updates"), (1..=12).map(f64::from).collect::<Vec<_>>());
    assert_eq!(*numbers(&metrics, "labels/win_rate_n").last().expect("validation"), 11.0);
    let validation = lines(&place.path("labels/round-0002-validation/items.jsonl"));
    let sources: Vec<&Value> =
        validation[0]["candidates"].as_array().expect("candidates").iter().map(|c| &c["source"]).collect();
    assert!(validation[0].get("gold").is_some() || sources == ["reference", "reference", "policy", "policy"]);
}

#[test]
fn answers_go_out_to_other_tools_and_come_back() {
    let place = with_people(OFFLINE);
    place.run(&[]).assert().code(3);
    let batch = "labels/round-0001";
    place.answer(batch, &["anna", "ben"]);
    let ours = place.path(batch).join("answers.jsonl");
    // A skip, a note and a doubt travel too, as far as a format has room for them.
    let mut answers = lines(&ours);
    answers[0] = json!({ "item": answers[0]["item"], "skip": "unclear", "labeler": "anna" });
    answers[1]["note"] = json!("hard, \"very\"\nhard");
    let text: String = answers.iter().map(|a| format!("{a}\n")).collect();
    fs::write(&ours, text).expect("written");
    let said = |file: &Path, skips: bool| -> BTreeSet<String> {
        let short = |a: &Value| {
            format!("{} {} {} {}", a["item"], a["best"], if skips { &a["skip"] } else { &Value::Null }, a["labeler"])
        };
        lines(file).iter().filter(|a| skips || a["best"].is_u64()).map(short).collect()
    };
    let items = lines(&place.path(batch).join("items.jsonl"));
    let of_questions = |said: BTreeSet<String>| -> BTreeSet<String> {
        let check = |line: &String| {
            items.iter().any(|i| {
                line.starts_with(&i["id"].to_string()) && (i.get("gold").is_some() || i.get("repeat_of").is_some())
            })
        };
        said.into_iter().filter(|line| !check(line)).collect()
    };
    let (all, best) = (said(&ours, true), of_questions(said(&ours, false)));
    for (format, file, everything) in [
        ("label_studio", "tasks.json", true),
        ("csv", "rows.csv", true),
        ("summarize_from_feedback", "comparisons.jsonl", false),
        ("lm_human_preferences", "labels.json", false),
    ] {
        place.command(&["labels", "export", batch, "--format", format, "--out", file]).assert().success();
        // Into the same batch where nobody has answered yet.
        let empty = place.path(&format!("empty-{format}/round-0001"));
        fs::create_dir_all(&empty).expect("a directory");
        for name in ["items.jsonl", "batch.json"] {
            fs::copy(place.path(batch).join(name), empty.join(name)).expect("copied");
        }
        let there = empty.to_string_lossy().into_owned();
        let import = ["labels", "import", file, "--format", format, "--batch", &there, "--name", "back"];
        match format {
            "lm_human_preferences" => {
                place.command(&import).assert().code(2).stderr(predicate::str::contains("--labeler NAME"));
                place.command(&import).args(["--labeler", "anna"]).assert().success();
            }
            _ => drop(place.command(&import).assert().success()),
        }
        let back = empty.join("answers-back.jsonl");
        check("answers.schema.json", &lines(&back));
        match (everything, format) {
            (true, _) => assert_eq!(said(&back, true), all, "{format}"),
            (false, "lm_human_preferences") => {
                let without =
                    |said: BTreeSet<String>| said.iter().map(|s| s.replace("ben", "anna")).collect::<BTreeSet<_>>();
                assert_eq!(without(said(&back, false)), without(best.clone()));
            }
            _ => assert_eq!(said(&back, false), best, "{format}"),
        }
        // Again, and nothing changes.
        let bytes = fs::read(&back).expect("answers");
        let again = if format == "lm_human_preferences" { vec!["--labeler", "anna"] } else { vec![] };
        place.command(&import).args(again).assert().success().stderr(predicate::str::contains(" 0 of them new"));
        assert!(fs::read(&back).expect("answers") == bytes);
    }
    // The exported labels are a label file like any other.
    place
        .command(&["labels", "status", "labels.json"])
        .assert()
        .success()
        .stdout(predicate::str::contains("best_of_4"));
    place.command(&["labels", "status", "comparisons.jsonl"]).assert().success();
}

#[test]
fn strange_answers_are_refused_with_their_lines() {
    let place = with_people(OFFLINE);
    place.run(&[]).assert().code(3);
    let item = lines(&place.path("labels/round-0001/items.jsonl"))[0]["id"].as_str().expect("an id").to_string();
    let import = |file: &str, format: &str| {
        place.command(&["labels", "import", file, "--format", format, "--batch", "labels/round-0001"]).assert().code(2)
    };
    let message =
        |file: &str, format: &str| String::from_utf8_lossy(&import(file, format).get_output().stderr).into_owned();
    place.write("a.csv", &format!("item,best,labeler\n{item},a,anna\nnobody,b,anna\n{item},z,ben\n"));
    let found = message("a.csv", "csv");
    assert!(found.contains("a.csv:3:1: item \"nobody\" is not of this batch") && found.contains("line 4"), "{found}");
    assert!(!place.path("labels/round-0001/answers-a.jsonl").exists());
    place.write("b.json", "[\n{\"data\": {\"item\": \"nobody\"}, \"annotations\": []},\n{\"data\": {}}]");
    let found = message("b.json", "label_studio");
    assert!(found.contains("b.json:2:1") && found.contains("line 3: the task has no `data.item`"), "{found}");
    place.write("c.json", "[{\"query\": [1], \"sample0\": [2], \"sample1\": [3], \"best\": 0}]");
    assert!(message("c.json", "lm_human_preferences").contains("c.json:1"));
    place.write("d.csv", "a,b\n1,2\n");
    assert!(message("d.csv", "csv").contains("`item` and `best` are needed"));
    place.write("e.csv", "item,best\n");
    assert!(message("e.csv", "csv").contains("has no answers"));
    let nothing = place.command(&["labels", "export", "out", "--format", "csv"]).assert().code(2);
    assert!(String::from_utf8_lossy(&nothing.get_output().stderr).contains("is no batch"));
}

#[test]
fn a_change_of_mind_is_a_new_revision() {
    let place = with_people(OFFLINE);
    place.run(&[]).assert().code(3);
    let item = lines(&place.path("labels/round-0001/items.jsonl"))[0].clone();
    let id = item["id"].as_str().expect("an id");
    for letter in ["a", "b"] {
        place.write("sheet.csv", &format!("item,best,labeler\n{id},{letter},anna\n"));
        place
            .command(&["labels", "import", "sheet.csv", "--format", "csv", "--batch", "labels/round-0001"])
            .assert()
            .success();
    }
    let answers = lines(&place.path("labels/round-0001/answers-sheet.jsonl"));
    assert_eq!(answers.iter().map(|a| a["revision"].as_u64()).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert_eq!(answers[1]["best"], item["order"][1]);
}

#[test]
fn mistakes_are_found_before_a_run() {
    let wrong = |spec: &str| {
        let place = Place::new(spec);
        let found = place.command(&["validate", "spec.toml"]).assert().code(2);
        let output = found.get_output();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    for (spec, words) in [
        ("collect = { rounds = 3 }\n", "collect.rounds: belongs to the batched schedule"),
        ("collect = { schedule = \"batched\", retrain = 3 }\n", "collect.retrain: belongs to the online schedule"),
        ("collect = { schedule = \"batched\", labels = 100, round_labels = [50, 40] }\n", "the rounds have 90 labels"),
        ("collect = { schedule = \"batched\", rounds = 13 }\n", "13 rounds need as many PPO updates"),
        ("collect = { schedule = \"batched\", labels = 8, rounds = 2 }\n", "the first round has 4 labels"),
        ("collect = { schedule = \"online\", labels = 10, initial = 11 }\n", "are more than all"),
        ("collect = { schedule = \"online\" , outstanding = 5 }\n", "belongs to labels of people"),
        (
            "collect.schedule = \"batched\"\nlabeler.kind = \"recorded\"\nlabeler.path = \"\"\n",
            "answers about old ones",
        ),
        ("labeler.kind = \"human\"\n", "people need labeler.batches"),
        ("labeler.batches = \"labels\"\n", "labeler.batches: belongs to labels of people"),
        ("labeler.kind = \"human\"\nlabeler.batches = \"spec.toml\"\n", "is a file"),
        ("labeler.kind = \"human\"\nlabeler.batches = \"l\"\nlabeler.human.gold = \"none.jsonl\"\n", "none.jsonl"),
        (
            "labeler.kind = \"human\"\nlabeler.batches = \"l\"\ncollect.schedule = \"direct\"\n",
            "human labels have none",
        ),
    ] {
        let found = wrong(spec);
        assert!(found.contains(words), "{spec}: {found}");
    }
    for spec in ["storyworld_batched", "storyworld_online", "human_quickstart"] {
        let file = format!("{}/specs/{spec}.toml", env!("CARGO_MANIFEST_DIR"));
        Place::new(OFFLINE).command(&["validate", &file]).assert().success();
    }
}

#[test]
fn gold_that_is_none_is_named() {
    let place = with_people(OFFLINE);
    let gold = fs::read_to_string(place.path("gold.jsonl")).expect("gold");
    place.write("gold.jsonl", &gold.replacen("\"gold\":3", "\"gold\":null", 1));
    place.run(&[]).assert().code(2).stderr(predicate::str::contains("gold.jsonl:1:1: has no `gold`"));
}
