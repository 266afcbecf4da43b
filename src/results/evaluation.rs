//! runs/RUN/evaluation.json: what one policy reached on held-out queries; samples.jsonl: some of its texts.

use super::labelers::SimulatedReport;
use super::metrics::name;
use super::texts::Texts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Mean and standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Moments {
    pub mean: f64,
    pub std: f64,
}

/// One held-out query: the judge's score of ρ's and of π's response, and KL of π's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Context")]
pub struct ContextScores {
    pub reference: f64,
    pub policy: f64,
    pub kl: f64,
}

/// How often r agrees with the labeler on held-out labels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Accuracy {
    pub correct: u64,
    pub n: u64,
    /// Expected share of `correct` by guessing.
    #[serde(default = "one_in_four")]
    pub chance: f64,
}

fn one_in_four() -> f64 {
    0.25
}

/// One point of the closed-form optimum, estimated by re-weighting samples of ρ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FrontierPoint {
    pub beta: f64,
    pub kl: f64,
    /// Standard error of `kl`.
    pub kl_se: f64,
    pub reward: f64,
    /// Standard error of `reward`.
    pub reward_se: f64,
}

/// Best-of-n: of n samples of ρ to a query the one that r likes best; means over queries of its expected scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BestOf {
    pub n: usize,
    /// log n - (n - 1)/n, in nats per response: an upper bound on KL(best-of-n ‖ ρ), which is no estimate of it.
    pub kl_bound: f64,
    /// Under r, that chose it.
    pub score: f64,
    /// Under the judge.
    pub judged: f64,
    /// The judge's score query by query.
    #[serde(default)]
    pub contexts: Vec<f64>,
}

/// Held-out perplexity per token of ρ beside two baselines.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Perplexity {
    pub model: f64,
    pub unigram: f64,
    pub uniform: f64,
    pub tokens: u64,
}

/// Whose scores an evaluation reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// The mock labeler r_s: log-odds of "positive".
    #[default]
    Mock,
    /// The reward model r that learned from people's labels, normalised on samples of ρ.
    Reward,
    /// A program of the user's, normalised on samples of ρ.
    Command,
    /// ROUGE-L with the reference summary, normalised on samples of ρ.
    Rouge,
}

impl Judge {
    /// What the score is called in tables and on axes.
    pub fn score(self) -> &'static str {
        match self {
            Self::Mock => "mock score",
            Self::Reward => "score under r",
            Self::Command => "score of a program",
            Self::Rouge => "ROUGE-L reward",
        }
    }
    /// The same with its unit.
    pub fn axis(self) -> &'static str {
        match self {
            Self::Mock => "mock score (log-odds)",
            Self::Reward => "score under r (sd of ρ's scores)",
            Self::Command => "score of a program (sd of ρ's scores)",
            Self::Rouge => "ROUGE-L reward (sd of ρ's scores)",
        }
    }
    /// The metric of a PPO update that it gives.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Mock => name::MOCK_SCORE,
            Self::Reward | Self::Command | Self::Rouge => name::SCORE,
        }
    }
}

/// runs/RUN/evaluation.json: what one trained policy reached on held-out queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evaluation {
    pub run: String,
    /// "direct" (PPO on the mock score itself), "offline", "batched" or "online" (a reward model from labels, trained
    /// once or in rounds), "given" (a reward model that is given) or "none" (no RL).
    pub schedule: String,
    #[serde(default)]
    pub labels: Option<u64>,
    pub episodes: u64,
    #[serde(default)]
    pub kl_target: Option<f64>,
    /// Held-out queries.
    pub n: usize,
    /// Whose scores `reference`, `policy`, `contexts` and `frontier` are.
    #[serde(default)]
    pub judge: Judge,
    /// Score of ρ's responses.
    pub reference: Moments,
    /// Score of π's responses.
    pub policy: Moments,
    #[serde(default)]
    pub contexts: Vec<ContextScores>,
    pub kl: Moments,
    /// Mean score of π's responses under the learned reward.
    #[serde(default)]
    pub score_policy_r: Option<f64>,
    #[serde(default)]
    pub reward_accuracy: Option<Accuracy>,
    /// Share of π's responses without the truncation token.
    pub missing_truncation: f64,
    #[serde(default)]
    pub frontier: Vec<FrontierPoint>,
    /// Best-of-n for each n that was asked for, on the same queries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub best_of: Vec<BestOf>,
    /// What learned: "rloo" or "dpo"; absent for PPO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    #[serde(default)]
    pub perplexity: Option<Perplexity>,
    /// What the responses of ρ and π are like as texts, and of what they are compared with.
    #[serde(default)]
    pub texts: Vec<Texts>,
    /// How the simulated labelers behaved, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<SimulatedReport>,
}

/// One line of runs/RUN/samples.jsonl.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sample {
    pub query: String,
    pub reference_response: String,
    pub response: String,
    pub reference_score: Option<f64>,
    pub score: Option<f64>,
    pub kl: Option<f64>,
    pub mock_score: Option<f64>,
    pub reference_mock_score: Option<f64>,
}
