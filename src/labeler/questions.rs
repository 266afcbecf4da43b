//! What labelers compare: four responses to a query, of ρ, of π as it is between two rounds, or (online) of both while
//! π is trained.

use crate::context::{Context, Saved, StageError};
use crate::labeler::rounds::{Round, is_validation, wanted};
use crate::model::gpt2::Gpt2;
use crate::model::sampling::{Sampled, Sampling, sample};
use crate::random;
use crate::spec::Spec;
use crate::task::scoring::ROWS;
use crate::task::{Query, Task};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Candidates per comparison (paper section 2.1).
pub const CANDIDATES: usize = 4;
/// Comparisons that are sampled and answered at once.
pub const CHUNK: usize = ROWS / CANDIDATES;
/// Of a validation item, how many of the candidates are ρ's; the others are π's.
pub const VALIDATION_REFERENCES: usize = 2;
/// Most times that a response is sampled again for want of the truncation token.
const TRIES: usize = 20;

/// A response and the sum of the log-probabilities of its tokens up to the truncation token, under who wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drawn {
    /// Tokens of the whole response, `[response]`.
    pub response: Vec<u32>,
    /// In nats, up to the truncation token.
    pub logprob: f32,
}

/// A question without its answer; a line of requests.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Index of the training query.
    pub query: usize,
    /// `[CANDIDATES]`
    pub candidates: Vec<Drawn>,
    /// The first [`VALIDATION_REFERENCES`] candidates are ρ's and the others π's.
    #[serde(default)]
    pub validation: bool,
    /// PPO updates that π had behind it.
    #[serde(default)]
    pub update: usize,
}

impl Comparison {
    /// All candidates' tokens.
    pub fn responses(&self) -> Vec<Vec<u32>> {
        self.candidates.iter().map(|c| c.response.clone()).collect()
    }
}

/// `k` samples per query from a language model, in passes of [`ROWS`] rows.
pub fn sample_all(
    model: &Gpt2,
    spec: &Spec,
    queries: &[Query],
    k: usize,
    purpose: &str,
) -> Result<Vec<Vec<u32>>, StageError> {
    Ok(sample_passes(model, spec, queries, k, purpose)?.0)
}

/// The same, one sample per query, where they are many: each pass is kept as it comes.
pub fn sample_each(
    saved: &mut Saved<'_>,
    model: &Gpt2,
    spec: &Spec,
    queries: &[Query],
    purpose: &str,
) -> Result<Vec<Vec<u32>>, StageError> {
    let chunks: Vec<&[Query]> = queries.chunks(ROWS).collect();
    let all = saved.all(chunks.len(), |i| Ok(sample_pass(model, spec, chunks[i], 1, (purpose, i))?.0))?;
    Ok(all.concat())
}

/// Tokens and their log-probabilities, `[rows][response]` both.
type Samples = (Vec<Vec<u32>>, Vec<Vec<f32>>);

fn sample_passes(model: &Gpt2, spec: &Spec, queries: &[Query], k: usize, purpose: &str) -> Result<Samples, StageError> {
    let (mut responses, mut logprobs) = (Vec::with_capacity(queries.len() * k), Vec::new());
    for (i, chunk) in queries.chunks((ROWS / k).max(1)).enumerate() {
        let (r, l) = sample_pass(model, spec, chunk, k, (purpose, i))?;
        responses.extend(r);
        logprobs.extend(l);
    }
    Ok((responses, logprobs))
}

/// One pass, whose random numbers are those of its purpose and number.
fn sample_pass(
    model: &Gpt2,
    spec: &Spec,
    queries: &[Query],
    k: usize,
    (purpose, i): (&str, usize),
) -> Result<Samples, StageError> {
    let u = random::uniforms(spec.seed, purpose, i as u64, spec.task.response_length, queries.len() * k);
    let args = Sampling {
        queries,
        k,
        response_length: spec.task.response_length,
        temperature: spec.task.temperature,
        uniforms: &u,
        value_head: None,
    };
    let Sampled { responses, logprobs, .. } = sample(model, &args)?;
    Ok((responses, logprobs))
}

