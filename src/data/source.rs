//! Text and rated reviews of a spec's data source: synthetic corpora, files and folders of every known format, data sets
//! of the Hugging Face hub (docs/data.md).

pub use super::error::DataError;
use super::files::{self, Files};
pub use super::formats::Want;
use super::formats::{Names, open};
use super::hub::Hub;
use super::{articles, posts, reviews, storyworld};
use crate::spec::{DataFormat, DataSpec, Synthetic};
use crate::store::atomic::hash_file;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};

/// A text, and the reference summary that came with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// For `.story` files the whole file, `@highlight` lines included.
    pub text: String,
    pub summary: Option<String>,
}

impl AsRef<str> for Document {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl From<String> for Document {
    fn from(text: String) -> Self {
        Self { text, summary: None }
    }
}

/// The documents of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    pub train: Vec<Document>,
    /// From files that are for evaluation alone; `None` where the source names none.
    pub held_out: Option<Vec<Document>>,
    /// Whether each document is a whole plain text file, a book perhaps.
    pub plain_text: bool,
}

/// A review and whether it is positive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    pub text: String,
    pub positive: bool,
}

/// Documents of a source: `count` synthetic passages, or what its files hold, in the order of names and records; at most
/// `spec.limit` for training, and as many held out. Data of the hub are fetched if they are not in its cache.
pub fn documents(spec: &DataSpec, count: usize, seed: u64) -> Result<Documents, DataError> {
    if let Some(files) = resolve(spec, Want::Documents)? {
        let read = |paths: &[PathBuf]| read_all(spec, paths, &files);
        let held_out = files.held_out.as_deref().map(read).transpose()?;
        return Ok(Documents { train: read(&files.train)?, held_out, plain_text: files.format == DataFormat::Text });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let one = |_| match spec.synthetic {
        None | Some(Synthetic::Storyworld) => storyworld::passage(&mut rng).into(),
        Some(Synthetic::Reviews) => reviews::review(&mut rng).text.into(),
        Some(Synthetic::Posts) => posts::post(&mut rng),
        Some(Synthetic::Articles) => articles::article(&mut rng),
    };
    let train = (0..count.min(spec.limit.unwrap_or(usize::MAX))).map(one).collect();
    Ok(Documents { train, ..Documents::default() })
}

fn read_all(spec: &DataSpec, paths: &[PathBuf], files: &Files) -> Result<Vec<Document>, DataError> {
    let mut all = Vec::new();
    let each = &mut |record: super::formats::Record| {
        all.push(Document { text: record.text, summary: record.summary });
    };
    match spec.join {
        None => each_record(spec, paths, files, Want::Documents, each)?,
        Some(join) => each_joined(spec, join, paths, files, each)?,
    }
    Ok(all)
}

/// Hands over documents that are `join` records each, in their order; a rest that is shorter is one too.
fn each_joined(
    spec: &DataSpec,
    join: usize,
    paths: &[PathBuf],
    files: &Files,
    each: &mut dyn FnMut(super::formats::Record),
) -> Result<(), DataError> {
    let records = DataSpec { limit: spec.limit.map(|limit| limit.saturating_mul(join)), ..spec.clone() };
    let mut run: Vec<String> = Vec::with_capacity(join);
    let mut flush = |run: &mut Vec<String>| {
        let text = super::join::join(&std::mem::take(run));
        each(super::formats::Record { text, summary: None, label: None });
    };
    each_record(&records, paths, files, Want::Documents, &mut |record| {
        run.push(record.text);
        if run.len() == join {
            flush(&mut run);
        }
    })?;
    if !run.is_empty() {
        flush(&mut run);
    }
    Ok(())
}

/// Hands over the records of all files until there are `spec.limit`. All files must be read by the same columns.
fn each_record(
    spec: &DataSpec,
    paths: &[PathBuf],
    files: &Files,
    want: Want,
    each: &mut dyn FnMut(super::formats::Record),
) -> Result<(), DataError> {
    let mut left = spec.limit.unwrap_or(usize::MAX);
    let mut seen: Option<(Names, &Path)> = None;
    for path in paths {
        if left == 0 {
            break;
        }
        let reader = open(path, files.format_of(path)?, &spec.columns, want, Some(left))?;
        match (&seen, reader.names.clone()) {
            (Some((before, first)), Some(now)) if (&before.text, &before.label) != (&now.text, &now.label) => {
                return Err(super::error::file_error(
                    path,
                    format!(
                        "is read by the columns {}, and {} by {}; name them with columns",
                        describe(&now),
                        first.display(),
                        describe(before)
                    ),
                ));
            }
            (None, Some(now)) => {
                tracing::debug!("{}: columns {}", path.display(), describe(&now));
                seen = Some((now, path));
            }
            _ => {}
        }
        for record in reader.take(left) {
            each(record?);
            left -= 1;
        }
    }
    Ok(())
}

fn describe(names: &Names) -> String {
    let all = [Some(&names.text), names.summary.as_ref(), names.label.as_ref()];
    all.into_iter().flatten().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(" and ")
}

/// Rated reviews: `count` synthetic ones, or those of files with labels 0/1, stars 1-5 or positive/negative. Three stars
/// and empty reviews are dropped, and the classes are balanced by dropping from the larger (paper section 3.1.1).
pub fn labelled_reviews(spec: &DataSpec, count: usize, seed: u64) -> Result<Vec<Labelled>, DataError> {
    let rated = match resolve(spec, Want::Reviews)? {
        Some(files) => read_reviews(spec, &files)?,
        None => {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            (0..count)
                .map(|_| reviews::review(&mut rng))
                .filter(|r| r.stars != 3)
                .map(|r| Labelled { text: r.text, positive: r.stars > 3 })
                .take(spec.limit.unwrap_or(usize::MAX))
                .collect()
        }
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

/// Labels of all files together are either 0/1 or stars.
fn read_reviews(spec: &DataSpec, files: &Files) -> Result<Vec<Labelled>, DataError> {
    let (mut rows, mut zero, mut most) = (Vec::new(), false, 0.0f64);
    each_record(spec, &files.train, files, Want::Reviews, &mut |record| {
        let label = record.label.unwrap_or_default();
        zero |= label == 0.0;
        most = most.max(label);
        if !record.text.trim().is_empty() {
            rows.push((record.text, label));
        }
    })?;
    let stars = most > 1.0;
    if stars && zero {
        return Err(DataError::Other(format!(
            "labeler.reviews: labels run from 0 to {most}; expected 0 and 1, or 1 to 5 stars"
        )));
    }
    let keep = |label: f64| !stars || label != 3.0;
    let positive = |label: f64| if stars { label > 3.0 } else { label == 1.0 };
    Ok(rows
        .into_iter()
        .filter(|(_, label)| keep(*label))
        .map(|(text, label)| Labelled { text, positive: positive(label) })
        .collect())
}

fn resolve(spec: &DataSpec, want: Want) -> Result<Option<Files>, DataError> {
    files::resolve(spec, want, Hub::from_env)
}

/// Documents of a grammar that stand for all of it in a cache key.
const FINGERPRINTED: usize = 256;

/// Stands for the content of a source in a cache key: files of the hub are named by their commit, others are hashed; of
/// posts and articles the first ones are. `None` for stories and reviews, whose stages have other means.
pub fn fingerprint(spec: &DataSpec, want: Want) -> Result<Option<String>, DataError> {
    let Some(files) = resolve(spec, want)? else {
        if !matches!(spec.synthetic, Some(Synthetic::Posts | Synthetic::Articles)) {
            return Ok(None);
        }
        let all = documents(spec, FINGERPRINTED, 0)?.train;
        let text: String = all.iter().map(|d| format!("{}\0{:?}\0", d.text, d.summary)).collect();
        return Ok(Some(blake3::hash(text.as_bytes()).to_hex().to_string()));
    };
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &str| {
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
    };
    for (part, paths) in [("train", Some(&files.train)), ("held out", files.held_out.as_ref())] {
        add(part);
        for path in paths.into_iter().flatten() {
            match &files.commit {
                // Without the cache's own place, which may change.
                Some(commit) => {
                    let name: PathBuf = path.iter().skip_while(|part| *part != commit.as_str()).collect();
                    add(&name.to_string_lossy());
                }
                None => add(&hash_file(path).map_err(|e| super::error::file_error(path, e))?),
            }
        }
    }
    Ok(Some(hasher.finalize().to_hex().to_string()))
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
    fn grammars_with_summaries_have_fingerprints() {
        let of = |synthetic| DataSpec { synthetic: Some(synthetic), ..DataSpec::default() };
        let posts = fingerprint(&of(Synthetic::Posts), Want::Documents).unwrap().unwrap();
        assert_eq!(posts, fingerprint(&of(Synthetic::Posts), Want::Documents).unwrap().unwrap());
        assert_ne!(posts, fingerprint(&of(Synthetic::Articles), Want::Documents).unwrap().unwrap());
        assert_eq!(fingerprint(&of(Synthetic::Storyworld), Want::Documents).unwrap(), None);
    }

    #[test]
    fn bad_files_say_where() {
        let (_dir, spec) = write(b"good\t1\nno label here\n");
        assert!(labelled_reviews(&spec, 0, 0).unwrap_err().to_string().contains("reviews.tsv:2: no tab"));
        let (_dir, spec) = write(b"\xff\x00");
        assert!(labelled_reviews(&spec, 0, 0).unwrap_err().to_string().contains("not UTF-8 at byte 0"));
        let (_dir, spec) = write(b"");
        assert!(labelled_reviews(&spec, 0, 0).unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn stars_that_start_at_zero_are_refused_and_words_are_understood() {
        let (_dir, spec) = write(b"a\t0\nb\t1\nc\t4\n");
        assert!(labelled_reviews(&spec, 0, 0).unwrap_err().to_string().contains("labels run from 0 to 4"));
        let lines: String = (0..5).map(|i| format!("good {i}\tpositive\nbad {i}\tNEG\n")).collect();
        let (_dir, spec) = write(lines.as_bytes());
        assert_eq!(labelled_reviews(&spec, 0, 0).unwrap().len(), 10);
    }
}
