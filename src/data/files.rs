//! Which files a data source consists of: one file, those of a folder, or those of a data set on the hub; which of them
//! are for evaluation alone; and in what format each is.

use super::error::{DataError, file_error, list};
use super::formats::Want;
use super::hub::{Hub, RepositoryKind};
use crate::spec::names::{ending, format_of, is_about_data, one_format, shown};
use crate::spec::{DataFormat, DataSpec};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// File names in a message.
const MOST_NAMES: usize = 20;

/// The files of a source, in the order in which they are read.
#[derive(Debug, Clone)]
pub struct Files {
    pub train: Vec<PathBuf>,
    pub held_out: Option<Vec<PathBuf>>,
    /// As written in the spec, else that of the first file.
    pub format: DataFormat,
    /// Written in the spec, and so that of all files.
    given: bool,
    /// Of a data set from the hub.
    pub commit: Option<String>,
    /// What lies beside them in the folder and is not read, without having been left out by a pattern.
    pub ignored: Vec<String>,
}

impl Files {
    /// The format of one of the files.
    pub fn format_of(&self, path: &Path) -> Result<DataFormat, DataError> {
        match format_of(&shown(path.file_name().unwrap_or_default())) {
            _ if self.given => Ok(self.format),
            Some(format) => Ok(format),
            None => Err(unknown_format(path)),
        }
    }
}

fn unknown_format(path: &Path) -> DataError {
    file_error(
        path,
        "the format is not known from the name: add format = \"text\", \"tsv\", \"csv\", \"jsonl\", \"json\", \"parquet\" or \"stories\"",
    )
}

/// Names of a source's files, by what they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenFiles {
    pub train: Vec<String>,
    pub held_out: Option<Vec<String>>,
}

/// The files of a spec's source; `None` for synthetic data. `hub` opens the hub, which is not asked for anything where
/// its cache has all.
pub fn resolve(
    spec: &DataSpec,
    want: Want,
    hub: impl FnOnce() -> Result<Hub, DataError>,
) -> Result<Option<Files>, DataError> {
    match (&spec.path, &spec.hf) {
        (Some(path), _) if path.is_empty() => Err(DataError::Other(format!(
            "{key}.path is empty: give {what} with --set {key}.path=PATH",
            key = want.key(),
            what = if want == Want::Reviews { "a file of rated reviews" } else { "a file or folder of text" }
        ))),
        (Some(path), _) => local(spec, Path::new(path)).map(Some),
        (None, Some(repo)) => from_hub(spec, repo, want, &hub()?).map(Some),
        (None, None) => Ok(None),
    }
}

fn local(spec: &DataSpec, path: &Path) -> Result<Files, DataError> {
    let files = |train: Vec<PathBuf>, held_out: Option<Vec<PathBuf>>, folder: Option<DataFormat>| {
        let first = train.first().and_then(|p| format_of(&shown(p.file_name()?)));
        let format = spec.format.or(folder).or(first).ok_or_else(|| unknown_format(path))?;
        Ok(Files { train, held_out, format, given: spec.format.is_some(), commit: None, ignored: Vec::new() })
    };
    if !path.is_dir() {
        let plain = (!path.exists()).then_some(DataFormat::Text);
        return files(vec![path.to_path_buf()], None, plain);
    }
    let patterns = [&spec.files, &spec.held_out_files];
    let depth = patterns.into_iter().flatten().map(|p| p.matches('/').count()).max().unwrap_or(0);
    let folder = Folder::read(path, depth).map_err(|e| file_error(path, e))?;
    let names: Vec<String> = folder.files.keys().cloned().collect();
    let format = match (spec.format, &spec.files) {
        (Some(format), _) => Some(format),
        (None, Some(pattern)) => format_of(pattern),
        (None, None) => Some(one_format(&names).map_err(|message| file_error(path, message))?),
    };
    let chosen = choose(&names, spec, format).map_err(|message| file_error(path, message))?;
    let ignored = match spec.files {
        Some(_) => Vec::new(),
        None => folder.but(&chosen),
    };
    let join = |names: Vec<String>| names.iter().filter_map(|n| folder.files.get(n).cloned()).collect::<Vec<_>>();
    Ok(Files { ignored, ..files(join(chosen.train), chosen.held_out.map(join), format)? })
}

/// What is in a folder.
#[derive(Debug, Default)]
struct Folder {
    /// Files by the names that are shown, and their paths.
    files: BTreeMap<String, PathBuf>,
    /// Folders in it that are not looked into.
    folders: Vec<String>,
}