/// `k` responses per query to compare, and how many of them still lack the truncation token: those are rejected and
/// sampled again (paper section 3.1), as long as that helps.
fn sample_complete(
    model: &Gpt2,
    spec: &Spec,
    task: &Task,
    queries: &[Query],
    k: usize,
    purpose: &str,
) -> Result<(Vec<Drawn>, usize), StageError> {
    let (mut responses, mut logprobs) = sample_passes(model, spec, queries, k, purpose)?;
    let missing = |responses: &[Vec<u32>]| -> Vec<usize> {
        (0..responses.len()).filter(|i| task.cut(&responses[*i]).is_none()).collect()
    };
    let mut rejected = missing(&responses);
    for again in 1..=TRIES {
        if rejected.is_empty() {
            break;
        }
        let asked: Vec<Query> = rejected.iter().map(|i| queries[i / k].clone()).collect();
        let (found, of_found) = sample_passes(model, spec, &asked, 1, &format!("{purpose}, again {again}"))?;
        for ((i, response), logprob) in rejected.iter().zip(found).zip(of_found) {
            (responses[*i], logprobs[*i]) = (response, logprob);
        }
        let left = missing(&responses);
        // A model that hardly ever writes the token will not do so now.
        let helps = left.len() * 20 <= rejected.len() * 19;
        rejected = left;
        if !helps {
            break;
        }
    }
    let drawn = |(response, logprobs): (Vec<u32>, Vec<f32>)| {
        let kept = task.cut(&response).unwrap_or(response.len());
        Drawn { logprob: logprobs[..kept].iter().sum(), response }
    };
    Ok((responses.into_iter().zip(logprobs).map(drawn).collect(), rejected.len()))
}

/// What is asked in a round.
pub struct Asked<'a> {
    /// The round that asks.
    pub round: Round,
    /// ρ in the first round; later π as the round before left it.
    pub model: &'a Gpt2,
    /// Updates that `model` has behind it.
    pub update: usize,
    /// The task's rule for texts.
    pub task: &'a Task,
    /// The task's training queries.
    pub queries: &'a [Query],
    /// Online: what was asked while π was trained; nothing is sampled then.
    pub collected: Option<Vec<Comparison>>,
}

/// A chunk of a round's comparisons, with what was made of them.
#[derive(Serialize, Deserialize)]
struct Answered<T> {
    comparisons: Vec<Comparison>,
    /// Responses without the truncation token.
    incomplete: usize,
    answers: T,
}

impl Asked<'_> {
    /// The round's comparisons in order, [`CHUNK`] at a time, each chunk with what `answer` makes of it; both are kept
    /// as they come. Says how many responses lack the truncation token.
    pub fn each<T: Serialize + DeserializeOwned>(
        &self,
        context: &Context,
        spec: &Spec,
        saved: &mut Saved<'_>,
        answer: impl Fn(&[Comparison]) -> Result<T, StageError>,
        mut take: impl FnMut(Vec<Comparison>, T) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let total = self.round.asked(spec.collect.held_out);
        let bar = context.bar("labels", 0, total);
        let first = self.round.first_query(spec.collect.held_out);
        let order = match self.collected {
            Some(_) => Vec::new(),
            None => random::shuffled(spec.seed, "label queries", self.queries.len(), first, total),
        };
        let count = self.collected.as_ref().map_or(order.len(), Vec::len);
        let mut without = 0;
        for i in 0..count.div_ceil(CHUNK) {
            let place = i * CHUNK..count.min((i + 1) * CHUNK);
            let chunk = saved.next(i, || {
                let (comparisons, incomplete) = match &self.collected {
                    Some(collected) => (collected[place.clone()].to_vec(), 0),
                    None => self.sampled(spec, &order[place.clone()], i)?,
                };
                Ok(Answered { answers: answer(&comparisons)?, comparisons, incomplete })
            })?;
            without += chunk.incomplete;
            take(chunk.comparisons, chunk.answers)?;
            bar.add(place.len(), "");
        }
        bar.finish();
        if without > 0 {
            tracing::info!(
                "{without} of {} responses to compare lack the truncation token, after sampling again",
                total * CANDIDATES
            );
        }
        Ok(())
    }

    /// Chunk `i`: comparisons about `queries`, and how many of their responses lack the truncation token.
    fn sampled(&self, spec: &Spec, queries: &[usize], i: usize) -> Result<(Vec<Comparison>, usize), StageError> {
        let texts: Vec<Query> = queries.iter().map(|q| self.queries[*q].clone()).collect();
        let purpose = match self.round.number {
            1 => format!("label samples {i}"),
            round => format!("label samples of round {round}, {i}"),
        };
        let (drawn, left) = sample_complete(self.model, spec, self.task, &texts, CANDIDATES, &purpose)?;
        let of = |(query, candidates): (&usize, &[Drawn])| Comparison {
            query: *query,
            candidates: candidates.to_vec(),
            validation: false,
            update: self.update,
        };
        Ok((queries.iter().zip(drawn.chunks(CANDIDATES)).map(of).collect(), left))
    }

    /// All of them.
    pub fn all(&self, context: &Context, spec: &Spec, saved: &mut Saved<'_>) -> Result<Vec<Comparison>, StageError> {
        let mut all = Vec::new();
        self.each(
            context,
            spec,
            saved,
            |_| Ok(()),
            |chunk, ()| {
                all.extend(chunk);
                Ok(())
            },
        )?;
        Ok(all)
    }
}

