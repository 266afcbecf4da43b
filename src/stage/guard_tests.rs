//! The authors' bug (paper section 4.4) on purpose: with a sign flipped, training stops within one update.

use super::policy::{Learner, Segment, train as train_policy};
use super::test_world::World;
use crate::context::{Context, StageError};
use crate::rl::{Advantages, Algorithm, Ppo};
use crate::rlhf::advantages::token_rewards;
use crate::rlhf::ppo::{Loss, Targets};
use crate::spec::Spec;
use crate::task::Query;
use burn::tensor::Tensor;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flip {
    Score,
    Penalty,
    Advantages,
}

/// PPO that learns the opposite.
struct Opposite(Ppo);

impl Algorithm for Opposite {
    fn advantages(&self, rewards: &[Vec<f32>], values: &[Vec<f32>]) -> Advantages {
        let Advantages { mut advantages, returns } = self.0.advantages(rewards, values);
        advantages.iter_mut().flatten().for_each(|a| *a = -*a);
        Advantages { advantages, returns }
    }

    fn loss(&self, logprobs: Tensor<1>, values: Tensor<1>, fixed: &Targets) -> Loss {
        self.0.loss(logprobs, values, fixed)
    }
}

fn spec() -> Spec {
    let value = json!({
        "spec_version": 1, "name": "t", "model": { "size": "test" },
        "task": { "query_length": 6, "response_length": 8, "truncate_after": 2, "temperature": 1.0 },
        "policy": { "episodes": 192, "batch_size": 64, "minibatches": 1, "epochs": 4, "lr": 3e-3, "checkpoint_every": 1,
                    "kl": { "schedule": "constant", "init": 0.05 } },
    });
    serde_json::from_value(value).unwrap()
}

/// Trains π towards a reward model of random weights; the metrics of the updates that were done.
fn train(flip: Option<Flip>) -> (Result<(), StageError>, Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let context = Context::for_tests(dir.path());
    let world = World::new(&context);
    let queries: Vec<Query> = (0..64u32).map(|i| (0..6).map(|t| Some((i * 7 + t * 3) % 60)).collect()).collect();
    let inputs = world.inputs(&queries, false);
    let spec = spec();
    let ppo = Ppo::of(&spec.policy);
    let (right, wrong): (&dyn Algorithm, &dyn Algorithm) = (&ppo, &Opposite(ppo));
    let learner = Learner {
        algorithm: if flip == Some(Flip::Advantages) { wrong } else { right },
        rewards: match flip {
            Some(Flip::Score) => |s, l, r, b| token_rewards(&s.iter().map(|s| -s).collect::<Vec<_>>(), l, r, b),
            Some(Flip::Penalty) => |s, l, r, b| token_rewards(s, l, r, -b),
            _ => token_rewards,
        },
    };
    let result = train_policy((&context, "run"), &spec, (&inputs, learner), &Segment::whole(&spec), dir.path());
    let text = std::fs::read_to_string(context.out.join("runs/run/metrics.jsonl")).unwrap_or_default();
    (result, text.lines().map(|l| serde_json::from_str(l).unwrap()).collect())
}

fn guard(flip: Flip) -> (&'static str, String, usize) {
    match train(Some(flip)) {
        (Err(StageError::Guard { name, message }), lines) => (name, message, lines.len()),
        (other, lines) => panic!("{flip:?}: {other:?} after {} updates", lines.len()),
    }
}

#[test]
fn a_healthy_run_goes_the_right_way() {
    let (result, lines) = train(None);
    result.unwrap();
    let ways: Vec<f64> = lines.iter().map(|l| l["ppo/direction"].as_f64().unwrap()).collect();
    assert!(ways.len() == 3 && ways.iter().all(|way| *way > 0.0), "{ways:?}");
}

#[test]
fn a_flipped_reward_stops_before_the_first_update() {
    let (name, message, updates) = guard(Flip::Score);
    assert_eq!((name, updates), ("reward_sign", 0));
    assert!(message.contains("r's score counts with the wrong sign"), "{message}");
}

#[test]
fn a_flipped_kl_penalty_stops_before_the_first_update() {
    let (name, message, updates) = guard(Flip::Penalty);
    assert_eq!((name, updates), ("reward_sign", 0));
    assert!(message.contains("the KL penalty counts with the wrong sign"), "{message}");
}

#[test]
fn a_flipped_advantage_stops_after_the_first_update() {
    let (name, message, updates) = guard(Flip::Advantages);
    assert_eq!((name, updates), ("wrong_way", 1));
    assert!(message.contains("low rewards"), "{message}");
}
