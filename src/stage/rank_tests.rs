//! A policy trained by several ranks is the policy trained by one, byte by byte; blocks are parts of the same gradient.

use super::policy::{Learner, Segment, train};
use super::test_world::World;
use crate::context::{Context, StageError};
use crate::ranks::threads::ranks;
use crate::results::file;
use crate::rl::Ppo;
use crate::rlhf::advantages::token_rewards;
use crate::spec::Spec;
use crate::task::Query;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::Ordering;

fn spec(policy: &Value) -> Spec {
    let mut of = json!({ "episodes": 96, "batch_size": 32, "minibatches": 2, "epochs": 2, "lr": 3e-3, "checkpoint_every": 1,
                         "whiten_rewards": false, "kl": { "schedule": "adaptive", "init": 0.05, "target": 1.0 } });
    policy.as_object().unwrap().iter().for_each(|(key, value)| of[key] = value.clone());
    let value = json!({
        "spec_version": 1, "name": "t", "model": { "size": "test" }, "policy": of,
        "task": { "query_length": 6, "response_length": 8, "truncate_after": 2, "temperature": 1.0 },
    });
    serde_json::from_value(value).unwrap()
}

/// What one rank's training leaves in `dir`; `stop`: the cord is pulled from the beginning.
fn one(dir: &Path, spec: &Spec, stop: bool) -> Result<(), StageError> {
    let context = Context::for_tests(dir);
    std::fs::create_dir_all(dir.join("work")).unwrap();
    context.interrupted.store(stop && crate::ranks::rank() + 1 == crate::ranks::size(), Ordering::SeqCst);
    let world = World::new(&context);
    // Of different lengths, so that rows are padded and shards trimmed.
    let query = |i: u32| (0..6).map(|t| (t >= i % 4).then_some((i * 7 + t * 3) % 60)).collect();
    let queries: Vec<Query> = (0..64).map(query).collect();
    let inputs = world.inputs(&queries, true);
    let learner = Learner { algorithm: &Ppo::of(&spec.policy), rewards: token_rewards };
    train((&context, "run"), spec, (&inputs, learner), &Segment::whole(spec), &dir.join("work"))
}

/// The weights' bytes, and the metrics without times.
fn left(dir: &Path) -> (Vec<u8>, Vec<Value>) {
    let metrics = std::fs::read_to_string(dir.join("work").join(file::METRICS)).unwrap();
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().retain(|key, _| key != "elapsed/time" && key != "elapsed/fps");
        value
    };
    (std::fs::read(dir.join("work/model.safetensors")).unwrap(), metrics.lines().map(line).collect())
}

fn by(size: usize, policy: &Value) -> (Vec<u8>, Vec<Value>) {
    let (dir, spec) = (tempfile::tempdir().unwrap(), spec(policy));
    ranks(size, |_| one(dir.path(), &spec, false)).into_iter().for_each(|result| result.unwrap());
    left(dir.path())
}

#[test]
fn one_two_and_four_ranks_train_the_same_policy() {
    for whiten_in in ["minibatch", "block"] {
        let policy = json!({ "blocks": 4, "whiten_in": whiten_in });
        let alone = by(1, &policy);
        assert!(alone.1.len() == 3 && alone.1[2]["objective/kl"].is_number());
        for size in [2, 4] {
            let (weights, metrics) = by(size, &policy);
            assert_eq!(metrics, alone.1, "{size} ranks, whitened in {whiten_in}");
            assert!(weights == alone.0, "{size} ranks, whitened in {whiten_in}");
        }
    }
}

#[test]
fn a_checkpoint_of_four_ranks_goes_on_with_two_and_with_one() {
    let policy = json!({ "blocks": 4 });
    let (dir, whole) = (tempfile::tempdir().unwrap(), by(1, &policy));
    let spec = spec(&policy);
    // A rank that is not the first is told to stop, and all stop before the first update.
    for result in ranks(4, |_| one(dir.path(), &spec, true)) {
        assert!(matches!(result, Err(StageError::Stopped { update: 0, .. })), "{result:?}");
    }
    ranks(2, |_| one(dir.path(), &spec, false)).into_iter().for_each(|result| result.unwrap());
    assert!(left(dir.path()) == whole);
    // From the checkpoint after the second update.
    std::fs::remove_file(dir.path().join("work/model.safetensors")).unwrap();
    one(dir.path(), &spec, false).unwrap();
    assert!(left(dir.path()) == whole);
}

#[test]
fn blocks_change_the_order_of_addition_and_whitening_in_blocks_the_numbers() {
    let last = |policy: &Value| by(1, policy).1[2]["objective/kl"].as_f64().unwrap();
    let (one, four) = (last(&json!({})), last(&json!({ "blocks": 4 })));
    assert!((one - four).abs() < 1e-3 * one.abs(), "{one} and {four}");
    let block = last(&json!({ "blocks": 4, "whiten_in": "block" }));
    assert!((one - block).abs() > 1e-3 * one.abs(), "{one} and {block}");
}

#[test]
fn chunks_are_made_by_a_rank_each_and_the_rest_by_all_together() {
    for (size, made_by) in [(1, vec![vec![0, 1, 2, 3, 4]]), (2, vec![vec![0, 2, 4], vec![1, 3, 4]])] {
        let dir = tempfile::tempdir().unwrap();
        let all = |_| {
            let context = Context::for_tests(dir.path());
            let mut saved = context.chunks(dir.path(), "some").unwrap();
            let mut made = Vec::new();
            let mut make = |i: usize| {
                // The last is the work of all.
                let own = crate::ranks::gathered(made.len()).unwrap().len();
                made.push(i);
                Ok((i, own))
            };
            (saved.all(5, &mut make).unwrap(), made)
        };
        let found = ranks(size, all);
        for ((chunks, made), expected) in found.iter().zip(&made_by) {
            assert_eq!(made, expected, "{size} ranks");
            assert_eq!(*chunks, [(0, 1), (1, 1), (2, 1), (3, 1), (4, size)], "{size} ranks");
        }
        let again = ranks(size, all);
        assert!(
            again.iter().all(|(chunks, made)| *chunks == found[0].0 && made.is_empty()),
            "kept ones are not made again"
        );
    }
}
