//! Which of two models' texts readers prefer (paper section 3, tables 1 and 5): 2-way items show a text of each, 4-way
//! items two of each; the majority of an item's answers decides it. "Humans preferred copies" (section 4.3), so how
//! much each side copies is counted beside.

use super::answers::{Answered, ask};
use super::judges::copied;
use super::writers::{ReadyMember, TextSource};
use super::{Asking, QuestionStanding, input, question_id};
use crate::context::StageError;
use crate::label::batch::Item;
use crate::label::batch::write::Question;
use crate::metric::agreement::agreement;
use crate::metric::preference::{Winner, majority};
use crate::results::{JudgeReport, Share};
use crate::suite::types::{Baseline, Respondents};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One item's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decided {
    pub item: String,
    /// Hash of the query's text: the same for the items of one query at several seeds.
    pub context: String,
    pub winner: Winner,
    pub votes_a: u64,
    pub votes_b: u64,
    /// Share of A's and of B's 4-grams that the query has too.
    pub copied_a: f64,
    pub copied_b: f64,
}

/// asked/ID.json: one comparison of a suite at one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Compared {
    pub id: String,
    /// The paper's word for the task.
    pub task: String,
    pub a: String,
    pub b: String,
    pub seed: u64,
    pub asked: Respondents,
    /// Where a language model was asked: how it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeReport>,
    pub ways: usize,
    pub items: u64,
    /// Items without all their answers yet.
    pub waiting: u64,
    pub decided: Vec<Decided>,
    /// Percentage of pairs of answers to one item that are for the same model, and Fleiss' kappa.
    pub agreement: Option<f64>,
    pub kappa: Option<f64>,
    /// 4-way items of which no text got more than half of the answers; they count by the models of the chosen texts.
    pub no_single_text: u64,
    /// Items whose sides copy differently, and how many of them the side won that copies more.
    pub more_copied_wins: Share,
}

/// One side: its name in the suite, the desk it writes at, and as what.
pub struct Side<'d, 'c> {
    pub name: String,
    pub desk: &'d ReadyMember<'c>,
    pub writer: TextSource,
}

/// Asks, and counts the answers that are there.
pub fn compare(
    asking: &Asking<'_>,
    task: &str,
    a: &Side<'_, '_>,
    b: &Side<'_, '_>,
) -> Result<(Compared, QuestionStanding), StageError> {
    if a.desk.sources != b.desk.sources {
        return Err(input(format!(
            "{} and {} do not have the same held-out queries, so that their texts cannot be compared: give both the same \
             task, data and tokenizer",
            a.name, b.name
        )));
    }
    let seed = a.desk.spec.seed;
    let ways = asking.settings.ways;
    let id = question_id(&[&a.name, &b.name], seed);
    let of_a = a.desk.texts(a.writer, &a.name, ways / 2)?;
    let of_b = b.desk.texts(b.writer, &b.name, ways / 2)?;
    let questions: Vec<Question> = of_a
        .into_iter()
        .zip(of_b)
        .enumerate()
        .map(|(i, (mut candidates, more))| {
            candidates.extend(more);
            Question { query: a.desk.query(i), candidates }
        })
        .collect();
    let answered = ask(asking, a.desk, &id, &questions)?;
    let compared = count(asking, task, (&a.name, &b.name), seed, id, &answered);
    let done = answered.done();
    let standing = match done == compared.items {
        true => QuestionStanding::Answered,
        false => QuestionStanding::Waiting { done, of: compared.items, at: asking.batches.join(&compared.id) },
    };
    Ok((compared, standing))
}

/// Whether candidate `c` of a `ways`-way item is A's: A's texts stand first.
fn side(c: usize, ways: usize) -> Winner {
    if c < ways / 2 { Winner::A } else { Winner::B }
}

fn count(
    asking: &Asking<'_>,
    task: &str,
    (a, b): (&str, &str),
    seed: u64,
    id: String,
    answered: &Answered,
) -> Compared {
    let ways = asking.settings.ways;
    let mut decided = Vec::new();
    let (mut no_single_text, mut more_copied_wins) = (0, Share::default());
    for (i, (item, answers)) in answered.items.iter().zip(&answered.answers).enumerate() {
        if answered.heard[i] < answered.wanted {
            continue;
        }
        let chosen: Vec<usize> = answers.values().copied().collect();
        let votes: Vec<Winner> = chosen.iter().map(|c| side(*c, ways)).collect();
        let Some(winner) = majority(&votes) else { continue };
        if ways > 2 && !has_single_text(&chosen) {
            no_single_text += 1;
        }
        let (copied_a, copied_b) = copies(item, ways);
        if winner != Winner::Tie && copied_a != copied_b {
            more_copied_wins.add((winner == Winner::A) == (copied_a > copied_b));
        }
        let votes_a = votes.iter().filter(|vote| **vote == Winner::A).count() as u64;
        decided.push(Decided {
            item: item.id.clone(),
            context: blake3::hash(item.query.text.as_bytes()).to_hex()[..16].to_string(),
            winner,
            votes_a,
            votes_b: votes.len() as u64 - votes_a,
            copied_a,
            copied_b,
        });
    }
    let sides: Vec<Vec<Option<Winner>>> =
        answered.answers.iter().map(|of| of.values().map(|c| Some(side(*c, ways))).collect()).collect();
    let found = agreement(&sides);
    Compared {
        id,
        task: task.into(),
        a: a.into(),
        b: b.into(),
        seed,
        asked: asking.settings.kind,
        judge: answered.judge.clone(),
        ways,
        items: answered.items.len() as u64,
        waiting: answered.items.len() as u64 - answered.done(),
        decided,
        agreement: found.map(|f| f.percent),
        kappa: found.and_then(|f| f.kappa),
        no_single_text,
        more_copied_wins,
    }
}

fn has_single_text(chosen: &[usize]) -> bool {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    chosen.iter().for_each(|c| *counts.entry(*c).or_default() += 1);
    counts.values().any(|count| 2 * count > chosen.len())
}

/// Mean share of copied 4-grams of each side's texts.
fn copies(item: &Item, ways: usize) -> (f64, f64) {
    let mean = |candidates: &[crate::label::batch::Candidate]| {
        let all = candidates.iter().map(|c| copied(&item.query.text, &c.response.text));
        all.sum::<f64>() / candidates.len().max(1) as f64
    };
    let (a, b) = item.candidates.split_at((ways / 2).min(item.candidates.len()));
    (mean(a), mean(b))
}

/// What a suite's name of a writer means at a member's desk.
pub fn writer_of(name: &str) -> TextSource {
    Baseline::of(name).map_or(TextSource::Policy, TextSource::Baseline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_half_of_the_candidates_is_a() {
        assert_eq!([0, 1].map(|c| side(c, 2)), [Winner::A, Winner::B]);
        assert_eq!([0, 1, 2, 3].map(|c| side(c, 4)), [Winner::A, Winner::A, Winner::B, Winner::B]);
        assert!(has_single_text(&[1, 1, 3]) && !has_single_text(&[0, 1, 2]) && !has_single_text(&[0, 1]));
    }
}
