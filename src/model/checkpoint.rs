//! Training checkpoints: weights and both Adam moments in one file, the loop's numbers in another, written last, which
//! vouches for itself, for the weights, and for the logs as they were. A damaged checkpoint is passed over for the one
//! before.

use super::gpt2::{Weight, Weights};
use super::loss_scale::LossScale;
use super::optimizer::Adam;
use super::slices::{Slices, own_part, whole_moments};
use super::tensor_file::{Tensors, write_tensors};
use super::weights::{load_into, named};
use super::{ModelError, faults};
use crate::ranks;
use crate::spec::AdamSpec;
use crate::store::atomic::sync_directory;
use crate::store::seal::{self, Part};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Checkpoints kept.
pub const KEEP: usize = 2;

/// The loop's own state; random streams and data order are functions of `updates`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoopState {
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

/// The second file of a checkpoint, without what it says of other files.
#[derive(Serialize, Deserialize)]
struct Kept {
    state: LoopState,
    adam_step: u64,
    /// Not of float32 models, which have none.
    #[serde(default, skip_serializing_if = "LossScale::is_unused")]
    loss_scale: LossScale,
}

fn io_error(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> ModelError {
    let path = path.into();
    move |e| ModelError::file(path, e)
}

fn names(updates: usize) -> (String, String) {
    (format!("{updates:08}.safetensors"), format!("{updates:08}.json"))
}

/// Writes a checkpoint and removes all but the newest two. `logs`: files that grow, relative to `dir`, which the
/// checkpoint counts on as they are now; they are on disk before it is. All ranks take part.
pub fn save<M: Weights + Clone>(
    dir: &Path,
    state: &LoopState,
    model: &M,
    adam: &Adam,
    logs: &[&str],
) -> Result<(), ModelError> {
    // All ranks have the same weights, and one writes them; moments it gets from all.
    let moments = whole_moments(model, adam)?;
    if !ranks::is_first() {
        return Ok(());
    }
    let (weights, kept) = names(state.updates);
    let mut tensors = named(model.clone(), "model.");
    for (name, (m, v)) in moments {
        for (kind, moment) in [("m", m), ("v", v)] {
            tensors.insert(format!("adam.{kind}.{name}"), Weight::Vector(moment));
        }
    }
    write_tensors(&dir.join(&weights), &tensors)?;
    // Weights and moments are of a device that has done all of its work, or the checkpoint before is gone on from.
    faults::confirm()?;
    let part = |log: &&str| Part::so_far(dir, log).map_err(io_error(dir.join(log)));
    let mut parts = vec![Part::whole(dir, &weights).map_err(io_error(dir.join(&weights)))?];
    parts.extend(logs.iter().map(part).collect::<Result<Vec<_>, _>>()?);
    let path = dir.join(kept);
    seal::write(&path, &Kept { state: state.clone(), adam_step: adam.step, loss_scale: adam.scale }, parts)
        .map_err(io_error(&path))?;
    remove_old(dir, state.updates)
}

/// Keeps the newest up to `last`, which has just been written: later ones were passed over as damaged, or their logs
/// are gone. The second file goes first: what lacks it counts for nothing. Weights alone are what a kill between the
/// two files left.
fn remove_old(dir: &Path, last: usize) -> Result<(), ModelError> {
    let updates = numbers(dir, ".json")?;
    let kept: Vec<usize> = updates.iter().copied().filter(|n| *n <= last).take(KEEP).collect();
    for old in updates.iter().filter(|n| !kept.contains(n)) {
        let _ = fs::remove_file(dir.join(names(*old).1));
    }
    let _ = sync_directory(dir);
    for weights in numbers(dir, ".safetensors")?.into_iter().filter(|n| !kept.contains(n)) {
        let _ = fs::remove_file(dir.join(names(weights).0));
    }
    Ok(())
}

/// Update counts in the names of files that end so, newest first.
fn numbers(dir: &Path, ending: &str) -> Result<Vec<usize>, ModelError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).map_err(io_error(dir))?;
    let name = |e: fs::DirEntry| e.file_name().to_string_lossy().strip_suffix(ending).and_then(|n| n.parse().ok());
    let mut updates: Vec<usize> = entries.filter_map(Result::ok).filter_map(name).collect();
    updates.sort_unstable_by(|a, b| b.cmp(a));
    Ok(updates)
}

