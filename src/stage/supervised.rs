//! Supervised fine-tuning of ρ (paper section 3.2, baselines; section 3.1 for the text before the stylistic tasks): one
//! pass over the data with dropout, Adam and a cosine decay to 0, for each learning rate of a sweep; the one with the
//! lowest validation loss is kept. What is left of a killed sweep continues.

use super::pretrain::{Corpus, stream_of};
use super::training::Training;
use crate::context::{CHECKPOINTS, Context, StageError};
use crate::model::gpt2::{Dropout, Gpt2};
use crate::model::parallel::{device_rows, gradients, map_shards};
use crate::model::sampling::to_vec;
use crate::model::tokenizer::Tokenizer;
use crate::model::vocabulary::check_ids;
use crate::model::weights::save_gpt2;
use crate::model::{LanguageModel, ModelError};
use crate::spec::keyed::TextsKey;
use crate::spec::{Spec, SupervisedOn, SupervisedSpec};
use crate::store::atomic::write_atomic;
use crate::store::cache::{Key, Work};
use crate::store::seal::{self, Part};
use crate::task::Example;
use crate::task::response::summary_response;
use crate::{random, ranks};
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
/// Rows of one pass on a GPU.
pub const GPU_ROWS: usize = 16;

/// One learning rate of the sweep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub lr: f64,
    /// Mean negative log-likelihood per token on the validation rows, in nats; none where training came to no number.
    pub validation_loss: Option<f64>,
    pub steps: usize,
}

/// supervised.json beside the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SupervisedSummary {
    pub trials: Vec<Trial>,
    /// The learning rate that was kept.
    pub lr: f64,
    /// Of the model before fine-tuning.
    pub validation_loss_before: f64,
    pub validation_rows: usize,
    pub training_rows: usize,
}

/// Everything fine-tuning needs.
pub struct SupervisedInputs<'a> {
    pub reference: &'a Gpt2,
    pub tokenizer: &'a Tokenizer,
    pub corpus: &'a Corpus,
    /// Training queries with their summaries.
    pub examples: &'a [Example],
}

/// What the fine-tuned model depends on; none where the spec asks for no fine-tuning.
pub fn key(spec: &Spec, reference: &Key) -> Result<Option<Key>, StageError> {
    if spec.supervised.on == SupervisedOn::Nothing {
        return Ok(None);
    }
    let inputs = (&spec.supervised, TextsKey::of(&spec.task), spec.seed, reference.to_string());
    Ok(Some(Key::new("supervised", VERSION, &inputs)?))
}

/// The fine-tuned model's directory.
pub fn run(context: &Context, spec: &Spec, key: &Key, inputs: &SupervisedInputs<'_>) -> Result<PathBuf, StageError> {
    context.artifact(None, key, |work| sweep(context, spec, inputs, work))
}

/// A row to learn: tokens, and from which position on they are to be predicted (the first token never is).
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingRow {
    pub tokens: Vec<u32>,
    pub from: usize,
}

impl TrainingRow {
    /// How many tokens are to be predicted.
    fn predicted(&self) -> usize {
        self.tokens.len().saturating_sub(self.from.max(1))
    }
}

/// The task's documents as one stream with `<|endoftext|>` between them, cut into rows.
fn text_rows(inputs: &SupervisedInputs<'_>, length: usize) -> Result<Vec<TrainingRow>, StageError> {
    let stream = stream_of(&inputs.corpus.train, inputs.tokenizer)?;
    Ok(stream.chunks_exact(length + 1).map(|tokens| TrainingRow { tokens: tokens.to_vec(), from: 1 }).collect())
}

/// Each query followed by its summary and the text that ends a response, within the response's length.
fn summary_rows(spec: &Spec, inputs: &SupervisedInputs<'_>) -> Result<Vec<TrainingRow>, StageError> {
    let mut rows = Vec::new();
    for example in inputs.examples {
        let Some(summary) = &example.summary else { continue };
        let response = summary_response(summary, inputs.tokenizer, &spec.task)?;
        let query: Vec<u32> = example.query.iter().flatten().copied().collect();
        let from = query.len();
        rows.push(TrainingRow { tokens: query.into_iter().chain(response).collect(), from });
    }
    if rows.is_empty() {
        return Err(StageError::Input(
            "supervised.on = \"summaries\": task.data has no summaries; name their column with task.data.columns.summary, or take on = \"text\""
                .into(),
        ));
    }
    Ok(rows)
}

/// Rows to learn from; those of text must fit the model.
fn rows_of(spec: &Spec, inputs: &SupervisedInputs<'_>) -> Result<Vec<TrainingRow>, StageError> {
    let length = spec.supervised.sequence_length;
    let context_length = inputs.reference.dimensions().context;
    match spec.supervised.on {
        SupervisedOn::Nothing => Ok(Vec::new()),
        SupervisedOn::Text if length > context_length => Err(StageError::Input(format!(
            "supervised.sequence_length: {length} tokens do not fit the model's context of {context_length}"
        ))),
        SupervisedOn::Text => text_rows(inputs, length),
        SupervisedOn::Summaries => summary_rows(spec, inputs),
    }
}

