//! Where one key of a spec acts: what it is, what the paper and its released code say, which stages depend on it. All
//! of it is read from what the program itself uses: the schema, the presets, the table of docs/hyperparameters.md, and
//! the names of stages, which are computed with the key changed.

use crate::spec::keyed::changes_no_result;
use crate::spec::paths::is_path;
use crate::spec::schema::{did_you_mean, expected, plain, schema_at};
use crate::spec::{PRESETS, Spec, preset_values};
use crate::stage::keys::Keys;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The table of sources, by key.
const HYPERPARAMETERS: &str = include_str!("../../docs/hyperparameters.md");
/// Stages in the order of a run.
const STAGES: [&str; 8] = ["import", "pretrain", "supervised", "classifier", "labels", "reward", "policy", "evaluate"];

/// What there is to say of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    pub key: String,
    /// What it is, and what its section is.
    pub about: String,
    pub section: String,
    /// Type and allowed values, in words.
    pub kind: String,
    /// None: absent unless it is written.
    pub default: Option<Value>,
    /// Of each task's preset: what it is under `follows = "paper"` and under `"released_code"`.
    pub presets: Vec<(&'static str, Value, Value)>,
    /// Rows of docs/hyperparameters.md: what, the paper, the released code.
    pub sources: Vec<[String; 3]>,
    /// Stages that are made again when it changes, in their order; none where it changes no result.
    pub invalidates: Vec<&'static str>,
    /// The same where labels are collected in rounds (batched, online), on samples of a π that has learned.
    pub in_rounds: Vec<&'static str>,
    /// What counts is the content of what it names.
    pub is_place: bool,
}

/// Explains a key, `policy.kl.target`.
///
/// # Errors
/// There is no such key, in words, with one that may be meant.
pub fn explain(key: &str) -> Result<Explained, String> {
    let path: Vec<&str> = key.split('.').collect();
    let schema = schema_at(&path).filter(|_| !key.is_empty()).ok_or_else(|| unknown(key))?;
    if schema["properties"].is_object() {
        return Err(format!("{key} is a table; one of its keys: {}", keys_of(schema).join(", ")));
    }
    let text = |schema: &Value| schema["description"].as_str().unwrap_or_default().to_string();
    let (own, section) = (text(schema), schema_at(&path[..path.len() - 1]).map(text).unwrap_or_default());
    let tree = serde_json::to_value(spec(&json!({}))).map_err(|e| e.to_string())?;
    let pointer = format!("/{}", path.join("/"));
    // What a name or a place stands for counts as a file does.
    let named = ["source", "hf", "revision"].iter().any(|name| path.last() == Some(name));
    let stands_for = if named { format!("{}.path", path[..path.len() - 1].join(".")) } else { key.to_string() };
    let changed = format!("/{}", stands_for.replace('.', "/"));
    let of_preset = |name: &'static str| {
        let value = |paper| preset_values(name, paper).pointer(&pointer).cloned();
        Some((name, value(true)?, value(false)?))
    };
    Ok(Explained {
        key: key.into(),
        about: own,
        section,
        kind: in_words(schema),
        default: tree.pointer(&pointer).filter(|v| !v.is_null()).cloned(),
        presets: PRESETS.iter().filter_map(|name| of_preset(name)).collect(),
        sources: sources(key),
        invalidates: invalidates(&at_once(&stands_for), &changed, schema),
        in_rounds: invalidates(&in_rounds(), &changed, schema),
        is_place: named || is_path(key),
    })
}

