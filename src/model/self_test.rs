//! The known-answer test that a device must pass before it is trusted with a run: a small random GPT-2 with left
//! padding samples, is evaluated, and makes one PPO update, there and on the CPU.
//!
//! Drivers and kernel compilers that compute wrongly without an error exist; a run on one of them trains noise.

use super::device::largest_difference;
use super::gpt2::{Gpt2, ScalarHead, ScalarModel, TokenBatch};
use super::loss_scale::LossScale;
use super::memory::Shape;
use super::optimizer::Adam;
use super::parallel::gradients;
use super::sampling::{Sampled, Sampling, joined, logprobs, sample, targets, to_vec};
use super::weights::named;
use super::{ModelError, faults};
use crate::model::LanguageModel;
use crate::rlhf::ppo::{Clip, Targets, flat, loss};
use crate::spec::{AdamSpec, Dimensions, ModelSize, Precision};

use burn::tensor::{Device, Tensor};

const TEMPERATURE: f64 = 0.7;

/// Token ids, `None` where a prompt is padded.
type Query = Vec<Option<u32>>;

/// What is computed: a random model, and left-padded prompts that it answers.
struct Case {
    dimensions: Dimensions,
    vocab: usize,
    queries: Vec<Query>,
    /// Answers of each.
    k: usize,
    /// `[response][rows]`
    uniforms: Vec<Vec<f32>>,
}

impl Case {
    /// A small one, for any device.
    fn small() -> Self {
        Self {
            dimensions: ModelSize::Test.dimensions(),
            vocab: 67,
            queries: vec![vec![None, Some(3), Some(9)], vec![Some(60), Some(2), Some(31)]],
            k: 2,
            uniforms: [[0.1, 0.9, 0.4, 0.7], [0.5, 0.2, 0.8, 0.3], [0.6, 0.05, 0.95, 0.45]].map(Vec::from).into(),
        }
    }

    /// One layer of a run's model, at the run's width, heads, vocabulary and length: kernels are chosen by shape.
    fn at(shape: &Shape) -> Self {
        let response = shape.response.clamp(1, LONGEST_RESPONSE);
        let query = shape.time.saturating_sub(response).max(1);
        let token = |row: usize, i: usize| Some(((row * query + i) * 7919 % shape.vocab) as u32);
        let padded = |row: usize| (0..query).map(|i| token(row, i).filter(|_| i >= row * query / 3)).collect();
        // The golden ratio's multiples are spread evenly.
        let uniform = |i: usize| (i as f32 * 0.618_034).fract();
        Self {
            dimensions: Dimensions { layers: 1, ..shape.dimensions },
            vocab: shape.vocab,
            queries: (0..2).map(padded).collect(),
            k: 2,
            uniforms: (0..response).map(|t| (0..4).map(|row| uniform(4 * t + row + 1)).collect()).collect(),
        }
    }

    fn model(&self, device: &Device, precision: Precision) -> ScalarModel {
        let d = &self.dimensions;
        ScalarModel {
            trunk: Gpt2::init(d, self.vocab, 7, device).with(precision),
            head: ScalarHead::init(d.width, 0.2, 8, device),
        }
    }

    /// Prompts as often as they are answered.
    fn rows(&self) -> Vec<Query> {
        self.queries.iter().flat_map(|query| vec![query.clone(); self.k]).collect()
    }

    fn sample(&self, model: &ScalarModel) -> Result<Sampled, ModelError> {
        let args = Sampling {
            queries: &self.queries,
            k: self.k,
            response_length: self.uniforms.len(),
            temperature: TEMPERATURE,
            uniforms: &self.uniforms,
            value_head: None,
        };
        sample(&model.trunk, &args)
    }

