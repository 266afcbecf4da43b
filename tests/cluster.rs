//! A suite in tasks, from outside: one process per member, gathered to what one process makes of all; and `runner cluster`
//! with a Slurm of files, which answers as the real one does (scripts/check_slurm.sh has the real one).

#![cfg(unix)]

mod common;

use assert_cmd::Command;
use common::{CLASSIFIER, LEARNING, Place, STORIES};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// In direct mode.
fn spec() -> String {
    format!(
        "{STORIES}[labeler]\n{CLASSIFIER}[collect]\nschedule = \"direct\"\n[reward]\nnormalize_samples = 16\n{LEARNING}"
    )
}

const SUITE: &str = r#"
suite_version = 1
name = "small"
makes = "table10_no_kl"
seeds = [1, 2]
[members.a]
spec = "tiny.toml"
[members.b]
spec = "tiny.toml"
set = { "policy.episodes" = 64 }
"#;

const CLUSTERS: &str = "cluster_version = 1\n[cluster.here]\nsubmit = { partition = \"p\" }\ndevice = \"cpu\"\n";

impl Place {
    fn new() -> Self {
        Self::with(&[("tiny.toml", &spec()), ("small.toml", SUITE)])
    }
    fn runner(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command
    }
    fn run(&self, arguments: &[&str]) -> assert_cmd::assert::Assert {
        self.on_cpu(arguments).env("XDG_CONFIG_HOME", self.path("config")).assert()
    }
    fn said(&self, arguments: &[&str], code: i32) -> String {
        let done = self.run(arguments).code(code);
        String::from_utf8_lossy(&done.get_output().stderr).into_owned()
    }
}

