//! The whole experiment: ρ -> supervised fine-tuning -> r_s -> per run: labels -> r -> π -> evaluation, published into the
//! results directory.

use super::StageError;
use super::context::Context;
use super::scoring::{Rule, Scorer, raw_scores};
use super::{classifier, collect, evaluate, policy, pretrain, reward, sources, supervised};
use crate::data::queries::{Example, Query, QueryFormat, examples};
use crate::model::gpt2::Gpt2;
use crate::model::tokenizer::Tokenizer;
use crate::model::weights::{load_gpt2, load_scalar, save_gpt2};
use crate::report::files::{Accuracy, Perplexity, read_json};
use crate::report::tensorboard::write_events;
use crate::rlhf::reward::Normalization;
use crate::spec::{CollectSchedule, LabelerKind, Spec};
use crate::store::cache::{Key, publish};
use std::path::{Path, PathBuf};

/// The artifacts of one run, by what they depend on: known before any of them is made.
#[derive(Debug, Clone)]
pub struct Keys {
    /// ρ as it comes.
    pub pretrained: Key,
    /// ρ after supervised fine-tuning, where the spec asks for it.
    pub supervised: Option<Key>,
    /// The mock labeler, where there is one.
    pub classifier: Option<Key>,
    /// Labels and reward model; direct mode has neither.
    pub learned: Option<(Key, Key)>,
    /// None where there is no RL.
    pub policy: Option<Key>,
    pub evaluate: Key,
}

/// Whether labels are read or collected, and a reward model learns from them.
fn learns_reward(spec: &Spec) -> bool {
    match spec.collect.schedule {
        CollectSchedule::Direct => false,
        CollectSchedule::Offline => true,
        // Without a mock labeler, r is the only judge there is.
        CollectSchedule::None => spec.labeler.kind != LabelerKind::Mock,
    }
}

impl Keys {
    pub fn new(spec: &Spec, run: &str, device_kind: &str) -> Result<Self, StageError> {
        // What the hub has is named by its commit, as in a run.
        let spec = &sources::cached(spec)?;
        let pretrained = pretrain::key(spec, device_kind)?;
        let supervised = supervised::key(spec, &pretrained)?;
        let rl = spec.collect.schedule != CollectSchedule::None;
        // Without RL, what is compared is the supervised model with the one that it was fine-tuned from.
        let reference = supervised.as_ref().filter(|_| rl).unwrap_or(&pretrained);
        let classifier = match spec.labeler.has_classifier() {
            true => Some(classifier::key(spec, &pretrained)?),
            false => None,
        };
        let mut upstream: Vec<String> =
            [Some(reference), classifier.as_ref()].into_iter().flatten().map(Key::to_string).collect();
        let learned = if learns_reward(spec) {
            let labels = collect::key(spec, &upstream)?;
            let reward = reward::key(spec, &labels)?;
            Some((labels, reward))
        } else {
            None
        };
        upstream.push(match &learned {
            Some((_, reward)) => reward.to_string(),
            None => format!("direct {:?}", spec.reward),
        });
        let policy = if rl { Some(policy::key(spec, &upstream)?) } else { None };
        match &policy {
            Some(policy) => upstream = vec![policy.to_string()],
            None => upstream.push(supervised.as_ref().map(Key::to_string).unwrap_or_default()),
        }
        let evaluate = evaluate::key(spec, run, &upstream)?;
        Ok(Self { pretrained, supervised, classifier, learned, policy, evaluate })
    }

    /// In the order in which they are made.
    pub fn all(&self) -> Vec<&Key> {
        let learned = self.learned.iter().flat_map(|(labels, reward)| [labels, reward]);
        std::iter::once(&self.pretrained)
            .chain(&self.supervised)
            .chain(&self.classifier)
            .chain(learned)
            .chain(&self.policy)
            .chain([&self.evaluate])
            .collect()
    }
}

/// What all runs of a spec with the same model, task and labeler share.
struct Shared {
    /// Directory of the language model as it comes.
    pretrained: PathBuf,
    tokenizer: Tokenizer,
    /// The model that RL starts from and stays close to.
    rho: Gpt2,
    /// Directory of the supervised model: ρ of RL, or what is evaluated where there is no RL.
    supervised: Option<PathBuf>,
    /// r_s, where there is a mock labeler.
    mock: Option<Scorer>,
    rule: Rule,
    train: Vec<Query>,
    /// Of each training query.
    summaries: Vec<Option<String>>,
    held_out: Vec<Example>,
}

const RAW: Normalization = Normalization { gain: 1.0, bias: 0.0 };

