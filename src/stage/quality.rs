//! How r does on held-out labels, one measure per label type, and whether that is worse than chance: a flipped sign,
//! the authors' own bug (paper section 4.4).

use crate::label::{Judgement, Label};
use crate::results::Accuracy;
use crate::rlhf::reward::{argmax, correlation, mean_squared_error, signs_right};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Measures on held-out labels; which ones there are depends on the label type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Quality")]
pub struct RewardQuality {
    /// Held-out labels.
    pub n: u64,
    /// best_of_N: labels where r prefers what the labeler did. scalar_compare: differences of the right sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correct: Option<u64>,
    /// Labels that `correct` counts among: all of them, or the differences that are not 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<u64>,
    /// Expected share of `correct` by guessing: 1 / candidates, or more where candidates are the same text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chance: Option<f64>,
    /// Ratings and differences: Pearson's correlation of labelled and predicted, -1 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<f64>,
    /// Ratings and differences: mean squared error, on the labels' own scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_squared_error: Option<f64>,
}

impl RewardQuality {
    /// `rewards`: of all samples of all labels in order, on the labels' scale; all labels have one type.
    pub fn measure(labels: &[Label], rewards: &[f32]) -> Self {
        let n = labels.len() as u64;
        let numbers: Vec<f32> = labels.iter().filter_map(|label| label.judgement.number()).collect();
        match labels.first().map(|label| label.judgement) {
            None => Self::default(),
            Some(Judgement::Best(_)) => Self::of_choices(labels, rewards),
            Some(Judgement::Rating(_)) => Self { n, ..Self::of_numbers(&numbers, rewards) },
            Some(Judgement::Difference(_)) => {
                let predicted: Vec<f32> = rewards.chunks_exact(2).map(|pair| pair[1] - pair[0]).collect();
                let (correct, judged) = signs_right(&predicted, &numbers);
                let signs =
                    Self { n, correct: Some(correct), judged: Some(judged), chance: Some(0.5), ..Self::default() };
                let Self { correlation, mean_squared_error, .. } = Self::of_numbers(&numbers, &predicted);
                Self { correlation, mean_squared_error, ..signs }
            }
        }
    }

    /// Candidates that are the same text have the same reward, and preferring either is right.
    fn of_choices(labels: &[Label], rewards: &[f32]) -> Self {
        let (mut correct, mut expected, mut at) = (0, 0.0, 0);
        for label in labels {
            let candidates = label.samples.len();
            let preferred = argmax(&rewards[at..at + candidates]);
            at += candidates;
            if let Judgement::Best(best) = label.judgement {
                correct += u64::from(label.samples[preferred] == label.samples[best]);
            }
            expected += label.equal_to_best() as f64 / candidates as f64;
        }
        let n = labels.len() as u64;
        Self { n, correct: Some(correct), judged: Some(n), chance: Some(expected / n as f64), ..Self::default() }
    }

    fn of_numbers(labels: &[f32], predicted: &[f32]) -> Self {
        Self {
            correlation: correlation(predicted, labels),
            mean_squared_error: Some(mean_squared_error(predicted, labels)),
            ..Self::default()
        }
    }

    /// Agreement as counts; ratings have none.
    pub fn accuracy(&self) -> Option<Accuracy> {
        Some(Accuracy { correct: self.correct?, n: self.judged?, chance: self.chance? })
    }

    /// Below chance by two standard errors: of a correlation, where there is one, whose Fisher's z has the error
    /// 1/√(n - 3); else of the share of correct answers.
    pub fn worse_than_chance(&self) -> bool {
        match (self.correlation, self.correct, self.judged, self.chance) {
            (Some(r), ..) => self.n > 3 && r.atanh() * ((self.n - 3) as f64).sqrt() < -2.0,
            (None, Some(correct), Some(judged), Some(chance)) => {
                let n = judged as f64;
                (correct as f64) < n * chance - 2.0 * (n * chance * (1.0 - chance)).sqrt()
            }
            _ => false,
        }
    }

