//! From the counts to an update's time on named cards: arithmetic, with the inputs below, and no measurement.

use super::count::Counts;
use super::traffic::{Moved, Sizes, moved};
use runner::model::flops;
use runner::model::gpu::Limits;
use runner::model::memory::Shape;
use runner::model::sampling::SAMPLING_ROWS;
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

/// An update at one shape on one card: how often each part is done, its launches and bytes.
struct Update {
    shape: Shape,
    /// Rows of a training pass, and of a chunk that is sampled.
    rows: usize,
    sampled: usize,
    /// Times of the parts: token, rest of the rollout, pass, step.
    times: [f64; 4],
    launches: [f64; 4],
    moved: [Moved; 4],
}

impl Update {
    /// `one`, `two`: what was counted of models of one layer and of two.
    fn new(
        size: ModelSize,
        (query, response): (usize, usize),
        gigabytes: u64,
        one: &[Counts; 4],
        two: &[Counts; 4],
    ) -> Self {
        let shape = Shape { dimensions: size.dimensions(), vocab: 50_257, time: query + response, response };
        let limits = Limits { memory: gigabytes * 1_000_000_000, ..Limits::default() };
        let rows = shape.gpu_rows(true, false, limits).min(BATCH as usize);
        let sampled = shape.gpu_sampling_rows(limits).min(SAMPLING_ROWS).min(BATCH as usize);
        let layers = shape.dimensions.layers as f64;
        let chunks = BATCH / sampled as f64;
        let [token, rest, ..] = moved(&Sizes::of(&shape, sampled), layers);
        let [.., pass, step] = moved(&Sizes::of(&shape, rows), layers);
        Self {
            rows,
            sampled,
            times: [chunks * response as f64, chunks, EPOCHS * BATCH / rows as f64, EPOCHS],
            launches: [0, 1, 2, 3].map(|part| launches([&one[part], &two[part]], layers)),
            moved: [token, rest, pass, step],
            shape,
        }
    }

    /// Seconds of one time of a part that does so many operations.
    fn seconds(&self, part: usize, operations: f64, card: &(&str, f64, f64, u64)) -> f64 {
        self.times[part] * seconds(card, operations, self.moved[part].total(), self.launches[part])
    }

    /// Operations of the parts, once each.
    fn operations(&self) -> [f64; 4] {
        let (d, vocab) = (&self.shape.dimensions, self.shape.vocab);
        let Shape { time, response, .. } = self.shape;
        let forward = flops::body(d, 0, time) + flops::head(d, vocab, response);
        let rows = self.sampled as f64;
        let prompt = flops::body(d, 0, time - response);
        [
            rows * (forward - prompt) / response as f64,
            rows * (2.0 * forward + prompt),
            3.0 * self.rows as f64 * forward,
            0.0,
        ]
    }
}

const UPDATES: [(&str, ModelSize, (usize, usize), u64); 4] = [
    ("124M, 88 tokens", ModelSize::M124, (64, 24), 24),
    ("124M, 575 tokens", ModelSize::M124, (500, 75), 24),
    ("774M, 88 tokens", ModelSize::M774, (64, 24), 80),
    ("774M, 575 tokens", ModelSize::M774, (500, 75), 80),
];

/// `one`, `two`: counts of the parts of models of one layer and of two.
pub fn print(one: &[Counts; 4], two: &[Counts; 4]) {
    println!(
        "\nDevice memory that is read and written, every bound array once, in GB: an update of 512, from shapes.\n"
    );
    println!(
        "| update | memory | rows sampled, trained | sampled token of all rows | ρ, r and cache | training pass | Adam step | update |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (name, size, lengths, gigabytes) in UPDATES {
        let update = Update::new(size, lengths, gigabytes, one, two);
        let cell = |moved: Moved| format!("{:.1} + {:.1}", moved.read / 1e9, moved.written / 1e9);
        let all = update.moved.iter().zip(update.times).map(|(m, n)| m.times(n)).fold(Moved::default(), Moved::plus);
        let [token, rest, pass, step] = update.moved;
        // Of all chunks.
        let chunks = update.times[1];
        println!(
            "| {name} | {gigabytes} GB | {}, {} | {} | {} | {} | {} | {} |",
            update.sampled,
            update.rows,
            cell(token.times(chunks)),
            cell(rest.times(chunks)),
            cell(pass),
            cell(step),
            cell(all)
        );
    }
    println!("\nAn estimate and no measurement: {REACHED} of the stated speeds, {:.0} µs a launch.\n", LAUNCH * 1e6);
    println!("| update of 512 | card | rows a pass | launches | launching | sample | ρ and r | learn | seconds |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, size, lengths, _) in UPDATES {
        for card in &CARDS {
            let update = Update::new(size, lengths, card.3, one, two);
            let operations = update.operations();
            let [token, rest, pass, step] = [0, 1, 2, 3].map(|part| update.seconds(part, operations[part], card));
            let all: f64 = update.launches.iter().zip(update.times).map(|(launches, times)| launches * times).sum();
            println!(
                "| {name} | {} | {} | {all:.0} | {:.2} s | {token:.2} | {rest:.2} | {:.2} | {:.2} |",
                card.0,
                update.rows,
                all * LAUNCH,
                pass + step,
                token + rest + pass + step
            );
        }
    }
}
