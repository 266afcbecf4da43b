//! Paths in specs and suites. A path belongs to the file that wrote it: it is looked for beside that file, then where
//! the program runs, which is also where a path of the command line is meant. Once a spec is loaded, its paths can be
//! used as they stand; in a results directory they are written so that they hold wherever the directory goes.

use super::source::{Node, NodeKind};
use super::{DataSpec, Loaded, Origin, Spec, TaskSpec, expand_home, guess_format};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// Keys of a spec that name files or folders.
const OF_SPECS: [&str; 10] = [
    "model.weights.path",
    "task.data.path",
    "labeler.path",
    "labeler.reviews.path",
    "reward.path",
    "policy.path",
    "labeler.human.gold",
    "labeler.human.instructions",
    "labeler.judge.prompt",
    BATCHES,
];
const BATCHES: &str = "labeler.batches";
/// Keys that hold a program's words, some of which may name files.
const WORDS: [&str; 2] = ["labeler.command.run", "reward.command.run"];

/// A key of a spec without the `profile.NAME` and `runs.NAME` it stands under.
fn plain_key(key: &str) -> &str {
    let mut rest = key;
    while let Some(("runs" | "profile", tail)) = rest.split_once('.') {
        rest = tail.split_once('.').map_or("", |(_, key)| key);
    }
    rest
}

/// Whether a dotted key of a spec or a suite names a file or folder.
pub fn is_path(key: &str) -> bool {
    let key = plain_key(key);
    let Some(rest) = key.strip_prefix("members.") else {
        return OF_SPECS.contains(&key) || ["preference.batches", "preference.judge.prompt"].contains(&key);
    };
    match rest.split_once('.').map(|(_, key)| key) {
        Some("spec") => true,
        Some(key) => key.strip_prefix("set.").is_some_and(|key| OF_SPECS.contains(&plain_key(key))),
        None => false,
    }
}

/// Makes the paths of a tree that was written in `dir` findable from where the program runs.
pub fn settle(tree: &mut Node, dir: &Path) {
    walk_node(tree, "", &mut |path, kind| {
        *path = match kind {
            Kind::Path => found(path, dir),
            Kind::Word => found_word(path, dir),
        }
    });
}

/// What a text is that may name a file.
#[derive(Clone, Copy)]
enum Kind {
    Path,
    /// A program's word, most of which name none.
    Word,
}

fn walk_node(node: &mut Node, key: &str, change: &mut impl FnMut(&mut String, Kind)) {
    match &mut node.kind {
        NodeKind::Table(table) => {
            table.iter_mut().for_each(|(name, child)| walk_node(child, &super::source::join(key, name), change));
        }
        NodeKind::Leaf(Value::String(path)) if is_path(key) => change(path, Kind::Path),
        NodeKind::Leaf(Value::Array(words)) if is_words(key) => each_word(words, &mut |word| change(word, Kind::Word)),
        NodeKind::Leaf(_) => {}
    }
}

/// Whether a key holds the words of a program.
fn is_words(key: &str) -> bool {
    WORDS.contains(&plain_key(key.split_once(".set.").map_or(key, |(_, key)| key)))
}

/// Options, and words with white space, are no names of files beside a spec.
fn each_word(words: &mut [Value], change: &mut impl FnMut(&mut String)) {
    for word in words {
        if let Value::String(word) = word
            && !word.starts_with('-')
            && !word.chars().any(|c| c.is_whitespace())
        {
            change(word);
        }
    }
}

/// People are asked other questions in a profile: where it does not say itself where, in a directory of its own, as its
/// results have one.
pub fn of_profile(tree: &mut Node, profile: &str) {
    fn walk(node: &mut Node, key: &str, profile: &str) {
        match &mut node.kind {
            NodeKind::Table(table) => {
                table.iter_mut().for_each(|(name, child)| walk(child, &super::source::join(key, name), profile));
            }
            NodeKind::Leaf(Value::String(path)) if plain_key(key) == BATCHES && !path.is_empty() => {
                if matches!(node.origin, Origin::File { .. }) {
                    *path = format!("{}-{profile}", path.trim_end_matches('/'));
                }
            }
            NodeKind::Leaf(_) => {}
        }
    }
    walk(tree, "", profile);
}

