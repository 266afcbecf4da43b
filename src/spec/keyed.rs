//! What results depend on: the parts of a spec as the names of finished stages hold them. What changes no result is not
//! in them: names and descriptions, how often a checkpoint is written, limits of guards, where a file lies. Each is
//! taken apart field by field, so that whoever adds a key to specs says here whether it counts.

use super::types::*;
use serde::Serialize;

/// Which queries there are, what π and ρ may answer, and where an answer ends.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextsKey {
    data: DataSpec,
    clean: Clean,
    query_rule: QueryRule,
    query_start: String,
    query_end: String,
    query_prefix: String,
    query_suffix: String,
    query_length: usize,
    query_min_length: usize,
    response_length: usize,
    truncate_at: String,
    truncate_match: TruncateMatch,
    truncate_after: usize,
    temperature: f64,
}

impl TextsKey {
    /// Without `preset`, which only names defaults and instructions, and `missing_score`, which only RL gives.
    pub fn of(task: &TaskSpec) -> Self {
        let TaskSpec {
            preset: _,
            missing_score: _,
            data,
            clean,
            query_rule,
            query_start,
            query_end,
            query_prefix,
            query_suffix,
            query_length,
            query_min_length,
            response_length,
            truncate_at,
            truncate_match,
            truncate_after,
            temperature,
        } = task.clone();
        Self {
            // The content of files is in the key of ρ.
            data: data.without_place(),
            clean,
            query_rule,
            query_start,
            query_end,
            query_prefix,
            query_suffix,
            query_length,
            query_min_length,
            response_length,
            truncate_at,
            truncate_match,
            truncate_after,
            temperature,
        }
    }

    /// Of a source that does not come from the task's data.
    pub fn without_data(task: &TaskSpec) -> Self {
        Self { data: DataSpec::default(), ..Self::of(task) }
    }
}

/// Labels on samples of ρ, all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LabelsKey {
    labels: usize,
    held_out: usize,
}

impl LabelsKey {
    pub fn of(collect: &CollectSpec) -> Self {
        Self { labels: collect.labels, held_out: collect.held_out }
    }
}

/// Labels in rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoundsKey {
    schedule: CollectSchedule,
    labels: usize,
    held_out: usize,
    rounds: Option<usize>,
    round_labels: Option<Vec<usize>>,
    initial: Option<usize>,
    retrain: Option<usize>,
    validation_share: Option<f64>,
}

impl RoundsKey {
    /// Without `outstanding`: how long training waits for people.
    pub fn of(collect: &CollectSpec) -> Self {
        let CollectSpec {
            schedule,
            labels,
            held_out,
            rounds,
            round_labels,
            initial,
            retrain,
            validation_share,
            outstanding: _,
        } = collect.clone();
        Self { schedule, labels, held_out, rounds, round_labels, initial, retrain, validation_share }
    }
}

/// Training of r.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RewardKey {
    lr: f64,
    batch_size: usize,
    epochs: usize,
    adam: AdamSpec,
    formatted_queries: bool,
    normalize_samples: usize,
    target_mean: f64,
    target_std: f64,
}

impl RewardKey {
    /// Without `source`, `path` and `command`, of a reward that is not trained.
    pub fn of(reward: &RewardSpec) -> Self {
        let RewardSpec {
            source: _,
            path: _,
            command: _,
            lr,
            batch_size,
            epochs,
            adam,
            formatted_queries,
            normalize_samples,
            target_mean,
            target_std,
        } = *reward;
        Self { lr, batch_size, epochs, adam, formatted_queries, normalize_samples, target_mean, target_std }
    }
}

/// Direct mode: r_s on the scale that r would have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ScaleKey {
    formatted_queries: bool,
    normalize_samples: usize,
    target_mean: f64,
    target_std: f64,
}

impl ScaleKey {
    pub fn of(reward: &RewardSpec) -> Self {
        let RewardSpec { formatted_queries, normalize_samples, target_mean, target_std, .. } = *reward;
        Self { formatted_queries, normalize_samples, target_mean, target_std }
    }
}

