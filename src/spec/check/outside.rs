//! What belongs to answers from outside: a judge's model and address, a program's words.

use super::{Finding, finding, hinted, path_is_there};
use crate::spec::Options;
use crate::spec::types::{CommandSpec, JudgeSpec, LabelerKind, OutsideReward, Spec};
use std::path::{Path, PathBuf};

/// What a prompt must hold.
pub const PLACEHOLDERS: [&str; 2] = ["{query}", "{candidates}"];

/// Every rule on a judge, on programs, and on rewards that no model gives.
pub fn rules(spec: &Spec, options: &Options) -> Vec<Finding> {
    let judge = spec.labeler.judge.as_ref().filter(|_| spec.labeler.kind == LabelerKind::Judge);
    [
        judge_has_a_model(spec),
        only_judges_are_told(spec),
        a_judge_answers_once(spec),
        labeler_has_a_program(spec, options),
        reward_has_a_program(spec, options),
        only_programs_are_run(spec),
    ]
    .into_iter()
    .flatten()
    .chain(judge.into_iter().flat_map(|judge| judge_rules(judge, options)))
    .collect()
}

/// Every rule on a judge with a model, whoever asks it; keys are those of `labeler.judge`.
pub fn judge_rules(judge: &JudgeSpec, options: &Options) -> Vec<Finding> {
    [address_is_one(judge), key_is_a_name(judge), prompt_has_places(judge, options)].into_iter().flatten().collect()
}

fn judge_has_a_model(spec: &Spec) -> Option<Finding> {
    if spec.labeler.kind != LabelerKind::Judge {
        return None;
    }
    let named = |judge: &JudgeSpec| !judge.model.trim().is_empty() && !judge.model.chars().any(char::is_control);
    if spec.labeler.judge.as_ref().is_some_and(named) {
        return None;
    }
    hinted(
        &["labeler.kind", "labeler.judge.model"],
        "a judge needs labeler.judge.model, and none is given".into(),
        "name the model as the endpoint does, for example labeler.judge.model = \"gpt-4o-mini\"".into(),
    )
}

fn only_judges_are_told(spec: &Spec) -> Option<Finding> {
    if spec.labeler.judge.is_none() || spec.labeler.kind == LabelerKind::Judge {
        return None;
    }
    hinted(
        &["labeler.judge", "labeler.kind"],
        format!("belongs to a judge, and labeler.kind = {:?}", spec.labeler.kind.word()),
        "set labeler.kind = \"judge\", or remove the table".into(),
    )
}

fn a_judge_answers_once(spec: &Spec) -> Option<Finding> {
    let human = spec.labeler.human.as_ref().filter(|_| spec.labeler.kind == LabelerKind::Judge)?;
    if human.labelers_per_item == 1 {
        return None;
    }
    hinted(
        &["labeler.human.labelers_per_item", "labeler.kind"],
        format!("a judge is one labeler, and {} are to answer each question", human.labelers_per_item),
        "remove the key; labeler.judge.both_orders asks each question twice".into(),
    )
}

/// Why an address cannot be a judge's.
fn wrong_address(url: &str) -> Option<&'static str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
        return Some("is no address: it begins with http:// or https:// and a host");
    };
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some("has white space in it");
    }
    if rest.contains(['?', '#']) {
        return Some("has a query, and requests add to its path");
    }
    // Specs are written into results; what is in them is no secret.
    if rest.split('/').next().is_some_and(|host| host.contains('@')) {
        return Some("holds a name or a password, and results hold the spec: give the key by labeler.judge.key_env");
    }
    None
}

fn address_is_one(judge: &JudgeSpec) -> Option<Finding> {
    let why = wrong_address(&judge.base_url)?;
    hinted(
        &["labeler.judge.base_url"],
        // A password is not shown.
        if judge.base_url.contains('@') { why.into() } else { format!("{:?} {why}", judge.base_url) },
        "give what stands before /chat/completions, for example \"http://127.0.0.1:8000/v1\"".into(),
    )
}

/// The commonest mistake is the key itself, which is not repeated.
fn key_is_a_name(judge: &JudgeSpec) -> Option<Finding> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name = &judge.key_env;
    if name.is_empty() || (name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit())) {
        return None;
    }
    hinted(
        &["labeler.judge.key_env"],
        "is no name of an environment variable".into(),
        "name the variable that holds the key, never the key: results hold the spec".into(),
    )
}

fn prompt_has_places(judge: &JudgeSpec, options: &Options) -> Option<Finding> {
    let path = judge.prompt.as_deref()?;
    if let Some(missing) = path_is_there("labeler.judge.prompt", path, options) {
        return Some(missing);
    }
    if !options.check_files || path.is_empty() {
        return None;
    }
    let wrong = |message: String| {
        let places = PLACEHOLDERS.join(" and ");
        hinted(&["labeler.judge.prompt"], message, format!("a prompt is a text with {places} in it"))
    };
    let text = match crate::store::input::read_to_string(Path::new(path)) {
        Ok(text) => text,
        Err(e) => return wrong(format!("{path}: {e}")),
    };
    let missing = PLACEHOLDERS.into_iter().find(|place| !text.contains(place))?;
    wrong(format!("{path} has no {missing}, so that the model would not see it"))
}

fn labeler_has_a_program(spec: &Spec, options: &Options) -> Option<Finding> {
    if spec.labeler.kind != LabelerKind::Command {
        return None;
    }
    let keys = ["labeler.kind", "labeler.command.run"];
    program_is_there(keys, spec.labeler.command.as_ref(), options)
}

