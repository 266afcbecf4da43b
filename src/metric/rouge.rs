//! ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), equal to google's rouge-score 0.1.2: its tokenisation, clipped n-gram
//! counts, and the longest common subsequence of the whole texts (not of their sentences, which is rougeLsum).

use super::stem::stem;
use std::collections::HashMap;

/// Precision, recall and their harmonic mean.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Score {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

/// The three scores of the paper's table 4.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Rouge {
    pub rouge1: Score,
    pub rouge2: Score,
    #[serde(rename = "rougeL")]
    pub rouge_l: Score,
}

impl Rouge {
    /// Mean of the three F1 (paper table 4, "R-AVG").
    pub fn mean_f1(&self) -> f64 {
        (self.rouge1.f1 + self.rouge2.f1 + self.rouge_l.f1) / 3.0
    }
}

impl Score {
    /// `hits` of `predicted` and of `referred` things; 0 where there is nothing to divide by.
    fn new(hits: usize, predicted: usize, referred: usize) -> Self {
        let precision = hits as f64 / predicted.max(1) as f64;
        let recall = hits as f64 / referred.max(1) as f64;
        let sum = precision + recall;
        Self { precision, recall, f1: if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 } }
    }
}

/// Lower-cased runs of ASCII letters and digits; with `stemmer`, those longer than 3 are stemmed.
pub fn tokens(text: &str, stemmer: bool) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|t| !t.is_empty())
        .map(|t| if stemmer && t.len() > 3 { stem(t) } else { t.to_string() })
        .filter(|t| !t.is_empty())
        .collect()
}

/// Scores of a prediction against one reference.
pub fn rouge(prediction: &str, reference: &str, stemmer: bool) -> Rouge {
    let (p, r) = (tokens(prediction, stemmer), tokens(reference, stemmer));
    Rouge {
        rouge1: overlap(&p, &r, 1),
        rouge2: overlap(&p, &r, 2),
        rouge_l: Score::new(common_subsequence(&p, &r), p.len(), r.len()),
    }
}

/// How often each n-gram occurs.
fn counts(tokens: &[String], n: usize) -> HashMap<&[String], usize> {
    let mut counts = HashMap::new();
    tokens.windows(n).for_each(|gram| *counts.entry(gram).or_default() += 1);
    counts
}

/// ROUGE-n: every n-gram counts at most as often as the other text has it.
fn overlap(prediction: &[String], reference: &[String], n: usize) -> Score {
    let (p, r) = (counts(prediction, n), counts(reference, n));
    let hits = r.iter().map(|(gram, k)| (*k).min(p.get(gram).copied().unwrap_or(0))).sum();
    Score::new(hits, p.values().sum(), r.values().sum())
}

/// Length of the longest common subsequence, one row of the table at a time.
fn common_subsequence(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0usize; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_packages_readme() {
        let got = rouge("The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog", true);
        // rouge1 there: precision 0.75, recall 0.6667; rougeL: precision 0.625, recall 0.5556.
        assert!((got.rouge1.precision - 0.75).abs() < 1e-12 && (got.rouge1.recall - 6.0 / 9.0).abs() < 1e-12);
        assert!((got.rouge_l.precision - 0.625).abs() < 1e-12 && (got.rouge_l.recall - 5.0 / 9.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_in_common_and_nothing_at_all_are_zero() {
        for (p, r) in [("", ""), ("a", ""), ("", "b"), ("a", "b"), ("...", "é")] {
            assert_eq!(rouge(p, r, false).rouge1.f1, 0.0);
        }
    }
}
