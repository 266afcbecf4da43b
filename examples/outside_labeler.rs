//! A labeler outside the program: answers the open questions of a batch (docs/batches.md) by a rule of its own, here
//! the longest candidate. Any language can do the same: both files are JSON lines.
//!
//! cargo run --release --example outside_labeler -- labels/mine/round-0001

use serde_json::{Value, json};
use std::collections::HashSet;
use std::error::Error;
use std::fs::{File, read_to_string};
use std::io::Write;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let batch: PathBuf = std::env::args_os().nth(1).ok_or("name the directory of a batch")?.into();
    let path = batch.join("answers-longest.jsonl");
    let answered: HashSet<String> = read_to_string(&path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["item"].as_str()?.to_string()))
        .collect();
    let mut answers = File::options().create(true).append(true).open(&path)?;
    let mut count = 0;
    for line in read_to_string(batch.join("items.jsonl"))?.lines() {
        let item: Value = serde_json::from_str(line)?;
        let id = item["id"].as_str().ok_or("an item without an id")?;
        if answered.contains(id) {
            continue;
        }
        let candidates = item["candidates"].as_array().ok_or("an item without candidates")?;
        let length = |i: &usize| candidates[*i]["text"].as_str().map_or(0, str::len);
        let best = (0..candidates.len()).max_by_key(length).ok_or("an item without candidates")?;
        writeln!(answers, "{}", json!({ "item": id, "best": best, "labeler": "longest", "revision": 0 }))?;
        count += 1;
    }
    println!("{count} answers in {}", path.display());
    Ok(())
}
