//! A judge: asks a language model all that is missing of a batch, several requests at once, within the budget, and says
//! what of it is an answer.

use super::endpoint::{Endpoint, Trouble};
use super::kept::{self, Kept, Tokens, Writer, folder};
use super::prompt::{Prompt, Said, said};
use crate::context::{Context, Kept as KeptWork, StageError};
use crate::label::LabelError;
use crate::label::batch::read::Answers;
use crate::label::batch::{Answer, Item};
use crate::results::stops::now;
use crate::spec::keyed::JudgeKey;
use crate::spec::{JudgeSpec, TaskPreset};
use crate::store::lock::Lock;
use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest name of a labeler in characters.
const LONGEST_NAME: usize = 64;
/// Between two looks whether to stop.
const LOOK: Duration = Duration::from_millis(100);
/// What is under way when a run is stopped has been paid; so long it is waited for.
const GRACE: Duration = Duration::from_secs(20);

/// A language model with its prompt.
#[derive(Debug, Clone)]
pub struct Judge {
    spec: JudgeSpec,
    prompt: Prompt,
    key: JudgeKey,
}

/// One answer to one way of asking.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    /// `order[place]`: the candidate that stood there.
    pub order: Vec<usize>,
    pub said: Said,
    pub tokens: Tokens,
}

/// What a judge has said about a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// One per item that was asked about in all orders; those without a choice are skips that say why.
    pub answers: Answers,
    /// Requests without an answer.
    pub missing: usize,
    pub(super) replies: Vec<Vec<Reply>>,
    pub(super) both_orders: bool,
}

/// A request to make.
struct Request {
    key: String,
    item: String,
    order: Vec<usize>,
    prompt: String,
}

impl Judge {
    /// With the prompt of its file, or one from `instructions`. Err: the file cannot be read.
    pub fn of(spec: &JudgeSpec, preset: TaskPreset, instructions: &str) -> Result<Self, StageError> {
        let prompt = Prompt::of(spec, preset, instructions)?;
        Ok(Self { spec: spec.clone(), prompt, key: JudgeKey::of(spec) })
    }

    /// What it is called as a labeler.
    pub fn name(&self) -> String {
        format!("judge:{}", self.spec.model).chars().take(LONGEST_NAME).collect()
    }

    /// The model, as the endpoint calls it.
    pub fn model(&self) -> &str {
        &self.spec.model
    }

    /// Err: there is no key, nobody answers at the address, or the model is not there.
    pub fn check(&self, context: &Context) -> Result<(), StageError> {
        let checked = Endpoint::open(&self.spec)?.check(&|| context.stop_here().is_some());
        if checked.is_err() {
            context.check_stop(0, KeptWork::Everything)?;
        }
        checked
    }

    /// The orders in which an item is shown.
    fn orders(&self, item: &Item) -> Vec<Vec<usize>> {
        let reversed = item.order.iter().rev().copied().collect();
        if self.spec.both_orders { vec![item.order.clone(), reversed] } else { vec![item.order.clone()] }
    }

    fn request(&self, item: &Item, order: Vec<usize>) -> Result<Request, StageError> {
        let text = |candidate: &usize| item.candidates.get(*candidate).map_or("", |c| c.response.text.trim());
        let shown: Vec<&str> = order.iter().map(text).collect();
        let prompt = self.prompt.text(item.query.text.trim(), &shown);
        Ok(Request { key: kept::key(&self.key, &prompt)?, item: item.id.clone(), order, prompt })
    }

    /// What it has said so far about the items of a batch in this directory; nothing is asked.
    pub fn read(&self, batches: &Path, items: &[Item]) -> Result<Judged, StageError> {
        let kept = Kept::read(batches)?;
        let (mut replies, mut counted, mut missing) = (Vec::with_capacity(items.len()), Vec::new(), 0);
        for item in items {
            let mut of_item = Vec::new();
            let orders = self.orders(item);
            let wanted = orders.len();
            for order in orders {
                let request = self.request(item, order)?;
                of_item.extend(kept.answers.get(&request.key).map(|answer| Reply {
                    said: said(&answer.response, request.order.len()),
                    tokens: answer.tokens(),
                    order: request.order,
                }));
            }
            missing += wanted - of_item.len();
            if of_item.len() == wanted {
                counted.push(self.answer(item, &of_item));
            }
            replies.push(of_item);
        }
        let answers = Answers { counted, ..Answers::default() };
        Ok(Judged { answers, missing, replies, both_orders: self.spec.both_orders })
    }

    /// A choice, where all orders give the same; texts that are equal are the same.
    fn answer(&self, item: &Item, replies: &[Reply]) -> Answer {
        let chosen = |reply: &Reply| match reply.said {
            Said::Place(place) => reply.order.get(place).copied().ok_or("no choice"),
            Said::Refused => Err("refused"),
            Said::Nonsense => Err("no choice"),
        };
        let text = |candidate: usize| item.candidates.get(candidate).map(|c| c.response.text.as_str());
        let all: Result<Vec<usize>, &str> = replies.iter().map(chosen).collect();
        let best = all.and_then(|all| match all.first() {
            Some(first) if all.iter().all(|c| text(*c) == text(*first)) => Ok(*first),
            _ => Err("other choices in other orders"),
        });
        Answer {
            item: item.id.clone(),
            best: best.ok(),
            skip: best.err().map(str::to_string),
            ranking: None,
            confidence: None,
            note: None,
            labeler: self.name(),
            shown_at: None,
            answered_at: None,
            revision: 0,
        }
    }

