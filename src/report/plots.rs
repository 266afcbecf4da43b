//! Plots as SVG: score against episodes, score against KL with the closed-form optimum, KL and β against episodes; of
//! summaries, what is new in them and where they copy from.

use super::optimum::Optimum;
use crate::results::{Judge, Results, ResultsError, Run, name, number};
use std::ops::Range;

use plotters::coord::types::RangedCoordf64;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use crate::spec::Spec;

/// A plot: its file name, what it shows, and how to draw it (`None` without data).
#[derive(Clone, Copy)]
pub struct Plot {
    pub id: &'static str,
    pub title: &'static str,
    pub caption: &'static str,
    /// Whether a finished run of the spec must have it.
    pub due: fn(&Spec) -> bool,
    pub draw: fn(&Results) -> Result<Option<String>, ResultsError>,
}

/// Every plot of a report, in its order.
pub const ALL: [Plot; 6] = [
    Plot {
        id: "figure2",
        title: "Score against episodes",
        caption: "Score of π's samples during training; thin: each update, thick: running mean. \
                  Dashed: mean score of ρ on held-out queries.",
        due: has_episodes,
        draw: figure2,
    },
    Plot {
        id: "figure3",
        title: "Score against KL",
        caption: "Path of each run through KL and score (running means), ending in a dot: the final policy on \
                  held-out queries. Black: the best score possible at each KL. With several policies under r_s: \
                  from samples of ρ and of all of them, with its 95% interval, as far as they show it. Else by \
                  re-weighting samples of ρ, with two standard errors; sampling makes that uncertain at high KL.",
        due: trains,
        draw: figure3,
    },
    Plot {
        id: "kl",
        title: "KL and its coefficient",
        caption: "KL(π, ρ) per response and the coefficient β of its penalty during training. \
                  Dashed: the KL target.",
        due: has_episodes,
        draw: kl,
    },
    Plot {
        id: "overoptimisation",
        title: "What is learned, and what it stands for",
        caption: super::overoptimisation::CAPTION,
        due: super::overoptimisation::due,
        draw: super::overoptimisation::plot,
    },
    Plot {
        id: "novelty",
        title: "What is new in summaries",
        caption: "Share of a summary's n-grams and sentences whose words do not occur in its source, with 95% \
                  intervals over held-out queries.",
        due: summarizes,
        draw: super::text_plots::novelty,
    },
    Plot {
        id: "copied_from",
        title: "Where summaries copy from",
        caption: "Copied runs of 4 words or more, by the place in the source where they begin: how many per 100 \
                  summaries in each twentieth of it.",
        due: summarizes,
        draw: super::text_plots::positions,
    },
];

/// PPO and RLOO sample as they learn.
fn has_episodes(spec: &Spec) -> bool {
    trains(spec) && !spec.has_dpo()
}

/// RL draws a path, and a policy that it ends with.
fn trains(spec: &Spec) -> bool {
    spec.has_rl()
}

/// Responses are summaries of their queries.
fn summarizes(spec: &Spec) -> bool {
    crate::task::summarizes(&spec.task)
}

const SIZE: (u32, u32) = (800, 500);
// The SVG backend writes a font of size s as s / 1.24 pixels: 18 here is 14.5 px in the file.
/// Okabe and Ito's colours, told apart by colour-blind readers too; yellow left out on white.
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
pub(crate) const GREY: RGBColor = RGBColor(90, 90, 90);

pub(crate) type Points = Vec<(f64, f64)>;
/// A run's name, its path, and where its final policy ended.
type Track<'a> = (&'a str, Points, Option<(f64, f64)>);
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
pub(crate) type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

pub(crate) fn color(index: usize) -> RGBColor {
    COLORS[index % COLORS.len()]
}

pub(crate) fn failed(name: &str) -> impl Fn(&dyn std::fmt::Display) -> ResultsError {
    let name = name.to_owned();
    move |e| ResultsError::Plot { name: name.clone(), message: e.to_string() }
}

pub(crate) fn column(run: &Run, x: &str, y: &str) -> Points {
    run.metrics.iter().filter_map(|step| Some((number(step, x)?, number(step, y)?))).collect()
}

