//! Losses and their gradients for every tensor, against torch's autograd in 64 bits.

use super::models::{language_model, limit, scalar_model};
use super::numbers::{Difference, Tensors, check, check_tensors, facts, get, spread, tensors};
use burn::tensor::{Tensor, TensorData};
use runner::model::gpt2::{Gpt2, ScalarModel};
use runner::model::loss_scale::LossScale;
use runner::model::parallel::{GradientMap, device_rows, gradients};
use runner::model::sampling::{joined, to_vec};
use runner::model::{LanguageModel, ModelError};
use runner::stage::pretrain::language_model_loss;

/// A gradient is a sum over all tokens and passes every layer twice: 1e-7 of rounding at each of some tens of steps, of
/// terms that partly cancel, leaves 1e-6 of a tensor's norm. 1e-4 would be enough for training; less is asked, so that
/// a gradient that misses one term of thousands is found.
fn rounding() -> f64 {
    limit(5e-6, 2e-5)
}

fn flat(map: GradientMap) -> Tensors {
    map.into_iter().map(|(name, g)| (name, to_vec(g).expect("numbers"))).collect()
}

/// The loss of pretraining and supervised fine-tuning.
#[test]
fn language_model_loss_and_its_gradient() {
    let (facts, expected) = (&facts("gradient")["language_model"], tensors("gradient_language_model"));
    let rows: Vec<Vec<u32>> = get(facts, "rows");
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let model = language_model("b");
    let (found, losses) = gradients(
        &model,
        &mut LossScale::default(),
        &rows,
        device_rows(&model, rows[0].len(), rows[0].len(), false),
        |model, part| {
            let loss = language_model_loss(model, part).unwrap() * (part.len() as f64 / rows.len() as f64);
            let value = to_vec(loss.clone().inner())?[0];
            Ok::<_, ModelError>((loss, value))
        },
    )
    .expect("gradients");
    let loss: f32 = losses.iter().sum();
    // One number around 5, the mean of 480 terms.
    check("language-model loss", Difference::of(&[loss], &[get::<f64>(facts, "loss")]), limit(5e-7, 5e-6));
    check_tensors("its gradient", &flat(found), &expected, rounding());
}

/// What the policy's gradient is made of: log-probabilities at a temperature and values of responses to padded queries,
/// weighted per token.
#[test]
fn gradient_of_padded_rows() {
    let (total, found) = of_padded_rows(scalar_model("c"));
    let facts = &facts("gradient")["padded"];
    // Terms of both signs cancel: 240 of size 1 to 10 leave a sum of about their own size.
    check("weighted log-probabilities and values", Difference::of(&[total], &[get::<f64>(facts, "total")]), 2e-5);
    check_tensors("their gradient", &found, &tensors("gradient_padded"), rounding());
}

/// The fixture's weighted sum, and its gradient for all tensors.
pub fn of_padded_rows(model: ScalarModel) -> (f32, Tensors) {
    let facts = &facts("gradient")["padded"];
    let queries: Vec<Vec<Option<u32>>> = get(facts, "queries");
    let responses: Vec<Vec<u32>> = get(facts, "responses");
    let (n, length) = (responses.len(), responses[0].len());
    let weights = ["weights/logprobs", "weights/values"].map(|name| spread(name, n * length, 0.0, 1.0));
    let rows: Vec<usize> = (0..n).collect();
    let at_once = device_rows(&model.trunk, queries[0].len() + length, length, false);
    let (found, totals) = gradients(&model, &mut LossScale::default(), &rows, at_once, |model, picked| {
        let device = model.trunk.device();
        let range = picked[0]..picked[0] + picked.len();
        let (queries, responses) = (&queries[range.clone()], &responses[range.clone()]);
        let weighted = |t: Tensor<1>, weights: &[f32]| {
            let weights = weights[range.start * length..range.end * length].to_vec();
            let shape = [weights.len()];
            (t * Tensor::from_data(TensorData::new(weights, shape), &device)).sum()
        };
        let hidden = model.trunk.hidden(&model.trunk.batch(&joined(queries, responses)).unwrap());
        let hidden = Gpt2::response_hidden(hidden, queries[0].len(), length);
        let lp = model.trunk.token_logprobs(hidden.clone(), model.trunk.targets(responses).unwrap(), 0.7);
        let total = weighted(lp, &weights[0]) + weighted(model.head.forward(hidden), &weights[1]);
        let value = to_vec(total.clone().inner())?[0];
        Ok::<_, ModelError>((total, value))
    })
    .expect("gradients");
    (totals.iter().sum(), flat(found))
}
