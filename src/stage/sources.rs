//! What a spec takes from the Hugging Face hub (ρ's weights, the task's text, rated reviews): fetched before the first
//! stage, and from then on named by its commit, so that a branch that moves on cannot change a run or its keys.

use super::context::Context;
use super::{Kept, StageError};
use crate::data::error::list;
use crate::data::files;
use crate::data::hub::Hub;
use crate::data::source::Want;
use crate::report::files::HubSource;
use crate::spec::Spec;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// File names in the log.
const MOST_NAMES: usize = 20;

/// Fetches what is missing. The spec with commits for revisions; what they are goes into the log and the manifest.
pub fn fetched(context: &Context, spec: &Spec) -> Result<Spec, StageError> {
    if !uses_hub(spec) {
        return Ok(spec.clone());
    }
    let hub = Hub { progress: context.progress, stop: Some(Arc::clone(&context.interrupted)), ..Hub::from_env()? };
    let pinned = pinned(spec, &hub);
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

/// The same without fetching: an error where the cache lacks something.
pub fn cached(spec: &Spec) -> Result<Spec, StageError> {
    if !uses_hub(spec) {
        return Ok(spec.clone());
    }
    Ok(pinned(spec, &Hub::from_env()?.cache_only())?.0)
}

fn uses_hub(spec: &Spec) -> bool {
    [&spec.model.weights.hf, &spec.task.data.hf, &spec.labeler.reviews.hf].into_iter().any(Option::is_some)
}

fn pinned(spec: &Spec, hub: &Hub) -> Result<(Spec, Vec<HubSource>), StageError> {
    let (mut spec, mut sources) = (spec.clone(), Vec::new());
    let weights = &mut spec.model.weights;
    if let Some(repo) = &weights.hf {
        let (_, commit) = hub.model(repo, weights.revision.as_deref())?;
        weights.revision = Some(commit.clone());
        let (key, repository) = ("model.weights".into(), repo.clone());
        sources.push(HubSource { key, repository, commit, files: Vec::new(), held_out: Vec::new() });
    }
    for (data, want) in [(&mut spec.task.data, Want::Documents), (&mut spec.labeler.reviews, Want::Reviews)] {
        let Some(repository) = data.hf.clone() else { continue };
        let Some(found) = files::resolve(data, want, || Ok(hub.clone()))? else { continue };
        let Some(commit) = found.commit else { continue };
        let names = |paths: &[PathBuf]| paths.iter().map(|path| within(path, &commit)).collect::<Vec<_>>();
        let (files, held_out) = (names(&found.train), names(&found.held_out.unwrap_or_default()));
        data.revision = Some(commit.clone());
        sources.push(HubSource { key: want.key().into(), repository, commit, files, held_out });
    }
    Ok((spec, sources))
}

/// A file's name in its repository.
fn within(path: &Path, commit: &str) -> String {
    let inside: PathBuf = path.iter().skip_while(|part| *part != commit).skip(1).collect();
    inside.to_string_lossy().into()
}

fn describe(source: &HubSource) -> String {
    let HubSource { key, repository, commit, files, held_out } = source;
    let files = if files.is_empty() { String::new() } else { format!(": {}", list(files, MOST_NAMES)) };
    let held_out =
        if held_out.is_empty() { String::new() } else { format!("; held out: {}", list(held_out, MOST_NAMES)) };
    format!("{key}: {repository} at commit {commit}{files}{held_out}")
}
