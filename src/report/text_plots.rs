//! Plots of summaries: novelty as bars (paper figure 5), positions of copied spans as lines (figures 6 and 7).

use plotters::element::Rectangle;
use plotters::prelude::*;

use super::Results;
use super::plots::{GREY, Points, canvas, canvas_below_legend, chart, chart_with, color, failed, legend, line, span};
use crate::results::{Estimate, ResultsError, Texts, Writer};

/// What is drawn of one writer, with its name and colour: grey for what is no model's.
pub(crate) struct Series {
    pub name: String,
    pub color: RGBColor,
    pub writer: Writer,
    /// New words, 2-, 3-, 4-grams and sentences, shares of 0 to 1.
    pub novelty: [Option<Estimate>; 5],
    /// Place in the source (percent), and copied spans that begin there per 100 summaries.
    pub positions: Points,
}

impl Series {
    /// Of one writer's measures.
    pub fn new(name: String, color: RGBColor, texts: &Texts) -> Self {
        let novelty =
            texts.novelty.as_ref().map_or([None; 5], |n| [n.ngram1, n.ngram2, n.ngram3, n.ngram4, n.sentence]);
        let counts = texts.copying.as_ref().map(|c| c.span_positions.as_slice()).unwrap_or_default();
        Self { name, color, writer: texts.writer, novelty, positions: spread(counts, texts.n) }
    }
}

/// Counts of positions over `n` summaries as points of a line.
pub(crate) fn spread(counts: &[u64], n: u64) -> Points {
    let parts = counts.len().max(1) as f64;
    let middle = |i: usize| 100.0 * (i as f64 + 0.5) / parts;
    counts.iter().enumerate().map(|(i, count)| (middle(i), 100.0 * *count as f64 / n.max(1) as f64)).collect()
}

/// A colour for each writer, in order; models get the palette's.
pub(crate) fn color_of(writer: Writer, models: &mut usize) -> RGBColor {
    match writer {
        Writer::Lead3 => GREY,
        Writer::Summary => RGBColor(170, 170, 170),
        Writer::Reference | Writer::Policy => {
            *models += 1;
            color(*models - 1)
        }
    }
}

/// The writers of all runs; those that runs share, once.
fn series(results: &Results) -> Vec<Series> {
    let mut known: Vec<&Texts> = Vec::new();
    let mut found = Vec::new();
    let mut models = 0;
    for (run, evaluation) in results.evaluations() {
        for texts in evaluation.texts.iter().filter(|t| t.copying.is_some()) {
            if texts.writer != Writer::Policy && known.contains(&texts) {
                continue;
            }
            known.push(texts);
            let name = match texts.writer {
                Writer::Policy => format!("π, {run}"),
                writer => writer.name().to_owned(),
            };
            found.push(Series::new(name, color_of(texts.writer, &mut models), texts));
        }
    }
    found
}

/// Figure 5.
pub fn novelty(results: &Results) -> Result<Option<String>, ResultsError> {
    draw_novelty(&results.titled("What is new in summaries"), &series(results))
}

/// Bars of any writers.
pub(crate) fn draw_novelty(title: &str, all: &[Series]) -> Result<Option<String>, ResultsError> {
    let fail = failed("novelty");
    if all.is_empty() {
        return Ok(None);
    }
    let groups = ["words", "2-grams", "3-grams", "4-grams", "sentences"];
    let mut svg = String::new();
    {
        let names: Vec<(&str, RGBColor)> = all.iter().map(|s| (s.name.as_str(), s.color)).collect();
        let area = canvas_below_legend(&mut svg, title, &names, &fail)?;
        let labels = ("", "", "not in the source (%)");
        let mut chart = chart_with(&area, labels, 0.0..5.0, 0.0..100.0, 0, &fail)?;
        for (index, s) in all.iter().enumerate() {
            let width = 0.84 / all.len() as f64;
            let mut bars = Vec::new();
            let mut whiskers = Vec::new();
            for (group, estimate) in s.novelty.into_iter().enumerate() {
                let Some(e) = estimate else { continue };
                let left = group as f64 + 0.08 + width * index as f64;
                bars.push(Rectangle::new([(left, 0.0), (left + 0.92 * width, 100.0 * e.mean)], s.color.filled()));
                if let (Some(low), Some(high)) = (e.low, e.high) {
                    let middle = left + 0.46 * width;
                    let ends = vec![(middle, 100.0 * low), (middle, 100.0 * high)];
                    whiskers.push(PathElement::new(ends, BLACK.stroke_width(1)));
                }
            }
            chart.draw_series(bars).map_err(|e| fail(&e))?;
            chart.draw_series(whiskers).map_err(|e| fail(&e))?;
        }
        let names = groups.iter().enumerate().map(|(i, name)| {
            let style = ("sans-serif", 18).into_font().color(&BLACK);
            Text::new((*name).to_owned(), (i as f64 + 0.5, -1.5), style.pos(below()))
        });
        chart.draw_series(names).map_err(|e| fail(&e))?;
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}

/// Centred under its point.
fn below() -> plotters::style::text_anchor::Pos {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    Pos::new(HPos::Center, VPos::Top)
}

/// Figures 6 and 7.
pub fn positions(results: &Results) -> Result<Option<String>, ResultsError> {
    draw_positions(&results.titled("Where summaries copy from"), series(results))
}

/// Lines of any writers.
pub(crate) fn draw_positions(title: &str, all: Vec<Series>) -> Result<Option<String>, ResultsError> {
    let fail = failed("copied_from");
    // Lead-3 is from the start by definition, and would press all others flat.
    let all: Vec<Series> = all.into_iter().filter(|s| s.writer != Writer::Lead3).collect();
    if all.iter().all(|s| s.positions.iter().all(|p| p.1 == 0.0)) {
        return Ok(None);
    }
    let y = span(all.iter().flat_map(|s| s.positions.iter().map(|p| p.1)).chain([0.0]));
    let mut svg = String::new();
    {
        let area = canvas(&mut svg, &fail)?;
        let labels = (title, "place in the source (% of its words)", "copied spans per 100 summaries");
        let mut chart = chart(&area, labels, 0.0..100.0, 0.0..y.end, &fail)?;
        for s in all {
            line(&mut chart, s.positions, s.color.stroke_width(3), Some(s.name), &fail)?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight, &fail)?;
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(Some(svg))
}