#[test]
fn tasks_by_name_and_number_make_together_what_one_process_makes() {
    let place = Place::new();
    place.run(&["small.toml", "--out", "alone/small"]).code(0);

    // Nothing is hidden: without results the table is drawn, and the exit code says that it is not whole.
    let said = place.said(&["small.toml", "--gather"], 1);
    assert!(said.contains("a, seed 1: pending"), "{said}");
    // As far as a stage; then the rest, found where it was left.
    place.run(&["small.toml", "--member", "b-seed-1", "--until", "classifier"]).code(0);
    let manifest = place.json("results/small/members/b-seed-1/manifest.json");
    assert_eq!(manifest["state"], "stopped");
    assert!(manifest["error"].as_str().is_some_and(|e| e.contains("as far as `classifier`")), "{manifest:#}");
    assert!(!place.path("results/small/members/b-seed-1/stops.jsonl").exists(), "nobody stopped it");
    let said = place.said(&["small.toml", "--gather"], 1);
    assert!(said.contains("b, seed 1: stopped"), "{said}");

    for task in ["a-seed-1", "1", "b-seed-1", "3"] {
        place.run(&["small.toml", "--member", task]).code(0);
    }
    let manifest = place.json("results/small/members/b-seed-1/manifest.json");
    let cached = |stage: &str| {
        manifest["stages"].as_array().expect("stages").iter().any(|s| s["stage"] == stage && s["cached"] == true)
    };
    assert!(cached("pretrain") && cached("classifier") && !cached("policy"), "{manifest:#}");
    place.run(&["small.toml", "--gather"]).code(0);
    for file in [
        "tables/table10_no_kl.md",
        "tables/table10_no_kl.json",
        "members/a-seed-2/runs/main/evaluation.json",
        "members/b-seed-2/runs/main/samples.jsonl",
        "members/b-seed-1/runs/main/models/policy/model.safetensors",
    ] {
        let of =
            |place: &Place, root: &str| fs::read(place.path(root).join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(of(&place, "results/small"), of(&place, "alone/small"), "{file}");
    }
    let suite = place.json("results/small/manifest.json");
    assert!(suite["state"] == "done" && suite["device"] == "cpu (burn flex)", "{suite:#}");
}

#[test]
fn words_that_name_no_task_or_stage_are_refused_with_those_that_do() {
    let place = Place::new();
    for (arguments, part) in [
        (&["small.toml", "--member", "a-seed-3"][..], "did you mean \"a-seed-"),
        (&["small.toml", "--member", "4"], "small has 4 tasks, 0 to 3"),
        (&["small.toml", "--member", "zzz"], "there are a-seed-1, a-seed-2, b-seed-1, b-seed-2"),
        (&["small.toml", "--member", "0", "--until", "reward"], "it has pretrain, classifier, policy, evaluate"),
        (&["small.toml", "--member", "0", "--until", "everything"], "possible values: import, pretrain"),
        (&["small.toml", "--until", "policy"], "--member <TASK>"),
        (&["small.toml", "--member", "0", "--gather"], "cannot be used with"),
        (&["tiny.toml", "--member", "0"], "--member takes one suite"),
        (&["tiny.toml", "--gather"], "--gather takes one suite"),
    ] {
        let said = place.said(arguments, 2);
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    assert!(!place.path("results").exists());
    // A stop of the suite keeps tasks from beginning.
    place.run(&["small.toml", "--member", "0", "--until", "pretrain"]).code(0);
    place.runner(&["stop", "results/small", "--by", "Ada", "--reason", "looks odd"]).assert().code(0);
    let said = place.said(&["small.toml", "--member", "1"], 4);
    assert!(said.contains("Ada has stopped the suite (looks odd)") && said.contains("--undo"), "{said}");
    place.runner(&["stop", "results/small", "--undo"]).assert().code(0);
    // Another suite's directory is left alone.
    let said = place.said(&["small.toml", "--seeds", "1", "--member", "0"], 2);
    assert!(said.contains("holds results of another suite") && said.contains("seeds"), "{said}");
}

/// The second of two that needed the same stage once failed.
#[test]
fn two_tasks_at_once_share_a_stage_that_neither_has() {
    let place = Place::new();
    let start = |task: &str| {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("runner"));
        command.current_dir(place.dir()).env_remove("RUNNER_CACHE").env_remove("RUST_LOG");
        command.args(["small.toml", "--member", task, "--until", "classifier", "--device", "cpu", "--no-progress"]);
        command.args(["--set", "model.weights.pretrain.steps=400"]).stderr(std::process::Stdio::piped());
        command.spawn().expect("it starts")
    };
    let both = [start("a-seed-1"), start("b-seed-1")];
    for process in both {
        let ended = process.wait_with_output().expect("it ends");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    let stages = |task: &str| place.json(&format!("results/small/members/{task}/manifest.json"))["stages"].clone();
    let (a, b) = (stages("a-seed-1"), stages("b-seed-1"));
    let first = |stages: &Value| stages[0].clone();
    assert_eq!(first(&a)["key"], first(&b)["key"]);
    assert_ne!(first(&a)["cached"], first(&b)["cached"], "one of them made it: {a:#} {b:#}");
}

/// sbatch, squeue and scancel that keep jobs as files: JOBS/ID holds a name and the tasks of its array.
fn slurm(place: &Place) {
    let bin = place.path("bin");
    fs::create_dir_all(&bin).expect("a folder");
    fs::create_dir_all(place.path("jobs")).expect("a folder");
    let jobs = place.path("jobs");
    let jobs = jobs.display();
    let scripts = [
        (
            "sbatch",
            format!(
                "echo \"$@\" >>{jobs}.log\nscript=${{!#}}\n[ ! -e {jobs}.refuse ] || [[ $script != *$(cat {jobs}.refuse)* ]] || {{ echo 'sbatch: error: invalid partition specified: p' >&2; exit 1; }}\n\
                 id=$(($(ls {jobs} | wc -l) + 10))\n{{ sed -n 's/^#SBATCH --job-name=//p' $script; sed -n 's/^#SBATCH --array=0-//p' $script; }} >{jobs}/$id\necho $id\n"
            ),
        ),
        (
            "squeue",
            format!(
                "for file in {jobs}/*; do [ -e $file ] || continue\nid=$(basename $file); {{ read -r name; read -r last; }} <$file\n[[ \" $* \" == *$name* ]] || continue\n\
                 if [ -z \"$last\" ]; then echo \"$id|$id|N/A|$name|PENDING|(Dependency)|\"; else for i in $(seq 0 $last); do echo \"${{id}}_$i|$id|$i|$name|RUNNING|None|n1\"; done; fi\ndone\nexit 0\n"
            ),
        ),
        ("scancel", format!("echo \"scancel $@\" >>{jobs}.log\n")),
    ];
    for (name, text) in scripts {
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/bash\n{text}")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("may be run");
    }
}

fn cluster(place: &Place, arguments: &[&str], code: i32) -> (String, String) {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = place.runner(&[&["cluster"][..], arguments].concat());
    let done = command
        .env("PATH", format!("{}:{path}", place.path("bin").display()))
        .timeout(Duration::from_secs(120))
        .assert();
    let done = done.code(code);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&done.get_output().stdout), text(&done.get_output().stderr))
}

