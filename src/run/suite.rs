//! Every member of a suite at every seed, one after the other; then what its table asks readers, and the tables. A
//! member that fails or waits does not keep the others from running.

use super::log::log_to;
use super::place::{Refused, prepare};
use super::spec::{Ended, Place};
use super::{Session, chain, panics, peak_memory};
use crate::context::StageError;
use crate::context::progress::Timeline;
use crate::labeler::labeler;
use crate::outside::Judge;
use crate::plan::{PlannedRun, timeline};
use crate::printed::shell_path;
use crate::ranks;
use crate::results::stops::{self, now};
use crate::results::{Outcome, file, read_json};
use crate::spec::{Loaded, Spec, TaskPreset};
use crate::store::atomic::write_atomic;
use crate::store::cache::Cache;
use crate::suite::asking::ask_all;
use crate::suite::files::{MemberRecord, MemberState};
use crate::suite::headline::headline;
use crate::suite::load::{member_folder, portable_suite, resolved_toml};
use crate::suite::types::Respondents;
use crate::suite::{LoadedSuite, SuiteManifest, SuiteResults, draw};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How a suite ended.
#[derive(Debug, Clone)]
pub struct SuiteEnded {
    /// Of the suite as a whole.
    pub ended: Ended,
    /// None where nothing was begun.
    pub manifest: Option<SuiteManifest>,
    /// The id of its first table, where it could be drawn.
    pub table: Option<String>,
}

impl Session {
    /// Runs a suite into one directory. `said` is told of every member when it has ended.
    pub fn suite(&self, loaded: &LoadedSuite, out: &Path, said: &dyn Fn(&Ended)) -> SuiteEnded {
        let refused = |outcome, message| {
            let ended = Ended::refused(outcome, out, message);
            SuiteEnded { ended, manifest: None, table: None }
        };
        let specs: Vec<&Loaded> = loaded.members.iter().map(|member| &member.loaded).collect();
        if let Err(message) = self.check_precision(&specs).and_then(|()| self.check_room(&specs, &Cache::beside(out))) {
            return refused(Outcome::WrongInput, message);
        }
        let before: Option<SuiteManifest> = read_json(&out.join(file::MANIFEST)).ok();
        if let Err(e) = ranks::by_first(|| self.can_ask(loaded, out, before.as_ref())) {
            return refused(e.outcome(), chain(&e));
        }
        let text = resolved_toml(&portable_suite(&loaded.suite, out), loaded.profile.as_deref());
        let lock = match ranks::is_first() {
            true => prepare(self.settings.fresh, &text, file::SUITE, out).map(Some),
            false => Ok(None),
        };
        let _lock = match ranks::agreed(lock.map_err(Refused::from), |_| false) {
            Ok(lock) => lock,
            Err(Refused(outcome, message)) => return refused(outcome, message),
        };
        let manifest = begun(loaded, (self.chosen.name.clone(), self.chosen.driver.clone()), before.as_ref());
        let mut suite = Running { session: self, loaded, out, manifest, started: Instant::now() };
        suite.members(said);
        suite.log_here();
        if suite.is_stopped() {
            return suite.end(Outcome::Stopped);
        }
        // Readers are asked by the first rank, which works alone then.
        if let Err(e) = panics::caught(|| ranks::by_first(|| suite.ask())) {
            tracing::error!("{}", chain(&e));
            return suite.end(Outcome::Failed);
        }
        let outcome = suite.manifest.outcome();
        suite.end(outcome)
    }
}

