//! One runner per directory or artifact: an operating-system lock that a crash releases by itself. Beside it a small
//! file says who holds it, for messages alone; whether somebody does is for the lock to say.

use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The lock file of a directory.
const NAME: &str = ".lock";
/// What the holder's file adds to the lock's name.
const HOLDER: &str = ".holder";
/// `off`: no locks are taken, for file systems that have none.
const SWITCH: &str = "RUNNER_LOCKS";
/// How often a lock is tried, and the time between: [`is_held`] takes it for a moment to see whether it is free.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(10);

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub host: String,
    pub pid: u32,
    /// When the process began, in the kernel's ticks since the machine did: a number that is given to another process
    /// later has another.
    #[serde(default)]
    pub started: Option<u64>,
    /// Which start of the machine that was.
    #[serde(default)]
    pub boot: Option<String>,
    /// Since when, RFC 3339.
    pub at: String,
    /// No with `RUNNER_LOCKS=off`.
    pub locked: bool,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} pid {}", self.host, self.pid)
    }
}

fn line_of(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_string()).filter(|line| !line.is_empty())
}

/// The name of this machine.
pub fn host() -> String {
    let variable = |name| std::env::var(name).ok();
    line_of("/proc/sys/kernel/hostname")
        .or_else(|| line_of("/etc/hostname"))
        .or_else(|| variable("HOSTNAME"))
        .or_else(|| variable("COMPUTERNAME"))
        .unwrap_or_else(|| "this machine".into())
}

fn boot() -> Option<String> {
    line_of("/proc/sys/kernel/random/boot_id")
}

/// Field 22 of /proc/PID/stat; the second one, the program's name in brackets, may hold anything.
fn start_of(pid: u32) -> Option<u64> {
    let text = line_of(&format!("/proc/{pid}/stat"))?;
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

impl Holder {
    fn new(locked: bool) -> Self {
        let pid = std::process::id();
        let at = jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string();
        Self { host: host(), pid, started: start_of(pid), boot: boot(), at, locked }
    }

    fn read(lock: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(holder_path(lock)).ok()?).ok()
    }

    /// Whether the process is still there, as far as this machine can tell.
    fn is_alive(&self) -> bool {
        self.host == host() && self.boot == boot() && self.started.is_some() && self.started == start_of(self.pid)
    }
}

fn holder_path(lock: &Path) -> PathBuf {
    let mut name = lock.file_name().unwrap_or_default().to_os_string();
    name.push(HOLDER);
    lock.with_file_name(name)
}

/// Whether a file of this name belongs to a lock and not to what is locked.
pub fn is_lock_file(name: &std::ffi::OsStr) -> bool {
    name.to_str().and_then(|name| name.strip_prefix(NAME)).is_some_and(|rest| rest.is_empty() || rest == HOLDER)
}

fn switched_off() -> bool {
    std::env::var_os(SWITCH).is_some_and(|value| value == "off")
}

/// Held while a runner writes in a directory.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Locks a directory, which is made if need be; `Ok(None)` if another process holds it: see [`holder`].
    pub fn acquire(dir: &Path) -> io::Result<Option<Self>> {
        fs::create_dir_all(dir)?;
        Self::at(&dir.join(NAME))
    }

    /// Locks a file that is there for nothing else.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        let locked = !switched_off();
        if locked && !patiently(|| file.try_lock()).map_err(|e| without_locks(path, &e))? {
            return Ok(None);
        }
        // For messages only: a disk that is full here is found full where it matters.
        let _ = fs::write(holder_path(path), format!("{}\n", serde_json::json!(Holder::new(locked))));
        Ok(Some(Self { path: path.to_path_buf(), _file: file }))
    }

    /// Takes the holder's name away, and keeps the lock: before what is locked is given another name.
    pub fn unname(&self) {
        let _ = fs::remove_file(holder_path(&self.path));
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.unname();
    }
}

/// Whether the lock came within a few tries.
fn patiently(lock: impl Fn() -> Result<(), TryLockError>) -> io::Result<bool> {
    for attempt in 1.. {
        match lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if attempt == TRIES => break,
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
    Ok(false)
}

/// What to do on a file system without locks (NFS without its lock service, for one).
fn without_locks(path: &Path, error: &io::Error) -> io::Error {
    let message = format!(
        "{} cannot be locked ({error}): the file system has no file locks. Put results and cache on a disk that has them \
         (--out and RUNNER_CACHE), or set {SWITCH}=off and let one runner at a time work there",
        path.display()
    );
    io::Error::new(error.kind(), message)
}

/// Who holds the lock of a directory, where that is known.
pub fn holder(dir: &Path) -> Option<Holder> {
    holder_at(&dir.join(NAME))
}

/// The same of a lock file.
pub fn holder_at(lock: &Path) -> Option<Holder> {
    Holder::read(lock)
}

/// Whether a process works in a directory. A lock that cannot be tried counts as held: nobody is said to have died on a
/// guess.
pub fn is_held(dir: &Path) -> bool {
    let path = dir.join(NAME);
    let unlocked = || Holder::read(&path).is_some_and(|holder| !holder.locked && holder.is_alive());
    match File::open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(_) => true,
        Ok(file) => match file.try_lock_shared() {
            Ok(()) => unlocked(),
            Err(_) => true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_named_while_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_held(dir.path()) && holder(dir.path()).is_none());
        let lock = Lock::acquire(dir.path()).unwrap().unwrap();
        assert!(is_held(dir.path()));
        let who = holder(dir.path()).unwrap();
        assert!(who.pid == std::process::id() && who.locked);
        assert_eq!(who.to_string(), format!("{} pid {}", who.host, who.pid));
        assert!(!cfg!(target_os = "linux") || who.is_alive());
        assert!(Lock::acquire(dir.path()).unwrap().is_none());
        drop(lock);
        assert!(!is_held(dir.path()) && holder(dir.path()).is_none());
    }

    #[test]
    fn a_killed_holder_does_not_hold() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), "").unwrap();
        let dead = Holder { started: Some(1), locked: false, ..Holder::new(true) };
        fs::write(holder_path(&dir.path().join(NAME)), serde_json::to_vec(&dead).unwrap()).unwrap();
        assert!(!is_held(dir.path()));
        fs::write(holder_path(&dir.path().join(NAME)), "half a l").unwrap();
        assert!(!is_held(dir.path()) && Lock::acquire(dir.path()).unwrap().is_some());
    }

    #[test]
    fn a_file_system_without_locks_is_named_with_a_way_around() {
        let message = without_locks(Path::new("/mnt/.lock"), &io::Error::from_raw_os_error(37)).to_string();
        assert!(message.contains("/mnt/.lock") && message.contains("RUNNER_LOCKS=off"), "{message}");
    }

    #[test]
    fn lock_files_are_no_content() {
        let is = |name: &str| is_lock_file(name.as_ref());
        assert!(is(".lock") && is(".lock.holder") && !is(".locks") && !is("spec.toml"));
    }
}
