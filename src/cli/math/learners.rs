//! The operations of learners beside PPO: what RLOO, DPO and best-of-n compute (src/rlhf).

use super::input::{Array, Input, at, each, output, whole};
use super::rl::{Output, choices, same_length, scalar, whole_usize};
use crate::rlhf::{best_of as best, dpo, rloo};
use burn::tensor::{Device, Tensor, TensorData};

pub fn rloo_advantages(input: &Input) -> Output {
    let scores = input.floats("scores")?;
    let logprobs = input.array("logprobs", false)?;
    let reference = input.array_like("ref_logprobs", "logprobs", &logprobs)?;
    same_length("scores", scores.len(), "logprobs", logprobs.rows.len())?;
    let (kl_coef, k) = (input.number("kl_coef")?, whole_usize(input, "samples_per_query")?);
    if k < 2 {
        return at("samples_per_query", format!("must be 2 or more: of {k} there are no others to compare with"));
    }
    if !scores.len().is_multiple_of(k) {
        let message = format!("has {} elements, which do not divide into queries of {k} samples", scores.len());
        return at("scores", message);
    }
    let tokens = crate::rlhf::advantages::token_rewards(&scores, &logprobs.rows, &reference.rows, kl_coef);
    let rewards: Vec<f64> = tokens.iter().map(|row| row.iter().map(|v| f64::from(*v)).sum()).collect();
    let advantages = rloo::advantages(&rewards, k);
    output([("rewards", rewards.into()), ("advantages", advantages.into())])
}

pub fn dpo_loss(input: &Input) -> Output {
    let Array { rows, .. } = input.array("logprobs", false)?;
    let reference = input.array_like("ref_logprobs", "logprobs", &Array { rows: rows.clone(), flat: false })?;
    let beta = input.positive("beta")?;
    let best: Vec<usize> = choices(input, "logprobs", &rows)?.into_iter().map(|b| b as usize).collect();
    let (n, candidates) = (rows.len(), rows.first().map_or(0, Vec::len));
    if candidates < 2 {
        return at("logprobs[0]", format!("has {candidates} candidates; a preference is of 2 or more"));
    }
    let table =
        |rows: Vec<Vec<f32>>| Tensor::<2>::from_data(TensorData::new(rows.concat(), [n, candidates]), &Device::flex());
    let l = dpo::loss(table(rows), table(reference.rows), &best, beta);
    output([("loss", scalar(l.total)?), ("margin", scalar(l.margin)?), ("accuracy", scalar(l.accuracy)?)])
}

pub fn best_of(input: &Input) -> Output {
    let scores = input.array("scores", false)?;
    let values = input.array_like("values", "scores", &scores)?;
    let samples = scores.shape()[1];
    let numbers = each(input.list("n")?, "n", whole)?;
    if let Some(i) = numbers.iter().position(|n| !(1..=samples as u64).contains(n)) {
        return at(
            format!("n[{i}]"),
            format!("must be from 1 to {samples}, the samples of each query, got {}", numbers[i]),
        );
    }
    let queries = scores.rows.len() as f64;
    let value = |n: &u64| {
        let each = scores.rows.iter().zip(&values.rows).map(|(s, v)| best::expected(s, v, *n as usize));
        each.sum::<f64>() / queries
    };
    let bounds: Vec<f64> = numbers.iter().map(|n| best::kl_bound(*n as usize)).collect();
    output([("value", numbers.iter().map(value).collect::<Vec<f64>>().into()), ("kl_bound", bounds.into())])
}
