//! The pretrained model ρ: loaded from a directory, or trained from scratch with its tokenizer on the task's text.

use super::training::Training;
use crate::context::{CHECKPOINTS, Context, StageError};
use crate::data::hub::Hub;
use crate::data::read_report::ReadReport;
use crate::data::source::{Document, Want, documents, fingerprint};
use crate::model::config::read_config;
use crate::model::gpt2::Gpt2;
use crate::model::parallel::{device_rows, gradients, map_shards};
use crate::model::sampling::to_vec;
use crate::model::tensor_file::weight_files;
use crate::model::tokenizer::Tokenizer;
use crate::model::vocabulary::fitted;
use crate::model::weights::save_gpt2;
use crate::model::{LanguageModel, ModelError};
use crate::random;
use crate::spec::keyed::TextsKey;
use crate::spec::{AdamForm, AdamSpec, PretrainSpec, PretrainTokenizer, Spec, TaskSpec};
use crate::store::atomic::{hash_file, write_atomic};
use crate::store::cache::Key;
use crate::task::QueryFormat;
use crate::task::response::summary_response;
use rand::RngExt;
use serde_json::json;
use std::path::{Path, PathBuf};

const VERSION: u32 = 6;
/// Every tenth document is held out of training.
const HELD_OUT: usize = 10;

/// Documents for training and held out.
pub struct Corpus {
    pub train: Vec<Document>,
    pub held_out: Vec<Document>,
    pub report: ReadReport,
}

/// Reads or makes the task's text. Without files that are held out, every tenth document is; a plain text file (a book)
/// is split into documents first, so that a part of each is held out.
pub fn corpus(spec: &Spec) -> Result<Corpus, StageError> {
    let passages =
        spec.model.weights.pretrain.as_ref().map_or_else(|| PretrainSpec::default().passages, |p| p.passages);
    // The corpus is the same for all seeds of an experiment, like a real data set.
    let found = documents(&spec.task.data, passages, 0)?;
    let split = |all: Vec<Document>| match found.plain_text {
        true => all.iter().flat_map(|d| pieces(&d.text)).map(Document::from).collect(),
        false => all,
    };
    let (all, given, report) = (split(found.train), found.held_out.map(split), found.report);
    let count = all.len() + given.as_ref().map_or(0, Vec::len);
    if count < 2 * HELD_OUT || all.is_empty() || given.as_ref().is_some_and(Vec::is_empty) {
        return Err(StageError::Input(format!(
            "task.data: only {count} documents; at least {} are needed (a .txt file is cut into pieces of about 2,000 characters, between paragraphs){}",
            2 * HELD_OUT,
            report.remarks.iter().map(|remark| format!("; {remark}")).collect::<String>()
        )));
    }
    if let Some(held_out) = given {
        return Ok(Corpus { train: all, held_out, report });
    }
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for (i, document) in all.into_iter().enumerate() {
        if i % HELD_OUT == 0 { held_out.push(document) } else { train.push(document) }
    }
    Ok(Corpus { train, held_out, report })
}

