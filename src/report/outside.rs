//! Another group's runs of the authors' released code, beside runs here that follow it. Their numbers are not the
//! paper's, and stand in a column of their own.

use super::tables::{at_the_end, row, show, table};
use crate::results::{Results, Row, Run, Table, name, read_json};
use crate::spec::{CollectSchedule, Follows, ModelSize, Spec, changed_from_preset};
use serde::Deserialize;
use std::sync::OnceLock;

const TEXT: &str = include_str!("outside.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outside {
    source: String,
    #[serde(rename = "task")]
    tasks: Vec<Task>,
}

/// Where their runs of one task ended.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    preset: String,
    seeds: u64,
    score: Found,
    kl: Found,
    kl_coef: Found,
    reward_loss: Found,
}

/// Mean over seeds, and the lowest and the highest of them where they are known.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    value: f64,
    low: Option<f64>,
    high: Option<f64>,
    note: Option<String>,
}

fn outside() -> Option<&'static Outside> {
    static OUTSIDE: OnceLock<Option<Outside>> = OnceLock::new();
    OUTSIDE.get_or_init(|| toml::from_str(TEXT).ok()).as_ref()
}

/// None where no run follows the released code on labels of people with the small model.
pub fn build(results: &Results, seeds: &[u64]) -> Option<Table> {
    let outside = outside()?;
    let rows: Vec<Row> = results.runs.iter().flat_map(|run| of_run(results, run, outside, seeds)).collect();
    if rows.is_empty() {
        return None;
    }
    let title =
        format!("Beside another group's runs of the released code ({}; not the paper's numbers)", outside.source);
    let mut made = table("released_code", &title, rows);
    if let Some(column) = made.columns.get_mut(6) {
        *column = "another group's".into();
    }
    Some(made)
}

fn of_run(results: &Results, run: &Run, outside: &Outside, seeds: &[u64]) -> Vec<Row> {
    let Some(spec) = results.spec_of(&run.name).filter(follows_released_code) else { return Vec::new() };
    let preset = serde_json::to_value(spec.task.preset).unwrap_or_default();
    let Some(task) = outside.tasks.iter().find(|task| preset == task.preset.as_str()) else { return Vec::new() };
    let changed: Vec<String> = changed_from_preset(&spec).iter().map(|change| change.key.clone()).collect();
    // reward.json lies beside the weights of r.
    let reward = results.dir.join("runs").join(&run.name).join("models/reward/reward.json");
    let reward: Option<serde_json::Value> = read_json(&reward).ok();
    let loss = reward.and_then(|json| json["final_loss"].as_f64()).map(|loss| (loss, 1));
    let found = [
        ("score under r, last twentieth of training", "score", at_the_end(run, name::SCORE), &task.score),
        ("KL(π, ρ) per response, nats, likewise", "kl", at_the_end(run, name::KL), &task.kl),
        ("β, likewise", "kl_coef", at_the_end(run, name::KL_COEF), &task.kl_coef),
        ("loss of r, last minibatch", "reward_loss", loss, &task.reward_loss),
    ];
    found
        .into_iter()
        .filter_map(|(name, metric, ours, theirs)| {
            let (value, n) = ours?;
            let mut words = vec![theirs.verdict(value)];
            words.extend((!changed.is_empty()).then(|| format!("another setting: {}", changed.join(", "))));
            words.retain(|word| !word.is_empty());
            let mut row = row(name, &run.name, metric, (value, f64::NAN, f64::NAN), n, seeds, &words.join("; "));
            row.paper_note = theirs.words(task.seeds);
            Some(row)
        })
        .collect()
}

fn follows_released_code(spec: &Spec) -> bool {
    let weights = spec.model.weights.hf.as_deref().and_then(|name| name.rsplit('/').next());
    spec.follows == Follows::ReleasedCode
        && spec.model.size == ModelSize::M124
        && spec.model.dimensions.is_none()
        && spec.model.weights.pretrain.is_none()
        && weights.is_none_or(|name| name == "gpt2")
        && spec.labeler.is().recorded
        && spec.collect.schedule == CollectSchedule::Offline
}

impl Found {
    fn words(&self, seeds: u64) -> String {
        let range = self.low.zip(self.high).map(|(low, high)| format!("{low} to {high}"));
        let runs = if seeds == 1 { "1 run".to_string() } else { format!("{seeds} seeds") };
        let all: Vec<String> = range.into_iter().chain([runs]).chain(self.note.clone()).collect();
        format!("{} ({})", show(Some(self.value)), all.join("; "))
    }

    fn verdict(&self, ours: f64) -> String {
        match (self.low, self.high) {
            (Some(low), _) if ours < low => "below their lowest seed".into(),
            (_, Some(high)) if ours > high => "above their highest seed".into(),
            (Some(_), Some(_)) => "within their seeds".into(),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn results(set: &[&str], name: &str) -> Results {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("specs").join(name);
        let set = set.iter().map(|s| s.to_string()).collect();
        let options = crate::spec::Options { set, check_files: false, ..Default::default() };
        let spec = crate::spec::load(&path, &options).unwrap().variants.remove(0).1;
        let line = |score: f64| {
            let line = json!({ "objective/score": score, "objective/kl": 6.0, "objective/kl_coef": 0.5 });
            line.as_object().cloned().unwrap()
        };
        let metrics = (0..40).map(|i| line(if i < 38 { 0.0 } else { 2.0 })).collect();
        let run =
            Run { name: "main".into(), metrics, samples: Vec::new(), evaluation: None, rounds: None, judge: None };
        Results { spec: Some(toml::to_string(&spec).unwrap()), runs: vec![run], ..Results::default() }
    }

    #[test]
    fn another_groups_numbers_stand_beside_the_released_code_and_are_never_the_papers() {
        let table = build(&results(&[], "sentiment_5k_offline.toml"), &[1]).unwrap();
        assert!(table.title.contains("another group's") && table.title.contains("not the paper's"));
        assert_eq!(table.columns[6], "another group's");
        assert!(table.rows.iter().all(|row| row.paper.is_none()));
        let of = |metric: &str| table.rows.iter().find(|row| row.metric == metric).unwrap();
        assert_eq!((of("score").value, of("score").n), (Some(2.0), 2));
        assert_eq!(of("score").paper_note, "1.850 (0.8 to 2.6; 10 seeds)");
        assert_eq!(of("score").verdict, "within their seeds");
        assert_eq!(of("kl_coef").verdict, "above their highest seed");
    }

    #[test]
    fn other_settings_have_no_such_table_or_say_so() {
        let of = |set: &[&str], name: &str| build(&results(set, name), &[1]);
        assert!(of(&["follows=paper"], "sentiment_5k_offline.toml").is_none());
        assert!(of(&["model.size=355M", "model.weights.hf=gpt2-medium"], "sentiment_5k_offline.toml").is_none());
        assert!(of(&[], "sentiment_mock_direct.toml").is_none());
        let shrunk = of(&["policy.episodes=1024"], "descriptiveness_5k_offline.toml").unwrap();
        assert!(shrunk.rows[0].verdict.ends_with("another setting: policy.episodes"), "{:?}", shrunk.rows[0]);
    }

    #[test]
    fn the_file_has_every_task_that_the_group_ran() {
        let tasks: Vec<&str> = outside().unwrap().tasks.iter().map(|task| task.preset.as_str()).collect();
        assert_eq!(tasks, ["sentiment", "descriptiveness", "tldr"]);
    }
}
