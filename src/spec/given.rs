//! Reward models and policies that are given instead of trained: what a spec with them still does, what they are
//! called, and the rules between their keys and others.

use super::Options;
use super::catalogue::SourceUse;
use super::check::{Finding, finding, hinted, path_is_there, source_is_known};
use super::types::{AlgorithmKind, CollectSchedule, OutsideReward, PolicySpec, RewardSpec, Spec};

/// Names of the authors' models begin with this (specs/sources.toml).
const RELEASED: &str = "released/";
/// What reports call them.
const AUTHORS: &str = "authors' release";

impl RewardSpec {
    /// Whether r is given instead of trained.
    pub fn is_given(&self) -> bool {
        self.source.is_some() || self.path.is_some()
    }

    /// A reward that no model gives.
    pub fn outside(&self) -> Option<OutsideReward> {
        OutsideReward::of(self.source.as_deref()?)
    }

    /// The named source of a reward model.
    pub fn named_source(&self) -> Option<&String> {
        self.source.as_ref().filter(|name| OutsideReward::of(name).is_none())
    }
}

impl PolicySpec {
    /// Whether π is given instead of trained.
    pub fn is_given(&self) -> bool {
        self.source.is_some() || self.path.is_some()
    }
}

/// Whether a named source is a model of the authors'.
pub fn is_released(source: &str) -> bool {
    source.starts_with(RELEASED)
}

impl Spec {
    /// Whether r_s is trained: not where the reward model is given, which needs no labels.
    pub fn has_classifier(&self) -> bool {
        !self.reward.is_given() && self.labeler.has_classifier()
    }

    /// Whether π learns from the labels themselves.
    pub fn has_dpo(&self) -> bool {
        self.has_rl() && self.policy.algorithm == AlgorithmKind::Dpo
    }

    /// Whether labels are read or collected, for a reward model or for DPO.
    pub fn has_labels(&self) -> bool {
        if self.reward.is_given() {
            return false;
        }
        match self.collect.schedule {
            CollectSchedule::Direct => false,
            CollectSchedule::Offline | CollectSchedule::Batched | CollectSchedule::Online => true,
            // Without a mock labeler, r is the only judge there is.
            CollectSchedule::None => !self.labeler.is().judges,
        }
    }

    /// Whether a reward model learns from labels: DPO needs none, unless nobody else can judge what it made.
    pub fn learns_reward(&self) -> bool {
        self.has_labels() && !(self.has_dpo() && self.labeler.is().judges)
    }

    /// Whether there is a reward model of ρ's kind, learned or given.
    pub fn has_reward_model(&self) -> bool {
        (self.reward.is_given() && self.reward.outside().is_none()) || self.learns_reward()
    }

    /// Whether π is trained.
    pub fn has_rl(&self) -> bool {
        self.collect.schedule.has_rl() && !self.policy.is_given()
    }

    /// How π came to be, for reports: the schedule, "given" under a reward model that is given, "none" without RL.
    pub fn schedule_word(&self) -> &'static str {
        match (self.has_rl(), self.reward.is_given()) {
            (false, _) => CollectSchedule::None.word(),
            (true, true) => "given",
            (true, false) => self.collect.schedule.word(),
        }
    }

    /// What a reader has to know of models that were not trained here, beside the run's name; nothing where all were.
    pub fn origin(&self) -> Option<String> {
        let r = self.reward.is_given().then(|| match (self.reward.outside(), self.reward.source.as_deref()) {
            (Some(OutsideReward::Command), _) => "r: a program".into(),
            (Some(OutsideReward::Rouge), _) => "r: ROUGE-L".into(),
            (None, Some(source)) if is_released(source) => format!("r: {AUTHORS}"),
            (None, _) => "r: given".into(),
        });
        let words: Vec<String> = self.policy_origin().into_iter().chain(r).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// The same of π alone.
    pub fn policy_origin(&self) -> Option<String> {
        let weights = self.model.weights.source.as_deref().filter(|name| name.ends_with("/policy"));
        let released = |source: Option<&str>| source.is_some_and(is_released);
        match (self.policy.is_given(), released(self.policy.source.as_deref()), released(weights)) {
            (true, true, _) => Some(AUTHORS.into()),
            (true, false, _) => Some("given policy".into()),
            (false, _, true) => Some(format!("on top of the {AUTHORS}")),
            (false, _, false) => None,
        }
    }
}