    /// How far each uniform number is outside the share of the cumulative distribution that the drawn token has.
    fn outside(&self, model: &ScalarModel, responses: &[Vec<u32>]) -> Result<Vec<f32>, ModelError> {
        let batch = TokenBatch::new(&joined(&self.rows(), responses), &model.trunk.device());
        let hidden = model.trunk.hidden_before_last(&batch, self.uniforms.len());
        let logits = to_vec(model.trunk.logits(hidden) / TEMPERATURE)?;
        let mut found = Vec::new();
        for ((row, response), logits) in
            responses.iter().enumerate().zip(logits.chunks(self.vocab * self.uniforms.len()))
        {
            for ((t, token), logits) in response.iter().enumerate().zip(logits.chunks(self.vocab)) {
                let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weights: Vec<f64> = logits.iter().map(|l| f64::from(l - largest).exp()).collect();
                let sum = |weights: &[f64]| weights.iter().sum::<f64>();
                let (u, token) = (f64::from(self.uniforms[t][row]) * sum(&weights), *token as usize);
                let before = sum(&weights[..token.min(self.vocab)]);
                let after = sum(&weights[..(token + 1).min(self.vocab)]);
                found.push(((before - u).max(u - after).max(0.0) / sum(&weights)) as f32);
            }
        }
        Ok(found)
    }
}

/// The same limit with products of float16, whose factors are rounded by 2⁻¹² of themselves (docs/precision.md has what was
/// measured). Adam's step, which is float32 in any case, says nothing then: a first one is ±1 in units of the rate for
/// every number of the gradient that is not nearly 0, and any rounding can change those that are.
const HALF: f32 = 0.02;

/// Longer responses would take seconds on the CPU and show nothing more.
const LONGEST_RESPONSE: usize = 24;

/// What the known-answer test measured; each is the largest absolute difference.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct SelfTest {
    /// Of the device's products.
    #[serde(skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// Log-probabilities from cached sampling against the full pass on the same device.
    pub cached_vs_full: f32,
    /// Full-pass log-probabilities against the CPU's.
    pub logprobs_vs_cpu: f32,
    /// A scalar head's numbers against the CPU's.
    pub values_vs_cpu: f32,
    /// Gradient of the PPO loss, all tensors, against the CPU's.
    pub gradient_vs_cpu: f32,
    /// Change of all weights in one Adam step against the CPU's, in units of the learning rate.
    pub update_vs_cpu: f32,
    /// How far a uniform number is outside its token's share of the CPU's cumulative distribution.
    pub drawn_vs_cpu: f32,
}

impl SelfTest {
    /// Rounding alone stays below 1e-4 on log-probs of magnitude 10, on gradients and on probabilities' sums; a wrong
    /// kernel is off by more than 0.1. Adam divides a gradient by 3e-4 (ε/√(1-β₂)) and more, so that its step may be off by ten times as much.
    pub fn passed(&self) -> bool {
        let rounding = [self.cached_vs_full, self.logprobs_vs_cpu, self.values_vs_cpu, self.gradient_vs_cpu];
        let (limit, of_update) = match self.precision.is_f32() {
            true => (1e-3, 1e-2),
            false => (HALF, f32::MAX),
        };
        rounding.iter().chain([&self.drawn_vs_cpu]).all(|d| *d < limit) && self.update_vs_cpu < of_update
    }

    fn between(device: &Answers, cpu: &Answers) -> Self {
        Self {
            precision: Precision::F32,
            cached_vs_full: largest_difference(&device.cached, &device.full),
            logprobs_vs_cpu: largest_difference(&device.full, &cpu.full),
            values_vs_cpu: largest_difference(&device.values, &cpu.values),
            gradient_vs_cpu: largest_difference(&device.gradient, &cpu.gradient),
            update_vs_cpu: largest_difference(&device.update, &cpu.update),
            drawn_vs_cpu: largest_difference(&device.outside, &vec![0.0; device.outside.len()]),
        }
    }
}

/// What a device computes, row-major.
#[derive(Debug, Clone)]
struct Answers {
    /// Log-probabilities of the sampled tokens, from sampling with a cache.
    cached: Vec<f32>,
    /// The same tokens' from a pass without a cache.
    full: Vec<f32>,
    /// Of the scalar head, from the states before these tokens.
    values: Vec<f32>,
    gradient: Vec<f32>,
    update: Vec<f32>,
    /// Of each token that was drawn on the device, how far its uniform number is outside its share on the CPU.
    outside: Vec<f32>,
}

