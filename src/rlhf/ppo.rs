//! The clipped PPO loss (paper section 2.2; released code: train_policy.py, `loss`).

use burn::tensor::{Tensor, TensorData};

/// Coefficients of the loss.
#[derive(Debug, Clone, Copy)]
pub struct Clip {
    /// ε of the ratio.
    pub cliprange: f64,
    /// ε of the values.
    pub cliprange_value: f64,
    /// Weight of the value loss.
    pub vf_coef: f64,
}

/// What the loss compares with, fixed for the minibatch; each `[rows * response]` without gradients.
#[derive(Debug, Clone)]
pub struct Targets {
    /// Under the policy that sampled.
    pub old_logprobs: Tensor<1>,
    /// When the tokens were sampled.
    pub old_values: Tensor<1>,
    /// Of each token.
    pub advantages: Tensor<1>,
    /// What values are taught.
    pub returns: Tensor<1>,
}

/// Scalars `[1]`; only `total` is differentiated.
#[derive(Debug, Clone)]
pub struct Loss {
    /// Policy loss plus vf_coef times value loss.
    pub total: Tensor<1>,
    /// Clipped policy loss.
    pub policy: Tensor<1>,
    /// Clipped value loss.
    pub value: Tensor<1>,
    /// Share of tokens whose ratio is clipped.
    pub clipfrac: Tensor<1>,
    /// Share of tokens whose value is clipped.
    pub value_clipfrac: Tensor<1>,
    /// 0.5 mean (logprob - old_logprob)²
    pub approxkl: Tensor<1>,
    /// Largest |ratio - 1|: 0 to rounding on the first minibatch of an update.
    pub ratio_error: Tensor<1>,
}

/// policy = mean max(-A ρ, -A clip(ρ, 1±ε)); value = 0.5 mean max((V-R)², (clip(V, V_old±ε_v)-R)²);
/// total = policy + vf_coef · value. `logprobs`, `values`: `[rows * response]`.
pub fn loss(logprobs: Tensor<1>, values: Tensor<1>, t: &Targets, clip: &Clip) -> Loss {
    let ratio = (logprobs.clone() - t.old_logprobs.clone()).exp();
    let unclipped = t.advantages.clone().neg() * ratio.clone();
    let clipped = t.advantages.clone().neg() * ratio.clone().clamp(1.0 - clip.cliprange, 1.0 + clip.cliprange);
    let clipfrac = clipped.clone().inner_or_self().greater(unclipped.clone().inner_or_self()).float().mean();
    let policy = unclipped.max_pair(clipped).mean();

    // Not old + clamp(values - old): that rounds, and would count unclipped values as clipped.
    let clipped_values = values
        .clone()
        .max_pair(t.old_values.clone() - clip.cliprange_value)
        .min_pair(t.old_values.clone() + clip.cliprange_value);
    let square = |v: Tensor<1>| {
        let d = v - t.returns.clone();
        d.clone() * d
    };
    let (direct, limited) = (square(values), square(clipped_values));
    let value_clipfrac = limited.clone().inner_or_self().greater(direct.clone().inner_or_self()).float().mean();
    let value = direct.max_pair(limited).mean() * 0.5;

    let difference = logprobs.inner_or_self() - t.old_logprobs.clone().inner_or_self();
    Loss {
        total: policy.clone() + value.clone() * clip.vf_coef,
        policy,
        value,
        clipfrac,
        value_clipfrac,
        approxkl: (difference.clone() * difference).mean() * 0.5,
        ratio_error: (ratio.inner_or_self() - 1.0).abs().max(),
    }
}

/// [`Tensor::inner`], or the tensor itself where it has no gradient graph.
pub(super) fn inner_or_self<const D: usize>(t: Tensor<D>) -> Tensor<D> {
    if t.is_autodiff() { t.inner() } else { t }
}

/// Metrics need no gradient graph; `inner` is refused on a tensor that has none.
trait InnerOrSelf {
    fn inner_or_self(self) -> Self;
}

impl InnerOrSelf for Tensor<1> {
    fn inner_or_self(self) -> Self {
        inner_or_self(self)
    }
}

/// A host array `[rows][response]` as `[rows * response]` on the device of `like`.
pub fn flat(values: &[Vec<f32>], device: &burn::tensor::Device) -> Tensor<1> {
    let flat = values.concat();
    let n = flat.len();
    Tensor::from_data(TensorData::new(flat, [n]), device)
}
