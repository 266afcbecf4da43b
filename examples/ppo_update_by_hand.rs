//! One PPO update without a spec's stages: a policy, a reward, a batch of episodes, and the step that learns from them.
//! The reward model here has random weights; what the example shows is the order of things.
//!
//! cargo run --release --example ppo_update_by_hand

use burn::tensor::Device;
use runner::model::gpt2::{Gpt2, ScalarHead, ScalarModel};
use runner::rl::rollout::Inputs;
use runner::rl::{Ppo, Settings, Trainer};
use runner::rlhf::reward::Normalization;
use runner::spec::{GuardsSpec, KlSpec, ModelSize, PolicySpec};
use runner::task::{Query, Scorer, Task};
use std::error::Error;

const VOCABULARY: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let (device, size) = (Device::flex(), ModelSize::Test.dimensions());
    let reference = Gpt2::init(&size, VOCABULARY, 1, &device);
    let reward_model = ScalarModel {
        trunk: Gpt2::init(&size, VOCABULARY, 2, &device),
        head: ScalarHead::init(size.width, 1.0, 3, &device),
    };
    let scorer = Scorer { source: reward_model.into(), normalization: Normalization { gain: 1.0, bias: 0.0 } };
    // Responses may end after any token from the third on.
    let task = Task {
        truncates: vec![true; VOCABULARY],
        after: 2,
        missing_score: -1.0,
        prefix: Vec::new(),
        suffix: Vec::new(),
        formatted: false,
        query_length: 4,
    };
    let queries: Vec<Query> = (0..64).map(|i| (0..4).map(|t| Some((i * 7 + t) % 90)).collect()).collect();
    let policy = PolicySpec {
        episodes: 640,
        batch_size: 64,
        lr: 1e-3,
        kl: KlSpec { init: 0.05, target: 2.0, ..KlSpec::default() },
        ..PolicySpec::default()
    };
    let settings =
        Settings { policy: &policy, guards: &GuardsSpec::default(), seed: 1, response_length: 8, temperature: 1.0 };
    let inputs = Inputs {
        reference: &reference,
        scorer: &scorer,
        mock: None,
        task: &task,
        queries: &queries,
        end_of_text: VOCABULARY as u32 - 1,
    };
    let ppo = Ppo::of(&policy);
    let mut trainer = Trainer::new(settings, &ppo, inputs);
    for number in 0..settings.updates() {
        let (next, update) = trainer.update(number)?;
        update.guarded?;
        let line = update.metrics;
        println!("update {number}: score {:.3}, KL {:.3} nats, β {:.4}", line.score, line.kl, line.kl_coef);
        trainer = next;
    }
    Ok(())
}
