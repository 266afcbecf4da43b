//! The frontier of figure 3 from samples of ρ and of policies that were trained away from it (rlhf/frontier.rs): every
//! writer's responses to the same held-out queries, the log-probability of every response under every writer, and the
//! judge's score of each. One model is in memory at a time. What a model says is an artifact of its own, named by its
//! weights, so that a killed run continues and another experiment with the same policies computes it once.

use crate::context::{Context, StageError};
use crate::labeler::sample_all;
use crate::model::gpt2::Gpt2;
use crate::model::sampling::logprobs;
use crate::model::weights::load_gpt2;
use crate::results::{Frontier, Judge, OptimumAt, PolicyBelow};
use crate::rlhf::frontier::{Curve, Distance, LEAST_EFFECTIVE, OptimumPoint, QuerySamples, curve};
use crate::spec::Spec;
use crate::store::atomic::{hash_file, write_atomic};
use crate::store::cache::Key;
use crate::task::scoring::Scorer;
use crate::task::{Query, Task};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;

const VERSION: u32 = 1;
/// Queries between two looks for a request to stop.
const QUERIES: usize = 4;
/// β of the curve, in standard deviations of ρ's scores: from [`WEAKEST`] down, each 2^(-1/8) of the one before. Between
/// two of them the curve is known to a few thousandths of a standard deviation.
const WEAKEST: f64 = 16.0;
const BETAS: i32 = 78;

/// What the curve is made of.
pub struct FrontierInputs<'a> {
    pub spec: &'a Spec,
    pub task: &'a Task,
    /// Held-out queries.
    pub queries: &'a [Query],
    /// Names and directories of ρ and of the policies.
    pub writers: &'a [(String, PathBuf)],
    pub judge: Judge,
    pub scorer: &'a Scorer,
    /// By which the scorer is known.
    pub scorer_key: String,
}

/// A model among the writers.
struct Writer {
    dir: PathBuf,
    /// Of its weights.
    hash: String,
}

/// Summed log-probability of a response: up to where it is cut, and of all of it.
type Sums = (f32, f32);

/// The curve as the samples of all writers show it.
pub fn run(context: &Context, run: Option<&str>, inputs: &FrontierInputs<'_>) -> Result<Frontier, StageError> {
    let work = Working { context, run, inputs };
    let writers = inputs.writers.iter().map(|(_, dir)| work.writer(dir.clone())).collect::<Result<Vec<_>, _>>()?;
    let (mut keys, mut responses) = (Vec::new(), Vec::new());
    for writer in &writers {
        let (key, found) = work.responses(writer)?;
        keys.push(key.to_string());
        responses.push(found);
    }
    let all: Vec<(&Query, &Vec<u32>)> = responses.iter().flat_map(|of| work.pairs(of)).collect();
    let sums = writers.iter().map(|writer| work.logprobs(writer, &keys, &all)).collect::<Result<Vec<_>, _>>()?;
    let scores = work.scores(&keys, &all)?;
    Ok(work.estimate(&sums, &scores))
}

struct Working<'a> {
    context: &'a Context,
    run: Option<&'a str>,
    inputs: &'a FrontierInputs<'a>,
}

