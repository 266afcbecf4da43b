//! What every stage needs: the device, the cache, named random streams, progress, and the cord that stops the line.

mod error;
pub mod progress;
pub mod signal;

pub use error::{Kept, StageError};

use crate::data::read_report::ReadReport;
use crate::model::ModelError;
use crate::model::device::ChosenDevice;
use crate::model::faults;
use crate::model::gpt2::{Gpt2, ScalarModel};
use crate::model::tensor_file::Tensors;
use crate::model::weights::{load_gpt2, load_scalar};
use crate::ranks;
use crate::results::{SourceRecord, StageRecord, Waited, read_json, stops};
use crate::spec::Precision;
use crate::store::atomic::write_atomic;
use crate::store::cache::{Begun, Cache, Key, Work};
use crate::store::chunks::Chunks;
use crate::store::lock::{self, Holder, Watch};
use burn::tensor::Device;
use progress::{Bar, Timeline, short};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Where stages keep what they continue from, in their artifact's directory until it is done.
pub const CHECKPOINTS: &str = "checkpoints";

/// Between two looks at an artifact that another process makes: at first, and when it takes long.
const LOOK: Duration = Duration::from_millis(250);
const SELDOM: Duration = Duration::from_secs(5);
/// How long a rank waits for what another one has finished.
const UNSEEN: Duration = Duration::from_secs(60);
/// What an artifact's stage read, where the artifact alone knows.
const READ_REPORT: &str = "read_report.json";

/// Keeps a reader's report in an artifact that is being made.
pub fn keep_read(dir: &Path, report: &ReadReport) -> Result<(), StageError> {
    let path = dir.join(READ_REPORT);
    let text = serde_json::to_string_pretty(report)?;
    write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))
}

/// Whether a stage's file can be read back: weights are the only kind that the cache does not know.
fn opens(path: &Path) -> Result<(), String> {
    match path.extension().is_some_and(|ending| ending == "safetensors") {
        true => Tensors::open(path).map(drop).map_err(|e| e.to_string()),
        false => Ok(()),
    }
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
    /// Set by Ctrl-C and other requests of the operating system to end.
    pub interrupted: Arc<AtomicBool>,
    pub records: Mutex<Vec<StageRecord>>,
    /// What came from outside.
    pub sources: Mutex<Vec<SourceRecord>>,
    /// What readers kept and dropped.
    pub reads: Mutex<Vec<ReadReport>>,
    /// The stage, by its name in the manifest, with which the run is done for now.
    pub until: Option<String>,
    /// What the run still has to do.
    pub timeline: Arc<Mutex<Timeline>>,
}

#[cfg(test)]
impl Context {
    /// On the CPU, with a cache and results of its own in `dir`.
    pub fn for_tests(dir: &Path) -> Self {
        Self {
            progress: false,
            ..Self::new(&crate::model::device::cpu(), Cache::new(dir.join("cache")), &dir.join("out"))
        }
    }
}

impl Context {
    /// For the stages of a run into `out`, of which nothing is planned.
    pub fn new(chosen: &ChosenDevice, cache: Cache, out: &Path) -> Self {
        Self {
            device: chosen.device.clone(),
            device_kind: chosen.kind(),
            cache,
            out: out.to_path_buf(),
            progress: true,
            interrupted: Arc::default(),
            records: Mutex::default(),
            sources: Mutex::default(),
            reads: Mutex::default(),
            until: None,
            timeline: Arc::default(),
        }
    }

    /// The language model of a directory, on the device, with products of a run's precision: weights on disk have none.
    pub fn gpt2(&self, dir: &Path, precision: Precision) -> Result<Gpt2, ModelError> {
        Ok(load_gpt2(dir, &self.device)?.with(precision))
    }

    /// The reward model or classifier of a directory, in the same way.
    pub fn scalar(&self, dir: &Path, precision: Precision) -> Result<ScalarModel, ModelError> {
        Ok(load_scalar(dir, &self.device)?.with(precision))
    }

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