fn keys_of(schema: &Value) -> Vec<&str> {
    schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

/// All keys below a path.
fn all_keys(prefix: &str, depth: usize, out: &mut Vec<String>) {
    let path: Vec<&str> = prefix.split('.').filter(|part| !part.is_empty()).collect();
    for key in schema_at(&path).map(keys_of).unwrap_or_default() {
        let key = if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
        let table = !matches!(key.as_str(), "runs" | "profile")
            && schema_at(&key.split('.').collect::<Vec<_>>()).is_some_and(|schema| schema["properties"].is_object());
        if table && depth > 0 {
            all_keys(&key, depth - 1, out);
        } else {
            out.push(key);
        }
    }
}

/// Every key of a spec that holds a value.
pub fn keys() -> Vec<String> {
    let mut all = Vec::new();
    all_keys("", 4, &mut all);
    all
}

fn unknown(key: &str) -> String {
    let all = keys();
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_string();
    // The last part is what people remember, as it is or nearly so.
    let near = did_you_mean(&last(key), all.iter().map(|k| &k[k.rfind('.').map_or(0, |at| at + 1)..]));
    let meant: Vec<&str> = match near {
        Some((_, meant)) => all.iter().map(String::as_str).filter(|known| last(known) == meant).collect(),
        None => Vec::new(),
    };
    let whole = did_you_mean(key, all.iter().map(String::as_str)).map(|(_, meant)| meant);
    match (whole, &meant[..]) {
        (Some(one), _) => format!("{key} is no key of a spec: did you mean {one}?"),
        (None, []) => format!("{key} is no key of a spec; `runner explain` lists all"),
        (None, some) => format!("{key} is no key of a spec: did you mean {}?", some.join(", or ")),
    }
}

/// Type and limits.
fn in_words(schema: &Value) -> String {
    let kind = expected(schema);
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(low), Some(high)) => format!("{kind} from {} to {}", plain(low), plain(high)),
        (Some(low), None) => format!("{kind}, at least {}", plain(low)),
        _ => kind,
    }
}

/// Rows of the table whose second column names the key, or a part of it with a star.
fn sources(key: &str) -> Vec<[String; 3]> {
    let names = |cell: &str| {
        let named = cell.split('`').skip(1).step_by(2);
        named.into_iter().any(|name| match name.strip_prefix('*') {
            Some(end) => key.contains(end),
            None => name == key || (name.contains('.') && key.starts_with(&format!("{name}."))),
        })
    };
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        match cells[..] {
            [what, keys, paper, code, ..] if names(keys) => Some([what.into(), paper.into(), code.into()]),
            _ => None,
        }
    };
    HYPERPARAMETERS.lines().filter(|line| line.starts_with('|')).filter_map(row).collect()
}

/// A spec of small stages with something changed.
fn spec(changed: &Value) -> Option<Spec> {
    let mut value = json!({ "spec_version": 1, "name": "explained" });
    lay_over(&mut value, changed);
    serde_json::from_value(value).ok()
}

fn lay_over(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}

/// A spec of small stages with all that few specs have, and more.
fn with(more: Value) -> Value {
    let mut value = json!({
        "task": { "data": { "synthetic": "posts" } },
        "labeler": { "reviews": { "synthetic": "reviews" }, "classifier": { "reviews": 10 } },
        "supervised": { "on": "summaries" },
        "policy": { "entropy": { "init": 0.1, "target": 20.0 } },
    });
    lay_over(&mut value, &more);
    value
}

fn in_rounds() -> Vec<Value> {
    ["batched", "online"].map(|schedule| with(json!({ "collect": { "schedule": schedule } }))).into()
}

