//! Evaluation on held-out queries: one response of ρ and one of π each, mock scores, KL, samples to read, and the
//! closed-form optimum from many samples of ρ (figure 3).

use super::StageError;
use super::collect::{sample_all, uniforms};
use super::context::Context;
use super::policy;
use super::scoring::{ROWS, Scorer};
use crate::data::queries::Query;
use crate::model::device::is_cpu;
use crate::model::gpt2::{Gpt2, ScalarModel};
use crate::model::parallel::map_shards;
use crate::model::sampling::{Sampling, logprobs, sample};
use crate::model::tokenizer::Tokenizer;
use crate::report::files::{Accuracy, Context as Row, Evaluation, FrontierPoint, Moments, Perplexity, Sample};
use crate::rlhf::optimum::optimum;
use crate::spec::{CollectSchedule, KlSchedule, Spec};
use crate::store::atomic::write_atomic;
use crate::store::cache::Key;
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
/// β of the frontier, from weak to strong optimisation, in units of the mock score's standard deviation under ρ.
const BETAS: [f64; 12] = [16.0, 8.0, 4.0, 2.0, 1.5, 1.0, 0.75, 0.5, 0.4, 0.3, 0.2, 0.1];

/// Everything evaluation needs.
pub struct Inputs<'a> {
    pub common: policy::Inputs<'a>,
    pub tokenizer: &'a Tokenizer,
    pub policy: &'a ScalarModel,
    pub held_out: &'a [Query],
    pub accuracy: Option<Accuracy>,
    pub perplexity: Option<Perplexity>,
}

/// What an evaluation depends on.
pub fn key(spec: &Spec, run: &str, policy: &Key) -> Result<Key, StageError> {
    Ok(Key::new("evaluate", VERSION, &(&spec.evaluate, run, policy.to_string(), spec.seed))?)
}

/// The evaluation's directory: evaluation.json and samples.jsonl.
pub fn run(context: &Context, run: &str, spec: &Spec, key: &Key, inputs: &Inputs<'_>) -> Result<PathBuf, StageError> {
    context.artifact(Some(run), key, |work| evaluate(run, spec, inputs, &work.dir))
}

fn json(value: &impl serde::Serialize) -> Result<String, StageError> {
    serde_json::to_string(value).map_err(|e| StageError::Input(e.to_string()))
}

fn evaluate(run: &str, spec: &Spec, inputs: &Inputs<'_>, dir: &Path) -> Result<(), StageError> {
    let c = &inputs.common;
    let queries = pick(spec, inputs.held_out, spec.evaluate.queries);
    let reference = sample_all(c.reference, spec, &queries, 1, "evaluation reference")?;
    let (responses, kls) = policy_samples(spec, inputs, &queries)?;
    let mock = |r: &[Vec<u32>]| c.mock.plain(c.rule, &queries, r);
    let (reference_mock, mock_scores) = (mock(&reference)?, mock(&responses)?);
    let (reference_scores, scores) =
        (c.scorer.plain(c.rule, &queries, &reference)?, c.scorer.plain(c.rule, &queries, &responses)?);
    let missing = responses.iter().filter(|r| c.rule.cut(r).is_none()).count();
    let direct = spec.collect.schedule == CollectSchedule::Direct;
    let reference_moments = moments(&reference_mock);
    let evaluation = Evaluation {
        run: run.into(),
        schedule: if direct { "direct" } else { "offline" }.into(),
        labels: (!direct).then_some(spec.collect.labels as u64),
        episodes: spec.policy.episodes as u64,
        kl_target: (spec.policy.kl.schedule == KlSchedule::Adaptive).then_some(spec.policy.kl.target),
        n: queries.len(),
        reference: reference_moments,
        policy: moments(&mock_scores),
        contexts: (0..queries.len())
            .map(|i| Row {
                reference: f64::from(reference_mock[i]),
                policy: f64::from(mock_scores[i]),
                kl: f64::from(kls[i]),
            })
            .collect(),
        kl: moments(&kls),
        score_policy_r: (!direct).then(|| moments(&scores).mean),
        reward_accuracy: inputs.accuracy,
        missing_truncation: missing as f64 / queries.len() as f64,
        frontier: frontier(spec, c.reference, c.mock, c, inputs.held_out, reference_moments.std)?,
        perplexity: inputs.perplexity,
    };
    let text = |query: &Query| inputs.tokenizer.decode(&query.iter().flatten().copied().collect::<Vec<u32>>());
    let shown = |r: &[u32]| inputs.tokenizer.decode(&r[..c.rule.cut(r).unwrap_or(r.len())]);
    let mut lines = String::new();
    for i in 0..spec.evaluate.samples.min(queries.len()) {
        let sample = Sample {
            query: text(&queries[i])?,
            reference_response: shown(&reference[i])?,
            response: shown(&responses[i])?,
            reference_score: Some(f64::from(reference_scores[i])),
            score: Some(f64::from(scores[i])),
            kl: Some(f64::from(kls[i])),
            mock_score: Some(f64::from(mock_scores[i])),
            reference_mock_score: Some(f64::from(reference_mock[i])),
        };
        lines.push_str(&json(&sample)?);
        lines.push('\n');
    }
    let write =
        |name: &str, text: &str| write_atomic(&dir.join(name), text.as_bytes()).map_err(StageError::io(dir.join(name)));
    write("samples.jsonl", &lines)?;
    write("evaluation.json", &format!("{}\n", json(&evaluation)?))
}

