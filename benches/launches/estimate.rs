//! From the counts to an update's time on named cards: arithmetic, with the inputs below, and no measurement.

use super::count::Counts;
use runner::model::flops;
use runner::model::gpu::Limits;
use runner::model::memory::Shape;
use runner::spec::ModelSize;

/// What the makers state: name, float32 operations and bytes of memory per second (dense, no tensor cores).
const CARDS: [(&str, f64, f64, u64); 4] = [
    ("RTX 4090, 24 GB", 82.6e12, 1.008e12, 24),
    ("A100 SXM, 80 GB", 19.5e12, 2.039e12, 80),
    ("H100 SXM, 80 GB", 66.9e12, 3.35e12, 80),
    ("L4, 24 GB", 30.3e12, 0.3e12, 24),
];
/// Assumed: the share of both that kernels reach, and the seconds that a launch costs where nothing hides it.
const REACHED: f64 = 0.5;
const LAUNCH: f64 = 5e-6;
/// Numbers that a training pass reads and writes per token and layer, by the definitions of the operations: widths, and
/// numbers for each head and position that attention sees; and in a pass without gradients.
const TRAINED: (f64, f64) = (151.0, 22.0);
const PASSED: (f64, f64) = (60.0, 7.0);
/// Reads and writes of the logits with and without a gradient, products included.
const LOGITS: (f64, f64) = (6.0, 2.0);
/// Copies of the weights that move in a pass (read twice, a gradient written, added up) and in a step of Adam.
const PASS_WEIGHTS: f64 = 6.0;
const STEP_WEIGHTS: f64 = 7.0;
const BATCH: f64 = 512.0;
const EPOCHS: f64 = 4.0;

/// Launches at `layers` layers of a part that was counted at one and two.
fn launches(part: [&Counts; 2], layers: f64) -> f64 {
    let [one, two] = part.map(|counts| counts.launches);
    one + (two - one) * (layers - 1.0)
}

/// Seconds of some work: operations, bytes, launches.
fn seconds(card: &(&str, f64, f64, u64), operations: f64, bytes: f64, launches: f64) -> f64 {
    (operations / card.1).max(bytes / card.2) / REACHED + launches * LAUNCH
}

/// `parts`: of one layer and of two; token, rest of the rollout, pass, step.
pub fn print(one: &[Counts; 4], two: &[Counts; 4]) {
    println!("\nAn estimate and no measurement: {REACHED} of the stated speeds, {:.0} µs a launch.\n", LAUNCH * 1e6);
    println!("| update of 512 | card | rows a pass | launches | launching | sample | ρ and r | learn | seconds |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, size) in [("124M", ModelSize::M124), ("774M", ModelSize::M774)] {
        for (query, response) in [(64, 24), (500, 75)] {
            let shape = Shape { dimensions: size.dimensions(), vocab: 50_257, time: query + response, response };
            for card in &CARDS {
                row(name, &shape, card, (one, two));
            }
        }
    }
}

fn row(name: &str, shape: &Shape, card: &(&str, f64, f64, u64), (one, two): (&[Counts; 4], &[Counts; 4])) {
    let limits = Limits { memory: card.3 * 1_000_000_000, ..Limits::default() };
    let d = &shape.dimensions;
    let at = |part: usize| launches([&one[part], &two[part]], d.layers as f64);
    let (t, r, w) = (shape.time as f64, shape.response as f64, d.width as f64);
    let (weights, vocab) = (shape.weights(), shape.vocab as f64);
    let traffic = |(widths, scores): (f64, f64)| {
        4.0 * t * d.layers as f64 * (widths * w + scores * (d.heads * shape.time) as f64)
    };
    let forward = flops::body(d, 0, shape.time) + flops::head(d, shape.vocab, shape.response);
    let rows = shape.gpu_rows(true, false, limits).min(BATCH as usize);
    let passes = (BATCH / rows as f64).ceil();
    let chunks = (BATCH / shape.gpu_sampling_rows(limits).min(256) as f64).ceil();
    // A step reads the weights, and what the rows have of a cache.
    let cached = BATCH * 8.0 * d.layers as f64 * w * (t - r / 2.0);
    let tokens = chunks * r * at(0);
    let sample = seconds(
        card,
        BATCH * forward,
        r * (chunks * weights + cached + 2.0 * 4.0 * BATCH * vocab) + BATCH * traffic(PASSED),
        tokens,
    );
    let rest = chunks * at(1);
    let score = seconds(
        card,
        2.0 * BATCH * forward,
        2.0 * BATCH * (traffic(PASSED) + LOGITS.1 * 4.0 * r * vocab) + 2.0 * chunks * weights,
        rest,
    );
    let learned = EPOCHS * (passes * at(2) + at(3));
    let learn = EPOCHS
        * seconds(
            card,
            3.0 * BATCH * forward,
            BATCH * (traffic(TRAINED) + LOGITS.0 * 4.0 * r * vocab) + (passes * PASS_WEIGHTS + STEP_WEIGHTS) * weights,
            learned / EPOCHS,
        );
    let all = tokens + rest + learned;
    println!(
        "| {name}, {} tokens | {} | {rows} | {all:.0} | {:.2} s | {sample:.2} | {score:.2} | {learn:.2} | {:.2} |",
        shape.time,
        card.0,
        all * LAUNCH,
        sample + score + learn
    );
}
