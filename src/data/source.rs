//! Text and rated reviews of a spec's data source: synthetic corpora, files and folders of every known format, data
//! sets of the Hugging Face hub (docs/data.md).

pub use super::error::DataError;
use super::error::{file_error, list};
use super::files::{self, Files};
pub use super::formats::Want;
use super::formats::{Names, Record, open};
use super::hub::Hub;
use super::read_report::ReadReport;
use super::{articles, posts, reviews, storyworld};
use crate::spec::{DataFormat, DataSpec, Synthetic};
use crate::store::atomic::hash_file;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names of files that are not read, and of labels, in a message.
const MOST_IGNORED: usize = 20;
const MOST_LABELS: usize = 12;

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
    /// What was read and dropped.
    pub report: ReadReport,
}

/// Rated reviews, and what was read and dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reviews {
    pub rows: Vec<Labelled>,
    pub report: ReadReport,
}

/// A review and whether it is positive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    pub text: String,
    pub positive: bool,
}

/// Documents of a source: `count` synthetic passages, or what its files hold, in the order of names and records; at
/// most `spec.limit` for training, and as many held out. Data of the hub are fetched if they are not in its cache.
pub fn documents(spec: &DataSpec, count: usize, seed: u64) -> Result<Documents, DataError> {
    let mut report = ReadReport::new(Want::Documents.key(), "documents");
    if let Some(files) = resolve(spec, Want::Documents)? {
        let mut read = |paths: &[PathBuf]| read_all(spec, paths, &files, &mut report);
        let train = read(&files.train)?;
        let held_out = files.held_out.as_deref().map(read).transpose()?;
        return Ok(Documents { train, held_out, plain_text: files.format == DataFormat::Text, report });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let one = |_| match spec.synthetic {
        None | Some(Synthetic::Storyworld) => storyworld::passage(&mut rng).into(),
        Some(Synthetic::Reviews) => reviews::review(&mut rng).text.into(),
        Some(Synthetic::Posts) => posts::post(&mut rng),
        Some(Synthetic::Articles) => articles::article(&mut rng),
    };
    let train: Vec<Document> = (0..count.min(spec.limit.unwrap_or(usize::MAX))).map(one).collect();
    train.iter().for_each(|_| report.keep());
    Ok(Documents { train, report, ..Documents::default() })
}

fn read_all(
    spec: &DataSpec,
    paths: &[PathBuf],
    files: &Files,
    report: &mut ReadReport,
) -> Result<Vec<Document>, DataError> {
    let mut all = Vec::new();
    let each = &mut |record: Record, report: &mut ReadReport| {
        report.keep();
        all.push(Document { text: record.text, summary: record.summary });
    };
    match spec.join {
        None => each_record(spec, paths, files, Want::Documents, report, each)?,
        Some(join) => return read_joined(spec, join, paths, files, report),
    }
    Ok(all)
}

/// Documents that are `join` records each, in their order; a rest that is shorter is one too.
fn read_joined(
    spec: &DataSpec,
    join: usize,
    paths: &[PathBuf],
    files: &Files,
    report: &mut ReadReport,
) -> Result<Vec<Document>, DataError> {
    let records = DataSpec { limit: spec.limit.map(|limit| limit.saturating_mul(join)), ..spec.clone() };
    let (mut all, mut run) = (Vec::new(), Vec::with_capacity(join));
    each_record(&records, paths, files, Want::Documents, report, &mut |record, report| {
        report.keep();
        run.push(record.text);
        if run.len() == join {
            all.push(super::join::join(&std::mem::take(&mut run)).into());
        }
    })?;
    if !run.is_empty() {
        all.push(super::join::join(&run).into());
    }
    Ok(all)
}

/// Hands over the records of all files until there are `spec.limit`. All files must be read by the same columns. `each`
/// counts every record in the report.
fn each_record(
    spec: &DataSpec,
    paths: &[PathBuf],
    files: &Files,
    want: Want,
    report: &mut ReadReport,
    each: &mut dyn FnMut(Record, &mut ReadReport),
) -> Result<(), DataError> {
    let mut left = spec.limit.unwrap_or(usize::MAX);
    let mut seen_records = report.records;
    if !files.ignored.is_empty() {
        report.remark(format!("not read: {}", list(&files.ignored, MOST_IGNORED)));
    }
    let mut seen: Option<(Names, &Path)> = None;
    for path in paths {
        if left == 0 {
            break;
        }
        report.files += 1;
        let mut reader = open(path, files.format_of(path)?, &spec.columns, spec.lines.unwrap_or_default(), want)?;
        let tally = std::rc::Rc::clone(&reader.tally);
        match (&seen, reader.names.clone()) {
            (Some((before, first)), Some(now)) if (&before.text, &before.label) != (&now.text, &now.label) => {
                return Err(file_error(
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
                if !now.beside.is_empty() {
                    report.remark(format!(
                        "read by {}, and not by {} (columns of the spec would say otherwise)",
                        describe(&now),
                        list(&now.beside, MOST_IGNORED)
                    ));
                }
                seen = Some((now, path));
            }
            _ => {}
        }
        for record in reader.by_ref().take(left) {
            each(record?, report);
            left -= 1;
        }
        tally.add_to(report);
        seen_records += tally.records();
    }
    if left == 0 {
        report.remark(format!("reading ended at limit = {}", spec.limit.unwrap_or_default()));
    }
    report.check(seen_records)
}

fn describe(names: &Names) -> String {
    let all = [Some(&names.text), names.summary.as_ref(), names.label.as_ref()];
    all.into_iter().flatten().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(" and ")
}

/// Rated reviews: `count` synthetic ones, or those of files with labels 0/1, stars 1-5 or positive/negative. Three
/// stars and empty reviews are dropped, and the classes are balanced by dropping from the larger (paper section 3.1.1).
pub fn labelled_reviews(spec: &DataSpec, count: usize, seed: u64) -> Result<Reviews, DataError> {
    let mut report = ReadReport::new(Want::Reviews.key(), "reviews");
    let (rated, codes) = match resolve(spec, Want::Reviews)? {
        Some(files) => read_reviews(spec, &files, &mut report)?,
        None => (synthetic_reviews(spec, count, seed, &mut report), None),
    };
    let smaller = rated.iter().filter(|r| r.positive).count().min(rated.iter().filter(|r| !r.positive).count());
    if smaller < 5 {
        let found = codes.map(|codes| format!(" ({codes})")).unwrap_or_default();
        return Err(DataError::Other(format!(
            "labeler.reviews: only {smaller} reviews in the smaller class; at least 5 of each are needed{found}"
        )));
    }
    let larger = rated.len() - 2 * smaller;
    report.drop_kept("of the larger class", larger as u64);
    let (mut positive, mut negative) = (0, 0);
    let rows = rated
        .into_iter()
        .filter(|r| {
            let seen = if r.positive { &mut positive } else { &mut negative };
            *seen += 1;
            *seen <= smaller
        })
        .collect();
    Ok(Reviews { rows, report })
}

fn synthetic_reviews(spec: &DataSpec, count: usize, seed: u64, report: &mut ReadReport) -> Vec<Labelled> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rated = Vec::new();
    for review in (0..count).map(|_| reviews::review(&mut rng)) {
        if rated.len() == spec.limit.unwrap_or(usize::MAX) {
            break;
        }
        match review.stars {
            3 => report.drop(UNDECIDED, 1),
            stars => {
                report.keep();
                rated.push(Labelled { text: review.text, positive: stars > 3 });
            }
        }
    }
    rated
}

const UNDECIDED: &str = "of 3 stars";

/// What the labels of a source mean, which all its files together say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codes {
    /// 1 is positive, 0 negative.
    Binary,
    /// Above 3 positive, below 3 negative.
    Stars,
    /// 2 is positive, 1 negative: the polarity data sets of Zhang et al. 2015 as CSV.
    OneTwo,
}

impl Codes {
    fn of(labels: &BTreeMap<String, u64>) -> Self {
        let found: Vec<&str> = labels.keys().map(String::as_str).collect();
        match found[..] {
            ["1", "2"] => Self::OneTwo,
            _ if found.iter().all(|label| matches!(*label, "0" | "1")) => Self::Binary,
            _ => Self::Stars,
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Binary => "1 for positive and 0 for negative",
            Self::Stars => "stars, of which those above 3 are positive, those below negative, and 3 is dropped",
            Self::OneTwo => "codes, 2 for positive and 1 for negative, as there are no 4 and 5 stars",
        }
    }

    /// `None` for a label that is neither.
    fn positive(self, label: f64) -> Option<bool> {
        match self {
            Self::Binary => Some(label == 1.0),
            Self::Stars => (label != 3.0).then_some(label > 3.0),
            Self::OneTwo => Some(label == 2.0),
        }
    }
}

/// The reviews with a sentiment, and what their labels were taken for.
fn read_reviews(
    spec: &DataSpec,
    files: &Files,
    report: &mut ReadReport,
) -> Result<(Vec<Labelled>, Option<String>), DataError> {
    let (mut rows, mut labels) = (Vec::new(), BTreeMap::<String, u64>::new());
    each_record(spec, &files.train, files, Want::Reviews, report, &mut |record, report| {
        let label = record.label.unwrap_or_default();
        *labels.entry(label.to_string()).or_default() += 1;
        match record.text.trim().is_empty() {
            true => report.drop("empty", 1),
            false => {
                report.keep();
                rows.push((record.text, label));
            }
        }
    })?;
    let counts: Vec<String> = labels.iter().map(|(label, count)| format!("{label} ({count})")).collect();
    let codes = Codes::of(&labels);
    if codes == Codes::Stars && labels.contains_key("0") {
        return Err(DataError::Other(format!(
            "labeler.reviews: labels are {}; expected 0 and 1, or 1 to 5 stars",
            list(&counts, MOST_LABELS)
        )));
    }
    let taken = format!("labels {} are taken for {}", list(&counts, MOST_LABELS), codes.meaning());
    if codes == Codes::OneTwo {
        tracing::warn!("labeler.reviews: {taken}");
    }
    report.remark(taken.clone());
    let rated: Vec<Labelled> = rows
        .into_iter()
        .filter_map(|(text, label)| Some(Labelled { text, positive: codes.positive(label)? }))
        .collect();
    report.drop_kept(UNDECIDED, report.kept - rated.len() as u64);
    Ok((rated, Some(taken)))
}

fn resolve(spec: &DataSpec, want: Want) -> Result<Option<Files>, DataError> {
    files::resolve(spec, want, Hub::from_env)
}

/// Changes when files are read otherwise than before, so that what was made of them is made again.
const READING: &str = "reading 3";

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
    add(READING);
    for (part, paths) in [("train", Some(&files.train)), ("held out", files.held_out.as_ref())] {
        add(part);
        for path in paths.into_iter().flatten() {
            match &files.commit {
                // Without the cache's own place, which may change.
                Some(commit) => {
                    let name: PathBuf = path.iter().skip_while(|part| *part != commit.as_str()).collect();
                    add(&name.to_string_lossy());
                }
                None => add(&hash_file(path).map_err(|e| file_error(path, e))?),
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
        let rows = labelled_reviews(&spec, 0, 0).unwrap().rows;
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
    fn labels_one_and_two_are_codes_and_said_to_be() {
        let lines: String = (0..6).map(|i| format!("good {i}\t2\nbad {i}\t1\n")).collect();
        let (_dir, spec) = write(lines.as_bytes());
        let found = labelled_reviews(&spec, 0, 0).unwrap();
        assert!(found.rows.iter().all(|r| r.positive == r.text.starts_with("good")));
        assert!(found.report.remarks[0].contains("labels 1 (6), 2 (6) are taken for codes, 2 for positive"));
        let (_dir, spec) = write(lines.replace("\t2", "\t5").replace("\t1", "\t3").as_bytes());
        let message = labelled_reviews(&spec, 0, 0).unwrap_err().to_string();
        assert!(message.contains("only 0 reviews in the smaller class"), "{message}");
        assert!(
            message.contains("labels 3 (6), 5 (6) are taken for stars, of which those above 3 are positive"),
            "{message}"
        );
    }

    #[test]
    fn what_is_dropped_is_counted_by_reason() {
        let lines: String = (0..6).map(|i| format!("good {i}\t5\nbad {i}\t1\n")).collect();
        let (_dir, spec) = write(format!("text\trating\n{lines}so\t3\nbetter\t4\n \t1\n\n").as_bytes());
        let report = labelled_reviews(&spec, 0, 0).unwrap().report;
        assert_eq!(
            report.dropped,
            [("empty", 1), ("of 3 stars", 1), ("of the larger class", 1)].map(|(r, n)| (r.into(), n)).into()
        );
        assert_eq!((report.records, report.kept, report.files), (15, 12, 1));
    }

    #[test]
    fn stars_that_start_at_zero_are_refused_and_words_are_understood() {
        let (_dir, spec) = write(b"a\t0\nb\t1\nc\t4\n");
        assert!(
            labelled_reviews(&spec, 0, 0).unwrap_err().to_string().contains("labels are 0 (1), 1 (1), 4 (1); expected")
        );
        let lines: String = (0..5).map(|i| format!("good {i}\tpositive\nbad {i}\tNEG\n")).collect();
        let (_dir, spec) = write(lines.as_bytes());
        assert_eq!(labelled_reviews(&spec, 0, 0).unwrap().rows.len(), 10);
    }
}