/// `count` held-out queries, the same for every run of a seed.
fn pick(spec: &Spec, held_out: &[Query], count: usize) -> Vec<Query> {
    Context::shuffled(spec.seed, "evaluation queries", held_out.len(), 0, count)
        .into_iter()
        .map(|i| held_out[i].clone())
        .collect()
}

/// One response of π per query and its summed logprob - ref_logprob.
fn policy_samples(
    spec: &Spec,
    inputs: &Inputs<'_>,
    queries: &[Query],
) -> Result<(Vec<Vec<u32>>, Vec<f32>), StageError> {
    let (mut responses, mut kls) = (Vec::new(), Vec::new());
    for (i, chunk) in queries.chunks(ROWS).enumerate() {
        let u = uniforms(spec.seed, "evaluation policy", i as u64, spec.task.response_length, chunk.len());
        let args = Sampling {
            queries: chunk,
            k: 1,
            response_length: spec.task.response_length,
            temperature: spec.task.temperature,
            uniforms: &u,
            value_head: None,
        };
        let sampled = sample(&inputs.policy.trunk, &args)?;
        let reference = logprobs(inputs.common.reference, chunk, &sampled.responses, spec.task.temperature)?;
        kls.extend(
            sampled.logprobs.iter().zip(&reference).map(|(a, b)| a.iter().zip(b).map(|(x, y)| x - y).sum::<f32>()),
        );
        responses.extend(sampled.responses);
    }
    Ok((responses, kls))
}

fn frontier(
    spec: &Spec,
    reference: &Gpt2,
    mock: &Scorer,
    c: &policy::Inputs<'_>,
    held_out: &[Query],
    std: f64,
) -> Result<Vec<FrontierPoint>, StageError> {
    let queries = pick(spec, held_out, spec.evaluate.optimum_queries);
    let k = spec.evaluate.optimum_samples;
    let numbered: Vec<(usize, &Query)> = queries.iter().enumerate().collect();
    let at_once = if is_cpu(&reference.device()) { 1 } else { queries.len() };
    let rewards = map_shards(&numbered, at_once, |shard| {
        let one = |(i, query): &(usize, &Query)| {
            let responses = sample_all(reference, spec, std::slice::from_ref(*query), k, &format!("optimum {i}"))?;
            mock.plain(c.rule, &vec![(*query).clone(); k], &responses)
        };
        shard.iter().map(one).collect::<Result<Vec<_>, StageError>>()
    })?
    .concat();
    let point = |beta: f64| {
        let p = optimum(&rewards, beta * std);
        FrontierPoint { beta: p.beta, kl: p.kl, kl_se: p.kl_se, reward: p.reward, reward_se: p.reward_se }
    };
    Ok(BETAS.into_iter().map(point).collect())
}

/// Mean and sample standard deviation.
fn moments(values: &[f32]) -> Moments {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    Moments { mean, std: variance.sqrt() }
}
