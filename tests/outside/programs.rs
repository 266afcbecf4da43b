//! Programs as labelers and as rewards, and ROUGE as a reward. The programs are Python's, as in docs/outside.md.

use super::Place;
use serde_json::{Value, json};
use std::fs;

const OFFLINE: &str = "collect = { labels = 16, held_out = 8 }";

/// docs/outside.md has this one: the longest is the best.
const LABELER: &str = r#"import json, sys

for line in sys.stdin:
    question = json.loads(line)
    lengths = [len(text) for text in question["candidates"]]
    print(json.dumps({"id": question["id"], "best": lengths.index(max(lengths))}))
"#;

const SCORER: &str = r#"import json, sys

for line in sys.stdin:
    text = json.loads(line)["response"]
    print(json.dumps({"score": sum(text.count(vowel) for vowel in "aeiou") / max(len(text), 1)}))
"#;

fn labeler(script: &str, collect: &str) -> Place {
    let place = Place::new(&format!(
        "{collect}\nlabeler.kind = \"command\"\nlabeler.command.run = [\"python3\", \"label.py\"]\nlabeler.command.timeout = 120\n"
    ));
    place.write("label.py", script);
    place
}

fn scorer(script: &str) -> Place {
    let place = Place::new("");
    let spec = fs::read_to_string(place.path("spec.toml")).expect("a spec");
    let reward = "[reward]\nsource = \"command\"\ncommand = { run = [\"python3\", \"score.py\"], timeout = 120 }\n";
    place.write("spec.toml", &spec.replace("[reward]\n", reward));
    place.write("score.py", script);
    place
}

#[test]
fn a_program_labels_in_all_schedules() {
    let batched = "collect = { schedule = \"batched\", labels = 32, held_out = 8, rounds = 2 }";
    let online = "collect = { schedule = \"online\", labels = 32, held_out = 8, initial = 16, retrain = 2, validation_share = 0.25 }";
    for (collect, asked) in [(OFFLINE, 24), (batched, 40), (online, 40)] {
        let place = labeler(LABELER, collect);
        let (code, said) = place.run(&[]);
        assert_eq!(code, 0, "{said}");
        let labels = place.lines("out/labels/main.jsonl");
        assert!(labels.len() == asked && labels.iter().all(|l| l["worker"] == "command"), "{labels:?}");
        let page = fs::read_to_string(place.path("out/report.html")).expect("a page");
        assert!(page.contains("labels of a program"));
    }
}

#[test]
fn labels_are_made_again_when_the_program_changes_and_only_then() {
    let place = labeler(LABELER, OFFLINE);
    let labels = |more: &[&str]| {
        let (code, said) = place.run(more);
        assert_eq!(code, 0, "{said}");
        let stages = place.json("out/manifest.json")["stages"].clone();
        let of = stages.as_array().expect("stages").iter().find(|s| s["stage"] == "labels").expect("labels").clone();
        (of["cached"] == true, place.lines("out/labels/main.jsonl"))
    };
    let first = labels(&[]);
    assert_eq!(labels(&["--set", "labeler.command.timeout=30"]), (true, first.1.clone()));
    place.write("label.py", &LABELER.replace("max(", "min("));
    let (cached, other) = labels(&["--fresh"]);
    assert!(!cached && other != first.1);
    place.write("label.py", LABELER);
    assert_eq!(labels(&["--fresh"]), (true, first.1));
}

#[test]
fn a_program_that_skips_leaves_out() {
    let script = LABELER.replace("    lengths =", "    if question[\"id\"] % 4 == 0:\n        print(json.dumps({\"skip\": \"unclear\"}))\n        continue\n    lengths =");
    let place = labeler(&script, OFFLINE);
    let (code, said) = place.run(&[]);
    assert!(code == 0 && said.contains("answered 18 questions, and skipped 6"), "{said}");
    assert_eq!(place.lines("out/labels/main.jsonl").len(), 18);
    let reward = place.json("out/runs/main/models/reward/reward.json");
    assert_eq!((reward["labels"].as_u64(), reward["n"].as_u64()), (Some(12), Some(6)));
}

