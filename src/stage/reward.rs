//! Training the reward model r: a copy of ρ with a new scalar head, normalised on samples of ρ before and after
//! training on the labels (paper section 2.2; released code: train_reward.py, label_types.py).

use super::quality::RewardQuality;
use super::training::Training;
use crate::context::{CHECKPOINTS, Context, StageError};
use crate::label::{Judgement, Label, LabelKind, kind_of};
use crate::labeler::{gather, sample_each};
use crate::model::gpt2::{Gpt2, ScalarHead, ScalarModel};
use crate::model::optimizer::Adam;
use crate::model::parallel::{gradients, training_rows};
use crate::model::reward_model::RewardModel;
use crate::model::sampling::{to_vec, trimmed};
use crate::model::weights::save_scalar;
use crate::model::{LanguageModel, ModelError};
use crate::random;
use crate::rlhf::reward::{Normalization, difference_loss, loss, mean_and_std, rating_loss};
use crate::spec::keyed::RewardKey;
use crate::spec::{LabelerKind, Precision, Spec};
use crate::store::atomic::write_atomic;
use crate::store::cache::Key;
use crate::task::scoring::{Scorer, raw_scores};
use crate::task::{Query, Task};
use burn::tensor::{Device, Int, Tensor, TensorData};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const VERSION: u32 = 2;
/// Of the rounds after the first.
const ROUNDS: u32 = 1;

/// Beside the weights of a reward model.
pub const FILE: &str = "reward.json";

/// reward.json.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Summary")]
pub struct RewardSummary {
    pub normalization: Normalization,
    /// best_of_N, scalar_rating or scalar_compare.
    pub label_type: String,
    /// On held-out labels.
    #[serde(flatten)]
    pub quality: RewardQuality,
    pub final_loss: f32,
    /// Labels that it was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<u64>,
    /// After the first round: how the r before this one does on this round's new labels, of the policy that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<RewardQuality>,
}

/// Everything reward training needs.
pub struct RewardInputs<'a> {
    pub reference: &'a Gpt2,
    pub task: &'a Task,
    pub queries: &'a [Query],
    /// Directories of the labels of all rounds so far.
    pub labels: &'a [PathBuf],
    /// r of the round before.
    pub previous: Option<&'a Scorer>,
    pub end_of_text: u32,
}

/// What r depends on: the labels of all rounds so far, and the r before, which the new labels measure.
pub fn key(spec: &Spec, labels: &[Key], previous: Option<&Key>) -> Result<Key, StageError> {
    match labels {
        [one] => Ok(Key::new("reward", VERSION, &(RewardKey::of(&spec.reward), one.to_string(), spec.seed))?),
        many => {
            let labels: Vec<String> = many.iter().map(Key::to_string).collect();
            let previous = previous.map(Key::to_string);
            Ok(Key::new(
                "reward",
                VERSION,
                &("rounds", ROUNDS, RewardKey::of(&spec.reward), labels, previous, spec.seed),
            )?)
        }
    }
}

/// r's directory.
pub fn run(
    context: &Context,
    run: &str,
    spec: &Spec,
    key: &Key,
    inputs: &RewardInputs<'_>,
) -> Result<PathBuf, StageError> {
    context.artifact(Some(run), key, |work| train(context, spec, inputs, &work.dir))
}

/// Loads r with its normalisation.
pub fn load(context: &Context, dir: &Path, precision: Precision) -> Result<(Scorer, RewardSummary), StageError> {
    let summary: RewardSummary = read_beside(dir)?;
    let source = context.scalar(dir, precision)?.into();
    Ok((Scorer { source, normalization: summary.normalization }, summary))
}

/// What [`FILE`] says beside a reward model's weights.
pub fn read_beside<T: DeserializeOwned>(dir: &Path) -> Result<T, StageError> {
    let path = dir.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(StageError::io(&path))?;
    serde_json::from_str(&text).map_err(|e| StageError::Input(format!("{}: {e}", path.display())))
}

