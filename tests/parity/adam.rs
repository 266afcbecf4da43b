//! Ten Adam steps on a model's weights in both forms, with a learning rate that changes.

use super::models::{changes, device, scalar_model, weights};
use super::numbers::{Tensors, check_tensors, facts, get, spread, tensors};
use burn::tensor::{Tensor, TensorData};
use runner::model::optimizer::Adam;
use runner::model::parallel::GradientMap;
use runner::spec::{AdamForm, AdamSpec};

/// The same as `adam_gradient` in make_parity.py: sizes from 1 to 1e-4 over tensors, and a step without any.
fn gradient(step: usize, before: &Tensors) -> GradientMap {
    let make = |(index, (name, w)): (usize, (&String, &Vec<f32>))| {
        let scale = if step == 2 { 0.0 } else { 10f64.powi(-(index as i32 % 5)) };
        let values = spread(&format!("adam/{step}/{name}"), w.len(), 0.0, scale);
        (name.clone(), Tensor::from_data(TensorData::new(values, [w.len()]), &device()))
    };
    before.iter().enumerate().map(make).collect()
}

/// Weights of about 0.3 to 1 move by some 1e-2. Every step rounds them to 32 bits, 3e-8 to 6e-8, ten times: 1e-5 of the
/// change where it is smallest beside the weight. Ten steps with epsilon on the wrong side of the bias correction
/// differ by more than 0.1 in the tensors whose gradients are small.
fn ten_steps(form: AdamForm, name: &str) {
    let facts = facts("adam");
    let spec = AdamSpec { form, beta1: 0.9, beta2: 0.999, epsilon: get(&facts, "epsilon") };
    let lrs: Vec<f64> = get(&facts, "lrs");
    let (mut model, mut adam) = (scalar_model("c"), Adam::new(spec));
    let before = weights(model.clone());
    for (step, lr) in lrs.iter().enumerate() {
        model = adam.update(model, gradient(step, &before), *lr).expect("one process");
    }
    let change = changes(&before, &weights(model));
    check_tensors(&format!("ten Adam steps, {name} form"), &change, &tensors(&format!("adam_{name}")), 2e-5);
}

#[test]
fn tensorflows_form() {
    ten_steps(AdamForm::Tensorflow, "tensorflow");
}

#[test]
fn pytorchs_form() {
    ten_steps(AdamForm::Torch, "torch");
}
