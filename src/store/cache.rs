//! The stage cache: an artifact is a directory named by the hash of everything that determines its content, so
//! two specs that share a stage do the work once, and a finished stage is never done again.

use super::atomic::{hash_file, sweep, sync_directory, write_atomic, write_atomic_with};
use super::input;
use super::lock::{Holder, Lock, Watch, holder_at};
use crate::ranks;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
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
/// Where the locks of artifacts are: not in their directories, which change their names.
const LOCKS: &str = ".locks";

/// Whether a file can be read back, by whoever knows its kind; the reason where not.
pub type Opens = fn(&Path) -> Result<(), String>;

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
    /// None where the first rank has it for all.
    lock: Option<Lock>,
}

/// What there is of an artifact that is wanted.
#[derive(Debug)]
pub enum Begun {
    /// All of it.
    There(PathBuf),
    /// A directory to make it in, which no other process writes into.
    Work(Work),
    /// Another process makes it; its name, where it is known.
    Busy(Option<Holder>),
}

impl Cache {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The cache of a results directory: `RUNNER_CACHE`, or `.cache` beside it.
    pub fn beside(out: &Path) -> Self {
        Self::named(std::env::var_os("RUNNER_CACHE"), out)
    }

    /// An empty name is none, as of most variables.
    fn named(variable: Option<OsString>, out: &Path) -> Self {
        let dir = variable.filter(|dir| !dir.is_empty());
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

    fn work_path(&self, key: &Key) -> PathBuf {
        self.root.join(format!("{key}.partial"))
    }

    /// The finished artifact, if it is there and its files are what they were.
    pub fn find(&self, key: &Key) -> io::Result<Option<PathBuf>> {
        let dir = self.path(key);
        Ok(matches!(state(&dir, key)?, Found::Intact).then_some(dir))
    }

    /// Whether the artifact was finished; its files are not read. For `plan`, not for whoever then uses it.
    pub fn has(&self, key: &Key) -> bool {
        self.path(key).join(SEAL).exists()
    }

    /// Whether its work directory holds an unfinished one.
    pub fn has_begun(&self, key: &Key) -> bool {
        self.work_path(key).exists()
    }

    /// Opens the work directory of an artifact under its lock. What stands in its place and is not it (damaged, or
    /// without its seal: an interrupted copy or removal) is moved aside. `watch`: of whoever waits for it.
    pub fn begin(&self, key: &Key, watch: &mut Watch) -> io::Result<Begun> {
        let locks = self.root.join(LOCKS);
        fs::create_dir_all(&locks)?;
        let path = locks.join(format!("{key}.lock"));
        let Some(lock) = Lock::at(&path, watch)? else { return Ok(Begun::Busy(holder_at(&path))) };
        // Looked at under the lock: whoever had it before may have finished.
        let (last, dir) = (self.path(key), self.work_path(key));
        match state(&last, key)? {
            Found::Intact => return Ok(Begun::There(last)),
            Found::Nothing => {}
            Found::Damaged(why) => {
                let aside = self.set_aside(key, &last)?;
                tracing::warn!("{}: {why}; moved to {} and made again", last.display(), aside.display());
            }
        }
        if fs::symlink_metadata(&dir).is_ok_and(|about| !about.is_dir()) {
            let aside = self.set_aside(key, &dir)?;
            tracing::warn!("{} is no directory; moved to {}", dir.display(), aside.display());
        }
        fs::create_dir_all(&dir)?;
        sweep(&dir);
        make_way(&dir, DEEPEST)?;
        Ok(Begun::Work(Work { dir, lock: Some(lock) }))
    }

    /// The work directory of an artifact that the first rank makes with this one's help.
    pub fn beside_first(&self, key: &Key) -> Work {
        Work { dir: self.work_path(key), lock: None }
    }

    /// Gives something under a key a name that nothing else has; only under its lock.
    fn set_aside(&self, key: &Key, path: &Path) -> io::Result<PathBuf> {
        let free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
        let aside = (0..).map(|i| self.root.join(format!("{key}.damaged-{i}"))).find(free);
        let aside = aside.ok_or_else(|| io::Error::other("no free name"))?;
        fs::rename(path, &aside)?;
        Ok(aside)
    }

    /// `opens` tells of files of other kinds than JSON whether they can be read back.
    ///
    /// Seals the files directly in the work directory (subdirectories are dropped) and gives it its final name. Where an
    /// intact artifact has that name already (on a file system whose locks let two processes in), it stays: both are
    /// named by what they depend on.
    ///
    /// # Errors
    /// Those of the file system; a file that cannot be read back, with which the directory is moved aside: what would
    /// be sealed with it would be reused, and fail, for ever.
    pub fn finish(&self, key: &Key, work: Work, seconds: f64, opens: Opens) -> io::Result<PathBuf> {
        work.lock.as_ref().map_or(Ok(()), Lock::check)?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&work.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().to_string();
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else if !name.starts_with('.') && name != SEAL {
                fs::File::open(entry.path())?.sync_all()?;
                if let Err(why) = readable(&entry.path(), opens) {
                    let aside = self.set_aside(key, &work.dir)?;
                    let message = format!(
                        "{name} cannot be read back: {why}; what was made is in {}, and the same command makes it again",
                        aside.display()
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
                files.insert(name, hash_file(&entry.path())?);
            }
        }
        let seal = Seal { key: key.to_string(), seconds, files };
        write_atomic(&work.dir.join(SEAL), format!("{:#}\n", serde_json::json!(seal)).as_bytes())?;
        let last = self.path(key);
        if let Err(e) = fs::rename(&work.dir, &last) {
            if !matches!(state(&last, key)?, Found::Intact) {
                return Err(e);
            }
            tracing::info!("{key}: another process has finished it at the same time; its files are taken");
            fs::remove_dir_all(&work.dir)?;
        }
        sync_directory(&self.root)?;
        Ok(last)
    }
}

/// What stands in an artifact's place.
enum Found {
    Nothing,
    Intact,
    /// Why it is not the artifact.
    Damaged(String),
}

/// How deep a work directory is.
const DEEPEST: usize = 3;

/// Gives another name to what stands in the way in a work directory, and would for ever: files that stages write have
/// an ending, and their folders have none.
fn make_way(dir: &Path, deepest: usize) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let (is_dir, has_ending) = (entry.file_type()?.is_dir(), name.contains('.'));
        if is_dir == has_ending {
            let plain = name.replace('.', "_");
            let ending = if is_dir { "" } else { ".damaged" };
            let free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
            let aside = (0..).map(|i| dir.join(format!("damaged-{i}-{plain}{ending}"))).find(free);
            let aside = aside.ok_or_else(|| io::Error::other("no free name"))?;
            tracing::warn!("{} is not what belongs there; moved to {}", entry.path().display(), aside.display());
            fs::rename(entry.path(), aside)?;
        } else if is_dir && deepest > 0 {
            make_way(&entry.path(), deepest - 1)?;
        }
    }
    Ok(())
}

