//! Seconds by phase, from the spans that the trainer opens; processor time and memory, from Linux's /proc.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tracing::span::{Attributes, Id};
use tracing::subscriber::SetGlobalDefaultError;
use tracing::{Subscriber, subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Sums the time between the opening and the closing of every span, by its name.
#[derive(Debug, Clone, Default)]
pub struct Phases(Arc<Mutex<BTreeMap<&'static str, f64>>>);

impl Phases {
    /// Starts to listen to the whole process.
    pub fn install() -> Result<Self, SetGlobalDefaultError> {
        let phases = Self::default();
        subscriber::set_global_default(Registry::default().with(phases.clone()))?;
        Ok(phases)
    }

    /// Seconds since the last call.
    pub fn take(&self) -> BTreeMap<&'static str, f64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Phases {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Instant::now());
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        if let Some(started) = span.extensions().get::<Instant>() {
            let seconds = started.elapsed().as_secs_f64();
            *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(span.name()).or_default() += seconds;
        }
    }
}

/// Seconds of all threads so far, in the program and in the kernel for it, to a hundredth; NaN where there is no /proc.
pub fn cpu_seconds() -> f64 {
    // Fields 14 and 15 of proc_pid_stat(5); the name in field 2 may hold spaces, but ends at the last parenthesis.
    // Linux has counted a hundred ticks to the second for programs since version 2.6.
    let ticks = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| {
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace().skip(11).map(str::parse::<f64>);
        Some(fields.next()?.ok()? + fields.next()?.ok()?)
    });
    ticks.map_or(f64::NAN, |t| t / 100.0)
}

/// Largest resident memory since [`reset_peak_memory`], in bytes.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Forgets the peak so far (proc_pid_clear_refs(5)); without /proc the peak is the process's whole life's.
pub fn reset_peak_memory() {
    fs::write("/proc/self/clear_refs", "5").ok();
}
