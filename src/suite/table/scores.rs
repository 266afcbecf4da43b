//! Table 10 and the numbers of figures 2 and 3: scores under r_s, from the members' own evaluations.

use super::{Measured, absent, described, made};
use crate::metric::interval::mean_interval;
use crate::report::files::{Evaluation, Row, Table, number};
use crate::suite::paper::paper;
use crate::suite::results::{MemberResults, SuiteResults};
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
        if let Some(m) = at_the_end(results, name, "objective/entropy") {
            let target = results.evaluated(name).next().and_then(|m| m.spec()?.policy.entropy?.target);
            let words = target.map_or_else(String::new, |t| format!("target {t}"));
            rows.push(described("entropy at the end of training, nats per response", &label, "entropy", &m, &words));
        }
        rows.extend(reference.map(|m| described("log-odds of ρ", &label, "reference_log_odds", &m, "")));
    }
    vec![made(results.suite.makes.word(), "Table 10: mock sentiment without a KL penalty", "variant", rows)]
}

/// A metric of training, averaged over its last twentieth.
fn at_the_end(results: &SuiteResults, member: &str, key: &str) -> Option<Measured> {
    let one = |m: &MemberResults| {
        let values: Vec<f64> = m.the_run()?.metrics.iter().filter_map(|line| number(line, key)).collect();
        let last = &values[values.len() - values.len().div_ceil(20)..];
        let value = last.iter().sum::<f64>() / last.len() as f64;
        value.is_finite().then_some((m.seed, Ours { value, low: f64::NAN, high: f64::NAN }, last.len() as u64))
    };
    Measured::over_seeds(&results.evaluated(member).filter_map(one).collect::<Vec<_>>())
}

/// The final numbers of figures 2 and 3.
pub fn scores(results: &SuiteResults) -> Vec<Table> {
    let mut rows: Vec<Row> = Vec::new();
    let direct = results.suite.members.names().find(|name| results.label(name).contains("direct"));
    let gain = |e: &Evaluation| crate::report::tables::gains(e);
    let best = direct.and_then(|name| over(results, name, gain));
    for name in results.suite.members.names() {
        let label = results.label(name);
        let Some(measured) = over(results, name, policy) else {
            let why = results.why_missing(name).unwrap_or_else(|| "no evaluation".into());
            rows.push(absent("score of π", &label, "score", None, &why));
            continue;
        };
        rows.push(described("score of π on held-out queries", &label, "score", &measured, ""));
        if let Some(m) = over(results, name, gain) {
            let words = match &best {
                Some(best) if Some(name) != direct && best.ours.value > 0.0 => {
                    format!("{:.0}% of the direct run's", 100.0 * m.ours.value / best.ours.value)
                }
                _ => String::new(),
            };
            rows.push(described("gain over ρ, in sd of ρ's scores", &label, "gain_sd", &m, &words));
        }
        let target = results.evaluated(name).next().and_then(|m| m.evaluation()?.kl_target);
        let words = target.map_or_else(String::new, |t| format!("target {t}"));
        let kl = over(results, name, |e| e.contexts.iter().map(|c| c.kl).collect());
        rows.extend(kl.map(|m| described("KL(π, ρ) per response, nats", &label, "kl", &m, &words)));
        rows.extend(below_the_optimum(results, name, &label));
    }
    let makes = results.suite.makes;
    let title = match makes {
        Makes::Figure2MockCurves => "Figure 2: scores at the end",
        _ => "Figure 3: scores and KL at the end",
    };
    vec![made(makes.word(), title, "run", rows)]
}

/// How far a policy's score is below the best that its KL allows.
fn below_the_optimum(results: &SuiteResults, name: &str, label: &str) -> Option<Row> {
    let one = |m: &MemberResults| {
        let e = m.evaluation()?;
        let best = interpolated(&e.frontier, e.kl.mean)?;
        Some((m.seed, Ours { value: best - e.policy.mean, low: f64::NAN, high: f64::NAN }, e.n as u64))
    };
    let found: Vec<_> = results.evaluated(name).filter_map(one).collect();
    let measured = Measured::over_seeds(&found)?;
    Some(described("below the optimum at its KL", label, "below_optimum", &measured, "in units of the score"))
}

/// The frontier's reward at a KL; `None` beyond its ends.
fn interpolated(frontier: &[crate::report::files::FrontierPoint], kl: f64) -> Option<f64> {
    let mut points: Vec<(f64, f64)> = frontier.iter().map(|p| (p.kl, p.reward)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.windows(2).find(|w| w[0].0 <= kl && kl <= w[1].0 && w[0].0 < w[1].0).map(|w| {
        let share = (kl - w[0].0) / (w[1].0 - w[0].0);
        w[0].1 + share * (w[1].1 - w[0].1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::files::FrontierPoint;

    #[test]
    fn the_frontier_is_read_between_its_points_only() {
        let point = |kl, reward| FrontierPoint { beta: 1.0, kl, kl_se: 0.0, reward, reward_se: 0.0 };
        let frontier = [point(4.0, 3.0), point(0.0, 1.0)];
        assert_eq!(interpolated(&frontier, 1.0), Some(1.5));
        assert_eq!(interpolated(&frontier, 4.1), None);
        assert!((100.0 * logistic(8.0) - 99.966).abs() < 1e-3);
    }
}
