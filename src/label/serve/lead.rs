//! What the dashboard asks the server: progress, quality, the run's curve, and the two things a lead can do: drop or
//! restore a labeler, and stop the run.

use super::Shared;
use super::api::{HttpRefusal, failed, wrong};
use crate::label::batch::append::append_event;
use crate::label::batch::quality::{Replies, quality};
use crate::label::batch::read::check_labeler;
use crate::label::batch::{LabelerAction, LabelerEvent};
use crate::results;
use crate::results::stops::{StopAnswer, StopRequest, ask, now, requested};
use crate::results::{file, name};
use crate::spec::did_you_mean;
use crate::store::input;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// The overview is computed at most this often.
const FRESH: Duration = Duration::from_secs(2);
/// Hours of answers in the overview.
const HOURS: i64 = 24;
/// Points of a curve.
const POINTS: usize = 400;
/// Samples shown of a run, from the last bytes of its file.
const SAMPLES: usize = 4;
const TAIL: u64 = 1 << 18;

type Reply = Result<Json<Value>, HttpRefusal>;

/// Progress of all batches and quality of all answers.
pub async fn overview(State(shared): State<Arc<Shared>>) -> Reply {
    tokio::task::spawn_blocking(move || cached(&shared)).await.map(Json).map_err(|e| failed(e.to_string()))
}

fn cached(shared: &Shared) -> Value {
    let mut cache = shared.overview.lock().unwrap_or_else(PoisonError::into_inner);
    let version = shared.board().version;
    if let Some((known, at, value)) = &*cache
        && (*known == version || at.elapsed() < FRESH)
    {
        return value.clone();
    }
    let value = compute(shared);
    *cache = Some((version, Instant::now(), value.clone()));
    value
}

fn compute(shared: &Shared) -> Value {
    let (batches, (items, replies, dropped), problems, at_work) = {
        let board = shared.board();
        let (first, count) = board.problems();
        let problems = json!({ "count": count, "first": first });
        (board.progress(), board.replies(), problems, board.at_work())
    };
    let batches: Vec<Value> = batches
        .into_iter()
        .map(|(b, p)| json!({ "id": b.id, "purpose": b.purpose, "update": b.update, "spec": b.spec, "progress": p }))
        .collect();
    json!({
        "batches": batches,
        "quality": quality(&items, &replies, &dropped, &shared.quality),
        "hours": hours(&replies, jiff::Timestamp::now().as_second()),
        "problems": problems,
        "at_work": at_work,
        "results": shared.results.as_ref().map(|r| r.display().to_string()),
    })
}

/// Answers in each of the last hours, the current one last.
fn hours(replies: &Replies, now: i64) -> Vec<u64> {
    let mut counts = vec![0; HOURS as usize];
    for at in replies.replies.iter().filter_map(|r| r.at) {
        let ago = now.div_euclid(3600) - at.div_euclid(3600);
        if (0..HOURS).contains(&ago) {
            counts[(HOURS - 1 - ago) as usize] += 1;
        }
    }
    counts
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    labeler: String,
    action: LabelerAction,
    by: String,
    #[serde(default)]
    reason: String,
}

