//! How far labelers agree on 4-way comparisons of samples of ρ (paper table 9): among themselves, with the authors, and
//! the authors among themselves. Chance is 25%.

use super::answers::{Answered, ask};
use super::writers::{ReadyMember, TextSource};
use super::{Asking, QuestionStanding, question_id};
use crate::context::StageError;
use crate::label::batch::write::Question;
use crate::labeler::CANDIDATES;
use crate::metric::agreement::agreement;
use crate::metric::preference::pair_agreement;
use crate::suite::types::{Baseline, Respondents};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Agreement of one kind of pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Pair")]
pub struct PairsAgreement {
    /// "labeler-labeler", "author-labeler" or "author-author".
    pub pair: String,
    /// `[agreeing, pairs]` of each item that has pairs.
    pub counts: Vec<(u64, u64)>,
    /// Fleiss' kappa of the answers of both groups; not of pairs across groups.
    pub kappa: Option<f64>,
}

impl PairsAgreement {
    /// Percentage with its interval; NaN without pairs.
    pub fn percent(&self) -> (f64, f64, f64) {
        pair_agreement(&self.counts, 0)
    }
}

/// asked/ID.json of table 9: one member at one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agreed {
    pub id: String,
    pub task: String,
    pub member: String,
    pub seed: u64,
    pub asked: Respondents,
    pub items: u64,
    pub waiting: u64,
    pub pairs: Vec<PairsAgreement>,
}

/// Asks, and counts the answers that are there.
pub fn measure(asking: &Asking<'_>, desk: &ReadyMember<'_>) -> Result<(Agreed, QuestionStanding), StageError> {
    let seed = desk.spec.seed;
    let id = question_id(&[&desk.member, "four-of-zero-shot"], seed);
    let texts = desk.texts(TextSource::Baseline(Baseline::ZeroShot), "zero-shot", CANDIDATES)?;
    let questions: Vec<Question> =
        texts.into_iter().enumerate().map(|(i, candidates)| Question { query: desk.query(i), candidates }).collect();
    let answered = ask(asking, desk, &id, &questions)?;
    let done = answered.done();
    let items = answered.items.len() as u64;
    let standing = match done == items {
        true => QuestionStanding::Answered,
        false => QuestionStanding::Waiting { done, of: items, at: asking.batches.join(&id) },
    };
    let pairs = pairs(&answered, &asking.settings.authors);
    let (task, member) = (desk.task(), desk.member.clone());
    Ok((Agreed { id, task, member, seed, asked: asking.settings.kind, items, waiting: items - done, pairs }, standing))
}

/// Choices of the authors, and of the other labelers, for one item.
type Groups = (Vec<usize>, Vec<usize>);

fn pairs(answered: &Answered, authors: &[String]) -> Vec<PairsAgreement> {
    let split = |of: &BTreeMap<String, usize>| -> Groups {
        let (by_authors, others): (Vec<_>, Vec<_>) = of.iter().partition(|(who, _)| authors.contains(who));
        (by_authors.into_iter().map(|(_, c)| *c).collect(), others.into_iter().map(|(_, c)| *c).collect())
    };
    let groups: Vec<Groups> = answered.answers.iter().map(split).collect();
    let kappa = |of: fn(&Groups) -> Vec<usize>| {
        let table: Vec<Vec<Option<usize>>> = groups.iter().map(|g| of(g).into_iter().map(Some).collect()).collect();
        agreement(&table).and_then(|found| found.kappa)
    };
    let within = |choices: &[usize]| {
        let n = choices.len() as u64;
        let equal = (0..choices.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
        (equal.filter(|(i, j)| choices[*i] == choices[*j]).count() as u64, n * n.saturating_sub(1) / 2)
    };
    let across = |(a, b): &Groups| {
        let equal = a.iter().map(|x| b.iter().filter(|y| *y == x).count() as u64).sum();
        (equal, (a.len() * b.len()) as u64)
    };
    let counted = |counts: Vec<(u64, u64)>| counts.into_iter().filter(|(_, pairs)| *pairs > 0).collect();
    vec![
        PairsAgreement {
            pair: "labeler-labeler".into(),
            counts: counted(groups.iter().map(|(_, others)| within(others)).collect()),
            kappa: kappa(|(_, others)| others.clone()),
        },
        PairsAgreement {
            pair: "author-labeler".into(),
            counts: counted(groups.iter().map(across).collect()),
            kappa: None,
        },
        PairsAgreement {
            pair: "author-author".into(),
            counts: counted(groups.iter().map(|(of, _)| within(of)).collect()),
            kappa: kappa(|(of, _)| of.clone()),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors_and_labelers_are_counted_apart() {
        let answers = |choices: &[(&str, usize)]| choices.iter().map(|(who, c)| ((*who).to_string(), *c)).collect();
        let answered = Answered {
            items: Vec::new(),
            answers: vec![
                answers(&[("ann", 0), ("bob", 0), ("l1", 0), ("l2", 1)]),
                answers(&[("ann", 2), ("l1", 2), ("l2", 2), ("l3", 3)]),
            ],
            heard: vec![4, 4],
            wanted: 2,
            judge: None,
        };
        let found = pairs(&answered, &["ann".into(), "bob".into()]);
        // Labelers: 0 of 1 pairs, then 1 of 3. Authors with labelers: 2 of 4, then 2 of 3. Authors: 1 of 1.
        assert_eq!(found[0].counts, [(0, 1), (1, 3)]);
        assert_eq!(found[1].counts, [(2, 4), (2, 3)]);
        assert_eq!(found[2].counts, [(1, 1)]);
        assert!((found[1].percent().0 - 400.0 / 7.0).abs() < 1e-9);
        assert_eq!(found[2].kappa, Some(1.0));
    }
}
