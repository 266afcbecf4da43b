//! What a spec takes from outside: the texts, reviews, labels and weights that a run of it would look for.

use super::catalogue::{Place, SourceUse};
use crate::spec::{LabelerKind, Spec};

/// One thing that a spec needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    pub used_as: SourceUse,
    pub wanted: Wanted,
}

/// How a spec names it.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// By the name of a source.
    Source(String),
    /// By a repository of the hub, written in the spec.
    Hub(Box<Place>),
    /// By a file or folder, which nothing can fetch.
    Path(String),
}

/// All of a variant, in the order in which a run reads them; what a run would not read is left out.
pub fn needs(spec: &Spec) -> Vec<Need> {
    let mut all = Vec::new();
    let weights = &spec.model.weights;
    let place = |hf: &String, revision: &Option<String>, files: &Option<String>, held_out: &Option<String>| {
        Wanted::Hub(Box::new(Place {
            hf: Some(hf.clone()),
            revision: revision.clone(),
            files: files.clone(),
            held_out_files: held_out.clone(),
            ..Place::default()
        }))
    };
    let wanted = match (&weights.source, &weights.hf, &weights.path) {
        (Some(name), _, _) => Some(Wanted::Source(name.clone())),
        (_, Some(hf), _) => Some(place(hf, &weights.revision, &None, &None)),
        (_, _, Some(path)) => Some(Wanted::Path(path.clone())),
        _ => None,
    };
    all.extend(wanted.map(|wanted| Need { used_as: SourceUse::Model, wanted }));
    let reviews = spec.labeler.has_classifier().then_some((SourceUse::Reviews, &spec.labeler.reviews));
    for (used_as, data) in [(SourceUse::Text, &spec.task.data)].into_iter().chain(reviews) {
        let wanted = match (&data.source, &data.hf, &data.path) {
            (Some(name), _, _) => Some(Wanted::Source(name.clone())),
            (_, Some(hf), _) => Some(place(hf, &data.revision, &data.files, &data.held_out_files)),
            (_, _, Some(path)) => Some(Wanted::Path(path.clone())),
            _ => None,
        };
        all.extend(wanted.map(|wanted| Need { used_as, wanted }));
    }
    if spec.labeler.kind == LabelerKind::Recorded {
        let wanted = match (&spec.labeler.source, &spec.labeler.path) {
            (Some(name), _) => Some(Wanted::Source(name.clone())),
            (_, Some(path)) => Some(Wanted::Path(path.clone())),
            _ => None,
        };
        all.extend(wanted.map(|wanted| Need { used_as: SourceUse::Labels, wanted }));
    }
    all
}
