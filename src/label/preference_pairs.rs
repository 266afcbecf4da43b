//! Pairs of a chosen and a rejected answer to a prompt, as TRL's preference data sets have them: comparisons of two, of
//! which the first is preferred. Texts, or conversations of one turn (`[{"role": "user", "content": ".."}]`).

use super::Judgement;
use super::recorded::{Malformed, Raw, Reason, RecordedPart, word};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Pair {
    prompt: Option<Value>,
    chosen: Option<Value>,
    rejected: Option<Value>,
    worker: Option<Value>,
    batch: Option<Value>,
    split: Option<Value>,
}

fn missing(message: &str) -> Malformed {
    Malformed::new(Reason::MissingKey, message)
}

/// One entry; its texts are still to be encoded.
pub fn parse(bytes: &[u8]) -> Result<Raw, Malformed> {
    let pair: Pair = serde_json::from_slice(bytes).map_err(|e| Malformed::json(&e))?;
    let chosen = pair.chosen.ok_or_else(|| missing("has no `chosen`"))?;
    let rejected = pair.rejected.ok_or_else(|| missing("has no `rejected`"))?;
    let prompt = match pair.prompt {
        Some(prompt) => prompt,
        // The conversation's first turn is the prompt.
        None => match (&chosen, &rejected) {
            (Value::Array(a), Value::Array(b)) if a.len() == 2 && a.first() == b.first() => {
                Value::Array(vec![a[0].clone()])
            }
            _ => return Err(missing("has no `prompt`; take what `chosen` and `rejected` begin with out of them")),
        },
    };
    let mut unread = Vec::new();
    let mut optional = |name: &str, value: Option<Value>| word(name, value, &mut unread);
    let (worker, batch, split) =
        (optional("worker", pair.worker), optional("batch", pair.batch), optional("split", pair.split));
    Ok(Raw {
        query: RecordedPart::Text(text("prompt", prompt, 1)?),
        samples: vec![
            RecordedPart::Text(text("chosen", chosen, 2)?),
            RecordedPart::Text(text("rejected", rejected, 2)?),
        ],
        judgement: Judgement::Best(0),
        worker,
        batch,
        split,
        confidence: None,
        unread,
    })
}

/// A text, or the last of at most `turns` messages.
fn text(key: &str, value: Value, turns: usize) -> Result<String, Malformed> {
    let wrong = |message: String| Malformed::new(Reason::WrongType, format!("`{key}` {message}"));
    match value {
        Value::String(text) => Ok(text),
        Value::Array(messages) if messages.len() > turns => {
            Err(wrong(format!("is a conversation of {} messages; only one turn can be read", messages.len())))
        }
        Value::Array(messages) => {
            let content = messages.last().and_then(|message| message["content"].as_str());
            content.map(str::to_string).ok_or_else(|| wrong("has no message with a `content` that is text".into()))
        }
        _ => Err(wrong("is neither text nor a list of messages".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_comparisons_of_two_whose_first_is_preferred() {
        let raw = parse(br#"{"prompt": "Q", "chosen": " a", "rejected": " b", "score": 3, "worker": 7}"#).unwrap();
        assert_eq!((raw.query, raw.judgement), (RecordedPart::Text("Q".into()), Judgement::Best(0)));
        assert_eq!(raw.samples, [RecordedPart::Text(" a".into()), RecordedPart::Text(" b".into())]);
        assert_eq!(raw.worker.as_deref(), Some("7"));
        let turn = |text: &str| {
            format!(r#"[{{"role": "user", "content": "Q"}}, {{"role": "assistant", "content": "{text}"}}]"#)
        };
        let entry = format!(r#"{{"chosen": {}, "rejected": {}}}"#, turn("a"), turn("b"));
        let raw = parse(entry.as_bytes()).unwrap();
        assert_eq!((raw.query, &raw.samples[1]), (RecordedPart::Text("Q".into()), &RecordedPart::Text("b".into())));
    }

    #[test]
    fn what_is_no_pair_says_why() {
        for (entry, words) in [
            (r#"{"prompt": "Q", "chosen": "a"}"#, "has no `rejected`"),
            (r#"{"chosen": "Q a", "rejected": "Q b"}"#, "has no `prompt`; take what"),
            (r#"{"prompt": 3, "chosen": "a", "rejected": "b"}"#, "`prompt` is neither text nor"),
            (r#"{"prompt": [{}, {}], "chosen": "a", "rejected": "b"}"#, "`prompt` is a conversation of 2 messages"),
            (r#"{"prompt": "Q", "chosen": [], "rejected": "b"}"#, "`chosen` has no message"),
        ] {
            let error = parse(entry.as_bytes()).unwrap_err();
            assert!(error.message.contains(words), "{entry}: {}", error.message);
        }
    }
}