    /// One sentence.
    pub fn text(&self) -> String {
        let n = self.n;
        let mut parts = Vec::new();
        if let (Some(correct), Some(judged), Some(chance)) = (self.correct, self.judged, self.chance) {
            let what = if self.correlation.is_some() || self.mean_squared_error.is_some() {
                "the sign of"
            } else {
                "the choice in"
            };
            parts.push(format!("{what} {correct} of {judged} (chance {:.0}%)", 100.0 * chance));
        }
        parts.extend(self.correlation.map(|r| format!("correlation {r:.3}")));
        parts.extend(self.mean_squared_error.map(|e| format!("mean squared error {e:.4}")));
        if parts.is_empty() {
            "no held-out labels".into()
        } else {
            format!("{} ({n} held-out labels)", parts.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(samples: &[u32], judgement: Judgement) -> Label {
        Label {
            query: vec![1],
            samples: samples.iter().map(|s| vec![*s]).collect(),
            judgement,
            scores: None,
            worker: None,
            batch: None,
            split: None,
            confidence: None,
        }
    }

    #[test]
    fn choices_are_counted_and_equal_samples_are_one() {
        let labels = [
            label(&[1, 2, 3], Judgement::Best(1)),
            label(&[5, 6, 6], Judgement::Best(2)),
            label(&[1, 2, 3], Judgement::Best(0)),
        ];
        let quality = RewardQuality::measure(&labels, &[0.0, 2.0, 1.0, 0.0, 3.0, 3.0, 0.0, 1.0, 0.0]);
        assert_eq!((quality.n, quality.correct, quality.judged), (3, Some(2), Some(3)));
        assert!((quality.chance.unwrap() - 4.0 / 9.0).abs() < 1e-12);
        assert_eq!(quality.accuracy(), Some(Accuracy { correct: 2, n: 3, chance: 4.0 / 9.0 }));
        assert!(!quality.worse_than_chance());
    }

    #[test]
    fn ratings_have_a_correlation_and_an_error() {
        let labels: Vec<Label> = [1.0, 2.0, 4.0].into_iter().map(|r| label(&[1], Judgement::Rating(r))).collect();
        let quality = RewardQuality::measure(&labels, &[1.0, 2.0, 3.0]);
        assert!((quality.correlation.unwrap() - 0.981_981).abs() < 1e-5);
        assert!((quality.mean_squared_error.unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!((quality.accuracy(), quality.n), (None, 3));
    }

    #[test]
    fn differences_are_of_the_second_from_the_first() {
        let labels: Vec<Label> =
            [1.0, -2.0, 0.0].into_iter().map(|d| label(&[1, 2], Judgement::Difference(d))).collect();
        let quality = RewardQuality::measure(&labels, &[0.0, 1.0, 0.0, 2.0, 5.0, 6.0]);
        assert_eq!((quality.correct, quality.judged, quality.n), (Some(1), Some(2), 3));
        assert!((quality.mean_squared_error.unwrap() - (0.0 + 16.0 + 1.0) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_flipped_sign_is_worse_than_chance_in_every_type() {
        let choices: Vec<Label> = (0..40).map(|_| label(&[1, 2, 3, 4], Judgement::Best(0))).collect();
        let wrong: Vec<f32> = (0..40).flat_map(|_| [0.0, 1.0, 2.0, 3.0]).collect();
        assert!(RewardQuality::measure(&choices, &wrong).worse_than_chance());
        let numbers = || (0..40u8).map(|i| f32::from(i) - 20.5);
        let flipped: Vec<f32> = numbers().map(|x| -x).collect();
        let ratings: Vec<Label> = numbers().map(|x| label(&[1], Judgement::Rating(x))).collect();
        assert!(RewardQuality::measure(&ratings, &flipped).worse_than_chance());
        let pairs: Vec<Label> = numbers().map(|x| label(&[1, 2], Judgement::Difference(x))).collect();
        let flipped: Vec<f32> = numbers().flat_map(|x| [x, 0.0]).collect();
        assert!(RewardQuality::measure(&pairs, &flipped).worse_than_chance());
        let right: Vec<f32> = numbers().flat_map(|x| [0.0, x]).collect();
        assert!(!RewardQuality::measure(&pairs, &right).worse_than_chance());
        assert!(!RewardQuality::measure(&[], &[]).worse_than_chance());
    }
}
