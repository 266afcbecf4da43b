//! How often our sampler draws each token against torch's softmax: chi-square over thousands of draws.

use super::models::{language_model, on_cpu};
use super::numbers::{facts, get, tensors};
use runner::model::sampling::{Sampling, sample};
use runner::random::uniforms;

const VOCAB: usize = 23;
const TEMPERATURE: f64 = 0.7;
/// Cells where fewer draws are expected are pooled: chi-square's distribution needs some.
const POOLED: f64 = 5.0;

/// Γ(a, x) / Γ(a), by its series below a + 1 and its continued fraction above.
fn upper_gamma(a: f64, x: f64) -> f64 {
    let scale = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-16 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return 1.0 - sum * scale;
    }
    // Evaluated backwards from far out, where the rest no longer counts.
    let fraction = (1..2000).rev().fold(0.0, |f, k| {
        let k = f64::from(k);
        k * (k - a) / (x + 2.0 * k + 1.0 - a - f)
    });
    scale / (x + 1.0 - a - fraction)
}

/// ln Γ by Stirling's series, after moving the argument up.
fn ln_gamma(a: f64) -> f64 {
    let shift: f64 = (0..20).map(|k| (a + f64::from(k)).ln()).sum();
    let z = a + 20.0;
    (z - 0.5) * z.ln() - z + 0.5 * std::f64::consts::TAU.ln() + 1.0 / (12.0 * z) - 1.0 / (360.0 * z.powi(3)) - shift
}

/// Probability of a chi-square statistic of at least this with `freedom` degrees.
fn tail(statistic: f64, freedom: f64) -> f64 {
    upper_gamma(freedom / 2.0, statistic / 2.0)
}

#[test]
fn tails_are_scipys() {
    for case in facts("frequencies")["tails"].as_array().expect("a list") {
        let [x, freedom, expected]: [f64; 3] = serde_json::from_value(case.clone()).expect("three numbers");
        assert!(
            (tail(x, freedom) - expected).abs() < 1e-9 * expected.max(1e-3),
            "{} is not {expected}",
            tail(x, freedom)
        );
    }
}

/// Statistic and degrees of freedom of counts against probabilities.
fn chi_square(counts: &[usize], probabilities: &[f32]) -> (f64, f64) {
    let draws = counts.iter().sum::<usize>() as f64;
    let (mut statistic, mut cells, mut pool) = (0.0, 0.0f64, (0.0, 0.0));
    for (count, p) in counts.iter().zip(probabilities) {
        let (count, expected) = (*count as f64, draws * f64::from(*p));
        if expected < POOLED {
            pool = (pool.0 + count, pool.1 + expected);
        } else {
            statistic += (count - expected).powi(2) / expected;
            cells += 1.0;
        }
    }
    if pool.1 >= 1.0 {
        statistic += (pool.0 - pool.1).powi(2) / pool.1;
        cells += 1.0;
    }
    (statistic, (cells - 1.0).max(0.0))
}

/// Counts of the first token and of the second after each first one, for one query.
fn draw(query: &[Option<u32>], passes: usize, temperature: f64, purpose: &str) -> (Vec<usize>, Vec<Vec<usize>>) {
    const ROWS: usize = 256;
    let model = language_model("d");
    let queries = vec![query.to_vec()];
    let (mut first, mut second) = (vec![0; VOCAB], vec![vec![0; VOCAB]; VOCAB]);
    for pass in 0..passes {
        // The trainer's own streams.
        let u = uniforms(1, purpose, pass as u64, 2, ROWS);
        let args =
            Sampling { queries: &queries, k: ROWS, response_length: 2, temperature, uniforms: &u, value_head: None };
        for pair in sample(&model, &args).expect("samples").responses {
            let [a, b] = [pair[0] as usize, pair[1] as usize];
            first[a] += 1;
            second[a][b] += 1;
        }
    }
    (first, second)
}

/// Tail probabilities of the first tokens' counts and of the second's given the first, over three queries.
fn tails(passes: usize, temperature: f64) -> [f64; 2] {
    let (facts, expected) = (facts("frequencies"), tensors("frequencies"));
    let queries: Vec<Vec<Option<u32>>> = get(&facts, "queries");
    let mut sums = [(0.0, 0.0); 2];
    let mut add = |i: usize, (statistic, freedom): (f64, f64)| {
        sums[i] = (sums[i].0 + statistic, sums[i].1 + freedom);
    };
    for (q, query) in queries.iter().enumerate() {
        let (first, second) = draw(query, passes, temperature, &format!("parity frequencies {q}"));
        add(0, chi_square(&first, &expected["first"][q * VOCAB..(q + 1) * VOCAB]));
        for (a, counts) in second.iter().enumerate() {
            let from = (q * VOCAB + a) * VOCAB;
            add(1, chi_square(counts, &expected["second"][from..from + VOCAB]));
        }
    }
    let found = sums.map(|(statistic, freedom)| tail(statistic, freedom));
    println!(
        "parity | frequencies at temperature {temperature:.3}: chi-square (degrees of freedom) {sums:?}, p {found:?}"
    );
    found
}

#[test]
fn tokens_are_drawn_as_often_as_softmax_says() {
    let passes = if on_cpu() { 200 } else { 100 };
    let found = tails(passes, TEMPERATURE);
    assert!(found.iter().all(|p| *p > 0.01), "too unlikely: {found:?}");
    let distorted = tails(passes, TEMPERATURE * 1.03);
    assert!(distorted.iter().all(|p| *p < 1e-4), "a distortion of 3% is not seen: {distorted:?}");
}
