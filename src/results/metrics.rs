//! runs/RUN/metrics.jsonl: one line per PPO update. [`MetricsLine`] is the one list of metrics: it is written, its
//! schema says what each is and in what unit, TensorBoard has its names as tags, and readers take names from [`name`].

use super::read::{ResultsError, read_jsonl};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// One line of runs/RUN/metrics.jsonl: one PPO update, under the names of the released code where it has one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsLine {
    /// Mean over the batch of the summed log π - log ρ, in nats per response.
    #[serde(rename = "objective/kl")]
    pub kl: f64,
    /// β during this update.
    #[serde(rename = "objective/kl_coef")]
    pub kl_coef: f64,
    /// Mean over the batch of the summed -log π of the sampled tokens, in nats per response.
    #[serde(rename = "objective/entropy")]
    pub entropy: f64,
    /// Mean entropy of the distributions that the tokens were sampled from, in nats per token.
    #[serde(rename = "ppo/policy/entropy")]
    pub token_entropy: f64,
    /// Mean score that RL optimises: reward model (or r_s in direct mode) with the rule for missing truncation tokens.
    #[serde(rename = "objective/score")]
    pub score: f64,
    /// Mean of the summed token rewards: score minus β times KL.
    #[serde(rename = "objective/score_total")]
    pub score_total: f64,
    /// Share of responses that hold the truncation token after its earliest position.
    #[serde(rename = "objective/truncated")]
    pub truncated: f64,
    /// Mean of the values at sampling time. All under `ppo/val`, `ppo/returns` and `ppo/loss/value` is absent where the
    /// algorithm learns no values.
    #[serde(rename = "ppo/val/mean", default, skip_serializing_if = "Option::is_none")]
    pub value_mean: Option<f64>,
    /// Variance of the values at sampling time.
    #[serde(rename = "ppo/val/var", default, skip_serializing_if = "Option::is_none")]
    pub value_var: Option<f64>,
    /// Mean log-odds under the mock labeler r_s, where there is one.
    #[serde(rename = "objective/mock_score", default, skip_serializing_if = "Option::is_none")]
    pub mock_score: Option<f64>,
    /// α of the entropy bonus during this update, where there is one.
    #[serde(rename = "objective/entropy_coef", default, skip_serializing_if = "Option::is_none")]
    pub entropy_coef: Option<f64>,
    /// Mean over tokens (RLOO: over responses) of the clipped policy loss.
    #[serde(rename = "ppo/loss/policy")]
    pub loss_policy: f64,
    /// Half the mean over tokens of the clipped squared error of the values.
    #[serde(rename = "ppo/loss/value", default, skip_serializing_if = "Option::is_none")]
    pub loss_value: Option<f64>,
    /// Policy loss plus vf_coef times value loss.
    #[serde(rename = "ppo/loss/total")]
    pub loss_total: f64,
    /// 0.5 mean (log π - log π_old)².
    #[serde(rename = "ppo/policy/approxkl")]
    pub approxkl: f64,
    /// Share of tokens (RLOO: of responses) whose probability ratio is clipped.
    #[serde(rename = "ppo/policy/clipfrac")]
    pub clipfrac: f64,
    /// Share of tokens whose value is clipped.
    #[serde(rename = "ppo/val/clipfrac", default, skip_serializing_if = "Option::is_none")]
    pub value_clipfrac: Option<f64>,
    /// Mean of the values during optimisation.
    #[serde(rename = "ppo/val/vpred", default, skip_serializing_if = "Option::is_none")]
    pub vpred: Option<f64>,
    /// Mean squared difference of values and returns.
    #[serde(rename = "ppo/val/error", default, skip_serializing_if = "Option::is_none")]
    pub value_error: Option<f64>,
    /// Mean of the returns that values are taught.
    #[serde(rename = "ppo/returns/mean", default, skip_serializing_if = "Option::is_none")]
    pub returns_mean: Option<f64>,
    /// Their variance.
    #[serde(rename = "ppo/returns/var", default, skip_serializing_if = "Option::is_none")]
    pub returns_var: Option<f64>,
    /// 1 - value error / variance of the returns.
    #[serde(rename = "ppo/val/var_explained", default, skip_serializing_if = "Option::is_none")]
    pub var_explained: Option<f64>,
    /// Largest |ratio - 1| on the first minibatch: 0 to rounding if sampling and training agree.
    #[serde(rename = "ppo/ratio_error")]
    pub ratio_error: f64,
    /// Correlation over the batch's responses of how far the update raised a response's log-probability with its total
    /// reward less its value. Positive, or the update goes the wrong way; absent where there is one epoch alone.
    #[serde(rename = "ppo/direction", default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<f64>,
    /// In rounds: how many times r has been trained.
    #[serde(rename = "labels/round", default, skip_serializing_if = "Option::is_none")]
    pub labels_round: Option<f64>,
    /// In rounds: labels that the present r was trained on.
    #[serde(rename = "labels/collected", default, skip_serializing_if = "Option::is_none")]
    pub labels_collected: Option<f64>,
    /// Online: share of answers to validation items (two samples of ρ, two of π) that chose one of π's.
    #[serde(rename = "labels/win_rate", default, skip_serializing_if = "Option::is_none")]
    pub win_rate: Option<f64>,
    /// Number of these answers.
    #[serde(rename = "labels/win_rate_n", default, skip_serializing_if = "Option::is_none")]
    pub win_rate_n: Option<f64>,
    /// Learning rate of this update.
    #[serde(rename = "ppo/lr")]
    pub lr: f64,
    /// Updates done, counting this one.
    #[serde(rename = "elapsed/updates")]
    pub updates: f64,
    /// Episodes done, counting this update's.
    #[serde(rename = "elapsed/episodes")]
    pub episodes: f64,
    /// Episodes per second since this process began.
    #[serde(rename = "elapsed/fps")]
    pub fps: f64,
    /// Seconds since this process began training.
    #[serde(rename = "elapsed/time")]
    pub time: f64,
}

