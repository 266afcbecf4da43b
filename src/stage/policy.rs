//! PPO on R(x, y) = r(x, y) - β log(π(y|x)/ρ(y|x)) (paper section 2.2; released code: train_policy.py), with
//! checkpoints from which the same command continues to the same bytes on the CPU.

use super::guards;
use crate::context::{CHECKPOINTS, Context, Kept, StageError};
use crate::labeler::rounds::{Round, updates};
use crate::labeler::{Comparison, request};
use crate::model::checkpoint::{self, State};
use crate::model::gpt2::{Gpt2, ScalarHead, ScalarModel};
use crate::model::optimizer::Adam;
use crate::model::parallel::{gradients, training_rows};
use crate::model::sampling::{Sampled, Sampling, by_length, joined, logprobs, sample, to_vec, trimmed};
use crate::model::weights::save_scalar;
use crate::random;
use crate::results::tensorboard::Events;
use crate::results::{number, read_jsonl, read_metrics};
use crate::rlhf::advantages::{gae, moments, token_rewards, whiten};
use crate::rlhf::entropy;
use crate::rlhf::kl::next_coefficient;
use crate::rlhf::ppo::{Clip, Loss, Targets, flat, loss};
use crate::spec::{CollectSchedule, CollectSpec, KlSchedule, Spec};
use crate::store::cache::{Key, publish};
use crate::task::scoring::Scorer;
use crate::task::{Query, Task};
use burn::tensor::Tensor;
use serde_json::{Map, Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tracing::trace_span;

const VERSION: u32 = 3;
/// Of training in rounds.
const ROUNDS: u32 = 2;

/// Everything PPO needs.
pub struct Inputs<'a> {
    pub reference: &'a Gpt2,
    pub scorer: &'a Scorer,
    /// r_s, logged beside the score, where there is one; in direct mode the scorer itself.
    pub mock: Option<&'a Scorer>,
    pub task: &'a Task,
    pub queries: &'a [Query],
    pub end_of_text: u32,
}

/// The updates of one round, between two trainings of r; without rounds, all of them.
#[derive(Default)]
pub struct Segment<'a> {
    pub from: usize,
    pub to: usize,
    /// Where the segment before left π, Adam, β and metrics.
    pub previous: Option<&'a Path>,
    /// What is known about labels, logged with every update.
    pub labels: Line,
    /// Online: samples of π are asked about while it is trained, and go to requests.jsonl.
    pub asks: bool,
    /// Online with people: gets all requests of the segment so far before each update, and says whether training waits.
    pub people: Option<&'a Waits<'a>>,
}

/// Writes requests for people; an error where too many are unanswered.
pub type Waits<'a> = dyn Fn(&[Comparison]) -> Result<(), StageError> + 'a;

impl Segment<'_> {
    /// All updates of a spec at once.
    pub fn whole(spec: &Spec) -> Self {
        Self { to: updates(spec), ..Self::default() }
    }
}

/// What π depends on; `upstream`: ρ, r_s and the scorer.
pub fn key(spec: &Spec, upstream: &[String]) -> Result<Key, StageError> {
    Ok(Key::new("policy", VERSION, &(&spec.policy, &spec.task.without_place(), &spec.guards, spec.seed, upstream))?)
}

/// The same in rounds. `previous`: π of the round before.
pub fn round_key(spec: &Spec, round: &Round, upstream: &[String], previous: Option<&Key>) -> Result<Key, StageError> {
    // What is asked while π is trained is part of what this stage makes.
    let online = (spec.collect.schedule == CollectSchedule::Online)
        .then(|| (CollectSpec { outstanding: None, ..spec.collect.clone() }, spec.labeler.kind));
    let (previous, segment) = (previous.map(Key::to_string), (round.from, round.to));
    let task = spec.task.without_place();
    let inputs = ("rounds", ROUNDS, segment, online, &spec.policy, &task, &spec.guards, spec.seed, upstream, previous);
    Ok(Key::new("policy", VERSION, &inputs)?)
}

