//! A suite in parts, for whoever places processes: one member at one seed is a task, and what all tasks have made is
//! gathered into the suite's tables afterwards.

use super::log::log_to;
use super::place::{Refused, join, prepare};
use super::spec::{Ended, Place};
use super::suite::{Running, SuiteEnded, begun, end};
use super::{Session, chain, panics};
use crate::context::StageError;
use crate::printed::shell_path;
use crate::ranks;
use crate::results::{Manifest, Outcome, State, file, read_json, stops};
use crate::spec::schema::did_you_mean;
use crate::stage::keys::Keys;
use crate::store::cache::Cache;
use crate::suite::files::{MemberRecord, MemberState};
use crate::suite::load::{portable_suite, resolved_toml};
use crate::suite::{LoadedMember, LoadedSuite};
use std::path::Path;
use std::time::Instant;

/// Names of stages, in the order in which a run may have them.
pub const STAGES: [&str; 8] =
    ["import", "pretrain", "supervised", "classifier", "labels", "reward", "policy", "evaluate"];

/// The task of a suite that a word means: `MEMBER-seed-N`, or its place in the suite's order, from 0.
///
/// # Errors
/// There is none: which there are.
pub fn task<'a>(loaded: &'a LoadedSuite, word: &str) -> Result<&'a LoadedMember, String> {
    let members = &loaded.members;
    if let Ok(index) = word.parse::<usize>() {
        let last = members.len().saturating_sub(1);
        return members.get(index).ok_or_else(|| {
            format!("--member {index}: {} has {} tasks, 0 to {last}", loaded.suite.name, members.len())
        });
    }
    members.iter().find(|member| member.folder() == word).ok_or_else(|| {
        let all: Vec<String> = members.iter().map(LoadedMember::folder).collect();
        let near = did_you_mean(word, all.iter().map(String::as_str)).map(|(hint, _)| format!("; {hint}"));
        let list = || format!("; there are {}, or their places from 0", all.join(", "));
        format!("--member: {} has no task {word:?}{}", loaded.suite.name, near.unwrap_or_else(list))
    })
}

/// The stages of each run of a task, in order, as names and hashes of what they depend on. Only equal ones say
/// something: the device is none.
///
/// # Errors
/// Those of a spec that cannot be read.
pub fn stages(member: &LoadedMember) -> Result<Vec<Vec<(&'static str, String)>>, StageError> {
    let keys = |(name, spec): &(String, _)| {
        let keys = Keys::planned(spec, name, "any device", &mut Vec::new())?;
        Ok(keys.all().into_iter().map(|key| (key.stage, key.to_string())).collect())
    };
    member.loaded.variants.iter().map(keys).collect()
}

/// Whether a task can end with a stage.
///
/// # Errors
/// It has no such stage: which it has.
pub fn check_until(member: &LoadedMember, until: &str) -> Result<(), String> {
    let all = stages(member).map_err(|e| chain(&e))?;
    let has = |stage: &&str| all.iter().flatten().any(|(name, _)| name == stage);
    if has(&until) {
        return Ok(());
    }
    let names: Vec<&str> = STAGES.into_iter().filter(has).collect();
    Err(format!("--until: {} has no stage {until:?}; it has {}", member.folder(), names.join(", ")))
}

impl Session {
    /// Runs one task of a suite into its place in the suite's directory `out`, as far as the stage `until`, where one is
    /// named.
    pub fn member(&self, loaded: &LoadedSuite, member: &LoadedMember, out: &Path, until: Option<&str>) -> Ended {
        let text = resolved_toml(&portable_suite(&loaded.suite, out), loaded.profile.as_deref());
        let join = || join(&text, file::SUITE, out).and_then(|()| unstopped(out));
        let joined = if ranks::is_first() { join() } else { Ok(()) };
        if let Err(Refused(outcome, message)) = ranks::agreed(joined.map_err(Refused::from), |_| false) {
            return Ended::refused(outcome, out, message);
        }
        let home = out.join("members").join(member.folder());
        let until = until.map(str::to_string);
        self.spec(&member.loaded, &Place { out: &home, cache: Cache::beside(out), timeline: None, until })
    }
}

