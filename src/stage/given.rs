//! A reward model or a policy that is given instead of trained: a directory of ours, or an imported one of the authors'
//! (`reward.path`, `policy.path`; sources.rs has put paths in the place of names). It is read where it is, whatever its
//! layout and number type, and a copy goes into the results.

use super::{pretrain, reward};
use crate::context::{Context, StageError};
use crate::model::ModelError;
use crate::model::gpt2::{Gpt2, ScalarModel};
use crate::model::tokenizer::Tokenizer;
use crate::model::vocabulary::fitted;
use crate::model::weights::{save_gpt2, save_scalar};
use crate::rlhf::reward::Normalization;
use crate::spec::keyed::ScaleKey;
use crate::spec::{OutsideReward, Precision, Spec};
use crate::store::atomic::{hash_file, write_atomic};
use crate::store::cache::Key;
use crate::store::input;
use crate::task::scoring::Scorer;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
/// Of rewards that no model gives.
const OUTSIDE: u32 = 1;

/// What of reward.json every reward model has.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Scale {
    normalization: Normalization,
}

/// A message that names the key which gave the directory.
fn wrong(key: &str, message: impl std::fmt::Display) -> StageError {
    StageError::Input(format!("{key}: {message}"))
}

/// Files that cannot be used are wrong input, and no failure of the run.
fn readable<T>(key: &str, result: Result<T, ModelError>) -> Result<T, StageError> {
    pretrain::readable(result).map_err(|e| match e {
        StageError::Input(message) => wrong(key, message),
        other => other,
    })
}

/// The given r's directory, once it is here.
pub fn reward_dir(spec: &Spec) -> Option<PathBuf> {
    spec.reward.path.as_ref().map(PathBuf::from)
}

/// The given π's directory, once it is here.
pub fn policy_dir(spec: &Spec) -> Option<PathBuf> {
    spec.policy.path.as_ref().map(PathBuf::from)
}

/// What depends on the given r: its content. None where r is not given.
pub fn reward_key(spec: &Spec) -> Result<Option<Key>, StageError> {
    if !spec.reward.is_given() {
        return Ok(None);
    }
    if let Some(outside) = spec.reward.outside() {
        let words = spec.reward.command.as_ref().filter(|_| outside == OutsideReward::Command);
        let words = words.map(crate::outside::program_key).transpose().map_err(|why| wrong("reward.command", why))?;
        return Ok(Some(Key::new("given_reward", OUTSIDE, &(outside.word(), words, ScaleKey::of(&spec.reward)))?));
    }
    let dir = reward_dir(spec).ok_or_else(|| wrong("reward.source", "has not been looked up"))?;
    let formatted = spec.reward.formatted_queries;
    Ok(Some(Key::new("given_reward", VERSION, &(content("reward.path", &dir, &[reward::FILE])?, formatted))?))
}

/// What depends on the given π: its content. None where π is not given.
pub fn policy_key(spec: &Spec) -> Result<Option<Key>, StageError> {
    if !spec.policy.is_given() {
        return Ok(None);
    }
    let dir = policy_dir(spec).ok_or_else(|| wrong("policy.source", "has not been looked up"))?;
    Ok(Some(Key::new("given_policy", VERSION, &content("policy.path", &dir, &[])?)?))
}

/// Hashes of all files of a model that are read.
fn content(key: &str, dir: &Path, more: &[&str]) -> Result<Vec<String>, StageError> {
    let mut files = readable(key, pretrain::files(dir))?;
    files.extend(more.iter().map(|name| dir.join(name)));
    files.iter().map(|file| hash_file(file).map_err(|e| wrong(key, format!("{}: {e}", file.display())))).collect()
}

/// Both vocabularies are ρ's: ids mean the same to all models.
fn same_tokens(key: &str, dir: &Path, tokenizer: &Tokenizer) -> Result<(), StageError> {
    let own = readable(key, Tokenizer::load(dir))?;
    let other = |message: String| {
        Err(wrong(
            key,
            format!("{} has other tokens than ρ ({message}): its numbers would mean nothing", dir.display()),
        ))
    };
    let (theirs, ours) = (own.vocab(), tokenizer.vocab());
    if theirs != ours {
        return other(format!("{theirs}, and ρ has {ours}"));
    }
    for id in 0..ours as u32 {
        let (theirs, ours) = (own.decode(&[id])?, tokenizer.decode(&[id])?);
        if theirs != ours {
            return other(format!("{id} is {theirs:?}, and of ρ {ours:?}"));
        }
    }
    Ok(())
}

/// The given r with its normalisation.
pub fn reward(context: &Context, spec: &Spec, tokenizer: &Tokenizer) -> Result<Option<Scorer>, StageError> {
    let Some(dir) = reward_dir(spec) else { return Ok(None) };
    let key = "reward.path";
    same_tokens(key, &dir, tokenizer)?;
    let path = dir.join(reward::FILE);
    let text = input::read_to_string(&path).map_err(|e| {
        let hint = "write {\"normalization\": {\"gain\": 1.0, \"bias\": 0.0}} for one that has none";
        wrong(key, format!("{}: {e}; {hint}", path.display()))
    })?;
    let Scale { normalization } =
        serde_json::from_str(&text).map_err(|e| wrong(key, format!("{}: {e}", path.display())))?;
    let ScalarModel { trunk, head } = readable(key, context.scalar(&dir, spec.model.precision))?;
    let model = ScalarModel { trunk: readable(key, fitted(trunk, tokenizer))?, head };
    let (needed, room) = (spec.task.query_length + spec.task.response_length, model.trunk.dimensions().context);
    if needed > room {
        let message = format!("query and response need {needed} positions; {} has {room}", dir.display());
        return Err(wrong(key, message));
    }
    Ok(Some(Scorer { source: model.into(), normalization }))
}

/// A reward model of a results directory, whose tokens are known to be right.
pub fn load_reward(context: &Context, dir: &Path, precision: Precision) -> Result<Scorer, StageError> {
    let Scale { normalization } = reward::read_beside(dir)?;
    Ok(Scorer { source: context.scalar(dir, precision)?.into(), normalization })
}

/// The given π.
pub fn policy(context: &Context, spec: &Spec, tokenizer: &Tokenizer, rho: &Gpt2) -> Result<Option<Gpt2>, StageError> {
    let Some(dir) = policy_dir(spec) else { return Ok(None) };
    let key = "policy.path";
    same_tokens(key, &dir, tokenizer)?;
    let model = readable(key, fitted(readable(key, context.gpt2(&dir, spec.model.precision))?, tokenizer))?;
    let (room, needed) = (model.dimensions().context, rho.dimensions().context);
    if room < needed {
        tracing::warn!("{key}: {} has a context of {room} tokens, ρ of {needed}", dir.display());
    }
    Ok(Some(model))
}

/// A copy of r in the results, as a trained one is there.
pub fn publish_reward(scorer: &Scorer, tokenizer: &Tokenizer, dir: &Path) -> Result<(), StageError> {
    if let Some(model) = scorer.model() {
        save_scalar(dir, model, tokenizer.end_of_text())?;
    }
    tokenizer.save(dir)?;
    let path = dir.join(reward::FILE);
    let text = format!("{:#}\n", json!(Scale { normalization: scorer.normalization }));
    write_atomic(&path, text.as_bytes()).map_err(StageError::io(path))
}

/// A copy of π in the results.
pub fn publish_policy(model: &Gpt2, tokenizer: &Tokenizer, dir: &Path) -> Result<(), StageError> {
    save_gpt2(dir, model, tokenizer.end_of_text())?;
    Ok(tokenizer.save(dir)?)
}
