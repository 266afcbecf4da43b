//! Weights on disk in Hugging Face's GPT-2 layout (config.json + model.safetensors), so that transformers loads
//! what we write and we load what it writes. A scalar model adds `score.weight` [width, 1] and `score.bias` [1].

use super::ModelError;
use super::gpt2::{Gpt2, ScalarHead, ScalarModel, Weight, Weights};
use crate::spec::Dimensions;
use crate::store::atomic::write_atomic;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// A model directory's config.json as far as it concerns us.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    pub dimensions: Dimensions,
    pub vocab: usize,
}

/// Reads config.json.
pub fn read_config(dir: &Path) -> Result<Config, ModelError> {
    let path = dir.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(|e| ModelError::file(&path, e))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| ModelError::file(&path, e))?;
    let number = |key: &str| {
        value[key].as_u64().filter(|n| (1..=1 << 24).contains(n)).map(|n| n as usize).ok_or_else(|| {
            ModelError::file(
                &path,
                format!("`{key}` is missing or not a positive whole number; is this a GPT-2 model?"),
            )
        })
    };
    let dimensions = Dimensions {
        layers: number("n_layer")?,
        heads: number("n_head")?,
        width: number("n_embd")?,
        context: number("n_positions")?,
    };
    if !dimensions.width.is_multiple_of(dimensions.heads) {
        return Err(ModelError::file(&path, "`n_embd` is not a multiple of `n_head`"));
    }
    Ok(Config { dimensions, vocab: number("vocab_size")? })
}

/// Writes config.json as transformers expects it; `end_of_text` is the id of `<|endoftext|>`.
pub fn write_config(dir: &Path, d: &Dimensions, vocab: usize, end_of_text: u32) -> Result<(), ModelError> {
    let config = json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
        "n_layer": d.layers, "n_head": d.heads, "n_embd": d.width, "n_positions": d.context, "n_ctx": d.context,
        "vocab_size": vocab, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true,
        "bos_token_id": end_of_text, "eos_token_id": end_of_text,
        "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "torch_dtype": "float32",
    });
    let path = dir.join("config.json");
    write_atomic(&path, format!("{config:#}\n").as_bytes()).map_err(|e| ModelError::file(&path, e))
}

/// Host copies of named tensors: name -> (shape, values).
pub type Host = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Copies all weights to the host.
pub fn to_host<M: Weights>(model: M) -> Result<Host, ModelError> {
    let mut host = Host::new();
    model.map_weights(&mut |name, weight: Weight| -> Result<Weight, ModelError> {
        let flat = super::sampling::to_vec(weight.clone().inner().flatten())?;
        host.insert(name.to_string(), (weight.shape(), flat));
        Ok(weight)
    })?;
    Ok(host)
}

/// Writes named float32 tensors as one safetensors file, atomically.
pub fn write_safetensors(path: &Path, host: &Host) -> Result<(), ModelError> {
    let bytes: BTreeMap<&String, (&Vec<usize>, Vec<u8>)> =
        host.iter().map(|(n, (s, v))| (n, (s, v.iter().flat_map(|x| x.to_le_bytes()).collect()))).collect();
    let views = bytes
        .iter()
        .map(|(n, (s, b))| Ok((n.as_str(), TensorView::new(Dtype::F32, s.to_vec(), b)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| ModelError::file(path, e))?;
    let metadata = Some([("format".to_string(), "pt".to_string())].into());
    let data = safetensors::serialize(views, metadata).map_err(|e| ModelError::file(path, e))?;
    write_atomic(path, &data).map_err(|e| ModelError::file(path, e))
}

/// Reads a safetensors file (float32, float16 or bfloat16) as named float32 tensors; a leading
/// `transformer.` is dropped, attention-mask buffers and a tied `lm_head.weight` are skipped.
pub fn read_safetensors(path: &Path) -> Result<Host, ModelError> {
    let file = std::fs::File::open(path).map_err(|e| ModelError::file(path, e))?;
    // SAFETY: the map is read-only and dropped before return; a file that another process truncates meanwhile
    // is outside what any reader can defend against, and results files are only ever replaced by rename.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| ModelError::file(path, e))?;
    let tensors = SafeTensors::deserialize(&map).map_err(|e| {
        ModelError::file(path, format!("not a complete safetensors file ({e}); fetch or write it again"))
    })?;
    let mut host = Host::new();
    for (name, view) in tensors.tensors() {
        let name = name.strip_prefix("transformer.").unwrap_or(&name).to_string();
        if name == "lm_head.weight" || name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") {
            continue;
        }
        let values =
            decode(&view).map_err(|message| ModelError::Tensor { path: path.into(), tensor: name.clone(), message })?;
        host.insert(name, (view.shape().to_vec(), values));
    }
    Ok(host)
}

fn decode(view: &TensorView<'_>) -> Result<Vec<f32>, String> {
    let data = view.data();
    let halves = || data.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]]));
    match view.dtype() {
        Dtype::F32 => Ok(data.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()),
        Dtype::BF16 => Ok(halves().map(|h| f32::from_bits(u32::from(h) << 16)).collect()),
        Dtype::F16 => Ok(halves().map(f16_to_f32).collect()),
        other => Err(format!("has type {other:?}; expected float32, float16 or bfloat16")),
    }
}

