//! Hidden states, logits and log-probabilities, in one pass and through the KV cache.

use super::models::{language_model, limit, on_cpu, scalar_model};
use super::numbers::{Difference, check, facts, get, tensors, uniform};
use runner::model::LanguageModel;
use runner::model::gpt2::Gpt2;
use runner::model::sampling::{Sampling, logprobs, sample, to_vec};
use serde_json::Value;

type Row = Vec<Option<u32>>;

/// Numbers of hidden states and logits are around 1 and at most 10. Three layers of sums over 48 to 192 products, each
/// rounded to 32 bits, leave 3e-7 to 1e-6 of that; wgpu's drivers may also approximate exp and division, by some ulps.
fn rounding() -> f64 {
    limit(2e-6, 1e-5)
}

fn one_pass(name: &str) {
    let expected = tensors(&format!("forward_{name}"));
    let [hidden, logits] = states(name, language_model(name));
    check(
        &format!("hidden states, model {name}, all positions"),
        Difference::of(&hidden, &expected["hidden"]),
        rounding(),
    );
    check(&format!("logits, model {name}, all positions"), Difference::of(&logits, &expected["logits"]), rounding());
}

/// Hidden states and logits of all real tokens of the fixture's rows.
pub fn states(name: &str, model: Gpt2) -> [Vec<f32>; 2] {
    let rows: Vec<Row> = get(&facts("forward")[name], "rows");
    let hidden = model.hidden(&model.batch(&rows).unwrap());
    let [b, t, width] = hidden.dims();
    let logits = model.logits(hidden.clone().reshape([b * t, width]));
    let vocab = logits.dims()[1];
    // Padded positions are never read by anything; the fixture has the real ones.
    let real: Vec<bool> = rows.iter().flatten().map(Option::is_some).collect();
    let kept = |values: Vec<f32>, width: usize| -> Vec<f32> {
        values.chunks(width).zip(&real).filter(|(_, real)| **real).flat_map(|(v, _)| v.to_vec()).collect()
    };
    let (hidden, logits) = (to_vec(hidden).expect("numbers"), to_vec(logits).expect("numbers"));
    [kept(hidden, width), kept(logits, vocab)]
}

#[test]
fn hidden_states_and_logits_with_padding_anywhere() {
    one_pass("a");
}

#[test]
fn hidden_states_and_logits_of_a_second_shape() {
    one_pass("b");
}

fn at_temperatures(name: &str) {
    let facts = facts("forward");
    let pairs: Vec<(Vec<u32>, Vec<u32>)> = get(&facts[name], "pairs");
    let queries: Vec<Row> = pairs.iter().map(|(q, _)| q.iter().map(|t| Some(*t)).collect()).collect();
    let responses: Vec<Vec<u32>> = pairs.into_iter().map(|(_, r)| r).collect();
    for temperature in ["1.0", "0.7"] {
        let expected: Vec<Vec<f64>> = get(&facts[name]["logprobs"], temperature);
        let t = temperature.parse().expect("a number");
        // All at once: short queries are padded on the left, short responses on the right. The reference has each
        // alone.
        let ours = logprobs(&language_model(name), &queries, &responses, t).expect("log-probabilities");
        let difference = Difference::of(&ours.concat(), &expected.concat());
        check(&format!("log-probabilities, model {name}, temperature {temperature}"), difference, rounding());
    }
}

#[test]
fn log_probabilities_at_a_temperature() {
    at_temperatures("b");
    if on_cpu() {
        at_temperatures("a");
    }
}

/// Cached sampling against full passes without a cache: the same tokens for the same uniform numbers (the fixture keeps
/// 1e-5 away from every choice that rounding could change), their log-probabilities, values and entropy.
#[test]
fn cached_sampling_is_uncached_sampling() {
    let facts: Value = facts("forward")["sampled"].clone();
    let queries: Vec<Row> = get(&facts, "queries");
    let expected: Vec<Vec<u32>> = get(&facts, "responses");
    let (n, length) = (expected.len(), expected[0].len());
    let u: Vec<Vec<f32>> =
        uniform("uniforms", n * length).chunks(n).map(|c| c.iter().map(|v| *v as f32).collect()).collect();
    let model = scalar_model("b");
    let args = Sampling {
        queries: &queries,
        k: get(&facts, "k"),
        response_length: length,
        temperature: 0.7,
        uniforms: &u,
        value_head: Some(&model.head),
    };
    let ours = sample(&model.trunk, &args).expect("samples");
    assert_eq!(ours.responses, expected);
    for (what, found, name) in [("log-probabilities", ours.logprobs, "logprobs"), ("values", ours.values, "values")] {
        let reference: Vec<Vec<f64>> = get(&facts, name);
        check(&format!("{what} of cached sampling"), Difference::of(&found.concat(), &reference.concat()), rounding());
    }
    let entropy = Difference::of(&[ours.entropy], &[get::<f64>(&facts, "entropy")]);
    check("entropy of cached sampling", entropy, rounding());
}
