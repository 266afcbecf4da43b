//! Learners by KL and score, each from ρ on, with best-of-n at its bound; and r beside r_s by number of labels.

use super::{judge, short};
use crate::report::overoptimisation::{Curve, draw};
use crate::report::plots::{GREY, Points, canvas_below_legend, chart, color, failed, line, span};
use crate::results::ResultsError;
use crate::suite::results::SuiteResults;
use crate::suite::table::learners::{Track, learners, tracks};
use crate::suite::table::overoptimisation::curves;
use plotters::prelude::*;

/// Scores of a learner at the square roots of KLs.
fn path(track: &Track) -> Points {
    track.points.iter().map(|(kl, score)| (kl.sqrt(), *score)).collect()
}

pub(super) fn at_equal_kl(results: &SuiteResults, title: &str) -> Result<Option<String>, ResultsError> {
    let fail = failed("learners");
    let tracks = tracks(results);
    let names = learners(&tracks);
    if names.is_empty() {
        return Ok(None);
    }
    let points = || tracks.iter().flat_map(path);
    let (x, y) = (span(points().map(|p| p.0)), span(points().map(|p| p.1)));
    let mut svg = String::new();
    {
        let legend: Vec<(&str, RGBColor)> = names.iter().enumerate().map(|(i, n)| (n.as_str(), color(i))).collect();
        let legend: Vec<_> = legend.into_iter().chain([("rings: KL is at most this", GREY)]).collect();
        let area = canvas_below_legend(&mut svg, &short(title), &legend, &fail)?;
        let labels = ("", "√KL(π, ρ), √nats", judge(results).axis());
        let mut chart = chart(&area, labels, x, y, &fail)?;
        for track in &tracks {
            let color = color(names.iter().position(|name| *name == track.learner).unwrap_or(0));
            line(&mut chart, path(track), color.mix(0.6).stroke_width(2), None, &fail)?;
            let style = if track.bound { color.stroke_width(2) } else { color.filled() };
            let marks = path(track).into_iter().skip(1).map(|p| Circle::new(p, 5, style));
            chart.draw_series(marks).map_err(|e| fail(&e))?;
        }
        let start = tracks.iter().filter_map(|t| path(t).first().copied());
        chart.draw_series(start.map(|p| Circle::new(p, 5, GREY.filled()))).map_err(|e| fail(&e))?;
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}

pub(super) fn by_labels(results: &SuiteResults, title: &str) -> Result<Option<String>, ResultsError> {
    let of = |name: &str| (results.label(name), curves(results, name));
    let found: Vec<_> = results.suite.members.names().map(of).filter(|(_, curves)| !curves.is_empty()).collect();
    let named: Vec<(&str, Vec<&Curve>)> =
        found.iter().map(|(label, curves)| (label.as_str(), curves.iter().map(|(_, _, c)| c).collect())).collect();
    draw(&short(title), &named)
}
