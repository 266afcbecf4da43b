//! The frontier of figure 3 from samples of ρ and of policies that were trained away from it (rlhf/frontier.rs): every
//! writer's responses to the same held-out queries, the log-probability of every response under every writer, and the
//! judge's score of each. One model is in memory at a time. What a model says is an artifact of its own, named by its
//! weights, so that a killed run continues and another experiment with the same policies computes it once.

use crate::context::{Context, StageError};
use crate::labeler::sample_all;
use crate::model::gpt2::{Gpt2, Weights};
use crate::model::sampling::logprobs;
use crate::model::weights::named;
use crate::results::{Frontier, Judge, OptimumAt, PolicyBelow};
use crate::rlhf::frontier::{Curve, Distance, LEAST_EFFECTIVE, OptimumPoint, QuerySamples, curve};
use crate::spec::Spec;
use crate::store::atomic::{hash_file, write_atomic};
use crate::store::cache::Key;
use crate::task::scoring::Scorer;
use crate::task::{Query, Task};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
/// Queries between two looks for a request to stop.
const QUERIES: usize = 4;
/// Responses between two.
const ROWS_AT_ONCE: usize = 512;
/// β of the curve, in standard deviations of ρ's scores: from [`WEAKEST`] down, each 2^(-1/8) of the one before. Between
/// two of them the curve is known to a few thousandths of a standard deviation.
const WEAKEST: f64 = 16.0;
const BETAS: i32 = 78;
/// Models between ρ and each policy, by the share of the way from ρ's weights to the policy's. They write what neither
/// does, at KLs between theirs, and as models of their own they have probabilities like any other; how good they are
/// counts in the number of effective samples alone.
const BETWEEN: [f64; 2] = [0.5, 0.75];
/// With more policies than this, some stand at such KLs themselves.
const FEW: usize = 4;

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
    /// Its run; none of ρ and of models between ρ and a policy.
    name: Option<String>,
    dir: PathBuf,
    /// How far from ρ's weights to those of `dir`.
    share: f64,
    /// Of its weights.
    hash: String,
    /// Responses to each query.
    each: usize,
}

/// Summed log-probability of a response: up to where it is cut, and of all of it.
type Sums = (f32, f32);

/// The name of an experiment's curve. `policies`: those of its runs' policies, which depend on ρ, the task and r_s.
pub fn key(spec: &Spec, policies: &[&Key]) -> Result<Key, serde_json::Error> {
    let names: Vec<String> = policies.iter().map(ToString::to_string).collect();
    let evaluate = &spec.evaluate;
    Key::new("frontier", VERSION, &(evaluate.optimum_queries, evaluate.optimum_samples, spec.seed, names))
}

/// How many responses all writers give where there are so many policies, and how many writers there are.
pub fn sizes(spec: &Spec, policies: usize) -> (usize, usize) {
    let between = if policies <= FEW { BETWEEN.len() * policies } else { 0 };
    let (others, evaluate) = (policies + between, &spec.evaluate);
    let each = evaluate.optimum_samples + others * of_others(evaluate.optimum_samples);
    (evaluate.optimum_queries * each, 1 + others)
}

/// Responses of a writer that is not ρ to each query: there are many, and what one says costs as much as all have
/// written.
fn of_others(of_reference: usize) -> usize {
    (of_reference / 4).max(2)
}

/// The curve as the samples of all writers show it.
pub fn run(context: &Context, run: Option<&str>, inputs: &FrontierInputs<'_>) -> Result<Frontier, StageError> {
    let work = Working { context, run, inputs };
    let (writers, place) = work.writers()?;
    let (mut keys, mut responses) = (Vec::new(), Vec::new());
    for writer in &writers {
        let (key, found) = work.responses(writer)?;
        keys.push(key.to_string());
        responses.push(found);
    }
    let all: Vec<(&Query, &Vec<u32>)> =
        writers.iter().zip(&responses).flat_map(|(writer, of)| work.pairs(writer, of)).collect();
    let sums = writers.iter().map(|writer| work.logprobs(writer, &keys, &all)).collect::<Result<Vec<_>, _>>()?;
    let scores = work.scores(&keys, &all)?;
    Ok(work.estimate(&writers, &sums, &scores, &place))
}

struct Working<'a> {
    context: &'a Context,
    run: Option<&'a str>,
    inputs: &'a FrontierInputs<'a>,
}

