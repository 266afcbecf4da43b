//! Intervals: Wilson for shares, Student's t for means, seeded percentile bootstraps for differences and ratios.
//!
//! Everything here is a pure function of its arguments. The bootstraps draw from their own splitmix64 stream, so
//! the same numbers and seed give the same interval on every machine. All intervals are two-sided 95%.

use crate::random::SplitMix64;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// The 97.5% point of the standard normal.
const Z: f64 = 1.959_963_984_540_054;
/// Resamples of a bootstrap.
const RESAMPLES: usize = 2000;

/// Wilson's 95% score interval of a share. Without observations nothing is known: (0, 1).
pub fn wilson(wins: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let count = n as f64;
    let share = wins.min(n) as f64 / count;
    let z2 = Z * Z;
    let middle = (share + z2 / (2.0 * count)) / (1.0 + z2 / count);
    let half = Z / (1.0 + z2 / count) * (share * (1.0 - share) / count + z2 / (4.0 * count * count)).sqrt();
    // At the ends the bound is exactly 0 or 1; rounding would leave 1e-17.
    let low = if wins == 0 { 0.0 } else { (middle - half).max(0.0) };
    let high = if wins >= n { 1.0 } else { (middle + half).min(1.0) };
    (low, high)
}

/// Arithmetic mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// (mean, low, high): Student's t interval of a mean. The bounds are NaN below two values.
pub fn mean_interval(values: &[f64]) -> (f64, f64, f64) {
    let m = mean(values);
    if values.len() < 2 {
        return (m, f64::NAN, f64::NAN);
    }
    let n = values.len() as f64;
    let variance = values.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (n - 1.0);
    let half = t_quantile(values.len() as f64 - 1.0) * (variance / n).sqrt();
    (m, m - half, m + half)
}

/// Student's t distribution; none below a small positive number of degrees.
fn students_t(degrees: f64) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, degrees).ok()
}

/// The 97.5% point of Student's t.
pub fn t_quantile(degrees: f64) -> f64 {
    students_t(degrees).map_or(f64::NAN, |t| t.inverse_cdf(0.975))
}

/// mean(b) - mean(a) of two independent lists by Welch's t-test, for as few values as there are seeds. Without two
/// values on each side only the difference is known.
pub fn welch(a: &[f64], b: &[f64]) -> Difference {
    let difference = mean(b) - mean(a);
    let squared_error = |values: &[f64]| {
        let (m, n) = (mean(values), values.len() as f64);
        values.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (n - 1.0) / n
    };
    let unknown = Difference { difference, low: f64::NAN, high: f64::NAN, p: f64::NAN };
    if a.len() < 2 || b.len() < 2 {
        return unknown;
    }
    let (of_a, of_b) = (squared_error(a), squared_error(b));
    let se = (of_a + of_b).sqrt();
    if se == 0.0 {
        // All values of a side are the same number.
        let p = if difference == 0.0 { 1.0 } else { 0.0 };
        return Difference { difference, low: difference, high: difference, p };
    }
    // Welch-Satterthwaite.
    let degrees =
        (of_a + of_b).powi(2) / (of_a.powi(2) / (a.len() as f64 - 1.0) + of_b.powi(2) / (b.len() as f64 - 1.0));
    let Some(t) = students_t(degrees) else { return unknown };
    let half = t.inverse_cdf(0.975) * se;
    let p = 2.0 * t.sf((difference / se).abs());
    Difference { difference, low: difference - half, high: difference + half, p }
}

/// A difference of means b - a with its bootstrap interval and two-sided p value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// mean(b) - mean(a).
    pub difference: f64,
    /// 2.5% point of the resampled differences.
    pub low: f64,
    /// 97.5% point.
    pub high: f64,
    /// Twice the smaller share of resamples on either side of zero, at least 2 / (resamples + 1), at most 1.
    pub p: f64,
}

/// mean(b) - mean(a) where a_i and b_i belong to the same context: contexts are resampled, pairs stay together.
/// Lists of different length have no pairs, and are compared by [`unpaired_bootstrap`].
pub fn paired_bootstrap(a: &[f64], b: &[f64], seed: u64) -> Difference {
    if a.len() != b.len() {
        return unpaired_bootstrap(a, b, seed);
    }
    let steps: Vec<f64> = a.iter().zip(b).map(|(x, y)| y - x).collect();
    let mut rng = SplitMix64::new(seed);
    let draws = (0..RESAMPLES).map(|_| resampled_mean(&steps, &mut rng)).collect();
    summarize(mean(&steps), draws)
}

