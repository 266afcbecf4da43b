//! Per-token rewards, whitening and generalised advantage estimation (released code: train_policy.py, utils/core.py).
//! Arrays are `[rows][response]`.

/// -β (logprob - ref_logprob) per token, plus the score on the last token.
pub fn token_rewards(scores: &[f32], logprobs: &[Vec<f32>], ref_logprobs: &[Vec<f32>], kl_coef: f64) -> Vec<Vec<f32>> {
    scores
        .iter()
        .zip(logprobs.iter().zip(ref_logprobs))
        .map(|(score, (lp, rf))| {
            let mut row: Vec<f32> = lp.iter().zip(rf).map(|(a, b)| (-kl_coef * f64::from(a - b)) as f32).collect();
            if let Some(last) = row.last_mut() {
                *last += score;
            }
            row
        })
        .collect()
}

/// Mean and population variance over all elements.
pub fn moments(values: &[Vec<f32>]) -> (f64, f64) {
    let n = values.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    let mean = values.iter().flatten().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = values.iter().flatten().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    (mean, variance)
}

/// (v - mean) / √(variance + 1e-8), with the mean added back unless `shift_mean`.
pub fn whiten(values: &[Vec<f32>], shift_mean: bool) -> Vec<Vec<f32>> {
    let (mean, variance) = moments(values);
    let scale = (variance + 1e-8).sqrt().recip();
    let back = if shift_mean { 0.0 } else { mean };
    values.iter().map(|row| row.iter().map(|v| ((f64::from(*v) - mean) * scale + back) as f32).collect()).collect()
}

/// GAE(γ, λ): δ_t = r_t + γ V_{t+1} - V_t, A_t = δ_t + γλ A_{t+1}; returns (advantages, returns = A + V).
pub fn gae(rewards: &[Vec<f32>], values: &[Vec<f32>], gamma: f64, lam: f64) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    rewards
        .iter()
        .zip(values)
        .map(|(r, v)| {
            let mut advantages = vec![0.0f32; r.len()];
            let (mut next_value, mut next_advantage) = (0.0, 0.0);
            for t in (0..r.len()).rev() {
                let delta = f64::from(r[t]) + gamma * next_value - f64::from(v[t]);
                next_advantage = delta + gamma * lam * next_advantage;
                advantages[t] = next_advantage as f32;
                next_value = f64::from(v[t]);
            }
            let returns = advantages.iter().zip(v).map(|(a, v)| a + v).collect();
            (advantages, returns)
        })
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gae_with_lambda_one_is_the_discounted_return_minus_the_value() {
        let (a, r) = gae(&[vec![1.0, 2.0, 3.0]], &[vec![0.5, 0.25, 0.125]], 0.5, 1.0);
        // By hand: 3; 2 + 3/2; 1 + 3.5/2.
        assert_eq!(r[0], [2.75, 3.5, 3.0]);
        assert_eq!(a[0], [2.25, 3.25, 2.875]);
    }

    #[test]
    fn whitening_keeps_the_mean_unless_shifted() {
        let x = [vec![1.0, 2.0], vec![3.0, 6.0]];
        let (kept, variance) = moments(&whiten(&x, false));
        assert!((kept - 3.0).abs() < 1e-6 && (variance - 1.0).abs() < 1e-6);
        let (shifted, _) = moments(&whiten(&x, true));
        assert!(shifted.abs() < 1e-6);
    }

    #[test]
    fn the_score_lands_on_the_last_token_only() {
        let r = token_rewards(&[10.0], &[vec![-1.0, -2.0]], &[vec![-1.5, -1.0]], 0.2);
        assert!((r[0][0] - -0.1).abs() < 1e-6 && (r[0][1] - 10.2).abs() < 1e-6);
    }
}
