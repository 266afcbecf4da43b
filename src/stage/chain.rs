//! The rounds of a run, one after the other: labels, r, π (rounds.rs says how many and how large). Each is three
//! artifacts whose keys depend on those before, so that a killed run continues and `runner plan` shows what is done.

use super::dpo::{self, DpoInputs};
use super::keys::{Lack, STAND_IN, or_stand_in};
use super::labels;
use super::policy::{self, LabelsSoFar, Segment};
use super::reward::{self, RewardSummary};
use crate::context::{Context, StageError};
use crate::labeler::rounds::{Round, rounds};
use crate::labeler::{Asked, Comparison, Desk, Known, Labeler, gather, labeler, read_requests};
use crate::model::gpt2::Gpt2;
use crate::model::tokenizer::Tokenizer;
use crate::ranks;
use crate::results::{Accuracy, RoundReport, Rounds, file};
use crate::spec::keyed::{RoundsKey, TextsKey};
use crate::spec::{LabelerKind, Spec};
use crate::store::atomic::write_atomic;
use crate::store::cache::{Key, publish};
use crate::task::scoring::Scorer;
use crate::task::{Query, Task};
use std::path::{Path, PathBuf};

/// The artifacts of one round; those that depend on answers that are not there yet have no key.
#[derive(Debug, Clone)]
pub struct RoundKeys {
    pub round: Round,
    pub labels: Option<Key>,
    /// None, too, where DPO needs no r.
    pub reward: Option<Key>,
    /// None, too, where there is no RL.
    pub policy: Option<Key>,
}

/// Keys of rounds, made in order.
pub struct Links<'a> {
    spec: &'a Spec,
    /// ρ and r_s.
    upstream: &'a [String],
    labels: Vec<Key>,
    reward: Option<Key>,
    policy: Option<Key>,
}

impl<'a> Links<'a> {
    /// `upstream`: what all rounds depend on, ρ and r_s.
    pub fn new(spec: &'a Spec, upstream: &'a [String]) -> Self {
        Self { spec, upstream, labels: Vec::new(), reward: None, policy: None }
    }

    /// Key of the next round's labels, by whoever gives them.
    fn labels(&self, round: &Round) -> Result<Known, StageError> {
        let key = || labeler(self.spec.labeler.kind).key(self.spec, round, self.upstream, self.policy.as_ref());
        // People answer at any time: what the first rank has seen counts.
        ranks::from_first(|| {
            Ok(match key()? {
                Known::Key(key) => Some(key.hash),
                Known::Unanswered => None,
            })
        })
        .map(|hash| hash.map_or(Known::Unanswered, |hash| Known::Key(Key { stage: "labels", hash })))
    }

    /// The next round, whose labels have this key.
    fn next(&mut self, round: &Round, labels: Key) -> Result<RoundKeys, StageError> {
        self.labels.push(labels.clone());
        let reward = match self.spec.learns_reward() {
            true => Some(reward::key(self.spec, &self.labels, self.reward.as_ref())?),
            false => None,
        };
        let upstream: Vec<String> = self.upstream.iter().cloned().chain(reward.as_ref().map(Key::to_string)).collect();
        let policy = match (self.spec.has_rl(), self.spec.collect.schedule.in_rounds()) {
            (false, _) => None,
            _ if self.spec.has_dpo() => Some(dpo::key(self.spec, self.upstream, &labels)?),
            (true, true) => Some(policy::round_key(self.spec, round, &upstream, self.policy.as_ref())?),
            (true, false) => Some(policy::key(self.spec, &upstream)?),
        };
        (self.reward, self.policy) = (reward.clone(), policy.clone());
        Ok(RoundKeys { round: *round, labels: Some(labels), reward, policy })
    }
}

/// The keys of all rounds as far as they are known now.
pub fn keys(spec: &Spec, upstream: &[String]) -> Result<Vec<RoundKeys>, StageError> {
    let mut links = Links::new(spec, upstream);
    let mut all = Vec::new();
    let mut known = true;
    for round in rounds(spec) {
        let labels = if known { links.labels(&round)? } else { Known::Unanswered };
        all.push(match labels {
            Known::Key(labels) => links.next(&round, labels)?,
            Known::Unanswered => RoundKeys { round, labels: None, reward: None, policy: None },
        });
        known &= labels_known(&all);
    }
    Ok(all)
}

fn labels_known(rounds: &[RoundKeys]) -> bool {
    rounds.last().is_none_or(|last| last.labels.is_some())
}