/// mean(b) - mean(a) of two independent lists, each resampled on its own.
pub fn unpaired_bootstrap(a: &[f64], b: &[f64], seed: u64) -> Difference {
    let mut rng = SplitMix64::new(seed);
    let draws = (0..RESAMPLES)
        .map(|_| {
            let of_a = resampled_mean(a, &mut rng);
            resampled_mean(b, &mut rng) - of_a
        })
        .collect();
    summarize(mean(b) - mean(a), draws)
}

/// (mean, low, high): the percentile bootstrap of a mean over contexts (Efron 1979), for values that are far from
/// normal as shares and ROUGE are. The bounds are NaN below two values.
pub fn bootstrap_interval(values: &[f64], seed: u64) -> (f64, f64, f64) {
    let m = mean(values);
    if values.len() < 2 {
        return (m, f64::NAN, f64::NAN);
    }
    let mut rng = SplitMix64::new(seed);
    let mut draws: Vec<f64> = (0..RESAMPLES).map(|_| resampled_mean(values, &mut rng)).collect();
    draws.sort_by(f64::total_cmp);
    (m, percentile(&draws, 0.025), percentile(&draws, 0.975))
}

/// (ratio, low, high) of mean(a) / mean(b). Lists of the same length are taken as paired. The bounds are NaN below
/// two values, or when mean(b) comes near enough to zero for a resample of it to change sign.
pub fn ratio_interval(a: &[f64], b: &[f64], seed: u64) -> (f64, f64, f64) {
    let ratio = mean(a) / mean(b);
    if a.len() < 2 || b.len() < 2 || !ratio.is_finite() {
        return (ratio, f64::NAN, f64::NAN);
    }
    let sign = mean(b).signum();
    let mut rng = SplitMix64::new(seed);
    let mut draws = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let (top, bottom) = if a.len() == b.len() {
            let (mut top, mut bottom) = (0.0, 0.0);
            for _ in 0..a.len() {
                let i = rng.below(a.len());
                top += a[i];
                bottom += b[i];
            }
            (top, bottom)
        } else {
            (resampled_mean(a, &mut rng), resampled_mean(b, &mut rng))
        };
        if bottom * sign <= 0.0 {
            return (ratio, f64::NAN, f64::NAN);
        }
        draws.push(top / bottom);
    }
    draws.sort_by(f64::total_cmp);
    (ratio, percentile(&draws, 0.025), percentile(&draws, 0.975))
}

fn resampled_mean(values: &[f64], rng: &mut SplitMix64) -> f64 {
    let total: f64 = (0..values.len()).map(|_| values[rng.below(values.len())]).sum();
    total / values.len() as f64
}

fn summarize(difference: f64, mut draws: Vec<f64>) -> Difference {
    if !difference.is_finite() || draws.is_empty() {
        return Difference { difference, low: f64::NAN, high: f64::NAN, p: f64::NAN };
    }
    draws.sort_by(f64::total_cmp);
    let below = draws.iter().filter(|d| **d <= 0.0).count();
    let above = draws.iter().filter(|d| **d >= 0.0).count();
    let p = (2.0 * (below.min(above) + 1) as f64 / (draws.len() + 1) as f64).min(1.0);
    Difference { difference, low: percentile(&draws, 0.025), high: percentile(&draws, 0.975), p }
}

/// Weights of `n` contexts, which sum to 1, in each resample of a bootstrap over them.
pub fn resamples(n: usize, seed: u64) -> impl Iterator<Item = Vec<f64>> {
    let mut rng = SplitMix64::new(seed);
    (0..RESAMPLES).map(move |_| {
        let mut weights = vec![0.0; n];
        (0..n).for_each(|_| weights[rng.below(n)] += 1.0 / n as f64);
        weights
    })
}

/// (low, high) of what a bootstrap over `n` contexts found, at percentiles that are wider by as much as Student's t
/// interval is wider than the normal one with population variance: plain percentiles are too narrow for few contexts
/// (Hesterberg 2015, What Teachers Should Know About the Bootstrap, section 5.3). NaN below two contexts, or where a
/// resample has none.
pub fn expanded_percentiles(mut draws: Vec<f64>, n: usize) -> (f64, f64) {
    let Ok(normal) = Normal::new(0.0, 1.0) else { return (f64::NAN, f64::NAN) };
    if n < 2 || draws.iter().any(|d| d.is_nan()) {
        return (f64::NAN, f64::NAN);
    }
    draws.sort_by(f64::total_cmp);
    let count = n as f64;
    let tail = normal.cdf(-(count / (count - 1.0)).sqrt() * t_quantile(count - 1.0));
    (percentile(&draws, tail), percentile(&draws, 1.0 - tail))
}

