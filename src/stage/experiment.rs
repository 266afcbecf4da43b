//! The whole experiment: ρ -> supervised fine-tuning -> r_s -> per run: labels -> r -> π -> evaluation, published into
//! the results directory.

use super::chain::{self, RoundKeys};
use super::keys::Keys;
use super::policy::Segment;
use super::{classifier, evaluate, frontier, given, policy, pretrain, sources, supervised};
use crate::context::{Context, StageError};
use crate::data::read_report::ReadReport;
use crate::data::source::Document;
use crate::model::gpt2::Gpt2;
use crate::model::tokenizer::Tokenizer;
use crate::model::weights::save_gpt2;
use crate::outside::{CommandScores, RougeScores};
use crate::results::tensorboard::Events;
use crate::results::{Accuracy, Frontier, Judge, Outcome, Perplexity, file, read_json};
use crate::rlhf::reward::Normalization;
use crate::spec::{OutsideReward, Spec};
use crate::store::atomic::write_atomic;
use crate::store::cache::{Key, publish};
use crate::task::scoring::{OutsideScores, ScoreSource, Scorer};
use crate::task::{Example, Query, Task, examples};
use crate::{labeler, random, ranks};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    task: Task,
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
    let mut rho = context.gpt2(&pretrained, spec.model.precision)?;
    let (given, asked) = (rho.dimensions(), spec.model.dimensions());
    if given != asked {
        tracing::warn!("model: the weights have {given:?}, the spec says {asked:?}; the weights win");
    }
    let corpus = pretrain::corpus(spec)?;
    context.has_read(corpus.report.clone());
    let queries = |documents: &[Document], what: &str| {
        let (found, report) = queries(spec, documents, what, &tokenizer)?;
        context.has_read(report);
        Ok::<_, StageError>(found)
    };
    let train = queries(&corpus.train, TRAINING)?;
    let held_out = queries(&corpus.held_out, HELD_OUT)?;
    check_sizes(spec, &rho, &train, &held_out)?;
    let supervised = match &keys.supervised {
        Some(key) => {
            let inputs = supervised::SupervisedInputs {
                reference: &rho,
                tokenizer: &tokenizer,
                corpus: &corpus,
                examples: &train,
            };
            Some(supervised::run(context, spec, key, &inputs)?)
        }
        None => None,
    };
    if let (Some(dir), true) = (&supervised, spec.collect.schedule.has_rl()) {
        rho = context.gpt2(dir, spec.model.precision)?;
    }
    let mock = match classifier {
        Some(dir) => Some(Scorer { source: context.scalar(&dir, spec.model.precision)?.into(), normalization: RAW }),
        None => None,
    };
    let task = Task::new(&spec.task, spec.reward.formatted_queries, &tokenizer)?;
    let (train, summaries) = train.into_iter().map(|e| (e.query, e.summary)).unzip();
    Ok(Shared { pretrained, tokenizer, rho, supervised, mock, task, train, summaries, held_out })
}

/// What queries are made of, in reports.
pub const TRAINING: &str = "training documents";
pub const HELD_OUT: &str = "held-out documents";

/// The queries of documents, and what became of these.
pub fn queries(
    spec: &Spec,
    documents: &[Document],
    what: &str,
    tokenizer: &Tokenizer,
) -> Result<(Vec<Example>, ReadReport), StageError> {
    let mut report = ReadReport::new("task", what);
    let found = examples(documents, tokenizer, &spec.task, &mut report)?;
    report.remark(format!("they give {} queries", found.len()));
    Ok((found, report))
}

