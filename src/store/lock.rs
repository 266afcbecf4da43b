//! One runner per results directory: an operating-system lock that a crash releases by itself.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// Held while a runner writes in a directory.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Locks `dir/.lock`; `Ok(None)` if another process holds it.
    pub fn acquire(dir: &Path) -> io::Result<Option<Self>> {
        std::fs::create_dir_all(dir)?;
        let file = File::options().create(true).truncate(false).write(true).open(dir.join(".lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}
