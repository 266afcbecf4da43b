//! `runner SUITE`: runs every member at every seed, one after the other, asks readers where the table needs them, and draws
//! the tables. A member that fails or waits does not keep the others from running; the same command continues.

use super::directory::prepare;
use super::run::{Place, RunArgs, check_room, log_to, now, peak_memory, print_table, run_one, screen_width};
use super::validate::of_suite;
use super::{Overrides, chain, panics};
use crate::model::device::Chosen;
use crate::plan::{Run, timeline};
use crate::printed::shell_path;
use crate::report::files::read_json;
use crate::report::formats::wrapped;
use crate::spec::{Loaded, Spec};
use crate::stage::StageError;
use crate::stage::context::Context;
use crate::stage::progress::Timeline;
use crate::store::atomic::write_atomic;
use crate::store::cache::Cache;
use crate::suite::asking::ask_all;
use crate::suite::files::{MemberRecord, State, counted};
use crate::suite::headline::headline;
use crate::suite::load::{Options, member_folder, portable_suite, resolved_toml};
use crate::suite::{LoadedSuite, SuiteManifest, SuiteResults, draw};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What the command line says of a suite.
pub fn options(overrides: &Overrides, seeds: Option<Vec<u64>>, for_run: bool) -> Options {
    let options = of_suite(&overrides.options(for_run));
    Options { seeds: seeds.or(options.seeds), ..options }
}

/// Runs a suite; the first exit code that is not 0.
pub(super) fn run(
    args: &RunArgs,
    loaded: &LoadedSuite,
    out: &Path,
    chosen: &Chosen,
    interrupted: &Arc<AtomicBool>,
) -> i32 {
    let specs: Vec<&Loaded> = loaded.members.iter().map(|member| &member.loaded).collect();
    if let Err(message) = check_room(args, &specs, &Cache::beside(out), chosen) {
        eprintln!("error: {message}");
        return 2;
    }
    let text = resolved_toml(&portable_suite(&loaded.suite, out), loaded.profile.as_deref());
    let _lock = match prepare(args.fresh, &text, "suite.toml", out) {
        Ok(lock) => lock,
        Err((code, message)) => {
            eprintln!("error: {message}");
            return code;
        }
    };
    let before = read_json(&out.join("manifest.json")).ok();
    let mut suite = Running { out, manifest: begun(loaded, chosen, before.as_ref()), started: Instant::now() };
    suite.members(args, loaded, chosen, interrupted);
    log_to(out);
    if interrupted.load(Ordering::SeqCst) || out.join("stop").exists() {
        return suite.end(State::Stopped, 4);
    }
    if let Err(e) = panics::caught(|| suite.ask(args, loaded, chosen, interrupted)) {
        tracing::error!("{}", chain(&e));
        return suite.end(State::Failed, 1);
    }
    let code = suite.manifest.exit_code();
    suite.end(State::of_code(code), code)
}

