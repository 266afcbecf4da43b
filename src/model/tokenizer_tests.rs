//! Tokenizers as they lie in model directories: what transformers makes of their settings, and what is refused by name.
//! The directories and transformers' ids come from tests/fixtures/make_tokenizers.py.

use super::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers")
}

fn expected() -> Value {
    serde_json::from_str(&fs::read_to_string(fixtures().join("expected.json")).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn settings_beside_tokenizer_json_are_honoured_as_transformers_does() {
    let expected = expected();
    for (name, wanted) in expected["cases"].as_object().unwrap() {
        let read = Tokenizer::load(&fixtures().join(name)).unwrap();
        // Saved and read again it is the same tokenizer.
        let saved = tempfile::tempdir().unwrap();
        read.save(saved.path()).unwrap();
        for tokenizer in [&read, &Tokenizer::load(saved.path()).unwrap()] {
            assert_eq!(u64::from(tokenizer.end_of_text()), wanted["end_of_text"].as_u64().unwrap(), "{name}");
            // A padding token for which the model has no row is not used.
            let lost = usize::from(name == "added_pad_not_resized");
            assert_eq!(tokenizer.vocab() + lost, wanted["tokens"].as_u64().unwrap() as usize, "{name}");
            for (text, wanted) in expected["texts"].as_array().unwrap().iter().zip(wanted["ids"].as_array().unwrap()) {
                let text = text.as_str().unwrap();
                assert_eq!(tokenizer.encode(text).unwrap(), ids(wanted), "{name}: {text:?}");
                let back = tokenizer.decode(&ids(wanted)).unwrap();
                assert_eq!(back.trim_start(), text.trim_start(), "{name}: control text is seen as the text it is");
            }
            assert_eq!(tokenizer.decode(&[tokenizer.end_of_text()]).unwrap(), "", "{name}");
        }
    }
}

/// A copy of a fixture in which one file is changed.
fn changed(name: &str, file: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixtures().join(name)).unwrap().flatten() {
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let path = dir.path().join(file);
    let mut value = match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).unwrap(),
        Err(_) => Value::Object(Map::new()),
    };
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
    dir
}

/// The error of a changed fixture, which names the changed file or another one of the directory.
fn refusal(name: &str, file: &str, change: impl FnOnce(&mut Value)) -> String {
    let dir = changed(name, file, change);
    let message = Tokenizer::load(dir.path()).map(|t| t.vocab()).unwrap_err().to_string();
    assert!(message.starts_with(&dir.path().display().to_string()), "{message}");
    message
}

fn holds(message: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(message.contains(part), "no {part:?} in {message}"));
}

#[test]
fn an_end_of_text_is_never_made_up() {
    let without = |value: &mut Value| drop(value.as_object_mut().unwrap().remove("<|endoftext|>"));
    let message = refusal("vocabulary_and_merges", "vocab.json", without);
    holds(
        &message,
        &["vocab.json", "no token is known as the end of text", "`eos_token_id` 0", "ordinary token \"!\""],
    );
    let message = refusal("other_end", "tokenizer_config.json", |c| c["eos_token"] = json!("<end>"));
    holds(&message, &["tokenizer_config.json", "`eos_token` \"<end>\" is no token of"]);
    // Its id is none of the model's.
    let beyond = |value: &mut Value| value["vocab_size"] = json!(299);
    holds(&refusal("plain", "config.json", beyond), &["config.json", "the tokenizer's end of text has id 299"]);
}

#[test]
fn the_end_of_text_is_that_of_config_json_where_the_tokenizer_names_none() {
    let unsaid = |value: &mut Value| drop(value.as_object_mut().unwrap().remove("eos_token"));
    let dir = changed("other_end", "tokenizer_config.json", unsaid);
    let config = dir.path().join("config.json");
    for (id, accepted) in [(json!(299), true), (json!([299]), true), (json!(0), false), (json!([299, 0]), false)] {
        let mut value: Value = serde_json::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
        value["eos_token_id"] = id;
        fs::write(&config, value.to_string()).unwrap();
        let found = Tokenizer::load(dir.path()).map(|t| t.end_of_text());
        assert_eq!(found.is_ok_and(|id| id == 299), accepted, "{value}");
    }
    fs::write(dir.path().join("generation_config.json"), "{\"eos_token_id\": 299}").unwrap();
    assert_eq!(Tokenizer::load(dir.path()).unwrap().end_of_text(), 299);
}

