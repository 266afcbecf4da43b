//! Bytes of device memory that the kernels of an update read and write: the arrays that are bound to each launch, once
//! each, however often a kernel looks at them. wgpu does not say which they are, so that they are listed here, launch by
//! launch; [`check`] holds the lists against the launches that were counted.

use super::count::Counts;
use runner::model::memory::Shape;
use std::collections::BTreeMap;

/// A launch: its kernel, numbers read, numbers written.
type Launch = (&'static str, f64, f64);

/// What one chunk of rows has: all in numbers of float32.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub rows: f64,
    /// Positions of a row, and those that are read, for log-probabilities or a score.
    pub time: f64,
    pub read: f64,
    pub width: f64,
    pub heads: f64,
    pub vocab: f64,
    pub context: f64,
}

impl Sizes {
    pub fn of(shape: &Shape, rows: usize) -> Self {
        let d = &shape.dimensions;
        let [rows, time, read] = [rows, shape.time, shape.response].map(|n| n as f64);
        let [width, heads, vocab, context] = [d.width, d.heads, shape.vocab, d.context].map(|n| n as f64);
        Self { rows, time, read, width, heads, vocab, context }
    }

    fn tokens(&self) -> f64 {
        self.rows * self.time
    }

    fn outputs(&self) -> f64 {
        self.rows * self.read
    }

    fn scores(&self) -> f64 {
        self.rows * self.heads * self.time * self.time
    }
}

fn norm(n: f64, w: f64) -> Launch {
    ("ForwardKernel", n * w + 2.0 * w, n * w)
}

fn linear(n: f64, inputs: f64, outputs: f64, residual: bool) -> [Launch; 2] {
    let y = n * outputs;
    let added = if residual { y } else { 0.0 };
    [("MatmulEntry", n * inputs + inputs * outputs, y), ("AddBiasKernel", y + outputs + added, y)]
}

fn linear_gradients(n: f64, inputs: f64, outputs: f64) -> [Launch; 3] {
    let (x, y, w) = (n * inputs, n * outputs, inputs * outputs);
    [("MatmulEntry", y + w, x), ("MatmulEntry", x + y, w), ("ReduceKernel", y, outputs)]
}

fn norm_gradients(n: f64, w: f64) -> [Launch; 3] {
    let parts = 2.0 * w * (n / 64.0).ceil();
    [
        ("InputGradientKernel", 2.0 * n * w + w, n * w + 2.0 * n),
        ("BlockSumsKernel", 2.0 * n * w + 2.0 * n, parts),
        ("SumsKernel", parts, 2.0 * w),
    ]
}

fn sum(n: f64) -> Launch {
    ("KernelBinop", 2.0 * n, n)
}

/// A block after its attention.
fn finished(n: f64, w: f64) -> Vec<Launch> {
    let gelu = ("GeluKernel", 4.0 * n * w, 4.0 * n * w);
    let inside = linear(n, w, 4.0 * w, false);
    [&linear(n, w, w, true)[..], &[norm(n, w)], &inside, &[gelu], &linear(n, 4.0 * w, w, true)].concat()
}

/// A block of a cached step.
fn step_block(s: &Sizes, slots: f64) -> Vec<Launch> {
    let (n, w) = (s.rows, s.width);
    let step = ("StepKernel", 3.0 * n * w + 2.0 * n * slots * w + n * slots, 3.0 * n * w);
    [&[norm(n, w)][..], &linear(n, w, 3.0 * w, false), &[step], &finished(n, w)].concat()
}

/// Query, key and value by heads, and attention's weights.
fn weights(s: &Sizes) -> [Launch; 3] {
    let (x, scores) = (s.tokens() * s.width, s.scores());
    [
        ("SplitKernel", 3.0 * x, 3.0 * x),
        ("MatmulEntry", 2.0 * x, scores),
        ("SoftmaxKernel", scores + s.tokens(), scores),
    ]
}

/// A block of which `outputs` positions are read.
fn pass_block(s: &Sizes, outputs: f64) -> Vec<Launch> {
    let (n, w) = (s.tokens(), s.width);
    let attended = [("MatmulEntry", s.scores() + n * w, n * w), ("ByTokensKernel", n * w, n * w)];
    let qkv = linear(n, w, 3.0 * w, false);
    [&[norm(n, w)][..], &qkv, &weights(s), &attended, &finished(outputs, w)].concat()
}

