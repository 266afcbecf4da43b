//! Whole runs from outside that the quickstart is not: people's recorded labels, supervised fine-tuning, presets.

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Sizes that run in seconds.
const TINY: &str = r#"
[labeler.classifier]
dimensions = { layers = 1, heads = 2, width = 16, context = 128 }
reviews = 200
steps = 20
batch_size = 8
[reward]
batch_size = 8
normalize_samples = 16
lr = 1e-3
[policy]
episodes = 32
batch_size = 16
blocks = 1
whiten_in = "minibatch"
checkpoint_every = 1
lr = 1e-4
[evaluate]
queries = 16
optimum_queries = 2
optimum_samples = 8
samples = 4
"#;

/// Runs a spec in a directory of its own, into `out` there.
fn run(dir: &Path, spec: &str) -> Command {
    let file = dir.join("spec.toml");
    fs::write(&file, format!("spec_version = 1\nname = \"t\"\n{spec}\n{TINY}")).expect("a spec");
    let mut command = Command::cargo_bin("runner").expect("the program");
    command.current_dir(dir).env_remove("RUNNER_CACHE").env_remove("RUST_LOG");
    command.args(["spec.toml", "--device", "cpu", "--out", "out"]);
    command
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).expect("JSON")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

/// A spec for recorded labels of the fixtures' lengths. The model is made with GPT-2's tokenizer, whose ids they have.
fn recorded(labels: &str, more: &str) -> String {
    format!(
        r#"
        model = {{ size = "test", weights = {{ pretrain = {{ tokenizer = "gpt2", passages = 100, steps = 2, batch_size = 4, sequence_length = 32 }} }} }}
        labeler.kind = "recorded"
        labeler.path = '{}/tests/fixtures/labels/{labels}'
        collect = {{ labels = 32, held_out = 8 {more} }}
        [task]
        query_rule = "sentences"
        query_length = 24
        query_min_length = 4
        response_length = 12
        truncate_after = 4
        data.synthetic = "storyworld"
        "#,
        env!("CARGO_MANIFEST_DIR")
    )
}

#[test]
fn recorded_labels_train_a_reward_model_and_a_policy() {
    let dir = tempfile::tempdir().expect("a directory");
    run(dir.path(), &recorded("sentiment.json", "")).assert().success();
    let out = dir.path().join("out");
    let labels = lines(&out.join("labels/main.jsonl"));
    assert!(labels.len() == 40 && labels.iter().all(|l| l.get("scores").is_none() && l["samples"][3].is_array()));
    assert_eq!(json(&out.join("labels/main_report.json"))["usable"], 40);
    let reward = json(&out.join("runs/main/models/reward/reward.json"));
    assert_eq!((&reward["label_type"], &reward["n"]), (&"best_of_4".into(), &8.into()));
    // Nobody but r judges: there is no mock labeler.
    assert_eq!(json(&out.join("runs/main/evaluation.json"))["judge"], "reward");
    assert!(lines(&out.join("runs/main/metrics.jsonl")).iter().all(|line| line.get("objective/mock_score").is_none()));
    let table = fs::read_to_string(out.join("tables/scores.md")).expect("a table");
    assert!(table.contains("score under r of π") && table.contains("agreement of r"), "{table}");
}

#[test]
fn without_rl_recorded_labels_make_a_reward_model_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    run(dir.path(), &recorded("compare.json", ", schedule = \"none\"")).assert().success();
    let out = dir.path().join("out");
    assert_eq!(json(&out.join("runs/main/models/reward/reward.json"))["label_type"], "scalar_compare");
    // What is evaluated is ρ itself.
    let evaluation = json(&out.join("runs/main/evaluation.json"));
    assert!(evaluation["kl"]["mean"].as_f64().expect("a number").abs() < 1e-3);
    assert!(!out.join("runs/main/metrics.jsonl").exists());
}

