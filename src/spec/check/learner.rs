//! What belongs to which algorithm, and what best-of-n needs.

use super::{Finding, finding, hinted};
use crate::spec::Origin;
use crate::spec::blame::rank;
use crate::spec::source::Node;
use crate::spec::types::{AlgorithmKind, CollectSchedule, PolicySpec, Spec};
use std::path::Path;

/// Responses sampled for best-of-n; beyond this the numbers are a mistake.
const MOST_BEST_OF_RESPONSES: usize = 10_000_000;

/// Keys that PPO alone reads.
const OF_PPO: [&str; 5] =
    ["policy.gamma", "policy.lam", "policy.cliprange_value", "policy.vf_coef", "policy.whiten_rewards"];

/// Keys that PPO and RLOO read, and what DPO has in their place.
const OF_EPISODES: [(&str, &str); 13] = [
    ("policy.episodes", "policy.dpo.epochs"),
    ("policy.batch_size", "policy.dpo.batch_size"),
    ("policy.minibatches", "policy.dpo.batch_size"),
    ("policy.epochs", "policy.dpo.epochs"),
    ("policy.lr", "policy.dpo.lr"),
    ("policy.cliprange", "policy.dpo.beta"),
    ("policy.kl.schedule", "policy.dpo.beta"),
    ("policy.kl.init", "policy.dpo.beta"),
    ("policy.kl.target", "policy.dpo.beta"),
    ("policy.kl.gain", "policy.dpo.beta"),
    ("policy.kl.horizon", "policy.dpo.beta"),
    ("policy.kl.end", "policy.dpo.beta"),
    ("policy.entropy.init", "policy.dpo.beta"),
];

