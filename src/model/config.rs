//! Writing a model directory's config.json, as transformers reads it; spec/config.rs reads it.

use super::ModelError;
pub use crate::spec::config::Config;
use crate::store::atomic::write_atomic;
use serde_json::json;
use std::path::Path;

/// What transformers makes of a model directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    LanguageModel,
    /// Transformer and linear head to one number.
    Scalar,
}

/// Writes config.json as transformers expects it; `end_of_text` is the id of `<|endoftext|>`.
pub fn write_config(dir: &Path, config: &Config, of: Architecture, end_of_text: u32) -> Result<(), ModelError> {
    let d = &config.dimensions;
    let architecture = match of {
        Architecture::LanguageModel => "GPT2LMHeadModel",
        Architecture::Scalar => "GPT2ForSequenceClassification",
    };
    let mut value = json!({
        "architectures": [architecture], "model_type": "gpt2", "activation_function": "gelu_new",
        "n_layer": d.layers, "n_head": d.heads, "n_embd": d.width, "n_positions": d.context, "n_ctx": d.context,
        "vocab_size": config.vocab, "layer_norm_epsilon": config.layer_norm_epsilon, "tie_word_embeddings": true,
        "bos_token_id": end_of_text, "eos_token_id": end_of_text,
        "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "torch_dtype": "float32",
    });
    if of == Architecture::Scalar {
        value["id2label"] = json!({ "0": "reward" });
        value["label2id"] = json!({ "reward": 0 });
        value["summary_first_dropout"] = json!(0.0);
    }
    let path = dir.join("config.json");
    write_atomic(&path, format!("{value:#}\n").as_bytes()).map_err(|e| ModelError::file(&path, e))
}

/// Reads config.json.
///
/// # Errors
/// It is not there, or is of something that this program does not compute.
pub fn read_config(dir: &Path) -> Result<Config, ModelError> {
    crate::spec::config::read_config(dir).map_err(|e| ModelError::File { path: e.path, message: e.message })
}
