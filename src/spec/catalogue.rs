//! The catalogue: names, what each is for, and its places in the order in which they are tried.

use super::names::{is_repository, is_revision, safe_name, safe_pattern};
use super::schema::{Schema, did_you_mean, drop_null};
use super::source::{Node, NodeKind, parse, problem_at, read};
use super::{ColumnsSpec, DataFormat, Origin, Problem};
use crate::store::user;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The catalogue that ships with the program.
const SHIPPED: &str = include_str!("../../specs/sources.toml");
const SHIPPED_NAME: &str = "specs/sources.toml";
/// A user's own file, in the working directory and in the configuration directory's folder `runner`.
const OWN_NAME: &str = "sources.toml";
/// Names may have folders (`labels/tldr_offline_60k`); they become folders where files are kept.
const NAME_PATTERN: &str = "^[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,3}$";

/// What a source is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceUse {
    /// Documents: `task.data`.
    Text,
    /// Rated reviews: `labeler.reviews`.
    Reviews,
    /// A file of recorded human labels: `labeler`.
    Labels,
    /// A model directory: `model.weights`, `policy.source`.
    Model,
    /// A reward model's directory: `reward.source`.
    RewardModel,
}

impl SourceUse {
    /// The part of a spec that takes such a source.
    pub fn key(self) -> &'static str {
        match self {
            Self::Text => "task.data",
            Self::Reviews => "labeler.reviews",
            Self::Labels => "labeler",
            Self::Model => "model.weights",
            Self::RewardModel => "reward",
        }
    }
}

/// A sources.toml.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourcesFile {
    /// Version of this file format.
    #[schemars(range(min = 1, max = 1))]
    pub sources_version: u32,
    /// Beginnings of addresses, each with what takes its place: a mirror inside an institute.
    pub mirrors: BTreeMap<String, String>,
    pub sources: BTreeMap<String, Source>,
}

/// One source. In a user's file a plain string is short for one place: a file or folder, or an address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// What it is read as; a file that replaces the places of a known source need not say it again.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub used_as: Option<SourceUse>,
    /// What it is, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Licence or terms of use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Approximate size of what is fetched, for example "1.3 GB".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)? ?[kMGT]?B$"))]
    pub size: Option<String>,
    /// Where it is, tried in this order; what is here already comes before what must be fetched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<SourcePlace>,
}

/// One place of a source: exactly one of `hf`, `urls`, `tensorflow` and `path`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "Place")]
#[serde(deny_unknown_fields, default)]
pub struct SourcePlace {
    /// A repository of the Hugging Face hub: a data set, or for weights a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hf: Option<String>,
    /// Branch, tag or commit of `hf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Files at plain addresses, without credentials.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Address of a directory with a TensorFlow checkpoint in the layout of the authors' released models; its files are
    /// fetched one by one, and the model is imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensorflow: Option<String>,
    /// One more, for evaluation alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_url: Option<String>,
    /// A file or folder here, relative to the file that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Which files of the folder or data set to read, with `*` and `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
    /// Which of them are for evaluation alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_files: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<DataFormat>,
    #[serde(skip_serializing_if = "ColumnsSpec::is_empty")]
    pub columns: ColumnsSpec,
    /// Records that make one document, in their order: for files of one sentence per record.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 10000))]
    pub join: Option<usize>,
    /// SHA-256 of files of `urls`, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
}

impl SourcePlace {
    /// All addresses, those for training first.
    pub fn addresses(&self) -> impl Iterator<Item = &String> {
        self.urls.iter().chain(&self.held_out_url)
    }

    /// In one line, for a person.
    pub fn describe(&self) -> String {
        if let Some(repository) = &self.hf {
            let files = self.files.as_ref().map(|files| format!(", {files}")).unwrap_or_default();
            let held_out = self.held_out_files.as_ref().map(|files| format!(", {files}")).unwrap_or_default();
            return format!("hf:{repository}{files}{held_out}");
        }
        match self.path.as_ref().or(self.tensorflow.as_ref()) {
            Some(path) => path.clone(),
            None => self.addresses().cloned().collect::<Vec<_>>().join(", "),
        }
    }
}

/// The name of a file at an address.
pub fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path)
}

