//! A program of the user's as the labeler: it reads a round's questions as JSON lines, all at once, and writes an answer
//! to each. What it has answered when a run is killed is not asked again.

use super::collected::{RoundLabels, Tally, batch_of, write_round};
use super::questions::{Asked, Comparison, VALIDATION_REFERENCES};
use super::rounds::Round;
use super::{Ask, Desk, Known, Labeler, program_key};
use crate::context::{CHECKPOINTS, Context, Kept, StageError};
use crate::label::{Judgement, Label};
use crate::outside::{Failure, Program};
use crate::spec::keyed::{LabelsKey, TextsKey};
use crate::spec::{CommandSpec, LabelerKind, Spec};
use crate::store::cache::Key;
use crate::{random, ranks};
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Of what is asked, and of what becomes of answers.
const VERSION: u32 = 1;

/// A program that answers questions.
pub struct Command;

fn command(spec: &Spec) -> Result<&CommandSpec, StageError> {
    spec.labeler.command.as_ref().ok_or_else(|| StageError::Input("labeler.command: no program is named".into()))
}

fn wrong(why: impl std::fmt::Display) -> StageError {
    StageError::Input(format!("labeler.command: {why}"))
}

impl Labeler for Command {
    fn key(
        &self,
        spec: &Spec,
        round: &Round,
        upstream: &[String],
        previous: Option<&Key>,
    ) -> Result<Known, StageError> {
        let words = crate::outside::program_key(command(spec)?).map_err(wrong)?;
        let who = (LabelerKind::Command, VERSION, words);
        if spec.collect.schedule.in_rounds() {
            return program_key(spec, round, &who, upstream, previous).map(Known::Key);
        }
        let (labels, texts) = (LabelsKey::of(&spec.collect), TextsKey::of(&spec.task));
        Ok(Known::Key(Key::new("labels", super::VERSION, &(who, labels, texts, spec.seed, upstream))?))
    }

    fn label(&self, desk: &Desk<'_>, _: &Round, ask: Ask<'_>, dir: &Path) -> Result<(), StageError> {
        ask(&mut |asked| {
            let all = asked.all(desk.context, desk.spec, &mut desk.context.chunks(dir, "labels")?)?;
            // One process asks the program, for all.
            ranks::by_first(|| answer(desk, &asked, &all, dir))
        })
    }
}

/// A question as it is shown: its place in the run, and the candidates in a random order.
struct Shown<'a> {
    comparison: &'a Comparison,
    /// `order[place]`: the candidate that stands there.
    order: Vec<usize>,
    query: Vec<u32>,
    /// In that order, up to where the task cuts them.
    samples: Vec<Vec<u32>>,
    question: Value,
}

fn shown<'a>(
    desk: &Desk<'_>,
    asked: &Asked<'_>,
    i: usize,
    comparison: &'a Comparison,
) -> Result<Shown<'a>, StageError> {
    let number = asked.round.first_query(desk.spec.collect.held_out) + i;
    let mut order: Vec<usize> = (0..comparison.candidates.len()).collect();
    order.shuffle(&mut random::stream(desk.spec.seed, "order for a program", number as u64));
    let query = asked.task.bare(&asked.queries[comparison.query]);
    let cut = |c: &usize| {
        let response = &comparison.candidates[*c].response;
        response[..asked.task.cut(response).unwrap_or(response.len())].to_vec()
    };
    let samples: Vec<Vec<u32>> = order.iter().map(cut).collect();
    let texts = samples.iter().map(|ids| desk.tokenizer.decode(ids)).collect::<Result<Vec<String>, _>>()?;
    let question = json!({ "id": number, "query": desk.tokenizer.decode(&query)?, "candidates": texts });
    Ok(Shown { comparison, order, query, samples, question })
}

fn answer(desk: &Desk<'_>, asked: &Asked<'_>, all: &[Comparison], dir: &Path) -> Result<(), StageError> {
    let shown: Vec<Shown<'_>> =
        all.iter().enumerate().map(|(i, c)| shown(desk, asked, i, c)).collect::<Result<_, _>>()?;
    let answers = answers(desk.context, desk.spec, &shown, dir)?;
    let mut round = RoundLabels { round: asked.round.number, training: 0, held_out: 0, validation: Tally::default() };
    let (mut lines, mut skipped) = (String::new(), 0);
    for (i, (shown, answer)) in shown.iter().zip(&answers).enumerate() {
        let Some(best) = *answer else {
            skipped += 1;
            continue;
        };
        if i < asked.round.new {
            round.training += 1
        } else {
            round.held_out += 1
        }
        if shown.comparison.validation {
            round.validation.add(shown.order[best] >= VALIDATION_REFERENCES);
        }
        let label = Label {
            query: shown.query.clone(),
            samples: shown.samples.clone(),
            judgement: Judgement::Best(best),
            scores: None,
            worker: Some("command".into()),
            batch: batch_of(desk.spec, asked, shown.comparison),
            split: None,
            confidence: None,
        };
        lines.push_str(&serde_json::to_string(&label)?);
        lines.push('\n');
    }
    if round.training == 0 {
        return Err(wrong("the program skips every question to learn from"));
    }
    tracing::info!("the program has answered {} questions, and skipped {skipped}", answers.len() - skipped);
    write_round(dir, &lines, &round)
}

