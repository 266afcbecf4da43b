//! Over-optimisation (Gao et al. 2023): the learned r and what it stands for, r_s, against the square root of KL, along
//! training and across best-of-n. Both are in standard deviations of ρ's scores, so that they share an axis.

use super::plots::{Chart, GREY, Points, canvas_below_legend, chart, color, failed, line, smooth, span};
use super::tables::{row, table};
use crate::results::{Evaluation, Judge, Results, ResultsError, Row, Run, Table, name, number};
use crate::spec::Spec;
use plotters::prelude::*;

/// Parts of training among which the peak of r_s is looked for.
const PARTS: usize = 10;
/// Updates of a training of which a turn can be told.
const FEWEST: usize = 2 * PARTS;

/// What the plot shows.
pub const CAPTION: &str = "Learned reward r (dashed; rings) and the mock labeler's own score r_s (solid; dots), in standard deviations of \
                           ρ's scores, against the square root of KL(π, ρ): lines along training (running means), marks across \
                           best-of-n at log n - (n-1)/n, an upper bound of its KL. Where r goes on rising and r_s turns, r is \
                           over-optimised.";

/// Whether a finished run of the spec must have the plot: an r that learned, episodes, and r_s to tell them apart.
pub fn due(spec: &Spec) -> bool {
    spec.has_rl() && !spec.has_dpo() && spec.learns_reward() && spec.labeler.is().judges
}

/// r and r_s at one KL.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// In nats per response; of best-of-n its bound.
    pub kl: f64,
    /// In standard deviations of ρ's scores, as all below.
    pub r: f64,
    /// Under r_s.
    pub judged: f64,
}

/// One run's r and r_s.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// Update by update.
    pub training: Vec<Point>,
    /// By n, from the smallest.
    pub best_of: Vec<(usize, Point)>,
}

impl Curve {
    /// Of a run whose r has learned beside r_s; `None` without both.
    pub fn of(run: &Run, spec: &Spec) -> Option<Self> {
        let e = run.evaluation.as_ref()?;
        if e.judge != Judge::Mock || !(spec.learns_reward() || spec.reward.is_given()) {
            return None;
        }
        let point = |kl: f64, r: f64, judged: f64| {
            let r = (r - spec.reward.target_mean) / spec.reward.target_std;
            Point { kl, r, judged: (judged - e.reference.mean) / e.reference.std }
        };
        let step = |line: &serde_json::Map<String, serde_json::Value>| {
            Some(point(number(line, name::KL)?, number(line, name::SCORE)?, number(line, name::MOCK_SCORE)?))
        };
        let training = run.metrics.iter().filter_map(step).collect();
        let best_of = e.best_of.iter().map(|b| (b.n, point(b.kl_bound, b.score, b.judged))).collect();
        let curve = Self { training, best_of };
        (!curve.training.is_empty() || !curve.best_of.is_empty()).then_some(curve)
    }

    fn paths(&self) -> [Points; 2] {
        let path = |of: fn(&Point) -> f64| {
            let points: Points = self.training.iter().map(|p| (p.kl, of(p))).collect();
            smooth(&points).into_iter().map(|(kl, y)| (root(kl), y)).collect()
        };
        [path(|p| p.r), path(|p| p.judged)]
    }

    fn marks(&self) -> [Points; 2] {
        let marks = |of: fn(&Point) -> f64| self.best_of.iter().map(|(_, p)| (root(p.kl), of(p))).collect::<Points>();
        [marks(|p| p.r), marks(|p| p.judged)]
    }
}

fn root(kl: f64) -> f64 {
    kl.max(0.0).sqrt()
}

/// Where r_s stops rising along a training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    /// Mean KL of the part of training in which r_s is highest.
    pub kl: f64,
    /// r_s there, and in the last part.
    pub peak: f64,
    /// r_s in the last part of training.
    pub end: f64,
    /// By how much r rises from that part to the last.
    pub r_rise: f64,
}

