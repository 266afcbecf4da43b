//! metrics.jsonl as a TensorBoard event file: TFRecord framing, hand-encoded `Event` protobufs, masked CRC-32C.

use super::metrics::{name, number, read_metrics};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::read::{ResultsError, write_atomic};
use serde_json::{Map, Value};

/// One fixed name, so that writing again replaces the file instead of adding a second copy of every curve.
const NAME: &str = "events.out.tfevents.0000000000.runner";

/// An event file that grows while a run goes on, so that TensorBoard moves.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: File,
    steps: u64,
}

impl Events {
    /// Writes what `metrics` holds into `out_dir`, in place of an earlier file: a run that goes on from a checkpoint
    /// has no step twice. Every numeric key is a scalar. The step is "elapsed/updates", else the line's number; the
    /// wall time is "elapsed/time" seconds, else 0.
    pub fn open(metrics: &Path, out_dir: &Path) -> Result<Self, ResultsError> {
        let mut out = Vec::new();
        let mut version = Vec::new();
        fixed64(&mut version, 1, 0.0);
        bytes(&mut version, 3, b"brain.Event:2");
        record(&mut out, &version);
        let mut steps = 0;
        for step in read_metrics(metrics)? {
            steps += 1;
            event(&mut out, steps, &step);
        }
        let path = out_dir.join(NAME);
        write_atomic(&path, &out)?;
        let file = File::options().append(true).open(&path);
        let file = file.map_err(|source| ResultsError::Write { path: path.clone(), source })?;
        Ok(Self { path, file, steps })
    }

    /// Adds one line of the metrics.
    pub fn add(&mut self, step: &Map<String, Value>) -> Result<(), ResultsError> {
        self.steps += 1;
        let mut out = Vec::new();
        event(&mut out, self.steps, step);
        // In one piece, and unbuffered: a reader sees whole records.
        self.file.write_all(&out).map_err(|source| ResultsError::Write { path: self.path.clone(), source })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The record of one line, the `line`-th of its file.
fn event(out: &mut Vec<u8>, line: u64, step: &Map<String, Value>) {
    let at = number(step, name::UPDATES).map_or(line, |v| v.max(0.0) as u64);
    let mut summary = Vec::new();
    for key in step.keys() {
        if let Some(value) = number(step, key) {
            let mut entry = Vec::new();
            bytes(&mut entry, 1, key.as_bytes());
            entry.push((2 << 3) | 5);
            entry.extend((value as f32).to_le_bytes());
            bytes(&mut summary, 1, &entry);
        }
    }
    let mut event = Vec::new();
    fixed64(&mut event, 1, number(step, name::TIME).unwrap_or(0.0));
    event.push(2 << 3);
    varint(&mut event, at);
    bytes(&mut event, 5, &summary);
    record(out, &event);
}

fn record(out: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked(data).to_le_bytes());
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, field: u8, data: &[u8]) {
    out.push((field << 3) | 2);
    varint(out, data.len() as u64);
    out.extend(data);
}

fn fixed64(out: &mut Vec<u8>, field: u8, value: f64) {
    out.push((field << 3) | 1);
    out.extend(value.to_le_bytes());
}

/// CRC-32C (Castagnoli), bit by bit: these files are small.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| (c >> 1) ^ (0x82F6_3B78 & (c & 1).wrapping_neg()))
    })
}

/// TFRecord's mask, so that a checksum of data with a checksum inside stays useful.
fn masked(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_matches_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    }

    #[test]
    fn a_file_that_grew_is_the_one_that_is_written_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = dir.path().join("metrics.jsonl");
        let line = |n: u64| format!("{{\"elapsed/updates\":{n},\"objective/kl\":1.5}}\n");
        std::fs::write(&metrics, line(1)).unwrap();
        let mut events = Events::open(&metrics, &dir.path().join("live")).unwrap();
        for n in [2, 3] {
            events.add(serde_json::from_str::<Value>(&line(n)).unwrap().as_object().unwrap()).unwrap();
        }
        std::fs::write(&metrics, (1..=3).map(line).collect::<String>()).unwrap();
        let whole = Events::open(&metrics, &dir.path().join("whole")).unwrap();
        assert_eq!(std::fs::read(events.path()).unwrap(), std::fs::read(whole.path()).unwrap());
        // A run that was killed and goes on from update 2.
        std::fs::write(&metrics, (1..=2).map(line).collect::<String>()).unwrap();
        let mut again = Events::open(&metrics, &dir.path().join("live")).unwrap();
        again.add(serde_json::from_str::<Value>(&line(3)).unwrap().as_object().unwrap()).unwrap();
        assert_eq!(std::fs::read(again.path()).unwrap(), std::fs::read(whole.path()).unwrap());
    }

    #[test]
    fn the_file_decodes_to_the_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = dir.path().join("metrics.jsonl");
        let text = "{\"elapsed/updates\":300,\"objective/kl\":1.5,\"note\":\"x\",\"bad\":null}\n";
        std::fs::write(&metrics, text).unwrap();
        let file = std::fs::read(Events::open(&metrics, &dir.path().join("tensorboard")).unwrap().path()).unwrap();
        let mut records = Vec::new();
        let mut rest = &file[..];
        while !rest.is_empty() {
            let n = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked(&rest[..8]).to_le_bytes());
            let data = &rest[12..12 + n];
            assert_eq!(rest[12 + n..16 + n], masked(data).to_le_bytes());
            records.push(data.to_vec());
            rest = &rest[16 + n..];
        }
        assert_eq!(records.len(), 2);
        let event = &records[1];
        assert_eq!(event[9..12], [2 << 3, 0xAC, 0x02]); // step 300 as a varint
        let at = event.windows(12).position(|w| w == b"objective/kl").unwrap();
        assert_eq!(event[at + 12], (2 << 3) | 5);
        assert_eq!(event[at + 13..at + 17], 1.5f32.to_le_bytes());
        assert!(!event.windows(4).any(|w| w == b"note"));
    }
}
