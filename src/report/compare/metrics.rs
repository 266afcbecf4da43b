//! The metrics of two runs beside each other: difference, interval, p value, verdict.
//!
//! One directory on each side: over the held-out queries, paired where both used the same ones (bootstrap). Several
//! seeds on a side: over seeds, each one number (Welch's t-test). Measures of texts and shares have an interval of
//! their own on each side; the difference's is sqrt(half-width A² + half-width B²).

use super::super::tables::{gains, metric_of};
use super::MetricDifference;
use crate::metric::interval::{mean, paired_bootstrap, unpaired_bootstrap, welch, wilson};
use crate::results::{Estimate, Evaluation, Writer};

/// What is known of how the two sides were made.
#[derive(Debug, Clone, Copy)]
pub struct Sides {
    /// Both answered the same held-out queries.
    pub same_queries: bool,
    /// Scores of both mean the same.
    pub same_scale: bool,
    /// Largest change that is no change, in the metric's own unit.
    pub tolerance: f64,
}

/// When a change is for the better.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Better {
    Higher,
    /// Nearer to each side's KL target.
    Nearer(Option<(f64, f64)>),
    /// A change is a change.
    Neither,
}

/// One number of one run.
pub(super) struct Measured {
    pub(super) metric: String,
    pub(super) value: f64,
    /// Of each held-out query; empty where only the interval is known.
    contexts: Vec<f64>,
    interval: Option<(f64, f64)>,
    better: Better,
}

impl Measured {
    fn of_contexts(metric: &str, value: f64, contexts: Vec<f64>, better: Better) -> Self {
        Self { metric: metric.into(), value, contexts, interval: None, better }
    }

    fn estimate(metric: &str, estimate: Option<Estimate>, better: Better) -> Option<Self> {
        let e = estimate?;
        let interval = Some((100.0 * e.low?, 100.0 * e.high?));
        Some(Self { metric: metric.into(), value: 100.0 * e.mean, contexts: Vec::new(), interval, better })
    }

    fn share(metric: &str, count: u64, n: u64, better: Better) -> Option<Self> {
        let (low, high) = wilson(count, n);
        let value = 100.0 * count as f64 / n as f64;
        let interval = Some((100.0 * low, 100.0 * high));
        (n > 0).then(|| Self { metric: metric.into(), value, contexts: Vec::new(), interval, better })
    }
}

/// All numbers of a run that can be compared; percentages are 0 to 100.
pub(super) fn measured(e: &Evaluation) -> Vec<Measured> {
    let scores = e.contexts.iter().map(|c| c.policy).collect();
    let kls = e.contexts.iter().map(|c| c.kl).collect();
    let gain = (e.policy.mean - e.reference.mean) / e.reference.std;
    let target = Better::Nearer(e.kl_target.map(|t| (t, t)));
    let mut all = vec![
        Measured::of_contexts(&format!("policy_{}", metric_of(e.judge)), e.policy.mean, scores, Better::Higher),
        Measured::of_contexts("kl", e.kl.mean, kls, target),
        Measured::of_contexts("gain_sd", gain, gains(e), Better::Higher),
    ];
    let missing = (e.missing_truncation * e.n as f64).round().max(0.0) as u64;
    all.extend(e.reward_accuracy.and_then(|a| Measured::share("reward_accuracy_%", a.correct, a.n, Better::Higher)));
    all.extend(Measured::share("missing_truncation_%", missing, e.n as u64, Better::Neither));
    if let Some(texts) = e.texts.iter().find(|t| t.writer == Writer::Policy) {
        let novelty = texts.novelty.as_ref();
        let of = [
            ("rouge_mean", texts.rouge.as_ref().map(|r| r.mean), Better::Higher),
            ("novel_4grams_%", novelty.and_then(|n| n.ngram4), Better::Neither),
            ("novel_sentences_%", novelty.and_then(|n| n.sentence), Better::Neither),
            ("copied_words_%", texts.copying.as_ref().and_then(|c| c.copied), Better::Neither),
            ("repeated_4grams_%", texts.repeated4, Better::Neither),
        ];
        all.extend(
            of.into_iter().filter_map(|(metric, estimate, better)| Measured::estimate(metric, estimate, better)),
        );
    }
    all
}

