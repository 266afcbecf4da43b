//! Memory of each stage at its peak, on the CPU (model/memory.rs says how its shards bound it) and on a GPU (model/gpu.rs
//! says how a budget bounds its passes). Texts and queries come on top.

use super::sizes::Model;
use super::work::TaskLengths;
use crate::labeler::CANDIDATES;
use crate::model::gpu::Limits;
use crate::model::memory::{Memory, SHARD_ROWS, Shape};
use crate::model::sampling::SAMPLING_ROWS;
use crate::spec::{CollectSchedule, Spec, SupervisedOn};
use crate::stage::supervised::GPU_ROWS;
use crate::task::scoring::ROWS;

/// Bytes of a number.
const F32: f64 = 4.0;
/// Widths per token that one layer needs at a time where nothing is kept: query, key, value, the MLP's inside before
/// and after GELU, and the stream.
const PASS_CPU: f64 = 14.0;
/// Numbers that attention keeps for each head and position where its weights are dropped out.
const DROPOUT_SCORES: f64 = 3.4;

/// What stages run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hardware {
    Cpu { threads: usize },
    Gpu(Limits),
}

/// A moment's memory, and the largest single array in it, which some drivers limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Peak {
    pub memory: Memory,
    /// Bytes; of a GPU.
    pub largest_buffer: f64,
}

impl Peak {
    fn of(memory: Memory) -> Self {
        Self { memory, largest_buffer: 0.0 }
    }

    fn larger(self, other: Self) -> Self {
        Self { memory: self.memory.larger(other.memory), largest_buffer: self.largest_buffer.max(other.largest_buffer) }
    }

    /// With more models in memory that are not trained.
    fn beside(mut self, weights: f64) -> Self {
        self.memory.weights += weights;
        self
    }
}

/// Rows of a training step.
#[derive(Debug, Clone, Copy)]
struct Rows {
    /// Of a minibatch.
    all: usize,
    /// Of a shard: of the CPU, and of a GPU.
    cpu: usize,
    gpu: usize,
    /// Rows that cannot be parted: the samples of one label.
    together: usize,
    /// The loss is of log-probabilities.
    head: bool,
    /// Ranks have whole blocks of a minibatch, and not shards of it.
    in_blocks: bool,
    dropout: bool,
}

/// A spec's stages on some hardware.
pub struct Gauge<'a> {
    pub spec: &'a Spec,
    pub model: &'a Model,
    pub hardware: Hardware,
    ranks: usize,
    lengths: TaskLengths,
}

impl<'a> Gauge<'a> {
    /// Of each of so many ranks.
    pub fn new(spec: &'a Spec, model: &'a Model, (hardware, ranks): (Hardware, usize)) -> Self {
        Self { spec, model, hardware, ranks: ranks.max(1), lengths: TaskLengths::of(spec) }
    }

    fn shape(&self, time: usize, response: usize) -> Shape {
        Shape { dimensions: self.model.dimensions, vocab: self.model.vocab, time, response }
    }

    /// The peak of one training step. Of several ranks each has its rows, and its slice of the moments; all but the first
    /// keep the gradients of their shards, but of those in blocks, until they are added up.
    fn training(&self, shape: &Shape, rows: Rows) -> Peak {
        let own = Rows { all: rows.all.div_ceil(self.ranks), ..rows };
        let mut peak = self.training_alone(shape, own);
        peak.memory.adam /= self.ranks as f64;
        if self.ranks > 1 && !rows.in_blocks {
            let at_once = match self.hardware {
                Hardware::Cpu { .. } => rows.cpu,
                Hardware::Gpu(limits) => shape.gpu_rows(rows.head, rows.dropout, limits).min(rows.gpu),
            };
            let kept = own.all.div_ceil(at_once.max(1)).saturating_sub(1);
            peak.memory.gradients += kept as f64 * shape.weights();
        }
        peak
    }

