//! Who holds a lock, in a small file beside it that its holder rewrites while it lives. A lock of the operating system
//! is released by a crash, but not every file system tells other hosts of it: some keep locks to the host that took
//! them, some lose them with a server. So a lock is taken from a holder on another host only where its lease stands
//! still as well.

use super::atomic::is_temporary;
use super::shared::locks_reach;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the lease adds to the lock's name.
const ENDING: &str = ".holder";
/// Time between two writings of a lease.
pub const BEAT: Duration = Duration::from_secs(10);
/// How long a lease must stand still before its holder counts as dead, where something else says so too: a lock that
/// reaches this host and is free, Slurm, a machine that was started again, a file that nobody has touched for [`STALE`].
const QUIET: Duration = BEAT.saturating_mul(3);
/// The same where nothing else is known: a network that comes back after minutes finds its locks again.
const STALE: Duration = Duration::from_secs(600);

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
    /// The Slurm job, or task of an array, that the process is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The cluster on which that job has its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Rewritten every [`BEAT`] with the next number.
    #[serde(default)]
    pub beat: u64,
    /// Which lease of which process: no two have the same.
    #[serde(default)]
    pub token: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} pid {}", self.host, self.pid)?;
        self.job.as_ref().map_or(Ok(()), |job| write!(f, ", Slurm job {job}"))
    }
}

fn line_of(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_string()).filter(|line| !line.is_empty())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The name of this machine.
pub fn host() -> String {
    line_of("/proc/sys/kernel/hostname")
        .or_else(|| line_of("/etc/hostname"))
        .or_else(|| variable("HOSTNAME"))
        .or_else(|| variable("COMPUTERNAME"))
        .unwrap_or_else(|| "this machine".into())
}

fn boot() -> Option<String> {
    line_of("/proc/sys/kernel/random/boot_id")
}

/// `34_2` of an array, else `34`.
fn job() -> Option<String> {
    match (variable("SLURM_ARRAY_JOB_ID"), variable("SLURM_ARRAY_TASK_ID")) {
        (Some(array), Some(task)) => Some(format!("{array}_{task}")),
        _ => variable("SLURM_JOB_ID"),
    }
}

/// Field 22 of /proc/PID/stat; the second one, the program's name in brackets, may hold anything.
fn start_of(pid: u32) -> Option<u64> {
    let text = line_of(&format!("/proc/{pid}/stat"))?;
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

impl Holder {
    /// This process.
    pub fn new(locked: bool) -> Self {
        static LEASES: AtomicU64 = AtomicU64::new(0);
        let (host, pid, boot) = (host(), std::process::id(), boot());
        let at = jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string();
        let started = start_of(pid);
        let number = LEASES.fetch_add(1, Ordering::Relaxed);
        let own = format!("{host} {pid} {boot:?} {started:?} {at} {number}");
        let token = blake3::hash(own.as_bytes()).to_hex()[..16].to_string();
        Self {
            host,
            pid,
            started,
            boot,
            at,
            locked,
            job: job(),
            cluster: variable("SLURM_CLUSTER_NAME"),
            beat: 0,
            token,
        }
    }

    /// What the lease beside a lock says; none where there is none, or an older program left half of one.
    pub fn read(lock: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(lease_path(lock)).ok()?).ok()
    }

    /// Whether this is the same lease, however far it has moved.
    pub fn is(&self, other: &Self) -> bool {
        (&self.host, self.pid, &self.at, &self.token) == (&other.host, other.pid, &other.at, &other.token)
    }

    /// Whether the process is still there, as far as this machine can tell.
    pub(super) fn is_alive(&self) -> bool {
        self.host == host() && self.boot == boot() && self.started.is_some() && self.started == start_of(self.pid)
    }

    /// Whether it runs, or ran, under the kernel that this process does: then the kernel knows of its locks.
    pub(super) fn is_here(&self) -> bool {
        self.boot == boot() && (self.boot.is_some() || self.host == host())
    }

    /// Whether the job that it is of is at work. None: nobody here knows.
    fn works(&self, ask: &dyn Fn(&str) -> Option<bool>) -> Option<bool> {
        let job = self.job.as_ref()?;
        // Numbers of another cluster's jobs are other jobs' here.
        let same = self.cluster.is_some() && self.cluster == variable("SLURM_CLUSTER_NAME");
        if same && self::job().as_ref() == Some(job) {
            // Slurm runs a job once at a time: that was this job before it was requeued.
            return Some(false);
        }
        if same { ask(job) } else { None }
    }

    /// Writes the lease in the place of whatever is there.
    pub(super) fn write(&self, lock: &Path) -> io::Result<()> {
        let temporary = self.write_aside(lock)?;
        fs::rename(&temporary, lease_path(lock)).inspect_err(|_| drop(fs::remove_file(&temporary)))
    }

    /// Writes the lease where there is none. No: another process has, on a host that this one's lock does not reach.
    pub(super) fn claim(&self, lock: &Path) -> io::Result<bool> {
        let temporary = self.write_aside(lock)?;
        let linked = fs::hard_link(&temporary, lease_path(lock));
        match linked {
            Ok(()) => {
                let _ = fs::remove_file(&temporary);
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let _ = fs::remove_file(&temporary);
                Ok(false)
            }
            // Somebody who holds the directory has swept it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            // A file system without hard links.
            Err(_) => fs::rename(&temporary, lease_path(lock)).map(|()| true),
        }
    }

    fn write_aside(&self, lock: &Path) -> io::Result<PathBuf> {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        // As files that are being written are called (`atomic.rs`), with the token against two hosts' same numbers.
        let name = lock.file_name().unwrap_or_default().to_string_lossy();
        let temporary = lock.with_file_name(format!(".{name}{ENDING}.{}-{number}.{}.tmp", self.token, self.pid));
        debug_assert!(temporary.file_name().is_some_and(is_temporary));
        let mut file = File::create(&temporary)?;
        file.write_all(format!("{}\n", serde_json::json!(self)).as_bytes())?;
        Ok(temporary)
    }
}

