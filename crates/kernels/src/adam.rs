//! Adam's step on the CPU in one pass over each tensor, in place where nobody else holds it.

use crate::{PER_THREAD, floats, shape, tensor, vectors};
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// The numbers of one step: p -= rate · m / (√v + epsilon) after m and v took up the gradient.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub beta1: f64,
    pub beta2: f64,
    pub rate: f64,
    pub epsilon: f64,
}

/// Parameters, gradient and moments, all of one size -> parameters and moments.
pub fn step(p: FlexTensor, g: &FlexTensor, m: FlexTensor, v: FlexTensor, step: &Step) -> [FlexTensor; 3] {
    let g = g.to_contiguous();
    let [mut p, mut m, mut v] = [p, m, v].map(owned);
    let [beta1, beta2, rate, epsilon] = [step.beta1, step.beta2, step.rate, step.epsilon].map(|v| v as f32);
    let keep = [(1.0 - step.beta1) as f32, (1.0 - step.beta2) as f32];
    // A storage that somebody else holds too is copied here.
    p.storage_mut::<f32>()
        .par_chunks_mut(PER_THREAD)
        .zip(m.storage_mut::<f32>().par_chunks_mut(PER_THREAD))
        .zip(v.storage_mut::<f32>().par_chunks_mut(PER_THREAD))
        .zip(floats(&g).par_chunks(PER_THREAD))
        .for_each(|(((p, m), v), g)| vectors::adam(g, beta1, beta2, rate, epsilon, keep, p, m, v));
    [p, m, v]
}

/// The same numbers in a storage that has no others.
fn owned(t: FlexTensor) -> FlexTensor {
    if t.is_contiguous() && t.layout().start_offset() == 0 && t.storage::<f32>().len() == t.layout().num_elements() {
        return t;
    }
    tensor(floats(&t.to_contiguous()).to_vec(), shape(&t))
}
