//! Memory of PPO updates on Linux, where a process can read its own: the estimate that `runner plan` prints against the
//! peak, and, as an ignored test of some minutes, that a thousand updates do not grow:
//!
//!     cargo test --release --test memory -- --ignored --nocapture
//!
//! A software driver has its device's memory in the process: with RUNNER_TEST_DEVICE=wgpu two hundred updates must not grow
//! there (docs/benchmarks.md, GPUs).

#![cfg(target_os = "linux")]

#[path = "../benches/workload/mod.rs"]
mod workload;

use burn::tensor::Device;
use runner::model::device::choose;
use runner::model::gpt2::ScalarModel;
use runner::model::loss_scale::LossScale;
use runner::model::memory::{Shape, keep_freed_memory};
use runner::model::optimizer::Adam;
use runner::rl::Rollout;
use runner::spec::ModelSize;
use workload::{Setting, Workload};

/// Bytes of a line of /proc/self/status.
fn memory(key: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':')).expect("the line");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
}

fn shape(workload: &Workload) -> Shape {
    let Workload { dimensions, vocab, query, response, .. } = *workload;
    Shape { dimensions, vocab, time: query + response, response }
}

/// One update after another.
struct Updates {
    workload: Workload,
    setting: Setting,
    policy: Option<ScalarModel>,
    adam: Adam,
}

impl Updates {
    fn new(device: &Device, workload: Workload, epochs: usize) -> Self {
        let (mut setting, policy) = Setting::new(&workload, device).expect("a setting");
        setting.spec.policy.epochs = epochs;
        Self { workload, adam: Adam::new(setting.spec.policy.adam), policy: Some(policy), setting }
    }

    fn episodes(&mut self, number: usize) -> Rollout {
        // Lengths differ from row to row and from update to update.
        self.setting.queries = self.workload.queries(number);
        self.setting.episodes(self.policy.as_ref().expect("a policy"), number).expect("episodes")
    }

    fn learn(&mut self, rollout: &Rollout) {
        let policy = self.policy.take().expect("a policy");
        self.policy = Some(self.setting.learn(policy, &mut self.adam, rollout).expect("an update"));
    }

    fn run(&mut self, number: usize) {
        let rollout = self.episodes(number);
        self.learn(&rollout);
    }
}

#[test]
fn the_estimate_is_within_a_fifth_of_the_peak() {
    keep_freed_memory();
    let start = memory("VmRSS");
    let workload = Workload::new(ModelSize::Small, Some(20_000), (64, 24), 16);
    let mut update = Updates::new(&Device::flex(), workload, 1);
    // Where other processes take a worker's core, the other workers run ahead, and what they have done waits for its
    // turn: the least of several peaks is the program's own.
    let mut peak = f64::INFINITY;
    for turn in 0..3 {
        // Forgets the peak so far (proc_pid_clear_refs(5)).
        std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
        (0..2).for_each(|i| update.run(2 * turn + i));
        peak = peak.min(memory("VmHWM") - start);
    }
    let estimate = shape(&workload).update(workload.batch, rayon::current_num_threads());
    println!("peak {:.0} MB, estimate {:.0} MB", peak / 1e6, estimate / 1e6);
    assert!((estimate / peak - 1.0).abs() < 0.2, "peak {peak:.3e}, estimate {estimate:.3e}");
}

#[test]
#[ignore = "some minutes"]
fn a_thousand_updates_do_not_grow() {
    keep_freed_memory();
    let workload = Workload::new(ModelSize::Test, None, (24, 12), 32);
    let mut update = Updates::new(&Device::flex(), workload, 4);
    const SETTLED: usize = 100;
    let mut settled = f64::NAN;
    for i in 1..=1_000 {
        update.run(i);
        if i == SETTLED {
            settled = memory("VmRSS");
        }
        if i % 100 == 0 {
            println!("{i} updates: {:.2} MB", memory("VmRSS") / 1e6);
        }
    }
    let drift = memory("VmRSS") / settled - 1.0;
    println!("drift from update {SETTLED} to 1,000: {:.2}%", drift * 100.0);
    assert!(drift < 0.02, "memory grew by {:.1}%", drift * 100.0);
}

