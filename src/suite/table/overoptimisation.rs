//! Over-optimisation by number of labels: where r_s turns while r goes on rising, along training and across best-of-n. No
//! table of the paper.

use super::{Measured, absent, described, made};
use crate::report::overoptimisation::{Curve, Turn};
use crate::results::{Row, Table};
use crate::suite::results::{MemberResults, SuiteResults};
use crate::suite::verdict::Ours;

/// A member's curves, of each seed that has one.
pub fn curves(results: &SuiteResults, name: &str) -> Vec<(u64, u64, Curve)> {
    let of = |m: &MemberResults| Some((m.seed, m.evaluation()?.n as u64, Curve::of(m.the_run()?, m.spec()?)?));
    results.evaluated(name).filter_map(of).collect()
}

/// The table.
pub fn build(results: &SuiteResults) -> Vec<Table> {
    let mut rows: Vec<Row> = Vec::new();
    for name in results.suite.members.names() {
        let (label, found) = (results.label(name), curves(results, name));
        if found.is_empty() {
            let why = results.why_missing(name).unwrap_or_else(|| "no learned r beside r_s".into());
            rows.push(absent("fall of r_s from its peak, sd of ρ's scores", &label, "fall", None, &why));
            continue;
        }
        rows.extend(training(&label, &found));
        rows.extend(best_of(&label, &found));
    }
    rows.iter_mut().filter(|row| row.value.is_none()).for_each(|row| row.paper_note = String::new());
    vec![made(results.suite.makes.word(), "Where r_s turns while r rises", "labels", rows)]
}

fn over(found: &[(u64, u64, f64)]) -> Option<Measured> {
    let each = found.iter().map(|(seed, n, value)| (*seed, Ours { value: *value, low: f64::NAN, high: f64::NAN }, *n));
    Measured::over_seeds(&each.collect::<Vec<_>>())
}

fn training(label: &str, found: &[(u64, u64, Curve)]) -> Vec<Row> {
    let turns: Vec<(u64, u64, Turn)> =
        found.iter().filter_map(|(seed, n, curve)| Some((*seed, *n, Turn::of(&curve.training)?))).collect();
    let of = |value: fn(&Turn) -> f64| over(&turns.iter().map(|(s, n, t)| (*s, *n, value(t))).collect::<Vec<_>>());
    let Some(fall) = of(|t| t.peak - t.end) else { return Vec::new() };
    let words = match (fall.ours.low, fall.ours.high) {
        (low, _) if low > 0.0 => "r_s turns",
        (_, high) if high < 0.0 => "r_s rises to the end",
        (low, _) if low.is_finite() => "no turn is told from noise",
        _ => "one seed: no interval",
    };
    let row = |what: &str, metric: &str, value: fn(&Turn) -> f64| {
        of(value).map(|measured| described(what, label, metric, &measured, ""))
    };
    [Some(described("fall of r_s from its peak to the end, sd of ρ's scores", label, "fall", &fall, words))]
        .into_iter()
        .chain([
            row("KL at the peak of r_s, nats", "turn_kl", |t| t.kl),
            row("r_s at its peak, sd of ρ's scores", "peak", |t| t.peak),
            row("rise of r from there to the end, sd of ρ's scores", "r_rise", |t| t.r_rise),
        ])
        .flatten()
        .collect()
}

fn best_of(label: &str, found: &[(u64, u64, Curve)]) -> Vec<Row> {
    let mut numbers: Vec<usize> = found.iter().flat_map(|(_, _, c)| c.best_of.iter().map(|(n, _)| *n)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let at = |n: usize, of: fn(&crate::report::overoptimisation::Point) -> f64| {
        let one = |(seed, queries, curve): &(u64, u64, Curve)| {
            Some((*seed, *queries, of(&curve.best_of.iter().find(|(m, _)| *m == n)?.1)))
        };
        over(&found.iter().filter_map(one).collect::<Vec<_>>())
    };
    let rows = |n: usize| {
        let name = |what: &str| format!("{what} of the best of {n} by r, sd of ρ's scores");
        let judged = at(n, |p| p.judged).map(|m| described(&name("r_s"), label, &format!("best_of_{n}"), &m, ""));
        let r = at(n, |p| p.r).map(|m| described(&name("r"), label, &format!("best_of_{n}_r"), &m, ""));
        [judged, r]
    };
    numbers.into_iter().flat_map(rows).flatten().collect()
}
