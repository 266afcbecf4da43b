//! What a spec takes from outside (ρ's weights, the task's text, rated reviews, recorded labels): looked up and fetched
//! before the first stage, and from then on named by commit or by a file on this machine, so that a branch that moves
//! on cannot change a run or its keys.

use crate::context::{Context, Kept, StageError};
use crate::data::error::{DataError, list};
use crate::data::files;
use crate::data::hub::Hub;
use crate::data::source::Want;
use crate::results::SourceRecord;
use crate::sources::{Catalogue, Finder, Folder, SourcePlace, SourceUse};
use crate::spec::Spec;
use crate::tensorflow::is_checkpoint;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// File names in the log.
const MOST_NAMES: usize = 20;

/// Fetches what is missing. The spec with commits for revisions and places for names of sources; what they are goes
/// into the log and the manifest.
pub fn fetched(context: &Context, spec: &Spec) -> Result<Spec, StageError> {
    if !is_from_outside(spec) {
        return Ok(spec.clone());
    }
    let hub = Hub { progress: context.progress, stop: Some(Arc::clone(&context.interrupted)), ..Hub::from_env()? };
    let pinned = pinned(spec, hub);
    if pinned.is_err() {
        // Ctrl-C is no failure; what came is kept.
        context.check_stop(0, Kept::Everything)?;
    }
    let (spec, sources) = pinned?;
    if let Ok(mut all) = context.sources.lock() {
        // Variants of a spec share most sources.
        for source in sources.into_iter().filter(|source| !all.contains(source)).collect::<Vec<_>>() {
            tracing::info!("{}", describe(&source));
            all.push(source);
        }
    }
    Ok(spec)
}

/// The same without fetching: an error where something is not here yet.
pub fn cached(spec: &Spec) -> Result<Spec, StageError> {
    if !is_from_outside(spec) {
        return Ok(spec.clone());
    }
    Ok(pinned(spec, Hub::from_env()?.cache_only())?.0)
}

/// The same spec without a named source of labels: they alone may be missing.
pub fn without_labels(spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    spec.labeler.source = None;
    spec
}

