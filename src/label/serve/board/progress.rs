//! How far batches are.

use super::{Board, Loaded};
use crate::label::batch::Batch;
use crate::label::batch::read::BatchProgress;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Items above which progress may be a little old: counting takes milliseconds, and every question shows it.
const LARGE: usize = 2000;
const RECENT: Duration = Duration::from_secs(1);

impl Board {
    /// How far each batch is.
    pub fn progress(&self) -> Vec<(Arc<Batch>, BatchProgress)> {
        self.batches.iter().map(|b| (Arc::clone(&b.batch), self.progress_of(b))).collect()
    }

    fn progress_of(&self, loaded: &Loaded) -> BatchProgress {
        let mut progress = BatchProgress { items: loaded.spans.len(), ..BatchProgress::default() };
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
    pub fn overall(&mut self, now: Instant) -> BatchProgress {
        if let Some(((at, version), known)) = self.overall {
            let recent = self.items.len() > LARGE && now.saturating_duration_since(at) < RECENT;
            if version == self.version || recent {
                return known;
            }
        }
        let all = self.batches.iter().fold(BatchProgress::default(), |sum, b| sum.and(self.progress_of(b)));
        self.overall = Some(((now, self.version), all));
        all
    }
}
