//! RLOO and DPO against TRL's own trainers (make_learners.py): advantages, losses, gradients, and whole updates.

use super::models::{changes, limit, scalar_model, weights};
use super::numbers::{Difference, Tensors, check, check_tensors, facts, get, tensors};
use runner::model::LanguageModel;
use runner::model::loss_scale::LossScale;
use runner::model::optimizer::Adam;
use runner::model::parallel::{GradientMap, gradients};
use runner::model::sampling::{joined, to_vec, trimmed};
use runner::rl::{Algorithm, Rloo, Rollout, Settings, optimise};
use runner::rlhf::advantages::token_rewards;
use runner::rlhf::ppo::{Targets, flat};
use runner::spec::{AdamSpec, Spec};
use runner::stage::dpo::{Compared, gradient, step};
use serde_json::{Value, json};

/// A gradient on the host.
fn host(found: GradientMap) -> Tensors {
    found.into_iter().map(|(name, g)| (name, to_vec(g).expect("numbers"))).collect()
}

fn spec(facts: &Value) -> Spec {
    let of = |key: &str| facts[key].clone();
    serde_json::from_value(json!({
        "spec_version": 1, "name": "parity",
        "policy": {
            "algorithm": "rloo", "samples_per_query": of("k"), "batch_size": of("batch_size"),
            "epochs": of("epochs"), "cliprange": of("cliprange"),
        },
        "task": {
            "query_length": of("query_length"), "response_length": of("response_length"),
            "temperature": of("temperature"),
        },
    }))
    .expect("a spec")
}

fn rollout(given: &Value) -> Rollout {
    let responses: Vec<Vec<u32>> = get(given, "responses");
    Rollout {
        queries: get(given, "queries"),
        // Nothing is learned of values.
        values: responses.iter().map(|y| vec![0.0; y.len()]).collect(),
        responses,
        logprobs: get(given, "logprobs"),
        ref_logprobs: get(given, "ref_logprobs"),
        scores: get(given, "scores"),
        ..Rollout::default()
    }
}

/// Rewards of each token as the trainer makes them, from the fixture's scores and log-probabilities.
fn rewards(facts: &Value, rollout: &Rollout) -> Vec<Vec<f32>> {
    token_rewards(&rollout.scores, &rollout.logprobs, &rollout.ref_logprobs, get(facts, "kl_coef"))
}

/// The loss and its gradient at the model's own weights, by the functions that training calls, in parts of 7 responses.
fn rloo_gradient(facts: &Value, rollout: &Rollout, advantages: &[Vec<f32>]) -> (Vec<f64>, Tensors) {
    let (spec, model) = (spec(facts), scalar_model("c"));
    let algorithm = Rloo::of(&spec.policy, spec.task.response_length);
    let rows: Vec<usize> = (0..rollout.responses.len()).collect();
    let pick =
        |values: &[Vec<f32>], rows: &[usize]| -> Vec<Vec<f32>> { rows.iter().map(|r| values[*r].clone()).collect() };
    let (found, parts) = gradients(&model, &mut LossScale::default(), &rows, 7, |model, picked| {
        let device = model.trunk.device();
        let of = |values: &[Vec<f32>]| flat(&pick(values, picked), &device);
        let fixed = Targets {
            old_logprobs: of(&rollout.logprobs),
            old_values: of(&rollout.values),
            advantages: of(advantages),
            returns: of(&rollout.values),
        };
        let queries: Vec<_> = picked.iter().map(|r| rollout.queries[*r].clone()).collect();
        let responses: Vec<_> = picked.iter().map(|r| rollout.responses[*r].clone()).collect();
        let batch = model.trunk.batch(&trimmed(joined(&queries, &responses)))?;
        let hidden = model.trunk.hidden_before_last(&batch, spec.task.response_length);
        let lp = model.trunk.token_logprobs(hidden.clone(), model.trunk.targets(&responses)?, spec.task.temperature);
        let l = algorithm.loss(lp, model.head.forward(hidden), &fixed);
        let share = picked.len() as f64 / rows.len() as f64;
        let read = [l.total.clone().inner(), l.clipfrac].map(|t| to_vec(t).map(|v| f64::from(v[0]) * share));
        let [loss, clipped] = read;
        Ok::<_, runner::model::ModelError>((l.total * share, (loss?, clipped?)))
    })
    .expect("a gradient");
    (vec![parts.iter().map(|p| p.0).sum(), parts.iter().map(|p| p.1).sum()], host(found))
}

/// Sums of nine float32 numbers around 1 against TRL's 64 bits.
#[test]
fn advantages_of_rloo_are_trls() {
    let facts = &facts("learners")["rloo"];
    let (spec, rollout) = (spec(facts), rollout(&facts["rollout"]));
    let algorithm = Rloo::of(&spec.policy, spec.task.response_length);
    let rewards = rewards(facts, &rollout);
    let credit = algorithm.credit(&rewards);
    let found: Vec<f32> = credit.iter().map(|row| row[row.len() - 1]).collect();
    check("RLOO advantages", Difference::of(&found, &get::<Vec<f64>>(facts, "advantages")), 1e-6);
    assert!(credit.iter().all(|row| row[..row.len() - 1].iter().all(|v| *v == 0.0)));
}

