//! From people's answers to labels: which answers count, what several answers to one question become, and a report of
//! what was used. Checks (gold items and repeats) are never labels (paper section 2.1; three labelers and a majority:
//! section 3.1, evaluation).

use super::batch::read::Answers;
use super::batch::{Answer, Batch, Item, Purpose};
use super::{Judgement, Label};
use crate::spec::Combine;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What was asked in one batch, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchUse {
    pub id: String,
    pub purpose: Purpose,
    /// Questions to learn from.
    pub questions: usize,
    /// Gold items and repeats, which are not.
    pub checks: usize,
    /// Answers wanted to the questions.
    pub wanted: usize,
    /// Of these, how many there are; skipped and dropped ones are among them.
    pub given: usize,
    /// Labelers said that they cannot answer. Nothing replaces these.
    pub skipped: usize,
    /// By labelers whose answers do not count. Nothing replaces these either.
    pub dropped: usize,
    /// Questions whose most frequent answers were equally frequent (`combine = "majority"`).
    pub ties: usize,
    /// Labels made of the answers.
    pub labels: usize,
}

impl BatchUse {
    /// Whether every question has the answers that were asked for.
    pub fn complete(&self) -> bool {
        self.given >= self.wanted
    }
}

/// labels/RUN_human.json: what was used of people's answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HumanReport {
    /// Labels to train on.
    pub training: usize,
    pub held_out: usize,
    /// Answers that became labels or had a vote in one, by labeler.
    pub labelers: BTreeMap<String, usize>,
    /// Labelers who were dropped.
    pub dropped: BTreeSet<String>,
    pub batches: Vec<BatchUse>,
}

impl HumanReport {
    /// Adds what another round used.
    pub fn extend(&mut self, other: Self) {
        self.training += other.training;
        self.held_out += other.held_out;
        other.labelers.into_iter().for_each(|(labeler, n)| *self.labelers.entry(labeler).or_default() += n);
        self.dropped.extend(other.dropped);
        self.batches.extend(other.batches);
    }
}

/// The labels of one batch: each with the item that it is of.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    pub labels: Vec<(String, Label)>,
    pub used: BatchUse,
    pub labelers: BTreeMap<String, usize>,
}

/// Labels from the answers to a batch. `seed` breaks ties.
pub fn labels(batch: &Batch, items: &[Item], answers: &Answers, combine: Combine, seed: u64) -> Used {
    let mut by_item: BTreeMap<&str, (Vec<&Answer>, usize)> = BTreeMap::new();
    for answer in &answers.counted {
        by_item.entry(&answer.item).or_default().0.push(answer);
    }
    for answer in &answers.excluded {
        by_item.entry(&answer.item).or_default().1 += 1;
    }
    let questions: Vec<&Item> = items.iter().filter(|item| !item.is_check()).collect();
    let per_item = batch.labelers_per_item.max(1);
    let mut used = BatchUse {
        id: batch.id.clone(),
        purpose: batch.purpose,
        questions: questions.len(),
        checks: items.len() - questions.len(),
        wanted: questions.len() * per_item,
        given: 0,
        skipped: 0,
        dropped: 0,
        ties: 0,
        labels: 0,
    };
    let (mut labels, mut labelers) = (Vec::new(), BTreeMap::new());
    for item in questions {
        let (mut all, dropped) = by_item.remove(item.id.as_str()).unwrap_or_default();
        // Whatever order files were read in.
        all.sort_by(|a, b| a.labeler.cmp(&b.labeler));
        used.given += (all.len() + dropped).min(per_item);
        used.dropped += dropped;
        used.skipped += all.iter().filter(|a| a.best.is_none()).count();
        let chosen: Vec<(&str, usize)> = all
            .iter()
            .filter_map(|a| Some((a.labeler.as_str(), a.best.filter(|b| *b < item.candidates.len())?)))
            .collect();
        for (labeler, _) in &chosen {
            *labelers.entry(labeler.to_string()).or_default() += 1;
        }
        let mut add =
            |best: usize, worker: Option<&str>| labels.push((item.id.clone(), label(batch, item, best, worker)));
        match combine {
            Combine::Each => chosen.iter().for_each(|(labeler, best)| add(*best, Some(labeler))),
            Combine::Majority => {
                if let Some((best, tie)) = majority(&chosen, seed, &item.id) {
                    used.ties += usize::from(tie);
                    add(best, None);
                }
            }
        }
    }
    used.labels = labels.len();
    Used { labels, used, labelers }
}