/// Err: these are fewer queries than the spec needs.
pub fn check_queries(spec: &Spec, train: &[Example], held_out: &[Example]) -> Result<(), StageError> {
    let needed = spec.evaluate.queries.max(spec.evaluate.optimum_queries);
    // A policy that is given needs no training, and DPO no queries but its labels' own.
    let for_training = match spec.policy.is_given() || spec.has_dpo() {
        true => 1,
        false => spec.policy.batch_size / spec.policy.samples_per_query(),
    };
    if train.len() >= for_training && held_out.len() >= needed {
        return Ok(());
    }
    Err(StageError::Input(format!(
        "task.data gives {} training and {} held-out queries of {}-{} tokens; {for_training} and {needed} are needed: use more text, or lower policy.batch_size and evaluate.queries",
        train.len(),
        held_out.len(),
        spec.task.query_min_length,
        spec.task.query_length
    )))
}

/// Enough queries, and room for them in the model's context.
fn check_sizes(spec: &Spec, rho: &Gpt2, train: &[Example], held_out: &[Example]) -> Result<(), StageError> {
    check_queries(spec, train, held_out)?;
    let longest = train.first().map_or(0, |e| e.query.len()) + spec.task.response_length;
    let context = rho.dimensions().context;
    if longest > context {
        return Err(StageError::Input(format!(
            "task: query (with prefix and suffix) and response need {longest} positions; ρ has {context}"
        )));
    }
    Ok(())
}

/// Runs every variant of a spec. One that waits for people does not keep the others from running.
pub fn run(context: &Context, variants: &[(String, Spec)]) -> Result<(), StageError> {
    for (_, spec) in variants.iter().filter(|(_, spec)| spec.has_labels()) {
        ranks::by_first(|| labeler::labeler(spec.labeler.kind).begin(context, spec))?;
    }
    let (mut waiting, mut reached) = (None, None);
    for (name, spec) in variants {
        match one(context, name, spec) {
            // The first is said at the end.
            Err(error) if waits(&error) && waiting.is_none() => waiting = Some(error),
            Err(error) if waits(&error) => tracing::warn!("{error}"),
            Err(error @ StageError::Reached(_)) => reached = Some(error),
            other => other?,
        }
    }
    match waiting.or(reached) {
        Some(error) => Err(error),
        None => together(context, variants),
    }
}

/// One variant with all that it stands on.
fn one(context: &Context, name: &str, spec: &Spec) -> Result<(), StageError> {
    // The first rank fetches; the others find it then.
    let mut fetched = None;
    ranks::by_first(|| {
        fetched = Some(sources::fetched(context, spec)?);
        Ok::<_, StageError>(())
    })?;
    let spec = &fetched.map_or_else(|| sources::fetched(context, spec), Ok)?;
    let keys = Keys::new(spec, name, &context.device_kind)?;
    same_keys(&keys)?;
    let shared = prepare(context, spec, &keys)?;
    publish_model(&shared.pretrained, &context.out.join("models/reference"))?;
    if let Some(dir) = &shared.supervised {
        publish_model(dir, &context.out.join("models/supervised"))?;
    }
    if let Some(mark) = spec.labeler.mark().filter(|_| spec.has_labels()) {
        tracing::info!("{name}: {mark}: no person answers the comparisons");
    }
    variant(context, name, spec, &keys, &shared)
}

/// What all runs' policies say together: the frontier of figure 3, where they share ρ, the task and r_s.
fn together(context: &Context, variants: &[(String, Spec)]) -> Result<(), StageError> {
    let runs = frontier_runs(variants);
    let of = |run: &&(String, Spec)| Keys::new(&run.1, &run.0, &context.device_kind);
    let all = runs.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    let (Some((_, spec)), Some(keys)) = (runs.first(), all.first()) else { return Ok(()) };
    let Some(key) = frontier_key(spec, &all.iter().collect::<Vec<_>>())? else { return Ok(()) };
    let names: Vec<&String> = runs.iter().map(|(name, _)| name).collect();
    let made = context.artifact(None, &key, |work| {
        let path = work.dir.join(file::FRONTIER);
        let text = serde_json::to_string_pretty(&measured_frontier(context, spec, keys, &names)?)?;
        write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))
    })?;
    let path = context.out.join(file::FRONTIER);
    publish(&made.join(file::FRONTIER), &path).map_err(StageError::io(path))
}

