//! Tables 1 and 5 and figure 4: how often readers prefer one model's texts to another's.

use super::{Measured, absent, described, made};
use crate::metric::interval::{mean, wilson};
use crate::metric::preference::{WinRate, Winner, win_rate};
use crate::results::{Row, Table};
use crate::suite::asked::comparison::Compared;
use crate::suite::asked::question_id;
use crate::suite::paper::{Value, paper};
use crate::suite::results::SuiteResults;
use crate::suite::types::{Comparison, Makes};
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
    fn of(results: &SuiteResults, comparison: &Comparison, found: Option<&Compared>) -> Self {
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
    fn paper(&self) -> Option<Value> {
        paper()?.win_rate(self.id, &self.task, &self.a, &self.b)
    }
}

/// What keeps a comparison from having a value.
fn why(results: &SuiteResults, comparison: &Comparison) -> String {
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

/// The interval is the wider of Wilson's and the bootstrap's: items of one context at several seeds are not independent.
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

fn detail(names: &Names, found: &[&Compared]) -> Vec<Row> {
    let seeds: Vec<u64> = found.iter().map(|c| c.seed).collect();
    let n: u64 = found.iter().map(|c| c.decided.len() as u64).sum();
    let of =
        |value: f64, low: f64, high: f64, n: u64| Measured { ours: Ours { value, low, high }, n, seeds: seeds.clone() };
    let name = |what: &str| format!("{}: {what}", names.row());
    let mut rows = Vec::new();
    let rate = win_rate(items(found), 0);
    let percent = |(low, high): (f64, f64)| (100.0 * low, 100.0 * high);
    for (word, metric, (low, high)) in [
        ("interval of items (Wilson)", "win_rate_wilson", percent(rate.wilson)),
        ("interval of contexts (bootstrap)", "win_rate_bootstrap", percent(rate.bootstrap)),
    ] {
        rows.push(described(&name(word), &names.task, metric, &of(100.0 * rate.share, low, high, rate.a + rate.b), ""));
    }
    let averages = |pick: &dyn Fn(&Compared) -> Option<f64>| {
        let values: Vec<f64> = found.iter().filter_map(|c| pick(c)).collect();
        (!values.is_empty()).then(|| mean(&values))
    };
    if let Some(agreement) = averages(&|c| c.agreement) {
        let measured = of(agreement, f64::NAN, f64::NAN, n);
        rows.push(described(
            &name("pairs of answers that agree, %"),
            &names.task,
            "agreement",
            &measured,
            "chance: about 50%",
        ));
    }
    if let Some(kappa) = averages(&|c| c.kappa) {
        let measured = of(kappa, f64::NAN, f64::NAN, n);
        rows.push(described(&name("Fleiss' kappa"), &names.task, "kappa", &measured, "0: chance"));
    }
    for (side, label) in [(0, &names.a), (1, &names.b)] {
        let copies = found.iter().flat_map(|c| &c.decided).map(|d| if side == 0 { d.copied_a } else { d.copied_b });
        let copies: Vec<f64> = copies.collect();
        let measured = of(100.0 * mean(&copies), f64::NAN, f64::NAN, n);
        let word = format!("4-grams of {label} that the query has, %");
        rows.push(described(&name(&word), &names.task, if side == 0 { "copied_a" } else { "copied_b" }, &measured, ""));
    }
    let (wins, differ) =
        found.iter().fold((0, 0), |sum, c| (sum.0 + c.more_copied_wins.count, sum.1 + c.more_copied_wins.n));
    if differ > 0 {
        let (low, high) = wilson(wins, differ);
        let measured = of(100.0 * wins as f64 / differ as f64, 100.0 * low, 100.0 * high, differ);
        let words = if low > 0.5 {
            "copies win"
        } else if high < 0.5 {
            "copies lose"
        } else {
            "not told apart from 50%"
        };
        rows.push(described(
            &name("the text that copies more wins, %"),
            &names.task,
            "more_copied_wins",
            &measured,
            words,
        ));
    }
    let scattered: u64 = found.iter().map(|c| c.no_single_text).sum();
    if found.iter().any(|c| c.ways > 2) {
        let measured = of(scattered as f64, f64::NAN, f64::NAN, n);
        rows.push(described(
            &name("items without a majority for one text"),
            &names.task,
            "no_single_text",
            &measured,
            "counted by the models of the chosen texts",
        ));
    }
    rows
}
