//! The reward model's loss and normalisation (paper section 2.2; released code: train_reward.py, rewards.py).

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

/// -E[log softmax(r(x, y0..yk))_best]. `rewards`: `[comparisons, candidates]`, `best`: `[comparisons]`.
pub fn loss(rewards: Tensor<2>, best: Tensor<1, Int>) -> Tensor<1> {
    let [n, _] = rewards.dims();
    log_softmax(rewards, 1).gather(1, best.reshape([n, 1])).mean().neg()
}

/// reward = gain · raw + bias.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Normalization {
    pub gain: f64,
    pub bias: f64,
}

impl Normalization {
    /// gain = target_std / std, bias = target_mean - gain · mean (population standard deviation over samples of ρ).
    pub fn fit(raw: &[f32], target_mean: f64, target_std: f64) -> Self {
        let n = raw.len().max(1) as f64;
        let mean = raw.iter().map(|r| f64::from(*r)).sum::<f64>() / n;
        let variance = raw.iter().map(|r| (f64::from(*r) - mean).powi(2)).sum::<f64>() / n;
        Self::from_moments(mean, variance.sqrt(), target_mean, target_std)
    }
    /// The same from the mean and population standard deviation of the raw rewards.
    pub fn from_moments(mean: f64, std: f64, target_mean: f64, target_std: f64) -> Self {
        let gain = target_std / std.max(1e-12);
        Self { gain, bias: target_mean - gain * mean }
    }
    pub fn apply(&self, raw: f32) -> f32 {
        (self.gain * f64::from(raw) + self.bias) as f32
    }
}

/// Index of the largest value; the first of equals.
pub fn argmax(values: &[f32]) -> usize {
    values.iter().enumerate().fold(0, |best, (i, v)| if *v > values[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalisation_gives_the_target_mean_and_deviation() {
        let raw = [1.0, 3.0, 5.0, 11.0];
        let fit = Normalization::fit(&raw, 2.0, 0.5);
        let out = vec![raw.iter().map(|r| fit.apply(*r)).collect::<Vec<_>>()];
        let (mean, variance) = crate::rlhf::advantages::moments(&out);
        assert!((mean - 2.0).abs() < 1e-6 && (variance.sqrt() - 0.5).abs() < 1e-6);
    }
}
