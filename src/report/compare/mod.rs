//! Comparison of results directories: spec differences first, then metrics with intervals and a verdict.
//!
//! Directories whose specs differ in nothing but the seed are seeds of one experiment. Where some experiment is there
//! with several seeds, experiments are compared over seeds; otherwise each further directory with the first, over
//! held-out queries. The seeds of one experiment by themselves have a mean and an interval.

mod metrics;
pub mod paper;
mod seeds;
pub(crate) mod spec;
mod write;

use super::formats::Format;
use crate::results::{Evaluation, Results, ResultsError, Run, with_origin};
use metrics::Sides;
use schemars::JsonSchema;
use serde::Serialize;
use spec::{Flat, flat_spec, incomparable, under};
use std::path::{Path, PathBuf};

/// The written comparison, and whether any metric is worse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenComparison {
    pub text: String,
    pub regressed: bool,
}

/// A setting that is not the same in both specs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SpecDifference {
    pub key: String,
    pub a: Option<String>,
    pub b: Option<String>,
}

/// One metric of one run on both sides; of several seeds, the mean.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct MetricDifference {
    pub run: String,
    pub metric: String,
    pub a: Option<f64>,
    pub b: Option<f64>,
    pub difference: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub p: Option<f64>,
    /// Whether contexts were compared one to one.
    pub paired: bool,
    /// What the interval is over: "same queries", "queries", "texts" (each side's own interval), or "seeds".
    pub over: String,
    pub seeds_a: usize,
    pub seeds_b: usize,
    /// "same", "better", "worse", "changed" (nothing says which way is good), "unknown", or "not comparable".
    pub verdict: String,
}

/// One experiment against the first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Pair")]
pub struct ComparedPair {
    pub a: String,
    pub b: String,
    pub spec: Vec<SpecDifference>,
    pub metrics: Vec<MetricDifference>,
    pub notes: Vec<String>,
}

/// One results directory.
struct Side {
    dir: PathBuf,
    spec: Flat,
    results: Results,
}

impl Side {
    fn load(dir: &Path) -> Result<Self, ResultsError> {
        Ok(Self { dir: dir.to_owned(), spec: flat_spec(dir)?, results: Results::load(dir)? })
    }

