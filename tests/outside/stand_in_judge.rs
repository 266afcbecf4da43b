//! A stand-in for an OpenAI-compatible endpoint: answers on 127.0.0.1, each connection on a thread of its own, and goes
//! wrong on request.

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The key that it wants, in which a letter is wrong in nobody's.
pub const KEY: &str = "sk-stand-in-0123456789";
pub const MODEL: &str = "stand-in-judge";

/// What goes wrong with one answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// A refusal with a status, and the seconds to wait where they are given.
    Status(u16, Option<u64>),
    /// A body that is cut in the middle, although its length was told.
    Cut,
    /// A body of this text with status 200.
    Body(&'static str),
    /// A message of this content.
    Content(&'static str),
    /// No choice at all.
    NoChoice,
    /// A refusal of the model's.
    Refusal,
    /// Token counts that cannot be.
    Lies,
    /// An answer that comes after so long.
    Slow(Duration),
}

/// Which candidate it likes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Taste {
    /// The one with the most vowels, whatever its place.
    Vowels,
    /// What is shown first.
    First,
}

#[derive(Debug)]
pub struct State {
    pub taste: Taste,
    /// Of the next answers, in order; then all is well.
    pub faults: VecDeque<Fault>,
    /// Parts of requests that it refuses with status 400: `json_schema`, `json_object`, `temperature`, `max_tokens`.
    pub unknown: Vec<&'static str>,
    pub lists_models: bool,
    /// Bodies of requests for completions.
    pub asked: Vec<Value>,
    pub answered: usize,
    /// When each request for a completion came.
    pub times: Vec<Instant>,
    pub at_once: usize,
    pub most_at_once: usize,
}

pub struct StandInJudge {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
}

impl StandInJudge {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(Mutex::new(State {
            taste: Taste::Vowels,
            faults: VecDeque::new(),
            unknown: Vec::new(),
            lists_models: true,
            asked: Vec::new(),
            answered: 0,
            times: Vec::new(),
            at_once: 0,
            most_at_once: 0,
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let (own, stopped) = (Arc::clone(&state), Arc::clone(&stop));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let own = Arc::clone(&own);
                // A client that goes away in the middle is part of the tests.
                std::thread::spawn(move || serve(connection, &own));
            }
        });
        Self { address, state, stop }
    }

    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test has failed while it was held")
    }

    pub fn faults(&self, faults: &[Fault]) {
        self.state().faults = faults.iter().cloned().collect();
    }

    pub fn answered(&self) -> usize {
        self.state().answered
    }
}

impl Drop for StandInJudge {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let (mut length, mut key) = (0, String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => key = value.trim().to_string(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut out = stream;
    if key != format!("Bearer {KEY}") {
        // As careless as an endpoint can be.
        return send(&mut out, 401, &[], &json!({ "error": { "message": format!("{key} is no key") } }).to_string());
    }
    if first.starts_with("GET /v1/models ") {
        let listed = state.lock().expect("the state").lists_models;
        let list = json!({ "object": "list", "data": [{ "id": "another" }, { "id": MODEL }] });
        return if listed { send(&mut out, 200, &[], &list.to_string()) } else { send(&mut out, 404, &[], "{}") };
    }
    if !first.starts_with("POST /v1/chat/completions ") {
        return send(&mut out, 404, &[], "<html>nothing here</html>");
    }
    let body: Value = serde_json::from_slice(&body).expect("a request is JSON");
    let (fault, taste) = {
        let mut state = state.lock().expect("the state");
        state.times.push(Instant::now());
        if let Some(word) = state.unknown.iter().find(|word| body.to_string().contains(&format!("\"{word}\""))).copied()
        {
            let hint = if word == "max_tokens" { "; use max_completion_tokens" } else { "" };
            let message = format!("unknown: {word}{hint}");
            drop(state);
            return send(&mut out, 400, &[], &json!({ "error": { "message": message } }).to_string());
        }
        if body["model"] != MODEL {
            drop(state);
            return send(&mut out, 404, &[], &json!({ "error": { "message": "no such model" } }).to_string());
        }
        state.asked.push(body.clone());
        state.at_once += 1;
        state.most_at_once = state.most_at_once.max(state.at_once);
        (state.faults.pop_front(), state.taste)
    };
    let result = complete(&mut out, fault, taste, &body, state);
    state.lock().expect("the state").at_once -= 1;
    result
}

/// The candidates of a prompt, in the order in which they stand.
fn candidates(prompt: &str) -> Vec<&str> {
    prompt.split("<response>\n").skip(1).filter_map(|rest| rest.split("\n</response>").next()).collect()
}

fn choice(prompt: &str, taste: Taste) -> String {
    let vowels = |text: &str| text.chars().filter(|c| "aeiou".contains(*c)).count();
    let shown = candidates(prompt);
    // Of equal ones the one that is first by its text, so that its place does not matter.
    let best = (0..shown.len()).max_by_key(|i| (vowels(shown[*i]), std::cmp::Reverse(shown[*i])));
    let place = if taste == Taste::First { 0 } else { best.unwrap_or(0) };
    char::from(b'A' + u8::try_from(place).expect("few candidates")).to_string()
}

fn complete(
    out: &mut TcpStream,
    fault: Option<Fault>,
    taste: Taste,
    body: &Value,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    let prompt = body["messages"][0]["content"].as_str().expect("a prompt");
    let letter = choice(prompt, taste);
    let content = if body["response_format"].is_null() { letter } else { json!({ "best": letter }).to_string() };
    let mut answer = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": MODEL,
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": content }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": prompt.len() / 5, "completion_tokens": 3, "total_tokens": prompt.len() / 5 + 3 },
    });
    match fault {
        None => {}
        Some(Fault::Status(code, wait)) => {
            let wait = wait.map(|seconds| ("Retry-After", seconds.to_string()));
            let body = json!({ "error": { "message": format!("fault {code}") } }).to_string();
            return send(out, code, wait.as_slice(), &body);
        }
        Some(Fault::Cut) => {
            let text = answer.to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
            out.write_all(head.as_bytes())?;
            return out.write_all(&text.as_bytes()[..text.len() / 2]);
        }
        Some(Fault::Body(text)) => return send(out, 200, &[], text),
        Some(Fault::Content(text)) => answer["choices"][0]["message"]["content"] = text.into(),
        Some(Fault::NoChoice) => answer["choices"] = json!([]),
        Some(Fault::Refusal) => {
            answer["choices"][0]["message"] = json!({ "content": null, "refusal": "I would rather not." });
        }
        Some(Fault::Lies) => answer["usage"] = json!({ "prompt_tokens": -1, "completion_tokens": 1e18 }),
        Some(Fault::Slow(time)) => std::thread::sleep(time),
    }
    state.lock().expect("the state").answered += 1;
    send(out, 200, &[], &answer.to_string())
}

fn send(out: &mut TcpStream, code: u16, headers: &[(&str, String)], body: &str) -> std::io::Result<()> {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!("HTTP/1.1 {code} X\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n");
    out.write_all(head.as_bytes())?;
    out.write_all(body.as_bytes())
}
