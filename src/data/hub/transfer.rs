//! Fetching one file: resumed where it broke off, repeated where the network or the server failed, compared with the
//! check sum that the hub gives, and only then put into the cache.

use super::http::{Client, Metadata, RequestFailure};
use super::store::{Repository, disk_error, is_commit};
use super::{Hub, MOST_NAMES, Snapshot};
use crate::data::error::{DataError, instead, list};
use crate::store::atomic::sync_directory;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Repetitions of a request, or of a transfer that gets no further.
const REPETITIONS: u32 = 4;
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const PIECE: usize = 1 << 18;
/// Between two looks at a lock that another process has.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// The name of a file's content, which is its check sum: sha256 for large files, git's sha1 for small ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Etag(String);

impl Etag {
    /// A SHA-256 in hexadecimal digits.
    pub(super) fn of_sha256(sum: &str) -> Self {
        Self(sum.to_ascii_lowercase())
    }

    /// `"0123.."` or `W/"0123.."`; it becomes a file name, and must look like one.
    fn parse(text: &str) -> Result<Self, RequestFailure> {
        let name = text.trim().trim_start_matches("W/").trim_matches('"');
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        match !name.is_empty() && name.len() <= 128 && name.chars().all(good) && !name.starts_with('.') {
            true => Ok(Self(name.into())),
            false => Err(RequestFailure::Broken(format!("its etag {text:?} is no check sum"))),
        }
    }

    /// Whether a file has this check sum; `None` for an etag that is none.
    fn check(&self, path: &Path) -> io::Result<Option<bool>> {
        let hex = |digits: usize| self.0.len() == digits && self.0.bytes().all(|b| b.is_ascii_hexdigit());
        let mut file = File::open(path)?;
        let sum = if hex(64) {
            digest(&mut file, Sha256::new())?
        } else if hex(40) {
            let size = file.metadata()?.len();
            digest(&mut file, Sha1::new_with_prefix(format!("blob {size}\0")))?
        } else {
            return Ok(None);
        };
        Ok(Some(sum.eq_ignore_ascii_case(&self.0)))
    }
}

