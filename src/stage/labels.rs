//! The labels of a round: one artifact with labels.jsonl, which holds the round's labels to train on and then, in the
//! first round, `collect.held_out` more; round.json; and what its labeler has to say of them.

use crate::context::StageError;
use crate::labeler::rounds::Round;
use crate::labeler::{Ask, Desk, labeler};
use crate::store::cache::Key;
use std::path::PathBuf;

/// The labels' directory; where it is there, nothing is asked.
pub fn run(desk: &Desk<'_>, round: &Round, key: &Key, ask: Ask<'_>) -> Result<PathBuf, StageError> {
    let labeler = labeler(desk.spec.labeler.kind);
    let dir = desk.context.artifact(Some(desk.run), key, |work| labeler.label(desk, round, ask, &work.dir))?;
    desk.context.has_read_for(&dir)?;
    Ok(dir)
}
