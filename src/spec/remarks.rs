//! Values that can be meant and seldom are: said, and taken all the same.

use super::check::{Finding, finding};
use super::types::*;

/// Nats per token of a response beyond which no policy has been worth reading.
const MOST_NATS_PER_TOKEN: f64 = 5.0;

/// Every remark on one resolved variant.
pub fn remarks(spec: &Spec) -> Vec<Finding> {
    [temperature(spec), kl_target(spec), cliprange(spec)].into_iter().flatten().collect()
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
