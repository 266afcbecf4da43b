//! Files at plain addresses: the same careful transfer as the hub's, without the hub's check sums, names and token.

use super::http::{Client, RequestFailure, origin};
use super::transfer::{Broken, Etag, Remote, digest};
use super::{Access, Hub};
use crate::data::error::DataError;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at a lock that another process has.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// Bytes that tell a web page from data.
const HEAD: usize = 512;

/// A file that was fetched.
#[derive(Debug, Clone)]
pub struct Fetched {
    pub etag: Option<String>,
    pub sha256: String,
    pub bytes: u64,
}

/// The SHA-256 of a file in hexadecimal digits.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    digest(&mut File::open(path)?, Sha256::new())
}

/// Names of the files beside a target while it is being fetched.
struct Beside {
    partial: PathBuf,
    /// What the server said of the file when its transfer began.
    begun: PathBuf,
    lock: PathBuf,
}

impl Beside {
    fn of(target: &Path) -> Self {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let with = |ending: &str| target.with_file_name(format!(".{name}.{ending}"));
        Self { partial: with("incomplete"), begun: with("incomplete.json"), lock: with("lock") }
    }
}

impl Hub {
    /// The same way of fetching, for an address that is not the hub's: no token goes there.
    fn plain(&self, url: &str) -> Self {
        Self { endpoint: origin(url).unwrap_or_else(|| url.into()), token: None, ..self.clone() }
    }

    /// Size in bytes of the file at an address, if the server tells it.
    pub fn size_of_address(&self, url: &str) -> Result<Option<u64>, DataError> {
        let plain = self.plain(url);
        let asked = Client::new(&plain).and_then(|client| plain.retrying(|| client.plain_metadata(url)));
        asked.map(|metadata| metadata.size).map_err(|failure| refused(url, &failure))
    }

    /// Fetches the file at `url` to `to`: resumed where a transfer broke off, if the server still has the same file;
    /// repeated where it failed in passing; compared with `sha256` where that is known.
    ///
    /// # Errors
    /// What the server or the network said, a web page in the place of data, another check sum, or a full disk; what
    /// came is kept, and the same call continues, but for the page and the wrong file.
    pub fn fetch_address(&self, url: &str, to: &Path, sha256: Option<&str>) -> Result<Fetched, DataError> {
        debug_assert!(self.access == Access::Network);
        let plain = self.plain(url);
        let folder = to.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|e| on_disk(folder, &e))?;
        let beside = Beside::of(to);
        let _lock = plain.wait_for_lock(&beside.lock, url)?;
        let result = plain.fetch_locked(url, to, sha256, &beside);
        if result.is_ok() {
            let _ = fs::remove_file(&beside.begun);
        }
        result
    }

    fn fetch_locked(&self, url: &str, to: &Path, sha256: Option<&str>, beside: &Beside) -> Result<Fetched, DataError> {
        let explain = |failure: &RequestFailure| refused(url, failure);
        let client = Client::new(self).map_err(|f| explain(&f))?;
        let metadata = self.retrying(|| client.plain_metadata(url)).map_err(|f| explain(&f))?;
        // Another process may have fetched it while we waited.
        if !to.is_file() {
            let now = json!({ "url": url, "etag": metadata.etag, "size": metadata.size });
            let before: Option<Value> =
                fs::read(&beside.begun).ok().and_then(|text| serde_json::from_slice(&text).ok());
            if before.as_ref() != Some(&now) {
                // The file changed on the server, or there is nothing to go on with.
                let _ = fs::remove_file(&beside.partial);
                fs::write(&beside.begun, now.to_string()).map_err(|e| on_disk(&beside.begun, &e))?;
            }
            tracing::info!("fetching {url}");
            let remote = Remote {
                label: url.into(),
                name: to.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                url: url.into(),
                check: sha256.map(Etag::of_sha256),
                size: metadata.size,
                partial: beside.partial.clone(),
                accept: Some(no_page),
            };
            self.fill(&client, &remote, to).map_err(|broken| match broken {
                Broken::Net(failure) => explain(&failure),
                Broken::Disk(e) => on_disk(to, &e),
            })?;
        }
        let bytes = fs::metadata(to).map_err(|e| on_disk(to, &e))?.len();
        let sum = sha256_of(to).map_err(|e| on_disk(to, &e))?;
        Ok(Fetched { etag: metadata.etag, sha256: sum, bytes })
    }

    fn wait_for_lock(&self, path: &Path, url: &str) -> Result<File, DataError> {
        let file =
            File::options().create(true).truncate(false).write(true).open(path).map_err(|e| on_disk(path, &e))?;
        let mut waiting = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(e)) => return Err(on_disk(path, &e)),
                Err(TryLockError::WouldBlock) => self.check_stop().map_err(|f| refused(url, &f))?,
            }
            if !std::mem::replace(&mut waiting, true) {
                tracing::info!("{url}: another process fetches it; waiting");
            }
            std::thread::sleep(LOCK_POLL);
        }
    }
}

/// A proxy's log-in page, or an error page that comes as a success, is no data.
fn no_page(path: &Path) -> io::Result<Result<(), String>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    let text = String::from_utf8_lossy(&head).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let page = ["<!doctype html", "<html", "<head", "<?xml"].iter().any(|start| text.starts_with(start));
    Ok(match page {
        true => Err("its answer is a web page, not the file (a proxy's log-in page, or an error page)".into()),
        false => Ok(()),
    })
}

fn refused(url: &str, failure: &RequestFailure) -> DataError {
    let message = match failure {
        RequestFailure::Unreachable(why) => {
            format!("cannot be reached ({why}); the same command continues where it broke off")
        }
        RequestFailure::Status { code: 404 | 410, .. } => "is not there (status 404)".into(),
        RequestFailure::Status { code: code @ (401 | 403), .. } => format!("access is refused (status {code})"),
        RequestFailure::Status { code: 429, .. } => "asks to slow down (status 429); try again later".into(),
        other => other.to_string(),
    };
    DataError::Fetch { what: url.into(), message }
}

fn on_disk(path: &Path, e: &io::Error) -> DataError {
    let full = matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let hint = if full { "; make room there, or" } else { ";" };
    let message = format!("{e}{hint} set RUNNER_SOURCES to a folder on another disk");
    DataError::Fetch { what: path.display().to_string(), message }
}
