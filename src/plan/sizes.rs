//! How large ρ is before its weights are here: from config.json where that is, else from what the hub's well-known
//! models are, else from `model.size`. What is not known is said to be unknown, and why.

use crate::data::hub::{Hub, RepositoryKind};
use crate::model::config::read_config;
use crate::model::memory::Shape;
use crate::spec::{Dimensions, ModelSize, PretrainTokenizer, Spec, WeightsSpec, is_released};
use crate::stage::sources::finder;
use crate::tensorflow::{Checkpoint, is_checkpoint};
use std::path::Path;

/// GPT-2's tokens.
pub const GPT2_VOCAB: usize = 50_257;

/// GPT-2 on the hub: name after `openai-community/`, size, and about how many bytes its model.safetensors has.
const HUB: [(&str, ModelSize, u64); 4] = [
    ("gpt2", ModelSize::M124, 548_000_000),
    ("gpt2-medium", ModelSize::M355, 1_520_000_000),
    ("gpt2-large", ModelSize::M774, 3_250_000_000),
    ("gpt2-xl", ModelSize::M1558, 6_430_000_000),
];

/// Size of a model of the hub and bytes of its weights, where it is one of GPT-2's four.
pub fn on_hub(repository: &str) -> Option<(ModelSize, u64)> {
    let name = repository.strip_prefix("openai-community/").unwrap_or(repository);
    HUB.iter().find(|(known, ..)| *known == name).map(|(_, size, bytes)| (*size, *bytes))
}

/// A transformer's sizes and how they are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub dimensions: Dimensions,
    pub vocab: usize,
    /// How this is known: "as its config.json says".
    pub from: String,
}

impl Model {
    /// Weights, as transformers counts them.
    pub fn parameters(&self) -> f64 {
        self.bytes() / size_of::<f32>() as f64
    }

    /// Bytes of the weights in float32.
    pub fn bytes(&self) -> f64 {
        Shape { dimensions: self.dimensions, vocab: self.vocab, time: 1, response: 1 }.weights()
    }
}

/// Whether weights are given, so that ρ is read and not pretrained.
pub fn is_given(spec: &Spec) -> bool {
    let weights = &spec.model.weights;
    [&weights.source, &weights.path, &weights.hf].into_iter().any(Option::is_some)
}

/// ρ of a spec whose paths can be found from here. `size_given`: the spec says `model.size` or `model.dimensions`
/// itself.
pub fn reference(spec: &Spec, size_given: bool) -> Result<Model, String> {
    let weights = &located(&spec.model.weights);
    if let Some(path) = weights.path.as_ref().filter(|path| is_checkpoint(Path::new(path))) {
        let checkpoint = Checkpoint::open(Path::new(path)).map_err(|e| format!("the size of ρ is not known: {e}"))?;
        let (dimensions, vocab) = (checkpoint.dimensions, checkpoint.vocab);
        return Ok(Model { dimensions, vocab, from: "as its hparams.json says".into() });
    }
    if let Some(path) = &weights.path {
        return match read_config(Path::new(path)) {
            Ok(config) => {
                Ok(Model { dimensions: config.dimensions, vocab: config.vocab, from: "as its config.json says".into() })
            }
            Err(e) if size_given => said(spec, &format!("as model.size says; {e}")),
            Err(e) => Err(format!("the size of ρ is not known: {e}")),
        };
    }
    let Some(repository) = &weights.hf else {
        let vocab = match &weights.pretrain {
            Some(p) if p.tokenizer == PretrainTokenizer::Trained => p.vocabulary,
            _ => GPT2_VOCAB,
        };
        return Ok(Model { dimensions: spec.model.dimensions(), vocab, from: "as model.size says".into() });
    };
    if let Some(config) = cached_config(repository, weights.revision.as_deref()) {
        return Ok(config);
    }
    match on_hub(repository) {
        Some((size, _)) => Ok(Model {
            dimensions: size.dimensions(),
            vocab: GPT2_VOCAB,
            from: format!("as {repository} is known to be"),
        }),
        None if size_given => said(spec, "as model.size says, until it is here"),
        None => Err(format!("the size of {repository} is not known before it is here; say model.size to plan with it")),
    }
}

