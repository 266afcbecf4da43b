//! The models of a benchmark as files, and the numbers of one update of them, so that another program can be checked to
//! compute the same function before its speed is compared with ours.

use super::workload::{Setting, Workload};
use burn::tensor::Device;
use runner::model::gpt2::{ScalarModel, Weights};
use runner::model::optimizer::Adam;
use runner::model::sampling::{logprobs, to_vec};
use runner::model::weights::{save_gpt2, save_scalar};
use runner::rl::{Ppo, Settings, optimise};
use serde_json::{Map, Value, json};
use std::error::Error;
use std::fs;
use std::path::Path;

/// Writes `policy`, `reference` and `reward` (docs/formats.md), and `rollout.json`: one batch of episodes, what every
/// model says about it, the loss and its gradient's norms, and the log-probabilities after the whole update.
pub fn write(dir: &Path, workload: &Workload) -> Result<Value, Box<dyn Error>> {
    let (setting, policy) = Setting::new(workload, &Device::flex())?;
    for name in ["policy", "reference", "reward"] {
        fs::create_dir_all(dir.join(name))?;
    }
    save_scalar(&dir.join("policy"), &policy, 0)?;
    save_gpt2(&dir.join("reference"), &setting.reference, 0)?;
    save_scalar(&dir.join("reward"), setting.scorer.model().expect("a model"), 0)?;

    let rollout = setting.episodes(&policy, 0)?;
    let rewards = setting.rewards(&rollout);
    let order = |_| (0..workload.batch).collect();
    let update = |epochs| {
        let mut spec = setting.spec.clone();
        spec.policy.epochs = epochs;
        let mut adam = Adam::new(spec.policy.adam);
        let model = policy.clone();
        let with = (&Settings::of(&spec), &Ppo::of(&spec.policy) as _);
        let (model, statistics) = optimise(with, &order, spec.policy.lr, (model, &mut adam), &rollout, &rewards)?;
        Ok::<_, Box<dyn Error>>((model, adam, statistics))
    };
    let (_, adam, statistics) = update(1)?;
    let norms = gradient_norms(&policy, &adam)?;
    let (after, _, _) = update(setting.spec.policy.epochs)?;
    let (p, task) = (&setting.spec.policy, &setting.spec.task);
    let after = logprobs(&after.trunk, &rollout.queries, &rollout.responses, task.temperature)?;
    let numbers = json!({
        "queries": rollout.queries,
        "responses": rollout.responses,
        "logprobs": rollout.logprobs,
        "values": rollout.values,
        "ref_logprobs": rollout.ref_logprobs,
        "scores": rollout.scores,
        "policy_loss": statistics.loss_policy,
        "value_loss": statistics.loss_value,
        "loss": statistics.loss_total,
        "gradient_norms": norms,
        "logprobs_after": after,
        "constants": {
            "temperature": task.temperature, "kl_coef": p.kl.init, "gamma": p.gamma, "lam": p.lam,
            "cliprange": p.cliprange, "cliprange_value": p.cliprange_value, "vf_coef": p.vf_coef,
            "whiten_rewards": p.whiten_rewards, "lr": p.lr, "beta1": p.adam.beta1, "beta2": p.adam.beta2,
            "epsilon": p.adam.epsilon, "epochs": p.epochs, "minibatches": p.minibatches,
            "truncates": stops(&setting.task.truncates), "truncate_after": setting.task.after,
            "missing_score": setting.task.missing_score,
        },
    });
    fs::write(dir.join("rollout.json"), numbers.to_string())?;
    Ok(json!({ "written": dir }))
}

fn stops(truncates: &[bool]) -> Vec<usize> {
    truncates.iter().enumerate().filter_map(|(id, stop)| stop.then_some(id)).collect()
}

/// Norm of the gradient of each weight, from Adam's first moment after one step: (1 - beta1) times the gradient.
fn gradient_norms(model: &ScalarModel, adam: &Adam) -> Result<Map<String, Value>, Box<dyn Error>> {
    let mut norms = Map::new();
    model.clone().map_weights(&mut |name, weight| {
        if let Some((moment, _)) = adam.moments.get(name) {
            let squares: f64 = to_vec(moment.clone())?.into_iter().map(|v| f64::from(v).powi(2)).sum();
            norms.insert(name.to_string(), (squares.sqrt() / (1.0 - adam.spec.beta1)).into());
        }
        Ok::<_, Box<dyn Error>>(weight)
    })?;
    Ok(norms)
}
