//! A directory of batches, the program that serves it, and a client as simple as a labeler's page.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One question of four candidates.
pub fn item(id: &str) -> Value {
    let candidates: Vec<Value> = (0..4).map(|i| json!({"text": format!("{id} {i}"), "source": "reference"})).collect();
    let shift = id.len() + id.bytes().map(usize::from).sum::<usize>();
    let order: Vec<usize> = (0..4).map(|i| (i + shift) % 4).collect();
    json!({"id": id, "query": {"text": format!("query of {id}")}, "candidates": candidates, "order": order})
}

/// Writes a batch.
pub fn batch(dir: &Path, id: &str, items: &[Value], labelers_per_item: usize) -> PathBuf {
    let folder = dir.join(id);
    std::fs::create_dir_all(&folder).expect("made");
    let mut file = std::io::BufWriter::new(std::fs::File::create(folder.join("items.jsonl")).expect("made"));
    items.iter().for_each(|item| writeln!(file, "{item}").expect("written"));
    file.flush().expect("written");
    let about = json!({
        "batch_version": 1, "id": id, "purpose": "training", "items": items.len(), "labelers_per_item": labelers_per_item,
        "spec": "t", "spec_hash": "", "policy_hash": "", "tokenizer_hash": "", "update": 0, "temperature": 1.0, "seed": 1,
        "instructions": "Choose.", "instructions_version": "1", "created_at": "2026-01-01T00:00:00Z"
    });
    std::fs::write(folder.join("batch.json"), about.to_string()).expect("written");
    folder
}

pub fn questions(prefix: &str, n: usize) -> Vec<Value> {
    (0..n).map(|i| item(&format!("{prefix}{i}"))).collect()
}

/// A running server; killed when dropped.
pub struct Site {
    pub child: Child,
    pub page: String,
    pub dashboard: String,
    pub base: String,
    said: Arc<Mutex<String>>,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Site {
    pub fn open(dir: &Path, more: &[&str]) -> Self {
        Self::try_open(dir, more).expect("the server starts")
    }

    /// Err: what it said instead of starting.
    pub fn try_open(dir: &Path, more: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.args(["labels", "serve"]).arg(dir).args(more);
        if !more.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let mut out = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut address = || Some(out.next()?.ok()?.split_whitespace().last()?.to_string());
        match (address(), address()) {
            (Some(page), Some(dashboard)) => {
                // A full pipe would stop it.
                let error = child.stderr.take().expect("piped");
                let said = Arc::<Mutex<String>>::default();
                let into = Arc::clone(&said);
                std::thread::spawn(move || {
                    let lines = BufReader::new(error).lines().map_while(Result::ok);
                    lines.for_each(|line| into.lock().expect("no panic").push_str(&format!("{line}\n")));
                });
                let base = page.split("/?").next().unwrap_or(&page).trim_end_matches('/').to_string();
                Ok(Self { child, page, dashboard, base, said })
            }
            _ => {
                let output = child.wait_with_output().expect("it ends");
                Err(format!("{}: {}", output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr)))
            }
        }
    }

    /// What it wrote to standard error so far.
    pub fn said(&self) -> String {
        self.said.lock().expect("no panic").clone()
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

/// Talks to a server like the page does.
pub struct Client {
    agent: ureq::Agent,
    pub base: String,
    pub headers: Vec<(&'static str, String)>,
}

impl Client {
    pub fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .max_redirects(0)
            .build();
        Self { agent: config.new_agent(), base: base.into(), headers: vec![("X-Runner", "1".into())] }
    }

    /// Status and JSON; status 0 where there is no connection.
    pub fn get(&self, path: &str) -> (u16, Value) {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.call().map_or((0, Value::Null), read)
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_text(path, &body.to_string())
    }

    pub fn post_text(&self, path: &str, body: &str) -> (u16, Value) {
        let mut request = self.agent.post(format!("{}{path}", self.base)).header("Content-Type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.send(body).map_or((0, Value::Null), read)
    }

    pub fn next(&self, labeler: &str) -> (u16, Value) {
        self.get(&format!("/api/next?labeler={labeler}"))
    }

    pub fn answer(&self, labeler: &str, item: &Value, place: usize) -> (u16, Value) {
        let body = json!({"labeler": labeler, "item": item["id"], "place": place, "revision": item["revision"]});
        self.post("/api/answer", &body)
    }
}

fn read(response: ureq::http::Response<ureq::Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.into_body().read_to_string().unwrap_or_default();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// (item, labeler) -> highest revision and its candidate, of all whole lines; panics on a line that is none.
pub fn on_disk(dir: &Path) -> BTreeMap<(String, String), (u64, Option<u64>)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("listed").filter_map(Result::ok) {
        let Ok(text) = std::fs::read_to_string(entry.path().join("answers.jsonl")) else { continue };
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            let answer: Value = serde_json::from_str(line).expect("a whole line");
            let text = |name: &str| answer[name].as_str().expect("a text").to_string();
            let value = (answer["revision"].as_u64().unwrap_or(0), answer["best"].as_u64());
            let old = found.insert((text("item"), text("labeler")), value);
            assert!(old.is_none_or(|old: (u64, _)| old.0 < value.0), "written twice: {line}");
        }
    }
    found
}