/// Specs without rounds in which one key or another matters.
fn at_once(key: &str) -> Vec<Value> {
    let test = json!({ "layers": 2, "heads": 2, "width": 32, "context": 128 });
    let mut all = vec![
        with(json!({ "collect": { "schedule": "direct" } })),
        with(json!({ "collect": { "schedule": "offline" }, "model": { "dimensions": test } })),
        with(json!({ "policy": { "algorithm": "rloo" } })),
        with(json!({ "policy": { "algorithm": "dpo", "dpo": {}, "entropy": null } })),
        with(json!({ "labeler": { "kind": "simulated", "simulated": { "weight_score": 1.0 } } })),
        with(json!({ "labeler": { "kind": "simulated" }, "collect": { "schedule": "none" } })),
        with(json!({ "model": { "weights": { "pretrain": { "summaries": true } } } })),
        with(json!({ "task": { "data": { "synthetic": "storyworld" } } })),
    ];
    // What only files have; they are not here, and so stand for themselves with all that is said of them.
    let recorded = ["labeler.path", "labeler.source", "labeler.format", "labeler.split"];
    let judge = json!({ "kind": "judge", "batches": "labels", "judge": { "model": "m" } });
    let command = json!({ "run": ["cat"] });
    let of_files: [(&[&str], Value); 8] = [
        (&["model.weights"], json!({ "model": { "weights": { "pretrain": null, "path": "weights" } } })),
        (&recorded, json!({ "labeler": { "kind": "recorded", "path": "labels.json" } })),
        (&["labeler.batches", "labeler.human"], json!({ "labeler": { "kind": "human", "batches": "labels" } })),
        (&["labeler.judge"], json!({ "labeler": judge })),
        (&["labeler.command"], json!({ "labeler": { "kind": "command", "command": command } })),
        (&["reward.command"], json!({ "reward": { "source": "command", "command": command } })),
        (&["reward.path", "reward.source"], json!({ "reward": { "path": "r" } })),
        (&["policy.path", "policy.source"], json!({ "policy": { "path": "policy" } })),
    ];
    // Stand-ins hold more than counts.
    let matters = |keys: &[&str]| !changes_no_result(key) && keys.iter().any(|k| key.starts_with(k));
    let matter = of_files.into_iter().filter(|(keys, _)| matters(keys));
    all.extend(matter.map(|(_, value)| with(value)));
    all
}

/// Stages whose names change with the key.
fn invalidates(settings: &[Value], pointer: &str, schema: &Value) -> Vec<&'static str> {
    let mut found = BTreeSet::new();
    for setting in settings {
        let Some(before) = spec(setting) else { continue };
        let tree = serde_json::to_value(&before).unwrap_or_default();
        let names = stage_names(&before);
        for other in others(schema, tree.pointer(pointer)) {
            let mut changed = tree.clone();
            put(&mut changed, pointer, other);
            let Ok(after) = serde_json::from_value::<Spec>(changed) else { continue };
            found.extend(names.symmetric_difference(&stage_names(&after)).map(|(stage, _)| *stage));
        }
    }
    STAGES.into_iter().filter(|stage| found.contains(stage)).collect()
}

/// What is made by a spec, by name.
fn stage_names(spec: &Spec) -> BTreeSet<(&'static str, String)> {
    let keys = Keys::planned(spec, "main", "cpu", &mut Vec::new());
    keys.iter().flat_map(Keys::all).map(|key| (key.stage, key.to_string())).collect()
}

fn put(tree: &mut Value, pointer: &str, value: Value) {
    let mut at = tree;
    for part in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part];
    }
    *at = value;
}

