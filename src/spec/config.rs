//! A model directory's config.json: what it says about a GPT-2 (names of transformers' GPT2Config), refused where it
//! asks for something that this program does not compute. A spec takes the size of its weights from it.

use super::Dimensions;
use crate::store::input;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Added to the variance in layer norms (GPT-2's).
pub const LAYER_NORM_EPSILON: f64 = 1e-5;

/// What is wrong with a config.json.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{path}: {message}", path = path.display())]
pub struct ConfigError {
    pub path: PathBuf,
    pub message: String,
}

/// config.json as far as it concerns us.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    pub dimensions: Dimensions,
    pub vocab: usize,
    pub layer_norm_epsilon: f64,
    /// Whether the LM head is the token embedding; checked against the tensors.
    pub tied: bool,
}

/// Options with one value that we compute; absent means that value, as in GPT2Config.
const FIXED: [(&str, &[&str]); 5] = [
    ("model_type", &["\"gpt2\""]),
    // The same function under two names.
    ("activation_function", &["\"gelu_new\"", "\"gelu_pytorch_tanh\""]),
    ("scale_attn_weights", &["true"]),
    ("scale_attn_by_inverse_layer_idx", &["false"]),
    ("add_cross_attention", &["false"]),
];

/// Reads config.json.
///
/// # Errors
/// It is not there, or is of something that this program does not compute.
pub fn read_config(dir: &Path) -> Result<Config, ConfigError> {
    let path = dir.join("config.json");
    let error = |message: String| ConfigError { path: path.clone(), message };
    let text = input::read_to_string(&path).map_err(|e| error(e.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|e| error(e.to_string()))?;
    parse(&value).map_err(error)
}

fn parse(value: &Value) -> Result<Config, String> {
    for (key, accepted) in FIXED {
        let found = &value[key];
        if !found.is_null() && !accepted.contains(&found.to_string().as_str()) {
            return Err(format!("`{key}` is {found}; this program computes GPT-2 with {}", accepted.join(" or ")));
        }
    }
    if !value["quantization_config"].is_null() {
        return Err("the weights are quantized (`quantization_config`); use float32, float16 or bfloat16".into());
    }
    let number = |key: &str| {
        let found = value[key].as_u64().filter(|n| (1..=1 << 24).contains(n));
        found
            .map(|n| n as usize)
            .ok_or_else(|| format!("`{key}` is missing or not a positive whole number; is this a GPT-2 model?"))
    };
    let context = if value["n_positions"].is_null() { "n_ctx" } else { "n_positions" };
    let dimensions = Dimensions {
        layers: number("n_layer")?,
        heads: number("n_head")?,
        width: number("n_embd")?,
        context: number(context)?,
    };
    if !dimensions.width.is_multiple_of(dimensions.heads) {
        return Err("`n_embd` is not a multiple of `n_head`".into());
    }
    if !value["n_inner"].is_null() && number("n_inner")? != 4 * dimensions.width {
        return Err(format!("`n_inner` is {}; this program computes GPT-2 with 4 times `n_embd`", value["n_inner"]));
    }
    let layer_norm_epsilon = match &value["layer_norm_epsilon"] {
        Value::Null => LAYER_NORM_EPSILON,
        v => v.as_f64().filter(|e| (0.0..1.0).contains(e)).ok_or("`layer_norm_epsilon` is not a small number")?,
    };
    let tied = value["tie_word_embeddings"].as_bool().unwrap_or(true);
    Ok(Config { dimensions, vocab: number("vocab_size")?, layer_norm_epsilon, tied })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(key: &str, setting: Value) -> Result<Config, String> {
        let mut value = json!({ "model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 64,
            "vocab_size": 300 });
        value[key] = setting;
        parse(&value)
    }

    #[test]
    fn defaults_are_those_of_transformers() {
        let config = with("n_inner", Value::Null).expect("a GPT-2");
        assert!(config.tied && config.layer_norm_epsilon == 1e-5);
        assert_eq!(with("layer_norm_epsilon", json!(1e-3)).expect("a GPT-2").layer_norm_epsilon, 1e-3);
        assert_eq!(with("n_inner", json!(128)).expect("a GPT-2").vocab, 300);
    }

    #[test]
    fn what_we_do_not_compute_is_refused_by_name() {
        for (key, setting) in [
            ("model_type", json!("gpt_neo")),
            ("activation_function", json!("relu")),
            ("activation_function", json!("gelu")),
            ("scale_attn_by_inverse_layer_idx", json!(true)),
            ("scale_attn_weights", json!(false)),
            ("add_cross_attention", json!(true)),
            ("n_inner", json!(64)),
            ("n_layer", json!(0)),
            ("n_head", json!(3)),
            ("vocab_size", Value::Null),
            ("quantization_config", json!({ "bits": 4 })),
            ("layer_norm_epsilon", json!("small")),
        ] {
            let message = with(key, setting).expect_err(key);
            assert!(message.contains(key), "{key}: {message}");
        }
    }
}
