//! `runner cluster submit`: what is not done and does not run is handed to the engine, after the stages that it shares
//! and before the drawing.

use super::config::ClusterSpec;
use super::ledger::{Job, Kind, Ledger, Submission};
use super::script::Common;
use super::slurm::{self, Live};
use super::waves::{Stages, waves};
use super::{ClusterError, FOLDER};
use crate::results::stops::now;
use crate::results::{Manifest, State, file, read_json};
use crate::run::place::join;
use crate::run::task::stages;
use crate::spec::paths::portable_spec;
use crate::store::atomic::write_atomic;
use crate::store::cache::Cache;
use crate::store::lock::{Lock, holder};
use crate::suite::load::{portable_suite, resolved_toml};
use crate::suite::{LoadedMember, LoadedSuite, SuiteManifest, files::MemberState};
use std::fs;
use std::path::{Path, PathBuf};

/// A file in the folder, while what a person cancelled is not to be queued again.
pub(super) const CANCELLED: &str = "cancelled";

/// What is asked for.
pub struct Request<'a> {
    pub suite: &'a LoadedSuite,
    /// The suite's results directory.
    pub out: &'a Path,
    /// The name in cluster.toml, and what it says.
    pub name: &'a str,
    pub cluster: &'a ClusterSpec,
    /// `runner SUITE ...` as a task is called, but for which task.
    pub command: Vec<String>,
    pub at_most: Option<u32>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Submitted {
    /// Jobs that were handed over now.
    pub jobs: Vec<Job>,
    /// Tasks that are done, and that wait or run from an earlier time.
    pub done: usize,
    pub live: usize,
    /// Scripts, where nothing was handed over.
    pub scripts: Vec<(String, String)>,
}

/// What a submission is made from.
struct Standing {
    done: Vec<String>,
    live: Vec<Live>,
    /// Tasks that wait or run.
    busy: Vec<String>,
}

/// The scripts, of all that is not done; nothing is written and nobody asked.
///
/// # Errors
/// A member's spec that cannot be read.
pub fn dry_run(request: &Request<'_>) -> Result<Submitted, ClusterError> {
    let standing = Standing { done: done(request), live: Vec::new(), busy: Vec::new() };
    let ledger = Ledger::new(&request.suite.suite.name, request.out);
    let jobs = jobs(request, &ledger, 1, &standing)?;
    let common = common(request, &ledger)?;
    let scripts = jobs.iter().map(|job| (format!("{}.sh", job.file), common.script(job))).collect();
    Ok(Submitted { done: standing.done.len(), scripts, ..Submitted::default() })
}

/// Hands over what is not done and does not run.
///
/// # Errors
/// The directory is another suite's, the engine is not there or refuses; what was handed over before that goes on, and
/// the same command finds it.
pub fn submit(request: &Request<'_>) -> Result<Submitted, ClusterError> {
    let out = request.out;
    let text = resolved_toml(&portable_suite(&request.suite.suite, out), request.suite.profile.as_deref());
    join(&text, file::SUITE, out).map_err(|(_, message)| ClusterError::Input(message))?;
    let folder = out.join(FOLDER);
    let _lock = lock(&folder)?;
    let mut ledger = Ledger::read(out)?.unwrap_or_else(|| Ledger::new(&request.suite.suite.name, out));
    let standing = standing(request, &mut ledger)?;
    let marked = folder.join(CANCELLED);
    if marked.exists() {
        fs::remove_file(&marked).map_err(ClusterError::io(&marked))?;
    }
    let number = ledger.submissions.last().map_or(1, |last| last.number + 1);
    let planned = jobs(request, &ledger, number, &standing)?;
    let mut submitted =
        Submitted { done: standing.done.len(), live: standing.busy.len(), jobs: Vec::new(), scripts: Vec::new() };
    if planned.is_empty() {
        return Ok(submitted);
    }
    let common = common(request, &ledger)?;
    let mark = Path::new(&common.cache).join(&common.mark);
    write_atomic(&mark, b"").map_err(ClusterError::io(&mark))?;
    for job in &planned {
        let path = script_path(&folder, job);
        write_atomic(&path, common.script(job).as_bytes()).map_err(ClusterError::io(&path))?;
    }
    ledger.submissions.push(Submission { number, cluster: request.name.into(), at: now(), jobs: planned });
    ledger.write(out)?;
    hand_over(&mut ledger, out, &standing)?;
    submitted.jobs = ledger.submissions.last().map(|last| last.jobs.clone()).unwrap_or_default();
    Ok(submitted)
}

