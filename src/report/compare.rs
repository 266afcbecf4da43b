//! Comparison of results directories: spec differences first, then metrics with intervals and a verdict.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::files::{Evaluation, ReportError, read_text};
use super::tables::{gains, metric_of, show};
use super::{Results, Run};
use crate::metric::interval::{paired_bootstrap, unpaired_bootstrap};

/// How a comparison is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
    Markdown,
    Csv,
}

/// The written comparison, and whether any metric is worse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
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

/// One metric of one run in both directories.
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
    /// "same", "better", "worse", "changed" (a KL without a target), "unknown", or "not comparable".
    pub verdict: String,
}

/// One directory against the first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Pair {
    pub a: String,
    pub b: String,
    pub spec: Vec<SpecDifference>,
    pub metrics: Vec<MetricDifference>,
    pub notes: Vec<String>,
}

/// Compares each further directory with the first. A drop counts as worse when its 95% interval excludes zero and
/// it is larger than `tolerance`, in the metric's own unit. For KL a drop is moving away from the run's target.
pub fn compare(dirs: &[PathBuf], format: Format, tolerance: f64) -> Result<Comparison, ReportError> {
    let [first, rest @ ..] = dirs else {
        return Err(ReportError::Usage("nothing to compare: name two results directories".to_owned()));
    };
    if rest.is_empty() {
        return Err(ReportError::Usage("one directory has nothing to be compared with: name a second".to_owned()));
    }
    if !tolerance.is_finite() || tolerance < 0.0 {
        return Err(ReportError::Usage(format!("the tolerance must be a number from 0 up, not {tolerance}")));
    }
    let pairs: Vec<Pair> = rest.iter().map(|other| pair(first, other, tolerance)).collect::<Result<_, _>>()?;
    let regressed = pairs.iter().flat_map(|p| &p.metrics).any(|m| m.verdict == "worse");
    let text = match format {
        Format::Text => pairs.iter().map(text).collect::<Vec<_>>().join("\n"),
        Format::Markdown => pairs.iter().map(markdown).collect::<Vec<_>>().join("\n"),
        Format::Csv => csv(&pairs),
        Format::Json => {
            let value = serde_json::json!({ "tolerance": tolerance, "regressed": regressed, "comparisons": pairs });
            format!("{value:#}\n")
        }
    };
    Ok(Comparison { text, regressed })
}

type Flat = BTreeMap<String, String>;

/// Every leaf of spec.toml under its dotted path. Without a spec nothing says what the numbers mean: an error.
fn flat_spec(dir: &Path) -> Result<Flat, ReportError> {
    if !dir.is_dir() {
        let message = "there is no such directory".to_owned();
        return Err(ReportError::NotResults { path: dir.to_owned(), message });
    }
    let path = dir.join("spec.toml");
    let text = read_text(&path)?;
    let table: toml::Table = toml::from_str(&text).map_err(|e| {
        let at = e.span().map_or(0, |span| span.start);
        let line = text.bytes().take(at).filter(|b| *b == b'\n').count() + 1;
        ReportError::Content { path: path.clone(), line, message: e.message().to_owned() }
    })?;
    let mut flat = Flat::new();
    flatten("", &toml::Value::Table(table), &mut flat);
    Ok(flat)
}

fn flatten(path: &str, value: &toml::Value, out: &mut Flat) {
    match value {
        toml::Value::Table(table) if !table.is_empty() || path.is_empty() => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, out);
            }
        }
        other => {
            out.insert(path.to_owned(), other.to_string());
        }
    }
}

