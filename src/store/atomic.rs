//! Files appear whole or not at all: written to a temporary name, synced, renamed.

use crate::ranks;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the name of a file that is being written ends with: `.NAME.NUMBER.PID.tmp`.
const TEMPORARY: &str = ".tmp";
/// Files that this process has begun to write.
static WRITTEN: AtomicU64 = AtomicU64::new(0);
/// How deep [`sweep`] looks.
const DEEPEST: usize = 8;

/// Writes `bytes` to `path` so that a reader, or a crash, sees the old content or the new, never a part.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// [`write_atomic`] for content that is made piece by piece; nothing is left behind where `write` fails. Of the ranks of
/// one run, which all have the same content, the first writes.
pub fn write_atomic_with(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    if !ranks::is_first() {
        return Ok(());
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let name = path.file_name().ok_or_else(|| io::Error::other("the path has no file name"))?;
    // Threads of one process may write the same file.
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let temporary = parent.join(format!(".{}.{number}.{process}{TEMPORARY}", name.to_string_lossy()));
    let written = File::create(&temporary).and_then(|file| {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        write(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed?;
    sync_directory(parent)
}

/// Removes what killed writers left in `dir` and below; for whoever has just taken its lock. Directories with a lock of
/// their own are left to those who hold it, files of processes that are at work to them. How many there were.
pub fn sweep(dir: &Path) -> usize {
    sweep_below(dir, DEEPEST)
}

fn sweep_below(dir: &Path, deepest: usize) -> usize {
    let mut swept = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        let is = |dir: bool| kind.as_ref().is_ok_and(|kind| if dir { kind.is_dir() } else { kind.is_file() });
        if is(true) && deepest > 0 && !path.join(".lock").exists() {
            swept += sweep_below(&path, deepest - 1);
        }
        let writer = entry.file_name().to_str().and_then(writer);
        if is(false) && writer.is_some_and(|pid| !is_at_work(pid)) && fs::remove_file(&path).is_ok() {
            swept += 1;
        }
    }
    swept
}

/// Whether a file of this name is still being written, or was when its writer was killed.
pub fn is_temporary(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| writer(name).is_some())
}

/// The process that writes, or wrote, a temporary file of this name.
fn writer(name: &str) -> Option<u32> {
    name.strip_prefix('.')?.strip_suffix(TEMPORARY)?.rsplit_once('.')?.1.parse().ok()
}

/// Of other processes than this one, which has the lock and has written nothing yet. In a container every run may have
/// the same number.
fn is_at_work(pid: u32) -> bool {
    pid != std::process::id() && Path::new("/proc").join(pid.to_string()).exists()
}

/// Makes a rename in `dir` durable; directories cannot be opened for this on Windows.
pub fn sync_directory(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// blake3 of a file that is one, hexadecimal.
pub fn hash_file(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut super::input::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_of_killed_writers_are_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        // No process has these numbers.
        let left = [".model.safetensors.4294967294.tmp", "runs/a/.metrics.jsonl.4294967295.tmp"];
        let kept = ["a.tmp", ".lock", ".notes.tmp", "members/b/.lock", "members/b/.x.4294967294.tmp", ".y.1.tmp"];
        left.iter().chain(&kept).for_each(|name| put(name));
        assert_eq!(sweep(dir.path()), 2);
        assert!(left.iter().all(|name| !dir.path().join(name).exists()));
        // Process 1 is there wherever there is a /proc.
        let stays = |name: &&str| *name != ".y.1.tmp" || cfg!(target_os = "linux");
        assert!(kept.iter().filter(|name| stays(name)).all(|name| dir.path().join(name).exists()));
    }
}
