//! Seeded damage: what editors, transfers and other programs do to a file, and what only malice does.

use rand::{Rng, RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Pieces that readers have stumbled over.
const PIECES: [&[u8]; 28] = [
    b"\"",
    b"'",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b";",
    b":",
    b"\t",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b"NaN",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"null",
    b"True",
    b"\\ud83d",
    b"\\",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"version https://git-lfs.github.com/spec/v1\n",
];

/// What stands for a number: of other sizes, signs and kinds.
const NUMBERS: [&[u8]; 14] = [
    b"0",
    b"1",
    b"2",
    b"3",
    b"8",
    b"16",
    b"100",
    b"-1",
    b"0.5",
    b"1e-3",
    b"1.0",
    b"65536",
    b"4294967296",
    b"18446744073709551616",
];

/// One of the files, changed; how is a function of the seed. Every second one is changed as a person or a program
/// would, so that much of it can still be read: one to three of its lines, numbers and words. The others have one to
/// eight changes of bytes.
pub fn mutated(corpus: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut bytes = corpus.choose(&mut rng).cloned().unwrap_or_default();
    if rng.random_bool(0.5) {
        (0..rng.random_range(1..=3)).for_each(|_| edit(&mut bytes, &mut rng));
    } else {
        (0..rng.random_range(1..=8)).for_each(|_| change(&mut bytes, corpus, &mut rng));
    }
    bytes
}

/// Runs of bytes for which `is` holds, as (start, end).
fn runs(bytes: &[u8], is: impl Fn(u8) -> bool) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (i, _) in bytes.iter().enumerate().filter(|(_, b)| is(**b)) {
        match found.last_mut() {
            Some((_, end)) if *end == i => *end = i + 1,
            _ => found.push((i, i + 1)),
        }
    }
    found
}

fn edit(bytes: &mut Vec<u8>, rng: &mut impl Rng) {
    let lines: Vec<Vec<u8>> = bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let numbers = runs(bytes, |b| b.is_ascii_digit());
    let words = runs(bytes, |b| b.is_ascii_alphabetic());
    match rng.random_range(0..8) {
        0..=2 if !numbers.is_empty() => {
            let (start, end) = numbers[rng.random_range(0..numbers.len())];
            let number = NUMBERS.choose(rng).copied().unwrap_or_default();
            bytes.splice(start..end, number.iter().copied());
        }
        3 if !words.is_empty() => {
            let (start, end) = words[rng.random_range(0..words.len())];
            let at = rng.random_range(start..end);
            bytes[at] = b"aeinortsxQZ"[rng.random_range(0..11)];
        }
        4 if words.len() > 1 => {
            // A word in another's place.
            let from = words[rng.random_range(0..words.len())];
            let (start, end) = words[rng.random_range(0..words.len())];
            let word = bytes[from.0..from.1].to_vec();
            bytes.splice(start..end, word);
        }
        5 => *bytes = bytes.iter().flat_map(|b| if *b == b'\n' { vec![b'\r', b'\n'] } else { vec![*b] }).collect(),
        _ => {
            let mut lines = lines;
            let count = lines.len().max(1);
            let (a, b) = (rng.random_range(0..count), rng.random_range(0..count));
            match rng.random_range(0..4) {
                0 if !lines.is_empty() => drop(lines.remove(a)),
                1 if !lines.is_empty() => lines.insert(b, lines[a].clone()),
                2 if !lines.is_empty() => lines.swap(a, b),
                _ => lines.push(b"\n".to_vec()),
            }
            *bytes = lines.concat();
        }
    }
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut impl Rng) {
    let at = rng.random_range(0..=bytes.len());
    let end = (at + rng.random_range(0..40)).min(bytes.len());
    match rng.random_range(0..9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = rng.random_range(0..=255),
        2 => drop(bytes.drain(at..end)),
        3 => bytes.truncate(at),
        4 => {
            let copy = bytes[at..end].to_vec();
            let to = rng.random_range(0..=bytes.len());
            bytes.splice(to..to, copy);
        }
        5 => {
            // A part of another file.
            let other = corpus.choose(rng).cloned().unwrap_or_default();
            let from = rng.random_range(0..=other.len());
            let to = (from + rng.random_range(0..200)).min(other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        6 => {
            let many = rng.random_range(1..300);
            let piece = PIECES.choose(rng).copied().unwrap_or_default().repeat(many);
            bytes.splice(at..at, piece);
        }
        _ => {
            let piece = PIECES.choose(rng).copied().unwrap_or_default();
            bytes.splice(at..end, piece.iter().copied());
        }
    }
}