/// Compares the device with itself and with the CPU, on a small model.
pub fn self_test(device: &Device, precision: Precision) -> Result<SelfTest, ModelError> {
    test(&Case::small(), device, precision)
}

/// The same on one layer of a run's size: a kernel that is right for small shapes can be wrong for those that a run
/// has (burn issue 5122).
pub fn self_test_at(shape: &Shape, device: &Device, precision: Precision) -> Result<SelfTest, ModelError> {
    test(&Case::at(shape), device, precision)
}

/// The CPU computes in float32 whatever the device does.
fn test(case: &Case, device: &Device, precision: Precision) -> Result<SelfTest, ModelError> {
    let (here, cpu) = (case.model(device, precision), case.model(&Device::flex(), Precision::F32));
    let sampled = case.sample(&here)?;
    let outside = case.outside(&cpu, &sampled.responses)?;
    // Both devices judge the tokens that were sampled on this one.
    let answers = |model: &ScalarModel| -> Result<Answers, ModelError> {
        let rows = case.rows();
        let full = logprobs(&model.trunk, &rows, &sampled.responses, TEMPERATURE)?.concat();
        let values = values(model, &rows, &sampled.responses)?;
        let (gradient, update) = update(model, &rows, &sampled.responses)?;
        Ok(Answers { cached: sampled.logprobs.concat(), full, values, gradient, update, outside: outside.clone() })
    };
    let found = SelfTest { precision, ..SelfTest::between(&answers(&here)?, &answers(&cpu)?) };
    faults::confirm()?;
    Ok(found)
}

/// What the scalar head makes of the states before each response token: one number a row, from a matrix of one column.
fn values(model: &ScalarModel, rows: &[Query], responses: &[Vec<u32>]) -> Result<Vec<f32>, ModelError> {
    let batch = TokenBatch::new(&joined(rows, responses), &model.trunk.device());
    let hidden = model.trunk.hidden_before_last(&batch, responses.first().map_or(0, Vec::len));
    to_vec(model.head.forward(hidden))
}

