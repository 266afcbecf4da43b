//! What every stage needs: the device, the cache, named random streams, progress, and the cord that stops the line.

use super::progress::{Bar, Timeline, short};
use super::{StageError, stop};
use crate::report::files::{HubSource, StageRecord};
use crate::store::cache::{Cache, Key, Work};
use burn::tensor::Device;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Where stages keep what they continue from, in their artifact's directory until it is done.
pub const CHECKPOINTS: &str = "checkpoints";

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
    /// What the run still has to do.
    pub timeline: Mutex<Timeline>,
}

#[cfg(test)]
impl Context {
    /// On the CPU, with a cache and results of its own in `dir`.
    pub fn for_tests(dir: &std::path::Path) -> Self {
        Self {
            device: Device::flex(),
            device_kind: "cpu".into(),
            cache: Cache::new(dir.join("cache")),
            out: dir.join("out"),
            progress: false,
            interrupted: Arc::default(),
            records: Mutex::default(),
            sources: Mutex::default(),
            timeline: Mutex::default(),
        }
    }
}

impl Context {
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

    /// Counts the steps of a stage, of which `first` are done already.
    pub fn bar(&self, stage: &str, first: usize, total: usize) -> Bar<'_> {
        Bar::new(self, stage, first, total)
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
        let name = run.map_or_else(|| key.stage.to_string(), |run| format!("{} {run}", key.stage));
        let with_timeline = |then: &dyn Fn(&mut Timeline)| {
            if let Ok(mut timeline) = self.timeline.lock() {
                then(&mut timeline);
            }
        };
        if let Some(found) = self.cache.find(key).map_err(StageError::io(&path))? {
            tracing::info!("{name}: reused {key}");
            with_timeline(&|timeline| timeline.done(&key.to_string(), None));
            record(0.0, true);
            return Ok(found);
        }
        let started = Instant::now();
        let work =
            self.cache.begin(key).map_err(StageError::io(&path))?.ok_or_else(|| StageError::Locked(path.clone()))?;
        with_timeline(&|timeline| timeline.begin(&key.to_string()));
        self.say(&name, None);
        tracing::debug!("{name}: started");
        make(&work)?;
        // What is done needs none; they are larger than the rest.
        let checkpoints = work.dir.join(CHECKPOINTS);
        if checkpoints.exists() {
            fs::remove_dir_all(&checkpoints).map_err(StageError::io(&checkpoints))?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let made = self.cache.finish(key, work, seconds).map_err(StageError::io(&path))?;
        with_timeline(&|timeline| timeline.done(&key.to_string(), Some(seconds)));
        let left = self.left(0.0).map_or_else(String::new, |left| format!("; about {} left", short(left)));
        tracing::info!("{name}: done in {}{left}", short(seconds));
        record(seconds, false);
        Ok(made)
    }
}
