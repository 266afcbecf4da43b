//! The whole experiment: ρ -> r_s -> per run: labels -> r -> π -> evaluation, published into the results directory.

use super::StageError;
use super::context::Context;
use super::scoring::{Rule, Scorer, raw_scores};
use super::{classifier, collect, evaluate, policy, pretrain, reward};
use crate::data::queries::{Query, queries};
use crate::model::gpt2::Gpt2;
use crate::model::tokenizer::Tokenizer;
use crate::model::weights::{load_gpt2, load_scalar, save_gpt2};
use crate::report::files::{Accuracy, Perplexity, read_json};
use crate::report::tensorboard::write_events;
use crate::rlhf::reward::Normalization;
use crate::spec::{CollectSchedule, Spec};
use crate::store::cache::{Key, publish};
use std::path::{Path, PathBuf};

/// The artifacts of one run, by what they depend on: known before any of them is made.
#[derive(Debug, Clone)]
pub struct Keys {
    pub reference: Key,
    pub classifier: Key,
    /// Labels and reward model; direct mode has neither.
    pub learned: Option<(Key, Key)>,
    pub policy: Key,
    pub evaluate: Key,
}

impl Keys {
    pub fn new(spec: &Spec, run: &str, device_kind: &str) -> Result<Self, StageError> {
        let reference = pretrain::key(spec, device_kind)?;
        let classifier = classifier::key(spec, &reference)?;
        let mut upstream = vec![reference.to_string(), classifier.to_string()];
        let learned = match spec.collect.schedule {
            CollectSchedule::Direct | CollectSchedule::None => None,
            CollectSchedule::Offline => {
                let labels = collect::key(spec, &upstream)?;
                let reward = reward::key(spec, &labels)?;
                Some((labels, reward))
            }
        };
        upstream.push(match &learned {
            Some((_, reward)) => reward.to_string(),
            None => format!("direct {:?}", spec.reward),
        });
        let policy = policy::key(spec, &upstream)?;
        let evaluate = evaluate::key(spec, run, &policy)?;
        Ok(Self { reference, classifier, learned, policy, evaluate })
    }

    /// In the order in which they are made.
    pub fn all(&self) -> Vec<&Key> {
        let learned = self.learned.iter().flat_map(|(labels, reward)| [labels, reward]);
        [&self.reference, &self.classifier].into_iter().chain(learned).chain([&self.policy, &self.evaluate]).collect()
    }
}

/// What all runs of a spec with the same model, task and labeler share.
struct Shared {
    reference: PathBuf,
    tokenizer: Tokenizer,
    rho: Gpt2,
    labeler: Scorer,
    rule: Rule,
    train: Vec<Query>,
    held_out: Vec<Query>,
}

const RAW: Normalization = Normalization { gain: 1.0, bias: 0.0 };

fn prepare(context: &Context, spec: &Spec, keys: &Keys) -> Result<Shared, StageError> {
    let reference = pretrain::run(context, spec, &keys.reference)?;
    let classifier = classifier::run(context, spec, &keys.classifier, &reference)?;
    let tokenizer = Tokenizer::load(&reference)?;
    let rho = load_gpt2(&reference, &context.device)?;
    let longest = spec.task.query_length + spec.task.response_length;
    if longest > rho.dimensions().context {
        return Err(StageError::Input(format!(
            "task: query and response need {longest} positions; the model in model.weights.path has {}",
            rho.dimensions().context
        )));
    }
    let corpus = pretrain::corpus(spec)?;
    let (train, held_out) =
        (queries(&corpus.train, &tokenizer, &spec.task)?, queries(&corpus.held_out, &tokenizer, &spec.task)?);
    tracing::info!("{} training and {} held-out queries", train.len(), held_out.len());
    let needed = spec.evaluate.queries.max(spec.evaluate.optimum_queries);
    if train.len() < spec.policy.batch_size || held_out.len() < needed {
        return Err(StageError::Input(format!(
            "task.data gives {} training and {} held-out queries of {}-{} tokens; {} and {needed} are needed: use more text, or lower policy.batch_size and evaluate.queries",
            train.len(),
            held_out.len(),
            spec.task.query_min_length,
            spec.task.query_length,
            spec.policy.batch_size
        )));
    }
    let labeler = Scorer { model: load_scalar(&classifier, &context.device)?, normalization: RAW };
    let rule = Rule::new(&spec.task, &tokenizer)?;
    Ok(Shared { reference, tokenizer, rho, labeler, rule, train, held_out })
}

