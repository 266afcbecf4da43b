//! Adam, which every training has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which Adam (paper.md section 6: the placement of epsilon differs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdamForm {
    /// step = lr √(1-β₂ᵗ)/(1-β₁ᵗ) · m / (√v + ε)
    Tensorflow,
    /// step = lr/(1-β₁ᵗ) · m / (√(v/(1-β₂ᵗ)) + ε)
    Torch,
}

/// Adam's constants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamSpec {
    pub form: AdamForm,
    #[schemars(range(min = 0.0, max = 0.999999999))]
    pub beta1: f64,
    #[schemars(range(min = 0.0, max = 0.999999999))]
    pub beta2: f64,
    #[schemars(range(min = 0.0, max = 1.0))]
    pub epsilon: f64,
}

impl Default for AdamSpec {
    fn default() -> Self {
        Self { form: AdamForm::Tensorflow, beta1: 0.9, beta2: 0.999, epsilon: 1e-5 }
    }
}
