//! Evaluation on held-out queries: one response of ρ and one of π each, their scores under the judge (r_s where there
//! is one, else the learned r), KL, what the texts are like (measures.rs), samples to read, and the closed-form optimum
//! from many samples of ρ (figure 3).

use super::best_of::best_of;
use super::measures::Held;
use crate::context::{Context, Saved, StageError};
use crate::labeler::{sample_all, sample_each};
use crate::model::device::is_cpu;
use crate::model::gpt2::Gpt2;
use crate::model::parallel::map_shards;
use crate::model::sampling::{Sampling, logprobs, sample};
use crate::model::tokenizer::Tokenizer;
use crate::random;
use crate::results::file;
use crate::results::{
    Accuracy, ContextScores, Evaluation, FrontierPoint, Judge, Moments, Perplexity, Sample, SimulatedReport, Texts,
};
use crate::rlhf::optimum::optimum;
use crate::spec::keyed::TextsKey;
use crate::spec::{CollectSchedule, KlSchedule, Spec, TaskSpec};
use crate::store::atomic::write_atomic;
use crate::store::cache::Key;
use crate::task::scoring::{ROWS, Scorer};
use crate::task::{Example, Query, Task};
use std::path::{Path, PathBuf};

const VERSION: u32 = 4;
/// β of the frontier, from weak to strong optimisation, in units of the mock score's standard deviation under ρ.
const BETAS: [f64; 12] = [16.0, 8.0, 4.0, 2.0, 1.5, 1.0, 0.75, 0.5, 0.4, 0.3, 0.2, 0.1];

/// Queries of the frontier between two looks for a request to stop.
const QUERIES: usize = 32;

/// Everything evaluation needs.
pub struct EvaluateInputs<'a> {
    pub reference: &'a Gpt2,
    pub policy: &'a Gpt2,
    /// r_s.
    pub mock: Option<&'a Scorer>,
    /// What RL optimised: the learned r, or r_s normalised.
    pub scorer: Option<&'a Scorer>,
    pub task: &'a Task,
    pub tokenizer: &'a Tokenizer,
    pub held_out: &'a [Example],
    pub accuracy: Option<Accuracy>,
    /// Labels that the learned r was trained on.
    pub labels: Option<u64>,
    pub perplexity: Option<Perplexity>,
    /// What scores where no model does.
    pub outside: Option<Judge>,
    /// Where labelers are simulated.
    pub simulated: Option<SimulatedReport>,
}

impl<'a> EvaluateInputs<'a> {
    /// r_s where there is one, else the learned r.
    fn judge(&self) -> Result<(Judge, &'a Scorer), StageError> {
        match (self.mock, self.scorer) {
            (Some(mock), _) => Ok((Judge::Mock, mock)),
            (None, Some(scorer)) => Ok((self.outside.unwrap_or(Judge::Reward), scorer)),
            (None, None) => {
                Err(StageError::Input("there is neither a mock labeler nor a reward model to score with".into()))
            }
        }
    }
}

/// What an evaluation depends on.
/// `upstream`: π, or all that takes its place.
pub fn key(spec: &Spec, run: &str, upstream: &[String]) -> Result<Key, StageError> {
    let TaskSpec { preset, missing_score, .. } = spec.task;
    let inputs = (&spec.evaluate, TextsKey::of(&spec.task), preset, missing_score, run, upstream, spec.seed);
    Ok(Key::new("evaluate", VERSION, &inputs)?)
}

/// The evaluation's directory: evaluation.json and samples.jsonl.
pub fn run(
    context: &Context,
    run: &str,
    spec: &Spec,
    key: &Key,
    inputs: &EvaluateInputs<'_>,
) -> Result<PathBuf, StageError> {
    context.artifact(Some(run), key, |work| evaluate(context, run, spec, inputs, &work.dir))
}

/// Scores of ρ's and of π's responses.
type ScorePair = (Vec<f32>, Vec<f32>);

fn json(value: &impl serde::Serialize) -> Result<String, StageError> {
    serde_json::to_string(value).map_err(|e| StageError::Input(e.to_string()))
}

/// Held-out queries with a response of ρ and one of π to each.
struct Responses {
    examples: Vec<Example>,
    queries: Vec<Query>,
    reference: Vec<Vec<u32>>,
    policy: Vec<Vec<u32>>,
    /// Summed logprob - ref_logprob of π's.
    kls: Vec<f32>,
}

impl Responses {
    fn sample(context: &Context, spec: &Spec, inputs: &EvaluateInputs<'_>, dir: &Path) -> Result<Self, StageError> {
        let examples = pick(spec, inputs.held_out, spec.evaluate.queries);
        let queries: Vec<Query> = examples.iter().map(|e| e.query.clone()).collect();
        let purpose = "evaluation reference";
        let reference = sample_each(&mut context.chunks(dir, purpose)?, inputs.reference, spec, &queries, purpose)?;
        let (policy, kls) = policy_samples(&mut context.chunks(dir, "evaluation policy")?, spec, inputs, &queries)?;
        Ok(Self { examples, queries, reference, policy, kls })
    }

