//! What the server knows of a directory of batches: items without their texts, answers, and who has which item now.
//!
//! A labeler gets one item at a time, on lease: nobody else gets it until it is answered or the lease is over, unless it wants
//! more than one answer. Checks (gold items and repeats) go to every labeler at even intervals, whoever else has them.

use crate::label::LabelError;
use crate::label::batch::outline::Outline;
use crate::label::batch::quality::{Replies, Reply, seconds_between, unix};
use crate::label::batch::read::{self, Progress, Span};
use crate::label::batch::{Answer, Batch, Item};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Fewest questions between two checks.
const LEAST_INTERVAL: usize = 3;
/// A repeat comes at least this many answers after the first asking.
const APART: usize = 3;
/// Items above which progress may be a little old: counting takes milliseconds, and every question shows it.
const LARGE: usize = 2000;
const RECENT: Duration = Duration::from_secs(1);
/// Problems kept with their text; all are counted.
const PROBLEMS: usize = 100;

/// A labeler's answer that counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Given {
    pub labeler: u32,
    pub revision: u32,
    /// `None`: skipped.
    pub best: Option<u8>,
    pub seconds: Option<f32>,
    pub at: Option<i64>,
}

/// An item in somebody's hands.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    pub item: usize,
    pub shown: jiff::Timestamp,
    pub since: Instant,
    until: Instant,
}

#[derive(Debug, Default)]
struct Person {
    name: String,
    dropped: bool,
    /// Every item before this one is done, or done by this labeler.
    cursor: usize,
    questions: usize,
    checks: usize,
    skips: usize,
    /// Items in the order of the first answers.
    history: Vec<u32>,
    lease: Option<Lease>,
    /// The item that is looked at again.
    review: Option<Lease>,
}

#[derive(Debug)]
struct Loaded {
    batch: Arc<Batch>,
    first: usize,
    spans: Vec<Span>,
    /// Other tools' files and their state when they were read.
    others: Vec<(PathBuf, Option<(u64, SystemTime)>)>,
}

/// A batch as it was read, before it is taken in.
#[derive(Debug)]
pub struct Fetched {
    batch: Batch,
    outlines: Vec<Outline>,
    spans: Vec<Span>,
}

impl Fetched {
    /// Reads and checks a batch's items.
    pub fn read(dir: &Path, batch: Batch) -> Result<Self, LabelError> {
        let mut spans = Vec::with_capacity(batch.items);
        let outlines = read::each_item(dir, &batch.id, &mut |_, span| spans.push(span))?;
        Ok(Self { batch, outlines, spans })
    }
}

/// What a labeler gets next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Item(usize),
    /// What is left is in others' hands.
    Wait,
    Done,
    Dropped,
}

/// How an answer stands to what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    New,
    /// The same was said before; nothing to write.
    Known,
    /// A later revision is known.
    Outdated,
}

