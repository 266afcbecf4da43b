//! Batches that a suite asks, and the answers that count: written once, read whenever tables are drawn.

use super::writers::ReadyMember;
use super::{Asking, judges};
use crate::context::StageError;
use crate::label::batch::write::{Checks, NewBatch, Question, arrange, existing, write_batch};
use crate::label::batch::{self, Item, Purpose};
use crate::results::JudgeReport;
use crate::store::atomic::write_atomic;
use crate::suite::types::Respondents;
use crate::task::instructions::built_in;
use std::collections::BTreeMap;
use std::path::Path;

/// Questions with the answers that count.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub items: Vec<Item>,
    /// Of each item: labeler and chosen candidate, by labeler.
    pub answers: Vec<BTreeMap<String, usize>>,
    /// Of each item: answers and skips.
    pub heard: Vec<usize>,
    /// Wanted per item.
    pub wanted: usize,
    /// Where a language model answered.
    pub judge: Option<JudgeReport>,
}

impl Answered {
    /// Items with as many answers, or skips, as are wanted.
    pub fn done(&self) -> u64 {
        self.heard.iter().filter(|heard| **heard >= self.wanted).count() as u64
    }
}

/// Asks `questions`, one per query of the desk in its order, unless they have been asked; programs answer at once.
pub fn ask(
    asking: &Asking<'_>,
    desk: &ReadyMember<'_>,
    id: &str,
    questions: &[Question],
) -> Result<Answered, StageError> {
    let seed = desk.spec.seed;
    let items = arrange(seed, id, questions, &Checks::default());
    let hash = |text: &str| blake3::hash(text.as_bytes()).to_hex()[..16].to_string();
    let new = NewBatch {
        id: id.into(),
        purpose: Purpose::Evaluation,
        labelers_per_item: asking.wanted(),
        spec: asking.suite.into(),
        spec_hash: hash(&crate::spec::resolved_toml(&desk.spec)),
        policy_hash: hash(&serde_json::to_string(&items)?),
        tokenizer_hash: hash(&desk.tokenizer.vocab().to_string()),
        update: 0,
        temperature: desk.spec.task.temperature,
        seed,
        instructions: built_in(desk.spec.task.preset).into(),
    };
    let at = asking.batches.join(id);
    let is_other = || Ok::<_, StageError>(existing(&at)?.is_some_and(|(_, there)| there != items));
    if asking.settings.kind != Respondents::Human && is_other()? && (asking.simulated() || no_person(&at)?) {
        // Nobody has answered these but a program, which will again, or a model, whose answers lie elsewhere.
        std::fs::remove_dir_all(&at).map_err(StageError::io(&at))?;
    }
    write_batch(&asking.batches, &new, &items)?;
    if asking.simulated() {
        let answers = judges::answers(asking, desk, &items, id)?;
        let text: Vec<String> = answers.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let path = at.join("answers.jsonl");
        write_atomic(&path, (text.join("\n") + "\n").as_bytes()).map_err(StageError::io(path))?;
    }
    if let Some(judge) = asking.judge(desk)? {
        let judged = judge.ask(asking.context, &asking.batches, &items)?;
        let people = batch::read::answers(&asking.batches, id, &items)?;
        let found = crate::outside::report(&judge, &[(items.clone(), judged.clone(), people)]);
        tracing::info!("{id}: {}", found.text());
        return Ok(counted(items, judged.answers, asking.wanted(), Some(found)));
    }
    read(&asking.batches, id)
}

/// Whether no person has answered in a batch's directory.
fn no_person(at: &Path) -> Result<bool, StageError> {
    Ok(batch::read::answer_files(at)?.is_empty())
}

/// The questions of a batch and the answers that count: of each labeler the last revision, of labelers who are not
/// dropped.
pub fn read(batches: &Path, id: &str) -> Result<Answered, StageError> {
    let at = batches.join(id);
    let Some((batch, items)) = existing(&at)? else {
        return Err(super::input(format!("{} is no batch of questions", at.display())));
    };
    let found = batch::read::answers(batches, id, &items)?;
    found.problems.iter().for_each(|problem| tracing::warn!("{problem}"));
    Ok(counted(items, found, batch.labelers_per_item, None))
}

fn counted(items: Vec<Item>, found: batch::read::Answers, wanted: usize, judge: Option<JudgeReport>) -> Answered {
    let index: BTreeMap<&str, usize> = items.iter().enumerate().map(|(i, item)| (item.id.as_str(), i)).collect();
    let mut answers = vec![BTreeMap::new(); items.len()];
    let mut heard = vec![0; items.len()];
    for answer in found.counted {
        let Some(i) = index.get(answer.item.as_str()) else { continue };
        heard[*i] += 1;
        answers[*i].extend(answer.best.map(|best| (answer.labeler, best)));
    }
    Answered { items, answers, heard, wanted, judge }
}
