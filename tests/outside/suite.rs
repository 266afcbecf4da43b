//! A language model as the readers of a suite's texts.

use super::stand_in_judge::{KEY, MODEL, StandInJudge};
use super::{Place, check, finished};
use std::fs;

fn suite(server: &StandInJudge, makes: &str, comparisons: &str) -> Place {
    let place = Place::new("collect.schedule = \"direct\"\n");
    let judge = format!("judge = {{ model = {MODEL:?}, base_url = {:?}, retries = 1 }}", server.url());
    let text = format!(
        "suite_version = 1\nname = \"small\"\nmakes = {makes:?}\n[members.five]\nspec = \"spec.toml\"\n[preference]\n\
         kind = \"judge\"\ncontexts = 8\nbatches = \"labels/small\"\n{judge}\n{comparisons}"
    );
    place.write("suite.toml", &text);
    place
}

fn run(place: &Place, more: &[&str]) -> (i32, String) {
    let mut command = place.keyed(&["suite.toml", "--device", "cpu", "--out", "out", "--no-progress"]);
    finished(command.args(more))
}

#[test]
fn a_judge_compares_two_models_and_four_samples() {
    let pair = "[[comparisons]]\na = \"five\"\nb = \"zero-shot\"\n";
    let server = StandInJudge::start();
    let place = suite(&server, "table1_style_preference", pair);
    let (code, said) = run(&place, &[]);
    assert_eq!((code, server.answered()), (0, 8), "{said}");
    let asked = place.json("out/asked/five-vs-zero-shot-seed-1.json");
    check("compared.schema.json", &asked);
    assert_eq!((asked["asked"].as_str(), asked["judge"]["requests"].as_u64()), (Some("judge"), Some(8)));
    assert_eq!(asked["decided"].as_array().expect("items").len(), 8);
    let page = fs::read_to_string(place.path("out/report.html")).expect("a page");
    assert!(page.contains("judged by stand-in-judge"));
    // Two texts at once.
    let prompt = server.state().asked[0]["messages"][0]["content"].as_str().expect("text").to_string();
    assert!(prompt.contains("alone: A or B."), "{prompt}");
    // Nobody is asked again, nor needed.
    let (code, said) = run(&place, &["--set", "preference.judge.key_env=NO_SUCH_KEY"]);
    assert_eq!((code, server.answered()), (0, 8), "{said}");
    place.holds_nowhere(KEY);

    let place = suite(&server, "table9_agreement", "");
    let (code, said) = run(&place, &["--set", "preference.judge.both_orders=true"]);
    assert_eq!((code, server.answered()), (0, 8 + 16), "{said}");
}

#[test]
fn a_budget_and_bad_input_of_a_suite() {
    let pair = "[[comparisons]]\na = \"five\"\nb = \"zero-shot\"\n";
    let server = StandInJudge::start();
    let place = suite(&server, "table1_style_preference", pair);
    for (set, words) in [
        ("preference.judge.key_env=NO_SUCH_KEY", "NO_SUCH_KEY is not set"),
        ("preference.judge.model=nothing", "there is no model \"nothing\""),
        ("preference.judge.base_url=nowhere", "begins with http"),
        ("preference.judge.max_requests=0", "max_requests"),
        ("preference.kind=human", "belongs to a judge"),
        ("preference.judge.model=", "a judge needs preference.judge.model"),
    ] {
        let (code, said) = run(&place, &["--set", set]);
        assert!(code == 2 && said.contains(words), "{set}: {code} {said}");
        assert!(!place.path("out").exists(), "{set}: no member has run");
    }
    let (code, said) = run(&place, &["--set", "preference.judge.max_requests=3"]);
    assert_eq!((code, server.answered()), (3, 3), "{said}");
    let (code, said) = run(&place, &["--set", "preference.judge.max_requests=8"]);
    assert_eq!((code, server.answered()), (0, 8), "{said}");
}
