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