/// Where the lease of a lock is.
pub(super) fn lease_path(lock: &Path) -> PathBuf {
    let mut name = lock.file_name().unwrap_or_default().to_os_string();
    name.push(ENDING);
    lock.with_file_name(name)
}

/// Whether a name is that of the lease of a lock of this name.
pub(super) fn is_lease(name: &OsStr, lock: &str) -> bool {
    name.to_str().and_then(|name| name.strip_prefix(lock)) == Some(ENDING)
}

/// Seconds by which a lease was touched before a file that is made now: both times are the file system's.
fn untouched(lock: &Path) -> Option<Duration> {
    let probe = lock.with_file_name(format!(".{}.now.0.{}.tmp", blake3::hash(boot()?.as_bytes()), std::process::id()));
    let now = File::create(&probe).and_then(|file| file.metadata()?.modified());
    let _ = fs::remove_file(&probe);
    let then = fs::metadata(lease_path(lock)).and_then(|about| about.modified());
    now.ok()?.duration_since(then.ok()?).ok()
}

/// Asks Slurm whether a job is at work. None: there is no Slurm to ask, or it does not answer.
fn slurm(job: &str) -> Option<bool> {
    let said = Command::new("squeue").args(["--noheader", "--format=%T", "--jobs", job]).output().ok()?;
    if !said.status.success() {
        return String::from_utf8_lossy(&said.stderr).contains("Invalid job id").then_some(false);
    }
    // One that waits to be started again is not at work.
    Some(
        String::from_utf8_lossy(&said.stdout)
            .lines()
            .any(|state| !state.trim().is_empty() && state.trim() != "PENDING"),
    )
}

/// What a process that wants a lock has seen of the one that has it.
#[derive(Debug, Default)]
pub struct Watch {
    seen: Option<Seen>,
    /// The lease of the last holder whose lock was refused here: it reaches this host.
    refused: Option<String>,
}

#[derive(Debug)]
struct Seen {
    holder: Holder,
    since: Instant,
    /// How long it must stand still.
    limit: OnceLock<Duration>,
}

