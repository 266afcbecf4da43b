//! Each fused operation against its plain body: values and gradients, on the CPU, or on the device that the variable
//! RUNNER_TEST_DEVICE names.

use super::*;
use crate::model::device::{ChosenDevice, choose, largest_difference};
use crate::model::gpu as gpu_memory;
use crate::model::sampling::to_vec;
use crate::spec::Precision::{F16, F32};
use burn::tensor::{Device, FloatDType, Shape, Tensor, TensorData};
use burn_flex::FlexTensor;
use rand::{RngExt, SeedableRng};
use runner_kernels::head;
use runner_kernels::{floats, tensor};

fn chosen() -> ChosenDevice {
    let name = std::env::var("RUNNER_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    choose(&name).expect("a device")
}

/// Where the operations are tested.
fn device() -> Device {
    chosen().device
}

/// In what they are: the CPU has plain bodies alone of 16 bit, with which there is nothing to compare.
fn precisions() -> Vec<Precision> {
    if chosen().half { vec![F32, F16] } else { vec![F32] }
}

/// Random numbers in [-2, 2).
fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random::<f32>() * 4.0 - 2.0).collect();
    Tensor::from_data(TensorData::new(values, shape), &device().autodiff())
}

/// Value and gradients of two functions of `[rows, width]`, weighted by random numbers, differ by rounding alone.
fn same<const D: usize>(x: &Tensor<2>, fused: impl Fn(Tensor<2>) -> Tensor<D>, plain: impl Fn(Tensor<2>) -> Tensor<D>) {
    // Log-probabilities of 10 in float32; WGSL's exp may be off by 3 + 2 |x| units in the last place, libm's by one.
    let limit = if is_cpu(&x.device()) { 3e-6 } else { 1e-5 };
    within([limit, 3e-5], x, fused, plain);
}

/// The same with limits of its own, of values and of gradients.
fn within<const D: usize>(
    [limit, gradient_limit]: [f32; 2],
    x: &Tensor<2>,
    fused: impl Fn(Tensor<2>) -> Tensor<D>,
    plain: impl Fn(Tensor<2>) -> Tensor<D>,
) {
    let evaluate = |f: &dyn Fn(Tensor<2>) -> Tensor<D>| {
        let x = x.clone().require_grad();
        let y = f(x.clone());
        let weights = random(y.dims(), 99);
        let gradients = (y.clone() * weights).sum().backward();
        let gradient = x.grad(&gradients).expect("a gradient");
        (to_vec(y.inner()).expect("values"), to_vec(gradient).expect("values"))
    };
    let ((a, da), (b, db)) = (evaluate(&fused), evaluate(&plain));
    assert!(largest_difference(&a, &b) < limit, "values differ by {}", largest_difference(&a, &b));
    assert!(largest_difference(&da, &db) < gradient_limit, "gradients differ by {}", largest_difference(&da, &db));
}

#[test]
fn embeddings_are_rows_of_both_tables() {
    let device = device().autodiff();
    let ints = |v: [i32; 6]| Tensor::<2, Int>::from_data(TensorData::new(v.to_vec(), [2, 3]), &device);
    let (ids, positions) = (ints([4, 0, 4, 6, 4, 1]), ints([0, 1, 2, 0, 0, 1]));
    // Rows that are used several times, once and never.
    let (wte, wpe) = (random([7, 5], 1), random([4, 5], 2));
    let f = |f: fn(Tensor<2>, Tensor<2>, Tensor<2, Int>, Tensor<2, Int>) -> Tensor<2>, first: bool| {
        let (wte, wpe, ids, positions) = (wte.clone(), wpe.clone(), ids.clone(), positions.clone());
        move |x: Tensor<2>| match first {
            true => f(x, wpe.clone(), ids.clone(), positions.clone()),
            false => f(wte.clone(), x, ids.clone(), positions.clone()),
        }
    };
    same(&wte, f(embed, true), f(plain::embed, true));
    same(&wpe, f(embed, false), f(plain::embed, false));
}

