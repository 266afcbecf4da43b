//! A batch of episodes and what is learned from them, through the trainer's own functions.

use super::Workload;
use burn::tensor::Device;
use runner::context::StageError;
use runner::model::gpt2::{Gpt2, ScalarModel};
use runner::rl::rollout::Inputs;
use runner::rl::{Rollout, Settings, roll_out};
use runner::rlhf::advantages::token_rewards;
use runner::spec::{Precision, Spec};
use runner::task::scoring::Scorer;
use runner::task::{Query, Task};
use std::error::Error;

/// What the policy is trained with and on; each model has weights of its own.
#[allow(dead_code, reason = "each benchmark uses a part of it")]
pub struct Setting {
    pub spec: Spec,
    pub policy: ScalarModel,
    pub reference: Gpt2,
    pub scorer: Scorer,
    pub task: Task,
    pub queries: Vec<Query>,
}

#[allow(dead_code, reason = "each benchmark uses a part of it")]
impl Setting {
    pub fn new(workload: &Workload, device: &Device) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            spec: workload.spec()?,
            policy: workload.scalar_model(1, device),
            reference: workload.language_model(2, device),
            scorer: workload.scorer(3, device),
            task: workload.task(),
            queries: workload.queries(),
        })
    }

    /// The same with products of this precision.
    pub fn with(mut self, precision: Precision) -> Self {
        if let Some(model) = self.scorer.model() {
            self.scorer.source = model.clone().with(precision).into();
        }
        Self { policy: self.policy.with(precision), reference: self.reference.with(precision), ..self }
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
}