    /// Counts the steps of a stage, of which `first` are done already.
    pub fn bar(&self, stage: &str, first: usize, total: usize) -> Bar<'_> {
        Bar::new(self, stage, first, total)
    }

    /// Who pulled the cord, if anybody did: of several ranks, whichever was told, so that all stop after the same step.
    pub fn stop_requested(&self) -> Result<Option<String>, StageError> {
        let here = if ranks::is_first() || self.interrupted.load(Ordering::SeqCst) { self.stop_here() } else { None };
        Ok(ranks::any(here)?)
    }

    /// The same as this process sees it, without the others: for whoever waits for answers from outside.
    pub fn stop_here(&self) -> Option<String> {
        if self.interrupted.load(Ordering::SeqCst) {
            return Some(signal::name().into());
        }
        let request = stops::requested(&self.out)?;
        let why = if request.reason.is_empty() { String::new() } else { format!(": {}", request.reason) };
        let file = stops::stop_file(&self.out);
        Some(format!("{}{why} ({}; remove it to continue)", request.by, file.display()))
    }

    /// Ends what waits for answers from outside, where this process was told to stop; everything is kept.
    pub fn check_stop_here(&self, step: usize) -> Result<(), StageError> {
        match self.stop_here() {
            Some(by) => Err(StageError::Stopped { by, update: step, kept: Kept::Everything }),
            None => Ok(()),
        }
    }

    /// Stops a stage between two steps that has kept everything up to them.
    pub fn check_stop(&self, step: usize, kept: Kept) -> Result<(), StageError> {
        if let Some(why) = lock::lost() {
            return Err(StageError::Io { path: self.out.clone(), source: std::io::Error::other(why) });
        }
        match self.stop_requested()? {
            Some(by) => Err(StageError::Stopped { by, update: step, kept }),
            None => Ok(()),
        }
    }

    /// Chunks of a stage's part that are kept as they come, until the stage is done. A stop comes between two of them.
    pub fn chunks(&self, work: &Path, name: &str) -> Result<Saved<'_>, StageError> {
        let dir = work.join(CHECKPOINTS);
        let mut opened = None;
        let kept = ranks::from_first(|| {
            let chunks = Chunks::open(&dir, name).map_err(StageError::io(&dir))?;
            // Others are told; one rank alone needs no copy.
            let texts = if ranks::size() > 1 { chunks.texts() } else { Vec::new() };
            opened = Some(chunks);
            Ok::<_, StageError>(texts)
        })?;
        let chunks = opened.unwrap_or_else(|| Chunks::beside_first(&dir, name, kept));
        if chunks.kept() > 0 {
            tracing::info!("{name}: continuing after {} chunks", chunks.kept());
        }
        Ok(Saved { context: self, chunks: Some(chunks) })
    }

    /// The same where there is no place to keep them.
    pub fn unsaved(&self) -> Saved<'_> {
        Saved { context: self, chunks: None }
    }

    fn record(&self, run: Option<&str>, key: &Key, seconds: Option<f64>, waited: Option<Waited>) {
        let record = StageRecord {
            run: run.map(str::to_string),
            stage: key.stage.into(),
            key: key.to_string(),
            seconds: seconds.unwrap_or(0.0),
            cached: seconds.is_none(),
            waited,
        };
        if let Ok(mut records) = self.records.lock() {
            records.push(record);
        }
    }

    /// The artifact of `key`, if it is in the cache and intact.
    pub fn cached(&self, run: Option<&str>, key: &Key) -> Result<Option<PathBuf>, StageError> {
        let found = self.cache.find(key).map_err(StageError::io(self.cache.path(key)))?;
        if found.is_some() {
            let of = run.map_or_else(String::new, |run| format!(" {run}"));
            tracing::info!("{}{of}: reused {key}", key.stage);
            self.on_timeline(|timeline| timeline.done(&key.to_string(), None));
            self.record(run, key, None, None);
        }
        Ok(found)
    }

    fn on_timeline(&self, then: impl FnOnce(&mut Timeline)) {
        if let Ok(mut timeline) = self.timeline.lock() {
            then(&mut timeline);
        }
    }

    /// The artifact of `key`: from the cache, or made by `make` in a work directory and sealed. While another process
    /// makes it, it is waited for; where that process dies, this one goes on with what it left.
    ///
    /// # Errors
    /// Those of `make` and of the file system; [`StageError::Reached`] after the stage that the run is to end with.
    pub fn artifact(
        &self,
        run: Option<&str>,
        key: &Key,
        make: impl FnOnce(&Work) -> Result<(), StageError>,
    ) -> Result<PathBuf, StageError> {
        let made = self.found_or_made(run, key, make)?;
        match &self.until {
            Some(until) if until == key.stage => Err(StageError::Reached(until.clone())),
            _ => Ok(made),
        }
    }

    fn found_or_made(
        &self,
        run: Option<&str>,
        key: &Key,
        make: impl FnOnce(&Work) -> Result<(), StageError>,
    ) -> Result<PathBuf, StageError> {
        let path = self.cache.path(key);
        let (mut begun, mut waited) = (None, None);
        // The first rank finds it, or takes its lock; the others are told which of the two.
        let there = ranks::from_first(|| {
            if self.cached(run, key)?.is_some() {
                return Ok::<_, StageError>(Some(false));
            }
            let (found, by) = self.begin(key)?;
            let there = found.is_err();
            (begun, waited) = (Some(found), by);
            Ok(there.then_some(true))
        })?;
        if there == Some(false) {
            return self.seen(&path);
        }
        if there.is_some() && !ranks::is_first() {
            return self.seen(&path);
        }
        let work = match begun.unwrap_or_else(|| Ok(self.cache.beside_first(key))) {
            Ok(work) => work,
            Err(made) => {
                tracing::info!("{}: reused {key}, which another process has made", key.stage);
                self.on_timeline(|timeline| timeline.done(&key.to_string(), None));
                self.record(run, key, None, waited);
                return Ok(made);
            }
        };
        let started = Instant::now();
        let name = run.map_or_else(|| key.stage.to_string(), |run| format!("{} {run}", key.stage));
        self.on_timeline(|timeline| timeline.begin(&key.to_string()));
        self.say(&name, None);
        tracing::debug!("{name}: started");
        make(&work)?;
        // Numbers of a device that did not do all of its work are none.
        faults::confirm()?;
        let seconds = started.elapsed().as_secs_f64();
        // The others come here when they have computed all that goes into it.
        ranks::by_first(|| self.seal(key, work, seconds))?;
        let made = self.seen(&path)?;
        self.on_timeline(|timeline| timeline.done(&key.to_string(), Some(seconds)));
        let left = self.left(0.0).map_or_else(String::new, |left| format!("; about {} left", short(left)));
        tracing::info!("{name}: done in {}{left}", short(seconds));
        self.record(run, key, Some(seconds), waited);
        Ok(made)
    }

    /// Ends the work on an artifact.
    fn seal(&self, key: &Key, work: Work, seconds: f64) -> Result<(), StageError> {
        // What is done needs none; they are larger than the rest.
        let checkpoints = work.dir.join(CHECKPOINTS);
        if checkpoints.exists() {
            fs::remove_dir_all(&checkpoints).map_err(StageError::io(&checkpoints))?;
        }
        self.cache.finish(key, work, seconds, opens).map_err(StageError::io(self.cache.path(key)))?;
        Ok(())
    }

    /// What the first rank has sealed, as soon as this one sees it: on a file system of several hosts that may take
    /// seconds.
    fn seen(&self, path: &Path) -> Result<PathBuf, StageError> {
        let began = Instant::now();
        while !path.is_dir() && !ranks::is_first() {
            if began.elapsed() > UNSEEN {
                return Err(StageError::Input(format!(
                    "{} was finished by rank 0, and rank {} does not see it: all ranks need one cache, on a file system \
                     that all hosts share (RUNNER_CACHE)",
                    path.display(),
                    ranks::rank()
                )));
            }
            std::thread::sleep(LOOK);
        }
        Ok(path.to_path_buf())
    }

    /// A directory to work in, or the artifact that another process has made meanwhile; and for whom this one waited.
    fn begin(&self, key: &Key) -> Result<(Result<Work, PathBuf>, Option<Waited>), StageError> {
        let began = Instant::now();
        let (mut looks, mut named, mut watch) = (0u32, None::<Holder>, Watch::default());
        loop {
            let begun = self.cache.begin(key, &mut watch).map_err(StageError::io(self.cache.path(key)))?;
            let by = named.as_ref().map_or_else(|| "another process".into(), Holder::to_string);
            let waited = (looks > 0).then(|| Waited { by, seconds: began.elapsed().as_secs_f64() });
            match begun {
                Begun::There(made) => return Ok((Err(made), waited)),
                Begun::Work(work) => {
                    if let Some(Waited { by, .. }) = &waited {
                        tracing::info!("{key}: {by} has ended without it; going on here");
                    }
                    return Ok((Ok(work), waited));
                }
                Begun::Busy(Some(holder)) if !named.as_ref().is_some_and(|known| known.is(&holder)) => {
                    tracing::info!("waiting for {holder}, which makes {key}");
                    self.say(&format!("{} (waiting for {holder})", key.stage), None);
                    named = Some(holder);
                }
                // The lock comes a moment before its holder's name.
                Begun::Busy(None) if looks == 1 => tracing::info!("waiting for another process, which makes {key}"),
                Begun::Busy(_) => {}
            }
            looks += 1;
            self.check_stop(0, Kept::Everything)?;
            // Somebody is heard at once; the file system is asked less and less.
            let pause = LOOK.saturating_mul(looks).min(SELDOM);
            let until = Instant::now() + pause;
            while Instant::now() < until {
                self.check_stop(0, Kept::Everything)?;
                std::thread::sleep(LOOK);
            }
        }
    }
}

