//! Tables of a results directory: every number with its interval, n, seeds, and the paper's value where recorded.

use super::{optimum, outside, overoptimisation, round_tables, text_tables};
use crate::metric::interval::{mean_interval, paired_bootstrap, ratio_interval, wilson};
use crate::results::{
    Accuracy, Evaluation, Judge, NOT_RECORDED, Results, Row, Run, SECONDARY, SECONDARY_MARK, Table, number,
};

/// A KL within this share of its target counts as held.
const KL_TOLERANCE: f64 = 0.25;

/// All tables that there is something to say in; "scores" always.
pub fn build(results: &Results) -> Vec<Table> {
    let seeds = results.seeds();
    let direct = results.evaluations().find(|(_, e)| e.schedule == "direct").map(|(_, e)| e);
    let mut scores = Vec::new();
    let mut language = Vec::new();
    for (run, evaluation) in results.evaluations() {
        scores.extend(score_rows(run, evaluation, direct, &seeds));
        scores.extend(results.frontier.as_ref().and_then(|f| optimum::below(f, run, &seeds)));
        // ρ is shared by the runs of a directory: its perplexity is one number.
        if let (Some(p), true) = (evaluation.perplexity, language.is_empty()) {
            for (name, metric, value) in [
                ("held-out perplexity per token, ρ", "perplexity", p.model),
                ("the same, unigram model", "perplexity_unigram", p.unigram),
                ("the same, uniform over the vocabulary", "perplexity_uniform", p.uniform),
            ] {
                language.push(row(name, run, metric, (value, f64::NAN, f64::NAN), p.tokens, &seeds, ""));
            }
        }
    }
    let mut tables = vec![table("scores", "Scores on held-out queries", scores)];
    if !language.is_empty() {
        tables.push(table("language_model", "Language model ρ", language));
    }
    tables.extend(outside::build(results, &seeds));
    tables.extend(round_tables::build(results, &seeds));
    tables.extend(text_tables::build(results, &seeds));
    tables.extend(overoptimisation::build(results, &seeds));
    for table in &mut tables {
        table.title = results.titled(&table.title);
        table.rows.iter_mut().for_each(|row| row.origin = results.origin_of(&row.run));
    }
    tables
}

pub(crate) fn table(id: &str, title: &str, rows: Vec<Row>) -> Table {
    let columns = ["run", "name", "value", "95% interval", "n", "seeds", "paper", "verdict"];
    Table { id: id.to_owned(), title: title.to_owned(), columns: columns.map(str::to_owned).to_vec(), rows }
}

pub(crate) fn row(
    name: &str,
    run: &str,
    metric: &str,
    value: (f64, f64, f64),
    n: u64,
    seeds: &[u64],
    verdict: &str,
) -> Row {
    let known = |v: f64| v.is_finite().then_some(v);
    Row {
        name: name.to_owned(),
        run: run.to_owned(),
        metric: metric.to_owned(),
        value: known(value.0),
        low: known(value.1),
        high: known(value.2),
        n,
        seeds: seeds.to_vec(),
        paper: None,
        paper_note: NOT_RECORDED.to_owned(),
        verdict: verdict.to_owned(),
        origin: None,
    }
}

/// Per-context gain of π over ρ, in standard deviations of ρ's scores.
pub fn gains(evaluation: &Evaluation) -> Vec<f64> {
    let std = evaluation.reference.std;
    evaluation.contexts.iter().map(|c| (c.policy - c.reference) / std).collect()
}

/// Mean of a metric of training over the last twentieth of the updates, and how many they are.
pub(crate) fn at_the_end(run: &Run, key: &str) -> Option<(f64, u64)> {
    let values: Vec<f64> = run.metrics.iter().filter_map(|line| number(line, key)).collect();
    let last = &values[values.len() - values.len().div_ceil(20)..];
    let mean = last.iter().sum::<f64>() / last.len() as f64;
    mean.is_finite().then_some((mean, last.len() as u64))
}

/// The stored mean with the interval's half-widths around the contexts' own mean.
fn stored(value: f64, contexts: &[f64]) -> (f64, f64, f64) {
    let (m, low, high) = mean_interval(contexts);
    (value, value + (low - m), value + (high - m))
}

/// Gain of π over ρ in standard deviations of ρ's scores: (value, low, high).
pub(crate) fn gain(e: &Evaluation) -> (f64, f64, f64) {
    stored((e.policy.mean - e.reference.mean) / e.reference.std, &gains(e))
}

