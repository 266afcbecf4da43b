//! The table of rounds: how well r agreed with labels each time it was trained (batched and online collection).

use super::tables::{row, table};
use crate::metric::interval::wilson;
use crate::results::{Accuracy, Results, RoundReport, Row, Table};

/// None where no run has rounds.
pub fn build(results: &Results, seeds: &[u64]) -> Option<Table> {
    let of = |run: &crate::results::Run| -> Vec<Row> {
        let rounds = run.rounds.iter().flat_map(|rounds| &rounds.rounds);
        rounds.flat_map(|round| rows(&run.name, round, seeds)).collect()
    };
    let rows: Vec<Row> = results.runs.iter().flat_map(of).collect();
    (!rows.is_empty()).then(|| table("rounds", "Rounds: labels and reward models", rows))
}

fn rows(run: &str, round: &RoundReport, seeds: &[u64]) -> Vec<Row> {
    let share = |name: String, metric: &str, count: u64, n: u64, verdict: &str| {
        let (low, high) = wilson(count, n);
        let value = (count as f64 / n.max(1) as f64, low, high);
        row(&name, run, &format!("round_{}_{metric}", round.round), value, n, seeds, verdict)
    };
    let agreement = |what: &str, metric: &str, a: Option<Accuracy>| {
        let a = a.filter(|a| a.n > 0)?;
        let name = format!("round {}, {} labels: {what}", round.round, round.labels);
        Some(share(name, metric, a.correct, a.n, &format!("chance {:.0}%", 100.0 * a.chance)))
    };
    let wins = (round.validations > 0).then(|| {
        let name = format!("round {}, {} labels: π preferred to ρ", round.round, round.labels);
        share(name, "win_rate", round.wins, round.validations, "")
    });
    [
        agreement("r agrees with held-out labels", "accuracy", round.accuracy),
        agreement("the r before agrees with the new labels", "accuracy_before", round.accuracy_before),
        wins,
    ]
    .into_iter()
    .flatten()
    .collect()
}
