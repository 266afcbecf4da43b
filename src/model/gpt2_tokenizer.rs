//! GPT-2's own byte-level BPE with its 50,257 ids (Radford et al. 2019, encoder.py; equal to tiktoken's "gpt2"), from
//! the vocabulary that the crate tiktoken-rs embeds. A model's own tokenizer is in `tokenizer.rs`.
//!
//! Only the vocabulary is theirs: their encoder aborts the program on very long white space, takes quadratic time on
//! very long words, and is several times slower on ordinary text than the scanner and the merges here.

use super::ModelError;
use super::tokenizer::END_OF_TEXT;
use regex_syntax::hir::{Class as HirClass, HirKind};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The id of `<|endoftext|>`, the last one.
pub const END_OF_TEXT_ID: u32 = 50_256;

/// Pieces up to this many bytes are merged by looking through all their pairs again and again: quadratic, but without
/// a heap, and faster up to about here.
const SHORT: usize = 64;
/// No token, or no merge.
const NONE: u32 = u32::MAX;

/// Text to GPT-2's ids and back.
#[derive(Debug)]
pub struct Gpt2Tokenizer {
    classes: Classes,
    /// Bytes of each id; a lower id is an earlier merge.
    tokens: Vec<Vec<u8>>,
    ids: FxHashMap<Vec<u8>, u32>,
    /// The id of two bytes, at `256 * first + second`, or [`NONE`]: most pairs are met at this level.
    byte_pairs: Vec<u32>,
}

impl Gpt2Tokenizer {
    pub fn new() -> Result<Self, ModelError> {
        let error = |e: &dyn std::fmt::Display| ModelError::Tokenizer(format!("the embedded GPT-2 vocabulary: {e}"));
        let vocabulary = tiktoken_rs::r50k_base().map_err(|e| error(&e))?;
        let tokens: Vec<Vec<u8>> = (0..END_OF_TEXT_ID)
            .map(|id| vocabulary.decode_bytes(&[id]))
            .collect::<Result<_, _>>()
            .map_err(|e| error(&e))?;
        let mut byte_pairs = vec![NONE; 1 << 16];
        for (token, id) in tokens.iter().zip(0..) {
            if let [first, second] = token.as_slice() {
                byte_pairs[usize::from(*first) << 8 | usize::from(*second)] = id;
            }
        }
        let ids = tokens.iter().cloned().zip(0..).collect();
        Ok(Self { classes: Classes::new().map_err(|e| error(&e))?, tokens, ids, byte_pairs })
    }

    /// Ids of a text, as the released code's encoder gives them: `<|endoftext|>` in it is text like any other, seven
    /// tokens.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        // English has a token for about four bytes.
        let mut ids = Vec::with_capacity(text.len() / 4 + 1);
        let mut parts = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let end = self.classes.piece_end(text, at);
            let piece = &text.as_bytes()[at..end];
            match self.ids.get(piece) {
                Some(id) => ids.push(*id),
                None if piece.len() <= SHORT => self.merge_short(piece, &mut parts, &mut ids),
                None => self.merge_long(piece, &mut ids),
            }
            at = end;
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

    /// The id of some bytes, or [`NONE`].
    fn id(&self, bytes: &[u8]) -> u32 {
        match bytes {
            [first, second] => self.byte_pairs[usize::from(*first) << 8 | usize::from(*second)],
            _ => self.ids.get(bytes).copied().unwrap_or(NONE),
        }
    }

