//! The byte-level BPE tokenizer that belongs to a model: trained on its corpus, read from its files, or GPT-2's own.

use super::ModelError;
use super::gpt2_tokenizer::{END_OF_TEXT_ID, Gpt2Tokenizer};
use super::tokenizer_json;
use crate::store::atomic::write_atomic;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as HfTokenizer, TokenizerBuilder};
use tokenizers::{NormalizerWrapper, PostProcessorWrapper};

/// GPT-2's end-of-text marker.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Text to token ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Inner,
    end_of_text: u32,
}

#[derive(Debug, Clone)]
enum Inner {
    Other(Box<HfTokenizer>),
    /// Several times as fast, and the same ids.
    Gpt2(Arc<Gpt2Tokenizer>),
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
        Ok(Self { inner: Inner::Other(Box::new(inner)), end_of_text })
    }

    /// GPT-2's own, with its 50,257 ids; made once per process.
    pub fn gpt2() -> Result<Self, ModelError> {
        static GPT2: OnceLock<Arc<Gpt2Tokenizer>> = OnceLock::new();
        let own = match GPT2.get() {
            Some(own) => own.clone(),
            None => {
                let own = Arc::new(Gpt2Tokenizer::new()?);
                GPT2.get_or_init(|| own).clone()
            }
        };
        Ok(Self { inner: Inner::Gpt2(own), end_of_text: END_OF_TEXT_ID })
    }

    /// Reads the tokenizer of a model directory: tokenizer.json; without it vocab.json and merges.txt; without them
    /// GPT-2's own, if config.json says that the model is a GPT-2 with GPT-2's vocabulary. Files that hold GPT-2's
    /// tokenizer give [`Tokenizer::gpt2`].
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        match &Self::files(dir)[..] {
            [json] => {
                let text = crate::store::input::read_to_string(json).map_err(|e| ModelError::file(json, e))?;
                let value = serde_json::from_str(&text).map_err(|e| ModelError::file(json, e))?;
                Self::from_json(&value, &text, json)
            }
            [vocabulary, merges] => {
                let value = tokenizer_json::from_vocabulary_files(vocabulary, merges)?;
                Self::from_json(&value, &value.to_string(), vocabulary)
            }
            _ if is_gpt2_model(dir) => Self::gpt2(),
            _ => Err(ModelError::file(dir, "has no tokenizer.json, and no vocab.json with merges.txt")),
        }
    }

    /// The files of a model directory that [`Tokenizer::load`] reads, config.json aside.
    pub fn files(dir: &Path) -> Vec<PathBuf> {
        let existing = |names: &[&str]| {
            let files: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
            files.iter().all(|file| file.exists()).then_some(files)
        };
        existing(&["tokenizer.json"]).or_else(|| existing(&["vocab.json", "merges.txt"])).unwrap_or_default()
    }

    /// `value` is what `text` says; `path` is for messages.
    fn from_json(value: &Value, text: &str, path: &Path) -> Result<Self, ModelError> {
        let own = Self::gpt2()?;
        if let Inner::Gpt2(gpt2) = &own.inner
            && tokenizer_json::is_gpt2(value, gpt2)
        {
            return Ok(own);
        }
        Self::from_inner(text.parse().map_err(|e: tokenizers::Error| ModelError::file(path, e))?)
    }

    /// Writes `tokenizer.json` and the `tokenizer_config.json` that transformers looks for.
    pub fn save(&self, dir: &Path) -> Result<(), ModelError> {
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            write_atomic(&path, text.as_bytes()).map_err(|e| ModelError::file(&path, e))
        };
        let json = match &self.inner {
            Inner::Other(inner) => inner.to_string(false).map_err(error)?,
            Inner::Gpt2(own) => tokenizer_json::gpt2(own).to_string(),
        };
        write("tokenizer.json", json)?;
        let config = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT, "bos_token": END_OF_TEXT,
            "clean_up_tokenization_spaces": false,
        });
        write("tokenizer_config.json", format!("{config:#}\n"))
    }

    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        match &self.inner {
            Inner::Other(inner) => Ok(inner.encode_fast(text, false).map_err(error)?.get_ids().to_vec()),
            Inner::Gpt2(own) => Ok(own.encode(text)),
        }
    }
    /// Text of the ids; `<|endoftext|>`, and ids that the tokenizer does not have, have none.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ModelError> {
        match &self.inner {
            Inner::Other(inner) => inner.decode(ids, true).map_err(error),
            Inner::Gpt2(own) => {
                let ids: Vec<u32> = ids.iter().copied().filter(|id| *id < END_OF_TEXT_ID).collect();
                own.decode(&ids).map_err(|id| error(format!("GPT-2 has no token {id}")))
            }
        }
    }
    /// Number of ids, `<|endoftext|>` included.
    pub fn vocab(&self) -> usize {
        match &self.inner {
            Inner::Other(inner) => inner.get_vocab_size(true),
            Inner::Gpt2(_) => END_OF_TEXT_ID as usize + 1,
        }
    }
    pub fn end_of_text(&self) -> u32 {
        self.end_of_text
    }
    /// Which ids contain `text` (the truncation rule "token that contains a full stop").
    pub fn ids_containing(&self, text: &str) -> Result<Vec<bool>, ModelError> {
        (0..self.vocab() as u32).map(|id| Ok(id != self.end_of_text && self.decode(&[id])?.contains(text))).collect()
    }
}