fn prepare(context: &Context, spec: &Spec, keys: &Keys) -> Result<Shared, StageError> {
    let pretrained = pretrain::run(context, spec, &keys.pretrained)?;
    let classifier = match &keys.classifier {
        Some(key) => Some(classifier::run(context, spec, key, &pretrained)?),
        None => None,
    };
    let tokenizer = Tokenizer::load(&pretrained)?;
    let mut rho = load_gpt2(&pretrained, &context.device)?;
    let (given, asked) = (rho.dimensions(), spec.model.dimensions());
    if given != asked {
        tracing::warn!("model: the weights have {given:?}, the spec says {asked:?}; the weights win");
    }
    let corpus = pretrain::corpus(spec)?;
    let train = examples(&corpus.train, &tokenizer, &spec.task)?;
    let held_out = examples(&corpus.held_out, &tokenizer, &spec.task)?;
    tracing::info!("{} training and {} held-out queries", train.len(), held_out.len());
    check_sizes(spec, &rho, &train, &held_out)?;
    let supervised = match &keys.supervised {
        Some(key) => {
            let inputs =
                supervised::Inputs { reference: &rho, tokenizer: &tokenizer, corpus: &corpus, examples: &train };
            Some(supervised::run(context, spec, key, &inputs)?)
        }
        None => None,
    };
    if let (Some(dir), Some(_)) = (&supervised, &keys.policy) {
        rho = load_gpt2(dir, &context.device)?;
    }
    let mock = match classifier {
        Some(dir) => Some(Scorer { model: load_scalar(&dir, &context.device)?, normalization: RAW }),
        None => None,
    };
    let rule = Rule::new(spec, &tokenizer)?;
    let (train, summaries) = train.into_iter().map(|e| (e.query, e.summary)).unzip();
    Ok(Shared { pretrained, tokenizer, rho, supervised, mock, rule, train, summaries, held_out })
}

/// Enough queries, and room for them in the model's context.
fn check_sizes(spec: &Spec, rho: &Gpt2, train: &[Example], held_out: &[Example]) -> Result<(), StageError> {
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
    let longest = train.first().map_or(0, |e| e.query.len()) + spec.task.response_length;
    let context = rho.dimensions().context;
    if longest > context {
        return Err(StageError::Input(format!(
            "task: query (with prefix and suffix) and response need {longest} positions; ρ has {context}"
        )));
    }
    Ok(())
}

/// Runs every variant of a spec; `publish` receives each run as soon as it is done.
pub fn run(context: &Context, variants: &[(String, Spec)]) -> Result<(), StageError> {
    for (name, spec) in variants {
        let spec = &sources::fetched(context, spec)?;
        let keys = Keys::new(spec, name, &context.device_kind)?;
        let shared = prepare(context, spec, &keys)?;
        publish_model(&shared.pretrained, &context.out.join("models/reference"))?;
        if let Some(dir) = &shared.supervised {
            publish_model(dir, &context.out.join("models/supervised"))?;
        }
        if spec.labeler.kind == LabelerKind::Simulated {
            tracing::info!("{name}: simulated labelers: a program answers the comparisons, no person does");
        }
        variant(context, name, spec, &keys, &shared)?;
    }
    Ok(())
}

/// Copies a language model's files; supervised.json where it was fine-tuned here.
fn publish_model(from: &Path, to: &Path) -> Result<(), StageError> {
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "supervised.json"] {
        if file != "supervised.json" || from.join(file).exists() {
            publish(&from.join(file), &to.join(file)).map_err(StageError::io(to.join(file)))?;
        }
    }
    Ok(())
}

/// Scores of ρ's samples under r_s set direct mode's normalisation, as they would a reward model's.
fn direct_scorer(spec: &Spec, s: &Shared, mock: &Scorer) -> Result<Scorer, StageError> {
    let picked = Context::shuffled(spec.seed, "normalization queries", s.train.len(), 0, spec.reward.normalize_samples);
    let queries: Vec<Query> = picked.iter().map(|i| s.train[*i].clone()).collect();
    let responses = collect::sample_all(&s.rho, spec, &queries, 1, "normalization samples")?;
    let rows: Vec<Query> = queries.iter().zip(&responses).map(|(q, r)| s.rule.row(q, r)).collect();
    let fit = Normalization::fit(&raw_scores(&mock.model, &rows)?, spec.reward.target_mean, spec.reward.target_std);
    Ok(Scorer { normalization: fit, ..mock.clone() })
}