/// Running mean of both coordinates over about a twentieth of the points, of as many at the ends as anywhere: the line
/// is a little shorter than the points are, and does not end on a few noisy ones.
pub(crate) fn smooth(points: &[(f64, f64)]) -> Points {
    let window = 1 + 2 * (points.len() / 40);
    let n = window as f64;
    let mean =
        |some: &[(f64, f64)]| (some.iter().map(|p| p.0).sum::<f64>() / n, some.iter().map(|p| p.1).sum::<f64>() / n);
    points.windows(window).map(mean).collect()
}

/// The values' span with a margin; never empty.
pub(crate) fn span(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let margin =
        if high - low > 1e-9 * high.abs().max(1e-9) { 0.06 * (high - low) } else { 0.5 * high.abs().max(1e-3) };
    low - margin..high + margin
}

/// Axis numbers without a tail of zeros.
pub(crate) fn tick(value: &f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

pub(crate) fn chart<'a, 'b>(
    area: &'a Area<'b>,
    labels: (&str, &str, &str),
    x: Range<f64>,
    y: Range<f64>,
    fail: &impl Fn(&dyn std::fmt::Display) -> ResultsError,
) -> Result<Chart<'a, 'b>, ResultsError> {
    chart_with(area, labels, x, y, 8, fail)
}

/// A chart with about `ticks` numbers on its x axis.
pub(crate) fn chart_with<'a, 'b>(
    area: &'a Area<'b>,
    (title, x_label, y_label): (&str, &str, &str),
    x: Range<f64>,
    y: Range<f64>,
    ticks: usize,
    fail: &impl Fn(&dyn std::fmt::Display) -> ResultsError,
) -> Result<Chart<'a, 'b>, ResultsError> {
    let mut builder = ChartBuilder::on(area);
    builder.margin(12).margin_right(24).x_label_area_size(56).y_label_area_size(78);
    if !title.is_empty() {
        builder.caption(title, ("sans-serif", 24));
    }
    let mut chart = builder.build_cartesian_2d(x, y).map_err(|e| fail(&e))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc(x_label)
        .y_desc(y_label)
        .x_labels(ticks)
        .y_labels(7)
        .x_label_formatter(&tick)
        .y_label_formatter(&tick)
        .label_style(("sans-serif", 18))
        .axis_desc_style(("sans-serif", 19))
        .draw()
        .map_err(|e| fail(&e))?;
    Ok(chart)
}

pub(crate) fn legend<'a, 'b: 'a>(
    chart: &mut Chart<'a, 'b>,
    place: SeriesLabelPosition,
    fail: &impl Fn(&dyn std::fmt::Display) -> ResultsError,
) -> Result<(), ResultsError> {
    chart
        .configure_series_labels()
        .position(place)
        .label_font(("sans-serif", 18))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.25))
        .margin(10)
        .legend_area_size(28)
        .draw()
        .map_err(|e| fail(&e))
}

pub(crate) fn line(
    chart: &mut Chart<'_, '_>,
    points: Points,
    style: ShapeStyle,
    label: Option<String>,
    fail: &impl Fn(&dyn std::fmt::Display) -> ResultsError,
) -> Result<(), ResultsError> {
    let series = chart.draw_series(LineSeries::new(points, style)).map_err(|e| fail(&e))?;
    if let Some(label) = label {
        series.label(label).legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 22, y)], style));
    }
    Ok(())
}

pub(crate) fn dashed(
    chart: &mut Chart<'_, '_>,
    points: Points,
    style: ShapeStyle,
    label: String,
    fail: &impl Fn(&dyn std::fmt::Display) -> ResultsError,
) -> Result<(), ResultsError> {
    let series = DashedLineSeries::new(points, 8, 6, style);
    chart
        .draw_series(series)
        .map_err(|e| fail(&e))?
        .label(label)
        .legend(move |(x, y)| DashedPathElement::new(vec![(x, y), (x + 22, y)], 6, 4, style));
    Ok(())
}

pub(crate) fn canvas<'a>(
    svg: &'a mut String,
    fail: &impl Fn(&dyn std::fmt::Display) -> ResultsError,
) -> Result<Area<'a>, ResultsError> {
    sized_canvas(svg, SIZE, fail)
}

