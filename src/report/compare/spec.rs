//! What differs between two specs, and which differences make numbers meaningless beside each other.

use super::SpecDifference;
use crate::results::{ResultsError, file, read_text};
use crate::spec::keyed::is_what_silence_meant;
use crate::spec::paths::{comparable, is_path};
use std::collections::BTreeMap;
use std::path::Path;

/// Every setting under its dotted path, as TOML.
pub type Flat = BTreeMap<String, String>;

/// Every leaf of spec.toml under its dotted path. Without a spec nothing says what the numbers mean: an error.
pub fn flat_spec(dir: &Path) -> Result<Flat, ResultsError> {
    if !dir.is_dir() {
        let message = "there is no such directory".to_owned();
        return Err(ResultsError::NotResults { path: dir.to_owned(), message });
    }
    let path = dir.join(file::SPEC);
    let text = read_text(&path)?;
    flat_text(&text, dir).map_err(|e| {
        let at = e.span().map_or(0, |span| span.start);
        let line = text.bytes().take(at).filter(|b| *b == b'\n').count() + 1;
        ResultsError::Content { path: path.clone(), line, message: e.message().to_owned() }
    })
}

/// The same of a text that stands in a file of `dir`: what matters of a path is which file it is.
pub fn flat_text(text: &str, dir: &Path) -> Result<Flat, toml::de::Error> {
    let table: toml::Table = toml::from_str(text)?;
    let mut flat = Flat::new();
    flatten("", &toml::Value::Table(table), dir, &mut flat);
    Ok(flat)
}

fn flatten(path: &str, value: &toml::Value, dir: &Path, out: &mut Flat) {
    match value {
        toml::Value::Table(table) if !table.is_empty() || path.is_empty() => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, dir, out);
            }
        }
        toml::Value::String(text) if is_path(path) => {
            out.insert(path.to_owned(), toml::Value::String(comparable(text, dir)).to_string());
        }
        other => {
            out.insert(path.to_owned(), other.to_string());
        }
    }
}

/// Settings that are not the same, by key.
pub fn differences(a: &Flat, b: &Flat) -> Vec<SpecDifference> {
    let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| a.get(*key) != b.get(*key))
        .filter(|key| match (a.get(*key), b.get(*key)) {
            (None, Some(value)) | (Some(value), None) => !is_what_silence_meant(key, value),
            _ => true,
        })
        .map(|key| SpecDifference { key: key.clone(), a: a.get(key).cloned(), b: b.get(key).cloned() })
        .collect()
}

/// Why two specs' numbers say nothing about each other, if they do not.
pub fn incomparable(differences: &[SpecDifference]) -> Option<String> {
    differences.iter().find_map(|d| {
        let why = match d.key.as_str() {
            "spec_version" => "their specs are of different versions, in which a key may mean something else",
            "task.preset" => "they are of different tasks, whose scores mean different things",
            key if key == "task.data" || key.starts_with("task.data.") => "their queries come from different data",
            _ => return None,
        };
        let word = |v: &Option<String>| v.clone().unwrap_or_else(|| "not set".to_owned());
        Some(format!("{why} ({}: {} and {})", d.key, word(&d.a), word(&d.b)))
    })
}

/// Whether any setting of a section differs.
pub fn under(differences: &[SpecDifference], section: &str) -> bool {
    differences.iter().any(|d| d.key == section || d.key.starts_with(&format!("{section}.")))
}