/// Of one token, of one token alone in all rows, of few and of many: more than a device takes in its smallest blocks.
#[test]
fn an_embeddings_gradient_is_the_sum_over_its_uses() {
    let device = device().autodiff();
    const VOCAB: usize = 50;
    for (n, width, id) in [
        (1, 5, (|_| 7) as fn(usize) -> usize),
        (300, 33, |_| 49),
        (300, 300, |i| i * 31 % 5),
        (130, 4, |i| i % VOCAB),
        (5_000, 3, |i| i * i % VOCAB),
    ] {
        let ids: Vec<usize> = (0..n).map(id).collect();
        let ints = Tensor::<2, Int>::from_data(
            TensorData::new(ids.iter().map(|id| *id as i32).collect::<Vec<_>>(), [1, n]),
            &device,
        );
        let (wte, wpe) = (random([VOCAB, width], 1), random([2, width], 2));
        let g = random([n, width], 3);
        let gradient = || {
            let wte = wte.clone().require_grad();
            let y = embed(wte.clone(), wpe.clone(), ints.clone(), ints.zeros_like());
            let found = (y * g.clone()).sum().backward();
            to_vec(wte.grad(&found).expect("a gradient")).expect("values")
        };
        let (found, mut exact, mut size) = (gradient(), vec![0.0; VOCAB * width], vec![0.0; VOCAB * width]);
        for (row, id) in to_vec(g.clone().inner()).expect("values").chunks(width).zip(ids) {
            for (channel, number) in row.iter().enumerate() {
                exact[id * width + channel] += f64::from(*number);
                size[id * width + channel] += f64::from(number.abs());
            }
        }
        // A sum's rounding is a small part of what is added up.
        for ((found, exact), size) in found.iter().zip(exact).zip(size) {
            assert!((f64::from(*found) - exact).abs() <= 2e-7 * size, "{n}: {found} is not {exact}");
        }
        assert_eq!(gradient(), found, "the order of additions is fixed");
    }
}

