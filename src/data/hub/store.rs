//! The hub's cache on disk, in its standard layout (huggingface_hub's guide "Understand caching"):
//! `models--OWNER--NAME/{blobs/ETAG, refs/BRANCH, snapshots/COMMIT/FILE -> ../../blobs/ETAG}`. Beside it we keep
//! `listings/COMMIT.json`, the names of all files of a commit, so that a commit that has been fetched needs no request.

use super::{DataError, RepositoryKind};
use crate::spec::names::{is_repository, is_revision, safe_name};
use crate::store::atomic::write_atomic;
use hf_hub::{Cache, Repo};
use serde::Deserialize;
use serde_json::json;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A repository at a revision, and its place in the cache.
#[derive(Debug, Clone)]
pub struct Repository {
    pub name: String,
    pub kind: RepositoryKind,
    pub revision: String,
    cache: PathBuf,
}

/// A commit and its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub commit: String,
    pub names: Vec<String>,
}

impl Listing {
    /// What the hub says of a revision: `sha`, and `siblings` with an `rfilename` each. Only these are kept while
    /// reading: an answer of some ten megabytes would be gigabytes as a tree of values.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Answer { sha, siblings } =
            serde_json::from_str(text).map_err(|e| format!("its answer is not the list of a repository: {e}"))?;
        if !is_commit(&sha) {
            return Err("its answer names no commit".into());
        }
        let names = siblings.into_iter().filter_map(|s| s.rfilename).filter(|n| safe_name(n));
        Ok(Self { commit: sha, names: names.collect() })
    }
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: Option<String>,
}

/// Whether this is a commit rather than a branch or tag.
pub fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl std::fmt::Display for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl Repository {
    pub fn new(cache: &Path, name: &str, kind: RepositoryKind, revision: &str) -> Result<Self, DataError> {
        let found = Self { name: name.into(), kind, revision: revision.into(), cache: cache.into() };
        if !is_repository(name) {
            return Err(
                found.error("is not a name on the hub; it has the form owner/name, or name for the oldest".into())
            );
        }
        if !is_revision(revision) {
            return Err(found.error(format!("{revision:?} is no branch, tag or commit")));
        }
        Ok(found)
    }

    pub fn error(&self, message: String) -> DataError {
        DataError::Hub { what: self.to_string(), message }
    }

    fn repo(&self) -> Repo {
        Repo::with_revision(self.name.clone(), self.kind.repo_type(), self.revision.clone())
    }

    fn cache(&self) -> Cache {
        Cache::new(self.cache.clone())
    }

    /// `models--OWNER--NAME`.
    fn dir(&self) -> PathBuf {
        self.cache.join(self.repo().folder_name())
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.cache().repo(self.repo()).pointer_path(commit)
    }

    pub fn blob(&self, etag: &str) -> PathBuf {
        self.cache().repo(self.repo()).blob_path(etag)
    }

    /// The page of a repository for people.
    pub fn page(&self, endpoint: &str) -> String {
        format!("{endpoint}/{}", self.repo().url())
    }

    /// Where the hub tells a revision's commit and files.
    pub fn api_url(&self, endpoint: &str) -> String {
        format!("{endpoint}/api/{}", self.repo().api_url())
    }

    /// Where the hub tells the branches and tags.
    pub fn refs_url(&self, endpoint: &str) -> String {
        format!(
            "{endpoint}/api/{}s/{}/refs",
            if self.kind == RepositoryKind::Model { "model" } else { "dataset" },
            self.name
        )
    }

    /// Where a file of a commit is.
    pub fn file_url(&self, endpoint: &str, commit: &str, name: &str) -> String {
        format!("{}/resolve/{commit}/{}", self.page(endpoint), escape(name))
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.dir().join("listings").join(format!("{commit}.json"))
    }

    /// All files of a commit, if the hub has been asked before.
    pub fn listing(&self, commit: &str) -> Option<Vec<String>> {
        let names: Vec<String> = serde_json::from_slice(&fs::read(self.listing_path(commit)).ok()?).ok()?;
        names.iter().all(|n| safe_name(n)).then_some(names)
    }

    /// Remembers what a revision means.
    pub fn save(&self, listing: &Listing) -> Result<(), DataError> {
        let write =
            |path: PathBuf, text: String| write_atomic(&path, text.as_bytes()).map_err(|e| disk_error(&path, &e));
        write(self.listing_path(&listing.commit), json!(listing.names).to_string())?;
        if is_commit(&self.revision) {
            return Ok(());
        }
        write(self.dir().join("refs").join(&self.revision), listing.commit.clone())
    }

    /// The commit of the revision, as it was when the hub was last asked.
    pub fn cached_commit(&self) -> Option<String> {
        if is_commit(&self.revision) {
            return Some(self.revision.clone());
        }
        let commit = fs::read_to_string(self.dir().join("refs").join(&self.revision)).ok()?.trim().to_string();
        is_commit(&commit).then_some(commit)
    }

    /// The files of a commit that are in the cache.
    pub fn cached_names(&self, commit: &str) -> Vec<String> {
        fn walk(dir: &Path, prefix: &str, names: &mut Vec<String>) {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let Ok(name) = entry.file_name().into_string() else { continue };
                match entry.path() {
                    path if path.is_dir() => walk(&path, &format!("{prefix}{name}/"), names),
                    path if path.is_file() => names.push(format!("{prefix}{name}")),
                    _ => {}
                }
            }
        }
        let mut names = Vec::new();
        walk(&self.snapshot(commit), "", &mut names);
        names.sort();
        names
    }

    /// A lock on some content, held until it is dropped; `None` while another process has it. Python's tools take the
    /// same.
    pub fn try_lock(&self, etag: &str) -> Result<Option<File>, DataError> {
        let path = self.cache.join(".locks").join(self.repo().folder_name()).join(format!("{etag}.lock"));
        let lock = || -> io::Result<Option<File>> {
            fs::create_dir_all(path.parent().unwrap_or(&self.cache))?;
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            match file.try_lock() {
                Ok(()) => Ok(Some(file)),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(e)) => Err(e),
            }
        };
        lock().map_err(|e| disk_error(&path, &e))
    }

    /// Gives content its name in a snapshot.
    pub fn link(&self, blob: &Path, commit: &str, name: &str) -> Result<(), DataError> {
        let pointer = self.snapshot(commit).join(name);
        if pointer.is_file() {
            return Ok(());
        }
        let up = "../".repeat(name.split('/').count() + 1);
        let etag = blob.file_name().unwrap_or_default().to_string_lossy();
        let relative = PathBuf::from(format!("{up}blobs/{etag}"));
        let place = || -> io::Result<()> {
            let parent = pointer.parent().unwrap_or(&self.cache);
            fs::create_dir_all(parent)?;
            let file = pointer.file_name().unwrap_or_default().to_string_lossy();
            let temporary = parent.join(format!(".{file}.{}.tmp", std::process::id()));
            let _ = fs::remove_file(&temporary);
            make_link(&relative, blob, &temporary)?;
            fs::rename(&temporary, &pointer)
        };
        place().map_err(|e| disk_error(&pointer, &e))
    }
}