#[test]
fn what_a_program_does_wrong_is_said() {
    let each = |body: &str| format!("import sys, time\nfor i, line in enumerate(sys.stdin):\n    {body}\n");
    for (script, words) in [
        (
            "raise SystemExit('no such model')".to_string(),
            &["exit status: 1", "after 0 of 24 answers", "no such model"][..],
        ),
        (each("print('{\"best\": 0}')\n    if i == 4: sys.exit(0)"), &["ended after 5 of 24 answers"]),
        (each("print('{\"best\": 0}')") + "print(1)\n", &["more lines than it was asked"]),
        (each("print('best is 0')"), &["line 1 of its output \"best is 0\" is no JSON"]),
        (each("print('{\"best\": 4}')"), &["line 1", "a candidate from 0 to 3"]),
        (each("print('{\"id\": 77, \"best\": 0}')"), &["answers question 77, and 0 comes next"]),
        (each("print('{\"skip\": \"no\"}')"), &["skips every question"]),
        (each("time.sleep(100)"), &["has said nothing for 1 seconds after 0 of 24", "`timeout`"]),
    ] {
        let place = labeler(&script, OFFLINE);
        // Only who sleeps is waited for in vain: Python takes its time to start on a busy machine.
        let timeout = if script.contains("sleep") { "labeler.command.timeout=1" } else { "labeler.command.timeout=60" };
        let (code, said) = place.run(&["--set", timeout]);
        let starts = said.contains("labeler.command: ");
        assert!(code == 2 && starts && words.iter().all(|word| said.contains(word)), "{script}: {code} {said}");
    }
    let place = labeler(LABELER, OFFLINE);
    let (code, said) = place.run(&["--set", "labeler.command.run=[\"no-such-program\"]"]);
    assert!(code == 2 && said.contains("there is no program \"no-such-program\""), "{said}");
    let (code, said) = place.run(&["--set", "labeler.command.run=[]"]);
    assert_eq!(code, 2, "{said}");
}

#[test]
fn answers_of_a_program_that_failed_late_are_kept() {
    // The first time it fails at its ninth answer.
    let script = LABELER.replace(
        "for line",
        "import os\nlate = os.path.exists(\"once\")\nopen(\"once\", \"a\").close()\nn = 0\nfor line",
    ) + "    n += 1\n    if n == 9 and not late:\n        sys.exit(7)\n";
    let place = labeler(&script, OFFLINE);
    let (code, said) = place.run(&[]);
    assert!(code == 2 && said.contains("exit status: 7 after 9 of 24 answers"), "{said}");
    let (code, said) = place.run(&[]);
    assert!(code == 0 && said.contains("going on after 9 answers of the program"), "{said}");
    let _ = fs::remove_file(place.path("once"));
    let whole = labeler(LABELER, OFFLINE);
    assert_eq!(whole.run(&[]).0, 0);
    assert_eq!(place.lines("out/labels/main.jsonl"), whole.lines("out/labels/main.jsonl"));
}

