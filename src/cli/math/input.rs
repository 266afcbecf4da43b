//! Reading the JSON object of `runner math`: typed fields, with the JSON path of whatever is wrong.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// What can be wrong with the input; all of it is exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum MathError {
    #[error("reading standard input")]
    Read(#[source] std::io::Error),
    #[error("standard input is not UTF-8 from byte {0} on; write JSON in UTF-8")]
    Utf8(usize),
    #[error(
        "standard input is not JSON, line {line}:{column}: {message}; give one object like {{\"wins\": 8, \"n\": 10}}"
    )]
    Json { line: usize, column: usize, message: String },
    #[error("{path}: {message}")]
    At { path: String, message: String },
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
}

/// An error at a JSON path.
pub fn at<T>(path: impl Into<String>, message: impl Into<String>) -> Result<T, MathError> {
    Err(MathError::At { path: path.into(), message: message.into() })
}

/// A non-empty array of numbers, `[rows][response]`; `flat` when it came as one list, which is one row.
#[derive(Debug, Clone)]
pub struct Array {
    pub rows: Vec<Vec<f32>>,
    pub flat: bool,
}

impl Array {
    /// Rows, columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows.len(), self.rows.first().map_or(0, Vec::len)]
    }
    /// A result in the form that the input had.
    pub fn like(&self, mut rows: Vec<Vec<f32>>) -> Value {
        if self.flat { rows.pop().into() } else { rows.into() }
    }
    fn described(&self) -> String {
        let [rows, columns] = self.shape();
        if self.flat { format!("[{columns}]") } else { format!("[{rows}][{columns}]") }
    }
}

/// The fields of one operation.
#[derive(Debug)]
pub struct Input {
    fields: Map<String, Value>,
}

/// An object as it was written: JSON readers keep the last of two equal keys, and nobody hears of the first.
struct Object {
    fields: Map<String, Value>,
    twice: Option<String>,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Object { fields: Map::new(), twice: None };
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if object.fields.insert(key.clone(), value).is_some() {
                        object.twice = Some(key);
                    }
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, MathError> {
    serde_json::from_str(text).map_err(|e| {
        let message = e.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(m, _)| m).to_string();
        MathError::Json { line: e.line(), column: e.column(), message }
    })
}

impl Input {
    /// Parses one object whose keys are all in `known`, each there once. A byte order mark before it is ignored.
    pub fn new(text: &str, known: &[&str]) -> Result<Self, MathError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if !text.trim_start().starts_with('{') {
            let got = kind(&parse::<Value>(text)?);
            return at("(top level)", format!("expected an object with {}, got {got}", known.join(", ")));
        }
        let Object { fields, twice } = parse(text)?;
        if let Some(key) = fields.keys().find(|k| !known.contains(&k.as_str())) {
            let key = shortened(key);
            let near = known.iter().map(|k| (strsim::jaro_winkler(k, &key), k)).max_by(|a, b| a.0.total_cmp(&b.0));
            let hint = match near {
                Some((likeness, k)) if likeness > 0.7 => format!("did you mean `{k}`?"),
                _ => format!("the fields are {}", known.join(", ")),
            };
            return at(key, format!("unknown field; {hint}"));
        }
        match twice {
            Some(key) => at(key, "is there twice; give it once"),
            None => Ok(Self { fields }),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    pub fn required(&self, name: &str) -> Result<&Value, MathError> {
        match self.fields.get(name) {
            Some(value) => Ok(value),
            None => at(name, "missing; this field is required (`runner math --help` lists the fields)"),
        }
    }

    pub fn text(&self, name: &str) -> Result<&str, MathError> {
        match self.required(name)? {
            Value::String(text) => Ok(text),
            other => at(name, format!("expected a text, got {}", kind(other))),
        }
    }

    pub fn flag(&self, name: &str) -> Result<bool, MathError> {
        match self.required(name)? {
            Value::Bool(flag) => Ok(*flag),
            other => at(name, format!("expected true or false, got {}", kind(other))),
        }
    }

    /// One of `choices` by name.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<T, MathError> {
        let text = self.text(name)?;
        match choices.iter().find(|(choice, _)| *choice == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let names: Vec<&str> = choices.iter().map(|(n, _)| *n).collect();
                at(name, format!("expected {}, got {:?}", names.join(" or "), shortened(text)))
            }
        }
    }

    pub fn number(&self, name: &str) -> Result<f64, MathError> {
        number(self.required(name)?, name)
    }

    /// A number that must pass `test`, or the message says that it must be `rule`.
    pub fn number_that(&self, name: &str, rule: &str, test: impl Fn(f64) -> bool) -> Result<f64, MathError> {
        let value = self.number(name)?;
        if test(value) { Ok(value) } else { at(name, format!("must be {rule}, got {value:?}")) }
    }

    pub fn positive(&self, name: &str) -> Result<f64, MathError> {
        self.number_that(name, "above 0", |v| v > 0.0)
    }

    pub fn at_least_0(&self, name: &str) -> Result<f64, MathError> {
        self.number_that(name, "0 or above", |v| v >= 0.0)
    }

    pub fn whole(&self, name: &str) -> Result<u64, MathError> {
        whole(self.required(name)?, name)
    }

    pub fn id(&self, name: &str) -> Result<i64, MathError> {
        id(self.required(name)?, name)
    }

    /// A list; empty ones are errors unless the caller says what they mean.
    pub fn list(&self, name: &str) -> Result<&[Value], MathError> {
        list(self.required(name)?, name)
    }

    /// `[n]` numbers.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>, MathError> {
        each(self.list(name)?, name, number)
    }

    /// `[n]` 32-bit numbers.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>, MathError> {
        each(self.list(name)?, name, float)
    }

    /// `[rows][columns]` numbers; with `or_flat` one list `[columns]` is taken as one row.
    pub fn array(&self, name: &str, or_flat: bool) -> Result<Array, MathError> {
        let items = self.list(name)?;
        if or_flat && items.iter().all(Value::is_number) {
            return Ok(Array { rows: vec![self.floats(name)?], flat: true });
        }
        Ok(Array { rows: self.table(name, float)?, flat: false })
    }

    /// An array with the shape of another field.
    pub fn array_like(&self, name: &str, other: &str, like: &Array) -> Result<Array, MathError> {
        let array = self.array(name, like.flat)?;
        if array.shape() == like.shape() && array.flat == like.flat {
            return Ok(array);
        }
        at(name, format!("has shape {}, but {other} has {}; they must be equal", array.described(), like.described()))
    }

    /// `[rows][columns]` of anything, all rows of one length.
    pub fn table<T>(
        &self,
        name: &str,
        read: impl Fn(&Value, &str) -> Result<T, MathError>,
    ) -> Result<Vec<Vec<T>>, MathError> {
        rows(self.required(name)?, name, read)
    }
}