/// Drops or restores a labeler.
pub async fn labeler(State(shared): State<Arc<Shared>>, body: Result<Json<Decision>, JsonRejection>) -> Reply {
    let Json(decision) = body?;
    check_labeler(&decision.labeler).map_err(wrong)?;
    check_labeler(&decision.by).map_err(|_| wrong("say who decides: `by` is your name"))?;
    {
        let board = shared.board();
        let known: Vec<&str> = board.known().collect();
        if !known.contains(&decision.labeler.as_str()) {
            let meant = did_you_mean(&decision.labeler, known).map(|(question, _)| format!("; {question}"));
            let message = format!("there is no labeler {:?}{}", decision.labeler, meant.unwrap_or_default());
            return Err(HttpRefusal(StatusCode::NOT_FOUND, message));
        }
    }
    let event = LabelerEvent {
        labeler: decision.labeler,
        action: decision.action,
        by: decision.by,
        reason: decision.reason,
        at: now(),
    };
    let this = Arc::clone(&shared);
    let written = tokio::task::spawn_blocking(move || {
        append_event(&this.dir, &event)?;
        this.board().refresh()
    });
    written.await.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    Ok(Json(json!({ "done": true })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    by: String,
    #[serde(default)]
    reason: String,
}

fn results(shared: &Shared) -> Result<PathBuf, HttpRefusal> {
    let none = "this server does not know the run: start it with --results DIR, or use `runner stop DIR`";
    shared.results.clone().ok_or_else(|| HttpRefusal(StatusCode::CONFLICT, none.into()))
}

/// Pulls the cord.
pub async fn stop(State(shared): State<Arc<Shared>>, body: Result<Json<Stop>, JsonRejection>) -> Reply {
    let Json(stop) = body?;
    check_labeler(&stop.by).map_err(|_| wrong("say who stops the run: `by` is your name"))?;
    let dir = results(&shared)?;
    let asked = StopRequest { by: stop.by, reason: stop.reason, at: Some(now()) };
    let answer = ask(&dir, &asked).map_err(|e| failed(format!("{}: {e}", dir.display())))?;
    if let StopAnswer::NotRunning(ended) = answer {
        let message = format!("the run is not in progress ({ended}): there is nothing to stop");
        return Err(HttpRefusal(StatusCode::CONFLICT, message));
    }
    tracing::warn!("{} stops the run in {}: {}", asked.by, dir.display(), asked.reason);
    Ok(Json(json!({ "first": answer == StopAnswer::Stops, "stop": requested(&dir) })))
}

/// Whether there is a run to stop, and whether it was.
pub async fn stopped(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let dir = shared.results.as_ref();
    Json(json!({ "known": dir.is_some(), "stop": dir.and_then(|dir| requested(dir)) }))
}

/// The curve and the last samples of every run in the results directory.
pub async fn run(State(shared): State<Arc<Shared>>) -> Reply {
    let dir = results(&shared)?;
    tokio::task::spawn_blocking(move || Json(watch(&dir))).await.map_err(|e| failed(e.to_string()))
}

fn watch(dir: &Path) -> Value {
    let manifest = input::read(&dir.join(file::MANIFEST)).ok();
    let manifest = manifest.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let state = manifest.and_then(|m| serde_json::from_value::<results::State>(m["state"].clone()).ok());
    let state = state.map(|state| state.now(dir).word());
    let mut names: Vec<String> = std::fs::read_dir(dir.join("runs"))
        .into_iter()
        .flatten()
        .filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let runs: Map<String, Value> = names
        .into_iter()
        .map(|name| {
            let run = dir.join("runs").join(&name);
            let value = json!({ "curve": curve(&run.join(file::METRICS)), "samples": samples(&run) });
            (name, value)
        })
        .collect();
    json!({ "dir": dir.display().to_string(), "state": state, "runs": runs, "stop": requested(dir) })
}

/// (episodes, score, KL) of at most [`POINTS`] updates, the last included.
fn curve(path: &Path) -> Vec<[Option<f64>; 3]> {
    let Ok(file) = input::open(path) else { return Vec::new() };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    let values = lines.filter_map(|line| serde_json::from_str::<Map<String, Value>>(&line).ok());
    let number = |line: &Map<String, Value>, name: &str| line.get(name).and_then(Value::as_f64);
    let all: Vec<[Option<f64>; 3]> =
        values.map(|v| [number(&v, name::EPISODES), number(&v, name::SCORE), number(&v, name::KL)]).collect();
    let step = all.len().div_ceil(POINTS).max(1);
    let last = all.len().saturating_sub(1);
    all.into_iter().enumerate().filter(|(i, _)| i % step == 0 || *i == last).map(|(_, point)| point).collect()
}

/// The last whole lines of samples.jsonl.
fn samples(run: &Path) -> Vec<Value> {
    let tail = || -> std::io::Result<String> {
        let mut file = input::open(&run.join(file::SAMPLES))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = tail().unwrap_or_default();
    let found: Vec<Value> = text.lines().rev().filter_map(|l| serde_json::from_str(l).ok()).take(SAMPLES).collect();
    found.into_iter().rev().collect()
}
