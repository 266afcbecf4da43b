//! The paper's own label files (openai/lm-human-preferences, label_types.py and train_reward.py): objects of GPT-2
//! token ids, `query` with `sample0`, `sample1`, ... and `best`; or `sample` and `score`; or `sample0`, `sample1` and
//! `difference`. Id 50259 is padding. Other keys are left alone.

use super::Judgement;
use super::recorded::{Malformed, Raw, Reason, RecordedPart, Whole};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

/// The released encoder's padding token, outside the vocabulary.
pub const PADDING: u32 = 50_259;

/// The keys that say something, as they stand.
#[derive(Default)]
struct Keys {
    query: Option<Vec<u32>>,
    sample: Option<Vec<u32>>,
    samples: BTreeMap<usize, Vec<u32>>,
    best: Option<Whole>,
    score: Option<f64>,
    difference: Option<f64>,
}

/// Reads the keys of an object and leaves in the cell the name of the key whose value is being read, for an error to
/// name.
struct Seed<'c>(&'c RefCell<String>);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Keys;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Keys, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with query, samples and best, score or difference")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
        let mut keys = Keys::default();
        while let Some(key) = map.next_key::<String>()? {
            let number = sample_number(&key);
            let known =
                number.is_some() || matches!(key.as_str(), "query" | "sample" | "best" | "score" | "difference");
            self.0.replace(if known { key.clone() } else { String::new() });
            match (key.as_str(), number) {
                ("query", _) => once(&mut keys.query, &key, &mut map)?,
                ("sample", _) => once(&mut keys.sample, &key, &mut map)?,
                ("best", _) => once(&mut keys.best, &key, &mut map)?,
                ("score", _) => once(&mut keys.score, &key, &mut map)?,
                ("difference", _) => once(&mut keys.difference, &key, &mut map)?,
                (_, Some(n)) => {
                    let mut ids = None;
                    once(&mut ids, &key, &mut map)?;
                    if keys.samples.insert(n, ids.unwrap_or_default()).is_some() {
                        return Err(duplicate(&key));
                    }
                }
                (_, None) => drop(map.next_value::<IgnoredAny>()?),
            }
            self.0.borrow_mut().clear();
        }
        Ok(keys)
    }
}

/// Puts a value under its key, which must not have one yet.
fn once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    slot: &mut Option<T>,
    key: &str,
    map: &mut A,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(duplicate(key));
    }
    *slot = Some(map.next_value()?);
    Ok(())
}

fn duplicate<E: de::Error>(key: &str) -> E {
    E::custom(format!("duplicate field `{key}`"))
}

/// N of the key `sampleN`.
fn sample_number(key: &str) -> Option<usize> {
    let digits = key.strip_prefix("sample")?;
    let plain = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
    if plain { digits.parse().ok() } else { None }
}

fn keys(bytes: &[u8]) -> Result<Keys, Malformed> {
    let key = RefCell::new(String::new());
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = Seed(&key).deserialize(&mut json).and_then(|keys| json.end().map(|()| keys));
    read.map_err(|e| {
        let found = Malformed::json(&e);
        match key.into_inner() {
            key if key.is_empty() || found.reason != Reason::WrongType => found,
            key => Malformed { message: format!("`{key}`: {}", found.message), ..found },
        }
    })
}

/// One entry, padding taken away; ids and lengths are still to be checked.
pub fn parse(bytes: &[u8]) -> Result<Raw, Malformed> {
    let keys = keys(bytes)?;
    let query = keys.query.ok_or_else(|| Malformed::new(Reason::MissingKey, "has no `query`"))?;
    let numbered: Vec<usize> = keys.samples.keys().copied().collect();
    if let Some(gap) = (0..numbered.len()).find(|i| numbered[*i] != *i) {
        let message = format!("has `sample{}` and no `sample{gap}`", numbered[gap]);
        return Err(Malformed::new(Reason::MissingKey, message));
    }
    let samples: Vec<Vec<u32>> = keys.samples.into_values().collect();
    let (judgement, samples) = match (keys.best, keys.score, keys.difference) {
        (Some(best), None, None) => {
            let samples = several(samples, "best")?;
            (Judgement::Best(best_index(best.0, samples.len())?), samples)
        }
        (None, Some(score), None) => {
            let sample =
                keys.sample.ok_or_else(|| Malformed::new(Reason::MissingKey, "has `score` and no `sample`"))?;
            (Judgement::Rating(finite("score", score)?), vec![sample])
        }
        (None, None, Some(difference)) => {
            let samples = several(samples, "difference")?;
            if samples.len() != 2 {
                let message = format!("a `difference` is of 2 samples, and there are {}", samples.len());
                return Err(Malformed::new(Reason::WrongType, message));
            }
            (Judgement::Difference(finite("difference", difference)?), samples)
        }
        (None, None, None) => {
            return Err(Malformed::new(Reason::MissingKey, "has no `best`, `score` or `difference`"));
        }
        _ => return Err(Malformed::new(Reason::WrongType, "has more than one of `best`, `score` and `difference`")),
    };
    Ok(Raw {
        // Queries are padded on the right; wherever padding stands, the model does not see it.
        query: RecordedPart::Ids(query.into_iter().filter(|id| *id != PADDING).collect()),
        samples: samples.into_iter().map(|ids| RecordedPart::Ids(to_padding(ids))).collect(),
        judgement,
        worker: None,
        batch: None,
        split: None,
        confidence: None,
        unread: Vec::new(),
    })
}

/// A response as it was truncated for the labelers: padding ends it.
fn to_padding(mut ids: Vec<u32>) -> Vec<u32> {
    let kept = ids.iter().position(|id| *id == PADDING).unwrap_or(ids.len());
    ids.truncate(kept);
    ids
}

