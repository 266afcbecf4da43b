//! Making a batch: questions get their numbers, their orders and the checks among them, and become files that never
//! change. Everything random is a function of seed and item, so that the same questions make the same bytes again.
//!
//! ```text
//! let items = arrange(seed, "3f2a-round-0001", &questions, &Checks::default());
//! let batch = write_batch(dir, &new, &items)?;      // dir/round-0001/{items.jsonl, batch.json}
//! ```
//!
//! Used by the collect stage for training and validation (paper sections 2.1 and 2.3), and by the evaluation of
//! finished models (sections 3.1 and 3.2), whose candidates have the models' names for sources.

use super::read::items;
use super::{BATCH_VERSION, Batch, Candidate, Item, Purpose, Text};
use crate::label::LabelError;
use crate::store::atomic::{write_atomic, write_atomic_with};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::de::DeserializeOwned;
use std::io::Write;
use std::path::Path;

/// What [`Batch`] says, but for what is known only when it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBatch {
    /// The name of its directory.
    pub id: String,
    pub purpose: Purpose,
    pub labelers_per_item: usize,
    pub spec: String,
    pub spec_hash: String,
    pub policy_hash: String,
    pub tokenizer_hash: String,
    pub update: usize,
    pub temperature: f64,
    pub seed: u64,
    /// Markdown.
    pub instructions: String,
}

/// A question before it has a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub query: Text,
    /// 2 or more, the same number in all questions of a batch. Shown in a random order, whatever order they stand in.
    pub candidates: Vec<Candidate>,
}

/// Items that check labelers, put among the others at random places.
#[derive(Debug, Clone, Default)]
pub struct Checks<'a> {
    /// Items with `gold` set; as many as `gold_share` asks for are taken, at most each once.
    pub gold: &'a [Item],
    /// Gold items per question.
    pub gold_share: f64,
    /// Questions that are asked again later in the batch, as a share of all, in another order of candidates.
    pub repeat_share: f64,
}

/// A random stream of one purpose.
fn stream(seed: u64, purpose: &str) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(*blake3::hash(format!("{seed}/{purpose}").as_bytes()).as_bytes())
}

/// A random order of `n` candidates for an item; not `unlike`, where there is another.
fn order(seed: u64, id: &str, n: usize, unlike: Option<&[usize]>) -> Vec<usize> {
    let mut rng = stream(seed, &format!("presentation order/{id}"));
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut rng);
    while n > 1 && unlike == Some(&order[..]) {
        order.shuffle(&mut rng);
    }
    order
}

/// The items of a batch in the order in which they are to be answered. Question `i` gets the id `PREFIX-i` (five
/// digits); checks get the numbers after the last question's. `prefix` must be unique to the batch.
pub fn arrange(seed: u64, prefix: &str, questions: &[Question], checks: &Checks<'_>) -> Vec<Item> {
    let n = questions.len();
    let id = |number: usize| format!("{prefix}-{number:05}");
    let many = |share: f64, most: usize| ((share * n as f64).round() as usize).min(most);
    // Where an item goes: questions keep their places, a check goes between two of them.
    let mut placed: Vec<(f64, Item)> = Vec::with_capacity(n);
    for (i, question) in questions.iter().enumerate() {
        let order = order(seed, &id(i), question.candidates.len(), None);
        let (query, candidates) = (question.query.clone(), question.candidates.clone());
        placed.push((i as f64, Item { id: id(i), query, candidates, order, gold: None, repeat_of: None }));
    }
    let mut rng = stream(seed, &format!("checks/{prefix}"));
    let mut gold: Vec<&Item> = checks.gold.iter().filter(|item| item.gold.is_some()).collect();
    gold.shuffle(&mut rng);
    for item in gold.into_iter().take(many(checks.gold_share, checks.gold.len())) {
        let id = id(placed.len());
        let order = order(seed, &id, item.candidates.len(), None);
        placed.push((rng.random_range(0.0..=n as f64), Item { id, order, repeat_of: None, ..item.clone() }));
    }
    let mut again: Vec<usize> = (0..n).collect();
    again.shuffle(&mut rng);
    again.truncate(many(checks.repeat_share, n));
    for i in again {
        let (id, first) = (id(placed.len()), placed[i].1.clone());
        let order = order(seed, &id, first.candidates.len(), Some(&first.order));
        let at = rng.random_range(i as f64 + 0.5..=n as f64 + 0.5);
        placed.push((at, Item { repeat_of: Some(first.id.clone()), id, order, ..first }));
    }
    placed.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    placed.into_iter().map(|(_, item)| item).collect()
}

