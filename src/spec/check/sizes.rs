//! Numbers that must fit one another.

use super::{Finding, finding, hinted};
use crate::spec::types::{AlgorithmKind, Dimensions, KlSchedule, Spec};

/// Every rule between sizes.
pub fn rules(spec: &Spec) -> Vec<Finding> {
    [
        episodes_fill_batches(spec),
        batch_divides_into_minibatches(spec),
        blocks_are_a_power_of_two(spec),
        minibatch_divides_into_blocks(spec),
        whitening_has_rows(spec),
        query_and_response_fit_model(spec),
        query_and_response_fit_classifier(spec),
        shortest_query_fits(spec),
        truncation_inside_response(spec),
        model_width_divides(spec),
        classifier_width_divides(spec),
        sequence_fits_context(spec),
        labels_fill_a_batch(spec),
        optimum_is_affordable(spec),
        samples_have_queries(spec),
        adaptive_starts_above_zero(spec),
        entropy_bonus_starts_above_zero(spec),
        seed_fits_toml(spec),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn episodes_fill_batches(spec: &Spec) -> Option<Finding> {
    let (episodes, batch) = (spec.policy.episodes, spec.policy.batch_size);
    if batch == 0 || episodes % batch == 0 {
        return None;
    }
    let below = episodes / batch * batch;
    let near = if below == 0 { batch.to_string() } else { format!("{below} or {}", below + batch) };
    let message = format!("{episodes} episodes are no multiple of policy.batch_size = {batch}");
    hinted(&["policy.episodes", "policy.batch_size"], message, format!("take {near}"))
}

fn batch_divides_into_minibatches(spec: &Spec) -> Option<Finding> {
    let (batch, parts) = (spec.policy.batch_size, spec.policy.minibatches);
    if parts == 0 || batch % parts == 0 {
        return None;
    }
    finding(
        &["policy.minibatches", "policy.batch_size"],
        format!("a batch of {batch} does not divide into {parts} minibatches"),
    )
}

fn blocks_are_a_power_of_two(spec: &Spec) -> Option<Finding> {
    let blocks = spec.policy.blocks;
    if blocks.is_power_of_two() || blocks == 0 {
        return None;
    }
    let below = blocks.next_power_of_two() / 2;
    let hint = format!("take {below} or {}", 2 * below);
    hinted(&["policy.blocks"], format!("gradients are added in a binary tree, and {blocks} is no power of two"), hint)
}

fn minibatch_divides_into_blocks(spec: &Spec) -> Option<Finding> {
    let (rows, blocks) = (spec.policy.batch_size / spec.policy.minibatches.max(1), spec.policy.blocks);
    if !blocks.is_power_of_two() || rows % blocks == 0 {
        return None;
    }
    let most = 1 << rows.trailing_zeros();
    hinted(
        &["policy.blocks", "policy.batch_size", "policy.minibatches"],
        format!("a minibatch of {rows} episodes does not divide into {blocks} blocks"),
        format!("{most} is the largest number of blocks that it divides into; or change policy.batch_size"),
    )
}

fn whitening_has_rows(spec: &Spec) -> Option<Finding> {
    let p = &spec.policy;
    let minibatch = p.batch_size / p.minibatches.max(1);
    let rows = if p.whitens_blocks() { minibatch / p.blocks } else { minibatch };
    if p.algorithm != AlgorithmKind::Ppo || !p.whiten_rewards || rows >= 8 {
        return None;
    }
    if p.whitens_blocks() {
        return hinted(
            &["policy.blocks", "policy.whiten_in", "policy.batch_size", "policy.minibatches"],
            format!(
                "whitening rewards needs at least 8 episodes, and each of the {} blocks of a minibatch has {rows}",
                p.blocks
            ),
            "enlarge policy.batch_size, lower policy.blocks, or set policy.whiten_in = \"minibatch\"".into(),
        );
    }
    hinted(
        &["policy.minibatches", "policy.batch_size", "policy.whiten_rewards"],
        format!("whitening rewards needs minibatches of at least 8 episodes, and batch_size / minibatches is {rows}"),
        "enlarge policy.batch_size, lower policy.minibatches, or set policy.whiten_rewards = false".into(),
    )
}

fn query_and_response_fit_model(spec: &Spec) -> Option<Finding> {
    let (query, response, context) =
        (spec.task.query_length, spec.task.response_length, spec.model.dimensions().context);
    if weights_are_given(spec) || query + response <= context {
        return None;
    }
    let keys = ["task.query_length", "task.response_length", "model.dimensions.context", "model.size"];
    finding(
        &keys,
        format!(
            "query ({query}) and response ({response}) are {} tokens, and the model's context is {context}",
            query + response
        ),
    )
}

fn query_and_response_fit_classifier(spec: &Spec) -> Option<Finding> {
    let (query, response) = (spec.task.query_length, spec.task.response_length);
    let context = spec.labeler.classifier.dimensions.context;
    if !spec.has_classifier() || query + response <= context {
        return None;
    }
    let keys = ["labeler.classifier.dimensions.context", "task.query_length", "task.response_length"];
    finding(
        &keys,
        format!(
            "the classifier's context is {context} tokens, and query ({query}) and response ({response}) are {}",
            query + response
        ),
    )
}

fn shortest_query_fits(spec: &Spec) -> Option<Finding> {
    let (shortest, longest) = (spec.task.query_min_length, spec.task.query_length);
    if shortest <= longest {
        return None;
    }
    finding(
        &["task.query_min_length", "task.query_length"],
        format!("the shortest query ({shortest}) is longer than task.query_length = {longest}"),
    )
}

fn truncation_inside_response(spec: &Spec) -> Option<Finding> {
    let (after, length) = (spec.task.truncate_after, spec.task.response_length);
    if after < length {
        return None;
    }
    let message = format!(
        "position {after} lies outside a response of {length} tokens (positions 0 to {})",
        length.saturating_sub(1)
    );
    finding(&["task.truncate_after", "task.response_length"], message)
}

fn model_width_divides(spec: &Spec) -> Option<Finding> {
    let Dimensions { width, heads, .. } = spec.model.dimensions();
    if weights_are_given(spec) || heads == 0 || width % heads == 0 {
        return None;
    }
    finding(
        &["model.dimensions.width", "model.dimensions.heads"],
        format!("a width of {width} does not divide into {heads} heads"),
    )
}

fn classifier_width_divides(spec: &Spec) -> Option<Finding> {
    let Dimensions { width, heads, .. } = spec.labeler.classifier.dimensions;
    if !spec.has_classifier() || heads == 0 || width % heads == 0 {
        return None;
    }
    let keys = ["labeler.classifier.dimensions.width", "labeler.classifier.dimensions.heads"];
    finding(&keys, format!("a width of {width} does not divide into {heads} heads"))
}

fn sequence_fits_context(spec: &Spec) -> Option<Finding> {
    let (length, context) = (spec.model.weights.pretrain.as_ref()?.sequence_length, spec.model.dimensions().context);
    if length <= context {
        return None;
    }
    let keys = ["model.weights.pretrain.sequence_length", "model.dimensions.context", "model.size"];
    finding(&keys, format!("training sequences of {length} tokens do not fit the model's context of {context}"))
}

fn labels_fill_a_batch(spec: &Spec) -> Option<Finding> {
    let (batch, labels) = (spec.reward.batch_size, spec.collect.labels);
    if !spec.learns_reward() || batch <= labels {
        return None;
    }
    let keys = ["reward.batch_size", "collect.labels", "collect.schedule"];
    finding(&keys, format!("a reward step takes {batch} comparisons, and only collect.labels = {labels} are collected"))
}

/// Responses sampled for figure 3; beyond this the numbers are a mistake.
const MOST_OPTIMUM_RESPONSES: usize = 10_000_000;

fn optimum_is_affordable(spec: &Spec) -> Option<Finding> {
    let (queries, samples) = (spec.evaluate.optimum_queries, spec.evaluate.optimum_samples);
    if queries.saturating_mul(samples) <= MOST_OPTIMUM_RESPONSES {
        return None;
    }
    let message = format!("{queries} queries of {samples} samples are more than {MOST_OPTIMUM_RESPONSES} responses");
    finding(&["evaluate.optimum_queries", "evaluate.optimum_samples"], message)
}

fn samples_have_queries(spec: &Spec) -> Option<Finding> {
    let (samples, queries) = (spec.evaluate.samples, spec.evaluate.queries);
    if samples <= queries {
        return None;
    }
    finding(
        &["evaluate.samples", "evaluate.queries"],
        format!("{samples} samples are to be written, and evaluate.queries = {queries}"),
    )
}

fn adaptive_starts_above_zero(spec: &Spec) -> Option<Finding> {
    if spec.policy.kl.schedule != KlSchedule::Adaptive || spec.policy.kl.init > 0.0 {
        return None;
    }
    let message = "an adaptive coefficient is multiplied, and never leaves 0".to_string();
    hinted(&["policy.kl.init", "policy.kl.schedule"], message, "start above 0, or take schedule = \"constant\"".into())
}

fn entropy_bonus_starts_above_zero(spec: &Spec) -> Option<Finding> {
    let entropy = spec.policy.entropy?;
    if entropy.target.is_none() || entropy.init > 0.0 {
        return None;
    }
    let message = "an adaptive coefficient is multiplied, and never leaves 0".to_string();
    hinted(&["policy.entropy.init", "policy.entropy.target"], message, "start above 0".into())
}

fn seed_fits_toml(spec: &Spec) -> Option<Finding> {
    if i64::try_from(spec.seed).is_ok() {
        return None;
    }
    finding(&["seed"], format!("must be at most {}, the largest integer of TOML", i64::MAX))
}

/// Weights that are not trained here bring their own sizes.
fn weights_are_given(spec: &Spec) -> bool {
    let weights = &spec.model.weights;
    weights.path.is_some() || weights.hf.is_some() || weights.source.is_some()
}
