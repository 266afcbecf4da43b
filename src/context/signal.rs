//! What the operating system asked this process to end with.

use std::sync::OnceLock;

/// What the operating system asked this process to end with, where it has.
static SIGNAL: OnceLock<&'static str> = OnceLock::new();

/// Remembers the first request; see `run/signals.rs`.
pub fn remember(name: &'static str) {
    let _ = SIGNAL.set(name);
}

/// Its name.
pub fn name() -> &'static str {
    SIGNAL.get().copied().unwrap_or("Ctrl-C")
}