/// What is wrong with items that are about to be asked.
fn check(items: &[Item]) -> Result<(), String> {
    let candidates = items.first().ok_or("there is nothing to ask")?.candidates.len();
    for item in items {
        let n = item.candidates.len();
        if n < 2 || n != candidates {
            return Err(format!(
                "item {} has {n} candidates; all items of a batch have the same number, 2 or more",
                item.id
            ));
        }
        let mut sorted = item.order.clone();
        sorted.sort_unstable();
        if sorted != (0..n).collect::<Vec<_>>() {
            return Err(format!("item {}: `order` is no permutation of its {n} candidates", item.id));
        }
        if item.gold.is_some_and(|gold| gold >= n) {
            return Err(format!("item {}: `gold` is no candidate's number", item.id));
        }
    }
    Ok(())
}

/// Writes `dir/ID/items.jsonl` and then `dir/ID/batch.json`, each whole or not at all. A batch that is there already
/// with the same questions is left alone and returned; one with others is an error: people may have answered it.
pub fn write_batch(dir: &Path, new: &NewBatch, items: &[Item]) -> Result<Batch, LabelError> {
    let at = dir.join(&new.id);
    check(items).map_err(|message| LabelError::file(&at, message))?;
    if let Some((batch, there)) = existing(&at)? {
        if there == items {
            return Ok(batch);
        }
        return Err(LabelError::file(&at, other_questions(&batch, &new.spec, new.seed)));
    }
    let lines = at.join("items.jsonl");
    let write = |out: &mut std::io::BufWriter<std::fs::File>| {
        items.iter().try_for_each(|item| writeln!(out, "{}", serde_json::to_string(item)?))
    };
    write_atomic_with(&lines, write).map_err(|e| LabelError::file(&lines, e))?;
    let batch = Batch {
        batch_version: BATCH_VERSION,
        id: new.id.clone(),
        purpose: new.purpose,
        items: items.len(),
        labelers_per_item: new.labelers_per_item,
        spec: new.spec.clone(),
        spec_hash: new.spec_hash.clone(),
        policy_hash: new.policy_hash.clone(),
        tokenizer_hash: new.tokenizer_hash.clone(),
        update: new.update,
        temperature: new.temperature,
        seed: new.seed,
        instructions: new.instructions.clone(),
        instructions_version: blake3::hash(new.instructions.as_bytes()).to_hex()[..12].to_string(),
        created_at: jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
    };
    let path = at.join("batch.json");
    let text = serde_json::to_string_pretty(&batch).map_err(|e| LabelError::file(&path, e))?;
    write_atomic(&path, format!("{text}\n").as_bytes()).map_err(|e| LabelError::file(&path, e))?;
    Ok(batch)
}

/// Why a batch of this name cannot be made.
pub fn other_questions(batch: &Batch, spec: &str, seed: u64) -> String {
    format!(
        "is a batch of other questions: made by spec {:?} (seed {}), and {:?} (seed {}) asks others. A batch is never \
         overwritten: give this spec, run or seed a directory of its own (labeler.batches), or move the old one away",
        batch.spec, batch.seed, spec, seed
    )
}

/// The batch in a directory and its items; `None` where there is none, or one that was never finished.
pub fn existing(at: &Path) -> Result<Option<(Batch, Vec<Item>)>, LabelError> {
    let path = at.join("batch.json");
    let text = match crate::store::input::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(LabelError::file(&path, e)),
    };
    let batch: Batch = serde_json::from_str(&text).map_err(|e| LabelError::file(&path, e))?;
    let name = at.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Some((batch, items(at.parent().unwrap_or(Path::new("")), &name)?)))
}