/// Whether config.json is that of a GPT-2 with GPT-2's vocabulary.
fn is_gpt2_model(dir: &Path) -> bool {
    let config: Option<Value> =
        std::fs::read(dir.join("config.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    config.is_some_and(|c| c["model_type"] == "gpt2" && c["vocab_size"] == END_OF_TEXT_ID + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "It's 2 o'clock,\n\n  said 😀 the_fox <|endoftext|> naïve\t\u{a0}x  ";

    fn is_own(tokenizer: &Tokenizer) -> bool {
        matches!(tokenizer.inner, Inner::Gpt2(_))
    }

    #[test]
    fn gpt2_saves_what_the_hugging_face_library_reads_alike() {
        let dir = tempfile::tempdir().unwrap();
        let own = Tokenizer::gpt2().unwrap();
        own.save(dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join("tokenizer.json")).unwrap();
        let other = Tokenizer::from_inner(text.parse().unwrap()).unwrap();
        assert_eq!((own.vocab(), own.end_of_text()), (other.vocab(), other.end_of_text()));
        let ids = own.encode(TEXT).unwrap();
        assert_eq!(ids, other.encode(TEXT).unwrap());
        assert_eq!(own.decode(&ids).unwrap(), other.decode(&ids).unwrap());
        assert_eq!(own.ids_containing(".").unwrap(), other.ids_containing(".").unwrap());
        assert_eq!(own.decode(&[0, 50_259]).unwrap(), other.decode(&[0, 50_259]).unwrap());
        assert!(is_own(&Tokenizer::load(dir.path()).unwrap()));
    }

    #[test]
    fn vocabulary_and_merges_are_read_and_gpt2s_are_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        let Inner::Gpt2(gpt2) = Tokenizer::gpt2().unwrap().inner else { panic!() };
        let model = tokenizer_json::gpt2(&gpt2)["model"].clone();
        let merges: Vec<String> = model["merges"].as_array().unwrap().iter().map(pair).collect();
        write("vocab.json", model["vocab"].to_string());
        write("merges.txt", format!("#version: 0.2\n{}\n", merges.join("\n")));
        assert!(is_own(&Tokenizer::load(dir.path()).unwrap()));
        // Without its last merge it is another tokenizer.
        write("merges.txt", format!("#version: 0.2\n{}\n", merges[..merges.len() - 1].join("\n")));
        let other = Tokenizer::load(dir.path()).unwrap();
        assert!(!is_own(&other));
        assert_eq!(other.encode(TEXT).unwrap(), Tokenizer::gpt2().unwrap().encode(TEXT).unwrap());
        write("merges.txt", "#version: 0.2\na b c\n".into());
        let message = Tokenizer::load(dir.path()).unwrap_err().to_string();
        assert!(message.contains("merges.txt: line 2: \"a b c\""), "{message}");
    }

    fn pair(merge: &Value) -> String {
        format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap())
    }

    #[test]
    fn a_gpt2_model_without_tokenizer_files_has_gpt2s() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Tokenizer::load(dir.path()).unwrap_err().to_string().contains("has no tokenizer.json"));
        let write = |size| {
            std::fs::write(dir.path().join("config.json"), format!("{{\"model_type\":\"gpt2\",\"vocab_size\":{size}}}"))
        };
        write(1024).unwrap();
        assert!(Tokenizer::load(dir.path()).is_err());
        write(50_257).unwrap();
        assert!(is_own(&Tokenizer::load(dir.path()).unwrap()));
    }
}