/// The catalogue as the user's files leave it.
pub fn finder(hub: Hub) -> Result<Finder<'static>, DataError> {
    let catalogue = Catalogue::current().map_err(|problems| {
        DataError::Other(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    Ok(Finder { catalogue, folder: Folder::from_env()?, hub })
}

fn is_from_outside(spec: &Spec) -> bool {
    let (weights, text, reviews) = (&spec.model.weights, &spec.task.data, &spec.labeler.reviews);
    let hub = [&weights.hf, &text.hf, &reviews.hf];
    let named = [&weights.source, &text.source, &reviews.source, &spec.labeler.source];
    let models = [spec.reward.named_source(), spec.policy.source.as_ref()];
    let is_foreign = |path: &&Option<String>| path.as_ref().is_some_and(|path| is_checkpoint(Path::new(path)));
    hub.into_iter().chain(named).any(Option::is_some)
        || models.iter().any(Option::is_some)
        || [&weights.path, &spec.reward.path, &spec.policy.path].iter().any(is_foreign)
}

fn pinned(spec: &Spec, hub: Hub) -> Result<(Spec, Vec<SourceRecord>), StageError> {
    let (mut spec, mut records) = (spec.clone(), Vec::new());
    let finder = finder(hub)?;
    records.extend(pin_weights(&mut spec, &finder)?);
    let (reward, policy) = (&mut spec.reward, &mut spec.policy);
    if reward.outside().is_none() {
        records.extend(pin_model(&mut reward.source, &mut reward.path, &finder, SourceUse::RewardModel)?);
    }
    records.extend(pin_model(&mut policy.source, &mut policy.path, &finder, SourceUse::Model)?);
    records.extend(pin_data(&mut spec, &finder, Want::Documents)?);
    if spec.has_classifier() {
        records.extend(pin_data(&mut spec, &finder, Want::Reviews)?);
    }
    if let (true, Some(name)) = (spec.labeler.is().recorded, spec.labeler.source.take()) {
        let found = finder.labels(&name)?;
        let mut record = SourceRecord { key: "labeler".into(), ..of_source(&name, &found.place) };
        record.sha256 = check_sums(&crate::label::recorded::files(&found.what).map_err(StageError::from)?);
        spec.labeler.path = Some(found.what.to_string_lossy().into_owned());
        records.push(record);
    }
    Ok((spec, records))
}

fn pin_weights(spec: &mut Spec, finder: &Finder<'_>) -> Result<Option<SourceRecord>, StageError> {
    let weights = &mut spec.model.weights;
    let mut record = None;
    if let Some(name) = weights.source.take() {
        let found = finder.weights(&name)?;
        record = Some(of_source(&name, &found.place));
        *weights = found.what;
    }
    weights.path = weights.path.take().map(|path| finder.readable(path, SourceUse::Model)).transpose()?;
    if let Some(repository) = &weights.hf {
        let (_, commit) = finder.hub.model(repository, weights.revision.as_deref())?;
        weights.revision = Some(commit.clone());
        let found = record.get_or_insert_with(SourceRecord::default);
        (found.repository, found.commit) = (Some(repository.clone()), Some(commit));
    }
    Ok(record.map(|record| SourceRecord { key: "model.weights".into(), ..record }))
}

/// A reward model or a policy that is given.
fn pin_model(
    source: &mut Option<String>,
    path: &mut Option<String>,
    finder: &Finder<'_>,
    used_as: SourceUse,
) -> Result<Option<SourceRecord>, StageError> {
    let key = if used_as == SourceUse::RewardModel { "reward" } else { "policy" };
    let mut record = None;
    if let Some(name) = source.take() {
        let found = finder.model(&name, used_as)?;
        record = Some(SourceRecord { key: key.into(), ..of_source(&name, &found.place) });
        *path = Some(found.what);
    }
    *path = path.take().map(|path| finder.readable(path, used_as)).transpose()?;
    Ok(record)
}

fn pin_data(spec: &mut Spec, finder: &Finder<'_>, want: Want) -> Result<Option<SourceRecord>, StageError> {
    let data = if want == Want::Reviews { &mut spec.labeler.reviews } else { &mut spec.task.data };
    let mut record = None;
    if let Some(name) = data.source.take() {
        let found = finder.data(&name, want, data.limit)?;
        record = Some(of_source(&name, &found.place));
        *data = found.what;
    }
    if record.is_none() && data.hf.is_none() {
        return Ok(None);
    }
    let Some(found) = files::resolve(data, want, || Ok(finder.hub.clone()))? else { return Ok(None) };
    let held_out = found.held_out.unwrap_or_default();
    let mut record = SourceRecord { key: want.key().into(), ..record.unwrap_or_default() };
    match found.commit {
        Some(commit) => {
            let names = |paths: &[PathBuf]| paths.iter().map(|path| within(path, &commit)).collect::<Vec<_>>();
            (record.files, record.held_out) = (names(&found.train), names(&held_out));
            (record.repository, data.revision) = (data.hf.clone(), Some(commit.clone()));
            record.commit = Some(commit);
        }
        None => {
            let names = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
            (record.files, record.held_out) = (names(&found.train), names(&held_out));
            record.sha256 = check_sums(found.train.iter().chain(&held_out));
        }
    }
    Ok(Some(record))
}

fn of_source(name: &str, place: &SourcePlace) -> SourceRecord {
    SourceRecord { source: Some(name.into()), place: Some(place.describe()), ..SourceRecord::default() }
}

/// Check sums of files that were fetched, as they were written down then.
fn check_sums<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> BTreeMap<String, String> {
    let sum = |path: &PathBuf| Some((path.display().to_string(), Folder::origin(path)?.sha256));
    paths.into_iter().filter_map(sum).collect()
}

/// A file's name in its repository.
fn within(path: &Path, commit: &str) -> String {
    let inside: PathBuf = path.iter().skip_while(|part| *part != commit).skip(1).collect();
    inside.to_string_lossy().into()
}

fn describe(record: &SourceRecord) -> String {
    let named = record.source.as_ref().map(|name| format!(" source {name}")).unwrap_or_default();
    let place = match (&record.repository, &record.commit) {
        (Some(repository), Some(commit)) => format!(" {repository} at commit {commit}"),
        _ => record.place.as_ref().map(|place| format!(" from {place}")).unwrap_or_default(),
    };
    let names = |what: &str, names: &[String]| match names.is_empty() {
        true => String::new(),
        false => format!("{what}{}", list(names, MOST_NAMES)),
    };
    format!("{}:{named}{place}{}{}", record.key, names(": ", &record.files), names("; held out: ", &record.held_out))
}
