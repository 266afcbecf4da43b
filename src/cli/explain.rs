//! `runner explain KEY`: where a key of a spec acts; src/plan/explain.rs finds it out, this prints.

use crate::plan::explain::{Explained, explain, keys};
use crate::report::formats::{in_columns, wrapped};
use crate::results::Outcome;
use serde_json::Value;
use std::fmt::Write;

/// Exit code 0, or 2 where there is no such key; without a key it lists all.
pub fn run(key: Option<&str>) -> i32 {
    let Some(key) = key else {
        println!("{}", keys().join("\n"));
        return Outcome::Done.code();
    };
    match explain(key) {
        Ok(found) => {
            print!("{}", text(&found, super::run::screen_width()));
            Outcome::Done.code()
        }
        Err(message) => {
            eprintln!("error: {message}");
            Outcome::WrongInput.code()
        }
    }
}

fn text(e: &Explained, width: usize) -> String {
    let default = e.default.as_ref().map_or("absent unless written".into(), |v| format!("default {}", as_toml(v)));
    let mut out = format!("{}: {}; {default}\n", e.key, e.kind);
    for paragraph in [&e.about, &e.section].into_iter().filter(|text| !text.is_empty()) {
        wrapped(paragraph, width.saturating_sub(2)).iter().for_each(|line| out += &format!("  {line}\n"));
    }
    if !e.presets.is_empty() {
        let head = ["preset".to_string(), "follows = \"paper\"".into(), "follows = \"released_code\"".into()];
        let row = |(name, paper, code): &(&str, Value, Value)| [(*name).to_string(), as_toml(paper), as_toml(code)];
        let rows: Vec<Vec<String>> =
            std::iter::once(head).chain(e.presets.iter().map(row)).map(|row| row.to_vec()).collect();
        out += "\n";
        in_columns(&rows).lines().for_each(|line| out += &format!("  {line}\n"));
    }
    for [what, paper, code] in &e.sources {
        let _ = writeln!(out, "\n{what} (docs/hyperparameters.md)\n  paper: {paper}\n  released code: {code}");
    }
    out += "\n";
    match (&e.invalidates[..], &e.in_rounds[..]) {
        ([], []) => out += "It changes no result: finished stages are reused.\n",
        ([], rounds) => out += &format!("Acts in rounds alone (batched, online). {}", made_again(rounds)),
        (once, rounds) => {
            out += &made_again(once);
            if once != rounds && !rounds.is_empty() {
                out += &format!(
                    "In rounds (batched, online), where later labels are of a π that has learned: {}.\n",
                    rounds.join(", ")
                );
            }
        }
    }
    if e.is_place {
        out += "What counts is the content of what it names, and not where that is.\n";
    }
    out
}

/// In a sentence or two.
fn made_again(stages: &[&str]) -> String {
    let Some((first, rest)) = stages.split_first() else { return String::new() };
    let after = if rest.is_empty() { String::new() } else { format!(", and with it {}", rest.join(", ")) };
    format!("Read by the stage `{first}`; changing it makes {first} again{after}. Stages before are reused.\n")
}

/// A value as it is written in a spec.
fn as_toml(value: &Value) -> String {
    toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string())
}