/// A run's gain as a share of direct mode's: (value, low, high).
pub(crate) fn share_of(e: &Evaluation, direct: &Evaluation) -> (f64, f64, f64) {
    let share = gain(e).0 / gain(direct).0;
    let (middle, low, high) = ratio_interval(&gains(e), &gains(direct), 0);
    (share, share + (low - middle), share + (high - middle))
}

/// Whether a KL is near enough to its target.
pub(crate) fn held_its_target(kl: f64, target: f64) -> bool {
    ((kl - target) / target).abs() <= KL_TOLERANCE
}

fn score_rows(run: &str, e: &Evaluation, direct: Option<&Evaluation>, seeds: &[u64]) -> Vec<Row> {
    let n = e.n as u64;
    let mut rows = judged_rows(run, e, seeds);
    rows.push(kl_row(run, e, seeds));
    if let Some(direct) = direct.filter(|d| !std::ptr::eq(*d, e)) {
        let verdict = if gain(direct).0 > 0.0 { "" } else { "direct gained nothing" };
        rows.push(row("share of direct's gain", run, "gain_share", share_of(e, direct), n, seeds, verdict));
    }
    // Where r is the judge, its score is in the table already.
    if let Some(score) = e.score_policy_r.filter(|_| e.judge == Judge::Mock) {
        let value = (score, f64::NAN, f64::NAN);
        rows.push(row("score of π under the learned reward r", run, "policy_score", value, n, seeds, ""));
    }
    rows.extend(e.reward_accuracy.map(|accuracy| accuracy_row(run, accuracy, seeds)));
    let without = (e.missing_truncation * n as f64).round().max(0.0) as u64;
    let (low, high) = if n == 0 { (f64::NAN, f64::NAN) } else { wilson(without, n) };
    let value = (e.missing_truncation, low, high);
    rows.push(row("responses without the truncation token", run, "missing_truncation", value, n, seeds, ""));
    rows
}

/// The judge's scores of both models, and how far π's are above ρ's.
fn judged_rows(run: &str, e: &Evaluation, seeds: &[u64]) -> Vec<Row> {
    let n = e.n as u64;
    let reference: Vec<f64> = e.contexts.iter().map(|c| c.reference).collect();
    let policy: Vec<f64> = e.contexts.iter().map(|c| c.policy).collect();
    let test = paired_bootstrap(&reference, &policy, 0);
    let told = if test.low > 0.0 {
        "above ρ"
    } else if test.high < 0.0 {
        "below ρ"
    } else if test.low.is_finite() {
        "not told apart from ρ"
    } else {
        ""
    };
    let of_model = |model: &str, metric: &str, value: (f64, f64, f64), verdict: &str| {
        let (name, metric) = (format!("{} of {model}", e.judge.score()), format!("{metric}_{}", metric_of(e.judge)));
        row(&name, run, &metric, value, n, seeds, verdict)
    };
    vec![
        of_model("ρ", "reference", stored(e.reference.mean, &reference), ""),
        of_model("π", "policy", stored(e.policy.mean, &policy), told),
        row("gain, in standard deviations of ρ's scores", run, "gain_sd", gain(e), n, seeds, ""),
    ]
}

/// KL(π, ρ), and whether it is where the adaptive coefficient was to hold it.
fn kl_row(run: &str, e: &Evaluation, seeds: &[u64]) -> Row {
    let kl: Vec<f64> = e.contexts.iter().map(|c| c.kl).collect();
    let verdict = e.kl_target.map_or_else(String::new, |target| {
        let off = (e.kl.mean - target) / target;
        let word = if held_its_target(e.kl.mean, target) { "held" } else { "missed" };
        format!("{word}: target {target}, {:+.0}% off", 100.0 * off)
    });
    row("KL(π, ρ) per response, nats", run, "kl", stored(e.kl.mean, &kl), e.n as u64, seeds, &verdict)
}

/// How often r agrees with held-out labels, against chance.
fn accuracy_row(run: &str, a: Accuracy, seeds: &[u64]) -> Row {
    let (low, high) = wilson(a.correct, a.n);
    let share = if a.n == 0 { f64::NAN } else { a.correct as f64 / a.n as f64 };
    let value = if a.n == 0 { (share, share, share) } else { (share, low, high) };
    let word = match (a.n, low, high) {
        (0, ..) => "",
        (_, low, _) if low > a.chance => "above chance",
        (_, _, high) if high < a.chance => "below chance",
        _ => "not told apart from chance",
    };
    let verdict = if word.is_empty() { String::new() } else { format!("{word} ({:.0}%)", 100.0 * a.chance) };
    row("agreement of r with held-out labels", run, "reward_accuracy", value, a.n, seeds, &verdict)
}

