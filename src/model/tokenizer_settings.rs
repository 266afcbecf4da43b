//! What the files beside tokenizer.json say of a tokenizer (tokenizer_config.json, special_tokens_map.json,
//! added_tokens.json, config.json, generation_config.json), written into the tokenizer.json itself before it is used:
//! honoured as transformers 5.24 honours it, and refused by name where transformers' versions or the files disagree, or
//! where this program does something else. `tests/fixtures/make_tokenizers.py` asks transformers.
//!
//! transformers has two readers. *As it stands* (`PreTrainedTokenizerFast`, `TokenizersBackend`): what tokenizer.json
//! says. *As GPT-2's* (`GPT2Tokenizer`, which is also what a GPT-2 model has without a `tokenizer_class`): the
//! vocabulary and the merges alone, between a byte-level splitter whose `add_prefix_space` is that of
//! tokenizer_config.json.

use super::ModelError;
use super::tokenizer::END_OF_TEXT;
use super::tokenizer_json::{is_merged, tokens_of};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

pub const CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";
const MODEL_CONFIG: &str = "config.json";
const GENERATION_CONFIG: &str = "generation_config.json";
/// The files beside a tokenizer's own that say something of it.
pub const FILES: [&str; 5] = [CONFIG, SPECIAL_TOKENS, ADDED_TOKENS, MODEL_CONFIG, GENERATION_CONFIG];

/// Tokens with a role, in the order in which transformers adds those that tokenizer.json lacks.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Lists of further special tokens; transformers 4 and 5 name them differently.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// The settings of a model directory.
pub struct TokenizerSettings {
    dir: PathBuf,
    /// tokenizer_config.json, with special_tokens_map.json on top where transformers heeds that.
    config: Map<String, Value>,
    added: Map<String, Value>,
    model: Map<String, Value>,
    generation: Map<String, Value>,
    /// Whether transformers reads the vocabulary and the merges alone.
    as_gpt2: bool,
}

impl TokenizerSettings {
    /// Reads whichever of the files are there.
    pub fn read(dir: &Path) -> Result<Self, ModelError> {
        let object = |name: &str| object(&dir.join(name));
        let mut config = object(CONFIG)?;
        // Where tokenizer_config.json lists the added tokens, transformers reads neither of the two older files.
        let mut added = Map::new();
        if !config.contains_key("added_tokens_decoder") {
            config.extend(object(SPECIAL_TOKENS)?);
            added = object(ADDED_TOKENS)?;
        }
        let (model, generation) = (object(MODEL_CONFIG)?, object(GENERATION_CONFIG)?);
        let class = config.get("tokenizer_class").or_else(|| model.get("tokenizer_class"));
        let as_gpt2 = match class.and_then(Value::as_str) {
            None | Some("GPT2Tokenizer" | "GPT2TokenizerFast") => true,
            Some("PreTrainedTokenizerFast" | "TokenizersBackend") => false,
            Some(other) => {
                let known = "GPT2Tokenizer, GPT2TokenizerFast, PreTrainedTokenizerFast and TokenizersBackend are";
                let message = format!("`tokenizer_class` {other:?} is not read; {known}");
                return Err(ModelError::file(dir.join(CONFIG), message));
            }
        };
        Ok(Self { dir: dir.into(), config, added, model, generation, as_gpt2 })
    }

    /// The rows of the model's embedding, if there is a config.json that says.
    pub fn rows(&self) -> Option<usize> {
        self.model.get("vocab_size")?.as_u64().map(|n| n as usize)
    }

    /// Whether config.json is that of a GPT-2 with a vocabulary of this many tokens.
    pub fn is_gpt2_model(&self, vocabulary: usize) -> bool {
        self.model.get("model_type").is_some_and(|t| t == "gpt2") && self.rows() == Some(vocabulary)
    }

    fn refused(&self, name: &str, message: impl std::fmt::Display) -> ModelError {
        ModelError::file(self.dir.join(name), message)
    }

