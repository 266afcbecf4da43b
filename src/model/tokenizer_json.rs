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

/// A tokenizer.json. `vocabulary` maps tokens in such letters to ids, `<|endoftext|>` included; `merges` are pairs, the
/// first learnt first.
pub fn byte_level(vocabulary: Map<String, Value>, merges: Vec<Value>) -> Value {
    let end_of_text = vocabulary.get(END_OF_TEXT).and_then(Value::as_u64).unwrap_or(vocabulary.len() as u64);
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [{
            "id": end_of_text, "content": END_OF_TEXT, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }],
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
    let read = |path: &Path| crate::store::input::read_to_string(path).map_err(|e| ModelError::file(path, e));
    let ids: Map<String, Value> =
        serde_json::from_str(&read(vocabulary)?).map_err(|e| ModelError::file(vocabulary, e))?;
    let pairs = read(merges)?
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

/// Whether a tokenizer.json gives GPT-2's ids for every text.
pub fn is_gpt2(file: &Value, own: &Gpt2Tokenizer) -> bool {
    let model = &file["model"];
    // The cheap questions first: most files are another tokenizer's.
    let size = model["vocab"].as_object().map_or(0, Map::len);
    let is_off = |value: &Value| value.is_null() || *value == false || *value == "";
    size == END_OF_TEXT_ID as usize + 1
        && file["added_tokens"].as_array().is_some_and(|tokens| tokens.len() == 1 && is_end_of_text(&tokens[0]))
        && is_off(&file["normalizer"])
        && is_byte_level(&file["pre_tokenizer"])
        && file["decoder"]["type"] == "ByteLevel"
        && ["dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"]
            .iter()
            .all(|k| is_off(&model[k]))
        && has_gpt2_merges(model, &gpt2(own)["model"])
}

fn is_end_of_text(token: &Value) -> bool {
    let plain = ["single_word", "lstrip", "rstrip"].iter().all(|k| token[k] != true);
    token["id"] == END_OF_TEXT_ID && token["content"] == END_OF_TEXT && token["special"] == true && plain
}

fn is_byte_level(pre_tokenizer: &Value) -> bool {
    let p = pre_tokenizer;
    p["type"] == "ByteLevel" && p["add_prefix_space"] == false && p["use_regex"] != false
}

/// The same ids and the same pairs in the same order. Older files write a pair as one text with a space.
fn has_gpt2_merges(model: &Value, own: &Value) -> bool {
    let same = |theirs: &Value, ours: &Value| match theirs.as_str().and_then(|pair| pair.split_once(' ')) {
        Some((a, b)) => ours[0] == a && ours[1] == b,
        None => theirs == ours,
    };
    let (Some(theirs), Some(ours)) = (model["merges"].as_array(), own["merges"].as_array()) else { return false };
    model["vocab"] == own["vocab"] && theirs.len() == ours.len() && theirs.iter().zip(ours).all(|(t, o)| same(t, o))
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
        assert!(is_gpt2(&file, &own));
        file["model"]["merges"][7] = json!("r e");
        assert!(is_gpt2(&file, &own) == (gpt2(&own)["model"]["merges"][7] == json!(["r", "e"])));
        file["pre_tokenizer"]["add_prefix_space"] = json!(true);
        assert!(!is_gpt2(&file, &own));
    }
}
