//! Random numbers by name: a stream depends on the run's seed, its purpose and a step, and on nothing else, so that
//! whoever continues needs no saved state of a generator. Names are part of results: another name gives other numbers.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A random stream that depends on nothing but its name: resuming needs no saved generator state.
pub fn stream(seed: u64, purpose: &str, step: u64) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(*blake3::hash(format!("{seed}/{purpose}/{step}").as_bytes()).as_bytes())
}

/// Uniform numbers for sampling: `[response][rows]`.
pub fn uniforms(seed: u64, purpose: &str, step: u64, length: usize, rows: usize) -> Vec<Vec<f32>> {
    let mut rng = stream(seed, purpose, step);
    (0..length).map(|_| (0..rows).map(|_| rng.random::<f32>()).collect()).collect()
}

/// A number from the stream, for functions that take a seed.
pub fn number(seed: u64, purpose: &str) -> u64 {
    u64::from_le_bytes(
        blake3::hash(format!("{seed}/{purpose}").as_bytes()).as_bytes()[..8].try_into().unwrap_or([0; 8]),
    )
}

/// Rows `start..start + count` of an endless sequence of shuffled epochs over `0..n`.
pub fn shuffled(seed: u64, purpose: &str, n: usize, start: usize, count: usize) -> Vec<usize> {
    let mut epoch = usize::MAX;
    let mut order: Vec<usize> = Vec::new();
    (start..start + count)
        .map(|i| {
            if i / n != epoch {
                epoch = i / n;
                order = (0..n).collect();
                order.shuffle(&mut stream(seed, purpose, epoch as u64));
            }
            order[i % n]
        })
        .collect()
}

/// Deterministic 64-bit generator (Steele, Lea and Flood 2014); enough for resampling, never used for training.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A stream that depends on the seed alone.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A whole number below `n` (multiply-shift; its bias is below n / 2^64). 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }
}