    /// Merges neighbours of one piece, always the earliest-learnt pair and the leftmost of equals, until none is left.
    /// `parts` holds, for each part, where it starts and the id that it would have together with the next one.
    fn merge_short(&self, piece: &[u8], parts: &mut Vec<(usize, u32)>, ids: &mut Vec<u32>) {
        let n = piece.len();
        parts.clear();
        parts.extend((0..n).map(|start| (start, if start + 1 < n { self.id(&piece[start..start + 2]) } else { NONE })));
        loop {
            let (mut least, mut at) = (NONE, 0);
            for (i, (_, id)) in parts.iter().enumerate() {
                if *id < least {
                    (least, at) = (*id, i);
                }
            }
            if least == NONE {
                break;
            }
            parts.remove(at + 1);
            let start_of = |i: usize| parts.get(i).map_or(n, |part: &(usize, u32)| part.0);
            // The last part has no next one.
            let with_next = |i: usize| match i + 1 < parts.len() {
                true => self.id(&piece[start_of(i)..start_of(i + 2)]),
                false => NONE,
            };
            let (before, id) = (at.checked_sub(1), with_next(at));
            let id_before = before.map_or(NONE, with_next);
            parts[at].1 = id;
            if let Some(before) = before {
                parts[before].1 = id_before;
            }
        }
        // Every single byte has an id, and parts only grow into tokens.
        let ends = parts.iter().skip(1).map(|part| part.0).chain([n]);
        ids.extend(parts.iter().zip(ends).filter_map(|((start, _), end)| self.ids.get(&piece[*start..end])));
    }

    /// [`Self::merge_short`] for any length, in n log n. Parts are named by where they start; `end[start]` is where
    /// they end, 0 once merged into the part before.
    fn merge_long(&self, piece: &[u8], ids: &mut Vec<u32>) {
        let n = piece.len();
        let mut end: Vec<usize> = (1..=n).collect();
        let mut before: Vec<usize> = (0..n).map(|start| start.saturating_sub(1)).collect();
        let mut pairs = BinaryHeap::new();
        let offer = |pairs: &mut BinaryHeap<_>, start: usize, end: &[usize]| {
            let middle = end[start];
            if middle < n {
                let id = self.id(&piece[start..end[middle]]);
                if id != NONE {
                    pairs.push(Reverse((id, start, end[middle])));
                }
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
            ids.extend(self.ids.get(&piece[start..end[start]]));
            start = end[start];
        }
    }
}

/// What GPT-2's pattern tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Other,
    Letter,
    Number,
    Space,
}

/// The class of every code point, as the regex crate's (and so tiktoken's) Unicode tables have it.
#[derive(Debug)]
struct Classes(Vec<Class>);

impl Classes {
    fn new() -> Result<Self, Box<regex_syntax::Error>> {
        let mut of = vec![Class::Other; char::MAX as usize + 1];
        for (pattern, class) in [(r"\p{L}", Class::Letter), (r"\p{N}", Class::Number), (r"\s", Class::Space)] {
            if let HirKind::Class(HirClass::Unicode(found)) = regex_syntax::parse(pattern)?.kind() {
                for range in found.ranges() {
                    of[range.start() as usize..=range.end() as usize].fill(class);
                }
            }
        }
        Ok(Self(of))
    }

