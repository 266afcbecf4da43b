//! The operations on numbers: what training computes (src/rlhf, Adam, truncation).

use super::input::{Array, Input, MathError, at, id, output, whole};
use crate::model::optimizer::adam_update;
use crate::model::sampling::to_vec;
use crate::rlhf::{advantages, kl, labels, optimum as frontier, ppo, reward};
use crate::spec::{AdamForm, AdamSpec, KlSchedule, KlSpec};
use crate::task::response;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::{Map, Value};

pub(super) type Output = Result<Map<String, Value>, MathError>;

pub fn whiten(input: &Input) -> Output {
    let values = input.array("values", true)?;
    let shift_mean = input.flag("shift_mean")?;
    output([("values", values.like(advantages::whiten(&values.rows, shift_mean)))])
}

pub fn gae(input: &Input) -> Output {
    let rewards = input.array("rewards", true)?;
    let values = input.array_like("values", "rewards", &rewards)?;
    let (a, r) = advantages::gae(&rewards.rows, &values.rows, input.number("gamma")?, input.number("lam")?);
    output([("advantages", rewards.like(a)), ("returns", rewards.like(r))])
}

pub fn token_rewards(input: &Input) -> Output {
    let scores = input.floats("scores")?;
    let logprobs = input.array("logprobs", false)?;
    let reference = input.array_like("ref_logprobs", "logprobs", &logprobs)?;
    same_length("scores", scores.len(), "logprobs", logprobs.rows.len())?;
    let kl_coef = input.number("kl_coef")?;
    let rewards = advantages::token_rewards(&scores, &logprobs.rows, &reference.rows, kl_coef);
    output([("rewards", logprobs.like(rewards))])
}

pub fn ppo_loss(input: &Input) -> Output {
    let logprobs = input.array("logprobs", true)?;
    let device = Device::flex();
    let other = |name| -> Result<Tensor<1>, MathError> {
        Ok(ppo::flat(&input.array_like(name, "logprobs", &logprobs)?.rows, &device))
    };
    let targets = ppo::Targets {
        old_logprobs: other("old_logprobs")?,
        old_values: other("old_values")?,
        advantages: other("advantages")?,
        returns: other("returns")?,
    };
    let clip = ppo::Clip {
        cliprange: input.at_least_0("cliprange")?,
        cliprange_value: input.at_least_0("cliprange_value")?,
        vf_coef: input.number("vf_coef")?,
    };
    let loss = ppo::loss(ppo::flat(&logprobs.rows, &device), other("values")?, &targets, &clip);
    output([
        ("loss", scalar(loss.total)?),
        ("policy_loss", scalar(loss.policy)?),
        ("value_loss", scalar(loss.value)?),
        ("clipfrac", scalar(loss.clipfrac)?),
        ("value_clipfrac", scalar(loss.value_clipfrac)?),
        ("approxkl", scalar(loss.approxkl)?),
    ])
}

pub fn kl_controller(input: &Input) -> Output {
    let schedules =
        [("constant", KlSchedule::Constant), ("adaptive", KlSchedule::Adaptive), ("linear", KlSchedule::Linear)];
    let schedule = input.choice("schedule", &schedules)?;
    let mut spec = KlSpec { schedule, init: input.at_least_0("init")?, ..KlSpec::default() };
    let kls = input.numbers("kls")?;
    let given = |name, read: fn(&Input, &str) -> Result<f64, MathError>, default| {
        if input.has(name) { read(input, name) } else { Ok(default) }
    };
    spec.end = given("end", Input::at_least_0, 0.0)?;
    spec.target = given("target", Input::positive, spec.target)?;
    spec.horizon = given("horizon", Input::positive, spec.horizon)?;
    let episodes = if input.has("episodes_per_update") { whole_usize(input, "episodes_per_update")? } else { 0 };
    if schedule == KlSchedule::Adaptive {
        input.required("target")?;
        match (input.has("gain"), input.has("horizon")) {
            (true, true) => return at("gain", "given beside horizon; give the paper's gain or the code's horizon"),
            (false, false) => return at("horizon", "missing; give horizon (with episodes_per_update) or gain"),
            (false, true) => drop(input.required("episodes_per_update")?),
            (true, false) => {}
        }
    }
    if input.has("gain") {
        spec.gain = Some(input.at_least_0("gain")?);
    }
    let mut coef = spec.init;
    let coefs: Vec<f64> = (1..)
        .zip(&kls)
        .map(|(update, kl)| {
            coef = kl::next_coefficient(&spec, coef, *kl, episodes, f64::from(update) / kls.len() as f64);
            coef
        })
        .collect();
    output([("coefs", coefs.into())])
}

