//! The JSON Schema of a suite file, from its types, and which of the formats in `specs/` a file has.

use super::types::Suite;
use crate::spec::schema::{NAME_PATTERN, Schema, drop_null};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::OnceLock;

/// The schema of a suite file: the types, plus `profile.NAME`.
pub fn suite_schema() -> Value {
    let mut schema = schemars::schema_for!(Suite).to_value();
    drop_null(&mut schema);
    schema["title"] = json!("Suite of runner");
    let names = json!({ "pattern": NAME_PATTERN });
    let members = |of: &str| {
        json!({
            "description": "The experiments, by names that become folders.",
            "type": "object", "propertyNames": names, "additionalProperties": { "$ref": format!("#/$defs/{of}") },
        })
    };
    let mut partial = schema["$defs"]["Member"].clone();
    if let Some(object) = partial.as_object_mut() {
        object.remove("required");
    }
    schema["$defs"]["PartialMember"] = partial;
    if let Some(definitions) = schema["$defs"].as_object_mut() {
        definitions.remove("Members");
    }
    schema["properties"]["members"] = members("Member");
    schema["properties"]["members"]["minProperties"] = json!(1);
    let mut sections: Map<String, Value> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| matches!(key.as_str(), "description" | "seeds" | "comparisons" | "preference"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    sections.insert("members".into(), members("PartialMember"));
    schema["$defs"]["Profile"] = json!({
        "description": "Any part of a suite; laid over the rest when chosen by --profile.",
        "type": "object", "properties": sections, "additionalProperties": false,
    });
    schema["properties"]["profile"] = json!({
        "description": "Named partial suites, chosen by --profile, which is the profile of every member too.",
        "type": "object", "propertyNames": names, "additionalProperties": { "$ref": "#/$defs/Profile" },
    });
    schema
}

pub(super) fn of_suites() -> &'static Schema {
    static CACHE: OnceLock<Schema> = OnceLock::new();
    CACHE.get_or_init(|| Schema::new(suite_schema()))
}

/// What a TOML file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Spec,
    Suite,
    /// The paper's values.
    Paper,
    /// Named sources.
    Sources,
    /// Clusters.
    Cluster,
}

impl FileKind {
    /// By the version key before the file's first table; a file that cannot be read is taken for a spec, whose reader
    /// then says why.
    pub fn of(path: &Path) -> Self {
        // A pipe would be waited for.
        let text = path.is_file().then(|| std::fs::read_to_string(path).ok()).flatten();
        text.map_or(Self::Spec, |text| Self::of_text(&text))
    }

    fn of_text(text: &str) -> Self {
        let keys = text.lines().map(str::trim_start).take_while(|line| !line.starts_with('['));
        let keys = keys.filter_map(|line| Some(line.split_once('=')?.0.trim()));
        keys.filter_map(|key| match key {
            "suite_version" => Some(Self::Suite),
            "paper_version" => Some(Self::Paper),
            "sources_version" => Some(Self::Sources),
            "cluster_version" => Some(Self::Cluster),
            _ => None,
        })
        .next()
        .unwrap_or(Self::Spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_it_is_before_its_first_table() {
        assert_eq!(FileKind::of_text("# a\nsuite_version = 1\n[members.a]"), FileKind::Suite);
        assert_eq!(FileKind::of_text("name = \"x\"\n paper_version=1"), FileKind::Paper);
        assert_eq!(FileKind::of_text("[a]\nsuite_version = 1"), FileKind::Spec);
        assert_eq!(FileKind::of(Path::new("/nowhere")), FileKind::Spec);
    }
}
