//! A round's questions as batches in `labeler.batches` (docs/batches.md), whoever answers them, and the labels that the
//! answers make. A batch is data, like a recorded label file: once it is there it is used as it is, and nothing in it is
//! ever changed. Where a labeler is dropped after a later round was asked, that round keeps its questions, although the
//! policy that they were sampled from is trained anew.

use super::collected::{RoundLabels, Tally, write_round};
use super::questions::{Comparison, VALIDATION_REFERENCES};
use super::{Ask, CANDIDATES, Desk, VERSION};
use crate::context::StageError;
use crate::label::batch::write::{Checks, NewBatch, Question, arrange, existing, lines, other_questions, write_batch};
use crate::label::batch::{Batch, Candidate, Item, Purpose, Text, read};
use crate::label::human::{HumanReport, Used, labels};
use crate::label::{Judgement, Label, LabelError};
use crate::labeler::rounds::{Round, is_validation};
use crate::outside::Judge;
use crate::spec::keyed::is_what_silence_meant;
use crate::spec::{CollectSchedule, CollectSpec, GuardsSpec, HumanSpec, LabelerKind, PolicySpec, Spec, resolved_toml};
use crate::store::atomic::hash_file;
use crate::store::cache::Key;
use crate::store::input::read_to_string;
use crate::task::instructions::built_in;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Of the rules that make labels of answers.
const HUMAN: u32 = 1;
/// Unusable answers that are named one by one.
const MOST_PROBLEMS: usize = 5;

/// A batch of a round.
pub(super) struct Part {
    /// The name of its directory.
    pub id: String,
    purpose: Purpose,
    /// Its questions, as places among the round's comparisons.
    pub numbers: Vec<usize>,
}

/// The batches of a round, in order: one, but online one of each kind for every `collect.outstanding` requests.
pub(super) fn parts(spec: &Spec, round: &Round) -> Vec<Part> {
    let name = format!("round-{:04}", round.number);
    let asked = round.asked(spec.collect.held_out);
    if !spec.collect.schedule.is_online() || round.number == 1 {
        return vec![Part { id: name, purpose: Purpose::Training, numbers: (0..asked).collect() }];
    }
    let before = round.total - round.new;
    let all: Vec<usize> = (0..asked).collect();
    let mut parts = Vec::new();
    for (i, chunk) in all.chunks(spec.collect.outstanding()).enumerate() {
        let id = if i == 0 { name.clone() } else { format!("{name}-{}", i + 1) };
        let (validation, training): (Vec<usize>, Vec<usize>) =
            chunk.iter().partition(|number| is_validation(spec, before + **number));
        parts.push(Part { id: id.clone(), purpose: Purpose::Training, numbers: training });
        parts.push(Part { id: format!("{id}-validation"), purpose: Purpose::Validation, numbers: validation });
    }
    parts.retain(|part| !part.numbers.is_empty());
    parts
}

/// The last part of a path: what is the same wherever files lie.
fn file_name(path: &mut Option<String>) {
    if let Some(text) = path {
        *text = Path::new(text.as_str()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    }
}

/// What the ids of a batch begin with: a hash of all that the spec says about its questions, and the batch's name. Not
/// the answers to earlier rounds, although later questions are of a policy that learned from them.
fn prefix(spec: &Spec, round: &Round, part: &Part) -> String {
    let mut of = spec.clone();
    for path in [&mut of.model.weights.path, &mut of.task.data.path] {
        file_name(path);
    }
    let mut human = of.labeler.human.clone().unwrap_or_default();
    let asked = {
        file_name(&mut human.gold);
        (human.gold, human.gold_share, human.repeat_share)
    };
    let collect = CollectSpec { outstanding: None, ..of.collect };
    let first = (&of.name, &of.model, &of.supervised, &of.task, collect, of.seed, asked);
    // Later questions are of a π that learned; neither how often it was saved nor when guards would have stopped it
    // matters.
    let checkpoint_every = PolicySpec::default().checkpoint_every;
    let policy = PolicySpec { checkpoint_every, ..of.policy };
    let later = (round.number > 1).then(|| (&of.reward, without_silence(&policy), GuardsSpec::default()));
    let text = serde_json::to_string(&(HUMAN, first, later)).unwrap_or_default();
    format!("{}-{}", &blake3::hash(text.as_bytes()).to_hex()[..8], part.id)
}

/// A policy's keys without those that batches were asked before, where they say what was done then.
fn without_silence(policy: &PolicySpec) -> Value {
    let mut value = serde_json::to_value(policy).unwrap_or_default();
    if let Some(keys) = value.as_object_mut() {
        keys.retain(|key, value| !is_what_silence_meant(&format!("policy.{key}"), &value.to_string()));
    }
    value
}

/// `labeler.batches`, which a spec with human labelers has.
pub fn batches(spec: &Spec) -> Result<&Path, StageError> {
    let path = spec.labeler.batches.as_deref().filter(|path| !path.is_empty());
    path.map(Path::new).ok_or_else(|| StageError::Input("labeler.batches: no directory is given".into()))
}

pub(super) fn human(spec: &Spec) -> HumanSpec {
    spec.labeler.human.clone().unwrap_or_default()
}

/// A batch that is there. Err: it has other questions.
pub(super) fn open(spec: &Spec, round: &Round, part: &Part) -> Result<Option<(Batch, Vec<Item>)>, StageError> {
    let at = batches(spec)?.join(&part.id);
    let Some((batch, items)) = existing(&at)? else { return Ok(None) };
    let prefix = prefix(spec, round, part);
    let questions: Vec<&Item> = items.iter().filter(|item| !item.is_check()).collect();
    let ours = questions.len() == part.numbers.len()
        && questions
            .iter()
            .all(|item| number(item).is_some_and(|n| item.id == item_id(&prefix, n) && n < questions.len()));
    if ours {
        return Ok(Some((batch, items)));
    }
    Err(LabelError::file(at, other_questions(&batch, &spec.name, spec.seed)).into())
}

fn item_id(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number:05}")
}

