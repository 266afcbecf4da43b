//! Reward-model training: normalised before, three steps with gain and bias among the trained weights, normalised
//! after.

use super::models::{changes, limit, scalar_model, weights};
use super::numbers::{Difference, check, check_tensors, facts, get, tensors};
use runner::label::{Judgement, LabelKind};
use runner::model::optimizer::Adam;
use runner::model::reward_model::RewardModel;
use runner::rlhf::reward::Normalization;
use runner::spec::AdamSpec;
use runner::stage::reward::step;
use runner::task::scoring::raw_scores;
use serde::Deserialize;

type Row = Vec<Option<u32>>;

#[derive(Deserialize)]
struct Comparison {
    rows: Vec<Row>,
    best: usize,
}

/// A softmax over candidates does not change when all rewards do by the same amount, so the gradients of these are 0
/// but for rounding; so is what Adam makes of them. The reference's change is some 1e-15.
const WITHOUT_GRADIENT: [&str; 3] = ["ln_f.bias", "reward_norm.bias", "score.bias"];

#[test]
fn three_steps_with_gain_and_bias_as_in_the_released_code() {
    let facts = facts("reward");
    let samples: Vec<Row> = get(&facts, "samples");
    let mut model = scalar_model("c");
    model.head.weight = model.head.weight * 0.25;

    let normalization: Normalization = get(&facts, "before");
    let ours = Normalization::fit(&raw_scores(&model, &samples).expect("scores"), 0.0, 1.0);
    let [ours, expected] = [ours, normalization].map(|n| [n.gain, n.bias]);
    // A deviation of 0.19 from twenty scores with 32-bit rounding of 1e-7.
    check("gain and bias before training", Difference::of(&ours, &expected), limit(5e-6, 2e-5));

    let mut model = RewardModel::new(model, normalization);
    let before = weights(model.clone());
    let mut adam = Adam::new(AdamSpec::default());
    let steps: Vec<Vec<Comparison>> = get(&facts, "steps");
    let (n, lr) = (steps.len() as f64, get::<f64>(&facts, "lr"));
    let (mut losses, mut rates) = (Vec::new(), 0.0);
    for (i, batch) in steps.into_iter().enumerate() {
        let batch: Vec<_> = batch.into_iter().map(|c| (c.rows, Judgement::Best(c.best))).collect();
        let rate = lr * (1.0 - i as f64 / n);
        let kind = LabelKind::Best { candidates: 4 };
        let (next, loss) = step(model, &mut adam, kind, &batch, rate).expect("a step");
        model = next;
        losses.push(loss);
        rates += rate;
    }
    let expected: Vec<f64> = get(&facts, "losses");
    // Means of six losses around 1 to 3, of rewards that rounding moves by 1e-6.
    check("losses of the reward model", Difference::of(&losses, &expected), limit(5e-6, 5e-5));

    // As for PPO: changes of 3e-3 of weights up to 1.3, here from three steps.
    let (mut change, mut expected) = (changes(&before, &weights(model.clone())), tensors("reward"));
    for name in WITHOUT_GRADIENT {
        let (ours, reference) = (change.remove(name).expect(name), expected.remove(name).expect(name));
        // Rounding's gradient of 1e-8, against 3e-4 = ε/√(1-β₂) in Adam's first step, moves such a weight by 1e-4 of
        // the learning rate; and weights of 1 are rounded to 1e-7.
        let moved = Difference::of(&ours, &reference).absolute / rates;
        println!("parity | {name}: moved by {moved:.1e} of what the learning rate allows");
        assert!(moved < limit(5e-4, 5e-3), "{name} moved by {moved:.1e} of the learning rate");
    }
    check_tensors("reward model, weights' change", &change, &expected, limit(1e-4, 2e-4));

    let folded = model.folded();
    let raw = raw_scores(&folded, &samples).expect("scores");
    let after = Normalization::fit(&raw, 0.0, 1.0);
    let rewards: Vec<f32> = raw.iter().map(|r| after.apply(*r)).collect();
    let expected: Vec<f64> = get(&facts, "final");
    check("rewards after training and normalisation", Difference::of(&rewards, &expected), limit(1e-5, 1e-4));
}
