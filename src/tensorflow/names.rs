//! The released code's variable names and ours (openai/lm-human-preferences: language/model.py, policy.py, rewards.py;
//! the original GPT-2's src/model.py has the same without a scope and without heads).
//!
//! A scope (`policy`, `ref_policy`, `reward_model`; none for GPT-2's) holds `model/..`, and a reward model also
//! `reward_norm/..`. Linear weights are `[1, in, out]` there and `[in, out]` here, a head's `[width]` and `[]` there
//! and `[1, width]` and `[1]` here: the same numbers in the same order.

use super::bundle::Bundle;
use super::{ScopeKind, TensorflowError};
use crate::data::error::list;
use crate::spec::Dimensions;

/// Endings of what Adam keeps for a variable (released code: utils/core.py, minimize; TensorFlow's own name for it).
const SLOTS: [&str; 4] = ["/adam", "/adam_1", "/Adam", "/Adam_1"];
/// Names in a message.
const MOST: usize = 8;

/// One tensor under both names.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    /// Under the scope.
    pub theirs: String,
    pub their_shape: Vec<usize>,
    /// Without a prefix.
    pub ours: String,
    pub our_shape: Vec<usize>,
}

/// All scopes in which there is a model, GPT-2's own as an empty name.
pub fn scopes(bundle: &Bundle) -> Vec<String> {
    let before = bundle.names().filter_map(|name| name.strip_suffix("model/wte"));
    before
        .filter_map(|scope| if scope.is_empty() { Some("") } else { scope.strip_suffix('/') })
        .map(Into::into)
        .collect()
}

/// A scope as a person names it: `policy`, `reward_model/`, `policy/model`, `model` for GPT-2's own.
fn plain(scope: &str) -> &str {
    let scope = scope.trim_matches('/');
    if scope == "model" { "" } else { scope.strip_suffix("/model").unwrap_or(scope) }
}

/// A scope for a message.
pub fn shown(scope: &str) -> &str {
    if scope.is_empty() { "model" } else { scope }
}

/// The scope that is wanted; without one the policy of a policy's checkpoint, the reward model of its, or the only one.
///
/// # Errors
/// The checkpoint holds no GPT-2, or not the one that is wanted, or several.
pub fn scope(bundle: &Bundle, wanted: Option<&str>) -> Result<String, TensorflowError> {
    let found = scopes(bundle);
    let refuse = |message: String| Err(TensorflowError::file(bundle.index(), message));
    let shown_all = || found.iter().map(|scope| shown(scope)).collect::<Vec<_>>();
    if found.is_empty() {
        let names: Vec<&str> = bundle.names().collect();
        let by = if bundle.is_of_objects() { "saved by TensorFlow 2 or Keras as objects; " } else { "" };
        let holds = list(&names, MOST);
        return refuse(format!(
            "holds no GPT-2 of the released code's names (model/wte, or SCOPE/model/wte): {by}another program's, with {} \
             tensors: {holds}",
            names.len()
        ));
    }
    if let Some(wanted) = wanted {
        return match found.iter().find(|scope| *scope == plain(wanted)) {
            Some(scope) => Ok(scope.clone()),
            None => refuse(format!("has no model in the scope {wanted:?}; it has {}", list(&shown_all(), MOST))),
        };
    }
    let known = ["policy", "reward_model"].into_iter().find(|known| found.iter().any(|scope| scope == known));
    match (known, &found[..]) {
        (Some(known), _) => Ok(known.into()),
        (None, [only]) => Ok(only.clone()),
        _ => refuse(format!("has several models; choose with --scope: {}", list(&shown_all(), MOST))),
    }
}

/// A name in a scope.
pub fn within(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.into() } else { format!("{scope}/{name}") }
}

/// What a scope holds, by its heads.
pub fn kind(bundle: &Bundle, scope: &str) -> ScopeKind {
    let has = |name: &str| bundle.get(&within(scope, name)).is_some();
    match (has("model/heads/reward/w"), has("model/heads/value/w")) {
        (true, _) => ScopeKind::RewardModel,
        (false, true) => ScopeKind::Policy,
        (false, false) => ScopeKind::LanguageModel,
    }
}

