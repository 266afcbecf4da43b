//! A question as a language model reads it, and what its answer says: strictly, so that what is no choice is counted as
//! none.

use crate::context::StageError;
use crate::spec::{JudgeSpec, TaskPreset};
use crate::store::input::read_to_string;
use serde_json::Value;
use std::path::Path;

/// Of the built-in prompt, in this project's words; the instructions are those for people.
const BUILT_IN: &str = "{instructions}\n{kind}:\n<text>\n{query}\n</text>\n\n{candidates}\n\nWhich one is the best? Answer \
                        with its letter alone: {letters}. Where JSON is asked for, the letter is the value of \"best\".";

/// The letters of `n` candidates, in the order in which they are shown.
pub(super) fn letters(n: usize) -> Vec<String> {
    (0..n).map(letter).collect()
}

fn letter(place: usize) -> String {
    char::from(b'A' + u8::try_from(place.min(25)).unwrap_or(25)).to_string()
}

/// A template and what is the same in all prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prompt {
    template: String,
    instructions: String,
    kind: &'static str,
}

impl Prompt {
    /// The user's template, or the built-in one. Err: its file cannot be read.
    pub fn of(judge: &JudgeSpec, preset: TaskPreset, instructions: &str) -> Result<Self, StageError> {
        let template = match judge.prompt.as_deref().filter(|path| !path.is_empty()) {
            Some(path) => read_to_string(Path::new(path)).map_err(StageError::io(path))?,
            None => BUILT_IN.into(),
        };
        if let Some(missing) = crate::spec::JUDGE_PLACEHOLDERS.into_iter().find(|place| !template.contains(place)) {
            return Err(StageError::Input(format!("labeler.judge.prompt: the file has no {missing}")));
        }
        let kind = match preset {
            TaskPreset::Sentiment | TaskPreset::Descriptiveness => "The beginning",
            TaskPreset::Tldr => "The post",
            TaskPreset::Cnndm => "The article",
            TaskPreset::Custom => "The text",
        };
        Ok(Self { template, instructions: instructions.trim_end().to_string() + "\n", kind })
    }

    /// The prompt that shows `candidates` in this order. What stands in braces in a text is not replaced.
    pub fn text(&self, query: &str, candidates: &[&str]) -> String {
        let shown: Vec<String> = candidates
            .iter()
            .enumerate()
            .map(|(place, text)| format!("{letter}:\n<response>\n{text}\n</response>", letter = letter(place)))
            .collect();
        let letters = letters(candidates.len());
        let letters = match letters.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => letters.concat(),
        };
        let values = [
            ("{instructions}", self.instructions.as_str()),
            ("{kind}", self.kind),
            ("{query}", query),
            ("{candidates}", &shown.join("\n\n")),
            ("{letters}", &letters),
        ];
        let (mut out, mut rest) = (String::new(), self.template.as_str());
        while let Some(at) = rest.find('{') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            match values.iter().find(|(name, _)| rest.starts_with(name)) {
                Some((name, value)) => {
                    out.push_str(value);
                    rest = &rest[name.len()..];
                }
                None => {
                    out.push('{');
                    rest = &rest[1..];
                }
            }
        }
        out + rest
    }
}

/// What a model said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// The place of the chosen candidate, from 0.
    Place(usize),
    /// It will not answer, or its provider does not let it.
    Refused,
    /// No choice among those shown.
    Nonsense,
}

/// Of the body of a chat completion about `n` candidates.
pub(super) fn said(body: &Value, n: usize) -> Said {
    let choice = &body["choices"][0];
    let message = &choice["message"];
    let refusal = message["refusal"].as_str().is_some_and(|text| !text.trim().is_empty());
    if refusal || choice["finish_reason"] == "content_filter" {
        return Said::Refused;
    }
    let part = |part: &Value| part["text"].as_str().map(str::to_string);
    let content = match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(part).collect(),
        _ => return Said::Nonsense,
    };
    place(&content, n).map_or(Said::Nonsense, Said::Place)
}