    /// Asks what is missing. Err: the budget is spent, nobody answers, or the run is stopped; all answers are kept.
    pub fn ask(&self, context: &Context, batches: &Path, items: &[Item]) -> Result<Judged, StageError> {
        let found = self.read(batches, items)?;
        if found.missing == 0 {
            return Ok(found);
        }
        let lock = folder(batches);
        let _lock = Lock::acquire(&lock).map_err(StageError::io(&lock))?.ok_or_else(|| {
            let message = "another process asks a judge about these batches; wait for it, or stop it";
            LabelError::file(&lock, message)
        })?;
        // Another process may have asked before it let go.
        let kept = Kept::read(batches)?;
        let mut todo = VecDeque::new();
        let mut known: HashSet<String> = kept.answers.keys().cloned().collect();
        for item in items {
            for order in self.orders(item) {
                let request = self.request(item, order)?;
                if known.insert(request.key.clone()) {
                    todo.push_back(request);
                }
            }
        }
        self.ask_all(context, batches, &kept, todo)?;
        let found = self.read(batches, items)?;
        if found.missing == 0 {
            return Ok(found);
        }
        Err(self.spent(batches, &Kept::read(batches)?, found.missing))
    }

    fn spent(&self, batches: &Path, kept: &Kept, missing: usize) -> StageError {
        let (requests, tokens) = (kept.requests, kept.tokens);
        let (key, limit, used) = match self.spec.max_requests {
            Some(most) if requests >= most => ("max_requests", most, requests),
            _ => ("max_tokens", self.spec.max_tokens.unwrap_or_default(), tokens),
        };
        StageError::Spent(format!(
            "the judge's budget is spent: {used} of labeler.judge.{key} = {limit} in {}, and {missing} answers are missing; \
             the same command with a larger number goes on",
            batches.display()
        ))
    }

    fn ask_all(
        &self,
        context: &Context,
        batches: &Path,
        kept: &Kept,
        todo: VecDeque<Request>,
    ) -> Result<(), StageError> {
        let left = |most: Option<u64>, used: u64| most.map_or(i128::MAX, |most| i128::from(most) - i128::from(used));
        let budget = Budget {
            requests: left(self.spec.max_requests, kept.requests),
            tokens: left(self.spec.max_tokens, kept.tokens),
        };
        let total = todo.len();
        if !budget.lasts() {
            return Ok(());
        }
        tracing::info!("asking {} {total} questions", self.spec.model);
        let endpoint = Endpoint::open(&self.spec)?;
        let url = endpoint.url().to_string();
        let shared = Arc::new(Shared {
            endpoint,
            state: Mutex::new(State { todo, budget, writer: Writer::open(batches)? }),
            stop: AtomicBool::new(false),
            most: self.spec.max_answer_tokens,
            model: self.spec.model.clone(),
        });
        let (sender, receiver) = channel();
        for i in 0..self.spec.concurrency.min(total) {
            let (shared, sender) = (Arc::clone(&shared), sender.clone());
            let started = std::thread::Builder::new().name(format!("judge {i}")).spawn(move || shared.work(&sender));
            started.map_err(StageError::io(batches))?;
        }
        drop(sender);
        let bar = context.bar("judge", 0, total);
        let (mut done, mut failed, mut ending) = (0, None, None::<Instant>);
        loop {
            match receiver.recv_timeout(LOOK) {
                Ok(Ok(())) => {
                    done += 1;
                    bar.add(1, "");
                }
                Ok(Err(trouble)) => {
                    failed.get_or_insert(trouble);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if ending.is_none() && (failed.is_some() || context.stop_here().is_some()) {
                shared.stop.store(true, Ordering::SeqCst);
                ending = Some(Instant::now());
            }
            if ending.is_some_and(|since| since.elapsed() > GRACE) {
                break;
            }
        }
        bar.finish();
        context.check_stop(done, KeptWork::Everything)?;
        failed.map_or(Ok(()), |trouble: Trouble| Err(trouble.error(&url)))
    }
}

/// What may still be asked for.
#[derive(Debug, Clone, Copy)]
struct Budget {
    requests: i128,
    tokens: i128,
}

impl Budget {
    fn lasts(self) -> bool {
        self.requests > 0 && self.tokens > 0
    }
}

struct State {
    todo: VecDeque<Request>,
    budget: Budget,
    writer: Writer,
}

/// What the threads that ask have in common.
struct Shared {
    endpoint: Endpoint,
    state: Mutex<State>,
    stop: AtomicBool,
    most: u64,
    model: String,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Request> {
        let mut state = self.state();
        if self.stop.load(Ordering::SeqCst) || !state.budget.lasts() {
            return None;
        }
        let request = state.todo.pop_front()?;
        state.budget.requests -= 1;
        Some(request)
    }

    fn work(&self, done: &Sender<Result<(), Trouble>>) {
        while let Some(request) = self.next() {
            let result = self.one(request);
            let end = result.is_err();
            if result == Err(Trouble::Stopped) || done.send(result).is_err() || end {
                return;
            }
        }
    }

    fn one(&self, request: Request) -> Result<(), Trouble> {
        let Request { key, item, order, prompt } = request;
        let stopped = || self.stop.load(Ordering::SeqCst);
        let response = self.endpoint.complete(&prompt, order.len(), &stopped)?;
        let (bytes, most, model) = (prompt.len() as u64, self.most, self.model.clone());
        let answer = kept::Answer { key, model, item, order, bytes, most, response, at: now() };
        let tokens = answer.tokens();
        let mut state = self.state();
        state.budget.tokens -= i128::from(tokens.prompt + tokens.answer);
        state.writer.add(&answer).map_err(|why| Trouble::Failed(format!("an answer cannot be kept: {why}")))
    }
}