/// π's directory after a segment: metrics.jsonl of all updates so far; after the last one the policy with its value head,
/// after others a checkpoint to go on from ([`resume`]); with online collection requests.jsonl of the segment.
pub fn run(
    context: &Context,
    run: &str,
    spec: &Spec,
    key: &Key,
    inputs: &Inputs<'_>,
    segment: &Segment<'_>,
) -> Result<PathBuf, StageError> {
    context.artifact(Some(run), key, |work| train(context, run, spec, inputs, segment, &work.dir))
}

/// π with its value head as a segment left it, its Adam, and the loop's numbers.
pub fn resume(
    context: &Context,
    spec: &Spec,
    reference: &Gpt2,
    dir: &Path,
) -> Result<(State, ScalarModel, Adam), StageError> {
    let blank = untrained(reference, context);
    let found = checkpoint::load(dir, &blank, spec.policy.adam, &context.device)?;
    found.ok_or_else(|| StageError::Input(format!("{}: there is no policy to go on from", dir.display())))
}

/// π before the first update: ρ, and a value head of zeros.
fn untrained(reference: &Gpt2, context: &Context) -> ScalarModel {
    let head = ScalarHead::init(reference.dimensions().width, 0.0, 0, &context.device);
    ScalarModel { trunk: reference.clone(), head }
}

/// One batch of episodes, `[rows]` or `[rows][response]`.
#[derive(Debug, Clone, Default)]
pub struct Rollout {
    pub queries: Vec<Query>,
    pub responses: Vec<Vec<u32>>,
    pub logprobs: Vec<Vec<f32>>,
    pub ref_logprobs: Vec<Vec<f32>>,
    pub values: Vec<Vec<f32>>,
    pub scores: Vec<f32>,
    pub mock_scores: Option<Vec<f32>>,
    pub entropy: f32,
}

impl Rollout {
    /// Mean over the batch of the summed logprob - ref_logprob, in nats per response.
    pub fn kl(&self) -> f64 {
        let sum: f64 =
            self.logprobs.iter().flatten().zip(self.ref_logprobs.iter().flatten()).map(|(a, b)| f64::from(a - b)).sum();
        sum / self.scores.len() as f64
    }

    /// Mean over the batch of the summed -logprob, in nats per response.
    pub fn surprise(&self) -> f64 {
        let sum: f64 = self.logprobs.iter().flatten().map(|lp| -f64::from(*lp)).sum();
        sum / self.logprobs.len() as f64
    }
}