/// Err: somebody has stopped the suite.
fn unstopped(out: &Path) -> Result<(), (Outcome, String)> {
    let Some(request) = stops::requested(out) else { return Ok(()) };
    let why = if request.reason.is_empty() { String::new() } else { format!(" ({})", request.reason) };
    let undo = format!("`runner stop {} --undo` takes it back", shell_path(out));
    Err((Outcome::Stopped, format!("{} has stopped the suite{why}: no task begins; {undo}", request.by)))
}

/// Makes a suite's manifest from those of its members, does what comes after them (readers are asked, all models looked at
/// together), and draws. Nothing is trained. `session`: of a device, for a suite that has such work.
pub fn gather(loaded: &LoadedSuite, out: &Path, session: Option<&Session>) -> SuiteEnded {
    let text = resolved_toml(&portable_suite(&loaded.suite, out), loaded.profile.as_deref());
    let _lock = match prepare(false, &text, file::SUITE, out) {
        Ok(lock) => lock,
        Err((outcome, message)) => {
            return SuiteEnded { ended: Ended::refused(outcome, out, message), manifest: None, table: None };
        }
    };
    log_to(out);
    let started = Instant::now();
    let before = read_json(&out.join(file::MANIFEST)).ok();
    let mut manifest = begun(loaded, (String::new(), None), before.as_ref());
    let (mut devices, mut kinds) = (Vec::new(), Vec::new());
    for record in manifest.members.iter_mut().filter(|record| record.state != MemberState::LeftOut) {
        let Some(found) = read(record, out) else { continue };
        devices.push(found.device);
        kinds.extend(found.device_kind);
    }
    for all in [&mut devices, &mut kinds] {
        all.sort();
        all.dedup();
    }
    manifest.device = devices.join(", ");
    let unfinished = |m: &MemberRecord| matches!(m.state, MemberState::Pending | MemberState::Running);
    let mut outcome = match manifest.members.iter().any(unfinished) {
        true => Outcome::Failed,
        false => Outcome::Done,
    };
    if let Some(session) = session {
        let mut running = Running { session, loaded, out, manifest, started };
        if let Err(e) = same_device(session, &kinds).and_then(|()| panics::caught(|| running.ask())) {
            tracing::error!("what comes after the members is not done: {}", chain(&e));
            outcome = outcome.worse(e.outcome());
        }
        manifest = running.manifest;
    }
    let outcome = outcome.worse(manifest.outcome());
    end(&mut manifest, out, started, outcome)
}

/// What a member's own manifest says, as a line of the suite's.
fn read(record: &mut MemberRecord, out: &Path) -> Option<Manifest> {
    let home = out.join(&record.dir);
    let found = match read_json::<Manifest>(&home.join(file::MANIFEST)) {
        Ok(found) => found,
        Err(e) => {
            if home.is_dir() {
                (record.state, record.exit_code) = (MemberState::Failed, Some(Outcome::Failed.code()));
                record.error = Some(chain(&e));
            }
            return None;
        }
    };
    let (state, outcome) = match found.state.now(&home) {
        State::Running => (MemberState::Running, None),
        State::Done => (MemberState::Done, Some(Outcome::Done)),
        State::Waiting => (MemberState::Waiting, Some(Outcome::Waiting)),
        State::Stopped => (MemberState::Stopped, Some(Outcome::Stopped)),
        State::Failed | State::Interrupted => (MemberState::Failed, Some(Outcome::Failed)),
    };
    record.state = state;
    record.exit_code = outcome.map(Outcome::code);
    record.seconds = seconds(&found);
    let killed = || "was killed, or its machine went down; the same task goes on from what it saved".to_string();
    record.error = found.error.clone().or_else(|| (found.state.now(&home) == State::Interrupted).then(killed));
    Some(found)
}

/// From the beginning to the end of a member's last time.
fn seconds(manifest: &Manifest) -> Option<f64> {
    let at = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let (from, to) = (at(&manifest.started_at)?, at(manifest.finished_at.as_deref()?)?);
    Some(to.duration_since(from).as_secs_f64())
}

/// Readers are shown texts of the members' device: those of another would be other texts, and r_s be trained again.
fn same_device(session: &Session, kinds: &[String]) -> Result<(), StageError> {
    let here = session.chosen.kind();
    match kinds.iter().find(|kind| **kind != here) {
        None => Ok(()),
        Some(kind) => Err(StageError::Input(format!(
            "this table shows readers new samples, which are made on the members' device: they ran on {kind}, and this is {here}; \
             gather where they ran (--device chooses one of this machine)"
        ))),
    }
}
