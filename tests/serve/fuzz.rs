//! Damaged and hostile requests, in a seeded order between good ones: none is answered by a failure of the server, none
//! ends it, and whatever answer was acknowledged is on disk. Cases are functions of their number:
//!
//!     RUNNER_FUZZ_CASES=10000 cargo test --release --test serve hostile -- --nocapture
//!
//! Without the variable a few hundred run.

use super::site::{Client, Site, batch, on_disk, questions};
use crate::mutate::mutated;
use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const FEW: u64 = 400;
const ITEMS: usize = 60;
const SECONDS: f64 = 10.0;

const PATHS: [&str; 14] = [
    "/",
    "/dashboard",
    "/page.js",
    "/api/enter",
    "/api/next",
    "/api/previous",
    "/api/answer",
    "/api/instructions",
    "/api/stop",
    "/api/lead/overview",
    "/api/lead/labeler",
    "/api/lead/run",
    "//evil.example/x",
    "/api/../../etc/passwd",
];
const QUERIES: [&str; 12] = [
    "",
    "?labeler=Ada",
    "?labeler=%ff%fe",
    "?labeler=../../x",
    "?labeler=a%00b",
    "?labeler=Ada&steps=18446744073709551615",
    "?labeler=Ada&steps=-1",
    "?labeler=Ada&labeler=Bob",
    "?batch=b1",
    "?batch=../b1",
    "?token=x",
    "?%%%",
];
const NAMES: [&str; 8] = ["Ada", "Bob", "", "  ", "$(touch pwned)", "=1+1", "\u{202e}eva", "a\u{0}b"];

/// What was acknowledged: the highest revision of (item, labeler), and its answer.
type Told = BTreeMap<(String, String), u64>;

/// A value that may stand for any field.
fn odd(rng: &mut ChaCha8Rng) -> Value {
    match rng.random_range(0..12) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(u64::MAX),
        3 => json!(1e308),
        4 => json!(0.5),
        5 => json!(true),
        6 => json!([[[]]]),
        7 => json!({ "a": { "b": [] } }),
        8 => json!("x".repeat(rng.random_range(0..5000))),
        9 => json!("\u{0}\u{1b}[2J\r\n{\"item\":\"q0\"}"),
        10 => json!(u32::MAX),
        _ => json!(rng.random_range(0..8)),
    }
}

/// A body of `path`, good at first; `wrong`: then with one to three fields of other values.
fn body(path: &str, wrong: bool, rng: &mut ChaCha8Rng) -> Value {
    let name = NAMES[rng.random_range(0..if wrong { NAMES.len() } else { 2 })];
    let item = format!("q{}", rng.random_range(0..ITEMS + usize::from(wrong)));
    let mut body = match path {
        "/api/answer" if rng.random_bool(0.2) => json!({ "labeler": name, "item": item, "skip": "cannot say" }),
        "/api/answer" => {
            json!({ "labeler": name, "item": item, "place": rng.random_range(0..4), "revision": rng.random_range(0..3),
                                 "note": "", "confidence": 0.5 })
        }
        "/api/lead/labeler" => {
            json!({ "labeler": name, "action": if rng.random_bool(0.5) { "drop" } else { "restore" }, "by": "Lea" })
        }
        "/api/stop" => json!({ "by": name, "reason": "looks odd" }),
        _ => json!({ "labeler": name }),
    };
    if let (true, Some(fields)) = (wrong, body.as_object_mut()) {
        for _ in 0..rng.random_range(1..4) {
            let names: Vec<String> = fields.keys().cloned().chain(["more".into()]).collect();
            let field = names.choose(rng).cloned().unwrap_or_default();
            if rng.random_bool(0.2) {
                fields.remove(&field);
            } else {
                fields.insert(field, odd(rng));
            }
        }
    }
    body
}

