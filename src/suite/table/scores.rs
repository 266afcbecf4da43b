//! Table 10 and the numbers of figures 2 and 3: scores under r_s, from the members' own evaluations.

use super::{Measured, absent, described, made, only_at_the_papers_setting};
use crate::metric::interval::mean_interval;
use crate::report::optimum::BELOW;
use crate::report::tables::gains;
use crate::results::{Evaluation, Frontier, PolicyBelow, Row, Table, name};
use crate::spec::KlSchedule;
use crate::suite::paper::{PaperValue, paper};
use crate::suite::plots::judge;
use crate::suite::results::{MemberResults, SuiteResults};
use crate::suite::setting::NOT_THE_PAPERS;
use crate::suite::types::Makes;
use crate::suite::verdict::{Middle, Ours};

/// A number of an evaluation with its interval over queries.
fn over(results: &SuiteResults, member: &str, of: impl Fn(&Evaluation) -> Vec<f64>) -> Option<Measured> {
    let one = |m: &MemberResults| {
        let e = m.evaluation()?;
        let (value, low, high) = mean_interval(&of(e));
        Some((m.seed, Ours { value, low, high }, e.n as u64))
    };
    Measured::over_seeds(&results.evaluated(member).filter_map(one).collect::<Vec<_>>())
}