    /// The spec without its seed: what experiment this is.
    fn experiment(&self) -> Flat {
        self.spec.iter().filter(|(key, _)| *key != "seed").map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    fn seed(&self) -> (Option<&String>, Vec<u64>) {
        (self.spec.get("seed"), self.results.seeds())
    }
}

/// Compares each further experiment with the first. A drop counts as worse when its 95% interval excludes zero and
/// it is larger than `tolerance`, in the metric's own unit. For KL a drop is moving away from the run's target.
pub fn compare(dirs: &[PathBuf], format: Format, tolerance: f64) -> Result<WrittenComparison, ResultsError> {
    if dirs.is_empty() {
        return Err(ResultsError::Usage("nothing to compare: name two results directories".to_owned()));
    }
    if dirs.len() < 2 {
        return Err(ResultsError::Usage(
            "one directory has nothing to be compared with: name a second, or --against paper".to_owned(),
        ));
    }
    if !tolerance.is_finite() || tolerance < 0.0 {
        return Err(ResultsError::Usage(format!("the tolerance must be a number from 0 up, not {tolerance}")));
    }
    let sides: Vec<Side> = dirs.iter().map(|dir| Side::load(dir)).collect::<Result<_, _>>()?;
    let groups = experiments(&sides);
    if let [seeds] = &groups[..]
        && let Some(text) = over_seeds(seeds, format)?
    {
        return Ok(WrittenComparison { text, regressed: false });
    }
    let groups = match groups.len() > 1 && groups.iter().any(|g| g.len() > 1) {
        true => groups,
        false => sides.iter().map(|side| vec![side]).collect(),
    };
    let pairs: Vec<ComparedPair> =
        groups[1..].iter().map(|other| pair(&groups[0], other, tolerance)).collect::<Result<_, _>>()?;
    let regressed = pairs.iter().flat_map(|p| &p.metrics).any(|m| m.verdict == "worse");
    let closing = write::closing(&pairs, tolerance);
    let text = match format {
        Format::Text => pairs.iter().map(write::text).collect::<Vec<_>>().join("\n") + &format!("\n{closing}\n"),
        Format::Markdown => {
            pairs.iter().map(write::markdown).collect::<Vec<_>>().join("\n") + &format!("\n{closing}\n")
        }
        Format::Csv => write::csv(&pairs),
        Format::Json => {
            let value = serde_json::json!({ "tolerance": tolerance, "regressed": regressed, "comparisons": pairs });
            format!("{value:#}\n")
        }
        Format::Latex => return Err(no_latex()),
    };
    Ok(WrittenComparison { text, regressed })
}

fn no_latex() -> ResultsError {
    ResultsError::Usage("compare writes text, json, markdown or csv; tables have latex".to_owned())
}

/// The summary of one experiment's seeds; none where some seed is there twice, which is for comparing.
fn over_seeds(group: &[&Side], format: Format) -> Result<Option<String>, ResultsError> {
    let mut seeds: Vec<_> = group.iter().map(|side| side.seed()).collect();
    seeds.sort();
    if seeds.windows(2).any(|pair| pair[0] == pair[1]) {
        return Ok(None);
    }
    let summary = seeds::summary(group);
    match format {
        Format::Json => Ok(Some(format!("{:#}\n", serde_json::json!({ "regressed": false, "summary": summary })))),
        Format::Latex => Err(no_latex()),
        format => Ok(Some(seeds::write(&summary, format))),
    }
}

/// Directories by experiment, in the order in which they were named.
fn experiments(sides: &[Side]) -> Vec<Vec<&Side>> {
    let mut groups: Vec<Vec<&Side>> = Vec::new();
    for side in sides {
        match groups.iter_mut().find(|g| g[0].experiment() == side.experiment()) {
            Some(group) => group.push(side),
            None => groups.push(vec![side]),
        }
    }
    groups
}

fn names(group: &[&Side]) -> String {
    let one = |side: &&Side| with_origin(&side.dir.display().to_string(), side.results.origin().as_deref());
    group.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A run's name, with where each side's models are from that were not trained here.
fn shown_run(run: &str, a: &[&Side], b: &[&Side]) -> String {
    let of =
        |(side, group): (&str, &[&Side])| group[0].results.origin_of(run).map(|origin| format!("{side}: {origin}"));
    let origins: Vec<String> = [("A", a), ("B", b)].into_iter().filter_map(of).collect();
    with_origin(run, (!origins.is_empty()).then(|| origins.join(", ")).as_deref())
}

/// Two experiments, each of one directory or of several seeds.
fn pair(a: &[&Side], b: &[&Side], tolerance: f64) -> Result<ComparedPair, ResultsError> {
    let over_seeds = a.len() > 1 || b.len() > 1;
    let spec: Vec<SpecDifference> =
        spec::differences(&a[0].spec, &b[0].spec).into_iter().filter(|d| !(over_seeds && d.key == "seed")).collect();
    let refuse = |reason: String| ResultsError::Incomparable { a: a[0].dir.clone(), b: b[0].dir.clone(), reason };
    if let Some(why) = incomparable(&spec) {
        return Err(refuse(why));
    }
    let same_queries = !over_seeds && !under(&spec, "task") && a[0].seed() == b[0].seed();
    let same_reward = !under(&spec, "reward.source") && !under(&spec, "reward.path");
    let same_scale = !under(&spec, "labeler") && same_reward;
    let mut notes = Vec::new();
    if !same_queries && !over_seeds {
        notes.push(
            "seeds or task sections differ: contexts are not the same queries, intervals are unpaired".to_owned(),
        );
    }
    if over_seeds && (a.len() == 1 || b.len() == 1) {
        notes.push("one side has a single seed: its spread is not known, and neither are the intervals".to_owned());
    }
    if !same_reward {
        notes.push("the reward models differ: scores are on different scales and are not compared".to_owned());
    }
    if under(&spec, "labeler") {
        notes.push("the labeler sections differ: scores are on different scales and are not compared".to_owned());
    }
    let sides = Sides { same_queries, same_scale, tolerance };
    let mut metrics = Vec::new();
    for run in &a[0].results.runs {
        if b.iter().any(|side| !side.results.runs.iter().any(|r| r.name == run.name)) {
            notes.push(format!("run {} is only in {}", run.name, names(a)));
            continue;
        }
        let of_a = evaluated(&run.name, a, &mut notes);
        let of_b = evaluated(&run.name, b, &mut notes);
        if let (Some(of_a), Some(of_b)) = (of_a.first(), of_b.first())
            && let (Some(target_a), Some(target_b)) = (of_a.kl_target, of_b.kl_target)
            && target_a != target_b
        {
            notes.push(format!(
                "{}: each KL is judged by how near it is to its own target, {target_a} and {target_b}",
                run.name
            ));
        }
        if !of_a.is_empty() && !of_b.is_empty() {
            let shown = shown_run(&run.name, a, b);
            metrics.extend(metrics::differences(&shown, &of_a, &of_b, sides));
        }
    }
    for run in b[0].results.runs.iter().filter(|r| !a[0].results.runs.iter().any(|x| x.name == r.name)) {
        notes.push(format!("run {} is only in {}", run.name, names(b)));
    }
    if metrics.is_empty() {
        let seen = if notes.is_empty() { "no runs".to_owned() } else { notes.join("; ") };
        return Err(refuse(format!("they share no evaluated run ({seen})")));
    }
    Ok(ComparedPair { a: names(a), b: names(b), spec, metrics, notes })
}

/// The evaluations of a run that could be read; notes name the others.
fn evaluated<'a>(name: &str, group: &[&'a Side], notes: &mut Vec<String>) -> Vec<&'a Evaluation> {
    let of = |side: &&'a Side| -> Option<&'a Run> { side.results.runs.iter().find(|r| r.name == name) };
    let mut found = Vec::new();
    for side in group {
        match of(side).and_then(|run| run.evaluation.as_ref()) {
            Some(evaluation) => found.push(evaluation),
            None => notes.push(format!("run {name} has no readable evaluation in {}", side.dir.display())),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::fake;
    use std::fs;

    fn two(shift: f64) -> (tempfile::TempDir, Vec<PathBuf>) {
        let home = tempfile::tempdir().unwrap();
        let dirs = vec![home.path().join("a"), home.path().join("b")];
        fake(&dirs[0], 0.0);
        fake(&dirs[1], shift);
        (home, dirs)
    }

    fn edit(dir: &Path, from: &str, to: &str) {
        let path = dir.join("spec.toml");
        fs::write(&path, fs::read_to_string(&path).unwrap().replace(from, to)).unwrap();
    }

    #[test]
    fn a_directory_is_the_same_as_itself() {
        let (_home, dirs) = two(0.0);
        let made = compare(&dirs, Format::Text, 0.0).unwrap();
        assert!(!made.regressed && made.text.contains("The specs are the same"), "{}", made.text);
        assert!(made.text.contains("Nothing is worse."), "{}", made.text);
    }

    #[test]
    fn a_drop_is_worse_only_beyond_the_tolerance_and_a_rise_is_better() {
        let (_home, mut dirs) = two(-1.0);
        let made = compare(&dirs, Format::Csv, 0.0).unwrap();
        assert!(made.regressed, "{}", made.text);
        assert!(!compare(&dirs, Format::Csv, 5.0).unwrap().regressed);
        dirs.reverse();
        let made = compare(&dirs, Format::Markdown, 0.0).unwrap();
        assert!(!made.regressed && made.text.contains("better"), "{}", made.text);
    }

    #[test]
    fn spec_differences_come_first_and_meaningless_ones_are_refused() {
        let (_home, dirs) = two(0.0);
        edit(&dirs[1], "lr = 1e-4", "lr = 2e-4");
        let made = compare(&dirs, Format::Text, 0.0).unwrap().text;
        assert!(made.find("policy.lr: 0.0001 -> 0.0002").unwrap() < made.find("policy_mock_score").unwrap(), "{made}");
        edit(&dirs[1], "\"sentiment\"", "\"tldr\"");
        let refusal = compare(&dirs, Format::Text, 0.0).unwrap_err().to_string();
        assert!(refusal.contains("different tasks"), "{refusal}");
    }

    #[test]
    fn another_seed_unpairs_and_another_labeler_hides_the_score() {
        let (_home, dirs) = two(-1.0);
        edit(&dirs[1], "seed = 1", "seed = 2");
        edit(&dirs[1], "[policy]", "[labeler]\nkind = \"mock\"\n[policy]");
        let json = compare(&dirs, Format::Json, 0.0).unwrap().text;
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let first = &value["comparisons"][0]["metrics"][0];
        assert_eq!((first["paired"].as_bool(), first["verdict"].as_str()), (Some(false), Some("not comparable")));
        assert_eq!(value["comparisons"][0]["notes"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn seeds_of_one_experiment_are_compared_over_seeds() {
        let home = tempfile::tempdir().unwrap();
        let made = |name: &str, seed: u64, lr: &str, shift: f64| {
            let dir = home.path().join(name);
            fake(&dir, shift);
            edit(&dir, "seed = 1", &format!("seed = {seed}"));
            edit(&dir, "lr = 1e-4", &format!("lr = {lr}"));
            dir
        };
        let dirs = vec![
            made("a1", 1, "1e-4", 0.0),
            made("b1", 1, "2e-4", -1.0),
            made("a2", 2, "1e-4", 0.05),
            made("b2", 2, "2e-4", -1.04),
        ];
        let json = compare(&dirs, Format::Json, 0.2).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json.text).unwrap();
        let (pair, first) = (&value["comparisons"][0], &value["comparisons"][0]["metrics"][0]);
        assert_eq!(value["comparisons"].as_array().unwrap().len(), 1);
        assert_eq!(
            (first["over"].as_str(), first["seeds_a"].as_u64(), first["seeds_b"].as_u64()),
            (Some("seeds"), Some(2), Some(2))
        );
        // Means of policy.mean: 3.8 and 3.85 against 2.8 and 2.76.
        assert!((first["difference"].as_f64().unwrap() + 1.045).abs() < 1e-9, "{first}");
        assert_eq!(first["verdict"], "worse");
        assert_eq!(pair["spec"].as_array().unwrap().len(), 1, "the seed is no difference: {pair}");
        // One seed against two says no interval.
        let text = compare(&dirs[..3], Format::Text, 0.2).unwrap();
        assert!(!text.regressed && text.text.contains("unknown") && text.text.contains("single seed"), "{}", text.text);
    }

    #[test]
    fn the_seeds_of_one_experiment_have_a_mean_and_an_interval() {
        let home = tempfile::tempdir().unwrap();
        let made = |seed: u64, shift: f64| {
            let dir = home.path().join(format!("x-seed-{seed}"));
            fake(&dir, shift);
            edit(&dir, "seed = 1", &format!("seed = {seed}"));
            dir
        };
        let dirs = vec![made(1, 0.0), made(2, 0.1), made(3, 0.2)];
        let json = compare(&dirs, Format::Json, 0.2).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json.text).unwrap();
        let first = &value["summary"]["metrics"][0];
        assert_eq!((first["metric"].as_str(), first["seeds"].as_u64()), (Some("policy_mock_score"), Some(3)));
        // 3.8, 3.9, 4.0: a standard error of 0.1 / sqrt(3), and 4.303 of them.
        assert!((first["mean"].as_f64().unwrap() - 3.9).abs() < 1e-9, "{first}");
        assert!((first["high"].as_f64().unwrap() - 3.9 - 0.2484).abs() < 1e-3, "{first}");
        let text = compare(&dirs, Format::Text, 0.2).unwrap();
        assert!(!text.regressed && text.text.starts_with("One experiment at 3 seeds: "), "{}", text.text);
        // The same seed twice is for comparing.
        let twice = compare(&[dirs[0].clone(), dirs[0].clone()], Format::Text, 0.2).unwrap();
        assert!(twice.text.ends_with("Nothing is worse.\n"), "{}", twice.text);
    }

    #[test]
    fn texts_are_compared_by_their_intervals() {
        let home = tempfile::tempdir().unwrap();
        let (a, b) = (home.path().join("a"), home.path().join("b"));
        for dir in [&a, &b] {
            crate::report::tests::fake_summaries(dir);
            fs::write(dir.join("spec.toml"), "spec_version = 1\nseed = 1\n").unwrap();
        }
        let path = b.join("runs/a/evaluation.json");
        let text = fs::read_to_string(&path).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        for estimate in ["mean", "low", "high"] {
            let cell = &mut value["texts"][3]["novelty"]["ngram4"][estimate];
            *cell = (cell.as_f64().unwrap() + 0.5).into();
        }
        fs::write(&path, value.to_string()).unwrap();
        let made = compare(&[a, b], Format::Csv, 0.2).unwrap();
        // ±5 on each side: ±7.07 on the difference of 50.
        let line = made.text.lines().find(|l| l.contains(",a,novel_4grams_%,")).unwrap();
        assert!(line.contains(",42.9") && line.contains(",57.0") && line.ends_with(",texts,changed"), "{line}");
        assert!(made.text.lines().any(|l| l.contains(",b,rouge_mean,") && l.ends_with(",same")), "{}", made.text);
        assert!(!made.regressed);
    }

    #[test]
    fn bad_calls_say_what_is_wrong() {
        let (_home, dirs) = two(0.0);
        assert!(compare(&dirs[..1], Format::Text, 0.0).is_err());
        assert!(compare(&dirs, Format::Text, f64::NAN).is_err());
        fs::write(dirs[1].join("spec.toml"), "a = 1\nb = \n").unwrap();
        assert!(compare(&dirs, Format::Text, 0.0).unwrap_err().to_string().contains("spec.toml:2"));
    }
}