    fn training_alone(&self, shape: &Shape, rows: Rows) -> Peak {
        let threads = match self.hardware {
            Hardware::Cpu { threads } => threads,
            Hardware::Gpu(limits) => {
                let fit = shape.gpu_rows(rows.head, rows.dropout, limits).min(rows.gpu);
                let at_once = (fit / rows.together).max(1) * rows.together;
                let (memory, largest_buffer) = shape.gpu_training(rows.all, at_once, (rows.head, rows.dropout), limits);
                return Peak { memory, largest_buffer };
            }
        };
        let mut memory = shape.training(rows.all, rows.cpu, threads, rows.head);
        if rows.dropout {
            let per_shard = rows.cpu.min(rows.all).max(1);
            let at_work = rows.all.div_ceil(per_shard).min(threads).max(1);
            // What dropout adds is in memory when all else is: as the backward pass begins.
            let kept = (per_shard * at_work) as f64;
            memory.activations = kept * (shape.activations() + shape.dropped(DROPOUT_SCORES));
        }
        Peak::of(memory)
    }

    /// Sampling `rows` responses at once in each worker, `k` of a query, from a model that is counted elsewhere.
    fn sampling(&self, all: usize, k: usize, passes: usize) -> Peak {
        let whole = self.shape(self.lengths.whole(), self.lengths.response);
        let threads = match self.hardware {
            Hardware::Cpu { threads } => threads,
            Hardware::Gpu(limits) => {
                let most = whole.gpu_sampling_rows(limits).min(SAMPLING_ROWS);
                let rows = ((most / k).max(1) * k).min(all);
                let (memory, largest_buffer) = whole.gpu_sampling(rows, k, limits);
                return Peak { memory, largest_buffer };
            }
        };
        let rows = ((SHARD_ROWS / k).max(1) * k).min(all);
        let at_work = all.div_ceil(rows.max(1)).max(passes).min(threads) as f64;
        let (l, w) = (self.model.dimensions.layers as f64, self.model.dimensions.width as f64);
        let layer = 2.0 * (rows * self.lengths.whole()) as f64 * w * F32;
        Peak::of(Memory {
            kv_cache: at_work * l * layer,
            activations: at_work * self.pass_on_cpu(rows.div_ceil(k), self.lengths.query),
            ..Memory::default()
        })
    }

    /// Bytes of what one layer needs of a pass without a gradient.
    fn pass_on_cpu(&self, rows: usize, time: usize) -> f64 {
        F32 * (rows * time * self.model.dimensions.width) as f64 * PASS_CPU
    }

    /// A pass over many rows, `most` at once.
    fn passes(&self, all: usize, most: usize, time: usize) -> Peak {
        match self.hardware {
            Hardware::Cpu { threads } => {
                let rows = SHARD_ROWS.min(most).min(all);
                let at_work = all.div_ceil(rows.max(1)).min(threads);
                Peak::of(Memory { activations: self.pass_on_cpu(rows * at_work, time), ..Memory::default() })
            }
            Hardware::Gpu(limits) => {
                let shape = self.shape(time, time);
                let (memory, largest_buffer) = shape.gpu_pass(most.min(shape.gpu_pass_rows(limits)).min(all), limits);
                Peak { memory, largest_buffer }
            }
        }
    }

    fn classifier_bytes(&self) -> f64 {
        let labeler = &self.spec.labeler;
        if !self.spec.has_classifier() {
            return 0.0;
        }
        let dimensions = labeler.classifier.dimensions;
        Shape { dimensions, vocab: self.model.vocab, time: 1, response: 1 }.weights()
    }

    /// Reading ρ, and measuring its perplexity.
    pub fn import(&self) -> Peak {
        let length = 64.min(self.model.dimensions.context);
        self.passes(256, 32, length).beside(self.model.bytes())
    }

    pub fn pretrain(&self) -> Peak {
        let Some(p) = &self.spec.model.weights.pretrain else { return self.import() };
        let rows = Rows {
            all: p.batch_size,
            cpu: SHARD_ROWS,
            gpu: usize::MAX,
            together: 1,
            head: true,
            dropout: false,
            in_blocks: false,
        };
        self.training(&self.shape(p.sequence_length, p.sequence_length), rows)
    }