#[derive(Debug, Default)]
pub struct Board {
    dir: PathBuf,
    batches: Vec<Loaded>,
    items: Arc<Vec<Outline>>,
    by_id: HashMap<Box<str>, u32>,
    given: Vec<Vec<Given>>,
    /// Indices of checks.
    checks: Vec<u32>,
    people: Vec<Person>,
    by_name: HashMap<String, u32>,
    leased: HashMap<usize, Vec<u32>>,
    lease: Duration,
    problems: Vec<String>,
    problem_count: usize,
    labelers_file: Option<(u64, SystemTime)>,
    /// When and of which version it was computed.
    overall: Option<((Instant, u64), Progress)>,
    /// Goes up with every change of what the dashboard shows.
    pub version: u64,
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
            board.add(Fetched::read(dir, batch)?)?;
        }
        board.refresh()?;
        Ok(board)
    }

    pub fn has(&self, batch: &str) -> bool {
        self.batches.iter().any(|b| b.batch.id == batch)
    }

    /// Reads what is new besides batches: other tools' answers, dropped labelers.
    pub fn refresh(&mut self) -> Result<(), LabelError> {
        for i in 0..self.batches.len() {
            self.read_others(i)?;
        }
        self.read_labelers()
    }

    /// Takes in a batch with the answers that it has. Err: ids are taken.
    pub fn add(&mut self, new: Fetched) -> Result<(), LabelError> {
        let Fetched { batch, outlines, spans } = new;
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

    /// The index of a labeler, known or new.
    pub fn person(&mut self, name: &str) -> u32 {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let index = self.people.len() as u32;
        self.people.push(Person { name: name.into(), ..Person::default() });
        self.by_name.insert(name.into(), index);
        index
    }

    /// Labelers who have answered, or were dropped.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.people.iter().filter(|p| p.dropped || !p.history.is_empty()).map(|p| p.name.as_str())
    }

    /// Questions, and checks.
    pub fn counts(&self) -> (usize, usize) {
        (self.items.len() - self.checks.len(), self.checks.len())
    }

    pub fn item(&self, index: usize) -> &Outline {
        &self.items[index]
    }

    pub fn find(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).map(|i| *i as usize)
    }

    pub fn batch_of(&self, item: usize) -> Option<&Arc<Batch>> {
        let after = self.batches.partition_point(|b| b.first <= item);
        self.batches.get(after.checked_sub(1)?).map(|b| &b.batch)
    }

    pub fn batch(&self, id: &str) -> Option<&Arc<Batch>> {
        self.batches.iter().map(|b| &b.batch).find(|b| b.id == id)
    }

    /// Where an item's texts are: the directory of batches, the batch's id, the line.
    pub fn place(&self, item: usize) -> Option<(PathBuf, String, Span)> {
        let after = self.batches.partition_point(|b| b.first <= item);
        let loaded = self.batches.get(after.checked_sub(1)?)?;
        Some((self.dir.clone(), loaded.batch.id.clone(), *loaded.spans.get(item - loaded.first)?))
    }

    pub fn given_by(&self, labeler: u32, item: usize) -> Option<&Given> {
        self.given.get(item)?.iter().find(|g| g.labeler == labeler)
    }

    /// Answers that count, of an item.
    fn have(&self, item: usize) -> usize {
        self.given[item].iter().filter(|g| !self.people[g.labeler as usize].dropped).count()
    }

    fn wanted(&self, item: usize) -> usize {
        let per_item = self.batch_of(item).map_or(1, |b| b.labelers_per_item);
        self.items[item].wanted(per_item)
    }

    /// Whether other labelers hold as many leases of an item as it wants answers.
    fn held(&self, item: usize, labeler: u32) -> bool {
        let others = self.leased.get(&item).map_or(0, |l| l.iter().filter(|other| **other != labeler).count());
        self.have(item) + others >= self.wanted(item)
    }

    fn expire(&mut self, now: Instant) {
        for i in 0..self.people.len() {
            if self.people[i].lease.is_some_and(|lease| lease.until <= now) {
                self.release(i as u32);
            }
        }
    }

    fn release(&mut self, labeler: u32) {
        if let Some(lease) = self.people[labeler as usize].lease.take()
            && let Some(holders) = self.leased.get_mut(&lease.item)
        {
            holders.retain(|l| *l != labeler);
            if holders.is_empty() {
                self.leased.remove(&lease.item);
            }
        }
    }

    /// What `labeler` should answer now; the same until it is answered or the lease ends.
    pub fn next(&mut self, labeler: u32, now: Instant) -> Next {
        if self.people[labeler as usize].dropped {
            self.release(labeler);
            return Next::Dropped;
        }
        self.expire(now);
        let until = now + self.lease;
        if let Some(lease) = &mut self.people[labeler as usize].lease {
            lease.until = until;
            return Next::Item(lease.item);
        }
        let found = match self.check_is_due(labeler).then(|| self.due_check(labeler)).flatten() {
            Some(check) => Ok(check),
            None => self.question(labeler),
        };
        match found {
            Ok(item) => {
                let lease = Lease { item, shown: jiff::Timestamp::now(), since: now, until };
                self.people[labeler as usize].lease = Some(lease);
                self.leased.entry(item).or_default().push(labeler);
                Next::Item(item)
            }
            Err(nothing) => nothing,
        }
    }

    fn check_is_due(&self, labeler: u32) -> bool {
        let questions = self.items.len() - self.checks.len();
        if self.checks.is_empty() {
            return false;
        }
        let interval = (questions / self.checks.len()).max(LEAST_INTERVAL);
        let person = &self.people[labeler as usize];
        person.questions >= (person.checks + 1) * interval
    }

    /// A check that this labeler has not answered: a gold item, or a repeat of what they answered some time ago.
    fn due_check(&self, labeler: u32) -> Option<usize> {
        let history = &self.people[labeler as usize].history;
        let recent = &history[history.len().saturating_sub(APART)..];
        let fits = |check: usize| {
            if self.given_by(labeler, check).is_some() {
                return false;
            }
            match self.items[check].repeat_of.as_deref().and_then(|id| self.find(id)) {
                None => true,
                Some(first) => self.given_by(labeler, first).is_some() && !recent.contains(&(first as u32)),
            }
        };
        self.checks.iter().map(|c| *c as usize).find(|c| fits(*c))
    }

    /// The first question that wants this labeler's answer, then checks that nobody has answered.
    fn question(&mut self, labeler: u32) -> Result<usize, Next> {
        let mut item = self.people[labeler as usize].cursor;
        let (mut passed, mut waiting) = (true, false);
        while item < self.items.len() {
            let done = self.items[item].is_check()
                || self.given_by(labeler, item).is_some()
                || self.have(item) >= self.wanted(item);
            if done && passed {
                self.people[labeler as usize].cursor = item + 1;
            }
            if !done {
                passed = false;
                if !self.held(item, labeler) {
                    return Ok(item);
                }
                waiting = true;
            }
            item += 1;
        }
        let open = self.checks.iter().map(|c| *c as usize).filter(|c| self.have(*c) == 0);
        let open: Vec<usize> = open.filter(|c| self.given_by(labeler, *c).is_none()).collect();
        match open.iter().find(|c| !self.held(**c, labeler)) {
            Some(check) => Ok(*check),
            None if waiting || !open.is_empty() => Err(Next::Wait),
            None => Err(Next::Done),
        }
    }

    /// When an item was shown to a labeler, for the time that it took.
    pub fn shown(&self, labeler: u32, item: usize) -> Option<Lease> {
        let person = &self.people[labeler as usize];
        [person.review, person.lease].into_iter().flatten().find(|lease| lease.item == item)
    }

    /// The item answered `steps` answers ago, from 1, to be looked at again.
    pub fn review(&mut self, labeler: u32, steps: usize, now: Instant) -> Option<usize> {
        let person = &mut self.people[labeler as usize];
        let item = *person.history.get(person.history.len().checked_sub(steps.max(1))?)? as usize;
        person.review = Some(Lease { item, shown: jiff::Timestamp::now(), since: now, until: now });
        Some(item)
    }

    /// How an answer stands to what this labeler said before.
    pub fn standing(&self, labeler: u32, item: usize, best: Option<u8>, revision: u32) -> Standing {
        match self.given_by(labeler, item) {
            None => Standing::New,
            Some(known) if known.revision > revision => Standing::Outdated,
            Some(known) if known.revision == revision && known.best == best => Standing::Known,
            Some(known) if known.revision == revision => Standing::Outdated,
            Some(_) => Standing::New,
        }
    }

    /// Counts an answer that is on disk; an older revision, or the same once more, changes nothing.
    pub fn take(&mut self, item: usize, answer: &Answer) {
        let labeler = self.person(&answer.labeler);
        let new = Given {
            labeler,
            revision: answer.revision,
            best: answer.best.and_then(|b| u8::try_from(b).ok()),
            seconds: seconds_between(answer.shown_at.as_deref(), answer.answered_at.as_deref()),
            at: unix(answer.answered_at.as_deref()),
        };
        let is_check = self.items[item].is_check();
        let person = &mut self.people[labeler as usize];
        match self.given[item].iter_mut().find(|g| g.labeler == labeler) {
            Some(known) if known.revision >= new.revision => return,
            Some(known) => {
                person.skips = person.skips + usize::from(new.best.is_none()) - usize::from(known.best.is_none());
                *known = new;
            }
            None => {
                self.given[item].push(new);
                person.history.push(item as u32);
                person.skips += usize::from(new.best.is_none());
                *(if is_check { &mut person.checks } else { &mut person.questions }) += 1;
            }
        }
        if person.review.is_some_and(|lease| lease.item == item) {
            person.review = None;
        }
        if person.lease.is_some_and(|lease| lease.item == item) {
            self.release(labeler);
        }
        self.version += 1;
    }

    /// Answers and skips of one labeler.
    pub fn own(&self, labeler: u32) -> (usize, usize) {
        let person = &self.people[labeler as usize];
        (person.history.len() - person.skips, person.skips)
    }

    /// How far each batch is.
    pub fn progress(&self) -> Vec<(Arc<Batch>, Progress)> {
        self.batches.iter().map(|b| (Arc::clone(&b.batch), self.progress_of(b))).collect()
    }

    fn progress_of(&self, loaded: &Loaded) -> Progress {
        let mut progress = Progress { items: loaded.spans.len(), ..Progress::default() };
        let mut labelers = BTreeSet::new();
        for item in loaded.first..loaded.first + loaded.spans.len() {
            let counted = self.given[item].iter().filter(|g| !self.people[g.labeler as usize].dropped);
            let (mut have, mut chosen) = (0, 0);
            for given in counted {
                have += 1;
                chosen += usize::from(given.best.is_some());
                labelers.insert(given.labeler);
            }
            let wanted = self.items[item].wanted(loaded.batch.labelers_per_item);
            progress.wanted += wanted;
            progress.have += have.min(wanted);
            progress.skipped += have - chosen;
            progress.complete += usize::from(have >= wanted);
            progress.answered += usize::from(chosen > 0);
        }
        progress.labelers = labelers.len();
        progress
    }

    /// How far all batches are together; of large directories up to a second old.
    pub fn overall(&mut self, now: Instant) -> Progress {
        if let Some(((at, version), known)) = self.overall {
            let recent = self.items.len() > LARGE && now.saturating_duration_since(at) < RECENT;
            if version == self.version || recent {
                return known;
            }
        }
        let all = self.batches.iter().fold(Progress::default(), |sum, b| sum.and(self.progress_of(b)));
        self.overall = Some(((now, self.version), all));
        all
    }

    /// Everything that quality is computed from, and who is dropped.
    pub fn replies(&self) -> (Arc<Vec<Outline>>, Replies, BTreeSet<String>) {
        let labelers = self.people.iter().map(|p| p.name.clone()).collect();
        let of = |(item, given): (usize, &Vec<Given>)| -> Vec<Reply> {
            let reply =
                |g: &Given| Reply { item: item as u32, labeler: g.labeler, best: g.best, seconds: g.seconds, at: g.at };
            given.iter().map(reply).collect()
        };
        let replies = self.given.iter().enumerate().flat_map(of).collect();
        let dropped = self.people.iter().filter(|p| p.dropped).map(|p| p.name.clone()).collect();
        (Arc::clone(&self.items), Replies { labelers, replies }, dropped)
    }

    /// The first problems, and how many there are.
    pub fn problems(&self) -> (&[String], usize) {
        (&self.problems, self.problem_count)
    }

    /// Labelers who hold an item now.
    pub fn at_work(&self) -> usize {
        self.people.iter().filter(|p| p.lease.is_some()).count()
    }
}

/// An item's texts in the order in which a labeler sees them.
pub fn in_order(item: &Item) -> Vec<&str> {
    item.order.iter().filter_map(|c| item.candidates.get(*c)).map(|c| c.response.text.as_str()).collect()
}
