//! A stand-in for the Hugging Face hub: one thread that speaks its endpoints on 127.0.0.1, and fails on request.
//!
//! As on the hub, small files come from the hub itself, named by git's sha1 (.json files after a redirect to another
//! path there), and large ones from another host (here `localhost` instead of 127.0.0.1) that it redirects to, named by
//! their sha256.

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What goes wrong with an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// A refusal; with the seconds to wait where they are given.
    Status(u16, Option<u64>),
    /// The connection breaks after so many bytes of content.
    Drop(usize),
    /// The first byte of the content is another one.
    Corrupt,
    /// The whole content where a part is asked for.
    IgnoreRange,
    /// A web page, as a proxy's log-in page.
    Page,
    /// A redirect without an address.
    Nowhere,
    /// Content that goes on after its end, of a length that is not told.
    Endless,
    /// An answer that does not come, for some seconds.
    Silent,
    /// Content a byte at a time, for some seconds.
    Drip,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Python's tools ask for the headers alone.
    head: bool,
    pub host: String,
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

/// Names and contents of the files of a commit.
type Files = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Default)]
struct Repository {
    /// Only for those who have the token.
    private: bool,
    gated: bool,
    branches: BTreeMap<String, String>,
    commits: BTreeMap<String, Files>,
}

#[derive(Debug, Default)]
struct State {
    /// By `models/OWNER/NAME` and `datasets/OWNER/NAME`.
    repositories: BTreeMap<String, Repository>,
    /// Files at plain addresses, `plain/PATH`.
    plain: Files,
    /// Models that once had no owner, and who has them now.
    owners: BTreeMap<String, String>,
    /// Part of a path, how many answers go right first, how often it then goes wrong, and how.
    faults: Vec<(String, usize, usize, Fault)>,
    seen: Vec<Seen>,
}

pub struct StandInHub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How long a slow answer is in coming.
const SLOW: Duration = Duration::from_secs(2);

pub const TOKEN: &str = "hf_stand_in";

/// Large files, which live on the other host.
fn is_large(name: &str) -> bool {
    [".safetensors", ".parquet", ".bin"].iter().any(|ending| name.ends_with(ending))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What the hub calls a file's content by.
pub fn etag(name: &str, content: &[u8]) -> String {
    match is_large(name) {
        true => hex(&Sha256::digest(content)),
        false => hex(&Sha1::new_with_prefix(format!("blob {}\0", content.len())).chain_update(content).finalize()),
    }
}

impl StandInHub {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (state, stop) = (Arc::new(Mutex::new(State::default())), Arc::new(AtomicBool::new(false)));
        let (own, stopped) = (Arc::clone(&state), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // A client that goes away in the middle is part of the tests.
                let _ = answer(connection, address, &own);
            }
        });
        Self { address, state, stop, thread: Some(thread) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test has failed while it was held")
    }

    fn change(&self, repository: &str, change: impl FnOnce(&mut Repository)) {
        change(self.state().repositories.entry(repository.into()).or_default());
    }

    /// A new commit of `models/OWNER/NAME` or `datasets/OWNER/NAME`, to which the branch now leads.
    pub fn commit(&self, repository: &str, branch: &str, files: &[(&str, &[u8])]) -> String {
        let files: Files = files.iter().map(|(name, content)| (name.to_string(), content.to_vec())).collect();
        let commit = hex(&Sha1::digest(format!("{repository} {branch} {files:?}")));
        self.change(repository, |repository| {
            repository.branches.insert(branch.into(), commit.clone());
            repository.commits.insert(commit.clone(), files);
        });
        commit
    }

    /// A file at `/plain/PATH`, as any web server has it.
    pub fn plain(&self, path: &str, content: &[u8]) {
        self.state().plain.insert(format!("plain/{path}"), content.to_vec());
    }

    /// `models/NAME` is led to `models/OWNER/NAME`, as the hub does with its oldest names.
    pub fn own(&self, name: &str, owner: &str) {
        self.state().owners.insert(name.into(), owner.into());
    }

    pub fn make_private(&self, repository: &str) {
        self.change(repository, |repository| repository.private = true);
    }

    pub fn make_gated(&self, repository: &str) {
        self.change(repository, |repository| repository.gated = true);
    }

    /// The next `times` answers to paths that contain `part` go wrong.
    pub fn fault(&self, part: &str, times: usize, fault: Fault) {
        self.fault_after(part, 0, times, fault);
    }

    /// The same after `right` answers that go right.
    pub fn fault_after(&self, part: &str, right: usize, times: usize, fault: Fault) {
        self.state().faults.push((part.into(), right, times, fault));
    }

    /// The requests since last asked.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().seen)
    }
}