fn train(context: &Context, spec: &Spec, inputs: &RewardInputs<'_>, dir: &Path) -> Result<(), StageError> {
    let r = &spec.reward;
    let gathered = gather(inputs.labels, spec.collect.labels)?;
    let (labels, held_out) = (gathered.training, gathered.held_out);
    let all: Vec<Label> = labels.iter().chain(&held_out).cloned().collect();
    let kind = kind_of(&all).map_err(StageError::Input)?;
    if labels.is_empty() {
        return Err(StageError::Input("there are no labels to train on: every question was skipped or dropped".into()));
    }
    let round = inputs.labels.len();
    let before = match (inputs.previous.and_then(Scorer::model), round) {
        (Some(previous), 2..) => {
            let fresh = &labels[labels.len() - gathered.fresh..];
            Some(measure(spec, inputs, previous, fresh)?)
        }
        _ => None,
    };
    let width = inputs.reference.dimensions().width;
    // r starts from ρ with a fresh head, every time it is trained (paper section 2.2).
    let head = ScalarHead::init(
        width,
        1.0 / ((width + 1) as f64).sqrt(),
        random::number(spec.seed, &of_round("reward head", round)),
        &context.device,
    );
    let model = ScalarModel { trunk: inputs.reference.clone(), head };

    let rows = normalization_rows(context, spec, inputs, dir)?;
    let (mean, std) = starting_scale(&labels)?;
    let start = Normalization::fit(&raw_scores(&model, &rows)?, mean, std);
    let (model, final_loss) = fit(context, spec, inputs, RewardModel::new(model, start), &labels, (kind, dir))?;
    let model = model.folded();
    let after = Normalization::fit(&raw_scores(&model, &rows)?, r.target_mean, r.target_std);

    let quality = measure(spec, inputs, &model, &held_out)?;
    let who = spec.labeler.mark().map_or_else(String::new, |mark| format!(", {mark}"));
    tracing::info!("reward model ({kind}{who}): {}", quality.text());
    if quality.worse_than_chance() {
        return Err(StageError::Guard {
            name: "reward_accuracy",
            message: format!("r is worse than chance: {}; is a sign flipped?", quality.text()),
        });
    }
    save_scalar(dir, &model, inputs.end_of_text)?;
    let summary = RewardSummary {
        normalization: after,
        label_type: kind.to_string(),
        quality,
        final_loss,
        labels: counts_labels(spec).then_some(labels.len() as u64),
        before,
    };
    let path = dir.join(FILE);
    let text = serde_json::to_string_pretty(&summary).map_err(|e| StageError::Input(e.to_string()))?;
    write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))
}

/// Whether the number of labels is not simply `collect.labels`.
fn counts_labels(spec: &Spec) -> bool {
    spec.collect.schedule.in_rounds() || spec.labeler.is().asked || spec.labeler.kind == LabelerKind::Command
}

/// The name of a random stream in a round; the first one's is that of the offline schedule.
fn of_round(purpose: &str, round: usize) -> String {
    if round == 1 { purpose.into() } else { format!("{purpose} of round {round}") }
}

/// How a model's raw scores agree with labels.
fn measure(
    spec: &Spec,
    inputs: &RewardInputs<'_>,
    model: &ScalarModel,
    labels: &[Label],
) -> Result<RewardQuality, StageError> {
    let rows: Vec<Query> = labels.iter().flat_map(|label| label_rows(spec, inputs, label)).collect();
    Ok(RewardQuality::measure(labels, &raw_scores(model, &rows)?))
}

/// Mean and deviation over samples of ρ that r starts with: the labels' own, so that it need not first learn their
/// scale; comparisons say nothing about one, and get 0 and 1 (released code: `target_scales`, `normalize_before`).
fn starting_scale(labels: &[Label]) -> Result<(f64, f64), StageError> {
    let scales: Vec<f32> = labels.iter().filter_map(Label::scale).collect();
    if scales.is_empty() {
        return Ok((0.0, 1.0));
    }
    let (mean, std) = mean_and_std(&scales);
    if std > 0.0 {
        return Ok((mean, std));
    }
    let message = format!("all {} labels to train on are the same number: there is nothing to learn", scales.len());
    Err(StageError::Input(message))
}

/// Adam over the epochs, the learning rate going linearly to 0; r and the last loss.
fn fit(
    context: &Context,
    spec: &Spec,
    inputs: &RewardInputs<'_>,
    model: RewardModel,
    labels: &[Label],
    (kind, dir): (LabelKind, &Path),
) -> Result<(RewardModel, f32), StageError> {
    let r = &spec.reward;
    let steps = (labels.len() * r.epochs).div_ceil(r.batch_size);
    let training = Training {
        context,
        name: "reward".into(),
        checkpoints: dir.join(CHECKPOINTS),
        steps,
        adam: r.adam,
        lr_key: "reward.lr",
    };
    training.run(model, &context.device, |step, model, adam| {
        let count = r.batch_size.min(labels.len() * r.epochs - step * r.batch_size);
        let purpose = of_round("reward order", inputs.labels.len());
        let picked = random::shuffled(spec.seed, &purpose, labels.len(), step * r.batch_size, count);
        let batch: Vec<_> =
            picked.iter().map(|i| (label_rows(spec, inputs, &labels[*i]), labels[*i].judgement)).collect();
        let lr = r.lr * (1.0 - step as f64 / steps as f64);
        Ok(self::step(model, adam, kind, &batch, lr)?)
    })
}

