//! Products of float16: against make_half.py's, which rounds the same factors, and against float32, which shows what
//! float16 does to log-probabilities, ratios, gradients and an update. Only where the device computes in float16.

use super::forward::states;
use super::gradient::of_padded_rows;
use super::models::{has_half, language_model, scalar_model};
use super::numbers::{Difference, Tensors, check, check_tensors, facts, get, spread, tensors};
use super::ppo::updated;
use burn::tensor::{Tensor, TensorData};
use runner::model::gpt2::ScalarModel;
use runner::model::loss_scale::LossScale;
use runner::model::parallel::gradients;
use runner::model::sampling::{Sampling, joined, logprobs, sample, to_vec};
use runner::model::{LanguageModel, ModelError};
use runner::spec::Precision::F16;
use runner::spec::WhitenIn;

/// float32 rounds what is to be rounded to float16 by 1e-7, and where that decides which of two neighbours is nearest, a
/// factor differs by 2⁻¹⁰ of itself: in one of some thousands. Two layers of sums over few of them leave a fifth of what
/// float16 does.
#[test]
fn forward_passes_are_those_of_the_same_rounded_factors() {
    if !has_half() {
        return;
    }
    let [hidden, _] = states("b", language_model("b").with(F16));
    for (what, fixture, limit) in [("the same factors", "half_forward_b", 4e-4), ("exact ones", "forward_b", 2e-3)] {
        let difference = Difference::of(&hidden, &tensors(fixture)["hidden"]);
        check(&format!("hidden states in float16, of {what}"), difference, limit);
    }
}

#[test]
fn gradients_are_those_of_the_same_rounded_factors() {
    if !has_half() {
        return;
    }
    let (total, found) = of_padded_rows(scalar_model("c").with(F16));
    let expected = get::<f64>(&facts("half"), "total");
    check("weighted sum in float16, of the same factors", Difference::of(&[total], &[expected]), 2e-3);
    check_tensors("its gradient, of the same factors", &found, &tensors("half_gradient_padded"), 2e-3);
    check_tensors("its gradient, of exact ones", &found, &tensors("gradient_padded"), 1e-2);
}

/// Four steps of Adam, which divides by the size of each gradient: errors of small ones count as much as of large ones.
#[test]
fn an_update_changes_what_it_changes_in_float32() {
    if !has_half() {
        return;
    }
    let facts = facts("ppo");
    let (change, found) = updated(&facts, "whitened", (1, WhitenIn::Minibatch), scalar_model("c").with(F16));
    check_tensors("PPO update in float16, weights' change", &change, &tensors("ppo_whitened"), 0.1);
    assert!(found.is_finite() && found.ratio_error < 0.02, "{found:?}");
}

/// What one model says in float16, and in float32.
struct Said {
    /// Of responses that are sampled in this precision: in the full pass, less in sampling.
    cached: Vec<f32>,
    /// Of the same responses in both precisions.
    logprobs: Vec<f32>,
    gradient: Tensors,
}

fn said(model: &ScalarModel, responses: Option<&[Vec<u32>]>) -> (Said, Vec<Vec<u32>>) {
    const RESPONSE: usize = 12;
    let vocab = model.trunk.vocab();
    let token = |i: usize| Some((i * 7919 % vocab) as u32);
    let queries: Vec<Vec<Option<u32>>> =
        (0..4).map(|r| (0..10).map(|i| token(r * 10 + i).filter(|_| i >= 2 * r)).collect()).collect();
    let uniforms: Vec<Vec<f32>> =
        (0..RESPONSE).map(|t| (0..8).map(|r| ((8 * t + r + 1) as f32 * 0.618_034).fract()).collect()).collect();
    let args = Sampling {
        queries: &queries,
        k: 2,
        response_length: RESPONSE,
        temperature: 1.0,
        uniforms: &uniforms,
        value_head: None,
    };
    let rows: Vec<_> = queries.iter().flat_map(|q| [q.clone(), q.clone()]).collect();
    let sampled = sample(&model.trunk, &args).expect("samples");
    let own = logprobs(&model.trunk, &rows, &sampled.responses, 1.0).expect("log-probabilities").concat();
    let responses = responses.map_or_else(|| sampled.responses.clone(), <[_]>::to_vec);
    let given = logprobs(&model.trunk, &rows, &responses, 1.0).expect("log-probabilities").concat();
    let weights = spread("precision", given.len(), 0.0, 1.0 / given.len() as f64);
    let (found, _) = gradients(model, &mut LossScale::default(), &[()], 1, |model, _| {
        let device = model.trunk.device();
        let hidden = model.trunk.hidden_before_last(&model.trunk.batch(&joined(&rows, &responses))?, RESPONSE);
        let lp = model.trunk.token_logprobs(hidden, model.trunk.targets(&responses)?, 1.0);
        let weights = Tensor::<1>::from_data(TensorData::new(weights.clone(), [weights.len()]), &device);
        Ok::<_, ModelError>(((lp * weights).sum(), ()))
    })
    .expect("a gradient");
    let gradient = found.into_iter().map(|(name, g)| (name, to_vec(g).expect("numbers"))).collect();
    let cached = own.iter().zip(sampled.logprobs.concat()).map(|(a, b)| a - b).collect();
    (Said { cached, logprobs: given, gradient }, responses)
}

/// Prints what docs/precision.md has in its table.
fn compared(name: &str) {
    let model = scalar_model(name);
    let (whole, responses) = said(&model, None);
    let (half, _) = said(&model.with(F16), Some(&responses));
    let most = |values: &[f32]| values.iter().fold(0.0f32, |m, v| if v.is_nan() { f32::NAN } else { m.max(v.abs()) });
    let moved: Vec<f32> = half.logprobs.iter().zip(&whole.logprobs).map(|(a, b)| a - b).collect();
    let mean = moved.iter().map(|d| d.abs()).sum::<f32>() / moved.len() as f32;
    let largest = whole.logprobs.iter().fold(0.0f32, |m, lp| m.max(-lp));
    let ratio = |said: &Said| said.cached.iter().fold(0.0f32, |m, d| m.max((d.exp() - 1.0).abs()));
    println!(
        "precision | {name} | log-probabilities down to -{largest:.0}: moved by {mean:.1e}, at most {:.1e} | ratios of sampling and the full pass off 1 by {:.1e}, in float32 {:.1e}",
        most(&moved),
        ratio(&half),
        ratio(&whole)
    );
    assert!(most(&moved) < 0.1 && ratio(&half) < 0.02 && ratio(&whole) < 1e-4, "{name}");
    check_tensors(&format!("gradient in float16, model {name}"), &half.gradient, &whole.gradient, 2e-2);
}

#[test]
fn what_float16_does_at_test_size_and_at_small() {
    if has_half() {
        compared("b");
        compared("small");
    }
}
