//! Training the reward model r: a copy of ρ with a new scalar head, normalised on samples of ρ before and after
//! training on the comparisons (paper section 2.2; released code: train_reward.py).

use super::StageError;
use super::collect::{CANDIDATES, Comparison, read, sample_all};
use super::context::Context;
use super::scoring::{Rule, Scorer, raw_scores};
use crate::data::queries::Query;
use crate::model::ModelError;
use crate::model::gpt2::{Batch, Gpt2, ScalarHead, ScalarModel};
use crate::model::optimizer::Adam;
use crate::model::parallel::{gradients, shard_rows};
use crate::model::reward_model::RewardModel;
use crate::model::sampling::to_vec;
use crate::model::weights::{load_scalar, save_scalar};
use crate::rlhf::reward::{Normalization, argmax, loss};
use crate::spec::Spec;
use crate::store::atomic::write_atomic;
use crate::store::cache::Key;
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const VERSION: u32 = 2;

/// reward.json beside the weights.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    pub normalization: Normalization,
    /// Held-out comparisons where r agrees with the labeler.
    pub correct: u64,
    pub n: u64,
    pub final_loss: f32,
}

/// Everything reward training needs.
pub struct Inputs<'a> {
    pub reference: &'a Gpt2,
    pub rule: &'a Rule,
    pub queries: &'a [Query],
    pub labels: &'a Path,
    pub end_of_text: u32,
}

/// What r depends on.
pub fn key(spec: &Spec, labels: &Key) -> Result<Key, StageError> {
    Ok(Key::new("reward", VERSION, &(&spec.reward, labels.to_string(), spec.seed))?)
}

/// r's directory.
pub fn run(context: &Context, run: &str, spec: &Spec, key: &Key, inputs: &Inputs<'_>) -> Result<PathBuf, StageError> {
    context.artifact(Some(run), key, |work| train(context, spec, inputs, &work.dir))
}

/// Loads r with its normalisation.
pub fn load(context: &Context, dir: &Path) -> Result<(Scorer, Summary), StageError> {
    let path = dir.join("reward.json");
    let text = std::fs::read_to_string(&path).map_err(StageError::io(&path))?;
    let summary: Summary =
        serde_json::from_str(&text).map_err(|e| StageError::Input(format!("{}: {e}", path.display())))?;
    Ok((Scorer { model: load_scalar(dir, &context.device)?, normalization: summary.normalization }, summary))
}

fn train(context: &Context, spec: &Spec, inputs: &Inputs<'_>, dir: &Path) -> Result<(), StageError> {
    let r = &spec.reward;
    let mut labels = read(inputs.labels)?;
    let held_out = labels.split_off(spec.collect.labels.min(labels.len()));
    let width = inputs.reference.dimensions().width;
    // r starts from ρ with a fresh head, every time it is trained (paper section 2.2).
    let head = ScalarHead::init(
        width,
        1.0 / ((width + 1) as f64).sqrt(),
        Context::seed(spec.seed, "reward head"),
        &context.device,
    );
    let model = ScalarModel { trunk: inputs.reference.clone(), head };

    let rows = normalization_rows(spec, inputs)?;
    let before = Normalization::fit(&raw_scores(&model, &rows)?, r.target_mean, r.target_std);
    let mut model = RewardModel::new(model, before);

    let mut adam = Adam::new(r.adam);
    let steps = (labels.len() * r.epochs).div_ceil(r.batch_size);
    let bar = context.bar("reward", steps, "steps");
    let mut final_loss = f32::NAN;
    for step in 0..steps {
        context.check_stop(step)?;
        let count = r.batch_size.min(labels.len() * r.epochs - step * r.batch_size);
        let picked = Context::shuffled(spec.seed, "reward order", labels.len(), step * r.batch_size, count);
        let batch: Vec<_> =
            picked.iter().map(|i| (candidate_rows(spec, inputs.rule, &labels[*i]), labels[*i].best)).collect();
        let lr = r.lr * (1.0 - step as f64 / steps as f64);
        (model, final_loss) = self::step(model, &mut adam, &batch, lr)?;
        if !final_loss.is_finite() {
            return Err(StageError::Guard {
                name: "nan",
                message: format!("reward loss is {final_loss} at step {step}; lower reward.lr"),
            });
        }
        bar.set_message(format!("loss {final_loss:.3}"));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let model = model.folded();
    let after = Normalization::fit(&raw_scores(&model, &rows)?, r.target_mean, r.target_std);
    let correct = accuracy(spec, inputs.rule, &model, &held_out)?;
    let n = held_out.len() as u64;
    tracing::info!(
        "reward model agrees with the labeler on {correct} of {n} held-out comparisons (chance {:.0}%)",
        100.0 / CANDIDATES as f64
    );
    // Worse than chance by two standard errors means a flipped sign, the authors' own bug (paper section 4.4).
    let chance = 1.0 / CANDIDATES as f64;
    let lowest = n as f64 * chance - 2.0 * (n as f64 * chance * (1.0 - chance)).sqrt();
    if (correct as f64) < lowest {
        return Err(StageError::Guard {
            name: "reward_accuracy",
            message: format!(
                "r picks the labeler's choice in {correct} of {n} held-out comparisons, worse than chance: is a sign flipped?"
            ),
        });
    }
    save_scalar(dir, &model, inputs.end_of_text)?;
    let summary = Summary { normalization: after, correct, n, final_loss };
    let path = dir.join("reward.json");
    let text = serde_json::to_string_pretty(&summary).map_err(|e| StageError::Input(e.to_string()))?;
    write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))
}

