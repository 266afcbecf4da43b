//! progress.json: how far a run is, while it goes on; for `runner ls`.

use super::file;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// progress.json while a run goes on; a run that ended has none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The stage, and the run of the spec that it is of.
    pub stage: String,
    /// From 0 to 1; none for a stage that does not count.
    pub share: Option<f64>,
    /// RFC 3339.
    pub updated_at: String,
    /// When the whole run will be done, RFC 3339, as far as can be told.
    pub done_by: Option<String>,
}

impl Progress {
    /// Where it is kept.
    pub fn path(out: &Path) -> PathBuf {
        out.join(file::PROGRESS)
    }

    /// What a run says of itself, where one goes on or was killed.
    pub fn read(out: &Path) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(Self::path(out)).ok()?).ok()
    }

    /// Overwritten without syncing: after a crash nobody needs it.
    pub fn write(&self, out: &Path) {
        let path = Self::path(out);
        let temporary = path.with_extension("json.tmp");
        let text = serde_json::to_string(self).unwrap_or_default();
        let written = fs::write(&temporary, text + "\n").and_then(|()| fs::rename(&temporary, &path));
        if let Err(e) = written {
            tracing::debug!("{}: {e}", path.display());
        }
    }
}
