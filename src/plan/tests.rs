use super::device::Target;
use super::memory::Hardware;
use super::throughput::Throughput;
use super::*;
use crate::model::gpu::Limits;
use crate::spec::{Options, load};
use std::path::PathBuf;

fn here() -> Target {
    Target {
        name: "a CPU".into(),
        hardware: Hardware::Cpu { threads: 2 },
        ranks: 1,
        kind: Some("cpu".into()),
        memory: Some(16_000_000_000),
        memory_from: "for a test",
        largest_buffer: None,
        measured_as: None,
    }
}

fn runs(text: &str, seed: u64, member: &str) -> Vec<PlannedRun> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spec.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = load(&path, &Options { seed: Some(seed), ..Options::default() }).unwrap();
    let variants = loaded.variants.clone();
    PlannedRun::of(&loaded, variants, Some(member))
}

fn planned(runs: &[PlannedRun], target: &Target) -> Plan {
    let cache = Cache::new("nowhere/.cache");
    let throughput = Throughput::Given(1e12);
    let out = PathBuf::from("nowhere/out");
    plan(&PlanPlace { name: "t", out: &out, cache: &cache, target, throughput: &throughput }, runs).unwrap()
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
    // Figure 3's curve is of both policies, and made after the last.
    let curve = together.stages.iter().find(|s| s.stage == "frontier").expect("two policies under r_s");
    assert_eq!((&curve.runs, together.runs[1].stages.last()), (&vec![1], Some(&(together.stages.len() - 1))));
    let sum = alone[0].totals.flops + alone[1].totals.flops + curve.flops.unwrap();
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
    assert_eq!((import.stage.as_str(), import.state, import.runs.len()), ("import", StageState::Unknown, 2));
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
    let elsewhere = Target { kind: None, hardware: Hardware::Gpu(Limits::default()), ..here() };
    let found = planned(&runs(TWO, 1, "two-seed-1"), &elsewhere);
    assert!(found.stages.iter().all(|s| s.state == StageState::Unknown && s.key.is_none()));
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
    let states: Vec<(&str, StageState)> = found.stages.iter().map(|s| (s.stage.as_str(), s.state)).collect();
    assert_eq!(states[0], ("pretrain", StageState::ToDo));
    assert!(states[1..].iter().all(|(_, state)| *state == StageState::AfterPeople), "{states:?}");
    assert_eq!((found.missing.len(), found.totals.unknown), (0, 0));
}

#[test]
fn a_plan_counts_what_a_run_would_keep_and_drop() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let documents: String = (0..30).map(|i| format!("{{\"text\": \"The cat number {i} sat. It slept.\"}}\n")).collect();
    let documents = put("docs.jsonl", &documents);
    let reviews: String = (0..12).map(|i| format!("good {i}\t5\nbad {i}\t1\nso so\t3\n")).collect();
    let reviews = put("reviews.tsv", &reviews);
    let label = r#"{"query": [40], "sample0": [1], "sample1": [2], "sample2": [3], "sample3": [4], "best": 1}"#;
    let labels = put("labels.json", &format!("[{}]", [label; 9].join(",")));
    let planned_with = |labeler: &str| {
        let text = format!(
            r#"
spec_version = 1
name = "given"
model = {{ size = "test", weights = {{ pretrain = {{ tokenizer = "gpt2" }} }} }}
task = {{ data = {{ path = "{documents}" }}, query_length = 12, query_min_length = 2 }}
labeler = {labeler}
collect = {{ labels = 5, held_out = 2 }}
policy = {{ batch_size = 8, episodes = 8, minibatches = 1 }}
reward = {{ batch_size = 1 }}
evaluate = {{ queries = 2, optimum_queries = 2, samples = 2 }}
"#
        );
        planned(&[runs(&text, 1, "a"), runs(&text, 2, "b")].concat(), &here())
    };
    let mock = planned_with(&format!("{{ kind = \"mock\", reviews = {{ path = \"{reviews}\" }} }}"));
    let said: Vec<String> = mock.reads.iter().map(ToString::to_string).collect();
    // Each source once, whatever the number of runs; in the order in which a run reads them.
    assert_eq!(said.len(), 4, "{said:#?}");
    assert_eq!(said[0], "task.data: 30 documents of 1 file, 30 kept");
    assert!(said[1].starts_with("task: 27 training documents, 27 kept; they give "), "{said:#?}");
    assert!(said[3].starts_with("labeler.reviews: 36 reviews of 1 file, 24 kept; dropped: 12 of 3 stars"), "{said:#?}");
    assert!(mock.missing.is_empty() && text::text(&mock, false).contains("\nread\ntask.data: 30 documents"));
    let recorded = planned_with(&format!("{{ kind = \"recorded\", path = \"{labels}\" }}"));
    let last = recorded.reads.last().unwrap().to_string();
    assert!(last.contains("9 labels of 1 file, 7 kept; dropped: 2 not drawn"), "{last}");
    // What would stop the run is said before it.
    std::fs::write(dir.path().join("reviews.tsv"), "good\t5\nbad\t1\n").unwrap();
    let few = planned_with(&format!("{{ kind = \"mock\", reviews = {{ path = \"{reviews}\" }} }}"));
    assert!(few.missing.iter().any(|m| m.contains("only 1 reviews in the smaller class")), "{:?}", few.missing);
}

#[test]
fn ranks_have_a_part_of_the_memory_and_say_what_they_exchange() {
    let text = r#"
spec_version = 1
name = "large"
model = { size = "124M", weights = { hf = "openai-community/gpt2" } }
labeler = { kind = "recorded", path = "" }
policy = { batch_size = 512, episodes = 512, epochs = 4, minibatches = 1, blocks = 8 }
"#;
    let runs = runs(text, 1, "large");
    let (alone, eight) = (planned(&runs, &here()), planned(&runs, &Target { ranks: 8, ..here() }));
    let memory = |plan: &Plan, stage: &str| plan.stages.iter().find(|s| s.stage == stage).unwrap().memory.unwrap();
    for stage in ["reward", "policy"] {
        let (one, of_eight) = (memory(&alone, stage), memory(&eight, stage));
        assert!((one.adam / of_eight.adam - 8.0).abs() < 1e-9 && one.weights == of_eight.weights, "{stage}");
    }
    assert!((alone.totals.seconds_to_do.unwrap() / eight.totals.seconds_to_do.unwrap() - 8.0).abs() < 1e-9);
    assert!(alone.runs[0].ranks.is_none() && !text::text(&alone, false).contains("\nranks "));
    let ranks = eight.runs[0].ranks.clone().unwrap();
    let weights = 4.0 * alone.runs[0].parameters.unwrap();
    assert_eq!((ranks.episodes, ranks.adam_bytes), (Some((64, 512)), 2.0 * weights / 8.0));
    // docs/mpi.md: 2 · 4 bytes · parameters · (N - 1) / N for each of four steps.
    assert_eq!(ranks.exchanged_bytes, Some(4.0 * 2.0 * weights * 7.0 / 8.0));
    let said = text::text(&eight, false);
    assert!(
        said.contains("\nranks     8 ranks: each works on 64 of 512 episodes of an update and keeps 124 MB"),
        "{said}"
    );
    assert!(said.contains("sends and receives 3.48 GB per update, 2.8 s on 10 Gb/s"), "{said}");
    let refused = ranks::fit("large", &runs[0].spec, 3).unwrap_err();
    assert!(refused.contains("3 ranks do not divide policy.blocks = 8"), "{refused}");
}
