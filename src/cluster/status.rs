//! `runner cluster status`: what each task's own files say, beside what the engine says of its job.

use super::ledger::{Job, Kind, Ledger};
use super::slurm::{self, Live};
use super::{ClusterError, FOLDER};
use crate::results::{Manifest, Progress, State, file, read_json};
use crate::store::lock::holder;
use std::path::Path;

/// A task, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub task: String,
    /// As its manifest has it, `not begun`, or `queued`, `starting` and `ending` where only the engine
    /// knows of it.
    pub state: String,
    /// What it is at, or waits for, or why it ended.
    pub said: String,
    /// The engine's number and state of its job, with where it runs or why it waits.
    pub job: String,
}

/// Where everything stands.
#[derive(Debug, Default)]
pub struct Standing {
    pub rows: Vec<Row>,
    /// Jobs beside those of tasks: waves and the drawing.
    pub others: Vec<String>,
    /// The engine cannot be asked, and why.
    pub unasked: Option<String>,
}

/// Reads a suite's results directory, and asks the engine what is alive.
///
/// # Errors
/// Nothing was submitted from it, or its ledger cannot be read.
pub fn status(out: &Path) -> Result<(Ledger, Standing), ClusterError> {
    let none = || {
        let path = Ledger::path(out);
        ClusterError::Input(format!(
            "nothing was submitted: there is no {} (`runner cluster submit SUITE`)",
            path.display()
        ))
    };
    let ledger = Ledger::read(out)?.ok_or_else(none)?;
    let (live, unasked) = match slurm::live(&ledger.names()) {
        Ok(live) => (live, None),
        Err(e) => (Vec::new(), Some(e.to_string())),
    };
    let mut tasks: Vec<(&str, &Job, usize)> = Vec::new();
    // A task's last job is the one that counts.
    for job in ledger.jobs().filter(|job| job.kind == Kind::Members) {
        for (i, task) in job.tasks.iter().enumerate() {
            match tasks.iter_mut().find(|(known, ..)| known == task) {
                Some(known) => (known.1, known.2) = (job, i),
                None => tasks.push((task, job, i)),
            }
        }
    }
    let row = |(task, job, i): &(&str, &Job, usize)| {
        let alive = live.iter().find(|live| live.name == job.name && live.index == Some(*i));
        row(out, task, job, *i, alive, unasked.is_none())
    };
    let rows = tasks.iter().map(row).collect();
    let is_other = |live: &&Live| ledger.jobs().any(|job| job.name == live.name && job.kind != Kind::Members);
    let other = |live: &Live| {
        let file = ledger.jobs().find(|job| job.name == live.name).map_or(live.name.as_str(), |job| job.file.as_str());
        format!("{file}: {}", said_of(live))
    };
    let others = live.iter().filter(is_other).map(other).collect();
    Ok((ledger, Standing { rows, others, unasked }))
}

fn said_of(live: &Live) -> String {
    let more = if live.is_pending() {
        format!(" ({})", live.reason.trim_matches(['(', ')']))
    } else {
        format!(" on {}", live.nodes)
    };
    format!("{} {}{more}", live.id, live.state)
}

fn row(out: &Path, task: &str, job: &Job, index: usize, live: Option<&Live>, asked: bool) -> Row {
    let home = out.join("members").join(task);
    let manifest = read_json::<Manifest>(&home.join(file::MANIFEST)).ok();
    let state = manifest.as_ref().map(|manifest| manifest.state.now(&home));
    let log = || {
        let id = job.id.as_deref().unwrap_or("JOB");
        out.join(FOLDER).join(format!("{}-{id}_{index}.log", job.file)).display().to_string()
    };
    let progress = || {
        let progress = Progress::read(&home);
        let share = |p: &Progress| p.share.map(|share| format!(" {:.0}%", share * 100.0)).unwrap_or_default();
        progress.map(|p| format!("{}{}", p.stage, share(&p))).unwrap_or_default()
    };
    let ended = || manifest.as_ref().and_then(|manifest| manifest.error.clone()).unwrap_or_default();
    let (word, said) = match (state, live) {
        (Some(State::Running), _) => {
            let by = holder(&home).map(|holder| format!(" on {}", holder.host)).unwrap_or_default();
            ("running", progress() + &by)
        }
        (Some(State::Done), None) => ("done", String::new()),
        (_, Some(live)) if live.is_pending() => ("queued", ended()),
        (Some(state), Some(live)) if live.is_ending() => (state.word(), ended()),
        (None, Some(live)) if live.is_ending() => ("ending", format!("see {}", log())),
        (_, Some(_)) => ("starting", String::new()),
        (Some(State::Interrupted), None) if asked => {
            ("interrupted", "was killed; `runner cluster submit` goes on with it".into())
        }
        (Some(state), None) => (state.word(), ended()),
        (None, None) if asked => ("not begun", format!("its job has ended, or never ran: see {}", log())),
        (None, None) => ("not begun", String::new()),
    };
    let job = live.map(said_of).unwrap_or_default();
    Row { task: task.into(), state: word.into(), said, job }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A task whose processes have ended is what its manifest says, also while Slurm clears up after it.
    #[test]
    fn a_job_that_slurm_clears_up_after_is_not_starting() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("members/a-seed-1");
        std::fs::create_dir_all(&home).unwrap();
        let job = Job {
            name: "runner-t".into(),
            file: "1-members".into(),
            kind: Kind::Members,
            tasks: vec!["a-seed-1".into()],
            until: Vec::new(),
            id: Some("34".into()),
        };
        let word = |state: &str| {
            let live = Live {
                id: "34_0".into(),
                array: "34".into(),
                index: Some(0),
                name: "runner-t".into(),
                state: state.into(),
                reason: String::new(),
                nodes: "n1".into(),
            };
            row(dir.path(), "a-seed-1", &job, 0, Some(&live), true).state
        };
        assert_eq!(
            (word("PENDING"), word("RUNNING"), word("COMPLETING")),
            ("queued".into(), "starting".into(), "ending".into())
        );
        let written = |state: &str| {
            let manifest = serde_json::json!({
                "name": "a", "state": state, "program_version": "", "device": "", "seeds": [1], "runs": [], "started_at": "",
            });
            std::fs::write(home.join(file::MANIFEST), manifest.to_string()).unwrap();
        };
        for (state, known) in [("done", "done"), ("failed", "failed"), ("running", "interrupted")] {
            written(state);
            assert_eq!(word("COMPLETING"), known);
        }
    }
}