/// One JSON value per line.
pub fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, LabelError> {
    let text = crate::store::input::read_to_string(path).map_err(|e| LabelError::file(path, e))?;
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| LabelError::Place {
            path: path.into(),
            line: i as u64 + 1,
            column: e.column() as u64,
            message: e.to_string(),
        })
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        Text { text: text.into(), ids: vec![1, 2] }
    }

    fn questions(n: usize, candidates: usize) -> Vec<Question> {
        let candidate = |i: usize, c: usize| Candidate {
            response: text(&format!("{i} {c}")),
            source: if c.is_multiple_of(2) { "lead-3" } else { "policy" }.into(),
            logprob: Some(-1.5),
            valid: true,
        };
        let one = |i: usize| Question {
            query: text(&format!("query {i}")),
            candidates: (0..candidates).map(|c| candidate(i, c)).collect(),
        };
        (0..n).map(one).collect()
    }

    fn new(id: &str) -> NewBatch {
        NewBatch {
            id: id.into(),
            purpose: Purpose::Evaluation,
            labelers_per_item: 3,
            spec: "s".into(),
            spec_hash: "h".into(),
            policy_hash: "p".into(),
            tokenizer_hash: "t".into(),
            update: 0,
            temperature: 0.7,
            seed: 1,
            instructions: "Pick the best.".into(),
        }
    }

    #[test]
    fn questions_keep_their_numbers_and_orders_are_random() {
        let items = arrange(1, "p", &questions(200, 4), &Checks::default());
        assert!(items.iter().enumerate().all(|(i, item)| item.id == format!("p-{i:05}") && !item.is_check()));
        let first: Vec<usize> = (0..4).map(|c| items.iter().filter(|item| item.order[0] == c).count()).collect();
        assert!(first.iter().all(|count| (30..75).contains(count)), "{first:?}");
        assert_eq!(items, arrange(1, "p", &questions(200, 4), &Checks::default()));
        assert_ne!(items, arrange(2, "p", &questions(200, 4), &Checks::default()));
    }

    #[test]
    fn checks_stand_among_the_questions() {
        let mut gold = arrange(7, "gold", &questions(5, 2), &Checks::default());
        gold.iter_mut().for_each(|item| item.gold = Some(1));
        let checks = Checks { gold: &gold, gold_share: 0.2, repeat_share: 0.25 };
        let items = arrange(1, "p", &questions(20, 2), &checks);
        assert_eq!(items.iter().filter(|i| i.gold.is_some()).count(), 4);
        let repeats: Vec<(usize, &Item)> = items.iter().enumerate().filter(|(_, i)| i.repeat_of.is_some()).collect();
        assert_eq!(repeats.len(), 5);
        for (at, repeat) in repeats {
            let first = items.iter().position(|i| Some(&i.id) == repeat.repeat_of.as_ref()).unwrap();
            assert!(first < at && items[first].candidates == repeat.candidates && items[first].order != repeat.order);
        }
        let ids: std::collections::BTreeSet<&str> = items.iter().map(|i| i.id.as_str()).collect();
        assert_eq!(ids.len(), 29);
    }

    #[test]
    fn a_batch_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let items = arrange(1, "p", &questions(3, 2), &Checks::default());
        let batch = write_batch(dir.path(), &new("round-0001"), &items).unwrap();
        let bytes = |file: &str| std::fs::read(dir.path().join("round-0001").join(file)).unwrap();
        let before = (bytes("items.jsonl"), bytes("batch.json"));
        assert_eq!(write_batch(dir.path(), &new("round-0001"), &items).unwrap(), batch);
        let other = arrange(2, "p", &questions(3, 2), &Checks::default());
        let message = write_batch(dir.path(), &new("round-0001"), &other).unwrap_err().to_string();
        assert!(message.contains("never overwritten") && message.contains("round-0001"), "{message}");
        assert_eq!((bytes("items.jsonl"), bytes("batch.json")), before);
        assert_eq!(existing(&dir.path().join("round-0001")).unwrap().unwrap(), (batch, items));
        assert!(existing(&dir.path().join("round-0002")).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |items: &[Item]| write_batch(dir.path(), &new("b"), items).unwrap_err().to_string();
        assert!(refused(&[]).contains("nothing to ask"));
        assert!(refused(&arrange(1, "p", &questions(1, 1), &Checks::default())).contains("1 candidates"));
        let mut items = arrange(1, "p", &questions(2, 2), &Checks::default());
        items[1].order = vec![0, 0];
        assert!(refused(&items).contains("no permutation"));
    }
}
