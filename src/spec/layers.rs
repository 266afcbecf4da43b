//! TOML text as a JSON tree plus the place of every key, and how one layer is laid over another.

use super::load::{Origin, Problem};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// Keys of which a later layer's choice removes the earlier one's.
const EXCLUSIVE: [(&str, [&str; 2]); 3] =
    [("model.weights", ["path", "pretrain"]), ("task.data", ["path", "synthetic"]), ("labeler.reviews", ["path", "synthetic"])];

/// A tree of settings and where each key of it was written, by dotted path.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    pub tree: Map<String, Value>,
    pub origins: BTreeMap<String, Origin>,
}

/// `a.b`, or `b` at the top.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

/// Line and column (from 1) of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    (line, before.chars().rev().take_while(|c| *c != '\n').count() + 1)
}

impl Layer {
    /// Parses TOML; all syntax errors at once. `origin` makes the origin of a key from its line and column.
    pub fn parse(text: &str, file: &Path, origin: &dyn Fn(usize, usize) -> Origin) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let problem = |at: usize, message: String| {
            let (line, column) = position(text, at);
            Problem { file: Some(file.into()), line, column, path: String::new(), message, hint: None }
        };
        if !errors.is_empty() {
            let message = |e: &toml::de::Error| format!("not TOML: {}", e.message().replace('\n', " "));
            return Err(errors.iter().map(|e| problem(e.span().map_or(0, |s| s.start), message(e))).collect());
        }
        let mut layer = Self::default();
        let mut problems = Vec::new();
        let mut place = |path: &str, at: usize, bad: Option<String>| {
            let (line, column) = position(text, at);
            layer.origins.insert(path.to_string(), origin(line, column));
            if let Some(message) = bad {
                problems.push(Problem { path: path.to_string(), ..problem(at, message) });
            }
        };
        let tree = convert_table(table.get_ref(), "", &mut place);
        layer.tree = tree;
        if problems.is_empty() { Ok(layer) } else { Err(problems) }
    }

    /// Lays `over` on top: tables merge, anything else replaces.
    pub fn lay(&mut self, over: &Self) {
        for (parent, pair) in EXCLUSIVE {
            let chosen = pair.iter().position(|key| over.origins.contains_key(&join(parent, key)));
            if let Some(chosen) = chosen {
                self.remove(parent, pair[1 - chosen]);
            }
        }
        merge(&mut self.tree, &over.tree);
        self.origins.extend(over.origins.clone());
    }

    fn remove(&mut self, parent: &str, key: &str) {
        let table = parent.split('.').try_fold(&mut self.tree, |t, k| t.get_mut(k).and_then(Value::as_object_mut));
        if let Some(table) = table {
            table.remove(key);
        }
        let gone = join(parent, key);
        self.origins.retain(|path, _| *path != gone && !path.starts_with(&format!("{gone}.")));
    }

    /// Takes a key out of the tree, with the origins below it renamed to start at the top.
    pub fn take(&self, path: &[&str]) -> Option<Self> {
        let value = path[1..].iter().try_fold(self.tree.get(path[0])?, |v, k| v.get(k))?;
        let prefix = format!("{}.", path.join("."));
        let origins = self.origins.iter().filter_map(|(p, o)| Some((p.strip_prefix(&prefix)?.to_string(), o.clone()))).collect();
        Some(Self { tree: value.as_object()?.clone(), origins })
    }
}

fn merge(below: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (below.get_mut(key), value) {
            (Some(Value::Object(b)), Value::Object(o)) => merge(b, o),
            _ => {
                below.insert(key.clone(), value.clone());
            }
        }
    }
}

type Place<'a> = &'a mut dyn FnMut(&str, usize, Option<String>);

fn convert_table(table: &DeTable<'_>, path: &str, place: Place<'_>) -> Map<String, Value> {
    let mut map = Map::new();
    for (key, value) in table.iter() {
        let path = join(path, key.get_ref());
        place(&path, key.span().start, None);
        map.insert(key.get_ref().to_string(), convert(value.get_ref(), &path, value.span().start, place));
    }
    map
}

fn convert(value: &DeValue<'_>, path: &str, at: usize, place: Place<'_>) -> Value {
    match value {
        DeValue::String(s) => Value::String(s.to_string()),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Integer(i) => match i64::from_str_radix(&i.as_str().replace('_', ""), i.radix()) {
            Ok(n) => n.into(),
            Err(_) => {
                place(path, at, Some(format!("{} does not fit 64 bits", i.as_str())));
                Value::Null
            }
        },
        DeValue::Float(f) => match f.as_str().replace('_', "").parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
            Some(n) => Value::Number(n),
            None => {
                place(path, at, Some(format!("{} is not a finite number", f.as_str())));
                Value::Null
            }
        },
        DeValue::Datetime(d) => Value::String(d.to_string()),
        DeValue::Array(items) => Value::Array(
            items.iter().enumerate().map(|(i, v)| convert(v.get_ref(), &join(path, &i.to_string()), v.span().start, place)).collect(),
        ),
        DeValue::Table(t) => Value::Object(convert_table(t, path, place)),
    }
}
