//! Opening files that somebody else made: what stands in for the file that was meant (a git-lfs pointer, a folder, a pipe)
//! is refused by its name.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

/// A pointer is a few lines of text (git-lfs's specification: less than 1024 bytes).
const POINTER: usize = 1024;
/// What a pointer begins with, in the present specification and in the one before it.
const POINTER_STARTS: [&str; 2] =
    ["version https://git-lfs.github.com/spec/", "version https://hawser.github.com/spec/"];

fn refused(message: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message.into())
}

/// Opens a regular file that is what it is taken for.
///
/// # Errors
/// Those of the file system; a folder, pipe or device; a git-lfs pointer.
pub fn open(path: &Path) -> io::Result<File> {
    // Asked before opening, for opening a pipe waits until somebody writes to it.
    let about = std::fs::metadata(path)?;
    if about.is_dir() {
        return Err(refused("is a folder; a file is expected"));
    }
    if !about.is_file() {
        return Err(refused("is a pipe or device, and is read more than once; write it into a file"));
    }
    let mut file = File::open(path)?;
    if about.len() < POINTER as u64 {
        let mut start = Vec::new();
        (&mut file).take(POINTER as u64).read_to_end(&mut start)?;
        if let Some(message) = pointer(&start) {
            return Err(refused(message));
        }
        file.seek(SeekFrom::Start(0))?;
    }
    Ok(file)
}

/// What to do where this is the text that git has instead of a large file.
pub fn pointer(content: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(content).ok()?;
    if !POINTER_STARTS.iter().any(|start| text.starts_with(start)) {
        return None;
    }
    let size = text.lines().find_map(|line| line.strip_prefix("size ")?.parse::<u64>().ok());
    let size = size.map(|bytes| format!(" of {bytes} bytes")).unwrap_or_default();
    Some(format!("is a git-lfs pointer, not the file{size}: run `git lfs pull` where it was cloned, or fetch it again"))
}

/// The whole content of such a file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The whole content of such a file of text.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|e| refused(not_utf8(e.utf8_error().valid_up_to() as u64)))
}

/// The message for bytes that are no UTF-8, the first of them at `at` from the file's start.
pub fn not_utf8(at: u64) -> String {
    format!("not UTF-8 at byte {at}; convert it, for example with iconv")
}
