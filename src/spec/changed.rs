//! What a spec has differently from the preset that it follows.

use super::layers::preset_values;
use super::{Follows, Spec};
use serde_json::Value;

/// A key of the preset, and its two values.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    pub key: String,
    pub ours: Value,
    pub preset: Value,
}

/// Keys of task, reward model and policy whose values are not those of the preset that the spec follows. Where the text
/// comes from is no number of the preset's.
pub fn changed_from_preset(spec: &Spec) -> Vec<Changed> {
    let preset = serde_json::to_value(spec.task.preset).unwrap_or_default();
    let preset = preset_values(preset.as_str().unwrap_or_default(), spec.follows == Follows::Paper);
    let ours = serde_json::to_value(spec).unwrap_or_default();
    let mut found = Vec::new();
    for section in ["task", "reward", "policy"] {
        differences(&preset[section], &ours[section], section, &mut found);
    }
    found
}

fn differences(preset: &Value, ours: &Value, key: &str, out: &mut Vec<Changed>) {
    if key == "task.data" {
        return;
    }
    if let Value::Object(keys) = preset {
        keys.iter().for_each(|(name, preset)| differences(preset, &ours[name], &format!("{key}.{name}"), out));
        return;
    }
    let equal = match (preset.as_f64(), ours.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => preset == ours,
    };
    if !equal && !preset.is_null() {
        out.push(Changed { key: key.to_string(), ours: ours.clone(), preset: preset.clone() });
    }
}
