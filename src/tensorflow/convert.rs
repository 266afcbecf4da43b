//! One model of a checkpoint as a model directory of ours (docs/formats.md), which transformers loads too. Tensors go
//! from file to file in pieces: however large the checkpoint, no tensor is held whole.

use super::bundle::Bundle;
use super::checkpoint::{Checkpoint, Vocabulary};
use super::names::{self, Name};
use super::{TensorflowError, names::within};
use crate::model::config::{Architecture, Config, write_config};
use crate::model::gpt2::LAYER_NORM_EPSILON;
use crate::model::tensor_file::write_pieces;
use crate::model::tokenizer::Tokenizer;
use crate::rlhf::reward::Normalization;
use crate::store::atomic::{hash_file, write_atomic};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What a scope of a checkpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeKind {
    LanguageModel,
    /// A language model with a value head.
    Policy,
    RewardModel,
}

impl ScopeKind {
    /// For a person.
    pub fn word(self) -> &'static str {
        match self {
            Self::LanguageModel => "language model",
            Self::Policy => "policy",
            Self::RewardModel => "reward model",
        }
    }
}

/// What was written; `import.json` beside the weights.
#[derive(Debug, Clone, Serialize)]
pub struct Imported {
    pub kind: ScopeKind,
    /// The checkpoint's files, without their endings.
    pub from: String,
    /// Empty for the original GPT-2, which has none.
    pub scope: String,
    pub tensors: usize,
    pub parameters: u64,
    /// Tensors of the checkpoint that no model needs or that belong to another scope, by scope.
    pub left_out: BTreeMap<String, usize>,
    pub hparams: Value,
}

/// Folder in a new model's directory in which its files are made.
const UNFINISHED: &str = ".unfinished_import";
/// The file without which a directory is no model.
const CONFIG: &str = "config.json";

/// Writes the model in `scope` (by default the policy, the reward model, or the only one) to the directory `to`, which
/// is new or empty, or has what an import left that was killed. Nothing is left there by an import that fails.
///
/// # Errors
/// What is wrong with the checkpoint, found before anything is written but for check sums of tensors; a directory that
/// is not empty; the disk.
pub fn import(checkpoint: &Checkpoint, scope: Option<&str>, to: &Path) -> Result<Imported, TensorflowError> {
    let bundle = &checkpoint.bundle;
    let scope = names::scope(bundle, scope)?;
    let kind = names::kind(bundle, &scope);
    let d = checkpoint.dimensions;
    let (trunk, head) = (names::transformer(&d, checkpoint.vocab), names::head(kind, d.width));
    let all: Vec<Name> = trunk.iter().chain(&head).cloned().collect();
    names::check(bundle, &scope, kind, &all)?;
    let tokenizer = match &checkpoint.vocabulary {
        Vocabulary::Gpt2 => Tokenizer::gpt2()?,
        Vocabulary::Files { encoder, merges } => Tokenizer::of_vocabulary_files(encoder, merges)?,
    };
    let work = to.join(UNFINISHED);
    // What an import that was killed has left is no one's work.
    let is_new = std::fs::read_dir(to).map_or(true, |mut entries| entries.next().is_none()) || work.is_dir();
    if !is_new {
        return Err(TensorflowError::file(to, "is there already and not empty; name a new directory with --to"));
    }
    let _ = std::fs::remove_dir_all(&work);
    let model = Model { checkpoint, scope: &scope, kind, trunk: &trunk, head: &head, tokenizer: &tokenizer };
    let imported = model.write(&work).and_then(|imported| move_up(&work, to).map(|()| imported));
    let _ = std::fs::remove_dir_all(&work);
    // Only where nothing is in it.
    let _ = if imported.is_err() { std::fs::remove_dir(to) } else { Ok(()) };
    imported
}

/// A model of a checkpoint that has been checked.
struct Model<'a> {
    checkpoint: &'a Checkpoint,
    scope: &'a str,
    kind: ScopeKind,
    trunk: &'a [Name],
    head: &'a [Name],
    tokenizer: &'a Tokenizer,
}

impl Model<'_> {
    /// All files of its directory, into `to`.
    fn write(&self, to: &Path) -> Result<Imported, TensorflowError> {
        let Self { scope, kind, trunk, head, tokenizer, .. } = *self;
        let bundle = &self.checkpoint.bundle;
        let scalar = trunk.iter().map(|n| Name { ours: format!("transformer.{}", n.ours), ..n.clone() });
        let scalar: Vec<Name> = scalar.chain(head.iter().cloned()).collect();
        let weights = to.join("model.safetensors");
        match kind {
            ScopeKind::LanguageModel => write(bundle, scope, trunk, &weights)?,
            ScopeKind::RewardModel => write(bundle, scope, &scalar, &weights)?,
            ScopeKind::Policy => {
                write(bundle, scope, trunk, &weights)?;
                write(bundle, scope, &scalar, &to.join("with_value_head.safetensors"))?;
            }
        }
        tokenizer.save(to)?;
        if kind == ScopeKind::RewardModel {
            let [gain, bias] = names::NORM.map(|name| one(bundle, &within(scope, name)));
            let normalization = Normalization { gain: f64::from(gain?), bias: f64::from(bias?) };
            write_json(&to.join("reward.json"), &json!({ "normalization": normalization }))?;
        }
        let all = || trunk.iter().chain(head);
        let imported = Imported {
            kind,
            from: bundle.prefix().display().to_string(),
            tensors: all().count(),
            parameters: all().map(|n| n.our_shape.iter().product::<usize>() as u64).sum(),
            left_out: left_out(bundle, scope),
            hparams: self.checkpoint.hparams.clone(),
            scope: scope.into(),
        };
        write_json(&to.join("import.json"), &json!(imported))?;
        let of = if kind == ScopeKind::RewardModel { Architecture::Scalar } else { Architecture::LanguageModel };
        let (dimensions, vocab) = (self.checkpoint.dimensions, self.checkpoint.vocab);
        let config = Config { dimensions, vocab, layer_norm_epsilon: LAYER_NORM_EPSILON, tied: true };
        write_config(to, &config, of, tokenizer.end_of_text())?;
        Ok(imported)
    }
}