/// Weights with the place of a named source, where it is known: where it is, or where it would be fetched from.
fn located(weights: &WeightsSpec) -> WeightsSpec {
    let Some(name) = &weights.source else { return weights.clone() };
    let unknown = WeightsSpec { source: None, path: None, hf: Some(name.clone()), revision: None, pretrain: None };
    let Ok(finder) = Hub::from_env().and_then(|hub| finder(hub.cache_only())) else { return unknown };
    if let Ok(found) = finder.weights(name) {
        return found.what;
    }
    let first = finder.catalogue.get(name).and_then(|source| source.places.iter().find(|place| place.hf.is_some()));
    let (hf, revision) = first.map_or((None, None), |place| (place.hf.clone(), place.revision.clone()));
    // All models of the authors' are of one size.
    let hf = hf.or_else(|| is_released(name).then(|| "openai-community/gpt2".into()));
    WeightsSpec { hf: hf.or(Some(name.clone())), revision, ..unknown }
}

fn said(spec: &Spec, from: &str) -> Result<Model, String> {
    Ok(Model { dimensions: spec.model.dimensions(), vocab: GPT2_VOCAB, from: from.into() })
}

/// Of a model whose config.json is in the hub's cache.
fn cached_config(repository: &str, revision: Option<&str>) -> Option<Model> {
    let hub = Hub::from_env().ok()?.cache_only();
    let snapshot = hub.snapshot(repository, RepositoryKind::Model, revision).ok()?;
    let config = read_config(&snapshot.dir()).ok()?;
    Some(Model { dimensions: config.dimensions, vocab: config.vocab, from: "as its config.json says".into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(model: serde_json::Value) -> Spec {
        serde_json::from_value(json!({ "spec_version": 1, "name": "t", "model": model })).unwrap()
    }

    #[test]
    fn the_hubs_models_have_the_parameters_that_transformers_counts() {
        for (name, wanted) in [
            ("openai-community/gpt2", 124_439_808.0),
            ("openai-community/gpt2-medium", 354_823_168.0),
            ("openai-community/gpt2-large", 774_030_080.0),
            ("openai-community/gpt2-xl", 1_557_611_200.0),
        ] {
            // The spec's own size is not asked: the name says more.
            let model = reference(&spec(json!({ "size": "tiny", "weights": { "hf": name } })), false).unwrap();
            assert_eq!(model.parameters(), wanted, "{name}");
        }
    }

    #[test]
    fn a_model_of_unknown_size_is_unknown_and_not_small() {
        let unknown = spec(json!({ "weights": { "hf": "somebody/their-gpt2" } }));
        let why = reference(&unknown, false).unwrap_err();
        assert!(why.contains("somebody/their-gpt2") && why.contains("model.size"), "{why}");
        let released = spec(json!({ "weights": { "source": "released/tldr/policy" } }));
        assert_eq!(reference(&released, false).unwrap().parameters(), 124_439_808.0);
        let smoke = concat!(env!("CARGO_MANIFEST_DIR"), "/specs/released_smoke/gpt2");
        let checkpoint = reference(&spec(json!({ "weights": { "path": smoke } })), false).unwrap();
        assert_eq!((checkpoint.vocab, checkpoint.dimensions.width), (384, 16));
        let said = spec(json!({ "size": "355M", "weights": { "hf": "somebody/their-gpt2" } }));
        assert_eq!(reference(&said, true).unwrap().parameters(), 354_823_168.0);
        let nowhere = spec(json!({ "weights": { "path": "nowhere" } }));
        assert!(reference(&nowhere, false).unwrap_err().contains("nowhere"));
    }
}