/// Validation and training rows: a random split, the same for every learning rate.
fn split(spec: &Spec, rows: &[TrainingRow]) -> Result<(Vec<TrainingRow>, Vec<TrainingRow>), StageError> {
    let held_out = spec.supervised.validation;
    let order = random::shuffled(spec.seed, "supervised validation", rows.len(), 0, rows.len());
    if held_out * 2 > rows.len() {
        return Err(StageError::Input(format!(
            "supervised.validation: {held_out} rows are to be held out of {}; lower it, or use more text",
            rows.len()
        )));
    }
    let mut validation: Vec<TrainingRow> = order.into_iter().map(|i| rows[i].clone()).collect();
    let training = validation.split_off(held_out);
    Ok((validation, training))
}

/// The trials of a sweep and its best model so far, as a killed one left them.
struct Sweep {
    dir: PathBuf,
    trials: Vec<Trial>,
}

impl Sweep {
    fn resume(work: &Work) -> Result<Self, StageError> {
        let dir = work.dir.join(CHECKPOINTS);
        let progress = Self::progress(&dir);
        let read = || match progress.exists() {
            true => seal::read(&progress).map(|(trials, _)| trials).unwrap_or_else(|e| {
                tracing::warn!("{e}; the sweep begins again");
                Vec::new()
            }),
            false => Vec::new(),
        };
        let trials = ranks::from_first(|| Ok::<_, StageError>(read()))?;
        Ok(Self { dir, trials })
    }

    fn progress(dir: &Path) -> PathBuf {
        dir.join("trials.json")
    }

    fn best_dir(&self) -> PathBuf {
        self.dir.join("best")
    }

    /// Learning rate and validation loss of the best trial.
    fn best(&self) -> Option<(f64, f64)> {
        self.trials.iter().filter_map(|t| Some((t.lr, t.validation_loss?))).min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// A model's validation loss, none where it is no number; the model is kept where it is the best so far.
    fn judge(
        &self,
        lr: f64,
        model: &Gpt2,
        validation: &[TrainingRow],
        inputs: &SupervisedInputs<'_>,
    ) -> Result<Option<f64>, StageError> {
        let loss = loss_of(model, validation)?;
        tracing::info!("supervised: lr {lr:.2e}: validation loss {loss:.4}");
        if loss < self.best().map_or(f64::INFINITY, |(_, loss)| loss) {
            save_gpt2(&self.best_dir(), model, inputs.tokenizer.end_of_text())?;
        }
        Ok(Some(loss).filter(|loss| loss.is_finite()))
    }

    fn add(&mut self, trial: Trial) -> Result<(), StageError> {
        self.trials.push(trial);
        ranks::by_first(|| self.save())
    }

    fn save(&self) -> Result<(), StageError> {
        // The best model so far counts on being what it was.
        let best = self.best().map(|_| Part::whole(&self.dir, "best/model.safetensors")).transpose();
        let progress = Self::progress(&self.dir);
        let written = best.and_then(|best| seal::write(&progress, &self.trials, best.into_iter().collect()));
        written.map_err(StageError::io(&progress))
    }
}

fn sweep(context: &Context, spec: &Spec, inputs: &SupervisedInputs<'_>, work: &Work) -> Result<(), StageError> {
    let s = &spec.supervised;
    let (validation, training) = split(spec, &rows_of(spec, inputs)?)?;
    let before = loss_of(inputs.reference, &validation)?;
    tracing::info!(
        "supervised: {} training and {} validation rows, validation loss {before:.4} before",
        training.len(),
        validation.len()
    );
    let mut sweep = Sweep::resume(work)?;
    for (i, lr) in s.lrs.iter().enumerate().skip(sweep.trials.len()) {
        let validation_loss = match train(context, spec, inputs, &training, *lr, &sweep.dir.join(i.to_string()))? {
            Some(model) => sweep.judge(*lr, &model, &validation, inputs)?,
            None => None,
        };
        sweep.add(Trial { lr: *lr, validation_loss, steps: steps(s, training.len()) })?;
    }
    let Some((lr, _)) = sweep.best() else {
        let message = "no learning rate of the sweep gives a finite validation loss; lower supervised.lrs".into();
        return Err(StageError::Guard { name: "nan", message });
    };
    let model = context.gpt2(&sweep.best_dir(), spec.model.precision)?;
    save_gpt2(&work.dir, &model, inputs.tokenizer.end_of_text())?;
    inputs.tokenizer.save(&work.dir)?;
    let summary = SupervisedSummary {
        lr,
        trials: sweep.trials,
        validation_loss_before: before,
        validation_rows: validation.len(),
        training_rows: training.len(),
    };
    let path = work.dir.join("supervised.json");
    write_atomic(&path, format!("{:#}\n", serde_json::to_value(&summary)?).as_bytes()).map_err(StageError::io(path))
}

fn steps(s: &SupervisedSpec, rows: usize) -> usize {
    (rows * s.epochs).div_ceil(s.batch_size)
}

/// Cosine decay from `lr` to 0.
pub fn cosine(lr: f64, step: usize, steps: usize) -> f64 {
    lr * 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps.max(1) as f64).cos())
}