/// Linear interpolation between the two nearest of the sorted values.
pub(super) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len().saturating_sub(1)) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(x), Some(y)) => x + (y - x) * (place - place.floor()),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance, "{a} is not {b}");
    }

    #[test]
    fn wilson_matches_published_values() {
        let (low, high) = wilson(8, 10); // 0.4902, 0.9433 in every table of the method
        near(low, 0.4902, 1e-4);
        near(high, 0.9433, 1e-4);
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        let (low, high) = wilson(0, 10);
        assert_eq!(low, 0.0);
        near(high, 0.2775, 1e-4);
        assert_eq!(wilson(10, 10).1, 1.0);
    }

    #[test]
    fn t_quantiles_match_tables() {
        for (degrees, value) in
            [(1.0, 12.7062), (2.0, 4.3027), (3.0, 3.1824), (4.0, 2.7764), (9.0, 2.2622), (30.0, 2.0423)]
        {
            near(t_quantile(degrees), value, 1e-4);
        }
        assert!(t_quantile(0.0).is_nan());
    }

    #[test]
    fn mean_interval_of_known_numbers() {
        let (m, low, high) = mean_interval(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        near(m, 3.0, 1e-12);
        near(high - m, 2.776_445 * (2.5f64 / 5.0).sqrt(), 1e-5);
        near(m - low, high - m, 1e-12);
        assert!(mean_interval(&[1.0]).1.is_nan());
        assert!(mean_interval(&[]).0.is_nan());
    }

    #[test]
    fn welch_is_scipys() {
        // scipy 1.17.1: ttest_ind(b, a, equal_var=False), .pvalue and .confidence_interval()
        let found = welch(&[1.0, 2.5, 3.0], &[4.0, 5.5, 4.25, 6.0]);
        near(found.difference, 2.770_833_333_333_333_5, 1e-12);
        near(found.low, 0.677_221_249_0, 1e-6);
        near(found.high, 4.864_445_417_6, 1e-6);
        near(found.p, 0.020_732_849, 1e-6);
        assert!(welch(&[1.0], &[2.0, 3.0]).low.is_nan());
        assert_eq!(welch(&[1.0, 1.0], &[1.0, 1.0]).p, 1.0);
    }

    #[test]
    fn splitmix_matches_the_reference_stream() {
        let mut rng = SplitMix64::new(1234567); // values of the public-domain C code
        assert_eq!(rng.next_u64(), 6457827717110365317);
        assert_eq!(rng.next_u64(), 3203168211198807973);
    }

    #[test]
    fn pairing_sees_what_independent_lists_hide() {
        let a: Vec<f64> = (0..50).map(|i| f64::from(i * 7 % 50)).collect();
        let b: Vec<f64> = a.iter().enumerate().map(|(i, v)| v + 1.0 + 0.1 * (i % 3) as f64).collect();
        let paired = paired_bootstrap(&a, &b, 1);
        assert!(paired.low > 0.9 && paired.p < 0.01, "{paired:?}");
        let unpaired = unpaired_bootstrap(&a, &b, 1);
        assert!(unpaired.low < 0.0 && unpaired.p > 0.1, "{unpaired:?}");
        assert_eq!(paired, paired_bootstrap(&a, &b, 1));
    }

    #[test]
    fn the_bootstrap_of_a_mean_is_near_the_normal_interval() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i * 37 % 400) / 400.0).collect();
        let (m, low, high) = bootstrap_interval(&values, 1);
        let (_, t_low, t_high) = mean_interval(&values);
        near(m, 0.49875, 1e-12);
        near(low, t_low, 4e-3);
        near(high, t_high, 4e-3);
        assert!(bootstrap_interval(&[1.0], 1).1.is_nan());
    }

    #[test]
    fn equal_lists_do_not_differ_and_empty_ones_are_unknown() {
        let same = paired_bootstrap(&[1.0, 2.0], &[1.0, 2.0], 0);
        assert_eq!((same.difference, same.low, same.high, same.p), (0.0, 0.0, 0.0, 1.0));
        assert!(paired_bootstrap(&[], &[], 0).low.is_nan());
    }

    #[test]
    fn ratio_has_an_interval_only_when_its_divisor_has_a_sign() {
        let a = [1.0, 1.1, 0.9, 1.0];
        let b = [2.0, 2.1, 1.9, 2.0];
        let (ratio, low, high) = ratio_interval(&a, &b, 3);
        near(ratio, 0.5, 1e-12);
        assert!(low <= 0.5 && high >= 0.5 && low > 0.4);
        assert!(ratio_interval(&a, &[1.0, -1.0, 1.0, -0.9], 3).1.is_nan());
    }
}