/// A relative link; a second name or a copy where the file system has no links.
fn make_link(relative: &Path, blob: &Path, at: &Path) -> io::Result<()> {
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(relative, at);
    #[cfg(windows)]
    let linked = std::os::windows::fs::symlink_file(relative, at);
    #[cfg(not(any(unix, windows)))]
    let linked = io::Result::Err(io::Error::other("no links"));
    linked.or_else(|_| fs::hard_link(blob, at)).or_else(|_| fs::copy(blob, at).map(|_| ()))
}

/// A file of the cache that cannot be read or written.
pub fn disk_error(path: &Path, e: &io::Error) -> DataError {
    let full = matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let message = match full {
        true => format!("{e}; make room there, or set HF_HUB_CACHE to a folder on another disk"),
        false => format!("{e}; the hub's cache is set by HF_HUB_CACHE or HF_HOME"),
    };
    DataError::Fetch { what: path.display().to_string(), message }
}

/// A file name in an address.
fn escape(name: &str) -> String {
    let byte = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => (b as char).to_string(),
        _ => format!("%{b:02X}"),
    };
    name.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_needs_a_commit_and_drops_names_that_lead_outside() {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        let text = json!({ "sha": sha, "siblings": [{ "rfilename": "a", "x": [1, {}] }, { "rfilename": "../b" }, {}] })
            .to_string();
        assert_eq!(Listing::parse(&text).unwrap(), Listing { commit: sha.into(), names: vec!["a".into()] });
        for bad in ["", "[]", "{}", "{\"sha\": \"main\", \"siblings\": []}", "null"] {
            assert!(Listing::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(escape("a b/ü#.csv"), "a%20b/%C3%BC%23.csv");
    }
}