/// Other values that a key may have.
fn others(schema: &Value, now: Option<&Value>) -> Vec<Value> {
    let documented = schema["oneOf"].as_array().into_iter().flatten();
    let listed = |schema: &Value| -> Vec<Value> {
        let constant = schema.get("const").cloned();
        schema["enum"].as_array().into_iter().flatten().cloned().chain(constant).collect()
    };
    let mut all: Vec<Value> = documented.flat_map(listed).chain(listed(schema)).collect();
    let (low, high) = (schema["minimum"].as_f64().unwrap_or(0.0), schema["maximum"].as_f64().unwrap_or(f64::MAX));
    let number = now.and_then(Value::as_f64).unwrap_or(low);
    let near = [number + 1.0, number / 2.0, low].into_iter().filter(|n| (low..=high).contains(n));
    match schema["type"].as_str() {
        Some("integer") => all.extend(near.map(|n| json!(n.min(1e9) as u64))),
        Some("number") => all.extend(near.map(|n| json!(n))),
        Some("boolean") => all.extend([json!(true), json!(false)]),
        Some("string") => all.push(json!("another")),
        Some("array") => all.extend([json!([1]), json!([0.5]), json!(["another"])]),
        _ => {}
    }
    all.retain(|value| Some(value) != now);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(key: &str) -> Vec<&'static str> {
        let found = explain(key).unwrap_or_else(|e| panic!("{e}"));
        if found.invalidates.is_empty() { found.in_rounds } else { found.invalidates }
    }

    #[test]
    fn what_changes_no_result_invalidates_nothing() {
        for key in [
            "name",
            "description",
            "reproduces",
            "follows",
            "policy.checkpoint_every",
            "guards.ratio_tolerance",
            "guards.kl_times_target",
            "guards.negative_kl",
        ] {
            assert_eq!(stages(key), [""; 0], "{key}");
        }
        // They are for people's questions, whose batches are used as they are.
        assert_eq!(stages("task.preset"), ["evaluate"]);
    }

    #[test]
    fn evaluation_settings_never_retrain() {
        for key in ["queries", "optimum_samples", "optimum_queries", "samples"] {
            assert_eq!(stages(&format!("evaluate.{key}")), ["evaluate"], "{key}");
        }
    }

    #[test]
    fn what_matters_is_made_again_from_its_stage_on() {
        for (key, wanted) in [
            ("policy.kl.target", &["policy", "evaluate"][..]),
            ("policy.algorithm", &["reward", "policy", "evaluate"]),
            ("policy.samples_per_query", &["policy", "evaluate"]),
            ("policy.dpo.beta", &["policy", "evaluate"]),
            ("evaluate.best_of", &["evaluate"]),
            ("policy.entropy.gain", &["policy", "evaluate"]),
            ("reward.lr", &["reward", "policy", "evaluate"]),
            ("reward.target_std", &["reward", "policy", "evaluate"]),
            ("task.missing_score", &["policy", "evaluate"]),
            ("collect.labels", &["labels", "reward", "policy", "evaluate"]),
            ("collect.retrain", &["labels", "reward", "policy", "evaluate"]),
            ("labeler.simulated.position_bias", &["labels", "reward", "policy", "evaluate"]),
            ("labeler.classifier.steps", &["classifier", "labels", "reward", "policy", "evaluate"]),
            ("supervised.dropout", &["supervised", "labels", "reward", "policy", "evaluate"]),
            ("seed", &["pretrain", "supervised", "classifier", "labels", "reward", "policy", "evaluate"]),
        ] {
            assert_eq!(stages(key), wanted, "{key}");
        }
        // π of one round is asked about in the next.
        assert_eq!(explain("policy.lr").unwrap().in_rounds, ["labels", "reward", "policy", "evaluate"]);
    }

    /// A new key must say in spec/keyed.rs whether it counts; here, that it was not forgotten.
    #[test]
    fn every_key_is_explained_and_the_rest_counts() {
        let free = ["name", "description", "reproduces", "follows", "spec_version", "extends", "runs", "profile"];
        for key in keys() {
            let found = explain(&key).unwrap_or_else(|e| panic!("{e}"));
            assert!(!found.kind.is_empty(), "{key}");
            let changes = found.invalidates.len() + found.in_rounds.len();
            let quiet = changes_no_result(&key);
            assert!(!quiet || changes == 0, "{key} changes {:?}", found.invalidates);
            // What people and judges are asked is in their answers.
            let asked = ["labeler.human.", "labeler.judge."].iter().any(|start| key.starts_with(start));
            let counts = !free.contains(&key.as_str()) && !quiet && !asked;
            assert!(!counts || changes > 0, "{key} changes nothing");
        }
    }

    #[test]
    fn a_key_that_is_none_is_answered_with_one_that_is() {
        assert!(explain("policy.kl.targt").unwrap_err().contains("policy.kl.target"));
        assert!(explain("kl.targt").unwrap_err().contains("policy.kl.target"));
        assert!(explain("whiten_rewards").unwrap_err().contains("policy.whiten_rewards"));
        assert!(explain("policy.kl").unwrap_err().contains("is a table"));
        let target = explain("policy.kl.target").unwrap();
        assert!(target.presets.contains(&("sentiment", json!(10.0), json!(6.0))), "{:?}", target.presets);
        assert!(target.sources.iter().any(|[what, ..]| what.contains("KL target, sentiment")));
    }
}
