//! One runner per directory or artifact: an operating-system lock that a crash releases by itself, and beside it the
//! lease of who holds it (`lease.rs`), which decides between hosts.

pub use super::lease::{Holder, Watch};

use super::lease::{BEAT, is_lease, lease_path};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// The lock file of a directory.
const NAME: &str = ".lock";
/// `off`: no locks are taken, for file systems that have none.
const SWITCH: &str = "RUNNER_LOCKS";
/// How often a lock is tried, and the time between: [`is_held`] takes it for a moment to see whether it is free.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(10);
/// Between two looks at a lease that will be over soon.
const LOOK: Duration = Duration::from_millis(500);
/// How long whoever takes a lease over waits to see that nobody else has.
const SETTLING: Duration = Duration::from_secs(1);
/// A lease of this process that another one has taken over.
static LOST: Mutex<Option<String>> = Mutex::new(None);
static ANY_LOST: AtomicBool = AtomicBool::new(false);

/// Whether a file of this name belongs to a lock and not to what is locked.
pub fn is_lock_file(name: &std::ffi::OsStr) -> bool {
    name == NAME || is_lease(name, NAME)
}

fn switched_off() -> bool {
    std::env::var_os(SWITCH).is_some_and(|value| value == "off")
}

/// Who has taken over what this process held, if that has happened: it was taken for dead (stopped for minutes, or cut
/// off from its files), and must not write any more.
pub fn lost() -> Option<String> {
    if !ANY_LOST.load(Ordering::Relaxed) {
        return None;
    }
    LOST.lock().ok().and_then(|lost| lost.clone())
}

/// Held while a runner writes in a directory.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    own: Holder,
    lost: Arc<AtomicBool>,
    /// Ends the lease's thread when it goes.
    beating: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
    _file: File,
}

