//! The operations on text and on answers: what evaluation computes (src/metric, GPT-2's tokenizer).

use super::input::{Input, MathError, at, each, id, kind, output};
use crate::metric::copying::{self as copied, Preamble};
use crate::metric::{agreement as raters, interval as intervals, repetition as repeats, rouge as scores, text};
use crate::model::gpt2_tokenizer::{END_OF_TEXT_ID, Gpt2Tokenizer};
use serde::Serialize;
use serde_json::{Map, Value};

type Output = Result<Map<String, Value>, MathError>;

pub fn rouge(input: &Input) -> Output {
    let stemmer = input.has("stemmer") && input.flag("stemmer")?;
    Ok(object(&scores::rouge(input.text("prediction")?, input.text("reference")?, stemmer)))
}

pub fn tokenize(input: &Input) -> Output {
    let text = input.text("text")?;
    output([("ids", Gpt2Tokenizer::new()?.encode(text).into())])
}

pub fn detokenize(input: &Input) -> Output {
    let read = |value: &Value, path: &str| match u32::try_from(id(value, path)?) {
        Ok(id) if id <= END_OF_TEXT_ID => Ok(id),
        _ => at(path, format!("{value} is no id of GPT-2; they go from 0 to {END_OF_TEXT_ID}")),
    };
    // The empty text has no ids, so here an empty list is none too few.
    let ids = match input.required("ids")? {
        Value::Array(items) => each(items, "ids", read)?,
        other => return at("ids", format!("expected a list, got {}", kind(other))),
    };
    match Gpt2Tokenizer::new()?.decode(&ids) {
        Ok(text) => output([("text", text.into())]),
        Err(id) => at("ids", format!("{id} is no id of GPT-2")),
    }
}

pub fn sentences(input: &Input) -> Output {
    output([("sentences", text::sentences(input.text("text")?).into())])
}

pub fn lead3(input: &Input) -> Output {
    output([("summary", text::lead3(input.text("text")?).into())])
}

pub fn novelty(input: &Input) -> Output {
    Ok(object(&text::novelty(input.text("source")?, input.text("summary")?)))
}

pub fn copying(input: &Input) -> Output {
    Ok(object(&copied::copying(input.text("source")?, input.text("summary")?)))
}

pub fn copied_start(input: &Input) -> Output {
    let rule = input.choice("preamble", &[("greeting", Preamble::Greeting), ("colon", Preamble::Colon)])?;
    let source = input.text("source")?;
    let copied = copied::copies_start(source, input.text("summary")?);
    Ok(Map::from_iter([
        ("copied".into(), copied.into()),
        ("preamble".into(), copied::has_preamble(source, rule).into()),
    ]))
}

pub fn repetition(input: &Input) -> Output {
    let read = |value: &Value, path: &str| match value {
        Value::String(text) => Ok(text.clone()),
        other => at(path, format!("expected a text, got {}", kind(other))),
    };
    let texts = each(input.list("texts")?, "texts", read)?;
    let mut found = Map::new();
    for n in 1..=3 {
        found.insert(format!("distinct{n}"), repeats::distinct(&texts, n).into());
    }
    let repeated: Vec<Option<f64>> = texts.iter().map(|text| repeats::repeated(text, repeats::REPEATED)).collect();
    found.insert("repeated4".into(), repeated.into());
    found.insert("words".into(), texts.iter().map(|t| text::words(t).len()).collect::<Vec<_>>().into());
    Ok(found)
}

pub fn agreement(input: &Input) -> Output {
    // A choice is known by its JSON: 1 and "1" are two choices, 1 and 1.0 are one.
    let answers = input.table("answers", |value, path| match value {
        Value::Null => Ok(None),
        Value::Number(_) => Ok(Some(id(value, path).map_or_else(|_| value.to_string(), |whole| whole.to_string()))),
        Value::String(_) | Value::Bool(_) => Ok(Some(value.to_string())),
        other => at(path, format!("expected a number, a text, true, false or null, got {}", kind(other))),
    })?;
    match raters::agreement(&answers) {
        Some(found) => {
            Ok(Map::from_iter([("percent".into(), found.percent.into()), ("kappa".into(), found.kappa.into())]))
        }
        None => at("answers", "no item has two answers, so there is nothing to compare"),
    }
}

pub fn interval(input: &Input) -> Output {
    let (wins, n) = (input.whole("wins")?, input.whole("n")?);
    if wins > n {
        return at("wins", format!("{wins} is more than n = {n}"));
    }
    let (low, high) = intervals::wilson(wins, n);
    output([("low", low.into()), ("high", high.into())])
}

/// A flat struct of numbers as an object; these have no way to fail.
fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}
