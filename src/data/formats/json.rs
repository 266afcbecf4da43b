//! JSON lines, and JSON arrays. A record is an object, or a plain string that is the text itself (the released code's
//! passage files are lines of strings). Keys of nested objects are written `a.b`.

use super::columns::{Names, SUMMARY, Want, label_number, label_text};
use super::lines::{Lines, open_bytes, read_error};
use super::{Reader, Record};
use crate::data::error::{DataError, file_error, line_error};
use crate::spec::ColumnsSpec;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::io::BufRead;
use std::path::Path;

/// What a file's records are; the first one decides.
#[derive(Debug, Clone)]
enum Shape {
    Strings,
    Objects(Names),
}

/// How records of one file are read.
#[derive(Debug, Clone)]
struct Rule {
    want: Want,
    shape: Shape,
    /// Keys that may hold the summary, the likeliest first.
    summaries: Vec<String>,
}

impl Rule {
    fn of(first: &Value, columns: &ColumnsSpec, want: Want) -> Result<Self, String> {
        let shape = match first {
            Value::String(_) if want == Want::Reviews => {
                return Err("is a plain string; reviews need objects with a text and a label".into());
            }
            Value::String(_) => Shape::Strings,
            Value::Object(object) => {
                let has = |name: &str| get(object, name).is_some();
                Shape::Objects(Names::find(columns, want, &has, &|| keys(object))?)
            }
            other => return Err(format!("is {}; expected an object or a string", kind(other))),
        };
        // An optional key may be missing in the first record.
        let known = || SUMMARY.map(str::to_string).to_vec();
        let summaries = match want {
            Want::Documents => columns.summary.clone().map_or_else(known, |name| vec![name]),
            Want::Reviews => Vec::new(),
        };
        Ok(Self { want, shape, summaries })
    }

    fn names(&self) -> Option<Names> {
        match &self.shape {
            Shape::Strings => None,
            Shape::Objects(names) => Some(names.clone()),
        }
    }

    /// Top-level keys that are worth parsing.
    fn wanted(&self) -> Vec<&str> {
        let Shape::Objects(names) = &self.shape else { return Vec::new() };
        let named = [Some(&names.text), names.label.as_ref()].into_iter().flatten().chain(&self.summaries);
        named.flat_map(|name| [Some(name.as_str()), name.split_once('.').map(|(top, _)| top)]).flatten().collect()
    }

    fn record(&self, value: Value) -> Result<Record, String> {
        let (names, mut object) = match (&self.shape, value) {
            (Shape::Strings, Value::String(text)) => return Ok(Record { text, summary: None, label: None }),
            (Shape::Strings, other) => return Err(format!("is {}; the records before are strings", kind(&other))),
            (Shape::Objects(names), Value::Object(object)) => (names, object),
            (_, other) => return Err(format!("is {}; the records before are objects", kind(&other))),
        };
        let text = match take(&mut object, &names.text) {
            Some(Value::String(text)) => text,
            Some(other) => return Err(format!("{:?} is {}, not text", names.text, kind(&other))),
            None => return Err(missing(&names.text)),
        };
        let mut summary = None;
        for name in &self.summaries {
            match take(&mut object, name) {
                Some(Value::String(text)) => summary = summary.or(Some(text)),
                Some(Value::Null) | None => {}
                Some(other) => return Err(format!("{name:?} is {}, not text", kind(&other))),
            }
        }
        let label = match &names.label {
            Some(name) if self.want == Want::Reviews => Some(label(name, take(&mut object, name))?),
            _ => None,
        };
        Ok(Record { text, summary, label })
    }
}

fn missing(name: &str) -> String {
    format!("there is no key {name:?}, which the first record has")
}

fn label(name: &str, value: Option<Value>) -> Result<f64, String> {
    match value {
        Some(Value::Bool(positive)) => Ok(f64::from(u8::from(positive))),
        Some(Value::Number(number)) => label_number(number.as_f64().unwrap_or(f64::NAN)),
        Some(Value::String(text)) => label_text(&text),
        Some(other) => Err(format!("{name:?} is {}, not a label", kind(&other))),
        None => Err(missing(name)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The value at a key; `a.b` is the key `b` of the object at `a` where there is no key with a full stop in its name.
fn get<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| {
        let (top, rest) = name.split_once('.')?;
        get(object.get(top)?.as_object()?, rest)
    })
}

fn take(object: &mut Map<String, Value>, name: &str) -> Option<Value> {
    if let Some(value) = object.get_mut(name) {
        return Some(value.take());
    }
    let (top, rest) = name.split_once('.')?;
    take(object.get_mut(top)?.as_object_mut()?, rest)
}

/// All keys, those of nested objects too.
fn keys(object: &Map<String, Value>) -> Vec<String> {
    let nested = |(key, value): (&String, &Value)| match value {
        Value::Object(inner) => keys(inner).iter().map(|k| format!("{key}.{k}")).collect(),
        _ => vec![key.clone()],
    };
    object.iter().flat_map(nested).collect()
}

/// Parses a value, but of an object only the keys that are wanted: most of a line is often something else.
struct Only<'a>(&'a [&'a str]);

/// A key, without a copy where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for Only<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Only<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object or a string")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.into()))
    }
    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }
    // The rule refuses these, with its own words.
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array(Vec::new()))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(Key(key)) = access.next_key()? {
            if self.0.contains(&key.as_ref()) {
                object.insert(key.into_owned(), access.next_value()?);
            } else {
                access.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object(object))
    }
}

