//! Where ρ's weights come from.

use super::{Finding, finding, not_one_of, on_the_hub, path_is_there, source_is_known};
use crate::spec::Options;
use crate::spec::catalogue::SourceUse;
use crate::spec::types::{Spec, WeightsSpec};

/// Every rule on `model.weights`.
pub fn rules(spec: &Spec, options: &Options) -> Vec<Finding> {
    [
        one_source_of_weights(spec),
        weights_on_the_hub(spec),
        weights_are_a_known_source(spec),
        weights_exist(spec, options),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn one_source_of_weights(spec: &Spec) -> Option<Finding> {
    let keys =
        ["model.weights", "model.weights.source", "model.weights.path", "model.weights.hf", "model.weights.pretrain"];
    let WeightsSpec { source, path, hf, pretrain, .. } = &spec.model.weights;
    let all = [
        ("source", source.is_some()),
        ("path", path.is_some()),
        ("hf", hf.is_some()),
        ("pretrain", pretrain.is_some()),
    ];
    finding(&keys, not_one_of(&all)?)
}

fn weights_on_the_hub(spec: &Spec) -> Option<Finding> {
    let WeightsSpec { hf, revision, .. } = &spec.model.weights;
    on_the_hub(["model.weights.hf", "model.weights.revision"], "weights", hf.as_deref(), revision.as_deref())
}

fn weights_are_a_known_source(spec: &Spec) -> Option<Finding> {
    source_is_known("model.weights.source", spec.model.weights.source.as_deref()?, SourceUse::Model)
}

fn weights_exist(spec: &Spec, options: &Options) -> Option<Finding> {
    path_is_there("model.weights.path", spec.model.weights.path.as_deref()?, options)
}
