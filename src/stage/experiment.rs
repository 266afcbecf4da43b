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
use crate::rlhf::reward::Normalization;
use crate::spec::{CollectSchedule, Spec};
use crate::store::cache::{Key, publish};
use std::path::{Path, PathBuf};

/// What all runs of a spec with the same model, task and labeler share.
struct Shared {
    reference: (Key, PathBuf),
    mock: (Key, PathBuf),
    tokenizer: Tokenizer,
    rho: Gpt2,
    labeler: Scorer,
    rule: Rule,
    train: Vec<Query>,
    held_out: Vec<Query>,
}

const RAW: Normalization = Normalization { gain: 1.0, bias: 0.0 };

fn prepare(context: &Context, spec: &Spec) -> Result<Shared, StageError> {
    let reference = pretrain::run(context, spec)?;
    let mock = classifier::run(context, spec, &reference)?;
    let tokenizer = Tokenizer::load(&reference.1)?;
    let rho = load_gpt2(&reference.1, &context.device)?;
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
    let labeler = Scorer { model: load_scalar(&mock.1, &context.device)?, normalization: RAW };
    let rule = Rule::new(&spec.task, &tokenizer)?;
    Ok(Shared { reference, mock, tokenizer, rho, labeler, rule, train, held_out })
}

/// Runs every variant of a spec; `publish` receives each run as soon as it is done.
pub fn run(context: &Context, variants: &[(String, Spec)]) -> Result<(), StageError> {
    for (name, spec) in variants {
        let shared = prepare(context, spec)?;
        let copy = |from: PathBuf, to: PathBuf| publish(&from, &to).map_err(StageError::io(to));
        for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
            copy(shared.reference.1.join(file), context.out.join("models/reference").join(file))?;
        }
        variant(context, name, spec, &shared)?;
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

fn variant(context: &Context, run: &str, spec: &Spec, s: &Shared) -> Result<(), StageError> {
    let end_of_text = s.tokenizer.end_of_text();
    let upstream = vec![s.reference.0.to_string(), s.mock.0.to_string()];
    let run_dir = context.out.join("runs").join(run);
    let copy = |from: &Path, name: &str, to: PathBuf| publish(&from.join(name), &to).map_err(StageError::io(to));
    let (scorer, accuracy, scorer_key) = match spec.collect.schedule {
        CollectSchedule::Direct => (direct_scorer(spec, s)?, None, format!("direct {:?}", spec.reward)),
        CollectSchedule::Offline => {
            let inputs = collect::Inputs { reference: &s.rho, labeler: &s.labeler, rule: &s.rule, queries: &s.train };
            let labels = collect::run(context, run, spec, &upstream, &inputs)?;
            copy(&labels.1, "labels.jsonl", context.out.join("labels").join(format!("{run}.jsonl")))?;
            let inputs =
                reward::Inputs { reference: &s.rho, rule: &s.rule, queries: &s.train, labels: &labels.1, end_of_text };
            let trained = reward::run(context, run, spec, &labels.0, &inputs)?;
            for file in ["config.json", "model.safetensors", "reward.json"] {
                copy(&trained.1, file, run_dir.join("models/reward").join(file))?;
            }
            let (scorer, summary) = reward::load(context, &trained.1)?;
            (scorer, Some(Accuracy { correct: summary.correct, n: summary.n }), trained.0.to_string())
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
    let upstream = [upstream, vec![scorer_key]].concat();
    let trained = policy::run(context, run, spec, &upstream, &common())?;
    copy(&trained.1, "metrics.jsonl", run_dir.join("metrics.jsonl"))?;
    let pi = load_scalar(&trained.1, &context.device)?;
    let model_dir = run_dir.join("models/policy");
    save_gpt2(&model_dir, &pi.trunk, end_of_text)?;
    s.tokenizer.save(&model_dir)?;
    copy(&trained.1, "model.safetensors", model_dir.join("with_value_head.safetensors"))?;
    let perplexity = s.reference.1.join("perplexity.json");
    let perplexity = if perplexity.exists() { read_json::<Perplexity>(&perplexity).ok() } else { None };
    let inputs = evaluate::Inputs {
        common: common(),
        tokenizer: &s.tokenizer,
        policy: &pi,
        held_out: &s.held_out,
        accuracy,
        perplexity,
    };
    let evaluated = evaluate::run(context, run, spec, &trained.0, &inputs)?;
    for file in ["evaluation.json", "samples.jsonl"] {
        copy(&evaluated.1, file, run_dir.join(file))?;
    }
    Ok(())
}