#[test]
fn a_model_fine_tuned_on_summaries_is_what_rl_starts_from() {
    let dir = tempfile::tempdir().expect("a directory");
    let posts: String = (0..300)
        .map(|i| {
            let (who, what) = (["Anna", "Ben", "Clara"][i % 3], ["a kite", "a boat", "a cat", "a dog"][i / 3 % 4]);
            let text = format!("{who} was out at noon.\\nThere was {what} too.\\nIt rained on day {i}.");
            format!("{{\"content\": \"{text}\", \"summary\": \"{who} saw {what}.\"}}\n")
        })
        .collect();
    fs::write(dir.path().join("posts.jsonl"), posts).expect("posts");
    let spec = r#"
        model = { size = "test", weights = { pretrain = { vocabulary = 400, passages = 200, steps = 20, batch_size = 8, sequence_length = 32 } } }
        collect = { labels = 16, held_out = 8 }
        supervised = { on = "summaries", lrs = [1e-3, 1e-2], batch_size = 8, validation = 30 }
        task = { preset = "tldr", data.path = "posts.jsonl", query_length = 60, query_end = "", response_length = 16, truncate_after = 4, truncate_match = "contains" }
        runs.rl = {}
        runs.supervised.collect.schedule = "none"
    "#;
    run(dir.path(), spec).assert().success();
    let out = dir.path().join("out");
    let supervised = json(&out.join("models/supervised/supervised.json"));
    let losses: Vec<f64> =
        supervised["trials"].as_array().expect("trials").iter().filter_map(|t| t["validation_loss"].as_f64()).collect();
    let before = supervised["validation_loss_before"].as_f64().expect("a loss");
    assert!(losses.len() == 2 && losses[1] < losses[0] && losses[1] < before - 1.0, "{losses:?} from {before}");
    assert_eq!(supervised["lr"], 1e-2);
    let weights = |name: &str| fs::read(out.join(name).join("model.safetensors")).expect("weights");
    assert!(weights("models/supervised") == weights("runs/supervised/models/policy"));
    assert!(weights("models/supervised") != weights("models/reference"));
    // The supervised run is compared with the model as it came, RL with the supervised model.
    let evaluation = |run: &str| json(&out.join("runs").join(run).join("evaluation.json"));
    let kl = |run: &str| evaluation(run)["kl"]["mean"].as_f64().expect("KL");
    assert!(kl("supervised") > 5.0 && kl("rl").abs() < 1.0, "{} and {}", kl("supervised"), kl("rl"));
    let rouge = |who: &str| {
        let texts = evaluation("supervised")["texts"].as_array().cloned().expect("texts");
        let found = texts.into_iter().find(|t| t["writer"] == who).expect("a writer");
        found["rouge"]["rouge1"]["mean"].as_f64().expect("ROUGE-1")
    };
    assert!(rouge("policy") > rouge("reference"), "{} and {}", rouge("policy"), rouge("reference"));
}

