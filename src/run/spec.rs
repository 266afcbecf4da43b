//! One spec into one results directory.

use super::log::log_to;
use super::place::{Refusal, Refused, prepare};
use super::{Session, chain, panics, peak_memory};
use crate::context::progress::Timeline;
use crate::context::{Context, StageError};
use crate::model::ModelError;
use crate::model::config::read_config;
use crate::model::device::ChosenDevice;
use crate::plan::{PlannedRun, timeline};
use crate::printed::shell_path;
use crate::ranks;
use crate::report::headline::{Headline, headline};
use crate::results::stops::{self, now};
use crate::results::{Manifest, Outcome, Progress, Results, State, file};
use crate::spec::paths::portable_spec;
use crate::spec::{Loaded, OutsideReward, PretrainTokenizer, Spec, resolved_toml};
use crate::stage::experiment;
use crate::store::atomic::write_atomic;
use crate::store::cache::Cache;
use crate::store::lock::Lock;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Where a spec is run into.
#[derive(Debug)]
pub struct Place<'a> {
    /// The results directory.
    pub out: &'a Path,
    /// Where finished stages are kept.
    pub cache: Cache,
    /// Of the whole of which this run is a part, where it is one.
    pub timeline: Option<Arc<Mutex<Timeline>>>,
    /// The stage with which the run is done for now, by its name in the manifest.
    pub until: Option<String>,
}

impl<'a> Place<'a> {
    /// A run of its own, with the cache beside its results.
    pub fn alone(out: &'a Path) -> Self {
        Self { out, cache: Cache::beside(out), timeline: None, until: None }
    }
}

/// How a run or a suite ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Done, waiting, stopped, failed, or refused for wrong input.
    pub outcome: Outcome,
    /// The results directory.
    pub out: PathBuf,
    /// What went wrong, where something did.
    pub error: Option<String>,
    /// What came out, in a sentence; none where nothing was begun, or nothing could be drawn.
    pub result: Option<String>,
    /// The error is in no log: nothing was begun.
    pub refused: bool,
    /// Stopped where it was to stop.
    pub reached: bool,
}

impl Ended {
    pub(super) fn refused(outcome: Outcome, out: &Path, message: String) -> Self {
        Self { outcome, out: out.to_owned(), error: Some(message), result: None, refused: true, reached: false }
    }
}

impl Session {
    /// Runs one spec into one directory, and draws its report.
    pub fn spec(&self, loaded: &Loaded, place: &Place<'_>) -> Ended {
        let out = place.out;
        let _lock = match ranks::agreed(self.may_begin(loaded, place).map_err(Refused::from), |_| false) {
            Ok(lock) => lock,
            Err(Refused(outcome, message)) => return Ended::refused(outcome, out, message),
        };
        if ranks::is_first() {
            log_to(out);
        }
        let timeline = place.timeline.clone().unwrap_or_else(|| {
            let runs = PlannedRun::of(loaded, loaded.variants.clone(), None);
            Arc::new(Mutex::new(timeline(&runs, &self.chosen.kind())))
        });
        let until = place.until.clone();
        let context = Context { timeline, until, ..self.context(out, place.cache.clone()) };
        let mut manifest = self.manifest(loaded);
        let result =
            save_manifest(out, &manifest).and_then(|()| panics::caught(|| experiment::run(&context, &loaded.variants)));
        // From here on there is nothing that a rank does with the others.
        let result = ranks::agreed(result, StageError::is_settled);
        if !ranks::is_first() {
            let outcome = result.as_ref().err().map_or(Outcome::Done, StageError::outcome);
            let reached = matches!(result, Err(StageError::Reached(_)));
            let error = result.err().map(|e| chain(&e));
            return Ended { outcome, out: out.to_owned(), error, result: None, refused: false, reached };
        }
        let outcome = result.as_ref().err().map_or(Outcome::Done, StageError::outcome);
        manifest.stages = context.records.into_inner().unwrap_or_default();
        manifest.sources = context.sources.into_inner().unwrap_or_default();
        manifest.reads = context.reads.into_inner().unwrap_or_default();
        manifest.state = outcome.state();
        // Whoever reads it would take the run for one that goes on, or was killed.
        let _ = std::fs::remove_file(Progress::path(out));
        manifest.error = result.as_ref().err().map(|e| chain(e));
        manifest.finished_at = Some(now());
        manifest.peak_memory_bytes = peak_memory();
        let result =
            result.and_then(|()| save_manifest(out, &manifest)).or_else(|e| save_manifest(out, &manifest).and(Err(e)));
        if let Some(halt) = result.as_ref().err().and_then(StageError::halt)
            && let Err(failed) = stops::record(out, halt)
        {
            tracing::error!("{}: who stopped the run is not recorded: {failed}", out.display());
        }
        let outcome = result.as_ref().err().map_or(Outcome::Done, StageError::outcome);
        let reached = matches!(result, Err(StageError::Reached(_)));
        match (&manifest.error, outcome) {
            (Some(message), _) if reached => tracing::info!("{message}"),
            (Some(message), Outcome::Waiting) => tracing::warn!("{message}"),
            (Some(message), _) => tracing::error!("{message}"),
            (None, _) => {}
        }
        Ended { reached, ..drawn(out, outcome, manifest.error) }
    }

