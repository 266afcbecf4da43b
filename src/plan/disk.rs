//! Bytes that a run leaves on disk: artifacts in the cache, checkpoints while a stage is at work, and the models that
//! are copied into the results directory. Labels, metrics, samples and pages are small beside them and counted
//! roughly.

use super::sizes::Model;
use crate::labeler::CANDIDATES;
use crate::labeler::rounds::{Round, rounds, updates};
use crate::model::checkpoint;
use crate::model::memory::Shape;
use crate::spec::Spec;
use crate::stage::frontier;

/// Weights and two moments.
const CHECKPOINT: f64 = 3.0;
/// Those that are kept, and the one that is being written.
const CHECKPOINTS: f64 = (checkpoint::KEEP + 1) as f64 * CHECKPOINT;
/// Bytes of a label's token as JSON.
const TOKEN: f64 = 6.0;
/// Bytes of a line of metrics.jsonl, and of the same numbers for TensorBoard.
const METRICS: f64 = 3_000.0;

/// Bytes that a stage leaves, and that it has beside them while it works.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Disk {
    pub kept: f64,
    pub while_running: f64,
}

/// What a spec's stages write.
pub struct StageWriter<'a> {
    pub spec: &'a Spec,
    pub model: &'a Model,
}

impl StageWriter<'_> {
    fn trained(&self, weights: f64) -> Disk {
        Disk { kept: weights, while_running: CHECKPOINTS * weights }
    }

    pub fn import(&self) -> Disk {
        Disk { kept: self.model.bytes(), while_running: 0.0 }
    }

    pub fn pretrain(&self) -> Disk {
        self.trained(self.model.bytes())
    }

    /// Every learning rate of the sweep leaves its checkpoints until the best is known.
    pub fn supervised(&self) -> Disk {
        let (weights, rates) = (self.model.bytes(), self.spec.supervised.lrs.len() as f64);
        let each = checkpoint::KEEP as f64 * CHECKPOINT;
        Disk { kept: weights, while_running: weights * (rates * each + CHECKPOINT + 1.0) }
    }

    pub fn classifier(&self) -> Disk {
        let dimensions = self.spec.labeler.classifier.dimensions;
        self.trained(Shape { dimensions, vocab: self.model.vocab, time: 1, response: 1 }.weights())
    }

    pub fn labels(&self, round: &Round) -> Disk {
        let task = &self.spec.task;
        let tokens = task.query_length + CANDIDATES * task.response_length;
        let kept = (round.asked(self.spec.collect.held_out) * tokens) as f64 * TOKEN;
        Disk { kept, while_running: 0.0 }
    }

    pub fn reward(&self) -> Disk {
        self.trained(self.model.bytes())
    }

    /// Between rounds π stays as a checkpoint.
    pub fn policy(&self, last: bool) -> Disk {
        let disk = self.trained(self.model.bytes());
        if last { disk } else { Disk { kept: CHECKPOINT * disk.kept, ..disk } }
    }

    pub fn evaluate(&self) -> Disk {
        Disk { kept: 200.0 * self.spec.evaluate.queries as f64, while_running: 0.0 }
    }

    /// Tokens, log-probabilities and scores as numbers in JSON.
    pub fn frontier(&self, policies: usize) -> Disk {
        let (responses, writers) = frontier::sizes(self.spec, policies);
        let each = 6 * self.spec.task.response_length + 30 * writers + 15;
        Disk { kept: (responses * each) as f64, while_running: 0.0 }
    }

    /// What a run adds to its results directory: π, with its value head a second time where it was trained, r, labels
    /// and metrics.
    pub fn results(&self) -> f64 {
        let rl = self.spec.has_rl();
        let models = if rl { 2.0 } else { 1.0 } + if self.spec.has_reward_model() { 1.0 } else { 0.0 };
        let labels: f64 = rounds(self.spec).iter().map(|round| self.labels(round).kept).sum();
        let lines = if rl { updates(self.spec) as f64 * METRICS } else { 0.0 };
        models * self.model.bytes() + labels + lines
    }
}
