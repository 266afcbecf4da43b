//! Figure 3: final policies by KL and score, series by series, beside the closed-form optimum; behind them the paper's.

use super::{judge, short};
use crate::report::files::{FrontierPoint, ReportError};
use crate::report::plots::{Chart, GREY, Points, canvas, chart, color, dashed, failed, legend, line, span};
use crate::suite::paper::{OPTIMUM, paper};
use crate::suite::results::{MemberResults, SuiteResults};
use plotters::prelude::*;

/// Where a member ended: of each seed, and the mean.
struct End {
    seeds: Points,
    mean: (f64, f64),
}

/// Members of one label, by KL: ours, and the paper's of that name.
struct Track {
    label: String,
    ends: Vec<End>,
    paper: Points,
}

fn tracks(results: &SuiteResults) -> Vec<Track> {
    let mut tracks: Vec<Track> = Vec::new();
    for name in results.suite.members.names() {
        let seeds: Points =
            results.evaluated(name).filter_map(MemberResults::evaluation).map(|e| (e.kl.mean, e.policy.mean)).collect();
        if seeds.is_empty() {
            continue;
        }
        let n = seeds.len() as f64;
        let mean = (seeds.iter().map(|p| p.0).sum::<f64>() / n, seeds.iter().map(|p| p.1).sum::<f64>() / n);
        let (label, end) = (results.label(name), End { seeds, mean });
        match tracks.iter_mut().find(|track| track.label == label) {
            Some(track) => track.ends.push(end),
            None => {
                let paper = paper().map(|p| p.frontier(&label)).unwrap_or_default();
                tracks.push(Track { label, ends: vec![end], paper });
            }
        }
    }
    tracks.iter_mut().for_each(|track| track.ends.sort_by(|a, b| a.mean.0.total_cmp(&b.mean.0)));
    tracks
}

/// The best that is possible by the members' own samples of ρ, up to somewhat beyond `reach`.
fn optimum(results: &SuiteResults, reach: f64) -> Vec<FrontierPoint> {
    let mut evaluations = results.members.iter().filter_map(MemberResults::evaluation);
    let mut frontier: Vec<FrontierPoint> =
        evaluations.find(|e| !e.frontier.is_empty()).map(|e| e.frontier.clone()).unwrap_or_default();
    frontier.retain(|p| p.kl.is_finite() && p.reward.is_finite());
    frontier.sort_by(|a, b| a.kl.total_cmp(&b.kl));
    // A frontier reaching far beyond the runs would squeeze them into a corner.
    let beyond = frontier.iter().position(|p| p.kl > reach).map_or(frontier.len(), |i| i + 1);
    frontier.truncate(beyond);
    frontier
}

fn error(point: &FrontierPoint) -> f64 {
    if point.reward_se.is_finite() { 2.0 * point.reward_se } else { 0.0 }
}

/// Rings, joined thinly, in the colours of ours.
fn draw_paper(
    chart: &mut Chart<'_, '_>,
    tracks: &[Track],
    fail: &impl Fn(&dyn std::fmt::Display) -> ReportError,
) -> Result<(), ReportError> {
    for (index, track) in tracks.iter().enumerate().filter(|(_, track)| !track.paper.is_empty()) {
        let color = color(index);
        line(chart, track.paper.clone(), color.mix(0.45).stroke_width(1), None, fail)?;
        let rings = track.paper.iter().map(|p| Circle::new(*p, 4, color.mix(0.7).stroke_width(1)));
        chart.draw_series(rings).map_err(|e| fail(&e))?;
    }
    if tracks.iter().any(|track| !track.paper.is_empty()) {
        chart
            .draw_series(std::iter::empty::<Circle<(f64, f64), i32>>())
            .map_err(|e| fail(&e))?
            .label("the paper's")
            .legend(|(x, y)| Circle::new((x + 11, y), 4, GREY.stroke_width(1)));
        let curve = paper().map(|p| p.frontier(OPTIMUM)).unwrap_or_default();
        dashed(chart, curve, GREY.stroke_width(1), "the paper's optimum".to_owned(), fail)?;
    }
    Ok(())
}

pub(super) fn figure3(results: &SuiteResults, title: &str) -> Result<Option<String>, ReportError> {
    let fail = failed("figure3");
    let tracks = tracks(results);
    if tracks.is_empty() {
        return Ok(None);
    }
    let points = || tracks.iter().flat_map(|t| &t.ends).flat_map(|end| &end.seeds).copied();
    let theirs = || tracks.iter().flat_map(|t| &t.paper).copied();
    let frontier = optimum(results, points().map(|p| p.0).fold(0.0, f64::max) * 1.3);
    let reference = results.members.iter().find_map(|m| Some(m.evaluation()?.reference.mean));
    let start = reference.map(|mean| (0.0, mean));
    let x = span(points().chain(theirs()).map(|p| p.0).chain(frontier.iter().map(|p| p.kl)).chain([0.0]));
    let edges = frontier.iter().flat_map(|p| [p.reward - error(p), p.reward + error(p)]);
    let y = span(points().chain(theirs()).map(|p| p.1).chain(edges).chain(start.map(|p| p.1)));
    let mut svg = String::new();
    {
        let area = canvas(&mut svg, &fail)?;
        let title = short(title);
        let labels = (title.as_str(), "KL(π, ρ) per response (nats)", judge(results).axis());
        let mut chart = chart(&area, labels, x, y, &fail)?;
        draw_paper(&mut chart, &tracks, &fail)?;
        if !frontier.is_empty() {
            let upper = frontier.iter().map(|p| (p.kl, p.reward + error(p)));
            let lower = frontier.iter().rev().map(|p| (p.kl, p.reward - error(p)));
            let shape: Points = upper.chain(lower).collect();
            chart.draw_series([Polygon::new(shape, BLACK.mix(0.12))]).map_err(|e| fail(&e))?;
            let curve = frontier.iter().map(|p| (p.kl, p.reward)).collect();
            line(&mut chart, curve, BLACK.stroke_width(2), Some("optimum ± 2 SE".to_owned()), &fail)?;
        }
        for (index, track) in tracks.iter().enumerate() {
            let path = track.ends.iter().map(|end| end.mean).collect();
            line(&mut chart, path, color(index).stroke_width(2), Some(track.label.clone()), &fail)?;
            let seeds = track.ends.iter().filter(|end| end.seeds.len() > 1).flat_map(|end| &end.seeds);
            let small = seeds.map(|p| Circle::new(*p, 3, color(index).mix(0.6).filled()));
            chart.draw_series(small).map_err(|e| fail(&e))?;
            let means = track.ends.iter().map(|end| Circle::new(end.mean, 6, color(index).filled()));
            chart.draw_series(means).map_err(|e| fail(&e))?;
        }
        if let Some(at) = start {
            let dot = Circle::new(at, 6, GREY.filled());
            chart
                .draw_series([dot])
                .map_err(|e| fail(&e))?
                .label("ρ")
                .legend(|(x, y)| Circle::new((x + 11, y), 5, GREY.filled()));
        }
        legend(&mut chart, SeriesLabelPosition::LowerRight, &fail)?;
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}