/// Err: the file system fails, which says nothing of the artifact.
fn state(dir: &Path, key: &Key) -> io::Result<Found> {
    if fs::symlink_metadata(dir).is_err() {
        return Ok(Found::Nothing);
    }
    // A missing file, a folder, pipe or dangling link in its place, or a seal that names what no file can be called, is
    // damage; a disk that does not answer is not.
    let missing = |e: &io::Error| {
        use io::ErrorKind::{InvalidData, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound};
        matches!(e.kind(), NotFound | IsADirectory | NotADirectory | InvalidData | InvalidFilename | InvalidInput)
    };
    let seal = match input::read(&dir.join(SEAL)) {
        Ok(bytes) => bytes,
        Err(e) if missing(&e) => return Ok(Found::Damaged(format!("has no {SEAL}"))),
        Err(e) => return Err(e),
    };
    let Ok(seal) = serde_json::from_slice::<Seal>(&seal) else {
        return Ok(Found::Damaged(format!("{SEAL} cannot be read")));
    };
    if seal.key != key.to_string() {
        return Ok(Found::Damaged(format!("is {}", seal.key)));
    }
    for (file, hash) in &seal.files {
        match hash_file(&dir.join(file)) {
            Ok(now) if now == *hash => {}
            Ok(_) => return Ok(Found::Damaged(format!("{file} fails its checksum"))),
            Err(e) if missing(&e) => return Ok(Found::Damaged(format!("{file}: {e}"))),
            Err(e) => return Err(e),
        }
    }
    Ok(Found::Intact)
}

