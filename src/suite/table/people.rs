//! Tables 8 and 9: what only people can say, or how far they agree.

use super::{Measured, absent, described, made};
use crate::metric::interval::{mean_interval, wilson};
use crate::results::{Row, Table};
use crate::suite::asked::accuracy;
use crate::suite::asked::agreement::Agreed;
use crate::suite::asking::ASKED;
use crate::suite::paper::paper;
use crate::suite::results::SuiteResults;
use crate::suite::verdict::{Middle, Ours};

/// Table 8. Without judges a row says what they have to do.
pub fn accuracy(results: &SuiteResults) -> Vec<Table> {
    let dir = results.dir.join(ASKED);
    let (counts, broken) = match accuracy::read(&dir) {
        Ok(counts) => (counts, None),
        Err(error) => (Default::default(), Some(error.to_string())),
    };
    let first: Vec<u64> = results.suite.seeds.first().copied().into_iter().collect();
    let mut rows = Vec::new();
    for task in results.tasks() {
        let members = results.of_task(&task).into_iter().map(|name| (name, results.label(name)));
        for (writer, label) in std::iter::once(("zero-shot", "zero-shot".to_string())).chain(members) {
            let recorded = paper().and_then(|p| p.count(&task, &label)).map(|(value, _)| value);
            let name = format!("{label}: accurate summaries of {}", results.suite.preference.judged);
            match counts.get(&(task.clone(), writer.to_string())) {
                Some(judged) if judged.judged > 0 => rows.push(counted(&name, &task, judged, &first, recorded)),
                _ => {
                    let ask = format!(
                        "a human judgement: fill the column \"accurate\" of {}",
                        dir.join(accuracy::FORM).display()
                    );
                    let missing = results.why_missing(writer);
                    let why = broken.clone().or(missing).unwrap_or(ask);
                    rows.push(absent(&name, &task, "accurate", recorded, &why));
                }
            }
        }
    }
    let known: Vec<&str> = results.tasks().iter().flat_map(|task| results.of_task(task)).collect();
    for name in results.suite.members.names().filter(|name| !known.contains(name)) {
        let why = results.why_missing(name).unwrap_or_default();
        rows.push(absent(&results.label(name), "–", "accurate", None, &why));
    }
    vec![made(results.suite.makes.word(), "Table 8: accurate summaries, judged by people", "task", rows)]
}

fn counted(
    name: &str,
    task: &str,
    judged: &accuracy::Judged,
    seeds: &[u64],
    paper: Option<crate::suite::paper::PaperValue>,
) -> Row {
    let scale = judged.of as f64;
    let (low, high) = wilson(judged.accurate, judged.judged);
    let value = scale * judged.accurate as f64 / judged.judged as f64;
    let ours = Ours { value, low: scale * low, high: scale * high };
    let measured = Measured { ours, n: judged.judged, seeds: seeds.to_vec() };
    let mut row = measured.row(name, task, "accurate", paper, None);
    if judged.judged < judged.of {
        row.verdict = format!("{}; {} of {} are not judged yet", row.verdict, judged.of - judged.judged, judged.of);
    }
    row
}

/// Table 9.
pub fn agreement(results: &SuiteResults) -> Vec<Table> {
    let mut rows = Vec::new();
    for name in results.suite.members.names() {
        let found: Vec<&Agreed> = results.agreed.iter().filter(|a| a.member == name).collect();
        let task =
            found.first().map(|a| a.task.clone()).or_else(|| results.members.iter().find(|m| m.name == name)?.task());
        let task = task.unwrap_or_else(|| name.into());
        for pair in ["labeler-labeler", "author-labeler", "author-author"] {
            let recorded = paper().and_then(|p| p.agreement(&task, pair));
            let row_name = format!("{pair}: pairs of answers that agree, %");
            let of_pair = || found.iter().filter_map(|a| Some((a, a.pairs.iter().find(|p| p.pair == pair)?)));
            let counts: Vec<(u64, u64)> = of_pair().flat_map(|(_, p)| p.counts.clone()).collect();
            if counts.is_empty() {
                let why = results.why_missing(name).unwrap_or_else(|| reason(pair, &found));
                rows.push(absent(&row_name, &task, pair, recorded, &why));
                continue;
            }
            let seeds: Vec<u64> = found.iter().map(|a| a.seed).collect();
            let (value, low, high) = crate::metric::preference::pair_agreement(&counts, 0);
            let ours = Ours { value, low, high };
            let measured = Measured { ours, n: counts.len() as u64, seeds: seeds.clone() };
            let chance = Middle { ours: 25.0, paper: 25.0, name: "chance (25%)" };
            let mut row = measured.row(&row_name, &task, pair, recorded, Some(chance));
            let waiting: u64 = found.iter().map(|a| a.waiting).sum();
            if waiting > 0 {
                row.verdict = format!("{}; {waiting} items wait for answers", row.verdict);
            }
            rows.push(row);
            let kappas: Vec<f64> = of_pair().filter_map(|(_, p)| p.kappa).collect();
            if !kappas.is_empty() {
                let (value, low, high) = mean_interval(&kappas);
                let measured = Measured { ours: Ours { value, low, high }, n: counts.len() as u64, seeds };
                rows.push(described(
                    &format!("{pair}: Fleiss' kappa"),
                    &task,
                    &format!("{pair}_kappa"),
                    &measured,
                    "0: chance",
                ));
            }
        }
    }
    vec![made(results.suite.makes.word(), "Table 9: agreement on 4-way comparisons of samples of ρ", "task", rows)]
}

/// Why there are no pairs.
fn reason(pair: &str, found: &[&Agreed]) -> String {
    match (found.first(), pair) {
        (None, _) => "not asked yet".into(),
        (Some(a), "labeler-labeler") => format!("{} of {} items wait for answers", a.waiting, a.items),
        (Some(_), _) => "no answers of authors; name them in preference.authors".into(),
    }
}