/// The GPU that RUNNER_TEST_DEVICE names, where it names one.
fn gpu() -> Option<Device> {
    let name = std::env::var("RUNNER_TEST_DEVICE").ok().filter(|name| name.starts_with("wgpu"))?;
    Some(choose(&name).expect("the device").device)
}

#[test]
#[ignore = "a minute, and a software driver"]
fn two_hundred_updates_on_a_gpu_do_not_grow() {
    let Some(device) = gpu() else { return };
    let mut update = Updates::new(&device, Workload::new(ModelSize::Test, Some(256), (16, 6), 8), 1);
    const SETTLED: usize = 50;
    let mut settled = f64::NAN;
    for i in 1..=200 {
        update.run(i);
        if i == SETTLED {
            settled = memory("VmRSS");
        }
        if i % 25 == 0 {
            println!("{i} updates: {:.2} MB", memory("VmRSS") / 1e6);
        }
    }
    let drift = memory("VmRSS") / settled - 1.0;
    println!("drift from update {SETTLED} to 200: {:.2}%", drift * 100.0);
    assert!(drift < 0.05, "memory grew by {:.1}%", drift * 100.0);
}

/// What a GPU's allocator has at most, against the estimates that its passes are cut by.
#[cfg(feature = "wgpu")]
mod on_a_gpu {
    use super::*;
    use burn::tensor::{Int, Tensor, TensorData};
    use cubecl::logging::{LaunchObservation, LaunchObserver};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use runner::model::gpt2::{Dropout, Gpt2};
    use runner::model::gpu::{self, Limits};
    use runner::model::{LanguageModel, ModelError, parallel};
    use std::sync::{Arc, Mutex, PoisonError};