impl Lock {
    /// Locks a directory, which is made if need be; `Ok(None)` if another process holds it: see [`holder`]. Where a
    /// lease is all that is left of a holder on another host, that is known within a minute.
    pub fn acquire(dir: &Path) -> io::Result<Option<Self>> {
        fs::create_dir_all(dir)?;
        let (path, mut watch) = (dir.join(NAME), Watch::default());
        let mut said = false;
        loop {
            let lock = Self::at(&path, &mut watch)?;
            if lock.is_some() || !watch.soon() {
                return Ok(lock);
            }
            if let (false, Some(holder)) = (said, holder_at(&path)) {
                tracing::info!("{}: looking whether {holder} still works here", dir.display());
                said = true;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Locks a file that is there for nothing else. `watch`: what the same caller has seen of its holder so far.
    pub fn at(path: &Path, watch: &mut Watch) -> io::Result<Option<Self>> {
        let locked = !switched_off();
        let file = loop {
            let file = File::options().create(true).truncate(false).write(true).open(path)?;
            if locked && !patiently(|| file.try_lock()).map_err(|e| without_locks(path, &e))? {
                watch.is_refused(path);
                return Ok(None);
            }
            // Between the two the directory may have been given another name, and the lock with it.
            if is_at(&file, path) {
                break file;
            }
        };
        let own = Holder::new(locked);
        if !take(&own, path, watch)? {
            return Ok(None);
        }
        let lost = Arc::new(AtomicBool::new(false));
        let beating = beat(&own, path, &lost);
        Ok(Some(Self { path: path.to_path_buf(), own, lost, beating, _file: file }))
    }

    /// Err: another process has taken it over.
    pub fn check(&self) -> io::Result<()> {
        match self.lost.load(Ordering::Relaxed) {
            true => Err(io::Error::other(lost().unwrap_or_else(|| "another process has taken it over".into()))),
            false => Ok(()),
        }
    }

    /// Takes the holder's name away, and keeps the lock: before what is locked is given another name.
    pub fn unname(&mut self) {
        if let Some((ends, thread)) = self.beating.take() {
            drop(ends);
            let _ = thread.join();
        }
        if Holder::read(&self.path).is_some_and(|holder| holder.is(&self.own)) {
            let _ = fs::remove_file(lease_path(&self.path));
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.unname();
    }
}

/// Puts a lease in its place, unless that of another process still counts.
fn take(own: &Holder, path: &Path, watch: &mut Watch) -> io::Result<bool> {
    // A disk that is full here is found full where it matters.
    let full = |e: &io::Error| matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let Some(holder) = Holder::read(path) else {
        // What cannot be read is nobody's: leases come whole.
        return match lease_path(path).exists() {
            true => own.write(path).map(|()| true),
            false => own.claim(path),
        }
        .or_else(|e| if full(&e) { Ok(true) } else { Err(e) });
    };
    let over = match holder.is_here() {
        // The kernel has released its lock; one without a lock is looked up.
        true => holder.locked || !holder.is_alive(),
        false => watch.is_over(&holder, path),
    };
    if !over {
        return Ok(false);
    }
    own.write(path).or_else(|e| if full(&e) { Ok(()) } else { Err(e) })?;
    if holder.is_here() {
        return Ok(true);
    }
    // Another host may have come to the same end at the same moment: the last one to write has it.
    std::thread::sleep(SETTLING);
    watch.forget();
    let ours = Holder::read(path).is_none_or(|now| now.is(own));
    if ours {
        tracing::warn!("{}: {holder} has ended without releasing it; taken over", path.display());
    }
    Ok(ours)
}

/// Rewrites a lease until its lock goes. None: no thread can be had, and the lock alone must do.
fn beat(own: &Holder, path: &Path, lost: &Arc<AtomicBool>) -> Option<(mpsc::Sender<()>, JoinHandle<()>)> {
    let (ends, ended) = mpsc::channel();
    let (mut own, path, lost) = (own.clone(), path.to_path_buf(), Arc::clone(lost));
    let beats = move || {
        while ended.recv_timeout(BEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
            if let Some(now) = Holder::read(&path).filter(|now| !now.is(&own)) {
                let message =
                    format!("{} has been taken over by {now}, which took this process for dead", path.display());
                tracing::error!("{message}");
                if let Ok(mut said) = LOST.lock() {
                    said.get_or_insert(message);
                }
                lost.store(true, Ordering::Relaxed);
                ANY_LOST.store(true, Ordering::Relaxed);
                return;
            }
            own.beat += 1;
            if let Err(e) = own.write(&path) {
                tracing::debug!("{}: {e}", path.display());
            }
        }
    };
    let thread = std::thread::Builder::new().name("lease".into()).spawn(beats).ok()?;
    Some((ends, thread))
}

/// Whether a file that was opened is the one that is at a path now.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = || Some((file.metadata().ok()?, fs::metadata(path).ok()?));
    same().is_some_and(|(opened, there)| (opened.dev(), opened.ino()) == (there.dev(), there.ino()))
}

/// Windows gives no other name to a directory with an open file in it.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
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
         (--out and RUNNER_CACHE), or set {SWITCH}=off, with which lease files alone keep runners apart (`runner doctor --shared DIR` \
         tries a file system)",
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
    let unlocked = || {
        Holder::read(&path).is_some_and(|holder| match holder.is_here() {
            true => !holder.locked && holder.is_alive(),
            // Of a host whose lock may not reach this one.
            false => moved_lately(&path),
        })
    };
    match File::open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(_) => true,
        Ok(file) => match file.try_lock_shared() {
            Ok(()) => unlocked(),
            Err(_) => true,
        },
    }
}

/// Whether the lock of a directory is free, though a lease may say that a process of another host has it.
pub fn is_free(dir: &Path) -> bool {
    File::open(dir.join(NAME)).is_ok_and(|file| file.try_lock_shared().is_ok())
}

/// Whether a lease was rewritten a moment ago, for whoever has no time to watch it.
fn moved_lately(lock: &Path) -> bool {
    let modified = fs::metadata(lease_path(lock)).and_then(|about| about.modified());
    modified.is_ok_and(|then| then.elapsed().is_ok_and(|ago| ago < BEAT * 6))
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
        assert!(who.to_string().starts_with(&format!("{} pid {}", who.host, who.pid)));
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
        fs::write(lease_path(&dir.path().join(NAME)), serde_json::to_vec(&dead).unwrap()).unwrap();
        assert!(!is_held(dir.path()));
        fs::write(lease_path(&dir.path().join(NAME)), "half a l").unwrap();
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

    /// A process once held the lock of a directory that had been given another name while it waited for it.
    #[cfg(unix)]
    #[test]
    fn a_lock_is_of_the_directory_that_has_the_name_now() {
        let dir = tempfile::tempdir().unwrap();
        let (out, aside) = (dir.path().join("out"), dir.path().join("out.old-1"));
        fs::create_dir(&out).unwrap();
        let opened = File::options().create(true).truncate(false).write(true).open(out.join(NAME)).unwrap();
        assert!(is_at(&opened, &out.join(NAME)));
        fs::rename(&out, &aside).unwrap();
        assert!(!is_at(&opened, &out.join(NAME)));
        fs::create_dir(&out).unwrap();
        let lock = Lock::acquire(&out).unwrap().unwrap();
        assert!(!is_at(&opened, &out.join(NAME)) && is_at(&lock._file, &out.join(NAME)));
        assert!(opened.try_lock().is_ok(), "the old one is another's");
    }

    #[test]
    fn without_locks_the_lease_of_a_live_process_is_heeded_and_a_dead_ones_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let (alive, own) = (Holder::new(false), Holder::new(false));
        alive.write(&path).unwrap();
        assert!(!take(&own, &path, &mut Watch::default()).unwrap());
        // What a process that has ended leaves: its number, begun at another time.
        Holder { started: Some(1), ..alive }.write(&path).unwrap();
        assert!(take(&own, &path, &mut Watch::default()).unwrap());
        assert!(Holder::read(&path).unwrap().is(&own));
    }

    #[test]
    fn a_live_holder_on_another_host_is_waited_for_though_its_lock_does_not_reach_this_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let there = Holder { host: "n7".into(), boot: Some("b".into()), ..Holder::new(true) };
        there.write(&path).unwrap();
        assert!(Lock::acquire(dir.path()).unwrap().is_none());
        assert!(is_held(dir.path()) && holder(dir.path()).unwrap().is(&there));
        fs::remove_file(lease_path(&path)).unwrap();
        assert!(!is_held(dir.path()) && Lock::acquire(dir.path()).unwrap().is_some());
    }

    #[test]
    fn whoever_was_taken_over_leaves_the_others_lease_alone() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(dir.path()).unwrap().unwrap();
        let other = Holder::new(true);
        other.write(&dir.path().join(NAME)).unwrap();
        drop(lock);
        assert!(holder(dir.path()).unwrap().is(&other));
    }
}
