//! Plots of summaries: novelty as bars (paper figure 4), positions of copied spans as lines (figures 5 and 6).

use plotters::element::Rectangle;
use plotters::prelude::*;

use super::Results;
use super::files::ReportError;
use super::measures::{Estimate, Texts, Writer};
use super::plots::{GREY, Points, canvas, chart, chart_with, color, failed, legend, line, span};

/// What is drawn of one writer, with its name and colour: grey for what is no model's.
struct Series<'a> {
    name: String,
    color: RGBColor,
    texts: &'a Texts,
}

/// The writers of all runs; those that runs share, once.
fn series(results: &Results) -> Vec<Series<'_>> {
    let mut found: Vec<Series<'_>> = Vec::new();
    let mut models = 0;
    for (run, evaluation) in results.evaluations() {
        for texts in evaluation.texts.iter().filter(|t| t.copying.is_some()) {
            if texts.writer != Writer::Policy && found.iter().any(|s| s.texts == texts) {
                continue;
            }
            let name = match texts.writer {
                Writer::Policy => format!("π, {run}"),
                writer => writer.name().to_owned(),
            };
            let color = match texts.writer {
                Writer::Lead3 => GREY,
                Writer::Summary => RGBColor(170, 170, 170),
                Writer::Reference | Writer::Policy => {
                    models += 1;
                    color(models - 1)
                }
            };
            found.push(Series { name, color, texts });
        }
    }
    found
}

/// Figure 4.
pub fn novelty(results: &Results) -> Result<Option<String>, ReportError> {
    let fail = failed("figure4");
    let all = series(results);
    if all.is_empty() {
        return Ok(None);
    }
    let groups = ["words", "2-grams", "3-grams", "4-grams", "sentences"];
    let values = |texts: &Texts| -> [Option<Estimate>; 5] {
        texts.novelty.as_ref().map_or([None; 5], |n| [n.ngram1, n.ngram2, n.ngram3, n.ngram4, n.sentence])
    };
    let mut svg = String::new();
    {
        let area = canvas(&mut svg, &fail)?;
        let title = results.titled("What is new in summaries");
        // Room above 100% for the legend, a line of it for every series.
        let top = 104.0 + 9.0 * all.len() as f64;
        let labels = (title.as_str(), "", "not in the source (%)");
        let mut chart = chart_with(&area, labels, 0.0..5.0, 0.0..top, 0, &fail)?;
        for (index, s) in all.iter().enumerate() {
            let width = 0.84 / all.len() as f64;
            let mut bars = Vec::new();
            let mut whiskers = Vec::new();
            for (group, estimate) in values(s.texts).into_iter().enumerate() {
                let Some(e) = estimate else { continue };
                let left = group as f64 + 0.08 + width * index as f64;
                bars.push(Rectangle::new([(left, 0.0), (left + 0.92 * width, 100.0 * e.mean)], s.color.filled()));
                if let (Some(low), Some(high)) = (e.low, e.high) {
                    let middle = left + 0.46 * width;
                    let ends = vec![(middle, 100.0 * low), (middle, 100.0 * high)];
                    whiskers.push(PathElement::new(ends, BLACK.stroke_width(1)));
                }
            }
            let filled = s.color.filled();
            chart
                .draw_series(bars)
                .map_err(|e| fail(&e))?
                .label(s.name.clone())
                .legend(move |(x, y)| Rectangle::new([(x + 4, y - 6), (x + 20, y + 6)], filled));
            chart.draw_series(whiskers).map_err(|e| fail(&e))?;
        }
        let names = groups.iter().enumerate().map(|(i, name)| {
            let style = ("sans-serif", 18).into_font().color(&BLACK);
            Text::new((*name).to_owned(), (i as f64 + 0.5, -0.015 * top), style.pos(below()))
        });
        chart.draw_series(names).map_err(|e| fail(&e))?;
        legend(&mut chart, SeriesLabelPosition::UpperLeft, &fail)?;
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}

/// Centred under its point.
fn below() -> plotters::style::text_anchor::Pos {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    Pos::new(HPos::Center, VPos::Top)
}

/// Figures 5 and 6.
pub fn positions(results: &Results) -> Result<Option<String>, ReportError> {
    let fail = failed("figure5");
    let path = |texts: &Texts| -> Points {
        let counts = texts.copying.as_ref().map(|c| c.span_positions.as_slice()).unwrap_or_default();
        let parts = counts.len().max(1) as f64;
        let middle = |i: usize| 100.0 * (i as f64 + 0.5) / parts;
        counts.iter().enumerate().map(|(i, n)| (middle(i), 100.0 * *n as f64 / texts.n.max(1) as f64)).collect()
    };
    // Lead-3 is from the start by definition, and would press all others flat.
    let models = series(results).into_iter().filter(|s| s.texts.writer != Writer::Lead3);
    let all: Vec<(Series<'_>, Points)> = models.map(|s| (path(s.texts), s)).map(|(points, s)| (s, points)).collect();
    if all.iter().all(|(_, points)| points.iter().all(|p| p.1 == 0.0)) {
        return Ok(None);
    }
    let y = span(all.iter().flat_map(|(_, points)| points.iter().map(|p| p.1)).chain([0.0]));
    let mut svg = String::new();
    {
        let area = canvas(&mut svg, &fail)?;
        let title = results.titled("Where summaries copy from");
        let labels = (title.as_str(), "place in the source (% of its words)", "copied spans per 100 summaries");
        let mut chart = chart(&area, labels, 0.0..100.0, 0.0..y.end, &fail)?;
        for (s, points) in all {
            line(&mut chart, points, s.color.stroke_width(3), Some(s.name), &fail)?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight, &fail)?;
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}
