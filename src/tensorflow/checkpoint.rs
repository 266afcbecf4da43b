//! From what a person names (a directory, or the prefix of a checkpoint's files) to the bundle, and what stands beside
//! it.
//!
//! The released code keeps a model in a directory with `hparams.json`, `encoding` (`"main"`: GPT-2's tokens) and
//! `checkpoints/` (train_policy.py, train_reward.py); the original GPT-2 has everything in one directory, with
//! `encoder.json` and `vocab.bpe`. In both a text file `checkpoint` names the newest.

use super::TensorflowError;
use super::bundle::{Bundle, with_ending};
use crate::data::error::list;
use crate::spec::Dimensions;
use crate::store::input;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The file that names a directory's newest checkpoint.
pub(super) const STATE: &str = "checkpoint";
pub(super) const HPARAMS: &str = "hparams.json";
pub(super) const ENCODING: &str = "encoding";
pub(super) const ENCODER: &str = "encoder.json";
pub(super) const MERGES: &str = "vocab.bpe";
/// Largest text beside a checkpoint: GPT-2's encoder.json has a megabyte.
const LARGEST_TEXT: u64 = 64 << 20;

/// A model's vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub enum Vocabulary {
    /// GPT-2's own, which the program has inside.
    Gpt2,
    Files {
        encoder: PathBuf,
        merges: PathBuf,
    },
}

/// An opened checkpoint and what is known about its models.
#[derive(Debug)]
pub struct Checkpoint {
    pub bundle: Bundle,
    pub dimensions: Dimensions,
    pub vocab: usize,
    /// hparams.json as it stands.
    pub hparams: Value,
    pub vocabulary: Vocabulary,
}

impl Checkpoint {
    /// Opens a directory's newest checkpoint, or the one with this prefix.
    ///
    /// # Errors
    /// There is none, it cannot be read, or hparams.json or the vocabulary is missing or says what is not computed
    /// here.
    pub fn open(path: &Path) -> Result<Self, TensorflowError> {
        let prefix = locate(path)?;
        let bundle = Bundle::open(&prefix)?;
        // A foreign checkpoint is better told by its tensors than by what it lacks beside them.
        if super::names::scopes(&bundle).is_empty() {
            super::names::scope(&bundle, None)?;
        }
        let hparams_path = beside(&prefix, HPARAMS).ok_or_else(|| {
            let place = folder(&prefix).join(HPARAMS);
            TensorflowError::file(
                place,
                "is not there, nor in the folder above; without it nobody knows how many heads \
                                          the model has",
            )
        })?;
        let hparams = json(&hparams_path)?;
        let (dimensions, vocab) = parse(&hparams).map_err(|message| TensorflowError::file(&hparams_path, message))?;
        let vocabulary = vocabulary(&prefix, vocab)?;
        Ok(Self { bundle, dimensions, vocab, hparams, vocabulary })
    }
}

/// Folders in which a directory's checkpoints are looked for.
const FOLDERS: [&str; 4] = ["", "checkpoints", "policy", "policy/checkpoints"];

/// Whether a path is a TensorFlow checkpoint, or a directory of some, and no model directory of ours.
pub fn is_checkpoint(path: &Path) -> bool {
    let holds = |sub: &&str| path.join(sub).join(STATE).is_file() || !indexes(&path.join(sub)).is_empty();
    match path.is_dir() {
        true => !path.join("config.json").exists() && FOLDERS.iter().any(holds),
        false => with_ending(&without_ending(path), ".index").is_file(),
    }
}

fn folder(prefix: &Path) -> PathBuf {
    prefix.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf()
}

/// A file in the checkpoint's folder, or in the one above.
fn beside(prefix: &Path, name: &str) -> Option<PathBuf> {
    let dir = folder(prefix);
    [dir.join(name), dir.join("..").join(name)].into_iter().find(|path| path.is_file())
}

fn text(path: &Path) -> Result<String, TensorflowError> {
    let failed = |e: std::io::Error| TensorflowError::file(path, e);
    if std::fs::metadata(path).map_err(failed)?.len() > LARGEST_TEXT {
        return Err(TensorflowError::file(path, "is too large for what it is named"));
    }
    input::read_to_string(path).map_err(failed)
}

fn json(path: &Path) -> Result<Value, TensorflowError> {
    serde_json::from_str(&text(path)?).map_err(|e| TensorflowError::file(path, e))
}

/// The prefix of a checkpoint's files.
fn locate(path: &Path) -> Result<PathBuf, TensorflowError> {
    if !path.is_dir() {
        return Ok(without_ending(path));
    }
    let folders: Vec<PathBuf> = FOLDERS.iter().map(|sub| path.join(sub)).collect();
    for dir in &folders {
        let state = dir.join(STATE);
        if state.is_file() {
            return newest(&state, &text(&state)?);
        }
    }
    let mut found: Vec<PathBuf> = folders.iter().flat_map(|dir| indexes(dir)).collect();
    found.sort_unstable();
    match &found[..] {
        [only] => Ok(without_ending(only)),
        [] if path.join("saved_model.pb").is_file() => {
            let message = "is a SavedModel, with its variables in variables/; give PREFIX of a checkpoint of the released \
                           code's names";
            Err(TensorflowError::file(path, message))
        }
        [] => {
            let message = "holds no checkpoint: neither a file `checkpoint` nor an .index, here, in checkpoints/ or in \
                           policy/";
            Err(TensorflowError::file(path, message))
        }
        several => {
            let names: Vec<String> = several.iter().map(|p| p.display().to_string()).collect();
            let names = list(&names, 8);
            Err(TensorflowError::file(path, format!("holds several checkpoints and no file `checkpoint`: {names}")))
        }
    }
}