impl Working<'_> {
    /// All different models, ρ first, and the place among them of each policy: equal weights write the same.
    fn writers(&self) -> Result<(Vec<Writer>, Vec<usize>), StageError> {
        let (mut found, mut place) = (Vec::<Writer>::new(), Vec::new());
        for (i, (name, dir)) in self.inputs.writers.iter().enumerate() {
            let weights = dir.join("model.safetensors");
            let hash = hash_file(&weights).map_err(StageError::io(weights))?;
            let known = found.iter().position(|writer| writer.hash == hash);
            place.extend((i > 0).then(|| known.unwrap_or(found.len())));
            if known.is_none() {
                let name = (i > 0).then(|| name.clone());
                let each = if i == 0 { self.of_reference() } else { of_others(self.of_reference()) };
                found.push(Writer { name, dir: dir.clone(), share: 1.0, hash, each });
            }
        }
        if let [reference, policies @ ..] = &found[..]
            && policies.len() <= FEW
        {
            let between = |writer: &Writer, share: f64| Writer {
                name: None,
                dir: writer.dir.clone(),
                share,
                hash: format!("{share} of the way from {} to {}", reference.hash, writer.hash),
                each: of_others(self.of_reference()),
            };
            let more = policies.iter().flat_map(|writer| BETWEEN.map(|share| between(writer, share)));
            let more: Vec<Writer> = more.collect();
            found.extend(more);
        }
        Ok((found, place))
    }

    fn model(&self, writer: &Writer) -> Result<Gpt2, StageError> {
        let load = |dir: &Path| self.context.gpt2(dir, self.inputs.spec.model.precision);
        let model = load(&writer.dir)?;
        match (self.inputs.writers, writer.share < 1.0) {
            ([(_, reference), ..], true) => Ok(between(load(reference)?, model, writer.share)),
            _ => Ok(model),
        }
    }

    /// Whose artifact it is, in logs and the manifest.
    fn of<'w>(&'w self, writer: &'w Writer) -> Option<&'w str> {
        writer.name.as_deref().or(self.run)
    }

    /// Responses of ρ to each query.
    fn of_reference(&self) -> usize {
        self.inputs.spec.evaluate.optimum_samples
    }

    /// An artifact of one file: read from the cache, or made in pieces.
    fn kept<T: Serialize + DeserializeOwned>(
        &self,
        run: Option<&str>,
        key: &Key,
        pieces: usize,
        mut make: impl FnMut(usize) -> Result<Vec<T>, StageError>,
    ) -> Result<Vec<T>, StageError> {
        const FILE: &str = "values.json";
        let made = self.context.artifact(run, key, |work| {
            let mut saved = self.context.chunks(&work.dir, key.stage)?;
            let all: Vec<T> = saved.all(pieces, &mut make)?.into_iter().flatten().collect();
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
        let device = spec.model.precision.on(&self.context.device_kind);
        let inputs = (&writer.hash, spec.task.without_place(), spec.seed, queries, writer.each, device);
        let key = Key::new("frontier_samples", VERSION, &inputs)?;
        let mut model = None;
        let found = self.kept(self.of(writer), &key, queries.len().div_ceil(QUERIES), |i| {
            let model = match &mut model {
                Some(model) => model,
                none => none.insert(self.model(writer)?),
            };
            let chunk = &queries[i * QUERIES..queries.len().min((i + 1) * QUERIES)];
            sample_all(model, spec, chunk, writer.each, &format!("frontier {} {i}", writer.hash))
        })?;
        Ok((key, found))
    }

    /// A writer's responses with their queries.
    fn pairs<'s>(
        &'s self,
        writer: &'s Writer,
        responses: &'s [Vec<u32>],
    ) -> impl Iterator<Item = (&'s Query, &'s Vec<u32>)> {
        responses.iter().enumerate().map(|(i, response)| (&self.inputs.queries[i / writer.each], response))
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
        let (mut model, at_once) = (None, ROWS_AT_ONCE);
        self.kept(self.of(writer), &key, all.len().div_ceil(at_once), |i| {
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
        let (key, at_once) = (Key::new("frontier_scores", VERSION, &inputs)?, ROWS_AT_ONCE);
        self.kept(self.run, &key, all.len().div_ceil(at_once), |i| {
            let chunk = &all[i * at_once..all.len().min((i + 1) * at_once)];
            let (queries, responses): (Vec<Query>, Vec<Vec<u32>>) =
                chunk.iter().map(|(q, r)| ((*q).clone(), (*r).clone())).unzip();
            Ok(scorer.plain(task, &queries, &responses)?)
        })
    }

    /// `sums`: `[writers][all responses]`, `scores`: of the same responses; `policies`: among the writers.
    fn estimate(&self, writers: &[Writer], sums: &[Vec<Sums>], scores: &[f32], policies: &[usize]) -> Frontier {
        let n = self.inputs.queries.len();
        let before = |w: usize| writers[..w].iter().map(|writer| writer.each * n).sum::<usize>();
        let place = |w: usize, query: usize| {
            let (each, first) = (writers[w].each, before(w));
            first + query * each..first + (query + 1) * each
        };
        let samples = |writers: usize| -> Vec<QuerySamples> {
            let of = |query: usize| {
                let mut found = QuerySamples::default();
                for (writer, i) in (0..writers).flat_map(|w| place(w, query).map(move |i| (w, i))) {
                    found.writer.push(writer);
                    found.rewards.push(f64::from(scores[i]));
                    found.logprobs.push(sums[..writers].iter().map(|of| f64::from(of[i].0)).collect());
                }
                found
            };
            (0..n).map(of).collect()
        };
        let end = |writer: usize, query: usize| {
            let each = writers[writer].each as f64;
            let kl = |i: usize| f64::from(sums[writer][i].1) - f64::from(sums[0][i].1);
            let total = place(writer, query).fold((0.0, 0.0), |(r, k), i| (r + f64::from(scores[i]), k + kl(i)));
            (total.0 / each, total.1 / each)
        };
        let of_reference: Vec<f64> = scores[..before(1)].iter().map(|s| f64::from(*s)).collect();
        let betas = betas(&of_reference);
        let ends: Vec<Vec<(f64, f64)>> =
            policies.iter().map(|w| (0..n).map(|query| end(*w, query)).collect()).collect();
        let alone = curve(&samples(1), &betas, &[], self.inputs.spec.seed);
        let between = sums.len() - policies.iter().copied().max().unwrap_or(0) - 1;
        let found = curve(&samples(sums.len()), &betas, &ends, self.inputs.spec.seed);
        self.frontier(&found, between, alone.points.last().map(|point| point.kl))
    }

    fn frontier(&self, found: &Curve, between: usize, reach_of_reference: Option<f64>) -> Frontier {
        let FrontierInputs { spec, judge, writers, .. } = *self.inputs;
        let names = writers.iter().skip(1).map(|(name, _)| name.as_str());
        Frontier {
            frontier: format!("frontier-seed-{}", spec.seed),
            seed: spec.seed,
            judge,
            queries: self.inputs.queries.len() as u64,
            samples_of_reference: self.of_reference() as u64,
            samples: of_others(self.of_reference()) as u64,
            between: between as u64,
            writers: writers.iter().map(|(name, _)| name.clone()).collect(),
            least_effective: LEAST_EFFECTIVE,
            points: found.points.iter().map(point).collect(),
            lost: found.lost.as_ref().map(point),
            reach_of_reference,
            policies: names.zip(&found.distances).map(below).collect(),
        }
    }
}

/// The model whose weights lie this share of the way from ρ's to a policy's, which was trained from them.
fn between(reference: Gpt2, policy: Gpt2, share: f64) -> Gpt2 {
    let from = named(reference, "");
    let mixed: Result<Gpt2, std::convert::Infallible> = policy.map_weights(&mut |name, weight| {
        let Some(start) = from.get(name) else { return Ok(weight) };
        let flat = start.clone().flatten() * (1.0 - share) + weight.clone().flatten() * share;
        Ok(weight.like(flat))
    });
    match mixed {
        Ok(model) => model,
        Err(never) => match never {},
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device::cpu;
    use crate::model::sampling::to_vec;
    use crate::spec::Dimensions;

    #[test]
    fn a_model_between_two_has_the_weighted_mean_of_each_weight() {
        let d = Dimensions { layers: 1, heads: 1, width: 4, context: 8 };
        let [a, b] = [1, 2].map(|seed| Gpt2::init(&d, 11, seed, &cpu().device));
        let numbers = |model: &Gpt2| {
            let all = named(model.clone(), "");
            all.into_values().flat_map(|w| to_vec(w.flatten()).expect("numbers")).collect::<Vec<f32>>()
        };
        let (from, to, found) = (numbers(&a), numbers(&b), numbers(&between(a, b, 0.25)));
        assert!(from.iter().zip(&to).zip(&found).all(|((a, b), m)| (0.75 * a + 0.25 * b - m).abs() < 1e-6));
        assert!(from != found && to != found);
    }

    #[test]
    fn the_curve_has_no_beta_where_scores_do_not_vary() {
        assert!(betas(&[1.0; 4]).is_empty() && betas(&[1.0]).is_empty());
        let found = betas(&[0.0, 2.0, 0.0, 2.0]);
        assert!(found.len() == BETAS as usize && found.windows(2).all(|w| w[1] < w[0]));
    }
}
