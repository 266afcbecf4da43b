//! JSON lines, and JSON arrays. A record is an object, or a plain string that is the text itself (the released code's
//! passage files are lines of strings). Keys of nested objects are written `a.b`. Keys that are not read do not matter:
//! what strict JSON refuses is tried again as other programs write it (see loose.rs).

use super::columns::{Names, SUMMARY, Want, label_number, label_text};
use super::lines::Lines;
use super::loose::{self, Loose};
use super::{Reader, Record, Tally};
use crate::data::entries::{Container, Entries};
use crate::data::error::{DataError, file_error, line_error};
use crate::spec::ColumnsSpec;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::rc::Rc;

/// Longest record in bytes.
const LARGEST_RECORD: usize = 1 << 30;

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
            other @ Value::Array(_) => {
                return Err(format!(
                    "is {}; expected an object or a string; a file of one array is format = \"json\"",
                    kind(other)
                ));
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
                if object.contains_key(key.as_ref()) {
                    return Err(Error::custom(format!(
                        "the key {key:?} is there twice, and which one is meant is not known"
                    )));
                }
                object.insert(key.into_owned(), access.next_value()?);
            } else {
                access.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object(object))
    }
}

/// What is wrong with a record, and where in it if that is known.
struct Wrong {
    /// From 1, both.
    place: Option<(usize, usize)>,
    message: String,
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self { place: None, message }
    }
}

/// serde_json's message without its place, which stands before the message, and what to do about it.
fn explained(e: &serde_json::Error, remedy: &str) -> Wrong {
    let text = e.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let message = match e.classify() {
        serde_json::error::Category::Data => message.to_string(),
        serde_json::error::Category::Eof => format!("not JSON: {message}; {remedy}"),
        _ => format!("not JSON: {message}"),
    };
    Wrong { place: Some((e.line(), e.column())), message }
}

/// Reads the records of one file; the first of them decides how.
struct Parser {
    columns: ColumnsSpec,
    want: Want,
    rule: Option<Rule>,
    tally: Rc<Tally>,
    /// What to do about a record that ends early.
    remedy: &'static str,
}

impl Parser {
    fn new(columns: &ColumnsSpec, want: Want, remedy: &'static str) -> Self {
        Self { columns: columns.clone(), want, rule: None, tally: Rc::default(), remedy }
    }

    /// One record.
    fn record(&mut self, text: &str) -> Result<Record, Wrong> {
        self.tally.read();
        match strict(text, self.rule.as_ref()) {
            Ok(value) if self.rule.is_none() => {
                let record = self.of_value(value)?;
                // By the rule that it has made.
                strict(text, self.rule.as_ref()).map_err(|e| explained(&e, self.remedy))?;
                Ok(record)
            }
            Ok(value) => self.of_value(value),
            Err(e) => match loose::parse(text) {
                Some(found) => self.of_loose(found, &e),
                None => Err(explained(&e, self.remedy)),
            },
        }
    }

    fn of_value(&mut self, value: Value) -> Result<Record, Wrong> {
        let rule = match &self.rule {
            Some(rule) => rule,
            None => self.rule.insert(Rule::of(&value, &self.columns, self.want)?),
        };
        Ok(rule.record(value)?)
    }

    /// A record that is no strict JSON; `e` says why where one of its values that are read is to blame.
    fn of_loose(&mut self, found: Loose, e: &serde_json::Error) -> Result<Record, Wrong> {
        let first = self.rule.is_none();
        let lacks = |rule: &Rule| rule.wanted().iter().any(|name| found.lacks(name));
        if self.rule.as_ref().is_some_and(lacks) {
            return Err(explained(e, self.remedy));
        }
        let record = self.of_value(found.value.clone());
        if first && self.rule.as_ref().is_none_or(lacks) && !found.unreadable.is_empty() {
            return Err(explained(e, self.remedy));
        }
        if found.python {
            self.tally.remark("records are Python dictionaries rather than JSON, and are read as such");
        }
        record
    }

    fn names(&self) -> Option<Names> {
        self.rule.as_ref().and_then(Rule::names)
    }
}

/// A value as JSON has it; where a rule is known, only what it wants of an object.
fn strict(text: &str, rule: Option<&Rule>) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = match rule {
        Some(rule) => Only(&rule.wanted()).deserialize(&mut deserializer)?,
        None => Value::deserialize(&mut deserializer)?,
    };
    deserializer.end().map(|()| value)
}

/// One JSON value per line.
pub fn lines(path: &Path, columns: &ColumnsSpec, want: Want) -> Result<Reader, DataError> {
    let mut lines = Lines::open(path)?;
    let remedy = "a record is one line (only a .json file may hold an array over many lines)";
    let mut parser = Parser::new(columns, want, remedy);
    let first = next_line(&mut lines, &mut parser).ok_or_else(|| file_error(path, "is empty"))??;
    let (names, tally) = (parser.names(), Rc::clone(&parser.tally));
    let rest = std::iter::from_fn(move || next_line(&mut lines, &mut parser));
    Ok(Reader::new(names, tally, std::iter::once(Ok(first)).chain(rest)))
}

fn next_line(lines: &mut Lines, parser: &mut Parser) -> Option<Result<Record, DataError>> {
    let (number, found) = match lines.next_line() {
        Ok(None) => return None,
        Err(e) => return Some(Err(e)),
        Ok(Some((number, line))) => (number, parser.record(line)),
    };
    Some(found.map_err(|Wrong { place, message }| match place {
        Some((_, column)) => DataError::Place { path: lines.path.clone(), line: number, column, message },
        None => line_error(&lines.path, number, message),
    }))
}

/// An array of objects or strings. A file that does not start with `[` is read as JSON lines, which many files with the
/// ending .json are.
pub fn whole(path: &Path, columns: &ColumnsSpec, want: Want) -> Result<Reader, DataError> {
    let mut entries = Entries::open(path, LARGEST_RECORD)?;
    if entries.container() != Container::Array {
        return lines(path, columns, want);
    }
    let mut parser = Parser::new(columns, want, "the record does not end");
    let path = path.to_path_buf();
    let first = next_element(&path, &mut entries, &mut parser).ok_or_else(|| file_error(&path, "is empty"))??;
    let (names, tally) = (parser.names(), Rc::clone(&parser.tally));
    let rest = std::iter::from_fn(move || next_element(&path, &mut entries, &mut parser));
    Ok(Reader::new(names, tally, std::iter::once(Ok(first)).chain(rest)))
}

fn next_element(path: &Path, entries: &mut Entries, parser: &mut Parser) -> Option<Result<Record, DataError>> {
    let entry = match entries.next_entry() {
        Ok(None) => return None,
        Err(e) => return Some(Err(e)),
        Ok(Some(entry)) => entry,
    };
    let found = match std::str::from_utf8(entry.bytes) {
        Ok(text) => parser.record(text),
        Err(_) => Err("is not UTF-8; convert the file, for example with iconv".to_string().into()),
    };
    Some(found.map_err(|Wrong { place, message }| {
        let (line, column) = entry.place(place);
        let message = format!("record {}: {message}", entry.number);
        DataError::Place { path: path.into(), line: line as usize, column: column as usize, message }
    }))
}
