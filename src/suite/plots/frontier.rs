//! Figure 3: final policies by KL and score, series by series, beside the closed-form optimum; behind them the paper's.

use super::{judge, short};
use crate::report::optimum::Optimum;
use crate::report::plots::{Chart, GREY, Points, canvas_below_legend, chart, color, failed, line, span};
use crate::results::ResultsError;
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

/// The best that is possible, at the first seed that has a curve, up to somewhat beyond `reach`.
fn optimum(results: &SuiteResults, reach: f64) -> Optimum {
    let mut evaluations = results.members.iter().filter_map(MemberResults::evaluation);
    let alone = evaluations.find(|e| !e.frontier.is_empty()).map(|e| e.frontier.clone()).unwrap_or_default();
    let found = results.suite.seeds.iter().find_map(|seed| results.frontiers.iter().find(|f| f.seed == *seed));
    let mut optimum = Optimum::of(found, &alone);
    optimum.cut_behind(reach);
    optimum
}

/// What stands over the plot, where it covers no point.
fn names<'t>(tracks: &'t [Track], optimum: &Optimum, has_reference: bool) -> Vec<(&'t str, RGBColor)> {
    let ours = tracks.iter().enumerate().map(|(index, track)| (track.label.as_str(), color(index)));
    let rho = has_reference.then_some(("ρ", GREY));
    let theirs = tracks.iter().any(|track| !track.paper.is_empty());
    let theirs = theirs.then_some(("the paper's: rings, and dashed its optimum", GREY));
    ours.chain([(optimum.label, BLACK)]).chain(rho).chain(theirs).collect()
}

/// Rings, joined thinly, in the colours of ours.
fn draw_paper(
    chart: &mut Chart<'_, '_>,
    tracks: &[Track],
    fail: &impl Fn(&dyn std::fmt::Display) -> ResultsError,
) -> Result<(), ResultsError> {
    for (index, track) in tracks.iter().enumerate().filter(|(_, track)| !track.paper.is_empty()) {
        let color = color(index);
        line(chart, track.paper.clone(), color.mix(0.45).stroke_width(1), None, fail)?;
        let rings = track.paper.iter().map(|p| Circle::new(*p, 4, color.mix(0.7).stroke_width(1)));
        chart.draw_series(rings).map_err(|e| fail(&e))?;
    }
    if tracks.iter().any(|track| !track.paper.is_empty()) {
        let curve = paper().map(|p| p.frontier(OPTIMUM)).unwrap_or_default();
        chart.draw_series(DashedLineSeries::new(curve, 8, 6, GREY.stroke_width(1))).map_err(|e| fail(&e))?;
    }
    Ok(())
}

pub(super) fn figure3(results: &SuiteResults, title: &str) -> Result<Option<String>, ResultsError> {
    let fail = failed("figure3");
    let tracks = tracks(results);
    if tracks.is_empty() {
        return Ok(None);
    }
    let points = || tracks.iter().flat_map(|t| &t.ends).flat_map(|end| &end.seeds).copied();
    let theirs = || tracks.iter().flat_map(|t| &t.paper).copied();
    let optimum = optimum(results, points().map(|p| p.0).fold(0.0, f64::max) * 1.3);
    let reference = results.members.iter().find_map(|m| Some(m.evaluation()?.reference.mean));
    let start = reference.map(|mean| (0.0, mean));
    let x = span(points().chain(theirs()).map(|p| p.0).chain(optimum.kls()).chain([0.0]));
    let y = span(points().chain(theirs()).map(|p| p.1).chain(optimum.edges()).chain(start.map(|p| p.1)));
    let mut svg = String::new();
    {
        let area = canvas_below_legend(&mut svg, &short(title), &names(&tracks, &optimum, start.is_some()), &fail)?;
        let labels = ("", "KL(π, ρ) per response (nats)", judge(results).axis());
        let mut chart = chart(&area, labels, x, y, &fail)?;
        draw_paper(&mut chart, &tracks, &fail)?;
        optimum.draw(&mut chart, None, &fail)?;
        for (index, track) in tracks.iter().enumerate() {
            let path = track.ends.iter().map(|end| end.mean).collect();
            line(&mut chart, path, color(index).stroke_width(2), None, &fail)?;
            let seeds = track.ends.iter().filter(|end| end.seeds.len() > 1).flat_map(|end| &end.seeds);
            let small = seeds.map(|p| Circle::new(*p, 3, color(index).mix(0.6).filled()));
            chart.draw_series(small).map_err(|e| fail(&e))?;
            let means = track.ends.iter().map(|end| Circle::new(end.mean, 6, color(index).filled()));
            chart.draw_series(means).map_err(|e| fail(&e))?;
        }
        if let Some(at) = start {
            chart.draw_series([Circle::new(at, 6, GREY.filled())]).map_err(|e| fail(&e))?;
        }
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}
