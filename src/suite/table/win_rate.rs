//! Tables 1 and 5 and figure 4: how often readers prefer one model's texts to another's.

use super::{Measured, absent, described, made};
use crate::metric::interval::{mean, wilson};
use crate::metric::preference::{WinRate, Winner, win_rate};
use crate::results::{Row, Table};
use crate::suite::asked::comparison::{Compared, Decided};
use crate::suite::asked::question_id;
use crate::suite::paper::{PaperValue, paper};
use crate::suite::results::SuiteResults;
use crate::suite::types::{Makes, MemberComparison};
use crate::suite::verdict::{Middle, Ours};

const EVEN: Middle<'_> = Middle { ours: 50.0, paper: 50.0, name: "50%" };

pub fn build(results: &SuiteResults) -> Vec<Table> {
    let makes = results.suite.makes;
    let title = match makes {
        Makes::Table1StylePreference => "Table 1: preference, stylistic continuation",
        Makes::Figure4WinRateByLabels => "Figure 4: preference by number of offline labels",
        _ => "Table 5: preference, summarization",
    };
    preferences(results, makes.word(), &format!("{title}, % for the first-named"))
}

/// All comparisons of a suite, and what is behind them.
pub fn preferences(results: &SuiteResults, id: &str, title: &str) -> Vec<Table> {
    let (mut rates, mut details) = (Vec::new(), Vec::new());
    for comparison in &results.suite.comparisons {
        let found: Vec<&Compared> = results
            .compared
            .iter()
            .filter(|c| c.a == comparison.a && c.b == comparison.b && !c.decided.is_empty())
            .collect();
        let names = Names::of(results, comparison, found.first().copied());
        if found.is_empty() {
            let why = why(results, comparison);
            rates.push(absent(&names.row(), &names.task, "win_rate", names.paper(), &why));
            continue;
        }
        rates.push(rate(&names, &found));
        details.extend(detail(&names, &found));
    }
    let mut tables = vec![made(id, title, "task", rates)];
    if !details.is_empty() {
        tables.push(made("preference", "Preference in detail: labelers' agreement, copying, ties", "task", details));
    }
    tables
}

/// A comparison in the paper's words.
struct Names {
    /// Of the table in which the paper has the comparison.
    id: &'static str,
    task: String,
    a: String,
    b: String,
}

impl Names {
    fn of(results: &SuiteResults, comparison: &MemberComparison, found: Option<&Compared>) -> Self {
        let member = results.members.iter().find(|m| m.name == comparison.a || m.name == comparison.b);
        let task = comparison.task.clone().or_else(|| found.map(|c| c.task.clone())).or_else(|| member?.task());
        Self {
            id: results.suite.makes.word(),
            task: task.unwrap_or_else(|| "–".into()),
            a: results.label(&comparison.a),
            b: results.label(&comparison.b),
        }
    }
    fn row(&self) -> String {
        format!("{} against {}", self.a, self.b)
    }
    fn paper(&self) -> Option<PaperValue> {
        paper()?.win_rate(self.id, &self.task, &self.a, &self.b)
    }
}

/// What keeps a comparison from having a value.
fn why(results: &SuiteResults, comparison: &MemberComparison) -> String {
    let pieces: Vec<String> = [&comparison.a, &comparison.b]
        .into_iter()
        .filter_map(|name| Some(format!("{name}: {}", results.why_missing(name)?)))
        .collect();
    if !pieces.is_empty() {
        return pieces.join("; ");
    }
    if let Some(c) = results.compared.iter().find(|c| c.a == comparison.a && c.b == comparison.b) {
        return format!("{} of {} items wait for answers", c.waiting, c.items);
    }
    let ids: Vec<String> =
        results.suite.seeds.iter().map(|seed| question_id(&[&comparison.a, &comparison.b], *seed)).collect();
    let questions = results.manifest.iter().flat_map(|m| &m.questions).filter(|q| ids.contains(&q.id));
    let messages: Vec<&str> = questions.filter_map(|q| q.message.as_deref()).collect();
    if messages.is_empty() { "not asked yet".into() } else { messages.join("; ") }
}

fn items<'c>(found: &'c [&Compared]) -> impl Iterator<Item = (&'c str, Winner)> {
    found.iter().flat_map(|c| c.decided.iter().map(|d| (d.context.as_str(), d.winner)))
}

