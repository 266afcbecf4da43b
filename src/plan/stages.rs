//! The stages of one run, in order, each with what it takes.

use super::disk::{Disk, StageWriter};
use super::memory::{Gauge, Hardware, Peak};
use super::sizes::{Model, is_given};
use super::work::{Counter, Operations, TaskLengths};
use crate::context::StageError;
use crate::data::source::documents;
use crate::labeler::rounds::{Round, updates};
use crate::spec::{PretrainSpec, Spec, SupervisedOn};
use crate::stage::keys::{Keys, Lack};
use crate::stage::{experiment, frontier};
use crate::store::cache::Key;

/// Which stage, with what differs between two of the same name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Weights that are given.
    Import,
    Pretrain,
    Supervised,
    Classifier,
    Labels(Round),
    Reward(Round),
    /// PPO updates `from..to`; whether they are the last.
    Policy {
        from: usize,
        to: usize,
        last: bool,
    },
    Evaluate,
    /// Of an experiment with so many policies under r_s.
    Frontier {
        policies: usize,
    },
}

/// A stage of a run.
#[derive(Debug, Clone)]
pub struct StageItem {
    pub key: Key,
    /// Where there is more than one.
    pub round: Option<usize>,
    /// The same, also where there is one; 0 before and after rounds.
    number: usize,
    kind: Kind,
}

/// All stages of a run whose keys are known, or stand for those that will be.
pub fn items(spec: &Spec, keys: &Keys) -> Vec<StageItem> {
    let many = keys.rounds.len() > 1;
    let mut all = Vec::new();
    let mut push = |key: Option<&Key>, round: Option<usize>, kind| {
        let number = round.unwrap_or(0);
        all.extend(key.map(|key| StageItem { key: key.clone(), round: round.filter(|_| many), number, kind }));
    };
    let first = if is_given(spec) { Kind::Import } else { Kind::Pretrain };
    push(Some(&keys.pretrained), None, first);
    push(keys.supervised.as_ref(), None, Kind::Supervised);
    push(keys.classifier.as_ref(), None, Kind::Classifier);
    let last = updates(spec);
    for r in &keys.rounds {
        let (from, to, number) = (r.round.from, r.round.to, Some(r.round.number));
        push(r.labels.as_ref(), number, Kind::Labels(r.round));
        push(r.reward.as_ref(), number, Kind::Reward(r.round));
        push(r.policy.as_ref(), number, Kind::Policy { from, to, last: to == last });
    }
    push(keys.policy.as_ref(), None, Kind::Policy { from: 0, to: last, last: true });
    push(keys.evaluate.as_ref(), None, Kind::Evaluate);
    all
}

/// What the policies of several runs of one experiment show together, the first of which has `spec`.
pub fn frontier(spec: &Spec, runs: &[&Keys]) -> Result<Option<StageItem>, StageError> {
    let kind = Kind::Frontier { policies: runs.len() };
    Ok(experiment::frontier_key(spec, runs)?.map(|key| StageItem { key, round: None, number: 0, kind }))
}

impl StageItem {
    /// Whether this stage needs what is lacking, or one before it does.
    pub fn depends_on(&self, lack: &Lack) -> bool {
        match (lack.stage, self.kind) {
            ("import" | "pretrain", _) | (_, Kind::Evaluate | Kind::Frontier { .. }) => true,
            ("classifier", kind) => !matches!(kind, Kind::Import | Kind::Pretrain | Kind::Supervised),
            _ => self.number >= lack.round.max(1),
        }
    }

    /// Sizes in words.
    pub fn what(&self, spec: &Spec) -> String {
        match self.kind {
            Kind::Import => "weights that are given".into(),
            Kind::Pretrain => spec.model.weights.pretrain.as_ref().map_or_else(String::new, |p| {
                format!("{} steps of {} sequences of {} tokens", p.steps, p.batch_size, p.sequence_length)
            }),
            Kind::Supervised => {
                let s = &spec.supervised;
                format!("{} on {}", super::units::count(s.lrs.len(), "learning rate"), on(s.on))
            }
            Kind::Classifier => {
                let c = &spec.labeler.classifier;
                format!("{} steps of {} reviews", c.steps, c.batch_size)
            }
            Kind::Labels(round) => {
                format!("{} {}", round.asked(spec.collect.held_out), spec.labeler.is().about)
            }
            Kind::Reward(round) => {
                format!("{} of {} labels", super::units::count(spec.reward.epochs, "epoch"), round.total)
            }
            Kind::Policy { .. } if spec.has_dpo() => {
                let d = spec.policy.dpo();
                format!("{} of {} labels by DPO", super::units::count(d.epochs, "epoch"), spec.collect.labels)
            }
            Kind::Policy { from, to, .. } => {
                format!("{} episodes in {} updates", (to - from) * spec.policy.batch_size, to - from)
            }
            Kind::Evaluate => {
                let e = &spec.evaluate;
                let most = e.best_of.iter().max().map_or_else(String::new, |n| format!(", best of up to {n}"));
                format!("{} queries{most}, {} x {} samples of ρ", e.queries, e.optimum_queries, e.optimum_samples)
            }
            Kind::Frontier { policies } => {
                let (responses, writers) = frontier::sizes(spec, policies);
                format!("{responses} responses of ρ, {policies} policies and models between under {writers} models")
            }
        }
    }