impl MetricsLine {
    /// Without what is said of values.
    pub fn without_values(self) -> Self {
        Self {
            value_mean: None,
            value_var: None,
            loss_value: None,
            value_clipfrac: None,
            vpred: None,
            value_error: None,
            returns_mean: None,
            returns_var: None,
            var_explained: None,
            ..self
        }
    }
}

/// One line of runs/RUN/metrics.jsonl where DPO learns: one step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DpoMetricsLine {
    /// Mean over the step's pairs of -log σ(margin); ln 2 where π is ρ.
    #[serde(rename = "dpo/loss")]
    pub loss: f64,
    /// Mean of β (log π/ρ of the best - log π/ρ of another candidate).
    #[serde(rename = "dpo/margin")]
    pub margin: f64,
    /// Share of pairs whose margin is positive.
    #[serde(rename = "dpo/accuracy")]
    pub accuracy: f64,
    /// Mean over the step's candidates of |log π - log ρ|, in nats per response.
    #[serde(rename = "dpo/distance")]
    pub distance: f64,
    /// Learning rate of this step.
    #[serde(rename = "dpo/lr")]
    pub lr: f64,
    /// Steps done, counting this one.
    #[serde(rename = "elapsed/updates")]
    pub updates: f64,
    /// Labels seen, counting this step's; an epoch later the same count again.
    #[serde(rename = "elapsed/labels")]
    pub labels: f64,
    /// Seconds since this process began training.
    #[serde(rename = "elapsed/time")]
    pub time: f64,
}

/// A line of any metrics.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "MetricsLine")]
pub enum AnyMetricsLine {
    /// Of PPO and RLOO.
    Episodes(Box<MetricsLine>),
    /// Of DPO.
    Labels(DpoMetricsLine),
}

/// The steps of a metrics.jsonl.
pub fn read_metrics(path: &Path) -> Result<Vec<Map<String, Value>>, ResultsError> {
    read_jsonl(path)
}

/// A finite number of a metrics line.
pub fn number(step: &Map<String, Value>, key: &str) -> Option<f64> {
    step.get(key).and_then(Value::as_f64).filter(|v| v.is_finite())
}

/// Names of metrics that readers look up.
pub mod name {
    pub const KL: &str = "objective/kl";
    pub const KL_COEF: &str = "objective/kl_coef";
    pub const ENTROPY: &str = "objective/entropy";
    pub const SCORE: &str = "objective/score";
    pub const MOCK_SCORE: &str = "objective/mock_score";
    pub const RATIO_ERROR: &str = "ppo/ratio_error";
    pub const DIRECTION: &str = "ppo/direction";
    pub const UPDATES: &str = "elapsed/updates";
    pub const EPISODES: &str = "elapsed/episodes";
    pub const TIME: &str = "elapsed/time";

    #[cfg(test)]
    pub const ALL: [&str; 10] =
        [KL, KL_COEF, ENTROPY, SCORE, MOCK_SCORE, RATIO_ERROR, DIRECTION, UPDATES, EPISODES, TIME];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_readers_look_up_are_written() {
        let schema = schemars::schema_for!(MetricsLine).to_value();
        let properties = schema["properties"].as_object().unwrap();
        for name in name::ALL {
            assert!(properties.contains_key(name), "{name}");
        }
        for (name, property) in properties {
            assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{name} is not explained");
        }
    }
}
