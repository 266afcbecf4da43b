//! The parts of an update one by one: forward pass, training step, sampling, LM head, scores, Adam, tokenizer.
//!
//!     cargo bench --bench parts            # all
//!     cargo bench --bench parts -- sample  # those whose name contains it
//!
//! Sizes `test` and `small`; the whole update, at every size, is `--bench update`.

mod workload;

use burn::tensor::Device;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use runner::model::gpt2::{Gpt2, Weights};
use runner::model::loss_scale::LossScale;
use runner::model::memory::SHARD_ROWS;
use runner::model::optimizer::Adam;
use runner::model::parallel::{GradientMap, gradients};
use runner::model::sampling::{Sampling, joined, logprobs, sample, to_vec};
use runner::model::tokenizer::Tokenizer;
use runner::model::{LanguageModel, ModelError};
use runner::spec::{AdamSpec, ModelSize};
use std::convert::Infallible;
use workload::Workload;

const TEMPERATURE: f64 = 0.7;
/// The paper's style task and its summaries, (query, response); 8 and 2 episodes.
const TASKS: [(usize, usize, usize); 2] = [(64, 24, 8), (500, 75, 2)];
const SIZES: [(&str, usize); 4] = [("test", 0), ("test", 1), ("small", 0), ("small", 1)];

fn main() {
    divan::main();
}

fn workload((size, task): (&str, usize)) -> Workload {
    let size = if size == "test" { ModelSize::Test } else { ModelSize::Small };
    let (query, response, batch) = TASKS[task];
    Workload::new(size, None, (query, response), batch)
}

fn tokens(w: &Workload) -> ItemsCount {
    ItemsCount::new(w.batch * (w.query + w.response))
}

#[divan::bench(args = SIZES)]
fn forward(bencher: Bencher<'_, '_>, size: (&str, usize)) {
    let (w, device) = (workload(size), Device::flex());
    let model = w.language_model(1, &device);
    let batch = model.batch(&joined(&w.queries(0), &w.responses())).unwrap();
    bencher.counter(tokens(&w)).bench(|| model.hidden(&batch));
}

/// Log-probabilities of the responses, forward and backward, over the micro-batches that training uses.
#[divan::bench(args = SIZES)]
fn gradient(bencher: Bencher<'_, '_>, size: (&str, usize)) {
    let (w, device) = (workload(size), Device::flex());
    let model = w.language_model(1, &device);
    let (queries, responses) = (w.queries(0), w.responses());
    let indices: Vec<usize> = (0..w.batch).collect();
    bencher.counter(tokens(&w)).bench(|| {
        gradients(&model, &mut LossScale::default(), &indices, SHARD_ROWS, |model, rows| {
            let queries: Vec<_> = rows.iter().map(|r| queries[*r].clone()).collect();
            let responses: Vec<_> = rows.iter().map(|r| responses[*r].clone()).collect();
            let hidden = model.hidden(&model.batch(&joined(&queries, &responses)).unwrap());
            let hidden = Gpt2::response_hidden(hidden, w.query, w.response);
            let lp = model.token_logprobs(hidden, model.targets(&responses).unwrap(), TEMPERATURE);
            Ok::<_, ModelError>((lp.mean(), ()))
        })
    });
}

#[divan::bench(args = SIZES)]
fn adam_step(bencher: Bencher<'_, '_>, size: (&str, usize)) {
    let model = workload(size).language_model(1, &Device::flex());
    let mut found = GradientMap::new();
    let visited: Result<Gpt2, Infallible> = model.clone().map_weights(&mut |name, weight| {
        found.insert(name.to_string(), weight.clone().flatten());
        Ok(weight)
    });
    drop(visited);
    let mut adam = Adam::new(AdamSpec::default());
    bencher
        .with_inputs(|| (model.clone(), found.clone()))
        .bench_local_values(|(m, g)| adam.update(m, g, 1e-5).expect("one process"));
}

#[divan::bench(args = SIZES)]
fn sample_with_cache(bencher: Bencher<'_, '_>, size: (&str, usize)) {
    let (w, device) = (workload(size), Device::flex());
    let model = w.scalar_model(1, &device);
    let queries = w.queries(0);
    let uniforms = vec![vec![0.5; w.batch]; w.response];
    let args = Sampling {
        queries: &queries,
        k: 1,
        response_length: w.response,
        temperature: TEMPERATURE,
        uniforms: &uniforms,
        value_head: Some(&model.head),
    };
    bencher.counter(ItemsCount::new(w.batch * w.response)).bench(|| sample(&model.trunk, &args));
}

/// Log-probabilities from final hidden states: the LM head's product and the softmax, at response positions.
#[divan::bench(args = SIZES)]
fn head(bencher: Bencher<'_, '_>, size: (&str, usize)) {
    let (w, device) = (workload(size), Device::flex());
    let model = w.language_model(1, &device);
    let responses = w.responses();
    let hidden = model.hidden(&model.batch(&joined(&w.queries(0), &responses)).unwrap());
    let hidden = Gpt2::response_hidden(hidden, w.query, w.response);
    bencher
        .counter(ItemsCount::new(w.batch * w.response))
        .bench(|| to_vec(model.token_logprobs(hidden.clone(), model.targets(&responses).unwrap(), TEMPERATURE)));
}

#[divan::bench(args = SIZES)]
fn reference_logprobs(bencher: Bencher<'_, '_>, size: (&str, usize)) {
    let w = workload(size);
    let model = w.language_model(1, &Device::flex());
    let (queries, responses) = (w.queries(0), w.responses());
    bencher.counter(tokens(&w)).bench(|| logprobs(&model, &queries, &responses, TEMPERATURE));
}

#[divan::bench(args = SIZES)]
fn reward_scores(bencher: Bencher<'_, '_>, size: (&str, usize)) {
    let w = workload(size);
    let (scorer, task) = (w.scorer(1, &Device::flex()), w.task());
    let (queries, responses) = (w.queries(0), w.responses());
    bencher.counter(tokens(&w)).bench(|| scorer.scores(&task, &queries, &responses));
}

/// English with numbers, punctuation and other scripts, about 100 kB.
fn text() -> String {
    let line = "It was 1897, and \"Mrs. Dalloway's\" naïve friend said: we'll buy 3,000 flowers — 花 — ourselves!\n";
    line.repeat(1_000)
}

#[divan::bench]
fn gpt2_encode(bencher: Bencher<'_, '_>) {
    let (tokenizer, text) = (Tokenizer::gpt2(), text());
    let Ok(tokenizer) = tokenizer else { return };
    bencher.counter(BytesCount::of_str(&text)).bench(|| tokenizer.encode(&text));
}

#[divan::bench]
fn gpt2_decode(bencher: Bencher<'_, '_>) {
    let text = text();
    let Ok(tokenizer) = Tokenizer::gpt2() else { return };
    let Ok(ids) = tokenizer.encode(&text) else { return };
    bencher.counter(BytesCount::of_str(&text)).bench(|| tokenizer.decode(&ids));
}
