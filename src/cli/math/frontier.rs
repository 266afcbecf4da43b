//! `runner math optimal_frontier`: the curve of figure 3 from samples of several writers.

use super::input::{Input, MathError, at, each, number, output, rows, whole};
use crate::rlhf::frontier::{QueryOptimum, QuerySamples, query_optimum};
use serde_json::{Map, Value};

pub fn optimal_frontier(input: &Input) -> Result<Map<String, Value>, MathError> {
    let betas = input.numbers("betas")?;
    if let Some(i) = betas.iter().position(|b| *b <= 0.0) {
        return at(format!("betas[{i}]"), format!("must be above 0, got {}", betas[i]));
    }
    let rewards = input.table("rewards", number)?;
    let logprobs = each(input.list("logprobs")?, "logprobs", |query, path| rows(query, path, number))?;
    let writer = each(input.list("writers")?, "writers", whole)?;
    if logprobs.len() != rewards.len() {
        return at("logprobs", format!("has {} queries, but rewards has {}", logprobs.len(), rewards.len()));
    }
    let writers = logprobs[0][0].len();
    let samples = rewards[0].len();
    for (i, query) in logprobs.iter().enumerate() {
        let (found, width) = (query.len(), query[0].len());
        if (found, width) != (samples, writers) {
            let message = format!("has shape [{found}][{width}]; expected [{samples}][{writers}], samples and writers");
            return at(format!("logprobs[{i}]"), message);
        }
    }
    if writer.len() != samples {
        return at("writers", format!("has {} elements, but rewards has {samples} samples", writer.len()));
    }
    if let Some(i) = writer.iter().position(|k| *k >= writers as u64) {
        return at(format!("writers[{i}]"), format!("{} is no writer: there are {writers}, from 0", writer[i]));
    }
    let writer: Vec<usize> = writer.into_iter().map(|k| k as usize).collect();
    let found = rewards
        .into_iter()
        .zip(logprobs)
        .map(|(rewards, logprobs)| query_optimum(&QuerySamples { writer: writer.clone(), rewards, logprobs }, &betas));
    let found: Vec<Vec<QueryOptimum>> = found.collect();
    let mean = |of: fn(&QueryOptimum) -> f64, j: usize| {
        found.iter().map(|query| of(&query[j])).sum::<f64>() / found.len() as f64
    };
    let column = |of: fn(&QueryOptimum) -> f64| (0..betas.len()).map(|j| mean(of, j)).collect::<Vec<f64>>();
    let effective = column(|q| q.concentration).into_iter().map(|c| 1.0 / c).collect::<Vec<f64>>();
    output([
        ("kl", column(|q| q.kl).into()),
        ("reward", column(|q| q.reward).into()),
        ("effective_samples", effective.into()),
    ])
}
