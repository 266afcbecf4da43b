//! The mock labeler r_s: a transformer with a scalar head trained on rated reviews; its output is the log-odds of
//! "positive" (paper section 3.1.1).

use super::training::Training;
use crate::context::{CHECKPOINTS, Context, StageError, keep_read};
use crate::data::source::{Labelled, Reviews, Want, fingerprint, labelled_reviews};
use crate::model::gpt2::{Gpt2, ScalarHead, ScalarModel};
use crate::model::parallel::{device_rows, gradients};
use crate::model::sampling::to_vec;
use crate::model::tokenizer::Tokenizer;
use crate::model::weights::save_scalar;
use crate::model::{LanguageModel, ModelError};
use crate::random;
use crate::spec::{AdamForm, AdamSpec, ClassifierSpec, Spec};
use crate::store::atomic::write_atomic;
use crate::store::cache::Key;
use crate::task::Query;
use crate::task::scoring::raw_scores;
use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Tensor, TensorData};
use serde_json::json;
use std::path::{Path, PathBuf};

const VERSION: u32 = 2;
/// One review in this many is held out to measure accuracy.
const HELD_OUT: usize = 10;

/// What r_s depends on: its reviews, its sizes, and ρ's tokenizer.
pub fn key(spec: &Spec, reference: &Key) -> Result<Key, StageError> {
    let content = match fingerprint(&spec.labeler.reviews, Want::Reviews)? {
        Some(files) => files,
        None => {
            let text: String = reviews(spec)?.rows.iter().map(|r| format!("{}\t{}\n", r.text, r.positive)).collect();
            blake3::hash(text.as_bytes()).to_hex().to_string()
        }
    };
    let l = &spec.labeler;
    let inputs = (
        &l.reviews.without_place(),
        // How many reviews there are is in their content.
        ClassifierSpec { reviews: 0, ..l.classifier.clone() },
        spec.task.query_length + spec.task.response_length,
        content,
        reference.to_string(),
        spec.seed,
    );
    Ok(Key::new("classifier", VERSION, &inputs)?)
}

fn reviews(spec: &Spec) -> Result<Reviews, StageError> {
    Ok(labelled_reviews(&spec.labeler.reviews, spec.labeler.classifier.reviews, 1)?)
}

/// r_s's directory. It reads the same tokens as ρ, whose directory is `reference`.
pub fn run(context: &Context, spec: &Spec, key: &Key, reference: &Path) -> Result<PathBuf, StageError> {
    let dir = context.artifact(None, key, |work| {
        let reviews = reviews(spec)?;
        keep_read(&work.dir, &reviews.report)?;
        train(context, spec, &reviews.rows, reference, &work.dir)
    })?;
    context.has_read_for(&dir)?;
    Ok(dir)
}

fn train(context: &Context, spec: &Spec, reviews: &[Labelled], reference: &Path, dir: &Path) -> Result<(), StageError> {
    let c = &spec.labeler.classifier;
    let tokenizer = Tokenizer::load(reference)?;
    let length = spec.task.query_length + spec.task.response_length;
    let rows = reviews
        .iter()
        .map(|r| Ok((row(&tokenizer.encode(&r.text)?, length), r.positive)))
        .collect::<Result<Vec<_>, StageError>>()?;
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for (i, r) in rows.into_iter().enumerate() {
        if i % HELD_OUT == 0 { held_out.push(r) } else { train.push(r) }
    }
    let seed = |what| random::number(spec.seed, what);
    let width = c.dimensions.width;
    let model = ScalarModel {
        trunk: Gpt2::init(&c.dimensions, tokenizer.vocab(), seed("classifier init"), &context.device)
            .with(spec.model.precision),
        head: ScalarHead::init(width, 1.0 / ((width + 1) as f64).sqrt(), seed("classifier head"), &context.device),
    };
    let training = Training {
        context,
        name: "classifier".into(),
        checkpoints: dir.join(CHECKPOINTS),
        steps: c.steps,
        adam: AdamSpec { form: AdamForm::Torch, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
        lr_key: "labeler.classifier.lr",
    };
    let (model, _) = training.run(model, &context.device, |step, model, adam| {
        let picked = random::shuffled(spec.seed, "classifier order", train.len(), step * c.batch_size, c.batch_size);
        let time = picked.iter().map(|i| train[*i].0.len()).max().unwrap_or(0);
        let at_once = device_rows(&model.trunk, time, 0, false);
        let (gradients, losses) = gradients(&model, &mut adam.scale, &picked, at_once, |model, picked| {
            let device = model.trunk.device();
            let batch: Vec<Query> = picked.iter().map(|i| train[*i].0.clone()).collect();
            let signs: Vec<f32> = picked.iter().map(|i| if train[*i].1 { 1.0 } else { -1.0 }).collect();
            let signs = Tensor::<1>::from_data(TensorData::new(signs, [picked.len()]), &device);
            // -log σ(±score): binary cross-entropy with the score as log-odds.
            let signed = model.score(&model.trunk.batch(&batch)?) * signs;
            let loss = log_sigmoid(signed).sum().neg() / c.batch_size as f64;
            let value = to_vec(loss.clone().inner())?[0];
            Ok::<_, ModelError>((loss, value))
        })?;
        let lr = c.lr * (1.0 - step as f64 / c.steps as f64);
        Ok((adam.update(model, gradients, lr)?, losses.iter().sum()))
    })?;
    save_scalar(dir, &model, tokenizer.end_of_text())?;
    tokenizer.save(dir)?;
    let held_rows: Vec<Query> = held_out.iter().map(|r| r.0.clone()).collect();
    let scores = raw_scores(&model, &held_rows)?;
    let correct = scores.iter().zip(&held_out).filter(|(s, r)| (**s > 0.0) == r.1).count();
    tracing::info!("mock classifier: {correct} of {} held-out reviews right", held_out.len());
    let accuracy = json!({ "correct": correct, "n": held_out.len() });
    let path = dir.join("accuracy.json");
    write_atomic(&path, format!("{accuracy:#}\n").as_bytes()).map_err(StageError::io(path))
}

/// The first `length` tokens, padded on the right.
fn row(tokens: &[u32], length: usize) -> Query {
    (0..length).map(|i| tokens.get(i).copied()).collect()
}
