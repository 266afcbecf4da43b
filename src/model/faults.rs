//! What goes wrong on a GPU, and is not said where it happens.
//!
//! wgpu's calls return nothing: what a driver refuses, an allocation among the rest, is told to a callback on the thread
//! that works for the device, and cubecl keeps it with the arrays that were not written. A read of such an array is an
//! error, but a kernel that writes into a part of one, as `cat` and `slice_assign` do, ends the claim on all of it: what
//! is read then is memory that nobody wrote. Every failure goes through the log of those libraries first, so that is
//! where it is heard, and whoever is about to write a number down asks [`confirm`] before.

use super::ModelError;
use super::gpu;
use burn::tensor::Device;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Devices of this process that work beside it.
static OPEN: Mutex<Vec<Device>> = Mutex::new(Vec::new());
/// The first failure that nobody has asked about: those after it follow from it.
static FIRST: Mutex<Option<String>> = Mutex::new(None);
/// Longest excerpt of what a library said; whole kernels and stacks follow the reason.
const EXCERPT: usize = 300;
/// How often a device is waited for that answers with an error.
const WAITS: usize = 3;

/// How the panics begin with which cubecl ends a task that a driver refuses.
pub const REFUSAL: &str = "wgpu error: ";

/// Hears what libraries log, keeps what a device did not do, and hands on the rest.
struct Ear {
    rest: tracing_log::LogTracer,
}

impl Log for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_failure(metadata) || self.rest.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_failure(record.metadata()) {
            let said = record.args().to_string();
            tracing::debug!("the device's library: {said}");
            FIRST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| excerpt(&said));
        } else {
            self.rest.log(record);
        }
    }

    fn flush(&self) {}
}

/// Whether a record says that work for a device was not done: failed launches and copies are logged by the server's
/// logger, panics of tasks by the channel to the device's thread, and the rest by cubecl-wgpu itself. Their other
/// warnings are of caches, settings and profiles.
fn is_failure(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let from = |modules: &[&str]| modules.iter().any(|module| target.starts_with(module));
    match metadata.level() {
        Level::Error => from(&["cubecl_wgpu", "cubecl_server::memory_management"]),
        Level::Warn => {
            from(&["cubecl_wgpu::compute", "cubecl_runtime::logging::server", "cubecl_common::device::handle::channel"])
        }
        _ => false,
    }
}

/// The first lines of what was said, without stacks. Errors within errors have their line ends escaped.
fn excerpt(said: &str) -> String {
    let said = said.replace("\\n", "\n");
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let text = lines.take_while(|line| !line.starts_with("Backtrace") && !line.starts_with("0:")).collect::<Vec<_>>();
    let text = text.join(" ").replace(" No backtrace available", "");
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Listens to the libraries below burn from here on; whether it could: there is one logger in a process, and where a
/// program has set its own, only reads of what was not written and waits for a lost device report.
pub fn listen() -> bool {
    static HEARS: OnceLock<bool> = OnceLock::new();
    *HEARS.get_or_init(|| {
        let ear: &'static Ear = Box::leak(Box::new(Ear { rest: tracing_log::LogTracer::new() }));
        let hears = log::set_logger(ear).is_ok();
        if hears {
            // Subscribers of tracing filter what they are handed; more than warnings is wanted by who asks for it.
            let all = std::env::var_os("RUST_LOG").is_some();
            log::set_max_level(if all { LevelFilter::Trace } else { LevelFilter::Warn });
        }
        hears
    })
}

/// A device whose work is waited for from here on.
#[cfg(feature = "wgpu")]
pub(super) fn watch(device: &Device) {
    listen();
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if !open.contains(device) {
        open.push(device.clone());
    }
}

/// The devices that are watched, which are not any more.
pub(super) fn unwatch() -> Vec<Device> {
    std::mem::take(&mut *OPEN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Waits until all work that any GPU of this process was given is done, as all of it was to be.
///
/// # Errors
/// Something was not done since this was last asked, or the device is lost. What was computed since then counts for
/// nothing.
pub fn confirm() -> Result<(), ModelError> {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut waited = None;
    for device in open {
        waited = waited.or(wait(&device));
    }
    // After the wait: work that is still to be done can still fail. All else follows from the loss of a device.
    let heard = FIRST.lock().unwrap_or_else(PoisonError::into_inner).take();
    match waited.clone().filter(|said| is_lost(said)).or(heard).or(waited) {
        Some(said) => Err(error(&said)),
        None => Ok(()),
    }
}

/// What a wait for a device says. A device that is gone refuses work first, as if the work were wrong, and is found to
/// be lost by a later wait.
fn wait(device: &Device) -> Option<String> {
    let mut first = None;
    for _ in 0..WAITS {
        let said = match catch_unwind(AssertUnwindSafe(|| device.sync())) {
            Ok(Ok(())) => break,
            Ok(Err(why)) => excerpt(&why.to_string()),
            Err(panic) => excerpt(&words(&*panic)),
        };
        if is_lost(&said) {
            return Some(said);
        }
        first.get_or_insert(said);
    }
    first
}

/// What a panic of the device's own thread says, which is passed on to whoever waits for it.
fn words(panic: &dyn std::any::Any) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("its thread has ended").into()
}

/// Gives memory that no array has any more back to the drivers.
pub(super) fn give_back_memory() {
    for device in OPEN.lock().unwrap_or_else(PoisonError::into_inner).clone() {
        device.memory_cleanup();
    }
}

fn is_lost(said: &str) -> bool {
    let lower = said.to_lowercase();
    lower.contains("poisoned") || lower.contains("lost")
}

/// What is read from a device. A read of what was not written is an error, and so is one at which the device's own thread
/// panics, or that is found out to have failed only when the numbers are looked at.
pub(super) fn reading<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, ModelError> {
    let said = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(data)) => return Ok(data),
        Ok(Err(said)) => said,
        // Any other panic is a mistake of a program, and said as one.
        Err(panic) if !words(&*panic).starts_with(REFUSAL) => resume_unwind(panic),
        Err(panic) => words(&*panic),
    };
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let lost = open.iter().find_map(|device| wait(device).filter(|said| is_lost(said)));
    let heard = FIRST.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Err(error(&lost.or(heard).unwrap_or_else(|| excerpt(&said))))
}

