//! The paper's tables with ours: every row has our value, its interval, n, seeds, the paper's value or that none is
//! recorded, and a verdict; what is missing has a row that says why.

pub mod learners;
pub mod overoptimisation;
mod people;
mod released;
mod scores;
mod texts;
mod win_rate;

pub use released::PREFERENCE as RELEASED_PREFERENCE;

use super::paper::{Grade, PaperValue};
use super::results::SuiteResults;
use super::setting::NOT_THE_PAPERS;
use super::types::Makes;
use super::verdict::{Middle, Ours, verdict};
use crate::metric::interval::mean_interval;
use crate::report::tables::{row, table};
use crate::results::{NOT_RECORDED, Row, SECONDARY, Table};

/// The tables of a suite, the one it is named for first.
pub fn build(results: &SuiteResults) -> Vec<Table> {
    let mut tables = match results.suite.makes {
        Makes::Table1StylePreference | Makes::Table5SummaryPreference | Makes::Figure4WinRateByLabels => {
            win_rate::build(results)
        }
        Makes::Table4Rouge => texts::rouge(results),
        Makes::Table8Accuracy => people::accuracy(results),
        Makes::Table9Agreement => people::agreement(results),
        Makes::Table10NoKl => scores::without_penalty(results),
        Makes::Figure2MockCurves | Makes::Figure3Frontier => scores::scores(results),
        Makes::Figure5Novelty => texts::novelty(results),
        Makes::Table7CopiedStart => texts::copied_start(results),
        Makes::Figure6CopiedFrom => texts::copied_from(results),
        Makes::ReleasedModels => released::build(results),
        Makes::Learners => learners::build(results),
        Makes::Overoptimisation => overoptimisation::build(results),
    };
    let unlike = results.unlike_the_paper();
    for table in &mut tables {
        table.title = results.titled(&table.title);
        let asked = table.rows.iter_mut().filter(|row| row.paper.is_some() && row.value.is_some());
        for row in asked.filter(|row| !unlike.is_empty() && row.verdict != NOT_THE_PAPERS) {
            row.verdict = format!("{}; {NOT_THE_PAPERS}", row.verdict);
        }
    }
    tables
}

/// A table with the suites' columns.
fn made(id: &str, title: &str, first: &str, rows: Vec<Row>) -> Table {
    let mut made = table(id, title, rows);
    if let Some(column) = made.columns.first_mut() {
        *column = first.into();
    }
    made
}

/// A number measured at one or more seeds.
struct Measured {
    ours: Ours,
    n: u64,
    seeds: Vec<u64>,
}

impl Measured {
    /// Of one number per seed: the number with its own interval at one seed; at several, their mean with Student's t
    /// interval, which is of the spread between seeds.
    fn over_seeds(found: &[(u64, Ours, u64)]) -> Option<Self> {
        let seeds: Vec<u64> = found.iter().map(|(seed, ..)| *seed).collect();
        let n = found.iter().map(|(_, _, n)| n).sum();
        match found {
            [] => None,
            [(_, ours, _)] => Some(Self { ours: *ours, n, seeds }),
            _ => {
                let values: Vec<f64> = found.iter().map(|(_, ours, _)| ours.value).collect();
                let (value, low, high) = mean_interval(&values);
                Some(Self { ours: Ours { value, low, high }, n, seeds })
            }
        }
    }

    /// `scope` is the first column's word: a task, a member.
    fn row(&self, name: &str, scope: &str, metric: &str, paper: Option<PaperValue>, middle: Option<Middle<'_>>) -> Row {
        let Ours { value, low, high } = self.ours;
        let words = if value.is_finite() { verdict(self.ours, paper, middle) } else { String::new() };
        let mut row = row(name, scope, metric, (value, low, high), self.n, &self.seeds, &words);
        with_paper(&mut row, paper);
        row
    }
}

/// Of curves and points: whether they are the paper's is asked only where they could be.
fn only_at_the_papers_setting(results: &SuiteResults, member: &str, row: &mut Row) {
    if row.paper.is_some() && row.value.is_some() && !results.is_the_papers(member) {
        row.verdict = NOT_THE_PAPERS.into();
    }
}

/// The paper's value, and what it says of its own uncertainty.
fn with_paper(row: &mut Row, paper: Option<PaperValue>) {
    if let Some(paper) = paper {
        row.paper = Some(paper.value);
        let uncertain = paper.plus_minus.map(|reach| format!("the paper's own uncertainty: ± {reach}"));
        let seeds = paper.range.map(|(low, high)| format!("the paper's seeds: {low} to {high}"));
        let secondary = (paper.grade == Grade::B).then(|| SECONDARY.to_string());
        row.paper_note = [uncertain, seeds, secondary].into_iter().flatten().collect::<Vec<_>>().join("; ");
    } else {
        row.paper_note = NOT_RECORDED.into();
    }
}

/// A row of what is not there.
fn absent(name: &str, scope: &str, metric: &str, paper: Option<PaperValue>, why: &str) -> Row {
    let nothing = (f64::NAN, f64::NAN, f64::NAN);
    let mut row = row(name, scope, metric, nothing, 0, &[], &format!("missing: {why}"));
    with_paper(&mut row, paper);
    row
}

/// A row that only describes: no value of the paper is looked for.
fn described(name: &str, scope: &str, metric: &str, measured: &Measured, words: &str) -> Row {
    let Ours { value, low, high } = measured.ours;
    let mut row = row(name, scope, metric, (value, low, high), measured.n, &measured.seeds, words);
    row.paper_note = String::new();
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_seeds_have_the_interval_of_their_spread() {
        let ours = |value| Ours { value, low: value - 9.0, high: value + 9.0 };
        let one = Measured::over_seeds(&[(4, ours(2.0), 10)]).unwrap();
        assert_eq!((one.ours, one.n, one.seeds), (ours(2.0), 10, vec![4]));
        let two = Measured::over_seeds(&[(1, ours(2.0), 10), (2, ours(4.0), 10)]).unwrap();
        // Mean 3, standard error 1, t with one degree of freedom 12.706.
        assert!((two.ours.low - (3.0 - 12.706_204_736)).abs() < 1e-6 && two.n == 20);
        assert!(Measured::over_seeds(&[]).is_none());
    }
}