/// What an answer says: the place of the best, or None for a skip.
fn choice(answer: &Value, question: &Value) -> Result<Option<usize>, String> {
    let n = question["candidates"].as_array().map_or(0, Vec::len);
    if !answer["id"].is_null() && answer["id"] != question["id"] {
        return Err(format!("answers question {}, and {} comes next", answer["id"], question["id"]));
    }
    match (&answer["best"], answer["skip"].as_str()) {
        (Value::Null, Some(_)) => Ok(None),
        (best, None) => match best.as_u64().and_then(|best| usize::try_from(best).ok()).filter(|best| *best < n) {
            Some(best) => Ok(Some(best)),
            None => Err(format!("has no `best`, the place of a candidate from 0 to {}, nor a `skip`", n.max(1) - 1)),
        },
        (_, Some(_)) => Err("has both `best` and `skip`".into()),
    }
}

/// Answers kept from an earlier try, then those of the program; each is kept as it comes.
fn answers(context: &Context, spec: &Spec, shown: &[Shown<'_>], dir: &Path) -> Result<Vec<Option<usize>>, StageError> {
    let path = dir.join(CHECKPOINTS).join("program_answers.jsonl");
    let (mut file, mut answers) = kept(&path, shown)?;
    let first = answers.len();
    if first > 0 {
        tracing::info!("going on after {first} answers of the program");
    }
    if first == shown.len() {
        return Ok(answers);
    }
    let questions: Vec<Value> = shown[first..].iter().map(|shown| shown.question.clone()).collect();
    let bar = context.bar("program", first, shown.len());
    let mut program = Program::start(command(spec)?).map_err(wrong)?;
    let stopped = || context.stop_here().is_some();
    let asked = program.exchange(&questions, true, &stopped, &mut |i, answer| {
        answers.push(choice(&answer, &questions[i])?);
        bar.add(1, "");
        writeln!(file, "{answer}").map_err(|e| format!("cannot be kept in {}: {e}", path.display()))
    });
    bar.finish();
    match asked {
        Ok(()) => Ok(answers),
        Err(Failure::Wrong(why)) => Err(wrong(why)),
        Err(Failure::Stopped) => {
            context.check_stop(answers.len(), Kept::Everything)?;
            Err(wrong("the program was not waited for"))
        }
    }
}

/// The file of answers, cut to whole lines, and what they say.
fn kept(path: &Path, shown: &[Shown<'_>]) -> Result<(File, Vec<Option<usize>>), StageError> {
    let failed = |e: std::io::Error| StageError::Io { path: path.into(), source: e };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(failed(e)),
    };
    let (mut answers, mut bytes) = (Vec::new(), 0);
    for (line, shown) in text.split_inclusive('\n').zip(shown) {
        let read = serde_json::from_str::<Value>(line).ok().filter(|_| line.ends_with('\n'));
        let Some(Ok(answer)) = read.map(|answer| choice(&answer, &shown.question)) else { break };
        answers.push(answer);
        bytes += line.len() as u64;
    }
    let file = File::options().create(true).append(true).open(path).map_err(failed)?;
    file.set_len(bytes).map_err(failed)?;
    Ok((file, answers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_place_or_a_skip() {
        let question = json!({ "id": 7, "query": "q", "candidates": ["a", "b"] });
        let of = |answer: Value| choice(&answer, &question);
        assert_eq!((of(json!({ "best": 1 })), of(json!({ "id": 7, "best": 0 }))), (Ok(Some(1)), Ok(Some(0))));
        assert_eq!(of(json!({ "skip": "unclear" })), Ok(None));
        for answer in [
            json!({ "best": 2 }),
            json!({ "best": -1 }),
            json!({ "best": "1" }),
            json!({ "best": 1, "skip": "x" }),
            json!({ "id": 8, "best": 1 }),
            json!({ "id": "7", "best": 1 }),
            json!({}),
            json!(1),
            json!([]),
            json!(null),
        ] {
            assert!(of(answer.clone()).is_err(), "{answer}");
        }
    }
}
