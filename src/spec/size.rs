//! Weights that are given bring their own size: a spec that says none gets theirs, and one that says another is
//! refused.

use super::check::Finding;
use super::config::read_config;
use super::source::{Node, NodeKind};
use super::{Dimensions, ModelSize, Origin, Spec, WeightsSpec};
use serde_json::{Value, json};
use std::path::Path;

/// GPT-2 as it was published, by its short name here and on the hub.
const PUBLISHED: [(&str, ModelSize); 4] = [
    ("gpt2", ModelSize::M124),
    ("gpt2-medium", ModelSize::M355),
    ("gpt2-large", ModelSize::M774),
    ("gpt2-xl", ModelSize::M1558),
];

/// The size of weights that are a directory here, or published ones; `None` where it will be known when they are
/// fetched.
fn of_weights(weights: &WeightsSpec) -> Option<Dimensions> {
    if let Some(path) = weights.path.as_deref().filter(|path| !path.is_empty()) {
        return read_config(Path::new(path)).ok().map(|config| config.dimensions);
    }
    let name = weights.source.as_deref().or_else(|| weights.hf.as_deref()?.strip_prefix("openai-community/"))?;
    PUBLISHED.iter().find(|(known, _)| *known == name).map(|(_, size)| size.dimensions())
}

/// Puts in the size of the weights, where no layer says one and it is not the default.
pub fn fill_size(tree: &mut Node) {
    let says = |key: &str| tree.get(&["model", key]).is_some_and(|node| !matches!(node.origin, Origin::Default));
    if says("size") || says("dimensions") {
        return;
    }
    let text = |key: &str| match tree.get(&["model", "weights", key]).map(|node| &node.kind) {
        Some(NodeKind::Leaf(Value::String(text))) => Some(text.clone()),
        _ => None,
    };
    let weights =
        WeightsSpec { path: text("path"), hf: text("hf"), source: text("source"), revision: None, pretrain: None };
    let Some(found) = of_weights(&weights).filter(|found| *found != ModelSize::Tiny.dimensions()) else { return };
    let size = PUBLISHED.iter().map(|(_, size)| *size).find(|size| size.dimensions() == found);
    let (key, value) = match size {
        Some(size) => ("size", json!(size)),
        None => ("dimensions", json!(found)),
    };
    tree.insert(&["model".into(), key.into()], Node::from_json(&value, &Origin::Default));
}

/// The size that a spec gives, and weights of another.
pub fn size_is_of_the_weights(tree: &Node, spec: &Spec) -> Option<Finding> {
    let written = ["size", "dimensions"].into_iter().any(|key| {
        tree.get(&["model", key]).is_some_and(|node| !matches!(node.origin, Origin::Default | Origin::Preset(_)))
    });
    let (asked, found) = (spec.model.dimensions(), of_weights(&spec.model.weights)?);
    if !written || asked == found {
        return None;
    }
    let words =
        |d: Dimensions| format!("{} layers, {} heads, width {}, context {}", d.layers, d.heads, d.width, d.context);
    Some(Finding {
        keys: vec!["model.size", "model.dimensions", "model.weights.path", "model.weights.hf", "model.weights.source"],
        message: format!("is {}, and the weights have {}", words(asked), words(found)),
        hint: Some("leave it out: weights bring their size".into()),
    })
}