fn train(
    context: &Context,
    run: &str,
    spec: &Spec,
    inputs: &Inputs<'_>,
    segment: &Segment<'_>,
    dir: &Path,
) -> Result<(), StageError> {
    let p = &spec.policy;
    let updates = updates(spec);
    let mut model = untrained(inputs.reference, context);
    let mut adam = Adam::new(p.adam);
    let mut kl_coef = p.kl.init;
    let mut entropy_coef = p.entropy.map_or(0.0, |e| e.init);
    let mut first = segment.from;
    let metrics_path = dir.join("metrics.jsonl");
    let checkpoints = dir.join(CHECKPOINTS);
    let mut requests = Requests::new(segment.asks, dir);
    if let Some((state, loaded, optimizer)) = checkpoint::load(&checkpoints, &model, p.adam, &context.device)? {
        tracing::info!("{run}: continuing after update {}", state.updates);
        (first, kl_coef, entropy_coef) = (state.updates, state.kl_coef, state.entropy_coef);
        (model, adam) = (loaded, optimizer);
        cut(&metrics_path, state.metrics_bytes).map_err(StageError::io(&metrics_path))?;
        requests.cut(state.requests_bytes)?;
    } else {
        match segment.previous {
            Some(previous) => {
                let (state, loaded, optimizer) = resume(context, spec, inputs.reference, previous)?;
                (kl_coef, entropy_coef) = (state.kl_coef, state.entropy_coef);
                (model, adam) = (loaded, optimizer);
                publish(&previous.join("metrics.jsonl"), &metrics_path).map_err(StageError::io(&metrics_path))?;
            }
            None if metrics_path.exists() => cut(&metrics_path, 0).map_err(StageError::io(&metrics_path))?,
            None => {}
        }
        requests.cut(0)?;
    }
    let mut metrics =
        fs::File::options().create(true).append(true).open(&metrics_path).map_err(StageError::io(&metrics_path))?;
    // The same lines in the results directory, for whoever watches.
    let live_path = context.out.join("runs").join(run).join("metrics.jsonl");
    publish(&metrics_path, &live_path).map_err(StageError::io(&live_path))?;
    let mut live = fs::File::options().append(true).open(&live_path).map_err(StageError::io(&live_path))?;
    let mut events = Events::open(&live_path, &context.out.join("tensorboard").join(run))?;
    let state = |updates, (kl_coef, entropy_coef): (f64, f64), requests_bytes| -> Result<State, StageError> {
        let metrics_bytes = fs::metadata(&metrics_path).map_err(StageError::io(&metrics_path))?.len();
        Ok(State { updates, kl_coef, entropy_coef, metrics_bytes, requests_bytes })
    };
    // What a checkpoint counts on, besides itself.
    let logs = ["../metrics.jsonl", "../requests.jsonl"];
    let logs = if segment.asks { &logs[..] } else { &logs[..1] };
    let save = |model: &ScalarModel, adam: &Adam, updates, coefs, requests: &Requests| -> Result<(), StageError> {
        Ok(checkpoint::save(&checkpoints, &state(updates, coefs, requests.bytes)?, model, adam, logs)?)
    };
    // Time goes on from round to round.
    let before = if segment.from > 0 { last_time(&metrics_path)? } else { 0.0 };
    guards::known_rewards(&rewards)?;
    let episodes = |updates: usize| (updates - segment.from) * p.batch_size;
    let bar = context.bar(&format!("policy {run}"), episodes(first), episodes(segment.to));
    let started = Instant::now();
    for update in first..segment.to {
        if let Some(by) = context.stop_requested() {
            save(&model, &adam, update, (kl_coef, entropy_coef), &requests)?;
            return Err(StageError::Stopped { by, update, kept: Kept::Everything });
        }
        if let Some(people) = segment.people
            && let Err(waiting) = people(&requests.all)
        {
            save(&model, &adam, update, (kl_coef, entropy_coef), &requests)?;
            return Err(waiting);
        }
        if segment.asks {
            requests.add(request(spec, inputs.task, inputs.queries, inputs.reference, &model.trunk, update)?)?;
        }
        let rollout = roll_out(spec, inputs, &model, update)?;
        let kl = rollout.kl();
        let mut rewards = rewards(&rollout.scores, &rollout.logprobs, &rollout.ref_logprobs, kl_coef);
        let (scores, lp, rf) = (&rollout.scores, &rollout.logprobs, &rollout.ref_logprobs);
        guards::total_rewards(&rewards, scores, lp, rf, kl_coef)?;
        if p.entropy.is_some() {
            entropy::add_bonus(&mut rewards, &rollout.logprobs, entropy_coef);
        }
        let lr = p.lr * (1.0 - update as f64 / updates as f64);
        let mut line = describe(&rollout, &rewards, kl, kl_coef, inputs.task);
        line.extend(p.entropy.map(|_| ("objective/entropy_coef", entropy_coef)));
        let n = p.batch_size;
        let order = |epoch| random::shuffled(spec.seed, &format!("minibatches {update}/{epoch}"), n, 0, n);
        let (next, statistics) = optimise(spec, &order, lr, model, &mut adam, &rollout, &rewards)?;
        model = next;
        let mut guarded = guard(spec, kl, &statistics);
        line.extend(statistics);
        let episodes = (update + 1) * p.batch_size;
        let time = started.elapsed().as_secs_f64();
        line.extend_from_slice(&segment.labels);
        line.extend([
            ("ppo/lr", lr),
            ("elapsed/updates", (update + 1) as f64),
            ("elapsed/episodes", episodes as f64),
            ("elapsed/fps", ((update + 1 - first) * p.batch_size) as f64 / time),
            ("elapsed/time", before + time),
        ]);
        let step = json_line(&line);
        let line = format!("{}\n", Value::Object(step.clone()));
        metrics.write_all(line.as_bytes()).map_err(StageError::io(&metrics_path))?;
        live.write_all(line.as_bytes()).map_err(StageError::io(&live_path))?;
        events.add(&step)?;
        let score = mean(rollout.mock_scores.as_ref().unwrap_or(&rollout.scores));
        bar.add(p.batch_size, &format!("score {score:.2} KL {kl:.1}"));
        tracing::debug!("{run} update {}: score {score:.3} kl {kl:.3} β {kl_coef:.4}", update + 1);
        entropy_coef = p.entropy.map_or(0.0, |e| entropy::next_coefficient(&e, entropy_coef, rollout.surprise()));
        kl_coef = next_coefficient(&p.kl, kl_coef, kl, p.batch_size, episodes as f64 / p.episodes as f64);
        if let Some(error) = guarded.take() {
            return Err(error);
        }
        if (update + 1) % p.checkpoint_every == 0 && update + 1 < segment.to {
            save(&model, &adam, update + 1, (kl_coef, entropy_coef), &requests)?;
        }
    }
    bar.finish();
    if segment.to < updates {
        // Beside the metrics, not in the checkpoints' directory: the next round goes on from it.
        let state = state(segment.to, (kl_coef, entropy_coef), 0)?;
        return Ok(checkpoint::save(dir, &state, &model, &adam, &["metrics.jsonl"])?);
    }
    Ok(save_scalar(dir, &model, inputs.end_of_text)?)
}