impl Working<'_> {
    fn writer(&self, dir: PathBuf) -> Result<Writer, StageError> {
        let weights = dir.join("model.safetensors");
        let hash = hash_file(&weights).map_err(StageError::io(weights))?;
        Ok(Writer { dir, hash })
    }

    fn model(&self, writer: &Writer) -> Result<Gpt2, StageError> {
        Ok(load_gpt2(&writer.dir, &self.context.device)?)
    }

    /// Responses of each writer to each query.
    fn each(&self) -> usize {
        self.inputs.spec.evaluate.optimum_samples
    }

    /// An artifact of one file: read from the cache, or made in pieces.
    fn kept<T: Serialize + DeserializeOwned>(
        &self,
        key: &Key,
        pieces: usize,
        mut make: impl FnMut(usize) -> Result<Vec<T>, StageError>,
    ) -> Result<Vec<T>, StageError> {
        const FILE: &str = "values.json";
        let made = self.context.artifact(self.run, key, |work| {
            let mut saved = self.context.chunks(&work.dir, key.stage)?;
            let mut all = Vec::new();
            for i in 0..pieces {
                all.extend(saved.next(i, || make(i))?);
            }
            let path = work.dir.join(FILE);
            write_atomic(&path, serde_json::to_string(&all)?.as_bytes()).map_err(StageError::io(path))
        })?;
        let path = made.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(StageError::io(path))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// A writer's responses, `[queries x each]`. Its random numbers are its own: samples of two writers are independent.
    fn responses(&self, writer: &Writer) -> Result<(Key, Vec<Vec<u32>>), StageError> {
        let FrontierInputs { spec, queries, .. } = self.inputs;
        let inputs =
            (&writer.hash, spec.task.without_place(), spec.seed, queries, self.each(), &self.context.device_kind);
        let key = Key::new("frontier_samples", VERSION, &inputs)?;
        let mut model = None;
        let found = self.kept(&key, queries.len().div_ceil(QUERIES), |i| {
            let model = match &mut model {
                Some(model) => model,
                none => none.insert(self.model(writer)?),
            };
            let chunk = &queries[i * QUERIES..queries.len().min((i + 1) * QUERIES)];
            sample_all(model, spec, chunk, self.each(), &format!("frontier {} {i}", writer.hash))
        })?;
        Ok((key, found))
    }

    /// A writer's responses with their queries.
    fn pairs<'s>(&'s self, responses: &'s [Vec<u32>]) -> impl Iterator<Item = (&'s Query, &'s Vec<u32>)> {
        responses.iter().enumerate().map(|(i, response)| (&self.inputs.queries[i / self.each()], response))
    }

    /// Log-probabilities of everybody's responses under one writer. A response ends where its score does.
    fn logprobs(
        &self,
        writer: &Writer,
        samples: &[String],
        all: &[(&Query, &Vec<u32>)],
    ) -> Result<Vec<Sums>, StageError> {
        let task = &self.inputs.spec.task;
        let inputs = (&writer.hash, samples, &self.inputs.task.truncates, self.inputs.task.after);
        let key = Key::new("frontier_logprobs", VERSION, &inputs)?;
        let (mut model, at_once) = (None, QUERIES * self.each());
        self.kept(&key, all.len().div_ceil(at_once), |i| {
            let model = match &mut model {
                Some(model) => model,
                none => none.insert(self.model(writer)?),
            };
            let chunk = &all[i * at_once..all.len().min((i + 1) * at_once)];
            let (queries, responses): (Vec<Query>, Vec<Vec<u32>>) =
                chunk.iter().map(|(q, r)| ((*q).clone(), (*r).clone())).unzip();
            let found = logprobs(model, &queries, &responses, task.temperature)?;
            let sum = |row: &[f32]| row.iter().map(|v| f64::from(*v)).sum::<f64>() as f32;
            let one = |(row, response): (&Vec<f32>, &Vec<u32>)| {
                let cut = self.inputs.task.cut(response).unwrap_or(row.len());
                (sum(&row[..cut]), sum(row))
            };
            Ok(found.iter().zip(&responses).map(one).collect())
        })
    }

    /// The judge's scores of everybody's responses.
    fn scores(&self, samples: &[String], all: &[(&Query, &Vec<u32>)]) -> Result<Vec<f32>, StageError> {
        let FrontierInputs { task, scorer, scorer_key, .. } = self.inputs;
        let inputs = (scorer_key, samples, &task.truncates, task.after);
        let (key, at_once) = (Key::new("frontier_scores", VERSION, &inputs)?, QUERIES * self.each());
        self.kept(&key, all.len().div_ceil(at_once), |i| {
            let chunk = &all[i * at_once..all.len().min((i + 1) * at_once)];
            let (queries, responses): (Vec<Query>, Vec<Vec<u32>>) =
                chunk.iter().map(|(q, r)| ((*q).clone(), (*r).clone())).unzip();
            Ok(scorer.plain(task, &queries, &responses)?)
        })
    }

    /// `sums`: `[writers][writers x queries x each]`, `scores`: of the same responses.
    fn estimate(&self, sums: &[Vec<Sums>], scores: &[f32]) -> Frontier {
        let (each, n) = (self.each(), self.inputs.queries.len());
        let place = |writer: usize, query: usize, k: usize| (writer * n + query) * each + k;
        let samples = |writers: usize| -> Vec<QuerySamples> {
            let of = |query: usize| {
                let at = (0..writers).flat_map(|w| (0..each).map(move |k| (w, place(w, query, k))));
                let mut found = QuerySamples::default();
                for (writer, i) in at {
                    found.writer.push(writer);
                    found.rewards.push(f64::from(scores[i]));
                    found.logprobs.push(sums[..writers].iter().map(|of| f64::from(of[i].0)).collect());
                }
                found
            };
            (0..n).map(of).collect()
        };
        let end = |writer: usize, query: usize| {
            let at = (0..each).map(|k| place(writer, query, k));
            let kl = |i: usize| f64::from(sums[writer][i].1) - f64::from(sums[0][i].1);
            let total = at.fold((0.0, 0.0), |(r, k), i| (r + f64::from(scores[i]), k + kl(i)));
            (total.0 / each as f64, total.1 / each as f64)
        };
        let of_reference: Vec<f64> = scores[..n * each].iter().map(|s| f64::from(*s)).collect();
        let betas = betas(&of_reference);
        let ends: Vec<Vec<(f64, f64)>> = (1..sums.len()).map(|w| (0..n).map(|query| end(w, query)).collect()).collect();
        let alone = curve(&samples(1), &betas, &[], self.inputs.spec.seed);
        let found = curve(&samples(sums.len()), &betas, &ends, self.inputs.spec.seed);
        self.frontier(&found, alone.points.last().map(|point| point.kl))
    }

    fn frontier(&self, found: &Curve, reach_of_reference: Option<f64>) -> Frontier {
        let FrontierInputs { spec, judge, writers, .. } = *self.inputs;
        let names = writers.iter().skip(1).map(|(name, _)| name.as_str());
        Frontier {
            frontier: format!("frontier-seed-{}", spec.seed),
            seed: spec.seed,
            judge,
            queries: self.inputs.queries.len() as u64,
            samples: self.each() as u64,
            writers: writers.iter().map(|(name, _)| name.clone()).collect(),
            least_effective: LEAST_EFFECTIVE,
            points: found.points.iter().map(point).collect(),
            lost: found.lost.as_ref().map(point),
            reach_of_reference,
            policies: names.zip(&found.distances).map(below).collect(),
        }
    }
}

fn known(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn point(p: &OptimumPoint) -> OptimumAt {
    OptimumAt {
        beta: p.beta,
        kl: p.kl,
        kl_low: known(p.kl_interval.0),
        kl_high: known(p.kl_interval.1),
        reward: p.reward,
        reward_low: known(p.reward_interval.0),
        reward_high: known(p.reward_interval.1),
        effective_samples: p.effective,
    }
}

fn below((policy, d): (&str, &Distance)) -> PolicyBelow {
    let (low, high) = (known(d.interval.0), known(d.interval.1));
    PolicyBelow { policy: policy.into(), kl: d.kl, reward: d.reward, below: d.below.and_then(known), low, high }
}

/// By ρ's scores; none where these do not vary.
fn betas(scores: &[f64]) -> Vec<f64> {
    let n = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let std = (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    let all = (0..BETAS).map(|i| std * WEAKEST * (f64::from(-i) / 8.0).exp2());
    if std.is_finite() && std > 0.0 { all.collect() } else { Vec::new() }
}
