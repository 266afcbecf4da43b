//! Results directories: where a run goes, whether it may go there, and the lock that keeps others out.

use crate::ranks::{Elsewhere, Failure};
use crate::report::compare::SpecDifference;
use crate::report::compare::spec::{Flat, differences, flat_text};
use crate::results::{Outcome, file};
use crate::spec::keyed::changes_no_result;
use crate::store::atomic::{is_temporary, sweep, write_atomic};
use crate::store::lock::{Lock, holder, is_free, is_lock_file};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Marks results that came with the program, to compare with; nothing is run into such a directory.
const REFERENCE: &str = "REFERENCE";
/// Differences that a message lists.
const MOST_DIFFERENCES: usize = 4;
/// Files that only a run with something to show has, or people who were asked.
const FINISHED: [&str; 6] =
    [file::EVALUATION, file::METRICS, file::SAMPLES, "answers.jsonl", "items.jsonl", "accuracy.csv"];
/// What a run writes, and another one may write over.
const WRITTEN: [&str; 9] =
    ["runs", "members", "models", "labels", "tables", "plots", "tensorboard", file::REPORT, file::MANIFEST];

/// The name of a directory in `results/`: a profile's results are not the spec's, nor one seed's another's.
pub fn results_name(name: &str, profile: Option<&str>, seed: Option<u64>) -> String {
    let profile = profile.map(|profile| format!("-{profile}")).unwrap_or_default();
    let seed = seed.map(|seed| format!("-seed-{seed}")).unwrap_or_default();
    format!("{name}{profile}{seed}")
}

/// `results/NAME`, or `results/NAME-mine` where that is a reference.
pub fn default_out(name: &str) -> PathBuf {
    let dir = Path::new("results").join(name);
    if !dir.join(REFERENCE).exists() {
        return dir;
    }
    let mine = Path::new("results").join(format!("{name}-mine"));
    tracing::info!("{} is a reference to compare with; results go to {}", dir.display(), mine.display());
    mine
}

/// Why a directory is not taken: how the command ends, and what is said.
pub type Refusal = (Outcome, String);

/// The same as an error that may be another rank's.
pub(super) struct Refused(pub Outcome, pub String);

impl From<Refusal> for Refused {
    fn from((outcome, message): Refusal) -> Self {
        Self(outcome, message)
    }
}

impl From<Elsewhere> for Refused {
    fn from(e: Elsewhere) -> Self {
        Self(Outcome::of_code(e.code), e.to_string())
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.1)
    }
}

impl Failure for Refused {
    fn code(&self) -> i32 {
        self.0.code()
    }
}

/// The lock of a results directory, or why there is none.
fn lock(out: &Path) -> Result<Lock, Refusal> {
    match Lock::acquire(out) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => {
            let who = holder(out).map(|who| format!(" ({who})")).unwrap_or_default();
            let gone = match is_free(out) {
                true => {
                    ". Its lock is free, and its lease is not old: if its host is gone, this command goes on 10 minutes after its last sign"
                }
                false => "",
            };
            Err((
                Outcome::Failed,
                format!("another runner{who} is writing in {}; wait for it, or stop it{gone}", out.display()),
            ))
        }
        Err(e) => Err((Outcome::Failed, format!("{}: {e}", out.display()))),
    }
}

/// Whose a results directory is.
enum Owner {
    /// This spec's (or suite's), written in the same way.
    Ours,
    /// This one's, whose paths are written in another way, or whose keys that change no result are others.
    OursElsewhere,
    /// Another's, which is kept aside.
    Another,
    /// Another's that ended before it had anything to show.
    Unfinished,
    Nobody,
}

/// Takes the lock of `out`, which is empty or belongs to this spec (or suite), whose resolved `text` goes into its file
/// `name`.
///
/// # Errors
/// The directory holds something else, or another runner writes in it.
pub fn prepare(fresh: bool, text: &str, name: &str, out: &Path) -> Result<Lock, Refusal> {
    // What is refused is left as it is, without a lock in it.
    owner(fresh, text, name, out)?;
    let failed = |e: std::io::Error| (Outcome::Failed, format!("{}: {e}", out.display()));
    let mut held = lock(out)?;
    sweep(out);
    // Whoever had the lock before may have made something else of it.
    match owner(fresh, text, name, out)? {
        Owner::Ours => return Ok(held),
        Owner::Another => {
            // Held until nothing of it is here any more: no run is moved away while it writes. Windows alone gives no
            // other name to a directory with an open file in it.
            held.unname();
            let still = (!cfg!(windows)).then_some(held);
            let aside = set_aside(out).map_err(failed)?;
            drop(still);
            tracing::info!("kept the old results in {}", aside.display());
            held = lock(out)?;
        }
        Owner::Unfinished => {
            clear(out).map_err(failed)?;
            tracing::info!("{}: the last try, of another spec, ended without results; it is used again", out.display());
        }
        Owner::OursElsewhere | Owner::Nobody => {}
    }
    write_atomic(&out.join(name), text.as_bytes()).map_err(failed)?;
    Ok(held)
}