fn indexes(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "index")).collect()
}

/// A file of a checkpoint names the checkpoint.
fn without_ending(path: &Path) -> PathBuf {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return path.to_path_buf() };
    let data = name.rfind(".data-").map(|at| &name[..at]);
    let prefix = name.strip_suffix(".index").or_else(|| name.strip_suffix(".meta")).or(data);
    prefix.map_or_else(|| path.to_path_buf(), |prefix| path.with_file_name(prefix))
}

/// The newest checkpoint of a directory. An absolute path of the machine that wrote it is taken for the name in it.
fn newest(state: &Path, text: &str) -> Result<PathBuf, TensorflowError> {
    let name = state_name(text).ok_or_else(|| {
        TensorflowError::file(state, "does not name a checkpoint (model_checkpoint_path: \"..\"); is it TensorFlow's?")
    })?;
    let dir = folder(state);
    let there = |prefix: &PathBuf| prefix.exists() || with_ending(prefix, ".index").exists();
    let base = Path::new(&name).file_name().map(|base| dir.join(base));
    let as_written = Some(dir.join(&name)).filter(there);
    as_written.or(base).ok_or_else(|| TensorflowError::file(state, format!("names {name:?}, which is no file's name")))
}

/// `model_checkpoint_path` of a file `checkpoint`.
pub(super) fn state_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix("model_checkpoint_path:"))?.trim();
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    let mut name = String::new();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        name.push(if letter == '\\' { letters.next()? } else { letter });
    }
    (!name.is_empty()).then_some(name)
}

/// What the model looks like: GPT-2's hparams.json, and the released code's with its dropouts.
fn parse(hparams: &Value) -> Result<(Dimensions, usize), String> {
    let number = |key: &str, most: u64| {
        let found = hparams[key].as_u64().filter(|n| (1..=most).contains(n));
        found
            .map(|n| n as usize)
            .ok_or_else(|| format!("`{key}` is {}; expected a whole number from 1 to {most}", hparams[key]))
    };
    let dimensions = Dimensions {
        layers: number("n_layer", 200)?,
        heads: number("n_head", 256)?,
        width: number("n_embd", 65_536)?,
        context: number("n_ctx", 1 << 20)?,
    };
    if !dimensions.width.is_multiple_of(dimensions.heads) {
        return Err("`n_embd` is not a multiple of `n_head`".into());
    }
    Ok((dimensions, number("n_vocab", 1 << 24)?))
}

fn vocabulary(prefix: &Path, vocab: usize) -> Result<Vocabulary, TensorflowError> {
    if let (Some(encoder), Some(merges)) = (beside(prefix, ENCODER), beside(prefix, MERGES)) {
        return Ok(Vocabulary::Files { encoder, merges });
    }
    let encoding = beside(prefix, ENCODING);
    let named = encoding.as_ref().map(|path| json(path)).transpose()?;
    let main = crate::model::gpt2_tokenizer::END_OF_TEXT_ID as usize + 1;
    match named.as_ref().map(|name| name.as_str()) {
        None | Some(Some("main")) if vocab == main => Ok(Vocabulary::Gpt2),
        _ => {
            let named = named.map(|name| format!(" and the encoding {name}")).unwrap_or_default();
            let message = format!(
                "has {vocab} tokens{named}: not GPT-2's {main} (\"main\"); put its encoder.json and vocab.bpe beside it"
            );
            Err(TensorflowError::file(beside(prefix, HPARAMS).unwrap_or_else(|| prefix.into()), message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_state_file_names_the_newest() {
        let text = "model_checkpoint_path: \"model.ckpt-1954\"\nall_model_checkpoint_paths: \"model.ckpt-1900\"\n";
        assert_eq!(state_name(text).as_deref(), Some("model.ckpt-1954"));
        assert_eq!(state_name("model_checkpoint_path: \"a\\\"b\\\\c\"").as_deref(), Some("a\"b\\c"));
        for bad in ["", "model_checkpoint_path: ", "model_checkpoint_path: \"\"", "model_checkpoint_path: \"a\\\""] {
            assert_eq!(state_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn files_of_a_checkpoint_name_it() {
        for name in ["m.ckpt-3", "m.ckpt-3.index", "m.ckpt-3.meta", "m.ckpt-3.data-00000-of-00001"] {
            assert_eq!(without_ending(&Path::new("a").join(name)), Path::new("a/m.ckpt-3"), "{name}");
        }
    }

    #[test]
    fn hparams_that_make_no_model_are_refused_by_their_key() {
        let good = json!({ "n_vocab": 27, "n_ctx": 8, "n_embd": 7, "n_head": 1, "n_layer": 2, "embd_pdrop": 0.1 });
        assert!(parse(&good).is_ok());
        for (key, value) in
            [("n_head", json!(2)), ("n_layer", json!(0)), ("n_ctx", json!("8")), ("n_vocab", Value::Null)]
        {
            let mut bad = good.clone();
            bad[key] = value;
            assert!(parse(&bad).is_err_and(|message| message.contains(key)), "{key}");
        }
    }
}
