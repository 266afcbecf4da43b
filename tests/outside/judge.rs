//! A language model as the labeler.

use super::stand_in_judge::{Fault, KEY, MODEL, StandInJudge, Taste};
use super::{Place, check, finished};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

/// Offline: 24 questions.
const OFFLINE: &str = "collect = { labels = 16, held_out = 8 }";
const ONLINE: &str = "collect = { schedule = \"online\", labels = 32, held_out = 8, initial = 16, retrain = 2, validation_share = 0.25 }";
const BATCHED: &str = "collect = { schedule = \"batched\", labels = 32, held_out = 8, rounds = 2 }";

/// A spec whose labels the stand-in gives; `judge`: more keys of `labeler.judge`, each after a comma.
fn place(server: &StandInJudge, judge: &str, collect: &str) -> Place {
    let url = server.url();
    let judge = format!("judge = {{ model = {MODEL:?}, base_url = {url:?}, retries = 3{judge} }}");
    Place::new(&format!("{collect}\nlabeler.kind = \"judge\"\nlabeler.batches = \"labels\"\nlabeler.{judge}\n"))
}

fn report(place: &Place) -> Value {
    let report = place.json("out/labels/main_judge.json");
    check("judge.schema.json", &report);
    report
}

#[test]
fn a_judge_answers_once_and_is_never_paid_twice() {
    let server = StandInJudge::start();
    let place = place(&server, "", OFFLINE);
    let (code, said) = place.run(&[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(server.answered(), 24);
    let labels = place.lines("out/labels/main.jsonl");
    assert!(labels.len() == 24 && labels.iter().all(|l| l["worker"] == "judge:stand-in-judge"), "{labels:?}");
    // What was shown, in which order, and that the choice is the one with the most vowels.
    let items = place.lines("labels/round-0001/items.jsonl");
    let kept = place.lines("labels/judge/answers.jsonl");
    assert_eq!((items.len(), kept.len()), (24, 24));
    for (item, label) in items.iter().zip(&labels) {
        let answer = kept.iter().find(|answer| answer["item"] == item["id"]).expect("an answer");
        assert_eq!(answer["order"], item["order"]);
        let texts: Vec<&str> = item["candidates"]
            .as_array()
            .expect("four")
            .iter()
            .map(|c| c["text"].as_str().expect("text").trim())
            .collect();
        let vowels = |text: &str| text.chars().filter(|c| "aeiou".contains(*c)).count();
        let best = usize::try_from(label["best"].as_u64().expect("a choice")).expect("small");
        assert!(texts.iter().all(|text| vowels(text) <= vowels(texts[best])), "{texts:?} {best}");
    }
    let report = report(&place);
    assert_eq!((report["requests"].as_u64(), report["choices"].as_u64()), (Some(24), Some(24)));
    assert_eq!((report["training"].as_u64(), report["held_out"].as_u64()), (Some(16), Some(8)));
    let page = fs::read_to_string(place.path("out/report.html")).expect("a page");
    assert!(page.contains("judged by stand-in-judge"), "the page says who judged");
    // Asked in the strictest way.
    assert_eq!(server.state().asked[0]["response_format"]["type"], "json_schema");

    // The same command asks nobody, not even with nobody there; nor does one with another address and no key.
    drop(server);
    let (code, said) = place.run(&["--fresh"]);
    assert_eq!(code, 0, "{said}");
    let mut elsewhere = place.keyed(&["spec.toml", "--device", "cpu", "--out", "out2", "--no-progress"]);
    elsewhere.env_remove("OPENAI_API_KEY").args(["--set", "labeler.judge.base_url=http://127.0.0.1:9/v1"]);
    let (code, said) = finished(&mut elsewhere);
    assert_eq!(code, 0, "{said}");
    assert_eq!(place.lines("out2/labels/main.jsonl"), labels);
    place.holds_nowhere(KEY);
}

#[test]
fn whatever_an_endpoint_does_passes_or_is_counted() {
    let server = StandInJudge::start();
    server.faults(&[
        Fault::Status(500, None),
        Fault::Status(429, Some(1)),
        Fault::Cut,
        Fault::Body("{\"choices\": [{"),
        Fault::Body("<html>log in</html>"),
        Fault::Body("{\"error\": {\"message\": \"overloaded\"}}"),
        Fault::Content("E"),
        Fault::NoChoice,
        Fault::Content(""),
        Fault::Content("I think it is B."),
        Fault::Refusal,
        Fault::Lies,
        Fault::Slow(Duration::from_millis(300)),
        Fault::Slow(Duration::from_millis(300)),
        Fault::Slow(Duration::from_millis(300)),
    ]);
    let place = place(&server, ", concurrency = 3", OFFLINE);
    let (code, said) = place.run(&[]);
    assert_eq!(code, 0, "{said}");
    let found = report(&place);
    let count = |name: &str| found[name].as_u64().expect("a number");
    assert_eq!((count("requests"), count("nonsense"), count("refusals"), count("estimated_tokens")), (24, 4, 1, 1));
    assert_eq!((count("choices"), count("left_out"), count("training") + count("held_out")), (19, 5, 19));
    assert_eq!(place.lines("out/labels/main.jsonl").len(), 19);
    assert!(server.answered() == 24 && (2..=3).contains(&server.state().most_at_once));
    // The one lie did not count: no more tokens than 24 prompts of so many bytes.
    assert!(count("prompt_tokens") < 24 * 2000 && count("answer_tokens") < 24 * 10, "{found}");
    place.holds_nowhere(KEY);
}

#[test]
fn patience_is_as_long_as_the_endpoint_asks() {
    let server = StandInJudge::start();
    server.faults(&[Fault::Status(429, Some(2))]);
    let place = place(&server, ", concurrency = 1", OFFLINE);
    let (code, said) = place.run(&[]);
    assert_eq!(code, 0, "{said}");
    let times = server.state().times.clone();
    assert!(times[1] - times[0] >= Duration::from_millis(1900), "{:?}", times[1] - times[0]);
}

#[test]
fn an_endpoint_that_goes_on_failing_ends_the_run_and_all_is_kept() {
    let server = StandInJudge::start();
    let mut faults = vec![Fault::Slow(Duration::ZERO); 10];
    faults.extend([Fault::Status(503, Some(0)), Fault::Status(503, Some(0))]);
    server.faults(&faults);
    let place = place(&server, ", concurrency = 1, max_answer_tokens = 8", OFFLINE);
    let (code, said) = place.run(&["--set", "labeler.judge.retries=1"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("status 503: fault 503 (after 2 tries)") && said.contains("the same command goes on"),
        "{said}"
    );
    assert_eq!(place.lines("labels/judge/answers.jsonl").len(), 10);
    // One that asks for too much patience is not waited for.
    server.faults(&[Fault::Status(429, Some(100_000))]);
    let began = Instant::now();
    let (code, said) = place.run(&["--set", "labeler.judge.retries=1"]);
    assert!(code == 1 && said.contains("asks to wait 100000 seconds"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(60));
    let (code, said) = place.run(&[]);
    assert_eq!((code, server.answered()), (0, 24), "{said}");
}

#[test]
fn a_budget_ends_with_exit_code_3_and_a_larger_one_goes_on() {
    let server = StandInJudge::start();
    let place = place(&server, "", OFFLINE);
    let (code, said) = place.run(&["--set", "labeler.judge.max_requests=10"]);
    assert_eq!((code, server.answered()), (3, 10), "{said}");
    assert!(
        said.contains("10 of labeler.judge.max_requests = 10") && said.contains("14 answers are missing"),
        "{said}"
    );
    assert_eq!(place.json("out/manifest.json")["state"], "waiting");
    let (code, _) = place.run(&["--set", "labeler.judge.max_requests=10"]);
    assert_eq!((code, server.answered()), (3, 10));
    // Tokens: one more answer passes the limit.
    let used: u64 = place.lines("labels/judge/answers.jsonl").iter().map(tokens).sum();
    let limit = format!("labeler.judge.max_tokens={}", used + 1);
    let (code, said) = place.run(&["--set", &limit, "--set", "labeler.judge.concurrency=1"]);
    assert_eq!((code, server.answered()), (3, 11), "{said}");
    assert!(said.contains("max_tokens"), "{said}");
    let (code, said) = place.run(&["--set", "labeler.judge.max_requests=1000"]);
    assert_eq!((code, server.answered()), (0, 24), "{said}");
    let keys: BTreeSet<String> =
        place.lines("labels/judge/answers.jsonl").iter().map(|a| a["key"].to_string()).collect();
    assert_eq!(keys.len(), 24);
}

fn tokens(answer: &Value) -> u64 {
    let usage = &answer["response"]["usage"];
    usage["total_tokens"].as_u64().expect("a number")
}

#[test]
fn both_orders_show_the_bias_of_a_judge() {
    let server = StandInJudge::start();
    server.state().taste = Taste::First;
    let place = place(&server, ", both_orders = true", OFFLINE);
    // It likes what is shown first: no question has the same answer twice.
    let (code, said) = place.run(&[]);
    assert!(code == 2 && said.contains("none of its answers is a choice that counts"), "{code} {said}");
    assert_eq!(server.answered(), 48);
    // Another prompt is another question.
    server.state().taste = Taste::Vowels;
    place.write("prompt.txt", "{query}\nWhich?\n{candidates}\n");
    let (code, said) = place.run(&["--set", "labeler.judge.prompt=prompt.txt"]);
    assert_eq!((code, server.answered()), (0, 96), "{said}");
    let found = report(&place);
    assert_eq!((found["orders"]["count"].as_u64(), found["orders"]["n"].as_u64()), (Some(24), Some(24)));
    assert!(server.state().asked[95]["messages"][0]["content"].as_str().expect("text").contains("\nWhich?\n"));
    // Without the other order everything is known.
    let (code, said) =
        place.run(&["--fresh", "--set", "labeler.judge.prompt=prompt.txt", "--set", "labeler.judge.both_orders=false"]);
    assert_eq!((code, server.answered()), (0, 96), "{said}");
}

#[test]
fn a_judge_is_compared_with_gold_itself_and_people() {
    let server = StandInJudge::start();
    let place = place(&server, "", OFFLINE);
    let candidate = |text: &str| json!({ "text": text, "source": "authors" });
    let gold: String = (0..6)
        .map(|i| {
            let candidates: Vec<Value> = ["xyz", "aeiou", "b", "c"].into_iter().map(candidate).collect();
            // One is not what the stand-in likes.
            let gold = if i == 0 { 2 } else { 1 };
            let item = json!({ "id": format!("g{i}"), "query": { "text": "q" }, "candidates": candidates, "order": [0, 1, 2, 3], "gold": gold });
            format!("{item}\n")
        })
        .collect();
    place.write("gold.jsonl", &gold);
    let checks = "labeler.human={ gold = \"gold.jsonl\", gold_share = 0.25, repeat_share = 0.25 }";
    let (code, said) = place.run(&["--set", checks]);
    assert_eq!((code, server.answered()), (0, 24 + 6 + 6), "{said}");
    let share = |found: &Value, name: &str| (found[name]["count"].as_u64(), found[name]["n"].as_u64());
    let found = report(&place);
    assert_eq!((share(&found, "gold"), share(&found, "repeats")), ((Some(5), Some(6)), (Some(6), Some(6))));
    assert_eq!(share(&found, "people"), (Some(0), Some(0)));
    assert_eq!(place.lines("out/labels/main.jsonl").len(), 24);

    // Two people answer some of the same questions, one as the judge does.
    let items = place.lines("labels/round-0001/items.jsonl");
    let kept = place.lines("labels/judge/answers.jsonl");
    let answers: String = items
        .iter()
        .filter(|item| item["gold"].is_null() && item["repeat_of"].is_null())
        .take(5)
        .enumerate()
        .map(|(i, item)| {
            let said = kept.iter().find(|a| a["item"] == item["id"]).expect("an answer");
            let content = said["response"]["choices"][0]["message"]["content"].as_str().expect("text");
            let letter: Value = serde_json::from_str(content).expect("JSON");
            let place = usize::from(letter["best"].as_str().expect("a letter").as_bytes()[0] - b'A');
            let best = said["order"][place].as_u64().expect("a candidate");
            let texts: BTreeSet<&str> =
                item["candidates"].as_array().expect("four").iter().filter_map(|c| c["text"].as_str()).collect();
            assert_eq!(texts.len(), 4, "four texts that differ");
            let other = if i < 4 { best } else { (best + 1) % 4 };
            let line = json!({ "item": item["id"], "best": other, "labeler": "anna" });
            format!("{line}\n")
        })
        .collect();
    place.write("labels/round-0001/answers.jsonl", &answers);
    let (code, said) = place.run(&["--set", checks]);
    assert_eq!((code, server.answered()), (0, 36), "{said}");
    let found = report(&place);
    assert_eq!(share(&found, "people"), (Some(4), Some(5)));
    // People's answers are no labels of this run.
    assert!(place.lines("out/labels/main.jsonl").iter().all(|l| l["worker"] == "judge:stand-in-judge"));
    let page = fs::read_to_string(place.path("out/report.html")).expect("a page");
    assert!(page.contains("agreement with people, %") && page.contains("judged by stand-in-judge; chance: 25%"));
}

#[test]
fn an_endpoint_is_asked_as_it_understands() {
    let server = StandInJudge::start();
    {
        let mut state = server.state();
        state.unknown = vec!["json_schema", "json_object", "temperature", "max_tokens"];
        state.lists_models = false;
    }
    let place = place(&server, ", concurrency = 1", OFFLINE);
    let (code, said) = place.run(&[]);
    assert_eq!(code, 0, "{said}");
    let state = server.state();
    let last = state.asked.last().expect("a request");
    assert!(
        last["response_format"].is_null() && last["temperature"].is_null() && last["max_tokens"].is_null(),
        "{last}"
    );
    assert_eq!(last["max_completion_tokens"], 256);
    assert_eq!(place.lines("out/labels/main.jsonl").len(), 24);
}

#[test]
fn what_is_wrong_is_said_before_any_stage() {
    let server = StandInJudge::start();
    let url = server.url();
    let place = place(&server, "", OFFLINE);
    let nobody = "http://127.0.0.1:9/v1";
    let wrong_path = url.replace("/v1", "");
    for (set, key, words) in [
        ("labeler.judge.key_env=NO_SUCH_KEY", Some(KEY), &["NO_SUCH_KEY is not set", "key_env"][..]),
        ("seed=1", None, &["OPENAI_API_KEY is not set"]),
        ("seed=1", Some(" "), &["OPENAI_API_KEY is empty"]),
        ("seed=1", Some("sk-wrong\u{e9}"), &["holds characters that no key has"]),
        ("seed=1", Some("sk-wrong-and-secret"), &["status 401", "is OPENAI_API_KEY the key"]),
        ("labeler.judge.model=nothing", Some(KEY), &["there is no model \"nothing\"", "another, stand-in-judge"]),
        (&format!("labeler.judge.base_url={nobody}"), Some(KEY), &["127.0.0.1:9", "does not answer"]),
        (&format!("labeler.judge.base_url={wrong_path}"), Some(KEY), &["404", "base_url right"]),
    ] {
        let mut command = place.keyed(&["spec.toml", "--device", "cpu", "--out", "out", "--no-progress"]);
        command.args(["--set", set, "--set", "labeler.judge.retries=1"]);
        match key {
            Some(key) => command.env("OPENAI_API_KEY", key),
            None => command.env_remove("OPENAI_API_KEY"),
        };
        let (code, said) = finished(&mut command);
        assert!([1, 2].contains(&code) && words.iter().all(|word| said.contains(word)), "{set}: {code} {said}");
        assert!(!said.contains("sk-wrong"), "{said}");
        assert_eq!(place.json("out/manifest.json")["stages"], json!([]), "{set}");
    }
    assert_eq!(server.answered(), 0);
    place.holds_nowhere("sk-wrong");
    place.holds_nowhere(KEY);
    // What a spec alone shows.
    for (set, words) in [
        ("labeler.judge.max_requests=0", "max_requests"),
        ("labeler.judge.max_tokens=0", "max_tokens"),
        ("labeler.judge.model=", "a judge needs labeler.judge.model"),
        ("labeler.judge.base_url=https://user:secret@host/v1", "holds a name or a password"),
        ("labeler.judge.key_env=sk-abc-def", "is no name of an environment variable"),
        ("labeler.judge.prompt=nowhere.txt", "nowhere.txt"),
        ("labeler.judge.prompt=spec.toml", "has no {query}"),
        ("labeler.human.labelers_per_item=3", "a judge is one labeler"),
        ("collect.schedule=direct", "judge labels have none"),
    ] {
        let (code, said) = place.run(&["--set", set]);
        assert!(code == 2 && said.contains(words), "{set}: {code} {said}");
        assert!(!said.contains(":secret@"), "{said}");
    }
}

#[test]
fn a_judge_answers_in_rounds() {
    for collect in [BATCHED, ONLINE] {
        let server = StandInJudge::start();
        let place = place(&server, "", collect);
        let (code, said) = place.run(&[]);
        assert_eq!((code, server.answered()), (0, 40), "{said}");
        let labels = place.lines("out/labels/main.jsonl");
        assert!(labels.len() == 40 && labels.iter().all(|l| l["worker"] == "judge:stand-in-judge"));
        let rounds = place.json("out/runs/main/rounds.json");
        assert!(rounds["rounds"].as_array().is_some_and(|rounds| rounds.len() >= 2));
        assert_eq!(report(&place)["requests"], 40);
        let (code, said) = place.run(&[]);
        assert_eq!((code, server.answered()), (0, 40), "{said}");
        let stages = place.json("out/manifest.json")["stages"].clone();
        assert!(stages.as_array().expect("stages").iter().all(|s| s["cached"] == true), "{stages}");
    }
}

#[cfg(unix)]
#[test]
fn a_killed_run_goes_on_to_the_same_labels() {
    let server = StandInJudge::start();
    let whole = place(&server, "", OFFLINE);
    assert_eq!(whole.run(&[]).0, 0);
    let server = StandInJudge::start();
    // Six answers, and two that are long in coming: the run is killed while it waits for them.
    let mut faults = vec![Fault::Slow(Duration::ZERO); 6];
    faults.extend([Fault::Slow(Duration::from_secs(4)), Fault::Slow(Duration::from_secs(4))]);
    server.faults(&faults);
    let killed = place(&server, ", concurrency = 2", OFFLINE);
    let program = assert_cmd::cargo::cargo_bin("runner");
    let mut child = std::process::Command::new(program)
        .args(["spec.toml", "--device", "cpu", "--out", "out", "--no-progress"])
        .current_dir(killed.path("."))
        .env_remove("RUNNER_CACHE")
        .env("OPENAI_API_KEY", KEY)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let began = Instant::now();
    let wait_until = |seen: &dyn Fn() -> bool| {
        while !seen() && began.elapsed() < Duration::from_secs(120) {
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait_until(&|| server.state().times.len() == 8);
    child.kill().expect("killed");
    child.wait().expect("ended");
    // The endpoint counts what it was asked, whether or not anybody hears the answer.
    wait_until(&|| server.answered() == 8);
    let kept = killed.lines("labels/judge/answers.jsonl").len();
    assert!((4..24).contains(&kept), "{kept}");
    let before = server.answered();
    let (code, said) = killed.run(&[]);
    assert_eq!((code, server.answered() - before), (0, 24 - kept), "{said}");
    let bytes = |place: &Place, file: &str| fs::read(place.path(file)).expect("a file");
    for file in
        ["out/labels/main.jsonl", "out/runs/main/evaluation.json", "out/runs/main/models/policy/model.safetensors"]
    {
        assert!(bytes(&whole, file) == bytes(&killed, file), "{file}");
    }
}
