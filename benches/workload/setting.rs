//! A batch of episodes and what is learned from them, through the trainer's own functions.

use super::Workload;
use burn::tensor::Device;
use runner::context::StageError;
use runner::model::gpt2::{Gpt2, ScalarModel};
use runner::model::optimizer::Adam;
use runner::rl::rollout::Inputs;
use runner::rl::{Ppo, Rollout, Settings, optimise, roll_out};
use runner::rlhf::advantages::token_rewards;
use runner::spec::{Precision, Spec};
use runner::task::scoring::Scorer;
use runner::task::{Query, Task};
use std::error::Error;

/// What a policy is trained with and on; each model has weights of its own.
#[allow(dead_code, reason = "each benchmark uses a part of it")]
pub struct Setting {
    pub spec: Spec,
    pub reference: Gpt2,
    pub scorer: Scorer,
    pub task: Task,
    pub queries: Vec<Query>,
}

#[allow(dead_code, reason = "each benchmark uses a part of it")]
impl Setting {
    /// And the policy, which is nobody else's, so that its weights are changed in place.
    pub fn new(workload: &Workload, device: &Device) -> Result<(Self, ScalarModel), Box<dyn Error>> {
        let setting = Self {
            spec: workload.spec()?,
            reference: workload.language_model(2, device),
            scorer: workload.scorer(3, device),
            task: workload.task(),
            queries: workload.queries(0),
        };
        Ok((setting, workload.scalar_model(1, device)))
    }

    /// The same with products of this precision; the policy has its own.
    pub fn with(mut self, precision: Precision) -> Self {
        if let Some(model) = self.scorer.model() {
            self.scorer.source = model.clone().with(precision).into();
        }
        Self { reference: self.reference.with(precision), ..self }
    }

    /// One batch of episodes of `policy`.
    pub fn episodes(&self, policy: &ScalarModel, update: usize) -> Result<Rollout, StageError> {
        let inputs = Inputs {
            reference: &self.reference,
            scorer: &self.scorer,
            mock: None,
            task: &self.task,
            queries: &self.queries,
            end_of_text: 0,
        };
        roll_out(&Settings::of(&self.spec), &inputs, policy, update)
    }

    /// Rewards of a batch at the initial KL coefficient.
    pub fn rewards(&self, rollout: &Rollout) -> Vec<Vec<f32>> {
        token_rewards(&rollout.scores, &rollout.logprobs, &rollout.ref_logprobs, self.spec.policy.kl.init)
    }

    /// What is learned from a batch of episodes.
    pub fn learn(&self, policy: ScalarModel, adam: &mut Adam, rollout: &Rollout) -> Result<ScalarModel, StageError> {
        let rows = rollout.queries.len();
        let (with, order) = ((&Settings::of(&self.spec), &Ppo::of(&self.spec.policy) as _), |_| (0..rows).collect());
        let rate = self.spec.policy.lr;
        Ok(optimise(with, &order, rate, (policy, adam), rollout, &self.rewards(rollout))?.0)
    }
}