/// The keys of all rounds before everything is here; see [`super::keys::Keys::planned`].
pub fn planned(spec: &Spec, upstream: &[String], lacks: &mut Vec<Lack>) -> Result<Vec<RoundKeys>, StageError> {
    let mut links = Links::new(spec, upstream);
    let mut all = Vec::new();
    let mut known = true;
    for round in rounds(spec) {
        let number = round.number;
        let stand_in = || Key::new("labels", STAND_IN, &(&spec.labeler, &spec.collect, number, upstream, spec.seed));
        let labels = match if known { links.labels(&round) } else { Ok(Known::Unanswered) } {
            Ok(Known::Key(key)) => Ok(key),
            Ok(Known::Unanswered) => {
                // A judge answers while the run goes on.
                if known && spec.labeler.kind != LabelerKind::Judge {
                    lacks.push(Lack { stage: "labels", round: number, why: "people's answers".into(), waits: true });
                }
                known = false;
                Ok(stand_in()?)
            }
            Err(e) => Err(e),
        };
        let labels = or_stand_in(("labels", number), labels, lacks, stand_in)?;
        all.push(links.next(&round, labels)?);
    }
    Ok(all)
}

/// What the rounds of a run need.
pub struct ChainInputs<'a> {
    pub reference: &'a Gpt2,
    /// Directory of ρ's weights.
    pub reference_dir: &'a Path,
    pub tokenizer: &'a Tokenizer,
    /// Directory of the tokenizer's files.
    pub tokenizer_dir: &'a Path,
    /// r_s.
    pub mock: Option<&'a Scorer>,
    pub task: &'a Task,
    pub queries: &'a [Query],
    pub summaries: &'a [Option<String>],
}

/// What a run's rounds end with.
pub struct Trained {
    /// The last r; none where DPO needs none.
    pub scorer: Option<Scorer>,
    pub accuracy: Option<Accuracy>,
    /// Directory of the last π; none without RL.
    pub policy: Option<PathBuf>,
    pub last: RoundKeys,
    /// Labels that the last r, or DPO's π, learned from.
    pub labels: u64,
}

/// A run in progress.
struct Chain<'a> {
    context: &'a Context,
    run: &'a str,
    spec: &'a Spec,
    upstream: &'a [String],
    inputs: &'a ChainInputs<'a>,
    labels: Vec<PathBuf>,
    /// π of the round before, and its key.
    policy: Option<(PathBuf, Key)>,
    scorer: Option<Scorer>,
    reports: Vec<RoundReport>,
    labeler: &'static dyn Labeler,
}

/// Runs all rounds and publishes what they make.
pub fn run(
    context: &Context,
    run: &str,
    spec: &Spec,
    upstream: &[String],
    inputs: &ChainInputs<'_>,
) -> Result<Trained, StageError> {
    let mut chain = Chain {
        context,
        run,
        spec,
        upstream,
        inputs,
        labels: Vec::new(),
        policy: None,
        scorer: None,
        reports: Vec::new(),
        labeler: labeler(spec.labeler.kind),
    };
    let mut links = Links::new(spec, upstream);
    let all = rounds(spec);
    let done = last_done(context, &keys(spec, upstream)?)?;
    let mut last = None;
    for (i, round) in all.iter().enumerate() {
        if all.len() > 1 {
            let Round { number, total, from, to, .. } = round;
            tracing::info!("{run}: round {number}: {total} labels, updates {from} to {to}");
        }
        last = Some(chain.round(&mut links, &all[..=i], i < done)?);
    }
    let none = || StageError::Input("there are no rounds to train r in".into());
    let (summary, keys, labels) = last.ok_or_else(none)?;
    Ok(Trained {
        accuracy: summary.and_then(|summary| summary.quality.accuracy()),
        scorer: chain.scorer,
        policy: chain.policy.map(|(dir, _)| dir),
        last: keys,
        labels,
    })
}

/// The last round whose π is there: one before it that was thrown away is not missed.
fn last_done(context: &Context, rounds: &[RoundKeys]) -> Result<usize, StageError> {
    for (i, keys) in rounds.iter().enumerate().rev() {
        // Read whole: one that turned out damaged only when it is wanted would miss those before.
        let Some(key) = &keys.policy else { continue };
        let find = || Ok(context.cache.find(key).map_err(StageError::io(context.cache.path(key)))?.is_some());
        if ranks::from_first::<_, StageError>(find)? {
            return Ok(i);
        }
    }
    Ok(0)
}

impl<'a> Chain<'a> {
    fn run_dir(&self) -> PathBuf {
        self.context.out.join("runs").join(self.run)
    }

