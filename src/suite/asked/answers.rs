//! Batches that a suite asks, and the answers that count: written once, read whenever tables are drawn.

use super::judges;
use super::writers::Desk;
use super::{Asking, instructions};
use crate::label::batch::write::{Checks, NewBatch, Question, arrange, existing, lines, write_batch};
use crate::label::batch::{Answer, Item, LabelerAction, LabelerEvent, Purpose};
use crate::stage::StageError;
use crate::store::atomic::write_atomic;
use std::collections::BTreeMap;
use std::path::Path;

/// Questions with the answers that count.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub items: Vec<Item>,
    /// Of each item: labeler and chosen candidate, by labeler.
    pub answers: Vec<BTreeMap<String, usize>>,
    /// Wanted per item.
    pub wanted: usize,
}

impl Answered {
    /// Items with as many answers as are wanted.
    pub fn done(&self) -> u64 {
        self.answers.iter().filter(|of| of.len() >= self.wanted).count() as u64
    }
}

/// Asks `questions`, one per query of the desk in its order, unless they have been asked; programs answer at once.
pub fn ask(asking: &Asking<'_>, desk: &Desk<'_>, id: &str, questions: &[Question]) -> Result<Answered, StageError> {
    let seed = desk.spec.seed;
    let items = arrange(seed, id, questions, &Checks::default());
    let hash = |text: &str| blake3::hash(text.as_bytes()).to_hex()[..16].to_string();
    let new = NewBatch {
        id: id.into(),
        purpose: Purpose::Evaluation,
        labelers_per_item: asking.settings.labelers,
        spec: asking.suite.into(),
        spec_hash: hash(&crate::spec::resolved_toml(&desk.spec)),
        policy_hash: hash(&serde_json::to_string(&items)?),
        tokenizer_hash: hash(&desk.tokenizer.vocab().to_string()),
        update: 0,
        temperature: desk.spec.task.temperature,
        seed,
        instructions: instructions(&desk.task()),
    };
    let at = asking.batches.join(id);
    if asking.simulated() && existing(&at)?.is_some_and(|(_, there)| there != items) {
        // Nobody has answered these but a program, which will again.
        std::fs::remove_dir_all(&at).map_err(StageError::io(&at))?;
    }
    write_batch(&asking.batches, &new, &items)?;
    if asking.simulated() {
        let answers = judges::answers(asking, desk, &items, id)?;
        let text: Vec<String> = answers.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let path = at.join("answers.jsonl");
        write_atomic(&path, (text.join("\n") + "\n").as_bytes()).map_err(StageError::io(path))?;
    }
    read(&asking.batches, id)
}

/// The questions of a batch and the answers that count: of each labeler the last revision, of labelers who are not dropped.
pub fn read(batches: &Path, id: &str) -> Result<Answered, StageError> {
    let at = batches.join(id);
    let Some((batch, items)) = existing(&at)? else {
        return Err(super::input(format!("{} is no batch of questions", at.display())));
    };
    let dropped = dropped(batches)?;
    let mut answers: Vec<BTreeMap<String, (u32, Option<usize>)>> = vec![BTreeMap::new(); items.len()];
    let index: BTreeMap<&str, usize> = items.iter().enumerate().map(|(i, item)| (item.id.as_str(), i)).collect();
    for file in answer_files(&at)? {
        for answer in lines::<Answer>(&file)? {
            let Some(i) = index.get(answer.item.as_str()) else { continue };
            let best = answer.best.filter(|best| *best < items[*i].candidates.len());
            let of = &mut answers[*i];
            if of.get(&answer.labeler).is_none_or(|(revision, _)| answer.revision > *revision) {
                of.insert(answer.labeler, (answer.revision, best));
            }
        }
    }
    let counted = |of: BTreeMap<String, (u32, Option<usize>)>| {
        of.into_iter()
            .filter(|(labeler, _)| dropped.get(labeler) != Some(&true))
            .filter_map(|(labeler, (_, best))| Some((labeler, best?)))
            .collect()
    };
    let answers = answers.into_iter().map(counted).collect();
    Ok(Answered { items, answers, wanted: batch.labelers_per_item })
}

fn dropped(batches: &Path) -> Result<BTreeMap<String, bool>, StageError> {
    let path = batches.join("labelers.jsonl");
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let events = lines::<LabelerEvent>(&path)?;
    Ok(events.into_iter().map(|event| (event.labeler, event.action == LabelerAction::Drop)).collect())
}

fn answer_files(at: &Path) -> Result<Vec<std::path::PathBuf>, StageError> {
    let named = |name: &str| name == "answers.jsonl" || (name.starts_with("answers-") && name.ends_with(".jsonl"));
    let mut files: Vec<_> = std::fs::read_dir(at)
        .map_err(StageError::io(at))?
        .flatten()
        .filter(|entry| named(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    Ok(files)
}