    /// Width of the transformer that it mostly works on.
    pub fn width(&self, spec: &Spec, model: &Model) -> usize {
        match self.kind {
            Kind::Classifier => spec.labeler.classifier.dimensions.width,
            _ => model.dimensions.width,
        }
    }

    /// Floating-point operations, or why they are not known.
    pub fn work(&self, spec: &Spec, model: &Model) -> Result<Operations, String> {
        let counter = Counter::new(spec, model);
        let online = spec.collect.schedule.is_online();
        Ok(match self.kind {
            Kind::Import => counter.import(),
            Kind::Pretrain => counter.pretrain(),
            Kind::Supervised => {
                let rows = rows_of(spec)?;
                match spec.supervised.on {
                    SupervisedOn::Summaries => {
                        let lengths = TaskLengths::of(spec);
                        counter.supervised(rows, lengths.whole(), lengths.response)
                    }
                    _ => counter.supervised(rows, spec.supervised.sequence_length, spec.supervised.sequence_length),
                }
            }
            Kind::Classifier => counter.classifier(),
            Kind::Labels(round) => counter.labels(&round, online && round.number > 1),
            Kind::Reward(round) => counter.reward(&round),
            Kind::Policy { .. } if spec.has_dpo() => counter.dpo(spec.collect.labels),
            Kind::Policy { from, to, .. } => counter.policy(from, to, online),
            Kind::Evaluate => counter.evaluate(),
            Kind::Frontier { policies } => counter.frontier(policies),
        })
    }

    pub fn memory(&self, spec: &Spec, model: &Model, by: (Hardware, usize)) -> Peak {
        let gauge = Gauge::new(spec, model, by);
        match self.kind {
            Kind::Import => gauge.import(),
            Kind::Pretrain => gauge.pretrain(),
            Kind::Supervised => gauge.supervised(),
            Kind::Classifier => gauge.classifier(),
            Kind::Labels(round) => gauge.labels(round.number),
            Kind::Reward(round) => gauge.reward(round.number),
            Kind::Policy { .. } if spec.has_dpo() => gauge.dpo(),
            Kind::Policy { .. } => gauge.policy(),
            // One model at a time, in passes of the same rows.
            Kind::Evaluate | Kind::Frontier { .. } => gauge.evaluate(),
        }
    }

    pub fn disk(&self, spec: &Spec, model: &Model) -> Disk {
        let writer = StageWriter { spec, model };
        match self.kind {
            Kind::Import => writer.import(),
            Kind::Pretrain => writer.pretrain(),
            Kind::Supervised => writer.supervised(),
            Kind::Classifier => writer.classifier(),
            Kind::Labels(round) => writer.labels(&round),
            Kind::Reward(_) => writer.reward(),
            Kind::Policy { last, .. } => writer.policy(last),
            Kind::Evaluate => writer.evaluate(),
            Kind::Frontier { policies } => writer.frontier(policies),
        }
    }
}

fn on(what: SupervisedOn) -> &'static str {
    match what {
        SupervisedOn::Nothing => "nothing",
        SupervisedOn::Text => "the task's text",
        SupervisedOn::Summaries => "the texts' summaries",
    }
}

/// Bytes of English text that a token of GPT-2 stands for, about.
const TOKEN: f64 = 4.3;

/// Sequences of supervised fine-tuning. Only made-up text is counted here: others would have to be read whole.
fn rows_of(spec: &Spec) -> Result<f64, String> {
    let data = &spec.task.data;
    if [&data.source, &data.path, &data.hf].into_iter().any(Option::is_some) {
        return match data.limit {
            Some(limit) if spec.supervised.on == SupervisedOn::Summaries => Ok(limit as f64),
            _ => Err("as many steps as task.data has texts, which are counted when they are read; with task.data.limit = N they are at most N".into()),
        };
    }
    let passages =
        spec.model.weights.pretrain.as_ref().map_or_else(|| PretrainSpec::default().passages, |p| p.passages);
    // Every tenth document is held out.
    let count = |n: usize| n as f64 * 0.9;
    match spec.supervised.on {
        SupervisedOn::Summaries => Ok(count(passages)),
        _ => {
            let some = documents(data, passages.min(256), 0).map_err(|e| e.to_string())?.train;
            let mean = some.iter().map(|d| d.text.len()).sum::<usize>() as f64 / some.len().max(1) as f64;
            Ok(count(passages) * mean / TOKEN / (spec.supervised.sequence_length + 1) as f64)
        }
    }
}