/// Notes an answer that the server says to have.
fn told(all: &mut Told, text: &str) {
    let Ok(sent) = serde_json::from_str::<Value>(text) else { return };
    let field = |name: &str| sent[name].as_str().unwrap_or_default().to_string();
    let highest = all.entry((field("item"), field("labeler"))).or_default();
    *highest = (*highest).max(sent["revision"].as_u64().unwrap_or(0));
}

/// A request as bytes, changed; the answer's status, where there is one.
fn raw(address: &str, case: u64) -> Option<u16> {
    let good = |text: &str| text.replace("HOST", address).into_bytes();
    let corpus = [
        good("GET /api/next?labeler=Ada HTTP/1.1\r\nHost: HOST\r\nX-Runner: 1\r\nConnection: close\r\n\r\n"),
        good(
            "POST /api/answer HTTP/1.1\r\nHost: HOST\r\nX-Runner: 1\r\nContent-Type: application/json\r\nContent-Length: 48\r\nConnection: close\r\n\r\n{\"labeler\":\"Raw\",\"item\":\"nowhere\",\"place\":0     }",
        ),
        good(
            "GET / HTTP/1.1\r\nHost: HOST\r\nAccept: text/html\r\nCookie: a=b; runner_labels_1=x\r\nConnection: close\r\n\r\n",
        ),
    ];
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let _ = stream.write_all(&mutated(&corpus, case));
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

#[test]
fn hostile_requests_end_nothing_and_lose_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let results = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(results.path().join("manifest.json"), "{\"state\": \"running\"").expect("written");
    batch(dir.path(), "b1", &questions("q", ITEMS), 3);
    let site = Site::open(dir.path(), &["--results", results.path().to_str().expect("UTF-8")]);
    let client = Client::new(&site.base);
    let address = site.base.trim_start_matches("http://").to_string();
    let number = |name: &str, otherwise| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let (cases, mut acknowledged) = (number("RUNNER_FUZZ_CASES", FEW), Told::new());
    let (mut statuses, mut slowest) = (BTreeMap::<u16, u64>::new(), 0f64);
    for case in 0..cases {
        let mut rng = ChaCha8Rng::seed_from_u64(case);
        let path = PATHS.choose(&mut rng).copied().unwrap_or_default();
        let started = Instant::now();
        let status = match rng.random_range(0..6) {
            // A good answer.
            0 => answer(&client, &body("/api/answer", false, &mut rng).to_string(), &mut acknowledged),
            1 => answer(&client, &body("/api/answer", true, &mut rng).to_string(), &mut acknowledged),
            2 => {
                let text = mutated(&[body("/api/answer", false, &mut rng).to_string().into_bytes()], case);
                answer(&client, &String::from_utf8_lossy(&text), &mut acknowledged)
            }
            3 => client.get(&format!("{path}{}", QUERIES.choose(&mut rng).copied().unwrap_or_default())).0,
            4 if path != "/api/answer" => client.post(path, &body(path, true, &mut rng)).0,
            _ => raw(&address, case).unwrap_or_default(),
        };
        slowest = slowest.max(started.elapsed().as_secs_f64());
        *statuses.entry(status).or_default() += 1;
        assert!(status < 500, "case {case}: {status}; {}", site.said());
    }
    println!("requests: {cases} cases, by status {statuses:?}, slowest {slowest:.2} s; {} answers", acknowledged.len());
    assert!(slowest < SECONDS, "a request takes {slowest:.1} s");
    assert_eq!(client.get("/api/lead/overview").0, 200, "it still serves: {}", site.said());
    assert!(!site.said().contains("panicked"), "{}", site.said());
    let kept = on_disk(dir.path());
    for (key, revision) in &acknowledged {
        assert!(
            kept.get(key).is_some_and(|(found, _)| found >= revision),
            "{key:?} at {revision} is lost: {:?}",
            kept.get(key)
        );
    }
    assert!(cases < FEW || acknowledged.len() > 20, "too few answers to lose");
}

fn answer(client: &Client, text: &str, acknowledged: &mut Told) -> u16 {
    let (status, _) = client.post_text("/api/answer", text);
    if status == 200 {
        told(acknowledged, text);
    }
    status
}
