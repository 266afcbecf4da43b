//! The authors' models by name, from checkpoints of the released form under their true addresses on the stand-in. The
//! files themselves are not reachable from where this program is developed; that TensorFlow's own files are read is
//! shown by tests/import.rs.

use super::stand_in_hub::Fault;
use super::world::World;
use std::fs;

const SPEC: &str = "spec_version = 1
name = \"against_theirs\"
model = { weights = { source = \"gpt2\" } }
task = { preset = \"sentiment\" }
reward = { source = \"released/sentiment/reward_model\" }
";

const SMALL: [&str; 11] = [
    "policy.episodes=16",
    "policy.batch_size=8",
    "policy.blocks=1",
    "policy.whiten_in=minibatch",
    "policy.epochs=1",
    "evaluate.queries=6",
    "evaluate.optimum_queries=2",
    "evaluate.optimum_samples=4",
    "evaluate.samples=2",
    "guards.ratio_tolerance=1.0",
    "guards.negative_kl=1000.0",
];

fn runner(world: &World, args: &[&str]) -> (i32, String, String) {
    let out = world.runner().args(args).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
}

fn run(world: &World, spec: &str, out: &str) -> String {
    let mut args = vec![spec, "--device", "cpu", "--no-progress", "--no-memory-check", "--out", out];
    SMALL.iter().for_each(|set| args.extend(["--set", set]));
    let (code, _, text) = runner(world, &args);
    assert_eq!(code, 0, "{text}");
    text
}

#[test]
fn five_lines_optimise_the_authors_reward_model_and_reports_say_whose_it_is() {
    let world = World::new();
    fs::write(world.path("spec.toml"), SPEC).expect("written");
    let (code, listed, text) = runner(&world, &["fetch", "spec.toml", "--dry-run"]);
    assert!(code == 0 && listed.contains("released/sentiment/reward_model"), "{listed} {text}");
    assert!(!listed.contains("reviews") && !listed.contains("labels/"), "nobody is asked for labels: {listed}");
    world.server.seen();
    let (code, _, text) = runner(&world, &["fetch", "spec.toml", "--no-progress"]);
    assert_eq!(code, 0, "{text}");
    let asked: Vec<String> = world.server.seen().into_iter().map(|seen| seen.path).collect();
    for file in [
        "hparams.json",
        "checkpoints/checkpoint",
        "checkpoints/model.ckpt.index",
        "checkpoints/model.ckpt.data-00000-of-00001",
    ] {
        let path = format!("/plain/lm-human-preferences/runs/sentiment/reward_model/{file}");
        assert!(asked.contains(&path), "{path}: {asked:?}");
    }
    run(&world, "spec.toml", "theirs");
    // What is here is not asked for again.
    let again = world.server.seen();
    assert!(!again.iter().any(|seen| seen.path.contains("/runs/")), "{again:?}");
    let scores = fs::read_to_string(world.path("theirs/tables/scores.md")).expect("a table");
    assert!(scores.lines().filter(|l| l.starts_with("| main (r: authors' release)")).count() > 3, "{scores}");
    let title = scores.lines().next().unwrap_or_default();
    assert!(title.contains("authors' release"), "{title}");
    let manifest = fs::read_to_string(world.path("theirs/manifest.json")).expect("a manifest");
    assert!(manifest.contains("released/sentiment/reward_model"), "{manifest}");

    // Their policy beside ρ, under the same r, and the two runs beside each other.
    let both = format!("{SPEC}policy = {{ source = \"released/sentiment/policy\" }}\n");
    fs::write(world.path("both.toml"), both).expect("written");
    let text = run(&world, "both.toml", "both");
    assert!(text.contains("main (authors' release; r: authors' release)"), "{text}");
    assert!(!world.path("both/runs/main/metrics.jsonl").exists(), "nothing is trained");
    let (_, compared, text) = runner(&world, &["compare", "theirs", "both"]);
    assert!(compared.contains("both (authors' release; r: authors' release)"), "{compared} {text}");
    let of = "main (A: r: authors' release, B: authors' release; r: authors' release)";
    assert!(compared.contains(of), "{compared}");
}

#[test]
fn an_address_is_imported_and_what_is_damaged_on_the_way_is_refused_by_its_place() {
    let world = World::new();
    let base = "https://openaipublic.blob.core.windows.net";
    let import = |address: &str, to: &str| {
        runner(&world, &["import", "tensorflow", &format!("{base}/{address}"), "--to", to, "--no-progress"])
    };
    let (code, _, text) = import("gpt-2/models/124M", "gpt2");
    assert!(code == 0 && text.contains("the language model in model"), "{text}");
    let (code, _, text) = import("lm-human-preferences/runs/tldr/policy/", "policy");
    assert!(code == 0 && text.contains("the policy in policy"), "{text}");
    let (code, _, text) = runner(&world, &["sample", "--model", "policy", "--prompt", "TL;DR:", "--device", "cpu"]);
    assert_eq!(code, 0, "{text}");

    let runs = "lm-human-preferences/runs/cnndm/reward_model";
    world.server.fault("cnndm/reward_model/checkpoints/model.ckpt.index", 100, Fault::Corrupt);
    let (code, _, text) = import(runs, "x");
    assert!(code == 2 && text.contains("the block at byte 0 has another check sum"), "{code} {text}");
    let runs = "lm-human-preferences/runs/cnndm/policy";
    world.server.fault("cnndm/policy/checkpoints/model.ckpt-1954.data", 100, Fault::Corrupt);
    let (code, _, text) = import(runs, "y");
    assert!(code == 2 && text.contains("tensor `policy/model/h0/attn/c_attn/b`"), "{code} {text}");
    let (code, _, text) = import("lm-human-preferences/runs/nobody/policy", "z");
    assert!(
        code != 0 && text.contains("runs/nobody/policy/hparams.json") && text.contains("not there"),
        "{code} {text}"
    );
    assert!(!world.path("x/config.json").exists() && !world.path("y/config.json").exists());
}
