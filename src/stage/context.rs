//! What every stage needs: the device, the cache, named random streams, progress, and the cord that stops the line.

use super::{StageError, stop};
use crate::data::read_report::ReadReport;
use crate::report::files::{HubSource, StageRecord, read_json};
use crate::store::atomic::write_atomic;
use crate::store::cache::{Cache, Key, Work};
use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Where stages keep what they continue from, in their artifact's directory until it is done.
pub const CHECKPOINTS: &str = "checkpoints";

/// What an artifact's stage read, where the artifact alone knows.
const READ_REPORT: &str = "read_report.json";

/// Keeps a reader's report in an artifact that is being made.
pub fn keep_read(dir: &Path, report: &ReadReport) -> Result<(), StageError> {
    let path = dir.join(READ_REPORT);
    let text = serde_json::to_string_pretty(report)?;
    write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))
}

/// Shared by the stages of one invocation.
pub struct Context {
    pub device: Device,
    /// Part of every key: results of different devices differ in rounding.
    pub device_kind: String,
    pub cache: Cache,
    /// The results directory; a file named `stop` in it stops training at the next step.
    pub out: PathBuf,
    pub progress: bool,
    /// Set by Ctrl-C.
    pub interrupted: Arc<AtomicBool>,
    pub records: Mutex<Vec<StageRecord>>,
    /// What came from the hub.
    pub sources: Mutex<Vec<HubSource>>,
    /// What readers kept and dropped.
    pub reads: Mutex<Vec<ReadReport>>,
}

#[cfg(test)]
impl Context {
    /// On the CPU, with a cache and results of its own in `dir`.
    pub fn for_tests(dir: &Path) -> Self {
        Self {
            device: Device::flex(),
            device_kind: "cpu".into(),
            cache: Cache::new(dir.join("cache")),
            out: dir.join("out"),
            progress: false,
            interrupted: Arc::default(),
            records: Mutex::default(),
            sources: Mutex::default(),
            reads: Mutex::default(),
        }
    }
}

impl Context {
    /// Takes a reader's report into the log and the manifest; runs of one spec share most of them.
    pub fn has_read(&self, report: ReadReport) {
        if let Ok(mut all) = self.reads.lock()
            && !all.contains(&report)
        {
            tracing::info!("{report}");
            all.push(report);
        }
    }

    /// The same for a report that an artifact keeps, so that a stage from the cache says what a new one does.
    pub fn has_read_for(&self, artifact: &Path) -> Result<(), StageError> {
        let path = artifact.join(READ_REPORT);
        if path.exists() {
            self.has_read(read_json(&path)?);
        }
        Ok(())
    }

    /// A random stream that depends on nothing but its name: resuming needs no saved generator state.
    pub fn stream(seed: u64, purpose: &str, step: u64) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(*blake3::hash(format!("{seed}/{purpose}/{step}").as_bytes()).as_bytes())
    }

    /// A number from the stream, for functions that take a seed.
    pub fn seed(seed: u64, purpose: &str) -> u64 {
        u64::from_le_bytes(
            blake3::hash(format!("{seed}/{purpose}").as_bytes()).as_bytes()[..8].try_into().unwrap_or([0; 8]),
        )
    }

    /// Rows `start..start + count` of an endless sequence of shuffled epochs over `0..n`.
    pub fn shuffled(seed: u64, purpose: &str, n: usize, start: usize, count: usize) -> Vec<usize> {
        let mut epoch = usize::MAX;
        let mut order: Vec<usize> = Vec::new();
        (start..start + count)
            .map(|i| {
                if i / n != epoch {
                    epoch = i / n;
                    order = (0..n).collect();
                    order.shuffle(&mut Self::stream(seed, purpose, epoch as u64));
                }
                order[i % n]
            })
            .collect()
    }

    /// A progress bar on standard error; invisible unless that is a terminal.
    pub fn bar(&self, stage: &str, total: usize, unit: &str) -> ProgressBar {
        let visible = self.progress && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let template = format!("{{prefix:<24}} {{bar:30}} {{pos}}/{{len}} {unit} {{per_sec}} eta {{eta}} {{msg}}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::with_draw_target(Some(total as u64), target).with_style(style).with_prefix(stage.to_string())
    }

    /// Who pulled the cord, if anybody did.
    pub fn stop_requested(&self) -> Option<String> {
        if self.interrupted.load(Ordering::SeqCst) {
            return Some("Ctrl-C".into());
        }
        let request = stop::requested(&self.out)?;
        let why = if request.reason.is_empty() { String::new() } else { format!(": {}", request.reason) };
        let file = stop::stop_file(&self.out);
        Some(format!("{}{why} ({}; remove it to continue)", request.by, file.display()))
    }

    /// Stops a stage that has no checkpoints of its own between two steps.
    pub fn check_stop(&self, step: usize) -> Result<(), StageError> {
        match self.stop_requested() {
            Some(by) => Err(StageError::Stopped { by, update: step }),
            None => Ok(()),
        }
    }

    /// The artifact of `key`: from the cache, or made by `make` in a work directory and sealed.
    pub fn artifact(
        &self,
        run: Option<&str>,
        key: &Key,
        make: impl FnOnce(&Work) -> Result<(), StageError>,
    ) -> Result<PathBuf, StageError> {
        let path = self.cache.path(key);
        let record = |seconds, cached| {
            let record = StageRecord {
                run: run.map(str::to_string),
                stage: key.stage.into(),
                key: key.to_string(),
                seconds,
                cached,
            };
            if let Ok(mut records) = self.records.lock() {
                records.push(record);
            }
        };
        if let Some(found) = self.cache.find(key).map_err(StageError::io(&path))? {
            tracing::info!("{}: reused {key}", key.stage);
            record(0.0, true);
            return Ok(found);
        }
        let started = Instant::now();
        tracing::info!("{}{}: started", run.map(|r| format!("{r}: ")).unwrap_or_default(), key.stage);
        let work =
            self.cache.begin(key).map_err(StageError::io(&path))?.ok_or_else(|| StageError::Locked(path.clone()))?;
        make(&work)?;
        // What is done needs none; they are larger than the rest.
        let checkpoints = work.dir.join(CHECKPOINTS);
        if checkpoints.exists() {
            fs::remove_dir_all(&checkpoints).map_err(StageError::io(&checkpoints))?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let made = self.cache.finish(key, work, seconds).map_err(StageError::io(&path))?;
        tracing::info!("{}{}: done in {seconds:.1} s", run.map(|r| format!("{r}: ")).unwrap_or_default(), key.stage);
        record(seconds, false);
        Ok(made)
    }
}