    /// Fine-tuning beside the model that it starts from.
    pub fn supervised(&self) -> Peak {
        let s = &self.spec.supervised;
        let shape = match s.on {
            SupervisedOn::Summaries => self.shape(self.lengths.whole(), self.lengths.response),
            _ => self.shape(s.sequence_length, s.sequence_length),
        };
        let rows = Rows {
            all: s.batch_size,
            cpu: SHARD_ROWS,
            gpu: GPU_ROWS,
            together: 1,
            head: true,
            dropout: s.dropout > 0.0,
            in_blocks: false,
        };
        self.training(&shape, rows).beside(self.model.bytes())
    }

    pub fn classifier(&self) -> Peak {
        let (c, task) = (&self.spec.labeler.classifier, &self.spec.task);
        let shape = Shape {
            dimensions: c.dimensions,
            vocab: self.model.vocab,
            time: task.query_length + task.response_length,
            response: 1,
        };
        let rows = Rows {
            all: c.batch_size,
            cpu: SHARD_ROWS,
            gpu: usize::MAX,
            together: 1,
            head: false,
            dropout: false,
            in_blocks: false,
        };
        self.training(&shape, rows)
    }

    /// Four samples of each of some queries; in later rounds of π, whose Adam is read with it.
    pub fn labels(&self, round: usize) -> Peak {
        let mut models = self.model.bytes() + self.classifier_bytes();
        let mut adam = 0.0;
        if round > 1 && self.spec.collect.schedule == CollectSchedule::Batched {
            models += self.model.bytes();
            adam = 2.0 * self.model.bytes() / self.ranks as f64;
        }
        let mut peak = self.sampling(ROWS, CANDIDATES, 1).beside(models);
        peak.memory.adam = adam;
        peak
    }

    /// r beside ρ, r_s, and in later rounds the r before.
    pub fn reward(&self, round: usize) -> Peak {
        let shape = self.shape(self.lengths.scored, 1);
        let cpu = (shape.rows() / CANDIDATES).max(1) * CANDIDATES;
        let all = self.spec.reward.batch_size * CANDIDATES;
        let beside = self.model.bytes() * if round > 1 { 2.0 } else { 1.0 } + self.classifier_bytes();
        let rows =
            Rows { all, cpu, gpu: usize::MAX, together: CANDIDATES, head: false, dropout: false, in_blocks: false };
        let training = self.training(&shape, rows);
        let samples = self.sampling(ROWS, 1, 1).beside(self.model.bytes());
        training.larger(samples).beside(beside)
    }

    /// π beside ρ, r_s and r; direct mode has no r.
    pub fn policy(&self) -> Peak {
        let p = &self.spec.policy;
        let shape = self.shape(self.lengths.whole(), self.lengths.response);
        let rows = Rows {
            all: p.batch_size / p.minibatches.max(1),
            cpu: shape.rows(),
            gpu: usize::MAX,
            together: 1,
            head: true,
            dropout: false,
            in_blocks: true,
        };
        let frozen = if self.spec.has_reward_model() { 2.0 } else { 1.0 };
        let training = self.training(&shape, rows);
        let mut rollout = self
            .sampling(p.batch_size, p.samples_per_query(), 1)
            .larger(self.passes(p.batch_size, SAMPLING_ROWS, self.lengths.whole()))
            .beside(self.model.bytes());
        rollout.memory.adam = 2.0 * self.model.bytes() / self.ranks as f64;
        training.larger(rollout).beside(frozen * self.model.bytes() + self.classifier_bytes())
    }

    /// π beside ρ and r_s; the candidates of a label are learned from together.
    pub fn dpo(&self) -> Peak {
        let shape = self.shape(self.lengths.whole(), self.lengths.response);
        let cpu = (shape.rows() / CANDIDATES).max(1) * CANDIDATES;
        let all = self.spec.policy.dpo().batch_size * CANDIDATES;
        let rows =
            Rows { all, cpu, gpu: usize::MAX, together: CANDIDATES, head: false, dropout: false, in_blocks: false };
        let labels = self.spec.collect.labels * CANDIDATES;
        let passes = self.passes(labels, SAMPLING_ROWS, self.lengths.whole());
        self.training(&shape, rows).larger(passes).beside(self.model.bytes() + self.classifier_bytes())
    }