impl Session {
    /// Before any member runs. Err: a judge is asked who cannot be.
    fn can_ask(&self, loaded: &LoadedSuite, out: &Path, before: Option<&SuiteManifest>) -> Result<(), StageError> {
        let context = self.context(out, Cache::beside(out));
        for (_, spec) in loaded.members.iter().flat_map(|member| &member.loaded.variants) {
            if spec.has_labels() {
                labeler(spec.labeler.kind).begin(&context, spec)?;
            }
        }
        let asked = before.is_some_and(|m| {
            !m.questions.is_empty() && m.questions.iter().all(|question| question.state == MemberState::Done)
        });
        let preference = &loaded.suite.preference;
        match &preference.judge {
            Some(judge) if preference.kind == Respondents::Judge && loaded.suite.makes.asks() && !asked => {
                Judge::of(judge, TaskPreset::Custom, "")?.check(&context)
            }
            _ => Ok(()),
        }
    }
}

/// The manifest of a suite that begins. What is left out this time and was done an earlier time stays done.
pub(super) fn begun(
    loaded: &LoadedSuite,
    (device, driver): (String, Option<String>),
    before: Option<&SuiteManifest>,
) -> SuiteManifest {
    let record = |name: &str, seed: u64| {
        let left_out = !loaded.members.iter().any(|m| m.name == name && m.seed == seed);
        let done =
            before.and_then(|before| before.record(name, seed)).filter(|r| left_out && r.state == MemberState::Done);
        done.cloned().unwrap_or_else(|| MemberRecord {
            member: name.into(),
            seed,
            dir: format!("members/{}", member_folder(name, seed)),
            state: if left_out { MemberState::LeftOut } else { MemberState::Pending },
            exit_code: None,
            seconds: None,
            error: None,
        })
    };
    let (suite, seeds) = (&loaded.suite, &loaded.suite.seeds);
    SuiteManifest {
        name: loaded.suite.name.clone(),
        makes: loaded.suite.makes.word().into(),
        state: MemberState::Running,
        profile: loaded.profile.clone(),
        program_version: env!("CARGO_PKG_VERSION").into(),
        git_commit: option_env!("RUNNER_GIT_COMMIT").map(str::to_string),
        device,
        driver,
        seeds: loaded.suite.seeds.clone(),
        members: suite
            .members
            .names()
            .flat_map(|name| seeds.iter().map(move |seed| (name, *seed)))
            .map(|(n, s)| record(n, s))
            .collect(),
        questions: Vec::new(),
        stages: Vec::new(),
        started_at: now(),
        finished_at: None,
        seconds: None,
        peak_memory_bytes: None,
    }
}

/// A suite that is being run.
pub(super) struct Running<'a> {
    pub session: &'a Session,
    pub loaded: &'a LoadedSuite,
    pub out: &'a Path,
    pub manifest: SuiteManifest,
    pub started: Instant,
}