    fn scores(&self, scorer: &Scorer, task: &Task) -> Result<ScorePair, StageError> {
        let of = |responses: &[Vec<u32>]| scorer.plain(task, &self.queries, responses);
        Ok((of(&self.reference)?, of(&self.policy)?))
    }

    /// Share of π's responses that are nowhere to be cut.
    fn missing_truncation(&self, task: &Task) -> f64 {
        let missing = self.policy.iter().filter(|r| task.cut(r).is_none()).count();
        missing as f64 / self.queries.len() as f64
    }
}

/// Both models' scores under everything that scores.
struct Scores {
    /// Under the judge.
    judged: ScorePair,
    mock: Option<ScorePair>,
    /// Under what RL optimised.
    scored: Option<ScorePair>,
}

impl Scores {
    fn of(responses: &Responses, inputs: &EvaluateInputs<'_>, judging: &Scorer) -> Result<Self, StageError> {
        let of = |scorer: &Scorer| responses.scores(scorer, inputs.task);
        let (mock, scored) = (inputs.mock.map(of).transpose()?, inputs.scorer.map(of).transpose()?);
        Ok(Self { judged: of(judging)?, mock, scored })
    }

    fn contexts(&self, kls: &[f32]) -> Vec<ContextScores> {
        let (reference, policy) = &self.judged;
        (0..kls.len())
            .map(|i| ContextScores {
                reference: f64::from(reference[i]),
                policy: f64::from(policy[i]),
                kl: f64::from(kls[i]),
            })
            .collect()
    }
}

/// Both models' responses as readers see them: up to where the task cuts them.
struct Decoded {
    reference: Vec<String>,
    policy: Vec<String>,
}

impl Decoded {
    fn of(responses: &Responses, inputs: &EvaluateInputs<'_>) -> Result<Self, StageError> {
        let (task, tokenizer) = (inputs.task, inputs.tokenizer);
        let shown = |r: &Vec<u32>| Ok(tokenizer.decode(&r[..task.cut(r).unwrap_or(r.len())])?);
        let texts = |all: &[Vec<u32>]| all.iter().map(shown).collect::<Result<Vec<String>, StageError>>();
        Ok(Self { reference: texts(&responses.reference)?, policy: texts(&responses.policy)? })
    }

    /// What the texts are like beside their queries and those that people wrote.
    fn measure(
        &self,
        spec: &Spec,
        responses: &Responses,
        inputs: &EvaluateInputs<'_>,
    ) -> Result<Vec<Texts>, StageError> {
        let task = inputs.task;
        let sources = responses.queries.iter().map(|q| Ok(inputs.tokenizer.decode(&task.bare(q))?));
        let held = Held {
            task: &spec.task,
            sources: sources.collect::<Result<Vec<String>, StageError>>()?,
            summaries: responses.examples.iter().map(|e| e.summary.clone()).collect(),
        };
        let lengths = |all: &[Vec<u32>]| all.iter().map(|r| task.cut(r).unwrap_or(r.len())).collect::<Vec<usize>>();
        let reference = (&self.reference[..], lengths(&responses.reference));
        held.measure([reference, (&self.policy[..], lengths(&responses.policy))], inputs.tokenizer)
    }
}

fn evaluate(
    context: &Context,
    run: &str,
    spec: &Spec,
    inputs: &EvaluateInputs<'_>,
    dir: &Path,
) -> Result<(), StageError> {
    let (judge, judging) = inputs.judge()?;
    let responses = Responses::sample(context, spec, inputs, dir)?;
    let scores = Scores::of(&responses, inputs, judging)?;
    let texts = Decoded::of(&responses, inputs)?;
    let measured = texts.measure(spec, &responses, inputs)?;
    let learned =
        spec.reward.is_given() || !matches!(spec.collect.schedule, CollectSchedule::Direct | CollectSchedule::None);
    let adaptive = spec.has_rl() && !spec.has_dpo() && spec.policy.kl.schedule == KlSchedule::Adaptive;
    let reference = moments(&scores.judged.0);
    let evaluation = Evaluation {
        run: run.into(),
        schedule: spec.schedule_word().into(),
        labels: inputs.labels.filter(|_| learned),
        episodes: if spec.has_rl() && !spec.has_dpo() { spec.policy.episodes as u64 } else { 0 },
        kl_target: adaptive.then_some(spec.policy.kl.target),
        n: responses.queries.len(),
        judge,
        reference,
        policy: moments(&scores.judged.1),
        contexts: scores.contexts(&responses.kls),
        kl: moments(&responses.kls),
        score_policy_r: scores.scored.as_ref().filter(|_| learned).map(|(_, policy)| moments(policy).mean),
        reward_accuracy: inputs.accuracy,
        missing_truncation: responses.missing_truncation(inputs.task),
        frontier: frontier(&mut context.chunks(dir, "optimum")?, spec, inputs, judging, reference.std)?,
        best_of: best_of(&mut context.chunks(dir, "best of n")?, spec, inputs, &responses.examples, judging)?,
        algorithm: (spec.has_rl() && !spec.policy.algorithm.is_ppo()).then(|| spec.policy.algorithm.word().into()),
        perplexity: inputs.perplexity,
        texts: measured,
        simulated: inputs.simulated.clone(),
    };
    let samples = samples(spec.evaluate.samples, inputs, &responses, &scores, &texts)?;
    let write =
        |name: &str, text: &str| write_atomic(&dir.join(name), text.as_bytes()).map_err(StageError::io(dir.join(name)));
    write(file::SAMPLES, &samples)?;
    write(file::EVALUATION, &format!("{}\n", json(&evaluation)?))
}