/// One Adam step on comparisons; returns the model and the loss before the step. Each comparison: a padded row of query
/// and truncated response for each candidate (all rows of one length, as many in every comparison), and the index of the
/// labeler's choice.
pub fn step(
    model: RewardModel,
    adam: &mut Adam,
    comparisons: &[(Vec<Query>, usize)],
    lr: f64,
) -> Result<(RewardModel, f32), ModelError> {
    let candidates = comparisons.first().map_or(1, |(rows, _)| rows.len());
    let shard = (shard_rows(&model.model.trunk.device()) / candidates).max(1);
    let (gradients, losses) = gradients(&model, comparisons, shard, |model, picked| {
        let device = model.model.trunk.device();
        let rows: Vec<Query> = picked.iter().flat_map(|(rows, _)| rows.iter().cloned()).collect();
        let best: Vec<i32> = picked.iter().map(|(_, best)| *best as i32).collect();
        let rewards = model.score(&Batch::new(&rows, &device)).reshape([picked.len(), candidates]);
        let best = Tensor::<1, Int>::from_data(TensorData::new(best, [picked.len()]), &device);
        let loss = loss(rewards, best) * (picked.len() as f64 / comparisons.len() as f64);
        let value = to_vec(loss.clone().inner())?[0];
        Ok::<_, ModelError>((loss, value))
    })?;
    Ok((adam.update(model, gradients, lr), losses.iter().sum()))
}

/// Samples of ρ on queries of the task, truncated as in scoring.
fn normalization_rows(spec: &Spec, inputs: &Inputs<'_>) -> Result<Vec<Query>, StageError> {
    let picked =
        Context::shuffled(spec.seed, "normalization queries", inputs.queries.len(), 0, spec.reward.normalize_samples);
    let queries: Vec<Query> = picked.iter().map(|i| inputs.queries[*i].clone()).collect();
    let responses = sample_all(inputs.reference, spec, &queries, 1, "normalization samples")?;
    Ok(queries.iter().zip(&responses).map(|(q, r)| inputs.rule.row(q, r)).collect())
}

/// The candidates of a comparison as rows of query and truncated response.
fn candidate_rows(spec: &Spec, rule: &Rule, c: &Comparison) -> Vec<Query> {
    let padding = spec.task.query_length.saturating_sub(c.query.len());
    let query: Query = std::iter::repeat_n(None, padding).chain(c.query.iter().map(|t| Some(*t))).collect();
    c.samples.iter().map(|s| rule.row(&query, s)).collect()
}

fn accuracy(spec: &Spec, rule: &Rule, model: &ScalarModel, held_out: &[Comparison]) -> Result<u64, StageError> {
    let rows: Vec<Query> = held_out.iter().flat_map(|c| candidate_rows(spec, rule, c)).collect();
    let scores = raw_scores(model, &rows)?;
    Ok(scores.chunks(CANDIDATES).zip(held_out).filter(|(s, c)| argmax(s) == c.best).count() as u64)
}