/// The same with its backward pass, whose gradients are added to others'.
fn training_block(s: &Sizes, outputs: f64) -> Vec<Launch> {
    let (n, w, scores, m) = (s.tokens(), s.width, s.scores(), outputs);
    let x = n * w;
    let mlp = [
        &linear_gradients(m, 4.0 * w, w)[..],
        &[("GeluGradientKernel", 8.0 * m * w, 4.0 * m * w)],
        &linear_gradients(m, w, 4.0 * w),
        &norm_gradients(m, w),
        &[sum(m * w)],
        &linear_gradients(m, w, w),
    ]
    .concat();
    let attention = [
        ("ByHeadsKernel", x, x),
        ("MatmulEntry", scores + x, x),
        ("MatmulEntry", 2.0 * x, scores),
        ("SoftmaxGradientKernel", 2.0 * scores, scores),
        ("MatmulEntry", scores + x, x),
        ("MatmulEntry", scores + x, x),
        ("MergeKernel", 3.0 * x, 3.0 * x),
    ];
    let input = [&linear_gradients(n, w, 3.0 * w)[..], &norm_gradients(n, w), &[sum(x)]].concat();
    // As many arrays as a block has weights.
    let sums = [sum(w * w); 12];
    [pass_block(s, m), mlp, weights(s).to_vec(), attention.to_vec(), input, sums.to_vec()].concat()
}

fn embedded(n: f64, w: f64) -> Launch {
    ("EmbedKernel", 2.0 * n * w + 2.0 * n, n * w)
}

/// What a pass does beside its blocks, up to the normalised output at the positions that are read.
fn pass_once(s: &Sizes, outputs: f64) -> Vec<Launch> {
    let (w, m) = (s.width, outputs);
    vec![embedded(s.tokens(), w), ("SelectKernel", m * w, m * w), ("SelectKernel", m * w, m * w), norm(m, w)]
}

fn scored(s: &Sizes, n: f64) -> [Launch; 2] {
    [("MatmulEntry", n * s.width + s.width, n), ("KernelBinop", n, n)]
}

fn logits(s: &Sizes, n: f64) -> Launch {
    ("MatmulEntry", n * s.width + s.vocab * s.width, n * s.vocab)
}

/// Of a training pass, beside its blocks.
fn training_once(s: &Sizes) -> Vec<Launch> {
    let (n, m, w, v) = (s.tokens(), s.outputs(), s.width, s.vocab);
    let head = [
        logits(s, m),
        ("LogprobsKernel", m * v + m, 2.0 * m),
        ("GradientKernel", m * v + 3.0 * m, m * v),
        ("MatmulEntry", m * v + m * w, v * w),
        ("MatmulEntry", m * v + v * w, m * w),
        // Of the value head.
        ("MatmulEntry", m * w + w, m),
        ("MatmulEntry", m + w, m * w),
        ("MatmulEntry", m * w + m, w),
        sum(m * w),
    ];
    // Both branches' positions go back to their places.
    let placed = ("SelectAssignKernel", 2.0 * m * w, m * w);
    let table = |rows: f64| [("UseSumsKernel", n * w + n, n * w + n), ("TableKernel", n * w + n, rows.min(n) * w)];
    let sums = [sum(v * w), sum(v * w), sum(s.context * w)];
    let zeros = [0.0, 0.0, v, s.context].map(|rows| ("FullKernel", 0.0, if rows > 0.0 { rows * w } else { n * w }));
    let rest = [&table(v)[..], &table(s.context), &sums, &zeros].concat();
    [&pass_once(s, m)[..], &head, &norm_gradients(m, w), &[placed, placed], &rest].concat()
}

/// A part of an update: what each layer launches, what the last launches instead, and what is launched once.
struct Part {
    layer: Vec<Launch>,
    last: Vec<Launch>,
    once: Vec<Launch>,
}

/// A token of a response that has so many slots of the cache before it.
fn token(s: &Sizes, slots: f64) -> Part {
    let (n, w) = (s.rows, s.width);
    let drawn = [logits(s, n), ("DrawKernel", n * s.vocab + n, 3.0 * n)];
    // Tokens, log-probabilities, values and entropies go into one array each.
    let kept = [("SliceAssignKernel", n, n); 4];
    let once = [&scored(s, n)[..], &drawn, &kept, &[embedded(n, w), norm(n, w)]].concat();
    Part { layer: step_block(s, slots), last: step_block(s, slots), once }
}

/// Filling the cache, ρ's log-probabilities and r's scores. The last token of a response takes no step.
fn rest(s: &Sizes) -> Part {
    let query = Sizes { time: s.time - s.read, ..*s };
    let cached = 2.0 * query.tokens() * s.width;
    let room = 2.0 * s.tokens() * s.width;
    let widened = |kernel, read, written| [(kernel, read / 2.0, written / 2.0); 2];
    let caches = [
        widened("CopyKernel", cached, cached),
        widened("FullKernel", 0.0, room),
        widened("SliceAssignKernel", cached, cached),
    ]
    .concat();
    let passes = |outputs: [f64; 3]| {
        [pass_block(&query, outputs[0]), pass_block(s, outputs[1]), pass_block(s, outputs[2])].concat()
    };
    let (n, m) = (s.rows, s.outputs());
    let rho = [logits(s, m), ("LogprobsKernel", m * s.vocab + m, 2.0 * m)];
    let once = [pass_once(&query, n), pass_once(s, m), rho.to_vec(), pass_once(s, n), scored(s, n).to_vec()].concat();
    Part {
        layer: [passes([query.tokens(), s.tokens(), s.tokens()]), caches.clone()].concat(),
        last: [passes([n, m, n]), caches].concat(),
        once,
    }
}