/// Moves every file of a folder into the one that it is in, config.json last: without it a directory is no model.
fn move_up(work: &Path, to: &Path) -> Result<(), TensorflowError> {
    let failed = |source| TensorflowError::Write { path: to.into(), source };
    let entries = std::fs::read_dir(work).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut names: Vec<_> = entries.iter().map(std::fs::DirEntry::file_name).collect();
    names.sort_by_key(|name| (name == CONFIG, name.clone()));
    names.iter().try_for_each(|name| std::fs::rename(work.join(name), to.join(name)).map_err(failed))
}

/// Version of what [`import`] writes.
const VERSION: u32 = 1;

/// The model of a checkpoint in a folder of imported ones, by its index and its settings: imported once.
///
/// # Errors
/// Those of [`Checkpoint::open`] and [`import`].
pub fn imported(from: &Path, scope: Option<&str>, folder: &Path) -> Result<PathBuf, TensorflowError> {
    let checkpoint = Checkpoint::open(from)?;
    let index = checkpoint.bundle.index();
    let index = hash_file(&index).map_err(|e| TensorflowError::file(&index, e))?;
    let hash = |path: &Path| hash_file(path).ok();
    let vocabulary = match &checkpoint.vocabulary {
        Vocabulary::Gpt2 => None,
        Vocabulary::Files { encoder, merges } => Some((hash(encoder), hash(merges))),
    };
    let inputs = json!([VERSION, index, checkpoint.hparams, scope, vocabulary]);
    let name = blake3::hash(inputs.to_string().as_bytes()).to_hex()[..16].to_string();
    let to = folder.join(&name);
    if to.join(CONFIG).is_file() {
        return Ok(to);
    }
    tracing::info!("importing {}", checkpoint.bundle.prefix().display());
    // Of this process alone until it is whole.
    let own = folder.join(format!(".{name}.{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&own);
    let made = import(&checkpoint, scope, &own);
    let moved = made.and_then(|_| {
        std::fs::rename(&own, &to).or_else(|source| match to.join(CONFIG).is_file() {
            true => Ok(()),
            false => Err(TensorflowError::Write { path: to.clone(), source }),
        })
    });
    let _ = std::fs::remove_dir_all(&own);
    moved.map(|()| to)
}

/// Scopes and how many tensors of them stay behind: other models, Adam's moments and counters.
fn left_out(bundle: &Bundle, scope: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let ours = within(scope, "");
    for name in bundle.names() {
        let is_ours = if scope.is_empty() { name.starts_with("model/") } else { name.starts_with(&ours) };
        let group = match name.split_once('/') {
            _ if names::is_slot(name) => "Adam's moments",
            _ if is_ours => continue,
            Some((first, _)) => first,
            None => name,
        };
        *counts.entry(group.to_string()).or_default() += 1;
    }
    counts
}

fn one(bundle: &Bundle, name: &str) -> Result<f32, TensorflowError> {
    match bundle.read(name)?[..] {
        [value] if value.is_finite() => Ok(value),
        ref other => Err(bundle.error(name, format!("is {other:?}; expected one finite number"))),
    }
}

fn write_json(path: &Path, value: &Value) -> Result<(), TensorflowError> {
    let text = format!("{value:#}\n");
    write_atomic(path, text.as_bytes()).map_err(|source| TensorflowError::Write { path: path.into(), source })
}

/// A failure on the way through a writer that knows errors of the disk alone.
struct Failure(TensorflowError);

impl From<TensorflowError> for Failure {
    fn from(error: TensorflowError) -> Self {
        Self(error)
    }
}

impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Self {
        Self(TensorflowError::Write { path: PathBuf::new(), source })
    }
}

/// Copies tensors into one safetensors file.
fn write(bundle: &Bundle, scope: &str, all: &[Name], path: &Path) -> Result<(), TensorflowError> {
    let shapes = all.iter().map(|n| (n.ours.clone(), n.our_shape.clone())).collect();
    let theirs: BTreeMap<&str, String> = all.iter().map(|n| (n.ours.as_str(), within(scope, &n.theirs))).collect();
    let mut failed = None;
    let written = write_pieces(path, &shapes, &mut |name, sink| {
        let Some(theirs) = theirs.get(name) else { return Ok(()) };
        let copied = bundle.pieces::<Failure>(theirs, &mut |piece| Ok(sink(piece)?));
        copied.map_err(|Failure(error)| match error {
            TensorflowError::Write { source, .. } => source,
            other => {
                failed = Some(other);
                io::Error::other("the checkpoint is damaged")
            }
        })
    });
    match (failed, written) {
        (Some(error), _) => Err(error),
        (None, written) => written.map_err(|source| TensorflowError::Write { path: path.into(), source }),
    }
}