/// Makes sure that `out` is this suite's, for one of several processes that work on it: whoever comes first writes its
/// file, and none of them holds the directory.
///
/// # Errors
/// As for [`prepare`].
pub fn join(text: &str, name: &str, out: &Path) -> Result<(), Refusal> {
    const TRIES: u32 = 100;
    for attempt in 1.. {
        if let Owner::Ours | Owner::OursElsewhere = owner(false, text, name, out)? {
            break;
        }
        match prepare(false, text, name, out) {
            Ok(_) => break,
            // Another one is just doing the same.
            Err((Outcome::Failed, _)) if attempt < TRIES => std::thread::sleep(std::time::Duration::from_millis(100)),
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(())
}

/// Renames a directory to the next DIR.old-N.
fn set_aside(out: &Path) -> std::io::Result<PathBuf> {
    let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = (1..).map(|i| out.with_file_name(format!("{name}.old-{i}"))).find(|p| !p.exists());
    let aside = aside.ok_or_else(|| std::io::Error::other("no free name"))?;
    fs::rename(out, &aside)?;
    Ok(aside)
}

fn owner(fresh: bool, text: &str, name: &str, out: &Path) -> Result<Owner, Refusal> {
    if out.join(REFERENCE).exists() {
        return Err((
            Outcome::WrongInput,
            format!("{} is a reference to compare with; use another --out", out.display()),
        ));
    }
    let old = match fs::read_to_string(out.join(name)) {
        Ok(old) => old,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return unowned(name, out),
        Err(e) => return Err((Outcome::Failed, format!("{}: {e}", out.display()))),
    };
    if old == text {
        return Ok(Owner::Ours);
    }
    let changed = changes(&old, text, out);
    match changed {
        Some(changed) if changed.iter().all(|d| changes_no_result(&d.key)) => Ok(Owner::OursElsewhere),
        // One that is being written in is for the lock to refuse.
        _ if !has_results(out) => Ok(Owner::Unfinished),
        _ if fresh => Ok(Owner::Another),
        changed => Err((Outcome::WrongInput, foreign(out, name, changed.as_deref().unwrap_or_default()))),
    }
}

fn unowned(name: &str, out: &Path) -> Result<Owner, Refusal> {
    let foreign = |name: &OsStr| !is_lock_file(name) && !is_temporary(name);
    match fs::read_dir(out).is_ok_and(|mut d| d.any(|e| e.is_ok_and(|e| foreign(&e.file_name())))) {
        true => Err((
            Outcome::WrongInput,
            format!(
                "{} is not empty and has no {name}: not a results directory of this kind; use --out",
                out.display()
            ),
        )),
        false => Ok(Owner::Nobody),
    }
}

/// What differs between two resolved specs, or suites. None: the old one cannot be read.
fn changes(old: &str, new: &str, out: &Path) -> Option<Vec<SpecDifference>> {
    let flat = |text: &str| -> Option<Flat> { flat_text(text, out).ok() };
    Some(differences(&flat(old)?, &flat(new)?))
}

fn foreign(out: &Path, name: &str, changed: &[SpecDifference]) -> String {
    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
    let said = |d: &SpecDifference| format!("{}: {} -> {}", d.key, word(&d.a), word(&d.b));
    let counts = changed.iter().filter(|d| !changes_no_result(&d.key));
    let counts: Vec<String> = counts.map(said).collect();
    let mut words = counts.iter().take(MOST_DIFFERENCES).cloned().collect::<Vec<_>>().join(", ");
    if counts.len() > MOST_DIFFERENCES {
        words = format!("{words}, and {} more", counts.len() - MOST_DIFFERENCES);
    }
    let words = if words.is_empty() { String::new() } else { format!(" ({words})") };
    format!(
        "{} holds results of another {}{words}; use --out for another directory, or --fresh to keep the old one aside",
        out.display(),
        name.trim_end_matches(".toml")
    )
}

/// Whether something in a directory would be missed: what a run has to show when it ends, or what people said. A run
/// that waits or was stopped is meant to go on; and what has no manifest of ours may be anything.
fn has_results(out: &Path) -> bool {
    let state = fs::read(out.join(file::MANIFEST))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
        .filter(|manifest| manifest["program_version"].is_string())
        .and_then(|manifest| manifest["state"].as_str().map(str::to_string));
    !matches!(state.as_deref(), Some("failed" | "running")) || holds(out, 0)
}

fn holds(dir: &Path, depth: usize) -> bool {
    // A member's run is four folders down.
    const DEEPEST: usize = 6;
    fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name();
        FINISHED.iter().any(|finished| name == *finished)
            || (depth < DEEPEST && entry.file_type().is_ok_and(|t| t.is_dir()) && holds(&entry.path(), depth + 1))
    })
}

