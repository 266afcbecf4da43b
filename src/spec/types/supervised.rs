//! Supervised fine-tuning of ρ before anything else.

use super::adam::{AdamForm, AdamSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What supervised fine-tuning learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SupervisedOn {
    /// No fine-tuning: ρ is used as it comes.
    Nothing,
    /// The task's documents as text, as on BookCorpus before the stylistic tasks (paper section 3.1).
    Text,
    /// The reference summary that follows each query: the supervised baseline (paper section 3.2).
    Summaries,
}

/// Supervised fine-tuning of ρ before anything else, with Adam, cosine decay to 0 and a sweep of learning rates: the
/// one with the lowest validation loss is kept (paper section 3.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisedSpec {
    pub on: SupervisedOn,
    /// Learning rates to try. Default: the paper's 8 values from 1e-4 to 3e-4, evenly spaced in their logarithm.
    #[schemars(length(min = 1, max = 100), inner(range(min = 0.0, max = 1.0)))]
    pub lrs: Vec<f64>,
    #[schemars(range(min = 1, max = 1000))]
    pub epochs: usize,
    /// Sequences per step.
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: usize,
    /// Tokens per sequence of `on = "text"`.
    #[schemars(range(min = 2, max = 1048576))]
    pub sequence_length: usize,
    /// Probability of dropping embeddings, attention weights and residual branches, as in GPT-2.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub dropout: f64,
    /// Training documents held out to choose the learning rate.
    #[schemars(range(min = 1, max = 100000000))]
    pub validation: usize,
    pub adam: AdamSpec,
}

impl Default for SupervisedSpec {
    fn default() -> Self {
        let lr = |i: usize| 1e-4 * 3f64.powf(i as f64 / 7.0);
        Self {
            on: SupervisedOn::Nothing,
            // Rounded to what a person would write.
            lrs: (0..8).map(|i| (lr(i) * 1e7).round() / 1e7).collect(),
            epochs: 1,
            batch_size: 64,
            sequence_length: 512,
            dropout: 0.1,
            validation: 30_000,
            adam: AdamSpec { form: AdamForm::Torch, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
        }
    }
}
