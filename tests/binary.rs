//! The program from outside: whole runs of the quickstart's smoke profile, kills and damage, wrong input.

use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const SPEC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/specs/quickstart.toml");
/// Enough updates for a kill to land between two of them.
const LONGER: [&str; 4] = ["--set", "policy.episodes=320", "--set", "policy.checkpoint_every=3"];

/// A directory to work in, with its own stage cache.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn runner(&self) -> Command {
        let mut command = Command::cargo_bin("runner").expect("the program");
        command.current_dir(self.dir.path()).env_remove("RUNNER_CACHE").env_remove("RUST_LOG");
        command
    }
    /// The quickstart's smoke profile on the CPU into `out`, one run of it.
    fn smoke(&self, out: &str) -> Command {
        let mut command = self.runner();
        command.args([SPEC, "--profile", "smoke", "--device", "cpu", "--out", out]);
        command
    }
    fn spawn(&self, out: &str, more: &[&str]) -> Child {
        std::process::Command::new(assert_cmd::cargo::cargo_bin!("runner"))
            .current_dir(self.dir.path())
            .args([SPEC, "--profile", "smoke", "--device", "cpu", "--out", out])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started")
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).expect("JSON")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|l| serde_json::from_str(l).expect("a JSON line")).collect()
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

/// Waits until the file has that many lines.
fn wait_for_lines(path: &Path, count: usize) {
    let started = Instant::now();
    while fs::read_to_string(path).map_or(0, |t| t.lines().count()) < count {
        assert!(started.elapsed() < Duration::from_secs(120), "{} never had {count} lines", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every file of a finished run that has to be the same after any interruption.
fn assert_same_results(a: &Path, b: &Path) {
    for run in ["direct", "labels_2k"] {
        for file in [
            "models/policy/model.safetensors",
            "models/policy/with_value_head.safetensors",
            "samples.jsonl",
            "evaluation.json",
        ] {
            let read = |dir: &Path| fs::read(dir.join("runs").join(run).join(file)).expect("a file of the run");
            assert!(read(a) == read(b), "{run}/{file} differs");
        }
        let metrics = |dir: &Path| timeless(&dir.join("runs").join(run).join("metrics.jsonl"));
        assert_eq!(metrics(a), metrics(b), "{run}");
    }
    let frontier = |dir: &Path| fs::read(dir.join("frontier.json")).expect("the optimum from both policies");
    assert!(frontier(a) == frontier(b));
}

/// Eight processes that do not know of each other would train the same policy into the same directory.
#[cfg(not(feature = "mpi"))]
#[test]
fn a_build_without_mpi_refuses_to_be_one_of_several_and_runs_as_a_task_of_slurm() {
    let place = Place::new();
    for (name, value) in [("OMPI_COMM_WORLD_SIZE", "2"), ("PMI_SIZE", "8")] {
        let refused = place.smoke("out").env(name, value).assert().code(2);
        refused.stderr(
            predicate::str::contains(format!("{name} = {value}")).and(predicate::str::contains("features mpi")),
        );
    }
    assert!(!place.path("out").exists());
    let task = [("SLURM_NTASKS", "8"), ("SLURM_STEP_NUM_TASKS", "8"), ("SLURM_PROCID", "3"), ("SLURM_LOCALID", "3")];
    place
        .smoke("out")
        .envs(task)
        .args(["--set", "policy.lr=2.0"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("policy.lr"));
}

#[test]
fn a_run_makes_everything_and_the_same_command_reuses_it() {
    let place = Place::new();
    place.smoke("a").assert().success().stdout(predicate::str::contains("| direct"));
    let out = place.path("a");
    for file in [
        "spec.toml",
        "manifest.json",
        "report.html",
        "log.txt",
        "tables/scores.json",
        "tables/scores.md",
        "plots/figure2.svg",
        "plots/figure3.svg",
        "models/reference/config.json",
        "models/reference/tokenizer.json",
        "labels/labels_2k.jsonl",
        "runs/direct/models/policy/model.safetensors",
        "runs/labels_2k/models/reward/model.safetensors",
        "tensorboard/direct/events.out.tfevents.0000000000.runner",
    ] {
        assert!(out.join(file).exists(), "{file} is missing");
    }
    let schema = |name: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(name);
        jsonschema::validator_for(&json(&file)).expect("a schema")
    };
    let check = |name: &str, values: Vec<Value>| {
        let schema = schema(name);
        assert!(!values.is_empty(), "nothing to check against {name}");
        values.iter().for_each(|v| assert!(schema.is_valid(v), "{name}: {:?}", schema.iter_errors(v).next()));
    };
    check("manifest.schema.json", vec![json(&out.join("manifest.json"))]);
    check("frontier.schema.json", vec![json(&out.join("frontier.json"))]);
    check("table.schema.json", vec![json(&out.join("tables/scores.json"))]);
    check("labels.schema.json", lines(&out.join("labels/labels_2k.jsonl")));
    for run in ["direct", "labels_2k"] {
        let run = out.join("runs").join(run);
        check("metrics.schema.json", lines(&run.join("metrics.jsonl")));
        check("samples.schema.json", lines(&run.join("samples.jsonl")));
        check("evaluation.schema.json", vec![json(&run.join("evaluation.json"))]);
    }
    let resolved: toml::Value =
        toml::from_str(&fs::read_to_string(out.join("spec.toml")).expect("spec")).expect("TOML");
    check("spec.schema.json", vec![serde_json::to_value(resolved).expect("a tree")]);
    // On the first minibatch old and new probabilities are the same up to rounding.
    assert!(
        lines(&out.join("runs/direct/metrics.jsonl"))
            .iter()
            .all(|l| l["ppo/ratio_error"].as_f64().expect("a number") < 1e-4)
    );

    place.smoke("a").assert().success();
    let manifest = json(&out.join("manifest.json"));
    assert!(manifest["stages"].as_array().expect("stages").iter().all(|s| s["cached"] == true), "{manifest}");
    // Another directory beside it shares the cache.
    place.smoke("b").assert().success();
    assert_same_results(&out, &place.path("b"));
    place.runner().args(["compare", "a", "b"]).assert().success();
    place.runner().args(["compare", "a", "nowhere"]).assert().failure().stderr(predicate::str::contains("nowhere"));
    fs::remove_file(out.join("report.html")).expect("removed");
    place.runner().args(["report", "a"]).assert().success();
    assert!(out.join("report.html").exists());
    let plan =
        place.runner().args(["plan", SPEC, "--profile", "smoke", "--device", "cpu", "--out", "a"]).assert().success();
    plan.stdout(
        predicate::str::contains("cached pretrain-")
            .and(predicate::str::contains("cached frontier-"))
            .and(predicate::str::contains("to do").not())
            .and(predicate::str::contains("# profile smoke")),
    );
}

#[test]
fn a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one() {
    let place = Place::new();
    place.smoke("whole").args(LONGER).env("RUNNER_CACHE", place.path("cache-whole")).assert().success();
    for at in [1, 4, 17] {
        let mut child = place.spawn("killed", &LONGER);
        wait_for_lines(&place.path("killed/runs/direct/metrics.jsonl"), at);
        child.kill().expect("killed");
        child.wait().expect("ended");
    }
    place.smoke("killed").args(LONGER).assert().success();
    assert_same_results(&place.path("whole"), &place.path("killed"));
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let place = Place::new();
    place.smoke("whole").args(LONGER).env("RUNNER_CACHE", place.path("cache-whole")).assert().success();
    let mut child = place.spawn("hurt", &LONGER);
    wait_for_lines(&place.path("hurt/runs/direct/metrics.jsonl"), 10);
    child.kill().expect("killed");
    child.wait().expect("ended");
    let work = fs::read_dir(place.path(".cache")).expect("the cache").flatten().map(|e| e.path());
    let partial =
        work.into_iter().find(|p| p.to_string_lossy().ends_with(".partial") && p.to_string_lossy().contains("policy-"));
    let mut saved: Vec<PathBuf> = fs::read_dir(partial.expect("an unfinished policy").join("checkpoints"))
        .expect("checkpoints")
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    saved.sort();
    assert_eq!(saved.len(), 2, "two checkpoints are kept");
    let bytes = fs::read(&saved[1]).expect("a checkpoint");
    fs::write(&saved[1], &bytes[..bytes.len() / 2]).expect("cut");
    place.smoke("hurt").args(LONGER).assert().success().stderr(predicate::str::contains("is damaged"));
    assert_same_results(&place.path("whole"), &place.path("hurt"));
}

/// The directory of an unfinished policy in the cache.
fn unfinished_policy(place: &Place) -> PathBuf {
    let all = fs::read_dir(place.path(".cache")).expect("the cache").flatten().map(|e| e.path());
    let is = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("policy-") && name.ends_with(".partial")
    };
    all.into_iter().find(is).expect("an unfinished policy")
}

/// A run that was killed after ten updates.
fn killed(place: &Place, out: &str) -> PathBuf {
    let mut child = place.spawn(out, &LONGER);
    wait_for_lines(&place.path(out).join("runs/direct/metrics.jsonl"), 10);
    child.kill().expect("killed");
    child.wait().expect("ended");
    unfinished_policy(place)
}

/// One changed digit once gave other weights without a word, and a cut file was filled up with zeros, trained on,
/// sealed, and refused for ever after.
#[test]
fn changed_numbers_and_cut_logs_of_a_checkpoint_are_found() {
    let place = Place::new();
    place.smoke("whole").args(LONGER).env("RUNNER_CACHE", place.path("cache-whole")).assert().success();
    let work = killed(&place, "hurt");
    let mut saved: Vec<PathBuf> = fs::read_dir(work.join("checkpoints"))
        .expect("checkpoints")
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .collect();
    saved.sort();
    let newest = saved.last().expect("a checkpoint");
    let text = fs::read_to_string(newest).expect("text");
    let at = text.find("\"kl_coef\": 0.").expect("a number") + "\"kl_coef\": 0.".len();
    let digit = if &text[at..=at] == "9" { "8" } else { "9" };
    fs::write(newest, format!("{}{digit}{}", &text[..at], &text[at + 1..])).expect("changed");
    place.smoke("hurt").args(LONGER).assert().success().stderr(predicate::str::contains("wrong checksum"));
    assert_same_results(&place.path("whole"), &place.path("hurt"));

    fs::remove_dir_all(place.path(".cache")).expect("removed");
    let metrics = killed(&place, "cut").join("metrics.jsonl");
    let bytes = fs::read(&metrics).expect("metrics");
    fs::write(&metrics, &bytes[..bytes.len().min(700)]).expect("cut");
    place.smoke("cut").args(LONGER).assert().success().stderr(predicate::str::contains("starting over"));
    assert_same_results(&place.path("whole"), &place.path("cut"));
}

/// The rename onto it failed, every time.
#[test]
fn an_artifact_that_lost_its_seal_is_set_aside_and_made_again() {
    let place = Place::new();
    place.smoke("a").assert().success();
    let artifacts = || fs::read_dir(place.path(".cache")).expect("the cache").flatten().map(|e| e.path());
    let policy = artifacts().find(|p| p.to_string_lossy().contains("policy-")).expect("a policy");
    fs::remove_file(policy.join("artifact.json")).expect("removed");
    place.smoke("a").assert().success().stderr(predicate::str::contains("has no artifact.json; moved to"));
    place.smoke("a").assert().success().stderr(predicate::str::contains("moved to").not());
    assert!(artifacts().any(|p| p.to_string_lossy().ends_with(".damaged-0")));
}

#[test]
fn a_run_waits_for_a_stage_that_another_makes_and_takes_over_when_that_one_dies() {
    let place = Place::new();
    let mut first = place.spawn("a", &LONGER);
    wait_for_lines(&place.path("a/runs/direct/metrics.jsonl"), 2);
    let mut second = place.spawn("b", &LONGER);
    let said = |text: &str| {
        let started = Instant::now();
        while !fs::read_to_string(place.path("b/log.txt")).unwrap_or_default().contains(text) {
            assert!(started.elapsed() < Duration::from_secs(120), "b never says {text:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    said(&format!(" pid {}, which makes policy-", first.id()));
    first.kill().expect("killed");
    first.wait().expect("ended");
    assert!(second.wait().expect("ended").success());
    let log = fs::read_to_string(place.path("b/log.txt")).expect("a log");
    // Of each stage it is said once; the first runner may have come to another before it was killed.
    let keys: Vec<&str> =
        log.lines().filter_map(|line| line.split_once(", which makes ")).map(|(_, key)| key).collect();
    assert!((1..keys.len()).all(|i| !keys[..i].contains(&keys[i])), "{log}");
    assert!(log.contains("going on here"), "{log}");
    let manifest = json(&place.path("b/manifest.json"));
    let waited = manifest["stages"].as_array().expect("stages").iter().filter(|s| s["waited"].is_object());
    let waited: Vec<&Value> = waited.collect();
    let named = |stage: &&Value| stage["waited"]["by"].as_str().is_some_and(|by| by.contains("pid"));
    assert!(waited.len() == keys.len() && waited.iter().all(named), "{manifest}");
    // The killed one is not said to run, and is done with what the other has made.
    place.runner().args(["report", "a"]).assert().success();
    assert!(fs::read_to_string(place.path("a/report.html")).expect("a page").contains("interrupted"));
    place.smoke("a").args(LONGER).assert().success();
    assert_same_results(&place.path("a"), &place.path("b"));
}

#[cfg(unix)]
#[test]
fn a_run_that_waits_or_samples_ends_by_signals_with_their_names() {
    let place = Place::new();
    let tell = |child: &Child, signal: &str| {
        let told = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(told.expect("told").success());
    };
    let mut first = place.spawn("a", &["--set", "policy.episodes=8000"]);
    wait_for_lines(&place.path("a/runs/direct/metrics.jsonl"), 1);
    let mut second = place.spawn("b", &["--set", "policy.episodes=8000"]);
    let started = Instant::now();
    while !fs::read_to_string(place.path("b/log.txt")).unwrap_or_default().contains("waiting for") {
        assert!(started.elapsed() < Duration::from_secs(120), "b does not wait");
        std::thread::sleep(Duration::from_millis(20));
    }
    tell(&second, "-INT");
    assert_eq!(second.wait().expect("ended").code(), Some(4));
    tell(&first, "-TERM");
    assert_eq!(first.wait().expect("ended").code(), Some(4));
    for (out, name) in [("a", "SIGTERM"), ("b", "Ctrl-C")] {
        let stop = json(&place.path(out).join("stops.jsonl"));
        assert_eq!((&stop["kind"], &stop["by"]), (&"signal".into(), &name.into()));
        let manifest = json(&place.path(out).join("manifest.json"));
        assert!(manifest["error"].as_str().is_some_and(|error| error.contains(name)), "{manifest}");
    }
    place.runner().args(["stop", "a"]).assert().success().stderr(predicate::str::contains("(stopped)"));
    assert!(!place.path("a/stop").exists());
}

/// Its directory was once renamed away, and both wrote into the new one.
#[test]
fn fresh_asks_for_the_lock_of_a_run_in_progress() {
    let place = Place::new();
    let mut child = place.spawn("a", &["--set", "policy.episodes=8000"]);
    wait_for_lines(&place.path("a/runs/direct/metrics.jsonl"), 1);
    place.smoke("a").arg("--fresh").assert().code(1).stderr(predicate::str::contains("another runner"));
    assert!(!place.path("a.old-1").exists());
    child.kill().expect("killed");
    child.wait().expect("ended");
    fs::write(place.path("a/runs/.left.4294967294.tmp"), "x").expect("written");
    place.smoke("a").arg("--fresh").assert().success().stderr(predicate::str::contains("a.old-1"));
    assert!(!place.path("a.old-1/runs/.left.4294967294.tmp").exists(), "swept under the lock");
    assert!(!place.path("a.old-1/.lock.holder").exists() && !place.path("a/.lock.holder").exists());
}

#[test]
fn a_report_of_damaged_files_names_them_and_prints_without_writing() {
    let place = Place::new();
    place.smoke("a").assert().success();
    place.runner().args(["report", "a", "--format", "text"]).assert().success();
    let files = ["tables", "plots", "report.html"].map(|name| place.path("a").join(name));
    fs::remove_dir_all(&files[0]).expect("removed");
    fs::remove_dir_all(&files[1]).expect("removed");
    fs::remove_file(&files[2]).expect("removed");
    place.runner().args(["report", "a", "--format", "csv"]).assert().success();
    assert!(files.iter().all(|path| !path.exists()), "nothing is written");
    fs::write(place.path("a/runs/direct/evaluation.json"), "{").expect("damaged");
    for more in [&[][..], &["--format", "text"]] {
        let said = predicate::str::contains("left out").and(predicate::str::contains("direct/evaluation.json:1"));
        place.runner().args(["report", "a"]).args(more).assert().code(1).stderr(said);
    }
}

#[cfg(unix)]
#[test]
fn a_reader_who_has_gone_is_no_failure() {
    let place = Place::new();
    place.smoke("a").assert().success();
    let spec: &[&str] = &[SPEC, "--profile", "smoke", "--device", "cpu", "--out", "a"];
    let all = [
        &[&["plan"], spec].concat()[..],
        spec,
        &["report", "a", "--format", "text"],
        &["compare", "a", "a"],
        &["completions", "bash"],
        &["doctor"],
        &["ls"],
    ];
    for arguments in all {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("runner"))
            .current_dir(place.dir.path())
            .env_remove("RUNNER_CACHE")
            // Doctor would examine every driver of this machine.
            .envs([("VK_DRIVER_FILES", "/none"), ("VK_ICD_FILENAMES", "/none")])
            .env("XDG_CACHE_HOME", place.dir.path().join("cache-home"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        drop(child.stdout.take());
        assert_eq!(child.wait().expect("ended").code(), Some(0), "{arguments:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_spec_and_is_not_waited_for() {
    let place = Place::new();
    fs::create_dir(place.path("specs")).expect("made");
    let pipe = place.path("specs/pipe.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("made").success());
    place.runner().args(["validate", "specs/pipe.toml"]).assert().code(2);
    place.runner().args(["specs/pipe.toml", "--device", "cpu"]).assert().code(2);
    place.runner().arg("ls").assert().success();
}

#[test]
fn locks_can_be_switched_off_where_there_are_none() {
    let place = Place::new();
    let mut child = place.spawn("a", &["--set", "policy.episodes=8000"]);
    wait_for_lines(&place.path("a/runs/direct/metrics.jsonl"), 1);
    place.smoke("b").env("RUNNER_LOCKS", "off").env("RUNNER_CACHE", "").assert().success();
    let strays = fs::read_dir(place.dir.path()).expect("listed").flatten().map(|e| e.file_name());
    assert!(strays.into_iter().all(|name| !name.to_string_lossy().starts_with("pretrain-")), "an empty name is none");
    child.kill().expect("killed");
    child.wait().expect("ended");
}

#[test]
fn a_stop_file_ends_with_code_4_and_the_same_command_continues() {
    let place = Place::new();
    let mut child = place.spawn("a", &LONGER);
    wait_for_lines(&place.path("a/runs/direct/metrics.jsonl"), 2);
    fs::write(place.path("a/stop"), "").expect("written");
    assert_eq!(child.wait().expect("ended").code(), Some(4));
    assert_eq!(json(&place.path("a/manifest.json"))["state"], "stopped");
    let stop = json(&place.path("a/stops.jsonl"));
    assert_eq!((&stop["kind"], &stop["by"]), (&"person".into(), &"the file `stop`".into()));
    place.smoke("a").args(LONGER).assert().code(4).stderr(predicate::str::contains("remove it to continue"));
    fs::remove_file(place.path("a/stop")).expect("removed");
    place.smoke("a").args(LONGER).assert().success();
    assert_eq!(lines(&place.path("a/runs/direct/metrics.jsonl")).len(), 40);
}

#[test]
fn a_second_runner_is_kept_out_of_a_directory() {
    let place = Place::new();
    let mut child = place.spawn("a", &["--set", "policy.episodes=8000"]);
    wait_for_lines(&place.path("a/runs/direct/metrics.jsonl"), 1);
    place
        .smoke("a")
        .args(["--set", "policy.episodes=8000"])
        .assert()
        .code(1)
        .stderr(predicate::str::contains("another runner"));
    child.kill().expect("killed");
    child.wait().expect("ended");
}

#[test]
fn results_of_another_spec_are_never_overwritten() {
    let place = Place::new();
    place.smoke("a").assert().success();
    let model = place.path("a/runs/direct/models/policy/model.safetensors");
    let before = fs::read(&model).expect("a model");
    place.smoke("a").args(["--seed", "2"]).assert().code(2).stderr(predicate::str::contains("another spec"));
    assert!(before == fs::read(&model).expect("still there"));
    place.smoke("a").args(["--seed", "2", "--fresh"]).assert().success().stderr(predicate::str::contains("a.old-1"));
    assert!(before == fs::read(place.path("a.old-1/runs/direct/models/policy/model.safetensors")).expect("kept"));
    assert!(before != fs::read(&model).expect("a new model"));
    fs::write(place.path("a/REFERENCE"), "").expect("written");
    place.smoke("a").args(["--seed", "3", "--fresh"]).assert().code(2).stderr(predicate::str::contains("reference"));
    fs::create_dir(place.path("mine")).expect("made");
    fs::write(place.path("mine/thesis.tex"), "years of work").expect("written");
    place.smoke("mine").assert().code(2).stderr(predicate::str::contains("not a results directory"));
    assert_eq!(fs::read_dir(place.path("mine")).expect("listed").count(), 1);
}

#[test]
fn a_guard_stops_with_code_4_and_says_why() {
    let place = Place::new();
    place.smoke("a").args(["--set", "policy.lr=0.5"]).assert().code(4).stderr(predicate::str::contains("guard `"));
}

#[test]
fn wrong_specs_are_explained_all_at_once() {
    let place = Place::new();
    let write = |name: &str, bytes: &[u8]| fs::write(place.path(name), bytes).expect("written");
    write("not.toml", b"spec_version = = 1");
    write("binary.toml", &[0, 159, 146, 150, 255]);
    write("empty.toml", b"");
    write("keys.toml", b"spec_version = 1\nname = \"k\"\n[policy]\nepisode = 3\nlr = -1.0\n");
    write("huge.toml", b"spec_version = 1\nname = \"h\"\n[policy]\nbatch_size = 99999999999999999999\n");
    write("nan.toml", b"spec_version = 1\nname = \"n\"\n[policy]\nlr = nan\n[policy.kl]\ntarget = inf\n");
    write("data.toml", b"spec_version = 1\nname = \"d\"\n[task.data]\npath = \"nowhere.txt\"\n");
    write("ring.toml", b"extends = \"ring.toml\"\nspec_version = 1\nname = \"r\"\n");
    let files = [
        "not.toml",
        "binary.toml",
        "empty.toml",
        "keys.toml",
        "huge.toml",
        "nan.toml",
        "data.toml",
        "ring.toml",
        "missing.toml",
        ".",
    ];
    let all = place.runner().arg("validate").args(files).assert().code(2);
    let text = String::from_utf8_lossy(&all.get_output().stdout).into_owned();
    for file in files {
        assert!(text.lines().any(|l| l.starts_with(file)), "{file} is not named in:\n{text}");
    }
    assert!(text.contains("keys.toml:4:1: policy.episode: unknown key; did you mean \"episodes\"?"), "{text}");
    assert!(text.contains("nan.toml:4:") && text.contains("nan.toml:6:"), "{text}");
    for file in files {
        let one = place.runner().args(["run", file, "--device", "cpu"]).assert().code(2);
        one.stderr(predicate::str::contains("panicked").not().and(predicate::str::contains("error")));
    }
    assert!(!place.path("results").exists(), "a wrong spec leaves nothing behind");
}

#[test]
fn wrong_data_are_explained() {
    let place = Place::new();
    let spec =
        "spec_version = 1\nname = \"d\"\nextends = \"SPEC\"\n[task.data]\npath = \"DATA\"\n".replace("SPEC", SPEC);
    for (name, bytes) in [
        ("empty.txt", &b""[..]),
        ("binary.txt", &[0xff, 0xfe, 0, 1, 2, 0xff]),
        ("short.txt", b"Too short."),
        ("broken.jsonl", b"{\"text\": \"ok\"}\n{oops\n"),
    ] {
        fs::write(place.path(name), bytes).expect("written");
        fs::write(place.path("d.toml"), spec.replace("DATA", name).replace("synthetic", "# ")).expect("written");
        let run = place
            .runner()
            .args(["d.toml", "--profile", "smoke", "--device", "cpu", "--out", &format!("out-{name}")])
            .assert()
            .failure();
        let text = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(!text.contains("panicked") && (text.contains(name) || text.contains("task.data")), "{name}: {text}");
    }
}

#[test]
fn values_from_the_command_line_are_typed() {
    let place = Place::new();
    let plan = |set: &str| place.runner().args(["plan", SPEC, "--device", "cpu", "--set", set]).assert();
    plan("policy.lr=2e-5")
        .success()
        .stdout(predicate::str::is_match("policy.lr = 0.00002 +# --set").expect("a pattern"));
    plan("policy.lr=fast").code(2).stderr(predicate::str::contains("policy.lr"));
    plan("policy.batch_size=63").code(2);
    plan("nonsense").code(2);
}

/// Specs that come with the program, whose weights nobody has fetched here.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn a_plan_of_models_that_are_not_here_is_no_plan_of_nothing() {
    let place = Place::new();
    let plan = |spec: &str, more: &[&str]| {
        let spec = format!("{ROOT}/specs/{spec}");
        let run = place
            .runner()
            .env("HF_HUB_CACHE", place.path("hub"))
            .env("XDG_CACHE_HOME", place.path("caches"))
            .args(["plan", &spec, "--format", "json"])
            .args(more)
            .assert()
            .success();
        serde_json::from_slice::<Value>(&run.get_output().stdout).expect("JSON")
    };
    let one = plan("cnndm_60k_offline.toml", &["--device", "cpu"]);
    assert_eq!(one["runs"][0]["parameters"], 774_030_080.0);
    let fetches = one["fetches"].as_array().expect("fetches");
    let large =
        |f: &Value| f["name"].as_str().is_some_and(|n| n.ends_with("gpt2-large")) && f["bytes"].as_f64() > Some(3e9);
    assert!(fetches.iter().any(large), "{one:#}");
    assert!(one["missing"].as_array().is_some_and(|m| !m.is_empty()), "{one:#}");
    for stage in one["stages"].as_array().expect("stages") {
        assert!(stage["flops"].is_number() && stage["memory_bytes"].as_f64() > Some(3e9), "{stage:#}");
        assert!(stage["seconds"].is_null() && stage["state"] == "unknown", "{stage:#}");
    }
    // A million episodes and more, of a model of 774M parameters: tens of exaFLOP.
    assert!(one["totals"]["flops_to_do"].as_f64() > Some(1e19), "{one:#}");

    // A GPU that is not here: its memory decides, and with a speed there is a time.
    let elsewhere = ["--device", "wgpu", "--memory", "80GB", "--tflops", "40"];
    let gpu = plan("cnndm_60k_offline.toml", &elsewhere);
    assert_eq!(gpu["device"]["memory_bytes"], 80_000_000_000u64);
    assert_eq!(gpu["misfits"].as_array().map(Vec::len), Some(0), "{gpu:#}");
    let small = plan("cnndm_60k_offline.toml", &["--device", "wgpu", "--device-memory", "16GB"]);
    let misfit = |m: &Value| m["stage"] == "policy" && m["needed_bytes"].as_f64() > Some(16e9);
    assert!(small["misfits"].as_array().is_some_and(|all| all.iter().any(misfit)), "{small:#}");
    let (flops, seconds) = (gpu["totals"]["flops_to_do"].as_f64(), gpu["totals"]["seconds_to_do"].as_f64());
    let ratio = flops.expect("operations") / seconds.expect("a time");
    assert!((ratio / 40e12 - 1.0).abs() < 1e-9, "{ratio:e}");
}

#[test]
fn a_run_without_room_is_refused_before_it_starts() {
    let place = Place::new();
    let run = |more: &[&str]| place.smoke("small").args(["--memory", "1MB"]).args(more).assert();
    let refused = run(&[]).code(2);
    let text = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(text.contains("has no room for this run") && text.contains("--no-memory-check"), "{text}");
    assert!(!place.path("small").exists(), "nothing was begun");
    run(&["--no-memory-check"]).success();
    // What is done needs no memory.
    run(&[]).success();
    place.smoke("other").args(["--memory", "a lot"]).assert().code(2).stderr(predicate::str::contains("80GB"));
}

#[test]
fn small_commands_work() {
    let place = Place::new();
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"], &["completions", "bash"], &["ls"]] {
        place.runner().args(arguments).assert().success();
    }
    place.runner().arg("no-such-spec.toml").assert().code(2);
    place.runner().arg("--no-such-option").assert().code(2);
    place.runner().args([SPEC, "--device", "abacus"]).assert().code(2).stderr(predicate::str::contains("abacus"));
    Command::cargo_bin("runner")
        .expect("the program")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["schema", "--check"])
        .assert()
        .success();
}

#[test]
fn without_a_clone_the_quickstart_runs_by_its_name_and_ends_with_its_result() {
    let place = Place::new();
    let runner = || {
        let mut command = place.runner();
        command.env("XDG_CACHE_HOME", place.path("user-cache"));
        command
    };
    runner().arg("ls").assert().success().stdout(predicate::str::contains("inside the program"));
    runner()
        .args(["quickstart", "--profile", "smoke", "--device", "cpu", "--out", "results/first"])
        .assert()
        .success()
        .stdout(predicate::str::contains("| direct"))
        .stderr(
            predicate::str::is_match(r"(?s)direct (raised|lowered|did not).* nats.*report: results")
                .expect("a pattern"),
        );
    let page = fs::read_to_string(place.path("results/first/report.html")).expect("the page");
    let (result, environment) = (page.find("class=\"result\""), page.find("Environment"));
    assert!(result.is_some() && result < environment && !page.contains("Missing from this report"), "{page}");
    assert!(!place.path("results/first/progress.json").exists());
    runner().args(["init", "mine"]).assert().success();
    runner().args(["validate", "mine.toml"]).assert().success();
    runner().args(["init", "mine"]).assert().code(2).stderr(predicate::str::contains("there already"));
    runner().arg("qickstart").assert().code(2);
}

#[test]
fn the_page_of_a_failed_run_says_why() {
    let place = Place::new();
    place.smoke("a").args(["--set", "evaluate.queries=5000"]).assert().code(2);
    let why = "5000 are needed";
    let error = json(&place.path("a/manifest.json"))["error"].clone();
    assert!(error.as_str().is_some_and(|e| e.contains(why)), "{error}");
    let page = fs::read_to_string(place.path("a/report.html")).expect("the page");
    assert!(page.contains("The run failed: ") && page.contains(why) && !page.contains("is not there"), "{page}");
}