/// Books in pieces of about 2,000 characters that end at line ends.
fn pieces(document: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for line in document.lines() {
        if pieces.last().is_some_and(|p| p.len() > 2_000) {
            pieces.push(String::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push_str(line);
            piece.push('\n');
        }
    }
    pieces
}

/// Where weights that are given are, and their commit if they are the hub's; `None` for pretraining. Nothing is
/// fetched: see [`super::sources`].
fn given(spec: &Spec) -> Result<Option<(PathBuf, Option<String>)>, StageError> {
    let weights = &spec.model.weights;
    if let Some(repo) = &weights.hf {
        let (dir, commit) = Hub::from_env()?.cache_only().model(repo, weights.revision.as_deref())?;
        return Ok(Some((dir, Some(commit))));
    }
    Ok(weights.path.as_ref().map(|path| (PathBuf::from(path), None)))
}

/// The tokenizer that a run will have, where it is here already: of weights that are given, or of the artifact of
/// others.
pub fn tokenizer(spec: &Spec, artifact: &Path) -> Option<Tokenizer> {
    match &spec.model.weights.pretrain {
        Some(p) if p.tokenizer == PretrainTokenizer::Gpt2 => Tokenizer::gpt2().ok(),
        Some(_) => Tokenizer::load(artifact).ok(),
        None => Tokenizer::load(&given(spec).ok()??.0).ok(),
    }
}

/// A file of the model that is given and cannot be used is wrong input, and no failure of the run.
pub(super) fn readable<T>(result: Result<T, ModelError>) -> Result<T, StageError> {
    result.map_err(|e| match e {
        ModelError::File { .. } | ModelError::Tensor { .. } => StageError::Input(e.to_string()),
        other => other.into(),
    })
}

fn unusable(file: &Path, why: &std::io::Error) -> StageError {
    StageError::Input(format!("{}: {why}", file.display()))
}

/// All files of a model directory that are read.
pub(super) fn files(dir: &Path) -> Result<Vec<PathBuf>, ModelError> {
    read_config(dir)?;
    let mut files = weight_files(dir)?;
    files.push(dir.join("config.json"));
    files.extend(Tokenizer::files(dir));
    Ok(files)
}

/// What ρ depends on: its weights' content where they are given, else everything that pretraining reads.
pub fn key(spec: &Spec, device_kind: &str) -> Result<Key, StageError> {
    let content = fingerprint(&spec.task.data, Want::Documents)?;
    // All that follows depends on ρ, and computes in the same precision on the same device.
    let device_kind = &spec.model.precision.on(device_kind);
    // Where files are does not matter, only what is in them.
    let task = spec.task.without_place();
    if let Some((dir, commit)) = given(spec)? {
        let files = readable(files(&dir))?;
        let hashes = files.iter().map(|f| hash_file(f).map_err(|e| unusable(f, &e))).collect::<Result<Vec<_>, _>>()?;
        return Ok(Key::new("import", VERSION, &(hashes, commit, &task.data, content, device_kind))?);
    }
    let pretrain = spec.model.weights.pretrain.as_ref().map(|p| {
        // Files are read whole.
        let passages = if task.data.synthetic.is_some() { p.passages } else { 0 };
        PretrainSpec { passages, ..p.clone() }
    });
    let inputs = (spec.model.dimensions(), pretrain, &task.data, content, spec.seed, device_kind);
    if spec.model.weights.pretrain.as_ref().is_some_and(|p| p.summaries) {
        // The task's rules and texts are part of what is read.
        return Ok(Key::new("pretrain", VERSION, &("summaries", inputs, TextsKey::of(&spec.task)))?);
    }
    Ok(Key::new("pretrain", VERSION, &inputs)?)
}

/// ρ's directory in the cache.
pub fn run(context: &Context, spec: &Spec, key: &Key) -> Result<PathBuf, StageError> {
    if let Some((dir, _)) = given(spec)? {
        return context.artifact(None, key, |work| import(context, spec, &dir, &work.dir));
    }
    let pretrain = spec.model.weights.pretrain.clone().unwrap_or_default();
    context.artifact(None, key, |work| train(context, spec, &pretrain, &work.dir))
}

/// Reads a model directory of any layout and number type, and writes it into the cache in ours, so that results do not
/// depend on a path that may change; measures how well the model knows the task's text.
fn import(context: &Context, spec: &Spec, from: &Path, dir: &Path) -> Result<(), StageError> {
    let tokenizer = readable(Tokenizer::load(from))?;
    tokenizer.save(dir)?;
    let model = fitted(readable(context.gpt2(from, spec.model.precision))?, &tokenizer)?;
    save_gpt2(dir, &model, tokenizer.end_of_text())?;
    let corpus = corpus(spec)?;
    let (train, held_out) = (stream_of(&corpus.train, &tokenizer)?, stream_of(&corpus.held_out, &tokenizer)?);
    let length = PretrainSpec::default().sequence_length.min(model.dimensions().context);
    save_perplexity(&model, &train, &held_out, length, dir)
}

fn train(context: &Context, spec: &Spec, p: &PretrainSpec, dir: &Path) -> Result<(), StageError> {
    let corpus = corpus(spec)?;
    let tokenizer = match p.tokenizer {
        PretrainTokenizer::Trained if p.summaries => {
            let texts: Vec<String> = corpus.train.iter().map(|d| with_summary(d, &spec.task)).collect();
            Tokenizer::train(texts.iter().map(String::as_str), p.vocabulary)?
        }
        PretrainTokenizer::Trained => Tokenizer::train(corpus.train.iter().map(|d| d.text.as_str()), p.vocabulary)?,
        PretrainTokenizer::Gpt2 => Tokenizer::gpt2()?,
    };
    let stream = |documents: &[Document]| match p.summaries {
        true => stream_with_summaries(documents, &tokenizer, &spec.task),
        false => stream_of(documents, &tokenizer),
    };
    let (train, held_out) = (stream(&corpus.train)?, stream(&corpus.held_out)?);
    if train.len() <= p.sequence_length + 1 || held_out.len() <= p.sequence_length {
        return Err(StageError::Input(format!(
            "task.data: {} tokens are too few for sequences of {}",
            train.len(),
            p.sequence_length
        )));
    }
    let vocab = tokenizer.vocab();
    let init = random::number(spec.seed, "reference init");
    let model = Gpt2::init(&spec.model.dimensions(), vocab, init, &context.device).with(spec.model.precision);
    let training = Training {
        context,
        name: "pretrain".into(),
        checkpoints: dir.join(CHECKPOINTS),
        steps: p.steps,
        adam: AdamSpec { form: AdamForm::Torch, beta1: 0.9, beta2: 0.95, epsilon: 1e-8 },
        lr_key: "model.weights.pretrain.lr",
    };
    let (model, _) = training.run(model, &context.device, |step, model, adam| {
        let mut rng = random::stream(spec.seed, "pretrain offsets", step as u64);
        let offsets: Vec<usize> =
            (0..p.batch_size).map(|_| rng.random_range(0..train.len() - p.sequence_length)).collect();
        let rows: Vec<&[u32]> = offsets.iter().map(|o| &train[*o..o + p.sequence_length + 1]).collect();
        let at_once = device_rows(&model, p.sequence_length, p.sequence_length, false);
        let (gradients, losses) = gradients(&model, &mut adam.scale, &rows, at_once, |model, rows| {
            let loss = language_model_loss(model, rows)? * (rows.len() as f64 / p.batch_size as f64);
            let value = to_vec(loss.clone().inner())?[0];
            Ok::<_, ModelError>((loss, value))
        })?;
        Ok((adam.update(model, gradients, learning_rate(p, step))?, losses.iter().sum()))
    })?;
    save_gpt2(dir, &model, tokenizer.end_of_text())?;
    tokenizer.save(dir)?;
    save_perplexity(&model, &train, &held_out, p.sequence_length, dir)
}

fn save_perplexity(model: &Gpt2, train: &[u32], held_out: &[u32], length: usize, dir: &Path) -> Result<(), StageError> {
    let perplexity = perplexity(model, train, held_out, length)?;
    tracing::info!(
        "held-out perplexity {:.2} over {} tokens (token frequencies alone: {:.0}; vocabulary: {})",
        perplexity["model"].as_f64().unwrap_or(f64::NAN),
        perplexity["tokens"],
        perplexity["unigram"].as_f64().unwrap_or(f64::NAN),
        model.vocab()
    );
    let path = dir.join("perplexity.json");
    write_atomic(&path, format!("{perplexity:#}\n").as_bytes()).map_err(StageError::io(path))
}

/// Linear warm-up, then cosine to 0.
fn learning_rate(p: &PretrainSpec, step: usize) -> f64 {
    if step < p.warmup_steps {
        return p.lr * (step + 1) as f64 / p.warmup_steps as f64;
    }
    let progress = (step - p.warmup_steps) as f64 / (p.steps - p.warmup_steps).max(1) as f64;
    p.lr * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

/// All documents as one stream of tokens with `<|endoftext|>` between them.
pub fn stream_of(documents: &[Document], tokenizer: &Tokenizer) -> Result<Vec<u32>, StageError> {
    let mut stream = Vec::new();
    for document in documents {
        stream.extend(tokenizer.encode(&document.text)?);
        stream.push(tokenizer.end_of_text());
    }
    Ok(stream)
}

/// What the tokenizer of a model with summaries learns its words from.
fn with_summary(document: &Document, task: &TaskSpec) -> String {
    let summary = document.summary.as_deref().unwrap_or_default();
    format!("{}{}{} {summary}{}", task.query_prefix, document.text, task.query_suffix, task.truncate_at)
}

/// The same stream, each document that gives a query and has a summary as the task shows it: the query with what
/// surrounds it, then the summary as the response.
fn stream_with_summaries(
    documents: &[Document],
    tokenizer: &Tokenizer,
    task: &TaskSpec,
) -> Result<Vec<u32>, StageError> {
    let format = QueryFormat::new(task, tokenizer)?;
    let mut stream = Vec::new();
    for document in documents {
        let query = format.queries(&document.text, tokenizer)?.into_iter().next();
        match (query, &document.summary) {
            (Some(query), Some(summary)) => {
                stream.extend(query.into_iter().flatten());
                stream.extend(summary_response(summary, tokenizer, task)?);
            }
            _ => stream.extend(tokenizer.encode(&document.text)?),
        }
        stream.push(tokenizer.end_of_text());
    }
    Ok(stream)
}

/// Mean negative log-likelihood of rows of `sequence_length + 1` tokens, as `[1]`.
///
/// # Errors
/// An id that has no row.
pub fn language_model_loss(model: &Gpt2, rows: &[&[u32]]) -> Result<burn::tensor::Tensor<1>, ModelError> {
    let length = rows.first().map_or(1, |r| r.len() - 1);
    let inputs: Vec<Vec<Option<u32>>> = rows.iter().map(|r| r[..length].iter().map(|t| Some(*t)).collect()).collect();
    let outputs: Vec<Vec<u32>> = rows.iter().map(|r| r[1..].to_vec()).collect();
    let hidden = Gpt2::response_hidden(model.hidden(&model.batch(&inputs)?), 1, length);
    Ok(model.token_logprobs(hidden, model.targets(&outputs)?, 1.0).mean().neg())
}

/// Held-out perplexity beside what knowing only token frequencies, or nothing, gives.
fn perplexity(model: &Gpt2, train: &[u32], held_out: &[u32], length: usize) -> Result<serde_json::Value, StageError> {
    let rows: Vec<&[u32]> = held_out.windows(length + 1).step_by(length).take(256).collect();
    let sums = map_shards(&rows, device_rows(model, length, length, false).min(32), |rows| {
        Ok::<_, ModelError>(f64::from(to_vec(language_model_loss(model, rows)?)?[0]) * rows.len() as f64)
    })?;
    let loss = sums.iter().sum::<f64>() / rows.len() as f64;
    let vocab = model.vocab();
    let mut frequency = vec![1.0f64; vocab];
    train.iter().for_each(|t| frequency[*t as usize] += 1.0);
    let sum: f64 = frequency.iter().sum();
    let scored: Vec<u32> = rows.iter().flat_map(|r| r[1..].iter().copied()).collect();
    let unigram = -scored.iter().map(|t| (frequency[*t as usize] / sum).ln()).sum::<f64>() / scored.len() as f64;
    Ok(json!({ "model": loss.exp(), "unigram": unigram.exp(), "uniform": vocab as f64, "tokens": scored.len() }))
}
