//! The known-answer test that a device must pass before it is trusted with a run: a small random GPT-2 with left
//! padding samples, is evaluated, and makes one PPO update, there and on the CPU.
//!
//! Drivers and kernel compilers that compute wrongly without an error exist; a run on one of them trains noise.

use super::ModelError;
use super::device::largest_difference;
use super::gpt2::{Gpt2, ScalarHead, ScalarModel, TokenBatch};
use super::optimizer::Adam;
use super::parallel::gradients;
use super::sampling::{Sampling, joined, logprobs, sample, targets, to_vec};
use super::weights::named;
use crate::model::LanguageModel;
use crate::rlhf::ppo::{Clip, Targets, flat, loss};
use crate::spec::{AdamSpec, ModelSize};
use burn::tensor::{Device, Tensor};

const VOCAB: usize = 67;
const TEMPERATURE: f64 = 0.7;
/// Left-padded prompts; each is sampled twice.
const QUERIES: [[Option<u32>; 3]; 2] = [[None, Some(3), Some(9)], [Some(60), Some(2), Some(31)]];
/// `[response][rows]`
const UNIFORMS: [[f32; 4]; 3] = [[0.1, 0.9, 0.4, 0.7], [0.5, 0.2, 0.8, 0.3], [0.6, 0.05, 0.95, 0.45]];
const RESPONSE: usize = UNIFORMS.len();

/// What the known-answer test measured; each is the largest absolute difference.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct SelfTest {
    /// Log-probabilities from cached sampling against the full pass on the same device.
    pub cached_vs_full: f32,
    /// Full-pass log-probabilities against the CPU's.
    pub logprobs_vs_cpu: f32,
    /// Gradient of the PPO loss, all tensors, against the CPU's.
    pub gradient_vs_cpu: f32,
    /// Change of all weights in one Adam step against the CPU's, in units of the learning rate.
    pub update_vs_cpu: f32,
}

impl SelfTest {
    /// Rounding alone stays below 1e-4 on log-probs of magnitude 10 and on gradients; a wrong kernel is off by more
    /// than
    /// 0.1. Adam divides a gradient by 3e-4 (ε/√(1-β₂)) and more, so that its step may be off by ten times as much.
    pub fn passed(&self) -> bool {
        [self.cached_vs_full, self.logprobs_vs_cpu, self.gradient_vs_cpu].iter().all(|d| *d < 1e-3)
            && self.update_vs_cpu < 1e-2
    }

