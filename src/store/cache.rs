//! The stage cache: an artifact is a directory named by the hash of everything that determines its content, so
//! two specs that share a stage do the work once, and a finished stage is never done again.

use super::atomic::{hash_file, sync_directory, write_atomic, write_atomic_with};
use super::lock::Lock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Identity of an artifact: stage name and hash of its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub stage: &'static str,
    pub hash: String,
}

impl Key {
    /// Hash of the stage's name, its code version and its inputs (spec parts and upstream keys).
    pub fn new(stage: &'static str, code_version: u32, inputs: &impl Serialize) -> Result<Self, serde_json::Error> {
        let text = serde_json::to_string(&(stage, code_version, inputs))?;
        Ok(Self { stage, hash: blake3::hash(text.as_bytes()).to_hex()[..16].to_string() })
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.stage, self.hash)
    }
}

/// Written last into an artifact: its files' hashes.
#[derive(Debug, Serialize, Deserialize)]
struct Seal {
    key: String,
    seconds: f64,
    files: BTreeMap<String, String>,
}

const SEAL: &str = "artifact.json";

/// A directory of artifacts.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// The directory that a stage writes into until it is finished; kept between runs so that a stage with
/// checkpoints can continue.
#[derive(Debug)]
pub struct Work {
    pub dir: PathBuf,
    _lock: Lock,
}

impl Cache {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The cache of a results directory: `RUNNER_CACHE`, or `.cache` beside it.
    pub fn beside(out: &Path) -> Self {
        let dir = std::env::var_os("RUNNER_CACHE");
        Self::new(dir.map_or_else(|| out.parent().unwrap_or(Path::new(".")).join(".cache"), PathBuf::from))
    }

    /// The directory of all artifacts.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the artifact is, or will be.
    pub fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.to_string())
    }

    /// The finished artifact, if it is there and its files are what they were. A damaged one is moved aside.
    pub fn find(&self, key: &Key) -> io::Result<Option<PathBuf>> {
        let dir = self.path(key);
        let seal = match fs::read(dir.join(SEAL)) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let intact = serde_json::from_slice::<Seal>(&seal)
            .is_ok_and(|s| s.files.iter().all(|(f, h)| hash_file(&dir.join(f)).is_ok_and(|now| &now == h)));
        if intact {
            return Ok(Some(dir));
        }
        let aside = (0..).map(|i| self.root.join(format!("{key}.damaged-{i}"))).find(|p| !p.exists());
        if let Some(aside) = aside {
            tracing::warn!("{} fails its checksums; moved to {} and made again", dir.display(), aside.display());
            fs::rename(&dir, aside)?;
        }
        Ok(None)
    }

    /// Whether the artifact is finished, without checking its files.
    pub fn has(&self, key: &Key) -> bool {
        self.path(key).join(SEAL).exists()
    }

    /// Whether its work directory holds an unfinished one.
    pub fn has_begun(&self, key: &Key) -> bool {
        self.root.join(format!("{key}.partial")).exists()
    }

    /// Opens the work directory of an unfinished artifact; `Ok(None)` if another process is at it.
    pub fn begin(&self, key: &Key) -> io::Result<Option<Work>> {
        let dir = self.root.join(format!("{key}.partial"));
        Ok(Lock::acquire(&dir)?.map(|lock| Work { dir, _lock: lock }))
    }

    /// Seals the files directly in the work directory (subdirectories are dropped) and gives it its final name.
    pub fn finish(&self, key: &Key, work: Work, seconds: f64) -> io::Result<PathBuf> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&work.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().to_string();
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else if !name.starts_with('.') {
                fs::File::open(entry.path())?.sync_all()?;
                files.insert(name, hash_file(&entry.path())?);
            }
        }
        let seal = Seal { key: key.to_string(), seconds, files };
        write_atomic(&work.dir.join(SEAL), format!("{:#}\n", serde_json::json!(seal)).as_bytes())?;
        let last = self.path(key);
        fs::rename(&work.dir, &last)?;
        sync_directory(&self.root)?;
        Ok(last)
    }
}

/// Copies an artifact's file into a results directory, atomically.
pub fn publish(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = fs::File::open(from)?;
    write_atomic_with(to, |file| io::copy(&mut source, file).map(|_| ()))
}
