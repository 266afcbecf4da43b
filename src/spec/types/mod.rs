//! The experiment spec as a person writes it: every section, every key, its default and its source.
//!
//! These types are the single definition of the file format: serde reads them, schemars turns them into
//! `schemas/spec.schema.json`, and `runner validate` checks files against that schema. Defaults are the
//! paper's (or its released code's, where the paper is silent); presets and files replace them.

mod adam;
mod collect;
mod data;
mod evaluate;
mod guards;
mod labeler;
mod model;
mod outside;
mod policy;
mod reward;
mod supervised;
mod task;

pub use crate::rlhf::entropy::EntropySpec;
pub use crate::rlhf::kl::{KlSchedule, KlSpec};
pub use adam::{AdamForm, AdamSpec};
pub use collect::{CollectSchedule, CollectSpec};
pub use data::{ColumnsSpec, DataFormat, DataSpec, Synthetic, TextLines};
pub use evaluate::EvaluateSpec;
pub use guards::GuardsSpec;
pub use labeler::{
    ClassifierSpec, Combine, HumanSpec, LabelFormat, LabelerKind, LabelerSpec, Nature, QualitySpec, SimulatedSpec,
};
pub use model::{Dimensions, ModelSize, ModelSpec, Precision, PretrainSpec, PretrainTokenizer, WeightsSpec};
pub use outside::{CommandSpec, JudgeSpec, OutsideReward, Structured};
pub use policy::{AlgorithmKind, DpoSpec, PolicySpec, WhitenIn};
pub use reward::RewardSpec;
pub use supervised::{SupervisedOn, SupervisedSpec};
pub use task::{Clean, QueryRule, TaskPreset, TaskSpec, TruncateMatch};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A partial spec: the same keys, all optional. Used by `[profile.NAME]` and `[runs.NAME]`.
pub type Overlay = toml::Table;

/// One experiment. See README.md, "How to write a spec".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Version of this file format.
    #[schemars(range(min = 1, max = 1))]
    pub spec_version: u32,
    /// Name of the experiment; the default results directory is `results/<name>`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub name: String,
    /// One sentence for `runner ls` and the report.
    #[serde(default)]
    pub description: String,
    /// Tables and figures of the paper that this spec contributes to.
    #[serde(default)]
    pub reproduces: Vec<String>,
    /// Root of all random streams.
    #[serde(default = "one")]
    pub seed: u64,
    /// Whose numbers the task's preset gives where the paper and its released code differ.
    #[serde(default)]
    pub follows: Follows,
    #[serde(default)]
    pub model: ModelSpec,
    #[serde(default)]
    pub supervised: SupervisedSpec,
    #[serde(default)]
    pub task: TaskSpec,
    #[serde(default)]
    pub labeler: LabelerSpec,
    #[serde(default)]
    pub collect: CollectSpec,
    #[serde(default)]
    pub reward: RewardSpec,
    #[serde(default)]
    pub policy: PolicySpec,
    #[serde(default)]
    pub evaluate: EvaluateSpec,
    #[serde(default)]
    pub guards: GuardsSpec,
    /// Named variants of this spec that are run and plotted together; each is a partial spec.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, serde_json::Map<String, serde_json::Value>>")]
    pub runs: BTreeMap<String, Overlay>,
}

fn one() -> u64 {
    1
}

/// Where the numbers of a preset come from. What the paper does not say, both take from the released code
/// (docs/hyperparameters.md lists every difference).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Follows {
    Paper,
    #[default]
    ReleasedCode,
}
