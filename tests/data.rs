//! The Hugging Face hub against a local stand-in that speaks its endpoints: fetching, resuming, check sums, revisions,
//! tokens, offline use; and a whole run whose text and weights come from it.

use assert_cmd::Command;
use predicates::prelude::*;
use runner::data::hub::{Access, Hub, Kind, Token};
use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OLD_COMMIT: &str = "89abcdef0123456789abcdef0123456789abcdef";
/// Files of at least so many bytes lie in the other store, as large files of the hub do.
const LARGE: usize = 4096;

/// What goes wrong with the next transfer from the other store.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// The connection breaks after so many bytes.
    Breaks(usize),
    /// One byte is another one.
    Corrupt,
    /// 503, with a time to wait.
    Busy,
}

#[derive(Default)]
struct State {
    /// `models/owner/name` or `datasets/owner/name` -> files.
    repositories: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Repositories that want the token "secret".
    private: Vec<String>,
    faults: Vec<Fault>,
    /// Of both servers: path, `Authorization`, `Range`.
    requests: Vec<(String, Option<String>, Option<String>)>,
}

/// Two servers on local ports: the hub, and the store to which it redirects for large files.
struct StandIn {
    endpoint: String,
    state: Arc<Mutex<State>>,
}

impl StandIn {
    fn new() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let store = serve(&state, |request, state, _| stored(request, state), String::new());
        let endpoint = serve(&state, hub, store);
        Self { endpoint, state }
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no handler panicked")
    }
    fn with(self, repository: &str, files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(name, content)| (name.to_string(), content.to_vec())).collect();
        self.state().repositories.insert(repository.into(), files);
        self
    }
    /// A client with a cache in `dir`.
    fn client(&self, dir: &Path) -> Hub {
        Hub {
            endpoint: self.endpoint.clone(),
            cache: dir.join("hub"),
            token: None,
            access: Access::Network,
            progress: false,
            backoff: Duration::from_millis(1),
            stop: None,
        }
    }
    fn paths(&self) -> Vec<String> {
        self.state().requests.iter().map(|(path, ..)| path.clone()).collect()
    }
}

struct Request {
    path: String,
    authorization: Option<String>,
    range: Option<String>,
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut lines = BufReader::new(stream).lines();
        let path = lines.next()?.ok()?.split(' ').nth(1)?.to_string();
        let mut request = Self { path, authorization: None, range: None };
        for line in lines {
            let line = line.ok()?;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "authorization" => request.authorization = Some(value.trim().into()),
                "range" => request.range = Some(value.trim().into()),
                _ => {}
            }
        }
        Some(request)
    }
    fn start(&self) -> Option<usize> {
        self.range.as_ref()?.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
    }
}

/// An answer: status, headers, body, and how much of the body is sent.
struct Answer {
    status: &'static str,
    headers: Vec<String>,
    body: Vec<u8>,
    sent: usize,
}

impl Answer {
    fn new(status: &'static str, headers: Vec<String>, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, headers, sent: body.len(), body }
    }
    fn error(status: &'static str, code: &str) -> Self {
        Self::new(status, vec![format!("X-Error-Code: {code}")], "{\"error\":\"no\"}")
    }
    /// A file or the part of it that is asked for.
    fn file(request: &Request, mut headers: Vec<String>, content: &[u8]) -> Self {
        let Some(start) = request.start() else { return Self::new("200 OK", headers, content) };
        let end = if request.range.as_deref() == Some("bytes=0-0") { 1.min(content.len()) } else { content.len() };
        headers.push(format!("Content-Range: bytes {start}-{}/{}", end.max(1) - 1, content.len()));
        Self::new("206 Partial Content", headers, &content[start.min(end)..end])
    }
}

fn serve(
    state: &Arc<Mutex<State>>,
    answer: impl Fn(&Request, &mut State, &str) -> Answer + Send + 'static,
    other: String,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().filter_map(Result::ok) {
            let Some(request) = Request::read(&stream) else { continue };
            let answer = {
                let mut state = state.lock().expect("no handler panicked");
                state.requests.push((request.path.clone(), request.authorization.clone(), request.range.clone()));
                answer(&request, &mut state, &other)
            };
            let head = answer.headers.iter().map(|h| format!("{h}\r\n")).collect::<String>();
            let head = format!(
                "HTTP/1.1 {}\r\n{head}Content-Length: {}\r\nConnection: close\r\n\r\n",
                answer.status,
                answer.body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer.body[..answer.sent]));
        }
    });
    address
}

fn hex(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().map(|b| format!("{b:02x}")).collect()
}

