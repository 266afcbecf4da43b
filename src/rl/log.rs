//! metrics.jsonl of a run that is being trained: in its artifact, which checkpoints count on; the same lines in the
//! results directory, for whoever watches; and TensorBoard's events.

use crate::context::StageError;
use crate::results::tensorboard::Events;
use crate::results::{file, name, number, read_metrics};
use crate::store::cache::publish;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The three of them, open at their ends.
pub struct Log {
    path: PathBuf,
    metrics: fs::File,
    live_path: PathBuf,
    live: fs::File,
    events: Events,
}

impl Log {
    /// Goes on with the lines that `dir` has. `results`: the results directory; `run`: of which run in it.
    pub fn open(dir: &Path, results: &Path, run: &str) -> Result<Self, StageError> {
        let path = dir.join(file::METRICS);
        let metrics = fs::File::options().create(true).append(true).open(&path).map_err(StageError::io(&path))?;
        let live_path = results.join("runs").join(run).join(file::METRICS);
        publish(&path, &live_path).map_err(StageError::io(&live_path))?;
        let live = fs::File::options().append(true).open(&live_path).map_err(StageError::io(&live_path))?;
        let events = Events::open(&live_path, &results.join("tensorboard").join(run))?;
        Ok(Self { path, metrics, live_path, live, events })
    }

    /// Adds the line of an update to all three.
    pub fn add(&mut self, line: &impl Serialize) -> Result<(), StageError> {
        let text = format!("{}\n", serde_json::to_string(line)?);
        self.metrics.write_all(text.as_bytes()).map_err(StageError::io(&self.path))?;
        self.live.write_all(text.as_bytes()).map_err(StageError::io(&self.live_path))?;
        let step: Map<String, Value> = serde_json::from_str(&text)?;
        Ok(self.events.add(&step)?)
    }

    /// Length of metrics.jsonl.
    pub fn bytes(&self) -> Result<u64, StageError> {
        Ok(fs::metadata(&self.path).map_err(StageError::io(&self.path))?.len())
    }

    /// elapsed/time of the last line, or 0.
    pub fn last_time(&self) -> Result<f64, StageError> {
        Ok(read_metrics(&self.path)?.last().and_then(|line| number(line, name::TIME)).unwrap_or(0.0))
    }
}

/// Shortens a file to its first `bytes`, which it has: setting the length of a shorter one would fill it with zeros.
pub fn cut(path: &Path, bytes: u64) -> std::io::Result<()> {
    let file = fs::File::options().write(true).create(true).truncate(false).open(path)?;
    let length = file.metadata()?.len();
    if length < bytes {
        let message = format!("has {length} bytes, and the checkpoint counts on {bytes}");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
    }
    file.set_len(bytes)
}