/// What RL optimises: the learned r and how often it agrees with its labels, r_s itself in direct mode, or nothing.
fn scorer(
    context: &Context,
    run: &str,
    spec: &Spec,
    keys: &Keys,
    s: &Shared,
) -> Result<(Option<Scorer>, Option<Accuracy>), StageError> {
    let Some((labels_key, reward_key)) = &keys.learned else {
        let direct = match (&s.mock, &keys.policy) {
            (Some(mock), Some(_)) => Some(direct_scorer(spec, s, mock)?),
            _ => None,
        };
        return Ok((direct, None));
    };
    let format = QueryFormat::new(&spec.task, &s.tokenizer)?;
    let source = match (spec.labeler.kind, &s.mock) {
        (LabelerKind::Simulated, labeler) => collect::Source::Simulated {
            reference: &s.rho,
            labeler: labeler.as_ref(),
            rule: &s.rule,
            queries: &s.train,
            summaries: &s.summaries,
            tokenizer: &s.tokenizer,
        },
        (_, Some(labeler)) => collect::Source::Mock { reference: &s.rho, labeler, rule: &s.rule, queries: &s.train },
        (_, None) => collect::Source::Recorded {
            tokenizer: &s.tokenizer,
            query_of: &|document| format.bare_query(document, &s.tokenizer),
        },
    };
    let labels = collect::run(context, run, spec, labels_key, &source)?;
    let copy = |from: &Path, name: &str, to: PathBuf| publish(&from.join(name), &to).map_err(StageError::io(to));
    copy(&labels, "labels.jsonl", context.out.join("labels").join(format!("{run}.jsonl")))?;
    for (file, name) in [("labels_report.json", "report"), ("simulated.json", "simulated")] {
        if labels.join(file).exists() {
            copy(&labels, file, context.out.join("labels").join(format!("{run}_{name}.json")))?;
        }
    }
    let inputs = reward::Inputs {
        reference: &s.rho,
        rule: &s.rule,
        queries: &s.train,
        labels: &labels,
        end_of_text: s.tokenizer.end_of_text(),
    };
    let trained = reward::run(context, run, spec, reward_key, &inputs)?;
    let model_dir = context.out.join("runs").join(run).join("models/reward");
    for file in ["config.json", "model.safetensors", "reward.json"] {
        copy(&trained, file, model_dir.join(file))?;
    }
    s.tokenizer.save(&model_dir)?;
    let (scorer, summary) = reward::load(context, &trained)?;
    Ok((Some(scorer), summary.quality.accuracy()))
}

fn variant(context: &Context, run: &str, spec: &Spec, keys: &Keys, s: &Shared) -> Result<(), StageError> {
    let run_dir = context.out.join("runs").join(run);
    let (scorer, accuracy) = scorer(context, run, spec, keys, s)?;
    let policy = match (&keys.policy, &scorer) {
        (Some(key), Some(scorer)) => train_policy(context, run, spec, key, s, scorer)?,
        (Some(_), None) => {
            return Err(StageError::Input("there is nothing to optimise: no reward model and no r_s".into()));
        }
        (None, _) => {
            let dir = s.supervised.as_ref().unwrap_or(&s.pretrained);
            publish_model(dir, &run_dir.join("models/policy"))?;
            load_gpt2(dir, &context.device)?
        }
    };
    let perplexity = s.pretrained.join("perplexity.json");
    let perplexity = if perplexity.exists() { read_json::<Perplexity>(&perplexity).ok() } else { None };
    let inputs = evaluate::Inputs {
        reference: &s.rho,
        policy: &policy,
        mock: s.mock.as_ref(),
        scorer: scorer.as_ref(),
        rule: &s.rule,
        tokenizer: &s.tokenizer,
        held_out: &s.held_out,
        accuracy,
        perplexity,
        simulated: None,
    };
    let simulated = context.out.join("labels").join(format!("{run}_simulated.json"));
    let inputs = match spec.labeler.kind == LabelerKind::Simulated && keys.learned.is_some() {
        true => evaluate::Inputs { simulated: Some(read_json(&simulated)?), ..inputs },
        false => inputs,
    };
    let evaluated = evaluate::run(context, run, spec, &keys.evaluate, &inputs)?;
    for file in ["evaluation.json", "samples.jsonl"] {
        publish(&evaluated.join(file), &run_dir.join(file)).map_err(StageError::io(run_dir.join(file)))?;
    }
    Ok(())
}

fn train_policy(
    context: &Context,
    run: &str,
    spec: &Spec,
    key: &Key,
    s: &Shared,
    scorer: &Scorer,
) -> Result<Gpt2, StageError> {
    let end_of_text = s.tokenizer.end_of_text();
    let run_dir = context.out.join("runs").join(run);
    let inputs = policy::Inputs {
        reference: &s.rho,
        scorer,
        mock: s.mock.as_ref(),
        rule: &s.rule,
        queries: &s.train,
        end_of_text,
    };
    let trained = policy::run(context, run, spec, key, &inputs)?;
    let copy = |name: &str, to: PathBuf| publish(&trained.join(name), &to).map_err(StageError::io(to));
    copy("metrics.jsonl", run_dir.join("metrics.jsonl"))?;
    write_events(&run_dir.join("metrics.jsonl"), &context.out.join("tensorboard").join(run))?;
    let pi = load_scalar(&trained, &context.device)?;
    let model_dir = run_dir.join("models/policy");
    save_gpt2(&model_dir, &pi.trunk, end_of_text)?;
    s.tokenizer.save(&model_dir)?;
    copy("model.safetensors", model_dir.join("with_value_head.safetensors"))?;
    Ok(pi.trunk)
}