impl Drop for StandInHub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Status, headers and content of an answer.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    content: Vec<u8>,
}

impl Answer {
    fn refusal(status: u16, code: &str, message: &str) -> Self {
        let headers = vec![("X-Error-Code", code.into()), ("X-Error-Message", message.into())];
        Self { status, headers, content: json!({ "error": message }).to_string().into_bytes() }
    }
    fn json(value: &serde_json::Value) -> Self {
        let headers = vec![("Content-Type", "application/json".into())];
        Self { status: 200, headers, content: value.to_string().into_bytes() }
    }
}

fn answer(connection: TcpStream, address: SocketAddr, state: &Mutex<State>) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let Some(seen) = request(&mut reader)? else { return Ok(()) };
    let mut state = state.lock().expect("no test has failed while it was held");
    state.seen.push(seen.clone());
    let found = state.faults.iter_mut().find(|(part, _, left, _)| *left > 0 && seen.path.contains(part.as_str()));
    let fault = found.and_then(|(_, right, left, fault)| {
        if *right > 0 {
            *right -= 1;
            return None;
        }
        *left -= 1;
        Some(fault.clone())
    });
    let answer = match &fault {
        Some(Fault::Status(status, wait)) => {
            let wait = wait.iter().map(|seconds| ("Retry-After", seconds.to_string())).collect();
            Answer { status: *status, headers: wait, content: Vec::new() }
        }
        Some(Fault::Page) => {
            Answer { status: 200, headers: Vec::new(), content: b"<html>Log in, please</html>".to_vec() }
        }
        Some(Fault::Nowhere) => Answer { status: 302, headers: Vec::new(), content: Vec::new() },
        _ => match moved(&seen.path, &state) {
            Some(there) => Answer { status: 307, headers: vec![("Location", there)], content: Vec::new() },
            None => routed(&seen, address, &state, fault.as_ref()),
        },
    };
    drop(state);
    send(connection, answer, fault, seen.head)
}

/// Where a model of an old name is now: a path here, as the hub answers.
fn moved(path: &str, state: &State) -> Option<String> {
    let (start, rest) = match path.strip_prefix("/api/models/") {
        Some(rest) => ("/api/models/", rest),
        None => ("/", path.strip_prefix('/')?),
    };
    let owner = state.owners.get(rest.split('/').next()?)?;
    Some(format!("{start}{owner}/{rest}"))
}

fn request(reader: &mut impl BufRead) -> std::io::Result<Option<Seen>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method @ ("GET" | "HEAD")), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let head = method == "HEAD";
    let mut seen = Seen { head, host: String::new(), path: path.into(), range: None, authorization: None };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { return Ok(Some(seen)) };
        let value = value.trim().to_string();
        match name.to_ascii_lowercase().as_str() {
            "host" => seen.host = value,
            "range" => seen.range = Some(value),
            "authorization" => seen.authorization = Some(value),
            _ => {}
        }
    }
}

