//! Reading text and rated reviews: synthetic corpora, folders of plain text, TSV files.

use super::{reviews, storyworld};
use crate::spec::{DataFormat, DataSpec, Synthetic};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};

/// Largest file read into memory.
const MAX_BYTES: u64 = 4 << 30;

/// A problem with a data file: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("{path}: {message}", path = path.display())]
    File { path: PathBuf, message: String },
    #[error("{path}:{line}: {message}", path = path.display())]
    Line { path: PathBuf, line: usize, message: String },
    #[error("{0}")]
    Other(String),
}

/// A review and whether it is positive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    pub text: String,
    pub positive: bool,
}

fn file_error(path: &Path, message: impl std::fmt::Display) -> DataError {
    DataError::File { path: path.into(), message: message.to_string() }
}

/// Reads one UTF-8 text file; CRLF becomes LF.
fn read_text(path: &Path) -> Result<String, DataError> {
    let size = std::fs::metadata(path).map_err(|e| file_error(path, e))?.len();
    if size > MAX_BYTES {
        return Err(file_error(path, format!("{size} bytes; at most {MAX_BYTES} are read: split the file")));
    }
    let bytes = std::fs::read(path).map_err(|e| file_error(path, e))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        file_error(
            path,
            format!("not UTF-8 at byte {}; convert it, for example with iconv", e.utf8_error().valid_up_to()),
        )
    })?;
    if text.contains('\0') {
        return Err(file_error(path, "contains NUL bytes; this is not a text file"));
    }
    if text.trim().is_empty() {
        return Err(file_error(path, "is empty"));
    }
    Ok(text.replace("\r\n", "\n"))
}

/// Text documents of a source: `count` synthetic passages, or each file's paragraphs joined into one document.
pub fn documents(spec: &DataSpec, count: usize, seed: u64) -> Result<Vec<String>, DataError> {
    match (&spec.synthetic, &spec.path) {
        (None | Some(Synthetic::Storyworld), None) => {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            Ok((0..count).map(|_| storyworld::passage(&mut rng)).collect())
        }
        (Some(Synthetic::Reviews), None) => {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            Ok((0..count).map(|_| reviews::review(&mut rng).text).collect())
        }
        (_, Some(path)) => text_files(Path::new(path))?.iter().map(|p| Ok(unwrap_lines(&read_text(p)?))).collect(),
    }
}

/// A .txt file, or all .txt files of a folder in name order.
fn text_files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if path.as_os_str().is_empty() {
        return Err(DataError::Other(
            "task.data.path is empty: give a folder of .txt files with --set task.data.path=FOLDER".into(),
        ));
    }
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(|e| file_error(path, e))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("txt")))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(file_error(path, "holds no .txt file"));
    }
    Ok(files)
}

/// Hard-wrapped lines of a paragraph become one line; blank lines still separate paragraphs.
fn unwrap_lines(text: &str) -> String {
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|p| !p.is_empty())
        .collect();
    paragraphs.join("\n")
}

/// Rated reviews: `count` synthetic ones, or a TSV of `text<TAB>label` with labels 0/1 or stars 1-5. Three stars are
/// dropped, and the classes are balanced by dropping from the larger (paper section 3.1.1).
pub fn labelled_reviews(spec: &DataSpec, count: usize, seed: u64) -> Result<Vec<Labelled>, DataError> {
    let rated = match &spec.path {
        None => {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            (0..count)
                .map(|_| reviews::review(&mut rng))
                .filter(|r| r.stars != 3)
                .map(|r| Labelled { text: r.text, positive: r.stars > 3 })
                .collect()
        }
        Some(path) if path.is_empty() => {
            return Err(DataError::Other(
                "labeler.reviews.path is empty: give a TSV file with --set labeler.reviews.path=FILE".into(),
            ));
        }
        Some(path) => read_tsv(Path::new(path), spec.format)?,
    };
    let smaller = rated.iter().filter(|r| r.positive).count().min(rated.iter().filter(|r| !r.positive).count());
    if smaller < 5 {
        return Err(DataError::Other(format!(
            "labeler.reviews: only {smaller} reviews in the smaller class; at least 5 of each are needed"
        )));
    }
    let (mut positive, mut negative) = (0, 0);
    Ok(rated
        .into_iter()
        .filter(|r| {
            let seen = if r.positive { &mut positive } else { &mut negative };
            *seen += 1;
            *seen <= smaller
        })
        .collect())
}

fn read_tsv(path: &Path, format: Option<DataFormat>) -> Result<Vec<Labelled>, DataError> {
    if format == Some(DataFormat::Text) {
        return Err(file_error(path, "reviews need labels: use format = \"tsv\""));
    }
    let text = read_text(path)?;
    let mut rows = Vec::new();
    let mut stars = false;
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let problem = |message: String| DataError::Line { path: path.into(), line: i + 1, message };
        let (text, label) =
            line.rsplit_once('\t').ok_or_else(|| problem("no tab; expected text, tab, label".into()))?;
        let label: u8 = match label.trim().parse() {
            Ok(label @ 0..=5) => label,
            // A first line of column names is not data.
            _ if i == 0 => continue,
            _ => return Err(problem(format!("label {label:?}; expected 0 or 1, or 1 to 5 stars"))),
        };
        stars |= label > 1;
        rows.push((text.trim().to_string(), label));
    }
    let keep = |l: u8| if stars { l != 3 && l != 0 } else { true };
    Ok(rows
        .into_iter()
        .filter(|(_, l)| keep(*l))
        .map(|(text, l)| Labelled { text, positive: if stars { l > 3 } else { l == 1 } })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &[u8]) -> (tempfile::TempDir, DataSpec) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reviews.tsv");
        std::fs::write(&path, text).unwrap();
        let spec = DataSpec {
            path: Some(path.to_string_lossy().into()),
            format: Some(DataFormat::Tsv),
            ..DataSpec::default()
        };
        (dir, spec)
    }

    #[test]
    fn stars_are_binarised_and_balanced() {
        let lines: String =
            (0..6).flat_map(|i| [format!("good {i}\t5\n"), format!("bad {i}\t1\n"), format!("so {i}\t3\n")]).collect();
        let (_dir, spec) = write(format!("{lines}better\t4\n").as_bytes());
        let rows = labelled_reviews(&spec, 0, 0).unwrap();
        assert_eq!(rows.iter().filter(|r| r.positive).count(), 6);
        assert_eq!(rows.len(), 12);
    }

    #[test]
    fn bad_files_say_where() {
        let (_dir, spec) = write(b"good\t1\nno label here\n");
        assert!(labelled_reviews(&spec, 0, 0).unwrap_err().to_string().contains("reviews.tsv:2: no tab"));
        let (_dir, spec) = write(b"\xff\xfe");
        assert!(labelled_reviews(&spec, 0, 0).unwrap_err().to_string().contains("not UTF-8 at byte 0"));
        let (_dir, spec) = write(b"");
        assert!(labelled_reviews(&spec, 0, 0).unwrap_err().to_string().contains("is empty"));
    }
}
