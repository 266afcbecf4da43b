//! Checkpoints that TensorFlow wrote, read without TensorFlow: the authors' released policies and reward models, and
//! the original GPT-2 (openai/lm-human-preferences, openai/gpt-2). `runner import tensorflow` makes them model
//! directories.
//!
//! - `crc32c.rs`, `wire.rs`, `table.rs`: check sums, protocol buffers and the sorted table of an `.index` file
//! - `bundle.rs`: an `.index` with its `.data` shards: tensors by name, read a piece at a time
//! - `checkpoint.rs`: from a directory or prefix to a bundle, `hparams.json` and the encoding beside it
//! - `names.rs`: the released code's variable names and ours
//! - `convert.rs`: one model of a checkpoint as a model directory
//! - `download.rs`: the files of a checkpoint at a plain address
//!
//! Formats: TensorFlow's tensor_bundle.proto and lib/io/format.h (LevelDB's table). docs/formats.md has the mapping.

mod bundle;
mod checkpoint;
mod convert;
mod crc32c;
mod download;
mod names;
mod table;
mod wire;

pub use bundle::{Bundle, TensorEntry};
pub use checkpoint::{Checkpoint, is_checkpoint};
pub use convert::{Imported, ScopeKind, import, imported};
pub use crc32c::{crc32c, masked};
pub use download::download;
pub use names::shown as shown_scope;

use crate::data::error::DataError;
use crate::model::ModelError;
use std::path::{Path, PathBuf};

/// What is wrong with a checkpoint, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TensorflowError {
    #[error("{path}: {message}", path = path.display())]
    File { path: PathBuf, message: String },
    /// A block of an `.index` file.
    #[error("{path}: the block at byte {at} {message}", path = path.display())]
    Block { path: PathBuf, at: u64, message: String },
    #[error("{path}: tensor `{tensor}` {message}", path = path.display())]
    Tensor { path: PathBuf, tensor: String, message: String },
    /// The disk that is written to.
    #[error("{path}: {source}", path = path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Data(#[from] DataError),
}

impl TensorflowError {
    fn file(path: impl Into<PathBuf>, message: impl std::fmt::Display) -> Self {
        Self::File { path: path.into(), message: message.to_string() }
    }
    fn block(path: &Path, at: u64, message: impl Into<String>) -> Self {
        Self::Block { path: path.into(), at, message: message.into() }
    }
    fn tensor(path: impl Into<PathBuf>, tensor: &str, message: impl Into<String>) -> Self {
        Self::Tensor { path: path.into(), tensor: tensor.into(), message: message.into() }
    }
    /// For those who look up named sources.
    pub fn into_data(self) -> DataError {
        match self {
            Self::Data(error) => error,
            Self::Write { .. } => DataError::Fetch { what: "import".into(), message: self.to_string() },
            other => DataError::Other(other.to_string()),
        }
    }
    /// Whether the input is to blame, rather than the network or the disk.
    pub fn is_wrong_input(&self) -> bool {
        match self {
            Self::File { .. } | Self::Block { .. } | Self::Tensor { .. } => true,
            Self::Data(e) => e.is_wrong_input(),
            Self::Write { .. } | Self::Model(_) => false,
        }
    }
}
