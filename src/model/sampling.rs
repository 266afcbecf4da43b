//! Sampling with a KV cache: one prefill per query for its k responses, plain categorical over the whole
//! vocabulary at the task's temperature (released code: sample.py), a fixed response length.

use super::gpt2::{CacheMask, ScalarHead};
use super::language_model::LanguageModel;
use super::ops::draw;
use super::parallel::{map_shards, pass_rows, sampling_rows};
use super::vocabulary::check_ids;
use super::{ModelError, faults, gpu};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Most rows in one pass, on any device.
pub const SAMPLING_ROWS: usize = 256;
/// Most logits held at once when log-probabilities are computed (256 MiB).
const LOGITS: usize = 1 << 26;
/// Most tokens in one pass over pairs of mixed lengths, padding included.
const PASS_TOKENS: usize = 1 << 13;

/// Lengths of rows on a GPU are multiples of this.
const LENGTHS: usize = 32;

/// What sampling returns; row `i` belongs to query `i / k`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sampled {
    /// `[rows][response]`
    pub responses: Vec<Vec<u32>>,
    /// `[rows][response]`, at the sampling temperature.
    pub logprobs: Vec<Vec<f32>>,
    /// `[rows][response]`: values of the states that predict each token (empty without a value head).
    pub values: Vec<Vec<f32>>,
    /// Mean entropy of the sampling distributions in nats.
    pub entropy: f32,
}

/// Arguments of [`sample`].
pub struct Sampling<'a> {
    /// Left-padded queries of equal length.
    pub queries: &'a [Vec<Option<u32>>],
    /// Responses per query.
    pub k: usize,
    pub response_length: usize,
    pub temperature: f64,
    /// One uniform number in [0, 1) per step and row: `[response][rows]`.
    pub uniforms: &'a [Vec<f32>],
    pub value_head: Option<&'a ScalarHead>,
}

/// Reads a float tensor to the host, row-major.
pub fn to_vec<const D: usize>(t: Tensor<D>) -> Result<Vec<f32>, ModelError> {
    faults::reading(|| {
        let data = t.try_into_data().map_err(|e| format!("{e:?}"))?;
        data.try_to_vec::<f32>().map_err(|e| format!("{e:?}"))
    })
}

/// Splits a row-major buffer into rows.
pub fn rows<T: Clone>(flat: &[T], width: usize) -> Vec<Vec<T>> {
    flat.chunks(width.max(1)).map(<[T]>::to_vec).collect()
}