/// Hash of the newest checkpoint's weights, as it was written.
pub fn newest_hash(dir: &Path) -> Result<String, ModelError> {
    let none = || ModelError::Input(format!("{}: there are no weights", dir.display()));
    let (weights, kept) = names(*numbers(dir, ".json")?.first().ok_or_else(none)?);
    let path = dir.join(kept);
    let (_, parts) = seal::read::<Kept>(&path).map_err(io_error(&path))?;
    parts.into_iter().find(|part| part.file == weights).map(|part| part.blake3).ok_or_else(none)
}

/// The newest intact checkpoint; `like` gives the model's shape. Logs are at least as long as it says, and may be
/// longer.
pub fn load<M: Weights + Clone>(
    dir: &Path,
    like: &M,
    spec: AdamSpec,
    device: &Device,
) -> Result<Option<(LoopState, M, Adam)>, ModelError> {
    if !ranks::is_first() {
        return beside_first(dir, like, spec, device);
    }
    let found = numbers(dir, ".json")?;
    let mut intact = None;
    for updates in &found {
        match read(dir, *updates, like, spec, device) {
            Ok(loaded) => {
                intact = Some(loaded);
                break;
            }
            Err(e) => tracing::warn!("checkpoint after update {updates} is damaged ({e}); trying the one before"),
        }
    }
    if !found.is_empty() && intact.is_none() {
        tracing::warn!("{}: no checkpoint is intact; starting over", dir.display());
    }
    ranks::gathered(intact.as_ref().map(|(state, ..)| state.updates))?;
    Ok(intact)
}

/// The checkpoint that the first rank has found intact. Err: it is not to be seen here.
fn beside_first<M: Weights + Clone>(
    dir: &Path,
    like: &M,
    spec: AdamSpec,
    device: &Device,
) -> Result<Option<(LoopState, M, Adam)>, ModelError> {
    let updates: Option<usize> = ranks::gathered(None)?[0];
    updates.map(|updates| read(dir, updates, like, spec, device)).transpose()
}

fn read<M: Weights + Clone>(
    dir: &Path,
    updates: usize,
    like: &M,
    spec: AdamSpec,
    device: &Device,
) -> Result<(LoopState, M, Adam), ModelError> {
    let (weights, kept) = names(updates);
    let (weights, kept): (PathBuf, PathBuf) = (dir.join(weights), dir.join(kept));
    let (Kept { state, adam_step, loss_scale }, _) =
        seal::read::<Kept>(&kept).map_err(|e| ModelError::Input(e.to_string()))?;
    if state.updates != updates {
        return Err(ModelError::Input(format!("{}: is of update {}", kept.display(), state.updates)));
    }
    let mut adam = Adam { step: adam_step, scale: loss_scale, ..Adam::new(spec) };
    let tensors = Tensors::open(&weights)?;
    let slices = Slices::of(like);
    let moment = |kind: &str, name: &str| -> Result<Tensor<1>, ModelError> {
        let values = own_part(slices.as_ref(), name, tensors.read(&format!("adam.{kind}.{name}"))?)?;
        let n = values.len();
        Ok(Tensor::from_data(TensorData::new(values, [n]), device))
    };
    for name in tensors.names().filter_map(|n| n.strip_prefix("adam.m.")) {
        if slices.as_ref().is_none_or(|slices| !slices.part(name).is_empty()) {
            adam.moments.insert(name.to_string(), (moment("m", name)?, moment("v", name)?));
        }
    }
    Ok((state, load_into(like.clone().frozen(), &tensors, "model.", device)?, adam))
}
