//! What a spec takes from outside: the texts, reviews, labels and weights that a run of it would look for.

use super::find::Finder;
use crate::data::error::DataError;
use crate::data::files;
use crate::data::formats::Want;
use crate::spec::catalogue::{SourcePlace, SourceUse};
use crate::spec::{DataSpec, Spec};
use std::path::Path;

/// One thing that a spec needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    pub used_as: SourceUse,
    pub wanted: Wanted,
}

impl Need {
    /// What a person calls it: the source, the repository or the path.
    pub fn name(&self) -> &str {
        match &self.wanted {
            Wanted::Source(name) | Wanted::Path(name) => name,
            Wanted::Hub(place) => place.hf.as_deref().unwrap_or_default(),
        }
    }

    /// Where it is, once it is here: fetched, where the finder's hub may.
    ///
    /// # Errors
    /// No place has it, or what is there cannot be read.
    pub fn bring(&self, finder: &Finder<'_>) -> Result<String, DataError> {
        let path = |path: &Option<String>, hf: &Option<String>| path.clone().or(hf.clone()).unwrap_or_default();
        match (&self.wanted, self.used_as) {
            (Wanted::Source(name), SourceUse::Model) => {
                let found = finder.weights(name)?;
                Ok(path(&found.what.path, &found.what.hf))
            }
            (Wanted::Source(name), SourceUse::RewardModel) => Ok(finder.model(name, SourceUse::RewardModel)?.what),
            (Wanted::Source(name), SourceUse::Labels) => Ok(finder.labels(name)?.what.display().to_string()),
            (Wanted::Source(name), used_as) => {
                let found = finder.data(name, want_of(used_as), None)?;
                Ok(path(&found.what.path, &found.what.hf))
            }
            (Wanted::Hub(place), SourceUse::Model) => {
                let repository = place.hf.as_deref().unwrap_or_default();
                Ok(finder.hub.model(repository, place.revision.as_deref())?.0.display().to_string())
            }
            (Wanted::Hub(place), used_as) => {
                let data = DataSpec {
                    hf: place.hf.clone(),
                    revision: place.revision.clone(),
                    files: place.files.clone(),
                    held_out_files: place.held_out_files.clone(),
                    ..DataSpec::default()
                };
                files::resolve(&data, want_of(used_as), || Ok(finder.hub.clone()))?;
                Ok(place.describe())
            }
            (Wanted::Path(path), used_as) => match Path::new(path).exists() {
                true => Ok(path.clone()),
                false => Err(DataError::Other(format!(
                    "{}: there is no file or folder {path:?}, and a path cannot be fetched",
                    used_as.key()
                ))),
            },
        }
    }
}

fn want_of(used_as: SourceUse) -> Want {
    if used_as == SourceUse::Reviews { Want::Reviews } else { Want::Documents }
}

/// How a spec names it.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// By the name of a source.
    Source(String),
    /// By a repository of the hub, written in the spec.
    Hub(Box<SourcePlace>),
    /// By a file or folder, which nothing can fetch.
    Path(String),
}

/// All of a variant, in the order in which a run reads them; what a run would not read is left out.
pub fn needs(spec: &Spec) -> Vec<Need> {
    let mut all = Vec::new();
    let weights = &spec.model.weights;
    let place = |hf: &String, revision: &Option<String>, files: &Option<String>, held_out: &Option<String>| {
        Wanted::Hub(Box::new(SourcePlace {
            hf: Some(hf.clone()),
            revision: revision.clone(),
            files: files.clone(),
            held_out_files: held_out.clone(),
            ..SourcePlace::default()
        }))
    };
    let wanted = match (&weights.source, &weights.hf, &weights.path) {
        (Some(name), _, _) => Some(Wanted::Source(name.clone())),
        (_, Some(hf), _) => Some(place(hf, &weights.revision, &None, &None)),
        (_, _, Some(path)) => Some(Wanted::Path(path.clone())),
        _ => None,
    };
    all.extend(wanted.map(|wanted| Need { used_as: SourceUse::Model, wanted }));
    let given = [
        (SourceUse::RewardModel, spec.reward.named_source(), &spec.reward.path),
        (SourceUse::Model, spec.policy.source.as_ref(), &spec.policy.path),
    ];
    for (used_as, source, path) in given {
        let wanted = source.cloned().map(Wanted::Source).or(path.clone().map(Wanted::Path));
        all.extend(wanted.map(|wanted| Need { used_as, wanted }));
    }
    let reviews = spec.has_classifier().then_some((SourceUse::Reviews, &spec.labeler.reviews));
    for (used_as, data) in [(SourceUse::Text, &spec.task.data)].into_iter().chain(reviews) {
        let wanted = match (&data.source, &data.hf, &data.path) {
            (Some(name), _, _) => Some(Wanted::Source(name.clone())),
            (_, Some(hf), _) => Some(place(hf, &data.revision, &data.files, &data.held_out_files)),
            (_, _, Some(path)) => Some(Wanted::Path(path.clone())),
            _ => None,
        };
        all.extend(wanted.map(|wanted| Need { used_as, wanted }));
    }
    if spec.labeler.is().recorded && !spec.reward.is_given() {
        let wanted = match (&spec.labeler.source, &spec.labeler.path) {
            (Some(name), _) => Some(Wanted::Source(name.clone())),
            (_, Some(path)) => Some(Wanted::Path(path.clone())),
            _ => None,
        };
        all.extend(wanted.map(|wanted| Need { used_as: SourceUse::Labels, wanted }));
    }
    all
}