impl Turn {
    /// The highest of the parts of a training, found on every other update and measured on those between, both ways round:
    /// the largest of several noisy means, measured on itself, would lie above the truth. `None` of short trainings.
    pub fn of(training: &[Point]) -> Option<Self> {
        if training.len() < FEWEST {
            return None;
        }
        let part = |i: usize| &training[i * training.len() / PARTS..(i + 1) * training.len() / PARTS];
        let half = |i: usize, odd: usize| part(i).iter().skip(odd).step_by(2);
        let mean = |i: usize, odd: usize, of: fn(&Point) -> f64| {
            let (sum, n) = half(i, odd).fold((0.0, 0.0), |(sum, n), p| (sum + of(p), n + 1.0));
            sum / n
        };
        let one = |chosen_on: usize| {
            let judged = |i: usize| mean(i, chosen_on, |p| p.judged);
            let best = (0..PARTS).fold(0, |best, i| if judged(i) > judged(best) { i } else { best });
            let (last, on) = (PARTS - 1, 1 - chosen_on);
            Self {
                kl: mean(best, on, |p| p.kl),
                peak: mean(best, on, |p| p.judged),
                end: mean(last, on, |p| p.judged),
                r_rise: mean(last, on, |p| p.r) - mean(best, on, |p| p.r),
            }
        };
        let (a, b) = (one(0), one(1));
        let middle = |of: fn(&Self) -> f64| (of(&a) + of(&b)) / 2.0;
        let found = Self {
            kl: middle(|t| t.kl),
            peak: middle(|t| t.peak),
            end: middle(|t| t.end),
            r_rise: middle(|t| t.r_rise),
        };
        found.peak.is_finite().then_some(found)
    }
}

/// The runs of a directory that have both scores.
fn curves(results: &Results) -> Vec<(String, Curve)> {
    let of = |run: &Run| Some((run.name.clone(), Curve::of(run, &results.spec_of(&run.name)?)?));
    results.runs.iter().filter_map(of).collect()
}

/// The plot of a results directory.
pub fn plot(results: &Results) -> Result<Option<String>, ResultsError> {
    let curves = curves(results);
    let named: Vec<(&str, Vec<&Curve>)> = curves.iter().map(|(name, curve)| (name.as_str(), vec![curve])).collect();
    draw(&results.titled("Learned reward r and the mock score r_s"), &named)
}

