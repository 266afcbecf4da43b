//! The tokenizer.json of a byte-level BPE (Hugging Face's file format), made from a vocabulary and its merges, and the
//! question whether such a file is GPT-2's own tokenizer.

use super::ModelError;
use super::gpt2_tokenizer::{END_OF_TEXT_ID, Gpt2Tokenizer};
use super::tokenizer::END_OF_TEXT;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The letter that stands for a byte in such files: printable Latin-1 stands for itself, and the other bytes, in order,
/// are the letters from U+0100 on (Radford et al. 2019, encoder.py).
fn letter(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|b| !printable(*b)).count();
    char::from_u32(0x100 + before as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// A tokenizer.json. `vocabulary` maps tokens in such letters to ids; `<|endoftext|>`, if it is one of them, is
/// special; `merges` are pairs, the first learnt first.
pub fn byte_level(vocabulary: Map<String, Value>, merges: Vec<Value>) -> Value {
    let end_of_text: Vec<Value> = vocabulary.get(END_OF_TEXT).map(|id| special(END_OF_TEXT, id)).into_iter().collect();
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": end_of_text,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary,
            "merges": merges,
        },
    })
}

/// A special token as an entry of `added_tokens`.
pub fn special(content: &str, id: &Value) -> Value {
    json!({
        "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": true,
    })
}

/// Every token and its id: those of the model, and the added ones.
///
/// # Errors
/// Says what of the file is no tokenizer's.
pub fn tokens_of(file: &Value) -> Result<Map<String, Value>, String> {
    let mut ids = match &file["model"]["vocab"] {
        Value::Object(ids) => ids.clone(),
        // A Unigram model's tokens, each with its score.
        Value::Array(tokens) => {
            let name = |token: &Value| token[0].as_str().map(str::to_string);
            tokens.iter().zip(0u32..).filter_map(|(token, id)| Some((name(token)?, id.into()))).collect()
        }
        _ => return Err("has no `model.vocab`; is this a tokenizer.json?".into()),
    };
    for token in file["added_tokens"].as_array().into_iter().flatten() {
        let content = token["content"].as_str().ok_or("has an added token without `content`")?;
        ids.insert(content.into(), token["id"].clone());
    }
    // Ids are positions in a table, which a damaged file must not make as large as it likes.
    let good = |id: &Value| id.as_u64().is_some_and(|id| id < 1 << 24);
    match ids.iter().find(|(_, id)| !good(id)) {
        Some((content, id)) => Err(format!("gives the token {content:?} the id {id}, which is none")),
        None => Ok(ids),
    }
}

/// Whether ordinary text can become this token: it is one letter, or merges make it.
pub fn is_merged(file: &Value, content: &str) -> bool {
    let makes = |merge: &Value| match merge.as_str().and_then(|pair| pair.split_once(' ')) {
        Some((a, b)) => content.strip_prefix(a) == Some(b),
        None => match (merge[0].as_str(), merge[1].as_str()) {
            (Some(a), Some(b)) => content.strip_prefix(a) == Some(b),
            _ => false,
        },
    };
    content.chars().count() == 1 || file["model"]["merges"].as_array().is_some_and(|all| all.iter().any(makes))
}

/// GPT-2's own.
pub fn gpt2(tokenizer: &Gpt2Tokenizer) -> Value {
    let letters: Vec<char> = (0..=u8::MAX).map(letter).collect();
    let text = |bytes: &[u8]| bytes.iter().map(|b| letters[usize::from(*b)]).collect::<String>();
    let mut vocabulary: Map<String, Value> =
        tokenizer.tokens().iter().map(|t| text(t)).zip((0u32..).map(Value::from)).collect();
    vocabulary.insert(END_OF_TEXT.into(), END_OF_TEXT_ID.into());
    let merges = tokenizer.merges().map(|(a, b)| json!([text(a), text(b)])).collect();
    byte_level(vocabulary, merges)
}

/// A tokenizer.json of a vocab.json and a merges.txt, the files that GPT-2's own code and older ones of its kind use.
pub fn from_vocabulary_files(vocabulary: &Path, merges: &Path) -> Result<Value, ModelError> {
    let ids: Map<String, Value> =
        serde_json::from_str(&super::read_text(vocabulary)?).map_err(|e| ModelError::file(vocabulary, e))?;
    let pairs = super::read_text(merges)?
        .lines()
        .enumerate()
        .filter(|(i, line)| !line.is_empty() && (*i != 0 || !line.starts_with("#version")))
        .map(|(i, line)| match line.split(' ').collect::<Vec<_>>()[..] {
            [a, b] => Ok(json!([a, b])),
            _ => Err(ModelError::file(merges, format!("line {}: {line:?}; expected two tokens and a space", i + 1))),
        })
        .collect::<Result<_, _>>()?;
    Ok(byte_level(ids, pairs))
}

/// How near a tokenizer.json is to GPT-2's own tokenizer.
#[derive(Debug, PartialEq, Eq)]
pub enum Relation {
    /// It gives GPT-2's ids for every text; with special tokens after GPT-2's, if there are some.
    Same(Vec<String>),
    /// Its first ids mean what GPT-2's mean, but it may make others of a text.
    SameIds,
    Other,
}