fn script_path(folder: &Path, job: &Job) -> PathBuf {
    folder.join(format!("{}.sh", job.file))
}

fn lock(folder: &Path) -> Result<Lock, ClusterError> {
    let lock = Lock::acquire(folder).map_err(ClusterError::io(folder))?;
    lock.ok_or_else(|| {
        let who = holder(folder).map(|who| format!(" ({who})")).unwrap_or_default();
        ClusterError::Engine(format!(
            "another runner{who} submits from {}; nothing was submitted here",
            folder.display()
        ))
    })
}

/// Submits the jobs of the last submission, one after the other, and writes each number down.
fn hand_over(ledger: &mut Ledger, out: &Path, standing: &Standing) -> Result<(), ClusterError> {
    let last = ledger.submissions.len() - 1;
    // Tasks wait for stages that an earlier submission still makes; the drawing for everything, another drawing too.
    let mut before = arrays(&standing.live, |name| name.contains("-wave-"));
    let mut members = arrays(&standing.live, |_| true);
    for i in 0..ledger.submissions[last].jobs.len() {
        let job = &ledger.submissions[last].jobs[i];
        let after = if job.kind == Kind::Gather { &members } else { &before };
        let id = slurm::submit(&script_path(&out.join(FOLDER), job), after);
        let id = match id {
            Ok(id) => id,
            Err(e) => {
                // What was not handed over is not looked for again.
                ledger.submissions[last].jobs.retain(|job| job.id.is_some());
                ledger.write(out)?;
                return Err(e);
            }
        };
        match job.kind {
            Kind::Wave => before = vec![id.clone()],
            Kind::Members | Kind::Gather => {}
        }
        members.push(id.clone());
        ledger.submissions[last].jobs[i].id = Some(id);
        ledger.write(out)?;
    }
    Ok(())
}

/// Numbers of the jobs that wait or run, each array once.
fn arrays(live: &[Live], of: impl Fn(&str) -> bool) -> Vec<String> {
    let mut all: Vec<String> = live.iter().filter(|job| of(&job.name)).map(|job| job.array.clone()).collect();
    all.sort();
    all.dedup();
    all
}

/// What is done and what is alive; numbers of jobs that were handed over and not written down are filled in.
fn standing(request: &Request<'_>, ledger: &mut Ledger) -> Result<Standing, ClusterError> {
    let live = slurm::live(&ledger.names())?;
    for job in ledger.submissions.iter_mut().flat_map(|submission| &mut submission.jobs) {
        if let (None, Some(found)) = (&job.id, live.iter().find(|live| live.name == job.name)) {
            job.id = Some(found.array.clone());
        }
    }
    let busy = live.iter().filter_map(|live| task_of(ledger, live)).collect();
    Ok(Standing { done: done(request), live, busy })
}

/// The task that a job of an array is at, where it is one of the tasks themselves and no wave before them.
pub(super) fn task_of(ledger: &Ledger, live: &Live) -> Option<String> {
    let job = ledger.jobs().find(|job| job.name == live.name && job.kind == Kind::Members)?;
    job.tasks.get(live.index?).cloned()
}

