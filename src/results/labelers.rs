//! labels/RUN_simulated.json: how simulated labelers behaved.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    pub count: u64,
    pub n: u64,
}

impl Share {
    pub fn add(&mut self, yes: bool) {
        self.count += u64::from(yes);
        self.n += 1;
    }
}

/// simulated.json beside the labels: how the simulated labelers behaved. To know it, all of them answered every
/// comparison; labels.jsonl has one answer of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimulatedReport {
    pub labelers: usize,
    pub comparisons: u64,
    /// Percentage (0 to 100) of pairs of answers to the same comparison that are equal. The paper's labelers: 38 to 46
    /// on 4-way comparisons; chance: 25.
    pub agreement: Option<f64>,
    /// Fleiss' kappa.
    pub kappa: Option<f64>,
    /// Answers that take the candidate shown first.
    pub first_shown: Share,
    /// Answers that take a candidate of which no other copies more, in comparisons whose candidates differ in that.
    pub most_copied: Share,
    /// Answers that take the candidate with the largest utility.
    pub best: Share,
}

impl SimulatedReport {
    /// One line for people.
    pub fn text(&self) -> String {
        let percent = |s: Share| 100.0 * s.count as f64 / s.n.max(1) as f64;
        let agreement = self.agreement.map_or_else(|| "one labeler".into(), |a| format!("{a:.1}% of pairs agree"));
        format!(
            "simulated labelers: {} on {} comparisons: {agreement}; {:.1}% of answers take the first shown, {:.1}% of {} \
             the most copied",
            self.labelers,
            self.comparisons,
            percent(self.first_shown),
            percent(self.most_copied),
            self.most_copied.n
        )
    }
}

/// labels/RUN_judge.json: how a language model judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JudgeReport {
    /// As the endpoint calls it.
    pub model: String,
    /// What it is called in labels.
    pub labeler: String,
    /// Every question was asked in the reversed order too.
    pub both_orders: bool,
    /// Answers that came, of any kind, to questions and checks.
    pub requests: u64,
    /// The model, or its provider, would not answer.
    pub refusals: u64,
    /// Answers that choose nothing that was shown.
    pub nonsense: u64,
    /// Questions and checks with a choice that counts: with both orders the same in both.
    pub choices: u64,
    /// Questions and checks without one. Nothing replaces these.
    pub left_out: u64,
    /// Choices by the place at which the chosen candidate was shown, from the first; both orders are counted.
    pub places: Vec<u64>,
    /// Questions with a choice in both orders, and how many of them have the same.
    pub orders: Share,
    /// Gold items whose choice is the authors'.
    pub gold: Share,
    /// Questions that were asked twice, answered as the first time.
    pub repeats: Share,
    /// Pairs of a choice of the judge's and one of a person's about the same question that are equal.
    pub people: Share,
    /// Choices that guessing would have right, of `choices`.
    pub chance: f64,
    /// As the endpoint counts them, or estimated.
    pub prompt_tokens: u64,
    pub answer_tokens: u64,
    /// Answers whose own counts are missing or cannot be, and whose tokens are estimated by their length.
    pub estimated_tokens: u64,
    /// Labels to train on, and held out.
    pub training: u64,
    pub held_out: u64,
}

impl JudgeReport {
    /// One line for people.
    pub fn text(&self) -> String {
        let percent = |s: Share| 100.0 * s.count as f64 / s.n.max(1) as f64;
        let first = Share { count: self.places.first().copied().unwrap_or(0), n: self.places.iter().sum() };
        let agreement = [("gold items", self.gold), ("itself", self.repeats), ("people", self.people)];
        let agreement: String = agreement
            .iter()
            .filter(|(_, share)| share.n > 0)
            .map(|(who, share)| format!("; agrees with {who} in {:.1}% of {}", percent(*share), share.n))
            .collect();
        let orders = match self.orders.n {
            0 => String::new(),
            n => format!("; the same choice in both orders in {:.1}% of {n}", percent(self.orders)),
        };
        format!(
            "judged by {}: {} answers, {} refusals, {} without a choice; {:.1}% of choices take the first \
             shown{orders}{agreement}; {} tokens",
            self.model,
            self.requests,
            self.refusals,
            self.nonsense,
            percent(first),
            self.prompt_tokens + self.answer_tokens
        )
    }
}