fn ints<const D: usize>(values: Vec<i32>, shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Samples `k` responses per query, in shards of queries.
pub fn sample<M: LanguageModel>(model: &M, args: &Sampling<'_>) -> Result<Sampled, ModelError> {
    let indices: Vec<usize> = (0..args.queries.len()).collect();
    let time = args.queries.first().map_or(0, Vec::len) + args.response_length;
    let at_once = sampling_rows(model.dimensions(), model.vocab(), time, &model.device()).min(SAMPLING_ROWS);
    let prepared = model.prepared();
    let model = prepared.as_ref().unwrap_or(model);
    let shards = map_shards(&indices, at_once / args.k, |picked| {
        let (first, last) = (picked[0], picked[picked.len() - 1]);
        let uniforms: Vec<Vec<f32>> =
            args.uniforms.iter().map(|row| row[first * args.k..(last + 1) * args.k].to_vec()).collect();
        sample_shard(model, &Sampling { queries: &args.queries[first..=last], uniforms: &uniforms, ..*args })
    })?;
    let rows = args.queries.len() * args.k;
    let mut all = Sampled { responses: vec![], logprobs: vec![], values: vec![], entropy: 0.0 };
    for shard in shards {
        all.entropy += shard.entropy * shard.responses.len() as f32 / rows as f32;
        all.responses.extend(shard.responses);
        all.logprobs.extend(shard.logprobs);
        all.values.extend(shard.values);
    }
    Ok(all)
}

fn sample_shard<M: LanguageModel>(model: &M, args: &Sampling<'_>) -> Result<Sampled, ModelError> {
    let device = model.device();
    let (k, length) = (args.k, args.response_length);
    let queries = trimmed(args.queries.to_vec());
    let query_length = queries.first().map_or(0, Vec::len);
    let n = queries.len() * k;
    let batch = model.batch(&queries)?;
    let last: Vec<usize> = (1..=queries.len()).map(|r| r * query_length - 1).collect();
    let capacity = query_length + length;
    let (mut h, mut cache) = model.prefill(&batch, &last, k, capacity);
    check_length(&queries, length, model.dimensions().context)?;
    let real: Vec<i32> = queries.iter().map(|q| q.iter().flatten().count() as i32).collect();
    let mask = CacheMask::new(&queries, k, capacity, &device);

    let (mut tokens, mut logprobs, mut values, mut entropies) = (vec![], vec![], vec![], vec![]);
    for i in 0..length {
        if let Some(head) = args.value_head {
            values.push(head.forward(h.clone()).reshape([n, 1]));
        }
        let (token, logprob, entropy) =
            draw(h, model.head().clone(), &args.uniforms[i], args.temperature, model.precision());
        tokens.push(token.clone());
        logprobs.push(logprob);
        entropies.push(entropy);
        if i + 1 == length {
            break;
        }
        let positions = (0..n).map(|r| real[r / k] + i as i32).collect();
        h = model.step(token, ints(positions, [n, 1], &device), &mask, query_length + i, &mut cache);
    }
    let tokens: Vec<u32> = faults::reading(|| {
        let data = Tensor::cat(tokens, 1).try_into_data().map_err(|e| format!("{e:?}"))?;
        Ok(data.iter::<i64>().map(|t| u32::try_from(t).unwrap_or(u32::MAX)).collect())
    })?;
    // Not from the distribution, which has no others: what a device gives back after a failure it did not report.
    check_ids(&tokens, model.vocab())
        .map_err(|e| ModelError::Read(format!("the device sampled what it cannot: {e}")))?;
    Ok(Sampled {
        responses: rows(&tokens, length),
        logprobs: rows(&to_vec(Tensor::cat(logprobs, 1))?, length),
        values: if values.is_empty() { Vec::new() } else { rows(&to_vec(Tensor::cat(values, 1))?, length) },
        entropy: to_vec(Tensor::cat(entropies, 0))?.iter().sum::<f32>() / (n * length) as f32,
    })
}

/// The last token sampled is not read again, and needs no position.
fn check_length(queries: &[Vec<Option<u32>>], response: usize, context: usize) -> Result<(), ModelError> {
    let longest = queries.iter().map(|q| q.iter().flatten().count()).max().unwrap_or(0);
    match longest + response > context + 1 {
        true => Err(ModelError::Input(format!(
            "a query of {longest} tokens and a response of {response} are more than the model's context of {context}"
        ))),
        false => Ok(()),
    }
}

/// Log-probabilities of given responses without a gradient graph: one number per response token. Queries are padded on
/// the left to the longest, responses on the right; neither padding is seen by a real token.
pub fn logprobs<M: LanguageModel>(
    model: &M,
    queries: &[Vec<Option<u32>>],
    responses: &[Vec<u32>],
    temperature: f64,
) -> Result<Vec<Vec<f32>>, ModelError> {
    let device = model.device();
    let order = by_length(queries);
    let time = queries.first().map_or(0, Vec::len) + longest(responses);
    let at_once = pass_rows(model.dimensions(), model.vocab(), time, &device).min(SAMPLING_ROWS);
    let shards = map_shards(&order, at_once, |picked| {
        let queries: Vec<Vec<Option<u32>>> = picked.iter().map(|i| queries[*i].clone()).collect();
        let responses: Vec<Vec<u32>> = picked.iter().map(|i| responses[*i].clone()).collect();
        let r = longest(&responses);
        let rows = trimmed(joined(&queries, &responses));
        let hidden = model.hidden_before_last(&model.batch(&rows)?, r);
        let logprobs = head_logprobs(model, hidden, model.targets(&responses)?, temperature)?;
        let of = |(row, y): (&[f32], &Vec<u32>)| row[..y.len()].to_vec();
        Ok::<_, ModelError>(logprobs.chunks(r.max(1)).zip(&responses).map(of).collect::<Vec<_>>())
    })?;
    Ok(restored(&order, shards.concat()))
}

/// [`LanguageModel::token_logprobs`] read to the host, in pieces that keep the logits small: `[rows, width]`, `[rows]`.
fn head_logprobs<M: LanguageModel>(
    model: &M,
    hidden: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f64,
) -> Result<Vec<f32>, ModelError> {
    let [n, width] = hidden.dims();
    let piece = (LOGITS / model.vocab()).clamp(1, n.max(1));
    let mut all = Vec::with_capacity(n);
    for from in (0..n).step_by(piece) {
        let to = (from + piece).min(n);
        let (hidden, targets) = (hidden.clone().slice([from..to, 0..width]), targets.clone().slice(from..to));
        all.extend(to_vec(model.token_logprobs(hidden, targets, temperature))?);
    }
    Ok(all)
}

/// [`logprobs`] of pairs of query and response of any lengths: similar lengths go together, in passes of a bounded
/// number of tokens; results are in the order of the pairs.
pub fn logprobs_of_pairs<M: LanguageModel>(
    model: &M,
    pairs: &[(Vec<u32>, Vec<u32>)],
    temperature: f64,
) -> Result<Vec<Vec<f32>>, ModelError> {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by_key(|i| (pairs[*i].0.len(), pairs[*i].1.len()));
    let mut results = vec![Vec::new(); pairs.len()];
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let (mut rows, mut q, mut r) = (0, 0, 0);
        for i in rest {
            (q, r) = (q.max(pairs[*i].0.len()), r.max(pairs[*i].1.len()));
            if rows > 0 && (rows + 1) * (q + r) > PASS_TOKENS {
                break;
            }
            rows += 1;
        }
        let (now, later) = rest.split_at(rows);
        let queries: Vec<Vec<Option<u32>>> =
            now.iter().map(|i| pairs[*i].0.iter().map(|t| Some(*t)).collect()).collect();
        let responses: Vec<Vec<u32>> = now.iter().map(|i| pairs[*i].1.clone()).collect();
        for (i, row) in now.iter().zip(logprobs(model, &queries, &responses, temperature)?) {
            results[*i] = row;
        }
        rest = later;
    }
    Ok(results)
}

