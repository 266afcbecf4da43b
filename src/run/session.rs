//! What all runs of one invocation share: the device, and what was asked of it.

use crate::context::Context;
use crate::model::ModelError;
use crate::model::device::{ChosenDevice, choose, is_cpu};
use crate::model::gpu::{self, Limits};
use crate::model::memory::Shape;
use crate::model::self_test::{SelfTest, self_test, self_test_at};
use crate::plan::PlannedRun;
use crate::plan::device::Target;
use crate::plan::sizes::reference;
use crate::plan::work::TaskLengths;
use crate::ranks::{self, Elsewhere};
use crate::spec::{Loaded, Precision};
use crate::store::cache::Cache;
use crate::store::lease::host;
use std::ops::Not;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is said of a run beside its spec; none of it changes a number, but for the device's rounding.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// auto, cpu, wgpu or wgpu:N.
    pub device: String,
    /// Results directory of the one spec that is run; `results/NAME` without it.
    pub out: Option<PathBuf>,
    /// Keeps results of another spec aside instead of refusing the directory.
    pub fresh: bool,
    /// Whether a terminal sees how far a stage is.
    pub progress: bool,
    /// Bytes of memory of the device, where they are known better than the machine says.
    pub memory: Option<u64>,
    /// Refuses what the device has no memory for.
    pub memory_check: bool,
    /// The profile and the changed keys with which specs were loaded, for the manifest.
    pub profile: Option<String>,
    /// Keys that `--set` changed, as they were typed.
    pub set: Vec<String>,
    /// Set from outside to save and stop at the next step.
    pub interrupted: Arc<AtomicBool>,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            device: "auto".into(),
            out: None,
            fresh: false,
            progress: true,
            memory: None,
            memory_check: true,
            profile: None,
            set: Vec::new(),
            interrupted: Arc::default(),
        }
    }
}

/// A device that has passed its known-answer test, and the settings of what is run on it.
#[derive(Debug)]
pub struct Session {
    pub(super) chosen: ChosenDevice,
    pub(super) settings: RunSettings,
    /// Sizes at which the device has been compared with the CPU.
    right_at: Mutex<Vec<(Shape, Precision)>>,
}

impl Session {
    /// # Errors
    /// Those of [`ready_device`].
    pub fn open(settings: RunSettings) -> Result<Self, ModelError> {
        // Every rank's own device is tested, whole.
        let chosen = ranks::alone(|| ready_device(&settings.device))?;
        if !is_cpu(&chosen.device) {
            gpu::set_limits(Limits::known(settings.memory, chosen.largest_buffer));
        }
        Ok(Self { chosen, settings, right_at: Mutex::default() })
    }

    /// Whether somebody has asked the program to end: of several ranks, one of them, or one that has ended itself.
    pub fn is_interrupted(&self) -> bool {
        let here = self.settings.interrupted.load(Ordering::SeqCst).then(String::new);
        ranks::any(here).is_ok_and(|somebody| somebody.is_none()).not()
    }

    /// Refuses ranks of one run that are not alike: they would not make the same numbers. `asked`: the specs and suites
    /// that each is to run, as text.
    ///
    /// # Errors
    /// What differs, and on which rank.
    pub fn check_ranks(&self, asked: &str) -> Result<(), Elsewhere> {
        let directory = std::env::current_dir().unwrap_or_default();
        let same = [
            ("program version", env!("CARGO_PKG_VERSION").to_string()),
            ("build", option_env!("RUNNER_GIT_COMMIT").unwrap_or_default().to_string()),
            ("spec or suite", blake3::hash(asked.as_bytes()).to_hex()[..16].to_string()),
            ("device and processor", self.chosen.kind()),
            ("working directory", directory.display().to_string()),
            ("RUNNER_CACHE", std::env::var("RUNNER_CACHE").unwrap_or_default()),
        ];
        ranks::alike(&host(), &same)?;
        if ranks::size() > 1 && ranks::is_first() {
            tracing::info!("one run by {} ranks", ranks::size());
        }
        Ok(())
    }

    /// Refuses what the device has no memory for, unless told not to.
    pub(super) fn check_room(&self, specs: &[&Loaded], cache: &Cache) -> Result<(), String> {
        if !self.settings.memory_check {
            return Ok(());
        }
        let runs: Vec<PlannedRun> =
            specs.iter().flat_map(|loaded| PlannedRun::of(loaded, loaded.variants.clone(), None)).collect();
        crate::plan::room::check(&runs, cache, &Target::of(&self.chosen, self.settings.memory))
    }

    /// Refuses products that the device does not have.
    pub(super) fn check_precision(&self, specs: &[&Loaded]) -> Result<(), String> {
        let mut all = specs.iter().flat_map(|loaded| &loaded.variants);
        all.try_for_each(|(_, spec)| self.chosen.check_precision(spec.model.precision)).map_err(|e| e.to_string())
    }

    /// Computes one layer of each model at the sizes of its run, on a GPU, and refuses what comes out wrong.
    pub(super) fn check_sizes(&self, loaded: &Loaded) -> Result<(), ModelError> {
        if is_cpu(&self.chosen.device) {
            return Ok(());
        }
        for run in PlannedRun::of(loaded, loaded.variants.clone(), None) {
            // What has no known size is for its stage to say.
            let Ok(model) = reference(&run.spec, run.size_given) else { continue };
            let lengths = TaskLengths::of(&run.spec);
            let (time, response) = (lengths.whole(), lengths.response);
            let shape = Shape { dimensions: model.dimensions, vocab: model.vocab, time, response };
            let mut right = self.right_at.lock().unwrap_or_else(PoisonError::into_inner);
            let precision = run.spec.model.precision;
            if time > shape.dimensions.context || right.contains(&(shape, precision)) {
                continue;
            }
            passed(&self.chosen, ranks::alone(|| self_test_at(&shape, &self.chosen.device, precision))?)?;
            right.push((shape, precision));
        }
        Ok(())
    }

    /// What stages of a run into `out` are given.
    pub(super) fn context(&self, out: &Path, cache: Cache) -> Context {
        let (progress, interrupted) =
            (self.settings.progress && ranks::is_first(), Arc::clone(&self.settings.interrupted));
        Context { progress, interrupted, ..Context::new(&self.chosen, cache, out) }
    }
}

/// The device of this name, after it has passed the known-answer test.
///
/// # Errors
/// Input: there is no such name. Else the device is not there, or computes wrongly.
pub fn ready_device(name: &str) -> Result<ChosenDevice, ModelError> {
    let chosen = choose(name)?;
    passed(&chosen, self_test(&chosen.device, Precision::F32)?)?;
    tracing::info!("device: {}", chosen.name);
    Ok(chosen)
}

fn passed(chosen: &ChosenDevice, test: SelfTest) -> Result<(), ModelError> {
    match test.passed() {
        true => Ok(()),
        false => Err(ModelError::Device(format!(
            "{} computes wrongly ({test:?}): refused. Update its driver, or use --device cpu",
            chosen.name
        ))),
    }
}