/// The name of a small file's content: git's.
fn git_sum(content: &[u8]) -> String {
    hex(Sha1::new().chain_update(format!("blob {}\0", content.len())).chain_update(content).finalize())
}

/// The hub itself.
fn hub(request: &Request, state: &mut State, store: &str) -> Answer {
    let path = request.path.trim_start_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    let (kind, rest) = match parts[..] {
        ["api", kind, ..] => (kind, &parts[2..]),
        ["datasets", ..] => ("datasets", &parts[1..]),
        _ => ("models", &parts[..]),
    };
    let [owner, name, rest @ ..] = rest else { return Answer::error("404 Not Found", "EntryNotFound") };
    let repository = format!("{kind}/{owner}/{name}");
    let Some(files) = state.repositories.get(&repository) else {
        return Answer::error("401 Unauthorized", "RepoNotFound");
    };
    if state.private.contains(&repository) && request.authorization.as_deref() != Some("Bearer secret") {
        return Answer::error("401 Unauthorized", "GatedRepo");
    }
    match rest {
        ["refs"] => {
            let body = json!({ "branches": [{ "name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT }],
                "tags": [{ "name": "v1", "ref": "refs/tags/v1", "targetCommit": OLD_COMMIT }], "converts": [] });
            Answer::new("200 OK", Vec::new(), body.to_string())
        }
        ["revision", revision] => {
            let sha = match *revision {
                "main" | COMMIT => COMMIT,
                "v1" | OLD_COMMIT => OLD_COMMIT,
                _ => return Answer::error("404 Not Found", "RevisionNotFound"),
            };
            let siblings: Vec<_> = files.keys().map(|name| json!({ "rfilename": name })).collect();
            Answer::new("200 OK", Vec::new(), json!({ "sha": sha, "siblings": siblings }).to_string())
        }
        ["resolve", commit, file @ ..] => {
            let Some(content) = files.get(&file.join("/")) else {
                return Answer::error("404 Not Found", "EntryNotFound");
            };
            let mut headers = vec![format!("X-Repo-Commit: {commit}")];
            if content.len() < LARGE {
                headers.push(format!("ETag: \"{}\"", git_sum(content)));
                return Answer::file(request, headers, content);
            }
            let sum = hex(Sha256::digest(content));
            headers.push(format!("X-Linked-ETag: \"{sum}\""));
            headers.push(format!("X-Linked-Size: {}", content.len()));
            headers.push(format!("Location: {store}/blobs/{sum}"));
            Answer::new("302 Found", headers, "")
        }
        _ => Answer::error("404 Not Found", "EntryNotFound"),
    }
}

/// The store of large files.
fn stored(request: &Request, state: &mut State) -> Answer {
    let wanted = request.path.trim_start_matches("/blobs/");
    let all = state.repositories.values().flat_map(BTreeMap::values);
    let Some(content) = all.clone().find(|content| hex(Sha256::digest(content)) == wanted) else {
        return Answer::error("404 Not Found", "EntryNotFound");
    };
    let mut answer = Answer::file(request, Vec::new(), content);
    match state.faults.pop() {
        Some(Fault::Breaks(after)) => answer.sent = answer.sent.min(after),
        Some(Fault::Corrupt) => answer.body[0] ^= 1,
        Some(Fault::Busy) => return Answer::new("503 Busy", vec!["Retry-After: 0".into()], ""),
        None => {}
    }
    answer
}

fn large() -> Vec<u8> {
    (0..100_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[test]
fn files_land_in_the_hubs_own_cache_layout_and_are_fetched_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = StandIn::new().with("datasets/a/b", &[("data/x.bin", &large()), ("README.md", b"small")]);
    let client = server.client(dir.path());
    let snapshot = client.snapshot("a/b", Kind::Dataset, None).expect("a listing");
    assert_eq!((snapshot.commit.as_str(), snapshot.names.len()), (COMMIT, 2));
    let names = ["data/x.bin".to_string(), "README.md".to_string()];
    let files = client.get(&snapshot, &names).expect("files");
    assert!(fs::read(&files[0]).expect("a file") == large() && fs::read(&files[1]).expect("a file") == b"small");
    let root = dir.path().join("hub/datasets--a--b");
    assert_eq!(files[0], root.join("snapshots").join(COMMIT).join("data/x.bin"));
    assert_eq!(fs::read_to_string(root.join("refs/main")).expect("a ref").trim(), COMMIT);
    assert!(root.join("blobs").join(hex(Sha256::digest(large()))).is_file());
    assert!(root.join("blobs").join(git_sum(b"small")).is_file());
    let before = server.paths().len();
    client.get(&snapshot, &names).expect("files");
    assert_eq!(server.paths().len(), before, "what is cached needs no request");
}

#[test]
fn a_broken_transfer_is_resumed_where_it_broke() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = StandIn::new().with("models/a/b", &[("x.bin", &large())]);
    server.state().faults = vec![Fault::Busy, Fault::Breaks(150_000), Fault::Breaks(70_000)];
    let client = server.client(dir.path());
    let snapshot = client.snapshot("a/b", Kind::Model, Some("main")).expect("a listing");
    let files = client.get(&snapshot, &["x.bin".into()]).expect("a file");
    assert!(fs::read(&files[0]).expect("a file") == large());
    let ranges: Vec<String> = server.state().requests.iter().filter_map(|(_, _, range)| range.clone()).collect();
    assert!(ranges.contains(&"bytes=70000-".into()) && ranges.contains(&"bytes=220000-".into()), "{ranges:?}");
}

#[test]
fn another_invocation_resumes_what_one_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = StandIn::new().with("models/a/b", &[("x.bin", &large())]);
    server.state().faults = vec![Fault::Busy; 20];
    server.state().faults.push(Fault::Breaks(90_000));
    let client = server.client(dir.path());
    let snapshot = client.snapshot("a/b", Kind::Model, None).expect("a listing");
    let message = text(client.get(&snapshot, &["x.bin".into()]).expect_err("a server that is busy for ever"));
    assert!(message.contains("x.bin") && message.contains("503"), "{message}");
    server.state().faults.clear();
    server.state().requests.clear();
    client.get(&snapshot, &["x.bin".into()]).expect("a file");
    assert!(server.state().requests.iter().any(|(_, _, range)| range.as_deref() == Some("bytes=90000-")));
}

#[test]
fn a_wrong_check_sum_is_no_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = StandIn::new().with("models/a/b", &[("x.bin", &large())]);
    server.state().faults = vec![Fault::Corrupt; 20];
    let client = server.client(dir.path());
    let snapshot = client.snapshot("a/b", Kind::Model, None).expect("a listing");
    let message = text(client.get(&snapshot, &["x.bin".into()]).expect_err("another content"));
    assert!(message.contains("check sum"), "{message}");
    assert!(!snapshot.dir().join("x.bin").exists());
    server.state().faults.clear();
    assert!(fs::read(&client.get(&snapshot, &["x.bin".into()]).expect("a file")[0]).expect("a file") == large());
}

