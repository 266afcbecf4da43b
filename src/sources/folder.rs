//! The folder of named sources: what came from plain addresses, and what a person put there by hand.
//! `FOLDER/NAME/FILE`, and beside a fetched file `.FILE.source.json`, which says where it came from.

use crate::data::error::{DataError, file_error};
use crate::data::hub::{Access, Hub};
use crate::spec::catalogue::{SourcePlace, file_name};
use crate::store::atomic::write_atomic;
use crate::store::user;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where a fetched file came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FetchedFrom {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    pub sha256: String,
    pub bytes: u64,
    pub fetched_at: String,
}

/// `RUNNER_SOURCES`, else `runner/sources` in the user's cache directory.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// # Errors
    /// There is neither RUNNER_SOURCES nor a home directory.
    pub fn from_env() -> Result<Self, DataError> {
        let root = user::folder_of("RUNNER_SOURCES").or_else(|| Some(user::cache()?.join("sources")));
        root.map(Self::new).ok_or_else(|| {
            DataError::Other("there is no home directory to keep sources in; set RUNNER_SOURCES to a folder".into())
        })
    }

    /// The folder of one source.
    pub fn of(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Whether a person put something in the folder of a source whose files come from elsewhere.
    pub fn has_files(&self, name: &str) -> bool {
        let visible = |entry: std::fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
        std::fs::read_dir(self.of(name)).into_iter().flatten().flatten().any(visible)
    }

    /// The file of an address, fetched if it is not here and the network may be used. `url` is the address without
    /// mirrors, which names the file; `from` is where it is asked for.
    pub fn file(
        &self,
        name: &str,
        url: &str,
        from: &str,
        place: &SourcePlace,
        hub: &Hub,
    ) -> Result<PathBuf, DataError> {
        let file = file_name(url);
        let path = self.of(name).join(file);
        let expected = place.sha256.get(file).map(String::as_str);
        if path.is_file() {
            self.check(&path, expected)?;
            return Ok(path);
        }
        if hub.access != Access::Network {
            return Err(DataError::Fetch {
                what: url.into(),
                message: format!("is not in {} yet", self.of(name).display()),
            });
        }
        let fetched = hub.fetch_address(from, &path, expected)?;
        let origin = FetchedFrom {
            url: from.into(),
            etag: fetched.etag,
            sha256: fetched.sha256,
            bytes: fetched.bytes,
            fetched_at: jiff::Timestamp::now().to_string(),
        };
        let text = serde_json::to_string_pretty(&origin).map_err(|e| file_error(&path, e))?;
        let note = note_of(&path);
        write_atomic(&note, format!("{text}\n").as_bytes()).map_err(|e| file_error(&note, e))?;
        Ok(path)
    }

    /// A file whose check sum is known has it; it is computed once, when the file was put here by hand.
    fn check(&self, path: &Path, expected: Option<&str>) -> Result<(), DataError> {
        let Some(expected) = expected else { return Ok(()) };
        let known = Self::origin(path).map(|origin| origin.sha256);
        let found = match known {
            Some(sum) => sum,
            None => crate::data::hub::sha256_of(path).map_err(|e| file_error(path, e))?,
        };
        if found.eq_ignore_ascii_case(expected) {
            return Ok(());
        }
        Err(file_error(
            path,
            format!(
                "is another file than the catalogue means: its SHA-256 is {found}, expected {expected}; delete it to fetch it again, or correct sha256 in sources.toml"
            ),
        ))
    }

    /// Where a file of the folder came from, if it was fetched.
    pub fn origin(path: &Path) -> Option<FetchedFrom> {
        serde_json::from_slice(&std::fs::read(note_of(path)).ok()?).ok()
    }
}

fn note_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.source.json"))
}
