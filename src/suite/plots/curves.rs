//! Figure 2: scores during training, the mean over seeds and their range; behind them the paper's own curves.

use super::{judge, short};
use crate::report::plots::{
    Chart, GREY, Points, canvas, chart, color, column, dashed, failed, legend, line, smooth, span,
};
use crate::results::{ResultsError, name};
use crate::suite::paper::{CurvePoint, curves};
use crate::suite::results::SuiteResults;
use crate::suite::types::Makes;
use plotters::prelude::*;
use std::collections::BTreeMap;

/// Ours must reach as far as this for the paper's curves to share its axis.
const SHARED: f64 = 400_000.0;

/// x, mean, lowest and highest over seeds.
type Band = Vec<(f64, f64, f64, f64)>;

/// A member's score during training, over its seeds.
fn band(results: &SuiteResults, name: &str, judge: crate::results::Judge) -> Band {
    let mut at: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    let mut seeds = 0;
    for member in results.members.iter().filter(|m| m.name == name) {
        let Some(run) = member.the_run() else { continue };
        let points = smooth(&column(run, name::EPISODES, judge.metric()));
        seeds += usize::from(!points.is_empty());
        points.into_iter().for_each(|(x, y)| at.entry(x.round().max(0.0) as u64).or_default().push(y));
    }
    at.into_iter()
        // A seed that is still running ends the band where it is.
        .filter(|(_, values)| values.len() == seeds)
        .map(|(x, values)| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            (x as f64, mean, low, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        })
        .collect()
}

/// What of the paper stands behind a member of this label: its curve, or where it ended if ours are too short to share
/// an axis.
fn of_paper(results: &SuiteResults, label: &str, end: f64) -> Vec<CurvePoint> {
    if results.suite.makes != Makes::Figure2MockCurves {
        return Vec::new();
    }
    let mut points: Vec<CurvePoint> = curves().iter().filter(|p| p.series == label).cloned().collect();
    if end >= SHARED {
        points.retain(|p| p.episodes <= end);
        return points;
    }
    let Some(last) = points.pop() else { return Vec::new() };
    [0.95 * end, end].map(|episodes| CurvePoint { episodes, ..last.clone() }).to_vec()
}

fn draw_paper(
    chart: &mut Chart<'_, '_>,
    points: &[CurvePoint],
    (color, label): (RGBColor, Option<String>),
    fail: &impl Fn(&dyn std::fmt::Display) -> ResultsError,
) -> Result<(), ResultsError> {
    let upper = points.iter().map(|p| (p.episodes, p.highest));
    let lower = points.iter().rev().map(|p| (p.episodes, p.lowest));
    let shape: Points = upper.chain(lower).collect();
    chart.draw_series([Polygon::new(shape, color.mix(0.08))]).map_err(|e| fail(&e))?;
    let mean: Points = points.iter().map(|p| (p.episodes, p.mean)).collect();
    match label {
        Some(label) => dashed(chart, mean, color.mix(0.7).stroke_width(2), label, fail),
        None => {
            let dashes = DashedLineSeries::new(mean, 8, 6, color.mix(0.7).stroke_width(2));
            chart.draw_series(dashes).map_err(|e| fail(&e)).map(|_| ())
        }
    }
}

pub(super) fn figure2(results: &SuiteResults, title: &str) -> Result<Option<String>, ResultsError> {
    let fail = failed("figure2");
    let judge = judge(results);
    let bands: Vec<(String, Band)> = results
        .suite
        .members
        .names()
        .map(|name| (results.label(name), band(results, name, judge)))
        .filter(|(_, band)| !band.is_empty())
        .collect();
    if bands.is_empty() {
        return Ok(None);
    }
    let reference = results.members.iter().find_map(|m| Some(m.evaluation()?.reference.mean));
    let all = || bands.iter().flat_map(|(_, band)| band);
    let end = all().map(|p| p.0).fold(1.0, f64::max);
    let x = 0.0..end * 1.02;
    let behind: Vec<Vec<CurvePoint>> = bands.iter().map(|(label, _)| of_paper(results, label, x.end)).collect();
    let theirs = behind.iter().flatten().flat_map(|p| [p.lowest, p.highest]);
    let y = span(all().flat_map(|p| [p.2, p.3]).chain(reference).chain(theirs));
    let mut svg = String::new();
    {
        let area = canvas(&mut svg, &fail)?;
        let title = short(title);
        let mut chart = chart(&area, (&title, "episodes", judge.axis()), x.clone(), y, &fail)?;
        let words = if x.end >= SHARED { "the paper's" } else { "where the paper's ended, at 2M episodes" };
        let mut words = Some(words.to_owned());
        for (index, points) in behind.iter().enumerate().filter(|(_, points)| !points.is_empty()) {
            draw_paper(&mut chart, points, (color(index), words.take()), &fail)?;
        }
        for (index, (_, band)) in bands.iter().enumerate() {
            let upper = band.iter().map(|p| (p.0, p.3));
            let lower = band.iter().rev().map(|p| (p.0, p.2));
            let shape: Points = upper.chain(lower).collect();
            chart.draw_series([Polygon::new(shape, color(index).mix(0.2))]).map_err(|e| fail(&e))?;
        }
        for (index, (name, band)) in bands.into_iter().enumerate() {
            let mean = band.iter().map(|p| (p.0, p.1)).collect();
            line(&mut chart, mean, color(index).stroke_width(3), Some(name), &fail)?;
        }
        if let Some(level) = reference {
            let ends = vec![(x.start, level), (x.end, level)];
            dashed(&mut chart, ends, GREY.stroke_width(2), "ρ, held out".to_owned(), &fail)?;
        }
        legend(&mut chart, SeriesLabelPosition::LowerRight, &fail)?;
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}
