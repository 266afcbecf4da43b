//! metrics.jsonl of a run that is being trained: in its artifact, which checkpoints count on; the same lines in the
//! results directory, for whoever watches; and TensorBoard's events.

use crate::context::StageError;
use crate::ranks;
use crate::results::tensorboard::Events;
use crate::results::{file, name, number, read_metrics};
use crate::store::cache::publish;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The three of them, open at their ends; of several ranks the first has them, and the others nothing.
pub struct Log {
    files: Option<Files>,
}

struct Files {
    path: PathBuf,
    metrics: fs::File,
    live_path: PathBuf,
    live: fs::File,
    events: Events,
}

impl Log {
    /// Goes on with the lines that `dir` has. `results`: the results directory; `run`: of which run in it.
    pub fn open(dir: &Path, results: &Path, run: &str) -> Result<Self, StageError> {
        if !ranks::is_first() {
            return Ok(Self { files: None });
        }
        let path = dir.join(file::METRICS);
        let metrics = fs::File::options().create(true).append(true).open(&path).map_err(StageError::io(&path))?;
        let live_path = results.join("runs").join(run).join(file::METRICS);
        publish(&path, &live_path).map_err(StageError::io(&live_path))?;
        let live = fs::File::options().append(true).open(&live_path).map_err(StageError::io(&live_path))?;
        let events = Events::open(&live_path, &results.join("tensorboard").join(run))?;
        Ok(Self { files: Some(Files { path, metrics, live_path, live, events }) })
    }

    /// Adds the line of an update to all three.
    pub fn add(&mut self, line: &impl Serialize) -> Result<(), StageError> {
        let Some(files) = &mut self.files else { return Ok(()) };
        let text = format!("{}\n", serde_json::to_string(line)?);
        files.metrics.write_all(text.as_bytes()).map_err(StageError::io(&files.path))?;
        files.live.write_all(text.as_bytes()).map_err(StageError::io(&files.live_path))?;
        let step: Map<String, Value> = serde_json::from_str(&text)?;
        Ok(files.events.add(&step)?)
    }

    /// Length of metrics.jsonl.
    pub fn bytes(&self) -> Result<u64, StageError> {
        let Some(Files { path, .. }) = &self.files else { return Ok(0) };
        Ok(fs::metadata(path).map_err(StageError::io(path))?.len())
    }

    /// elapsed/time of the last line, or 0.
    pub fn last_time(&self) -> Result<f64, StageError> {
        let Some(Files { path, .. }) = &self.files else { return Ok(0.0) };
        Ok(read_metrics(path)?.last().and_then(|line| number(line, name::TIME)).unwrap_or(0.0))
    }
}

/// Shortens a file to its first `bytes`, which it has: setting the length of a shorter one would fill it with zeros. Of
/// several ranks the first does it.
pub fn cut(path: &Path, bytes: u64) -> std::io::Result<()> {
    if !ranks::is_first() {
        return Ok(());
    }
    let file = fs::File::options().write(true).create(true).truncate(false).open(path)?;
    let length = file.metadata()?.len();
    if length < bytes {
        let message = format!("has {length} bytes, and the checkpoint counts on {bytes}");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
    }
    file.set_len(bytes)
}
