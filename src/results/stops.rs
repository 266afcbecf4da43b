//! The andon cord (paper section 4.4: a flipped sign trained all night, and anybody could have stopped the line). A
//! file `stop` in the results directory halts training at the next step; stops.jsonl beside it keeps who stopped what,
//! and why.

use super::file;
use super::manifest::State;
use crate::store::append::append_line;
use crate::store::atomic::write_atomic;
use crate::store::lock::is_held;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// The file `stop`: JSON by this program's commands and pages, anything (or nothing) by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    pub by: String,
    #[serde(default)]
    pub reason: String,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// What stopped a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    /// The page's or dashboard's button, `runner stop`, or a file `stop` made by hand.
    Person,
    /// A guard of the spec.
    Guard,
    /// Ctrl-C, or a request of the operating system to end.
    Signal,
}

/// A line of stops.jsonl.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StopRecord {
    pub kind: StopKind,
    /// Who: a person's name, or the guard's.
    pub by: String,
    pub reason: String,
    /// When the run halted, RFC 3339.
    pub at: String,
    /// When it was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<String>,
    /// Steps of the stage that was halted; updates where that is PPO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<usize>,
}

/// The file that stops the run in `dir`.
pub fn stop_file(dir: &Path) -> PathBuf {
    dir.join(file::STOP)
}

/// What comes of asking a run to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopAnswer {
    /// It stops at its next step; where it waits for people, when it is started again.
    Stops,
    /// Somebody has asked before.
    Already(StopRequest),
    /// There is nothing to stop: the word for how the run ended.
    NotRunning(&'static str),
}

/// Asks the run in `dir` to stop, where there is one: the request of nobody's run would stop the next one.
pub fn ask(dir: &Path, asked: &StopRequest) -> io::Result<StopAnswer> {
    #[derive(Deserialize)]
    struct Stated {
        state: State,
    }
    let stated = std::fs::read(dir.join(file::MANIFEST)).ok().and_then(|t| serde_json::from_slice::<Stated>(&t).ok());
    match stated.map(|s| s.state.now(dir)) {
        Some(State::Running | State::Waiting) | None => {}
        // Of a run that begins, the manifest is still the one before.
        Some(_) if is_held(dir) => {}
        Some(ended) => return Ok(StopAnswer::NotRunning(ended.word())),
    }
    match request(dir, asked)? {
        true => Ok(StopAnswer::Stops),
        false => Ok(requested(dir).map_or(StopAnswer::Stops, StopAnswer::Already)),
    }
}

/// Writes the request. One that is there already stays: the first one counts.
fn request(dir: &Path, request: &StopRequest) -> io::Result<bool> {
    let path = stop_file(dir);
    if path.exists() {
        return Ok(false);
    }
    write_atomic(&path, format!("{}\n", serde_json::json!(request)).as_bytes())?;
    Ok(true)
}

/// The request in `dir`, if there is one; a file that another program or a person made says what it can.
pub fn requested(dir: &Path) -> Option<StopRequest> {
    let path = stop_file(dir);
    if !path.exists() {
        return None;
    }
    let text = crate::store::input::read(&path)
        .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_string())
        .unwrap_or_default();
    Some(serde_json::from_str(&text).unwrap_or(StopRequest { by: "the file `stop`".into(), reason: text, at: None }))
}

/// Why a run halted, in the words of the run itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// A guard of the spec, by its name.
    Guard { name: String, message: String },
    /// A person, by the file `stop`, or the operating system; after so many steps of the stage that was halted.
    Asked { by: String, update: usize },
}

/// Adds the line about a run that has just halted.
pub fn record(dir: &Path, halt: Halt) -> io::Result<StopRecord> {
    let at = now();
    let record = match halt {
        Halt::Guard { name, message } => {
            StopRecord { kind: StopKind::Guard, by: name, reason: message, at, requested_at: None, update: None }
        }
        Halt::Asked { by, update } => match requested(dir) {
            Some(request) => StopRecord {
                kind: StopKind::Person,
                by: request.by,
                reason: request.reason,
                at,
                requested_at: request.at,
                update: Some(update),
            },
            None => StopRecord {
                kind: StopKind::Signal,
                by,
                reason: String::new(),
                at,
                requested_at: None,
                update: Some(update),
            },
        },
    };
    append_line(&dir.join(file::STOPS), &serde_json::json!(record).to_string())?;
    Ok(record)
}

/// The time, RFC 3339.
pub fn now() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::lock::Lock;

    #[test]
    fn a_finished_run_is_not_asked_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let ada = StopRequest { by: "Ada".into(), reason: String::new(), at: None };
        let of = |state: &str| {
            std::fs::write(dir.path().join("manifest.json"), format!("{{\"state\": \"{state}\"}}")).unwrap();
            let asked = ask(dir.path(), &ada).unwrap();
            (asked, std::fs::remove_file(stop_file(dir.path())).is_ok())
        };
        assert_eq!(of("done"), (StopAnswer::NotRunning("done"), false));
        // It was killed: nobody holds the lock.
        assert_eq!(of("running"), (StopAnswer::NotRunning("interrupted"), false));
        assert_eq!(of("waiting"), (StopAnswer::Stops, true));
        let _lock = Lock::acquire(dir.path()).unwrap().unwrap();
        assert_eq!(of("running"), (StopAnswer::Stops, true));
        assert_eq!(of("done"), (StopAnswer::Stops, true));
        ask(dir.path(), &ada).unwrap();
        assert_eq!(
            ask(dir.path(), &StopRequest { by: "Bob".into(), ..ada.clone() }).unwrap(),
            StopAnswer::Already(ada)
        );
    }

    #[test]
    fn who_and_why_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(requested(dir.path()), None);
        let ada = StopRequest { by: "Ada".into(), reason: "gibberish".into(), at: Some(now()) };
        assert!(request(dir.path(), &ada).unwrap());
        assert!(!request(dir.path(), &StopRequest { by: "Bob".into(), ..ada }).unwrap());
        let stopped = || Halt::Asked { by: "SIGTERM".into(), update: 7 };
        let first = record(dir.path(), stopped()).unwrap();
        assert_eq!(
            (first.kind, &*first.by, &*first.reason, first.update),
            (StopKind::Person, "Ada", "gibberish", Some(7))
        );
        std::fs::write(stop_file(dir.path()), "looks wrong\n").unwrap();
        assert_eq!(record(dir.path(), stopped()).unwrap().reason, "looks wrong");
        std::fs::remove_file(stop_file(dir.path())).unwrap();
        let signal = record(dir.path(), stopped()).unwrap();
        assert_eq!((signal.kind, &*signal.by), (StopKind::Signal, "SIGTERM"));
        let guard = Halt::Guard { name: "kl".into(), message: "too far".into() };
        assert_eq!(record(dir.path(), guard).unwrap().by, "kl");
        let lines = std::fs::read_to_string(dir.path().join("stops.jsonl")).unwrap();
        assert!(lines.lines().count() == 4 && lines.lines().all(|l| serde_json::from_str::<StopRecord>(l).is_ok()));
    }
}
