//! Reading one TOML file into a tree whose every node knows where it was written, and merging such trees.

use super::{Origin, Problem, instead_of};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const LARGEST_FILE: u64 = 1 << 20;

/// A value and where it was set.
#[derive(Debug, Clone)]
pub struct Node {
    pub kind: NodeKind,
    pub origin: Origin,
    /// `profile.NAME` or `runs.NAME` once the node has been laid over the base; else empty.
    pub prefix: String,
}

#[derive(Debug, Clone)]
pub enum NodeKind {
    Table(BTreeMap<String, Node>),
    Leaf(Value),
}

impl Node {
    pub fn table(origin: Origin) -> Self {
        Self { kind: NodeKind::Table(BTreeMap::new()), origin, prefix: String::new() }
    }

    pub fn from_json(value: &Value, origin: &Origin) -> Self {
        let kind = match value {
            Value::Object(map) => {
                NodeKind::Table(map.iter().map(|(key, value)| (key.clone(), Self::from_json(value, origin))).collect())
            }
            leaf => NodeKind::Leaf(leaf.clone()),
        };
        Self { kind, origin: origin.clone(), prefix: String::new() }
    }

    pub fn to_json(&self) -> Value {
        match &self.kind {
            NodeKind::Table(table) => {
                Value::Object(table.iter().map(|(key, node)| (key.clone(), node.to_json())).collect::<Map<_, _>>())
            }
            NodeKind::Leaf(value) => value.clone(),
        }
    }

    pub fn children(&self) -> Option<&BTreeMap<String, Node>> {
        match &self.kind {
            NodeKind::Table(table) => Some(table),
            NodeKind::Leaf(_) => None,
        }
    }

    pub fn get<S: AsRef<str>>(&self, path: &[S]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.children()?.get(key.as_ref()))
    }

    /// The node at `path`, or the nearest one above it.
    pub fn nearest<S: AsRef<str>>(&self, path: &[S]) -> &Node {
        (0..=path.len()).rev().find_map(|length| self.get(&path[..length])).unwrap_or(self)
    }

    pub fn remove<S: AsRef<str>>(&mut self, path: &[S]) -> Option<Node> {
        let (first, rest) = path.split_first()?;
        let NodeKind::Table(table) = &mut self.kind else { return None };
        if rest.is_empty() { table.remove(first.as_ref()) } else { table.get_mut(first.as_ref())?.remove(rest) }
    }

    /// Sets `path`, making the tables above it.
    pub fn insert(&mut self, path: &[String], node: Node) {
        let Some((first, rest)) = path.split_first() else { return };
        if !matches!(self.kind, NodeKind::Table(_)) {
            self.kind = NodeKind::Table(BTreeMap::new());
        }
        let NodeKind::Table(table) = &mut self.kind else { return };
        if rest.is_empty() {
            table.insert(first.clone(), node);
        } else {
            let origin = node.origin.clone();
            table.entry(first.clone()).or_insert_with(|| Node::table(origin)).insert(rest, node);
        }
    }

    /// The same tree, marked as an overlay `prefix`; `profile` names the profile it is.
    pub fn overlay(&self, prefix: &str, profile: Option<&str>) -> Node {
        let origin = match (&self.origin, profile) {
            (Origin::File { file, line, column }, Some(name)) => {
                Origin::Profile { name: name.into(), file: file.clone(), line: *line, column: *column }
            }
            (origin, _) => origin.clone(),
        };
        let kind = match &self.kind {
            NodeKind::Table(table) => {
                NodeKind::Table(table.iter().map(|(key, node)| (key.clone(), node.overlay(prefix, profile))).collect())
            }
            leaf => leaf.clone(),
        };
        let prefix = if matches!(origin, Origin::CommandLine(_)) { String::new() } else { prefix.to_string() };
        Node { kind, origin, prefix }
    }

    /// Every leaf with its dotted path.
    pub fn leaves(&self) -> Vec<(String, &Node)> {
        fn walk<'a>(node: &'a Node, path: &str, out: &mut Vec<(String, &'a Node)>) {
            match &node.kind {
                NodeKind::Table(table) => table.iter().for_each(|(key, child)| walk(child, &join(path, key), out)),
                NodeKind::Leaf(_) => out.push((path.to_string(), node)),
            }
        }
        let mut out = Vec::new();
        walk(self, "", &mut out);
        out
    }
}

pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

