//! π from the labels themselves, by direct preference optimisation (src/rlhf/dpo.rs): no reward model, no episodes. What
//! was judged of a response is what is learned: up to where the task cuts it.

use super::quality::RewardQuality;
use crate::context::{CHECKPOINTS, Context, Kept, StageError};
use crate::label::{Judgement, Label, LabelKind, kind_of};
use crate::labeler::gather;
use crate::model::checkpoint::{self, LoopState};
use crate::model::gpt2::{Gpt2, ScalarHead, ScalarModel};
use crate::model::loss_scale::LossScale;
use crate::model::optimizer::Adam;
use crate::model::parallel::{GradientMap, gradients, training_rows};
use crate::model::sampling::{joined, logprobs, to_vec, trimmed};
use crate::model::weights::save_scalar;
use crate::model::{LanguageModel, ModelError};
use crate::random;
use crate::results::{DpoMetricsLine, file};
use crate::rl::log::{Log, cut};
use crate::rlhf::dpo::loss;
use crate::spec::Spec;
use crate::spec::keyed::DpoKey;
use crate::store::cache::Key;
use crate::task::{Query, Task};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Instant;

const VERSION: u32 = 1;

/// What DPO learns from.
#[derive(Clone, Copy)]
pub struct DpoInputs<'a> {
    /// ρ.
    pub reference: &'a Gpt2,
    pub task: &'a Task,
    /// Directories of the labels.
    pub labels: &'a [PathBuf],
    pub end_of_text: u32,
}

/// What π depends on. `upstream`: ρ, and r_s where there is one; `labels`: the labels it learns from.
pub fn key(spec: &Spec, upstream: &[String], labels: &Key) -> Result<Key, StageError> {
    let inputs = ("dpo", VERSION, DpoKey::of(spec), spec.seed, upstream, labels.to_string());
    Ok(Key::new("policy", VERSION, &inputs)?)
}

/// π's directory: metrics.jsonl, and the policy with the value head that others have (of zeros).
pub fn run(
    context: &Context,
    run: &str,
    spec: &Spec,
    key: &Key,
    inputs: &DpoInputs<'_>,
) -> Result<PathBuf, StageError> {
    context.artifact(Some(run), key, |work| train((context, run), spec, inputs, &work.dir))
}

/// One label: its candidates with what ρ says of them.
#[derive(Debug, Clone)]
pub struct Compared {
    /// As ρ and π read it, padded on the left.
    pub query: Query,
    /// The candidates as far as they were judged.
    pub responses: Vec<Vec<u32>>,
    /// Summed log-probability of each under ρ.
    pub reference: Vec<f32>,
    /// Index of the preferred one.
    pub best: usize,
}

/// A step's loss with what is logged of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub loss: f64,
    pub margin: f64,
    pub accuracy: f64,
    pub distance: f64,
}

/// One Adam step on labels with equally many candidates; returns the model and what it was before the step.
///
/// # Errors
/// Those of the device.
pub fn step(
    model: ScalarModel,
    adam: &mut Adam,
    labels: &[Compared],
    with: (f64, f64),
    lr: f64,
) -> Result<(ScalarModel, Step), ModelError> {
    let (found, total) = gradient(&model, &mut adam.scale, labels, with)?;
    Ok((adam.update(model, found, lr)?, total))
}

/// The gradient of the mean loss of some labels' pairs, and what it is of. `with`: β, and the temperature.
///
/// # Errors
/// Those of the device.
pub fn gradient(
    model: &ScalarModel,
    scale: &mut LossScale,
    labels: &[Compared],
    (beta, temperature): (f64, f64),
) -> Result<(GradientMap, Step), ModelError> {
    let candidates = labels.first().map_or(1, |label| label.responses.len()).max(1);
    let longest = |rows: &mut dyn Iterator<Item = usize>| rows.max().unwrap_or(0);
    let response = longest(&mut labels.iter().flat_map(|l| &l.responses).map(Vec::len));
    let time = longest(&mut labels.iter().map(|l| l.query.len())) + response;
    let shard = (training_rows(&model.trunk, time, response) / candidates).max(1);
    let (found, parts) = gradients(model, scale, labels, shard, |model, picked| {
        let lp = summed(&model.trunk, picked, temperature)?;
        let reference: Vec<f32> = picked.iter().flat_map(|label| label.reference.clone()).collect();
        let reference =
            Tensor::<2>::from_data(TensorData::new(reference, [picked.len(), candidates]), &model.trunk.device());
        let best: Vec<usize> = picked.iter().map(|label| label.best).collect();
        let distance = (lp.clone().inner() - reference.clone()).abs().mean();
        let l = loss(lp, reference, &best, beta);
        let weight = picked.len() as f64 / labels.len() as f64;
        let all = to_vec(Tensor::cat(vec![l.total.clone().inner(), l.margin, l.accuracy, distance], 0))?;
        let share = |i: usize| all.get(i).map_or(f64::NAN, |v| f64::from(*v) * weight);
        let part = Step { loss: share(0), margin: share(1), accuracy: share(2), distance: share(3) };
        Ok::<_, ModelError>((l.total * weight, part))
    })?;
    let total = parts.iter().fold(Step::default(), |sum, part| Step {
        loss: sum.loss + part.loss,
        margin: sum.margin + part.margin,
        accuracy: sum.accuracy + part.accuracy,
        distance: sum.distance + part.distance,
    });
    Ok((found, total))
}