#[test]
fn a_second_submit_finds_the_first_even_where_its_numbers_were_lost() {
    let place = Place::new();
    place.write("cluster.toml", CLUSTERS);
    slurm(&place);
    let submit = ["submit", "small.toml", "--cluster", "here"];
    let (out, said) = cluster(&place, &submit, 0);
    assert_eq!(out, "10 1-wave-1, 2 tasks\n11 1-members, 4 tasks\n12 1-gather\n", "{said}");
    let log = place.read("jobs.log");
    assert!(log.contains("--dependency=afterany:10 ") && log.contains("--dependency=afterany:10:11 "), "{log}");
    let ledger = place.json("results/small/cluster/jobs.json");
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/cluster_jobs.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(schema).expect("a schema")).expect("JSON");
    assert!(jsonschema::validator_for(&schema).expect("a schema").is_valid(&ledger), "{ledger:#}");

    let (out, said) = cluster(&place, &submit, 0);
    assert!(out.is_empty() && said.contains("0 done, 4 waiting or running from before, 0 submitted"), "{out}{said}");
    // The program was killed between sbatch and the ledger.
    let mut lost = ledger;
    lost["submissions"][0]["jobs"].as_array_mut().expect("jobs").iter_mut().for_each(|job| job["id"] = Value::Null);
    place.write("results/small/cluster/jobs.json", &lost.to_string());
    let (out, said) = cluster(&place, &submit, 0);
    assert!(out.is_empty() && said.contains("4 waiting or running from before, 0 submitted"), "{out}{said}");

    let (out, _) = cluster(&place, &["status", "small.toml", "--cluster", "here"], 0);
    assert!(
        out.contains("a-seed-1")
            && out.contains("11_0 RUNNING on n1")
            && out.contains("1-gather: 12 PENDING (Dependency)"),
        "{out}"
    );
    let (_, said) = cluster(&place, &["status", "small.toml", "--cluster", "there"], 2);
    assert!(said.contains("was submitted to here, not to there"), "{said}");
    let (_, said) = cluster(&place, &["cancel", "results/small"], 0);
    assert!(said.contains("1 taken out of the queue, 6 save and end"), "{said}");
    let log = place.read("jobs.log");
    assert!(log.contains("scancel --state=PENDING 12") && log.contains("scancel --batch --signal=TERM 10_0"), "{log}");
    assert!(place.path("results/small/cluster/cancelled").exists());
    // They have ended; one task is done.
    fs::remove_dir_all(place.path("jobs")).expect("removed");
    fs::create_dir(place.path("jobs")).expect("a folder");
    place.run(&["small.toml", "--member", "a-seed-1"]).code(0);
    let (out, _) = cluster(&place, &submit, 0);
    assert_eq!(out, "10 2-wave-1, 1 tasks\n11 2-members, 3 tasks\n12 2-gather\n");
    assert!(!place.path("results/small/cluster/cancelled").exists());
    let script = place.read("results/small/cluster/2-members.sh");
    assert!(
        script.contains("tasks=(a-seed-2 b-seed-1 b-seed-2)") && script.contains("#SBATCH --partition=\"p\""),
        "{script}"
    );
}

#[test]
fn what_an_engine_refuses_loses_nothing_and_what_is_wrong_is_said() {
    let place = Place::new();
    place.write("cluster.toml", CLUSTERS);
    let submit = ["submit", "small.toml", "--cluster", "here"];
    // Without Slurm: scripts for all that, and nothing written.
    let mut dry = place.runner(&[&["cluster"][..], &submit, &["--dry-run"]].concat());
    let dry = dry.env("PATH", place.path("bin")).assert().code(0);
    let out = String::from_utf8_lossy(&dry.get_output().stdout).into_owned();
    assert!(
        out.contains("# 1-members.sh\n#!/bin/bash") && out.contains("--until") && out.contains("--gather"),
        "{out}"
    );
    assert!(!place.path("results").exists());
    let said = place.runner(&[&["cluster"][..], &submit].concat()).env("PATH", place.path("bin")).assert().code(1);
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(said.contains("there is no sbatch here") && said.contains("--dry-run"), "{said}");
    // A refusal in the middle: what was handed over before is found.
    slurm(&place);
    place.write("jobs.refuse", "members");
    let (_, said) = cluster(&place, &submit, 1);
    assert!(
        said.contains("sbatch refuses: sbatch: error: invalid partition specified: p") && said.contains("members.sh"),
        "{said}"
    );
    fs::remove_file(place.path("jobs.refuse")).expect("removed");
    let (out, _) = cluster(&place, &submit, 0);
    assert!(out.contains("members, 4 tasks") && !out.contains("wave"), "{out}");
    assert!(
        place.read("jobs.log").lines().last().is_some_and(|l| l.contains("afterany:10:11 ")),
        "{}",
        place.read("jobs.log")
    );

    for (text, arguments, part) in [
        (CLUSTERS, &["submit", "small.toml", "--cluster", "hre"][..], "did you mean \"here\"?"),
        (
            "cluster_version = 1\n[cluster.here]\nsubmitt = 1\n",
            &submit,
            "cluster.toml:3:1: cluster.here.submitt: unknown key",
        ),
        (CLUSTERS, &["submit", "tiny.toml", "--cluster", "here"], "is no suite"),
        (CLUSTERS, &["status", "tiny.toml"], "neither a suite nor a results directory"),
        (CLUSTERS, &["cancel", "bin"], "nothing was submitted"),
    ] {
        place.write("cluster.toml", text);
        let (_, said) = cluster(&place, arguments, 2);
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    place.write("cluster.toml", "[cluster.x]\ngrace = \"long\"\n");
    let checked = place.runner(&["validate", "cluster.toml"]).assert().code(2);
    let out = String::from_utf8_lossy(&checked.get_output().stdout).into_owned();
    assert!(out.contains("cluster_version") && out.contains("cluster.toml:2:1: cluster.x.grace"), "{out}");
}