/// A run of one seed or of several on each side; metrics that both sides have in all their seeds.
pub fn differences(run: &str, a: &[&Evaluation], b: &[&Evaluation], sides: Sides) -> Vec<MetricDifference> {
    let (of_a, of_b): (Vec<_>, Vec<_>) =
        (a.iter().map(|e| measured(e)).collect(), b.iter().map(|e| measured(e)).collect());
    let Some(first) = of_a.first() else { return Vec::new() };
    let same_judge = a.iter().chain(b).all(|e| e.judge == a[0].judge);
    first
        .iter()
        .enumerate()
        .filter_map(|(i, m)| {
            // The judge's score stands first, whatever its name.
            let find = |all: &'_ [Measured]| match i {
                0 => Some(0),
                _ => all.iter().position(|other| other.metric == m.metric),
            };
            let pick = |side: &'_ [Vec<Measured>]| side.iter().map(|all| find(all)).collect::<Option<Vec<usize>>>();
            let (at_a, at_b) = (pick(&of_a)?, pick(&of_b)?);
            let x: Vec<&Measured> = of_a.iter().zip(at_a).map(|(all, i)| &all[i]).collect();
            let y: Vec<&Measured> = of_b.iter().zip(at_b).map(|(all, i)| &all[i]).collect();
            let mut row = difference(run, &x, &y, sides);
            if i == 0 && !(same_judge && sides.same_scale) {
                row.verdict = "not comparable".to_owned();
            }
            Some(row)
        })
        .collect()
}

/// Difference, low, high, p, and what the interval is over.
type Test = (f64, f64, f64, f64, &'static str);

fn test(x: &[&Measured], y: &[&Measured], same_queries: bool) -> Test {
    let values = |side: &[&Measured]| side.iter().map(|m| m.value).collect::<Vec<f64>>();
    if let ([x], [y]) = (x, y) {
        let difference = y.value - x.value;
        if let (Some(a), Some(b)) = (x.interval, y.interval) {
            let half = |interval: (f64, f64)| (interval.1 - interval.0) / 2.0;
            let half = half(a).hypot(half(b));
            return (difference, difference - half, difference + half, f64::NAN, "texts");
        }
        let paired = same_queries && x.contexts.len() == y.contexts.len();
        let test = match paired {
            true => paired_bootstrap(&x.contexts, &y.contexts, 0),
            false => unpaired_bootstrap(&x.contexts, &y.contexts, 0),
        };
        // The contexts' interval, centred on the difference of the stored means.
        let moved = difference - test.difference;
        let over = if paired { "same queries" } else { "queries" };
        return (difference, test.low + moved, test.high + moved, test.p, over);
    }
    let test = welch(&values(x), &values(y));
    (test.difference, test.low, test.high, test.p, "seeds")
}

fn difference(run: &str, x: &[&Measured], y: &[&Measured], sides: Sides) -> MetricDifference {
    let (change, low, high, p, over) = test(x, y, sides.same_queries);
    let known = |v: f64| v.is_finite().then_some(v);
    let average = |side: &[&Measured]| mean(&side.iter().map(|m| m.value).collect::<Vec<f64>>());
    let (mean_a, mean_b) = (average(x), average(y));
    let by = |change: f64| match change {
        c if c > sides.tolerance => "better",
        c if c < -sides.tolerance => "worse",
        _ => "same",
    };
    let changed = if change.abs() > sides.tolerance { "changed" } else { "same" };
    let told = match (x[0].better, y[0].better) {
        (Better::Higher, _) => by(change),
        (Better::Nearer(Some((a, _))), Better::Nearer(Some((b, _)))) => by((mean_a - a).abs() - (mean_b - b).abs()),
        _ => changed,
    };
    let verdict = match (known(low), known(high)) {
        (Some(low), Some(high)) if low > 0.0 || high < 0.0 => told,
        (Some(_), Some(_)) => "same",
        _ => "unknown",
    };
    MetricDifference {
        run: run.to_owned(),
        metric: x[0].metric.clone(),
        a: known(mean_a),
        b: known(mean_b),
        difference: known(change),
        low: known(low),
        high: known(high),
        p: known(p),
        paired: over == "same queries",
        over: over.to_owned(),
        seeds_a: x.len(),
        seeds_b: y.len(),
        verdict: verdict.to_owned(),
    }
}
