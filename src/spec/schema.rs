//! The JSON Schema of a spec, made from the Rust types, and the check of a tree against it in words a person can use.

use super::source::{Node, NodeKind, join, problem_at};
use super::{Precision, Problem, Spec};
use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

/// Names that become folders.
pub const NAME_PATTERN: &str = "^[A-Za-z0-9_-]{1,64}$";

/// The schema of a spec file: the types, plus `extends`, `profile.NAME` and `runs.NAME`.
pub fn spec_schema() -> Value {
    let mut schema = schemars::schema_for!(Spec).to_value();
    drop_null(&mut schema);
    schema["title"] = json!("Experiment spec of runner");
    allow_partial(&mut schema);
    let names = json!({ "pattern": NAME_PATTERN });
    let sections: Map<String, Value> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !matches!(key.as_str(), "spec_version" | "name" | "runs"))
        .map(|(key, value)| (key.clone(), partial_section(key, value)))
        .collect();
    let runs = json!({
        "description": "Named variants of this spec that are run and plotted together; each is a partial spec.",
        "type": "object", "propertyNames": names, "additionalProperties": { "$ref": "#/$defs/Run" },
    });
    let mut profile = sections.clone();
    profile.insert("runs".into(), runs.clone());
    schema["$defs"]["Run"] = json!({
        "description": "Any part of a spec; laid over the rest for this run.",
        "type": "object", "properties": sections, "additionalProperties": false,
    });
    schema["$defs"]["Profile"] = json!({
        "description": "Any part of a spec; laid over the rest when chosen by --profile.",
        "type": "object", "properties": profile, "additionalProperties": false,
    });
    schema["properties"]["extends"] = json!({ "description": "A spec that this one is laid over; relative to this file. Tables merge, anything else replaces.", "type": "string" });
    schema["properties"]["profile"] = json!({
        "description": "Named partial specs, chosen by --profile.",
        "type": "object", "propertyNames": names, "additionalProperties": { "$ref": "#/$defs/Profile" },
    });
    schema["properties"]["runs"] = runs;
    schema
}

/// An overlay says less than a spec: its `model.dimensions` may lack keys.
fn partial_section(key: &str, value: &Value) -> Value {
    if key == "model" { json!({ "$ref": "#/$defs/PartialModelSpec" }) } else { without(value, "default") }
}

fn without(value: &Value, key: &str) -> Value {
    let mut value = value.clone();
    if let Some(object) = value.as_object_mut() {
        object.remove(key);
    }
    value
}

/// `labeler.classifier.dimensions` has defaults, so that a file may give some of its keys.
fn allow_partial(schema: &mut Value) {
    let partial = json!({ "$ref": "#/$defs/PartialDimensions" });
    schema["$defs"]["PartialDimensions"] = without(&schema["$defs"]["Dimensions"], "required");
    let mut model = schema["$defs"]["ModelSpec"].clone();
    model["properties"]["dimensions"] = partial.clone();
    schema["$defs"]["PartialModelSpec"] = model;
    schema["$defs"]["ClassifierSpec"]["properties"]["dimensions"] = partial;
}

/// TOML has no null: an optional key is absent.
pub fn drop_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get("type")
                && let [one] = types.iter().filter(|name| *name != "null").collect::<Vec<_>>()[..]
            {
                let one = one.clone();
                object.insert("type".into(), one);
            }
            if let Some(Value::Array(options)) = object.get("anyOf") {
                let rest: Vec<Value> = options.iter().filter(|option| option["type"] != "null").cloned().collect();
                if let ([Value::Object(only)], true) = (&rest[..], options.len() == 2) {
                    let only = only.clone();
                    object.remove("anyOf");
                    object.extend(only);
                }
            }
            object.values_mut().for_each(drop_null);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_null),
        _ => {}
    }
}

/// A file format's schema, ready to check files with.
pub struct Schema {
    value: Value,
    validator: Result<Validator, String>,
}

