//! Comparisons as text, Markdown and CSV.

use super::super::formats::{csv_line, in_columns, markdown_line};
use super::super::tables::show;
use super::{ComparedPair, MetricDifference};

const HEAD: [&str; 9] = ["run", "metric", "A", "B", "B - A", "95% interval", "over", "p", "verdict"];

fn cells(m: &MetricDifference) -> Vec<String> {
    let interval = match (m.low, m.high) {
        (Some(_), Some(_)) => format!("{} to {}", show(m.low), show(m.high)),
        _ => "–".to_owned(),
    };
    let p = m.p.map_or_else(|| "–".to_owned(), |p| format!("{p:.3}"));
    let over = match m.over.as_str() {
        "seeds" => format!("{} and {} seeds", m.seeds_a, m.seeds_b),
        over => over.to_owned(),
    };
    let numbers = [m.a, m.b, m.difference].map(show);
    let words = [m.run.clone(), m.metric.clone()];
    words.into_iter().chain(numbers).chain([interval, over, p, m.verdict.clone()]).collect()
}

pub fn text(pair: &ComparedPair) -> String {
    let mut out = format!("A: {}\nB: {}\n\n", pair.a, pair.b);
    out += if pair.spec.is_empty() { "The specs are the same.\n" } else { "Spec differences:\n" };
    for d in &pair.spec {
        let word = |v: &Option<String>| v.clone().unwrap_or_else(|| "(not set)".to_owned());
        out += &format!("  {}: {} -> {}\n", d.key, word(&d.a), word(&d.b));
    }
    let rows =
        std::iter::once(HEAD.map(str::to_owned).to_vec()).chain(pair.metrics.iter().map(cells)).collect::<Vec<_>>();
    out.push('\n');
    out += &in_columns(&rows);
    for note in &pair.notes {
        out += &format!("note: {note}\n");
    }
    out
}

pub fn markdown(pair: &ComparedPair) -> String {
    let mut out = format!("A: `{}`, B: `{}`\n\n", pair.a, pair.b);
    if pair.spec.is_empty() {
        out += "The specs are the same.\n\n";
    } else {
        out += "| spec | A | B |\n| --- | --- | --- |\n";
        for d in &pair.spec {
            out += &markdown_line(&[d.key.clone(), d.a.clone().unwrap_or_default(), d.b.clone().unwrap_or_default()]);
        }
        out.push('\n');
    }
    out += &markdown_line(&HEAD.map(str::to_owned));
    out += &format!("|{}\n", " --- |".repeat(HEAD.len()));
    out.extend(pair.metrics.iter().map(|m| markdown_line(&cells(m))));
    out.push('\n');
    out.extend(pair.notes.iter().map(|note| format!("- {note}\n")));
    out
}

/// How verdicts are found, and what they come to.
pub fn closing(pairs: &[ComparedPair], tolerance: f64) -> String {
    let worse: Vec<String> = pairs
        .iter()
        .flat_map(|pair| pair.metrics.iter().filter(|m| m.verdict == "worse").map(move |m| (pair, m)))
        .map(|(pair, m)| match pairs.len() {
            1 => format!("{} of {}", m.metric, m.run),
            _ => format!("{} of {} in {}", m.metric, m.run, pair.b),
        })
        .collect();
    let found = match worse.len() {
        0 => "Nothing is worse.".to_owned(),
        1 => format!("One metric is worse: {}.", worse[0]),
        n => format!("{n} metrics are worse: {}.", worse.join(", ")),
    };
    format!(
        "A change counts where its 95% interval leaves out 0 and it is larger than the tolerance, {tolerance} in the metric's own \
         unit: better or worse, or changed where no direction is good; else same. KL is better nearer to its target. {found}"
    )
}

pub fn csv(pairs: &[ComparedPair]) -> String {
    let mut out = "a,b,kind,run,metric,value_a,value_b,difference,low,high,p,over,verdict\r\n".to_owned();
    let mut line = |cells: Vec<String>| out += &csv_line(&cells);
    for p in pairs {
        let start = |kind: &str, run: &str, metric: &str| {
            vec![p.a.clone(), p.b.clone(), kind.to_owned(), run.to_owned(), metric.to_owned()]
        };
        for d in &p.spec {
            let values = [d.a.clone().unwrap_or_default(), d.b.clone().unwrap_or_default()];
            let rest = std::iter::repeat_n(String::new(), 6);
            line(start("spec", "", &d.key).into_iter().chain(values).chain(rest).collect());
        }
        for m in &p.metrics {
            let numbers =
                [m.a, m.b, m.difference, m.low, m.high, m.p].map(|v| v.map_or_else(String::new, |v| v.to_string()));
            line(
                start("metric", &m.run, &m.metric)
                    .into_iter()
                    .chain(numbers)
                    .chain([m.over.clone(), m.verdict.clone()])
                    .collect(),
            );
        }
    }
    out
}