impl Folder {
    /// Looks into the folder, and into its folders down to `depth`; hidden files are left alone.
    fn read(dir: &Path, depth: usize) -> std::io::Result<Self> {
        let mut found = Self::default();
        found.walk(dir, "", depth)?;
        Ok(found)
    }

    fn walk(&mut self, dir: &Path, prefix: &str, depth: usize) -> std::io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = shown(&entry.file_name());
            if name.starts_with('.') {
                continue;
            }
            let name = format!("{prefix}{name}");
            match entry.path().is_dir() {
                true if depth > 0 => self.walk(&entry.path(), &format!("{name}/"), depth - 1)?,
                true => self.folders.push(format!("{name}/")),
                false => drop(self.files.insert(name, entry.path())),
            }
        }
        self.folders.sort();
        Ok(())
    }

    /// All that is not among the chosen files.
    fn but(&self, chosen: &ChosenFiles) -> Vec<String> {
        let read = |name: &String| {
            chosen.train.contains(name) || chosen.held_out.as_ref().is_some_and(|held_out| held_out.contains(name))
        };
        self.files.keys().filter(|name| !read(name)).chain(&self.folders).cloned().collect()
    }
}

/// What `files` and `held_out_files` name; without `files`, all files of the format. A file that is held out is never
/// trained on.
fn choose(names: &[String], spec: &DataSpec, format: Option<DataFormat>) -> Result<ChosenFiles, String> {
    let matching = |key: &str, pattern: &String| {
        let found: Vec<String> = names.iter().filter(|n| matches(pattern, n)).cloned().collect();
        match found.is_empty() {
            true => Err(format!("{key} = {pattern:?} matches none of its files: {}", list(names, MOST_NAMES))),
            false => Ok(found),
        }
    };
    let held_out = spec.held_out_files.as_ref().map(|p| matching("held_out_files", p)).transpose()?;
    let all = match &spec.files {
        Some(pattern) => matching("files", pattern)?,
        None => {
            let of_format: Vec<String> = names.iter().filter(|n| format_of(n) == format).cloned().collect();
            let data: Vec<String> = of_format.iter().filter(|n| !is_about_data(n)).cloned().collect();
            if data.is_empty() { of_format } else { data }
        }
    };
    let train: Vec<String> =
        all.into_iter().filter(|n| held_out.as_ref().is_none_or(|held: &Vec<String>| !held.contains(n))).collect();
    if train.is_empty() {
        return Err(match (&spec.files, format.map(ending)) {
            _ if names.is_empty() => "holds no file".into(),
            (Some(pattern), _) => format!("files = {pattern:?} matches only files that are held out"),
            (None, Some(ending)) => format!("holds no {ending} file; it has {}", list(names, MOST_NAMES)),
            (None, None) => format!("holds no data file; it has {}", list(names, MOST_NAMES)),
        });
    }
    Ok(ChosenFiles { train, held_out })
}

/// Whether a name is what a pattern says: `*` is any run of characters and `?` one, neither of them a `/`.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (mut patterns, mut names) = (pattern.split('/'), name.split('/'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if part_matches(pattern, name) => {}
            _ => return false,
        }
    }
}

