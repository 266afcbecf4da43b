//! Writes answers: every one is on disk (fsync) before its labeler hears so, and labelers who answer at the same time
//! share one fsync. One process at a time writes in a directory of batches.

use super::{Answer, LabelerEvent};
use crate::label::LabelError;
use crate::store::append::{Tail, append_line, open};
use crate::store::lock::{Lock, holder};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Lines that share one fsync at most.
const GROUP: usize = 512;

/// Called when the line is on disk, or will never be.
pub type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

struct Request {
    batch: String,
    line: Vec<u8>,
    done: Done,
}

/// The one writer of a directory's answers.jsonl files; it holds the directory's lock until it is dropped.
#[derive(Debug)]
pub struct Appender {
    sender: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    _lock: Lock,
}

impl Appender {
    /// Takes the lock of `dir` and starts the writer. Err: another process has it.
    pub fn open(dir: &Path) -> Result<Self, LabelError> {
        let lock = Lock::acquire(dir).map_err(|e| LabelError::file(dir, e))?.ok_or_else(|| {
            let who = holder(dir).map(|who| format!(" ({who})")).unwrap_or_default();
            let message =
                format!("another process serves this directory{who}; stop it, or send labelers to its address");
            LabelError::file(dir, message)
        })?;
        let (sender, receiver) = channel();
        let writer = Writer { dir: dir.into(), files: HashMap::new() };
        let thread = std::thread::Builder::new()
            .name("answers".into())
            .spawn(move || writer.run(&receiver))
            .map_err(|e| LabelError::file(dir, e))?;
        Ok(Self { sender: Some(sender), thread: Some(thread), _lock: lock })
    }

    /// Writes an answer to the batch's answers.jsonl; `done` hears from another thread.
    pub fn append(&self, batch: &str, answer: &Answer, done: Done) {
        let mut line = match serde_json::to_vec(answer) {
            Ok(line) => line,
            Err(e) => return done(Err(e.to_string())),
        };
        line.push(b'\n');
        let request = Request { batch: batch.into(), line, done };
        let refused = match &self.sender {
            Some(sender) => sender.send(request).err().map(|e| e.0),
            None => Some(request),
        };
        if let Some(request) = refused {
            (request.done)(Err("the writer has ended".into()));
        }
    }
}

impl Drop for Appender {
    /// What was handed over is written first.
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    dir: PathBuf,
    files: HashMap<String, File>,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Request>) {
        while let Ok(first) = receiver.recv() {
            let mut groups: HashMap<String, Vec<Request>> = HashMap::new();
            let more = std::iter::from_fn(|| receiver.try_recv().ok()).take(GROUP - 1);
            for request in std::iter::once(first).chain(more) {
                groups.entry(request.batch.clone()).or_default().push(request);
            }
            for (batch, requests) in groups {
                let lines: Vec<u8> = requests.iter().flat_map(|r| r.line.iter().copied()).collect();
                let result = self.write(&batch, &lines).map_err(|e| {
                    tracing::error!("{}: {e}", self.path(&batch).display());
                    format!("the answer is not on disk: {e}")
                });
                requests.into_iter().for_each(|request| (request.done)(result.clone()));
            }
        }
    }

    fn path(&self, batch: &str) -> PathBuf {
        self.dir.join(batch).join("answers.jsonl")
    }

    /// Lines that could not be written whole are taken back, and the file is opened anew: after a failed fsync nobody
    /// knows what is on disk.
    fn write(&mut self, batch: &str, lines: &[u8]) -> io::Result<()> {
        if !self.files.contains_key(batch) {
            let path = self.path(batch);
            let (file, tail) = open(&path)?;
            report(&path, &tail);
            self.files.insert(batch.into(), file);
        }
        let Some(file) = self.files.get_mut(batch) else { return Err(io::Error::other("no file")) };
        let before = file.metadata()?.len();
        let written = file.write_all(lines).and_then(|()| file.sync_data());
        if written.is_err() {
            let _ = file.set_len(before).and_then(|()| file.sync_data());
            self.files.remove(batch);
        }
        written
    }
}

fn report(path: &Path, tail: &Tail) {
    match tail {
        Tail::Whole => {}
        Tail::Ended => tracing::warn!("{}: the last line had no end; it has one now", path.display()),
        Tail::Moved(aside) => tracing::warn!(
            "{}: the last line was cut short (a crash while it was written); it is in {} now, and does not count",
            path.display(),
            aside.display()
        ),
    }
}

/// Repairs the last lines of a batch's answers.jsonl before it is read; only the writer of the directory may.
pub fn repair(dir: &Path, batch: &str) -> Result<(), LabelError> {
    let path = dir.join(batch).join("answers.jsonl");
    if path.exists() {
        let (_, tail) = open(&path).map_err(|e| LabelError::file(&path, e))?;
        report(&path, &tail);
    }
    Ok(())
}

/// Adds a line to labelers.jsonl; any process may, also while the directory is served.
pub fn append_event(dir: &Path, event: &LabelerEvent) -> Result<(), LabelError> {
    let path = dir.join("labelers.jsonl");
    let line = serde_json::to_string(event).map_err(|e| LabelError::file(&path, e))?;
    let tail = append_line(&path, &line).map_err(|e| LabelError::file(&path, e))?;
    report(&path, &tail);
    Ok(())
}
