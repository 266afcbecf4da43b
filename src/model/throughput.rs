//! How fast a device does what training does: sampling with a cache, whole passes, and gradients, of small transformers
//! whose widths are those of real ones.

use super::ModelError;
use super::device::{is_cpu, largest_difference};
use super::flops::{body, head};
use super::gpt2::{Gpt2, TokenBatch};
use super::loss_scale::LossScale;
use super::memory::{SHARD_ROWS, SHARDS};
use super::parallel::{gradients, training_rows};
use super::sampling::{Sampling, logprobs, sample, targets, to_vec};
use crate::model::LanguageModel;
use crate::spec::Dimensions;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Floating-point operations per second, as plans count them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Of the transformer that was measured.
    pub width: usize,
    pub sampling: f64,
    pub forward: f64,
    pub training: f64,
}

/// Widths that are measured: about that of `tiny`, between, and that of 124M.
pub const WIDTHS: [usize; 3] = [96, 288, 768];
const LAYERS: usize = 2;
const HEAD: usize = 48;
const QUERY: usize = 48;
const RESPONSE: usize = 16;
/// So few that measuring takes seconds, and enough that the head counts as it does.
const VOCAB: usize = 4096;
/// A measurement is repeated until it has taken this many seconds.
const LONG_ENOUGH: f64 = 0.3;

/// One width's rates.
pub fn measure(device: &Device, width: usize) -> Result<Rates, ModelError> {
    let d = Dimensions { layers: LAYERS, heads: width / HEAD, width, context: QUERY + RESPONSE };
    let model = Gpt2::init(&d, VOCAB, 1, device);
    // As many as keep all workers busy.
    let threads = rayon::current_num_threads().min(SHARDS);
    let n = if is_cpu(device) { SHARD_ROWS * threads } else { 4 * SHARD_ROWS };
    let token = |r: usize, i: usize| ((r * 31 + i * 7919) % VOCAB) as u32;
    let queries: Vec<Vec<Option<u32>>> = (0..n).map(|r| (0..QUERY).map(|i| Some(token(r, i))).collect()).collect();
    let responses: Vec<Vec<u32>> = (0..n).map(|r| (QUERY..QUERY + RESPONSE).map(|i| token(r, i)).collect()).collect();
    let uniforms = vec![vec![0.5; n]; RESPONSE];
    let args = Sampling {
        queries: &queries,
        k: 1,
        response_length: RESPONSE,
        temperature: 1.0,
        uniforms: &uniforms,
        value_head: None,
    };
    let rows: Vec<Vec<Option<u32>>> = queries
        .iter()
        .zip(&responses)
        .map(|(q, r)| q.iter().copied().chain(r.iter().map(|t| Some(*t))).collect())
        .collect();
    let (whole, prefill) = (body(&d, 0, QUERY + RESPONSE), body(&d, 0, QUERY));
    let pass = n as f64 * (whole + head(&d, VOCAB, RESPONSE));
    let forward = pass / timed(|| logprobs(&model, &queries, &responses, 1.0).map(|_| ()))?;
    let sampled = timed(|| sample(&model, &args).map(|_| ()))? - n as f64 * prefill / forward;
    let numbered: Vec<usize> = (0..n).collect();
    let at_once = training_rows(&model, QUERY + RESPONSE, RESPONSE);
    let training = timed(|| {
        let (found, _) = gradients(&model, &mut LossScale::default(), &numbered, at_once, |model, picked| {
            let of = |all: &[Vec<Option<u32>>]| picked.iter().map(|r| all[*r].clone()).collect::<Vec<_>>();
            let answers: Vec<Vec<u32>> = picked.iter().map(|r| responses[*r].clone()).collect();
            let hidden = model.hidden_before_last(&TokenBatch::new(&of(&rows), device), RESPONSE);
            Ok::<_, ModelError>((model.token_logprobs(hidden, targets(&answers, device), 1.0).sum().neg(), ()))
        })?;
        // A device works on while we go on: one number of each gradient is waited for.
        let firsts = found.into_values().map(|g| g.slice(0..1)).collect();
        let firsts = to_vec(burn::tensor::Tensor::cat(firsts, 0))?;
        std::hint::black_box(largest_difference(&firsts, &firsts));
        Ok(())
    })?;
    let tokens = n as f64 * (whole - prefill + head(&d, VOCAB, RESPONSE));
    // Noise must not make sampling free.
    let sampling = tokens / sampled.max(tokens / forward);
    Ok(Rates { width, sampling, forward, training: 3.0 * pass / training })
}

/// Seconds of the fastest of some repetitions, after one that may compile kernels.
fn timed(mut work: impl FnMut() -> Result<(), ModelError>) -> Result<f64, ModelError> {
    work()?;
    let (mut best, mut all) = (f64::INFINITY, 0.0);
    while all < LONG_ENOUGH {
        let started = Instant::now();
        work()?;
        let seconds = started.elapsed().as_secs_f64();
        (best, all) = (best.min(seconds), all + seconds);
    }
    Ok(best)
}
