//! Plots over the members and seeds of a suite: figure 2 with mean and range over seeds, figure 3 as a sweep beside the
//! closed-form optimum, figures 5 to 7 of each task, and the win rates of tables 1 and 5 beside the paper's.

use super::results::{MemberResults, SuiteResults};
use super::types::Makes;
use crate::report::files::{FrontierPoint, Judge, ReportError, Table};
use crate::report::measures::{Estimate, Writer};
use crate::report::plots::{GREY, Points, canvas, chart, color, column, dashed, failed, legend, line, smooth, span};
use crate::report::text_plots::{Series, color_of, draw_novelty, draw_positions, spread};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use std::collections::BTreeMap;

/// A finished plot.
pub struct Drawn {
    /// File name without ending.
    pub id: String,
    pub title: String,
    pub caption: &'static str,
    pub svg: String,
}

/// All plots that there are data for.
pub fn draw(results: &SuiteResults, tables: &[Table]) -> Result<Vec<Drawn>, ReportError> {
    let mut drawn = Vec::new();
    let mut add = |id: &str, title: &str, caption, svg: Option<String>| {
        drawn.extend(svg.map(|svg| Drawn { id: id.into(), title: title.into(), caption, svg }));
    };
    match results.suite.makes {
        Makes::Table1StylePreference | Makes::Table5SummaryPreference => {
            let title = results.titled("Win rates");
            add("win_rates", &title, WIN_RATES, win_rates(&title, tables)?);
        }
        Makes::Figure2MockCurves | Makes::Table10NoKl => {
            let title = results.titled("Mock score against episodes");
            add("figure2", &title, FIGURE2, figure2(results, &title)?);
        }
        Makes::Figure3Frontier => {
            let title = results.titled("Score against KL");
            add("figure3", &title, FIGURE3, figure3(results, &title)?);
        }
        Makes::Table4Rouge | Makes::Figure5Novelty | Makes::Figure6CopiedFrom => {
            for task in results.tasks() {
                let title = results.titled(&format!("{task}: what is new in summaries"));
                add(
                    &format!("novelty_{task}"),
                    &title,
                    NOVELTY,
                    draw_novelty(&short(&title), &series(results, &task))?,
                );
                let title = results.titled(&format!("{task}: where summaries copy from"));
                add(
                    &format!("copied_from_{task}"),
                    &title,
                    COPIED_FROM,
                    draw_positions(&short(&title), series(results, &task))?,
                );
            }
        }
        Makes::Table8Accuracy | Makes::Table9Agreement => {}
    }
    Ok(drawn)
}

const WIN_RATES: &str = "Share of items that the first-named model wins, with its 95% interval; ring: the paper's value where \
                         it is recorded. Dashed: an even preference.";
const FIGURE2: &str = "Score of the policy's samples under r_s during training (running means): mean over seeds, and their \
                       range as a band. Dashed: mean score of ρ on held-out queries.";
const FIGURE3: &str = "Final policies on held-out queries: small dots are seeds, large ones their means; runs of the same \
                       number of episodes are joined. Black: the best score possible at each KL, by re-weighting samples of \
                       ρ at the first seed, with two standard errors; sampling makes it uncertain at high KL.";
const NOVELTY: &str = "Share of a summary's n-grams and sentences whose words do not occur in its source, with 95% intervals: \
                       over held-out queries at one seed, over seeds at several.";
const COPIED_FROM: &str = "Copied runs of 4 words or more, by the place in the source where they begin: how many per 100 summaries \
                       in each twentieth of it.";

/// A title that fits over a plot; the page has it in full.
fn short(title: &str) -> String {
    match title.split_once(" (") {
        Some((head, rest)) if rest.contains("simulated") => format!("{head} (simulated labelers)"),
        Some((head, _)) => format!("{head} (not the paper's setting)"),
        None => title.to_owned(),
    }
}

