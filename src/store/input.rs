//! Opening files that somebody else made. What a file is, is told by its first bytes and not by its name: packed ones
//! are unpacked, and what stands in for the file that was meant (a git-lfs pointer, a folder, a pipe) is refused by its
//! name. All readers of data, labels, weights and tokenizers open their files here.

use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

const BUFFER: usize = 1 << 20;
/// A pointer is a few lines of text (git-lfs's specification: less than 1024 bytes).
const POINTER: usize = 1024;
/// What a pointer begins with, in the present specification and in the one before it.
const POINTER_STARTS: [&str; 2] =
    ["version https://git-lfs.github.com/spec/", "version https://hawser.github.com/spec/"];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// Packed in ways that are not read here.
const OTHER_PACKED: [(&[u8], &str); 4] = [
    (b"BZh", "is packed by bzip2; unpack it first (bunzip2)"),
    (b"\xfd7zXZ\0", "is packed by xz; unpack it first (unxz)"),
    (b"PK\x03\x04", "is a zip archive; unpack it first (a spreadsheet: save it as CSV)"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it first"),
];

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

/// The bytes of a text file from behind a byte-order mark, unpacked where gzip or zstd packed them.
///
/// # Errors
/// Those of [`open`]; other packings and UTF-16. A packed file that is damaged fails where it is read.
pub fn open_text(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::with_capacity(BUFFER, open(path)?);
    let start = file.fill_buf()?;
    if let Some((_, message)) = OTHER_PACKED.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(refused(*message));
    }
    let mut reader: Box<dyn BufRead> = if start.starts_with(GZIP) {
        packed("gzip", MultiGzDecoder::new(file))
    } else if start.starts_with(ZSTD) {
        packed("zstd", zstd::stream::read::Decoder::with_buffer(file)?)
    } else {
        Box::new(file)
    };
    let start = reader.fill_buf()?;
    if UTF_16.iter().any(|mark| start.starts_with(mark)) {
        return Err(refused("is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"));
    }
    if start.starts_with(BYTE_ORDER_MARK) {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    Ok(reader)
}

fn packed<R: Read + 'static>(kind: &'static str, inner: R) -> Box<dyn BufRead> {
    Box::new(BufReader::with_capacity(BUFFER, Packed { kind, inner }))
}

/// What is unpacked, with errors that say which packing is damaged.
struct Packed<R> {
    kind: &'static str,
    inner: R,
}

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|e| match e.kind() {
            ErrorKind::Interrupted => e,
            _ => refused(format!("not a complete {} file ({e}); fetch it again", self.kind)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(content: &[u8]) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, content).unwrap();
        let mut text = String::new();
        open_text(&path).and_then(|mut r| r.read_to_string(&mut text)).map_err(|e| e.to_string())?;
        Ok(text)
    }

    #[test]
    fn a_git_lfs_pointer_is_not_the_file() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
        let message = text_of(pointer.as_bytes()).unwrap_err();
        assert!(message.contains("is a git-lfs pointer, not the file of 12345 bytes: run `git lfs pull`"), "{message}");
        // A text about pointers is none.
        assert!(text_of(format!("The {pointer}").as_bytes()).is_ok());
    }

    #[test]
    fn packing_is_told_by_the_first_bytes_and_not_by_the_name() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, b"\xef\xbb\xbftext").unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(text_of(&gzip).unwrap(), "text");
        assert!(text_of(&gzip[..gzip.len() - 3]).unwrap_err().contains("not a complete gzip file"));
        let zstd = zstd::encode_all(b"text".as_slice(), 1).unwrap();
        assert_eq!(text_of(&zstd).unwrap(), "text");
        assert_eq!(text_of(&[zstd.clone(), zstd.clone()].concat()).unwrap(), "texttext");
        assert!(text_of(&zstd[..zstd.len() - 2]).unwrap_err().contains("not a complete zstd file"));
        assert!(text_of(b"PK\x03\x04").unwrap_err().contains("zip archive"));
        assert!(text_of(b"\xff\xfet\0").unwrap_err().contains("UTF-16"));
        assert_eq!(text_of(b"").unwrap(), "");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(open(&path).unwrap_err().to_string().contains("is a pipe or device"));
        assert!(open(dir.path()).unwrap_err().to_string().contains("is a folder"));
    }
}
