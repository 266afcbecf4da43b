//! The authors' released models beside ours: scores of zero-shot, of their policy and of ours under each reward model,
//! KL, length, copying, ROUGE; and which texts readers prefer. The paper has no such table, so no value of it stands
//! here.

use super::{Measured, absent, described, made, win_rate};
use crate::metric::interval::mean_interval;
use crate::results::{Estimate, Row, Table, Texts, Writer};
use crate::suite::asked::scores::ZERO_SHOT;
use crate::suite::results::{MemberResults, SuiteResults};
use crate::suite::verdict::Ours;

/// The table of comparisons.
pub const PREFERENCE: &str = "released_preference";

/// The scores first, then preference in detail.
pub fn build(results: &SuiteResults) -> Vec<Table> {
    let mut rows = Vec::new();
    for task in results.tasks() {
        rows.extend(scores(results, &task));
        rows.extend(of_members(results, &task));
    }
    let title = "The authors' released models and ours: scores under each reward model, KL and texts";
    let mut tables = vec![made(results.suite.makes.word(), title, "task", rows)];
    tables.extend(win_rate::preferences(results, PREFERENCE, "Preference, % for the first-named"));
    tables
}

/// Every writer under every reward model, reward model by reward model.
fn scores(results: &SuiteResults, task: &str) -> Vec<Row> {
    let members = results.of_task(task);
    let writers: Vec<&str> = std::iter::once(ZERO_SHOT).chain(members.iter().copied()).collect();
    let mut rows = Vec::new();
    for reward in &members {
        for writer in &writers {
            let name = format!("{}: score under r of {}", results.label(writer), results.label(reward));
            let found: Vec<(u64, Ours, u64)> = results
                .scored
                .iter()
                .filter(|scored| scored.task == task)
                .filter_map(|scored| {
                    let cell = scored.cells.iter().find(|cell| cell.reward == *reward && cell.writer == *writer)?;
                    Some((scored.seed, Ours { value: cell.mean, low: cell.low, high: cell.high }, cell.n))
                })
                .collect();
            let metric = format!("score_under_{reward}");
            rows.push(match Measured::over_seeds(&found) {
                Some(measured) => described(&name, task, &metric, &measured, ""),
                None => unpaired(absent(&name, task, &metric, None, &why(results, task, reward))),
            });
        }
    }
    rows
}

/// The paper has nothing to set beside it, which is no gap of what is recorded.
fn unpaired(row: Row) -> Row {
    Row { paper_note: String::new(), ..row }
}

fn why(results: &SuiteResults, task: &str, member: &str) -> String {
    let questions = results.manifest.iter().flat_map(|m| &m.questions);
    let said = questions.filter(|q| q.id.starts_with(&format!("{task}-vs-scores"))).find_map(|q| q.message.clone());
    results
        .why_missing(member)
        .or(said)
        .unwrap_or_else(|| "the member has no reward model, or nothing was scored".into())
}

/// What is taken from one writer's measures, with what it is called.
type Pick = (&'static str, &'static str, fn(&Texts) -> Option<(Estimate, f64)>);

const TEXTS: [Pick; 6] = [
    ("tokens per response", "tokens", |t| Some((t.tokens?, 1.0))),
    ("words per response", "words", |t| Some((t.words?, 1.0))),
    ("repeated 4-grams, %", "repeated_4grams", |t| Some((t.repeated4?, 100.0))),
    ("words in copied spans of 4 or more, %", "copied_words", |t| Some((t.copying.as_ref()?.copied?, 100.0))),
    ("new 4-grams, %", "novel_4grams", |t| Some((t.novelty.as_ref()?.ngram4?, 100.0))),
    ("mean of ROUGE-1, -2, -L", "rouge_mean", |t| Some((t.rouge.as_ref()?.mean, 100.0))),
];

/// KL and texts, from the members' own evaluations.
fn of_members(results: &SuiteResults, task: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for member in results.of_task(task) {
        let label = results.label(member);
        let kl = over(results, member, &|m| {
            let e = m.evaluation()?;
            let (value, low, high) = mean_interval(&e.contexts.iter().map(|c| c.kl).collect::<Vec<_>>());
            Some((Ours { value, low, high }, e.n as u64))
        });
        let name = format!("{label}: KL(π, ρ) per response, nats");
        rows.push(match kl {
            Some(measured) => described(&name, task, "kl", &measured, ""),
            None => unpaired(absent(&name, task, "kl", None, &why(results, task, member))),
        });
    }
    for (what, metric, pick) in TEXTS {
        let first =
            results.of_task(task).into_iter().find_map(|member| texts(results, member, Writer::Reference, pick));
        rows.extend(first.map(|m| described(&format!("{ZERO_SHOT}: {what}"), task, metric, &m, "")));
        for member in results.of_task(task) {
            let found = texts(results, member, Writer::Policy, pick);
            let name = format!("{}: {what}", results.label(member));
            rows.extend(found.map(|m| described(&name, task, metric, &m, "")));
        }
    }
    rows
}

/// A measure of a member at all its seeds.
fn over(results: &SuiteResults, member: &str, of: &dyn Fn(&MemberResults) -> Option<(Ours, u64)>) -> Option<Measured> {
    let one = |m: &MemberResults| of(m).map(|(ours, n)| (m.seed, ours, n));
    Measured::over_seeds(&results.evaluated(member).filter_map(one).collect::<Vec<_>>())
}

fn texts(
    results: &SuiteResults,
    member: &str,
    writer: Writer,
    pick: fn(&Texts) -> Option<(Estimate, f64)>,
) -> Option<Measured> {
    over(results, member, &|m| {
        let (e, scale) = pick(m.texts(writer)?)?;
        let bound = |bound: Option<f64>| bound.map_or(f64::NAN, |bound| scale * bound);
        Some((Ours { value: scale * e.mean, low: bound(e.low), high: bound(e.high) }, e.n))
    })
}
