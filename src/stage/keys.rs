//! The names of everything that a run makes, by what it depends on: known before any of it is made, so that what is
//! there is reused, and `runner plan` shows what is done.

use super::chain::{self, RoundKeys};
use super::{classifier, evaluate, given, policy, pretrain, sources, supervised};
use crate::context::StageError;
use crate::spec::keyed::ScaleKey;
use crate::spec::{CollectSchedule, Spec};
use crate::store::cache::Key;

/// The artifacts of one run, by what they depend on: known before any of them is made.
#[derive(Debug, Clone)]
pub struct Keys {
    /// ρ as it comes.
    pub pretrained: Key,
    /// ρ after supervised fine-tuning, where the spec asks for it.
    pub supervised: Option<Key>,
    /// The mock labeler, where there is one.
    pub classifier: Option<Key>,
    /// What labels and all that follows depend on: ρ and r_s.
    pub upstream: Vec<String>,
    /// Labels, reward model and policy of each round; direct mode has no rounds.
    pub rounds: Vec<RoundKeys>,
    /// Without rounds: of direct mode, and under a reward model that is given.
    pub policy: Option<Key>,
    /// Content of a reward model and a policy that are given; no artifacts.
    pub given: Given,
    /// None while people's answers are missing on which it depends.
    pub evaluate: Option<Key>,
}

/// What is given instead of trained.
#[derive(Debug, Clone, Default)]
pub struct Given {
    pub reward: Option<Key>,
    pub policy: Option<Key>,
}

impl Given {
    fn new(spec: &Spec) -> Result<Self, StageError> {
        Ok(Self { reward: given::reward_key(spec)?, policy: given::policy_key(spec)? })
    }

    /// Stands for what is not here yet.
    fn stand_in(spec: &Spec) -> Result<Self, serde_json::Error> {
        let reward = spec.reward.is_given().then(|| Key::new("given_reward", STAND_IN, &spec.reward)).transpose()?;
        let policy = spec.policy.is_given().then(|| Key::new("given_policy", STAND_IN, &spec.policy)).transpose()?;
        Ok(Self { reward, policy })
    }
}

/// The keys of a spec's rounds, by those of ρ and r_s.
type RoundsOf<'a> = &'a dyn Fn(&[String]) -> Result<Vec<RoundKeys>, StageError>;

impl Keys {
    pub fn new(spec: &Spec, run: &str, device_kind: &str) -> Result<Self, StageError> {
        // What the hub has is named by its commit, as in a run.
        let spec = &sources::cached(spec)?;
        let pretrained = pretrain::key(spec, device_kind)?;
        let classifier = match spec.has_classifier() {
            true => Some(classifier::key(spec, &pretrained)?),
            false => None,
        };
        let roots = (pretrained, classifier, Given::new(spec)?);
        Self::from_roots(spec, run, roots, &|upstream| chain::keys(spec, upstream))
    }

    /// The same before everything is here: a stage whose files or answers are missing has a key that stands for it, the
    /// same wherever the same is missing, and that no artifact has. What is missing goes to `lacks`.
    pub fn planned(spec: &Spec, run: &str, device_kind: &str, lacks: &mut Vec<Lack>) -> Result<Self, StageError> {
        let (spec, unpinned) = match sources::cached(spec) {
            Ok(spec) => (spec, None),
            // Labels alone may be missing; then all before them can be looked up.
            Err(e) => match sources::cached(&sources::without_labels(spec)) {
                Ok(spec) => (spec, None),
                Err(_) => (spec.clone(), Some(e)),
            },
        };
        let (spec, known) = (&spec, unpinned.is_none());
        let weights = &spec.model.weights;
        let given = [&weights.source, &weights.path, &weights.hf].into_iter().any(Option::is_some);
        let stage = if given { "import" } else { "pretrain" };
        let key = unpinned.map_or_else(|| pretrain::key(spec, device_kind), Err);
        let pretrained = or_stand_in((stage, 0), key, lacks, || {
            let seed = weights.pretrain.as_ref().map(|p| (spec.seed, p.summaries.then_some(&spec.task)));
            Key::new(stage, STAND_IN, &(&spec.model, &spec.task.data, seed, device_kind))
        })?;
        let stand_in = || {
            let l = &spec.labeler;
            let length = spec.task.query_length + spec.task.response_length;
            Key::new("classifier", STAND_IN, &(&l.reviews, &l.classifier, length, pretrained.to_string(), spec.seed))
        };
        let classifier = match spec.has_classifier() {
            // What a name stands for is not known, and so not what r_s learns from.
            true if !known => Some(stand_in()?),
            true => Some(or_stand_in(("classifier", 0), classifier::key(spec, &pretrained), lacks, stand_in)?),
            false => None,
        };
        let given = Given::new(spec).or_else(|e| {
            // Where a name could not be looked up, that has been said.
            lacks.extend(known.then(|| Lack { stage: "import", round: 0, why: e.to_string(), waits: false }));
            Given::stand_in(spec)
        })?;
        let lacks = std::cell::RefCell::new(lacks);
        let rounds = |upstream: &[String]| chain::planned(spec, upstream, &mut lacks.borrow_mut());
        Self::from_roots(spec, run, (pretrained, classifier, given), &rounds)
    }