/// Curves of one name, such as the seeds of a member, have one colour.
pub fn draw(title: &str, named: &[(&str, Vec<&Curve>)]) -> Result<Option<String>, ResultsError> {
    let fail = failed("overoptimisation");
    let all = || named.iter().flat_map(|(_, curves)| curves);
    if all().next().is_none() {
        return Ok(None);
    }
    let points = || all().flat_map(|c| c.paths().into_iter().chain(c.marks()).flatten());
    let (x, y) = (span(points().map(|p| p.0).chain([0.0])), span(points().map(|p| p.1).chain([0.0])));
    let mut svg = String::new();
    {
        let names = named.iter().enumerate().map(|(i, (name, _))| (*name, color(i)));
        let names: Vec<_> = names.chain([("solid, dots: r_s", BLACK), ("dashed, rings: r", GREY)]).collect();
        let area = canvas_below_legend(&mut svg, title, &names, &fail)?;
        let labels = ("", "√KL(π, ρ), √nats", "score (sd of ρ's scores)");
        let mut chart = chart(&area, labels, x, y, &fail)?;
        for (i, (_, curves)) in named.iter().enumerate() {
            curves.iter().try_for_each(|curve| draw_one(&mut chart, curve, color(i), &fail))?;
        }
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}

fn draw_one(
    chart: &mut Chart<'_, '_>,
    curve: &Curve,
    color: RGBColor,
    fail: &impl Fn(&dyn std::fmt::Display) -> ResultsError,
) -> Result<(), ResultsError> {
    let [r, judged] = curve.paths();
    chart.draw_series(DashedLineSeries::new(r, 8, 6, color.mix(0.7).stroke_width(2))).map_err(|e| fail(&e))?;
    line(chart, judged, color.stroke_width(2), None, fail)?;
    let [r, judged] = curve.marks();
    chart.draw_series(r.into_iter().map(|p| Circle::new(p, 5, color.stroke_width(2)))).map_err(|e| fail(&e))?;
    chart.draw_series(judged.into_iter().map(|p| Circle::new(p, 5, color.filled()))).map_err(|e| fail(&e))?;
    Ok(())
}

/// Rows on best-of-n, and on where r_s turns; nothing where no run has them.
pub fn build(results: &Results, seeds: &[u64]) -> Vec<Table> {
    let mut rows = Vec::new();
    for (run, evaluation) in results.evaluations() {
        rows.extend(best_of(run, evaluation, seeds));
    }
    for (run, turn) in curves(results).iter().filter_map(|(run, curve)| Some((run, Turn::of(&curve.training)?))) {
        let one = |words: &str, metric: &str, value: f64| {
            row(words, run, metric, (value, f64::NAN, f64::NAN), PARTS as u64, seeds, "")
        };
        rows.push(one("KL where r_s is highest along training, nats", "turn_kl", turn.kl));
        rows.push(one("r_s there, sd of ρ's scores", "turn_peak", turn.peak));
        rows.push(one("r_s at the end of training, sd of ρ's scores", "turn_end", turn.end));
        rows.push(one("rise of r from there to the end, sd of ρ's scores", "turn_r_rise", turn.r_rise));
    }
    if rows.is_empty() { Vec::new() } else { vec![table("overoptimisation", "Best-of-n, and where r_s turns", rows)] }
}

/// Best-of-n of one run.
fn best_of(run: &str, e: &Evaluation, seeds: &[u64]) -> Vec<Row> {
    let of = |b: &crate::results::BestOf| {
        let (value, low, high) = crate::metric::interval::mean_interval(&b.contexts);
        let (n, bound) = (b.contexts.len() as u64, format!("KL at most {:.2} nats", b.kl_bound));
        let (score, name) = (e.judge.score(), format!("best_of_{}", b.n));
        let judged =
            row(&format!("{score} of the best of {} by r", b.n), run, &name, (value, low, high), n, seeds, &bound);
        let of_r = (b.score, f64::NAN, f64::NAN);
        let words = format!("score of the best of {} under r", b.n);
        let scored = row(&words, run, &format!("{name}_r"), of_r, n, seeds, &bound);
        if e.judge == Judge::Mock { vec![judged, scored] } else { vec![judged] }
    };
    e.best_of.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn training(n: usize, judged: impl Fn(f64) -> f64) -> Vec<Point> {
        (0..n)
            .map(|i| {
                let share = i as f64 / n as f64;
                // Noise that a maximum of means would take for a peak.
                let noise = if i % 4 < 2 { 0.3 } else { -0.3 };
                Point { kl: 10.0 * share, r: share, judged: judged(share) + noise }
            })
            .collect()
    }

    #[test]
    fn a_turn_is_found_where_it_is_and_none_where_there_is_none() {
        let turn = Turn::of(&training(400, |t| 4.0 * t * (1.0 - t))).unwrap();
        assert!((turn.kl - 5.0).abs() < 1.0 && (turn.peak - 1.0).abs() < 0.05, "{turn:?}");
        assert!((turn.end - 0.19).abs() < 0.05 && (turn.r_rise - 0.45).abs() < 0.1, "{turn:?}");
        let rising = Turn::of(&training(400, |t| t)).unwrap();
        assert!(rising.peak == rising.end && rising.r_rise == 0.0, "{rising:?}");
        assert_eq!(Turn::of(&training(10, |t| t)), None);
    }

    /// Of noise alone the fall is as often below zero as above.
    #[test]
    fn noise_has_no_turn_on_average() {
        use rand::{RngExt, SeedableRng};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let falls: Vec<f64> = (0..400)
            .map(|_| {
                let mut point = |kl: usize| Point { kl: kl as f64, r: 0.0, judged: rng.random::<f64>() };
                let training: Vec<Point> = (0..100).map(&mut point).collect();
                Turn::of(&training).map(|turn| turn.peak - turn.end).unwrap()
            })
            .collect();
        let (mean, low, high) = crate::metric::interval::mean_interval(&falls);
        assert!(low < 0.0 && high > 0.0, "{mean} ({low} to {high})");
    }
}