/// Keys that say the same thing in different ways: setting the first in a higher layer drops the others of lower ones.
const REPLACES: [(&[&str], &str, &[&str]); 17] = [
    (&["model.weights"], "source", &["pretrain", "path", "hf", "revision"]),
    (&["model.weights"], "path", &["source", "pretrain", "hf", "revision"]),
    (&["model.weights"], "hf", &["source", "pretrain", "path", "revision"]),
    (&["model.weights"], "pretrain", &["source", "path", "hf", "revision"]),
    (
        DATA,
        "source",
        &["synthetic", "path", "hf", "revision", "files", "held_out_files", "format", "lines", "columns", "join"],
    ),
    (DATA, "path", &["source", "synthetic", "hf", "revision", "files", "held_out_files"]),
    (DATA, "hf", &["source", "synthetic", "path", "revision", "files", "held_out_files"]),
    (
        DATA,
        "synthetic",
        &["source", "path", "hf", "revision", "files", "held_out_files", "format", "lines", "columns", "join"],
    ),
    (&["labeler"], "source", &["path"]),
    (&["labeler"], "path", &["source"]),
    (&["reward", "policy"], "source", &["path"]),
    (&["reward", "policy"], "path", &["source"]),
    (&["model"], "size", &["dimensions"]),
    // For β, `horizon` in a higher layer drops a lower `gain`.
    (&["policy.kl"], "horizon", &["gain"]),
    // What only one schedule, or one kind of labeler, has.
    (&["collect"], "schedule", &["rounds", "round_labels", "initial", "retrain", "validation_share", "outstanding"]),
    (&["policy"], "algorithm", &["samples_per_query", "dpo"]),
    (&["labeler"], "kind", &["source", "path", "format", "split", "batches", "human"]),
];
const DATA: &[&str] = &["task.data", "labeler.reviews"];

/// The keys that a higher layer drops at `path` by setting `key`.
pub fn replaced_by<'a>(path: &'a str, key: &'a str) -> impl Iterator<Item = &'static str> + 'a {
    let said = move |(tables, setter, _): &&(&[&str], &str, &[&'static str])| tables.contains(&path) && *setter == key;
    REPLACES.iter().filter(said).flat_map(|(_, _, dropped)| dropped.iter().copied())
}

/// Lays `higher` over `lower`: tables merge, anything else replaces.
pub fn merge(lower: &mut Node, higher: &Node) {
    merge_at(lower, higher, "");
}

/// Merges two `runs` tables.
pub fn merge_runs(lower: &mut Node, higher: &Node) {
    merge_at(lower, higher, "runs");
}

fn merge_at(lower: &mut Node, higher: &Node, path: &str) {
    let (NodeKind::Table(below), NodeKind::Table(above)) = (&mut lower.kind, &higher.kind) else {
        *lower = higher.clone();
        return;
    };
    let section = section_of(path);
    for key in above.keys() {
        for dropped in replaced_by(section, key) {
            if !above.contains_key(dropped) {
                below.remove(dropped);
            }
        }
    }
    if section == "model" && brings_weights(above) {
        // Other weights are of another size than the one below was said of.
        below.retain(|key, _| !matches!(key.as_str(), "size" | "dimensions"));
    }
    if !matches!(higher.origin, Origin::Default) {
        lower.origin = higher.origin.clone();
        lower.prefix = higher.prefix.clone();
    }
    for (key, node) in above {
        match below.get_mut(key) {
            Some(existing) => merge_at(existing, node, &join(path, key)),
            None => {
                below.insert(key.clone(), node.clone());
            }
        }
    }
}

/// A layer of `model` that names weights and says nothing of their size.
fn brings_weights(model: &BTreeMap<String, Node>) -> bool {
    let weights = model.get("weights").and_then(Node::children);
    let given =
        ["path", "hf", "source"].into_iter().any(|key| weights.is_some_and(|weights| weights.contains_key(key)));
    given && !model.contains_key("size") && !model.contains_key("dimensions")
}

/// `runs.a.task.data` and `profile.p.runs.a.task.data` follow the rules of `task.data`.
fn section_of(path: &str) -> &str {
    let mut rest = path;
    while let Some(("runs" | "profile", tail)) = rest.split_once('.') {
        rest = tail.split_once('.').map_or("", |(_, section)| section);
    }
    rest
}

/// Reads and parses `path`. `None`: nothing usable; the problems say why.
pub fn read(path: &Path) -> Result<Node, Vec<Problem>> {
    let text = read_text(path).map_err(|problem| vec![problem])?;
    parse(&text, path)
}

fn read_text(path: &Path) -> Result<String, Problem> {
    let whole = |message: String, hint: Option<&str>| Problem {
        file: Some(path.to_path_buf()),
        line: 0,
        column: 0,
        path: String::new(),
        message,
        hint: hint.map(str::to_string),
    };
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => whole("there is no such file".into(), instead_of(path).as_deref()),
        _ => whole(format!("cannot be read: {error}"), None),
    })?;
    if !metadata.is_file() {
        return Err(whole("is not a file".into(), Some("give the path of a .toml spec")));
    }
    if metadata.len() > LARGEST_FILE {
        return Err(whole(
            format!("is {} bytes long, and a spec has at most {LARGEST_FILE}", metadata.len()),
            Some("is this a spec?"),
        ));
    }
    let bytes = std::fs::read(path).map_err(|error| whole(format!("cannot be read: {error}"), None))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        let (line, column) = position(&valid, valid.len());
        let mut problem = whole("this byte is not UTF-8".into(), Some("save the file as UTF-8 text"));
        (problem.line, problem.column) = (line, column);
        problem
    })
}

