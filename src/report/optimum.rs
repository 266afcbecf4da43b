//! The curve of figure 3, the best reward at each KL, as plots draw it, and what tables say of policies below it.

use super::plots::{Chart, Points, line};
use super::tables::row;
use crate::results::{Frontier, FrontierPoint, OptimumAt, ResultsError, Row};
use plotters::prelude::*;

/// What a policy lacks, in tables.
pub(crate) const BELOW: &str = "below the optimum at its KL";

/// How far a run ends below the optimum, where the runs' policies show it together.
pub(crate) fn below(frontier: &Frontier, run: &str, seeds: &[u64]) -> Option<Row> {
    let policy = frontier.of(run)?;
    let end = |v: Option<f64>| v.unwrap_or(f64::NAN);
    let value = (end(policy.below), end(policy.low), end(policy.high));
    Some(row(BELOW, run, "below_optimum", value, frontier.queries, seeds, policy.remark()))
}

/// The best reward at each KL as plots draw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Optimum {
    /// KL, reward and the ends of its band, by rising KL.
    points: Vec<(f64, f64, f64, f64)>,
    /// What the curve and its band are, for a legend.
    pub label: &'static str,
}

impl Optimum {
    /// From samples of ρ and of policies, as far as these show it; where there is none, from samples of ρ alone.
    pub fn of(frontier: Option<&Frontier>, alone: &[FrontierPoint]) -> Self {
        let (mut points, label): (Vec<_>, _) = match frontier {
            Some(found) => {
                let of = |p: &OptimumAt| {
                    (p.kl, p.reward, p.reward_low.unwrap_or(p.reward), p.reward_high.unwrap_or(p.reward))
                };
                (found.points.iter().map(of).collect(), "optimum, 95% interval")
            }
            None => {
                let error = |p: &FrontierPoint| if p.reward_se.is_finite() { 2.0 * p.reward_se } else { 0.0 };
                let of = |p: &FrontierPoint| (p.kl, p.reward, p.reward - error(p), p.reward + error(p));
                (alone.iter().map(of).collect(), "optimum ± 2 SE")
            }
        };
        points.retain(|p: &(f64, f64, f64, f64)| p.0.is_finite() && p.1.is_finite());
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { points, label }
    }

    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
    pub fn kls(&self) -> impl Iterator<Item = f64> {
        self.points.iter().map(|p| p.0)
    }
    /// What the band covers of the reward's axis.
    pub fn edges(&self) -> impl Iterator<Item = f64> {
        self.points.iter().flat_map(|p| [p.2, p.3])
    }
    /// Leaves out what is so far beyond a KL that it would squeeze the rest into a corner.
    pub fn cut_behind(&mut self, kl: f64) {
        let beyond = self.points.iter().position(|p| p.0 > kl).map_or(self.points.len(), |i| i + 1);
        self.points.truncate(beyond);
    }

    pub fn draw(
        &self,
        chart: &mut Chart<'_, '_>,
        label: Option<String>,
        fail: &impl Fn(&dyn std::fmt::Display) -> ResultsError,
    ) -> Result<(), ResultsError> {
        if self.is_empty() {
            return Ok(());
        }
        let upper = self.points.iter().map(|p| (p.0, p.3));
        let lower = self.points.iter().rev().map(|p| (p.0, p.2));
        let shape: Points = upper.chain(lower).collect();
        chart.draw_series([Polygon::new(shape, BLACK.mix(0.12))]).map_err(|e| fail(&e))?;
        line(chart, self.points.iter().map(|p| (p.0, p.1)).collect(), BLACK.stroke_width(2), label, fail)
    }
}