#[test]
fn revisions_are_commits_and_the_network_is_not_needed_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = StandIn::new().with("models/a/b", &[("config.json", b"{}")]);
    let client = server.client(dir.path());
    assert_eq!(client.snapshot("a/b", Kind::Model, Some("v1")).expect("a tag").commit, OLD_COMMIT);
    let pinned = client.snapshot("a/b", Kind::Model, Some(OLD_COMMIT)).expect("a commit");
    client.get(&pinned, &["config.json".into()]).expect("a file");
    let message = text(client.snapshot("a/b", Kind::Model, Some("v2")).expect_err("no such tag"));
    assert!(message.contains("v2") && message.contains("main") && message.contains("v1"), "{message}");
    let before = server.paths().len();
    let offline = Hub { access: Access::Offline, ..client.clone() };
    for revision in ["v1", OLD_COMMIT] {
        let snapshot = offline.snapshot("a/b", Kind::Model, Some(revision)).expect("cached");
        assert!(offline.get(&snapshot, &["config.json".into()]).expect("cached")[0].is_file());
    }
    assert_eq!(server.paths().len(), before);
    let message = text(offline.snapshot("a/other", Kind::Model, None).expect_err("nothing is cached"));
    assert!(message.contains("HF_HUB_OFFLINE"), "{message}");
    // A hub that is gone is no hindrance to what is cached.
    let gone = Hub { endpoint: "http://127.0.0.1:9".into(), ..client };
    assert_eq!(gone.snapshot("a/b", Kind::Model, Some("v1")).expect("cached").commit, OLD_COMMIT);
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = StandIn::new().with("models/a/gated", &[("x.bin", &large())]);
    server.state().private = vec!["models/a/gated".into()];
    let client = server.client(dir.path());
    let message = text(client.snapshot("a/gated", Kind::Model, None).expect_err("gated"));
    assert!(message.contains("HF_TOKEN"), "{message}");
    let client = Hub { token: Token::new("secret"), ..client };
    let snapshot = client.snapshot("a/gated", Kind::Model, None).expect("with a token");
    client.get(&snapshot, &["x.bin".into()]).expect("with a token");
    let state = server.state();
    let (store, hub): (Vec<_>, Vec<_>) = state.requests.iter().partition(|(path, ..)| path.starts_with("/blobs/"));
    assert!(!store.is_empty() && store.iter().all(|(_, token, _)| token.is_none()), "{store:?}");
    assert!(hub.iter().any(|(_, token, _)| token.as_deref() == Some("Bearer secret")));
    assert!(!format!("{client:?}").contains("secret"));
}

