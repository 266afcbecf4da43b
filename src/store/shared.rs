//! Whether a directory can be worked in by several processes, on several hosts: what the cache and results directories
//! rely on is tried by two processes, step by step. They talk by files, so that they may be anywhere.

use super::atomic::{sync_directory, write_atomic};
use super::lease::host;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(2);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    First,
    Second,
}

/// What one of the tries came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub what: &'static str,
    /// None: it was as it must be.
    pub wrong: Option<String>,
    pub said: String,
}

/// The two of a try, in one folder.
struct Pair {
    dir: PathBuf,
    side: Side,
}

impl Pair {
    fn name(side: Side, step: &str) -> String {
        let side = if side == Side::First { "first" } else { "second" };
        format!("{side}-{step}")
    }

    /// Tells the other side that a step is done, and something about it.
    fn tell(&self, step: &str, text: &str) -> io::Result<()> {
        write_atomic(&self.dir.join(Self::name(self.side, step)), text.as_bytes())
    }

    /// Waits for the other side's step; what it told, and how long that took.
    fn hear(&self, step: &str) -> io::Result<(String, Duration)> {
        let other = if self.side == Side::First { Side::Second } else { Side::First };
        let (path, began) = (self.dir.join(Self::name(other, step)), Instant::now());
        loop {
            // A directory that is listed is asked for anew where a name alone may be remembered as missing.
            let _ = fs::read_dir(&self.dir).map(Iterator::count);
            match fs::read_to_string(&path) {
                Ok(text) => return Ok((text, began.elapsed())),
                Err(e) if e.kind() == io::ErrorKind::NotFound && began.elapsed() < PATIENCE => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    let message = format!(
                        "the other process was not seen in {} within {} s (step {step}): it did not start, or sees another file system there",
                        self.dir.display(),
                        PATIENCE.as_secs()
                    );
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
                Err(e) => return Err(e),
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Tries a directory together with another process, which is given the other side and the same `token`. The first side
/// finds out; the second one helps, and finds nothing.
///
/// # Errors
/// The directory cannot be written to, or the other process is not seen.
pub fn try_out(dir: &Path, token: &str, side: Side) -> io::Result<Vec<Finding>> {
    let pair = Pair { dir: dir.join(format!(".runner-doctor-{token}")), side };
    fs::create_dir_all(&pair.dir)?;
    let found = match side {
        Side::First => first(&pair),
        Side::Second => second(&pair).map(|()| Vec::new()),
    };
    if side == Side::First {
        let _ = fs::remove_dir_all(&pair.dir);
    }
    found
}

fn finding(what: &'static str, right: bool, said: impl Into<String>, wrong: &str) -> Finding {
    Finding { what, wrong: (!right).then(|| wrong.into()), said: said.into() }
}

fn first(pair: &Pair) -> io::Result<Vec<Finding>> {
    let mut found = Vec::new();
    let lock = File::create(pair.dir.join("lock"))?;
    let locked = lock.try_lock();
    pair.tell("here", &host())?;
    let (other, _) = pair.hear("here")?;
    let said = format!("{} and {}", host(), other.trim());
    found.push(finding("processes", true, said, ""));
    found.push(match locked {
        Ok(()) => {
            pair.tell("locked", "")?;
            let (theirs, _) = pair.hear("tried")?;
            let wrong = "the other process was given the same lock: locks of this file system do not reach it. Leases alone keep runners on two hosts apart here; mount it with locks (Lustre: -o flock; NFS: without nolock) if you can";
            finding("a lock keeps the other out", theirs == "refused", theirs, wrong)
        }
        Err(e) => {
            pair.tell("locked", "none")?;
            pair.hear("tried")?;
            let wrong = "there are no locks: set RUNNER_LOCKS=off, with which leases alone keep runners apart";
            finding("a lock keeps the other out", false, e.to_string(), wrong)
        }
    });
    drop(lock);
    pair.tell("released", "")?;
    let (again, _) = pair.hear("locks")?;
    found.push(finding("a lock that is released is free", again == "locked", again, "a lock outlives who held it"));
    claims(pair, &mut found)?;
    renames(pair, &mut found)?;
    appends(pair, &mut found)?;
    Ok(found)
}

fn second(pair: &Pair) -> io::Result<()> {
    pair.hear("here")?;
    pair.tell("here", &host())?;
    pair.hear("locked")?;
    let lock = File::options().create(true).truncate(false).write(true).open(pair.dir.join("lock"))?;
    let word = |tried: Result<(), fs::TryLockError>| match tried {
        Ok(()) => "locked".to_string(),
        Err(fs::TryLockError::WouldBlock) => "refused".into(),
        Err(e) => e.to_string(),
    };
    pair.tell("tried", &word(lock.try_lock()))?;
    let _ = lock.unlock();
    pair.hear("released")?;
    // A server may take a moment.
    let began = Instant::now();
    let mut now = word(lock.try_lock());
    while now == "refused" && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(LOOK);
        now = word(lock.try_lock());
    }
    pair.tell("locks", &now)?;
    pair.hear("claim")?;
    pair.tell("claimed", &claim(pair, "two")?.to_string())?;
    pair.hear("renamed")?;
    let seen = fs::read_to_string(pair.dir.join("artifact/inside")).unwrap_or_else(|e| e.to_string());
    pair.tell("seen", &seen)?;
    pair.hear("append")?;
    append(pair)?;
    // The first one removes the folder when it has heard this, which may be before it is told to the end.
    match pair.tell("appended", "") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        told => told,
    }
}

/// A name that only one of two may give: leases.
fn claim(pair: &Pair, who: &str) -> io::Result<bool> {
    let own = pair.dir.join(format!("claim-{who}"));
    fs::write(&own, who)?;
    match fs::hard_link(&own, pair.dir.join("claim")) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

fn claims(pair: &Pair, found: &mut Vec<Finding>) -> io::Result<()> {
    let what = "a name is given once";
    let ours = claim(pair, "one");
    pair.tell("claim", "")?;
    let (theirs, _) = pair.hear("claimed")?;
    found.push(match ours {
        Ok(true) => {
            finding(what, theirs == "false", format!("the other: {theirs}"), "two processes gave the same name")
        }
        Ok(false) => finding(what, false, "refused", "a name that nothing has is refused"),
        Err(e) => finding(what, true, format!("no hard links ({e}); renaming takes their place"), ""),
    });
    Ok(())
}

/// A directory gets its name when it is whole: artifacts.
fn renames(pair: &Pair, found: &mut Vec<Finding>) -> io::Result<()> {
    let partial = pair.dir.join("artifact.partial");
    fs::create_dir_all(&partial)?;
    write_atomic(&partial.join("inside"), b"whole")?;
    fs::rename(&partial, pair.dir.join("artifact"))?;
    let synced = sync_directory(&pair.dir);
    pair.tell("renamed", "")?;
    let (seen, took) = pair.hear("seen")?;
    let said = format!("seen after at most {} ms", took.as_millis());
    found.push(finding(
        "a directory is renamed at once",
        seen == "whole",
        said,
        &format!("the other process saw {seen:?} in it"),
    ));
    let said = synced.as_ref().map_or_else(ToString::to_string, |()| "yes".into());
    found.push(finding(
        "directories are synced",
        synced.is_ok(),
        said,
        "a crash of the machine can lose what was finished",
    ));
    Ok(())
}

const LINES: usize = 200;

fn append(pair: &Pair) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).open(pair.dir.join("lines"))?;
    let side = Pair::name(pair.side, "line");
    (0..LINES).try_for_each(|i| file.write_all(format!("{side} {i:04}\n").as_bytes()))
}

/// Both write lines to one file at once. Nothing here needs it; who writes to one file from two hosts is told.
fn appends(pair: &Pair, found: &mut Vec<Finding>) -> io::Result<()> {
    pair.tell("append", "")?;
    append(pair)?;
    pair.hear("appended")?;
    let text = fs::read_to_string(pair.dir.join("lines"))?;
    let whole = text.lines().filter(|line| line.split(' ').count() == 2).count();
    let said = format!("{whole} of {} lines of two writers are whole", 2 * LINES);
    // No run appends to another's file: this is for knowing.
    found.push(finding("appending", true, said, ""));
    Ok(())
}

/// A line of /proc/self/mounts.
struct Mount {
    device: String,
    at: PathBuf,
    kind: String,
    options: String,
}

/// The mount that a directory is on, among the lines of all.
fn mount(dir: &Path, mounts: &str) -> Option<Mount> {
    let of = |line: &str| -> Option<Mount> {
        let parts: Vec<&str> = line.split(' ').collect();
        let [device, at, kind, options, ..] = parts[..] else { return None };
        let at = PathBuf::from(at.replace("\\040", " "));
        let text = str::to_string;
        dir.starts_with(&at).then(|| Mount { device: text(device), at, kind: text(kind), options: text(options) })
    };
    // Of two at one place, the later one is on top.
    mounts.lines().filter_map(of).max_by_key(|mount| mount.at.components().count())
}

fn mount_of(dir: &Path) -> Option<Mount> {
    mount(&fs::canonicalize(dir).ok()?, &fs::read_to_string("/proc/self/mounts").ok()?)
}

/// The file system that a directory is on: its type, options and what is mounted, where the system says so (Linux).
pub fn file_system(dir: &Path) -> Option<String> {
    mount_of(dir).map(|m| format!("{} ({} on {}, {})", m.kind, m.device, m.at.display(), m.options))
}

/// Whether a directory's file system is known to tell all hosts of a lock. No: nobody knows.
pub(super) fn locks_reach(dir: &Path) -> bool {
    mount_of(dir).is_some_and(|mount| mount.reaches())
}

impl Mount {
    fn reaches(&self) -> bool {
        let has = |option: &str| self.options.split(',').any(|known| known == option);
        match self.kind.as_str() {
            "nfs4" => true,
            "nfs" => has("local_lock=none") && !has("nolock"),
            "lustre" => has("flock"),
            "ceph" | "fuse.ceph" | "fuse.ceph-fuse" | "fuse.glusterfs" | "gpfs" => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_on_a_local_disk_find_nothing_wrong_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let found = std::thread::scope(|scope| {
            let other = scope.spawn(|| try_out(dir.path(), "t", Side::Second));
            let found = try_out(dir.path(), "t", Side::First).unwrap();
            let _ = other.join().unwrap();
            found
        });
        assert!(found.len() == 7 && found.iter().all(|f| f.wrong.is_none()), "{found:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(!cfg!(target_os = "linux") || file_system(dir.path()).is_some());
    }

    #[test]
    fn file_systems_are_known_by_the_deepest_mount_and_its_options() {
        let mounts = "overlay / overlay rw 0 0\nn1:/v /mnt/g fuse.glusterfs rw 0 0\nl@tcp:/x /mnt/g/my\\040dir lustre rw,localflock 0 0\n\
                      l@tcp:/y /scratch lustre rw,flock,lazystatfs 0 0\ns:/a /home nfs rw,vers=3,local_lock=all 0 0\n";
        let kind = |dir: &str| mount(Path::new(dir), mounts).map(|m| (m.kind.clone(), m.reaches()));
        let is = |dir: &str, word: &str, reaches: bool| assert_eq!(kind(dir), Some((word.into(), reaches)), "{dir}");
        is("/var/x", "overlay", false);
        is("/mnt/g/results", "fuse.glusterfs", true);
        is("/mnt/g/my dir/results", "lustre", false);
        is("/scratch/ada", "lustre", true);
        is("/home/ada", "nfs", false);
    }
}
