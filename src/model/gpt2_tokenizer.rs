//! GPT-2's own byte-level BPE with its 50,257 ids (Radford et al. 2019, encoder.py; equal to tiktoken's "gpt2"), from
//! the vocabulary that the crate tiktoken-rs embeds. A model's own tokenizer is in `tokenizer.rs`.
//!
//! Only the vocabulary is theirs: their encoder aborts the program on very long white space and takes quadratic time
//! on very long words.

use super::ModelError;
use super::tokenizer::END_OF_TEXT;
use regex::Regex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// The id of `<|endoftext|>`, the last one.
pub const END_OF_TEXT_ID: u32 = 50_256;

/// GPT-2's pattern without its `\s+(?!\S)`, which [`pieces`] does by hand.
const PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";

/// Text to GPT-2's ids and back.
#[derive(Debug)]
pub struct Gpt2Tokenizer {
    pattern: Regex,
    /// Bytes of each id; a lower id is an earlier merge.
    tokens: Vec<Vec<u8>>,
    ids: HashMap<Vec<u8>, u32>,
}

impl Gpt2Tokenizer {
    pub fn new() -> Result<Self, ModelError> {
        let error = |e: &dyn std::fmt::Display| ModelError::Tokenizer(format!("the embedded GPT-2 vocabulary: {e}"));
        let vocabulary = tiktoken_rs::r50k_base().map_err(|e| error(&e))?;
        let tokens: Vec<Vec<u8>> = (0..END_OF_TEXT_ID)
            .map(|id| vocabulary.decode_bytes(&[id]))
            .collect::<Result<_, _>>()
            .map_err(|e| error(&e))?;
        let ids = tokens.iter().cloned().zip(0..).collect();
        Ok(Self { pattern: Regex::new(PATTERN).map_err(|e| error(&e))?, tokens, ids })
    }

    /// Ids of a text; `<|endoftext|>` in it becomes its one id, as with transformers' tokenizer.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        for (i, part) in text.split(END_OF_TEXT).enumerate() {
            if i > 0 {
                ids.push(END_OF_TEXT_ID);
            }
            pieces(&self.pattern, part).for_each(|piece| self.merge(piece.as_bytes(), &mut ids));
        }
        ids
    }

    /// Text of the ids, with U+FFFD for bytes that are not UTF-8; the first id that is none of GPT-2's as the error.
    pub fn decode(&self, ids: &[u32]) -> Result<String, u32> {
        let mut bytes = Vec::new();
        for id in ids {
            match self.tokens.get(*id as usize) {
                Some(token) => bytes.extend_from_slice(token),
                None if *id == END_OF_TEXT_ID => bytes.extend_from_slice(END_OF_TEXT.as_bytes()),
                None => return Err(*id),
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Bytes of each id but `<|endoftext|>`.
    pub fn tokens(&self) -> &[Vec<u8>] {
        &self.tokens
    }

    /// The two parts that each id from 256 on was merged from, in the order of the ids: the order in which the merges
    /// were learnt.
    pub fn merges(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.tokens.iter().zip(0..).skip(256).filter_map(|(token, id)| {
            let middle = self.last_boundary(token, id)?;
            Some(token.split_at(middle))
        })
    }

    /// Where the two parts meet that the merges learnt before `id` leave of its token.
    fn last_boundary(&self, token: &[u8], id: u32) -> Option<usize> {
        let mut bounds: Vec<usize> = (0..=token.len()).collect();
        while bounds.len() > 3 {
            let rank = |i: usize| self.ids.get(&token[bounds[i]..bounds[i + 2]]).copied().filter(|rank| *rank < id);
            let (_, first) = (0..bounds.len() - 2).filter_map(|i| Some((rank(i)?, i))).min()?;
            bounds.remove(first + 1);
        }
        bounds.get(1).copied()
    }

    /// Merges neighbours of one piece, always the earliest-learnt pair and the leftmost of equals, until none is left.
    /// Parts are named by where they start; `end[start]` is where they end, 0 once merged into the part before.
    fn merge(&self, piece: &[u8], ids: &mut Vec<u32>) {
        if let Some(id) = self.ids.get(piece) {
            ids.push(*id);
            return;
        }
        let n = piece.len();
        let mut end: Vec<usize> = (1..=n).collect();
        let mut before: Vec<usize> = (0..n).map(|start| start.saturating_sub(1)).collect();
        let mut pairs = BinaryHeap::new();
        let offer = |pairs: &mut BinaryHeap<_>, start: usize, end: &[usize]| {
            let middle = end[start];
            if middle < n
                && let Some(id) = self.ids.get(&piece[start..end[middle]])
            {
                pairs.push(Reverse((*id, start, end[middle])));
            }
        };
        (0..n).for_each(|start| offer(&mut pairs, start, &end));
        while let Some(Reverse((_, start, stop))) = pairs.pop() {
            let middle = end[start];
            // Stale: one of the two parts has changed since.
            if middle == 0 || middle >= n || end[middle] != stop {
                continue;
            }
            end[start] = stop;
            end[middle] = 0;
            if stop < n {
                before[stop] = start;
                offer(&mut pairs, start, &end);
            }
            if start > 0 {
                offer(&mut pairs, before[start], &end);
            }
        }
        let mut start = 0;
        while start < n {
            // Every single byte has an id, and parts only grow into tokens.
            ids.extend(self.ids.get(&piece[start..end[start]]));
            start = end[start];
        }
    }
}

/// Words, numbers, punctuation and white space, most with one space before them. White space leaves its last
/// character to the word that follows (GPT-2's `\s+(?!\S)`).
fn pieces<'t>(pattern: &Regex, text: &'t str) -> impl Iterator<Item = &'t str> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let found = pattern.find_at(text, at)?;
        let piece = found.as_str();
        let blank = piece.chars().all(char::is_whitespace) && found.end() < text.len();
        let kept = match piece.char_indices().last() {
            Some((last, _)) if blank && last > 0 => &piece[..last],
            _ => piece,
        };
        at = found.start() + kept.len();
        Some(kept)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_everybody_knows() {
        let gpt2 = Gpt2Tokenizer::new().unwrap();
        assert_eq!(gpt2.encode("Hello world"), [15496, 995]);
        assert_eq!(gpt2.encode("a<|endoftext|>"), [64, END_OF_TEXT_ID]);
        assert_eq!(gpt2.encode(""), [0u32; 0]);
    }

    #[test]
    fn very_long_pieces_take_no_time_and_come_back() {
        let gpt2 = Gpt2Tokenizer::new().unwrap();
        for text in [" ".repeat(2_000_000) + "x", "ab".repeat(300_000), "\u{1F600}".repeat(1000)] {
            assert_eq!(gpt2.decode(&gpt2.encode(&text)).unwrap(), text);
        }
    }

    #[test]
    fn half_a_character_is_replaced_and_an_unknown_id_is_named() {
        let gpt2 = Gpt2Tokenizer::new().unwrap();
        let ids = gpt2.encode("\u{1F600}");
        assert!(gpt2.decode(&ids[..1]).unwrap().starts_with('\u{FFFD}'));
        assert_eq!(gpt2.decode(&[0, 50_257]), Err(50_257));
    }
}
