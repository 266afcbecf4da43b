//! GPT-2 in burn: the transformer, its scalar heads, sampling, weights on disk, tokenizer and devices.

pub mod checkpoint;
pub mod config;
pub mod device;
pub mod faults;
pub mod flops;
pub mod gpt2;
pub mod gpt2_tokenizer;
pub mod gpu;
mod language_model;
pub mod loss_scale;
pub mod memory;
pub mod ops;
pub mod optimizer;
pub mod parallel;
pub mod reward_model;
pub mod sampling;
pub mod self_test;
pub mod slices;
pub mod tensor_file;
pub mod throughput;
pub mod tokenizer;
mod tokenizer_json;
mod tokenizer_settings;
#[cfg(test)]
mod tokenizer_tests;
pub mod vocabulary;
pub mod weights;

pub use language_model::LanguageModel;

use crate::ranks::Elsewhere;
use crate::store::input;
use std::path::PathBuf;

/// What can go wrong with a model, its files or its device.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("{path}: {message}", path = path.display())]
    File { path: PathBuf, message: String },
    #[error("{path}: tensor `{tensor}` {message}", path = path.display())]
    Tensor { path: PathBuf, tensor: String, message: String },
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    #[error("device: {0}")]
    Device(String),
    /// Of the device, for what it was given at once.
    #[error("device: {0}")]
    OutOfMemory(String),
    #[error("{0}")]
    Input(String),
    #[error("reading a tensor back from the device: {0}")]
    Read(String),
    #[error(transparent)]
    Elsewhere(#[from] Elsewhere),
}

impl ModelError {
    /// A problem with a file as a whole.
    pub fn file(path: impl Into<PathBuf>, message: impl std::fmt::Display) -> Self {
        Self::File { path: path.into(), message: message.to_string() }
    }
    /// A problem with one tensor of a file.
    pub fn tensor(path: impl Into<PathBuf>, tensor: &str, message: impl Into<String>) -> Self {
        Self::Tensor { path: path.into(), tensor: tensor.into(), message: message.into() }
    }
}

/// A text file of a model directory.
fn read_text(path: &std::path::Path) -> Result<String, ModelError> {
    input::read_to_string(path).map_err(|e| ModelError::file(path, e))
}