/// Compares a tokenizer.json with GPT-2's.
pub fn relation(file: &Value, own: &Gpt2Tokenizer) -> Relation {
    let model = &file["model"];
    // The cheap questions first: most files are another tokenizer's.
    let none = Vec::new();
    let added = file["added_tokens"].as_array().unwrap_or(&none);
    let Some(vocabulary) = model["vocab"].as_object().filter(|v| v.len() >= END_OF_TEXT_ID as usize) else {
        return Relation::Other;
    };
    let gpt2 = gpt2(own);
    let end_of_text = |id: &Value| *id == END_OF_TEXT_ID;
    let has_it = vocabulary.get(END_OF_TEXT).is_some_and(end_of_text)
        || added.iter().any(|token| token["content"] == END_OF_TEXT && end_of_text(&token["id"]));
    let ids = gpt2["model"]["vocab"].as_object().into_iter().flatten();
    let same_ids = ids.filter(|(token, _)| *token != END_OF_TEXT).all(|(token, id)| vocabulary.get(token) == Some(id));
    if !has_it || !same_ids {
        return Relation::Other;
    }
    let is_off = |value: &Value| value.is_null() || *value == false || *value == "";
    let first_own = |id: u64| id > u64::from(END_OF_TEXT_ID);
    let extra = after_gpt2(added);
    let known = |(token, id): (&String, &Value)| {
        !id.as_u64().is_none_or(first_own) || extra.as_ref().is_some_and(|extra| extra.contains(token))
    };
    let same = vocabulary.iter().all(known)
        && is_off(&file["normalizer"])
        && is_byte_level(&file["pre_tokenizer"])
        && file["decoder"]["type"] == "ByteLevel"
        && ["dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"]
            .iter()
            .all(|k| is_off(&model[k]))
        && has_gpt2_merges(model, &gpt2["model"]);
    match extra {
        Some(extra) if same => Relation::Same(extra),
        _ => Relation::SameIds,
    }
}

/// The special tokens after GPT-2's, in the order of their ids, which have no gap; `None` if other tokens are added.
fn after_gpt2(added: &[Value]) -> Option<Vec<String>> {
    let mut found: Vec<(u64, String)> = Vec::new();
    for token in added {
        let (id, content) = (token["id"].as_u64()?, token["content"].as_str()?);
        if token["special"] != true || (content == END_OF_TEXT) != (id == u64::from(END_OF_TEXT_ID)) {
            return None;
        }
        found.push((id, content.into()));
    }
    found.sort();
    let in_order = found.iter().zip(u64::from(END_OF_TEXT_ID)..).all(|((id, _), wanted)| *id == wanted);
    (in_order && !found.is_empty()).then(|| found.into_iter().skip(1).map(|(_, content)| content).collect())
}

fn is_byte_level(pre_tokenizer: &Value) -> bool {
    let p = pre_tokenizer;
    p["type"] == "ByteLevel" && p["add_prefix_space"] == false && p["use_regex"] != false
}

/// The same pairs in the same order. Older files write a pair as one text with a space.
fn has_gpt2_merges(model: &Value, own: &Value) -> bool {
    let same = |theirs: &Value, ours: &Value| match theirs.as_str().and_then(|pair| pair.split_once(' ')) {
        Some((a, b)) => ours[0] == a && ours[1] == b,
        None => theirs == ours,
    };
    let (Some(theirs), Some(ours)) = (model["merges"].as_array(), own["merges"].as_array()) else { return false };
    theirs.len() == ours.len() && theirs.iter().zip(ours).all(|(t, o)| same(t, o))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_gpt2s() {
        assert_eq!(
            [b'a', b' ', b'\n', 0, 0x7f, 0xa0, 0xad, 0xff].map(letter),
            ['a', 'Ġ', 'Ċ', 'Ā', 'ġ', 'ł', 'Ń', 'ÿ']
        );
    }

    #[test]
    fn gpt2_is_recognised_and_a_changed_one_is_not() {
        let own = Gpt2Tokenizer::new().unwrap();
        let mut file = gpt2(&own);
        assert_eq!(file["model"]["merges"][0], json!(["Ġ", "t"]));
        assert_eq!(file["model"]["merges"].as_array().unwrap().len(), 50_000);
        let same = |extra: &[&str]| Relation::Same(extra.iter().map(|t| t.to_string()).collect());
        assert_eq!(relation(&file, &own), same(&[]));
        let add = |file: &mut Value, token: Value| file["added_tokens"].as_array_mut().unwrap().push(token);
        let mut padded = file.clone();
        add(&mut padded, special("[PAD]", &json!(50_257)));
        assert_eq!(relation(&padded, &own), same(&["[PAD]"]));
        // A word that text can become, and an id that is left out.
        let mut word = file.clone();
        add(&mut word, json!({ "content": "word", "id": 50_257, "special": false }));
        assert_eq!(relation(&word, &own), Relation::SameIds);
        let mut gap = file.clone();
        add(&mut gap, special("[PAD]", &json!(50_258)));
        assert_eq!(relation(&gap, &own), Relation::SameIds);
        file["pre_tokenizer"]["add_prefix_space"] = json!(true);
        assert_eq!(relation(&file, &own), Relation::SameIds);
        let merges = file["model"]["merges"].as_array_mut().unwrap();
        merges.pop();
        assert_eq!(relation(&file, &own), Relation::SameIds);
        file["model"]["vocab"]["the"] = json!(50_300);
        assert_eq!(relation(&file, &own), Relation::Other);
    }

    #[test]
    fn a_token_that_merges_make_is_ordinary_text() {
        let file = json!({ "model": { "vocab": {}, "merges": ["a b", ["ab", "c d"]] } });
        for (content, wanted) in [("x", true), ("ab", true), ("abc d", true), ("</s>", false), ("abc", false)] {
            assert_eq!(is_merged(&file, content), wanted, "{content}");
        }
    }
}