/// The frontier from the policies of `runs`, the first of which has `spec` and `keys`.
fn measured_frontier(context: &Context, spec: &Spec, keys: &Keys, runs: &[&String]) -> Result<Frontier, StageError> {
    let spec = &sources::fetched(context, spec)?;
    let shared = prepare(context, spec, keys)?;
    let none = || StageError::Input("the frontier needs r_s, and there is none".into());
    let (scorer, key) = shared.mock.as_ref().zip(keys.classifier.as_ref()).ok_or_else(none)?;
    let tuned = shared.supervised.is_some();
    let reference = context.out.join(if tuned { "models/supervised" } else { "models/reference" });
    let policies = runs.iter().map(|run| ((*run).clone(), context.out.join("runs").join(run).join("models/policy")));
    let queries = evaluate::pick(spec, &shared.held_out, spec.evaluate.optimum_queries);
    let queries: Vec<Query> = queries.into_iter().map(|e| e.query).collect();
    let inputs = frontier::FrontierInputs {
        spec,
        task: &shared.task,
        queries: &queries,
        writers: &std::iter::once(("reference".to_string(), reference)).chain(policies).collect::<Vec<_>>(),
        judge: Judge::Mock,
        scorer,
        scorer_key: key.to_string(),
    };
    frontier::run(context, None, &inputs)
}

/// The name of what the policies of `runs` show together, the first of which has `spec`; none while one is not known.
pub fn frontier_key(spec: &Spec, runs: &[&Keys]) -> Result<Option<Key>, serde_json::Error> {
    let policies: Option<Vec<&Key>> = runs.iter().map(|keys| keys.last_policy()).collect();
    policies.map(|policies| frontier::key(spec, &policies)).transpose()
}

/// The runs whose policies show the optimum together: those that learn under r_s, or from its labels, and share all
/// that the first has; nothing where they are fewer than two.
pub fn frontier_runs(variants: &[(String, Spec)]) -> Vec<&(String, Spec)> {
    let setting = |s: &Spec| (s.model.clone(), s.task.clone(), s.supervised.clone(), s.labeler.clone(), s.seed);
    let has = |(_, s): &&(String, Spec)| s.has_classifier() && s.labeler.is().judges && s.has_rl();
    let mut found: Vec<&(String, Spec)> = variants.iter().filter(has).collect();
    if let Some(first) = found.first().map(|(_, spec)| setting(spec)) {
        found.retain(|(_, spec)| setting(spec) == first);
    }
    if found.len() < 2 { Vec::new() } else { found }
}

/// Whether people's answers are missing; another rank may have said so.
fn waits(error: &StageError) -> bool {
    error.outcome() == Outcome::Waiting && !error.is_settled()
}