    /// Where the piece that starts at `at` ends, by GPT-2's pattern
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`: words, numbers and the rest, most
    /// with one space before them; white space leaves its last character to what follows.
    fn piece_end(&self, text: &str, at: usize) -> usize {
        let bytes = text.as_bytes();
        if bytes[at] == b'\'' {
            match &bytes[at + 1..] {
                [b's' | b't' | b'm' | b'd', ..] => return at + 2,
                [b'r' | b'v', b'e', ..] | [b'l', b'l', ..] => return at + 3,
                _ => {}
            }
        }
        let (class, width) = self.first(text, at);
        if class != Class::Space {
            return self.run_end(text, at + width, class);
        }
        if bytes[at] == b' ' && at + 1 < bytes.len() {
            let (next, width) = self.first(text, at + 1);
            if next != Class::Space {
                return self.run_end(text, at + 1 + width, next);
            }
        }
        let end = self.run_end(text, at + width, Class::Space);
        match text[at..end].char_indices().next_back() {
            Some((last, _)) if last > 0 && end < bytes.len() => at + last,
            _ => end,
        }
    }

    /// Class and bytes of the character at `at`, which is inside the text.
    fn first(&self, text: &str, at: usize) -> (Class, usize) {
        match text.as_bytes()[at] {
            ascii @ 0..128 => (self.0[usize::from(ascii)], 1),
            _ => text[at..].chars().next().map_or((Class::Other, 1), |c| (self.0[c as usize], c.len_utf8())),
        }
    }

    /// Where characters of `class` end, from `at` on.
    fn run_end(&self, text: &str, mut at: usize, class: Class) -> usize {
        while at < text.len() {
            let (next, width) = self.first(text, at);
            if next != class {
                break;
            }
            at += width;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;
    use regex::Regex;

    /// GPT-2's pattern cut by the regex crate; its `\s+(?!\S)`, which that crate cannot have, by hand.
    fn pieces_by_pattern<'t>(pattern: &Regex, text: &'t str) -> Vec<&'t str> {
        let (mut at, mut pieces) = (0, Vec::new());
        while let Some(found) = pattern.find_at(text, at) {
            let blank = found.as_str().chars().all(char::is_whitespace) && found.end() < text.len();
            let kept = match found.as_str().char_indices().last() {
                Some((last, _)) if blank && last > 0 => &found.as_str()[..last],
                _ => found.as_str(),
            };
            at = found.start() + kept.len();
            pieces.push(kept);
        }
        pieces
    }

    fn pieces<'t>(classes: &Classes, text: &'t str) -> Vec<&'t str> {
        let (mut at, mut pieces) = (0, Vec::new());
        while at < text.len() {
            let end = classes.piece_end(text, at);
            pieces.push(&text[at..end]);
            at = end;
        }
        pieces
    }

    #[test]
    fn text_is_cut_where_the_pattern_cuts_it() {
        let pattern = Regex::new(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+").unwrap();
        let classes = Classes::new().unwrap();
        let check = |text: &str| assert_eq!(pieces(&classes, text), pieces_by_pattern(&pattern, text), "{text:?}");
        // Every code point between letters, and after a space.
        let all: Vec<char> = (0..=u32::from(char::MAX)).filter_map(char::from_u32).collect();
        all.chunks(64).for_each(|some| check(&some.iter().map(|c| format!("a{c}b {c}")).collect::<String>()));
        let mut random = SplitMix64::new(1);
        let pool: Vec<char> = "''''  \t\n\u{a0}\u{2003}\u{200b}\u{85}srtvemdlSLé日\u{301}12½Ⅷ٣!?-_😀".chars().collect();
        for _ in 0..20_000 {
            let length = 1 + random.below(12);
            check(&(0..length).map(|_| pool[random.below(pool.len())]).collect::<String>());
        }
    }

    #[test]
    fn short_and_long_pieces_are_merged_alike() {
        let gpt2 = Gpt2Tokenizer::new().unwrap();
        let mut random = SplitMix64::new(2);
        let (mut parts, mut short, mut long) = (Vec::new(), Vec::new(), Vec::new());
        let alphabets = [&b"abcdeinorstu"[..], b"a", b"aab", &[0xe6, 0x97, 0xa5, 0x9c, 0xac, 0xf0]];
        for i in 0..5_000 {
            let letters = alphabets[i % alphabets.len()];
            let piece: Vec<u8> = (0..1 + random.below(SHORT)).map(|_| letters[random.below(letters.len())]).collect();
            gpt2.merge_short(&piece, &mut parts, &mut short);
            gpt2.merge_long(&piece, &mut long);
            assert_eq!(short, long, "{piece:?}");
            short.clear();
            long.clear();
        }
    }

    #[test]
    fn ids_that_everybody_knows() {
        let gpt2 = Gpt2Tokenizer::new().unwrap();
        assert_eq!(gpt2.encode("Hello world"), [15496, 995]);
        // The released code's encoder: the text of a control token is no control token.
        assert_eq!(gpt2.encode("a<|endoftext|>"), [64, 27, 91, 437, 1659, 5239, 91, 29]);
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