/// An item's place among the questions of its batch.
fn number(item: &Item) -> Option<usize> {
    item.id.rsplit_once('-')?.1.parse().ok()
}

/// The judge that a spec asks.
pub(super) fn judge(spec: &Spec) -> Result<Option<Judge>, StageError> {
    match (spec.labeler.kind, &spec.labeler.judge) {
        (LabelerKind::Judge, Some(judge)) => {
            let told = instructions(spec, &human(spec))?;
            Ok(Some(Judge::of(judge, spec.task.preset, &told)?))
        }
        (LabelerKind::Judge, None) => Err(StageError::Input("labeler.judge: no model is named".into())),
        _ => Ok(None),
    }
}

/// How far a round's answers are.
pub(super) enum Progress {
    /// Not all of its questions are there yet.
    Unasked,
    /// The first batch with missing answers.
    Waiting {
        batch: PathBuf,
        answered: usize,
        wanted: usize,
        dropped: usize,
    },
    Done(Answered),
}

/// All answers to a round's questions, as labels.
pub(super) struct Answered {
    round: usize,
    pub training: Vec<Label>,
    pub held_out: Vec<Label>,
    validation: Tally,
    pub report: HumanReport,
}

impl Answered {
    /// Of the labels themselves: where they come from does not matter, nor what was answered to checks.
    pub fn key(&self) -> Result<Key, StageError> {
        let inputs = ("human", HUMAN, self.round, &self.training, &self.held_out, self.validation);
        Ok(Key::new("labels", VERSION, &inputs)?)
    }

    pub fn write(&self, dir: &Path) -> Result<(), StageError> {
        let mut text = String::new();
        for label in self.training.iter().chain(&self.held_out) {
            text.push_str(&serde_json::to_string(label)?);
            text.push('\n');
        }
        let (training, held_out) = (self.training.len(), self.held_out.len());
        write_round(dir, &text, &RoundLabels { round: self.round, training, held_out, validation: self.validation })
    }
}

/// Reads the batches of a round and their answers.
pub(super) fn look(spec: &Spec, round: &Round) -> Result<Progress, StageError> {
    let dir = batches(spec)?;
    let mut all = Answered {
        round: round.number,
        training: Vec::new(),
        held_out: Vec::new(),
        validation: Tally::default(),
        report: HumanReport::default(),
    };
    let mut waiting = None;
    for part in parts(spec, round) {
        let Some((batch, items)) = open(spec, round, &part)? else { return Ok(Progress::Unasked) };
        let (found, dropped) = used(spec, dir, &batch, &items)?;
        if !found.used.complete() && waiting.is_none() {
            waiting = Some(Progress::Waiting {
                batch: dir.join(&part.id),
                answered: found.used.given,
                wanted: found.used.wanted,
                dropped: found.used.dropped,
            });
        }
        all.add(spec, round, &part, found, dropped);
    }
    all.report.training = all.training.len();
    all.report.held_out = all.held_out.len();
    Ok(waiting.unwrap_or(Progress::Done(all)))
}