pub fn reward_loss(input: &Input) -> Output {
    match ["best", "scores", "difference"].map(|name| input.has(name)) {
        [true, false, false] => best_loss(input),
        [false, true, false] => rating_loss(input),
        [false, false, true] => difference_loss(input),
        [false, false, false] => at("best", "missing; give best, scores or difference beside rewards"),
        _ => at("best", "one label type at a time; give best, scores or difference"),
    }
}

fn best_loss(input: &Input) -> Output {
    let Array { rows, .. } = input.array("rewards", false)?;
    let best = choices(input, "rewards", &rows)?;
    let candidates = rows.first().map_or(0, Vec::len);
    let right = rows.iter().zip(&best).filter(|(row, best)| reward::argmax(row) as u64 == **best).count();
    let (device, n) = (Device::flex(), rows.len());
    let rewards = Tensor::<2>::from_data(TensorData::new(rows.concat(), [n, candidates]), &device);
    let indices: Vec<i32> = best.iter().map(|b| *b as i32).collect();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [n]), &device);
    output([("loss", scalar(reward::loss(rewards, indices))?), ("accuracy", (right as f64 / n as f64).into())])
}

/// `best`: for each of `rows`, the field `name`, the index of one of its candidates.
pub(super) fn choices(input: &Input, name: &str, rows: &[Vec<f32>]) -> Result<Vec<u64>, MathError> {
    let best = super::input::each(input.list("best")?, "best", whole)?;
    same_length("best", best.len(), name, rows.len())?;
    let candidates = rows.first().map_or(0, Vec::len);
    match best.iter().position(|b| *b >= candidates as u64) {
        Some(i) => {
            at(format!("best[{i}]"), format!("{} is no index of {candidates} candidates, counted from 0", best[i]))
        }
        None => Ok(best),
    }
}

fn rating_loss(input: &Input) -> Output {
    let (rewards, scores) = (input.floats("rewards")?, input.floats("scores")?);
    same_length("scores", scores.len(), "rewards", rewards.len())?;
    let loss = scalar(reward::rating_loss(vector(&rewards), vector(&scores)))?;
    with_defined(output([("loss", loss)])?, [("correlation", reward::correlation(&rewards, &scores))])
}

fn difference_loss(input: &Input) -> Output {
    let Array { rows, .. } = input.array("rewards", false)?;
    let differences = input.floats("difference")?;
    same_length("difference", differences.len(), "rewards", rows.len())?;
    if rows[0].len() != 2 {
        return at("rewards[0]", format!("has {} elements; a difference is of 2 rewards", rows[0].len()));
    }
    let rewards = Tensor::<2>::from_data(TensorData::new(rows.concat(), [rows.len(), 2]), &Device::flex());
    let loss = scalar(reward::difference_loss(rewards, vector(&differences)))?;
    let predicted: Vec<f32> = rows.iter().map(|pair| pair[1] - pair[0]).collect();
    let (right, judged) = reward::signs_right(&predicted, &differences);
    let accuracy = (judged > 0).then(|| right as f64 / judged as f64);
    let correlation = reward::correlation(&predicted, &differences);
    with_defined(output([("loss", loss)])?, [("correlation", correlation), ("accuracy", accuracy)])
}

fn vector(values: &[f32]) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &Device::flex())
}

/// Adds those results that are defined.
fn with_defined<const N: usize>(mut fields: Map<String, Value>, more: [(&str, Option<f64>); N]) -> Output {
    fields.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_string(), Value::from(value?)))));
    Ok(fields)
}

pub fn reward_norm(input: &Input) -> Output {
    // Below this, training takes 1e-12: the rewards are all the same.
    let std = input.number_that("std", "above 0, at least 1e-12", |v| v >= 1e-12)?;
    let (mean, target_mean) = (input.number("mean")?, input.number("target_mean")?);
    let fit = reward::Normalization::from_moments(mean, std, target_mean, input.at_least_0("target_std")?);
    output([("gain", fit.gain.into()), ("bias", fit.bias.into())])
}

