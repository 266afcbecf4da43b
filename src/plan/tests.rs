use super::device::Target;
use super::memory::Hardware;
use super::throughput::Throughput;
use super::*;
use crate::spec::{Options, load};
use std::path::PathBuf;

fn here() -> Target {
    Target {
        name: "a CPU".into(),
        hardware: Hardware::Cpu { threads: 2 },
        kind: Some("cpu".into()),
        memory: Some(16_000_000_000),
        memory_from: "for a test",
        largest_buffer: None,
        measured_as: None,
    }
}

fn runs(text: &str, seed: u64, member: &str) -> Vec<Run> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spec.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = load(&path, &Options { seed: Some(seed), ..Options::default() }).unwrap();
    let variants = loaded.variants.clone();
    Run::of(&loaded, variants, Some(member))
}

fn planned(runs: &[Run], target: &Target) -> Plan {
    let cache = Cache::new("nowhere/.cache");
    let throughput = Throughput::Given(1e12);
    let out = PathBuf::from("nowhere/out");
    plan(&Place { name: "t", out: &out, cache: &cache, target, throughput: &throughput }, runs).unwrap()
}

const TWO: &str = r#"
spec_version = 1
name = "two"
model = { size = "test", weights = { pretrain = { vocabulary = 512, passages = 300, steps = 10 } } }
task = { preset = "sentiment", data = { synthetic = "storyworld" } }
labeler = { kind = "mock", reviews = { synthetic = "reviews" }, classifier = { reviews = 200, steps = 10 } }
[runs.direct]
collect = { schedule = "direct" }
[runs.offline]
collect = { schedule = "offline", labels = 100 }
"#;

#[test]
fn a_stage_that_two_runs_share_counts_once() {
    let all = runs(TWO, 1, "two-seed-1");
    let together = planned(&all, &here());
    let alone: Vec<Plan> = all.iter().map(|run| planned(std::slice::from_ref(run), &here())).collect();
    let names = |plan: &Plan| plan.stages.iter().map(|s| s.stage.clone()).collect::<Vec<_>>();
    assert_eq!(names(&alone[0]), ["pretrain", "classifier", "policy", "evaluate"]);
    assert_eq!(names(&alone[1]), ["pretrain", "classifier", "labels", "reward", "policy", "evaluate"]);
    let shared: Vec<&StagePlan> = together.stages.iter().filter(|s| s.runs.len() == 2).collect();
    assert_eq!(shared.iter().map(|s| s.stage.as_str()).collect::<Vec<_>>(), ["pretrain", "classifier"]);
    let saved: f64 = shared.iter().filter_map(|s| s.flops).sum();
    let sum = alone[0].totals.flops + alone[1].totals.flops;
    assert!((together.totals.flops + saved - sum).abs() < 1e-6 * sum && saved > 0.0);
    assert_eq!(together.totals.flops_shared, saved);
    let seconds = together.totals.seconds_to_do.unwrap();
    assert!((seconds * 1e12 / together.totals.flops - 1.0).abs() < 1e-9, "{seconds}");
    // Another seed shares nothing but what no seed enters.
    let both = planned(&[all, runs(TWO, 2, "two-seed-2")].concat(), &here());
    assert!(both.stages.iter().all(|s| s.runs.len() <= 2), "{both:#?}");
}

#[test]
fn weights_that_are_not_here_are_shared_and_estimated_all_the_same() {
    let text = r#"
spec_version = 1
name = "large"
follows = "paper"
model = { size = "774M", weights = { hf = "openai-community/gpt2-large", revision = "0000000000000000000000000000000000000000" } }
task = { preset = "tldr", data = { path = "", format = "jsonl" } }
labeler = { kind = "recorded", path = "" }
"#;
    let all = [runs(text, 1, "large-seed-1"), runs(text, 2, "large-seed-2")].concat();
    let found = planned(&all, &here());
    assert_eq!(found.runs[0].parameters, Some(774_030_080.0));
    let import = &found.stages[0];
    // The seed does not enter into weights that are given.
    assert_eq!((import.stage.as_str(), import.state, import.runs.len()), ("import", State::Unknown, 2));
    // Recorded labels are read, not computed.
    let worked = |s: &StagePlan| s.stage == "labels" || s.flops > Some(1e12);
    assert!(found.stages.iter().all(|s| s.key.is_none() && worked(s)), "{found:#?}");
    assert!(found.missing.iter().any(|m| m.contains("task.data.path")), "{:?}", found.missing);
    assert!(found.missing.iter().any(|m| m.contains("labeler.path")), "{:?}", found.missing);
    let fetch = &found.fetches[0];
    assert_eq!((fetch.name.as_str(), fetch.present), ("openai-community/gpt2-large", false));
    let said = text::answer(&found);
    assert!(said.contains("EFLOP") && said.contains("3.25 GB to fetch"), "{said}");
}

#[test]
fn a_device_that_is_not_here_has_a_cache_that_nobody_knows() {
    let elsewhere = Target { kind: None, hardware: Hardware::Gpu, ..here() };
    let found = planned(&runs(TWO, 1, "two-seed-1"), &elsewhere);
    assert!(found.stages.iter().all(|s| s.state == State::Unknown && s.key.is_none()));
    assert!(found.totals.flops_to_do > 0.0 && found.totals.flops_to_do == found.totals.flops);
    assert!(text::text(&found, false).contains("cannot be known here"));
}

#[test]
fn what_people_have_not_answered_comes_after_them() {
    let text = TWO
        .replace(
            "kind = \"mock\", reviews = { synthetic = \"reviews\" }, classifier = { reviews = 200, steps = 10 }",
            "kind = \"human\", batches = \"nowhere/labels\"",
        )
        .replace("[runs.direct]\ncollect = { schedule = \"direct\" }\n", "");
    let found = planned(&runs(&text, 1, "two-seed-1"), &here());
    let states: Vec<(&str, State)> = found.stages.iter().map(|s| (s.stage.as_str(), s.state)).collect();
    assert_eq!(states[0], ("pretrain", State::ToDo));
    assert!(states[1..].iter().all(|(_, state)| *state == State::AfterPeople), "{states:?}");
    assert_eq!((found.missing.len(), found.totals.unknown), (0, 0));
}
