//! What the labelers' page asks the server. Labelers choose places; which candidate is where stays here, and so does
//! who wrote it.

use super::Shared;
use super::board::{AnswerStanding, Board, Next, in_order};
use crate::label::batch::read::{check_labeler, item_at};
use crate::label::batch::{Answer, Item};
use crate::spec::did_you_mean;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Json, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

/// Longest note and reason in characters.
const LONGEST_TEXT: usize = 4000;
/// After one of any number there would be none to change it by.
const LAST_REVISION: u32 = 1_000_000;
/// A clock that was set while an item was shown: more seconds than this between it and the steady clock.
const CLOCK: f64 = 2.0;

/// A refusal with what to say to the person.
pub struct HttpRefusal(pub StatusCode, pub String);

impl IntoResponse for HttpRefusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<JsonRejection> for HttpRefusal {
    fn from(e: JsonRejection) -> Self {
        Self(e.status(), e.body_text())
    }
}

impl From<QueryRejection> for HttpRefusal {
    fn from(e: QueryRejection) -> Self {
        Self(e.status(), e.body_text())
    }
}

pub fn wrong(message: impl Into<String>) -> HttpRefusal {
    HttpRefusal(StatusCode::BAD_REQUEST, message.into())
}

pub fn failed(message: impl Into<String>) -> HttpRefusal {
    HttpRefusal(StatusCode::INTERNAL_SERVER_ERROR, message.into())
}

type Reply = Result<Json<Value>, HttpRefusal>;
type Body<T> = Result<Json<T>, JsonRejection>;

#[derive(Deserialize)]
pub struct Enter {
    labeler: String,
}

/// Whether a labeler of this name is known, or one with nearly this name.
pub async fn enter(State(shared): State<Arc<Shared>>, body: Body<Enter>) -> Reply {
    let name = body?.0.labeler.trim().to_string();
    check_labeler(&name).map_err(wrong)?;
    let board = shared.board();
    let known: Vec<&str> = board.known().collect();
    let is_known = known.contains(&name.as_str());
    let like = if is_known { None } else { did_you_mean(&name, known).map(|(_, meant)| meant) };
    Ok(Json(json!({ "labeler": name, "known": is_known, "like": like })))
}

#[derive(Deserialize)]
pub struct Who {
    labeler: String,
    #[serde(default)]
    steps: usize,
}

/// The item to answer now.
pub async fn next(State(shared): State<Arc<Shared>>, who: Result<Query<Who>, QueryRejection>) -> Reply {
    let Query(who) = who?;
    check_labeler(&who.labeler).map_err(wrong)?;
    following(&shared, &who.labeler)
}

fn following(shared: &Shared, name: &str) -> Reply {
    let mut board = shared.board();
    let labeler = board.person(name);
    let next = board.next(labeler, Instant::now());
    let common = status(&board, labeler);
    let place = match next {
        Next::Item(item) => item,
        Next::Wait => return Ok(Json(json!({ "state": "wait", "you": common }))),
        Next::Done => return Ok(Json(json!({ "state": "done", "you": common }))),
        Next::Dropped => return Ok(Json(json!({ "state": "dropped", "you": common }))),
    };
    show(board, labeler, place, "item", common)
}

/// The item answered `steps` answers ago.
pub async fn previous(State(shared): State<Arc<Shared>>, who: Result<Query<Who>, QueryRejection>) -> Reply {
    let Query(who) = who?;
    check_labeler(&who.labeler).map_err(wrong)?;
    let mut board = shared.board();
    let labeler = board.person(&who.labeler);
    let item = board.review(labeler, who.steps, Instant::now());
    let item = item.ok_or_else(|| HttpRefusal(StatusCode::NOT_FOUND, "there is no earlier answer".into()))?;
    let common = status(&board, labeler);
    show(board, labeler, item, "review", common)
}

/// A labeler's own counts, and how many of their answers can be changed.
fn status(board: &Board, labeler: u32) -> Value {
    let (answers, skips) = board.own(labeler);
    json!({ "answers": answers, "skips": skips })
}

fn show(board: std::sync::MutexGuard<'_, Board>, labeler: u32, index: usize, state: &str, common: Value) -> Reply {
    let given = board.given_by(labeler, index).copied();
    let place = board.place(index).zip(board.batch_of(index).cloned());
    let outline = board.item(index).clone();
    drop(board);
    let ((dir, id, span), batch) = place.ok_or_else(|| failed("the item is gone"))?;
    let item: Item = item_at(&dir, &id, span).map_err(|e| {
        tracing::error!("{e}");
        failed(format!("the item cannot be read: {e}"))
    })?;
    if item.id != *outline.id || item.order.len() != outline.candidates() {
        return Err(failed("items.jsonl was changed while it was served; restart the server"));
    }
    let answer = given.map(|g| {
        json!({ "place": g.best.and_then(|b| outline.place_of(b)), "skipped": g.best.is_none(), "revision": g.revision })
    });
    Ok(Json(json!({
        "state": state,
        "you": common,
        "item": {
            "id": item.id,
            "batch": batch.id,
            "instructions": batch.instructions_version,
            "query": item.query.text,
            "candidates": in_order(&item),
            "revision": given.map_or(0, |g| g.revision.saturating_add(1)),
            "answer": answer,
        },
    })))
}