fn send(mut connection: TcpStream, answer: Answer, fault: Option<Fault>, head: bool) -> std::io::Result<()> {
    let Answer { status, headers, mut content } = answer;
    let length = content.len();
    if let Some(Fault::Corrupt) = fault
        && let Some(first) = content.first_mut()
    {
        *first ^= 1;
    }
    if let Some(Fault::Drop(after)) = fault {
        content.truncate(after);
    }
    if head {
        content.clear();
    }
    if fault == Some(Fault::Silent) {
        std::thread::sleep(SLOW);
        return Ok(());
    }
    let told = if fault == Some(Fault::Endless) { String::new() } else { format!("Content-Length: {length}\r\n") };
    let mut start = format!("HTTP/1.1 {status} -\r\n{told}Connection: close\r\n");
    headers.iter().for_each(|(name, value)| start.push_str(&format!("{name}: {value}\r\n")));
    connection.write_all(start.as_bytes())?;
    connection.write_all(b"\r\n")?;
    if fault == Some(Fault::Drip) {
        let end = Instant::now() + SLOW;
        for byte in content.iter().take_while(|_| Instant::now() < end) {
            connection.write_all(&[*byte])?;
            std::thread::sleep(Duration::from_millis(50));
        }
        return Ok(());
    }
    connection.write_all(&content)?;
    while fault == Some(Fault::Endless) {
        connection.write_all(&[0; 1 << 16])?;
    }
    connection.flush()
}

/// `datasets/OWNER/NAME/REST` and the same with `models`, in pieces.
fn repository_of(path: &str) -> Option<(String, &str)> {
    let mut parts = path.splitn(4, '/');
    let key = [parts.next()?, parts.next()?, parts.next()?].join("/");
    Some((key, parts.next().unwrap_or_default()))
}

fn routed(seen: &Seen, address: SocketAddr, state: &State, fault: Option<&Fault>) -> Answer {
    let path = seen.path.trim_start_matches('/');
    if path.starts_with("plain/") {
        let Some(content) = state.plain.get(path) else { return Answer::refusal(404, "", "no such page") };
        let mut answer = part(content, seen.range.as_deref().filter(|_| fault != Some(&Fault::IgnoreRange)));
        answer.headers.push(("ETag", format!("\"0x{}\"", &etag(path, content)[..14])));
        return answer;
    }
    let cached = path.strip_prefix("api/resolve-cache/").map(|rest| rest.split('?').next().unwrap_or(rest));
    if let (Some(rest), None) = (path.strip_prefix("api/"), cached) {
        return api(seen, state, rest);
    }
    if let Some(sum) = path.strip_prefix("cdn/") {
        let all = state.repositories.values().flat_map(|r| r.commits.values()).flatten();
        let found = all.into_iter().find(|(name, content)| etag(name, content) == sum);
        return match found {
            Some((_, content)) => part(content, seen.range.as_deref().filter(|_| fault != Some(&Fault::IgnoreRange))),
            None => Answer::refusal(404, "EntryNotFound", "no such content"),
        };
    }
    let path = match cached {
        Some(path) => path.to_string(),
        None if path.starts_with("datasets/") => path.to_string(),
        None => format!("models/{path}"),
    };
    let resolved = repository_of(&path).and_then(|(key, rest)| {
        let rest = if cached.is_some() { rest } else { rest.strip_prefix("resolve/")? };
        let (commit, name) = rest.split_once('/')?;
        Some((key, commit.to_string(), name.replace("%20", " ")))
    });
    let Some((key, commit, name)) = resolved else { return Answer::refusal(404, "EntryNotFound", "no such page") };
    let repository = match opened(seen, state, &key) {
        Ok(repository) => repository,
        Err(answer) => return answer,
    };
    let commit = repository.branches.get(&commit).unwrap_or(&commit);
    let Some(files) = repository.commits.get(commit) else {
        return Answer::refusal(404, "RevisionNotFound", "Invalid rev id");
    };
    let Some(content) = files.get(&name) else { return Answer::refusal(404, "EntryNotFound", "Entry not found") };
    let (sum, commit) = (etag(&name, content), ("X-Repo-Commit", commit.clone()));
    if name.ends_with(".json") && cached.is_none() {
        let there = format!("/api/resolve-cache/{key}/{}/{name}?etag=%22{sum}%22", commit.1);
        let linked = ("X-Linked-Etag", format!("\"{sum}\""));
        return Answer { status: 307, headers: vec![commit, ("Location", there), linked], content: Vec::new() };
    }
    if is_large(&name) {
        let there = format!("http://localhost:{}/cdn/{sum}", address.port());
        let linked = [("X-Linked-Etag", format!("\"{sum}\"")), ("X-Linked-Size", content.len().to_string())];
        let headers = [commit, ("Location", there)].into_iter().chain(linked).collect();
        return Answer { status: 302, headers, content: b"Found. Redirecting".to_vec() };
    }
    let mut answer = part(content, seen.range.as_deref().filter(|_| fault != Some(&Fault::IgnoreRange)));
    answer.headers.extend([commit, ("ETag", format!("\"{sum}\""))]);
    answer
}