impl Running<'_> {
    /// Saves where nothing is lost if it fails: the next one does it again.
    fn try_save(&self) {
        try_save(&self.manifest, self.out);
    }

    /// Every member at every seed, until somebody stops the line.
    fn members(&mut self, said: &dyn Fn(&Ended)) {
        let (session, loaded) = (self.session, self.loaded);
        let total = loaded.members.len();
        let runs = loaded.members.iter().map(|m| PlannedRun::of(&m.loaded, m.loaded.variants.clone(), None));
        let each: Vec<Timeline> = runs.map(|runs| timeline(&runs, &session.chosen.kind())).collect();
        let timeline = Arc::new(Mutex::new(Timeline::of_all(&each, "suite")));
        for (nth, member) in loaded.members.iter().enumerate() {
            let same = |record: &MemberRecord| record.member == member.name && record.seed == member.seed;
            let Some(i) = self.manifest.members.iter().position(same) else { continue };
            if self.is_stopped() {
                return;
            }
            let folder = member.folder();
            self.log_here();
            tracing::info!("{}: member {} of {total}: {folder}", loaded.suite.name, nth + 1);
            self.manifest.members[i].state = MemberState::Running;
            self.try_save();
            let out = self.out.join("members").join(&folder);
            // Members share stages with each other and with everything beside the suite.
            let cache = Cache::beside(self.out);
            let place = Place { out: &out, cache, timeline: Some(Arc::clone(&timeline)), until: None };
            let started = Instant::now();
            let ended = session.spec(&member.loaded, &place);
            said(&ended);
            if let (Ok(mut timeline), Some(member)) = (timeline.lock(), each.get(nth)) {
                timeline.give_up(member);
            }
            let record = &mut self.manifest.members[i];
            record.state = MemberState::of(ended.outcome);
            record.exit_code = Some(ended.outcome.code());
            record.seconds = Some(started.elapsed().as_secs_f64());
            record.error = ended.error;
            let word = record.state.word();
            self.log_here();
            tracing::info!("{folder}: {word}");
            self.try_save();
        }
    }

    /// The log goes into the suite's directory.
    fn log_here(&self) {
        if ranks::is_first() {
            log_to(self.out);
        }
    }

    fn is_stopped(&self) -> bool {
        let file = (ranks::is_first() && stops::stop_file(self.out).exists()).then(String::new);
        self.session.is_interrupted() || !matches!(ranks::any(file), Ok(None))
    }

    /// What the table asks readers, and all members' models together.
    pub fn ask(&mut self) -> Result<(), StageError> {
        if !self.loaded.suite.makes.has_work_after_members() {
            return Ok(());
        }
        save(&self.manifest, self.out)?;
        let context = self.session.context(self.out, Cache::beside(self.out));
        let results = SuiteResults::load(self.out)?.with_specs(|name, seed| meant(self.loaded, name, seed));
        self.manifest.questions = ask_all(&context, &results);
        self.manifest.stages = context.records.into_inner().unwrap_or_default();
        Ok(())
    }

    fn end(&mut self, outcome: Outcome) -> SuiteEnded {
        end(&mut self.manifest, self.out, self.started, outcome)
    }
}

fn save(manifest: &SuiteManifest, out: &Path) -> Result<(), StageError> {
    let path = out.join(file::MANIFEST);
    let text = serde_json::to_string_pretty(manifest)?;
    write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))
}

fn try_save(manifest: &SuiteManifest, out: &Path) {
    if let Err(e) = save(manifest, out) {
        tracing::warn!("{}", chain(&e));
    }
}

/// Writes the manifest and draws everything.
pub(super) fn end(manifest: &mut SuiteManifest, out: &Path, started: Instant, outcome: Outcome) -> SuiteEnded {
    manifest.state = MemberState::of(outcome);
    manifest.finished_at = Some(now());
    manifest.seconds = Some(started.elapsed().as_secs_f64());
    manifest.peak_memory_bytes = peak_memory();
    try_save(manifest, out);
    let ended = Ended { outcome, out: out.to_owned(), error: None, result: None, refused: false, reached: false };
    let of = Some(manifest.clone());
    if !ranks::is_first() {
        return SuiteEnded { ended, manifest: of, table: None };
    }
    match draw::draw(out) {
        Ok(tables) => {
            let ended = Ended { result: Some(headline(Some(manifest), &tables)), ..ended };
            SuiteEnded { ended, manifest: of, table: tables.first().map(|table| table.id.clone()) }
        }
        Err(e) => {
            let message = format!("the report is not drawn: {}; try `runner report {}`", chain(&e), shell_path(out));
            tracing::error!("{message}");
            let outcome = if outcome == Outcome::Done { Outcome::Failed } else { outcome };
            SuiteEnded { ended: Ended { outcome, error: Some(message), ..ended }, manifest: of, table: None }
        }
    }
}

/// The run of a member that its suite means.
fn meant(loaded: &LoadedSuite, name: &str, seed: u64) -> Option<(String, Spec)> {
    let member = loaded.members.iter().find(|m| m.name == name && m.seed == seed)?;
    let run = loaded.suite.members.get(name)?.run.as_deref();
    member.loaded.variants.iter().find(|(found, _)| run.is_none_or(|run| run == found)).cloned()
}