fn longest<T>(rows: &[Vec<T>]) -> usize {
    rows.iter().map(Vec::len).max().unwrap_or(0)
}

/// Query and response as one row each, padded on the left and on the right to equal length.
pub fn joined(queries: &[Vec<Option<u32>>], responses: &[Vec<u32>]) -> Vec<Vec<Option<u32>>> {
    let (q, r) = (longest(queries), longest(responses));
    let padding = |n: usize| std::iter::repeat_n(None, n);
    let row = |(x, y): (&Vec<Option<u32>>, &Vec<u32>)| {
        padding(q - x.len())
            .chain(x.iter().copied())
            .chain(y.iter().map(|t| Some(*t)))
            .chain(padding(r - y.len()))
            .collect()
    };
    queries.iter().zip(responses).map(row).collect()
}

/// The rows without the padding that all of them begin with; on a GPU with as much of it as makes their length one of
/// few, so that the same shapes come again and again, for which there are kernels and memory already.
pub fn trimmed(rows: Vec<Vec<Option<u32>>>) -> Vec<Vec<Option<u32>>> {
    trimmed_to(rows, if gpu::is_in_use() { LENGTHS } else { 1 })
}

/// The same to a length that is a multiple of `multiple`, or to all of it.
fn trimmed_to(mut rows: Vec<Vec<Option<u32>>>, multiple: usize) -> Vec<Vec<Option<u32>>> {
    let length = rows.first().map_or(0, Vec::len);
    let common = rows.iter().map(|r| leading_padding(r)).min().unwrap_or(0);
    // Of nothing but padding, one position stays.
    let kept = (length - common.min(length)).max(1).next_multiple_of(multiple);
    let common = length.saturating_sub(kept);
    rows.iter_mut().for_each(|r| drop(r.drain(..common)));
    rows
}

/// Padding before a row's first token.
pub fn leading_padding(row: &[Option<u32>]) -> usize {
    row.iter().take_while(|t| t.is_none()).count()
}

/// Indices of rows, those with most padding first, so that what is worked on together has much of it in common.
pub fn by_length(rows: &[Vec<Option<u32>>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(leading_padding(&rows[*i])));
    order
}

/// `values[i]` put to `order[i]`.
pub fn restored<T: Default>(order: &[usize], values: Vec<T>) -> Vec<T> {
    let mut result: Vec<T> = std::iter::repeat_with(T::default).take(values.len()).collect();
    order.iter().zip(values).for_each(|(i, value)| result[*i] = value);
    result
}

/// [`LanguageModel::targets`] of ids that are known to have rows.
pub(super) fn targets(responses: &[Vec<u32>], device: &Device) -> Tensor<1, Int> {
    let r = longest(responses);
    let flat: Vec<i32> =
        responses.iter().flat_map(|y| y.iter().map(|t| *t as i32).chain(std::iter::repeat_n(0, r - y.len()))).collect();
    let n = flat.len();
    ints(flat, [n], device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimmed_rows_have_few_lengths_on_a_gpu_and_lose_no_token() {
        let row = |padding: usize| (0..100).map(|i| (i >= padding).then_some(i as u32)).collect::<Vec<_>>();
        for padding in [0, 1, 30, 68, 69, 99, 100] {
            let rows = vec![row(padding), row((padding + 7).min(100))];
            let (cpu, gpu) = (trimmed_to(rows.clone(), 1), trimmed_to(rows.clone(), LENGTHS));
            assert_eq!(cpu[0].len(), (100 - padding).max(1));
            assert!([32, 64, 96, 100].contains(&gpu[0].len()) && gpu[0].len() == gpu[1].len(), "{}", gpu[0].len());
            for ((before, cpu), gpu) in rows.iter().zip(&cpu).zip(&gpu) {
                let tokens = |row: &Vec<Option<u32>>| row.iter().flatten().copied().collect::<Vec<_>>();
                assert!(tokens(before) == tokens(cpu) && tokens(before) == tokens(gpu));
            }
        }
        assert!(trimmed_to(Vec::new(), LENGTHS).is_empty());
    }
}