/// Summed log-probabilities of candidates, `[labels, candidates]`, at the sampling temperature.
fn summed(model: &Gpt2, labels: &[Compared], temperature: f64) -> Result<Tensor<2>, ModelError> {
    let queries: Vec<Query> =
        labels.iter().flat_map(|l| std::iter::repeat_n(l.query.clone(), l.responses.len())).collect();
    let responses: Vec<Vec<u32>> = labels.iter().flat_map(|l| l.responses.clone()).collect();
    let (rows, length) = (responses.len(), responses.iter().map(Vec::len).max().unwrap_or(0));
    let hidden = model.hidden_before_last(&model.batch(&trimmed(joined(&queries, &responses)))?, length);
    let lp = model.token_logprobs(hidden, model.targets(&responses)?, temperature).reshape([rows, length]);
    let real = responses.iter().flat_map(|y| (0..length).map(|i| if i < y.len() { 1.0f32 } else { 0.0 })).collect();
    let real = Tensor::<2>::from_data(TensorData::new(real, [rows, length]), &model.device());
    Ok((lp * real).sum_dim(1).reshape([labels.len(), rows / labels.len().max(1)]))
}

/// Summed log-probabilities of each label's candidates, without gradients.
fn scored(model: &Gpt2, labels: &[Compared], temperature: f64) -> Result<Vec<f32>, ModelError> {
    let queries: Vec<Query> =
        labels.iter().flat_map(|l| std::iter::repeat_n(l.query.clone(), l.responses.len())).collect();
    let responses: Vec<Vec<u32>> = labels.iter().flat_map(|l| l.responses.clone()).collect();
    let sum = |row: &Vec<f32>| row.iter().map(|v| f64::from(*v)).sum::<f64>() as f32;
    Ok(logprobs(model, &queries, &responses, temperature)?.iter().map(sum).collect())
}

/// Labels with ρ's log-probabilities. `saw_whole`: the labeler read responses that the task still cuts.
fn compared(spec: &Spec, inputs: &DpoInputs<'_>, labels: &[Label]) -> Result<Vec<Compared>, StageError> {
    let cut = spec.labeler.is().saw_whole;
    let kept = |y: &Vec<u32>| y[..if cut { inputs.task.cut(y).unwrap_or(y.len()) } else { y.len() }].to_vec();
    let mut all = Vec::with_capacity(labels.len());
    for label in labels {
        let Judgement::Best(best) = label.judgement else { continue };
        let query = inputs.task.asked_query(&label.query);
        all.push(Compared { query, responses: label.samples.iter().map(kept).collect(), reference: vec![], best });
    }
    let scores = scored(inputs.reference, &all, spec.task.temperature)?;
    let mut rest = scores.as_slice();
    for label in &mut all {
        let (own, after) = rest.split_at(label.responses.len().min(rest.len()));
        (label.reference, rest) = (own.to_vec(), after);
    }
    Ok(all)
}

/// The labels to learn from, and those held out; Err: they are no comparisons. Of candidates that are all empty there is
/// nothing to learn.
fn read(spec: &Spec, dirs: &[PathBuf]) -> Result<(Vec<Label>, Vec<Label>), StageError> {
    let mut gathered = gather(dirs, spec.collect.labels)?;
    let says_something = |label: &Label| label.samples.iter().any(|sample| !sample.is_empty());
    gathered.training.retain(says_something);
    gathered.held_out.retain(says_something);
    let all: Vec<Label> = gathered.training.iter().chain(&gathered.held_out).cloned().collect();
    if gathered.training.is_empty() {
        return Err(StageError::Input("there are no labels to train on: every question was skipped or dropped".into()));
    }
    match kind_of(&all).map_err(StageError::Input)? {
        LabelKind::Best { .. } => Ok((gathered.training, gathered.held_out)),
        kind => Err(StageError::Input(format!(
            "policy.algorithm: DPO learns from comparisons, and these labels are {kind}; take \"ppo\" or \"rloo\" with a reward model"
        ))),
    }
}

/// DPO in progress.
struct Loop<'a> {
    context: &'a Context,
    spec: &'a Spec,
    dir: &'a Path,
    labels: Vec<Compared>,
    log: Log,
}

