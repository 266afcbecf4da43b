//! The byte-level BPE tokenizer that belongs to a model: trained on its corpus, read from its files, or GPT-2's own.
//!
//! Text is never read as control: what looks like a special token in a document, a label or a prompt is encoded letter
//! by letter, as the released code's encoder does it (`<|endoftext|>` is seven tokens of GPT-2's), and labelers see it.
//! Only the texts of a spec may name special tokens ([`Tokenizer::encode_own`]).

use super::ModelError;
use super::gpt2_tokenizer::{END_OF_TEXT_ID, Gpt2Tokenizer};
use super::tokenizer_json::{self, Relation};
use super::tokenizer_settings::{self, TokenizerSettings};
use crate::store::atomic::write_atomic;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as HfTokenizer, TokenizerBuilder};
use tokenizers::{NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

/// GPT-2's end-of-text marker.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Text to token ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Inner,
    /// Special tokens and their ids, the longest first.
    special: Vec<(String, u32)>,
    end_of_text: u32,
    /// One more than the largest id; every id below has a token.
    ids: usize,
    gpt2_ids: bool,
}

#[derive(Debug, Clone)]
enum Inner {
    Other {
        tokenizer: Box<HfTokenizer>,
        /// The same without `add_prefix_space`, if the tokenizer has that.
        inside: Option<Box<HfTokenizer>>,
    },
    /// Several times as fast, and the same ids; special tokens may follow.
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
        let end_of_text = inner.token_to_id(END_OF_TEXT).ok_or_else(|| error(format!("has no {END_OF_TEXT} token")))?;
        Self::from_inner(inner, end_of_text)
    }

    fn from_inner(mut inner: HfTokenizer, end_of_text: u32) -> Result<Self, ModelError> {
        // A file may ask for both (they are whatever its author last used); transformers heeds neither unless told to.
        inner.with_truncation(None).map_err(error)?;
        inner.with_padding(None);
        inner.set_encode_special_tokens(true);
        let vocabulary = inner.get_vocab(true);
        let ids = vocabulary.values().max().map_or(0, |last| *last as usize + 1);
        let mut has_token = vec![false; ids];
        vocabulary.values().for_each(|id| has_token[*id as usize] = true);
        if let Some(id) = has_token.iter().position(|has| !has) {
            return Err(error(format!(
                "there is no token with id {id}, and the last id is {}; a model could not be kept from writing it",
                ids - 1
            )));
        }
        let added = inner.get_added_tokens_decoder();
        let named = added.into_iter().filter(|(_, token)| token.special && !token.content.is_empty());
        let mut special: Vec<(String, u32)> = named.map(|(id, token)| (token.content, id)).collect();
        special.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then(a.cmp(b)));
        let inside = without_prefix_space(&inner).map(Box::new);
        let inner = Inner::Other { tokenizer: Box::new(inner), inside };
        Ok(Self { inner, special, end_of_text, ids, gpt2_ids: false })
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
        let (ids, special) = (END_OF_TEXT_ID as usize + 1, vec![(END_OF_TEXT.to_string(), END_OF_TEXT_ID)]);
        Ok(Self { inner: Inner::Gpt2(own), special, end_of_text: END_OF_TEXT_ID, ids, gpt2_ids: true })
    }

    /// Reads the tokenizer of a model directory: tokenizer.json; without it vocab.json and merges.txt; without them
    /// GPT-2's own, if config.json says that the model is a GPT-2 with GPT-2's vocabulary. What the files beside it say
    /// is honoured or refused (`tokenizer_settings.rs`). Files that hold GPT-2's tokenizer give [`Tokenizer::gpt2`].
    ///
    /// # Errors
    /// Files that cannot be read, settings that are not honoured, tokens for which the model has no row, no end of
    /// text: each with the path.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let settings = TokenizerSettings::read(dir)?;
        let files = Self::own_files(dir);
        let (mut value, at): (Value, &Path) = match &files[..] {
            [json] => {
                let text = super::read_text(json)?;
                (serde_json::from_str(&text).map_err(|e| ModelError::file(json, e))?, json.as_path())
            }
            [vocabulary, merges] => (tokenizer_json::from_vocabulary_files(vocabulary, merges)?, vocabulary.as_path()),
            _ if settings.is_gpt2_model(END_OF_TEXT_ID as usize + 1) => match &Self::gpt2()?.inner {
                Inner::Gpt2(own) => (tokenizer_json::gpt2(own), dir),
                Inner::Other { .. } => return Err(error("GPT-2's own tokenizer cannot be made")),
            },
            _ => return Err(ModelError::file(dir, "has no tokenizer.json, and no vocab.json with merges.txt")),
        };
        let end_of_text = settings.apply(&mut value, at)?;
        Self::from_json(&value, end_of_text, at)
    }

    /// Of the files that GPT-2's own code reads (encoder.json and vocab.bpe there), end of text being `<|endoftext|>`.
    ///
    /// # Errors
    /// Files that cannot be read, or have no end of text.
    pub fn of_vocabulary_files(vocabulary: &Path, merges: &Path) -> Result<Self, ModelError> {
        let value = tokenizer_json::from_vocabulary_files(vocabulary, merges)?;
        let ids = tokenizer_json::tokens_of(&value).map_err(|message| ModelError::file(vocabulary, message))?;
        let end_of_text = ids.get(END_OF_TEXT).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let missing = || ModelError::file(vocabulary, format!("has no token {END_OF_TEXT:?}, which ends a text"));
        Self::from_json(&value, end_of_text.ok_or_else(missing)?, vocabulary)
    }

    /// tokenizer.json, or vocab.json and merges.txt; nothing where there are none.
    fn own_files(dir: &Path) -> Vec<PathBuf> {
        let existing = |names: &[&str]| {
            let files: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
            files.iter().all(|file| file.exists()).then_some(files)
        };
        existing(&["tokenizer.json"]).or_else(|| existing(&["vocab.json", "merges.txt"])).unwrap_or_default()
    }

    /// The files of a model directory that [`Tokenizer::load`] reads, config.json aside.
    pub fn files(dir: &Path) -> Vec<PathBuf> {
        let beside = tokenizer_settings::FILES.iter().filter(|name| **name != "config.json").map(|name| dir.join(name));
        Self::own_files(dir).into_iter().chain(beside.filter(|file| file.exists())).collect()
    }

    /// `value` is a tokenizer.json with all settings in it; `path` is for messages.
    fn from_json(value: &Value, end_of_text: u32, path: &Path) -> Result<Self, ModelError> {
        let mut own = Self::gpt2()?;
        let relation = match &own.inner {
            Inner::Gpt2(gpt2) => tokenizer_json::relation(value, gpt2),
            Inner::Other { .. } => Relation::Other,
        };
        if let Relation::Same(extra) = relation {
            own.special.extend(extra.into_iter().zip(END_OF_TEXT_ID + 1..));
            own.special.sort_by_key(|(token, _)| std::cmp::Reverse(token.len()));
            own.ids = END_OF_TEXT_ID as usize + own.special.len();
            own.end_of_text = end_of_text;
            return Ok(own);
        }
        let inner: HfTokenizer = value.to_string().parse().map_err(|e: tokenizers::Error| ModelError::file(path, e))?;
        for token in value["added_tokens"].as_array().into_iter().flatten() {
            let (content, id) = (token["content"].as_str().unwrap_or_default(), token["id"].as_u64());
            let found = inner.token_to_id(content);
            if found.map(u64::from) != id {
                let (id, found) = (id.unwrap_or_default(), found.map_or("none".into(), |id| id.to_string()));
                return Err(ModelError::file(path, format!("gives {content:?} the id {id}, and it gets {found}")));
            }
        }
        let read = Self::from_inner(inner, end_of_text).map_err(|e| ModelError::file(path, e))?;
        Ok(Self { gpt2_ids: relation == Relation::SameIds, ..read })
    }

    /// Writes `tokenizer.json` and the `tokenizer_config.json` that transformers looks for.
    pub fn save(&self, dir: &Path) -> Result<(), ModelError> {
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            write_atomic(&path, text.as_bytes()).map_err(|e| ModelError::file(&path, e))
        };
        let json = match &self.inner {
            Inner::Other { tokenizer, .. } => tokenizer.to_string(false).map_err(error)?,
            Inner::Gpt2(own) => {
                let mut file = tokenizer_json::gpt2(own);
                let mut extra: Vec<_> = self.special.iter().filter(|(_, id)| *id > END_OF_TEXT_ID).collect();
                extra.sort_by_key(|(_, id)| *id);
                let extra = extra.into_iter().map(|(content, id)| tokenizer_json::special(content, &(*id).into()));
                file["added_tokens"].as_array_mut().into_iter().for_each(|all| all.extend(extra.clone()));
                file.to_string()
            }
        };
        write("tokenizer.json", json)?;
        let end_of_text = self.special.iter().find(|(_, id)| *id == self.end_of_text).map(|(content, _)| content);
        let mut config = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end_of_text, "bos_token": end_of_text,
            "clean_up_tokenization_spaces": false,
        });
        if let Inner::Other { inside: Some(_), .. } = &self.inner {
            // transformers 4 takes it from here, and 5 from tokenizer.json.
            config["add_prefix_space"] = true.into();
        }
        write(tokenizer_settings::CONFIG, format!("{config:#}\n"))
    }

    /// Ids of a text from outside, all of it as text. With `add_prefix_space` a space is put before it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        match &self.inner {
            Inner::Other { tokenizer, .. } => ids_of(tokenizer, text),
            Inner::Gpt2(own) => Ok(own.encode(text)),
        }
    }

    /// Ids of a text that whoever wrote the spec put there, and that stands inside of others: names of special tokens
    /// are these tokens, and no space is put before it.
    pub fn encode_own(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let mut ids = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let places = self.special.iter().filter_map(|(token, id)| Some((rest.find(token.as_str())?, token, *id)));
            // Of those that start at one place the longest, which comes first.
            let (at, token) = match places.min_by_key(|(at, ..)| *at) {
                Some((at, token, id)) => (at, Some((token, id))),
                None => (rest.len(), None),
            };
            if at > 0 {
                ids.extend(self.encode_inside(&rest[..at])?);
            }
            ids.extend(token.map(|(_, id)| id));
            rest = &rest[at + token.map_or(0, |(token, _)| token.len())..];
        }
        Ok(ids)
    }

    fn encode_inside(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        match &self.inner {
            Inner::Other { inside: Some(inside), .. } => ids_of(inside, text),
            _ => self.encode(text),
        }
    }

    /// Whether a text of the spec is one special token.
    pub fn is_special(&self, text: &str) -> bool {
        self.special.iter().any(|(token, _)| token == text)
    }

    /// Text of the ids; special tokens, and ids that the tokenizer does not have, have none.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ModelError> {
        match &self.inner {
            Inner::Other { tokenizer, .. } => tokenizer.decode(ids, true).map_err(error),
            Inner::Gpt2(own) => {
                let ids: Vec<u32> = ids.iter().copied().filter(|id| *id < END_OF_TEXT_ID).collect();
                own.decode(&ids).map_err(|id| error(format!("GPT-2 has no token {id}")))
            }
        }
    }

    /// Number of ids, special tokens included: each below has a token.
    pub fn vocab(&self) -> usize {
        self.ids
    }

    /// Whether GPT-2's ids mean here what they mean there; others may follow.
    pub fn has_gpt2_ids(&self) -> bool {
        self.gpt2_ids
    }

    pub fn end_of_text(&self) -> u32 {
        self.end_of_text
    }

    /// Which ids contain `text` (the truncation rule "token that contains a full stop").
    pub fn ids_containing(&self, text: &str) -> Result<Vec<bool>, ModelError> {
        (0..self.vocab() as u32).map(|id| Ok(id != self.end_of_text && self.decode(&[id])?.contains(text))).collect()
    }
}

fn ids_of(tokenizer: &HfTokenizer, text: &str) -> Result<Vec<u32>, ModelError> {
    Ok(tokenizer.encode_fast(text, false).map_err(error)?.get_ids().to_vec())
}

/// The tokenizer as it encodes what stands inside of a text; `None` if that is how it encodes everything.
fn without_prefix_space(tokenizer: &HfTokenizer) -> Option<HfTokenizer> {
    let Some(PreTokenizerWrapper::ByteLevel(byte_level)) = tokenizer.get_pre_tokenizer() else { return None };
    let mut byte_level = *byte_level;
    if !std::mem::replace(&mut byte_level.add_prefix_space, false) {
        return None;
    }
    let mut inside = tokenizer.clone();
    inside.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(byte_level)));
    Some(inside)
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
        let other = Tokenizer::from_inner(text.parse().unwrap(), END_OF_TEXT_ID).unwrap();
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
