//! REINFORCE leave-one-out (Kool, van Hoof and Welling 2019; for language models Ahmadian et al. 2024): advantages of
//! several responses to one query, and the clipped loss of whole responses as TRL 1.16 has it (`RLOOTrainer`).

use super::ppo::inner_or_self;
use burn::tensor::Tensor;

/// A_i = R_i - mean of R_j over the other responses to the same query. `rewards`: `[queries * k]`, the k responses to a
/// query one after the other; R is the score less β times the summed log π - log ρ. 0 where a query has one response.
pub fn advantages(rewards: &[f64], k: usize) -> Vec<f64> {
    let of = |group: &[f64]| {
        let (sum, others) = (group.iter().sum::<f64>(), (group.len() - 1) as f64);
        let one = move |reward: &f64| if others > 0.0 { reward - (sum - reward) / others } else { 0.0 };
        group.iter().map(one).collect::<Vec<_>>()
    };
    rewards.chunks(k.max(1)).flat_map(of).collect()
}

/// Scalars `[1]`; only `policy` is differentiated.
#[derive(Debug, Clone)]
pub struct Loss {
    /// -mean over responses of min(ρ A, clip(ρ, 1 ± ε) A).
    pub policy: Tensor<1>,
    /// Share of responses whose ratio is clipped.
    pub clipfrac: Tensor<1>,
    /// 0.5 mean over tokens of (logprob - old_logprob)².
    pub approxkl: Tensor<1>,
    /// Largest |ratio - 1| of a token: 0 to rounding on the first minibatch of an update.
    pub ratio_error: Tensor<1>,
}

/// The ratio is a whole response's, ρ = exp(Σ_t log π - log π_old). `logprobs`, `old_logprobs`: `[rows, response]`;
/// `advantages`: `[rows]`.
pub fn loss(logprobs: Tensor<2>, old_logprobs: Tensor<2>, advantages: Tensor<1>, cliprange: f64) -> Loss {
    let [rows, _] = logprobs.dims();
    let difference = logprobs - old_logprobs;
    let ratio = difference.clone().sum_dim(1).reshape([rows]).exp();
    let direct = advantages.clone().neg() * ratio.clone();
    let clipped = advantages.neg() * ratio.clamp(1.0 - cliprange, 1.0 + cliprange);
    let clipfrac = inner_or_self(clipped.clone()).greater(inner_or_self(direct.clone())).float().mean();
    let difference = inner_or_self(difference);
    Loss {
        policy: direct.max_pair(clipped).mean(),
        clipfrac,
        approxkl: (difference.clone() * difference.clone()).mean() * 0.5,
        ratio_error: (difference.exp() - 1.0).abs().max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_response_is_compared_with_the_mean_of_the_others() {
        let found = advantages(&[1.0, 2.0, 6.0, -1.0, -1.0, -1.0], 3);
        assert_eq!(found, [-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]);
        assert_eq!(advantages(&[5.0, 4.0], 1), [0.0, 0.0]);
    }

    #[test]
    fn the_loss_by_hand() {
        let device = burn::tensor::Device::flex();
        let number = |t: Tensor<1>| t.into_data().try_to_vec::<f32>().unwrap()[0];
        // Ratios e^0.3, clipped to 1.2 where that is worse, and e^-0.3, clipped to 0.8 likewise.
        let new = Tensor::<2>::from_floats([[0.1, 0.2], [-0.1, -0.2]], &device);
        let old = Tensor::<2>::zeros([2, 2], &device);
        let of = |a: [f32; 2]| loss(new.clone(), old.clone(), Tensor::from_floats(a, &device), 0.2);
        let both = of([1.0, -1.0]);
        assert!((number(both.policy) + (1.2 - 0.8) / 2.0).abs() < 1e-6 && number(both.clipfrac) == 1.0);
        let neither = of([-1.0, 1.0]);
        let wanted = (0.3f32.exp() - (-0.3f32).exp()) / 2.0;
        assert!((number(neither.policy) - wanted).abs() < 1e-6 && number(neither.clipfrac) == 0.0);
        assert!((number(neither.approxkl) - 0.5 * 0.025).abs() < 1e-7);
        assert!((number(neither.ratio_error) - (0.2f32.exp() - 1.0)).abs() < 1e-6);
    }
}