pub fn truncate(input: &Input) -> Output {
    let mut responses = input.table("responses", id)?;
    let token = input.id("truncate_token")?;
    let after = whole_usize(input, "truncate_after")?;
    let padding = input.id("padding")?;
    let mut valid = Vec::with_capacity(responses.len());
    for response in &mut responses {
        // 1 where the token is: the trainer's function takes any set of truncation tokens.
        let is_token: Vec<u32> = response.iter().map(|t| u32::from(*t == token)).collect();
        let kept = response::truncate(&is_token, &[false, true], after);
        if let Some(kept) = kept {
            response[kept..].fill(padding);
        }
        valid.push(kept.is_some());
    }
    output([("responses", responses.into()), ("valid", valid.into())])
}

pub fn adam(input: &Input) -> Output {
    let params = input.floats("params")?;
    let grads = input.array("grads", false)?;
    let lrs = input.numbers("lrs")?;
    same_length("lrs", lrs.len(), "grads", grads.rows.len())?;
    same_length("params", params.len(), "grads[0]", grads.shape()[1])?;
    let below_1 = |name| input.number_that(name, "from 0 to below 1", |v| (0.0..1.0).contains(&v));
    let spec = AdamSpec {
        form: input.choice("form", &[("tensorflow", AdamForm::Tensorflow), ("torch", AdamForm::Torch)])?,
        beta1: below_1("beta1")?,
        beta2: below_1("beta2")?,
        epsilon: input.at_least_0("epsilon")?,
    };
    let device = Device::flex();
    let vector = |values: Vec<f32>| {
        let n = values.len();
        Tensor::<1>::from_data(TensorData::new(values, [n]), &device)
    };
    let mut p = vector(params);
    let (mut m, mut v) = (p.zeros_like(), p.zeros_like());
    for (t, (grad, lr)) in (1..).zip(grads.rows.into_iter().zip(lrs)) {
        (p, m, v) = adam_update(&spec, lr, t, p, vector(grad), m, v);
    }
    output([("params", to_vec(p)?.into())])
}

pub fn label_schedule(input: &Input) -> Output {
    let total = input.at_least_0("total")?;
    let initial = input.number_that("initial", "from 0 to total", |v| (0.0..=total).contains(&v))?;
    let episodes = input.positive("episodes")?;
    let is_list = input.required("at")?.is_array();
    let ats = if is_list { input.numbers("at")? } else { vec![input.number("at")?] };
    if let Some(i) = ats.iter().position(|n| !(0.0..=episodes).contains(n)) {
        let path = if is_list { format!("at[{i}]") } else { "at".into() };
        return at(path, format!("must be an episode from 0 to {episodes} (episodes), got {}", ats[i]));
    }
    let mut labels: Vec<f64> = ats.iter().map(|n| labels::label_schedule(initial, total, episodes, *n)).collect();
    output([("labels", if is_list { labels.into() } else { labels.pop().into() })])
}

pub fn optimum(input: &Input) -> Output {
    let rewards = input.array("rewards", true)?;
    let betas = input.numbers("betas")?;
    if let Some(i) = betas.iter().position(|b| *b <= 0.0) {
        return at(format!("betas[{i}]"), format!("must be above 0, got {}", betas[i]));
    }
    let points: Vec<frontier::Point> = betas.iter().map(|beta| frontier::optimum(&rewards.rows, *beta)).collect();
    let column = |of: fn(&frontier::Point) -> f64| points.iter().map(of).collect::<Vec<_>>().into();
    output([("kl", column(|p| p.kl)), ("reward", column(|p| p.reward))])
}

/// A `[1]` tensor as a number.
pub(super) fn scalar(tensor: Tensor<1>) -> Result<Value, MathError> {
    Ok(to_vec(tensor)?.first().copied().into())
}

pub(super) fn whole_usize(input: &Input, name: &str) -> Result<usize, MathError> {
    let number = input.whole(name)?;
    usize::try_from(number).or_else(|_| at(name, format!("{number} is too large")))
}

pub(super) fn same_length(name: &str, n: usize, other: &str, m: usize) -> Result<(), MathError> {
    if n == m { Ok(()) } else { at(name, format!("has {n} elements, but {other} has {m}; they must be equal")) }
}
