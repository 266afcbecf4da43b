//! A random sample of a stream of labels, in random order and in no more memory than it takes.

use super::Label;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Keeps the labels of lowest rank. Where a label's rank is a random function of its query, the sample is one of
/// queries: labels of one query stay together, so that what is held out behind the training labels does not share its
/// queries with them (but for one query at the boundary).
#[derive(Debug, Default)]
pub struct Draw {
    most: usize,
    seen: u64,
    kept: BinaryHeap<Ranked>,
}

/// Ordered by rank, and labels of equal rank as they came.
#[derive(Debug)]
struct Ranked {
    rank: (u64, u64),
    label: Label,
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl Draw {
    /// Of at most `most` labels.
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Labels offered so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    pub fn add(&mut self, rank: u64, label: Label) {
        let rank = (rank, self.seen);
        self.seen += 1;
        if self.kept.len() < self.most {
            self.kept.push(Ranked { rank, label });
        } else if let Some(mut last) = self.kept.peek_mut()
            && rank < last.rank
        {
            *last = Ranked { rank, label };
        }
    }

    /// The labels kept, by rank.
    pub fn finish(self) -> Vec<Label> {
        self.kept.into_sorted_vec().into_iter().map(|ranked| ranked.label).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Judgement;

    #[test]
    fn the_lowest_ranks_are_kept_in_order() {
        let mut draw = Draw::new(3);
        for (i, rank) in [5, 1, 9, 1, 0, 7].into_iter().enumerate() {
            let label = Label {
                query: vec![i as u32],
                samples: vec![vec![1]],
                judgement: Judgement::Rating(0.0),
                scores: None,
                worker: None,
                batch: None,
                split: None,
                confidence: None,
            };
            draw.add(rank, label);
        }
        assert_eq!(draw.seen(), 6);
        let order: Vec<u32> = draw.finish().into_iter().map(|label| label.query[0]).collect();
        assert_eq!(order, [4, 1, 3]);
        assert!(Draw::new(0).finish().is_empty());
    }
}