/// Whose scores: r's only where no member has r_s.
fn judge(results: &SuiteResults) -> Judge {
    let mock = results.members.iter().filter_map(MemberResults::evaluation).any(|e| e.judge == Judge::Mock);
    if mock { Judge::Mock } else { Judge::Reward }
}

/// x, mean, lowest and highest over seeds.
type Band = Vec<(f64, f64, f64, f64)>;

/// A member's score during training, over its seeds.
fn band(results: &SuiteResults, name: &str, judge: Judge) -> Band {
    let mut at: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    let mut seeds = 0;
    for member in results.members.iter().filter(|m| m.name == name) {
        let Some(run) = member.the_run() else { continue };
        let points = smooth(&column(run, "elapsed/episodes", judge.metric()));
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

fn figure2(results: &SuiteResults, title: &str) -> Result<Option<String>, ReportError> {
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
    let x = 0.0..all().map(|p| p.0).fold(1.0, f64::max) * 1.02;
    let y = span(all().flat_map(|p| [p.2, p.3]).chain(reference));
    let mut svg = String::new();
    {
        let area = canvas(&mut svg, &fail)?;
        let title = short(title);
        let mut chart = chart(&area, (&title, "episodes", judge.axis()), x.clone(), y, &fail)?;
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
        legend(&mut chart, SeriesLabelPosition::UpperLeft, &fail)?;
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}

/// Where a member ended: of each seed, and the mean.
struct End {
    seeds: Points,
    mean: (f64, f64),
}

fn ends(results: &SuiteResults) -> BTreeMap<u64, Vec<End>> {
    let mut series: BTreeMap<u64, Vec<End>> = BTreeMap::new();
    for name in results.suite.members.names() {
        let found: Vec<_> = results.evaluated(name).filter_map(MemberResults::evaluation).collect();
        let Some(first) = found.first() else { continue };
        let seeds: Points = found.iter().map(|e| (e.kl.mean, e.policy.mean)).collect();
        let n = seeds.len() as f64;
        let mean = (seeds.iter().map(|p| p.0).sum::<f64>() / n, seeds.iter().map(|p| p.1).sum::<f64>() / n);
        series.entry(first.episodes).or_default().push(End { seeds, mean });
    }
    for ends in series.values_mut() {
        ends.sort_by(|a, b| a.mean.0.total_cmp(&b.mean.0));
    }
    series
}

fn figure3(results: &SuiteResults, title: &str) -> Result<Option<String>, ReportError> {
    let fail = failed("figure3");
    let series = ends(results);
    if series.is_empty() {
        return Ok(None);
    }
    let evaluations = || results.members.iter().filter_map(MemberResults::evaluation);
    let mut frontier: Vec<FrontierPoint> =
        evaluations().find(|e| !e.frontier.is_empty()).map(|e| e.frontier.clone()).unwrap_or_default();
    frontier.retain(|p| p.kl.is_finite() && p.reward.is_finite());
    frontier.sort_by(|a, b| a.kl.total_cmp(&b.kl));
    let points = || series.values().flatten().flat_map(|end| &end.seeds).copied();
    // A frontier reaching far beyond the runs would squeeze them into a corner.
    let reach = points().map(|p| p.0).fold(0.0, f64::max) * 1.3;
    let beyond = frontier.iter().position(|p| p.kl > reach).map_or(frontier.len(), |i| i + 1);
    frontier.truncate(beyond);
    let error = |p: &FrontierPoint| if p.reward_se.is_finite() { 2.0 * p.reward_se } else { 0.0 };
    let start = evaluations().next().map(|e| (0.0, e.reference.mean));
    let x = span(points().map(|p| p.0).chain(frontier.iter().map(|p| p.kl)).chain([0.0]));
    let edges = frontier.iter().flat_map(|p| [p.reward - error(p), p.reward + error(p)]);
    let y = span(points().map(|p| p.1).chain(edges).chain(start.map(|p| p.1)));
    let mut svg = String::new();
    {
        let area = canvas(&mut svg, &fail)?;
        let title = short(title);
        let labels = (title.as_str(), "KL(π, ρ) per response (nats)", judge(results).axis());
        let mut chart = chart(&area, labels, x, y, &fail)?;
        if !frontier.is_empty() {
            let upper = frontier.iter().map(|p| (p.kl, p.reward + error(p)));
            let lower = frontier.iter().rev().map(|p| (p.kl, p.reward - error(p)));
            let shape: Points = upper.chain(lower).collect();
            chart.draw_series([Polygon::new(shape, BLACK.mix(0.12))]).map_err(|e| fail(&e))?;
            let curve = frontier.iter().map(|p| (p.kl, p.reward)).collect();
            line(&mut chart, curve, BLACK.stroke_width(2), Some("optimum ± 2 SE".to_owned()), &fail)?;
        }
        // Most episodes first: the top series of the paper's figure.
        for (index, (episodes, ends)) in series.into_iter().rev().enumerate() {
            let path = ends.iter().map(|end| end.mean).collect();
            line(&mut chart, path, color(index).stroke_width(2), Some(format!("{episodes} episodes")), &fail)?;
            let small =
                ends.iter().flat_map(|end| &end.seeds).map(|p| Circle::new(*p, 3, color(index).mix(0.6).filled()));
            chart.draw_series(small).map_err(|e| fail(&e))?;
            chart
                .draw_series(ends.iter().map(|end| Circle::new(end.mean, 7, color(index).filled())))
                .map_err(|e| fail(&e))?;
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

/// The writers of a task: lead-3, the reference summaries and ρ once, then every member.
fn series(results: &SuiteResults, task: &str) -> Vec<Series> {
    let mut models = 0;
    let mut found = Vec::new();
    let of_task: Vec<&MemberResults> = results.members.iter().filter(|m| m.task().as_deref() == Some(task)).collect();
    for (writer, name) in
        [(Writer::Lead3, "lead-3"), (Writer::Summary, "reference summaries"), (Writer::Reference, "zero-shot")]
    {
        let members: Vec<&MemberResults> = of_task.iter().copied().filter(|m| usable(m, writer)).collect();
        found.extend(pooled(&first_of_each_seed(&members), writer, name.into(), &mut models));
    }
    for name in results.of_task(task) {
        let members: Vec<&MemberResults> = of_task.iter().copied().filter(|m| m.name == name).collect();
        found.extend(pooled(&members, Writer::Policy, results.label(name), &mut models));
    }
    found
}

/// ρ of a member whose RL started from a supervised model is that model.
fn usable(member: &MemberResults, writer: Writer) -> bool {
    use crate::spec::{CollectSchedule, SupervisedOn};
    let from_rho = |s: &crate::spec::Spec| {
        s.supervised.on != SupervisedOn::Summaries || s.collect.schedule == CollectSchedule::None
    };
    member.texts(writer).is_some() && (writer != Writer::Reference || member.spec().is_some_and(from_rho))
}

fn first_of_each_seed<'a>(members: &[&'a MemberResults]) -> Vec<&'a MemberResults> {
    let mut seeds = Vec::new();
    members
        .iter()
        .copied()
        .filter(|m| {
            let new = !seeds.contains(&m.seed);
            seeds.push(m.seed);
            new
        })
        .collect()
}

/// One writer's measures over seeds: the mean of means with the interval of their spread, positions summed.
fn pooled(members: &[&MemberResults], writer: Writer, name: String, models: &mut usize) -> Option<Series> {
    let texts: Vec<_> = members.iter().filter_map(|m| m.texts(writer)).filter(|t| t.copying.is_some()).collect();
    let color = if texts.is_empty() { return None } else { color_of(writer, models) };
    if let [one] = texts[..] {
        return Some(Series::new(name, color, one));
    }
    let all: Vec<Series> = texts.iter().map(|t| Series::new(name.clone(), color, t)).collect();
    let mean = |i: usize| {
        let values: Vec<f64> = all.iter().filter_map(|s| Some(s.novelty[i]?.mean)).collect();
        let n = all.iter().filter_map(|s| Some(s.novelty[i]?.n)).sum();
        let (mean, low, high) = crate::metric::interval::mean_interval(&values);
        let known = |v: f64| v.is_finite().then_some(v.clamp(0.0, 1.0));
        (!values.is_empty()).then(|| Estimate { mean, low: known(low), high: known(high), n })
    };
    let parts = texts.iter().filter_map(|t| Some(t.copying.as_ref()?.span_positions.len())).max().unwrap_or(0);
    let count = |i: usize| texts.iter().filter_map(|t| t.copying.as_ref()?.span_positions.get(i)).sum::<u64>();
    let counts: Vec<u64> = (0..parts).map(count).collect();
    let positions = spread(&counts, texts.iter().map(|t| t.n).sum());
    Some(Series { name, color, writer, novelty: std::array::from_fn(mean), positions })
}

/// Win rates of the first table: ours with intervals, the paper's as rings.
fn win_rates(title: &str, tables: &[Table]) -> Result<Option<String>, ReportError> {
    let fail = failed("win_rates");
    let rows: Vec<_> = tables.first().map(|table| table.rows.iter().collect()).unwrap_or_default();
    if !rows.iter().any(|row| row.value.is_some()) {
        return Ok(None);
    }
    let mut svg = String::new();
    {
        let n = rows.len() as f64;
        let height = 110 + 42 * rows.len() as u32;
        let area = SVGBackend::with_string(&mut svg, (800, height)).into_drawing_area();
        area.fill(&WHITE).map_err(|e| fail(&e))?;
        let mut chart = ChartBuilder::on(&area);
        chart.margin(12).margin_right(24).x_label_area_size(52).caption(short(title), ("sans-serif", 24));
        // Names stand left of 0%, inside the plot: a label area would cut long ones.
        let mut chart = chart.build_cartesian_2d(-85.0..102.0, 0.0..n).map_err(|e| fail(&e))?;
        chart
            .configure_mesh()
            .disable_mesh()
            .set_all_tick_mark_size(0)
            .x_desc("wins of the first-named (%)")
            .x_labels(10)
            .y_labels(0)
            .x_label_formatter(&|v| if *v < 0.0 { String::new() } else { format!("{v:.0}") })
            .label_style(("sans-serif", 18))
            .axis_desc_style(("sans-serif", 19))
            .draw()
            .map_err(|e| fail(&e))?;
        let lines = (0..=5).map(|i| 20.0 * f64::from(i));
        let lines = lines.map(|x| PathElement::new(vec![(x, 0.0), (x, n)], BLACK.mix(0.12).stroke_width(1)));
        chart.draw_series(lines).map_err(|e| fail(&e))?;
        let even = DashedPathElement::new(vec![(50.0, 0.0), (50.0, n)], 6, 4, GREY.stroke_width(2));
        chart.draw_series([even]).map_err(|e| fail(&e))?;
        for (i, row) in rows.iter().enumerate() {
            let y = n - 0.5 - i as f64;
            use plotters::style::text_anchor::{HPos, Pos, VPos};
            let style = ("sans-serif", 18).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
            let name = Text::new(format!("{}: {}", row.run, row.name), (-84.0, y), style);
            chart.draw_series([name]).map_err(|e| fail(&e))?;
            if let (Some(value), Some(low), Some(high)) = (row.value, row.low, row.high) {
                let interval = PathElement::new(vec![(low, y), (high, y)], color(0).stroke_width(3));
                chart.draw_series([interval]).map_err(|e| fail(&e))?;
                chart.draw_series([Circle::new((value, y), 6, color(0).filled())]).map_err(|e| fail(&e))?;
            }
            if let Some(paper) = row.paper {
                chart.draw_series([Circle::new((paper, y), 6, color(1).stroke_width(3))]).map_err(|e| fail(&e))?;
            }
        }
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}
