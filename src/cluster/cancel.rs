//! `runner cluster cancel`: what waits is taken out of the queue, what runs saves and ends.

use super::ledger::Ledger;
use super::slurm::{self, Live};
use super::submit::CANCELLED;
use super::{ClusterError, FOLDER};
use crate::results::stops::now;
use crate::store::atomic::write_atomic;
use std::path::Path;

/// How many of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled {
    pub waiting: usize,
    pub running: usize,
}

/// Cancels everything that was submitted from `out`.
///
/// # Errors
/// Nothing was; the engine cannot be asked or refuses.
pub fn cancel(out: &Path) -> Result<Cancelled, ClusterError> {
    let path = Ledger::path(out);
    let none = || ClusterError::Input(format!("nothing was submitted: there is no {}", path.display()));
    let ledger = Ledger::read(out)?.ok_or_else(none)?;
    let live = slurm::live(&ledger.names())?;
    let (waiting, running): (Vec<&Live>, Vec<&Live>) = live.iter().partition(|live| live.is_pending());
    if live.is_empty() {
        return Ok(Cancelled { waiting: 0, running: 0 });
    }
    // Before anybody is told: a script that ends looks for it before it queues itself again.
    let mark = out.join(FOLDER).join(CANCELLED);
    write_atomic(&mark, format!("{}\n", now()).as_bytes()).map_err(ClusterError::io(&mark))?;
    let ids = |of: &[&Live]| -> Vec<String> { of.iter().map(|live| live.id.clone()).collect() };
    slurm::withdraw(&ids(&waiting))?;
    slurm::tell(&ids(&running))?;
    Ok(Cancelled { waiting: waiting.len(), running: running.len() })
}