    /// Writes the settings into a tokenizer.json; `at` is the file that it is from. Returns the id of the end of text.
    pub fn apply(&self, file: &mut Value, at: &Path) -> Result<u32, ModelError> {
        self.check_adds_nothing(file, at)?;
        if self.as_gpt2 {
            self.check_gpt2(file, at)?;
        }
        self.prefix_space(file, at)?;
        let mut tokens = Tokens::of(file, at)?;
        self.added(&mut tokens)?;
        let end_of_text = self.end_of_text(file, &mut tokens, at)?;
        let lost = tokens.without_rows(self.rows(), at)?;
        if !lost.is_empty() {
            tracing::warn!(
                "{}: {} not part of the model, whose {} rows end before; not used",
                at.display(),
                lost.join(", ") + if lost.len() == 1 { " is" } else { " are" },
                self.rows().unwrap_or_default()
            );
        }
        if self.rows().is_some_and(|rows| end_of_text as usize >= rows) {
            return Err(self.refused(
                MODEL_CONFIG,
                format!("`vocab_size` is {}, and the tokenizer's end of text has id {end_of_text}; resize the model's embedding, or name another eos_token", self.rows().unwrap_or_default()),
            ));
        }
        file["added_tokens"] = tokens.added.into();
        if let (Some(rows), Some(vocabulary)) = (self.rows(), file["model"]["vocab"].as_object_mut()) {
            vocabulary.retain(|_, id| id.as_u64().is_none_or(|id| (id as usize) < rows));
        }
        Ok(end_of_text)
    }

    /// transformers puts tokens around a text where the file says so; queries and responses here are parts of a text.
    fn check_adds_nothing(&self, file: &Value, at: &Path) -> Result<(), ModelError> {
        if let Some(kind) = adds_tokens(&file["post_processor"]) {
            let message = format!(
                "its `post_processor` ({kind}) puts special tokens around every text, which this program does not; remove it, and write the tokens into task.query_prefix or task.query_suffix"
            );
            return Err(ModelError::file(at, message));
        }
        // transformers heeds these two only without a tokenizer.json.
        let own_file = at.file_name().is_some_and(|name| name == "tokenizer.json");
        let on = |key: &&str| self.config.get(*key).is_some_and(|v| *v == true);
        match ["add_bos_token", "add_eos_token"].iter().find(|key| !own_file && on(key)) {
            Some(key) => Err(self.refused(CONFIG, format!("`{key}` puts a token at every text, which this program does not; set it to false, and write the token into task.query_prefix or task.query_suffix"))),
            None => Ok(()),
        }
    }

    /// What transformers' GPT2Tokenizer would leave out of the file.
    fn check_gpt2(&self, file: &Value, at: &Path) -> Result<(), ModelError> {
        let kind = |part: &str| file[part]["type"].as_str().map(str::to_string);
        let left_out = match (kind("normalizer"), kind("pre_tokenizer"), kind("model")) {
            (Some(normalizer), _, _) => format!("`normalizer` ({normalizer})"),
            (_, other, _) if other.as_deref() != Some("ByteLevel") => {
                format!("`pre_tokenizer` ({})", other.unwrap_or_else(|| "none".into()))
            }
            (_, _, Some(model)) if model != "BPE" => format!("`model` ({model})"),
            _ if file["pre_tokenizer"]["use_regex"] == false => "`pre_tokenizer` (use_regex false)".into(),
            _ => return Ok(()),
        };
        Err(ModelError::file(
            at,
            format!(
                "has a {left_out} that transformers leaves out when it reads this directory as GPT2Tokenizer; if the file is right as it stands, write {{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}} into {CONFIG}"
            ),
        ))
    }