/// Every rule on models that are given.
pub(super) fn rules(spec: &Spec, options: &Options) -> Vec<Finding> {
    let (r, p) = (&spec.reward, &spec.policy);
    let known = |key, name: &Option<String>, used_as| source_is_known(key, name.as_deref()?, used_as);
    let there = |key, path: &Option<String>| path_is_there(key, path.as_deref()?, options);
    [
        one_of("reward.source", "reward.path", r.named_source().is_some() && r.path.is_some()),
        one_of("policy.source", "policy.path", p.source.is_some() && p.path.is_some()),
        known("reward.source", &r.named_source().cloned(), SourceUse::RewardModel),
        known("policy.source", &p.source, SourceUse::Model),
        there("reward.path", &r.path),
        there("policy.path", &p.path),
        given_reward_needs_no_labels(spec),
        given_policy_is_not_asked(spec),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn one_of(source: &'static str, path: &'static str, both: bool) -> Option<Finding> {
    if both { finding(&[source, path], "both `source` and `path` are given; keep one".into()) } else { None }
}

/// The default schedule stands in every spec, and collects nothing where r is given; the others mean something else.
fn given_reward_needs_no_labels(spec: &Spec) -> Option<Finding> {
    use CollectSchedule::{Batched, Direct, Online};
    if !spec.reward.is_given() || !matches!(spec.collect.schedule, Batched | Direct | Online) {
        return None;
    }
    hinted(
        &["collect.schedule", "reward.source", "reward.path"],
        format!(
            "the reward model is given, and nothing is collected; {:?} would train one",
            spec.collect.schedule.word()
        ),
        "remove the schedule, or the given reward model".into(),
    )
}

/// Later rounds ask about samples of a π that is trained.
fn given_policy_is_not_asked(spec: &Spec) -> Option<Finding> {
    use CollectSchedule::{Batched, Online};
    if !spec.policy.is_given() || !matches!(spec.collect.schedule, Batched | Online) {
        return None;
    }
    hinted(
        &["collect.schedule", "policy.source", "policy.path"],
        format!("the policy is given, and {:?} collects labels while one is trained", spec.collect.schedule.word()),
        "take schedule = \"offline\", or \"none\"".into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(more: Value) -> Spec {
        let mut value = json!({ "spec_version": 1, "name": "t" });
        more.as_object().into_iter().flatten().for_each(|(key, v)| value[key] = v.clone());
        serde_json::from_value(value).expect("a spec")
    }

    fn found(more: Value) -> Vec<&'static str> {
        rules(&spec(more), &Options::default()).iter().map(|finding| finding.keys[0]).collect()
    }

    #[test]
    fn a_given_reward_model_needs_no_labeler_and_a_given_policy_no_rl() {
        let given = spec(json!({ "reward": { "source": "released/sentiment/reward_model" } }));
        assert!(!given.has_classifier() && given.has_rl() && given.labeler.has_classifier());
        assert_eq!(given.origin().as_deref(), Some("r: authors' release"));
        let both = spec(json!({ "reward": { "path": "r" }, "policy": { "source": "released/sentiment/policy" } }));
        assert!(!both.has_rl());
        assert_eq!(both.origin().as_deref(), Some("authors' release; r: given"));
        assert_eq!(spec(json!({})).origin(), None);
    }

    #[test]
    fn what_contradicts_a_given_model_is_found_at_its_key() {
        assert_eq!(found(json!({})), Vec::<&str>::new());
        assert_eq!(found(json!({ "reward": { "source": "released/tldr/reward_model" } })), Vec::<&str>::new());
        assert_eq!(found(json!({ "reward": { "source": "released/tldr/policy" } })), ["reward.source"]);
        assert_eq!(found(json!({ "policy": { "source": "released/tdlr/policy" } })), ["policy.source"]);
        assert_eq!(found(json!({ "reward": { "path": "/nowhere" } })), ["reward.path"]);
        let both = json!({ "source": "released/tldr/policy", "path": "/" });
        assert_eq!(found(json!({ "policy": both })), ["policy.source"]);
        for schedule in ["direct", "batched", "online"] {
            let given =
                json!({ "reward": { "source": "released/tldr/reward_model" }, "collect": { "schedule": schedule } });
            assert_eq!(found(given), ["collect.schedule"], "{schedule}");
        }
        let asked = json!({ "policy": { "source": "released/tldr/policy" }, "collect": { "schedule": "online" } });
        assert_eq!(found(asked), ["collect.schedule"]);
    }
}