impl Answered {
    fn add(&mut self, spec: &Spec, round: &Round, part: &Part, found: Used, dropped: BTreeSet<String>) {
        let prefix = prefix(spec, round, part);
        for (id, label) in found.labels {
            let place = id.strip_prefix(&format!("{prefix}-")).and_then(|n| n.parse::<usize>().ok());
            let place = place.and_then(|n| part.numbers.get(n)).copied().unwrap_or(0);
            if let (Purpose::Validation, Judgement::Best(best)) = (part.purpose, label.judgement) {
                self.validation.add(best >= VALIDATION_REFERENCES);
            }
            if round.number == 1 && place >= round.new { &mut self.held_out } else { &mut self.training }.push(label);
        }
        let used =
            HumanReport { labelers: found.labelers, dropped, batches: vec![found.used], ..HumanReport::default() };
        self.report.extend(used);
    }
}

/// The labels of one batch, and the labelers who are dropped.
pub(super) fn used(
    spec: &Spec,
    dir: &Path,
    batch: &Batch,
    items: &[Item],
) -> Result<(Used, BTreeSet<String>), StageError> {
    if let Some(judge) = judge(spec)? {
        // One labeler, however many people the batch was asked of.
        let once = Batch { labelers_per_item: 1, ..batch.clone() };
        let answers = judge.read(dir, items)?.answers;
        return Ok((labels(&once, items, &answers, human(spec).combine, spec.seed), BTreeSet::new()));
    }
    let answers = read::answers(dir, &batch.id, items)?;
    for problem in answers.problems.iter().take(MOST_PROBLEMS) {
        tracing::warn!("an answer is left out: {problem}");
    }
    if let Some(more) = answers.problems.len().checked_sub(MOST_PROBLEMS).filter(|more| *more > 0) {
        tracing::warn!("{more} more answers to {} are left out", batch.id);
    }
    let dropped = answers.excluded.iter().map(|a| a.labeler.clone()).collect();
    Ok((labels(batch, items, &answers, human(spec).combine, spec.seed), dropped))
}

/// Makes a round's comparisons, where they are wanted.
pub(super) type Sample<'a> = &'a mut dyn FnMut() -> Result<Vec<Comparison>, StageError>;