impl Schema {
    pub fn new(value: Value) -> Self {
        let validator = jsonschema::validator_for(&value).map_err(|error| error.to_string());
        Self { value, validator }
    }

    /// The part that describes `path`, references followed.
    pub fn at<S: AsRef<str>>(&self, path: &[S]) -> Option<&Value> {
        path.iter().try_fold(&self.value, |schema, key| {
            let next = schema["properties"]
                .get(key.as_ref())
                .or_else(|| schema.get("additionalProperties").filter(|extra| extra.is_object()))
                // A place in an array.
                .or_else(|| schema.get("items").filter(|_| key.as_ref().parse::<usize>().is_ok()))?;
            self.follow(next)
        })
    }

    fn follow<'a>(&'a self, schema: &'a Value) -> Option<&'a Value> {
        match schema["$ref"].as_str() {
            Some(reference) => self.value.pointer(reference.strip_prefix('#')?),
            None => Some(schema),
        }
    }
}

/// The schema of specs.
fn of_specs() -> &'static Schema {
    static CACHE: OnceLock<Schema> = OnceLock::new();
    CACHE.get_or_init(|| Schema::new(spec_schema()))
}

/// The part of the specs' schema that describes `path`.
pub fn schema_at<S: AsRef<str>>(path: &[S]) -> Option<&'static Value> {
    of_specs().at(path)
}

/// The values of an enum.
fn choices(schema: &Value) -> Vec<&str> {
    // Documented values are `oneOf` constants; the undocumented ones among them share an `enum`.
    let documented = schema["oneOf"].as_array().into_iter().flatten().flat_map(choices);
    let listed = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    schema["const"].as_str().into_iter().chain(listed).chain(documented).collect()
}

/// Whether the schema wants a string, free or one of a list.
pub fn wants_string(schema: &Value) -> bool {
    schema["type"] == "string" || !choices(schema).is_empty()
}

/// What a schema wants, in words.
pub fn expected(schema: &Value) -> String {
    let choices = choices(schema);
    if !choices.is_empty() {
        return format!("one of {}", quoted(&choices));
    }
    match schema["type"].as_str() {
        Some("integer") => "an integer",
        Some("number") => "a number",
        Some("boolean") => "true or false",
        Some("string") => "a string",
        Some("object") => "a table",
        Some("array") => return format!("an array of {}", items(schema)),
        _ => "another value",
    }
    .into()
}

/// What an array holds, in words.
fn items(schema: &Value) -> &'static str {
    match schema["items"]["type"].as_str() {
        Some("integer") => "integers",
        Some("number") => "numbers",
        Some("string") => "strings",
        Some("object") => "tables",
        _ => "values",
    }
}

/// An array as it is written, for who left out the brackets.
pub fn array_hint(schema: &Value, text: &str) -> Option<String> {
    let wanted = schema["type"] == "array" && !text.trim_start().starts_with('[');
    (wanted && !text.trim().is_empty()).then(|| match items(schema) {
        "strings" => {
            let words: Vec<String> = text.split(',').map(|word| format!("{:?}", word.trim())).collect();
            format!("write [{}]", words.join(", "))
        }
        _ => format!("write [{text}]"),
    })
}

/// Why a name cannot be one, and what can.
fn no_name(name: &str) -> (String, Option<String>) {
    let message = format!("{} is not a name: 1 to 64 letters, digits, `_` and `-`", short(&format!("{name:?}")));
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(64).collect();
    let meant = plain.chars().any(|c| c.is_ascii_alphanumeric()).then_some(plain);
    let why = "names become folders, and parts of dotted keys";
    (message, Some(meant.map_or_else(|| why.into(), |plain| format!("{why}: write {plain:?}"))))
}

fn found(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the string {}", short(&format!("{text:?}"))),
        Value::Number(number) if number.is_f64() => {
            format!("the number {number:?}", number = number.as_f64().unwrap_or_default())
        }
        Value::Number(number) => format!("the integer {number}"),
        Value::Object(_) => "a table".into(),
        Value::Array(_) => "an array".into(),
        other => other.to_string(),
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= 60 { text.to_string() } else { text.chars().take(57).chain("...".chars()).collect() }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}