/// Whether a file is what its name says, as far as that can be told without knowing what it is for.
fn readable(path: &Path, opens: Opens) -> Result<(), String> {
    let json = |text: &[u8]| serde_json::from_slice::<IgnoredAny>(text).map(|_| ()).map_err(|e| e.to_string());
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("json") => json(&fs::read(path).map_err(|e| e.to_string())?),
        Some("jsonl") => {
            let text = fs::read(path).map_err(|e| e.to_string())?;
            let lines = text.split_inclusive(|b| *b == b'\n').enumerate();
            lines.into_iter().try_for_each(|(i, line)| json(line).map_err(|e| format!("line {}: {e}", i + 1)))
        }
        _ => opens(path),
    }
}

/// Copies an artifact's file into a results directory, atomically.
pub fn publish(from: &Path, to: &Path) -> io::Result<()> {
    if !ranks::is_first() {
        return Ok(());
    }
    let mut source = fs::File::open(from)?;
    write_atomic_with(to, |file| io::copy(&mut source, file).map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens(path: &Path) -> Result<(), String> {
        if path.extension().is_some_and(|e| e == "safetensors") { Err("not this one".into()) } else { Ok(()) }
    }

    fn key() -> Key {
        Key::new("stage", 1, &"inputs").unwrap()
    }

    fn work(cache: &Cache) -> Work {
        match cache.begin(&key(), &mut Watch::default()).unwrap() {
            Begun::Work(work) => work,
            other => panic!("{other:?}"),
        }
    }

    fn make(cache: &Cache) -> PathBuf {
        let work = work(cache);
        fs::write(work.dir.join("a.json"), "{\"a\": 1}").unwrap();
        cache.finish(&key(), work, 1.0, opens).unwrap()
    }

    #[test]
    fn an_empty_variable_is_none() {
        let root = |variable: Option<&str>| Cache::named(variable.map(OsString::from), Path::new("results/a")).root;
        assert_eq!(root(None), Path::new("results/.cache"));
        assert_eq!(root(Some("")), Path::new("results/.cache"));
        assert_eq!(root(Some("/shared")), Path::new("/shared"));
    }

    #[test]
    fn an_artifact_is_made_by_one_process_at_a_time_and_the_others_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let work = work(&cache);
        let Begun::Busy(Some(holder)) = cache.begin(&key(), &mut Watch::default()).unwrap() else {
            panic!("it is being made")
        };
        assert_eq!(holder.pid, std::process::id());
        fs::write(work.dir.join("a.json"), "1").unwrap();
        let made = cache.finish(&key(), work, 1.0, opens).unwrap();
        assert!(matches!(cache.begin(&key(), &mut Watch::default()).unwrap(), Begun::There(there) if there == made));
        assert_eq!(cache.find(&key()).unwrap(), Some(made));
    }

    /// Two processes once moved the same damaged artifact aside, and the second failed.
    #[test]
    fn what_is_damaged_or_lacks_its_seal_is_moved_aside_once_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let harm: [fn(&Path); 6] = [
            |made| fs::remove_file(made.join(SEAL)).unwrap(),
            |made| fs::write(made.join(SEAL), "{").unwrap(),
            |made| fs::write(made.join("a.json"), "{\"a\": 2}").unwrap(),
            |made| fs::remove_file(made.join("a.json")).unwrap(),
            |made| {
                fs::remove_dir_all(made).unwrap();
                fs::write(made, "a file").unwrap();
            },
            |made| {
                let text = fs::read_to_string(made.join(SEAL)).unwrap();
                fs::write(made.join(SEAL), text.replace("stage-", "other-")).unwrap();
            },
        ];
        for (i, harm) in harm.into_iter().enumerate() {
            harm(&make(&cache));
            assert_eq!(cache.find(&key()).unwrap(), None);
            std::thread::scope(|scope| {
                let tries: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| cache.begin(&key(), &mut Watch::default()).map(drop))).collect();
                tries.into_iter().for_each(|t| t.join().unwrap().unwrap());
            });
            let aside = dir.path().join(format!("{}.damaged-{i}", key()));
            assert!(fs::symlink_metadata(&aside).is_ok(), "{}", aside.display());
        }
        assert!(!dir.path().join(format!("{}.damaged-6", key())).exists());
        assert!(cache.find(&key()).unwrap().is_none());
        make(&cache);
        assert!(cache.find(&key()).unwrap().is_some());
    }

    /// Two processes found nothing, and the second one that finished failed on the first one's directory.
    #[test]
    fn what_another_process_finished_meanwhile_is_taken_wherever_it_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, other) = (Cache::new(dir.path().join("a")), Cache::new(dir.path().join("b")));
        let made = make(&other);
        assert_eq!(cache.find(&key()).unwrap(), None);
        let late = work(&cache);
        fs::write(late.dir.join("a.json"), "{\"a\": 1}").unwrap();
        fs::rename(&made, cache.path(&key())).unwrap();
        let sealed = fs::read(cache.path(&key()).join(SEAL)).unwrap();
        assert_eq!(cache.finish(&key(), late, 2.0, opens).unwrap(), cache.path(&key()));
        assert_eq!(fs::read(cache.path(&key()).join(SEAL)).unwrap(), sealed);
        assert!(!cache.has_begun(&key()));
        assert!(matches!(cache.begin(&key(), &mut Watch::default()).unwrap(), Begun::There(_)));
        // What is in the way and is not the artifact is no success.
        fs::remove_dir_all(cache.path(&key())).unwrap();
        let late = work(&cache);
        fs::write(late.dir.join("a.json"), "1").unwrap();
        fs::create_dir_all(cache.path(&key()).join("else")).unwrap();
        assert!(cache.finish(&key(), late, 2.0, opens).is_err());
    }

    #[test]
    fn nothing_is_sealed_that_cannot_be_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        for (name, bytes) in [("m.jsonl", &b"{}\n\0\0\0"[..]), ("m.json", b"{"), ("m.safetensors", b"12345678")] {
            let work = work(&cache);
            fs::write(work.dir.join(name), bytes).unwrap();
            let message = cache.finish(&key(), work, 1.0, opens).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains("damaged-"), "{message}");
            assert!(!cache.has_begun(&key()) && !cache.has(&key()), "the next try begins anew");
        }
        make(&cache);
    }

    #[test]
    fn a_folder_where_a_file_belongs_does_not_wedge_a_stage() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let begun = work(&cache).dir;
        fs::create_dir_all(begun.join("metrics.jsonl/sub")).unwrap();
        fs::create_dir_all(begun.join("checkpoints/00000030.json")).unwrap();
        fs::write(begun.join("checkpoints/00000020.json"), "{}").unwrap();
        let again = work(&cache).dir;
        assert!(!again.join("metrics.jsonl").exists() && !again.join("checkpoints/00000030.json").exists());
        assert!(
            again.join("damaged-0-metrics_jsonl/sub").is_dir() && again.join("checkpoints/00000020.json").is_file()
        );
        fs::remove_dir_all(again.join("checkpoints")).unwrap();
        fs::write(again.join("checkpoints"), "a file").unwrap();
        assert!(!work(&cache).dir.join("checkpoints").exists());
    }

    #[test]
    fn a_seal_that_names_no_file_is_damage_and_heals() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        for name in ["x".repeat(400), "a\0b".into(), "..".into()] {
            let made = work(&cache);
            fs::write(made.dir.join("a.json"), "{}").unwrap();
            let made = cache.finish(&key(), made, 1.0, opens).unwrap();
            let seal = fs::read_to_string(made.join(SEAL)).unwrap();
            let mut seal: serde_json::Value = serde_json::from_str(&seal).unwrap();
            seal["files"][&name] = "0".into();
            fs::write(made.join(SEAL), seal.to_string()).unwrap();
            assert_eq!(cache.find(&key()).unwrap(), None, "{name:?}");
            let again = work(&cache);
            fs::write(again.dir.join("a.json"), "{}").unwrap();
            let again = cache.finish(&key(), again, 1.0, opens).unwrap();
            assert!(cache.find(&key()).unwrap().is_some());
            fs::remove_dir_all(again).unwrap();
        }
    }
}