#[derive(Deserialize)]
pub struct OfBatch {
    batch: String,
}

/// A batch's instructions, as Markdown, and how far all are.
pub async fn instructions(State(shared): State<Arc<Shared>>, query: Result<Query<OfBatch>, QueryRejection>) -> Reply {
    let Query(query) = query?;
    let mut board = shared.board();
    let batch = board.batch(&query.batch).cloned();
    let batch = batch.ok_or_else(|| HttpRefusal(StatusCode::NOT_FOUND, format!("no batch {:?}", query.batch)))?;
    let all = board.overall(Instant::now());
    Ok(Json(json!({
        "batch": batch.id,
        "version": batch.instructions_version,
        "text": batch.instructions,
        "progress": all,
    })))
}

/// An answer from the page: a place, or a reason to skip.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    labeler: String,
    item: String,
    /// From 0, as shown.
    #[serde(default)]
    place: Option<usize>,
    #[serde(default)]
    skip: Option<String>,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    confidence: Option<f64>,
    #[serde(default)]
    revision: u32,
}

/// Takes an answer: replies when it is on disk, with the next item.
pub async fn answer(State(shared): State<Arc<Shared>>, body: Body<Said>) -> Reply {
    let said = body?.0;
    check_labeler(&said.labeler).map_err(wrong)?;
    if [&said.note, &said.skip].into_iter().flatten().any(|text| text.chars().count() > LONGEST_TEXT) {
        return Err(wrong(format!("notes and reasons have {LONGEST_TEXT} characters at most")));
    }
    // A task of its own: it counts what is on disk also where the labeler has closed the page meanwhile.
    let saved = tokio::spawn(save(shared, said)).await;
    saved.unwrap_or_else(|e| Err(failed(e.to_string())))
}

async fn save(shared: Arc<Shared>, said: Said) -> Reply {
    let labeler = shared.board().person(&said.labeler);
    let turn = shared.turn(labeler);
    let _turn = turn.lock().await;
    if let Some((index, batch, answer)) = accepted(&shared, labeler, &said)? {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        shared.appender.append(&batch, &answer, Box::new(move |result| drop(sender.send(result))));
        receiver.await.unwrap_or_else(|_| Err("the writer has ended".into())).map_err(failed)?;
        shared.board().take(index, &answer);
    }
    following(&shared, &said.labeler)
}

/// The answer to write with its item's index and batch; `None` where it is on disk already.
fn accepted(shared: &Shared, labeler: u32, said: &Said) -> Result<Option<(usize, String, Answer)>, HttpRefusal> {
    let board = shared.board();
    let index = board.find(&said.item).ok_or_else(|| wrong(format!("there is no item {:?}", said.item)))?;
    let order = &board.item(index).order;
    let best = match (said.place, &said.skip) {
        (Some(place), None) => {
            let best = order.get(place).copied();
            Some(best.ok_or_else(|| wrong(format!("place is {place}, and there are {}, from 0 on", order.len())))?)
        }
        (None, Some(_)) => None,
        _ => return Err(wrong("either place or skip, not both and not neither")),
    };
    if said.confidence.is_some_and(|c| !(0.0..=1.0).contains(&c)) {
        return Err(wrong("confidence is from 0 to 1"));
    }
    if said.revision > LAST_REVISION {
        return Err(wrong(format!("an answer can be changed {LAST_REVISION} times")));
    }
    match board.standing(labeler, index, best, said.revision) {
        AnswerStanding::New => {}
        AnswerStanding::Known => return Ok(None),
        AnswerStanding::Outdated => {
            let message = "you have answered this item already, perhaps in another window";
            return Err(HttpRefusal(StatusCode::CONFLICT, message.into()));
        }
    }
    let (shown_at, answered_at) = times(&board, labeler, index);
    let batch = board.batch_of(index).map(|b| b.id.clone()).ok_or_else(|| failed("the item has no batch"))?;
    let answer = Answer {
        item: said.item.clone(),
        best: best.map(usize::from),
        skip: said.skip.clone(),
        ranking: None,
        confidence: said.confidence,
        note: said.note.clone().filter(|note| !note.trim().is_empty()),
        labeler: said.labeler.clone(),
        shown_at,
        answered_at: Some(answered_at),
        revision: said.revision,
    };
    Ok(Some((index, batch, answer)))
}

/// When the item was shown and answered. The time between them is the steady clock's: where somebody has set the other
/// one meanwhile, the item counts as shown that long before now.
fn times(board: &Board, labeler: u32, index: usize) -> (Option<String>, String) {
    let now = jiff::Timestamp::now();
    let text = |t: jiff::Timestamp| t.round(jiff::Unit::Millisecond).unwrap_or(t).to_string();
    let shown = board.shown(labeler, index).map(|lease| {
        let steady = lease.since.elapsed();
        let apparent = (now - lease.shown).total(jiff::Unit::Second).unwrap_or(0.0);
        match (apparent - steady.as_secs_f64()).abs() > CLOCK {
            true => jiff::SignedDuration::try_from(steady).ok().and_then(|d| now.checked_sub(d).ok()).unwrap_or(now),
            false => lease.shown,
        }
    });
    (shown.map(text), text(now))
}
