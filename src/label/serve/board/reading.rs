//! Reading the directory: batches once, and what changes besides them again and again.

use super::{Board, Loaded};
use crate::label::LabelError;
use crate::label::batch::Batch;
use crate::label::batch::outline::Outline;
use crate::label::batch::read::{self, LineSpan};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Problems kept with their text; all are counted.
const PROBLEMS: usize = 100;

/// A batch as it was read, before it is taken in.
#[derive(Debug)]
pub struct ReadBatch {
    batch: Batch,
    outlines: Vec<Outline>,
    spans: Vec<LineSpan>,
}

impl ReadBatch {
    /// Reads and checks a batch's items.
    pub fn read(dir: &Path, batch: Batch) -> Result<Self, LabelError> {
        let mut spans = Vec::with_capacity(batch.items);
        let outlines = read::each_item(dir, &batch.id, &mut |_, span| spans.push(span))?;
        Ok(Self { batch, outlines, spans })
    }
}

fn state_of(path: &Path) -> Option<(u64, SystemTime)> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.len(), data.modified().ok()?))
}

impl Board {
    /// Reads all batches of a directory. Err: one of them cannot be asked.
    pub fn load(dir: &Path, lease: Duration) -> Result<Self, LabelError> {
        let mut board = Self { dir: dir.into(), lease, ..Self::default() };
        for batch in read::batches(dir)? {
            board.add(ReadBatch::read(dir, batch)?)?;
        }
        board.refresh()?;
        Ok(board)
    }

    /// Reads what is new besides batches: other tools' answers, dropped labelers.
    pub fn refresh(&mut self) -> Result<(), LabelError> {
        for i in 0..self.batches.len() {
            self.read_others(i)?;
        }
        self.read_labelers()
    }

    /// Takes in a batch with the answers that it has. Err: ids are taken.
    pub fn add(&mut self, new: ReadBatch) -> Result<(), LabelError> {
        let ReadBatch { batch, outlines, spans } = new;
        let first = self.items.len();
        for item in &outlines {
            if let Some(other) = self.by_id.get(&item.id) {
                let other = self.batch_of(*other as usize).map(|b| b.id.clone()).unwrap_or_default();
                return Err(LabelError::Unusable(format!(
                    "{}: batches {other} and {} both have an item {:?}; ids must differ in all batches of a directory",
                    self.dir.display(),
                    batch.id,
                    item.id
                )));
            }
        }
        for (i, item) in outlines.iter().enumerate() {
            self.by_id.insert(item.id.clone(), (first + i) as u32);
            self.given.push(Vec::new());
            if item.is_check() {
                self.checks.push((first + i) as u32);
            }
        }
        Arc::make_mut(&mut self.items).extend(outlines);
        let own = self.dir.join(&batch.id).join("answers.jsonl");
        self.batches.push(Loaded { batch: Arc::new(batch), first, spans, others: Vec::new() });
        if own.exists() {
            self.read_answers(self.batches.len() - 1, &own)?;
        }
        self.settle();
        Ok(())
    }

    /// Other tools' answers, where their files have changed.
    fn read_others(&mut self, i: usize) -> Result<(), LabelError> {
        let dir = self.dir.join(&self.batches[i].batch.id);
        for path in read::answer_files(&dir)?.into_iter().filter(|p| !p.ends_with("answers.jsonl")) {
            let state = state_of(&path);
            let known = self.batches[i].others.iter().position(|(p, _)| *p == path);
            if known.is_some_and(|k| self.batches[i].others[k].1 == state) {
                continue;
            }
            self.read_answers(i, &path)?;
            match known {
                Some(k) => self.batches[i].others[k].1 = state,
                None => self.batches[i].others.push((path, state)),
            }
            self.settle();
        }
        Ok(())
    }

    fn read_answers(&mut self, i: usize, path: &Path) -> Result<(), LabelError> {
        let range = self.batches[i].first..self.batches[i].first + self.batches[i].spans.len();
        read::each_answer(path, &mut |line, parsed| {
            let taken = parsed.and_then(|answer| {
                let item = self.by_id.get(answer.item.as_str()).map(|i| *i as usize).filter(|i| range.contains(i));
                let item = item.ok_or_else(|| format!("there is no item {:?} in this batch", answer.item))?;
                read::check_answer(&answer, self.items[item].candidates())?;
                self.take(item, &answer);
                Ok(())
            });
            if let Err(message) = taken {
                self.problem(format!("{}:{line}: {message}", path.display()));
            }
        })
    }

    fn problem(&mut self, text: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS && !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }

    fn read_labelers(&mut self) -> Result<(), LabelError> {
        let state = state_of(&self.dir.join("labelers.jsonl"));
        if state == self.labelers_file {
            return Ok(());
        }
        let dropped = read::dropped(&self.dir)?;
        for name in &dropped {
            self.person(name);
        }
        for person in &mut self.people {
            person.dropped = dropped.contains(&person.name);
            person.cursor = 0;
        }
        self.labelers_file = state;
        self.version += 1;
        Ok(())
    }

    /// Puts histories into the order of time after reading files.
    fn settle(&mut self) {
        for i in 0..self.people.len() {
            let mut history: Vec<(i64, u32)> = std::mem::take(&mut self.people[i].history)
                .into_iter()
                .map(|item| (self.given_by(i as u32, item as usize).and_then(|g| g.at).unwrap_or(0), item))
                .collect();
            history.sort_unstable();
            let person = &mut self.people[i];
            person.history = history.into_iter().map(|(_, item)| item).collect();
            person.cursor = 0;
        }
        self.version += 1;
    }
}