fn several(samples: Vec<Vec<u32>>, key: &str) -> Result<Vec<Vec<u32>>, Malformed> {
    if samples.len() >= 2 {
        return Ok(samples);
    }
    let message = format!("has `{key}` and {} of the samples `sample0`, `sample1`, ...", samples.len());
    Err(Malformed::new(Reason::MissingKey, message))
}

/// The index, or why it is none of `n` samples'.
pub fn best_index(best: u64, n: usize) -> Result<usize, Malformed> {
    match usize::try_from(best) {
        Ok(index) if index < n => Ok(index),
        _ => {
            let message = format!("the choice is {best}, and there are {n} samples, from 0 on");
            Err(Malformed::new(Reason::ChoiceOutOfRange, message))
        }
    }
}

fn finite(key: &str, number: f64) -> Result<f32, Malformed> {
    let narrow = number as f32;
    if narrow.is_finite() {
        return Ok(narrow);
    }
    Err(Malformed::new(Reason::NotFinite, format!("`{key}` is {number:e}, beyond 32-bit floats")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> (Reason, String) {
        let error = parse(text.as_bytes()).map(|_| ()).unwrap_err();
        (error.reason, error.message)
    }

    #[test]
    fn padding_is_dropped_from_queries_and_ends_samples() {
        let text = r#"{"query": [50259, 1, 50259, 2, 50259], "sample0": [3, 13, 50259, 50259], "sample1": [4, 5, 6, 7], "best": 1, "x": {}}"#;
        let raw = parse(text.as_bytes()).unwrap();
        assert_eq!(raw.query, RecordedPart::Ids(vec![1, 2]));
        assert_eq!(raw.samples, [RecordedPart::Ids(vec![3, 13]), RecordedPart::Ids(vec![4, 5, 6, 7])]);
        assert_eq!(raw.judgement, Judgement::Best(1));
    }

    #[test]
    fn all_three_types_are_told_by_their_keys() {
        let rating = parse(br#"{"query": [1], "sample": [2], "score": -0.5}"#).unwrap();
        assert_eq!((rating.judgement, rating.samples.len()), (Judgement::Rating(-0.5), 1));
        let difference = parse(br#"{"query": [1], "sample0": [2], "sample1": [3], "difference": 2}"#).unwrap();
        assert_eq!((difference.judgement, difference.samples.len()), (Judgement::Difference(2.0), 2));
        let eleven: String = (0..11).map(|i| format!("\"sample{i}\": [{i}],")).collect();
        let many = parse(format!("{{{eleven} \"query\": [1], \"best\": 10}}").as_bytes()).unwrap();
        assert_eq!(many.samples[10], RecordedPart::Ids(vec![10]));
    }

    #[test]
    fn every_mistake_has_its_reason() {
        let two = r#""query": [1], "sample0": [2], "sample1": [3]"#;
        for (text, reason, words) in [
            (format!("{{{two}, \"best\": 2}}"), Reason::ChoiceOutOfRange, "the choice is 2"),
            (format!("{{{two}, \"best\": -1}}"), Reason::WrongType, "`best`: invalid value: integer `-1`"),
            (format!("{{{two}, \"best\": 1.5}}"), Reason::WrongType, "`best`"),
            (format!("{{{two}, \"best\": \"1\"}}"), Reason::WrongType, "`best`"),
            (format!("{{{two}, \"best\": 1, \"score\": 1}}"), Reason::WrongType, "more than one"),
            (format!("{{{two}}}"), Reason::MissingKey, "no `best`"),
            (format!("{{{two}, \"best\": 0, \"best\": 1}}"), Reason::DuplicateKey, "duplicate field `best`"),
            (format!("{{{two}, \"sample1\": [4], \"best\": 1}}"), Reason::DuplicateKey, "`sample1`"),
            (format!("{{{two}, \"difference\": NaN}}"), Reason::NotJson, "expected value"),
            (format!("{{{two}, \"difference\": 1e39}}"), Reason::NotFinite, "beyond 32-bit floats"),
            (format!("{{{two}, \"difference\": 1e999}}"), Reason::NotJson, "number out of range"),
            (r#"{"query": [1], "sample0": [2], "best": 0}"#.into(), Reason::MissingKey, "1 of the samples"),
            (r#"{"query": [1], "sample1": [2], "best": 0}"#.into(), Reason::MissingKey, "no `sample0`"),
            (r#"{"query": [1], "score": 1}"#.into(), Reason::MissingKey, "no `sample`"),
            (r#"{"query": "a b", "sample": [2], "score": 1}"#.into(), Reason::WrongType, "`query`: invalid type"),
            (r#"{"query": [99999999999], "sample": [2], "score": 1}"#.into(), Reason::WrongType, "`query`"),
            (r#"{"query": [-1], "sample": [2], "score": 1}"#.into(), Reason::WrongType, "`query`"),
            (r#"{"query": [1, null], "sample": [2], "score": 1}"#.into(), Reason::WrongType, "`query`"),
            ("[1]".into(), Reason::WrongType, "expected an object"),
            ("{".into(), Reason::NotJson, "EOF"),
            (format!("{{\"query\": {}1{}}}", "[".repeat(500), "]".repeat(500)), Reason::WrongType, "`query`"),
            (format!("{{\"x\": {}1{}}}", "[".repeat(500), "]".repeat(500)), Reason::MissingKey, "no `query`"),
        ] {
            let (found, message) = fails(&text);
            assert!(found == reason && message.contains(words), "{text}: {found:?} {message}");
        }
    }
}
