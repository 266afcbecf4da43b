//! The seeds of one experiment: every metric's mean over seeds with its interval, which is what one run at one seed
//! cannot say.

use super::super::formats::{Format, csv_line, in_columns, markdown_line};
use super::super::tables::show;
use super::metrics::measured;
use super::{Side, evaluated};
use crate::metric::interval::mean_interval;
use schemars::JsonSchema;
use serde::Serialize;

/// One metric of one run over seeds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct OverSeeds {
    pub run: String,
    pub metric: String,
    pub mean: f64,
    /// 95% interval of the mean by Student's t.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// The smallest and the largest seed's value.
    pub smallest: f64,
    pub largest: f64,
    pub seeds: usize,
}

/// Directories that are one experiment at several seeds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Summary")]
pub struct SeedsSummary {
    pub dirs: Vec<String>,
    pub metrics: Vec<OverSeeds>,
    pub notes: Vec<String>,
}

/// Metrics that all seeds have, of the runs of the first.
pub fn summary(group: &[&Side]) -> SeedsSummary {
    let mut notes = Vec::new();
    let mut metrics = Vec::new();
    for run in group.first().map(|side| side.results.runs.as_slice()).unwrap_or_default() {
        let all: Vec<_> = evaluated(&run.name, group, &mut notes).into_iter().map(measured).collect();
        for metric in all.first().into_iter().flatten() {
            let values: Vec<f64> = all
                .iter()
                .filter_map(|one| one.iter().find(|m| m.metric == metric.metric).map(|m| m.value))
                .filter(|value| value.is_finite())
                .collect();
            if values.len() < all.len() || values.is_empty() {
                continue;
            }
            let (mean, low, high) = mean_interval(&values);
            let known = |v: f64| v.is_finite().then_some(v);
            metrics.push(OverSeeds {
                run: run.name.clone(),
                metric: metric.metric.clone(),
                mean,
                low: known(low),
                high: known(high),
                smallest: values.iter().copied().fold(f64::INFINITY, f64::min),
                largest: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                seeds: values.len(),
            });
        }
    }
    SeedsSummary { dirs: group.iter().map(|side| side.dir.display().to_string()).collect(), metrics, notes }
}

const HEAD: [&str; 7] = ["run", "metric", "mean", "95% interval", "smallest", "largest", "seeds"];

fn cells(m: &OverSeeds) -> Vec<String> {
    let interval = match (m.low, m.high) {
        (Some(_), Some(_)) => format!("{} to {}", show(m.low), show(m.high)),
        _ => "–".to_owned(),
    };
    let numbers = [m.smallest, m.largest].map(|v| show(Some(v)));
    let [smallest, largest] = numbers;
    vec![m.run.clone(), m.metric.clone(), show(Some(m.mean)), interval, smallest, largest, m.seeds.to_string()]
}

/// The summary as text or Markdown.
pub fn write(summary: &SeedsSummary, format: Format) -> String {
    let head = HEAD.map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = summary.metrics.iter().map(cells).collect();
    let notes = |mark: &str| summary.notes.iter().map(|note| format!("{mark}{note}\n")).collect::<String>();
    match format {
        Format::Csv => std::iter::once(head).chain(rows).map(|row| csv_line(&row)).collect(),
        Format::Markdown => {
            let rule = format!("|{}\n", " --- |".repeat(HEAD.len()));
            markdown_line(&head)
                + &rule
                + &rows.iter().map(|row| markdown_line(row)).collect::<String>()
                + &notes("\n- ")
        }
        _ => {
            let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
            format!(
                "One experiment at {} seeds: {}\n\n{}{}The interval is of the mean over seeds, by Student's t.\n",
                summary.dirs.len(),
                summary.dirs.join(", "),
                in_columns(&rows),
                notes("note: ")
            )
        }
    }
}