/// [`token_rewards`], with its signs flipped in tests that want it.
fn rewards(scores: &[f32], logprobs: &[Vec<f32>], ref_logprobs: &[Vec<f32>], kl_coef: f64) -> Vec<Vec<f32>> {
    #[cfg(test)]
    let kl_coef = if guards::flip::is(guards::flip::Flip::Penalty) { -kl_coef } else { kl_coef };
    #[cfg(test)]
    let flipped: Vec<f32> = scores.iter().map(|s| -s).collect();
    #[cfg(test)]
    let scores = if guards::flip::is(guards::flip::Flip::Score) { &flipped } else { scores };
    token_rewards(scores, logprobs, ref_logprobs, kl_coef)
}

/// requests.jsonl while it is written.
struct Requests {
    /// None where nothing is asked.
    path: Option<PathBuf>,
    all: Vec<Comparison>,
    bytes: u64,
}

impl Requests {
    fn new(asks: bool, dir: &Path) -> Self {
        Self { path: asks.then(|| dir.join("requests.jsonl")), all: Vec::new(), bytes: 0 }
    }

    /// Back to the first `bytes` of the file.
    fn cut(&mut self, bytes: u64) -> Result<(), StageError> {
        let Some(path) = &self.path else { return Ok(()) };
        cut(path, bytes).map_err(StageError::io(path))?;
        self.all = read_jsonl(path)?;
        self.bytes = bytes;
        Ok(())
    }

    fn add(&mut self, new: Vec<Comparison>) -> Result<(), StageError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut lines = String::new();
        for comparison in &new {
            lines.push_str(&serde_json::to_string(comparison)?);
            lines.push('\n');
        }
        let file = fs::File::options().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(StageError::io(path))?;
        self.bytes += lines.len() as u64;
        self.all.extend(new);
        Ok(())
    }
}

/// elapsed/time of the last line, or 0.
fn last_time(metrics: &Path) -> Result<f64, StageError> {
    Ok(read_metrics(metrics)?.last().and_then(|line| number(line, "elapsed/time")).unwrap_or(0.0))
}

/// Shortens a file to its first `bytes`, which it has: setting the length of a shorter one would fill it with zeros.
fn cut(path: &Path, bytes: u64) -> std::io::Result<()> {
    let file = fs::File::options().write(true).create(true).truncate(false).open(path)?;
    let length = file.metadata()?.len();
    if length < bytes {
        let message = format!("has {length} bytes, and the checkpoint counts on {bytes}");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
    }
    file.set_len(bytes)
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64
}

