//! Agreement between labelers beyond and before chance (paper table 9; Fleiss 1971; missing answers as in
//! Gwet, "Handbook of Inter-Rater Reliability", 4th edition 2014, chapter 2).

use std::collections::BTreeMap;

/// How far labelers agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Of all pairs of answers to the same item, the percentage (0 to 100) that are equal.
    pub percent: f64,
    /// Fleiss' kappa, (P - P_e) / (1 - P_e); `None` where chance alone would agree always (one choice in all answers).
    pub kappa: Option<f64>,
}

/// `answers`: `[items][raters]`, `None` where a rater gave no answer. `None` when no item has two answers.
///
/// P is the mean over items with two answers or more of the share of agreeing pairs; P_e = Σ p_c², where p_c is the
/// mean over items with an answer of the share of choice c. Without missing answers this is Fleiss' definition.
pub fn agreement<C: Ord>(answers: &[Vec<Option<C>>]) -> Option<Agreement> {
    let (mut agreeing, mut pairs) = (0.0, 0.0);
    let (mut shares, mut rated, mut compared) = (0.0, 0.0, 0.0);
    let mut choices: BTreeMap<&C, f64> = BTreeMap::new();
    for item in answers {
        let mut counts: BTreeMap<&C, f64> = BTreeMap::new();
        item.iter().flatten().for_each(|c| *counts.entry(c).or_default() += 1.0);
        let n: f64 = counts.values().sum();
        if n == 0.0 {
            continue;
        }
        rated += 1.0;
        counts.iter().for_each(|(c, k)| *choices.entry(c).or_default() += k / n);
        if n >= 2.0 {
            let equal: f64 = counts.values().map(|k| k * (k - 1.0)).sum();
            agreeing += equal;
            pairs += n * (n - 1.0);
            shares += equal / (n * (n - 1.0));
            compared += 1.0;
        }
    }
    if pairs == 0.0 {
        return None;
    }
    let chance: f64 = choices.values().map(|s| (s / rated).powi(2)).sum();
    let kappa = (choices.len() > 1).then(|| (shares / compared - chance) / (1.0 - chance));
    Some(Agreement { percent: 100.0 * agreeing / pairs, kappa })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_raters_by_hand() {
        // Agree on 2 of 3 items; p = (1/2, 1/2), so kappa = (2/3 - 1/2) / (1/2).
        let got = agreement(&[vec![Some(0), Some(0)], vec![Some(1), Some(1)], vec![Some(0), Some(1)]]).unwrap();
        assert!((got.percent - 200.0 / 3.0).abs() < 1e-9 && (got.kappa.unwrap() - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn without_pairs_or_choice_there_is_nothing_to_say() {
        assert_eq!(agreement::<u8>(&[vec![Some(1), None]]), None);
        let same = agreement(&[vec![Some(1), Some(1)]]).unwrap();
        assert_eq!((same.percent, same.kappa), (100.0, None));
    }
}
