//! What a piece of work asks of a GPU, counted where it is asked: kernel launches by cubecl's observer, which is told of
//! each before it is issued, and transfers by what wgpu says of each call in its log.

use burn::tensor::Device;
use cubecl::logging::{LaunchObservation, LaunchObserver};
use log::{LevelFilter, Log, Metadata, Record};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Calls, and bytes where they are bytes.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub launches: f64,
    /// Buffers that are read back by the host, each of which it waits for.
    pub reads: f64,
    pub read_bytes: f64,
    /// Times that the host waits for all that it gave to the device, read-backs aside.
    pub waits: f64,
    /// Launches by the kernel's name.
    pub kernels: BTreeMap<String, f64>,
}

impl Counts {
    /// `f` of each number of two counts.
    pub fn with(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let names = self.kernels.keys().chain(other.kernels.keys());
        let of = |counts: &Self, name: &String| counts.kernels.get(name).copied().unwrap_or(0.0);
        Self {
            launches: f(self.launches, other.launches),
            reads: f(self.reads, other.reads),
            read_bytes: f(self.read_bytes, other.read_bytes),
            waits: f(self.waits, other.waits),
            kernels: names.map(|name| (name.clone(), f(of(self, name), of(other, name)))).collect(),
        }
    }

    /// What is counted, in the order of tables.
    pub fn numbers(&self) -> [f64; 4] {
        [self.launches, self.reads, self.read_bytes, self.waits]
    }
}

/// Names of [`Counts::numbers`].
pub const NAMES: [&str; 4] = ["launches", "read-backs", "bytes read back", "waits"];

#[derive(Default)]
struct Kernels(Mutex<BTreeMap<&'static str, u64>>);

impl LaunchObserver for Kernels {
    fn launched(&self, kernel: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kernel).or_default() += 1;
    }
}

/// Listens to wgpu's log of calls.
struct Calls {
    reads: AtomicU64,
    copied: AtomicU64,
    waits: AtomicU64,
}

static CALLS: Calls = Calls { reads: AtomicU64::new(0), copied: AtomicU64::new(0), waits: AtomicU64::new(0) };

impl Log for Calls {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("wgpu_core")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        if text.starts_with("Buffer::map_async") {
            self.reads.fetch_add(1, Ordering::Relaxed);
        } else if text == "Queue::on_submitted_work_done" {
            self.waits.fetch_add(1, Ordering::Relaxed);
        } else if text.starts_with("CommandEncoder::copy_buffer_to_buffer") {
            let size = text.rsplit(' ').next().unwrap_or_default();
            let digits: String = size.chars().filter(char::is_ascii_digit).collect();
            self.copied.fetch_add(digits.parse().unwrap_or(0), Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// From here on calls are counted.
pub fn listen() -> Result<(), Box<dyn Error>> {
    log::set_logger(&CALLS)?;
    log::set_max_level(LevelFilter::Trace);
    Ok(())
}

/// What `work` asked of the device, to the end of it.
pub fn counted<T, E>(device: &Device, work: impl FnOnce() -> Result<T, E>) -> Result<(T, Counts), Box<dyn Error>>
where
    Box<dyn Error>: From<E>,
{
    let calls = || [&CALLS.reads, &CALLS.copied, &CALLS.waits].map(|n| n.load(Ordering::Relaxed) as f64);
    // Calls are made by a thread of the device's own: what came before is done, and what is counted is whole.
    device.sync().map_err(|e| format!("{e:?}"))?;
    let before = calls();
    let kernels = Arc::new(Kernels::default());
    let observation = LaunchObservation::new(kernels.clone());
    let result = work()?;
    device.sync().map_err(|e| format!("{e:?}"))?;
    drop(observation);
    let after = calls();
    let kernels: BTreeMap<String, f64> = std::mem::take(&mut *kernels.0.lock().unwrap_or_else(PoisonError::into_inner))
        .into_iter()
        .map(|(name, n)| (short(name), n as f64))
        .fold(BTreeMap::new(), |mut all, (name, n)| {
            *all.entry(name).or_default() += n;
            all
        });
    let counts = Counts {
        launches: kernels.values().sum(),
        reads: after[0] - before[0],
        read_bytes: after[1] - before[1],
        waits: after[2] - before[2],
        kernels,
    };
    Ok((result, counts))
}

/// A type's name without its paths.
fn short(name: &str) -> String {
    let mut result = String::new();
    let mut word = String::new();
    for c in name.chars() {
        match c {
            ':' => word.clear(),
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            c => {
                result.push_str(&std::mem::take(&mut word));
                result.push(c);
            }
        }
    }
    result + &word
}