/// `[rows][columns]` of anything at a path, all rows of one length.
pub fn rows<T>(
    value: &Value,
    path: &str,
    read: impl Fn(&Value, &str) -> Result<T, MathError>,
) -> Result<Vec<Vec<T>>, MathError> {
    let rows = each(list(value, path)?, path, |row, path| each(list(row, path)?, path, &read))?;
    let width = rows.first().map_or(0, Vec::len);
    match rows.iter().position(|row| row.len() != width) {
        Some(i) => at(
            format!("{path}[{i}]"),
            format!("has {} elements, but {path}[0] has {width}; all rows must be equally long", rows[i].len()),
        ),
        None => Ok(rows),
    }
}

/// Reads every element with its path.
pub fn each<T>(
    items: &[Value],
    path: &str,
    read: impl Fn(&Value, &str) -> Result<T, MathError>,
) -> Result<Vec<T>, MathError> {
    items.iter().enumerate().map(|(i, item)| read(item, &format!("{path}[{i}]"))).collect()
}

fn list<'v>(value: &'v Value, path: &str) -> Result<&'v [Value], MathError> {
    match value {
        Value::Array(items) if items.is_empty() => at(path, "is empty; give at least one element"),
        Value::Array(items) => Ok(items),
        other => at(path, format!("expected a list, got {}", kind(other))),
    }
}

/// A finite number.
pub fn number(value: &Value, path: &str) -> Result<f64, MathError> {
    match value.as_f64() {
        Some(number) if number.is_finite() => Ok(number),
        _ => at(path, format!("expected a finite number, got {}", kind(value))),
    }
}

fn float(value: &Value, path: &str) -> Result<f32, MathError> {
    let wide = number(value, path)?;
    let narrow = wide as f32;
    if narrow.is_finite() { Ok(narrow) } else { at(path, format!("{wide:e} is beyond 32-bit floats (3.4e38)")) }
}

/// A whole number from 0; 3.0 is one.
pub fn whole(value: &Value, path: &str) -> Result<u64, MathError> {
    match id(value, path)?.try_into() {
        Ok(number) => Ok(number),
        Err(_) => at(path, format!("expected a whole number from 0 on, got {value}")),
    }
}

/// A whole number of either sign; 3.0 is one.
pub fn id(value: &Value, path: &str) -> Result<i64, MathError> {
    let number = value.as_i64().or_else(|| {
        let float = value.as_f64()?;
        // Beyond 2^53 a float no longer names one whole number.
        (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
    });
    match number {
        Some(number) => Ok(number),
        None if value.is_number() => at(path, format!("expected a whole number, got {value}")),
        None => at(path, format!("expected a whole number, got {}", kind(value))),
    }
}

/// As much of somebody's text as a message should hold.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

/// What a value is, for messages.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// An object of results; infinite ones are errors, for JSON has no way to write them.
pub fn output<const N: usize>(fields: [(&str, Value); N]) -> Result<Map<String, Value>, MathError> {
    for (name, value) in &fields {
        check(value, name)?;
    }
    Ok(fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}

/// serde_json turns numbers that are not finite into null; here every null is one.
fn check(value: &Value, path: &str) -> Result<(), MathError> {
    match value {
        Value::Null => at(path, "this result is not finite; the inputs are too large or too far apart for floats"),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(i, v)| check(v, &format!("{path}[{i}]"))),
        _ => Ok(()),
    }
}
