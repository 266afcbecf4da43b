//! Rewards that no model of ρ's kind gives: a program's number for a query and a response, and ROUGE against the query's
//! reference summary (the objective of Paulus et al. 2017, among others, that the paper argues with).

use super::program::{Failure, Program};
use crate::metric::rouge::rouge;
use crate::model::ModelError;
use crate::model::tokenizer::Tokenizer;
use crate::spec::CommandSpec;
use crate::task::{OutsideScores, Query, Task};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Scores of a program, which is asked batch after batch.
#[derive(Debug)]
pub struct CommandScores {
    program: Mutex<Program>,
    tokenizer: Tokenizer,
}

impl CommandScores {
    /// Starts the program. Err: why it does not start.
    pub fn start(command: &CommandSpec, tokenizer: &Tokenizer) -> Result<Self, ModelError> {
        let program = Program::start(command).map_err(wrong)?;
        Ok(Self { program: Mutex::new(program), tokenizer: tokenizer.clone() })
    }
}

fn wrong(why: String) -> ModelError {
    ModelError::Input(format!("reward.command: {why}"))
}

/// A number, or `{"score": NUMBER}`.
fn number(answer: &Value) -> Result<f32, String> {
    let number = answer.as_f64().or(answer["score"].as_f64());
    let number = number.ok_or("is no score: a number, or {\"score\": NUMBER}")? as f32;
    if number.is_finite() { Ok(number) } else { Err("is too large for a score".into()) }
}

impl OutsideScores for CommandScores {
    fn scores(&self, queries: &[Vec<u32>], responses: &[Vec<u32>]) -> Result<Vec<f32>, ModelError> {
        let mut questions = Vec::with_capacity(queries.len());
        for (query, response) in queries.iter().zip(responses) {
            let (query, response) = (self.tokenizer.decode(query)?, self.tokenizer.decode(response)?);
            questions.push(json!({ "query": query, "response": response }));
        }
        let mut found = Vec::with_capacity(questions.len());
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = program.exchange(&questions, false, &|| false, &mut |_, answer| {
            found.push(number(&answer)?);
            Ok(())
        });
        match answered {
            Ok(()) => Ok(found),
            Err(Failure::Wrong(why)) => Err(wrong(why)),
            Err(Failure::Stopped) => Err(wrong("the program was not waited for".into())),
        }
    }
}

/// ROUGE-L (F1, with stems) of responses with the reference summary of their query.
#[derive(Debug)]
pub struct RougeScores {
    summaries: HashMap<Vec<u32>, String>,
    tokenizer: Tokenizer,
}

impl RougeScores {
    /// Of queries with their summaries; of two summaries of the same query the first counts. Err: a query has none.
    pub fn of<'a>(
        task: &Task,
        examples: impl Iterator<Item = (&'a Query, Option<&'a str>)>,
        tokenizer: &Tokenizer,
    ) -> Result<Self, ModelError> {
        let mut summaries = HashMap::new();
        for (query, summary) in examples {
            let summary = summary.ok_or_else(|| {
                ModelError::Input(
                    "reward.source = \"rouge\": a query of task.data has no reference summary to compare with; use data with \
                     summaries"
                        .into(),
                )
            })?;
            summaries.entry(task.bare(query)).or_insert_with(|| summary.to_string());
        }
        Ok(Self { summaries, tokenizer: tokenizer.clone() })
    }
}

impl OutsideScores for RougeScores {
    fn scores(&self, queries: &[Vec<u32>], responses: &[Vec<u32>]) -> Result<Vec<f32>, ModelError> {
        let one = |(query, response): (&Vec<u32>, &Vec<u32>)| {
            let unknown = || ModelError::Input("reward.source = \"rouge\": a query has no reference summary".into());
            let summary = self.summaries.get(query).ok_or_else(unknown)?;
            Ok(rouge(&self.tokenizer.decode(response)?, summary, true).rouge_l.f1 as f32)
        };
        queries.iter().zip(responses).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_a_finite_number() {
        assert_eq!((number(&json!(1.5)), number(&json!({ "score": -2 }))), (Ok(1.5), Ok(-2.0)));
        for answer in [json!("1"), json!(null), json!({ "Score": 1 }), json!([1]), json!(1e300), json!({})] {
            assert!(number(&answer).is_err(), "{answer}");
        }
    }
}