fn reward_has_a_program(spec: &Spec, options: &Options) -> Option<Finding> {
    if spec.reward.outside() != Some(OutsideReward::Command) {
        return None;
    }
    let keys = ["reward.source", "reward.command.run"];
    program_is_there(keys, spec.reward.command.as_ref(), options)
}

fn program_is_there(
    [kind, run]: [&'static str; 2],
    command: Option<&CommandSpec>,
    options: &Options,
) -> Option<Finding> {
    let Some(program) = command.and_then(|command| command.run.first()).filter(|word| !word.is_empty()) else {
        return hinted(
            &[kind, run],
            format!("a program is asked for, and {run} names none"),
            format!("give its words, for example {run} = [\"python3\", \"answer.py\"]"),
        );
    };
    if !options.check_files || !options.for_run || found(program).is_some() {
        return None;
    }
    hinted(
        &[run],
        format!("there is no program {program:?}, neither beside the file that says so nor in PATH"),
        "give its path, or install it".into(),
    )
}

/// Where a program is: at its path, or in a directory of PATH.
fn found(program: &str) -> Option<PathBuf> {
    if Path::new(program).components().count() > 1 {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let paths = std::env::var_os("PATH")?;
    let named = |dir: PathBuf| {
        let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
        [dir.join(program), dir.join(name)].into_iter().find(|path| path.is_file())
    };
    std::env::split_paths(&paths).find_map(named)
}

fn only_programs_are_run(spec: &Spec) -> Option<Finding> {
    if spec.labeler.command.is_some() && spec.labeler.kind != LabelerKind::Command {
        return hinted(
            &["labeler.command", "labeler.kind"],
            format!("belongs to a program that answers, and labeler.kind = {:?}", spec.labeler.kind.word()),
            "set labeler.kind = \"command\", or remove the table".into(),
        );
    }
    if spec.reward.command.is_some() && spec.reward.outside() != Some(OutsideReward::Command) {
        return hinted(
            &["reward.command", "reward.source"],
            "belongs to a program that scores, and reward.source is not \"command\"".into(),
            "set reward.source = \"command\", or remove the table".into(),
        );
    }
    let given = spec.reward.outside().filter(|_| spec.reward.path.is_some())?;
    finding(&["reward.path", "reward.source"], format!("no model is read where reward.source = {:?}", given.word()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn found(labeler: Value, reward: Value) -> Vec<&'static str> {
        let value = json!({ "spec_version": 1, "name": "t", "labeler": labeler, "reward": reward });
        let spec: Spec = serde_json::from_value(value).expect("a spec");
        rules(&spec, &Options { for_run: true, ..Options::default() }).iter().map(|finding| finding.keys[0]).collect()
    }

    fn judge(more: Value) -> Value {
        let mut judge = json!({ "model": "m" });
        more.as_object().into_iter().flatten().for_each(|(key, v)| judge[key] = v.clone());
        json!({ "kind": "judge", "judge": judge })
    }

    #[test]
    fn a_judge_has_a_model_an_address_and_a_variable() {
        assert_eq!(found(judge(json!({})), json!({})), Vec::<&str>::new());
        assert_eq!(found(judge(json!({ "base_url": "http://localhost:1/v1", "key_env": "" })), json!({})).len(), 0);
        assert_eq!(found(json!({ "kind": "judge" }), json!({})), ["labeler.kind"]);
        assert_eq!(found(judge(json!({ "model": " " })), json!({})), ["labeler.kind"]);
        for url in ["", "api.openai.com", "ftp://a", "http://", "http:///v1", "https://a/v1?key=x", "https://u:p@h/v1"]
        {
            assert_eq!(found(judge(json!({ "base_url": url })), json!({})), ["labeler.judge.base_url"], "{url}");
        }
        assert_eq!(found(judge(json!({ "key_env": "sk-abc" })), json!({})), ["labeler.judge.key_env"]);
        assert_eq!(found(judge(json!({ "prompt": "/nowhere" })), json!({})), ["labeler.judge.prompt"]);
        assert_eq!(found(json!({ "kind": "mock", "judge": { "model": "m" } }), json!({})), ["labeler.judge"]);
        let twice = json!({ "kind": "judge", "judge": { "model": "m" }, "human": { "labelers_per_item": 3 } });
        assert_eq!(found(twice, json!({})), ["labeler.human.labelers_per_item"]);
    }

    #[test]
    fn programs_are_there() {
        let command = |run: Value| json!({ "kind": "command", "command": { "run": run } });
        assert_eq!(found(command(json!(["sh", "-c", "cat"])), json!({})), Vec::<&str>::new());
        assert_eq!(found(command(json!(["no-such-program-here"])), json!({})), ["labeler.command.run"]);
        assert_eq!(found(command(json!([])), json!({})), ["labeler.kind"]);
        assert_eq!(found(json!({ "command": { "run": ["sh"] } }), json!({})), ["labeler.command"]);
        let rouge = json!({ "source": "rouge", "path": "r" });
        assert_eq!(found(json!({}), rouge), ["reward.path"]);
        assert_eq!(found(json!({}), json!({ "source": "command" })), ["reward.source"]);
        assert_eq!(found(json!({}), json!({ "command": { "run": ["sh"] } })), ["reward.command"]);
    }
}