/// Samples a batch of episodes and computes everything that stays fixed during its optimisation; the spans `sample`,
/// `reference` and `score` say how long each part takes.
pub fn roll_out(spec: &Spec, inputs: &Inputs<'_>, model: &ScalarModel, update: usize) -> Result<Rollout, StageError> {
    let n = spec.policy.batch_size;
    let picked = random::shuffled(spec.seed, "policy queries", inputs.queries.len(), update * n, n);
    let queries: Vec<Query> = picked.iter().map(|i| inputs.queries[*i].clone()).collect();
    let u = random::uniforms(spec.seed, "policy samples", update as u64, spec.task.response_length, n);
    let args = Sampling {
        queries: &queries,
        k: 1,
        response_length: spec.task.response_length,
        temperature: spec.task.temperature,
        uniforms: &u,
        value_head: Some(&model.head),
    };
    let sampled = trace_span!("sample").in_scope(|| sample(&model.trunk, &args))?;
    let Sampled { responses, logprobs: lp, values, entropy } = sampled;
    let ref_logprobs = trace_span!("reference")
        .in_scope(|| logprobs(inputs.reference, &queries, &responses, spec.task.temperature))?;
    let scores = trace_span!("score").in_scope(|| inputs.scorer.scores(inputs.task, &queries, &responses))?;
    let mock_scores = inputs.mock.map(|mock| mock.plain(inputs.task, &queries, &responses)).transpose()?;
    Ok(Rollout { queries, responses, logprobs: lp, ref_logprobs, values, scores, mock_scores, entropy })
}