/// One learning rate; none where the loss became no number.
fn train(
    context: &Context,
    spec: &Spec,
    inputs: &SupervisedInputs<'_>,
    rows: &[TrainingRow],
    lr: f64,
    checkpoints: &Path,
) -> Result<Option<Gpt2>, StageError> {
    let s = &spec.supervised;
    let steps = steps(s, rows.len());
    let training = Training {
        context,
        name: format!("supervised {lr:.1e}"),
        checkpoints: checkpoints.to_path_buf(),
        steps,
        adam: s.adam,
        lr_key: "supervised.lrs",
    };
    let trained = training.run(inputs.reference.clone(), &context.device, |step, model, adam| {
        let count = s.batch_size.min(rows.len() * s.epochs - step * s.batch_size);
        let picked = random::shuffled(spec.seed, "supervised order", rows.len(), step * s.batch_size, count);
        let picked: Vec<(usize, &TrainingRow)> = picked.iter().map(|i| &rows[*i]).enumerate().collect();
        let tokens: usize = picked.iter().map(|(_, r)| r.predicted()).sum();
        let stream = |first: usize| {
            random::stream(spec.seed, &format!("supervised dropout {lr}"), (step * s.batch_size + first) as u64)
        };
        let at_once = rows_at_once(&model, &picked, s.dropout > 0.0);
        let (found, losses) = gradients(&model, &mut adam.scale, &picked, at_once, |model, shard| {
            let mut dropout = Dropout::new(s.dropout, stream(shard[0].0));
            let rows: Vec<&TrainingRow> = shard.iter().map(|(_, row)| *row).collect();
            let loss = summed_loss(model, &rows, (s.dropout > 0.0).then_some(&mut dropout))? / tokens as f64;
            let value = to_vec(loss.clone().inner())?[0];
            Ok::<_, ModelError>((loss, value))
        })?;
        Ok((adam.update(model, found, cosine(lr, step, steps))?, losses.iter().sum()))
    });
    match trained {
        Ok((model, _)) => Ok(Some(model)),
        // A rate that is too high is what a sweep is there to find.
        Err(StageError::Guard { message, .. }) => {
            tracing::warn!("{message}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Sum over the rows' tokens of -log ρ(token | before) -> `[1]`; rows are padded on the right to the longest.
fn summed_loss(model: &Gpt2, rows: &[&TrainingRow], dropout: Option<&mut Dropout>) -> Result<Tensor<1>, ModelError> {
    let longest = rows.iter().map(|r| r.tokens.len()).max().unwrap_or(1);
    let device = model.device();
    check_ids(rows.iter().flat_map(|row| &row.tokens), model.vocab())?;
    // The last token is only predicted.
    let inputs: Vec<Vec<Option<u32>>> = rows
        .iter()
        .map(|r| (0..longest - 1).map(|i| r.tokens.get(i).copied().filter(|_| i + 1 < r.tokens.len())).collect())
        .collect();
    let width = model.dimensions().width;
    let hidden = match dropout {
        Some(dropout) => model.hidden_with_dropout(&inputs, dropout)?,
        None => model.hidden(&model.batch(&inputs)?),
    };
    // The head only where there is something to predict.
    let (mut at, mut targets) = (Vec::new(), Vec::new());
    for (r, row) in rows.iter().enumerate() {
        for i in row.from.max(1)..row.tokens.len() {
            at.push((r * (longest - 1) + i - 1) as i32);
            targets.push(row.tokens[i] as i32);
        }
    }
    let n = at.len();
    let ints = |values: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &device);
    let hidden = hidden.reshape([rows.len() * (longest - 1), width]).select(0, ints(at));
    Ok(model.token_logprobs(hidden, ints(targets), 1.0).sum().neg())
}

/// Rows of a pass over some of these.
fn rows_at_once(model: &Gpt2, rows: &[(usize, &TrainingRow)], dropout: bool) -> usize {
    let time = rows.iter().map(|(_, row)| row.tokens.len()).max().unwrap_or(1);
    let predicted = rows.iter().map(|(_, row)| row.predicted()).max().unwrap_or(1);
    device_rows(model, time, predicted, dropout).min(GPU_ROWS)
}

/// Mean loss per predicted token, without dropout.
pub fn loss_of(model: &Gpt2, rows: &[TrainingRow]) -> Result<f64, StageError> {
    let numbered: Vec<(usize, &TrainingRow)> = rows.iter().enumerate().collect();
    let sums = map_shards(rows, rows_at_once(model, &numbered, false), |rows| {
        let rows: Vec<&TrainingRow> = rows.iter().collect();
        Ok::<_, ModelError>(f64::from(to_vec(summed_loss(model, &rows, None)?)?[0]))
    })?;
    let tokens: usize = rows.iter().map(TrainingRow::predicted).sum();
    Ok(sums.iter().sum::<f64>() / tokens.max(1) as f64)
}