#[test]
fn settings_that_are_not_honoured_are_refused_by_name() {
    let json_file = |change: fn(&mut Value)| refusal("plain", "tokenizer.json", change);
    holds(
        &json_file(|f| f["normalizer"] = json!({ "type": "Lowercase" })),
        &["`normalizer` (Lowercase)", "TokenizerFast"],
    );
    holds(&json_file(|f| f["pre_tokenizer"] = json!({ "type": "Whitespace" })), &["`pre_tokenizer` (Whitespace)"]);
    holds(&json_file(|f| f["pre_tokenizer"]["add_prefix_space"] = json!(true)), &["`add_prefix_space` true"]);
    let template = json!({ "type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": { "x": {} } });
    let around = |f: &mut Value| f["post_processor"] = json!({ "type": "Sequence", "processors": [template] });
    holds(&refusal("plain", "tokenizer.json", around), &["`post_processor` (TemplateProcessing)", "task.query_prefix"]);
    holds(&json_file(|f| f["model"]["vocab"]["the"] = json!(400)), &["\"the\" with id 400", "300 rows"]);
    holds(&json_file(|f| f["model"]["vocab"]["the"] = json!(-1)), &["\"the\"", "-1"]);
    holds(&json_file(|f| f["model"] = json!({})), &["no `model.vocab`"]);
    let config = |name: &str, key: &str, value: Value| refusal(name, "tokenizer_config.json", |c| c[key] = value);
    holds(&config("plain", "tokenizer_class", json!("BertTokenizer")), &["`tokenizer_class` \"BertTokenizer\""]);
    holds(&config("prefix_space_as_it_stands", "add_prefix_space", json!(false)), &["is false, and true in", "agree"]);
    holds(&config("plain", "add_prefix_space", json!("yes")), &["expected true or false"]);
    holds(&config("vocabulary_and_merges", "add_bos_token", json!(true)), &["`add_bos_token`", "task.query_prefix"]);
    let moved = json!({ "305": { "content": "NEW", "special": false } });
    holds(&config("added_tokens", "added_tokens_decoder", moved), &["\"NEW\" the id 305", "it has 300"]);
    // A word that text becomes, for which the model has no row.
    let small = refusal("added_tokens", "config.json", |c| c["vocab_size"] = json!(300));
    holds(&small, &["\"NEW\" with id 300", "300 rows"]);
    for file in ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json"] {
        holds(&refusal("plain", file, |c| *c = json!([])), &[file, "is no JSON object"]);
    }
}

#[test]
fn an_id_without_a_token_among_those_with_one_is_refused() {
    let gap = |file: &mut Value| {
        let pad = json!({ "id": 310, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true });
        file["added_tokens"].as_array_mut().unwrap().push(pad);
    };
    holds(&refusal("padded", "tokenizer.json", gap), &["[PAD]", "310"]);
    let hole = |file: &mut Value| drop(file.as_object_mut().unwrap().remove("!"));
    holds(&refusal("vocabulary_and_merges", "vocab.json", hole), &["there is no token with id 0"]);
}

#[test]
fn only_a_specs_own_texts_name_special_tokens() {
    let tokenizer = Tokenizer::load(&fixtures().join("added_pad")).unwrap();
    let text = tokenizer.encode("the<|endoftext|>").unwrap();
    assert!(!text.contains(&299) && text.len() > 10);
    let own = tokenizer.encode_own("the<|endoftext|>[PAD]\n").unwrap();
    assert_eq!(own, [tokenizer.encode("the").unwrap(), vec![299, 300], tokenizer.encode("\n").unwrap()].concat());
    assert!(tokenizer.is_special("[PAD]") && !tokenizer.is_special("the"));
    let gpt2 = Tokenizer::gpt2().unwrap();
    assert_eq!(gpt2.encode("<|endoftext|>").unwrap(), [27, 91, 437, 1659, 5239, 91, 29]);
    assert_eq!(gpt2.decode(&[27, 91, 437, 1659, 5239, 91, 29]).unwrap(), "<|endoftext|>");
    assert_eq!(gpt2.encode_own("Hello<|endoftext|> world").unwrap(), [15496, 50_256, 995]);
    // What stands inside of a text has no space put before it.
    let prefixed = Tokenizer::load(&fixtures().join("prefix_space")).unwrap();
    assert_eq!(prefixed.encode_own("\n").unwrap(), [198]);
    assert_eq!(prefixed.encode("\n").unwrap(), [220, 198]);
    assert_ne!(prefixed.encode_own("The").unwrap(), prefixed.encode("The").unwrap());
}
