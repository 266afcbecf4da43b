//! Many scripted labelers at once. `cargo test --release --test serve measure -- --ignored --nocapture` prints what the
//! README of batches (docs/batches.md) says about speed and memory, and kills the server 20 times under load.

use super::site::{Client, Site, batch, on_disk, questions};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// (item, labeler) -> the place that the server acknowledged.
type Acknowledged = BTreeMap<(String, String), u64>;

/// What labelers saw.
#[derive(Debug, Default)]
pub struct Done {
    pub acknowledged: usize,
    /// Acknowledged, and not on disk as it was.
    pub lost: usize,
    pub seconds: f64,
    /// From sending an answer to having the next item.
    pub latencies: Vec<Duration>,
}

impl Done {
    pub fn percentile(&mut self, share: f64) -> Duration {
        self.latencies.sort();
        let at = ((self.latencies.len() as f64 * share) as usize).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

/// One labeler, until everything is done or `end` is set; what fails is tried again, as the page does.
fn labeler(name: &str, base: &Mutex<String>, end: &AtomicBool, all: &Mutex<(Acknowledged, Vec<Duration>)>) {
    let mut client = Client::new(&base.lock().expect("a lock").clone());
    let mut answered = 0;
    while !end.load(Ordering::SeqCst) {
        let (status, mut next) = client.next(name);
        if status != 200 {
            std::thread::sleep(Duration::from_millis(5));
            client = Client::new(&base.lock().expect("a lock").clone());
            continue;
        }
        while next["state"] == "item" && !end.load(Ordering::SeqCst) {
            let item = next["item"].clone();
            let place = (answered + name.len()) % 4;
            let before = Instant::now();
            let (status, after) = client.answer(name, &item, place);
            let took = before.elapsed();
            match status {
                200 => {
                    let key = (item["id"].as_str().expect("an id").to_string(), name.to_string());
                    let mut all = all.lock().expect("a lock");
                    all.0.insert(key, place as u64);
                    all.1.push(took);
                    drop(all);
                    answered += 1;
                    next = after;
                }
                0 | 500.. => {
                    std::thread::sleep(Duration::from_millis(5));
                    client = Client::new(&base.lock().expect("a lock").clone());
                }
                _ => break,
            }
        }
        if next["state"] == "done" {
            return;
        }
        if next["state"] == "wait" {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Labelers at work while the server is killed `kills` times, `pause` apart, then until all is done.
pub fn with_kills(dir: &Path, labelers: usize, kills: usize, pause: Duration) -> Done {
    let mut site = Site::open(dir, &[]);
    let base = Mutex::new(site.base.clone());
    let (end, all) = (AtomicBool::new(false), Mutex::default());
    let started = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..labelers)
            .map(|i| {
                let (base, end, all) = (&base, &end, &all);
                scope.spawn(move || labeler(&format!("labeler{i}"), base, end, all))
            })
            .collect();
        for _ in 0..kills {
            std::thread::sleep(pause);
            site.kill();
            site = Site::open(dir, &[]);
            *base.lock().expect("a lock") = site.base.clone();
        }
        workers.into_iter().for_each(|w| w.join().expect("a labeler"));
    });
    let seconds = started.elapsed().as_secs_f64();
    drop(site);
    let (acknowledged, latencies) = all.into_inner().expect("a lock");
    Done { acknowledged: acknowledged.len(), lost: lost(dir, &acknowledged), seconds, latencies }
}

/// Acknowledged answers that are not on disk, or are there otherwise.
fn lost(dir: &Path, acknowledged: &Acknowledged) -> usize {
    let disk = on_disk(dir);
    let candidate = |id: &str, place: u64| super::site::item(id)["order"][place as usize].as_u64();
    acknowledged
        .iter()
        .filter(|((item, labeler), place)| {
            disk.get(&(item.clone(), labeler.clone())).is_none_or(|(_, best)| *best != candidate(item, **place))
        })
        .count()
}

/// Peak resident memory of a process; known on Linux only.
pub fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[test]
#[ignore = "a minute of load; prints what docs/batches.md says"]
fn measure() {
    let labelers = 50;
    let dir = tempfile::tempdir().expect("a temporary directory");
    batch(dir.path(), "b1", &questions("q", 20_000), 1);
    let mut done = with_kills(dir.path(), labelers, 0, Duration::ZERO);
    println!(
        "{labelers} labelers: {:.0} durable answers per second; latency median {:?}, 99th percentile {:?}; lost {}",
        done.acknowledged as f64 / done.seconds,
        done.percentile(0.5),
        done.percentile(0.99),
        done.lost
    );
    assert_eq!((done.lost, done.acknowledged), (0, 20_000));

    let dir = tempfile::tempdir().expect("a temporary directory");
    batch(dir.path(), "b1", &questions("q", 40_000), 1);
    let done = with_kills(dir.path(), labelers, 20, Duration::from_millis(400));
    println!("killed 20 times: {} acknowledged, {} lost, {:.0} s", done.acknowledged, done.lost, done.seconds);
    assert_eq!(done.lost, 0);

    let dir = tempfile::tempdir().expect("a temporary directory");
    let long = |i: usize| -> Value {
        let mut item = super::site::item(&format!("q{i}"));
        item["query"] = serde_json::json!({"text": "word ".repeat(400), "ids": vec![1000; 500]});
        (0..4).for_each(|c| {
            item["candidates"][c]["text"] = format!("{c} {}", "word ".repeat(60)).into();
            item["candidates"][c]["ids"] = vec![1000; 75].into();
        });
        item
    };
    batch(dir.path(), "b1", &(0..100_000).map(long).collect::<Vec<_>>(), 1);
    let bytes = std::fs::metadata(dir.path().join("b1/items.jsonl")).expect("there").len();
    let before = Instant::now();
    let site = Site::open(dir.path(), &[]);
    let client = Client::new(&site.base);
    assert_eq!(client.next("Ada").0, 200);
    println!(
        "100,000 items ({} MB): ready in {:.1} s, peak memory {} MB",
        bytes >> 20,
        before.elapsed().as_secs_f64(),
        peak_memory(site.child.id()).unwrap_or(0) >> 20
    );
    let before = Instant::now();
    assert_eq!(client.get("/api/lead/overview").0, 200);
    println!("overview in {:?}, peak memory {} MB", before.elapsed(), peak_memory(site.child.id()).unwrap_or(0) >> 20);
}