/// IEEE half to single precision, exactly.
fn f16_to_f32(h: u16) -> f32 {
    let (sign, exponent, fraction) = (h >> 15, (h >> 10) & 31, f32::from(h & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1.0 + fraction / 1024.0) * 2f32.powi(i32::from(e) - 15),
    };
    if sign == 1 { -magnitude } else { magnitude }
}

/// Replaces every weight of `model` by the tensor of the same name; wrong shapes, missing and extra tensors
/// are errors that name the tensor.
pub fn load_into<M: Weights>(model: M, mut host: Host, path: &Path, device: &Device) -> Result<M, ModelError> {
    let error =
        |tensor: &str, message: String| ModelError::Tensor { path: path.into(), tensor: tensor.into(), message };
    let model = model.map_weights(&mut |name, weight| {
        let (shape, values) = host.remove(name).ok_or_else(|| error(name, "is missing".into()))?;
        if shape != weight.shape() {
            return Err(error(name, format!("has shape {shape:?}; expected {:?}", weight.shape())));
        }
        let n = values.len();
        Ok(weight.inner().like(Tensor::from_data(TensorData::new(values, [n]), device)))
    })?;
    match host.keys().next() {
        Some(extra) => Err(error(extra, "does not belong to this model".into())),
        None => Ok(model),
    }
}

/// A language model from a directory.
pub fn load_gpt2(dir: &Path, device: &Device) -> Result<Gpt2, ModelError> {
    let config = read_config(dir)?;
    let path = dir.join("model.safetensors");
    let host = read_safetensors(&path)?;
    load_into(Gpt2::init(&config.dimensions, config.vocab, 0, device), host, &path, device)
}

/// A reward model or classifier from a directory.
pub fn load_scalar(dir: &Path, device: &Device) -> Result<ScalarModel, ModelError> {
    let config = read_config(dir)?;
    let path = dir.join("model.safetensors");
    let host = read_safetensors(&path)?;
    let blank = ScalarModel {
        trunk: Gpt2::init(&config.dimensions, config.vocab, 0, device),
        head: ScalarHead::init(config.dimensions.width, 0.0, 0, device),
    };
    load_into(blank, host, &path, device)
}

/// Writes a language model's config and weights.
pub fn save_gpt2(dir: &Path, model: &Gpt2, end_of_text: u32) -> Result<(), ModelError> {
    write_config(dir, &model.dimensions(), model.vocab(), end_of_text)?;
    write_safetensors(&dir.join("model.safetensors"), &to_host(model.clone())?)
}

/// Writes a scalar model's config and weights.
pub fn save_scalar(dir: &Path, model: &ScalarModel, end_of_text: u32) -> Result<(), ModelError> {
    write_config(dir, &model.trunk.dimensions(), model.trunk.vocab(), end_of_text)?;
    write_safetensors(&dir.join("model.safetensors"), &to_host(model.clone())?)
}