fn training(s: &Sizes) -> Part {
    Part { layer: training_block(s, s.tokens()), last: training_block(s, s.outputs()), once: training_once(s) }
}

fn adam(s: &Sizes) -> Part {
    let w = s.width;
    let of = |numbers: f64| ("AdamKernel", 4.0 * numbers, 3.0 * numbers);
    let layer = vec![of((12.0 * w * w + 13.0 * w) / 12.0); 12];
    let once = [s.vocab * w, s.context * w, w, w, w, 1.0].map(of).to_vec();
    Part { last: layer.clone(), layer, once }
}

/// Bytes read and written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moved {
    pub read: f64,
    pub written: f64,
}

impl Moved {
    fn of(launches: &[Launch], times: f64) -> Self {
        let sum = |number: fn(&Launch) -> f64| 4.0 * times * launches.iter().map(number).sum::<f64>();
        Self { read: sum(|l| l.1), written: sum(|l| l.2) }
    }

    pub fn plus(self, other: Self) -> Self {
        Self { read: self.read + other.read, written: self.written + other.written }
    }

    pub fn times(self, n: f64) -> Self {
        Self { read: n * self.read, written: n * self.written }
    }

    pub fn total(self) -> f64 {
        self.read + self.written
    }
}

impl Part {
    fn moved(&self, layers: f64) -> Moved {
        Moved::of(&self.layer, layers - 1.0).plus(Moved::of(&self.last, 1.0)).plus(Moved::of(&self.once, 1.0))
    }

    /// Launches by kernel, of a layer and once.
    fn counts(&self) -> BTreeMap<&'static str, [f64; 2]> {
        let mut all = BTreeMap::new();
        for (launches, place) in [(&self.layer, 0), (&self.once, 1)] {
            for (kernel, ..) in launches {
                all.entry(*kernel).or_insert([0.0; 2])[place] += 1.0;
            }
        }
        all
    }
}

/// Kernels of burn's own that the loss, on numbers of `[rows, response]`, launches besides: they move next to nothing.
const OF_LOSS: [&str; 3] = ["KernelBinop", "ReduceKernel", "FullKernel"];

/// Bytes of a token, of the rest of the rollout, of a training pass and of Adam's step, of these rows at once.
pub fn moved(s: &Sizes, layers: f64) -> [Moved; 4] {
    // On the average a response is half there.
    let slots = s.time - s.read / 2.0;
    [token(s, slots), rest(s), training(s), adam(s)].map(|part| part.moved(layers))
}

/// Whether the lists have the launches that were counted of some layers, the loss aside.
///
/// # Errors
/// The first kernel of which there are others.
pub fn check(counted: &[Counts; 4], layers: f64) -> Result<(), String> {
    let s = Sizes { rows: 4.0, time: 24.0, read: 4.0, width: 64.0, heads: 2.0, vocab: 100.0, context: 64.0 };
    let without = |mut rest: BTreeMap<&'static str, [f64; 2]>, taken: Vec<Launch>, place: usize| {
        for (kernel, ..) in taken {
            rest.entry(kernel).or_insert([0.0; 2])[place] -= 1.0;
        }
        rest
    };
    let token = token(&s, 22.0);
    let rest = without(rest(&s).counts(), token.layer.clone(), 0);
    let rest = without(rest, vec![embedded(1.0, 1.0), norm(1.0, 1.0)], 1);
    let all = [token.counts(), rest, training(&s).counts(), adam(&s).counts()];
    for (part, listed) in all.into_iter().enumerate() {
        for (kernel, [layer, once]) in listed {
            let expected = layers * layer + once;
            let found: f64 =
                counted[part].kernels.iter().filter(|(name, _)| base(name) == kernel).map(|(_, n)| n).sum();
            let right = match part == 2 && OF_LOSS.contains(&kernel) {
                true => found > expected - 1e-6,
                false => (found - expected).abs() < 1e-6,
            };
            if !right {
                return Err(format!("{kernel} of {}: {found} launches, {expected} listed", super::PARTS[part]));
            }
        }
        // And nothing else, but where the loss and the sum that a step is spared are among it.
        if part < 2 {
            let known = if part == 0 { token.counts() } else { self::rest(&s).counts() };
            if let Some((name, n)) =
                counted[part].kernels.iter().find(|(name, n)| **n > 0.0 && !known.contains_key(base(name)))
            {
                return Err(format!("{name} of {}: {n} launches, none listed", super::PARTS[part]));
            }
        }
    }
    Ok(())
}

/// A kernel's name without its types.
fn base(name: &str) -> &str {
    name.split('<').next().unwrap_or(name)
}