impl Watch {
    /// Whether the holder on another host, whose lock is free here, is dead. `now` by this process's own clock: no two
    /// clocks are compared to the second.
    pub(super) fn is_over(&mut self, holder: &Holder, lock: &Path) -> bool {
        let reaches = self.refused.as_ref() == Some(&holder.token) || lock.parent().is_some_and(locks_reach);
        self.is_over_at(holder, Instant::now(), &|| if reaches { Some(STALE) } else { untouched(lock) }, &slurm)
    }

    fn is_over_at(
        &mut self,
        holder: &Holder,
        now: Instant,
        untouched: &dyn Fn() -> Option<Duration>,
        ask: &dyn Fn(&str) -> Option<bool>,
    ) -> bool {
        let seen = match &mut self.seen {
            Some(seen) if seen.holder == *holder => seen,
            seen => seen.insert(Seen { holder: holder.clone(), since: now, limit: OnceLock::new() }),
        };
        let limit = *seen.limit.get_or_init(|| {
            let restarted = holder.host == host();
            let gone = restarted || holder.works(ask) == Some(false) || untouched().is_some_and(|t| t >= STALE);
            let limit = if gone { QUIET } else { STALE };
            tracing::debug!(
                "{holder}: its lock is free here; its lease counts for nothing once it has stood still for {limit:?}"
            );
            limit
        });
        now.duration_since(seen.since) >= limit
    }

    /// Whether whoever waits a moment longer will know.
    pub(super) fn soon(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.limit.get() == Some(&QUIET))
    }

    /// The lock was refused, by whoever has its lease.
    pub(super) fn is_refused(&mut self, lock: &Path) {
        self.seen = None;
        self.refused = Holder::read(lock).map(|holder| holder.token);
    }

    /// What was seen is over.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elsewhere(beat: u64) -> Holder {
        let boot = Some("another machine's".into());
        Holder { host: "n7".into(), boot, beat, token: "t".into(), ..Holder::new(true) }
    }

    #[test]
    fn only_a_lease_that_stands_still_is_over_and_what_is_known_besides_makes_it_short() {
        let start = Instant::now();
        let (young, old) = (|| Some(Duration::from_secs(5)), || Some(STALE));
        let nobody = |_: &str| None;
        // Ten minutes by our own clock where nothing is known; a single beat begins them anew.
        let mut watch = Watch::default();
        assert!(!watch.is_over_at(&elsewhere(1), start, &young, &nobody) && !watch.soon());
        assert!(!watch.is_over_at(&elsewhere(1), start + STALE / 2, &young, &nobody));
        assert!(!watch.is_over_at(&elsewhere(2), start + STALE, &young, &nobody));
        assert!(!watch.is_over_at(&elsewhere(2), start + STALE + QUIET, &young, &nobody));
        assert!(watch.is_over_at(&elsewhere(2), start + STALE * 2, &young, &nobody));
        // A file that was not touched for so long needs only a look whether it moves; so does a machine of this name that
        // was started again.
        let rebooted = Holder { host: host(), ..elsewhere(1) };
        for (holder, untouched) in [(elsewhere(1), &old as &dyn Fn() -> _), (rebooted, &young)] {
            let mut watch = Watch::default();
            assert!(!watch.is_over_at(&holder, start, untouched, &nobody) && watch.soon());
            assert!(watch.is_over_at(&holder, start + QUIET, untouched, &nobody));
        }
    }

    #[test]
    fn the_word_of_another_clusters_jobs_counts_for_nothing() {
        let gone = |_: &str| Some(false);
        let of = |cluster: Option<&str>| Holder {
            job: Some("7".into()),
            cluster: cluster.map(str::to_string),
            ..elsewhere(1)
        };
        assert_eq!(of(None).works(&gone), None);
        assert_eq!(of(Some("a cluster that this process is not on")).works(&gone), None);
    }

    #[test]
    fn one_of_two_claims_holds_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("x.lock");
        let (first, second) = (Holder::new(true), Holder::new(true));
        assert!(first.claim(&lock).unwrap() && !second.claim(&lock).unwrap());
        assert!(Holder::read(&lock).unwrap().is(&first) && !first.is(&second));
        second.write(&lock).unwrap();
        assert!(Holder::read(&lock).unwrap().is(&second));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(untouched(&lock).unwrap() < Duration::from_secs(60));
    }
}