#[test]
fn gelu_is_the_tanh_form() {
    let tanh_form = |x: Tensor<2>| {
        let inner = (x.clone() + x.clone().powi_scalar(3) * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
        x * (inner.tanh() + 1.0) * 0.5
    };
    let x = random([7, 33], 1) * 3.0;
    for p in precisions() {
        same(&x, |x| gelu(x, p), |x| tanh_form(plain::rounded(x, p)));
    }
}

#[test]
fn layer_norm_is_what_it_is_made_of() {
    let (w, b) = (random([37], 2), random([37], 3));
    let plain = |x: Tensor<2>| {
        let centred = x.clone() - x.mean_dim(1);
        let variance = (centred.clone() * centred.clone()).mean_dim(1);
        centred / (variance + 1e-5).sqrt() * w.clone().unsqueeze::<2>() + b.clone().unsqueeze::<2>()
    };
    same(&random([5, 37], 4), |x| layer_norm(x, w.clone(), b.clone(), 1e-5), plain);
    // Its own weights have gradients too.
    let x = random([5, 37], 5);
    let gradient = |f: &dyn Fn(Tensor<1>, Tensor<1>) -> Tensor<2>| {
        let (w, b) = (w.clone().require_grad(), b.clone().require_grad());
        let found = (f(w.clone(), b.clone()) * random([5, 37], 6)).sum().backward();
        [w, b].map(|t| to_vec(t.grad(&found).expect("a gradient")).expect("values")).concat()
    };
    let normal = |x: Tensor<2>| layer_norm(x, Tensor::ones([37], &w.device()), Tensor::zeros([37], &w.device()), 1e-5);
    let a = gradient(&|w, b| layer_norm(x.clone(), w, b, 1e-5));
    let b = gradient(&|w, b| normal(x.clone()).detach() * w.unsqueeze::<2>() + b.unsqueeze::<2>());
    assert!(largest_difference(&a, &b) < 1e-5, "{}", largest_difference(&a, &b));
}

#[test]
fn linear_is_product_and_sum() {
    // Few rows have kernels of their own, with whole and broken tiles; gradients of all four inputs.
    for (rows, inputs, outputs) in [(1, 5, 7), (3, 33, 70), (16, 40, 64), (17, 24, 36), (40, 64, 96)] {
        let (w, b, r) = (random([inputs, outputs], 1), random([outputs], 2), random([rows, outputs], 3));
        let x = random([rows, inputs], 4);
        let evaluate = |f: &dyn Fn(Tensor<2>, Tensor<2>, Tensor<1>, Option<Tensor<2>>, Precision) -> Tensor<2>,
                        residual: bool,
                        p| {
            let (x, w, b, r) = (
                x.clone().require_grad(),
                w.clone().require_grad(),
                b.clone().require_grad(),
                r.clone().require_grad(),
            );
            let y = f(x.clone(), w.clone(), b.clone(), residual.then(|| r.clone()), p);
            let found = (y.clone() * random([rows, outputs], 5)).sum().backward();
            let mut all = vec![to_vec(y.inner()), to_vec(b.grad(&found).expect("a gradient"))];
            let matrices = if residual { vec![x, w, r] } else { vec![x, w] };
            all.extend(matrices.iter().map(|t| to_vec(t.grad(&found).expect("a gradient"))));
            all.into_iter().flat_map(|v| v.expect("values")).collect::<Vec<f32>>()
        };
        for (residual, p) in [false, true].into_iter().flat_map(|r| precisions().into_iter().map(move |p| (r, p))) {
            let (a, b) = (evaluate(&linear, residual, p), evaluate(&plain::linear, residual, p));
            // The plain body's gradients are products with numbers that are not rounded: by 2⁻¹² of up to 2 each, times
            // numbers of up to 2, of which up to 96 are added up.
            let limit = if p == F32 { 1e-4 } else { 0.02 };
            assert!(largest_difference(&a, &b) < limit, "{rows} {residual} {p:?}: {}", largest_difference(&a, &b));
            // Values are of the same factors.
            let n = rows * outputs;
            assert!(largest_difference(&a[..n], &b[..n]) < 1e-4, "{}", largest_difference(&a[..n], &b[..n]));
        }
    }
}

/// More tokens than a chunk holds, and a number that is no multiple of anything.
const VOCABULARY: usize = 2 * head::CHUNK + 131;

type Head = fn(Tensor<2>, Tensor<2>, Tensor<1, Int>, f64, Precision) -> Tensor<1>;

#[test]
fn token_logprobs_are_log_softmax_and_gather() {
    let device = device().autodiff();
    let targets = [0, 50, 4095, 4096, VOCABULARY as i32 - 1];
    let targets = Tensor::<1, Int>::from_data(TensorData::new(targets.to_vec(), [5]), &device);
    let wte = random([VOCABULARY, 12], 6);
    for p in precisions() {
        let head = |f: Head| {
            let (wte, targets) = (wte.clone(), targets.clone());
            move |x: Tensor<2>| f(x, wte.clone(), targets.clone(), 0.7, p)
        };
        // Gradients of the logits are rounded by 2⁻¹² of up to 3, times factors of up to 2.
        let (values, gradients) = (if is_cpu(&device) { 3e-6 } else { 1e-5 }, if p == F32 { 3e-5 } else { 5e-3 });
        within([values, gradients], &random([5, 12], 7), head(token_logprobs), head(plain::token_logprobs));
        // The embedding's gradient.
        let gradient = |f: Head| {
            let wte = wte.clone().require_grad();
            let found = (f(random([5, 12], 7), wte.clone(), targets.clone(), 0.7, p) * random([5], 8)).sum().backward();
            to_vec(wte.grad(&found).expect("a gradient")).expect("values")
        };
        let (a, b) = (gradient(token_logprobs), gradient(plain::token_logprobs));
        let limit = if p == F32 { 1e-5 } else { 5e-3 };
        assert!(largest_difference(&a, &b) < limit, "{p:?}: {}", largest_difference(&a, &b));
    }
}

#[test]
fn logits_computed_again_give_the_gradients_of_logits_kept() {
    let device = Device::flex();
    let numbers = |shape: [usize; 2], seed| {
        let values = to_vec(random(shape, seed).inner()).expect("values");
        tensor(values, Shape::new(shape))
    };
    let (hidden, wte, g) =
        (numbers([3, 8], 1), numbers([VOCABULARY, 8], 2), tensor(vec![0.5, -1.0, 2.0], Shape::new([3])));
    let targets = Tensor::<1, Int>::from_data(TensorData::new(vec![1, 4100, 9], [3]), &device);
    let targets = FlexTensor::from_data(targets.into_data());
    let gradients = |keep: bool| {
        let (_, saved) = head::forward(&hidden, &wte, &targets, 1.4, keep);
        let (a, b) = head::backward(&saved, &g);
        [floats(&a).to_vec(), floats(&b).to_vec()]
    };
    assert_eq!(gradients(true), gradients(false));
}

#[test]
fn draws_are_those_of_the_cumulative_distribution() {
    let device = device();
    for (rows, p) in [1, 7, 20].into_iter().flat_map(|rows| precisions().into_iter().map(move |p| (rows, p))) {
        let (hidden, wte) = (random([rows, 16], 9).inner(), random([VOCABULARY, 16], 10).inner());
        let uniforms: Vec<f32> = (0..rows).map(|i| (i as f32 * 0.618_034).fract()).collect();
        let (tokens, logprobs, entropies) = draw(hidden.clone(), wte.clone(), &uniforms, 1.3, p);
        let u = Tensor::<1>::from_data(TensorData::new(uniforms, [rows]), &device);
        let (right, right_logprobs, right_entropies) = plain::draw(hidden, wte, u, 1.3, p);
        let ids = |t: Tensor<2, Int>| t.into_data().iter::<i64>().collect::<Vec<_>>();
        assert_eq!(ids(tokens), ids(right));
        for (a, b) in [(logprobs, right_logprobs), (entropies, right_entropies)] {
            let (a, b) = (to_vec(a).expect("values"), to_vec(b).expect("values"));
            // Of numbers up to 50; WGSL's exp as above.
            let limit = if is_cpu(&device) { 1e-5 } else { 5e-5 };
            assert!(largest_difference(&a, &b) < limit, "{}", largest_difference(&a, &b));
        }
    }
    // The ends of the interval stay inside the vocabulary, however sure the model is.
    let sure = Tensor::<2>::from_data(TensorData::new(vec![1000.0f32, 0.0, -1000.0], [3, 1]), &device);
    let one = Tensor::<2>::ones([2, 1], &device);
    for u in [0.0, 0.999_999_94] {
        let (tokens, logprobs, entropies) = draw(one.clone(), sure.clone(), &[u, u], 1.0, F32);
        assert_eq!(tokens.into_data().iter::<i64>().collect::<Vec<_>>(), [0, 0]);
        assert_eq!(to_vec(logprobs).expect("values"), [0.0, 0.0]);
        assert!(to_vec(entropies).expect("values").iter().all(|e| e.abs() < 1e-30));
    }
}

/// A sum over the whole vocabulary took a GPU's driver four seconds per token.
#[test]
fn two_short_sums_draw_what_one_long_sum_does() {
    let device = device();
    for vocab in [1, 2, 3, 100, 1024, 50_257] {
        let (hidden, wte) = (random([6, 8], 1).inner(), random([vocab, 8], vocab as u64).inner());
        let uniforms: Vec<f32> = [0.0, 0.1, 0.37, 0.62, 0.9, 0.999_999_94].into();
        let u = Tensor::<1>::from_data(TensorData::new(uniforms.clone(), [6]), &device);
        let (tokens, ..) = plain::draw(hidden.clone(), wte.clone(), u, 1.0, F32);
        let tokens: Vec<usize> = tokens.into_data().iter::<i64>().map(|id| id as usize).collect();
        let p = to_vec(softmax(hidden.matmul(wte.transpose()), 1)).expect("values");
        for ((row, token), u) in p.chunks(vocab).zip(tokens).zip(uniforms) {
            // Rounding leaves the sum of all probabilities 1e-4 off 1, and shares of it are drawn.
            let sum = |p: &[f32]| p.iter().map(|p| f64::from(*p)).sum::<f64>();
            let (before, with) = (sum(&row[..token]) / sum(row), sum(&row[..token + 1]) / sum(row));
            let u = f64::from(u);
            assert!(before <= u + 1e-5 && with >= u - 1e-5, "{vocab}: token {token} is {before} to {with}, not {u}");
        }
    }
}

#[test]
fn a_cached_step_of_attention_is_attention_to_what_is_there() {
    let device = device();
    let (rows, heads, capacity, head) = (3, 2, 6, 5);
    let cache = |seed, p: Precision| {
        let filled = random([rows * heads, capacity * head], seed).inner();
        let filled = filled.reshape([rows, heads, capacity, head]);
        if p == F32 { filled } else { filled.cast(FloatDType::F16) }
    };
    let real = [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]].concat();
    let real = Tensor::<2, Int>::from_data(TensorData::new(real, [rows, capacity]), &device);
    for (at, p) in [3, 5].into_iter().flat_map(|at| precisions().into_iter().map(move |p| (at, p))) {
        let qkv = random([rows, 3 * heads * head], at as u64).inner();
        let start = |p| LayerCache { keys: cache(20, p), values: cache(21, p) };
        let (a, ours) = attention_step(qkv.clone(), start(p), &real, at, p);
        let LayerCache { keys, values } = start(p);
        let start = LayerCache { keys: keys.cast(FloatDType::F32), values: values.cast(FloatDType::F32) };
        let (b, right) = plain::attention_step(qkv, start, real.clone(), at, p);
        let values = |t: Tensor<4>| to_vec(t.cast(FloatDType::F32)).expect("values");
        // The plain body rounds the weights of values, by 2⁻¹² of up to 1.
        let limit = if p == F32 { 1e-6 } else { 1e-3 };
        assert!(largest_difference(&to_vec(a).expect("values"), &to_vec(b).expect("values")) < limit);
        assert_eq!(values(ours.keys), values(right.keys));
        assert_eq!(values(ours.values), values(right.values));
    }
}