    /// From ρ and r_s on, keys follow from the spec. `rounds`: the keys of its rounds, by ρ and r_s.
    fn from_roots(
        spec: &Spec,
        run: &str,
        (pretrained, classifier, given): (Key, Option<Key>, Given),
        rounds: RoundsOf<'_>,
    ) -> Result<Self, StageError> {
        let supervised = supervised::key(spec, &pretrained)?;
        let rl = spec.collect.schedule != CollectSchedule::None;
        // Without RL, what is compared is the supervised model with the one that it was fine-tuned from.
        let reference = supervised.as_ref().filter(|_| rl).unwrap_or(&pretrained);
        let upstream: Vec<String> =
            [Some(reference), classifier.as_ref()].into_iter().flatten().map(Key::to_string).collect();
        let rounds = rounds(&upstream)?;
        let scorer = match &given.reward {
            Some(key) => key.to_string(),
            None => direct(spec)?,
        };
        let policy = match spec.has_rl() && !spec.has_labels() {
            true => Some(policy::key(spec, &with(&upstream, scorer))?),
            false => None,
        };
        let mut keys = Self { pretrained, supervised, classifier, upstream, rounds, policy, given, evaluate: None };
        keys.evaluate = keys.evaluation(spec, run, keys.rounds.last())?;
        Ok(keys)
    }

    /// Key of the evaluation, from what it evaluates: the last π, or without RL all that takes its place. `last`: the
    /// last round's keys, which are known at the end of a run even if they were not at its beginning.
    pub(super) fn evaluation(
        &self,
        spec: &Spec,
        run: &str,
        last: Option<&RoundKeys>,
    ) -> Result<Option<Key>, StageError> {
        if last.is_some_and(|round| round.labels.is_none()) {
            return Ok(None);
        }
        let upstream = match self.policy.as_ref().or(last.and_then(|round| round.policy.as_ref())) {
            // Where DPO's π is judged by an r, that has learned beside it.
            Some(policy) => {
                let judge = last.filter(|_| spec.has_dpo()).and_then(|round| round.reward.as_ref());
                [policy].into_iter().chain(judge).map(Key::to_string).collect()
            }
            None => {
                let scorer = last.and_then(|round| round.reward.as_ref()).or(self.given.reward.as_ref());
                let direct = || direct(spec);
                let scorer = scorer.map_or_else(direct, |key| Ok(key.to_string()))?;
                let supervised = self.supervised.as_ref().map(Key::to_string).unwrap_or_default();
                let upstream = with(&with(&self.upstream, scorer), supervised);
                self.given.policy.as_ref().map_or_else(|| upstream.clone(), |key| with(&upstream, key.to_string()))
            }
        };
        Ok(Some(evaluate::key(spec, run, &upstream)?))
    }

    /// π as it ends; none where nothing trains it, or people's answers are missing before it.
    pub fn last_policy(&self) -> Option<&Key> {
        self.policy.as_ref().or_else(|| self.rounds.last()?.policy.as_ref())
    }

    /// In the order in which they are made.
    pub fn all(&self) -> Vec<&Key> {
        let rounds = self.rounds.iter().flat_map(|r| [&r.labels, &r.reward, &r.policy].into_iter().flatten());
        std::iter::once(&self.pretrained)
            .chain(&self.supervised)
            .chain(&self.classifier)
            .chain(rounds)
            .chain(&self.policy)
            .chain(&self.evaluate)
            .collect()
    }
}

/// Stands for r_s on r's scale, which is no artifact.
fn direct(spec: &Spec) -> Result<String, StageError> {
    Ok(format!("direct {}", serde_json::to_string(&ScaleKey::of(&spec.reward))?))
}

/// The version in keys that stand for what is missing; no stage has it.
pub(super) const STAND_IN: u32 = 0;

/// Something that a stage needs and that is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The stage that needs it; stages after it depend on it too.
    pub stage: &'static str,
    /// Of labels: the round, from 1.
    pub round: usize,
    pub why: String,
    /// It is answers that people have not given.
    pub waits: bool,
}

/// The key of a stage, or one that stands for it while it lacks something.
pub(super) fn or_stand_in(
    (stage, round): (&'static str, usize),
    key: Result<Key, StageError>,
    lacks: &mut Vec<Lack>,
    stand_in: impl FnOnce() -> Result<Key, serde_json::Error>,
) -> Result<Key, StageError> {
    match key {
        Ok(key) => Ok(key),
        Err(e) => {
            lacks.push(Lack { stage, round, why: e.to_string(), waits: false });
            Ok(stand_in()?)
        }
    }
}

fn with(upstream: &[String], more: String) -> Vec<String> {
    upstream.iter().cloned().chain([more]).collect()
}