/// Bytes of a size as a person writes it: `1.3 GB` is 1,300,000,000.
pub fn bytes_of(size: &str) -> Option<u64> {
    let size = size.trim().strip_suffix('B')?.trim_end();
    let (number, factor) = match size.char_indices().next_back()? {
        (at, 'k') => (&size[..at], 1e3),
        (at, 'M') => (&size[..at], 1e6),
        (at, 'G') => (&size[..at], 1e9),
        (at, 'T') => (&size[..at], 1e12),
        _ => (size, 1.0),
    };
    let bytes = number.trim().parse::<f64>().ok()? * factor;
    (bytes.is_finite() && bytes >= 0.0).then_some(bytes as u64)
}

/// All sources by name, and the files that say so.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    sources: BTreeMap<String, Source>,
    /// Which file gave each its places.
    origins: BTreeMap<String, PathBuf>,
    mirrors: BTreeMap<String, String>,
    /// The users' files that were read, lowest first.
    pub files: Vec<PathBuf>,
}

/// `--sources FILE`.
static GIVEN: OnceLock<PathBuf> = OnceLock::new();

/// Lays one more file over the others, for the rest of the process.
pub fn use_file(path: &Path) {
    let _ = GIVEN.set(path.to_path_buf());
}

impl Catalogue {
    /// The shipped catalogue under the user's files, read once.
    ///
    /// # Errors
    /// Every mistake of the user's files, each with its place.
    pub fn current() -> Result<&'static Self, &'static [Problem]> {
        static CURRENT: OnceLock<Result<Catalogue, Vec<Problem>>> = OnceLock::new();
        CURRENT.get_or_init(|| Self::with(&own_files())).as_ref().map_err(Vec::as_slice)
    }