#[test]
fn adam_is_its_formula_and_leaves_shared_numbers_alone() {
    let numbers = |seed| random([1, 1001], seed).inner().reshape([1001]);
    let (p, g, m, v) = (numbers(1), numbers(2), numbers(3), numbers(4).abs());
    let step = adam::Step { beta1: 0.9, beta2: 0.999, rate: 0.01, epsilon: 1e-5 };
    let before = to_vec(p.clone()).expect("values");
    let (a, b) = (adam(p.clone(), g.clone(), m.clone(), v.clone(), step), plain::adam(p.clone(), g, m, v, step));
    for (a, b) in [(a.0, b.0), (a.1, b.1), (a.2, b.2)] {
        assert!(largest_difference(&to_vec(a).expect("values"), &to_vec(b).expect("values")) < 1e-6);
    }
    assert_eq!(to_vec(p).expect("values"), before);
}

#[test]
fn attention_is_softmax_of_masked_products() {
    // Rows of 3, 1 and 5 tokens, packed; and the same padded on the left to 5.
    let lengths = [3, 1, 5];
    let device = device().autodiff();
    let (mut real, mut from, mut packed) = (Vec::new(), Vec::new(), Vec::new());
    for (row, length) in lengths.into_iter().enumerate() {
        let first = 5 - length;
        real.extend((0..5).map(|j| i32::from(j >= first)));
        let start: usize = lengths[..row].iter().sum();
        from.extend((0..5).map(|i| (start + usize::saturating_sub(i, first)) as i32));
        packed.extend((first..5).map(|i| (row * 5 + i) as i32));
    }
    let real = Tensor::<2, Int>::from_data(TensorData::new(real, [3, 5]), &device);
    let ints = |v: Vec<i32>| {
        let n = v.len();
        Tensor::<1, Int>::from_data(TensorData::new(v, [n]), &device)
    };
    let (from, packed) = (ints(from), ints(packed));
    let lengths = BatchRows::Packed(ints(lengths.map(|n| n as i32).to_vec()));
    let x = random([9, 3 * 12], 8);
    let with_padding =
        |x: Tensor<2>, f: &dyn Fn(Tensor<2>) -> Tensor<2>| f(x.select(0, from.clone())).select(0, packed.clone());
    for p in precisions() {
        let fused = |x: Tensor<2>| match is_cpu(&device) {
            true => attention(x, &lengths, 3, p),
            false => with_padding(x, &|x| attention(x, &BatchRows::Padded(real.clone()), 3, p)),
        };
        let plain = |x| with_padding(x, &|x| plain::attention(x, real.clone(), 3, p));
        match p {
            F32 => same(&x, fused, plain),
            // q / √d is rounded a second time, and in the gradient more.
            _ => within([3e-3, 2e-2], &x, fused, plain),
        }
    }
}