/// Every tensor of the transformer.
pub fn transformer(d: &Dimensions, vocab: usize) -> Vec<Name> {
    let w = d.width;
    let name = |theirs: String, ours: String, shape: &[usize]| Name {
        theirs: format!("model/{theirs}"),
        their_shape: shape.to_vec(),
        ours,
        our_shape: shape.to_vec(),
    };
    let mut all = vec![
        name("wte".into(), "wte.weight".into(), &[vocab, w]),
        name("wpe".into(), "wpe.weight".into(), &[d.context, w]),
    ];
    let norm = |theirs: String, ours: String| {
        [("g", "weight"), ("b", "bias")]
            .map(|(g, weight)| name(format!("{theirs}/{g}"), format!("{ours}.{weight}"), &[w]))
    };
    for layer in 0..d.layers {
        for part in ["ln_1", "ln_2"] {
            all.extend(norm(format!("h{layer}/{part}"), format!("h.{layer}.{part}")));
        }
        let linear = [
            ("attn", "c_attn", w, 3 * w),
            ("attn", "c_proj", w, w),
            ("mlp", "c_fc", w, 4 * w),
            ("mlp", "c_proj", 4 * w, w),
        ];
        for (block, part, input, output) in linear {
            let (theirs, ours) = (format!("h{layer}/{block}/{part}"), format!("h.{layer}.{block}.{part}"));
            let weight = name(format!("{theirs}/w"), format!("{ours}.weight"), &[input, output]);
            all.push(Name { their_shape: vec![1, input, output], ..weight });
            all.push(name(format!("{theirs}/b"), format!("{ours}.bias"), &[output]));
        }
    }
    all.extend(norm("ln_f".into(), "ln_f".into()));
    all
}

/// The two tensors of a head; none for a language model.
pub fn head(kind: ScopeKind, width: usize) -> Vec<Name> {
    let head = match kind {
        ScopeKind::LanguageModel => return Vec::new(),
        ScopeKind::Policy => "value",
        ScopeKind::RewardModel => "reward",
    };
    let name = |part: &str, their_shape: Vec<usize>, ours: &str, our_shape: Vec<usize>| Name {
        theirs: format!("model/heads/{head}/{part}"),
        their_shape,
        ours: ours.into(),
        our_shape,
    };
    vec![name("w", vec![width], "score.weight", vec![1, width]), name("b", vec![], "score.bias", vec![1])]
}

/// Gain and bias of a reward model's normalisation.
pub const NORM: [&str; 2] = ["reward_norm/gain", "reward_norm/bias"];

/// Checks that a scope holds exactly the tensors that are expected, in their shapes and readable, Adam's slots aside.
///
/// # Errors
/// The first tensor that is missing, misshapen, of another type, out of its file, or of no place in the model.
pub fn check(bundle: &Bundle, scope: &str, kind: ScopeKind, all: &[Name]) -> Result<(), TensorflowError> {
    for name in all {
        let theirs = within(scope, &name.theirs);
        let found = &bundle.check(&theirs)?.shape;
        if *found != name.their_shape {
            let expected = &name.their_shape;
            let message = format!("has shape {found:?}; expected {expected:?} from hparams.json");
            return Err(bundle.error(&theirs, message));
        }
    }
    let norm: &[&str] = if kind == ScopeKind::RewardModel { &NORM } else { &[] };
    for name in norm {
        let theirs = within(scope, name);
        let shape = &bundle.check(&theirs)?.shape;
        if shape.iter().product::<usize>() != 1 {
            return Err(bundle.error(&theirs, format!("has shape {shape:?}; expected one number")));
        }
    }
    let expected = |name: &str| all.iter().any(|n| n.theirs == name) || norm.contains(&name);
    let ours = |name: &str| match scope.is_empty() {
        true => name.starts_with("model/").then(|| name.to_string()),
        false => name.strip_prefix(scope)?.strip_prefix('/').map(Into::into),
    };
    match bundle.names().find(|name| ours(name).is_some_and(|inner| !is_slot(name) && !expected(&inner))) {
        Some(unknown) => {
            let what = format!("does not belong to the {} that hparams.json describes", kind.word());
            Err(bundle.error(unknown, what))
        }
        None => Ok(()),
    }
}

/// Whether a name is of Adam's moments, which no model needs.
pub fn is_slot(name: &str) -> bool {
    SLOTS.iter().any(|slot| name.ends_with(slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tensor_has_both_names() {
        let d = Dimensions { layers: 2, heads: 1, width: 7, context: 8 };
        let all = transformer(&d, 27);
        assert_eq!(all.len(), 2 + 2 * 12 + 2);
        let of = |ours: &str| all.iter().find(|n| n.ours == ours).map(|n| (n.theirs.as_str(), n.their_shape.clone()));
        assert_eq!(of("h.1.attn.c_attn.weight"), Some(("model/h1/attn/c_attn/w", vec![1, 7, 21])));
        assert_eq!(of("h.0.ln_2.bias"), Some(("model/h0/ln_2/b", vec![7])));
        assert_eq!(of("ln_f.weight"), Some(("model/ln_f/g", vec![7])));
        let numbers = |shape: &[usize]| shape.iter().product::<usize>();
        assert!(
            all.iter().chain(&head(ScopeKind::Policy, 7)).all(|n| numbers(&n.their_shape) == numbers(&n.our_shape))
        );
    }

    #[test]
    fn scopes_are_named_as_people_do() {
        assert_eq!(
            ["policy", "reward_model/", "policy/model", "model", "/a/b/"].map(plain),
            ["policy", "reward_model", "policy", "", "a/b"]
        );
        assert!(is_slot("policy/model/wte/adam_1") && !is_slot("policy/model/wte"));
    }
}