/// One Adam step on labels of one type; returns the model and the loss before the step. Each label: a padded row of
/// query and truncated response for each of its samples, all rows of one length, and the judgement.
pub fn step(
    model: RewardModel,
    adam: &mut Adam,
    kind: LabelKind,
    labels: &[(Vec<Query>, Judgement)],
    lr: f64,
) -> Result<(RewardModel, f32), ModelError> {
    let time = labels.iter().flat_map(|(rows, _)| rows).map(Vec::len).max().unwrap_or(0);
    // The last token of each row is read, nothing is predicted.
    let shard = (training_rows(&model.model.trunk, time, 0) / kind.samples()).max(1);
    let (gradients, losses) = gradients(&model, &mut adam.scale, labels, shard, |model, picked| {
        let device = model.model.trunk.device();
        let rows = trimmed(picked.iter().flat_map(|(rows, _)| rows.iter().cloned()).collect());
        let judgements: Vec<Judgement> = picked.iter().map(|(_, judgement)| *judgement).collect();
        let rewards = model.score(&model.model.trunk.batch(&rows)?);
        let loss = loss_of(kind, rewards, &judgements, &device) * (picked.len() as f64 / labels.len() as f64);
        let value = to_vec(loss.clone().inner())?[0];
        Ok::<_, ModelError>((loss, value))
    })?;
    Ok((adam.update(model, gradients, lr)?, losses.iter().sum()))
}

/// The mean loss of judgements of one type. `rewards`: of all their samples in order, `[judgements · samples]`.
fn loss_of(kind: LabelKind, rewards: Tensor<1>, judgements: &[Judgement], device: &Device) -> Tensor<1> {
    let n = judgements.len();
    let numbers = || {
        let numbers = judgements.iter().filter_map(|judgement| judgement.number());
        Tensor::<1>::from_data(TensorData::new(numbers.collect(), [n]), device)
    };
    match kind {
        LabelKind::Best { candidates } => {
            let best = judgements.iter().filter_map(|judgement| match judgement {
                Judgement::Best(best) => Some(*best as i32),
                _ => None,
            });
            let best = Tensor::<1, Int>::from_data(TensorData::new(best.collect(), [n]), device);
            loss(rewards.reshape([n, candidates]), best)
        }
        LabelKind::Rating => rating_loss(rewards, numbers()),
        LabelKind::Difference => difference_loss(rewards.reshape([n, 2]), numbers()),
    }
}

/// Samples of ρ on queries of the task, truncated as in scoring.
fn normalization_rows(
    context: &Context,
    spec: &Spec,
    inputs: &RewardInputs<'_>,
    dir: &Path,
) -> Result<Vec<Query>, StageError> {
    let picked =
        random::shuffled(spec.seed, "normalization queries", inputs.queries.len(), 0, spec.reward.normalize_samples);
    let queries: Vec<Query> = picked.iter().map(|i| inputs.queries[*i].clone()).collect();
    let purpose = "normalization samples";
    let responses = sample_each(&mut context.chunks(dir, purpose)?, inputs.reference, spec, &queries, purpose)?;
    Ok(queries.iter().zip(&responses).map(|(q, r)| inputs.task.row(q, r)).collect())
}

/// A label's samples as rows of query and response, as wide as scored rows are. What programs judged is truncated here;
/// what people saw was truncated before they saw it, and stays as it is.
fn label_rows(spec: &Spec, inputs: &RewardInputs<'_>, label: &Label) -> Vec<Query> {
    let row = |sample: &Vec<u32>| match spec.labeler.is().saw_whole {
        true => inputs.task.bare_row(&label.query, sample),
        false => {
            let response = (0..spec.task.response_length).map(|i| sample.get(i).copied());
            inputs.task.scored_query(&label.query).into_iter().chain(response).collect()
        }
    };
    label.samples.iter().map(row).collect()
}
