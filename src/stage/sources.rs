//! What a spec takes from the Hugging Face hub (ρ's weights, the task's text, rated reviews): fetched before the first
//! stage, and from then on named by its commit, so that a branch that moves on cannot change a run or its keys.

use super::StageError;
use super::context::Context;
use crate::data::files;
use crate::data::hub::Hub;
use crate::data::source::Want;
use crate::spec::Spec;
use std::sync::Arc;

/// Fetches what is missing. The spec with commits for revisions.
pub fn fetched(context: &Context, spec: &Spec) -> Result<Spec, StageError> {
    if !uses_hub(spec) {
        return Ok(spec.clone());
    }
    let hub = Hub { progress: context.progress, stop: Some(Arc::clone(&context.interrupted)), ..Hub::from_env()? };
    let pinned = pinned(spec, &hub);
    if pinned.is_err() {
        // Ctrl-C is no failure; what came is kept.
        context.check_stop(0)?;
    }
    pinned
}

/// The same without fetching: an error where the cache lacks something.
pub fn cached(spec: &Spec) -> Result<Spec, StageError> {
    if uses_hub(spec) { pinned(spec, &Hub::from_env()?.cache_only()) } else { Ok(spec.clone()) }
}

fn uses_hub(spec: &Spec) -> bool {
    [&spec.model.weights.hf, &spec.task.data.hf, &spec.labeler.reviews.hf].into_iter().any(Option::is_some)
}

fn pinned(spec: &Spec, hub: &Hub) -> Result<Spec, StageError> {
    let mut spec = spec.clone();
    let weights = &mut spec.model.weights;
    if let Some(repo) = &weights.hf {
        let (_, commit) = hub.model(repo, weights.revision.as_deref())?;
        tracing::info!("model.weights: {repo} at commit {commit}");
        weights.revision = Some(commit);
    }
    let sources = [(&mut spec.task.data, Want::Documents), (&mut spec.labeler.reviews, Want::Reviews)];
    for (data, want) in sources {
        let Some(repo) = data.hf.clone() else { continue };
        let Some(found) = files::resolve(data, want, || Ok(hub.clone()))? else { continue };
        let names = |paths: &[std::path::PathBuf]| {
            paths.iter().filter_map(|p| p.file_name()?.to_str().map(str::to_string)).collect::<Vec<_>>().join(", ")
        };
        tracing::info!(
            "{}: {repo} at commit {}: {}; held out: {}",
            want.key(),
            found.commit.as_deref().unwrap_or_default(),
            names(&found.train),
            found.held_out.as_deref().map_or_else(|| "every tenth document".into(), names)
        );
        data.revision = found.commit;
    }
    Ok(spec)
}