/// Lines of samples.jsonl: the first queries with both models' texts, to be read.
fn samples(
    count: usize,
    inputs: &EvaluateInputs<'_>,
    responses: &Responses,
    scores: &Scores,
    texts: &Decoded,
) -> Result<String, StageError> {
    let at =
        |pair: &Option<ScorePair>, i: usize| pair.as_ref().map(|(r, p)| (f64::from(r[i]), f64::from(p[i]))).unzip();
    let mut lines = String::new();
    for (i, query) in responses.queries.iter().take(count).enumerate() {
        let (reference_mock_score, mock_score) = at(&scores.mock, i);
        let (reference_score, score) = at(&scores.scored, i);
        let sample = Sample {
            query: inputs.tokenizer.decode(&query.iter().flatten().copied().collect::<Vec<u32>>())?,
            reference_response: texts.reference[i].clone(),
            response: texts.policy[i].clone(),
            reference_score,
            score,
            kl: Some(f64::from(responses.kls[i])),
            mock_score,
            reference_mock_score,
        };
        lines.push_str(&json(&sample)?);
        lines.push('\n');
    }
    Ok(lines)
}

/// `count` held-out examples, the same for every run of a seed.
pub(super) fn pick(spec: &Spec, held_out: &[Example], count: usize) -> Vec<Example> {
    random::shuffled(spec.seed, "evaluation queries", held_out.len(), 0, count)
        .into_iter()
        .map(|i| held_out[i].clone())
        .collect()
}

/// One response of π per query and its summed logprob - ref_logprob.
fn policy_samples(
    saved: &mut Saved<'_>,
    spec: &Spec,
    inputs: &EvaluateInputs<'_>,
    queries: &[Query],
) -> Result<(Vec<Vec<u32>>, Vec<f32>), StageError> {
    let chunks: Vec<&[Query]> = queries.chunks(ROWS).collect();
    let all: Vec<(Vec<Vec<u32>>, Vec<f32>)> = saved.all(chunks.len(), |i| {
        let (chunk, length) = (chunks[i], spec.task.response_length);
        let args = Sampling {
            queries: chunk,
            k: 1,
            response_length: length,
            temperature: spec.task.temperature,
            uniforms: &random::uniforms(spec.seed, "evaluation policy", i as u64, length, chunk.len()),
            value_head: None,
        };
        let sampled = sample(inputs.policy, &args)?;
        let reference = logprobs(inputs.reference, chunk, &sampled.responses, spec.task.temperature)?;
        let kl = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(|(x, y)| x - y).sum();
        Ok((sampled.responses, sampled.logprobs.iter().zip(&reference).map(kl).collect()))
    })?;
    let (responses, kls): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    Ok((responses.concat(), kls.concat()))
}

fn frontier(
    saved: &mut Saved<'_>,
    spec: &Spec,
    inputs: &EvaluateInputs<'_>,
    judging: &Scorer,
    std: f64,
) -> Result<Vec<FrontierPoint>, StageError> {
    let reference = inputs.reference;
    let queries: Vec<Query> =
        pick(spec, inputs.held_out, spec.evaluate.optimum_queries).into_iter().map(|e| e.query).collect();
    let k = spec.evaluate.optimum_samples;
    let numbered: Vec<(usize, &Query)> = queries.iter().enumerate().collect();
    let at_once = if is_cpu(&reference.device()) { 1 } else { queries.len() };
    let one = |(i, query): &(usize, &Query)| {
        let responses = sample_all(reference, spec, std::slice::from_ref(*query), k, &format!("optimum {i}"))?;
        Ok::<_, StageError>(judging.plain(inputs.task, &vec![(*query).clone(); k], &responses)?)
    };
    let chunks: Vec<_> = numbered.chunks(QUERIES).collect();
    let rewards: Vec<Vec<Vec<f32>>> = saved.all(chunks.len(), |i| {
        let found =
            map_shards(chunks[i], at_once, |shard| shard.iter().map(one).collect::<Result<Vec<_>, StageError>>())?;
        Ok(found.concat())
    })?;
    let rewards = rewards.concat();
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