#[test]
fn unknown_repositories_and_files_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = StandIn::new().with("models/a/b", &[("pytorch_model.bin", b"x"), ("config.json", b"{}")]);
    let client = server.client(dir.path());
    let message = text(client.snapshot("a/none", Kind::Model, None).expect_err("no such repository"));
    assert!(message.contains("a/none"), "{message}");
    let message = text(client.model("a/b", None).expect_err("no safetensors"));
    assert!(message.contains("pytorch_model.bin") && message.contains("save_pretrained"), "{message}");
    let snapshot = client.snapshot("a/b", Kind::Model, None).expect("a listing");
    for name in ["no.txt", "../x", "/etc/passwd"] {
        let message = text(client.get(&snapshot, &[name.into()]).expect_err("no such file"));
        assert!(message.contains("there is no file"), "{message}");
    }
}

// ---- Whole runs ----------------------------------------------------------------------------------------------------

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/base").join(name)).expect(name)
}

/// A spec that takes text and weights from the hub.
fn spec(dir: &Path, data: &str) -> PathBuf {
    let path = dir.join("hub.toml");
    let text = format!(
        r#"
        spec_version = 1
        name = "hub"
        model = {{ weights = {{ hf = "someone/model" }}, dimensions = {{ layers = 2, heads = 2, width = 16, context = 64 }} }}
        task = {{ query_rule = "sentences", query_length = 16, query_min_length = 2, response_length = 8, truncate_after = 2, data = {{ {data} }} }}
        collect = {{ labels = 16, held_out = 4 }}
        reward = {{ batch_size = 8, normalize_samples = 16 }}
        policy = {{ episodes = 16, batch_size = 16 }}
        evaluate = {{ queries = 4, optimum_queries = 2, optimum_samples = 8, samples = 2 }}
        labeler.classifier = {{ dimensions = {{ layers = 1, heads = 2, width = 16, context = 64 }}, reviews = 200, steps = 5, batch_size = 8 }}
        "#
    );
    fs::write(&path, text).expect("a spec");
    path
}

#[test]
fn a_run_takes_text_and_weights_from_the_hub() {
    let dir = tempfile::tempdir().expect("a directory");
    let posts: String = (0..400)
        .map(|i| {
            json!({ "story": format!("A cat sat by {i} mats. A dog ran after it. All was well."), "n": i }).to_string()
                + "\n"
        })
        .collect();
    let model: Vec<(&str, Vec<u8>)> =
        ["config.json", "model.safetensors", "tokenizer.json"].into_iter().map(|n| (n, fixture(n))).collect();
    let model: Vec<(&str, &[u8])> = model.iter().map(|(n, content)| (*n, content.as_slice())).collect();
    let server = StandIn::new()
        .with("models/someone/model", &model)
        .with("datasets/someone/posts", &[("data/train-00.jsonl", posts.as_bytes()), ("README.md", b"posts")]);
    let run = |data: &str, offline: bool, out: &str| {
        let mut command = Command::cargo_bin("runner").expect("the program");
        command.current_dir(dir.path()).env_remove("RUST_LOG").env("RUNNER_CACHE", dir.path().join(out).join("cache"));
        command.env("HF_ENDPOINT", &server.endpoint).env("HF_HOME", dir.path().join("hf")).env_remove("HF_TOKEN");
        if offline {
            command.env("HF_HUB_OFFLINE", "1");
        }
        command.arg(spec(dir.path(), data)).args(["--device", "cpu", "--out", out]).assert()
    };
    let good = r#"hf = "someone/posts", columns = { text = "story" }"#;
    run(good, true, "nothing").failure().stderr(predicate::str::contains("HF_HUB_OFFLINE"));
    run(r#"hf = "someone/posts", columns = { text = "stories" }"#, false, "column")
        .code(2)
        .stderr(predicate::str::contains("story"));
    run(good, false, "online").success().stderr(predicate::str::contains(COMMIT));
    let before = server.paths().len();
    run(good, true, "offline").success();
    assert_eq!(server.paths().len(), before, "offline asks for nothing");
    let read = |out: &str| fs::read(dir.path().join(out).join("runs/main/models/policy/model.safetensors")).expect("π");
    assert!(read("online") == read("offline"));
}