/// Why a word that means something elsewhere is no value of a key here.
fn unavailable(path: &[String], word: &str) -> Option<String> {
    let of_precision = path.ends_with(&["model".to_string(), "precision".to_string()]);
    (of_precision && matches!(word, "bf16" | "bfloat16")).then(|| Precision::NO_BF16.to_string())
}

/// `did you mean "target"?`, if a word is near.
pub fn did_you_mean<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<(String, String)> {
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let limit = 1 + word.chars().count() / 4;
    let nearest =
        words.into_iter().map(|other| (strsim::damerau_levenshtein(&plain(word), &plain(other)), other)).min()?;
    (nearest.0 <= limit).then(|| (format!("did you mean {:?}?", nearest.1), nearest.1.to_string()))
}

/// A mistake against the schema, and the keys that cannot be trusted because of it.
pub struct Mismatch {
    pub path: Vec<String>,
    pub problem: Problem,
    /// The key that was probably meant.
    pub meant: Option<Vec<String>>,
    pub missing: bool,
}

/// Checks a tree against the specs' schema.
pub fn check(tree: &Node) -> Vec<Mismatch> {
    of_specs().check(tree)
}

impl Schema {
    /// Checks a tree; every mistake, each at the place where its key was written.
    pub fn check(&self, tree: &Node) -> Vec<Mismatch> {
        let value = tree.to_json();
        let mut out = Vec::new();
        match &self.validator {
            Err(error) => {
                out.push(mismatch(tree, Vec::new(), format!("the program's own schema is broken: {error}"), None))
            }
            Ok(validator) => {
                for error in validator.iter_errors(&value) {
                    let path: Vec<String> = error.instance_path().as_str().split('/').skip(1).map(unescape).collect();
                    self.explain(tree, path, error.instance(), error.kind(), &error.to_string(), &mut out);
                }
            }
        }
        for (path, node) in tree.leaves() {
            let path: Vec<String> = path.split('.').map(str::to_string).collect();
            if let (NodeKind::Leaf(value), Some(schema)) = (&node.kind, self.at(&path))
                && schema["type"] == "integer"
                && value.as_f64().is_some_and(|number| value.is_f64() && number.fract() == 0.0)
            {
                out.push(mismatch(tree, path, format!("expected an integer, found {}", found(value)), None));
            }
        }
        out
    }
}

fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

fn mismatch(tree: &Node, path: Vec<String>, message: String, hint: Option<String>) -> Mismatch {
    let node = tree.nearest(&path);
    let problem = problem_at(&node.origin, join_prefix(&node.prefix, &path), message, hint);
    Mismatch { path, problem, meant: None, missing: false }
}

pub fn join_prefix<S: AsRef<str>>(prefix: &str, path: &[S]) -> String {
    path.iter().fold(prefix.to_string(), |all, key| join(&all, key.as_ref()))
}