fn sized_canvas<'a>(
    svg: &'a mut String,
    size: (u32, u32),
    fail: &impl Fn(&dyn std::fmt::Display) -> ResultsError,
) -> Result<Area<'a>, ResultsError> {
    let area = SVGBackend::with_string(svg, size).into_drawing_area();
    area.fill(&WHITE).map_err(|e| fail(&e))?;
    Ok(area)
}

/// A canvas with a title and, above the place of the plot, names with their colours: a legend that covers nothing. What
/// is returned is the place of the plot.
pub(crate) fn canvas_below_legend<'a>(
    svg: &'a mut String,
    title: &str,
    names: &[(&str, RGBColor)],
    fail: &impl Fn(&dyn std::fmt::Display) -> ResultsError,
) -> Result<Area<'a>, ResultsError> {
    const LINE: i32 = 24;
    // Letters are about 8 pixels wide; a name has its swatch before it and a gap behind it.
    let width = |name: &str| 42 + 8 * i32::try_from(name.chars().count()).unwrap_or(i32::MAX / 16);
    let (mut x, mut y, mut places) = (90, 0, Vec::new());
    for (name, _) in names {
        if x > 90 && x + width(name) > 790 {
            (x, y) = (90, y + LINE);
        }
        places.push((x, y));
        x += width(name);
    }
    let strip = y + LINE + 6;
    let area = sized_canvas(svg, (SIZE.0, SIZE.1 + strip.unsigned_abs()), fail)?;
    let below = area.titled(title, ("sans-serif", 24)).map_err(|e| fail(&e))?;
    let (top, plot) = below.split_vertically(strip);
    for ((name, color), (x, y)) in names.iter().zip(places) {
        top.draw(&Rectangle::new([(x, y + 5), (x + 16, y + 17)], color.filled())).map_err(|e| fail(&e))?;
        top.draw(&Text::new((*name).to_owned(), (x + 22, y + 3), ("sans-serif", 18))).map_err(|e| fail(&e))?;
    }
    Ok(plot)
}

/// Whose scores the plots show: r's only where no run has a mock labeler.
fn judge(results: &Results) -> Judge {
    let mock = |run: &Run| run.metrics.iter().any(|line| line.contains_key(Judge::Mock.metric()));
    let mut judges = results.evaluations().map(|(_, e)| e.judge);
    let first = judges.next();
    let one = first.is_some_and(|first| first != Judge::Mock && judges.all(|judge| judge == first));
    match (one, first) {
        (true, Some(judge)) if !results.runs.iter().any(mock) => judge,
        _ if results.evaluations().all(|(_, e)| e.judge != Judge::Mock) && !results.runs.iter().any(mock) => {
            Judge::Reward
        }
        _ => Judge::Mock,
    }
}

