//! Model directories in Hugging Face's GPT-2 layout, so that transformers loads what we write and we load what it
//! writes: config.json, model.safetensors (or shards with model.safetensors.index.json) and the tokenizer's files.
//!
//! A language model's tensors are `wte.weight` `[vocab, width]`, `wpe.weight` `[context, width]`, `ln_f.{weight,bias}`
//! `[width]`, and for each layer N `h.N.ln_1`, `h.N.ln_2` `.{weight,bias}` `[width]`, `h.N.attn.c_attn` `[width,
//! 3·width]`, `h.N.attn.c_proj` `[width, width]`, `h.N.mlp.c_fc` `[width, 4·width]`, `h.N.mlp.c_proj` `[4·width,
//! width]` `.{weight,bias}`; linear weights are `[in, out]` (GPT-2's Conv1D). We read float32, float16 and bfloat16,
//! with and without the prefix `transformer.`, ignore the buffers `h.N.attn.{bias,masked_bias}`, accept a
//! `lm_head.weight` that equals `wte.weight`, and write float32 without prefix.
//!
//! A scalar model (reward model, classifier, policy with value head) has the same tensors with the prefix
//! `transformer.`, and `score.weight` `[1, width]`, `score.bias` `[1]`: its value is `score.weight · h + score.bias`
//! for the final hidden state h after `ln_f`. transformers' GPT2ForSequenceClassification loads it and leaves out the
//! bias. docs/formats.md says the same for people without the source.

use super::ModelError;
use super::config::{Architecture, Config, read_config, write_config};
use super::gpt2::{Gpt2, ScalarHead, ScalarModel, Weight, Weights};
use super::tensor_file::{Tensors, write_tensors};
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;
use std::path::Path;

const LM_HEAD: &str = "lm_head.weight";
const SCORE: &str = "score.weight";

/// All weights by name; the tensors stay where they are.
pub fn named<M: Weights>(model: M, prefix: &str) -> BTreeMap<String, Weight> {
    let mut all = BTreeMap::new();
    let visited: Result<M, std::convert::Infallible> = model.map_weights(&mut |name, weight: Weight| {
        all.insert(format!("{prefix}{name}"), weight.clone());
        Ok(weight)
    });
    drop(visited);
    all
}

/// Replaces every weight of `blank` by the tensor `prefix` + its name. Missing tensors, wrong shapes and types are
/// errors that name the tensor, found before anything is read; so are tensors with the prefix that belong to no weight.
pub fn load_into<M: Weights + Clone>(
    blank: M,
    tensors: &Tensors,
    prefix: &str,
    device: &Device,
) -> Result<M, ModelError> {
    let expected = named(blank.clone(), prefix);
    for (name, weight) in &expected {
        let (found, wanted) = (tensors.shape(name)?, weight.shape());
        // A scalar head's [width, 1] is written as [1, width], like torch's Linear: the same numbers in the same order.
        let transposed = name.ends_with(SCORE) && found.iter().rev().eq(&wanted);
        if found != wanted && !transposed {
            return Err(tensors.error(name, format!("has shape {found:?}; expected {wanted:?} from config.json")));
        }
    }
    let extra = tensors.names().find(|n| n.starts_with(prefix) && *n != LM_HEAD && !expected.contains_key(*n));
    if let Some(extra) = extra {
        let hint = if extra.starts_with("score.") { " (this is a reward model or classifier)" } else { "" };
        return Err(tensors.error(extra, format!("does not belong to this model{hint}")));
    }
    drop(expected);
    blank.map_weights(&mut |name, weight| {
        let values = tensors.read(&format!("{prefix}{name}"))?;
        let n = values.len();
        Ok(weight.inner().like(Tensor::from_data(TensorData::new(values, [n]), device)))
    })
}

/// GPT-2's head is its token embedding; a file that holds a different one is another model.
fn check_head(tensors: &Tensors, config: &Config) -> Result<(), ModelError> {
    match tensors.names().any(|n| n == LM_HEAD) {
        true if !tensors.same("wte.weight", LM_HEAD)? => {
            Err(tensors.error(LM_HEAD, "differs from wte.weight: models with an untied head are not supported"))
        }
        false if !config.tied => {
            Err(tensors.error(LM_HEAD, "is missing, and config.json has `tie_word_embeddings` false"))
        }
        _ => Ok(()),
    }
}

/// Whether the last layer is there: a config.json that asks for millions must not make millions of blank ones.
fn check_layers(tensors: &Tensors, config: &Config) -> Result<(), ModelError> {
    let layers = config.dimensions.layers;
    let name = format!("h.{}.ln_1.weight", layers - 1);
    match tensors.names().any(|n| n == name) {
        true => Ok(()),
        false => Err(tensors.error(&name, format!("is missing; config.json says {layers} layers (`n_layer`)"))),
    }
}

/// A language model from a directory.
pub fn load_gpt2(dir: &Path, device: &Device) -> Result<Gpt2, ModelError> {
    let config = read_config(dir)?;
    let tensors = Tensors::open_dir(dir)?;
    check_layers(&tensors, &config)?;
    check_head(&tensors, &config)?;
    let blank = Gpt2::blank(&config.dimensions, config.vocab, config.layer_norm_epsilon, device);
    load_into(blank, &tensors, "", device)
}

/// A reward model or classifier from a directory.
pub fn load_scalar(dir: &Path, device: &Device) -> Result<ScalarModel, ModelError> {
    let config = read_config(dir)?;
    let tensors = Tensors::open_dir(dir)?;
    check_layers(&tensors, &config)?;
    let blank = ScalarModel {
        trunk: Gpt2::blank(&config.dimensions, config.vocab, config.layer_norm_epsilon, device),
        head: ScalarHead::init(config.dimensions.width, 0.0, 0, device),
    };
    load_into(blank, &tensors, "", device)
}

fn config_of(model: &Gpt2) -> Config {
    Config { dimensions: model.dimensions(), vocab: model.vocab(), layer_norm_epsilon: model.ln_f.epsilon, tied: true }
}

/// Writes a language model's config and weights; `end_of_text` is the id of `<|endoftext|>`.
pub fn save_gpt2(dir: &Path, model: &Gpt2, end_of_text: u32) -> Result<(), ModelError> {
    write_config(dir, &config_of(model), Architecture::LanguageModel, end_of_text)?;
    write_tensors(&dir.join("model.safetensors"), &named(model.clone(), ""))
}

/// Writes a scalar model's config and weights.
pub fn save_scalar(dir: &Path, model: &ScalarModel, end_of_text: u32) -> Result<(), ModelError> {
    write_config(dir, &config_of(&model.trunk), Architecture::Scalar, end_of_text)?;
    let mut tensors = named(model.trunk.clone(), "transformer.");
    let width = model.trunk.dimensions().width;
    tensors.insert(SCORE.into(), Weight::Matrix(model.head.weight.clone().reshape([1, width])));
    tensors.insert("score.bias".into(), Weight::Vector(model.head.bias.clone()));
    write_tensors(&dir.join("model.safetensors"), &tensors)
}