/// Gradients' limit is that of gradient.rs. The loss at ratios of 1 is minus the mean advantage, which is 0 but for what
/// 32 bits leave of log-probabilities: it is compared in absolute numbers.
#[test]
fn loss_and_gradient_of_rloo_are_trls() {
    let facts = &facts("learners")["rloo"];
    let rollout = rollout(&facts["rollout"]);
    let advantages: Vec<f32> = get(facts, "advantages");
    let advantages: Vec<Vec<f32>> = advantages.iter().map(|a| vec![*a; 8]).collect();
    let (found, gradient) = rloo_gradient(facts, &rollout, &advantages);
    let first: f64 = get::<Vec<f64>>(facts, "losses")[0];
    assert!((found[0] - first).abs() < 1e-5 && found[1] == 0.0, "{found:?} and not {first}");
    check_tensors("RLOO gradient", &gradient, &tensors("learners_rloo_gradient"), limit(1e-5, 2e-5));

    let moved = Rollout { logprobs: get(facts, "moved_logprobs"), ..rollout };
    let (found, gradient) = rloo_gradient(facts, &moved, &advantages);
    let wanted: [f64; 2] = [get(facts, "clipped_loss"), get(facts, "clipfrac")];
    check("RLOO loss with clipped responses, and their share", Difference::of(&found, &wanted), limit(1e-5, 2e-5));
    let expected = tensors("learners_rloo_clipped_gradient");
    check_tensors("RLOO gradient with clipped responses", &gradient, &expected, limit(1e-5, 2e-5));
}

/// The trainer's own update; why 1e-4 of a change of weights, ppo.rs says.
#[test]
fn an_update_of_rloo_is_trls() {
    let facts = &facts("learners")["rloo"];
    let (spec, rollout) = (spec(facts), rollout(&facts["rollout"]));
    let algorithm = Rloo::of(&spec.policy, spec.task.response_length);
    let model = scalar_model("c");
    let before = weights(model.clone());
    let all = |_: usize| (0..spec.policy.batch_size).collect::<Vec<_>>();
    let mut adam = Adam::new(spec.policy.adam);
    let with = (&Settings::of(&spec), &algorithm as &dyn Algorithm);
    let rewards = rewards(facts, &rollout);
    let (model, found) =
        optimise(with, &all, get(facts, "lr"), (model, &mut adam), &rollout, &rewards).expect("an update");
    let mut change = changes(&before, &weights(model));
    let head: Tensors =
        ["score.bias", "score.weight"].map(|n| (n.to_string(), change.remove(n).expect("a head"))).into();
    assert!(head.values().flatten().all(|v| *v == 0.0), "RLOO learns no values");
    check_tensors("RLOO update, weights' change", &change, &tensors("learners_rloo_change"), limit(1e-4, 2e-4));
    let mean =
        |key: &str| get::<Vec<f64>>(facts, key)[..spec.policy.epochs].iter().sum::<f64>() / spec.policy.epochs as f64;
    let (ours, theirs) = ([found.loss_policy, found.clipfrac], [mean("losses"), mean("clipfracs")]);
    check("RLOO update, mean loss and clipped share", Difference::of(&ours, &theirs), limit(2e-5, 2e-4));
    assert!(found.ratio_error < 1e-5 && found.direction.is_some_and(|way| way > 0.0), "{found:?}");
}

fn labels(facts: &Value) -> Vec<Compared> {
    let queries: Vec<Vec<Option<u32>>> = get(facts, "queries");
    let responses: Vec<Vec<Vec<u32>>> = get(facts, "responses");
    let reference: Vec<Vec<f32>> = get(facts, "reference");
    let best: Vec<usize> = get(facts, "best");
    let each = queries.into_iter().zip(responses).zip(reference).zip(best);
    each.map(|(((query, responses), reference), best)| Compared { query, responses, reference, best }).collect()
}

/// Log-probabilities of whole responses are sums of up to 8 terms around -4, and margins differences of such sums: a few
/// roundings of 30, which is 2e-6 each, in numbers around 1.
#[test]
fn losses_and_gradients_of_dpo_are_trls() {
    let facts = &facts("learners")["dpo"];
    let (labels, batch) = (labels(facts), get::<usize>(facts, "batch_size"));
    let with = (get(facts, "beta"), get(facts, "temperature"));
    let per_step: Vec<Value> = get(facts, "per_step");
    let model = scalar_model("c");
    let (found, _) = gradient(&model, &mut LossScale::default(), &labels[..batch], with).expect("a gradient");
    check_tensors("DPO gradient", &host(found), &tensors("learners_dpo_gradient"), limit(1e-5, 2e-5));

    let before = weights(model.clone());
    let (mut model, mut adam) = (model, Adam::new(AdamSpec::default()));
    let mut worst = Difference::default();
    for (labels, wanted) in labels.chunks(batch).zip(&per_step) {
        let found;
        (model, found) = step(model, &mut adam, labels, with, get(facts, "lr")).expect("a step");
        let ours = [found.loss, found.margin, found.accuracy];
        worst = worst.or(Difference::of(&ours, &["loss", "margin", "accuracy"].map(|key| get::<f64>(wanted, key))));
    }
    check("DPO losses, margins and accuracies of three steps", worst, limit(1e-5, 1e-4));
    let mut change = changes(&before, &weights(model));
    change.retain(|name, _| !name.starts_with("score."));
    check_tensors("three steps of DPO, weights' change", &change, &tensors("learners_dpo_change"), limit(1e-4, 2e-4));
}