/// Parses TOML text as if it stood in `file`; all syntax errors at once.
pub fn parse(text: &str, file: &Path) -> Result<Node, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let origin = |span: Range<usize>| {
        let (line, column) = position(text, span.start);
        Origin::File { file: file.to_path_buf(), line, column }
    };
    let mut problems: Vec<Problem> = errors
        .iter()
        .map(|error| {
            let span = error.span().unwrap_or(0..0);
            let (line, column) = position(text, span.start);
            let message = match error.message() {
                "duplicate key" => given_twice(text, span),
                said if said.starts_with("invalid boolean") || said.starts_with("string values must be quoted") => {
                    no_value(text.get(span.start..).unwrap_or_default())
                }
                other => format!("not TOML: {}", other.replace('\n', ", ")),
            };
            Problem { file: Some(file.to_path_buf()), line, column, path: String::new(), message, hint: None }
        })
        .collect();
    let mut node = Node::table(origin(0..0));
    if let NodeKind::Table(out) = &mut node.kind {
        *out = convert_table(table.get_ref(), "", &origin, &mut problems);
    }
    if problems.is_empty() { Ok(node) } else { Err(problems) }
}

/// A word where a value is expected, at the start of `rest`: the parser takes what begins with f or t for a boolean.
fn no_value(rest: &str) -> String {
    let word = rest.split(|c: char| c.is_whitespace() || ",]}#".contains(c)).next().unwrap_or_default();
    match word.to_ascii_lowercase().as_str() {
        small @ ("true" | "false") => format!("not TOML: {word:?} is no value; write {small}"),
        _ => format!("not TOML: {word} is no value; text stands in quotes: {word:?}"),
    }
}

/// A key that stands twice in a table, and where it stood first: the last line of that table so far that begins with
/// it.
fn given_twice(text: &str, span: Range<usize>) -> String {
    let key = text.get(span.clone()).unwrap_or_default().trim();
    let here = text.get(..span.start).unwrap_or_default().matches('\n').count();
    let lines: Vec<&str> = text.lines().take(here + 1).collect();
    let is_header = |line: &str| line.trim_start().starts_with('[');
    let begins = |line: &str| {
        let line = line.trim_start().trim_start_matches('[').trim_start();
        line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(['=', '.', ']']))
    };
    // Of a header, the same one; of a key, one after the last header.
    let (now, before) = lines.split_last().map_or(("", &lines[..]), |(now, before)| (*now, before));
    let start = before.iter().rposition(|line| is_header(line)).filter(|_| !is_header(now)).unwrap_or(0);
    let first = before.iter().enumerate().skip(start).rfind(|(_, line)| begins(line));
    let place = first.map(|(i, _)| format!(": first in line {}", i + 1)).unwrap_or_default();
    format!("{key:?} is given twice{place}")
}

fn convert_table(
    table: &DeTable<'_>,
    path: &str,
    origin: &dyn Fn(Range<usize>) -> Origin,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Node> {
    let mut out = BTreeMap::new();
    for (key, value) in table {
        let path = join(path, key.get_ref());
        let here = origin(key.span());
        let kind = match value.get_ref() {
            DeValue::Table(inner) => Some(NodeKind::Table(convert_table(inner, &path, origin, problems))),
            other => match leaf(other) {
                Ok(value) => Some(NodeKind::Leaf(value)),
                Err(message) => {
                    problems.push(problem_at(&here, path, message, None));
                    None
                }
            },
        };
        if let Some(kind) = kind {
            out.insert(key.get_ref().to_string(), Node { kind, origin: here, prefix: String::new() });
        }
    }
    out
}

/// A TOML value as JSON, or why a spec cannot hold it.
fn leaf(value: &DeValue<'_>) -> Result<Value, String> {
    match value {
        DeValue::String(text) => Ok(Value::String(text.to_string())),
        DeValue::Boolean(value) => Ok(Value::Bool(*value)),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(|number| Value::Number(number.into()))
            .map_err(|_| format!("{} is too large for a 64-bit integer", integer.as_str())),
        DeValue::Float(float) => float
            .as_str()
            .parse::<f64>()
            .ok()
            .and_then(Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| format!("{} is not a finite number", float.as_str())),
        DeValue::Datetime(_) => Err("a spec holds no dates".into()),
        DeValue::Array(items) => {
            items.iter().map(|item| leaf(item.get_ref())).collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        DeValue::Table(table) => table
            .iter()
            .map(|(key, value)| Ok((key.get_ref().to_string(), leaf(value.get_ref())?)))
            .collect::<Result<Map<_, _>, String>>()
            .map(Value::Object),
    }
}

/// One TOML value, as typed after `--set a.b=`.
pub fn parse_value(text: &str) -> Result<Value, String> {
    let value: Spanned<DeValue<'_>> = DeValue::parse(text).map_err(|error| error.message().to_string())?;
    leaf(value.get_ref())
}

pub fn problem_at(origin: &Origin, path: String, message: String, hint: Option<String>) -> Problem {
    let (file, line, column) = match origin {
        Origin::File { file, line, column } | Origin::Profile { file, line, column, .. } => {
            (Some(file.clone()), *line, *column)
        }
        _ => (None, 0, 0),
    };
    Problem { file, line, column, path, message, hint }
}

/// Line and column (from 1, in characters) of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