/// What a program calls the judge's score.
pub fn metric_of(judge: Judge) -> &'static str {
    match judge {
        Judge::Mock => "mock_score",
        Judge::Reward | Judge::Command | Judge::Rouge => "reward_score",
    }
}

/// Three significant decimals, or as many as a small number needs; a dash for what is not known.
pub fn show(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(v) if v != 0.0 && v.abs() < 1e-3 => format!("{v:.2e}"),
        Some(v) if v.abs() >= 1000.0 => format!("{v:.0}"),
        Some(v) => format!("{v:.3}"),
    }
}

/// A table as readers see it.
#[derive(Debug, PartialEq)]
pub struct Shown {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// Which columns hold numbers.
    pub numbers: Vec<bool>,
}

/// Columns that hold numbers, which stand at the right. The paper's may hold a remark.
const NUMBERS: [&str; 3] = ["value", "95% interval", "n"];

/// Whether a column holds numbers.
fn is_number(column: &str) -> bool {
    NUMBERS.contains(&column)
}

/// What a table shows: no column "paper" where the paper has nothing to set beside any row.
pub fn shown(table: &Table) -> Shown {
    let paper = table.rows.iter().any(|row| row.paper.is_some() || row.paper_note != NOT_RECORDED);
    let keep = |(i, _): &(usize, String)| paper || *i != PAPER;
    let kept = |cells: Vec<String>| cells.into_iter().enumerate().filter(keep).map(|(_, cell)| cell).collect();
    let mut columns = table.columns.clone();
    // "1" under "seeds" reads as a count.
    let one_each = !table.rows.is_empty() && table.rows.iter().all(|row| row.seeds.len() == 1);
    if let (true, Some(seeds)) = (one_each, columns.iter_mut().find(|column| *column == "seeds")) {
        "seed".clone_into(seeds);
    }
    let columns: Vec<String> = kept(columns);
    let numbers = columns.iter().map(|column| is_number(column)).collect();
    Shown { columns, rows: table.rows.iter().map(|row| kept(cells(row))).collect(), numbers }
}

/// The place of the paper's values among the columns.
const PAPER: usize = 6;

/// The cells of a row, in the order of the table's columns.
fn cells(row: &Row) -> Vec<String> {
    let interval = match (row.low, row.high) {
        (Some(_), Some(_)) => format!("{} to {}", show(row.low), show(row.high)),
        _ => "–".to_owned(),
    };
    let seeds: Vec<String> = row.seeds.iter().map(u64::to_string).collect();
    let paper = match (row.paper, row.paper_note.as_str()) {
        (Some(v), note) if note.contains(SECONDARY) => format!("{} {SECONDARY_MARK}", show(Some(v))),
        (Some(v), _) => show(Some(v)),
        (None, NOT_RECORDED) => "not recorded".to_owned(),
        (None, note) => note.to_owned(),
    };
    vec![
        crate::results::with_origin(&row.run, row.origin.as_deref()),
        row.name.clone(),
        show(row.value),
        interval,
        row.n.to_string(),
        seeds.join(", "),
        paper,
        row.verdict.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::fake;

    #[test]
    fn the_main_table_has_the_numbers_of_the_evaluation() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), 0.0);
        let tables = build(&Results::load(dir.path()).unwrap());
        let find = |run: &str, metric: &str| {
            tables[0].rows.iter().find(|r| r.run == run && r.metric == metric).cloned().unwrap()
        };
        let score = find("direct", "policy_mock_score");
        assert_eq!(score.value, Some(3.8));
        assert!(score.low.unwrap() < 3.8 && score.high.unwrap() > 3.8 && score.verdict == "above ρ");
        assert!((find("direct", "gain_sd").value.unwrap() - 4.3 / 0.9).abs() < 1e-12);
        assert!((find("offline_512", "gain_share").value.unwrap() - 3.5 / 4.3).abs() < 1e-12);
        assert!(find("direct", "kl").verdict.starts_with("held: target 6"));
        assert_eq!(find("offline_512", "reward_accuracy").value, Some(180.0 / 256.0));
        assert!(!tables[0].rows.iter().any(|r| r.run == "direct" && r.metric == "gain_share"));
        assert_eq!(tables[1].rows.len(), 3);
    }
}