fn error(said: &str) -> ModelError {
    let lower = said.to_lowercase();
    // The last two are what is said of an array whose allocation was refused before it was asked of the driver.
    let no_memory = ["out of memory", "outofmemory", "too big", "never initialized", "never allocated"];
    if no_memory.iter().any(|words| lower.contains(words)) {
        let gigabytes = gpu::limits().memory as f64 / 1e9;
        return ModelError::OutOfMemory(format!(
            "it has no memory for what it was given ({said}). Passes are cut to {gigabytes:.1} GB, a part of which other programs and the driver may have: give a smaller --device-memory, such as {:.1}GB, or a smaller model; nothing that failed was written, and the same command continues",
            gigabytes / 2.0
        ));
    }
    if is_lost(said) {
        return ModelError::Device(format!(
            "it was lost while it worked ({said}): reset by its driver or taken away. Nothing of the unfinished step was written, and the same command continues from the last checkpoint"
        ));
    }
    ModelError::Device(format!(
        "not all of its work was done ({said}). Nothing of the unfinished step was written, and the same command continues from the last checkpoint; --device cpu does without the device"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(level: Level, target: &str) -> Metadata<'_> {
        Metadata::builder().level(level).target(target).build()
    }

    #[test]
    fn failures_of_launches_tasks_and_devices_are_heard_and_warnings_of_caches_are_not() {
        for (level, target) in [
            (Level::Warn, "cubecl_runtime::logging::server"),
            (Level::Warn, "cubecl_common::device::handle::channel::mpsc"),
            (Level::Error, "cubecl_wgpu::compute::device_poison"),
            (Level::Error, "cubecl_wgpu::backend::base"),
        ] {
            assert!(is_failure(&metadata(level, target)), "{target}");
        }
        for (level, target) in [
            (Level::Warn, "cubecl_wgpu::backend::metal"),
            (Level::Warn, "cubecl_environment::persistence::store"),
            (Level::Info, "cubecl_wgpu::compute::stream"),
            (Level::Error, "wgpu_hal::vulkan::instance"),
        ] {
            assert!(!is_failure(&metadata(level, target)), "{target}");
        }
    }

    #[test]
    fn errors_say_what_to_do_and_leave_stacks_out() {
        let said = excerpt("CallError(\"wgpu error: Out of Memory\")\n\nBacktrace:\n   0: core::panicking\n");
        assert_eq!(said, "CallError(\"wgpu error: Out of Memory\")");
        let within =
            excerpt("Read(\"An error\\nCaused by:\\n  it was not mapped\\nBacktrace:\\nNo backtrace available\")");
        assert_eq!(within, "Read(\"An error Caused by: it was not mapped");
        let oom = error(&said);
        assert!(
            matches!(oom, ModelError::OutOfMemory(_)) && oom.to_string().contains("--device-memory, such as 12.0GB")
        );
        assert!(error("DevicePoisoned: Unknown").to_string().contains("lost while it worked"));
        assert!(excerpt(&"é".repeat(1000)).chars().count() == EXCERPT + 3);
    }
}
