//! How unlikely a text is, as ftfy 5.4.1 counts it: unlikely neighbours by the classes of their characters, and
//! well-known pairs of mojibake, less common symbols. A repair is kept only if it makes the text less weird than it is
//! long.
//!
//! classes.txt holds the first code point of each run of characters of one class: L and l Latin capital and small
//! letters; A, a and C other capital, small and caseless letters; i phonetic letters; m letter modifiers; M marks; N
//! numbers that are not digits; 1 mathematical and currency symbols; 2 symbol modifiers; 3 other symbols; X controls; P
//! private use; _ unassigned; o everything else. They are Unicode 9's, with ftfy's exceptions.

use regex::Regex;
use std::sync::LazyLock;
use unicode_normalization::UnicodeNormalization;

/// Runs of classes: first code point and class, in order.
static CLASSES: LazyLock<Vec<(u32, u8)>> = LazyLock::new(|| {
    let run = |line: &str| {
        let (start, class) = line.split_once(' ')?;
        Some((u32::from_str_radix(start, 16).ok()?, *class.as_bytes().first()?))
    };
    include_str!("classes.txt").lines().filter_map(run).collect()
});

fn class(c: char) -> u8 {
    let runs = &*CLASSES;
    let after = runs.partition_point(|(start, _)| *start <= u32::from(c));
    runs.get(after.wrapping_sub(1)).map_or(b'o', |(_, class)| *class)
}

/// Python's `\w`: letters, numbers of every kind, and the underscore.
pub fn is_word(c: char) -> bool {
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^[\p{L}\p{N}]$").expect("a constant pattern"));
    match c {
        '_' => true,
        c if c.is_ascii() => c.is_ascii_alphanumeric(),
        c => WORD.is_match(c.encode_utf8(&mut [0; 4])),
    }
}

/// What a text costs: its length in characters, and how weird it is.
pub fn text_cost(text: &str) -> i64 {
    let composed: Vec<char> = text.nfc().collect();
    let classes: Vec<u8> = composed.iter().map(|c| class(*c)).collect();
    let common = composed.iter().filter(|c| is_common(**c)).count();
    let weird = unlikely_neighbours(&classes) + known_mojibake(&composed);
    2 * weird as i64 - common as i64 + text.chars().count() as i64
}

/// Counts unlikely characters and pairs, from left to right, no character twice.
fn unlikely_neighbours(classes: &[u8]) -> usize {
    let (mut count, mut i) = (0, 0);
    while i < classes.len() {
        let length = match classes[i..] {
            [a, b, ..] if is_unlikely_pair(a, b) => 2,
            [b'2' | b'X' | b'P' | b'_', ..] => 1,
            _ => 0,
        };
        count += usize::from(length > 0);
        i += length.max(1);
    }
    count
}

fn is_unlikely_pair(a: u8, b: u8) -> bool {
    let symbol = |class| matches!(class, b'M' | b'm' | b'N' | b'1' | b'3');
    match (a, b) {
        // A mark on what does not take marks, or would be one character with it.
        (a, b'M') => !matches!(a, b'C' | b'M'),
        // Latin beside other scripts.
        (b'L' | b'l', b'A' | b'a' | b'C') | (b'A' | b'a' | b'C', b'L' | b'l') => true,
        // Phonetic letters are never capitals.
        (b'L' | b'A', b'i') | (b'i', b'L' | b'A') => true,
        // Symbols of different kinds.
        (a, b) => a != b && symbol(a) && symbol(b),
    }
}

/// Counts mojibake pairs that hardly anybody writes on purpose.
fn known_mojibake(text: &[char]) -> usize {
    let (mut count, mut i) = (0, 0);
    while i < text.len() {
        let length = match text[i..] {
            ['Â' | 'Ã' | 'Ă', c, ..] if follows_lead(c) => 2,
            ['Â' | 'Ã' | 'Ă', '›' | '»' | '‘' | '”' | '©' | '™', c, ..] if is_word(c) => 3,
            ['ð' | 'đ', 'Ÿ' | '\u{9f}', ..] | ['â', '€', ..] => 2,
            ['в', 'Ђ', 'љ' | 'ћ' | '¦' | '°' | '№' | '™' | 'ќ' | '“' | '”', ..] => 3,
            _ => 0,
        };
        count += usize::from(length > 0);
        i += length.max(1);
    }
    count
}

/// Second bytes of two-byte UTF-8 in Latin-1, Latin-2 and Windows' variants of them.
fn follows_lead(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}' | '¡'..='¨' | 'ª'..='¬' | '¯'..='³' | 'µ'..='º' | '¼'..='¿')
        || "€ƒ‚„†‡ˆ‰‹Œ“•˜œŸˇ˘˝".contains(c)
}

/// Characters that occur in mojibake, and just as well in sound text.
fn is_common(c: char) -> bool {
    "…—–‘“’”¡¿°™®‹›«»\u{a0}´×ß\u{feff}".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_well_known_characters() {
        let classes: String = "Aé1 Жя中ə\u{301}½€¨™\u{81}\u{e000}~😀".chars().map(|c| char::from(class(c))).collect();
        assert_eq!(classes, "LlooAaClMN123XPo3");
    }

    #[test]
    fn mojibake_costs_more_than_what_it_stands_for() {
        assert!(text_cost("Ã©tÃ©") > text_cost("été"));
        assert!(text_cost("Brontë…”") <= text_cost("Bront녔"));
    }
}