    /// Bytes of a device's allocator at the peak of some work: looked at before every launch, when the arrays that the kernel
    /// reads and writes are there.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    struct Peak {
        /// Of arrays.
        in_use: u64,
        /// Of the pages that hold them.
        held: u64,
    }

    struct Watch {
        device: Device,
        most: Mutex<Peak>,
    }

    impl LaunchObserver for Watch {
        fn launched(&self, _: &'static str) {
            let Some(now) = self.device.memory_pool_usage() else { return };
            let mut most = self.most.lock().unwrap_or_else(PoisonError::into_inner);
            most.in_use = most.in_use.max(now.bytes_in_use);
            most.held = most.held.max(now.bytes_reserved);
        }
    }

    /// What `work` returns, and the peak while it was done.
    fn peak_of<T>(device: &Device, work: impl FnOnce() -> T) -> (T, Peak) {
        let watch = Arc::new(Watch { device: device.clone(), most: Mutex::default() });
        let observation = LaunchObservation::new(watch.clone());
        let result = work();
        drop(observation);
        let most = *watch.most.lock().unwrap_or_else(PoisonError::into_inner);
        (result, most)
    }

    /// Sizes by which the formula was not made: a wide vocabulary, and long rows.
    fn sizes() -> [Workload; 2] {
        let of = |layers, width, heads, vocab, lengths| {
            let small = Workload::new(ModelSize::Test, Some(vocab), lengths, 8);
            let dimensions = runner::spec::Dimensions { layers, width, heads, ..small.dimensions };
            Workload { dimensions, ..small }
        };
        [of(4, 256, 4, 12_000, (40, 24)), of(3, 320, 5, 2_000, (224, 32))]
    }

    /// Memory in which so many rows fit at once and not one more.
    fn budget(shape: &Shape, rows: usize) -> Limits {
        let roomy = Limits { memory: 1 << 40, ..Limits::default() };
        let of = |rows| shape.gpu_training(usize::MAX, rows, (true, false), roomy).0.total() + 2.0 * shape.weights();
        let limits = Limits { memory: ((of(rows) + of(rows + 1)) / 2.0 / 0.9) as u64, ..roomy };
        assert_eq!(shape.gpu_rows(true, false, limits), rows);
        limits
    }

    /// Arrays within a tenth of the estimate; and pages within a `share` of it, a page of the largest array, which is in part
    /// empty, and the page of small ones (cubecl's SMALL_PAGE).
    fn check(what: &str, peak: Peak, (estimate, largest): (f64, f64), share: f64) {
        let pages = estimate + largest + (8 << 20) as f64;
        let (in_use, held) = (peak.in_use as f64 / estimate, peak.held as f64 / pages);
        println!(
            "{what}: {:.1} MB estimated, arrays {in_use:.3} of it; pages {:.1}, {held:.3}",
            estimate / 1e6,
            pages / 1e6
        );
        assert!((in_use - 1.0).abs() < 0.1 && (held - 1.0).abs() < share, "{what}");
    }

    #[test]
    #[ignore = "minutes, and a software driver"]
    fn updates_have_the_estimated_memory_whatever_the_batch() {
        let Some(device) = gpu() else { return };
        for workload in sizes() {
            let shape = shape(&workload);
            let mut peaks = Vec::new();
            for (batch, rows) in [(4, 4), (8, 8), (12, 4), (24, 4)] {
                let limits = budget(&shape, rows);
                gpu::set_limits(limits);
                let mut updates = Updates::new(&device, Workload { batch, ..workload }, 2);
                device.memory_cleanup();
                let (rollout, sampling) = peak_of(&device, || updates.episodes(0));
                device.memory_cleanup();
                let ((), training) = peak_of(&device, || updates.learn(&rollout));
                let name = format!("{} x {}, {batch} rows", workload.dimensions.layers, workload.dimensions.width);
                let (memory, array) = shape.gpu_training(batch, rows, (true, false), limits);
                let largest = array.max(4.0 * (workload.vocab * workload.dimensions.width) as f64);
                check(
                    &format!("{name}, {rows} at once"),
                    training,
                    (memory.total() + 2.0 * shape.weights(), largest),
                    0.2,
                );
                let (sampled, _) = shape.gpu_sampling(batch.min(shape.gpu_sampling_rows(limits)), 1, limits);
                let (passed, _) = shape.gpu_pass(batch.min(shape.gpu_pass_rows(limits)), limits);
                let rollout = sampled.larger(passed).total() + 3.0 * shape.weights();
                // Arrays grow while episodes are made, and pages of smaller ones are given back later.
                check(&format!("{name}, episodes"), sampling, (rollout, largest), 0.3);
                peaks.push(training.in_use as f64);
                drop(updates);
                device.memory_cleanup();
            }
            assert!((peaks[3] / peaks[2] - 1.0).abs() < 0.02, "{peaks:?}");
        }
    }

    #[test]
    #[ignore = "a minute, and a software driver"]
    fn dropout_has_the_estimated_memory() {
        let Some(device) = gpu() else { return };
        gpu::set_limits(Limits { memory: 1 << 40, ..Limits::default() });
        for workload in sizes() {
            for n in [2, 4] {
                let Workload { query: time, vocab, .. } = workload;
                let model = workload.language_model(1, &device);
                let rows = Workload { batch: n, ..workload }.queries(0);
                let loss = |model: &Gpt2, rows: &[Vec<Option<u32>>]| {
                    let mut dropout = Dropout::new(0.1, ChaCha8Rng::seed_from_u64(1));
                    let hidden =
                        model.hidden_with_dropout(rows, &mut dropout)?.reshape([n * time, model.wte.dims()[1]]);
                    let targets = Tensor::<1, Int>::from_data(TensorData::new(vec![1; n * time], [n * time]), &device);
                    Ok::<_, ModelError>((model.token_logprobs(hidden, targets, 1.0).sum().neg(), ()))
                };
                let (found, peak) =
                    peak_of(&device, || parallel::gradients(&model, &mut LossScale::default(), &rows, n, loss));
                drop(found.expect("gradients"));
                let shape = Shape { time, response: time, vocab, dimensions: workload.dimensions };
                let (memory, array) = shape.gpu_training(n, n, (true, true), gpu::limits());
                let largest = array.max(4.0 * (vocab * workload.dimensions.width) as f64);
                let name =
                    format!("{} x {}, {n} rows with dropout", workload.dimensions.layers, workload.dimensions.width);
                // No step of Adam is made.
                check(&name, peak, (memory.total() - memory.adam, largest), 0.2);
                device.memory_cleanup();
            }
        }
    }
}