#[test]
fn a_program_is_the_reward() {
    let place = scorer(SCORER);
    let (code, said) = place.run(&[]);
    assert_eq!(code, 0, "{said}");
    assert!(!place.path("out/labels").exists() && !place.path("out/runs/main/models/reward").exists());
    let evaluation = place.json("out/runs/main/evaluation.json");
    assert_eq!((&evaluation["judge"], &evaluation["schedule"]), (&json!("command"), &json!("given")));
    // The samples' scores are what the program says of their texts, on one scale.
    let samples = place.lines("out/runs/main/samples.jsonl");
    let raw = |text: &Value| {
        let text = text.as_str().expect("text");
        text.chars().filter(|c| "aeiou".contains(*c)).count() as f64 / text.chars().count().max(1) as f64
    };
    let mut pairs: Vec<(f64, f64)> = Vec::new();
    for sample in &samples {
        for (text, score) in [("response", "score"), ("reference_response", "reference_score")] {
            pairs.push((raw(&sample[text]), sample[score].as_f64().expect("a score")));
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ((x0, y0), (x1, y1)) = (pairs[0], pairs[pairs.len() - 1]);
    let (gain, bias) = ((y1 - y0) / (x1 - x0), y0 - x0 * (y1 - y0) / (x1 - x0));
    assert!(gain > 0.0);
    // Scores are 32-bit numbers.
    assert!(pairs.iter().all(|(x, y)| (gain * x + bias - y).abs() < 1e-4), "{pairs:?}");
    assert!(fs::read_to_string(place.path("out/report.html")).expect("a page").contains("r: a program"));
    // A changed program is another reward.
    let policy =
        |place: &Place| fs::read(place.path("out/runs/main/models/policy/model.safetensors")).expect("weights");
    let before = policy(&place);
    assert_eq!(place.run(&[]).0, 0);
    assert!(policy(&place) == before);
    place.write("score.py", &SCORER.replace("aeiou", "xyz "));
    let (code, said) = place.run(&["--fresh"]);
    assert_eq!(code, 0, "{said}");
    assert!(policy(&place) != before);
}

#[test]
fn a_reward_that_is_no_number_is_said() {
    for (script, words) in [
        ("import sys\nfor line in sys.stdin: print('NaN')\n", "no JSON"),
        ("import sys\nfor line in sys.stdin: print('\"good\"')\n", "is no score"),
        ("import sys\nfor line in sys.stdin: print('1e300')\n", "too large"),
        ("import sys\nsys.exit(3)\n", "exit status: 3"),
        ("import sys\nfor line in sys.stdin: print(1); print(2)\n", "more lines"),
    ] {
        let place = scorer(script);
        let (code, said) = place.run(&[]);
        assert!(code == 2 && said.contains("reward.command: ") && said.contains(words), "{script}: {code} {said}");
    }
    let place = scorer(SCORER);
    for (set, words) in [
        ("reward.command.run=[\"no-such-program\"]", "there is no program"),
        // Another place of a reward replaces the word, and then its program is one too many.
        ("reward.path=score.py", "belongs to a program that scores"),
        ("collect.schedule=direct", "nothing is collected"),
        ("reward.source=rouge", "belongs to a program that scores"),
    ] {
        let (code, said) = place.run(&["--set", set]);
        assert!(code == 2 && said.contains(words), "{set}: {code} {said}");
    }
}

#[test]
fn rouge_is_the_reward() {
    let place = Place::new("");
    let (code, said) = place.run(&["--set", "reward.source=rouge"]);
    assert!(code == 2 && said.contains("has no reference summary"), "{code} {said}");
    let spec = fs::read_to_string(place.path("spec.toml")).expect("a spec");
    let task = "[task]\npreset = \"tldr\"\nclean = \"none\"\nquery_rule = \"excerpt\"\nquery_end = \"\\n\"\nquery_length = 72\n\
                query_min_length = 24\nresponse_length = 20\ntruncate_after = 5\ndata.synthetic = \"posts\"\n";
    let from = spec.find("[task]").expect("a task");
    let to = spec.find("[labeler.classifier]").expect("a classifier");
    place.write("spec.toml", &format!("{}{task}{}", &spec[..from], &spec[to..]));
    let (code, said) = place.run(&["--set", "reward.source=rouge"]);
    assert_eq!(code, 0, "{said}");
    let evaluation = place.json("out/runs/main/evaluation.json");
    assert_eq!(evaluation["judge"], "rouge");
    assert!(evaluation["kl"]["mean"].as_f64().is_some());
}

#[test]
fn the_smoke_profile_of_the_shipped_programs_runs() {
    let place = Place::new("");
    let mut command = place.keyed(&["storyworld_command", "--profile", "smoke", "--device", "cpu", "--no-progress"]);
    let (code, said) = super::finished(command.args(["--out", "out"]));
    assert_eq!(code, 0, "{said}");
    assert_eq!(place.json("out/runs/program_reward/evaluation.json")["judge"], "command");
    let labels = place.lines("out/labels/program_2k.jsonl");
    assert!(labels.len() == 48 && labels.iter().all(|l| l["worker"] == "command"));
    let page = fs::read_to_string(place.path("out/report.html")).expect("a page");
    assert!(page.contains("labels of a program") && page.contains("r: a program"));
}
