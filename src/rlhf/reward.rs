//! The reward model's losses, one per label type, its normalisation, and how well it does on labels it has not seen
//! (paper section 2.2; released code: label_types.py, train_reward.py, rewards.py).

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

/// -E[log softmax(r(x, y0..yk))_best]. `rewards`: `[comparisons, candidates]`, `best`: `[comparisons]`.
pub fn loss(rewards: Tensor<2>, best: Tensor<1, Int>) -> Tensor<1> {
    let [n, _] = rewards.dims();
    log_softmax(rewards, 1).gather(1, best.reshape([n, 1])).mean().neg()
}

/// E[(rating - r(x, y))²]. `rewards`, `ratings`: `[labels]`.
pub fn rating_loss(rewards: Tensor<1>, ratings: Tensor<1>) -> Tensor<1> {
    let error = ratings - rewards;
    (error.clone() * error).mean()
}

/// E[(difference - (r(x, y1) - r(x, y0)))²]. `rewards`: `[labels, 2]`, `differences`: `[labels]`.
pub fn difference_loss(rewards: Tensor<2>, differences: Tensor<1>) -> Tensor<1> {
    let [n, _] = rewards.dims();
    let of = |sample: usize| rewards.clone().slice([0..n, sample..sample + 1]).reshape([n]);
    rating_loss(of(1) - of(0), differences)
}

/// Mean and population standard deviation.
pub fn mean_and_std(values: &[f32]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

/// Pearson's correlation of two equally long lists; `None` where one of them is constant or they have no two values.
pub fn correlation(a: &[f32], b: &[f32]) -> Option<f64> {
    let ((mean_a, std_a), (mean_b, std_b)) = (mean_and_std(a), mean_and_std(b));
    let covariance = a.iter().zip(b).map(|(x, y)| (f64::from(*x) - mean_a) * (f64::from(*y) - mean_b)).sum::<f64>()
        / a.len().max(1) as f64;
    (std_a > 0.0 && std_b > 0.0).then(|| (covariance / (std_a * std_b)).clamp(-1.0, 1.0))
}

/// Mean of (label - predicted)².
pub fn mean_squared_error(predicted: &[f32], labels: &[f32]) -> f64 {
    let squares = predicted.iter().zip(labels).map(|(p, l)| (f64::from(*l) - f64::from(*p)).powi(2));
    squares.sum::<f64>() / predicted.len().max(1) as f64
}

/// Predicted differences with the sign of the labelled one, and how many labels have a sign: 0 has none. A predicted
/// 0 is wrong.
pub fn signs_right(predicted: &[f32], labels: &[f32]) -> (u64, u64) {
    let judged = predicted.iter().zip(labels).filter(|(_, label)| **label != 0.0);
    let right = judged.clone().filter(|(p, label)| (**p > 0.0 && **label > 0.0) || (**p < 0.0 && **label < 0.0));
    (right.count() as u64, judged.count() as u64)
}

/// reward = gain · raw + bias.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Normalization {
    /// Multiplies raw scores.
    pub gain: f64,
    /// Added after the gain.
    pub bias: f64,
}

impl Normalization {
    /// gain = target_std / std, bias = target_mean - gain · mean (population standard deviation over samples of ρ).
    pub fn fit(raw: &[f32], target_mean: f64, target_std: f64) -> Self {
        let (mean, std) = mean_and_std(raw);
        Self::from_moments(mean, std, target_mean, target_std)
    }
    /// The same from the mean and population standard deviation of the raw rewards.
    pub fn from_moments(mean: f64, std: f64, target_mean: f64, target_std: f64) -> Self {
        let gain = target_std / std.max(1e-12);
        Self { gain, bias: target_mean - gain * mean }
    }
    /// gain · raw + bias.
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

    #[test]
    fn correlations_by_hand() {
        assert!((correlation(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.5]).unwrap() - 0.997_949).abs() < 1e-6);
        assert_eq!(correlation(&[1.0, 2.0], &[5.0, -1.0]), Some(-1.0));
        assert_eq!(
            (correlation(&[1.0, 1.0], &[1.0, 2.0]), correlation(&[], &[]), correlation(&[1.0], &[2.0])),
            (None, None, None)
        );
        assert_eq!(mean_squared_error(&[1.0, 2.0], &[2.0, 0.0]), 2.5);
    }

    #[test]
    fn a_sign_is_right_or_wrong_and_zero_has_none() {
        assert_eq!(signs_right(&[0.1, -0.1, 0.0, 5.0], &[2.0, 1.0, 1.0, 0.0]), (1, 3));
    }

    #[test]
    fn losses_by_hand() {
        let device = burn::tensor::Device::flex();
        let vector = |v: &[f32]| Tensor::<1>::from_floats(v, &device);
        let number = |t: Tensor<1>| t.into_data().try_to_vec::<f32>().unwrap()[0];
        assert_eq!(number(rating_loss(vector(&[1.0, 2.0]), vector(&[2.0, 0.0]))), 2.5);
        let rewards = Tensor::<2>::from_floats([[1.0, 3.0], [0.0, -1.0]], &device);
        // Predicted 2 and -1 where 1 and 1 are wanted: (1 + 4) / 2.
        assert_eq!(number(difference_loss(rewards, vector(&[1.0, 1.0]))), 2.5);
    }
}
