//! What a run takes from elsewhere: names, sizes, whether it is here already, and where it comes from or will be kept.

use super::sizes::on_hub;
use crate::data::error::DataError;
use crate::data::files;
use crate::data::formats::Want;
use crate::data::hub::Hub;
use crate::spec::{DataSpec, Spec};
use schemars::JsonSchema;
use serde::Serialize;

/// One source.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Fetch {
    /// `openai-community/gpt2-large`.
    pub name: String,
    /// The key of the spec that asks for it.
    pub key: String,
    /// About how many bytes are fetched; none where that is not known.
    pub bytes: Option<u64>,
    /// Whether all of it is here.
    pub present: bool,
    /// Where it comes from, and the folder that it is kept in.
    pub place: String,
}

/// Everything that a spec takes from elsewhere.
pub fn fetches(spec: &Spec) -> Vec<Fetch> {
    let mut all = Vec::new();
    let hub = Hub::from_env().map(Hub::cache_only);
    let place = |what: &str, name: &str| match &hub {
        Ok(hub) => format!("{}/{what}{name} into {}", hub.endpoint, hub.cache.display()),
        Err(e) => e.to_string(),
    };
    let weights = &spec.model.weights;
    if let Some(repository) = &weights.hf {
        let found = hub.as_ref().is_ok_and(|hub| hub.model(repository, weights.revision.as_deref()).is_ok());
        all.push(Fetch {
            name: repository.clone(),
            key: "model.weights".into(),
            bytes: on_hub(repository).map(|(_, bytes)| bytes),
            present: found,
            place: place("", repository),
        });
    }
    let mut data = vec![(&spec.task.data, Want::Documents)];
    if spec.labeler.has_classifier() {
        data.push((&spec.labeler.reviews, Want::Reviews));
    }
    for (source, want) in data {
        let Some(repository) = &source.hf else { continue };
        all.push(Fetch {
            name: repository.clone(),
            key: want.key().into(),
            bytes: None,
            present: hub.as_ref().is_ok_and(|hub| is_here(source, want, hub)),
            place: place("datasets/", repository),
        });
    }
    all
}

fn is_here(source: &DataSpec, want: Want, hub: &Hub) -> bool {
    files::resolve(source, want, || Ok::<_, DataError>(hub.clone())).is_ok()
}