fn pair(a: &Path, b: &Path, tolerance: f64) -> Result<Pair, ReportError> {
    let (spec_a, spec_b) = (flat_spec(a)?, flat_spec(b)?);
    let mut keys: Vec<&String> = spec_a.keys().chain(spec_b.keys()).collect();
    keys.sort();
    keys.dedup();
    let spec: Vec<SpecDifference> = keys
        .into_iter()
        .filter(|key| spec_a.get(*key) != spec_b.get(*key))
        .map(|key| SpecDifference { key: key.clone(), a: spec_a.get(key).cloned(), b: spec_b.get(key).cloned() })
        .collect();
    let refuse = |reason: String| ReportError::Incomparable { a: a.to_owned(), b: b.to_owned(), reason };
    for d in &spec {
        let why = match d.key.as_str() {
            "spec_version" => "their specs are of different versions, in which a key may mean something else",
            "task.preset" => "they are of different tasks, whose scores mean different things",
            key if key == "task.data" || key.starts_with("task.data.") => "their queries come from different data",
            _ => continue,
        };
        let word = |v: &Option<String>| v.clone().unwrap_or_else(|| "not set".to_owned());
        return Err(refuse(format!("{why} ({}: {} and {})", d.key, word(&d.a), word(&d.b))));
    }
    let under = |section: &str| spec.iter().any(|d| d.key == section || d.key.starts_with(&format!("{section}.")));
    let seed = |flat: &Flat, results: &Results| (flat.get("seed").cloned(), results.seeds());
    let (results_a, results_b) = (Results::load(a)?, Results::load(b)?);
    let same_queries = !under("task") && seed(&spec_a, &results_a) == seed(&spec_b, &results_b);
    let (same_scale, mut metrics) = (!under("labeler"), Vec::new());
    let mut notes = Vec::new();
    if !same_queries {
        notes.push(
            "seeds or task sections differ: contexts are not the same queries, intervals are unpaired".to_owned(),
        );
    }
    if !same_scale {
        notes.push("the labeler sections differ: mock scores are on different scales and are not compared".to_owned());
    }
    for run in &results_a.runs {
        let Some(other) = results_b.runs.iter().find(|r| r.name == run.name) else {
            notes.push(format!("run {} is only in {}", run.name, a.display()));
            continue;
        };
        let both = (evaluated(run, a, &mut notes), evaluated(other, b, &mut notes));
        if let (Some(x), Some(y)) = both {
            metrics.extend(differences(&run.name, x, y, same_queries, same_scale, tolerance));
        }
    }
    for run in results_b.runs.iter().filter(|r| !results_a.runs.iter().any(|x| x.name == r.name)) {
        notes.push(format!("run {} is only in {}", run.name, b.display()));
    }
    if metrics.is_empty() {
        let seen = if notes.is_empty() { "no runs".to_owned() } else { notes.join("; ") };
        return Err(refuse(format!("they share no evaluated run ({seen})")));
    }
    Ok(Pair { a: a.display().to_string(), b: b.display().to_string(), spec, metrics, notes })
}

fn evaluated<'a>(run: &'a Run, dir: &Path, notes: &mut Vec<String>) -> Option<&'a Evaluation> {
    if run.evaluation.is_none() {
        notes.push(format!("run {} has no readable evaluation in {}", run.name, dir.display()));
    }
    run.evaluation.as_ref()
}

fn differences(
    run: &str,
    a: &Evaluation,
    b: &Evaluation,
    same_queries: bool,
    same_scale: bool,
    tolerance: f64,
) -> Vec<MetricDifference> {
    let paired = same_queries && a.contexts.len() == b.contexts.len();
    let scores = |e: &Evaluation| e.contexts.iter().map(|c| c.policy).collect::<Vec<f64>>();
    let kls = |e: &Evaluation| e.contexts.iter().map(|c| c.kl).collect::<Vec<f64>>();
    let gain = |e: &Evaluation| (e.policy.mean - e.reference.mean) / e.reference.std;
    let row = |metric: &str, x: f64, y: f64, of_a: &[f64], of_b: &[f64], judge: &dyn Fn(f64) -> &'static str| {
        let test = if paired { paired_bootstrap(of_a, of_b, 0) } else { unpaired_bootstrap(of_a, of_b, 0) };
        let known = |v: f64| v.is_finite().then_some(v);
        // The contexts' interval, centred on the difference of the stored means.
        let moved = y - x - test.difference;
        let (low, high) = (known(test.low + moved), known(test.high + moved));
        let verdict = match (low, high) {
            (Some(low), Some(high)) if low > 0.0 || high < 0.0 => judge(y - x),
            (Some(_), Some(_)) => "same",
            _ => "unknown",
        };
        MetricDifference {
            run: run.to_owned(),
            metric: metric.to_owned(),
            a: known(x),
            b: known(y),
            difference: known(y - x),
            low,
            high,
            p: known(test.p),
            paired,
            verdict: verdict.to_owned(),
        }
    };
    let by = |change: f64| match change {
        c if c > tolerance => "better",
        c if c < -tolerance => "worse",
        _ => "same",
    };
    let kl = |change: f64| match (a.kl_target, b.kl_target) {
        (Some(x), Some(y)) => by((a.kl.mean - x).abs() - (b.kl.mean - y).abs()),
        _ if change.abs() > tolerance => "changed",
        _ => "same",
    };
    let same_scale = same_scale && a.judge == b.judge;
    let metric = format!("policy_{}", metric_of(a.judge));
    let mut first = row(&metric, a.policy.mean, b.policy.mean, &scores(a), &scores(b), &by);
    if !same_scale {
        first.verdict = "not comparable".to_owned();
    }
    vec![
        first,
        row("kl", a.kl.mean, b.kl.mean, &kls(a), &kls(b), &kl),
        row("gain_sd", gain(a), gain(b), &gains(a), &gains(b), &by),
    ]
}