/// A device whose largest buffer is small computes the head and attention in pieces.
#[test]
fn pieces_give_what_the_whole_gives() {
    let device = device().autodiff();
    let ints = |v: Vec<i32>| {
        let n = v.len();
        Tensor::<1, Int>::from_data(TensorData::new(v, [n]), &device)
    };
    let (wte, targets) = (random([30, 12], 1), ints(vec![0, 29, 7, 7, 3]));
    let real = ints([0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1].to_vec()).reshape([3, 4]);
    let rows = (!is_cpu(&device)).then(|| BatchRows::Padded(real.clone()));
    let before = gpu_memory::limits();
    for largest_buffer in [4 * 61, 4 * 100, u64::MAX] {
        if rows.is_some() {
            gpu_memory::set_limits(gpu_memory::Limits { largest_buffer, ..before });
        }
        let head = |f: Head| {
            let (wte, targets) = (wte.clone(), targets.clone());
            move |x: Tensor<2>| f(x, wte.clone(), targets.clone(), 0.7, F32)
        };
        same(&random([5, 12], 7), head(token_logprobs), head(plain::token_logprobs));
        let gradient = |f: Head| {
            let wte = wte.clone().require_grad();
            let found =
                (f(random([5, 12], 7), wte.clone(), targets.clone(), 0.7, F32) * random([5], 8)).sum().backward();
            to_vec(wte.grad(&found).expect("a gradient")).expect("values")
        };
        let (a, b) = (gradient(token_logprobs), gradient(plain::token_logprobs));
        assert!(largest_difference(&a, &b) < 1e-5, "{}", largest_difference(&a, &b));
        if let Some(rows) = &rows {
            same(&random([12, 18], 3), |x| attention(x, rows, 2, F32), |x| plain::attention(x, real.clone(), 2, F32));
        }
    }
    if rows.is_some() {
        gpu_memory::set_limits(before);
    }
}

/// What no float16 is large enough for must be seen: a factor that is the largest there is would be a wrong number.
#[test]
fn what_is_beyond_float16_is_not_a_number_that_looks_right() {
    let Some(p) = precisions().into_iter().find(|p| *p == F16) else { return };
    let device = device();
    let one = |v: f32| Tensor::<2>::from_data(TensorData::new(vec![v], [1, 1]), &device);
    let of = |x: f32| to_vec(linear(one(x), one(1.0), Tensor::zeros([1], &device), None, p)).expect("values")[0];
    assert_eq!([1.0, 65_504.0, -65_504.0, 1.0 + 1.0 / 2048.0].map(of), [1.0, 65_504.0, -65_504.0, 1.0]);
    assert!([65_536.0, -1e30, f32::INFINITY, f32::NAN].map(of).iter().all(|y| !y.is_finite()));
    // Subnormal float16 are numbers.
    assert!((of(3.0e-6) - 3.0e-6).abs() < 3e-8, "{}", of(3.0e-6));
}