impl Schema {
    fn explain(
        &self,
        tree: &Node,
        path: Vec<String>,
        value: &Value,
        kind: &ValidationErrorKind,
        text: &str,
        out: &mut Vec<Mismatch>,
    ) {
        use ValidationErrorKind as Error;
        let schema = self.at(&path).unwrap_or(&Value::Null);
        let wrong = || format!("expected {}, found {}", expected(schema), found(value));
        let (message, hint) = match kind {
            Error::AdditionalProperties { unexpected } => {
                return out.extend(unexpected.iter().map(|key| self.unknown_key(tree, &path, key, schema)));
            }
            Error::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                let path: Vec<String> = path.into_iter().chain([key.to_string()]).collect();
                let hint = self.at(&path).map(|schema| format!("give it {}", expected(schema)));
                return out
                    .push(Mismatch { missing: true, ..mismatch(tree, path, "this key is missing".into(), hint) });
            }
            Error::PropertyNames { error } => {
                let name = error.instance().as_str().unwrap_or_default().to_string();
                let (message, hint) = no_name(&name);
                let path = path.into_iter().chain([name]).collect();
                return out.push(mismatch(tree, path, message, hint));
            }
            Error::Type { .. } if !choices(schema).is_empty() => return,
            Error::Type { .. } => (wrong(), unquote(schema, value)),
            Error::Enum { .. } | Error::OneOfNotValid { .. } | Error::AnyOf { .. } | Error::Constant { .. } => {
                let near = |word: &str| did_you_mean(word, choices(schema)).map(|(hint, _)| hint);
                (wrong(), value.as_str().and_then(|word| unavailable(&path, word).or_else(|| near(word))))
            }
            Error::Minimum { limit } => (format!("must be at least {}, found {value}", plain(limit)), None),
            Error::Maximum { limit }
                if matches!(path.last().map(String::as_str), Some("spec_version" | "suite_version")) =>
            {
                (
                    format!("is of version {value}, and this program reads {}", plain(limit)),
                    Some("it was written for a newer runner: update this one".into()),
                )
            }
            Error::Maximum { limit } => (format!("must be at most {}, found {value}", plain(limit)), None),
            Error::Pattern { .. } => no_name(value.as_str().unwrap_or_default()),
            _ => (text.to_string(), None),
        };
        out.push(mismatch(tree, path, message, hint));
    }

    fn unknown_key(&self, tree: &Node, path: &[String], key: &str, schema: &Value) -> Mismatch {
        let known: Vec<&str> =
            schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        let near = did_you_mean(key, known.iter().copied());
        let hint = near
            .as_ref()
            .map(|(hint, _)| hint.clone())
            .or_else(|| self.elsewhere(key))
            .or_else(|| dotted_run(path, key))
            .or_else(|| Some(format!("valid keys: {}", known.join(", "))));
        let whole: Vec<String> = path.iter().cloned().chain([key.to_string()]).collect();
        let meant = near.map(|(_, meant)| path.iter().cloned().chain([meant]).collect());
        Mismatch { meant, ..mismatch(tree, whole, "unknown key".into(), hint) }
    }

    /// A key of this name in another section.
    fn elsewhere(&self, key: &str) -> Option<String> {
        fn walk(all: &Schema, schema: &Value, path: &str, key: &str, out: &mut Vec<String>) {
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                let here = join(path, name);
                if name == key {
                    out.push(format!("{here:?}"));
                }
                if let Some(inner) = all.follow(inner) {
                    walk(all, inner, &here, key, out);
                }
            }
        }
        let mut places = Vec::new();
        walk(self, &self.value, "", key, &mut places);
        (!places.is_empty() && places.len() <= 3).then(|| format!("did you mean {}?", places.join(" or ")))
    }
}

/// A number behind the dot of a run's name, such as [runs.beta0.1], is a key of its own in TOML.
fn dotted_run(path: &[String], key: &str) -> Option<String> {
    let [.., runs, name] = path else { return None };
    let is_run = runs == "runs" && key.starts_with(|c: char| c.is_ascii_digit());
    is_run.then(|| {
        format!(
            "in TOML a dot parts keys, and names of runs have none: for a run {:?} write [runs.{name}_{key}]",
            format!("{name}.{key}")
        )
    })
}

/// Limits in the schema are floats even for whole numbers.
pub fn plain(limit: &Value) -> String {
    limit.as_f64().map_or_else(|| limit.to_string(), |number| number.to_string())
}

/// For a value in quotes that would be one of the wanted type without.
fn unquote(schema: &Value, value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    let fits = match schema["type"].as_str()? {
        "integer" => text.parse::<i64>().is_ok(),
        "number" => text.parse::<f64>().is_ok_and(f64::is_finite),
        "boolean" => matches!(text, "true" | "false"),
        _ => false,
    };
    fits.then(|| "write it without quotes".to_string())
}