    /// Labels, r and π of one round, the last of `so_far`; what r's training says, and how many labels it learned from.
    /// `passed`: a later π is there, so that this round's is not made again.
    fn round(
        &mut self,
        links: &mut Links<'_>,
        so_far: &[Round],
        passed: bool,
    ) -> Result<(Option<RewardSummary>, RoundKeys, u64), StageError> {
        let none = || StageError::Input("there are no rounds to train r in".into());
        let round = so_far.last().ok_or_else(none)?;
        self.ready(round)?;
        let Known::Key(labels_key) = links.labels(round)? else {
            return Err(StageError::Input("labeler.batches: answers disappeared while they were read".into()));
        };
        let keys = links.next(round, labels_key.clone())?;
        self.collect(round, &labels_key, so_far)?;
        let summary = keys.reward.as_ref().map(|key| self.learn(key)).transpose()?;
        let labels = summary.as_ref().and_then(|summary| summary.labels).unwrap_or(round.total as u64);
        if let Some(key) = &keys.policy {
            let gone = || Ok::<_, StageError>(!self.context.cache.has(key));
            match passed && ranks::from_first(gone)? {
                true => self.policy = Some((self.context.cache.path(key), key.clone())),
                false => self.train(round, key)?,
            }
        }
        if let Some(summary) = &summary {
            self.report(round, summary, labels)?;
        }
        Ok((summary, keys, labels))
    }

    /// What is asked in a round, of ρ or of π as it is before the round.
    fn ask(&self, round: &Round, then: &mut dyn FnMut(Asked<'_>) -> Result<(), StageError>) -> Result<(), StageError> {
        let ChainInputs { reference, task, queries, .. } = *self.inputs;
        let of = |model| Asked { round: *round, model, update: round.from, task, queries, collected: None };
        match &self.policy {
            None => then(of(reference)),
            Some((dir, _)) if self.spec.collect.schedule.is_online() => {
                then(Asked { collected: Some(read_requests(dir)?), ..of(reference) })
            }
            Some((dir, _)) => {
                let (_, model, _) = policy::resume(self.context, self.spec, reference, dir)?;
                then(of(&model.trunk))
            }
        }
    }

    /// What the labeler may work with.
    fn desk(&self) -> Desk<'_> {
        let inputs = self.inputs;
        Desk {
            context: self.context,
            run: self.run,
            spec: self.spec,
            mock: inputs.mock,
            task: inputs.task,
            queries: inputs.queries,
            summaries: inputs.summaries,
            tokenizer: inputs.tokenizer,
            tokenizer_dir: inputs.tokenizer_dir,
            weights: self.policy.as_ref().map_or(inputs.reference_dir, |(dir, _)| dir),
        }
    }

    /// Err: answers to the round's questions are missing; it says how many.
    fn ready(&self, round: &Round) -> Result<(), StageError> {
        let policy = self.policy.as_ref().map(|(_, key)| key.to_string());
        let (texts, rounds) = (TextsKey::of(&self.spec.task), RoundsKey::of(&self.spec.collect));
        let of = (texts, rounds, self.spec.seed, self.upstream, policy, round.number);
        let inputs = serde_json::to_string(&of)?;
        let of = &blake3::hash(inputs.as_bytes()).to_hex()[..16];
        // Only people are asked here, by the first rank.
        ranks::by_first(|| self.labeler.ready(&self.desk(), round, of, &mut |then| self.ask(round, then)))
    }

    /// The labels of a round; `so_far`: all rounds up to it.
    fn collect(&mut self, round: &Round, key: &Key, so_far: &[Round]) -> Result<(), StageError> {
        // π need not be read for labels that are there.
        self.labels.push(labels::run(&self.desk(), round, key, &mut |then| self.ask(round, then))?);
        self.publish_labels(so_far)
    }

