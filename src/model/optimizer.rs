//! Adam over named weights, in both of the forms that RLHF implementations use: the placement of epsilon differs.

use super::gpt2::{Weight, Weights};
use super::loss_scale::LossScale;
use super::ops;
use super::parallel::GradientMap;
use crate::spec::{AdamForm, AdamSpec};
use burn::tensor::Tensor;
use runner_kernels::adam::Step;
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Adam's state: the step count and two flat moments `[elements]` per weight name.
#[derive(Debug, Clone)]
pub struct Adam {
    pub spec: AdamSpec,
    pub step: u64,
    pub moments: BTreeMap<String, (Tensor<1>, Tensor<1>)>,
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

    /// Applies one step to every weight that has a gradient.
    pub fn update<M: Weights>(&mut self, model: M, mut gradients: GradientMap, lr: f64) -> M {
        self.step += 1;
        let result: Result<M, Infallible> = model.map_weights(&mut |name, weight| {
            let Some(g) = gradients.remove(name) else { return Ok(weight) };
            let shape = weight.shape();
            let p = weight.flatten();
            let (m, v) = self.moments.remove(name).unwrap_or_else(|| (g.zeros_like(), g.zeros_like()));
            let (p, m, v) = adam_update(&self.spec, lr, self.step, p, g, m, v);
            self.moments.insert(name.to_string(), (m, v));
            Ok(Weight::of_shape(&shape, p))
        });
        match result {
            Ok(model) => model,
            Err(never) => match never {},
        }
    }
}
