//! Scores texts with a reward model of a run: RESULTS/runs/RUN/models/reward, or what `runner import tensorflow` wrote.
//!
//! cargo run --release --example score_with_a_reward_model -- results/mine/runs/labels_2k/models/reward

use burn::tensor::Device;
use runner::model::tokenizer::Tokenizer;
use runner::model::weights::load_scalar;
use runner::task::{Query, raw_scores};
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let dir: PathBuf = std::env::args_os().nth(1).ok_or("name the directory of a reward model")?.into();
    let tokenizer = Tokenizer::load(&dir)?;
    let model = load_scalar(&dir, &Device::flex())?;
    let texts = [
        "Ada opened the door. The garden was bright and warm.",
        "Ada opened the door. Nobody was there, and it rained.",
    ];
    let rows = texts.iter().map(|text| Ok(tokenizer.encode(text)?.into_iter().map(Some).collect()));
    let rows = rows.collect::<Result<Vec<Query>, Box<dyn Error>>>()?;
    // The head's own numbers; reward.json beside the weights has the gain and bias that a run puts on them.
    for (text, score) in texts.iter().zip(raw_scores(&model, &rows)?) {
        println!("{score:8.3}  {text}");
    }
    Ok(())
}