impl Desk<'_> {
    /// Writes the batches of a round that are not there yet. `sample` makes the questions, where that is so.
    pub(super) fn written(&self, round: &Round, sample: Sample<'_>) -> Result<(), StageError> {
        let mut comparisons = None;
        for part in parts(self.spec, round) {
            match open(self.spec, round, &part)? {
                Some((batch, _)) => self.warn_of_changes(round, &batch)?,
                None => {
                    let all = match &comparisons {
                        Some(all) => all,
                        None => comparisons.insert(sample()?),
                    };
                    self.write(round, &part, all)?;
                }
            }
        }
        Ok(())
    }

    /// Calls `then` with what samples a round's questions. What was sampled for questions that are not written yet is
    /// kept in the results directory, under the name `of` of all that it depends on.
    pub(super) fn sampling(
        &self,
        of: &str,
        ask: Ask<'_>,
        then: impl FnOnce(Sample<'_>) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let dir = self.context.out.join("runs").join(self.run).join("questions");
        let found = then(&mut || {
            let mut all = Vec::new();
            ask(&mut |asked| {
                let mut saved = match asked.collected {
                    Some(_) => self.context.unsaved(),
                    None => self.context.chunks(&dir, &format!("questions-{of}"))?,
                };
                all = asked.all(self.context, self.spec, &mut saved)?;
                Ok(())
            })?;
            Ok(all)
        });
        let written = matches!(found, Ok(()) | Err(StageError::Waiting { .. } | StageError::Spent(_)));
        if written && dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(StageError::io(&dir))?;
        }
        found
    }

    /// Not errors: a batch is as it was asked, and answers are about texts, whoever wrote them.
    fn warn_of_changes(&self, round: &Round, batch: &Batch) -> Result<(), StageError> {
        let wanted = human(self.spec).labelers_per_item;
        if batch.labelers_per_item != wanted && self.spec.labeler.kind != LabelerKind::Judge {
            tracing::warn!(
                "batch {} was asked of {} labelers per question, and labeler.human.labelers_per_item = {wanted} came too late",
                batch.id,
                batch.labelers_per_item
            );
        }
        let batched = self.spec.collect.schedule == CollectSchedule::Batched;
        if batched && round.number > 1 && batch.policy_hash != weights_hash(self.weights)? {
            tracing::warn!(
                "batch {} was sampled from another policy than the present one (an earlier round's labels changed); its \
                 answers are used all the same",
                batch.id
            );
        }
        Ok(())
    }

    pub(super) fn write(
        &self,
        round: &Round,
        part: &Part,
        all: &[Comparison],
    ) -> Result<(Batch, Vec<Item>), StageError> {
        let (spec, human) = (self.spec, human(self.spec));
        let mut questions = Vec::with_capacity(part.numbers.len());
        for number in &part.numbers {
            let missing = || StageError::Input(format!("{}: question {number} was never sampled", part.id));
            questions.push(self.question(round, all.get(*number).ok_or_else(missing)?)?);
        }
        let gold = gold(&human)?;
        let checks = Checks { gold: &gold, gold_share: human.gold_share, repeat_share: human.repeat_share };
        let items = arrange(spec.seed, &prefix(spec, round, part), &questions, &checks);
        let tokenizer = self.tokenizer_dir.join("tokenizer.json");
        let new = NewBatch {
            id: part.id.clone(),
            purpose: part.purpose,
            labelers_per_item: human.labelers_per_item,
            spec: spec.name.clone(),
            spec_hash: blake3::hash(resolved_toml(spec).as_bytes()).to_hex().to_string(),
            policy_hash: weights_hash(self.weights)?,
            tokenizer_hash: hash_file(&tokenizer).map_err(StageError::io(&tokenizer))?,
            update: part.numbers.iter().filter_map(|n| all.get(*n)).map(|c| c.update).max().unwrap_or(0),
            temperature: spec.task.temperature,
            seed: spec.seed,
            instructions: instructions(spec, &human)?,
        };
        let batch = write_batch(batches(spec)?, &new, &items)?;
        tracing::info!("{}: asked {} questions in batch {}", self.run, questions.len(), part.id);
        Ok((batch, items))
    }

    fn question(&self, round: &Round, comparison: &Comparison) -> Result<Question, StageError> {
        let text = |ids: &[u32]| Ok::<_, StageError>(Text { text: self.tokenizer.decode(ids)?, ids: ids.to_vec() });
        let empty = Vec::new();
        let query = self.task.bare(self.queries.get(comparison.query).unwrap_or(&empty));
        let mut candidates = Vec::new();
        for (i, drawn) in comparison.candidates.iter().enumerate() {
            // What people see, and what r then reads: the response up to its truncation token.
            let cut = self.task.cut(&drawn.response);
            let policy = round.number > 1 && !(comparison.validation && i < VALIDATION_REFERENCES);
            candidates.push(Candidate {
                response: text(&drawn.response[..cut.unwrap_or(drawn.response.len())])?,
                source: if policy { "policy" } else { "reference" }.into(),
                logprob: Some(f64::from(drawn.logprob)),
                valid: cut.is_some(),
            });
        }
        Ok(Question { query: text(&query)?, candidates })
    }
}

/// Hash of the weights in a directory: a model's, or a policy's between two rounds.
fn weights_hash(dir: &Path) -> Result<String, StageError> {
    let model = dir.join("model.safetensors");
    if model.exists() {
        return hash_file(&model).map_err(StageError::io(&model));
    }
    Ok(crate::model::checkpoint::newest_hash(dir)?)
}

/// Items with known answers.
fn gold(human: &HumanSpec) -> Result<Vec<Item>, StageError> {
    let Some(path) = human.gold.as_deref().filter(|path| !path.is_empty()).map(Path::new) else {
        return Ok(Vec::new());
    };
    let items: Vec<Item> = lines(path)?;
    for (i, item) in items.iter().enumerate() {
        let message = match (item.gold, item.candidates.len()) {
            (None, _) => "has no `gold`: the number of the best candidate, from 0".to_string(),
            (Some(gold), n) if gold >= n => format!("`gold` is {gold}, and there are {n} candidates, from 0 on"),
            (_, n) if n != CANDIDATES => format!("has {n} candidates, and questions have {CANDIDATES}"),
            _ => continue,
        };
        return Err(LabelError::Place { path: path.into(), line: i as u64 + 1, column: 1, message }.into());
    }
    Ok(items)
}

fn instructions(spec: &Spec, human: &HumanSpec) -> Result<String, StageError> {
    match human.instructions.as_deref().filter(|path| !path.is_empty()) {
        Some(path) => read_to_string(Path::new(path)).map_err(StageError::io(path)),
        None => Ok(built_in(spec.task.preset).to_string()),
    }
}