/// Tasks that have ended well, with the specs that they have now.
fn done(request: &Request<'_>) -> Vec<String> {
    let home = |member: &LoadedMember| request.out.join("members").join(member.folder());
    let is_done = |member: &&LoadedMember| {
        let home = home(member);
        let text = crate::spec::resolved_toml(&portable_spec(&member.loaded.spec, &home));
        let same = fs::read_to_string(home.join(file::SPEC)).is_ok_and(|old| old == text);
        same && read_json::<Manifest>(&home.join(file::MANIFEST)).is_ok_and(|m| m.state == State::Done)
    };
    request.suite.members.iter().filter(is_done).map(LoadedMember::folder).collect()
}

/// The jobs to hand over: waves, tasks, the drawing. None where everything is done or alive.
fn jobs(request: &Request<'_>, ledger: &Ledger, number: usize, standing: &Standing) -> Result<Vec<Job>, ClusterError> {
    let all: Vec<String> = request.suite.members.iter().map(LoadedMember::folder).collect();
    let to_do = |task: &&String| !standing.done.contains(task) && !standing.busy.contains(task);
    let tasks: Vec<String> = all.iter().filter(to_do).cloned().collect();
    let job = |kind, what: String, tasks: Vec<String>, until: Vec<String>| Job {
        name: ledger.name(number, &what),
        file: format!("{number}-{what}"),
        kind,
        tasks,
        until,
        id: None,
    };
    let gather = || job(Kind::Gather, "gather".into(), Vec::new(), Vec::new());
    if tasks.is_empty() {
        let drawn =
            read_json::<SuiteManifest>(&request.out.join(file::MANIFEST)).is_ok_and(|m| m.state == MemberState::Done);
        let draws = standing.live.iter().any(|live| live.name.ends_with("-gather"));
        return Ok(if drawn || draws { Vec::new() } else { vec![gather()] });
    }
    let mut found = Vec::new();
    // Where an earlier submission makes stages still, tasks wait for it.
    if !standing.live.iter().any(|live| live.name.contains("-wave-")) {
        let of = |member: &LoadedMember| -> Result<(String, Stages), ClusterError> {
            let all = stages(member).map_err(|e| ClusterError::Input(format!("{}: {e}", member.folder())))?;
            Ok((member.folder(), all))
        };
        let of_all = request.suite.members.iter().map(of).collect::<Result<Vec<_>, _>>()?;
        // What an earlier submission's tasks share is theirs to make.
        let skip: Vec<String> = standing.done.iter().chain(&standing.busy).cloned().collect();
        for (i, wave) in waves(&of_all, &skip).into_iter().enumerate() {
            let (tasks, until) = wave.into_iter().map(|step| (step.task, step.until.to_string())).unzip();
            found.push(job(Kind::Wave, format!("wave-{}", i + 1), tasks, until));
        }
    }
    found.push(job(Kind::Members, "members".into(), tasks, Vec::new()));
    found.push(gather());
    Ok(found)
}

fn common<'a>(request: &Request<'a>, ledger: &Ledger) -> Result<Common<'a>, ClusterError> {
    let here = Path::new(".");
    let directory = std::env::current_dir().map_err(ClusterError::io(here))?;
    let cache = Cache::beside(request.out);
    let cache = std::path::absolute(cache.root()).map_err(ClusterError::io(cache.root()))?;
    let text = |path: &Path| match path.to_str() {
        Some(text) if !text.chars().any(|c| c.is_control() || c == '"' || c == '\\') => Ok(text.to_string()),
        _ => Err(ClusterError::Input(format!(
            "{path:?} has a character that a line of sbatch cannot have; use another name or --out"
        ))),
    };
    Ok(Common {
        cluster: request.cluster,
        directory: text(&directory)?,
        command: request.command.clone(),
        folder: text(&request.out.join(FOLDER))?,
        cache: text(&cache)?,
        mark: format!(".cluster-{}", ledger.hash),
        at_most: request.at_most.or(request.cluster.at_most),
    })
}
