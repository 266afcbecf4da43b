//! Training checkpoints: weights, both Adam moments and the loop's numbers in two files, the second written last with
//! the first one's hash. A damaged checkpoint is passed over for the one before.

use super::atomic::{hash_file, write_atomic};
use crate::model::gpt2::{Weight, Weights};
use crate::model::optimizer::Adam;
use crate::model::tensor_file::{Tensors, write_tensors};
use crate::model::weights::{load_into, named};
use crate::spec::AdamSpec;
use crate::stage::StageError;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Checkpoints kept.
pub const KEEP: usize = 2;

/// The loop's own state; random streams and data order are functions of `updates`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub updates: usize,
    pub kl_coef: f64,
    /// α of the entropy bonus; 0 without one.
    #[serde(default)]
    pub entropy_coef: f64,
    /// Length of metrics.jsonl at this point.
    pub metrics_bytes: u64,
    /// Length of requests.jsonl at this point; there is none without online collection.
    #[serde(default)]
    pub requests_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    state: State,
    adam_step: u64,
    blake3: String,
}

fn paths(dir: &Path, updates: usize) -> (PathBuf, PathBuf) {
    (dir.join(format!("{updates:08}.safetensors")), dir.join(format!("{updates:08}.json")))
}

/// Writes a checkpoint and removes all but the newest two.
pub fn save<M: Weights + Clone>(dir: &Path, state: &State, model: &M, adam: &Adam) -> Result<(), StageError> {
    let (weights, seal) = paths(dir, state.updates);
    let mut tensors = named(model.clone(), "model.");
    for (name, (m, v)) in &adam.moments {
        for (kind, moment) in [("m", m), ("v", v)] {
            tensors.insert(format!("adam.{kind}.{name}"), Weight::Vector(moment.clone()));
        }
    }
    write_tensors(&weights, &tensors)?;
    let blake3 = hash_file(&weights).map_err(StageError::io(&weights))?;
    let text = serde_json::to_string_pretty(&Sealed { state: state.clone(), adam_step: adam.step, blake3 })
        .map_err(|e| StageError::Input(e.to_string()))?;
    write_atomic(&seal, text.as_bytes()).map_err(StageError::io(&seal))?;
    for old in found(dir)?.iter().skip(KEEP) {
        let (weights, seal) = paths(dir, *old);
        let _ = fs::remove_file(seal).and_then(|()| fs::remove_file(weights));
    }
    Ok(())
}

/// Update counts of the checkpoints, newest first.
fn found(dir: &Path) -> Result<Vec<usize>, StageError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).map_err(StageError::io(dir))?;
    let name = |e: fs::DirEntry| e.file_name().to_string_lossy().strip_suffix(".json").and_then(|n| n.parse().ok());
    let mut updates: Vec<usize> = entries.filter_map(Result::ok).filter_map(name).collect();
    updates.sort_unstable_by(|a, b| b.cmp(a));
    Ok(updates)
}

/// Hash of the newest checkpoint's weights, as it was written.
pub fn newest_hash(dir: &Path) -> Result<String, StageError> {
    let none = || StageError::Input(format!("{}: there are no weights", dir.display()));
    let (_, seal) = paths(dir, *found(dir)?.first().ok_or_else(none)?);
    let text = fs::read_to_string(&seal).map_err(StageError::io(&seal))?;
    let sealed: Sealed = serde_json::from_str(&text)?;
    Ok(sealed.blake3)
}

/// The newest intact checkpoint; `like` gives the model's shape.
pub fn load<M: Weights + Clone>(
    dir: &Path,
    like: &M,
    spec: AdamSpec,
    device: &Device,
) -> Result<Option<(State, M, Adam)>, StageError> {
    for updates in found(dir)? {
        match read(dir, updates, like, spec, device) {
            Ok(loaded) => return Ok(Some(loaded)),
            Err(e) => tracing::warn!("checkpoint after update {updates} is damaged ({e}); trying the one before"),
        }
    }
    Ok(None)
}

fn read<M: Weights + Clone>(
    dir: &Path,
    updates: usize,
    like: &M,
    spec: AdamSpec,
    device: &Device,
) -> Result<(State, M, Adam), StageError> {
    let (weights, seal) = paths(dir, updates);
    let text = fs::read_to_string(&seal).map_err(StageError::io(&seal))?;
    let sealed: Sealed =
        serde_json::from_str(&text).map_err(|e| StageError::Input(format!("{}: {e}", seal.display())))?;
    if hash_file(&weights).map_err(StageError::io(&weights))? != sealed.blake3 {
        return Err(StageError::Input(format!("{}: wrong checksum", weights.display())));
    }
    let mut adam = Adam { step: sealed.adam_step, ..Adam::new(spec) };
    let tensors = Tensors::open(&weights)?;
    let moment = |kind: &str, name: &str| -> Result<Tensor<1>, StageError> {
        let values = tensors.read(&format!("adam.{kind}.{name}"))?;
        let n = values.len();
        Ok(Tensor::from_data(TensorData::new(values, [n]), device))
    };
    for name in tensors.names().filter_map(|n| n.strip_prefix("adam.m.")) {
        adam.moments.insert(name.to_string(), (moment("m", name)?, moment("v", name)?));
    }
    Ok((sealed.state, load_into(like.clone().frozen(), &tensors, "model.", device)?, adam))
}