    /// labels/RUN.jsonl: the labels of all rounds so far, those to train on first; beside it the last round's reports.
    fn publish_labels(&self, so_far: &[Round]) -> Result<(), StageError> {
        let to = |name: &str| self.context.out.join("labels").join(format!("{}{name}", self.run));
        match &self.labels[..] {
            [one] => publish(&one.join("labels.jsonl"), &to(".jsonl")).map_err(StageError::io(to(".jsonl")))?,
            many => {
                let all = gather(many, self.spec.collect.labels)?;
                let mut lines = String::new();
                for label in all.training.iter().chain(&all.held_out) {
                    lines.push_str(&serde_json::to_string(label)?);
                    lines.push('\n');
                }
                write_atomic(&to(".jsonl"), lines.as_bytes()).map_err(StageError::io(to(".jsonl")))?;
            }
        }
        if let Some((name, report)) = self.labeler.report(self.spec, so_far)? {
            let (text, path) = (serde_json::to_string_pretty(&report)?, to(&format!("_{name}.json")));
            write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))?;
        }
        let Some(last) = self.labels.last() else { return Ok(()) };
        for (file, name) in [("labels_report.json", "_report.json"), ("simulated.json", "_simulated.json")] {
            if last.join(file).exists() {
                publish(&last.join(file), &to(name)).map_err(StageError::io(to(name)))?;
            }
        }
        Ok(())
    }

    /// Trains r on the labels of all rounds so far.
    fn learn(&mut self, key: &Key) -> Result<RewardSummary, StageError> {
        let inputs = reward::RewardInputs {
            reference: self.inputs.reference,
            task: self.inputs.task,
            queries: self.inputs.queries,
            labels: &self.labels,
            previous: self.scorer.as_ref(),
            end_of_text: self.inputs.tokenizer.end_of_text(),
        };
        let trained = reward::run(self.context, self.run, self.spec, key, &inputs)?;
        let model_dir = self.run_dir().join("models/reward");
        for file in ["config.json", "model.safetensors", reward::FILE] {
            let to = model_dir.join(file);
            publish(&trained.join(file), &to).map_err(StageError::io(to))?;
        }
        self.inputs.tokenizer.save(&model_dir)?;
        let (scorer, summary) = reward::load(self.context, &trained, self.spec.model.precision)?;
        self.scorer = Some(scorer);
        Ok(summary)
    }

    /// π from the labels themselves.
    fn prefer(&self, key: &Key) -> Result<PathBuf, StageError> {
        let inputs = DpoInputs {
            reference: self.inputs.reference,
            task: self.inputs.task,
            labels: &self.labels,
            end_of_text: self.inputs.tokenizer.end_of_text(),
        };
        dpo::run(self.context, self.run, self.spec, key, &inputs)
    }

    /// Trains π for the round's updates: under the present r, or by DPO.
    fn train(&mut self, round: &Round, key: &Key) -> Result<(), StageError> {
        let trained = match self.spec.has_dpo() {
            true => self.prefer(key)?,
            false => self.optimise(round, key)?,
        };
        let metrics = self.run_dir().join(file::METRICS);
        publish(&trained.join(file::METRICS), &metrics).map_err(StageError::io(metrics))?;
        self.policy = Some((trained, key.clone()));
        Ok(())
    }

    /// π under the present r.
    fn optimise(&self, round: &Round, key: &Key) -> Result<PathBuf, StageError> {
        let scorer = self.scorer.as_ref().ok_or_else(|| StageError::Input("there is no r to optimise".into()))?;
        let inputs = crate::rl::rollout::Inputs {
            reference: self.inputs.reference,
            scorer,
            mock: self.inputs.mock,
            task: self.inputs.task,
            queries: self.inputs.queries,
            end_of_text: self.inputs.tokenizer.end_of_text(),
        };
        let schedule = self.spec.collect.schedule;
        let labels = match schedule.in_rounds() {
            true => {
                let known = gather(&self.labels, self.spec.collect.labels)?;
                let (round, collected) = (round.number, known.training.len());
                Some(LabelsSoFar { round, collected, validation: known.validation })
            }
            false => None,
        };
        let desk = self.desk();
        let next = rounds(self.spec).into_iter().nth(round.number);
        let people = |requests: &[Comparison]| match &next {
            Some(next) => self.labeler.waits(&desk, next, requests),
            None => Ok(()),
        };
        let segment = Segment {
            from: round.from,
            to: round.to,
            previous: self.policy.as_ref().map(|(dir, _)| dir.as_path()),
            labels,
            asks: schedule.is_online(),
            people: if schedule.is_online() { Some(&people) } else { None },
        };
        policy::run(self.context, self.run, self.spec, key, &inputs, &segment)
    }

    /// runs/RUN/rounds.json, where there are rounds.
    fn report(&mut self, round: &Round, summary: &RewardSummary, labels: u64) -> Result<(), StageError> {
        if !self.spec.collect.schedule.in_rounds() {
            return Ok(());
        }
        let known = gather(&self.labels, self.spec.collect.labels)?;
        let (count, batch) = (round.to - round.from, self.spec.policy.batch_size);
        self.reports.push(RoundReport {
            round: round.number,
            labels,
            new_labels: known.fresh as u64,
            updates: count as u64,
            episodes: (count * batch) as u64,
            accuracy: summary.quality.accuracy(),
            accuracy_before: summary.before.as_ref().and_then(|q| q.accuracy()),
            final_loss: f64::from(summary.final_loss),
            wins: known.validation.wins,
            validations: known.validation.n,
        });
        let report = Rounds {
            run: self.run.into(),
            schedule: self.spec.collect.schedule.word().into(),
            rounds: self.reports.clone(),
        };
        let path = self.run_dir().join(file::ROUNDS);
        let text = serde_json::to_string_pretty(&report)?;
        write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))
    }
}
