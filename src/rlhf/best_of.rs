//! Best-of-n: of n samples of ρ the one that a score likes best, estimated for every n from one set of N samples.

/// An upper bound on KL(best-of-n ‖ ρ) in nats, log n - (n - 1)/n: what it is where no two samples have one score (Beirami
/// et al. 2024).
pub fn kl_bound(n: usize) -> f64 {
    let n = n.max(1) as f64;
    n.ln() - (n - 1.0) / n
}

/// Expected value of `values` of the sample with the largest of `scores` among n drawn without replacement from N: the
/// unbiased estimate of best-of-n from N samples (Nakano et al. 2021, appendix I). Both `[N]`; n at most N. Of equal
/// scores, the earlier sample counts as the larger.
pub fn expected(scores: &[f32], values: &[f32], n: usize) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let total = scores.len();
    // The i-th best of N (from 0) is the best of n where it is drawn and none of those before it is:
    // C(N - 1 - i, n - 1) / C(N, n), which begins at n/N and falls by (N - n - i) / (N - 1 - i).
    let mut weight = n as f64 / total.max(1) as f64;
    let mut sum = 0.0;
    for (i, sample) in order.into_iter().enumerate() {
        sum += weight * f64::from(values[sample]);
        let left = (total - 1 - i) as f64;
        weight = if left > 0.0 { weight * ((total - n) as f64 - i as f64).max(0.0) / left } else { 0.0 };
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over all subsets of n.
    fn by_hand(scores: &[f32], values: &[f32], n: usize) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for subset in 0u32..1 << scores.len() {
            if subset.count_ones() as usize != n {
                continue;
            }
            let drawn = (0..scores.len()).filter(|i| subset & (1 << i) != 0);
            let best = drawn.fold(None, |best: Option<usize>, i| match best {
                Some(b) if scores[b] >= scores[i] => Some(b),
                _ => Some(i),
            });
            sum += f64::from(values[best.unwrap()]);
            count += 1.0;
        }
        sum / count
    }

    #[test]
    fn every_n_is_the_mean_over_all_subsets() {
        let scores = [0.3, -1.0, 2.0, 2.0, 0.1, -0.5, 1.0];
        let values = [5.0, 1.0, -2.0, 3.0, 0.0, 7.0, 1.5];
        for n in 1..=7 {
            let found = expected(&scores, &values, n);
            assert!((found - by_hand(&scores, &values, n)).abs() < 1e-9, "{n}: {found}");
        }
    }

    #[test]
    fn the_bound_of_one_sample_is_zero() {
        assert_eq!(kl_bound(1), 0.0);
        assert!((kl_bound(4) - (4f64.ln() - 0.75)).abs() < 1e-12);
    }
}