fn part_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // The last star, and how far its run reaches so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match (pattern.get(p), star) {
            (Some('*'), _) => {
                star = Some((p, n));
                p += 1;
            }
            (Some(c), _) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            (_, Some((at, reach))) => {
                star = Some((at, reach + 1));
                p = at + 1;
                n = reach + 1;
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn from_hub(spec: &DataSpec, repo: &str, want: Want, hub: &Hub) -> Result<Files, DataError> {
    let snapshot = hub.snapshot(repo, RepositoryKind::Dataset, spec.revision.as_deref())?;
    let wrong = |message: String| DataError::Hub { what: format!("data set {repo}"), message };
    let (chosen, format) = choose_of_hub(&snapshot.names, spec, want).map_err(wrong)?;
    tracing::debug!(
        "data set {repo}: training on {}; held out: {}",
        list(&chosen.train, MOST_NAMES),
        chosen.held_out.as_ref().map_or_else(|| "every tenth document".into(), |h| list(h, MOST_NAMES))
    );
    let train = hub.get(&snapshot, &chosen.train)?;
    let held_out = chosen.held_out.map(|names| hub.get(&snapshot, &names)).transpose()?;
    Ok(Files {
        train,
        held_out,
        format,
        given: spec.format.is_some(),
        commit: Some(snapshot.commit),
        ignored: Vec::new(),
    })
}

/// Formats that a data set is read in, the first that it has.
const PREFERRED: [DataFormat; 6] =
    [DataFormat::Parquet, DataFormat::Jsonl, DataFormat::Json, DataFormat::Csv, DataFormat::Tsv, DataFormat::Text];

const TRAIN: &[&str] = &["train", "training"];
const VALIDATION: &[&str] = &["validation", "valid", "val", "dev"];
const TEST: &[&str] = &["test", "testing", "eval", "evaluation"];

/// Whether a word for a split stands alone in a name: `data/train-00000-of-00004.parquet`, `train.csv`, `test/0.jsonl`
/// (the hub's own rule for data sets without a configuration).
fn is_split(name: &str, words: &[&str]) -> bool {
    name.to_ascii_lowercase()
        .split(|c: char| "-._ /".contains(c) || c.is_ascii_digit())
        .any(|part| words.contains(&part))
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The files of a data set and their format: what the spec names, else its train split, with validation (else test)
/// held out.
fn choose_of_hub(names: &[String], spec: &DataSpec, want: Want) -> Result<(ChosenFiles, DataFormat), String> {
    let of = |format: DataFormat| -> Vec<String> {
        let data = |n: &&String| format_of(n) == Some(format) && !is_about_data(n);
        names.iter().filter(data).cloned().collect()
    };
    let named = spec.files.as_deref().and_then(format_of);
    let first = || PREFERRED.into_iter().find(|f| !of(*f).is_empty());
    let format = spec.format.or(named).or_else(first);
    let format = format.ok_or_else(|| format!("has no data file of a known format: {}", list(names, MOST_NAMES)))?;
    if spec.files.is_some() {
        return Ok((choose(names, spec, Some(format))?, format));
    }
    let mut chosen = splits(&of(format))?;
    if spec.held_out_files.is_some() {
        let held_out = choose(names, spec, Some(format))?.held_out;
        chosen.train.retain(|n| held_out.as_ref().is_none_or(|h| !h.contains(n)));
        chosen.held_out = held_out;
    }
    if want == Want::Reviews {
        chosen.held_out = None;
    }
    if chosen.train.is_empty() {
        return Err(format!("has no {} file to train on: {}", ending(format), list(names, MOST_NAMES)));
    }
    Ok((chosen, format))
}

/// Splits by the hub's usual names; without a train split, everything that is no other split.
fn splits(all: &[String]) -> Result<ChosenFiles, String> {
    let split = |words: &[&str]| all.iter().filter(|n| is_split(n, words)).cloned().collect::<Vec<_>>();
    let mut train = split(TRAIN);
    if train.is_empty() {
        train = all.iter().filter(|n| !is_split(n, VALIDATION) && !is_split(n, TEST)).cloned().collect();
    }
    let mut folders: Vec<&str> = train.iter().map(|n| folder_of(n)).collect();
    folders.dedup();
    if folders.len() > 1 {
        let example = train.last().map(|n| folder_of(n)).unwrap_or_default();
        return Err(format!(
            "has several sets of files, in {}; choose one, for example files = \"{example}/*train*\"",
            list(&folders, MOST_NAMES)
        ));
    }
    let folder = folders.first().copied().unwrap_or_default();
    // A folder that is itself a split has the others beside it.
    let beside = |n: &String| is_split(folder, TRAIN) || folder_of(n) == folder;
    let held_out = [VALIDATION, TEST]
        .into_iter()
        .map(|words| split(words).into_iter().filter(|n| beside(n) && !train.contains(n)).collect::<Vec<_>>());
    Ok(ChosenFiles { held_out: held_out.into_iter().find(|h| !h.is_empty()), train })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|n| n.to_string()).collect()
    }

    #[test]
    fn patterns_match_within_a_folder() {
        for (pattern, name, wanted) in [
            ("*", "a.csv", true),
            ("*", "a/b.csv", false),
            ("*/*.csv", "a/b.csv", true),
            ("data/train-*.parquet", "data/train-00000-of-00002.parquet", true),
            ("data/train-*.parquet", "data/test-00000-of-00002.parquet", false),
            ("a?c*", "abc", true),
            ("a?c*", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "ababx", false),
            ("", "", true),
            ("é?", "éà", true),
            ("[a]", "a", false),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
        // Many stars take no time.
        assert!(!matches(&"*a".repeat(40), &"a".repeat(39)));
    }

    #[test]
    fn a_data_set_is_read_by_its_splits() {
        let plain = |all: &[&str]| choose_of_hub(&names(all), &DataSpec::default(), Want::Documents);
        let (chosen, format) = plain(&[
            "README.md",
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
            "data/validation-00000-of-00001.parquet",
            "data/test-00000-of-00001.parquet",
            "dataset_infos.json",
        ])
        .unwrap();
        assert_eq!((chosen.train.len(), format), (2, DataFormat::Parquet));
        assert_eq!(chosen.held_out.unwrap(), ["data/validation-00000-of-00001.parquet"]);
        let (chosen, _) = plain(&["train.jsonl", "test.jsonl", "constrained.csv"]).unwrap();
        assert_eq!((chosen.train, chosen.held_out), (names(&["train.jsonl"]), Some(names(&["test.jsonl"]))));
        let (chosen, format) = plain(&["corpus.json", "dataset_infos.json"]).unwrap();
        assert_eq!((chosen.train, chosen.held_out, format), (names(&["corpus.json"]), None, DataFormat::Json));
        let (chosen, _) = plain(&["train/0.csv", "dev/0.csv"]).unwrap();
        assert_eq!(chosen.held_out.unwrap(), ["dev/0.csv"]);
        let error = plain(&["2.0.0/train-0.parquet", "3.0.0/train-0.parquet"]).unwrap_err();
        assert!(error.contains("2.0.0, 3.0.0") && error.contains("files = \"3.0.0/*train*\""), "{error}");
        assert!(plain(&["README.md"]).unwrap_err().contains("no data file"));
        let files = DataSpec { files: Some("3.0.0/train-*.parquet".into()), ..DataSpec::default() };
        let all = names(&["2.0.0/train-0.parquet", "3.0.0/train-0.parquet"]);
        assert_eq!(choose_of_hub(&all, &files, Want::Documents).unwrap().0.train, ["3.0.0/train-0.parquet"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn files_whose_names_are_not_utf8_are_read() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        for name in [b"caf\xe9.jsonl".as_slice(), b"caf\xe8.jsonl", b"b.jsonl"] {
            std::fs::write(dir.path().join(OsStr::from_bytes(name)), "\"a\"\n").unwrap();
        }
        std::fs::create_dir(dir.path().join("more")).unwrap();
        let files = local(&DataSpec::default(), dir.path()).unwrap();
        assert_eq!(
            (files.train.len(), files.format, &files.ignored[..]),
            (3, DataFormat::Jsonl, &["more/".into()][..])
        );
        assert!(files.train.iter().all(|path| path.exists() && files.format_of(path).is_ok()));
    }

    #[test]
    fn a_readme_beside_the_data_is_not_read_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let add = |name: &str| std::fs::write(dir.path().join(name), "\"a\"\n").unwrap();
        ["README.txt", "train.jsonl", "notes.md"].into_iter().for_each(add);
        let files = local(&DataSpec::default(), dir.path()).unwrap();
        assert_eq!(files.train, [dir.path().join("train.jsonl")]);
        assert_eq!((files.format, files.ignored), (DataFormat::Jsonl, names(&["README.txt", "notes.md"])));
        add("book.txt");
        let error = local(&DataSpec::default(), dir.path()).unwrap_err().to_string();
        assert!(error.contains("holds files of several formats, book.txt and train.jsonl; choose with"), "{error}");
        assert!(crate::spec::names::folder_format(dir.path()).is_err());
    }

    #[test]
    fn what_is_held_out_is_not_trained_on() {
        let all = names(&["a.jsonl", "b.jsonl", "c.txt"]);
        let spec = DataSpec { held_out_files: Some("b*".into()), ..DataSpec::default() };
        let chosen = choose(&all, &spec, Some(DataFormat::Jsonl)).unwrap();
        assert_eq!((chosen.train, chosen.held_out), (names(&["a.jsonl"]), Some(names(&["b.jsonl"]))));
        let spec = DataSpec { files: Some("b*".into()), ..spec };
        assert!(choose(&all, &spec, None).unwrap_err().contains("only files that are held out"));
        let spec = DataSpec { files: Some("x*".into()), ..DataSpec::default() };
        assert!(choose(&all, &spec, None).unwrap_err().contains("matches none of its files: a.jsonl, b.jsonl, c.txt"));
    }
}