pub(super) fn digest(file: &mut File, mut hasher: impl Digest + Write) -> io::Result<String> {
    io::copy(file, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// Why a transfer ended.
pub(super) enum Broken {
    Net(RequestFailure),
    Disk(io::Error),
}

impl From<RequestFailure> for Broken {
    fn from(failure: RequestFailure) -> Self {
        Self::Net(failure)
    }
}

/// Says of a complete file why it cannot be taken.
pub(super) type Accept = fn(&Path) -> io::Result<Result<(), String>>;
/// What the hub says of a repository's branches and tags.
#[derive(serde::Deserialize)]
struct References {
    #[serde(default)]
    branches: Vec<Reference>,
    #[serde(default)]
    tags: Vec<Reference>,
}

#[derive(serde::Deserialize)]
struct Reference {
    name: String,
}

/// A file that does not end where it should.
fn longer(bytes: u64, remote: &Remote) -> RequestFailure {
    let size = remote.size.unwrap_or_default();
    RequestFailure::Broken(format!(
        "more than the {size} bytes that it says the file has came ({bytes} so far); cut off"
    ))
}

/// A file to fetch.
pub(super) struct Remote {
    /// What messages call it.
    pub label: String,
    pub name: String,
    pub url: String,
    /// `None` where nobody knows its check sum.
    pub check: Option<Etag>,
    pub size: Option<u64>,
    /// Where what came so far is kept.
    pub partial: PathBuf,
    pub accept: Option<Accept>,
}

impl Hub {
    /// Repeats what failed in passing, with growing waits.
    pub(super) fn retrying<T>(&self, request: impl Fn() -> Result<T, RequestFailure>) -> Result<T, RequestFailure> {
        let mut repetition = 0;
        loop {
            match request() {
                Err(failure) if failure.is_passing() && repetition < REPETITIONS => {
                    self.wait(repetition, &failure)?;
                    repetition += 1;
                }
                other => return other,
            }
        }
    }

    fn wait(&self, repetition: u32, failure: &RequestFailure) -> Result<(), RequestFailure> {
        let asked = match failure {
            RequestFailure::Status { wait, .. } => wait.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let wait = (self.backoff * 2u32.pow(repetition)).max(asked).min(LONGEST_WAIT);
        tracing::debug!("the hub: {failure}; again in {:.1} s", wait.as_secs_f64());
        let step = Duration::from_millis(100);
        let mut left = wait;
        while !left.is_zero() {
            self.check_stop()?;
            std::thread::sleep(left.min(step));
            left = left.saturating_sub(step);
        }
        Ok(())
    }

    pub(super) fn check_stop(&self) -> Result<(), RequestFailure> {
        match self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::SeqCst)) {
            true => Err(RequestFailure::Stopped),
            false => Ok(()),
        }
    }

    /// Puts one file of a snapshot into the cache.
    pub(super) fn download(&self, client: &Client, snapshot: &Snapshot, name: &str) -> Result<(), DataError> {
        let repository = &snapshot.repository;
        let explain = |failure| self.explain(failure, repository, Some((name, snapshot)));
        let url = repository.file_url(&self.endpoint, &snapshot.commit, name);
        let Metadata { etag, size } = self.retrying(|| client.metadata(&url)).map_err(explain)?;
        let etag = Etag::parse(&etag).map_err(explain)?;
        let blob = repository.blob(&etag.0);
        let mut waiting = false;
        let _lock = loop {
            match repository.try_lock(&etag.0)? {
                Some(lock) => break lock,
                None => self.check_stop().map_err(explain)?,
            }
            if !std::mem::replace(&mut waiting, true) {
                tracing::info!("{repository}, file {name}: another process fetches it; waiting");
            }
            std::thread::sleep(LOCK_POLL);
        };
        // Another process may have fetched it while we waited.
        if !blob.is_file() {
            let partial = blob.with_file_name(format!("{}.incomplete", etag.0));
            let label = format!("{repository} {name}");
            let remote = Remote { label, name: name.into(), url, check: Some(etag), size, partial, accept: None };
            self.fill(client, &remote, &blob).map_err(|broken| match broken {
                Broken::Net(failure) => explain(failure),
                Broken::Disk(e) => disk_error(&blob, &e),
            })?;
        }
        repository.link(&blob, &snapshot.commit, name)
    }

    /// Fetches the content of `blob` beside it, and renames it once its check sum is right.
    pub(super) fn fill(&self, client: &Client, remote: &Remote, blob: &Path) -> Result<(), Broken> {
        let partial = &remote.partial;
        let folder = blob.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Broken::Disk)?;
        let bar = self.bar(remote);
        let (mut repetition, mut furthest, mut mismatches) = (0, 0, 0);
        loop {
            match self.continue_transfer(client, remote, partial, &bar) {
                Err(Broken::Net(failure)) if failure.is_passing() => {
                    let reached = fs::metadata(partial).map_or(0, |m| m.len());
                    // A transfer that comes further every time may break as often as it likes.
                    if reached > furthest {
                        (furthest, repetition) = (reached, 0);
                    }
                    if repetition >= REPETITIONS {
                        return Err(Broken::Net(failure));
                    }
                    self.wait(repetition, &failure)?;
                    repetition += 1;
                    continue;
                }
                other => other?,
            }
            let Some(check) = &remote.check else { break };
            match check.check(partial).map_err(Broken::Disk)? {
                Some(true) => break,
                None => {
                    tracing::warn!("{}: the hub gives no check sum; taken as it came", remote.label);
                    break;
                }
                Some(false) => {
                    fs::remove_file(partial).map_err(Broken::Disk)?;
                    mismatches += 1;
                    if mismatches > 1 {
                        return Err(Broken::Net(RequestFailure::Broken(format!(
                            "its content does not have the check sum {} that it should have, twice; a proxy or mirror may change it",
                            check.0
                        ))));
                    }
                    tracing::warn!("{}: wrong check sum; fetched again", remote.label);
                    (furthest, repetition) = (0, 0);
                }
            }
        }
        bar.finish_and_clear();
        if let Some(accept) = remote.accept
            && let Err(why) = accept(partial).map_err(Broken::Disk)?
        {
            fs::remove_file(partial).map_err(Broken::Disk)?;
            return Err(Broken::Net(RequestFailure::Broken(why)));
        }
        let seal = || -> io::Result<()> {
            File::open(partial)?.sync_all()?;
            fs::rename(partial, blob)?;
            sync_directory(folder)
        };
        seal().map_err(Broken::Disk)
    }

    /// Appends what `partial` lacks; a server that ignores from where, or sends something else, makes it start again.
    fn continue_transfer(
        &self,
        client: &Client,
        remote: &Remote,
        partial: &Path,
        bar: &ProgressBar,
    ) -> Result<(), Broken> {
        let open = File::options().create(true).truncate(false).write(true).open(partial);
        let mut file = open.map_err(Broken::Disk)?;
        let mut have = file.metadata().map_err(Broken::Disk)?.len();
        if remote.size == Some(have) && have > 0 {
            return Ok(());
        }
        if remote.size.is_some_and(|size| have > size) {
            have = 0;
        }
        let content = match client.content(&remote.url, have) {
            Err(RequestFailure::Status { code: 416, .. }) if have > 0 => client.content(&remote.url, 0)?,
            other => other?,
        };
        let mut at = content.start;
        file.set_len(at).map_err(Broken::Disk)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(at)).map_err(Broken::Disk)?;
        let mut body = content.body;
        let mut piece = vec![0; PIECE];
        loop {
            self.check_stop()?;
            bar.set_position(at);
            let read = match body.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    return Err(Broken::Net(RequestFailure::Unreachable(format!("broke off after {at} bytes: {e}"))));
                }
            };
            if remote.size.is_some_and(|size| at + read as u64 > size) {
                return Err(Broken::Net(longer(at + read as u64, remote)));
            }
            file.write_all(&piece[..read]).map_err(Broken::Disk)?;
            at += read as u64;
        }
        match remote.size {
            Some(size) if at < size => {
                Err(Broken::Net(RequestFailure::Unreachable(format!("broke off after {at} of {size} bytes"))))
            }
            _ => Ok(()),
        }
    }

    fn bar(&self, remote: &Remote) -> ProgressBar {
        let visible = self.progress && io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let template = "{prefix:<24} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let name = remote.name.rsplit('/').next().unwrap_or(&remote.name);
        ProgressBar::with_draw_target(remote.size, target).with_style(style).with_prefix(name.to_string())
    }

    /// A failure in the words of the person who wrote the spec.
    pub(super) fn explain(
        &self,
        failure: RequestFailure,
        repository: &Repository,
        file: Option<(&str, &Snapshot)>,
    ) -> DataError {
        let what = match file {
            Some((name, _)) => format!("{repository}, file {name}"),
            None => repository.to_string(),
        };
        let wrong = |message: String| DataError::Hub { what: what.clone(), message };
        let failed = |message: String| DataError::Fetch { what: what.clone(), message };
        let page = repository.page(&self.endpoint);
        match &failure {
            RequestFailure::Unreachable(why) => failed(format!(
                "{} cannot be reached ({why}); check the network and HF_ENDPOINT; the same command continues where it broke off, and HF_HUB_OFFLINE=1 uses what is in the cache",
                self.endpoint
            )),
            RequestFailure::Setting(why) => wrong(why.clone()),
            RequestFailure::Broken(_) | RequestFailure::Stopped => failed(failure.to_string()),
            RequestFailure::Status { code, reason, message, .. } => {
                let said = message.as_ref().map(|m| format!(" (the hub says: {m})")).unwrap_or_default();
                match (code, reason.as_deref()) {
                    (_, Some("GatedRepo")) | (403, _) => {
                        wrong(format!("access is refused: {}{said}", self.gated(&page)))
                    }
                    (401, Some("RepoNotFound")) | (404, Some("RepoNotFound")) => wrong(format!(
                        "there is none of that name on {}, or it is private{}{said}",
                        self.endpoint,
                        self.private()
                    )),
                    (401, _) => wrong(format!(
                        "access is refused: it does not exist, is private, or is gated; check the name, and {}{said}",
                        self.gated(&page)
                    )),
                    (404, _) => wrong(format!("{}{said}", self.not_found(repository, file))),
                    (429, _) => failed(format!("the hub asks to slow down (status 429); try again later{said}")),
                    _ => failed(format!("{} answered with {failure}; try again later", self.endpoint)),
                }
            }
        }
    }

    fn gated(&self, page: &str) -> String {
        match self.token.is_some() {
            true => format!("accept the licence on {page} with the account of the token in use"),
            false => format!("accept the licence on {page}, and set HF_TOKEN to a token of that account"),
        }
    }

    fn private(&self) -> &'static str {
        if self.token.is_some() { " and not open to the token in use" } else { " (then set HF_TOKEN)" }
    }

    /// What is missing, and what there is instead.
    fn not_found(&self, repository: &Repository, file: Option<(&str, &Snapshot)>) -> String {
        if let Some((_, snapshot)) = file {
            return format!(
                "it is not there at commit {}; there are {}",
                snapshot.commit,
                list(&snapshot.names, MOST_NAMES)
            );
        }
        let revision = &repository.revision;
        match self.references(repository) {
            Some(names) => format!("there is no revision {revision:?}; {}", instead(revision, &names, MOST_NAMES)),
            None if is_commit(revision) => {
                format!("there is none of that name on {}, or no commit {revision}", self.endpoint)
            }
            None => format!("there is none of that name on {}", self.endpoint),
        }
    }

    /// Branches and tags of a repository, if it is there.
    fn references(&self, repository: &Repository) -> Option<Vec<String>> {
        let text = Client::new(self).ok()?.text(&repository.refs_url(&self.endpoint)).ok()?;
        let References { branches, tags } = serde_json::from_str(&text).ok()?;
        Some(branches.into_iter().chain(tags).map(|r| r.name).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_check_sums() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "hello\n").unwrap();
        let check = |etag: &str| Etag::parse(etag).unwrap().check(&path).unwrap();
        // `sha256sum` and `git hash-object` of the file.
        assert_eq!(check("\"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\""), Some(true));
        assert_eq!(check("W/\"ce013625030ba8dba906f756967f9e9ca394464a\""), Some(true));
        assert_eq!(check("ce013625030ba8dba906f756967f9e9ca394464b"), Some(false));
        assert_eq!(check("5d41402abc4b2a76b9719d911017c592-3"), None);
        for bad in ["", "../x", "\"a/b\"", ".", "a b"] {
            assert!(Etag::parse(bad).is_err(), "{bad}");
        }
    }
}
