//! What a judge said, as it came: `judge/answers.jsonl` in a directory of batches, one line per request that was
//! answered. It is on disk before it is used, and found again by what was asked: the model, its settings and the prompt,
//! in which the candidates stand in their order.

use crate::context::StageError;
use crate::label::LabelError;
use crate::spec::keyed::JudgeKey;
use crate::store::append;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// Of what a prompt's name is made of.
const VERSION: u32 = 1;
/// A chat's own tokens around a prompt, at most.
const AROUND: u64 = 1000;
/// Tokens that a model may write beyond what it was allowed: its end.
const BEYOND: u64 = 16;
/// Bytes of a token where an endpoint's own count cannot be.
const BYTES: u64 = 4;

/// Where they are.
pub(super) fn folder(batches: &Path) -> PathBuf {
    batches.join("judge")
}

fn file(batches: &Path) -> PathBuf {
    folder(batches).join("answers.jsonl")
}

/// The name of a request.
pub(super) fn key(of: &JudgeKey, prompt: &str) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(&(VERSION, of, prompt))?;
    Ok(blake3::hash(text.as_bytes()).to_hex()[..32].to_string())
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub key: String,
    pub model: String,
    /// The item that was asked about, and the candidates in the order in which they stood.
    pub item: String,
    pub order: Vec<usize>,
    /// Of the prompt.
    pub bytes: u64,
    /// `max_answer_tokens`.
    pub most: u64,
    /// The body of the chat completion.
    pub response: Value,
    /// RFC 3339.
    pub at: String,
}

/// Tokens of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub prompt: u64,
    pub answer: u64,
    /// The endpoint's own counts are missing, or cannot be; these are of the texts' lengths.
    pub estimated: bool,
}

impl Answer {
    /// What the endpoint counted, where that can be: no token is shorter than a byte.
    pub fn tokens(&self) -> Tokens {
        let content = self.response["choices"][0]["message"]["content"].as_str().unwrap_or_default();
        let usage = &self.response["usage"];
        let prompt = usage["prompt_tokens"].as_u64().filter(|n| (1..=self.bytes + AROUND).contains(n));
        let least = u64::from(!content.is_empty());
        let answer = usage["completion_tokens"].as_u64().filter(|n| (least..=self.most + BEYOND).contains(n));
        match (prompt, answer) {
            (Some(prompt), Some(answer)) => Tokens { prompt, answer, estimated: false },
            _ => {
                let answer = (content.len() as u64).div_ceil(BYTES);
                Tokens { prompt: self.bytes.div_ceil(BYTES), answer, estimated: true }
            }
        }
    }
}

/// All of a directory.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The first answer to each request.
    pub answers: HashMap<String, Answer>,
    /// Lines, and their tokens.
    pub requests: u64,
    pub tokens: u64,
}

impl Kept {
    /// Reads them; none where there is no file. A last line that is still being written is left out.
    pub fn read(batches: &Path) -> Result<Self, LabelError> {
        let path = file(batches);
        if !path.exists() {
            return Ok(Self::default());
        }
        let mut reader = BufReader::new(File::open(&path).map_err(|e| LabelError::file(&path, e))?);
        let (mut kept, mut line, mut number) = (Self::default(), Vec::new(), 0);
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(|e| LabelError::file(&path, e))? == 0 {
                return Ok(kept);
            }
            number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<Answer>(&line) {
                Ok(answer) => kept.add(answer),
                Err(_) if !line.ends_with(b"\n") => return Ok(kept),
                Err(e) => {
                    let message = format!(
                        "{e}; this is no answer that was kept here: restore the line, or remove it and the question is asked \
                         again"
                    );
                    return Err(LabelError::Place { path, line: number, column: e.column() as u64, message });
                }
            }
        }
    }

    fn add(&mut self, answer: Answer) {
        let tokens = answer.tokens();
        self.requests += 1;
        self.tokens += tokens.prompt + tokens.answer;
        self.answers.entry(answer.key.clone()).or_insert(answer);
    }
}

/// Adds answers; each is on disk when [`Writer::add`] returns.
pub(super) struct Writer {
    path: PathBuf,
    file: File,
}

impl Writer {
    pub fn open(batches: &Path) -> Result<Self, StageError> {
        let path = file(batches);
        let (file, tail) = append::open(&path).map_err(StageError::io(&path))?;
        if let append::Tail::Moved(aside) = tail {
            tracing::warn!(
                "{}: the last line was cut short (a crash while it was written); it is in {} now, and is asked again",
                path.display(),
                aside.display()
            );
        }
        Ok(Self { path, file })
    }

    pub fn add(&mut self, answer: &Answer) -> Result<(), String> {
        let line = serde_json::to_string(answer).map_err(|e| e.to_string())? + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|e| format!("{}: {e}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(usage: Value, content: &str) -> Answer {
        Answer {
            key: "k".into(),
            model: "m".into(),
            item: "i".into(),
            order: vec![0, 1],
            bytes: 400,
            most: 10,
            response: json!({ "choices": [{ "message": { "content": content } }], "usage": usage }),
            at: String::new(),
        }
    }

    #[test]
    fn token_counts_that_cannot_be_are_not_believed() {
        let of = |prompt: Value, answered: Value| {
            answer(json!({ "prompt_tokens": prompt, "completion_tokens": answered }), "B").tokens()
        };
        assert_eq!(of(json!(90), json!(1)), Tokens { prompt: 90, answer: 1, estimated: false });
        let estimate = Tokens { prompt: 100, answer: 1, estimated: true };
        for (prompt, answered) in [
            (json!(0), json!(1)),
            (json!(-5), json!(1)),
            (json!(1e18), json!(1)),
            (json!("90"), json!(1)),
            (json!(90), json!(0)),
            (json!(90), json!(1_000_000)),
            (json!(90.5), json!(1)),
            (Value::Null, Value::Null),
        ] {
            assert_eq!(of(prompt.clone(), answered.clone()), estimate, "{prompt} {answered}");
        }
        assert_eq!(answer(Value::Null, "").tokens().answer, 0);
    }

    #[test]
    fn what_was_written_is_found_and_a_cut_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Kept::read(dir.path()).unwrap().requests, 0);
        let first = answer(json!({ "prompt_tokens": 90, "completion_tokens": 1 }), "B");
        Writer::open(dir.path()).unwrap().add(&first).unwrap();
        let path = dir.path().join("judge/answers.jsonl");
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{}", &whole[..whole.len() / 2])).unwrap();
        let kept = Kept::read(dir.path()).unwrap();
        assert_eq!((kept.requests, kept.tokens, kept.answers["k"].clone()), (1, 91, first.clone()));
        let second = Answer { key: "l".into(), ..first };
        Writer::open(dir.path()).unwrap().add(&second).unwrap();
        let kept = Kept::read(dir.path()).unwrap();
        assert_eq!((kept.requests, kept.answers.len()), (2, 2));
        std::fs::write(&path, format!("{whole}{{}}\n")).unwrap();
        let message = Kept::read(dir.path()).unwrap_err().to_string();
        assert!(message.contains("answers.jsonl:2:2: missing field"), "{message}");
    }
}
