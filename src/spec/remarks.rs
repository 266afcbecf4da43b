//! Values that can be meant and seldom are: said, and taken all the same.

use super::Origin;
use super::check::learner::foreign;
use super::check::{Finding, finding};
use super::source::Node;
use super::types::*;

/// Nats per token of a response beyond which no policy has been worth reading.
const MOST_NATS_PER_TOKEN: f64 = 5.0;

/// Every remark on one resolved variant, whose values came from `tree`.
pub fn remarks(spec: &Spec, tree: &Node) -> Vec<Finding> {
    let values = [temperature(spec), kl_target(spec), cliprange(spec)];
    values.into_iter().flatten().chain(unread(spec, tree)).collect()
}

fn temperature(spec: &Spec) -> Option<Finding> {
    let what = match spec.task.temperature {
        t if t > 2.0 => "random tokens",
        t if t < 0.1 => "the one likeliest text",
        _ => return None,
    };
    finding(&["task.temperature"], format!("samples at temperature {} are close to {what}", spec.task.temperature))
}

fn kl_target(spec: &Spec) -> Option<Finding> {
    let (kl, length) = (&spec.policy.kl, spec.task.response_length);
    if kl.schedule != KlSchedule::Adaptive || kl.target <= MOST_NATS_PER_TOKEN * length as f64 {
        return None;
    }
    finding(
        &["policy.kl.target", "task.response_length"],
        format!(
            "{} nats over {length} tokens keep the policy close to nothing: β will fall until it has no effect",
            kl.target
        ),
    )
}

fn cliprange(spec: &Spec) -> Option<Finding> {
    if spec.policy.cliprange <= 1.0 {
        return None;
    }
    finding(
        &["policy.cliprange"],
        format!("ratios are never below 0, so that clipping at 1 ± {} hardly ever happens", spec.policy.cliprange),
    )
}

/// Keys that somebody wrote, and that nothing reads in such a spec.
fn unread(spec: &Spec, tree: &Node) -> Vec<Finding> {
    let sentences = spec.task.query_rule == QueryRule::Sentences;
    let schedule = spec.policy.kl.schedule;
    let (adaptive, linear) = (schedule == KlSchedule::Adaptive, schedule == KlSchedule::Linear);
    let steady = spec.policy.entropy.is_some_and(|entropy| entropy.target.is_none());
    let written = |key: &str| {
        let path: Vec<&str> = key.split('.').collect();
        let origin = tree.get(&path).map(|node| &node.origin);
        origin.is_some_and(|origin| !matches!(origin, Origin::Default | Origin::Preset(_)))
    };
    let of = |(key, idle, wants): (&'static str, bool, &str)| {
        (idle && written(key)).then(|| finding(&[key], format!("has no effect here: it acts with {wants}"))).flatten()
    };
    [
        ("task.query_start", sentences, "task.query_rule = \"excerpt\""),
        ("task.query_end", sentences, "task.query_rule = \"excerpt\""),
        ("policy.kl.target", !adaptive, "policy.kl.schedule = \"adaptive\""),
        ("policy.kl.gain", !adaptive, "policy.kl.schedule = \"adaptive\""),
        ("policy.kl.horizon", !adaptive || spec.policy.kl.gain.is_some(), "the adaptive schedule, and without a gain"),
        ("policy.kl.end", !linear, "policy.kl.schedule = \"linear\""),
        ("policy.entropy.gain", steady, "policy.entropy.target"),
    ]
    .into_iter()
    // Beside another algorithm these are errors; what is left was written below it, for others.
    .chain(foreign(spec.policy.algorithm).into_iter().map(|(key, _)| (key, true, "another policy.algorithm")))
    .filter_map(of)
    .collect()
}
