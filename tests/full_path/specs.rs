//! Every spec and suite that is not made for one machine alone starts from the stand-in without any place on the
//! command line, and runs to its end or until it waits for people.

use super::world::World;
use std::fs;
use std::path::{Path, PathBuf};

/// What the numbers of the paper become; the pipeline stays what it is.
const SMALLER: [&str; 22] = [
    "policy.episodes=16",
    "policy.batch_size=8",
    "policy.blocks=1",
    "policy.whiten_in=minibatch",
    "policy.epochs=1",
    "policy.checkpoint_every=1000",
    "reward.batch_size=2",
    "reward.normalize_samples=8",
    "collect.labels=40",
    "collect.held_out=8",
    "evaluate.queries=6",
    "evaluate.optimum_queries=2",
    "evaluate.optimum_samples=4",
    "evaluate.samples=2",
    "supervised.lrs=[1e-4]",
    "supervised.batch_size=4",
    "supervised.sequence_length=128",
    "supervised.validation=10",
    "labeler.classifier.dimensions={ layers = 1, heads = 1, width = 8, context = 128 }",
    "labeler.classifier.steps=4",
    "labeler.classifier.batch_size=4",
    "guards.ratio_tolerance=1.0",
];

/// Those that need files which only their user has, or make everything themselves and are run elsewhere, with why.
const LEFT_OUT: [(&str, &str); 9] = [
    (
        "learners.toml",
        "the quickstart's world, and learners whose keys are not PPO's; tests/suites.rs runs its smoke profile",
    ),
    ("local_text.toml", "is for a text of one's own; its command names it"),
    ("quickstart.toml", "makes its own world; its smoke profile and its command are run by other tests"),
    ("sentiment_judge.toml", "asks a language model; tests/outside does, with a stand-in"),
    ("storyworld_command.toml", "the quickstart's world; tests/outside runs its smoke profile"),
    ("storyworld.toml", "makes the quickstart's model in twelve minutes from a world of its own"),
    ("storyworld_batched.toml", "the quickstart's world"),
    ("storyworld_online.toml", "the quickstart's world"),
    ("tldr_simulated.toml", "makes its own world"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(kind: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(root().join("specs")).expect("specs").map(|entry| entry.expect("an entry").path());
    let version = format!("{kind}_version");
    let of_kind = |path: &PathBuf| {
        path.extension().is_some_and(|e| e == "toml")
            && fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line.starts_with(&version)))
    };
    let mut found: Vec<PathBuf> = all.filter(of_kind).collect();
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Exit code and output of a shrunk run.
fn run(world: &World, path: &Path, more: &[&str]) -> (i32, String) {
    let mut command = world.runner();
    // The specs say 124M and 774M, for which this machine may have no room; the stand-in's weights are small.
    command.arg(path).args(["--device", "cpu", "--no-progress", "--no-memory-check"]);
    for set in SMALLER {
        command.args(["--set", set]);
    }
    let out = command.args(more).output().expect("it runs");
    (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn the_full_path_of_every_spec_and_suite_starts_with_its_own_command() {
    let world = World::new();
    let mut failed = Vec::new();
    let left_out = |path: &PathBuf| LEFT_OUT.iter().any(|(left, _)| *left == name(path));
    for path in files("spec").into_iter().filter(|path| !left_out(path)) {
        let human = fs::read_to_string(&path).expect("a spec").contains("kind = \"human\"");
        let (code, text) = run(&world, &path, &[]);
        // People answer where people are asked.
        if code != if human { 3 } else { 0 } {
            failed.push(format!("{}: exit code {code}\n{text}", name(&path)));
        }
    }
    for path in files("suite").into_iter().filter(|path| !left_out(path)) {
        let (code, text) = run(&world, &path, &["--seeds", "1", "--set", "preference.contexts=4"]);
        if code != 0 && code != 3 {
            failed.push(format!("{}: exit code {code}\n{text}", name(&path)));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn label_files_that_are_not_the_tasks_are_refused_by_the_run() {
    let world = World::new();
    let path = root().join("specs/sentiment_5k_offline.toml");
    let label = "lm-human-preferences/labels/sentiment/offline_5k.json";
    let refused = |content: &[u8], words: &[&str]| {
        world.server.plain(label, content);
        let _ = fs::remove_dir_all(world.path("sources"));
        let (code, text) = run(&world, &path, &[]);
        assert!(code == 2 && words.iter().all(|word| text.contains(word)), "{code} {words:?}: {text}");
    };
    refused(&world.labels("tldr"), &["these labels are of another task"]);
    let whole = world.labels("sentiment");
    refused(&whole[..whole.len() / 2], &["offline_5k.json", "it is truncated"]);
}

#[test]
fn nothing_is_left_out_that_is_not_there() {
    for (left, why) in LEFT_OUT {
        assert!(root().join("specs").join(left).is_file(), "{left} ({why})");
    }
}