const HEAD: [&str; 8] = ["run", "metric", "A", "B", "B - A", "95% interval", "p", "verdict"];

fn cells(m: &MetricDifference) -> [String; 8] {
    let interval = match (m.low, m.high) {
        (Some(_), Some(_)) => format!("{} to {}", show(m.low), show(m.high)),
        _ => "–".to_owned(),
    };
    let p = m.p.map_or_else(|| "–".to_owned(), |p| format!("{p:.3}"));
    [m.run.clone(), m.metric.clone(), show(m.a), show(m.b), show(m.difference), interval, p, m.verdict.clone()]
}

fn text(pair: &Pair) -> String {
    let mut out = format!("A: {}\nB: {}\n\n", pair.a, pair.b);
    out += if pair.spec.is_empty() { "The specs are the same.\n" } else { "Spec differences:\n" };
    for d in &pair.spec {
        let word = |v: &Option<String>| v.clone().unwrap_or_else(|| "(not set)".to_owned());
        out += &format!("  {}: {} -> {}\n", d.key, word(&d.a), word(&d.b));
    }
    let rows: Vec<[String; 8]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(pair.metrics.iter().map(cells)).collect();
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    out.push('\n');
    for row in &rows {
        let line: String = row.iter().enumerate().map(|(i, cell)| format!("{cell:<0$}  ", width(i))).collect();
        out += line.trim_end();
        out.push('\n');
    }
    for note in &pair.notes {
        out += &format!("note: {note}\n");
    }
    out
}

fn markdown(pair: &Pair) -> String {
    let line = |cells: &[String]| {
        let safe: Vec<String> = cells.iter().map(|c| c.replace('|', "\\|").replace('\n', " ")).collect();
        format!("| {} |\n", safe.join(" | "))
    };
    let mut out = format!("A: `{}`, B: `{}`\n\n", pair.a, pair.b);
    if pair.spec.is_empty() {
        out += "The specs are the same.\n\n";
    } else {
        out += "| spec | A | B |\n| --- | --- | --- |\n";
        for d in &pair.spec {
            out += &line(&[d.key.clone(), d.a.clone().unwrap_or_default(), d.b.clone().unwrap_or_default()]);
        }
        out.push('\n');
    }
    out += &line(&HEAD.map(str::to_owned));
    out += &format!("|{}\n", " --- |".repeat(HEAD.len()));
    out.extend(pair.metrics.iter().map(|m| line(&cells(m))));
    out.push('\n');
    out.extend(pair.notes.iter().map(|note| format!("- {note}\n")));
    out
}

fn csv(pairs: &[Pair]) -> String {
    let mut out = "a,b,kind,run,metric,value_a,value_b,difference,low,high,p,verdict\r\n".to_owned();
    let mut line = |cells: Vec<String>| {
        let quoted: Vec<String> = cells
            .into_iter()
            .map(|c| if c.contains([',', '"', '\n', '\r']) { format!("\"{}\"", c.replace('"', "\"\"")) } else { c })
            .collect();
        out += &format!("{}\r\n", quoted.join(","));
    };
    for p in pairs {
        let start = |kind: &str, run: &str, metric: &str| {
            vec![p.a.clone(), p.b.clone(), kind.to_owned(), run.to_owned(), metric.to_owned()]
        };
        for d in &p.spec {
            let values = [d.a.clone().unwrap_or_default(), d.b.clone().unwrap_or_default()];
            let rest = std::iter::repeat_n(String::new(), 5);
            line(start("spec", "", &d.key).into_iter().chain(values).chain(rest).collect());
        }
        for m in &p.metrics {
            let numbers =
                [m.a, m.b, m.difference, m.low, m.high, m.p].map(|v| v.map_or_else(String::new, |v| v.to_string()));
            line(start("metric", &m.run, &m.metric).into_iter().chain(numbers).chain([m.verdict.clone()]).collect());
        }
    }
    out
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
        assert!(!made.text.contains("worse") && !made.text.contains("better"));
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
    fn bad_calls_say_what_is_wrong() {
        let (_home, dirs) = two(0.0);
        assert!(compare(&dirs[..1], Format::Text, 0.0).is_err());
        assert!(compare(&dirs, Format::Text, f64::NAN).is_err());
        fs::write(dirs[1].join("spec.toml"), "a = 1\nb = \n").unwrap();
        assert!(compare(&dirs, Format::Text, 0.0).unwrap_err().to_string().contains("spec.toml:2"));
    }
}