/// Every rule on the learner that a spec asks for.
pub fn rules(spec: &Spec) -> Vec<Finding> {
    [
        samples_per_query_are_of_rloo(spec),
        rloo_has_others_to_compare_with(spec),
        batch_divides_into_queries(spec),
        dpo_table_is_of_dpo(spec),
        dpo_has_labels(spec),
        dpo_has_no_bonus(spec),
        labels_fill_a_step(spec),
        best_of_rises(spec),
        best_of_has_a_score(spec),
        best_of_is_affordable(spec),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Keys of another algorithm. An error where the key was written beside the algorithm or above it; below it (in a file
/// that this one extends, or in the file of a run that has another algorithm) it is of those that share the file. A
/// default that is written out, as in the spec of a results directory, says nothing.
pub fn keys_of_another(tree: &Node, spec: &Spec, file: &Path) -> Vec<Finding> {
    let at = |key: &str| tree.get(&key.split('.').collect::<Vec<_>>());
    let chosen = at("policy.algorithm").map_or(0, |node| rank(node, file));
    let value = |policy: &PolicySpec| serde_json::to_value(policy).unwrap_or_default();
    let (ours, default) = (value(&spec.policy), value(&PolicySpec::default()));
    let differs = |key: &str| {
        let pointer = key.trim_start_matches("policy").replace('.', "/");
        ours.pointer(&pointer) != default.pointer(&pointer)
    };
    let written = |key: &str| {
        at(key).is_some_and(|node| {
            !matches!(node.origin, Origin::Default | Origin::Preset(_)) && rank(node, file) >= chosen
        })
    };
    foreign(spec.policy.algorithm)
        .into_iter()
        .filter(|(key, _)| written(key) && differs(key))
        .filter_map(refused(spec))
        .collect()
}

/// Keys that an algorithm does not read, each with what it has instead.
pub fn foreign(algorithm: AlgorithmKind) -> Vec<(&'static str, Option<&'static str>)> {
    let of_ppo = OF_PPO.into_iter().map(|key| (key, None));
    match algorithm {
        AlgorithmKind::Ppo => Vec::new(),
        AlgorithmKind::Rloo => of_ppo.collect(),
        AlgorithmKind::Dpo => {
            of_ppo.chain(OF_EPISODES.into_iter().map(|(key, instead)| (key, Some(instead)))).collect()
        }
    }
}

fn refused(spec: &Spec) -> impl Fn((&'static str, Option<&'static str>)) -> Option<Finding> {
    let algorithm = spec.policy.algorithm.word();
    move |(key, instead)| {
        let of = if instead.is_some() { "PPO and RLOO" } else { "PPO" };
        let hint = match instead {
            Some(instead) => format!("DPO has {instead}; remove the key"),
            None => "remove the key, or take policy.algorithm = \"ppo\"".into(),
        };
        hinted(&[key, "policy.algorithm"], format!("belongs to {of}, and policy.algorithm = {algorithm:?}"), hint)
    }
}

fn is(spec: &Spec, algorithm: AlgorithmKind) -> bool {
    spec.policy.algorithm == algorithm
}

fn samples_per_query_are_of_rloo(spec: &Spec) -> Option<Finding> {
    if spec.policy.samples_per_query.is_none() || is(spec, AlgorithmKind::Rloo) {
        return None;
    }
    hinted(
        &["policy.samples_per_query", "policy.algorithm"],
        format!("belongs to RLOO, and policy.algorithm = {:?}", spec.policy.algorithm.word()),
        "set policy.algorithm = \"rloo\", or remove the key".into(),
    )
}

fn rloo_has_others_to_compare_with(spec: &Spec) -> Option<Finding> {
    if !is(spec, AlgorithmKind::Rloo) || spec.policy.samples_per_query() >= 2 {
        return None;
    }
    hinted(
        &["policy.samples_per_query", "policy.algorithm"],
        "RLOO compares each response with the others to its query, and of 1 there are no others".into(),
        "take 2 or more".into(),
    )
}

fn batch_divides_into_queries(spec: &Spec) -> Option<Finding> {
    let (batch, k) = (spec.policy.batch_size, spec.policy.samples_per_query());
    if !is(spec, AlgorithmKind::Rloo) || batch % k == 0 {
        return None;
    }
    let below = batch / k * k;
    let near = if below == 0 { k.to_string() } else { format!("{below} or {}", below + k) };
    hinted(
        &["policy.batch_size", "policy.samples_per_query", "policy.algorithm"],
        format!("a batch of {batch} episodes does not divide into queries of {k} samples each"),
        format!("take {near}"),
    )
}

fn dpo_table_is_of_dpo(spec: &Spec) -> Option<Finding> {
    if spec.policy.dpo.is_none() || is(spec, AlgorithmKind::Dpo) {
        return None;
    }
    let keys = [
        "policy.dpo",
        "policy.dpo.beta",
        "policy.dpo.lr",
        "policy.dpo.epochs",
        "policy.dpo.batch_size",
        "policy.algorithm",
    ];
    hinted(
        &keys,
        format!("belongs to DPO, and policy.algorithm = {:?}", spec.policy.algorithm.word()),
        "set policy.algorithm = \"dpo\", or remove the table".into(),
    )
}

fn dpo_has_labels(spec: &Spec) -> Option<Finding> {
    if !is(spec, AlgorithmKind::Dpo) || spec.policy.is_given() {
        return None;
    }
    let schedule = spec.collect.schedule;
    let why = match schedule {
        _ if spec.reward.is_given() => "where the reward model is given none are collected".to_string(),
        CollectSchedule::Offline => return None,
        CollectSchedule::Direct | CollectSchedule::None => {
            format!("collect.schedule = {:?} collects none for it", schedule.word())
        }
        CollectSchedule::Batched | CollectSchedule::Online => {
            format!("all of them before it begins, and collect.schedule = {:?} asks as it goes", schedule.word())
        }
    };
    hinted(
        &["policy.algorithm", "collect.schedule", "reward.source", "reward.path"],
        format!("DPO learns from labels, and {why}"),
        "take collect.schedule = \"offline\" without a given reward model, or another algorithm".into(),
    )
}

fn dpo_has_no_bonus(spec: &Spec) -> Option<Finding> {
    if !is(spec, AlgorithmKind::Dpo) || spec.policy.entropy.is_none() {
        return None;
    }
    finding(&["policy.entropy", "policy.algorithm"], "a bonus for entropy is part of a reward, and DPO has none".into())
}

fn labels_fill_a_step(spec: &Spec) -> Option<Finding> {
    let (batch, labels) = (spec.policy.dpo().batch_size, spec.collect.labels);
    if !spec.has_dpo() || batch <= labels {
        return None;
    }
    let keys = ["policy.dpo.batch_size", "policy.dpo", "collect.labels", "policy.algorithm"];
    finding(&keys, format!("a step of DPO takes {batch} labels, and only collect.labels = {labels} are collected"))
}

fn best_of_rises(spec: &Spec) -> Option<Finding> {
    let best_of = &spec.evaluate.best_of;
    let pair = best_of.windows(2).find(|pair| pair[0] >= pair[1])?;
    let mut sorted = best_of.clone();
    sorted.sort_unstable();
    sorted.dedup();
    hinted(
        &["evaluate.best_of"],
        format!("numbers of samples rise, and {} comes after {}", pair[1], pair[0]),
        format!("take {sorted:?}"),
    )
}

fn best_of_has_a_score(spec: &Spec) -> Option<Finding> {
    let scored = spec.reward.is_given() || spec.learns_reward() || spec.collect.schedule == CollectSchedule::Direct;
    if spec.evaluate.best_of.is_empty() || scored {
        return None;
    }
    hinted(
        &["evaluate.best_of", "policy.algorithm", "collect.schedule"],
        "the best of n is the best by r, and nothing here learns or gives one".into(),
        "ask for it where a reward model is trained (another run), or remove the key".into(),
    )
}

fn best_of_is_affordable(spec: &Spec) -> Option<Finding> {
    let (queries, most) = (spec.evaluate.queries, *spec.evaluate.best_of.iter().max()?);
    if queries.saturating_mul(most) <= MOST_BEST_OF_RESPONSES {
        return None;
    }
    let message = format!("{queries} queries of {most} samples are more than {MOST_BEST_OF_RESPONSES} responses");
    hinted(
        &["evaluate.best_of", "evaluate.queries"],
        message,
        format!("at {queries} queries take at most {}", MOST_BEST_OF_RESPONSES / queries.max(1)),
    )
}