/// Removes what a try without results has left, except for its log.
fn clear(out: &Path) -> std::io::Result<()> {
    for name in WRITTEN {
        let path = out.join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&path)?,
            Ok(_) => fs::remove_file(&path)?,
            Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    type Tested = Result<(), Box<dyn Error>>;

    /// A results directory whose spec and manifest say this.
    fn there(spec: &str, state: &str) -> std::io::Result<tempfile::TempDir> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("spec.toml"), spec)?;
        fs::write(dir.path().join("manifest.json"), format!("{{\"state\": \"{state}\", \"program_version\": \"1\"}}"))?;
        fs::create_dir_all(dir.path().join("models/reference"))?;
        Ok(dir)
    }

    #[test]
    fn a_run_that_failed_at_once_does_not_block_the_right_command() -> Tested {
        for state in ["failed", "running"] {
            let dir = there("name = \"a\"\n", state)?;
            prepare(false, "name = \"b\"\n", "spec.toml", dir.path()).map_err(|(_, message)| message)?;
            assert_eq!(fs::read_to_string(dir.path().join("spec.toml"))?, "name = \"b\"\n");
            assert!(!dir.path().join("models").exists() && !dir.path().join("manifest.json").exists());
        }
        Ok(())
    }

    #[test]
    fn results_of_another_spec_are_kept_and_the_message_says_what_differs() -> Tested {
        let old = "name = \"a\"\n[policy]\nepisodes = 32\n";
        let new = "name = \"a\"\n[policy]\nepisodes = 3840\n";
        for (state, file) in [("done", None), ("waiting", None), ("failed", Some("runs/main/metrics.jsonl"))] {
            let dir = there(old, state)?;
            if let Some(file) = file {
                fs::create_dir_all(dir.path().join("runs/main"))?;
                fs::write(dir.path().join(file), "")?;
            }
            let (code, message) = prepare(false, new, "spec.toml", dir.path()).err().ok_or("was overwritten")?;
            assert!(code == Outcome::WrongInput && message.contains("(policy.episodes: 32 -> 3840)"), "{message}");
            assert_eq!(fs::read_to_string(dir.path().join("spec.toml"))?, old);
        }
        Ok(())
    }

    #[test]
    fn a_folder_that_is_no_results_directory_is_left_alone() -> Tested {
        let dir = tempfile::tempdir()?;
        // Somebody's own spec, in the folder that they work in.
        fs::write(dir.path().join("spec.toml"), "extends = \"base.toml\"\n")?;
        fs::create_dir(dir.path().join("models"))?;
        fs::write(dir.path().join("models/years.bin"), "of work")?;
        assert_eq!(
            prepare(false, "name = \"b\"\n", "spec.toml", dir.path()).err().map(|(code, _)| code),
            Some(Outcome::WrongInput)
        );
        fs::write(dir.path().join("manifest.json"), "{\"state\": \"failed\"}")?;
        assert_eq!(
            prepare(false, "name = \"b\"\n", "spec.toml", dir.path()).err().map(|(code, _)| code),
            Some(Outcome::WrongInput)
        );
        assert!(dir.path().join("models/years.bin").exists());
        Ok(())
    }

    #[test]
    fn a_relaxed_guard_goes_on_in_the_same_directory() -> Tested {
        let dir = there("name = \"a\"\n[guards]\nratio_tolerance = 0.01\n", "stopped")?;
        fs::create_dir_all(dir.path().join("runs/main"))?;
        fs::write(dir.path().join("runs/main/metrics.jsonl"), "")?;
        let relaxed = "name = \"a\"\ndescription = \"b\"\n[guards]\nratio_tolerance = 0.1\n";
        prepare(false, relaxed, "spec.toml", dir.path()).map_err(|(_, message)| message)?;
        assert_eq!(fs::read_to_string(dir.path().join("spec.toml"))?, relaxed);
        let other = "name = \"a\"\n[guards]\nratio_tolerance = 0.2\n[policy]\nlr = 1.0\n";
        let (_, message) = prepare(false, other, "spec.toml", dir.path()).err().ok_or("was overwritten")?;
        assert!(message.contains("(policy.lr: not set -> 1") && !message.contains("ratio"), "{message}");
        Ok(())
    }

    #[test]
    fn a_path_written_in_another_way_is_the_same_spec() -> Tested {
        let dir = there("task = { data = { path = \"text.txt\" } }\n", "done")?;
        let file = dir.path().join("text.txt");
        fs::write(&file, "x")?;
        let text = format!("task = {{ data = {{ path = {file:?} }} }}\n");
        prepare(false, &text, "spec.toml", dir.path()).map_err(|(_, message)| message)?;
        assert_eq!(fs::read_to_string(dir.path().join("spec.toml"))?, text);
        Ok(())
    }
}
