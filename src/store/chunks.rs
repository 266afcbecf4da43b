//! What a stage makes chunk by chunk (samples, scores), kept as it comes: a stopped or killed stage goes on with the
//! chunk after the last. A chunk must be a function of its number alone; each line vouches for its chunk and its place.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The chunks of one stage's part, in order.
#[derive(Debug)]
pub struct Chunks {
    path: PathBuf,
    /// None where the first rank of the run keeps them for all.
    file: Option<File>,
    /// Lines that were there, without their checksums.
    kept: VecDeque<String>,
    /// Chunks behind us.
    done: usize,
    /// Bytes of the file that hold them.
    bytes: u64,
}

fn hash(number: usize, text: &str) -> String {
    blake3::hash(format!("{number} {text}").as_bytes()).to_hex()[..32].to_string()
}

impl Chunks {
    /// Opens `dir/NAME.chunks`, made if need be. Lines from the first damaged one on are made again.
    pub fn open(dir: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{name}.chunks"));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let mut kept = VecDeque::new();
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let text = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix('\n')?.split_once(' '));
            match text {
                Some((sum, text)) if sum == hash(kept.len(), text) => kept.push_back(text.to_string()),
                _ => break,
            }
        }
        let file = Some(File::options().create(true).append(true).open(&path)?);
        Ok(Self { path, file, kept, done: 0, bytes: 0 })
    }

    /// The same chunks on a rank that writes none: `kept` is what the first one found.
    pub fn beside_first(dir: &Path, name: &str, kept: Vec<String>) -> Self {
        let path = dir.join(format!("{name}.chunks"));
        Self { path, file: None, kept: kept.into(), done: 0, bytes: 0 }
    }

    /// The chunks that need not be made, as they were written.
    pub fn texts(&self) -> Vec<String> {
        self.kept.iter().cloned().collect()
    }

    /// Chunks that need not be made.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// The next chunk: the kept one, or what `make` makes of its number, which is kept.
    pub fn next<T: Serialize + DeserializeOwned, E: From<Broken>>(
        &mut self,
        make: impl FnOnce(usize) -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(text) = self.kept.pop_front() {
            if let Ok(chunk) = serde_json::from_str(&text) {
                self.done += 1;
                self.bytes += line(self.done - 1, &text).len() as u64;
                return Ok(chunk);
            }
            // Numbers that are none have no JSON; what follows is made again too.
            self.kept.clear();
        }
        let chunk = make(self.done)?;
        self.add(&chunk).map_err(|source| E::from(Broken { path: self.path.clone(), source }))?;
        Ok(chunk)
    }

    fn add(&mut self, chunk: &impl Serialize) -> io::Result<()> {
        let line = line(self.done, &serde_json::to_string(chunk)?);
        if let Some(file) = &mut self.file {
            if file.metadata()?.len() > self.bytes {
                file.set_len(self.bytes)?;
            }
            file.write_all(line.as_bytes())?;
        }
        self.done += 1;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

fn line(number: usize, text: &str) -> String {
    format!("{} {text}\n", hash(number, text))
}

/// The file of chunks could not be written.
#[derive(Debug)]
pub struct Broken {
    pub path: PathBuf,
    pub source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    impl From<Broken> for String {
        fn from(e: Broken) -> Self {
            e.source.to_string()
        }
    }

    /// Takes chunks up to `to`; how many were made.
    fn take(dir: &Path, to: usize) -> usize {
        let mut chunks = Chunks::open(dir, "c").unwrap();
        let mut made = 0;
        for i in 0..to {
            let chunk: Vec<f32> = chunks
                .next(|n| {
                    made += 1;
                    Ok::<_, String>(vec![n as f32 / 3.0])
                })
                .unwrap();
            assert_eq!(chunk, [i as f32 / 3.0]);
        }
        made
    }

    #[test]
    fn chunks_are_made_once_and_damaged_ones_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.chunks");
        assert_eq!((take(dir.path(), 3), take(dir.path(), 5)), (3, 2));
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(take(dir.path(), 5), 5 - whole[..cut].iter().filter(|b| **b == b'\n').count());
            assert!(fs::read(&path).unwrap() == whole, "cut at {cut}");
        }
        // A line in another place is not that place's.
        let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
        fs::write(&path, [lines[0], lines[2], lines[1]].concat()).unwrap();
        assert_eq!(take(dir.path(), 5), 4);
        assert!(fs::read(&path).unwrap() == whole);
    }

    #[test]
    fn what_has_no_json_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let mut chunks = Chunks::open(dir.path(), "c").unwrap();
            let nan: f32 = chunks.next(|_| Ok::<_, String>(f32::NAN)).unwrap();
            let one: f32 = chunks.next(|_| Ok::<_, String>(1.0)).unwrap();
            assert!(nan.is_nan() && one == 1.0);
        }
        assert_eq!(fs::read_to_string(dir.path().join("c.chunks")).unwrap().lines().count(), 2);
    }
}
