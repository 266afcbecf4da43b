//! The best policy for a given β, π_opt(y|x) ∝ ρ(y|x) exp(r(x,y)/β), estimated by re-weighting samples of ρ
//! (the frontier of figure 3).

/// Reward and KL(π_opt ‖ ρ) of the optimum at one β, with standard errors over contexts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// KL coefficient of the optimum, in units of the reward.
    pub beta: f64,
    /// KL(optimum, ρ) in nats.
    pub kl: f64,
    /// Standard error of `kl`.
    pub kl_se: f64,
    /// Mean reward of the optimum.
    pub reward: f64,
    /// Standard error of `reward`.
    pub reward_se: f64,
}

/// `rewards`: `[contexts][samples]` of y ~ ρ(.|x). Self-normalised weights w ∝ exp(r/β) per context;
/// reward = Σ w r, KL = Σ w log(n w). Biased low where few samples carry the weight: KL cannot exceed log n.
pub fn optimum(rewards: &[Vec<f32>], beta: f64) -> Point {
    let per_context: Vec<(f64, f64)> = rewards.iter().map(|r| context(r, beta)).collect();
    let (kl, kl_se) = mean_and_error(per_context.iter().map(|c| c.0));
    let (reward, reward_se) = mean_and_error(per_context.iter().map(|c| c.1));
    Point { beta, kl, kl_se, reward, reward_se }
}

fn context(rewards: &[f32], beta: f64) -> (f64, f64) {
    let largest = rewards.iter().fold(f32::NEG_INFINITY, |m, r| m.max(*r));
    let weights: Vec<f64> = rewards.iter().map(|r| ((f64::from(*r) - f64::from(largest)) / beta).exp()).collect();
    let total: f64 = weights.iter().sum();
    let n = rewards.len() as f64;
    weights.iter().zip(rewards).fold((0.0, 0.0), |(kl, reward), (w, r)| {
        let p = w / total;
        (kl + if p > 0.0 { p * (n * p).ln() } else { 0.0 }, reward + p * f64::from(*r))
    })
}

/// Mean and its standard error.
fn mean_and_error(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / n;
    let variance = values.map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_equally_likely_responses_have_a_closed_form() {
        // p = e^{1/β} / (1 + e^{1/β}) on the better one; KL = log 2 - H(p).
        let beta = 0.5;
        let p = 1.0 / (1.0 + (-1.0f64 / beta).exp());
        let got = optimum(&[vec![0.0, 1.0], vec![1.0, 0.0]], beta);
        let kl = 2f64.ln() + p * p.ln() + (1.0 - p) * (1.0 - p).ln();
        assert!((got.reward - p).abs() < 1e-12 && (got.kl - kl).abs() < 1e-12);
    }
}