fn figure2(results: &Results) -> Result<Option<String>, ResultsError> {
    let fail = failed("figure2");
    let judge = judge(results);
    let runs: Vec<(&str, Points)> = results
        .runs
        .iter()
        .map(|run| (run.name.as_str(), column(run, name::EPISODES, judge.metric())))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    if runs.is_empty() {
        return Ok(None);
    }
    let reference = results.evaluations().next().map(|(_, e)| e.reference.mean);
    let all = || runs.iter().flat_map(|(_, points)| points);
    let x = 0.0..all().map(|p| p.0).fold(1.0, f64::max) * 1.02;
    let y = span(all().map(|p| p.1).chain(reference));
    let mut svg = String::new();
    {
        let area = canvas(&mut svg, &fail)?;
        let title = results.titled("Score against episodes");
        let labels = (title.as_str(), "episodes", judge.axis());
        let mut chart = chart(&area, labels, x.clone(), y, &fail)?;
        for (index, (name, points)) in runs.into_iter().enumerate() {
            let smoothed = smooth(&points);
            line(&mut chart, points, color(index).mix(0.3).stroke_width(1), None, &fail)?;
            line(&mut chart, smoothed, color(index).stroke_width(3), Some(name.to_owned()), &fail)?;
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

fn figure3(results: &Results) -> Result<Option<String>, ResultsError> {
    let fail = failed("figure3");
    let judge = judge(results);
    // The frontier is of the judge's score and ρ, which the runs share; the direct run's is taken first.
    let alone = results
        .evaluations()
        .filter(|(_, e)| !e.frontier.is_empty())
        .min_by_key(|(_, e)| e.schedule != "direct")
        .map(|(_, e)| e.frontier.clone())
        .unwrap_or_default();
    let mut optimum = Optimum::of(results.frontier.as_ref(), &alone);
    let runs: Vec<Track<'_>> = results
        .runs
        .iter()
        .map(|run| {
            let path = smooth(&column(run, name::KL, judge.metric()));
            let end = run.evaluation.as_ref().map(|e| (e.kl.mean, e.policy.mean));
            (run.name.as_str(), path, end)
        })
        .filter(|(_, path, end)| !path.is_empty() || end.is_some())
        .collect();
    if runs.is_empty() && optimum.is_empty() {
        return Ok(None);
    }
    let points = || runs.iter().flat_map(|(_, path, end)| path.iter().copied().chain(*end));
    let reach = points().map(|p| p.0).fold(0.0, f64::max) * 1.6;
    if reach > 0.0 {
        optimum.cut_behind(reach);
    }
    let x = span(points().map(|p| p.0).chain(optimum.kls()).chain([0.0]));
    let y = span(points().map(|p| p.1).chain(optimum.edges()));
    let mut svg = String::new();
    {
        let area = canvas(&mut svg, &fail)?;
        let title = results.titled("Score against KL");
        let labels = (title.as_str(), "KL(π, ρ) per response (nats)", judge.axis());
        let mut chart = chart(&area, labels, x, y, &fail)?;
        optimum.draw(&mut chart, Some(optimum.label.to_owned()), &fail)?;
        for (index, (name, path, end)) in runs.into_iter().enumerate() {
            line(&mut chart, path, color(index).stroke_width(2), Some(name.to_owned()), &fail)?;
            let dot = end.map(|at| Circle::new(at, 7, color(index).filled()));
            chart.draw_series(dot).map_err(|e| fail(&e))?;
            let ring = end.map(|at| Circle::new(at, 7, BLACK.stroke_width(1)));
            chart.draw_series(ring).map_err(|e| fail(&e))?;
        }
        legend(&mut chart, SeriesLabelPosition::LowerRight, &fail)?;
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}

fn kl(results: &Results) -> Result<Option<String>, ResultsError> {
    let fail = failed("kl");
    let pick = |key: &str| -> Vec<Points> { results.runs.iter().map(|run| column(run, name::EPISODES, key)).collect() };
    let (kls, betas) = (pick(name::KL), pick(name::KL_COEF));
    let end = kls.iter().chain(&betas).flatten().map(|p| p.0).fold(0.0, f64::max) * 1.02;
    if end <= 0.0 {
        return Ok(None);
    }
    let mut targets: Vec<f64> = results.evaluations().filter_map(|(_, e)| e.kl_target).collect();
    targets.sort_by(f64::total_cmp);
    targets.dedup();
    let mut svg = String::new();
    {
        let area = canvas(&mut svg, &fail)?;
        let (upper, lower) = area.split_vertically(260);
        let y = span(kls.iter().flatten().map(|p| p.1).chain(targets.iter().copied()).chain([0.0]));
        let title = results.titled("KL and its coefficient");
        let mut top = chart(&upper, (&title, "", "KL (nats)"), 0.0..end, y, &fail)?;
        for (index, points) in kls.into_iter().enumerate() {
            let name = results.runs[index].name.clone();
            line(&mut top, points, color(index).stroke_width(2), Some(name), &fail)?;
        }
        for target in targets {
            let ends = vec![(0.0, target), (end, target)];
            dashed(&mut top, ends, GREY.stroke_width(2), format!("target {target}"), &fail)?;
        }
        legend(&mut top, SeriesLabelPosition::LowerRight, &fail)?;
        let y = span(betas.iter().flatten().map(|p| p.1).chain([0.0]));
        let mut bottom = chart(&lower, ("", "episodes", "β (score per nat)"), 0.0..end, y, &fail)?;
        for (index, points) in betas.into_iter().enumerate() {
            line(&mut bottom, points, color(index).stroke_width(2), None, &fail)?;
        }
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}