/// What a judge's answer to a prompt depends on. Not where it is asked, how often a request is tried, or what it may
/// cost; `both_orders` and the prompt are in what it is asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgeKey {
    model: String,
    structured: Structured,
    temperature: f64,
    max_answer_tokens: u64,
}

impl JudgeKey {
    pub fn of(judge: &JudgeSpec) -> Self {
        let JudgeSpec {
            model,
            base_url: _,
            key_env: _,
            prompt: _,
            structured,
            both_orders: _,
            temperature,
            max_answer_tokens,
            max_requests: _,
            max_tokens: _,
            concurrency: _,
            retries: _,
            timeout: _,
        } = judge.clone();
        Self { model, structured, temperature, max_answer_tokens }
    }
}

/// Training of π.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyKey {
    /// Not of PPO, whose policies had names before there were others.
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<(AlgorithmKind, usize)>,
    episodes: usize,
    batch_size: usize,
    minibatches: usize,
    epochs: usize,
    lr: f64,
    adam: AdamSpec,
    gamma: f64,
    lam: f64,
    cliprange: f64,
    cliprange_value: f64,
    vf_coef: f64,
    whiten_rewards: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    whiten_in: Option<WhitenIn>,
    kl: KlSpec,
    entropy: Option<EntropySpec>,
    texts: TextsKey,
    missing_score: f64,
}

impl PolicyKey {
    /// Without `checkpoint_every`, `source` and `path`, of a policy that is not trained, and what only another algorithm
    /// reads.
    pub fn of(spec: &Spec) -> Self {
        let algorithm = spec.policy.algorithm;
        let k = spec.policy.samples_per_query();
        let PolicySpec {
            source: _,
            path: _,
            algorithm: _,
            samples_per_query: _,
            dpo: _,
            checkpoint_every: _,
            episodes,
            batch_size,
            minibatches,
            epochs,
            lr,
            adam,
            gamma,
            lam,
            cliprange,
            cliprange_value,
            vf_coef,
            whiten_rewards,
            blocks,
            whiten_in,
            kl,
            entropy,
        } = spec.policy.clone().settled();
        Self {
            algorithm: (algorithm != AlgorithmKind::Ppo).then_some((algorithm, k)),
            episodes,
            batch_size,
            minibatches,
            epochs,
            lr,
            adam,
            gamma,
            lam,
            cliprange,
            cliprange_value,
            vf_coef,
            whiten_rewards,
            // One block is what there was before there were blocks, and then it is the minibatch.
            blocks: Some(blocks).filter(|blocks| *blocks > 1),
            whiten_in: Some(whiten_in).filter(|_| spec.policy.whitens_blocks()),
            kl,
            entropy,
            texts: TextsKey::of(&spec.task),
            missing_score: spec.task.missing_score,
        }
    }
}

/// Whether a spec that is silent about a key, because it was written before there was one, means this value (as TOML).
pub fn is_what_silence_meant(key: &str, value: &str) -> bool {
    matches!((key, value), ("policy.blocks", "1") | ("policy.whiten_in", "\"minibatch\""))
}

/// Training of π by DPO, which reads no more of `policy`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DpoKey {
    dpo: DpoSpec,
    adam: AdamSpec,
    texts: TextsKey,
}

impl DpoKey {
    pub fn of(spec: &Spec) -> Self {
        Self { dpo: spec.policy.dpo(), adam: spec.policy.adam, texts: TextsKey::of(&spec.task) }
    }
}

/// Whether a key of a spec is in no name of a stage: what was made under another value is what this one would make.
pub fn changes_no_result(key: &str) -> bool {
    let tail = key.strip_prefix("runs.").and_then(|rest| rest.split_once('.')).map_or(key, |(_, tail)| tail);
    let judge = tail.strip_prefix("labeler.judge.").or(tail.strip_prefix("preference.judge."));
    let of_asking = ["base_url", "key_env", "max_requests", "max_tokens", "concurrency", "retries", "timeout"];
    judge.is_some_and(|key| of_asking.contains(&key))
        || matches!(tail, "labeler.command.timeout" | "reward.command.timeout")
        || matches!(tail, "description" | "policy.checkpoint_every" | "collect.outstanding")
        || ["reproduces", "guards.", "labeler.human.quality."].iter().any(|start| tail.starts_with(start))
}
