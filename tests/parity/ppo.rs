//! One whole PPO update with the rollout given: every weight and every statistic.

use super::models::{changes, limit, on_cpu, scalar_model, weights};
use super::numbers::{Difference, Tensors, check, check_tensors, facts, get, tensors};
use runner::model::gpt2::ScalarModel;
use runner::model::gpu::{Limits, limits, set_limits};
use runner::model::optimizer::Adam;
use runner::rl::{Ppo, Rollout, Settings, Statistics, optimise};
use runner::rlhf::advantages::token_rewards;
use runner::spec::{Spec, WhitenIn};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Keys of a JSON object as a TOML spec.
fn spec(facts: &Value, variant: &Value) -> Spec {
    let pick = |keys: &[&str]| -> Value {
        let value =
            |k: &&str| ((*k).to_string(), if variant[*k].is_null() { &facts[*k] } else { &variant[*k] }.clone());
        keys.iter().map(value).collect::<serde_json::Map<_, _>>().into()
    };
    let policy = [
        "batch_size",
        "minibatches",
        "epochs",
        "gamma",
        "lam",
        "cliprange",
        "cliprange_value",
        "vf_coef",
        "whiten_rewards",
    ];
    // Adam: the default, TensorFlow's form with epsilon 1e-5.
    serde_json::from_value(json!({
        "spec_version": 1, "name": "parity", "policy": pick(&policy),
        "task": pick(&["query_length", "response_length", "temperature"]),
    }))
    .expect("a spec")
}

fn rollout(given: &Value) -> Rollout {
    Rollout {
        queries: get(given, "queries"),
        responses: get(given, "responses"),
        logprobs: get(given, "logprobs"),
        ref_logprobs: get(given, "ref_logprobs"),
        values: get(given, "values"),
        scores: get(given, "scores"),
        ..Rollout::default()
    }
}

/// The fixture's update of a model: what it does to the weights, and what it says.
pub fn updated(
    facts: &Value,
    name: &str,
    (blocks, whiten_in): (usize, WhitenIn),
    model: ScalarModel,
) -> (Tensors, Statistics) {
    let variant = &facts["variants"][name];
    let (mut spec, rollout) = (spec(facts, variant), rollout(&facts["rollout"]));
    (spec.policy.blocks, spec.policy.whiten_in) = (blocks, whiten_in);
    let before = weights(model.clone());
    let rewards = token_rewards(&rollout.scores, &rollout.logprobs, &rollout.ref_logprobs, get(facts, "kl_coef"));
    let orders: Vec<Vec<usize>> = get(variant, "orders");
    let order = |epoch: usize| orders[epoch].clone();
    let mut adam = Adam::new(spec.policy.adam);
    let with = (&Settings::of(&spec), &Ppo::of(&spec.policy) as _);
    let (model, found) =
        optimise(with, &order, get(facts, "lr"), (model, &mut adam), &rollout, &rewards).expect("an update");
    (changes(&before, &weights(model)), found)
}

/// What is compared is the change of each weight, about 1e-3 per number. The change carries the rounding of the weight
/// itself, 3e-8 to 6e-8 at weights up to 1.3 in each of 4 to 8 steps: 1e-4 of the change at most. Gradients' own
/// rounding adds 1e-6. One token more or less at the clip, or epsilon 1e-8 instead of 1e-5, changes 1e-2.
fn one_update(name: &str) {
    in_blocks(name, 1, WhitenIn::Minibatch);
}

/// The same with the gradient of each minibatch in so many blocks, which add up to the whole.
fn in_blocks(name: &str, blocks: usize, whiten_in: WhitenIn) {
    let facts = facts("ppo");
    let variant = &facts["variants"][name];
    let rollout = rollout(&facts["rollout"]);
    let (change, found) = updated(&facts, name, (blocks, whiten_in), scalar_model("c"));
    let expected = tensors(&format!("ppo_{name}"));
    check_tensors(&format!("PPO update, {name}, weights' change"), &change, &expected, limit(1e-4, 2e-4));

    // The rollout's log-probabilities are the policy's own: the first minibatch's ratios are 1 to rounding.
    let ratio = found.ratio_error;
    assert!(ratio < 1e-5, "the first ratios are off 1 by {ratio:.1e}");
    // PyTorch's side does not compute it.
    assert!(found.direction.is_none_or(|way| way > 0.0), "the update goes the wrong way");
    check(
        &format!("PPO update, {name}, KL of the rollout"),
        Difference::of(&[rollout.kl()], &[get::<f64>(variant, "kl")]),
        1e-10,
    );
    let expected: BTreeMap<String, f64> = get(variant, "statistics");
    assert_eq!(expected.len(), 11);
    let found: BTreeMap<String, Value> = serde_json::from_value(json!(found.line())).expect("metrics by name");
    let found = |name: &str| found[name].as_f64().expect("a number");
    let mut worst = Difference::default();
    for (name, reference) in &expected {
        let difference = Difference::of(&[found(name)], &[*reference]);
        // Numbers of tokens out of 192: exact but for the division. The fixture has no token near a clip's bound.
        if name.ends_with("clipfrac") {
            assert!(difference.absolute < 1e-6, "{name}: {} and not {reference}", found(name));
        }
        worst = worst.or(difference);
    }
    // Losses and moments around 1 from terms around 1 to 10; the policy's loss is the mean of 192 whitened terms that
    // nearly cancel, which costs it a digit; approxkl is a mean of squares of differences of log-probabilities.
    check(&format!("PPO update, {name}, worst of 11 statistics"), worst, limit(2e-5, 2e-4));
}

#[test]
fn one_minibatch_whitened_rewards() {
    one_update("whitened");
}

#[test]
fn rewards_as_they_are_and_a_discount() {
    if on_cpu() {
        one_update("plain");
    }
}

#[test]
fn two_minibatches_in_a_given_order() {
    if on_cpu() {
        one_update("minibatches");
    }
}

#[test]
fn a_minibatch_in_eight_blocks() {
    in_blocks("whitened", 8, WhitenIn::Minibatch);
    if on_cpu() {
        in_blocks("minibatches", 4, WhitenIn::Minibatch);
    }
}

#[test]
fn each_block_whitened_by_itself() {
    in_blocks("blocks", 4, WhitenIn::Block);
}

/// A GPU that has room for one row computes the minibatch in parts, whose gradients add up to the whole's.
#[test]
fn one_row_at_a_time_where_memory_is_small() {
    if !on_cpu() {
        let usual = limits();
        set_limits(Limits { memory: 1, ..usual });
        one_update("whitened");
        set_limits(usual);
    }
}