/// The manifest of a suite that begins. What is left out this time and was done an earlier time stays done.
fn begun(loaded: &LoadedSuite, chosen: &Chosen, before: Option<&SuiteManifest>) -> SuiteManifest {
    let record = |name: &str, seed: u64| {
        let left_out = !loaded.members.iter().any(|m| m.name == name && m.seed == seed);
        let done = before.and_then(|before| before.record(name, seed)).filter(|r| left_out && r.state == State::Done);
        done.cloned().unwrap_or_else(|| MemberRecord {
            member: name.into(),
            seed,
            dir: format!("members/{}", member_folder(name, seed)),
            state: if left_out { State::LeftOut } else { State::Pending },
            exit_code: None,
            seconds: None,
            error: None,
        })
    };
    let (suite, seeds) = (&loaded.suite, &loaded.suite.seeds);
    SuiteManifest {
        name: loaded.suite.name.clone(),
        makes: loaded.suite.makes.word().into(),
        state: State::Running,
        profile: loaded.profile.clone(),
        program_version: env!("CARGO_PKG_VERSION").into(),
        git_commit: option_env!("RUNNER_GIT_COMMIT").map(str::to_string),
        device: chosen.name.clone(),
        driver: chosen.driver.clone(),
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
struct Running<'a> {
    out: &'a Path,
    manifest: SuiteManifest,
    started: Instant,
}

impl Running<'_> {
    fn save(&self) -> Result<(), StageError> {
        let path = self.out.join("manifest.json");
        let text = serde_json::to_string_pretty(&self.manifest)?;
        write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))
    }

    /// Saves where nothing is lost if it fails: the next one does it again.
    fn try_save(&self) {
        if let Err(e) = self.save() {
            tracing::warn!("{}", chain(&e));
        }
    }

    /// Every member at every seed, until somebody stops the line.
    fn members(&mut self, args: &RunArgs, loaded: &LoadedSuite, chosen: &Chosen, interrupted: &Arc<AtomicBool>) {
        let total = loaded.members.len();
        let runs = loaded.members.iter().map(|m| Run::of(&m.loaded, m.loaded.variants.clone(), None));
        let each: Vec<Timeline> = runs.map(|runs| timeline(&runs, &chosen.kind())).collect();
        let timeline = Arc::new(Mutex::new(Timeline::of_all(&each, "suite")));
        for (nth, member) in loaded.members.iter().enumerate() {
            let same = |record: &MemberRecord| record.member == member.name && record.seed == member.seed;
            let Some(i) = self.manifest.members.iter().position(same) else { continue };
            if interrupted.load(Ordering::SeqCst) || self.out.join("stop").exists() {
                return;
            }
            let folder = member.folder();
            log_to(self.out);
            tracing::info!("{}: member {} of {total}: {folder}", loaded.suite.name, nth + 1);
            self.manifest.members[i].state = State::Running;
            self.try_save();
            let out = self.out.join("members").join(&folder);
            // Members share stages with each other and with everything beside the suite.
            let cache = Cache::beside(self.out);
            let place = Place { out: &out, cache, quiet: true, timeline: Some(Arc::clone(&timeline)) };
            let started = Instant::now();
            let ended = run_one(args, &member.loaded, &place, chosen, interrupted);
            if let (Ok(mut timeline), Some(member)) = (timeline.lock(), each.get(nth)) {
                timeline.give_up(member);
            }
            let record = &mut self.manifest.members[i];
            record.state = State::of_code(ended.code);
            record.exit_code = Some(ended.code);
            record.seconds = Some(started.elapsed().as_secs_f64());
            record.error = ended.error;
            log_to(self.out);
            tracing::info!("{folder}: {}", record.state.word());
            self.try_save();
        }
    }

    /// What the table asks readers.
    fn ask(
        &mut self,
        args: &RunArgs,
        loaded: &LoadedSuite,
        chosen: &Chosen,
        interrupted: &Arc<AtomicBool>,
    ) -> Result<(), StageError> {
        if !loaded.suite.makes.asks() {
            return Ok(());
        }
        self.save()?;
        let context = Context {
            device: chosen.device.clone(),
            device_kind: chosen.kind(),
            cache: Cache::beside(self.out),
            out: self.out.to_path_buf(),
            progress: !args.no_progress,
            interrupted: Arc::clone(interrupted),
            records: Mutex::new(Vec::new()),
            sources: Mutex::new(Vec::new()),
            reads: Mutex::new(Vec::new()),
            timeline: Arc::default(),
        };
        let results = SuiteResults::load(self.out)?.with_specs(|name, seed| meant(loaded, name, seed));
        self.manifest.questions = ask_all(&context, &results);
        self.manifest.stages = context.records.into_inner().unwrap_or_default();
        Ok(())
    }

    /// Writes the manifest, draws everything, prints the tables.
    fn end(&mut self, state: State, code: i32) -> i32 {
        self.manifest.state = state;
        self.manifest.finished_at = Some(now());
        self.manifest.seconds = Some(self.started.elapsed().as_secs_f64());
        self.manifest.peak_memory_bytes = peak_memory();
        self.try_save();
        let said = |state: State| !matches!(state, State::Done | State::LeftOut);
        for m in self.manifest.members.iter().filter(|m| said(m.state)) {
            eprintln!("{}, seed {}: {}{}", m.member, m.seed, m.state.word(), because(m.error.as_deref()));
        }
        for q in self.manifest.questions.iter().filter(|q| q.state != State::Done) {
            eprintln!("{}: {}{}", q.id, q.state.word(), because(q.message.as_deref()));
        }
        let states: Vec<State> = self.manifest.members.iter().map(|m| m.state).collect();
        eprintln!("{}: {}", self.manifest.name, counted(&states));
        match draw::draw(self.out) {
            Ok(tables) => {
                tables.first().into_iter().for_each(|table| print_table(self.out, &table.id));
                let result = headline(Some(&self.manifest), &tables);
                eprintln!("\n{}", wrapped(&result, screen_width()).join("\n"));
                eprintln!("report: {}", self.out.join("report.html").display());
                code
            }
            Err(e) => {
                tracing::error!("the report is not drawn: {}; try `runner report {}`", chain(&e), shell_path(self.out));
                if code == 0 { 1 } else { code }
            }
        }
    }
}

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// The run of a member that its suite means.
fn meant(loaded: &LoadedSuite, name: &str, seed: u64) -> Option<(String, Spec)> {
    let member = loaded.members.iter().find(|m| m.name == name && m.seed == seed)?;
    let run = loaded.suite.members.get(name)?.run.as_deref();
    member.loaded.variants.iter().find(|(found, _)| run.is_none_or(|run| run == found)).cloned()
}
