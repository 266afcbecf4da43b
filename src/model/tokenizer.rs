//! The byte-level BPE tokenizer that belongs to a model: trained on its corpus, or read from its tokenizer.json.

use super::ModelError;
use crate::store::atomic::write_atomic;
use std::path::Path;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as HfTokenizer, TokenizerBuilder};
use tokenizers::{NormalizerWrapper, PostProcessorWrapper};

/// GPT-2's end-of-text marker.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Text to token ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: HfTokenizer,
    end_of_text: u32,
}

fn error(e: impl std::fmt::Display) -> ModelError {
    ModelError::Tokenizer(e.to_string())
}

impl Tokenizer {
    /// Trains a byte-level BPE of `vocabulary` tokens (`<|endoftext|>` included, as the last id like GPT-2's).
    pub fn train<'a>(texts: impl Iterator<Item = &'a str> + Send, vocabulary: usize) -> Result<Self, ModelError> {
        let byte_level = ByteLevel::new(false, true, true);
        let mut trained = TokenizerBuilder::<BPE, NormalizerWrapper, ByteLevel, PostProcessorWrapper, ByteLevel>::new()
            .with_model(BPE::default())
            .with_normalizer(None)
            .with_pre_tokenizer(Some(byte_level))
            .with_post_processor(None)
            .with_decoder(Some(byte_level))
            .build()
            .map_err(error)?;
        let mut trainer = BpeTrainerBuilder::new()
            .vocab_size(vocabulary - 1)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        trained.train(&mut trainer, texts).map_err(error)?;
        let json = trained.to_string(false).map_err(error)?;
        let mut inner: HfTokenizer = json.parse().map_err(error)?;
        inner.add_special_tokens([AddedToken::from(END_OF_TEXT, true)]).map_err(error)?;
        Self::from_inner(inner)
    }

    fn from_inner(mut inner: HfTokenizer) -> Result<Self, ModelError> {
        // A file may ask for both (they are whatever its author last used); transformers heeds neither unless told to.
        inner.with_truncation(None).map_err(error)?;
        inner.with_padding(None);
        let end_of_text = inner.token_to_id(END_OF_TEXT).ok_or_else(|| error(format!("has no {END_OF_TEXT} token")))?;
        Ok(Self { inner, end_of_text })
    }

    /// Reads `tokenizer.json` of a model directory.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let path = dir.join("tokenizer.json");
        let text = std::fs::read_to_string(&path).map_err(|e| ModelError::file(&path, e))?;
        let inner: HfTokenizer = text.parse().map_err(|e: tokenizers::Error| ModelError::file(&path, e))?;
        Self::from_inner(inner)
    }

    /// Writes `tokenizer.json` and the `tokenizer_config.json` that transformers looks for.
    pub fn save(&self, dir: &Path) -> Result<(), ModelError> {
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            write_atomic(&path, text.as_bytes()).map_err(|e| ModelError::file(&path, e))
        };
        write("tokenizer.json", self.inner.to_string(false).map_err(error)?)?;
        let config = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT, "bos_token": END_OF_TEXT,
            "clean_up_tokenization_spaces": false,
        });
        write("tokenizer_config.json", format!("{config:#}\n"))
    }

    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        Ok(self.inner.encode_fast(text, false).map_err(error)?.get_ids().to_vec())
    }
    pub fn decode(&self, ids: &[u32]) -> Result<String, ModelError> {
        self.inner.decode(ids, true).map_err(error)
    }
    /// Number of ids, `<|endoftext|>` included.
    pub fn vocab(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
    pub fn end_of_text(&self) -> u32 {
        self.end_of_text
    }
    /// Which ids contain `text` (the truncation rule "token that contains a full stop").
    pub fn ids_containing(&self, text: &str) -> Result<Vec<bool>, ModelError> {
        (0..self.vocab() as u32).map(|id| Ok(id != self.end_of_text && self.decode(&[id])?.contains(text))).collect()
    }
}