/// What is wrong with a line, and in which column where that is known.
struct Wrong {
    column: Option<usize>,
    message: String,
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self { column: None, message }
    }
}

impl Wrong {
    fn at(self, path: &Path, line: usize) -> DataError {
        match self.column {
            Some(column) => DataError::Place { path: path.into(), line, column, message: self.message },
            None => line_error(path, line, self.message),
        }
    }
}

/// serde_json's message without its place, which stands before the message, and what to do about it.
fn explained(e: &serde_json::Error, remedy: &str) -> String {
    let text = e.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    match e.classify() {
        serde_json::error::Category::Data => message.to_string(),
        serde_json::error::Category::Eof => format!("not JSON: {message}; {remedy}"),
        _ => format!("not JSON: {message}"),
    }
}

/// One value of a line.
fn parse(line: &str, wanted: Option<&[&str]>) -> Result<Value, Wrong> {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let value = match wanted {
        Some(wanted) => Only(wanted).deserialize(&mut deserializer),
        None => Value::deserialize(&mut deserializer),
    };
    value.and_then(|value| deserializer.end().map(|()| value)).map_err(|e| Wrong {
        column: Some(e.column()),
        message: explained(&e, "a record is one line (only a .json file may hold an array over many lines)"),
    })
}

/// One JSON value per line.
pub fn lines(path: &Path, columns: &ColumnsSpec, want: Want) -> Result<Reader, DataError> {
    let mut lines = Lines::open(path)?;
    let (first, number) = match lines.next_line()? {
        None => return Err(file_error(path, "is empty")),
        Some((number, line)) => (parse(line, None), number),
    };
    let at = |wrong: Wrong| wrong.at(path, number);
    let first = first.map_err(at)?;
    let rule = Rule::of(&first, columns, want).map_err(|message| at(message.into()))?;
    let first = rule.record(first).map_err(|message| at(message.into()))?;
    let names = rule.names();
    let rest = std::iter::from_fn(move || {
        let result = match lines.next_line() {
            Ok(None) => return None,
            Err(e) => return Some(Err(e)),
            Ok(Some((number, line))) => parse(line, Some(&rule.wanted()))
                .and_then(|value| rule.record(value).map_err(Wrong::from))
                .map_err(|wrong| (number, wrong)),
        };
        Some(result.map_err(|(number, wrong)| wrong.at(&lines.path, number)))
    });
    Ok(Reader::new(names, std::iter::once(Ok(first)).chain(rest)))
}

/// An array of objects or strings. A file that does not start with `[` is read as JSON lines, which many files with the
/// ending .json are.
pub fn whole(path: &Path, columns: &ColumnsSpec, want: Want, limit: Option<usize>) -> Result<Reader, DataError> {
    let mut reader = open_bytes(path)?;
    match first_byte(&mut reader).map_err(|e| read_error(path, &e))? {
        None => return Err(file_error(path, "is empty")),
        Some(b'[') => {}
        Some(_) => return lines(path, columns, want),
    }
    let mut found = Array { columns, want, limit: limit.unwrap_or(usize::MAX), rule: None, records: Vec::new() };
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let read = deserializer.deserialize_seq(&mut found).and_then(|()| deserializer.end());
    // A reader that has enough leaves the rest of the array unread.
    if let Err(e) = read
        && found.records.len() < found.limit
    {
        return Err(match e.classify() {
            serde_json::error::Category::Io => read_error(path, &e.into()),
            _ => {
                let message = explained(&e, "the array does not end; fetch or write the file again");
                DataError::Place { path: path.into(), line: e.line(), column: e.column(), message }
            }
        });
    }
    if found.records.is_empty() {
        return Err(file_error(path, "is empty"));
    }
    let names = found.rule.and_then(|rule| rule.names());
    Ok(Reader::new(names, found.records.into_iter().map(Ok)))
}

fn first_byte(reader: &mut dyn BufRead) -> std::io::Result<Option<u8>> {
    loop {
        let bytes = reader.fill_buf()?;
        let blank = bytes.iter().take_while(|b| b.is_ascii_whitespace()).count();
        match bytes.get(blank) {
            Some(byte) => {
                let byte = *byte;
                reader.consume(blank);
                return Ok(Some(byte));
            }
            None if bytes.is_empty() => return Ok(None),
            None => reader.consume(blank),
        }
    }
}

/// Takes what is wanted of an array's elements, one after the other.
struct Array<'a> {
    columns: &'a ColumnsSpec,
    want: Want,
    limit: usize,
    rule: Option<Rule>,
    records: Vec<Record>,
}

impl<'de> Visitor<'de> for &mut Array<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of objects or strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        while self.records.len() < self.limit
            && let Some(value) = access.next_element::<Value>()?
        {
            let number = self.records.len() + 1;
            let at = |message: String| A::Error::custom(format!("record {number}: {message}"));
            let rule = match &self.rule {
                Some(rule) => rule,
                None => self.rule.insert(Rule::of(&value, self.columns, self.want).map_err(at)?),
            };
            self.records.push(rule.record(value).map_err(at)?);
        }
        Ok(())
    }
}