/// A word of a program that stands in a file of `dir`: the file of that name beside it, if there is one. Its path has a
/// separator in it, so that nobody looks for it in PATH.
fn found_word(word: &str, dir: &Path) -> String {
    let home = expand_home(word);
    if home.is_absolute() {
        return home.to_string_lossy().into_owned();
    }
    let beside = tidy(&dir.join(word));
    match (beside.is_file(), beside.components().count() > 1) {
        (true, true) => beside.to_string_lossy().into_owned(),
        (true, false) => format!("./{}", beside.display()),
        (false, _) => word.into(),
    }
}

/// Where a path is, that stands in a file of `dir`. What is in neither place stays as it is written: a folder to be
/// made is made where the program runs.
fn found(path: &str, dir: &Path) -> String {
    let home = expand_home(path);
    if path.is_empty() || home.is_absolute() {
        return home.to_string_lossy().into_owned();
    }
    let beside = tidy(&dir.join(path));
    if beside.exists() { beside.to_string_lossy().into_owned() } else { path.into() }
}

/// Without `.` and, where the name before it is no link, `..`.
pub fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        let named = matches!(out.components().next_back(), Some(Component::Normal(_)));
        match part {
            Component::CurDir => {}
            Component::ParentDir if named && !out.is_symlink() => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

/// A tree of settings, in which every path holds for a file in `out`: relative if it lies inside, so that both can be
/// moved, else absolute.
pub fn portable(value: &mut Value, out: &Path) {
    let out = absolute(out);
    walk_value(value, "", &mut |key, path| {
        if is_path(key) && !path.is_empty() {
            let whole = absolute(Path::new(path));
            let inside = whole.strip_prefix(&out).ok().filter(|rest| !rest.as_os_str().is_empty());
            *path = inside.unwrap_or(&whole).to_string_lossy().into_owned();
        }
        if is_words(key) && Path::new(path.as_str()).is_file() && path.contains(std::path::is_separator) {
            *path = absolute(Path::new(path)).to_string_lossy().into_owned();
        }
    });
}

fn walk_value(value: &mut Value, key: &str, change: &mut impl FnMut(&str, &mut String)) {
    match value {
        Value::Object(table) => {
            table.iter_mut().for_each(|(name, child)| walk_value(child, &super::source::join(key, name), change));
        }
        Value::String(text) => change(key, text),
        Value::Array(words) if is_words(key) => each_word(words, &mut |word| change(key, word)),
        _ => {}
    }
}

fn absolute(path: &Path) -> PathBuf {
    tidy(&std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()))
}

/// A path as it stands in a file of `dir`, in the form in which two of them can be compared.
pub fn comparable(path: &str, dir: &Path) -> String {
    if path.is_empty() {
        return String::new();
    }
    let found = PathBuf::from(found(path, dir));
    found.canonicalize().unwrap_or(found).to_string_lossy().into_owned()
}

/// A spec whose paths hold for a file in `out`.
pub fn portable_spec(spec: &Spec, out: &Path) -> Spec {
    changed(spec, |value| portable(value, out))
}

/// A spec with other texts in it; itself where they make no spec.
fn changed(spec: &Spec, change: impl FnOnce(&mut Value)) -> Spec {
    let Ok(mut value) = serde_json::to_value(spec) else { return spec.clone() };
    change(&mut value);
    serde_json::from_value(value).unwrap_or_else(|_| spec.clone())
}

impl Loaded {
    /// One of several seeds, each of which has results of its own (`NAME-seed-N`): people are asked in a directory of
    /// its own too, since the questions are others.
    #[must_use]
    pub fn of_several_seeds(self) -> Self {
        let seed = self.spec.seed;
        let of_seed = |spec: &Spec| {
            changed(spec, |value| {
                walk_value(value, "", &mut |key, path| {
                    if plain_key(key) == BATCHES && !path.is_empty() {
                        *path = format!("{}-seed-{seed}", path.trim_end_matches('/'));
                    }
                });
            })
        };
        let variants = self.variants.iter().map(|(name, spec)| (name.clone(), of_seed(spec))).collect();
        Self { spec: of_seed(&self.spec), variants, ..self }
    }
}

impl DataSpec {
    /// What stages depend on beside the content of the files: all but their place.
    #[must_use]
    pub fn without_place(&self) -> Self {
        match &self.path {
            Some(_) => Self { path: Some(String::new()), format: guess_format(self), ..self.clone() },
            None => self.clone(),
        }
    }
}

impl TaskSpec {
    /// The task with its data as in [`DataSpec::without_place`].
    #[must_use]
    pub fn without_place(&self) -> Self {
        Self { data: self.data.without_place(), ..self.clone() }
    }
}
