//! The comparisons of Stiennon et al. 2020 (openai/summarize-from-feedback, README "Human feedback data"): a post or
//! article, two summaries as text, and which of them the labeler chose.

use super::Judgement;
use super::lm_human_preferences::best_index;
use super::recorded::{Malformed, Raw, Reason, RecordedPart, Whole, word};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

#[derive(Deserialize)]
struct Comparison {
    info: Option<Info>,
    summaries: Option<Vec<Summary>>,
    choice: Option<Whole>,
    // Optional fields never refuse an entry, whatever is in them.
    worker: Option<Value>,
    batch: Option<Value>,
    split: Option<Value>,
    extra: Option<Value>,
    /// Of the axis evaluations in the folder next to the comparisons', which rate one summary.
    axes: Option<IgnoredAny>,
    summary: Option<IgnoredAny>,
    /// Of the other format, whose entries may come as lines, too.
    query: Option<IgnoredAny>,
}

/// A Reddit post, or a news article.
#[derive(Deserialize)]
struct Info {
    post: Option<String>,
    article: Option<String>,
}

#[derive(Deserialize)]
struct Summary {
    text: Option<String>,
}

fn missing(message: &str) -> Malformed {
    Malformed::new(Reason::MissingKey, message)
}

/// One entry; its texts are still to be encoded.
pub fn parse(bytes: &[u8]) -> Result<Raw, Malformed> {
    let comparison: Comparison = serde_json::from_slice(bytes).map_err(|e| Malformed::json(&e))?;
    if comparison.summaries.is_none() && (comparison.summary.is_some() || comparison.axes.is_some()) {
        return Err(missing("rates one summary along axes and has no `summaries`; only comparisons are labels"));
    }
    let info = comparison.info.ok_or_else(|| match comparison.query {
        Some(_) => missing("has `query` and no `info`: lines of lm_human_preferences need the format to be given"),
        None => missing("has no `info`"),
    })?;
    let text = [info.post, info.article].into_iter().flatten().find(|text| !text.is_empty());
    let text = text.ok_or_else(|| missing("`info` has no text in `post` or `article`"))?;
    let summaries = comparison.summaries.ok_or_else(|| missing("has no `summaries`"))?;
    if summaries.len() < 2 {
        let message = format!("a comparison needs 2 summaries or more, and there are {}", summaries.len());
        return Err(missing(&message));
    }
    let choice = comparison.choice.ok_or_else(|| missing("has no `choice`"))?;
    let best = best_index(choice.0, summaries.len())?;
    let texts: Option<Vec<String>> = summaries.into_iter().map(|summary| summary.text).collect();
    let texts = texts.ok_or_else(|| missing("one of the `summaries` has no `text`"))?;
    let mut unread = Vec::new();
    let mut optional = |name: &str, value: Option<Value>| word(name, value, &mut unread);
    let (worker, batch, split) = (
        optional("worker", comparison.worker),
        optional("batch", comparison.batch),
        optional("split", comparison.split),
    );
    let confidence = comparison.extra.as_ref().and_then(|extra| extra.get("confidence")).filter(|c| !c.is_null());
    let level = confidence.and_then(whole_number);
    if confidence.is_some() && level.is_none() {
        unread.push("extra.confidence".into());
    }
    Ok(Raw {
        query: RecordedPart::Text(text),
        samples: texts.into_iter().map(RecordedPart::Text).collect(),
        judgement: Judgement::Best(best),
        worker,
        batch,
        split,
        confidence: level,
        unread,
    })
}

/// A level of confidence: tables with gaps make floats of whole numbers, and other tools text.
fn whole_number(value: &Value) -> Option<i64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (number.fract() == 0.0 && number.abs() < 1e9).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"info": {"id": "t3", "post": "A post.", "title": "T", "subreddit": "s"}, "split": "train",
        "summaries": [{"text": " one", "policy": "sup2", "note": null}, {"text": " two", "policy": "ref", "note": "n"}],
        "choice": 1, "worker": "w", "batch": "batch9", "extra": {"confidence": 8}}"#;

    #[test]
    fn a_comparison_as_in_the_readme() {
        let raw = parse(FULL.as_bytes()).unwrap();
        assert_eq!(raw.query, RecordedPart::Text("A post.".into()));
        assert_eq!(raw.samples, [RecordedPart::Text(" one".into()), RecordedPart::Text(" two".into())]);
        assert_eq!((raw.judgement, raw.confidence), (Judgement::Best(1), Some(8)));
        assert_eq!((raw.worker.as_deref(), raw.split.as_deref()), (Some("w"), Some("train")));
    }

    #[test]
    fn optional_fields_never_refuse_an_entry() {
        for (confidence, level, unread) in
            [("5.0", Some(5), 0), ("\"7\"", Some(7), 0), ("null", None, 0), ("4.5", None, 1), ("{}", None, 1)]
        {
            let entry = FULL.replace("\"confidence\": 8", &format!("\"confidence\": {confidence}"));
            let raw = parse(entry.as_bytes()).unwrap();
            assert_eq!((raw.confidence, raw.unread.len()), (level, unread), "{confidence}");
        }
        let entry = FULL.replace("\"worker\": \"w\"", "\"worker\": 12").replace("{\"confidence\": 8}", "[]");
        let raw =
            parse(entry.replace("\"batch9\"", "[9]").replace("\"choice\": 1", "\"choice\": 1.0").as_bytes()).unwrap();
        assert_eq!((raw.worker.as_deref(), raw.batch, raw.unread), (Some("12"), None, vec!["batch".to_string()]));
        assert_eq!(raw.judgement, Judgement::Best(1));
    }

    #[test]
    fn news_and_bare_entries_are_read_too() {
        let text = r#"{"info": {"post": null, "article": "News."}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 0, "extra": {}}"#;
        let raw = parse(text.as_bytes()).unwrap();
        assert_eq!((raw.query, raw.split, raw.confidence), (RecordedPart::Text("News.".into()), None, None));
    }

    #[test]
    fn every_mistake_has_its_reason() {
        for (from, to, reason, words) in [
            ("\"choice\": 1", "\"choice\": 2", Reason::ChoiceOutOfRange, "the choice is 2"),
            ("\"choice\": 1", "\"choice\": -1", Reason::WrongType, "-1"),
            ("\"choice\": 1", "\"choice\": null", Reason::MissingKey, "choice"),
            ("\"choice\": 1", "\"choice\": 1, \"choice\": 0", Reason::DuplicateKey, "duplicate field `choice`"),
            ("\"A post.\"", "\"\"", Reason::MissingKey, "`post` or `article`"),
            ("\"A post.\"", "17", Reason::WrongType, "integer `17`"),
            ("\"A post.\"", "\"\\ud800\"", Reason::NotJson, "hex escape"),
            ("{\"text\": \" one\", ", "{", Reason::MissingKey, "no `text`"),
            ("\"summaries\": [", "\"summary\": {}, \"axes\": {}, \"z\": [", Reason::MissingKey, "along axes"),
            ("\"info\"", "\"inf\"", Reason::MissingKey, "has no `info`"),
            ("\"info\"", "\"query\"", Reason::MissingKey, "lines of lm_human_preferences"),
            ("\"choice\"", "choice", Reason::NotJson, "key must be a string"),
        ] {
            let error = parse(FULL.replace(from, to).as_bytes()).map(|_| ()).unwrap_err();
            assert!(error.reason == reason && error.message.contains(words), "{from} -> {to}: {error:?}");
        }
    }
}
