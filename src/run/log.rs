//! log.txt in the results directory of the run in progress.

use crate::results::file;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

/// The log file of the run in progress.
static LOG: Mutex<Option<File>> = Mutex::new(None);

/// Writes to the log of the run in progress, or nowhere between runs: for a subscriber of `tracing`.
#[derive(Debug, Clone, Copy)]
pub struct LogFile;

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match LOG.lock().ok().as_deref_mut() {
            Some(Some(file)) => file.write(bytes),
            _ => Ok(bytes.len()),
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The log goes into this results directory from here on.
pub fn log_to(out: &Path) {
    if let Ok(mut log) = LOG.lock() {
        *log = File::options().create(true).append(true).open(out.join(file::LOG)).ok();
    }
}
