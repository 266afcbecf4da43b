//! Normalisation from samples, and the KL controllers over a sequence of batches. These are 64-bit numbers on the host.

use super::numbers::{Difference, check, facts, get};
use runner::rlhf::kl::next_coefficient;
use runner::rlhf::reward::Normalization;
use runner::spec::{KlSchedule, KlSpec};

#[test]
fn gain_and_bias_from_samples() {
    for (i, case) in facts("controllers")["normalizations"].as_array().expect("a list").iter().enumerate() {
        let samples: Vec<f32> = get(case, "samples");
        let ours = Normalization::fit(&samples, get(case, "mean"), get(case, "std"));
        let difference = Difference::of(&[ours.gain, ours.bias], &[get::<f64>(case, "gain"), get(case, "bias")]);
        // The released code's E[x²] - E[x]² loses digits where the mean is large beside the deviation: of the third
        // case's variance of 0.0025 around a mean of -40, 1600 · 1e-16 / 0.0025 = 1e-10.
        check(&format!("gain and bias from samples, case {i}"), difference, 1e-9);
    }
}

#[test]
fn both_forms_of_the_kl_controller() {
    let facts = facts("controllers");
    let kls: Vec<f64> = get(&facts, "kls");
    for case in facts["controllers"].as_array().expect("a list") {
        let spec = KlSpec {
            schedule: KlSchedule::Adaptive,
            init: get(case, "init"),
            target: get(case, "target"),
            gain: get(case, "gain"),
            horizon: get(case, "horizon"),
            ..KlSpec::default()
        };
        let mut coef = spec.init;
        let ours: Vec<f64> = kls
            .iter()
            .map(|kl| {
                coef = next_coefficient(&spec, coef, *kl, get(case, "episodes"), 0.0);
                coef
            })
            .collect();
        let form = if spec.gain.is_some() { "the paper's" } else { "the released code's" };
        // 44 products in 64 bits, and the fixture's twelve digits.
        let difference = Difference::of(&ours, &get::<Vec<f64>>(case, "coefs"));
        check(&format!("KL coefficients, {form} form"), difference, 1e-11);
    }
}