/// Simulated labelers on made-up posts: labels, measures, tables and page of a whole run, and every one says what it
/// is.
#[test]
fn simulated_labelers_answer_and_are_named_everywhere() {
    let dir = tempfile::tempdir().expect("a folder");
    let spec = format!("{}/specs/tldr_simulated.toml", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::cargo_bin("runner").expect("the program");
    command.current_dir(dir.path()).env_remove("RUNNER_CACHE").env_remove("RUST_LOG");
    let arguments = [&spec, "--profile", "smoke", "--device", "cpu", "--out", "out"];
    command.args(arguments).args(["--set", "labeler.simulated.weight_rouge=0.5"]).assert().success();
    let out = dir.path().join("out");
    let labels = lines(&out.join("labels/main.jsonl"));
    assert_eq!(labels.len(), 48);
    let workers: std::collections::BTreeSet<&str> =
        labels.iter().map(|l| l["worker"].as_str().expect("a worker")).collect();
    assert!(workers.len() > 2 && workers.iter().all(|w| w.starts_with("simulated-")), "{workers:?}");
    let evaluation = json(&out.join("runs/main/evaluation.json"));
    let writers: Vec<&str> =
        evaluation["texts"].as_array().expect("texts").iter().map(|t| t["writer"].as_str().expect("who")).collect();
    assert_eq!(writers, ["lead3", "summary", "reference", "policy"]);
    assert_eq!(evaluation["simulated"]["labelers"], 5);
    for table in ["scores", "rouge", "novelty", "copying", "text", "labelers"] {
        let title = json(&out.join(format!("tables/{table}.json")))["title"].clone();
        assert!(title.as_str().is_some_and(|t| t.ends_with("(simulated labelers)")), "{title}");
    }
    let page = fs::read_to_string(out.join("report.html")).expect("the page");
    assert!(page.contains("The labels come from simulated labelers"));
    let log = fs::read_to_string(out.join("log.txt")).expect("the log");
    assert!(log.contains("no person answers the comparisons"), "{log}");
}

/// A small spec with a mock labeler, whose policy runs away from its target at once.
const RUNAWAY: &str = r#"
    model = { size = "test", weights = { pretrain = { passages = 300, steps = 5, batch_size = 4, sequence_length = 32 } } }
    task = { query_length = 16, query_min_length = 4, response_length = 8, truncate_after = 2, data.synthetic = "storyworld" }
    labeler.reviews.synthetic = "reviews"
    collect = { labels = 16, held_out = 8 }
"#;

/// Stages of the last run by name, and whether they were found done.
fn stages(out: &Path) -> Vec<(String, bool)> {
    let manifest = json(&out.join("manifest.json"));
    let stage = |s: &Value| (s["stage"].as_str().expect("a name").to_string(), s["cached"].as_bool().expect("a word"));
    manifest["stages"].as_array().expect("stages").iter().map(stage).collect()
}

/// Relaxing a guard once restarted training at update 0.
#[test]
fn what_changes_no_result_trains_nothing_again_and_what_matters_does() {
    let dir = tempfile::tempdir().expect("a directory");
    run(dir.path(), RUNAWAY).assert().success();
    let out = dir.path().join("out");
    assert!(stages(&out).len() == 6 && stages(&out).iter().all(|(_, cached)| !cached), "{:?}", stages(&out));
    for set in [
        "guards.ratio_tolerance=0.5",
        "guards.kl_times_target=50.0",
        "guards.negative_kl=3.0",
        "policy.checkpoint_every=2",
        "description=\"other words\"",
    ] {
        run(dir.path(), RUNAWAY).args(["--set", set]).assert().success();
        assert!(stages(&out).len() == 6 && stages(&out).iter().all(|(_, cached)| *cached), "{set}: {:?}", stages(&out));
    }
    for (set, again) in [
        ("evaluate.samples=3", &["evaluate"][..]),
        ("policy.lr=1e-3", &["policy", "evaluate"]),
        ("reward.lr=1e-4", &["reward", "policy", "evaluate"]),
        ("collect.labels=24", &["labels", "reward", "policy", "evaluate"]),
    ] {
        let mut command = run(dir.path(), RUNAWAY);
        command.args(["--set", set, "--fresh"]).assert().success();
        let made: Vec<String> =
            stages(&out).into_iter().filter(|(_, cached)| !cached).map(|(stage, _)| stage).collect();
        assert_eq!(made, again, "{set}");
    }
}

#[test]
fn a_run_that_a_guard_stopped_goes_on_from_its_checkpoint_when_the_guard_is_relaxed() {
    let dir = tempfile::tempdir().expect("a directory");
    let wild = ["--set", "policy.lr=0.03", "--set", "policy.kl.target=0.01", "--set", "policy.episodes=64"];
    let steps = |out: &Path| -> Vec<Value> {
        let timeless = |mut line: Value| {
            ["elapsed/fps", "elapsed/time"].iter().for_each(|key| line[*key] = Value::Null);
            line
        };
        lines(&out.join("runs/main/metrics.jsonl")).into_iter().map(timeless).collect()
    };
    let out = dir.path().join("out");
    run(dir.path(), RUNAWAY).args(wild).args(["--set", "guards.kl_times_target=1.0"]).assert().code(4);
    let stopped = steps(&out);
    assert!((2..4).contains(&stopped.len()), "stopped after {} updates", stopped.len());
    let relaxed = ["--set", "guards.kl_times_target=1000000.0"];
    run(dir.path(), RUNAWAY).args(wild).args(relaxed).assert().success();
    let log = fs::read_to_string(out.join("log.txt")).expect("the log");
    assert!(log.contains(&format!("continuing after update {}", stopped.len() - 1)), "{log}");
    let whole = tempfile::tempdir().expect("a directory");
    run(whole.path(), RUNAWAY).args(wild).args(relaxed).assert().success();
    assert_eq!(steps(&out), steps(&whole.path().join("out")));
}

/// Metrics without what time and the number of tries change.
fn timeless(path: &Path) -> Vec<Value> {
    let timeless = |mut line: Value| {
        line.as_object_mut().expect("an object").retain(|key, _| key != "elapsed/fps" && key != "elapsed/time");
        line
    };
    lines(path).into_iter().map(timeless).collect()
}

/// Runs a spec whole, and again in another place where it is killed while π learns and continued: the same bytes.
fn killed_and_whole(more: &[&str]) -> (tempfile::TempDir, Vec<Value>) {
    let whole = tempfile::tempdir().expect("a directory");
    run(whole.path(), RUNAWAY).args(more).assert().success();
    let killed = tempfile::tempdir().expect("a directory");
    let metrics = killed.path().join("out/runs/main/metrics.jsonl");
    // `run` writes the spec; the process is a plain one, which can be killed.
    drop(run(killed.path(), RUNAWAY));
    let arguments = ["spec.toml", "--device", "cpu", "--out", "out", "--no-progress"];
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("runner"))
        .current_dir(killed.path())
        .env_remove("RUNNER_CACHE")
        .args(arguments)
        .args(more)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("a process");
    let begun = std::time::Instant::now();
    while fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 3 {
        assert!(begun.elapsed().as_secs() < 300 && child.try_wait().expect("a state").is_none(), "it never learned");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().expect("it was running");
    child.wait().expect("an end");
    run(killed.path(), RUNAWAY).args(more).assert().success();
    let log = fs::read_to_string(killed.path().join("out/log.txt")).expect("the log");
    assert!(log.contains("continuing after"), "{log}");
    let of = |dir: &Path, file: &str| fs::read(dir.join("out/runs/main").join(file)).expect("a file");
    for file in ["models/policy/model.safetensors", "evaluation.json", "samples.jsonl"] {
        assert!(of(whole.path(), file) == of(killed.path(), file), "{more:?}: {file} differs");
    }
    let found = timeless(&whole.path().join("out/runs/main/metrics.jsonl"));
    assert_eq!(found, timeless(&metrics));
    (whole, found)
}

#[test]
fn rloo_learns_without_values_is_continued_and_has_best_of_n_beside_it() {
    // Responses end where a token has an e, so that most have a score.
    let ends = ["task.truncate_match=contains", "task.truncate_at=e"];
    let sets = ["policy.algorithm=rloo", "policy.episodes=320", "evaluate.best_of=[1,2,8]"];
    let rloo: Vec<&str> = sets.iter().chain(&ends).flat_map(|set| ["--set", set]).collect();
    let (dir, metrics) = killed_and_whole(&rloo);
    assert_eq!(metrics.len(), 20);
    assert!(metrics.iter().all(|line| line.get("ppo/val/mean").is_none() && line.get("ppo/loss/value").is_none()));
    assert!(metrics.iter().all(|line| line["ppo/ratio_error"].as_f64().is_some_and(|off| off < 1e-4)));
    let out = dir.path().join("out");
    let evaluation = json(&out.join("runs/main/evaluation.json"));
    assert_eq!(evaluation["algorithm"], "rloo");
    let best = evaluation["best_of"].as_array().expect("best-of-n").clone();
    let number = |i: usize, key: &str| best[i][key].as_f64().expect("a number");
    assert!(
        best.len() == 3 && number(0, "kl_bound") == 0.0 && (number(2, "kl_bound") - (8f64.ln() - 0.875)).abs() < 1e-12
    );
    // The best of more by r is better by r.
    assert!(number(0, "score") < number(1, "score") && number(1, "score") < number(2, "score"));
    let table = fs::read_to_string(out.join("tables/overoptimisation.md")).expect("a table");
    assert!(table.contains("best of 8") && table.contains("KL at most 1.20 nats"), "{table}");
    assert!(out.join("plots/overoptimisation.svg").exists());
}

#[test]
fn dpo_learns_from_labels_without_a_reward_model_and_is_continued() {
    let sets = ["policy.algorithm=dpo", "policy.dpo={ beta = 0.5, lr = 1e-3, epochs = 40, batch_size = 4 }"];
    let dpo: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    // The file's own keys of PPO lie below and do not act.
    let (dir, metrics) = killed_and_whole(&dpo);
    assert_eq!(metrics.len(), 160);
    let loss = |i: usize| metrics[i]["dpo/loss"].as_f64().expect("a loss");
    assert!((loss(0) - 2f64.ln()).abs() < 1e-4 && loss(159) < 0.3, "{} to {}", loss(0), loss(159));
    assert!(metrics[0]["dpo/distance"].as_f64().expect("a number") < 1e-4);
    let out = dir.path().join("out");
    assert!(!out.join("runs/main/models/reward").exists());
    let made: Vec<String> = stages(&out).into_iter().map(|(stage, _)| stage).collect();
    assert_eq!(made, ["pretrain", "classifier", "labels", "policy", "evaluate"]);
    let evaluation = json(&out.join("runs/main/evaluation.json"));
    assert_eq!(
        (&evaluation["algorithm"], &evaluation["judge"], &evaluation["episodes"]),
        (&"dpo".into(), &"mock".into(), &0.into())
    );
    assert!(evaluation["kl"]["mean"].as_f64().expect("KL") > 0.05, "{}", evaluation["kl"]);
    assert!(out.join("plots/figure3.svg").exists() && !out.join("plots/kl.svg").exists());
    let page = fs::read_to_string(out.join("report.html")).expect("the page");
    assert!(!page.contains("is not there"), "nothing is missed");
}

/// People's labels have no r_s beside them: an r learns from the same labels, to judge.
#[test]
fn dpo_from_recorded_labels_is_judged_by_a_reward_model() {
    let dir = tempfile::tempdir().expect("a directory");
    let dpo = ["--set", "policy.algorithm=dpo", "--set", "policy.dpo={ lr = 1e-3, batch_size = 8 }"];
    run(dir.path(), &recorded("sentiment.json", "")).args(dpo).assert().success();
    let out = dir.path().join("out");
    assert_eq!(json(&out.join("runs/main/evaluation.json"))["judge"], "reward");
    assert_eq!(lines(&out.join("runs/main/metrics.jsonl")).len(), 4);
    // Differences are no comparisons.
    let other = tempfile::tempdir().expect("a directory");
    let refused = run(other.path(), &recorded("compare.json", "")).args(dpo).assert().code(2);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("DPO learns from comparisons, and these labels are scalar_compare"), "{said}");
}