/// Metrics of one update, by name.
pub type Line = Vec<(&'static str, f64)>;

/// The rollout's own metrics, under the released code's names.
fn describe(r: &Rollout, rewards: &[Vec<f32>], kl: f64, kl_coef: f64, task: &Task) -> Line {
    let total: f64 = rewards.iter().flatten().map(|v| f64::from(*v)).sum::<f64>() / rewards.len() as f64;
    let complete = r.responses.iter().filter(|y| task.cut(y).is_some()).count() as f64;
    let mock = r.mock_scores.as_ref().map(|scores| ("objective/mock_score", mean(scores)));
    let line = vec![
        ("objective/kl", kl),
        ("objective/kl_coef", kl_coef),
        ("objective/entropy", r.surprise()),
        ("ppo/policy/entropy", f64::from(r.entropy)),
        ("objective/score", mean(&r.scores)),
        ("objective/score_total", total),
        ("objective/truncated", complete / r.responses.len() as f64),
        ("ppo/val/mean", moments(&r.values).0),
        ("ppo/val/var", moments(&r.values).1),
    ];
    line.into_iter().chain(mock).collect()
}

/// `epochs` passes over the batch, each in its own `order` of rows; per minibatch: whiten rewards, GAE, whiten
/// advantages, one Adam step. Returns the new model and the statistics averaged over all steps.
pub fn optimise(
    spec: &Spec,
    order: &dyn Fn(usize) -> Vec<usize>,
    lr: f64,
    mut model: ScalarModel,
    adam: &mut Adam,
    rollout: &Rollout,
    rewards: &[Vec<f32>],
) -> Result<(ScalarModel, Line), StageError> {
    let p = &spec.policy;
    let size = p.batch_size / p.minibatches;
    let clip = Clip { cliprange: p.cliprange, cliprange_value: p.cliprange_value, vf_coef: p.vf_coef };
    let mut sums: Line = Vec::new();
    let mut ratio_error = None;
    let mut moved = vec![f64::NAN; rollout.scores.len()];
    for epoch in 0..p.epochs {
        for picked in order(epoch).chunks(size) {
            let part = |values: &[Vec<f32>]| -> Vec<Vec<f32>> { picked.iter().map(|i| values[*i].clone()).collect() };
            let (old_logprobs, values) = (part(&rollout.logprobs), part(&rollout.values));
            let rewards = if p.whiten_rewards { whiten(&part(rewards), false) } else { part(rewards) };
            let (advantages, returns) = gae(&rewards, &values, p.gamma, p.lam);
            let advantages = whiten(&advantages, true);
            #[cfg(test)]
            let advantages = match guards::flip::is(guards::flip::Flip::Advantages) {
                true => advantages.iter().map(|row| row.iter().map(|a| -a).collect()).collect(),
                false => advantages,
            };
            let queries: Vec<Query> = picked.iter().map(|i| rollout.queries[*i].clone()).collect();
            let responses: Vec<Vec<u32>> = picked.iter().map(|i| rollout.responses[*i].clone()).collect();
            let rows = by_length(&queries);
            let at_once = training_rows(
                &model.trunk,
                queries.first().map_or(0, Vec::len) + spec.task.response_length,
                spec.task.response_length,
            );
            let (found, parts) = gradients(&model, &rows, at_once, |model, rows| {
                let device = model.trunk.device();
                let part = |values: &[Vec<f32>]| -> Vec<Vec<f32>> { rows.iter().map(|r| values[*r].clone()).collect() };
                let fixed = Targets {
                    old_logprobs: flat(&part(&old_logprobs), &device),
                    old_values: flat(&part(&values), &device),
                    advantages: flat(&part(&advantages), &device),
                    returns: flat(&part(&returns), &device),
                };
                let queries: Vec<Query> = rows.iter().map(|r| queries[*r].clone()).collect();
                let responses: Vec<Vec<u32>> = rows.iter().map(|r| responses[*r].clone()).collect();
                let batch = model.trunk.batch(&trimmed(joined(&queries, &responses)))?;
                let hidden = model.trunk.hidden_before_last(&batch, spec.task.response_length);
                let targets = model.trunk.targets(&responses)?;
                let lp = model.trunk.token_logprobs(hidden.clone(), targets, spec.task.temperature);
                let predicted = model.head.forward(hidden);
                let l = loss(lp.clone(), predicted.clone(), &fixed, &clip);
                let weight = rows.len() as f64 / size as f64;
                let mut statistics = read(&l, predicted, &fixed, weight)?;
                if epoch > 0 && epoch + 1 == p.epochs {
                    statistics.moved = raised(lp, &old_logprobs, rows)?;
                }
                Ok::<_, StageError>((l.total * weight, statistics))
            })?;
            let largest =
                parts.iter().map(|part| part.ratio_error).fold(0.0, |a: f64, b| if b.is_nan() { b } else { a.max(b) });
            ratio_error.get_or_insert(largest);
            parts.iter().flat_map(|part| &part.moved).for_each(|(row, by)| moved[picked[*row]] = *by);
            let mut step = parts[0].means.clone();
            for part in &parts[1..] {
                step.iter_mut().zip(&part.means).for_each(|(sum, (_, value))| sum.1 += value);
            }
            let (mean, variance) = moments(&returns);
            step.extend([("ppo/returns/mean", mean), ("ppo/returns/var", variance)]);
            if sums.is_empty() {
                sums = step;
            } else {
                sums.iter_mut().zip(step).for_each(|(sum, (_, value))| sum.1 += value);
            }
            model = adam.update(model, found, lr);
        }
    }
    let steps = (p.epochs * p.minibatches) as f64;
    sums.iter_mut().for_each(|(_, v)| *v /= steps);
    // Of the means, as in the released code: minibatches differ in the variance of their returns.
    let mean = |name| sums.iter().find(|(n, _)| *n == name).map_or(f64::NAN, |(_, v)| *v);
    let var_explained = 1.0 - mean("ppo/val/error") / mean("ppo/returns/var").max(1e-12);
    sums.extend([("ppo/val/var_explained", var_explained), ("ppo/ratio_error", ratio_error.unwrap_or(f64::NAN))]);
    sums.extend(guards::direction(&moved, rewards, &rollout.values).map(|way| ("ppo/direction", way)));
    Ok((model, sums))
}

/// What a shard adds to its step's statistics.
struct Statistics {
    /// Means over the shard times its share of the minibatch, so that they add up.
    means: Line,
    /// Largest |ratio - 1|.
    ratio_error: f64,
    /// Rows of the minibatch and how far their log-probabilities rose in the epochs before the last.
    moved: Vec<(usize, f64)>,
}

/// Of each of the minibatch's `rows`: its log-probability now, `[rows * response]`, less that at sampling.
fn raised(logprobs: Tensor<1>, old: &[Vec<f32>], rows: &[usize]) -> Result<Vec<(usize, f64)>, StageError> {
    let now = to_vec(if logprobs.is_autodiff() { logprobs.inner() } else { logprobs })?;
    let mut rest = now.as_slice();
    let sum = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>();
    let of = |row: &usize| {
        let (own, after) = rest.split_at(old[*row].len().min(rest.len()));
        rest = after;
        (*row, sum(own) - sum(&old[*row]))
    };
    Ok(rows.iter().map(of).collect())
}

fn read(l: &Loss, values: Tensor<1>, fixed: &Targets, weight: f64) -> Result<Statistics, StageError> {
    let inner = |t: &Tensor<1>| if t.is_autodiff() { t.clone().inner() } else { t.clone() };
    let values = inner(&values);
    let error = values.clone() - inner(&fixed.returns);
    let error = (error.clone() * error).mean();
    let all = [&l.ratio_error, &l.policy, &l.value, &l.total, &l.approxkl, &l.clipfrac, &l.value_clipfrac];
    let mut tensors: Vec<Tensor<1>> = all.into_iter().map(inner).collect();
    tensors.push(values.mean());
    tensors.push(error);
    let v: Vec<f64> = to_vec(Tensor::cat(tensors, 0))?.into_iter().map(f64::from).collect();
    let names = [
        "ppo/loss/policy",
        "ppo/loss/value",
        "ppo/loss/total",
        "ppo/policy/approxkl",
        "ppo/policy/clipfrac",
        "ppo/val/clipfrac",
        "ppo/val/vpred",
        "ppo/val/error",
    ];
    Ok(Statistics {
        means: names.into_iter().zip(v[1..].iter().map(|v| v * weight)).collect(),
        ratio_error: v[0],
        moved: Vec::new(),
    })
}

/// What must be true after every update; the authors' andon cord, pulled by the program.
fn guard(spec: &Spec, kl: f64, statistics: &Line) -> Option<StageError> {
    let g = &spec.guards;
    let value = |name: &str| statistics.iter().find(|(n, _)| *n == name).map_or(0.0, |(_, v)| *v);
    let stop = |name, message| Some(StageError::Guard { name, message });
    if !kl.is_finite() || statistics.iter().any(|(_, v)| !v.is_finite()) {
        return stop(
            "nan",
            format!("a number is not finite (KL {kl}, loss {}); lower policy.lr", value("ppo/loss/total")),
        );
    }
    let ratio = value("ppo/ratio_error");
    if ratio > g.ratio_tolerance {
        return stop(
            "ratio",
            format!(
                "the probability ratio on the first minibatch is off 1 by {ratio:.2e} (allowed {:.0e}): cached sampling and the full pass disagree on this device; try --device cpu",
                g.ratio_tolerance
            ),
        );
    }
    let way = statistics.iter().find(|(n, _)| *n == "ppo/direction").map(|(_, v)| *v);
    if let Some(Err(wrong)) = way.map(|way| guards::right_way(way, spec.policy.batch_size)) {
        return Some(wrong);
    }
    if let Err(impossible) = guards::possible_kl(kl, g.negative_kl, spec.policy.batch_size) {
        return Some(impossible);
    }
    if spec.policy.kl.schedule == KlSchedule::Adaptive && kl > g.kl_times_target * spec.policy.kl.target {
        return stop(
            "kl",
            format!(
                "KL is {kl:.2} nats, more than {} times its target {}; raise policy.kl.init or lower policy.lr",
                g.kl_times_target, spec.policy.kl.target
            ),
        );
    }
    None
}

fn json_line(line: &Line) -> Map<String, Value> {
    line.iter().map(|(k, v)| (k.to_string(), json!(v))).collect()
}
