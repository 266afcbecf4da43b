//! Suites from outside: a member that fails does not lose the others, the same command continues, people are waited
//! for, and the tables say what they are of.

mod common;

use common::{CLASSIFIER, LEARNING, Place, STORIES};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// With simulated labelers.
fn spec() -> String {
    let labeler = "kind = \"simulated\"\nsimulated = { weight_score = 1.0, weight_copy = 0.0 }\n";
    let collect = "[collect]\nlabels = 32\nheld_out = 8\n[reward]\nbatch_size = 8\nnormalize_samples = 16\n";
    let smoke = "[profile.smoke]\npolicy = { episodes = 16 }\n";
    format!("{STORIES}[labeler]\n{labeler}{CLASSIFIER}{collect}{LEARNING}{smoke}")
}

const SUITE: &str = r#"
suite_version = 1
name = "small"
description = "Two members and one that fails"
makes = "table1_style_preference"
seeds = [1]
[members.broken]
spec = "tiny.toml"
label = "5k offline"
set = { "model.weights.path" = "weights" }
[members.five]
spec = "tiny.toml"
label = "5k offline"
[members.longer]
spec = "tiny.toml"
label = "5k online"
set = { "policy.episodes" = 64 }
[preference]
kind = "simulated"
contexts = 8
[[comparisons]]
a = "five"
b = "zero-shot"
[[comparisons]]
a = "longer"
b = "five"
[[comparisons]]
a = "broken"
b = "zero-shot"
task = "descriptiveness"
"#;