/// `{"best": "B"}`, or one letter with nothing but punctuation around it; what a model thought aloud before is passed
/// over.
fn place(content: &str, n: usize) -> Option<usize> {
    let content = match content.split_once("</think>") {
        Some((thought, rest)) if thought.trim_start().starts_with("<think>") => rest,
        _ => content,
    };
    let fenced = content.trim().strip_prefix("```").and_then(|text| text.strip_suffix("```"));
    let text = fenced.map_or(content, |text| text.strip_prefix("json").unwrap_or(text)).trim();
    let text = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) if object.len() == 1 => object.get("best")?.as_str()?.to_string(),
        Ok(Value::String(text)) => text,
        _ => text.to_string(),
    };
    let bare = text.trim_matches(|c: char| c.is_whitespace() || "*.()[]:\"'`".contains(c));
    let mut characters = bare.chars();
    match (characters.next(), characters.next()) {
        (Some(letter @ 'A'..='Z'), None) => Some(usize::from(letter as u8 - b'A')).filter(|place| *place < n),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_with_braces_stay_as_they_are() {
        let prompt = Prompt {
            template: "{instructions}|{query}|{candidates}|{letters}|{x}|{".into(),
            instructions: "best?".into(),
            kind: "",
        };
        let text = prompt.text("a {candidates} {", &["{query}", "two"]);
        let shown = "A:\n<response>\n{query}\n</response>\n\nB:\n<response>\ntwo\n</response>";
        assert_eq!(text, format!("best?|a {{candidates}} {{|{shown}|A or B|{{x}}|{{"));
        let own = Prompt::of(&JudgeSpec::default(), TaskPreset::Tldr, "Read.\n").unwrap();
        let text = own.text("q", &["r"; 4]);
        assert!(
            text.starts_with("Read.\n\nThe post:\n<text>\nq\n</text>") && text.contains("alone: A, B, C or D."),
            "{text}"
        );
    }

    #[test]
    fn only_a_letter_that_was_shown_is_a_choice() {
        for (content, place) in [
            ("B", Some(1)),
            (" (D).\n", Some(3)),
            ("**A**", Some(0)),
            ("\"C\"", Some(2)),
            ("{\"best\": \"B\"}", Some(1)),
            ("```json\n{\"best\":\"A\"}\n```", Some(0)),
            ("<think>B? No, C.</think>\n\nC", Some(2)),
            ("E", None),
            ("b", None),
            ("AB", None),
            ("A or B", None),
            ("The best is B", None),
            ("{\"best\": 1}", None),
            ("{\"best\": \"E\"}", None),
            ("{\"best\": \"A\", \"worst\": \"B\"}", None),
            ("{\"best\": \"A\"", None),
            ("", None),
            ("Ä", None),
        ] {
            assert_eq!(super::place(content, 4), place, "{content:?}");
        }
    }

    #[test]
    fn refusals_are_told_from_nonsense() {
        let message = |message: Value, finish: &str| {
            said(&json!({ "choices": [{ "message": message, "finish_reason": finish }] }), 2)
        };
        assert_eq!(message(json!({ "content": "A" }), "stop"), Said::Place(0));
        assert_eq!(message(json!({ "content": [{ "type": "text", "text": "B" }] }), "stop"), Said::Place(1));
        assert_eq!(message(json!({ "content": null, "refusal": "I cannot" }), "stop"), Said::Refused);
        assert_eq!(message(json!({ "content": "A" }), "content_filter"), Said::Refused);
        assert_eq!(message(json!({ "content": null }), "stop"), Said::Nonsense);
        assert_eq!(said(&json!({ "choices": [] }), 2), Said::Nonsense);
        assert_eq!(said(&json!({ "choices": [null] }), 2), Said::Nonsense);
        assert_eq!(said(&json!([1]), 2), Said::Nonsense);
    }
}
