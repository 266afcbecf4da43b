//! Files that only grow, one JSON value per line: a line is on disk when the call returns, and one that a crash cut
//! short is moved aside, never glued to the next.

use super::atomic::{sync_directory, write_atomic};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes read at a time in search of the last line's start.
const STEP: u64 = 1 << 16;

/// What was found at the end of a file that is about to grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// Nothing, or a whole line.
    Whole,
    /// A whole JSON value that lacked its newline, which it has now.
    Ended,
    /// A part of a line, now in the file named here.
    Moved(PathBuf),
}

/// Opens a file to append to, made if need be, and repairs its last line.
pub fn open(path: &Path) -> io::Result<(File, Tail)> {
    let fresh = !path.exists();
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    let mut file = opened(path)?;
    if fresh {
        sync_directory(parent)?;
    }
    let tail = repair(&mut file, path)?;
    Ok((file, tail))
}

/// Adds one line. Several processes may do so at once: they take turns by the file's own lock.
pub fn append_line(path: &Path, line: &str) -> io::Result<Tail> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    let lock = opened(path)?;
    lock.lock()?;
    let (mut file, tail) = open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()?;
    sync_directory(parent)?;
    Ok(tail)
}

fn opened(path: &Path) -> io::Result<File> {
    // Opening a pipe would wait for its other end; a link may lead to a file that is something else.
    if std::fs::symlink_metadata(path).is_ok_and(|about| !about.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a file; lines are not added to anything else"));
    }
    File::options().create(true).read(true).append(true).open(path)
}

fn repair(file: &mut File, path: &Path) -> io::Result<Tail> {
    let length = file.metadata()?.len();
    let (start, last) = last_line(file, length)?;
    if last.is_empty() {
        return Ok(Tail::Whole);
    }
    if serde_json::from_slice::<serde_json::Value>(&last).is_ok() {
        file.write_all(b"\n")?;
        file.sync_all()?;
        return Ok(Tail::Ended);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = (1..).map(|i| path.with_file_name(format!("{name}.partial-{i}"))).find(|p| !p.exists());
    let aside = aside.ok_or_else(|| io::Error::other("no free name for the partial line"))?;
    write_atomic(&aside, &last)?;
    file.set_len(start)?;
    file.sync_all()?;
    Ok(Tail::Moved(aside))
}

/// What follows the last newline, and where it starts.
fn last_line(file: &mut File, length: u64) -> io::Result<(u64, Vec<u8>)> {
    let mut last = Vec::new();
    let mut start = length;
    while start > 0 {
        let step = STEP.min(start);
        let mut part = vec![0; step as usize];
        file.seek(SeekFrom::Start(start - step))?;
        file.read_exact(&mut part)?;
        if let Some(at) = part.iter().rposition(|b| *b == b'\n') {
            let mut kept = part.split_off(at + 1);
            start -= kept.len() as u64;
            kept.append(&mut last);
            return Ok((start, kept));
        }
        start -= step;
        part.append(&mut last);
        last = part;
    }
    Ok((0, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_line_is_moved_aside_and_a_whole_one_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        assert_eq!(append_line(&path, "{\"a\":1}").unwrap(), Tail::Whole);
        let long = format!("{{\"b\":\"{}", "x".repeat(200_000));
        File::options().append(true).open(&path).unwrap().write_all(long.as_bytes()).unwrap();
        let Tail::Moved(aside) = append_line(&path, "{\"c\":2}").unwrap() else { panic!("it was partial") };
        assert_eq!(std::fs::read_to_string(aside).unwrap(), long);
        File::options().append(true).open(&path).unwrap().write_all(b"{\"d\":3}").unwrap();
        assert_eq!(append_line(&path, "{\"e\":4}").unwrap(), Tail::Ended);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"a\":1}\n{\"c\":2}\n{\"d\":3}\n{\"e\":4}\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, link) = (dir.path().join("pipe"), dir.path().join("link"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).unwrap();
        for path in [&pipe, &link] {
            assert!(append_line(path, "{}").unwrap_err().to_string().contains("is not a file"));
        }
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn processes_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::thread::scope(|s| {
            for i in 0..4 {
                let path = &path;
                s.spawn(move || (0..25).for_each(|j| drop(append_line(path, &format!("[{i},{j}]")).unwrap())));
            }
        });
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 100);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