    /// The lock of the results directory, which the first of several ranks has; or why the run does not begin.
    fn may_begin(&self, loaded: &Loaded, place: &Place<'_>) -> Result<Option<Lock>, Refusal> {
        let out = place.out;
        let possible = self.check_precision(&[loaded]).and_then(|()| self.check_room(&[loaded], &place.cache));
        possible.map_err(|message| (Outcome::WrongInput, message))?;
        loaded.variants.iter().try_for_each(|(name, spec)| ranks_fit(name, spec))?;
        let fits = loaded.variants.iter().try_for_each(|(_, spec)| room_for(&self.chosen, spec));
        fits.and_then(|()| self.check_sizes(loaded)).map_err(|e| (Outcome::Failed, e.to_string()))?;
        if !ranks::is_first() {
            return Ok(None);
        }
        let text = resolved_toml(&portable_spec(&loaded.spec, out));
        prepare(self.settings.fresh, &text, file::SPEC, out).map(Some)
    }

    /// The manifest of a run that begins.
    fn manifest(&self, loaded: &Loaded) -> Manifest {
        Manifest {
            name: loaded.spec.name.clone(),
            state: State::Running,
            program_version: env!("CARGO_PKG_VERSION").into(),
            git_commit: option_env!("RUNNER_GIT_COMMIT").map(str::to_string),
            device: self.chosen.name.clone(),
            device_kind: Some(self.chosen.kind()),
            precision: loaded.variants.iter().map(|(_, spec)| spec.model.precision).find(|p| !p.is_f32()),
            driver: self.chosen.driver.clone(),
            seeds: vec![loaded.spec.seed],
            runs: loaded.variants.iter().map(|(n, _)| n.clone()).collect(),
            stages: Vec::new(),
            sources: Vec::new(),
            reads: Vec::new(),
            started_at: now(),
            finished_at: None,
            peak_memory_bytes: None,
            error: None,
            profile: self.settings.profile.clone(),
            set: self.settings.set.clone(),
        }
    }
}

/// Whether the ranks can share the updates of a policy.
fn ranks_fit(run: &str, spec: &Spec) -> Result<(), Refusal> {
    let ranks = ranks::size();
    if ranks > 1 && spec.reward.outside() == Some(OutsideReward::Command) {
        let message = format!(
            "{run}: reward.source: one program answers one process; start without MPI, and not as {ranks} ranks"
        );
        return Err((Outcome::WrongInput, message));
    }
    crate::plan::ranks::fit(run, spec, ranks).map_err(|message| (Outcome::WrongInput, message))
}

/// Whether the device holds a spec's model; what is wrong with a model directory is for its stage to say.
fn room_for(chosen: &ChosenDevice, spec: &Spec) -> Result<(), ModelError> {
    let weights = &spec.model.weights;
    let (vocab, width) = match (&weights.path, &weights.pretrain) {
        (Some(path), _) => match read_config(Path::new(path)) {
            Ok(config) => (config.vocab, config.dimensions.width),
            Err(_) => return Ok(()),
        },
        (None, Some(p)) if p.tokenizer == PretrainTokenizer::Trained => (p.vocabulary, spec.model.dimensions().width),
        // GPT-2's, here and on the hub.
        _ => (50_257, spec.model.dimensions().width),
    };
    chosen.check_room(vocab, width)
}

/// Draws the report of a run that has ended, and reads from it what came out.
fn drawn(out: &Path, outcome: Outcome, error: Option<String>) -> Ended {
    let drawn = crate::report::draw(out).and_then(|()| Results::load(out));
    let ended = Ended { outcome, out: out.to_owned(), error, result: None, refused: false, reached: false };
    match drawn {
        Ok(results) => {
            let Headline { result, .. } = headline(&results);
            Ended { result: Some(result), ..ended }
        }
        Err(e) => {
            let message = format!("the report is not drawn: {}; try `runner report {}`", chain(&e), shell_path(out));
            tracing::error!("{message}");
            let outcome = if outcome == Outcome::Done { Outcome::Failed } else { outcome };
            Ended { outcome, error: ended.error.clone().or(Some(message)), ..ended }
        }
    }
}

fn save_manifest(out: &Path, manifest: &Manifest) -> Result<(), StageError> {
    let path = out.join(file::MANIFEST);
    let text = serde_json::to_string_pretty(manifest)?;
    write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))
}