/// Online: the comparisons that PPO update `update` asks for when it begins, of π as it is then.
pub fn request(
    spec: &Spec,
    task: &Task,
    queries: &[Query],
    reference: &Gpt2,
    policy: &Gpt2,
    update: usize,
) -> Result<Vec<Comparison>, StageError> {
    let (from, to) = (wanted(spec, update), wanted(spec, update + 1));
    let order = random::shuffled(spec.seed, "label queries", queries.len(), spec.collect.held_out + from, to - from);
    let numbered: Vec<(usize, bool)> =
        order.into_iter().enumerate().map(|(i, q)| (q, is_validation(spec, from + i))).collect();
    let of =
        |validation: bool| numbered.iter().filter(move |(_, v)| *v == validation).map(|(q, _)| queries[*q].clone());
    let (training, validation): (Vec<Query>, Vec<Query>) = (of(false).collect(), of(true).collect());
    let sample = |model: &Gpt2, queries: &[Query], k: usize, who: &str| match queries.is_empty() {
        true => Ok((Vec::new(), 0)),
        false => sample_complete(model, spec, task, queries, k, &format!("online samples{who} {update}")),
    };
    let k = VALIDATION_REFERENCES;
    let (all_policy, _) = sample(policy, &training, CANDIDATES, "")?;
    let (of_reference, _) = sample(reference, &validation, k, " of ρ")?;
    let (of_policy, _) = sample(policy, &validation, CANDIDATES - k, " of π")?;
    let mut training = all_policy.chunks(CANDIDATES).map(<[Drawn]>::to_vec);
    let mut validation = of_reference
        .chunks(k)
        .zip(of_policy.chunks(CANDIDATES - k))
        .map(|(reference, policy)| [reference, policy].concat());
    let one = |(query, is_validation): (usize, bool)| {
        let next = if is_validation { validation.next() } else { training.next() };
        Comparison { query, candidates: next.unwrap_or_default(), validation: is_validation, update }
    };
    Ok(numbered.into_iter().map(one).collect())
}

/// Reads requests.jsonl.
pub fn read_requests(dir: &Path) -> Result<Vec<Comparison>, StageError> {
    Ok(crate::results::read_jsonl(&dir.join("requests.jsonl"))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labeler::rounds::rounds;
    use crate::spec::ModelSize;
    use std::sync::atomic::Ordering;

    #[test]
    fn questions_that_were_sampled_before_a_stop_are_not_sampled_again() {
        let dir = tempfile::tempdir().unwrap();
        let context = Context::for_tests(dir.path());
        let value = serde_json::json!({
            "spec_version": 1, "name": "t", "model": { "size": "test" },
            "task": { "query_length": 6, "response_length": 4, "truncate_after": 2, "temperature": 1.0 },
            "collect": { "labels": 2 * CHUNK, "held_out": CHUNK / 2 },
        });
        let spec: Spec = serde_json::from_value(value).unwrap();
        let queries: Vec<Query> = (0..64u32).map(|i| (0..6).map(|t| Some((i * 7 + t * 3) % 60)).collect()).collect();
        let task = Task {
            truncates: vec![true; 61],
            after: 2,
            missing_score: -1.0,
            prefix: Vec::new(),
            suffix: Vec::new(),
            formatted: true,
            query_length: 6,
        };
        let model = Gpt2::init(&ModelSize::Test.dimensions(), 61, 3, &context.device);
        let asked = Asked {
            round: rounds(&spec)[0],
            model: &model,
            update: 0,
            task: &task,
            queries: &queries,
            collected: None,
        };
        let whole = asked.all(&context, &spec, &mut context.unsaved()).unwrap();
        let stopped = {
            let mut saved = context.chunks(dir.path(), "questions").unwrap();
            asked.each(
                &context,
                &spec,
                &mut saved,
                |_| Ok(()),
                |_, ()| {
                    context.interrupted.store(true, Ordering::SeqCst);
                    Ok(())
                },
            )
        };
        assert!(matches!(stopped, Err(StageError::Stopped { update: 1, .. })), "{stopped:?}");
        context.interrupted.store(false, Ordering::SeqCst);
        let path = dir.path().join("checkpoints/questions.chunks");
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(kept.lines().count(), 1);
        let again = asked.all(&context, &spec, &mut context.chunks(dir.path(), "questions").unwrap()).unwrap();
        assert_eq!(again, whole);
        assert!(std::fs::read_to_string(&path).unwrap().starts_with(&kept));
    }
}
