//! What the server knows of a directory of batches: items without their texts, answers, and who has which item now.
//!
//! A labeler gets one item at a time, on lease: nobody else gets it until it is answered or the lease is over, unless
//! it wants more than one answer. Checks (gold items and repeats) go to every labeler at even intervals, whoever else
//! has them.

mod leases;
mod progress;
mod reading;

pub use leases::{Lease, Next};
pub use reading::ReadBatch;

use crate::label::batch::outline::Outline;
use crate::label::batch::quality::{Replies, Reply, seconds_between, unix};
use crate::label::batch::read::{BatchProgress, LineSpan};
use crate::label::batch::{Answer, Batch, Item};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A labeler's answer that counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CountedAnswer {
    pub labeler: u32,
    pub revision: u32,
    /// `None`: skipped.
    pub best: Option<u8>,
    pub seconds: Option<f32>,
    pub at: Option<i64>,
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
    spans: Vec<LineSpan>,
    /// Other tools' files and their state when they were read.
    others: Vec<(PathBuf, Option<(u64, SystemTime)>)>,
}

/// How an answer stands to what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerStanding {
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
    given: Vec<Vec<CountedAnswer>>,
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
    overall: Option<((Instant, u64), BatchProgress)>,
    /// Goes up with every change of what the dashboard shows.
    pub version: u64,
}

impl Board {
    pub fn has(&self, batch: &str) -> bool {
        self.batches.iter().any(|b| b.batch.id == batch)
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
    pub fn place(&self, item: usize) -> Option<(PathBuf, String, LineSpan)> {
        let after = self.batches.partition_point(|b| b.first <= item);
        let loaded = self.batches.get(after.checked_sub(1)?)?;
        Some((self.dir.clone(), loaded.batch.id.clone(), *loaded.spans.get(item - loaded.first)?))
    }

    pub fn given_by(&self, labeler: u32, item: usize) -> Option<&CountedAnswer> {
        self.given.get(item)?.iter().find(|g| g.labeler == labeler)
    }

    /// How an answer stands to what this labeler said before.
    pub fn standing(&self, labeler: u32, item: usize, best: Option<u8>, revision: u32) -> AnswerStanding {
        match self.given_by(labeler, item) {
            None => AnswerStanding::New,
            Some(known) if known.revision > revision => AnswerStanding::Outdated,
            Some(known) if known.revision == revision && known.best == best => AnswerStanding::Known,
            Some(known) if known.revision == revision => AnswerStanding::Outdated,
            Some(_) => AnswerStanding::New,
        }
    }

    /// Counts an answer that is on disk; an older revision, or the same once more, changes nothing.
    pub fn take(&mut self, item: usize, answer: &Answer) {
        let labeler = self.person(&answer.labeler);
        let new = CountedAnswer {
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

    /// Everything that quality is computed from, and who is dropped.
    pub fn replies(&self) -> (Arc<Vec<Outline>>, Replies, BTreeSet<String>) {
        let labelers = self.people.iter().map(|p| p.name.clone()).collect();
        let of = |(item, given): (usize, &Vec<CountedAnswer>)| -> Vec<Reply> {
            let reply = |g: &CountedAnswer| Reply {
                item: item as u32,
                labeler: g.labeler,
                best: g.best,
                seconds: g.seconds,
                at: g.at,
            };
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