    /// ρ, π and their judges; samples of one query, of the optimum and for best-of-n, share one cache, on the CPU a query
    /// for each thread.
    pub fn evaluate(&self) -> Peak {
        let e = &self.spec.evaluate;
        let judges = if self.spec.has_reward_model() { self.model.bytes() } else { 0.0 } + self.classifier_bytes();
        let optimum = self.sampling(e.optimum_samples, e.optimum_samples, e.optimum_queries);
        let responses = self.sampling(ROWS.min(e.queries), 1, 1);
        let pass = self.passes(e.queries, ROWS, self.lengths.whole());
        let most = e.best_of.iter().max().map_or(1, |n| ROWS.min(*n));
        let best_of = self.sampling(most, most, e.queries);
        optimum.larger(best_of).larger(responses).larger(pass).beside(2.0 * self.model.bytes() + judges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ModelSize;
    use serde_json::json;

    fn spec(query: usize, response: usize, batch: usize) -> Spec {
        serde_json::from_value(json!({
            "spec_version": 1, "name": "t", "labeler": { "kind": "recorded" },
            "task": { "query_length": query, "response_length": response }, "policy": { "batch_size": batch },
        }))
        .unwrap()
    }

    fn peak(size: ModelSize, spec: &Spec, hardware: Hardware) -> Peak {
        let model = Model { dimensions: size.dimensions(), vocab: 50_257, from: String::new() };
        Gauge::new(spec, &model, (hardware, 1)).policy()
    }

    #[test]
    fn on_a_gpu_the_budget_decides_and_not_the_batch() {
        let card = |gigabytes: u64| Hardware::Gpu(Limits::known(Some(gigabytes * 1_000_000_000), None));
        for (size, (query, response), gigabytes) in [
            (ModelSize::M124, (64, 24), 24),
            (ModelSize::M124, (500, 75), 24),
            (ModelSize::M774, (64, 24), 80),
            (ModelSize::M774, (500, 75), 80),
        ] {
            let of = |batch| peak(size, &spec(query, response, batch), card(gigabytes)).memory.total() / 1e9;
            assert!(of(512) < gigabytes as f64 && of(512) == of(100_000), "{} {}", of(512), of(100_000));
        }
        // Where the whole batch is in memory at once.
        let whole = peak(ModelSize::M124, &spec(64, 24, 512), card(1_000)).memory.total() / 1e9;
        assert!((whole / 29.5 - 1.0).abs() < 0.01, "{whole}");
    }

    #[test]
    fn on_the_cpu_the_batch_hardly_matters() {
        let of = |batch| peak(ModelSize::M124, &spec(64, 24, batch), Hardware::Cpu { threads: 2 }).memory.total();
        assert_eq!(of(512), of(1024));
        let shape = Shape { dimensions: ModelSize::M124.dimensions(), vocab: 50_257, time: 88, response: 24 };
        assert_eq!(of(512), shape.update(512, 2));
    }

    #[test]
    fn the_optimums_samples_share_one_cache() {
        let mut spec = spec(500, 75, 512);
        spec.evaluate.optimum_samples = 256;
        let model = Model { dimensions: ModelSize::M774.dimensions(), vocab: 50_257, from: String::new() };
        let of = |hardware| Gauge::new(&spec, &model, (hardware, 1)).evaluate().memory.kv_cache;
        // 256 rows of 575 tokens: keys and values of 36 layers of width 1280.
        assert_eq!(
            of(Hardware::Gpu(Limits { memory: 80_000_000_000, ..Limits::default() })),
            256.0 * 575.0 * 2.0 * 36.0 * 1280.0 * 4.0
        );
        assert_eq!(
            of(Hardware::Cpu { threads: 2 }),
            2.0 * of(Hardware::Gpu(Limits { memory: 80_000_000_000, ..Limits::default() }))
        );
    }
}