/// Where the chunks of a stage's part are kept, if anywhere.
pub struct Saved<'a> {
    context: &'a Context,
    chunks: Option<Chunks>,
}

impl Saved<'_> {
    /// Chunks `0..n`, each kept from an earlier time or made of its number. Of several ranks each makes a chunk by itself, as
    /// long as there are as many as ranks: on a GPU a chunk may be one pass, which they cannot share.
    ///
    /// # Errors
    /// Those of `make`, of the device and of the file system; somebody stops the run.
    pub fn all<T: Serialize + DeserializeOwned>(
        &mut self,
        n: usize,
        mut make: impl FnMut(usize) -> Result<T, StageError>,
    ) -> Result<Vec<T>, StageError> {
        let (mut all, mut ready) = (Vec::with_capacity(n), VecDeque::new());
        for i in 0..n {
            let one = self.next(i, || {
                if let Some(one) = ready.pop_front() {
                    return Ok(one);
                }
                let Some((rank, _)) = ranks::shared().filter(|(_, ranks)| i + ranks <= n) else { return make(i) };
                let own = ranks::alone(|| make(i + rank))?;
                // Before the others keep it.
                faults::confirm()?;
                ready.extend(ranks::gathered(own)?);
                ready.pop_front().ok_or_else(|| StageError::Input("no rank has made a chunk".into()))
            })?;
            all.push(one);
        }
        Ok(all)
    }

    /// The next chunk, kept from an earlier time or made of its number `i`; before it is made, the cord is looked at.
    pub fn next<T: Serialize + DeserializeOwned>(
        &mut self,
        i: usize,
        make: impl FnOnce() -> Result<T, StageError>,
    ) -> Result<T, StageError> {
        let context = self.context;
        // What is kept is not made again.
        let make = || {
            let made = make()?;
            faults::confirm()?;
            Ok(made)
        };
        match &mut self.chunks {
            Some(chunks) => chunks.next(|i| {
                context.check_stop(i, Kept::Everything)?;
                make()
            }),
            None => {
                context.check_stop(i, Kept::Stages)?;
                make()
            }
        }
    }
}