/// The interval is the wider of Wilson's and the bootstrap's: items of one context at several seeds are not
/// independent.
fn rate(names: &Names, found: &[&Compared]) -> Row {
    let WinRate { a, b, ties, share, wilson, bootstrap } = win_rate(items(found), 0);
    let (low, high) = if bootstrap.1 - bootstrap.0 > wilson.1 - wilson.0 { bootstrap } else { wilson };
    let ours = Ours { value: 100.0 * share, low: 100.0 * low, high: 100.0 * high };
    let measured = Measured { ours, n: a + b, seeds: found.iter().map(|c| c.seed).collect() };
    let mut row = measured.row(&names.row(), &names.task, "win_rate", names.paper(), Some(EVEN));
    let waiting: u64 = found.iter().map(|c| c.waiting).sum();
    for (count, words) in [(ties, "ties, not counted"), (waiting, "items wait for answers")] {
        if count > 0 {
            row.verdict = format!("{}; {count} {words}", row.verdict);
        }
    }
    row
}

/// What is behind a comparison's win rate.
struct Detail<'a> {
    names: &'a Names,
    found: &'a [&'a Compared],
    seeds: Vec<u64>,
    /// Items that are decided.
    n: u64,
}

fn detail(names: &Names, found: &[&Compared]) -> Vec<Row> {
    let seeds = found.iter().map(|c| c.seed).collect();
    let detail = Detail { names, found, seeds, n: found.iter().map(|c| c.decided.len() as u64).sum() };
    let mut rows = detail.intervals();
    rows.extend(detail.agreement());
    rows.extend(detail.copied());
    rows.extend(detail.more_copied_wins());
    rows.extend(detail.no_single_text());
    rows
}

impl Detail<'_> {
    fn row(&self, what: &str, metric: &str, (value, low, high): (f64, f64, f64), n: u64, words: &str) -> Row {
        let measured = Measured { ours: Ours { value, low, high }, n, seeds: self.seeds.clone() };
        described(&format!("{}: {what}", self.names.row()), &self.names.task, metric, &measured, words)
    }

    /// A value without an interval, over all items.
    fn plain(&self, what: &str, metric: &str, value: f64, words: &str) -> Row {
        self.row(what, metric, (value, f64::NAN, f64::NAN), self.n, words)
    }

    /// Both intervals of the win rate, of which its row has the wider.
    fn intervals(&self) -> Vec<Row> {
        let rate = win_rate(items(self.found), 0);
        let row = |what: &str, metric: &str, (low, high): (f64, f64)| {
            self.row(what, metric, (100.0 * rate.share, 100.0 * low, 100.0 * high), rate.a + rate.b, "")
        };
        vec![
            row("interval of items (Wilson)", "win_rate_wilson", rate.wilson),
            row("interval of contexts (bootstrap)", "win_rate_bootstrap", rate.bootstrap),
        ]
    }

    /// How far labelers agree with one another.
    fn agreement(&self) -> Vec<Row> {
        let averages = |pick: &dyn Fn(&Compared) -> Option<f64>| {
            let values: Vec<f64> = self.found.iter().filter_map(|c| pick(c)).collect();
            (!values.is_empty()).then(|| mean(&values))
        };
        let agreement = averages(&|c| c.agreement)
            .map(|share| self.plain("pairs of answers that agree, %", "agreement", share, "chance: about 50%"));
        let kappa = averages(&|c| c.kappa).map(|kappa| self.plain("Fleiss' kappa", "kappa", kappa, "0: chance"));
        agreement.into_iter().chain(kappa).collect()
    }

    /// How much of each model's texts is copied from the query.
    fn copied(&self) -> [Row; 2] {
        let row = |label: &str, metric: &str, copied: &dyn Fn(&Decided) -> f64| {
            let copies: Vec<f64> = self.found.iter().flat_map(|c| &c.decided).map(copied).collect();
            self.plain(&format!("4-grams of {label} that the query has, %"), metric, 100.0 * mean(&copies), "")
        };
        [row(&self.names.a, "copied_a", &|d| d.copied_a), row(&self.names.b, "copied_b", &|d| d.copied_b)]
    }

    /// Whether readers prefer the text that copies more; none where no two texts differ in that.
    fn more_copied_wins(&self) -> Option<Row> {
        let (wins, differ) =
            self.found.iter().fold((0, 0), |sum, c| (sum.0 + c.more_copied_wins.count, sum.1 + c.more_copied_wins.n));
        if differ == 0 {
            return None;
        }
        let (low, high) = wilson(wins, differ);
        let words = if low > 0.5 {
            "copies win"
        } else if high < 0.5 {
            "copies lose"
        } else {
            "not told apart from 50%"
        };
        let value = (100.0 * wins as f64 / differ as f64, 100.0 * low, 100.0 * high);
        Some(self.row("the text that copies more wins, %", "more_copied_wins", value, differ, words))
    }

    /// Items whose answers are for no one text, where more than two were compared.
    fn no_single_text(&self) -> Option<Row> {
        let scattered: u64 = self.found.iter().map(|c| c.no_single_text).sum();
        let words = "counted by the models of the chosen texts";
        let what = "items without a majority for one text";
        self.found.iter().any(|c| c.ways > 2).then(|| self.plain(what, "no_single_text", scattered as f64, words))
    }
}