/// Err: ranks would make different stages, because their files differ.
fn same_keys(keys: &Keys) -> Result<(), StageError> {
    let names: Vec<String> = keys.all().iter().map(ToString::to_string).collect();
    let all = ranks::gathered(names)?;
    match all.iter().position(|other| *other != all[0]) {
        None => Ok(()),
        Some(rank) => Err(StageError::Input(format!(
            "rank {rank} would make other stages than rank 0: the files that the spec reads are not the same on their hosts"
        ))),
    }
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

/// Scores of ρ's samples set the normalisation of r_s in direct mode, and of a reward from outside, as they would a
/// reward model's. The samples are
/// kept in `dir`, under the name of the policy that they are for.
fn normalized(
    context: &Context,
    spec: &Spec,
    s: &Shared,
    scorer: &Scorer,
    (dir, key): (&Path, &str),
) -> Result<Scorer, StageError> {
    let picked = random::shuffled(spec.seed, "normalization queries", s.train.len(), 0, spec.reward.normalize_samples);
    let queries: Vec<Query> = picked.iter().map(|i| s.train[*i].clone()).collect();
    let mut saved = context.chunks(dir, &format!("normalization-{key}"))?;
    let responses = labeler::sample_each(&mut saved, &s.rho, spec, &queries, "normalization samples")?;
    let fit = Normalization::fit(
        &scorer.raw(&s.task, &queries, &responses)?,
        spec.reward.target_mean,
        spec.reward.target_std,
    );
    Ok(Scorer { normalization: fit, ..scorer.clone() })
}

/// A reward that no model gives, on its own scale.
fn outside_scorer(spec: &Spec, s: &Shared) -> Result<Option<Scorer>, StageError> {
    let source: Arc<dyn OutsideScores> = match spec.reward.outside() {
        None => return Ok(None),
        Some(OutsideReward::Command) => {
            let command = spec.reward.command.clone().unwrap_or_default();
            Arc::new(CommandScores::start(&command, &s.tokenizer)?)
        }
        Some(OutsideReward::Rouge) => {
            let train = s.train.iter().zip(s.summaries.iter().map(Option::as_deref));
            let all = train.chain(s.held_out.iter().map(|e| (&e.query, e.summary.as_deref())));
            Arc::new(RougeScores::of(&s.task, all, &s.tokenizer)?)
        }
    };
    Ok(Some(Scorer { source: ScoreSource::Outside(source), normalization: RAW }))
}

/// What a run ends with, before its evaluation.
#[derive(Default)]
struct Trained {
    /// What RL optimised: the learned r, or r_s itself in direct mode.
    scorer: Option<Scorer>,
    /// How often r agrees with held-out labels.
    accuracy: Option<Accuracy>,
    /// Labels that r learned from.
    labels: Option<u64>,
    /// Directory of π, where there is RL.
    policy: Option<PathBuf>,
    /// Keys of the last round.
    last: Option<RoundKeys>,
}

/// Labels, r and π, in rounds, by DPO, or in direct mode.
fn train(context: &Context, run: &str, spec: &Spec, keys: &Keys, s: &Shared) -> Result<Trained, StageError> {
    if spec.has_labels() {
        let inputs = chain::ChainInputs {
            reference: &s.rho,
            reference_dir: s.supervised.as_ref().filter(|_| spec.collect.schedule.has_rl()).unwrap_or(&s.pretrained),
            tokenizer: &s.tokenizer,
            tokenizer_dir: &s.pretrained,
            mock: s.mock.as_ref(),
            task: &s.task,
            queries: &s.train,
            summaries: &s.summaries,
        };
        let chain::Trained { scorer, accuracy, policy, labels, last } =
            chain::run(context, run, spec, &keys.upstream, &inputs)?;
        return Ok(Trained { scorer, accuracy, labels: Some(labels), policy, last: Some(last) });
    }
    let scorer = given::reward(context, spec, &s.tokenizer)?;
    if let Some(scorer) = &scorer {
        let dir = context.out.join("runs").join(run).join("models/reward");
        given::publish_reward(scorer, &s.tokenizer, &dir)?;
    }
    let kept = context.out.join("runs").join(run).join("normalization");
    let of_outside = |outside: Scorer| {
        let name = keys.policy.as_ref().or(keys.given.reward.as_ref()).map(Key::to_string).unwrap_or_default();
        normalized(context, spec, s, &outside, (&kept, &name))
    };
    let scorer = match scorer {
        Some(given) => Some(given),
        None => outside_scorer(spec, s)?.map(of_outside).transpose()?,
    };
    let Some(key) = &keys.policy else { return Ok(Trained { scorer, ..Trained::default() }) };
    let scorer = match (scorer, &s.mock) {
        (Some(given), _) => given,
        (None, Some(mock)) => normalized(context, spec, s, mock, (&kept, &key.to_string()))?,
        (None, None) => {
            return Err(StageError::Input("there is nothing to optimise: no reward model and no r_s".into()));
        }
    };
    let inputs = crate::rl::rollout::Inputs {
        reference: &s.rho,
        scorer: &scorer,
        mock: s.mock.as_ref(),
        task: &s.task,
        queries: &s.train,
        end_of_text: s.tokenizer.end_of_text(),
    };
    let trained = policy::run(context, run, spec, key, &inputs, &Segment::whole(spec))?;
    if ranks::is_first() && kept.is_dir() {
        std::fs::remove_dir_all(&kept).map_err(StageError::io(&kept))?;
    }
    Ok(Trained { scorer: Some(scorer), policy: Some(trained), ..Trained::default() })
}

fn variant(context: &Context, run: &str, spec: &Spec, keys: &Keys, s: &Shared) -> Result<(), StageError> {
    let run_dir = context.out.join("runs").join(run);
    let trained = train(context, run, spec, keys, s)?;
    let policy = match (&trained.policy, given::policy(context, spec, &s.tokenizer, &s.rho)?) {
        (_, Some(given)) => {
            given::publish_policy(&given, &s.tokenizer, &run_dir.join("models/policy"))?;
            given
        }
        (Some(dir), None) => publish_policy(context, run, s, dir)?,
        (None, None) => {
            let dir = s.supervised.as_ref().unwrap_or(&s.pretrained);
            publish_model(dir, &run_dir.join("models/policy"))?;
            context.gpt2(dir, spec.model.precision)?
        }
    };
    let perplexity = s.pretrained.join("perplexity.json");
    let perplexity = if perplexity.exists() { read_json::<Perplexity>(&perplexity).ok() } else { None };
    let simulated = context.out.join("labels").join(format!("{run}_simulated.json"));
    let is_simulated = spec.labeler.is().simulated && trained.labels.is_some();
    let inputs = evaluate::EvaluateInputs {
        reference: &s.rho,
        policy: &policy,
        mock: s.mock.as_ref(),
        scorer: trained.scorer.as_ref(),
        task: &s.task,
        tokenizer: &s.tokenizer,
        held_out: &s.held_out,
        accuracy: trained.accuracy,
        labels: trained.labels,
        perplexity,
        outside: spec.reward.outside().map(|outside| match outside {
            OutsideReward::Command => Judge::Command,
            OutsideReward::Rouge => Judge::Rouge,
        }),
        simulated: ranks::from_first(|| match is_simulated {
            true => Ok::<_, StageError>(Some(read_json(&simulated)?)),
            false => Ok(None),
        })?,
    };
    let key = keys.evaluation(spec, run, trained.last.as_ref())?;
    let key = key.ok_or_else(|| StageError::Input("the last round has no reward model".into()))?;
    let evaluated = evaluate::run(context, run, spec, &key, &inputs)?;
    for file in [file::EVALUATION, file::SAMPLES] {
        publish(&evaluated.join(file), &run_dir.join(file)).map_err(StageError::io(run_dir.join(file)))?;
    }
    Ok(())
}

/// Metrics and the final π, as transformers and TensorBoard read them.
fn publish_policy(context: &Context, run: &str, s: &Shared, trained: &Path) -> Result<Gpt2, StageError> {
    let run_dir = context.out.join("runs").join(run);
    let copy = |name: &str, to: PathBuf| publish(&trained.join(name), &to).map_err(StageError::io(to));
    copy(file::METRICS, run_dir.join(file::METRICS))?;
    if ranks::is_first() {
        Events::open(&run_dir.join(file::METRICS), &context.out.join("tensorboard").join(run))?;
    }
    let pi = context.scalar(trained, s.rho.precision)?;
    let model_dir = run_dir.join("models/policy");
    save_gpt2(&model_dir, &pi.trunk, s.tokenizer.end_of_text())?;
    s.tokenizer.save(&model_dir)?;
    copy("model.safetensors", model_dir.join("with_value_head.safetensors"))?;
    Ok(pi.trunk)
}
