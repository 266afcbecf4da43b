//! Win rates of tables 1 and 5, and of figure 4 by number of labels, with the paper's.

use super::short;
use crate::report::plots::{GREY, Points, canvas, chart_with, color, dashed, failed, legend, line};
use crate::results::{ResultsError, Row, Table};
use crate::suite::paper::paper;
use crate::suite::results::SuiteResults;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Win rates of the first table: ours with intervals, the paper's as rings.
pub(super) fn win_rates(title: &str, tables: &[Table]) -> Result<Option<String>, ResultsError> {
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

/// Number of labels and its row, of one task.
fn by_labels<'t>(results: &SuiteResults, table: &'t Table, task: &str) -> Vec<(f64, &'t Row)> {
    // One row per comparison, in the suite's order.
    let rows = results.suite.comparisons.iter().zip(&table.rows).filter(|(_, row)| row.run == task);
    let mut found: Vec<(f64, &Row)> = rows
        .filter_map(|(comparison, row)| {
            let spec = results.members.iter().find(|m| m.name == comparison.a)?.spec()?;
            // The labels that r learns from, and those by which it is judged.
            Some(((spec.collect.labels + spec.collect.held_out) as f64, row))
        })
        .collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found
}

/// Ticks of the paper's axis.
const TICKS: [(f64, &str); 7] =
    [(200.0, "200"), (500.0, "500"), (1e3, "1k"), (2.5e3, "2.5k"), (5e3, "5k"), (1e4, "10k"), (2e4, "20k")];

/// Figure 4 of one task: win rates with intervals by number of labels, on a logarithmic axis from 200 to 20,000.
pub(super) fn by_number_of_labels(
    results: &SuiteResults,
    title: &str,
    table: &Table,
    task: &str,
) -> Result<Option<String>, ResultsError> {
    let fail = failed("win_rate_by_labels");
    let ours = by_labels(results, table, task);
    if ours.iter().all(|(_, row)| row.value.is_none()) {
        return Ok(None);
    }
    let theirs: Points = paper().map(|p| p.win_rates_by_labels(task)).unwrap_or_default();
    let ends = ours.iter().map(|(labels, _)| *labels).chain([200.0, 2e4]);
    let (low, high) = ends.fold((f64::INFINITY, 1.0_f64), |(low, high), n| (low.min(n.max(1.0)), high.max(n)));
    let x = low.log10() - 0.08..high.log10() + 0.08;
    let at = |(labels, percent): (f64, f64)| (labels.log10(), percent);
    let mut svg = String::new();
    {
        let area = canvas(&mut svg, &fail)?;
        let labels = (title, "offline labels (logarithmic)", "wins against zero-shot (%)");
        let mut chart = chart_with(&area, labels, x.clone(), 0.0..100.0, 0, &fail)?;
        dashed(&mut chart, vec![(x.start, 50.0), (x.end, 50.0)], GREY.stroke_width(1), "even".to_owned(), &fail)?;
        let paths: Points = theirs.iter().copied().map(at).collect();
        let rings: Vec<_> = paths.iter().map(|p| Circle::new(*p, 5, color(1).stroke_width(2))).collect();
        line(
            &mut chart,
            paths,
            color(1).mix(0.6).stroke_width(1),
            Some("the paper's, one run each".to_owned()),
            &fail,
        )?;
        chart.draw_series(rings).map_err(|e| fail(&e))?;
        let known: Vec<(f64, &Row, f64)> =
            ours.iter().filter_map(|(n, row)| Some((n.max(1.0), *row, row.value?))).collect();
        let path = known.iter().map(|(n, _, value)| at((*n, *value))).collect();
        line(&mut chart, path, color(0).stroke_width(2), Some("ours, 95% intervals".to_owned()), &fail)?;
        for (n, row, value) in known {
            if let (Some(low), Some(high)) = (row.low, row.high) {
                let whisker = PathElement::new(vec![at((n, low)), at((n, high))], color(0).stroke_width(2));
                chart.draw_series([whisker]).map_err(|e| fail(&e))?;
            }
            chart.draw_series([Circle::new(at((n, value)), 6, color(0).filled())]).map_err(|e| fail(&e))?;
        }
        let ticks = TICKS.iter().filter(|(n, _)| x.contains(&n.log10())).map(|(n, name)| {
            let style = ("sans-serif", 18).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
            Text::new((*name).to_owned(), (n.log10(), -1.5), style)
        });
        chart.draw_series(ticks).map_err(|e| fail(&e))?;
        legend(&mut chart, SeriesLabelPosition::LowerRight, &fail)?;
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}