    fn between(device: &Answers, cpu: &Answers) -> Self {
        Self {
            cached_vs_full: largest_difference(&device.cached, &device.full),
            logprobs_vs_cpu: largest_difference(&device.full, &cpu.full),
            gradient_vs_cpu: largest_difference(&device.gradient, &cpu.gradient),
            update_vs_cpu: largest_difference(&device.update, &cpu.update),
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
    gradient: Vec<f32>,
    update: Vec<f32>,
}

/// Compares the device with itself and with the CPU.
pub fn self_test(device: &Device) -> Result<SelfTest, ModelError> {
    let rows: Vec<_> = QUERIES.iter().flat_map(|q| [q.to_vec(), q.to_vec()]).collect();
    let queries: Vec<_> = QUERIES.iter().map(|q| q.to_vec()).collect();
    let args = Sampling {
        queries: &queries,
        k: 2,
        response_length: RESPONSE,
        temperature: TEMPERATURE,
        uniforms: &UNIFORMS.map(|u| u.to_vec()),
        value_head: None,
    };
    let sampled = sample(&model(device).trunk, &args)?;
    // Both devices judge the tokens that were sampled on this one.
    let answers = |on: &Device| -> Result<Answers, ModelError> {
        let full = logprobs(&model(on).trunk, &rows, &sampled.responses, TEMPERATURE)?.concat();
        let (gradient, update) = update(&model(on), &rows, &sampled.responses)?;
        Ok(Answers { cached: sampled.logprobs.concat(), full, gradient, update })
    };
    Ok(SelfTest::between(&answers(device)?, &answers(&Device::flex())?))
}

fn model(device: &Device) -> ScalarModel {
    let d = ModelSize::Test.dimensions();
    ScalarModel { trunk: Gpt2::init(&d, VOCAB, 7, device), head: ScalarHead::init(d.width, 0.2, 8, device) }
}

/// Gradients of one PPO loss, and what one Adam step with a learning rate of 1 subtracts from the weights.
fn update(
    model: &ScalarModel,
    rows: &[Vec<Option<u32>>],
    responses: &[Vec<u32>],
) -> Result<(Vec<f32>, Vec<f32>), ModelError> {
    let device = model.trunk.device();
    // Any numbers do, as long as both terms of the loss and both of its clips count.
    let numbers = |scale: f32| -> Vec<Vec<f32>> {
        rows.iter()
            .enumerate()
            .map(|(r, _)| (0..RESPONSE).map(|t| scale * ((3 * r + t) as f32).sin()).collect())
            .collect()
    };
    let old = logprobs(&model.trunk, rows, responses, TEMPERATURE)?;
    let old: Vec<Vec<f32>> =
        old.iter().zip(numbers(0.3)).map(|(lp, d)| lp.iter().zip(d).map(|(lp, d)| lp + d).collect()).collect();
    let clip = Clip { cliprange: 0.2, cliprange_value: 0.2, vf_coef: 0.1 };
    let (found, _) = gradients(model, &[()], 1, |model, _| {
        let device = model.trunk.device();
        let fixed = Targets {
            old_logprobs: flat(&old, &device),
            old_values: flat(&numbers(0.5), &device),
            advantages: flat(&numbers(-1.0), &device),
            returns: flat(&numbers(2.0), &device),
        };
        let batch = TokenBatch::new(&joined(rows, responses), &device);
        let hidden = model.trunk.hidden_before_last(&batch, RESPONSE);
        let lp = model.trunk.token_logprobs(hidden.clone(), targets(responses, &device), TEMPERATURE);
        Ok::<_, ModelError>((loss(lp, model.head.forward(hidden), &fixed, &clip).total, ()))
    })?;
    let read = |tensors: Vec<Tensor<1>>| to_vec(Tensor::cat(tensors, 0));
    let gradient = read(found.values().cloned().collect())?;
    let before = named(model.clone(), "");
    let after = named(Adam::new(AdamSpec::default()).update(model.clone(), found, 1.0), "");
    let change = before.into_values().zip(after.into_values()).map(|(b, a)| b.flatten() - a.flatten());
    let update = read(change.map(|t| t.to_device(&device)).collect())?;
    Ok((gradient, update))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        let rows: Vec<_> = QUERIES.iter().map(|q| q.to_vec()).collect();
        let responses = vec![vec![5, 6, 7], vec![9, 60, 1]];
        let model = model(&Device::flex());
        let full = logprobs(&model.trunk, &rows, &responses, TEMPERATURE).unwrap().concat();
        let (gradient, update) = update(&model, &rows, &responses).unwrap();
        Answers { cached: full.clone(), full, gradient, update }
    }

    #[test]
    fn the_cpu_passes() {
        let test = self_test(&Device::flex()).unwrap();
        assert!(test.passed() && test.cached_vs_full < 1e-5 && test.update_vs_cpu == 0.0, "{test:?}");
    }

    #[test]
    fn one_wrong_number_anywhere_fails() {
        let right = answers();
        assert!(SelfTest::between(&right, &right).passed());
        let fields: [fn(&mut Answers) -> &mut Vec<f32>; 4] =
            [|a| &mut a.cached, |a| &mut a.full, |a| &mut a.gradient, |a| &mut a.update];
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
            assert!(!SelfTest::between(&short, &right).passed());
        }
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
