//! The files of a checkpoint at a plain address, as the authors' server has them: ADDRESS/hparams.json,
//! ADDRESS/encoding and ADDRESS/checkpoints/ for the released models, everything in ADDRESS/ for the original GPT-2.
//! Which files there are is read from `checkpoint` and from the index. Each is resumed where its transfer broke off.

use super::TensorflowError;
use super::bundle::Bundle;
use super::checkpoint::{ENCODER, ENCODING, HPARAMS, MERGES, STATE, state_name};
use crate::data::error::DataError;
use std::path::{Path, PathBuf};

/// Brings one file: its address below the checkpoint's, and where it goes.
pub type Fetch<'a> = dyn Fn(&str, &Path) -> Result<PathBuf, DataError> + 'a;

/// Brings a checkpoint into `to`, in the layout that it has at its address.
///
/// # Errors
/// What cannot be fetched, and what the state file or the index say that cannot be.
pub fn download(to: &Path, fetch: &Fetch<'_>) -> Result<(), TensorflowError> {
    let get = |name: &str| -> Result<PathBuf, DataError> {
        let path = to.join(name);
        if path.is_file() { Ok(path) } else { fetch(name, &path) }
    };
    get(HPARAMS)?;
    let (sub, state) = match get(&format!("checkpoints/{STATE}")) {
        Ok(state) => ("checkpoints/", state),
        Err(first) => match get(STATE) {
            Ok(state) => ("", state),
            // Where neither is there, the released layout's own reason says more.
            Err(_) => return Err(first.into()),
        },
    };
    let text = std::fs::read_to_string(&state).map_err(|e| TensorflowError::file(&state, e))?;
    let name = state_name(&text).and_then(|name| Some(Path::new(&name).file_name()?.to_str()?.to_string()));
    let name = name.filter(|name| crate::spec::names::safe_name(name)).ok_or_else(|| {
        TensorflowError::file(
            &state,
            "does not name a checkpoint (model_checkpoint_path: \"..\"); delete it to fetch it again",
        )
    })?;
    let index = get(&format!("{sub}{name}.index"))?;
    let opened = Bundle::open(&to.join(format!("{sub}{name}")));
    if opened.is_err() {
        // So that the same command fetches it anew.
        let _ = std::fs::remove_file(&index);
    }
    let bundle = opened?;
    for ending in bundle.shard_endings() {
        get(&format!("{sub}{name}{ending}"))?;
    }
    // The released models have the name of their vocabulary, GPT-2's own have it whole; neither is needed for GPT-2's
    // tokens.
    if get(ENCODING).is_err() && get(ENCODER).is_ok() {
        get(MERGES)?;
    }
    Ok(())
}