fn train((context, run): (&Context, &str), spec: &Spec, inputs: &DpoInputs<'_>, dir: &Path) -> Result<(), StageError> {
    let (training, held_out) = read(spec, inputs.labels)?;
    let head = ScalarHead::init(inputs.reference.dimensions().width, 0.0, 0, &context.device);
    let model = ScalarModel { trunk: inputs.reference.clone(), head };
    let metrics = dir.join(file::METRICS);
    let found = checkpoint::load(&dir.join(CHECKPOINTS), &model, spec.policy.adam, &context.device)?;
    let (first, bytes, model, adam) = match found {
        Some((state, model, adam)) => {
            tracing::info!("{run}: continuing after step {}", state.updates);
            (state.updates, state.metrics_bytes, model, adam)
        }
        None => (0, 0, model, Adam::new(spec.policy.adam)),
    };
    cut(&metrics, bytes).map_err(StageError::io(&metrics))?;
    let log = Log::open(dir, &context.out, run)?;
    let this = Loop { context, spec, dir, labels: compared(spec, inputs, &training)?, log };
    let model = this.steps(run, first, (model, adam))?;
    agrees(spec, inputs, &held_out, &model.trunk)?;
    Ok(save_scalar(dir, &model, inputs.end_of_text)?)
}

/// Err: β log(π/ρ), DPO's own reward, prefers what labelers did not more often than chance does.
fn agrees(spec: &Spec, inputs: &DpoInputs<'_>, held_out: &[Label], policy: &Gpt2) -> Result<(), StageError> {
    let labels = compared(spec, inputs, held_out)?;
    let now = scored(policy, &labels, spec.task.temperature)?;
    let before = labels.iter().flat_map(|label| &label.reference);
    let rewards: Vec<f32> = now.iter().zip(before).map(|(a, b)| a - b).collect();
    let quality = RewardQuality::measure(held_out, &rewards);
    tracing::info!("DPO's own reward, log π - log ρ: {}", quality.text());
    if quality.worse_than_chance() {
        let message = format!("DPO's own reward is worse than chance: {}; is a sign flipped?", quality.text());
        return Err(StageError::Guard { name: "reward_accuracy", message });
    }
    Ok(())
}

impl Loop<'_> {
    /// Steps of the whole training.
    fn count(&self) -> usize {
        let d = self.spec.policy.dpo();
        (self.labels.len() * d.epochs).div_ceil(d.batch_size)
    }

    /// From step `first` to the last; between two steps it can be stopped, and goes on from there.
    fn steps(
        mut self,
        run: &str,
        first: usize,
        (mut model, mut adam): (ScalarModel, Adam),
    ) -> Result<ScalarModel, StageError> {
        let (d, steps, n) = (self.spec.policy.dpo(), self.count(), self.labels.len());
        let before = if first > 0 { self.log.last_time()? } else { 0.0 };
        let bar = self.context.bar(&format!("policy {run}"), first, steps);
        let started = Instant::now();
        for i in first..steps {
            if let Some(by) = self.context.stop_requested()? {
                self.save(i, &model, &adam)?;
                return Err(StageError::Stopped { by, update: i, kept: Kept::Everything });
            }
            let count = d.batch_size.min(n * d.epochs - i * d.batch_size);
            let picked = random::shuffled(self.spec.seed, "dpo order", n, i * d.batch_size, count);
            let batch: Vec<Compared> = picked.iter().map(|i| self.labels[*i].clone()).collect();
            let lr = d.lr * (1.0 - i as f64 / steps as f64);
            let found;
            (model, found) = step(model, &mut adam, &batch, (d.beta, self.spec.task.temperature), lr)?;
            let line = DpoMetricsLine {
                loss: found.loss,
                margin: found.margin,
                accuracy: found.accuracy,
                distance: found.distance,
                lr,
                updates: (i + 1) as f64,
                labels: (i * d.batch_size + count) as f64,
                time: before + started.elapsed().as_secs_f64(),
            };
            self.log.add(&line)?;
            bar.add(1, &format!("loss {:.3}", found.loss));
            tracing::debug!("{run} step {}: loss {:.4} margin {:.3}", i + 1, found.loss, found.margin);
            self.guard(i, &found)?;
            if (i + 1).is_multiple_of(self.spec.policy.checkpoint_every) && i + 1 < steps {
                self.save(i + 1, &model, &adam)?;
            }
        }
        bar.finish();
        Ok(model)
    }

    /// Losses are numbers, and π is ρ before the first step.
    fn guard(&self, i: usize, found: &Step) -> Result<(), StageError> {
        if !(found.loss.is_finite() && found.distance.is_finite()) {
            let message = format!("DPO's loss is {} at step {i}; lower policy.dpo.lr", found.loss);
            return Err(StageError::Guard { name: "nan", message });
        }
        let allowed = self.spec.guards.ratio_tolerance;
        if i == 0 && found.distance > allowed {
            let message = format!(
                "before the first step π is ρ, and log π - log ρ is off 0 by {:.2e} (allowed {allowed:.0e}): passes with and without gradients disagree on this device; try --device cpu",
                found.distance
            );
            return Err(StageError::Guard { name: "ratio", message });
        }
        Ok(())
    }

    fn save(&self, updates: usize, model: &ScalarModel, adam: &Adam) -> Result<(), StageError> {
        let metrics_bytes = self.log.bytes()?;
        let state = LoopState { updates, kl_coef: 0.0, entropy_coef: 0.0, metrics_bytes, requests_bytes: 0 };
        Ok(checkpoint::save(&self.dir.join(CHECKPOINTS), &state, model, adam, &["../metrics.jsonl"])?)
    }
}
