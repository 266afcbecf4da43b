//! Who gets which item next, and for how long it is theirs.

use super::Board;
use std::time::Instant;

/// Fewest questions between two checks.
const LEAST_INTERVAL: usize = 3;
/// A repeat comes at least this many answers after the first asking.
const APART: usize = 3;

/// An item in somebody's hands.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    pub item: usize,
    pub shown: jiff::Timestamp,
    pub since: Instant,
    until: Instant,
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

impl Board {
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

    pub(super) fn release(&mut self, labeler: u32) {
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
}
