//! The values of a spec, and where each comes from.

use crate::spec::{Loaded, Origin};
use schemars::JsonSchema;
use serde::Serialize;

/// One value of a resolved spec.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Value")]
pub struct PlanValue {
    /// `policy.kl.target`.
    pub key: String,
    pub value: serde_json::Value,
    /// `default`, `preset sentiment`, `FILE:LINE:COLUMN`, `profile smoke (...)`, or the argument.
    pub origin: String,
    /// Neither the program's default nor its preset's.
    pub set: bool,
}

/// All values, in the order of their keys.
pub fn of(loaded: &Loaded) -> Vec<PlanValue> {
    let tree = serde_json::to_value(&loaded.spec).unwrap_or_default();
    let one = |(key, origin): (&String, &Origin)| PlanValue {
        key: key.clone(),
        value: tree.pointer(&format!("/{}", key.replace('.', "/"))).cloned().unwrap_or_default(),
        origin: origin.to_string(),
        set: !matches!(origin, Origin::Default | Origin::Preset(_)),
    };
    loaded.origins.iter().map(one).collect()
}