fn logistic(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

fn policy(e: &Evaluation) -> Vec<f64> {
    e.contexts.iter().map(|c| c.policy).collect()
}

/// Table 10.
pub fn without_penalty(results: &SuiteResults) -> Vec<Table> {
    let mut rows = Vec::new();
    for name in results.suite.members.names() {
        let label = results.label(name);
        let (score, positive) = paper().and_then(|p| p.score(&label)).unzip();
        let Some(measured) = over(results, name, policy) else {
            let why = results.why_missing(name).unwrap_or_else(|| "no evaluation".into());
            rows.push(absent(&format!("{label}: log-odds of \"positive\""), &label, "log_odds", score, &why));
            continue;
        };
        let reference = over(results, name, |e| e.contexts.iter().map(|c| c.reference).collect());
        let even = reference.as_ref().map(|r| Middle { ours: r.ours.value, paper: 0.0, name: "ρ" });
        rows.push(measured.row("log-odds of \"positive\"", &label, "log_odds", score, even));
        if let Some(measured) = over(results, name, |e| policy(e).into_iter().map(|v| 100.0 * logistic(v)).collect()) {
            rows.push(measured.row("positive, %", &label, "percent_positive", positive, None));
        }
        let kl = over(results, name, |e| e.contexts.iter().map(|c| c.kl).collect());
        rows.extend(kl.map(|m| described("KL(π, ρ) per response, nats", &label, "kl", &m, "not penalised")));
        if let Some(m) = at_the_end(results, name, name::ENTROPY) {
            let target = results.evaluated(name).next().and_then(|m| m.spec()?.policy.entropy?.target);
            let words = target.map_or_else(String::new, |t| format!("target {t}"));
            rows.push(described("entropy at the end of training, nats per response", &label, "entropy", &m, &words));
        }
        rows.extend(reference.map(|m| described("log-odds of ρ", &label, "reference_log_odds", &m, "")));
    }
    vec![made(results.suite.makes.word(), "Table 10: mock sentiment without a KL penalty", "variant", rows)]
}

/// A metric of training, averaged over its last twentieth, at every seed.
fn at_the_end(results: &SuiteResults, member: &str, key: &str) -> Option<Measured> {
    let one = |m: &MemberResults| {
        let (value, n) = crate::report::tables::at_the_end(m.the_run()?, key)?;
        Some((m.seed, Ours { value, low: f64::NAN, high: f64::NAN }, n))
    };
    Measured::over_seeds(&results.evaluated(member).filter_map(one).collect::<Vec<_>>())
}

/// The final numbers of figures 2 and 3.
pub fn scores(results: &SuiteResults) -> Vec<Table> {
    let mut rows: Vec<Row> = Vec::new();
    let curves = results.suite.makes == Makes::Figure2MockCurves;
    let direct = results.suite.members.names().find(|name| results.label(name).contains("direct"));
    let best = direct.and_then(|name| over(results, name, gains));
    for name in results.suite.members.names() {
        let scope = scope(results, name);
        if curves {
            rows.push(end_of_curve(results, name, &scope));
        }
        let recorded = if curves { None } else { of_frontier(results, name) };
        let Some(measured) = over(results, name, policy) else {
            let why = results.why_missing(name).unwrap_or_else(|| "no evaluation".into());
            rows.push(absent("score of π on held-out queries", &scope, "score", recorded, &why));
            continue;
        };
        let held_out = "score of π on held-out queries";
        rows.push(match recorded {
            Some(paper) => {
                let mut row = measured.row(held_out, &scope, "score", Some(paper), None);
                only_at_the_papers_setting(results, name, &mut row);
                row
            }
            None => described(held_out, &scope, "score", &measured, ""),
        });
        if let Some(m) = over(results, name, gains) {
            let words = match &best {
                Some(best) if curves && Some(name) != direct && best.ours.value > 0.0 => {
                    format!("{:.0}% of the direct run's", 100.0 * m.ours.value / best.ours.value)
                }
                _ => String::new(),
            };
            rows.push(described("gain over ρ, in sd of ρ's scores", &scope, "gain_sd", &m, &words));
        }
        let words = target(results, name).map_or_else(String::new, |t| format!("target {t}"));
        let kl = over(results, name, |e| e.contexts.iter().map(|c| c.kl).collect());
        rows.extend(kl.map(|m| described("KL(π, ρ) per response, nats", &scope, "kl", &m, &words)));
        rows.extend(below_the_optimum(results, name, &scope));
    }
    if !curves {
        rows.extend(series(results));
        rows.extend(reach(results));
    }
    let title = if curves { "Figure 2: scores at the end" } else { "Figure 3: scores and KL at the end" };
    vec![made(results.suite.makes.word(), title, "run", rows)]
}

/// The first column: of figure 3, members of one series are told apart by their targets.
fn scope(results: &SuiteResults, name: &str) -> String {
    let label = results.label(name);
    let target = target(results, name).filter(|_| results.suite.makes == Makes::Figure3Frontier);
    target.map_or_else(|| label.clone(), |target| format!("{label}, target {target}"))
}

/// The KL that a member is steered to.
fn target(results: &SuiteResults, name: &str) -> Option<f64> {
    let kl = &results.members.iter().find(|m| m.name == name)?.spec()?.policy.kl;
    (kl.schedule == KlSchedule::Adaptive).then_some(kl.target)
}

fn of_frontier(results: &SuiteResults, name: &str) -> Option<PaperValue> {
    paper()?.frontier_score(&results.label(name), target(results, name)?)
}

/// Score during the last twentieth of training: of the paper's 2 million episodes, the last 100,000.
fn end_of_curve(results: &SuiteResults, name: &str, label: &str) -> Row {
    let recorded = paper().and_then(|p| p.curve_end(label));
    let what = "score of π's samples, last twentieth of training";
    match at_the_end(results, name, judge(results).metric()) {
        Some(measured) => {
            let mut row = measured.row(what, label, "final_score", recorded, None);
            only_at_the_papers_setting(results, name, &mut row);
            row
        }
        None => {
            let why = results.why_missing(name).unwrap_or_else(|| "no metrics".into());
            absent(what, label, "final_score", recorded, &why)
        }
    }
}

/// Of every series of figure 3, how far its points are from the paper's of the same targets.
fn series(results: &SuiteResults) -> Vec<Row> {
    let mut labels: Vec<String> = Vec::new();
    for label in results.suite.members.names().map(|name| results.label(name)) {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels.iter().filter_map(|label| one_series(results, label)).collect()
}

fn one_series(results: &SuiteResults, label: &str) -> Option<Row> {
    let members: Vec<&str> = results.suite.members.names().filter(|name| results.label(name) == label).collect();
    let distance = |name: &&str| Some(over(results, name, policy)?.ours.value - of_frontier(results, name)?.value);
    let found: Vec<f64> = members.iter().filter_map(distance).collect();
    if found.is_empty() {
        return None;
    }
    let (value, low, high) = mean_interval(&found);
    let words = if !members.iter().all(|name| results.is_the_papers(name)) {
        NOT_THE_PAPERS
    } else if low <= 0.0 && high >= 0.0 {
        "not told apart from the paper's"
    } else if value > 0.0 {
        "above the paper's"
    } else {
        "below the paper's"
    };
    let measured =
        Measured { ours: Ours { value, low, high }, n: found.len() as u64, seeds: results.suite.seeds.clone() };
    let what = "score less the paper's at the same target, mean over targets";
    Some(described(what, label, "series_difference", &measured, words))
}

/// How far a policy's score is below the best that its KL allows: of a curve from samples of ρ and of the policies.
fn below_the_optimum(results: &SuiteResults, name: &str, label: &str) -> Option<Row> {
    let of_member = |f: &'_ Frontier| Some((f.seed, f.of(name)?.clone(), f.queries));
    let found: Vec<(u64, PolicyBelow, u64)> = results.frontiers.iter().filter_map(of_member).collect();
    let end = |v: Option<f64>| v.unwrap_or(f64::NAN);
    let ours = |b: &PolicyBelow| Ours { value: end(b.below), low: end(b.low), high: end(b.high) };
    let known = found.iter().filter(|(_, b, _)| b.below.is_some() || found.len() == 1);
    let measured = Measured::over_seeds(&known.map(|(seed, b, n)| (*seed, ours(b), *n)).collect::<Vec<_>>())?;
    let words = found.iter().map(|(_, b, _)| b.remark()).min_by_key(|words| words.len()).unwrap_or_default();
    Some(described(BELOW, label, "below_optimum", &measured, words))
}

/// Up to which KL the curve is known, and how far samples of ρ alone would show it.
fn reach(results: &SuiteResults) -> Option<Row> {
    let of = |f: &Frontier| Some((f.seed, Ours { value: f.reach()?, low: f64::NAN, high: f64::NAN }, f.queries));
    let measured = Measured::over_seeds(&results.frontiers.iter().filter_map(of).collect::<Vec<_>>())?;
    let alone: Vec<f64> = results.frontiers.iter().filter_map(|f| f.reach_of_reference).collect();
    let words = match alone.is_empty() {
        true => "samples of ρ alone show nothing of it".to_string(),
        false => format!("samples of ρ alone: {:.2}", alone.iter().sum::<f64>() / alone.len() as f64),
    };
    Some(described("KL up to which the optimum is known, nats", "optimum", "optimum_reach", &measured, &words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_odds_are_percentages() {
        assert!((100.0 * logistic(8.0) - 99.966).abs() < 1e-3);
    }
}