    /// The shipped catalogue with files laid over it, lowest first.
    pub fn with(files: &[PathBuf]) -> Result<Self, Vec<Problem>> {
        let mut all = Self::default();
        let mut problems = Vec::new();
        let shipped = parse(SHIPPED, Path::new(SHIPPED_NAME)).and_then(|node| typed(node, None));
        match shipped {
            Ok(file) => all.lay(file, Path::new(SHIPPED_NAME)),
            Err(found) => problems.extend(found),
        }
        for path in files {
            match read(path).and_then(|node| typed(node, Some(&all))) {
                Ok(file) => {
                    all.lay(file, path);
                    all.files.push(path.clone());
                }
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(all) } else { Err(problems) }
    }

    fn lay(&mut self, file: SourcesFile, path: &Path) {
        self.mirrors.extend(file.mirrors);
        for (name, source) in file.sources {
            let known = self.sources.entry(name.clone()).or_default();
            known.used_as = source.used_as.or(known.used_as);
            known.about = source.about.or(known.about.take());
            known.licence = source.licence.or(known.licence.take());
            known.size = source.size.or(known.size.take());
            if !source.places.is_empty() {
                known.places = source.places;
                self.origins.insert(name, path.to_path_buf());
            }
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    pub fn get(&self, name: &str) -> Option<&Source> {
        self.sources.get(name)
    }

    /// The file that gives a source its places.
    pub fn origin(&self, name: &str) -> Option<&Path> {
        self.origins.get(name).map(PathBuf::as_path)
    }

    /// What is wrong with asking for `name` as `wanted`, and what to do; `None` if nothing is.
    pub fn refusal(&self, name: &str, wanted: SourceUse) -> Option<(String, String)> {
        let Some(source) = self.get(name) else {
            let fitting = || self.sources.iter().filter(|(_, s)| s.used_as == Some(wanted)).map(|(n, _)| n.as_str());
            let near = did_you_mean(name, fitting()).map(|(question, _)| format!("{question} ")).unwrap_or_default();
            let list: Vec<&str> = fitting().collect();
            let hint = format!("{near}`runner sources` lists them; for {}: {}", wanted.key(), list.join(", "));
            return Some((format!("there is no source {name:?}"), hint));
        };
        let used_as = source.used_as?;
        (used_as != wanted).then(|| {
            (
                format!("the source {name:?} is for {}, not for {}", used_as.key(), wanted.key()),
                "`runner sources` lists what each is for".into(),
            )
        })
    }

    /// An address with the longest mirror that its beginning has.
    pub fn mirrored(&self, url: &str) -> String {
        let fits = self.mirrors.iter().filter(|(from, _)| url.starts_with(from.as_str()));
        match fits.max_by_key(|(from, _)| from.len()) {
            Some((from, to)) => format!("{to}{}", &url[from.len()..]),
            None => url.into(),
        }
    }
}

/// The user's files that exist: the configuration directory's, the working directory's, `--sources`.
fn own_files() -> Vec<PathBuf> {
    let found = user::config().map(|dir| dir.join(OWN_NAME)).into_iter().chain([PathBuf::from(OWN_NAME)]);
    // A file that was asked for is read even where it is missing, so that the reader says so.
    found.filter(|path| path.is_file()).chain(GIVEN.get().cloned()).collect()
}

/// The schema of a sources.toml, for editors: with the short form of a source.
pub fn sources_schema() -> Value {
    let mut schema = strict_schema();
    let source = schema["properties"]["sources"]["additionalProperties"].clone();
    schema["properties"]["sources"]["additionalProperties"] = json!({
        "anyOf": [{ "type": "string", "description": "A file or folder, an address (https://), or hf:OWNER/NAME." }, source],
    });
    schema
}

fn strict_schema() -> Value {
    let mut schema = schemars::schema_for!(SourcesFile).to_value();
    drop_null(&mut schema);
    schema["title"] = json!("Named sources of runner");
    schema["properties"]["sources"]["propertyNames"] = json!({ "pattern": NAME_PATTERN });
    schema
}

fn schema() -> &'static Schema {
    static CACHE: OnceLock<Schema> = OnceLock::new();
    CACHE.get_or_init(|| Schema::new(strict_schema()))
}

/// What is wrong with a sources.toml, for `runner validate`.
pub fn check_file(path: &Path) -> Vec<Problem> {
    let below = Catalogue::with(&[]).ok();
    read(path).and_then(|node| typed(node, below.as_ref())).err().unwrap_or_default()
}

/// A parsed file as a catalogue: short forms written out, the schema and the rules between keys checked, and paths made
/// relative to the file. `below`: what is known already, whose names need no `use`.
fn typed(mut node: Node, below: Option<&Catalogue>) -> Result<SourcesFile, Vec<Problem>> {
    write_out(&mut node);
    let mut problems: Vec<Problem> = schema().check(&node).into_iter().map(|mismatch| mismatch.problem).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut file: SourcesFile = serde_json::from_value(node.to_json())
        .map_err(|error| vec![problem_at(&node.origin, String::new(), error.to_string(), None)])?;
    for (name, source) in &file.sources {
        let known = below.and_then(|all| all.get(name));
        for (key, message, hint) in mistakes(source, known) {
            let path = ["sources", name.as_str(), key];
            let place = node.nearest(&path);
            let dotted = format!("sources.{name}{}{key}", if key.is_empty() { "" } else { "." });
            problems.push(problem_at(&place.origin, dotted, message, Some(hint)));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let dir = match &node.origin {
        Origin::File { file, .. } => file.parent().unwrap_or(Path::new("")).to_path_buf(),
        _ => PathBuf::new(),
    };
    for path in file.sources.values_mut().flat_map(|s| &mut s.places).filter_map(|place| place.path.as_mut()) {
        *path = dir.join(super::expand_home(path)).to_string_lossy().into_owned();
    }
    Ok(file)
}

/// A string in the place of a source is one place.
fn write_out(node: &mut Node) {
    let NodeKind::Table(table) = &mut node.kind else { return };
    let Some(NodeKind::Table(sources)) = table.get_mut("sources").map(|sources| &mut sources.kind) else { return };
    for source in sources.values_mut() {
        if let NodeKind::Leaf(Value::String(text)) = &source.kind {
            let place = match text.strip_prefix("hf:") {
                Some(repository) => json!({ "hf": repository }),
                None if is_address(text) => json!({ "urls": [text] }),
                None => json!({ "path": text }),
            };
            *source = Node::from_json(&json!({ "places": [place] }), &source.origin);
        }
    }
}

/// Rules between the keys of one source: the key, what is wrong, what to do.
fn mistakes(source: &Source, known: Option<&Source>) -> Vec<(&'static str, String, String)> {
    let mut found = Vec::new();
    if source.used_as.is_none() && known.is_none() {
        let hint = "say use = \"text\", \"reviews\", \"labels\", \"model\" or \"reward_model\", or take a name that `runner sources` lists";
        found.push(("", "is a new name, and nothing says what it is for".into(), hint.into()));
    }
    if source.places.is_empty() && known.is_none_or(|known| known.places.is_empty()) {
        found.push(("", "has no place".into(), "give places = [{ path = \"...\" }], or hf or urls".into()));
    }
    for place in &source.places {
        found.extend(mistake_of_place(place).map(|(message, hint)| ("places", message, hint)));
    }
    found
}

fn mistake_of_place(place: &SourcePlace) -> Option<(String, String)> {
    let given = [place.hf.is_some(), !place.urls.is_empty(), place.path.is_some(), place.tensorflow.is_some()];
    let given = given.iter().filter(|given| **given).count();
    let refuse = |message: String, hint: &str| Some((message, hint.to_string()));
    if given != 1 {
        return refuse(format!("a place has {given} of `hf`, `urls`, `tensorflow` and `path`"), "give exactly one");
    }
    if let Some(name) = place.hf.as_ref().filter(|name| !is_repository(name)) {
        return refuse(format!("{name:?} is not a name on the hub"), "it has the form owner/name");
    }
    if let Some(revision) = place.revision.as_ref().filter(|r| place.hf.is_none() || !is_revision(r)) {
        return refuse(format!("{revision:?} is no branch, tag or commit of an `hf`"), "remove it, or name one");
    }
    if let Some(url) = place.tensorflow.as_ref().filter(|url| !is_directory_address(url)) {
        return refuse(
            format!("{url:?} is not the address of a directory"),
            "it starts with https://, without ? and #",
        );
    }
    if place.held_out_url.is_some() && place.urls.is_empty() {
        return refuse("held_out_url goes with urls".into(), "use held_out_files for a folder or data set");
    }
    let patterns = [&place.files, &place.held_out_files];
    if !place.urls.is_empty() && patterns.iter().any(|pattern| pattern.is_some()) {
        return refuse(
            "`files` and `held_out_files` choose from a folder or data set, and urls name files".into(),
            "remove them",
        );
    }
    if let Some(pattern) = patterns.into_iter().flatten().find(|pattern| !safe_pattern(pattern)) {
        return refuse(
            format!("{pattern:?} names no files of the folder"),
            "write a name with * and ?, for example \"train-*.jsonl\"",
        );
    }
    mistake_of_addresses(place)
}

/// Whether a text is an address rather than a path.
pub fn is_address(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn is_directory_address(url: &str) -> bool {
    is_address(url) && !url.contains(['?', '#']) && !url.chars().any(char::is_whitespace)
}

fn mistake_of_addresses(place: &SourcePlace) -> Option<(String, String)> {
    let refuse = |message: String, hint: &str| Some((message, hint.to_string()));
    let mut names: Vec<&str> = Vec::new();
    for url in place.addresses() {
        let name = file_name(url);
        if !is_address(url) || url.chars().any(char::is_whitespace) {
            return refuse(format!("{url:?} is not an address"), "it starts with https://");
        }
        if name.is_empty() || name.starts_with('.') || !safe_name(name) {
            return refuse(format!("{url:?} names no file"), "an address ends with the name of a file");
        }
        if names.contains(&name) {
            return refuse(
                format!("two addresses name a file {name:?}"),
                "they would be the same file here; make them two sources",
            );
        }
        names.push(name);
    }
    if let Some(name) = place.sha256.keys().find(|name| place.tensorflow.is_none() && !names.contains(&name.as_str())) {
        return refuse(
            format!("sha256 names {name:?}, which no address ends with"),
            "use the last part of the address",
        );
    }
    let hex = |sum: &&String| sum.len() != 64 || !sum.bytes().all(|b| b.is_ascii_hexdigit());
    let sum = place.sha256.values().find(hex)?;
    refuse(format!("{sum:?} is no SHA-256"), "it has 64 hexadecimal digits")
}