/// The repository, for who may see it.
fn opened<'s>(seen: &Seen, state: &'s State, key: &str) -> Result<&'s Repository, Answer> {
    let known = seen.authorization.as_deref() == Some(&format!("Bearer {TOKEN}"));
    match state.repositories.get(key).filter(|repository| known || !repository.private) {
        None if known => Err(Answer::refusal(404, "RepoNotFound", "Repository not found")),
        None => Err(Answer::refusal(401, "RepoNotFound", "Invalid username or password.")),
        Some(repository) => Ok(repository),
    }
}

fn api(seen: &Seen, state: &State, path: &str) -> Answer {
    let Some((key, rest)) = repository_of(path) else { return Answer::refusal(404, "", "Sorry, we can't find that") };
    let repository = match opened(seen, state, &key) {
        Ok(repository) => repository,
        Err(answer) => return answer,
    };
    if rest == "refs" {
        let branches: Vec<_> = repository
            .branches
            .iter()
            .map(|(name, commit)| json!({ "name": name, "ref": format!("refs/heads/{name}"), "targetCommit": commit }))
            .collect();
        return Answer::json(&json!({ "branches": branches, "tags": [], "converts": [] }));
    }
    let revision = rest.strip_prefix("revision/").unwrap_or("main").replace("%2F", "/");
    let commit = repository.branches.get(&revision).unwrap_or(&revision);
    let Some(files) = repository.commits.get(commit) else {
        return Answer::refusal(404, "RevisionNotFound", &format!("Invalid rev id: {revision}"));
    };
    if repository.gated && seen.authorization.is_none() {
        return Answer::refusal(401, "GatedRepo", "Access to it is restricted");
    }
    let siblings: Vec<_> = files.keys().map(|name| json!({ "rfilename": name })).collect();
    let id = key.split_once('/').map_or("", |(_, id)| id);
    Answer::json(&json!({ "id": id, "sha": commit, "private": repository.private, "gated": repository.gated,
        "siblings": siblings, "tags": [] }))
}

/// The content, or what `bytes=FROM-` or `bytes=FROM-TO` asks of it.
fn part(content: &[u8], range: Option<&str>) -> Answer {
    let Some((from, to)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return Answer { status: 200, headers: Vec::new(), content: content.to_vec() };
    };
    let size = content.len();
    let from: usize = from.parse().unwrap_or(0);
    let to = to.parse().map_or(size, |to: usize| (to + 1).min(size));
    if from >= size {
        let headers = vec![("Content-Range", format!("bytes */{size}"))];
        return Answer { status: 416, headers, content: Vec::new() };
    }
    let headers = vec![("Content-Range", format!("bytes {from}-{}/{size}", to - 1))];
    Answer { status: 206, headers, content: content[from..to].to_vec() }
}
