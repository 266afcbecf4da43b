//! Numbers that make_parity.py makes too, its fixtures, and differences from them.

use runner::model::gpt2::Weight;
use runner::model::sampling::to_vec;
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Numbers by tensor name.
pub type Tensors = BTreeMap<String, Vec<f32>>;

/// `n` numbers in [0, 1) of 24 bits: splitmix64 from the FNV-1a hash of the name.
pub fn uniform(name: &str, n: usize) -> Vec<f64> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (1..=n as u64)
        .map(|i| {
            let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 24)
        })
        .collect()
}

/// `n` numbers around `centre`, at most `scale` away.
pub fn spread(name: &str, n: usize, centre: f64, scale: f64) -> Vec<f32> {
    uniform(name, n).into_iter().map(|u| (centre + scale * (2.0 * u - 1.0)) as f32).collect()
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity/fixtures").join(file)
}

/// fixtures/NAME.json
pub fn facts(name: &str) -> Value {
    let path = path(&format!("{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// A part of the facts as a Rust value.
pub fn get<T: serde::de::DeserializeOwned>(value: &Value, key: &str) -> T {
    serde_json::from_value(value[key].clone()).unwrap_or_else(|e| panic!("{key}: {e}"))
}

/// fixtures/NAME.safetensors
pub fn tensors(name: &str) -> Tensors {
    let path = path(&format!("{name}.safetensors"));
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let floats = |data: &[u8]| data.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
    file.iter().map(|(name, view)| (name.to_string(), floats(view.data()))).collect()
}

/// A weight's numbers on the host.
pub fn numbers(weight: &Weight) -> Vec<f32> {
    to_vec(weight.clone().inner().flatten()).expect("numbers")
}

/// How far numbers are from their reference.
#[derive(Debug, Clone, Copy, Default)]
pub struct Difference {
    /// Largest |ours - reference|.
    pub absolute: f64,
    /// ‖ours - reference‖ / ‖reference‖: of a whole tensor, so that one element near 0 does not count for more than it
    /// is.
    pub relative: f64,
}

impl Difference {
    pub fn of<A: Copy + Into<f64>, B: Copy + Into<f64>>(ours: &[A], reference: &[B]) -> Self {
        assert_eq!(ours.len(), reference.len());
        let (mut absolute, mut error, mut size) = (0.0f64, 0.0, 0.0);
        for (a, b) in ours.iter().zip(reference) {
            let (a, b): (f64, f64) = ((*a).into(), (*b).into());
            assert!(a.is_finite(), "{a}");
            absolute = absolute.max((a - b).abs());
            error += (a - b).powi(2);
            size += b.powi(2);
        }
        Self { absolute, relative: if error == 0.0 { 0.0 } else { (error / size).sqrt() } }
    }
    /// The larger of both, of each kind.
    pub fn or(self, other: Self) -> Self {
        Self { absolute: self.absolute.max(other.absolute), relative: self.relative.max(other.relative) }
    }
}

/// Prints a line of README.md's table, and fails where the relative difference is above `limit`.
pub fn check(what: &str, difference: Difference, limit: f64) {
    let Difference { absolute, relative } = difference;
    println!("parity | {what} | {} | {relative:.1e} | {absolute:.1e} | {limit:.0e}", super::models::device_name());
    assert!(
        relative <= limit,
        "{what}: off by {relative:.2e} (allowed {limit:.0e}), in absolute numbers {absolute:.2e}"
    );
}

/// [`check`] of every tensor, with the worst one's name; a tensor that is missing or too many is an error.
pub fn check_tensors(what: &str, ours: &Tensors, reference: &Tensors, limit: f64) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), reference.keys().collect::<Vec<_>>());
    let all = ours.iter().map(|(name, a)| (name, Difference::of(a, &reference[name])));
    let (mut worst, mut at) = (Difference::default(), "");
    for (name, difference) in all {
        if difference.relative > worst.relative {
            at = name;
        }
        worst = worst.or(difference);
    }
    check(&format!("{what}, worst of {} tensors ({at})", ours.len()), worst, limit);
}