impl Place {
    fn new() -> Self {
        let place = Self::with(&[("tiny.toml", &spec()), ("small.toml", SUITE)]);
        fs::create_dir(place.path("weights")).expect("a directory");
        place
    }
    fn run(&self, arguments: &[&str]) -> assert_cmd::assert::Assert {
        self.on_cpu(arguments).assert()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn row(table: &Value, task: &str, name: &str) -> Value {
    let rows = table["rows"].as_array().expect("rows");
    rows.iter()
        .find(|row| row["name"] == name && row["run"] == task)
        .unwrap_or_else(|| panic!("no row {name:?} in {table:#}"))
        .clone()
}

#[test]
fn a_member_that_fails_does_not_lose_the_others_and_the_same_command_continues() {
    let place = Place::new();
    // Weights that are not there are wrong input.
    let first = place.run(&["small.toml"]).code(2);
    let out = text(&first.get_output().stdout);
    assert!(out.contains("| sentiment | 5k offline against zero-shot |"), "{out}");
    let manifest = place.json("results/small/manifest.json");
    let states: Vec<&str> =
        manifest["members"].as_array().expect("members").iter().filter_map(|m| m["state"].as_str()).collect();
    assert_eq!((states, &manifest["state"]), (vec!["failed", "done", "done"], &json!("failed")));
    assert!(manifest["members"][0]["error"].as_str().is_some_and(|e| e.contains("weights")), "{manifest:#}");

    let table = place.json("results/small/tables/table1_style_preference.json");
    let won = row(&table, "sentiment", "5k offline against zero-shot");
    assert_eq!((&won["paper"], &won["n"], &won["seeds"]), (&json!(88.0), &json!(8), &json!([1])));
    assert!(won["value"].is_number() && won["low"].as_f64() < won["high"].as_f64());
    assert!(won["verdict"].as_str().is_some_and(|v| v.ends_with("not the paper's setting")), "{won}");
    let lost = row(&table, "descriptiveness", "5k offline against zero-shot");
    assert!(lost["value"].is_null() && lost["paper"] == 86.0);
    assert!(lost["verdict"].as_str().is_some_and(|v| v.starts_with("missing: broken: seed 1: failed")), "{lost}");
    let title = table["title"].as_str().expect("a title");
    assert!(title.contains("synthetic text") && title.contains("simulated labelers"), "{title}");

    // Every file has its schema.
    for (file, schema) in [
        ("manifest.json", "suite_manifest"),
        ("tables/table1_style_preference.json", "table"),
        ("asked/five-vs-zero-shot-seed-1.json", "compared"),
        ("asked/five-vs-zero-shot-seed-1/batch.json", "batch"),
    ] {
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{schema}.schema.json"));
        let schema: Value = serde_json::from_str(&fs::read_to_string(schema).expect("a schema")).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let value = place.json(&format!("results/small/{file}"));
        assert!(validator.is_valid(&value), "{file}: {value:#}");
    }
    // A win rate by hand, from the answers' votes.
    let compared = place.json("results/small/asked/five-vs-zero-shot-seed-1.json");
    let decided = compared["decided"].as_array().expect("items");
    let wins = decided.iter().filter(|d| d["votes_a"].as_u64() > d["votes_b"].as_u64()).count();
    assert!(
        decided.len() == 8
            && decided
                .iter()
                .all(|d| d["votes_a"].as_u64().zip(d["votes_b"].as_u64()).is_some_and(|(a, b)| a + b == 3))
    );
    assert!((won["value"].as_f64().expect("a number") - 100.0 * wins as f64 / 8.0).abs() < 1e-9);

    let page = fs::read_to_string(place.path("results/small/report.html")).expect("a page");
    assert!(page.contains("Not the paper's setting") || page.contains("Not the paper&#39;s setting"));
    assert!(page.contains("broken, seed 1: failed"));
    assert!(place.path("results/small/plots/win_rates.svg").exists());
    assert!(place.path("results/small/members/five-seed-1/report.html").exists());

    // The member is mended; what was done is found done.
    for file in
        fs::read_dir(place.path("results/small/members/five-seed-1/models/reference")).expect("a model").flatten()
    {
        fs::copy(file.path(), place.path("weights").join(file.file_name())).expect("copied");
    }
    place.run(&["small.toml"]).code(0);
    let again = place.json("results/small/members/five-seed-1/manifest.json");
    assert!(again["stages"].as_array().is_some_and(|s| s.iter().all(|stage| stage["cached"] == true)), "{again:#}");
    let table = place.json("results/small/tables/table1_style_preference.json");
    assert!(row(&table, "descriptiveness", "5k offline against zero-shot")["value"].is_number());
    assert_eq!(row(&table, "sentiment", "5k offline against zero-shot"), won);
    assert_eq!(place.json("results/small/manifest.json")["state"], "done");

    // Drawn again from the directory alone, to the same bytes.
    let before = fs::read(place.path("results/small/tables/table1_style_preference.json")).expect("a table");
    fs::remove_dir_all(place.path("results/small/tables")).expect("removed");
    place.command(&["report", "results/small"]).assert().success();
    assert_eq!(fs::read(place.path("results/small/tables/table1_style_preference.json")).expect("a table"), before);

    // Another suite is refused there, and so is another profile.
    let refused = place.run(&["small.toml", "--profile", "smoke"]).code(2);
    assert!(text(&refused.get_output().stderr).contains("there is no profile \"smoke\" in small.toml"));
    let refused = place.run(&["small.toml", "--set", "preference.contexts=4"]).code(2);
    assert!(text(&refused.get_output().stderr).contains("holds results of another suite"));
    fs::remove_file(place.path("weights/config.json")).expect("removed");
    let plan = place.command(&["plan", "small.toml", "--device", "cpu"]).assert().success();
    let plan = text(&plan.get_output().stdout);
    // What the broken member would make is not done, and what its weights are is not known.
    assert!(plan.starts_with("small: 3 runs (3 members, 1 seed) on the CPU"), "{plan}");
    assert!(plan.contains("missing: ") && plan.contains("weights") && plan.contains("shared stages"), "{plan}");

    // Totals are those of distinct stages, and nothing is counted twice for being shared.
    let plan = place.command(&["plan", "small.toml", "--device", "cpu", "--format", "json"]).assert().success();
    let plan: Value = serde_json::from_slice(&plan.get_output().stdout).expect("JSON");
    let stages = plan["stages"].as_array().expect("stages");
    let keys: Vec<&str> = stages.iter().filter_map(|s| s["key"].as_str()).collect();
    let distinct: std::collections::BTreeSet<&&str> = keys.iter().collect();
    assert_eq!((keys.len(), keys.is_empty()), (distinct.len(), false), "{plan:#}");
    let sum: f64 = stages.iter().filter_map(|s| s["flops"].as_f64()).sum();
    let shared: f64 = stages
        .iter()
        .map(|s| s["flops"].as_f64().unwrap_or(0.0) * (s["runs"].as_array().expect("runs").len() - 1) as f64)
        .sum();
    let total = |key: &str| plan["totals"][key].as_f64().expect("a number");
    assert!((total("flops") / sum - 1.0).abs() < 1e-9 && sum > 0.0, "{plan:#}");
    assert!((total("flops_shared") / shared - 1.0).abs() < 1e-9 && shared > 0.0, "{plan:#}");
    // What depends on weights that are not there is not known, and says why.
    let unknown = |s: &Value| s["state"] == "unknown" && s["key"].is_null() && s["unknown"].is_string();
    assert!(stages.iter().any(unknown), "{plan:#}");
}

#[test]
fn a_suite_is_made_in_parts_and_the_table_says_what_was_left_out() {
    let place = Place::new();
    let said = |arguments: &[&str], code: i32| text(&place.run(arguments).code(code).get_output().stderr);
    let first = said(&["small.toml", "--members", "five"], 0);
    assert!(first.contains("small: 1 done, 2 left out"), "{first}");
    let table = || fs::read_to_string(place.path("results/small/tables/table1_style_preference.md")).expect("a table");
    assert!(table().contains("Left out by --members or --skip: broken, longer."), "{}", table());
    // What an earlier time has done stays done, and a failure is counted beside it.
    let second = said(&["small.toml", "--members", "longer"], 0);
    assert!(second.contains("small: 2 done, 1 left out"), "{second}");
    assert!(table().contains("Left out by --members or --skip: broken."), "{}", table());
    let whole = said(&["small.toml"], 2);
    assert!(whole.contains("small: 2 done, 1 failed"), "{whole}");
}

#[test]
fn people_are_asked_waited_for_and_heard() {
    let place = Place::new();
    let suite = SUITE.replace("kind = \"simulated\"\ncontexts = 8", "kind = \"human\"\ncontexts = 4\nlabelers = 1");
    let members = suite.split("[members.broken]").collect::<Vec<_>>();
    let rest = members[1].split_once("[members.five]").expect("a member").1;
    let suite =
        format!("{}[members.five]{}", members[0], rest.split("[[comparisons]]\na = \"longer\"").next().expect("text"));
    place.write("asks.toml", &suite);
    let waiting = place.run(&["asks.toml"]).code(3);
    let said = text(&waiting.get_output().stderr);
    assert!(said.contains("waits for people: 0 of 4 are answered in labels/small/five-vs-zero-shot-seed-1"), "{said}");
    let table = place.json("results/small/tables/table1_style_preference.json");
    assert!(
        row(&table, "sentiment", "5k offline against zero-shot")["verdict"]
            .as_str()
            .is_some_and(|v| v.contains("4 of 4 items wait"))
    );
    assert_eq!(place.json("results/small/manifest.json")["state"], "waiting");

    let batch = place.path("labels/small/five-vs-zero-shot-seed-1");
    let items = fs::read_to_string(batch.join("items.jsonl")).expect("items");
    let answers: String = items
        .lines()
        .enumerate()
        .map(|(i, line)| {
            let item: Value = serde_json::from_str(line).expect("an item");
            format!("{}\n", json!({ "item": item["id"], "best": usize::from(i == 0), "labeler": "ann" }))
        })
        .collect();
    fs::write(batch.join("answers.jsonl"), answers).expect("written");
    place.run(&["asks.toml"]).code(0);
    let table = place.json("results/small/tables/table1_style_preference.json");
    let won = row(&table, "sentiment", "5k offline against zero-shot");
    assert_eq!((&won["value"], &won["n"]), (&json!(75.0), &json!(4)));
    assert!(!table["title"].as_str().is_some_and(|t| t.contains("simulated labelers") && !t.contains("synthetic")));
}

/// A suite of tiny members without people: `members` as (name, label, keys).
fn of_members(makes: &str, spec: &str, members: &[(&str, &str, &str)], rest: &str) -> String {
    let members: String = members
        .iter()
        .map(|(name, label, set)| {
            format!("[members.{name}]\nspec = \"{spec}\"\nlabel = \"{label}\"\nset = {{ {set} }}\n")
        })
        .collect();
    format!("suite_version = 1\nname = \"{makes}\"\nmakes = \"{makes}\"\n{rest}{members}")
}

/// The tiny spec with r_s in people's place, which π is trained on itself.
fn direct_spec() -> String {
    spec()
        .replace("kind = \"simulated\"\nsimulated = { weight_score = 1.0, weight_copy = 0.0 }", "kind = \"mock\"")
        .replace("labels = 32\nheld_out = 8", "schedule = \"direct\"")
}

/// Figures 2 and 3 once had nothing of the paper behind them.
#[test]
fn the_papers_curves_and_points_stand_behind_ours_and_toys_are_not_judged_by_them() {
    let place = Place::new();
    place.write("direct.toml", &direct_spec());
    let members = [
        ("two", "direct", "\"policy.kl.target\" = 2.0"),
        ("four", "direct", "\"policy.kl.target\" = 4.0"),
        ("long", "direct, 64M episodes", "\"policy.kl.target\" = 4.0"),
    ];
    place.write("three.toml", &of_members("figure3_frontier", "direct.toml", &members, ""));
    place.run(&["three.toml"]).code(0);
    let table = place.json("results/figure3_frontier/tables/figure3_frontier.json");
    let score = |scope: &str| row(&table, scope, "score of π on held-out queries");
    assert_eq!(score("direct, target 2")["paper"], 0.629);
    assert_eq!(score("direct, 64M episodes, target 4")["paper"], 2.399);
    assert_eq!(score("direct, target 4")["verdict"], "not the paper's setting");
    let series = row(&table, "direct", "score less the paper's at the same target, mean over targets");
    assert_eq!((&series["n"], &series["verdict"]), (&json!(2), &json!("not the paper's setting")));
    let svg = fs::read_to_string(place.path("results/figure3_frontier/plots/figure3.svg")).expect("a plot");
    assert!(svg.contains("direct, 64M episodes") && svg.contains("dashed its optimum"), "{svg}");
    // The optimum is of all members' models together.
    let frontier = place.json("results/figure3_frontier/asked/frontier-seed-1.json");
    let names = |list: &Value, of: &dyn Fn(&Value) -> Value| list.as_array().expect("a list").iter().map(of).collect();
    let writers: Vec<Value> = names(&frontier["writers"], &|w| w.clone());
    assert_eq!(writers, ["reference", "two", "four", "long"]);
    let policies: Vec<Value> = names(&frontier["policies"], &|p| p["policy"].clone());
    assert_eq!(policies, ["two", "four", "long"]);
    let below = row(&table, "direct, target 2", "below the optimum at its KL");
    assert_eq!(below["n"], frontier["queries"]);

    place.write("two.toml", &of_members("figure2_mock_curves", "direct.toml", &members[..1], ""));
    place.run(&["two.toml"]).code(0);
    let table = place.json("results/figure2_mock_curves/tables/figure2_mock_curves.json");
    let end = row(&table, "direct", "score of π's samples, last twentieth of training");
    assert_eq!((&end["paper"], &end["verdict"]), (&json!(3.267), &json!("not the paper's setting")));
    assert_eq!(end["paper_note"], "the paper's seeds: 3.24 to 3.3");
    let svg = fs::read_to_string(place.path("results/figure2_mock_curves/plots/figure2.svg")).expect("a plot");
    assert!(svg.contains("ended, at 2M episodes"), "{svg}");
}

/// The shipped smoke profile: every learner at equal KL with an interval over seeds, or why not.
#[test]
fn learners_are_read_at_equal_kl() {
    let place = Place::new();
    place.run(&["learners.toml", "--profile", "smoke", "--out", "out"]).code(0);
    let table = place.json("out/tables/learners.json");
    let rows = table["rows"].as_array().expect("rows");
    let equal: Vec<&Value> =
        rows.iter().filter(|row| row["name"].as_str().is_some_and(|name| name.starts_with("score at KL"))).collect();
    let first = &equal.first().expect("a distance")["name"];
    let at_first: Vec<&str> =
        equal.iter().filter(|row| row["name"] == *first).filter_map(|row| row["run"].as_str()).collect();
    assert_eq!(at_first, ["PPO", "RLOO", "DPO", "best-of-n"]);
    for row in &equal {
        let known = row["value"].is_number() && row["low"].is_number() && row["seeds"] == json!([1, 2]);
        let why = row["verdict"].as_str().is_some_and(|why| why.starts_with("missing: its KL ends at"));
        assert!(known != why, "{row:#}");
    }
    assert!(equal.iter().any(|row| row["run"] != "best-of-n" && row["value"].is_number()), "{equal:#?}");
    assert_eq!(row(&table, "best-of-n", first.as_str().expect("a name"))["verdict"], "its KL is at most this");
    let svg = fs::read_to_string(place.path("out/plots/learners.svg")).expect("a plot");
    assert!(svg.contains("best-of-n") && svg.contains("RLOO"), "{svg}");
}

#[test]
fn r_stands_beside_what_it_stands_for_by_number_of_labels() {
    let place = Place::new();
    place.run(&["overoptimisation.toml", "--profile", "smoke", "--out", "out"]).code(0);
    let table = place.json("out/tables/overoptimisation.json");
    let number = |label: &str, name: &str| row(&table, label, name)["value"].as_f64().expect("a number");
    for label in ["100 labels", "500 labels", "2k labels"] {
        let fall = row(&table, label, "fall of r_s from its peak to the end, sd of ρ's scores");
        assert!(fall["low"].is_number() && fall["verdict"] != "", "{fall:#}");
        let r = |n: usize| number(label, &format!("r of the best of {n} by r, sd of ρ's scores"));
        assert!(r(1) <= r(4) && r(4) <= r(16), "{label}: {} {} {}", r(1), r(4), r(16));
    }
    let svg = fs::read_to_string(place.path("out/plots/overoptimisation.svg")).expect("a plot");
    assert!(svg.contains("dashed, rings: r") && svg.contains("2k labels"), "{svg}");
    // Each member's own page has the figure too.
    assert!(place.path("out/members/labels_2k-seed-1/plots/overoptimisation.svg").exists());
}

/// Where readers like what r likes, the best of many samples wins nearly always, of few more often than not; a member without r
/// has nothing to choose by.
#[test]
fn readers_compare_the_best_of_n_samples() {
    let place = Place::new();
    // More queries, and an end that nearly every response comes to: one without an end has the fixed score.
    let spec = direct_spec()
        .replace("passages = 300", "passages = 2000")
        .replace("truncate_after = 4", "truncate_after = 4\ntruncate_at = \"e\"\ntruncate_match = \"contains\"");
    place.write("direct.toml", &spec);
    let labels = "\"collect.schedule\" = \"offline\", \"collect.labels\" = 32, \"collect.held_out\" = 8";
    let dpo = format!("{labels}, \"policy.algorithm\" = \"dpo\", \"policy.dpo.batch_size\" = 16");
    let members = [("direct", "direct", ""), ("dpo", "DPO", dpo.as_str())];
    let compare = |a: &str, b: &str| format!("[[comparisons]]\na = \"{a}\"\nb = \"{b}\"\n");
    let rest = format!(
        "preference = {{ kind = \"simulated\", contexts = 48, simulated = {{ weight_score = 1000.0, weight_copy = 0.0, temperature = 0.0 }} }}\n{}{}{}",
        compare("direct", "best-of-2"),
        compare("direct", "best-of-64"),
        compare("dpo", "best-of-2"),
    );
    let id = "table1_style_preference";
    place.write("best.toml", &of_members(id, "direct.toml", &members, &rest));
    let said = place.run(&["best.toml"]).code(2);
    let said = text(&said.get_output().stderr);
    assert!(said.contains("best-of-2: dpo has no reward model to choose by"), "{said}");
    let table = place.json(&format!("results/{id}/tables/{id}.json"));
    let wins = |n: usize| row(&table, "sentiment", &format!("direct against best-of-{n}"))["value"].as_f64();
    let (few, many) = (wins(2).expect("a share"), wins(64).expect("a share"));
    assert!(many < 15.0 && many < few && few < 50.0, "{few} {many}");
    for (b, wanted) in [("best-of-1", "is no member"), ("best-of-064", "is no member"), ("bestof-64", "did you mean")] {
        place.write("bad.toml", &of_members(id, "direct.toml", &members, &compare("direct", b)));
        let refused = place.run(&["bad.toml"]).code(2);
        let said = text(&refused.get_output().stderr);
        assert!(said.contains(wanted), "{b}: {said}");
    }
}

/// The same comparison stands in table 1 (88) and in figure 4 (87.9): each suite has its own figure's value.
#[test]
fn win_rates_by_labels_have_figure_4s_values_and_its_axis() {
    let place = Place::new();
    let members =
        [("few", "200 offline", "\"collect.labels\" = 16"), ("more", "5k offline", "\"collect.labels\" = 32")];
    let rest = "preference = { kind = \"simulated\", contexts = 8 }\n\
                [[comparisons]]\na = \"few\"\nb = \"zero-shot\"\n[[comparisons]]\na = \"more\"\nb = \"zero-shot\"\n";
    let id = "figure4_win_rate_by_labels";
    place.write("four.toml", &of_members(id, "tiny.toml", &members, rest));
    place.run(&["four.toml"]).code(0);
    let table = place.json(&format!("results/{id}/tables/{id}.json"));
    assert_eq!(row(&table, "sentiment", "200 offline against zero-shot")["paper"], 51.9);
    assert_eq!(row(&table, "sentiment", "5k offline against zero-shot")["paper"], 87.9);
    let svg = fs::read_to_string(place.path(&format!("results/{id}/plots/win_rate_by_labels_sentiment.svg")))
        .expect("a plot");
    assert!(["2.5k", "20k", "one run each"].iter().all(|text| svg.contains(text)), "{svg}");
}

/// Tables and figures had other numbers once; whoever types one is told the present name.
#[test]
fn former_names_of_tables_lead_to_the_present_ones() {
    let place = Place::new();
    place.write("old.toml", &SUITE.replace("table1_style_preference", "table3"));
    let said = text(&place.command(&["validate", "old.toml"]).assert().code(2).get_output().stdout);
    assert!(said.contains("what was table3 here is \"table5_summary_preference\""), "{said}");
    let missing = place.command(&["validate", "specs/table5.toml"]).assert().code(2);
    let said = text(&missing.get_output().stdout);
    assert!(said.contains("\"table8_accuracy\", and the paper's table5 is \"table5_summary_preference\""), "{said}");
}

#[test]
fn mistakes_are_found_before_anything_runs() {
    let place = Place::new();
    let bad = SUITE
        .replace("label = \"5k online\"", "lable = \"5k online\"")
        .replace("\"policy.episodes\" = 64", "\"policy.episodes\" = 63")
        .replace("a = \"broken\"", "a = \"brokn\"");
    place.write("bad.toml", &bad);
    let out = place.command(&["validate", "bad.toml", "small.toml"]).assert().code(2);
    let out = text(&out.get_output().stdout);
    assert!(out.contains("bad.toml:16:1: members.longer.lable: unknown key; did you mean \"label\"?"), "{out}");
    assert!(out.contains("bad.toml:17:9: members.longer.set.policy.episodes: 63 episodes are no multiple"), "{out}");
    assert!(out.contains("\"brokn\" is no member; did you mean \"broken\"?"), "{out}");
    assert!(out.ends_with("1 spec valid, 3 problems\n"), "{out}");
    for (arguments, wanted) in [
        (&["small.toml", "--set", "member.fife.policy.lr=1"][..], "did you mean \"five\"?"),
        (&["small.toml", "--set", "preference.contexts=none"], "preference.contexts: expected an integer"),
        (&["small.toml", "--set", "policy.lrr=1e-3"], "policy.lrr: unknown key"),
        (&["small.toml", "--seeds", "1,1"], "a seed is given twice"),
        (&["small.toml", "--set", "preference.ways=3"], "must be 2 or 4"),
    ] {
        let refused = place.run(arguments).code(2);
        let said = text(&refused.get_output().stderr);
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
    assert!(!place.path("results").exists());
}

/// What needs no network, no files of anybody's and no people: the promise of every smoke profile.
#[test]
fn every_smoke_profile_is_self_contained() {
    use runner::spec::{LabelerKind, Options, load};
    use runner::suite::{FileKind, load as load_suite, load::SuiteOptions};
    // One is about people, one about one's own text, one about a language model.
    let special = ["human_quickstart", "local_text", "sentiment_judge"];
    let specs = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs");
    let profile = Some("smoke".to_string());
    let (mut found, mut suites) = (0, 0);
    for path in fs::read_dir(specs).expect("specs").flatten().map(|entry| entry.path()) {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.extension().is_none_or(|e| e != "toml") || special.contains(&name.as_str()) {
            continue;
        }
        let loaded = match FileKind::of(&path) {
            FileKind::Paper | FileKind::Sources | FileKind::Cluster => continue,
            FileKind::Spec => {
                let options = Options { profile: profile.clone(), for_run: true, ..Options::default() };
                vec![load(&path, &options).unwrap_or_else(|e| panic!("{name}: {e:?}"))]
            }
            FileKind::Suite => {
                suites += 1;
                let options = SuiteOptions { profile: profile.clone(), for_run: true, ..SuiteOptions::default() };
                let suite = load_suite(&path, &options).unwrap_or_else(|e| panic!("{name}: {e:?}"));
                suite.members.into_iter().map(|member| member.loaded).collect()
            }
        };
        for (_, spec) in loaded.into_iter().flat_map(|loaded| loaded.variants) {
            found += 1;
            assert!(spec.model.weights.hf.is_none() && spec.task.data.synthetic.is_some(), "{name}");
            assert!(
                matches!(spec.labeler.kind, LabelerKind::Mock | LabelerKind::Simulated | LabelerKind::Command),
                "{name}"
            );
            assert!(!spec.labeler.has_classifier() || spec.labeler.reviews.synthetic.is_some(), "{name}");
            assert!(spec.has_dpo() || spec.policy.episodes <= 20_000, "{name}");
        }
    }
    assert!(found > 120 && suites == 15, "{found} runs, {suites} suites");
}
