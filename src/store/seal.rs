//! JSON files that vouch for themselves and for the files that belong to them: whoever continues from one trusts
//! nothing that is not under a checksum.

use super::atomic::{hash_file, write_atomic};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};

/// A file that belongs to a sealed one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Relative to the sealed file's directory.
    pub file: String,
    /// Bytes that are vouched for.
    pub bytes: u64,
    /// Whether more may follow: a log that goes on.
    pub grows: bool,
    pub blake3: String,
}

impl Part {
    /// A file as it is.
    pub fn whole(dir: &Path, file: &str) -> io::Result<Self> {
        let path = dir.join(file);
        let (bytes, blake3) = (path.metadata()?.len(), hash_file(&path)?);
        Ok(Self { file: file.into(), bytes, grows: false, blake3 })
    }

    /// A log as far as it has grown, which is on disk when this returns.
    pub fn so_far(dir: &Path, file: &str) -> io::Result<Self> {
        File::options().append(true).open(dir.join(file))?.sync_all()?;
        Ok(Self { grows: true, ..Self::whole(dir, file)? })
    }

    /// Err: why the file is not what it was.
    fn check(&self, dir: &Path) -> io::Result<()> {
        let mut parts = Path::new(&self.file).components();
        if !parts.all(|part| matches!(part, Component::Normal(_) | Component::ParentDir)) {
            return Err(damaged(format!("{:?} is no file's name", self.file)));
        }
        let path = dir.join(&self.file);
        let file = super::input::open(&path).map_err(|e| damaged(format!("{}: {e}", path.display())))?;
        let length = file.metadata()?.len();
        if length < self.bytes || (!self.grows && length > self.bytes) {
            return Err(damaged(format!("{} has {length} bytes and had {}", path.display(), self.bytes)));
        }
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut file.take(self.bytes), &mut hasher)?;
        match hasher.finalize().to_hex().as_str() == self.blake3 {
            true => Ok(()),
            false => Err(damaged(format!("{}: wrong checksum", path.display()))),
        }
    }
}

fn damaged(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    value: T,
    parts: Vec<Part>,
    /// Of the two above, as JSON.
    blake3: String,
}

fn hash<T: Serialize>(value: &T, parts: &[Part]) -> io::Result<String> {
    Ok(blake3::hash(&serde_json::to_vec(&(value, parts))?).to_hex().to_string())
}

/// Writes a value that vouches for itself and its parts.
pub fn write<T: Serialize>(path: &Path, value: &T, parts: Vec<Part>) -> io::Result<()> {
    let blake3 = hash(value, &parts)?;
    write_atomic(path, format!("{:#}\n", serde_json::to_value(Sealed { value, parts, blake3 })?).as_bytes())
}

/// Reads it back.
///
/// # Errors
/// Why it, or one of its parts, is not what was written.
pub fn read<T: Serialize + DeserializeOwned>(path: &Path) -> io::Result<(T, Vec<Part>)> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let text = super::input::read(path)?;
    let named = |message: String| damaged(format!("{}: {message}", path.display()));
    let sealed: Sealed<T> = serde_json::from_slice(&text).map_err(|e| named(e.to_string()))?;
    if hash(&sealed.value, &sealed.parts)? != sealed.blake3 {
        return Err(named("wrong checksum".into()));
    }
    sealed.parts.iter().try_for_each(|part| part.check(dir))?;
    Ok((sealed.value, sealed.parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Every single changed byte, and every length, is found.
    #[test]
    fn no_byte_that_is_vouched_for_changes_unnoticed() {
        let dir = tempfile::tempdir().unwrap();
        let (at, log) = (dir.path().join("a.json"), dir.path().join("log"));
        fs::write(dir.path().join("weights"), "0123").unwrap();
        fs::write(&log, "one\ntwo\n").unwrap();
        let parts = vec![Part::whole(dir.path(), "weights").unwrap(), Part::so_far(dir.path(), "log").unwrap()];
        let value = (0.15f64, 0.1f32, 7u64);
        write(&at, &value, parts.clone()).unwrap();
        assert_eq!(read::<(f64, f32, u64)>(&at).unwrap(), (value, parts));
        // A log goes on.
        fs::write(&log, "one\ntwo\nthree\n").unwrap();
        assert!(read::<(f64, f32, u64)>(&at).is_ok());
        for (path, vouched) in [(at.clone(), usize::MAX), (log, 8), (dir.path().join("weights"), 4)] {
            let good = fs::read(&path).unwrap();
            for i in 0..good.len().min(vouched) {
                let mut bad = good.clone();
                bad[i] = if bad[i].is_ascii_digit() { b'0' + (bad[i] - b'0' + 1) % 10 } else { bad[i] ^ 1 };
                fs::write(&path, &bad).unwrap();
                let found = read::<(f64, f32, u64)>(&at);
                let same = found.as_ref().is_ok_and(|(found, _)| *found == value);
                // A blank between tokens, or a last digit beyond a number's precision, says nothing.
                assert!(found.is_err() || same, "byte {i} of {}", path.display());
                fs::write(&path, &good[..i]).unwrap();
                // The newline at the end is not missed.
                assert!(
                    good[i..] == *b"\n" || read::<(f64, f32, u64)>(&at).is_err(),
                    "{i} bytes of {}",
                    path.display()
                );
            }
            fs::write(&path, &good).unwrap();
        }
    }
}