/// Gradients of one PPO loss, and what one Adam step with a learning rate of 1 subtracts from the weights.
fn update(
    model: &ScalarModel,
    rows: &[Vec<Option<u32>>],
    responses: &[Vec<u32>],
) -> Result<(Vec<f32>, Vec<f32>), ModelError> {
    let (device, length) = (model.trunk.device(), responses.first().map_or(0, Vec::len));
    // Any numbers do, as long as both terms of the loss and both of its clips count.
    let numbers = |scale: f32| -> Vec<Vec<f32>> {
        rows.iter()
            .enumerate()
            .map(|(r, _)| (0..length).map(|t| scale * ((3 * r + t) as f32).sin()).collect())
            .collect()
    };
    let old = logprobs(&model.trunk, rows, responses, TEMPERATURE)?;
    let old: Vec<Vec<f32>> =
        old.iter().zip(numbers(0.3)).map(|(lp, d)| lp.iter().zip(d).map(|(lp, d)| lp + d).collect()).collect();
    let clip = Clip { cliprange: 0.2, cliprange_value: 0.2, vf_coef: 0.1 };
    let (found, _) = gradients(model, &mut LossScale::default(), &[()], 1, |model, _| {
        let device = model.trunk.device();
        let fixed = Targets {
            old_logprobs: flat(&old, &device),
            old_values: flat(&numbers(0.5), &device),
            advantages: flat(&numbers(-1.0), &device),
            returns: flat(&numbers(2.0), &device),
        };
        let batch = TokenBatch::new(&joined(rows, responses), &device);
        let hidden = model.trunk.hidden_before_last(&batch, length);
        let lp = model.trunk.token_logprobs(hidden.clone(), targets(responses, &device), TEMPERATURE);
        Ok::<_, ModelError>((loss(lp, model.head.forward(hidden), &fixed, &clip).total, ()))
    })?;
    // One after the other: all in one array may be larger than a driver takes.
    let read = |tensors: Vec<Tensor<1>>| {
        Ok::<_, ModelError>(tensors.into_iter().map(to_vec).collect::<Result<Vec<_>, _>>()?.concat())
    };
    let gradient = read(found.values().cloned().collect())?;
    let before = named(model.clone(), "");
    let after = named(Adam::new(AdamSpec::default()).update(model.clone(), found, 1.0)?, "");
    let change = before.into_values().zip(after.into_values()).map(|(b, a)| b.flatten() - a.flatten());
    let update = read(change.map(|t| t.to_device(&device)).collect())?;
    Ok((gradient, update))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        let case = Case::small();
        let (rows, model) = (case.queries.clone(), case.model(&Device::flex(), Precision::F32));
        let responses = vec![vec![5, 6, 7], vec![9, 60, 1]];
        let full = logprobs(&model.trunk, &rows, &responses, TEMPERATURE).unwrap().concat();
        let values = values(&model, &rows, &responses).unwrap();
        let (gradient, update) = update(&model, &rows, &responses).unwrap();
        Answers { cached: full.clone(), full, values, gradient, update, outside: vec![0.0; 6] }
    }

    #[test]
    fn the_cpu_passes() {
        let test = self_test(&Device::flex(), Precision::F32).unwrap();
        assert!(test.passed() && test.cached_vs_full < 1e-5 && test.update_vs_cpu == 0.0, "{test:?}");
    }

    #[test]
    fn one_wrong_number_anywhere_fails() {
        let right = answers();
        assert!(SelfTest::between(&right, &right).passed());
        let fields: [fn(&mut Answers) -> &mut Vec<f32>; 6] = [
            |a| &mut a.cached,
            |a| &mut a.full,
            |a| &mut a.values,
            |a| &mut a.gradient,
            |a| &mut a.update,
            |a| &mut a.outside,
        ];
        for field in fields {
            let n = field(&mut right.clone()).len();
            assert!(n >= 6);
            for i in (0..n).step_by(1 + n / 50) {
                for wrong in [f32::NAN, f32::INFINITY, field(&mut right.clone())[i] + 0.05] {
                    let mut answers = right.clone();
                    field(&mut answers)[i] = wrong;
                    assert!(!SelfTest::between(&answers, &right).passed(), "{wrong} at {i} of {n}");
                }
            }
            let mut short = right.clone();
            field(&mut short).pop();
            // What is outside is compared with nothing of the CPU's.
            assert!(!SelfTest::between(&short, &right).passed() || field(&mut short).len() == 5);
        }
    }

    #[test]
    fn a_token_that_was_not_drawn_is_noticed() {
        let case = Case::small();
        let model = case.model(&Device::flex(), Precision::F32);
        let mut responses = case.sample(&model).unwrap().responses;
        assert!(case.outside(&model, &responses).unwrap().iter().all(|d| *d < 1e-6));
        responses[1][2] = (responses[1][2] + 20) % 67;
        let outside = case.outside(&model, &responses).unwrap();
        assert!(outside[5] > 1e-2, "{outside:?}");
    }

    #[test]
    fn a_runs_own_size_is_tested_with_its_vocabulary_and_length() {
        let dimensions = Dimensions { width: 48, heads: 3, ..ModelSize::Small.dimensions() };
        let shape = Shape { dimensions, vocab: 50_257, time: 88, response: 24 };
        let case = Case::at(&shape);
        assert_eq!((case.queries[0].len() + case.uniforms.len(), case.vocab, case.dimensions.width), (88, 50_257, 48));
        let test = self_test_at(&shape, &Device::flex(), Precision::F32).unwrap();
        assert!(test.passed(), "{test:?}");
    }

    #[test]
    fn the_update_moves_every_weight_that_it_should() {
        let right = answers();
        let (gradient, update) = (&right.gradient, &right.update);
        assert_eq!(gradient.len(), update.len());
        // Clipping and padding leave enough that counts.
        let moved = gradient.iter().zip(update).filter(|(g, u)| g.abs() > 1e-4 && u.abs() > 0.1).count();
        assert!(moved * 2 > gradient.len(), "{moved} of {}", gradient.len());
    }
}