/// The most frequent answer, and whether it was drawn among several.
fn majority(chosen: &[(&str, usize)], seed: u64, id: &str) -> Option<(usize, bool)> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    chosen.iter().for_each(|(_, best)| *counts.entry(*best).or_default() += 1);
    let most = counts.values().copied().max()?;
    let first: Vec<usize> = counts.into_iter().filter(|(_, n)| *n == most).map(|(best, _)| best).collect();
    let mut rng = ChaCha8Rng::from_seed(*blake3::hash(format!("{seed}/tie/{id}").as_bytes()).as_bytes());
    Some((*first.choose(&mut rng)?, first.len() > 1))
}

fn label(batch: &Batch, item: &Item, best: usize, worker: Option<&str>) -> Label {
    Label {
        query: item.query.ids.clone(),
        samples: item.candidates.iter().map(|c| c.response.ids.clone()).collect(),
        judgement: Judgement::Best(best),
        scores: None,
        worker: worker.map(str::to_string),
        batch: Some(batch.id.clone()),
        split: None,
        confidence: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn batch(labelers_per_item: usize) -> Batch {
        serde_json::from_value(json!({
            "batch_version": 1, "id": "round-0001", "purpose": "training", "items": 3,
            "labelers_per_item": labelers_per_item, "spec": "s", "spec_hash": "h", "policy_hash": "p",
            "tokenizer_hash": "t", "update": 0, "temperature": 0.7, "seed": 1, "instructions": "",
            "instructions_version": "i", "created_at": "2026-01-01T00:00:00Z"
        }))
        .unwrap()
    }

    fn items() -> Vec<Item> {
        let item = |i: u32, gold: Option<usize>, repeat: Option<&str>| Item {
            id: format!("p-{i:05}"),
            query: serde_json::from_value(json!({ "text": "q", "ids": [i] })).unwrap(),
            candidates: (0..3)
                .map(|c| serde_json::from_value(json!({ "text": "r", "ids": [c], "source": "reference" })).unwrap())
                .collect(),
            order: vec![2, 0, 1],
            gold,
            repeat_of: repeat.map(str::to_string),
        };
        vec![item(0, None, None), item(1, Some(1), None), item(2, None, None), item(3, None, Some("p-00000"))]
    }

    fn answer(item: u32, labeler: &str, best: Option<usize>) -> Answer {
        let skip = best.is_none().then(|| "unclear".to_string());
        serde_json::from_value(
            json!({ "item": format!("p-{item:05}"), "labeler": labeler, "best": best, "skip": skip }),
        )
        .unwrap()
    }

    fn split(all: &[Answer], dropped: &str) -> Answers {
        let (excluded, counted) = all.iter().cloned().partition(|a| a.labeler == dropped);
        Answers { counted, excluded, problems: Vec::new() }
    }

    #[test]
    fn checks_skips_and_dropped_labelers_make_no_labels() {
        let answers = [
            answer(0, "anna", Some(2)),
            answer(1, "anna", Some(1)),
            answer(3, "anna", Some(0)),
            answer(2, "anna", None),
            answer(2, "ben", Some(1)),
            answer(0, "carl", Some(0)),
        ];
        let answers = split(&answers, "carl");
        let found = labels(&batch(2), &items(), &answers, Combine::Each, 1);
        let made: Vec<_> = found
            .labels
            .iter()
            .map(|(id, l)| (id.as_str(), l.judgement, l.worker.as_deref(), l.query.clone()))
            .collect();
        assert_eq!(
            made,
            [
                ("p-00000", Judgement::Best(2), Some("anna"), vec![0]),
                ("p-00002", Judgement::Best(1), Some("ben"), vec![2])
            ]
        );
        let u = &found.used;
        assert_eq!((u.questions, u.checks, u.wanted, u.given, u.skipped, u.dropped), (2, 2, 4, 4, 1, 1));
        assert!(u.complete() && found.labelers == BTreeMap::from([("anna".into(), 1), ("ben".into(), 1)]));
        assert!(!labels(&batch(3), &items(), &answers, Combine::Each, 1).used.complete());
        assert!(found.labels[0].1.check().is_ok());
    }

    #[test]
    fn a_majority_is_one_label_and_ties_are_drawn() {
        let all = |bests: [usize; 3]| -> Vec<Answer> {
            ["a", "b", "c"].iter().zip(bests).map(|(who, best)| answer(0, who, Some(best))).collect()
        };
        let of = |bests, seed| {
            let found = labels(&batch(3), &items(), &split(&all(bests), ""), Combine::Majority, seed);
            (found.labels[0].1.judgement, found.used.ties, found.labels.len())
        };
        assert_eq!(of([1, 2, 1], 1), (Judgement::Best(1), 0, 1));
        let drawn: BTreeSet<String> = (0..40).map(|seed| format!("{:?}", of([0, 1, 2], seed))).collect();
        assert_eq!(drawn.len(), 3, "{drawn:?}");
    }
}
