//! Adam over named weights, in both of the forms that RLHF implementations use: the placement of epsilon differs.

use super::gpt2::{Weight, Weights};
use super::loss_scale::LossScale;
use super::parallel::GradientMap;
use super::slices::{Slices, spread};
use super::{ModelError, ops};
use crate::spec::{AdamForm, AdamSpec};
use burn::tensor::Tensor;
use runner_kernels::adam::Step;
use std::collections::BTreeMap;

/// Two flat moments `[elements]` per weight name.
pub type Moments = BTreeMap<String, (Tensor<1>, Tensor<1>)>;

/// Adam's state: the step count and both moments; over several ranks of this rank's elements alone (slices.rs).
#[derive(Debug, Clone)]
pub struct Adam {
    pub spec: AdamSpec,
    pub step: u64,
    pub moments: Moments,
    /// Of the losses whose gradients it is given, which come unscaled.
    pub scale: LossScale,
}

/// One Adam update of `[n]` numbers; returns (parameters, first moment, second moment). `t` counts from 1.
/// TensorFlow's form: p - lr·√(1-β₂ᵗ)/(1-β₁ᵗ)·m/(√v + ε); PyTorch's: p - lr/(1-β₁ᵗ)·m/(√(v/(1-β₂ᵗ)) + ε).
pub fn adam_update(
    spec: &AdamSpec,
    lr: f64,
    t: u64,
    p: Tensor<1>,
    g: Tensor<1>,
    m: Tensor<1>,
    v: Tensor<1>,
) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
    let (c1, c2) = (1.0 - spec.beta1.powf(t as f64), 1.0 - spec.beta2.powf(t as f64));
    let (rate, epsilon) = match spec.form {
        AdamForm::Tensorflow => (lr * c2.sqrt() / c1, spec.epsilon),
        // √(v/c2) + ε = (√v + ε√c2)/√c2, so both forms share one expression.
        AdamForm::Torch => (lr * c2.sqrt() / c1, spec.epsilon * c2.sqrt()),
    };
    ops::adam(p, g, m, v, Step { beta1: spec.beta1, beta2: spec.beta2, rate, epsilon })
}

impl Adam {
    pub fn new(spec: AdamSpec) -> Self {
        Self { spec, step: 0, moments: BTreeMap::new(), scale: LossScale::default() }
    }

    /// Applies one step to every weight that has a gradient. Of several ranks each does it for its own part, and all get
    /// the whole.
    ///
    /// # Errors
    /// With several ranks: those of the device, and another rank's.
    pub fn update<M: Weights + Clone>(&mut self, model: M, gradients: GradientMap, lr: f64) -> Result<M, ModelError> {
        let mut left = gradients;
        self.step += 1;
        if let Some(slices) = Slices::of(&model) {
            return spread(model, &slices, |name, p| match left.remove(name) {
                Some(g) => self.one(name, p, g, lr),
                None => p,
            });
        }
        model.map_weights(&mut |name, weight| {
            let Some(g) = left.remove(name) else { return Ok(weight) };
            let shape = weight.shape();
            Ok(Weight::of_shape(&shape, self.one(name, weight.flatten(), g, lr)))
        })
    }

    /// The step of one weight, `[elements]`.
    fn one(&mut self, name: &str, p: Tensor<1>, g: Tensor<1>, lr: f64) -> Tensor<1> {
        let (m, v) = self.moments.remove(name).unwrap_or_else(|| (g.zeros_like(), g.zeros_like()));
        let (p, m, v) = adam_update(&self.spec, lr, self.step, p, g, m, v);
        self.moments.insert(name.to_string(), (m, v));
        p
    }
}