    fn prefix_space(&self, file: &mut Value, at: &Path) -> Result<(), ModelError> {
        let wanted = match self.config.get("add_prefix_space") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(wanted)) => Some(*wanted),
            Some(other) => {
                return Err(self.refused(CONFIG, format!("`add_prefix_space` is {other}; expected true or false")));
            }
        };
        let found = file.get_mut("pre_tokenizer").and_then(|p| p.get_mut("add_prefix_space"));
        let Some(found) = found else {
            return match wanted {
                Some(true) => Err(self.refused(
                    CONFIG,
                    format!("`add_prefix_space` is true, and the `pre_tokenizer` of {} has none", at.display()),
                )),
                _ => Ok(()),
            };
        };
        match (wanted, *found == true, self.as_gpt2) {
            (Some(wanted), _, true) => *found = wanted.into(),
            (Some(wanted), here, false) if wanted != here => {
                return Err(self.refused(CONFIG, format!("`add_prefix_space` is {wanted}, and {here} in {}; transformers' versions differ in which they take: make them agree", at.display())));
            }
            (None, true, true) => {
                return Err(ModelError::file(
                    at,
                    format!(
                        "has `add_prefix_space` true, which transformers leaves out when it reads this directory as GPT2Tokenizer; write `add_prefix_space`, true or false, into {CONFIG}"
                    ),
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds the tokens that the files name and tokenizer.json lacks, in transformers' order.
    fn added(&self, tokens: &mut Tokens) -> Result<(), ModelError> {
        let mut listed: Vec<(u64, Value)> = Vec::new();
        if let Some(decoder) = self.config.get("added_tokens_decoder") {
            let decoder =
                decoder.as_object().ok_or_else(|| self.refused(CONFIG, "`added_tokens_decoder` is no object"))?;
            for (id, token) in decoder {
                let id = id.parse().map_err(|_| {
                    self.refused(CONFIG, format!("`added_tokens_decoder` has the key {id:?}, which is no id"))
                })?;
                listed.push((id, token.clone()));
            }
        }
        for (content, id) in &self.added {
            let id = id.as_u64().ok_or_else(|| self.refused(ADDED_TOKENS, format!("{content:?} has no id")))?;
            let special = self.special().any(|token| content_of(token) == Some(content));
            listed.push((id, json!({ "content": content, "special": special, "normalized": !special })));
        }
        listed.sort_by_key(|(id, _)| *id);
        for (id, token) in listed {
            let content = content_of(&token)
                .ok_or_else(|| self.refused(CONFIG, format!("the added token {id} has no `content`")))?;
            let got = tokens.add(content, &token, token["special"] == true);
            if u64::from(got) != id {
                return Err(
                    self.refused(CONFIG, format!("gives {content:?} the id {id}, and in the tokenizer it has {got}"))
                );
            }
        }
        // What begins, ends or stands for text must be a token already: an id made for it here would be one that the
        // model never learnt.
        let learnt = ["bos_token", "eos_token", "unk_token"].map(|role| self.config.get(role).and_then(content_of));
        let made_up = |content: &String| content == END_OF_TEXT || learnt.contains(&Some(content));
        for token in self.special() {
            if let Some(content) = content_of(token)
                && (!made_up(content) || tokens.id(content).is_some())
            {
                tokens.add(content, token, true);
            }
        }
        Ok(())
    }

    /// Tokens that the configuration calls special, by role and by list.
    fn special(&self) -> impl Iterator<Item = &Value> {
        let roles = ROLES.iter().filter_map(move |role| self.config.get(*role));
        let lists = LISTS.iter().filter_map(move |list| self.config.get(*list)?.as_array());
        roles.chain(lists.flatten())
    }

    /// The token that separates texts: the tokenizer's `eos_token`; else what config.json or generation_config.json
    /// names, if that is no token of ordinary text; else `<|endoftext|>`, if there is one. None is made up.
    fn end_of_text(&self, file: &Value, tokens: &mut Tokens, at: &Path) -> Result<u32, ModelError> {
        if let Some(named) = self.config.get("eos_token").filter(|named| !named.is_null()) {
            let content = content_of(named).ok_or_else(|| self.refused(CONFIG, "`eos_token` is no text"))?;
            return match tokens.id(content) {
                Some(_) => Ok(tokens.add(content, named, true)),
                None => Err(self.refused(CONFIG, format!("`eos_token` {content:?} is no token of {}", at.display()))),
            };
        }
        // GPT2Tokenizer's own default comes before the model's number.
        let own = |tokens: &mut Tokens| tokens.id(END_OF_TEXT).map(|_| tokens.add(END_OF_TEXT, &Value::Null, true));
        if self.as_gpt2
            && let Some(id) = own(tokens)
        {
            return Ok(id);
        }
        let mut ordinary = String::new();
        for (name, values) in [(MODEL_CONFIG, &self.model), (GENERATION_CONFIG, &self.generation)] {
            let id = match values.get("eos_token_id") {
                Some(Value::Array(ids)) if ids.len() == 1 => ids[0].as_u64(),
                other => other.and_then(Value::as_u64),
            };
            let Some((id, content)) = id.and_then(|id| Some((id, tokens.content(id)?))) else { continue };
            if tokens.is_special(id) || !is_merged(file, &content) {
                return Ok(tokens.add(&content, &Value::Null, true));
            }
            ordinary += &format!("; `eos_token_id` {id} of {name} is the ordinary token {content:?}");
        }
        own(tokens).ok_or_else(|| {
            let message = format!("no token is known as the end of text: {CONFIG} names no `eos_token`, and there is no {END_OF_TEXT}{ordinary}; write \"eos_token\" into {CONFIG}");
            ModelError::file(at, message)
        })
    }
}

/// The tokens of a tokenizer.json while settings are added to it.
struct Tokens {
    /// Its `added_tokens`.
    added: Vec<Value>,
    /// Every token's id.
    ids: Map<String, Value>,
    next: u32,
}

impl Tokens {
    fn of(file: &Value, at: &Path) -> Result<Self, ModelError> {
        let ids = tokens_of(file).map_err(|message| ModelError::file(at, message))?;
        let added = file["added_tokens"].as_array().cloned().unwrap_or_default();
        let next = ids.values().filter_map(Value::as_u64).max().map_or(0, |last| last as u32 + 1);
        Ok(Self { added, ids, next })
    }

    fn id(&self, content: &str) -> Option<u32> {
        self.ids.get(content)?.as_u64().map(|id| id as u32)
    }

    fn content(&self, id: u64) -> Option<String> {
        self.ids.iter().find(|(_, other)| **other == id).map(|(content, _)| content.clone())
    }

    fn is_special(&self, id: u64) -> bool {
        self.added.iter().any(|token| token["id"] == id && token["special"] == true)
    }

    /// The id of a token, which is put among the added ones unless it is there; `like` says how it is matched.
    fn add(&mut self, content: &str, like: &Value, special: bool) -> u32 {
        if let Some(token) = self.added.iter_mut().find(|token| token["content"] == content) {
            if special {
                token["special"] = true.into();
            }
            return token["id"].as_u64().unwrap_or_default() as u32;
        }
        let id = self.id(content).unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.ids.insert(content.into(), id.into());
        let flag = |key: &str| like[key] == true;
        self.added.push(json!({
            "id": id, "content": content, "single_word": flag("single_word"), "lstrip": flag("lstrip"),
            "rstrip": flag("rstrip"), "normalized": flag("normalized"), "special": special,
        }));
        id
    }

    /// Drops the special tokens for which the model has no row: no text becomes one, so nothing is lost. Returns what
    /// they are; any other token beyond the rows is an error.
    fn without_rows(&mut self, rows: Option<usize>, at: &Path) -> Result<Vec<String>, ModelError> {
        let Some(rows) = rows else { return Ok(Vec::new()) };
        let beyond = |id: &Value| id.as_u64().is_some_and(|id| id as usize >= rows);
        let (lost, kept) = std::mem::take(&mut self.added)
            .into_iter()
            .partition(|token| token["special"] == true && beyond(&token["id"]));
        self.added = kept;
        let lost: Vec<Value> = lost;
        lost.iter().filter_map(|token| token["content"].as_str()).for_each(|content| drop(self.ids.remove(content)));
        if let Some((content, id)) = self.ids.iter().find(|(_, id)| beyond(id)) {
            let message = format!(
                "has the token {content:?} with id {id}, and the model has {rows} rows (`vocab_size` in {MODEL_CONFIG}); these two do not belong together, or the model's embedding was not resized"
            );
            return Err(ModelError::file(at, message));
        }
        Ok(lost.iter().map(|token| format!("{} (id {})", token["content"], token["id"])).collect())
    }
}

/// A token's text: itself, or what an AddedToken holds.
fn content_of(token: &Value) -> Option<&String> {
    match token {
        Value::String(content) => Some(content),
        other => match &other["content"] {
            Value::String(content) => Some(content),
            _ => None,
        },
    }
}

/// The kind of a post-processor that adds tokens.
fn adds_tokens(post_processor: &Value) -> Option<String> {
    let kind = post_processor["type"].as_str()?;
    match kind {
        "ByteLevel" => None,
        "Sequence" => post_processor["processors"].as_array()?.iter().find_map(adds_tokens),
        "TemplateProcessing" if post_processor["special_tokens"].as_object().is_none_or(Map::is_empty) => None,
        other => Some(other.into()),
    }
}

/// A JSON object; empty where there is no such file.
fn object(path: &Path) -> Result<Map<String, Value>, ModelError> {
    if !path.exists() {
        return Ok(Map::new());
    }
    match serde_json::from_str(&super::read_text(path)?).map_err(|e| ModelError::file(path, e))? {
        Value::Object(object) => Ok(object),
        _ => Err(ModelError::file(path, "is no JSON object")),
    }
}
