//! Preference between two models from answers to comparisons of their texts (paper section 3: three labelers per item,
//! the majority's choice; tables 1 and 5).
//!
//! Each labeler's best text is a vote for the model that wrote it, whichever of its texts it is. Intervals of a win
//! rate are Wilson's over items and a percentile bootstrap over contexts, which are resampled whole: items of one
//! context (at several seeds) are not independent.

use super::interval::{percentile, wilson};
use crate::random::SplitMix64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2000;

/// Which model a vote, or an item, goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Winner {
    A,
    B,
    /// As many votes for one as for the other: impossible with an odd number of answers.
    Tie,
}

/// The winner of one item. `votes`: the best text's writer, one per answer. `None` without answers.
pub fn majority(votes: &[Winner]) -> Option<Winner> {
    let count = |side: Winner| votes.iter().filter(|vote| **vote == side).count();
    let (a, b) = (count(Winner::A), count(Winner::B));
    (a + b > 0).then(|| match a.cmp(&b) {
        std::cmp::Ordering::Greater => Winner::A,
        std::cmp::Ordering::Less => Winner::B,
        std::cmp::Ordering::Equal => Winner::Tie,
    })
}

/// How often A wins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WinRate {
    pub a: u64,
    pub b: u64,
    /// Counted, and in no share.
    pub ties: u64,
    /// Share of A in the items that one of them won, 0 to 1; NaN without any.
    pub share: f64,
    /// Wilson's 95% interval over items.
    pub wilson: (f64, f64),
    /// 95% percentile bootstrap over contexts; NaN below two contexts.
    pub bootstrap: (f64, f64),
}

/// Counts items. `items`: each with its context, the same for all items of one query.
pub fn win_rate<'c>(items: impl IntoIterator<Item = (&'c str, Winner)>, seed: u64) -> WinRate {
    let mut contexts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut ties = 0;
    for (context, winner) in items {
        let (a, b) = contexts.entry(context).or_default();
        match winner {
            Winner::A => *a += 1,
            Winner::B => *b += 1,
            Winner::Tie => ties += 1,
        }
    }
    let counts: Vec<(u64, u64)> = contexts.into_values().collect();
    let (a, b) = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    let share = |a: u64, b: u64| if a + b == 0 { f64::NAN } else { a as f64 / (a + b) as f64 };
    let wilson = if a + b == 0 { (f64::NAN, f64::NAN) } else { wilson(a, a + b) };
    WinRate { a, b, ties, share: share(a, b), wilson, bootstrap: resampled(&counts, seed) }
}

/// 95% of the shares of resampled contexts.
fn resampled(counts: &[(u64, u64)], seed: u64) -> (f64, f64) {
    if counts.len() < 2 {
        return (f64::NAN, f64::NAN);
    }
    let mut rng = SplitMix64::new(seed);
    let mut draws: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let picked = (0..counts.len()).map(|_| counts[rng.below(counts.len())]);
            let (a, b) = picked.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
            a as f64 / (a + b) as f64
        })
        .filter(|share| share.is_finite())
        .collect();
    draws.sort_by(f64::total_cmp);
    (percentile(&draws, 0.025), percentile(&draws, 0.975))
}

/// Percentage (0 to 100) of agreeing pairs with its 95% bootstrap interval over items; `(agreeing, pairs)` per item.
/// NaN without pairs.
pub fn pair_agreement(items: &[(u64, u64)], seed: u64) -> (f64, f64, f64) {
    let counts: Vec<(u64, u64)> =
        items.iter().filter(|(_, pairs)| *pairs > 0).map(|(agreeing, pairs)| (*agreeing, pairs - agreeing)).collect();
    let (yes, no) = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    let (low, high) = resampled(&counts, seed);
    (100.0 * yes as f64 / (yes + no) as f64, 100.0 * low, 100.0 * high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Winner::{A, B, Tie};

    #[test]
    fn the_majority_of_votes_wins() {
        assert_eq!(majority(&[A, B, A]), Some(A));
        assert_eq!(majority(&[B]), Some(B));
        assert_eq!(majority(&[A, B]), Some(Tie));
        assert_eq!(majority(&[]), None);
    }

    #[test]
    fn a_win_rate_by_hand() {
        let items = [("x", A), ("y", A), ("y", B), ("z", Tie), ("z", A), ("w", A)];
        let got = win_rate(items, 0);
        assert_eq!((got.a, got.b, got.ties, got.share), (4, 1, 1, 0.8));
        // scipy 1.17.1: binomtest(4, 5).proportion_ci(method="wilson").
        assert!((got.wilson.0 - 0.375_535).abs() < 1e-6 && (got.wilson.1 - 0.963_776).abs() < 1e-6, "{got:?}");
        // Only context y can lose: a resample of y alone gives 1/2.
        assert!(got.bootstrap.0 >= 0.5 && got.bootstrap.1 == 1.0, "{got:?}");
        assert!(win_rate([], 0).share.is_nan() && win_rate([("x", Tie)], 0).wilson.0.is_nan());
    }

    #[test]
    fn seeds_of_one_context_count_as_one() {
        // 50 contexts, each won four times: resampling items would give half the width.
        let names: Vec<String> = (0..50).map(|i| i.to_string()).collect();
        let winner = |i: usize| if i.is_multiple_of(2) { A } else { B };
        let once = win_rate(names.iter().enumerate().map(|(i, n)| (n.as_str(), winner(i))), 1);
        let often = win_rate(names.iter().enumerate().flat_map(|(i, n)| [(n.as_str(), winner(i)); 4]), 1);
        assert_eq!(once.bootstrap, often.bootstrap);
        assert!(often.wilson.1 - often.wilson.0 < 0.6 * (often.bootstrap.1 - often.bootstrap.0));
    }

    #[test]
    fn pairs_agree_by_hand() {
        // Three of three pairs, then one of three.
        let (percent, low, high) = pair_agreement(&[(3, 3), (1, 3), (0, 0)], 0);
        assert!((percent - 400.0 / 6.0).abs() < 1e-9 && low >= 100.0 / 3.0 - 1e-9 && high <= 100.0);
        assert!(pair_agreement(&[], 0).0.is_nan());
    }
}
