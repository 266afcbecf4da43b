//! The device under test, and make_parity.py's models on it.

use super::numbers::{Tensors, numbers, spread};
use burn::tensor::{Device, Tensor, TensorData};
use runner::model::device::{choose, is_cpu};
use runner::model::gpt2::{Gpt2, LAYER_NORM_EPSILON, ScalarHead, ScalarModel, Weight, Weights};
use runner::model::weights::named;
use runner::spec::Dimensions;
use std::sync::OnceLock;

/// The device that RUNNER_TEST_DEVICE names: `cpu` (the default), `wgpu` or `wgpu:N`.
pub fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| choose(&device_name()).expect("the device").device).clone()
}

pub fn device_name() -> String {
    std::env::var("RUNNER_TEST_DEVICE").unwrap_or_else(|_| "cpu".into())
}

pub fn on_cpu() -> bool {
    is_cpu(&device())
}

/// Whether the device computes in float16.
pub fn has_half() -> bool {
    choose(&device_name()).expect("the device").half
}

/// The device's limit for a difference.
pub fn limit(cpu: f64, gpu: f64) -> f64 {
    if on_cpu() { cpu } else { gpu }
}

fn sizes(model: &str) -> (Dimensions, usize) {
    let (layers, heads, width, vocab, context) = match model {
        "a" => (3, 3, 48, 211, 40),
        "b" => (2, 5, 35, 97, 24),
        "c" => (2, 3, 18, 53, 24),
        "d" => (1, 2, 12, 23, 12),
        // Of this project's size `small`; make_parity.py has none.
        "small" => (6, 6, 384, 1024, 64),
        _ => panic!("no model {model}"),
    };
    (Dimensions { layers, heads, width, context }, vocab)
}

/// The same numbers as `weight` in make_parity.py.
fn weight(model: &str, name: &str, shape: &[usize]) -> Vec<f32> {
    let (n, full) = (shape.iter().product(), format!("{model}/{name}"));
    let (centre, scale) = match name {
        "wte.weight" => (0.0, if model == "d" { 1.0 } else { 0.5 }),
        "wpe.weight" => (0.0, 0.3),
        _ if name.contains(".ln_") || name.starts_with("ln_f") => (f64::from(name.ends_with("weight")), 0.3),
        _ if name.ends_with("bias") => (0.0, 0.2),
        _ => (0.0, 1.2 * (3.0 / shape[0] as f64).sqrt()),
    };
    spread(&full, n, centre, scale)
}

fn filled<M: Weights>(blank: M, model: &str) -> M {
    let result: Result<M, std::convert::Infallible> = blank.map_weights(&mut |name, w: Weight| {
        let values = weight(model, name, &w.shape());
        let n = values.len();
        Ok(w.like(Tensor::from_data(TensorData::new(values, [n]), &device())))
    });
    match result {
        Ok(model) => model,
        Err(never) => match never {},
    }
}

/// A language model by name.
pub fn language_model(model: &str) -> Gpt2 {
    let (d, vocab) = sizes(model);
    filled(Gpt2::blank(&d, vocab, LAYER_NORM_EPSILON, &device()), model)
}

/// The same with a scalar head.
pub fn scalar_model(model: &str) -> ScalarModel {
    let (d, vocab) = sizes(model);
    let trunk = Gpt2::blank(&d, vocab, LAYER_NORM_EPSILON, &device());
    filled(ScalarModel { trunk, head: ScalarHead::init(d.width, 0.0, 0, &device()) }, model)
}

/// All weights' numbers.
pub fn weights<M: Weights>(model: M) -> Tensors {
    named(model, "").iter().map(|(name, w)| (name.clone(), numbers(w))).collect()
}

/// What training did to each weight: after - before. The subtraction of 32-bit numbers near each other is exact.
pub fn changes(before: &Tensors, after: &Tensors) -> Tensors {
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let change = |name: &String, a: &[f32]| a.iter().zip(&before[name]).map(|(a, b)| a - b).collect();
    after.iter().map(|(name, a)| (name.clone(), change(name, a))).collect()
}