/// Runs every variant of a spec; `publish` receives each run as soon as it is done.
pub fn run(context: &Context, variants: &[(String, Spec)]) -> Result<(), StageError> {
    for (name, spec) in variants {
        let keys = Keys::new(spec, name, &context.device_kind)?;
        let shared = prepare(context, spec, &keys)?;
        let copy = |from: PathBuf, to: PathBuf| publish(&from, &to).map_err(StageError::io(to));
        for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
            copy(shared.reference.join(file), context.out.join("models/reference").join(file))?;
        }
        variant(context, name, spec, &keys, &shared)?;
    }
    Ok(())
}

/// Scores of ρ's samples under r_s set direct mode's normalisation, as they would a reward model's.
fn direct_scorer(spec: &Spec, shared: &Shared) -> Result<Scorer, StageError> {
    let picked =
        Context::shuffled(spec.seed, "normalization queries", shared.train.len(), 0, spec.reward.normalize_samples);
    let queries: Vec<Query> = picked.iter().map(|i| shared.train[*i].clone()).collect();
    let responses = collect::sample_all(&shared.rho, spec, &queries, 1, "normalization samples")?;
    let rows: Vec<Query> = queries.iter().zip(&responses).map(|(q, r)| shared.rule.row(q, r)).collect();
    let fit =
        Normalization::fit(&raw_scores(&shared.labeler.model, &rows)?, spec.reward.target_mean, spec.reward.target_std);
    Ok(Scorer { normalization: fit, ..shared.labeler.clone() })
}

fn variant(context: &Context, run: &str, spec: &Spec, keys: &Keys, s: &Shared) -> Result<(), StageError> {
    let end_of_text = s.tokenizer.end_of_text();
    let run_dir = context.out.join("runs").join(run);
    let copy = |from: &Path, name: &str, to: PathBuf| publish(&from.join(name), &to).map_err(StageError::io(to));
    let (scorer, accuracy) = match &keys.learned {
        None => (direct_scorer(spec, s)?, None),
        Some((labels_key, reward_key)) => {
            let inputs = collect::Inputs { reference: &s.rho, labeler: &s.labeler, rule: &s.rule, queries: &s.train };
            let labels = collect::run(context, run, spec, labels_key, &inputs)?;
            copy(&labels, "labels.jsonl", context.out.join("labels").join(format!("{run}.jsonl")))?;
            let inputs =
                reward::Inputs { reference: &s.rho, rule: &s.rule, queries: &s.train, labels: &labels, end_of_text };
            let trained = reward::run(context, run, spec, reward_key, &inputs)?;
            for file in ["config.json", "model.safetensors", "reward.json"] {
                copy(&trained, file, run_dir.join("models/reward").join(file))?;
            }
            s.tokenizer.save(&run_dir.join("models/reward"))?;
            let (scorer, summary) = reward::load(context, &trained)?;
            (scorer, Some(Accuracy { correct: summary.correct, n: summary.n }))
        }
    };
    let common = || policy::Inputs {
        reference: &s.rho,
        scorer: &scorer,
        mock: &s.labeler,
        rule: &s.rule,
        queries: &s.train,
        end_of_text,
    };
    let trained = policy::run(context, run, spec, &keys.policy, &common())?;
    copy(&trained, "metrics.jsonl", run_dir.join("metrics.jsonl"))?;
    write_events(&run_dir.join("metrics.jsonl"), &context.out.join("tensorboard").join(run))?;
    let pi = load_scalar(&trained, &context.device)?;
    let model_dir = run_dir.join("models/policy");
    save_gpt2(&model_dir, &pi.trunk, end_of_text)?;
    s.tokenizer.save(&model_dir)?;
    copy(&trained, "model.safetensors", model_dir.join("with_value_head.safetensors"))?;
    let perplexity = s.reference.join("perplexity.json");
    let perplexity = if perplexity.exists() { read_json::<Perplexity>(&perplexity).ok() } else { None };
    let inputs = evaluate::Inputs {
        common: common(),
        tokenizer: &s.tokenizer,
        policy: &pi,
        held_out: &s.held_out,
        accuracy,
        perplexity,
    };
    let evaluated = evaluate::run(context, run, spec, &keys.evaluate, &inputs)?;
    for file in ["evaluation.json", "samples.jsonl"] {
        copy(&evaluated, file, run_dir.join(file))?;
    }
    Ok(())
}
