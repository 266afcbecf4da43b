//! Text that was decoded with the wrong encoding ("mojibake"), as ftfy 5.4.1 finds and undoes it: encode the text again
//! with a one-byte encoding, and see whether the bytes are UTF-8. Of all stages of such a repair, the least weird text
//! is kept (`weirdness.rs`).

use super::weirdness::text_cost;
use regex::bytes::Regex as BytesRegex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A one-byte encoding whose first 128 bytes are ASCII.
pub struct Encoding {
    /// What bytes 0x80 to 0xff stand for.
    high: Vec<char>,
    bytes: HashMap<char, u8>,
    /// Byte 0x1a stands for U+FFFD, a character that a stricter program has lost. Bytes that Windows does not use stand
    /// for C1 controls.
    sloppy: bool,
    /// What a repair costs that assumes this encoding: rare ones must repair more than one place.
    cost: i64,
}

impl Encoding {
    fn new(high: impl Iterator<Item = char>, sloppy: bool, cost: i64) -> Self {
        let high: Vec<char> = high.collect();
        let bytes = high.iter().copied().zip(0x80..=0xff).collect();
        Self { high, bytes, sloppy, cost }
    }

    /// The character of a byte from 0x80 on.
    pub fn decode(&self, byte: u8) -> char {
        self.high.get(usize::from(byte).wrapping_sub(0x80)).copied().unwrap_or(char::from(byte))
    }

    /// The bytes of a text, unless it has a character that the encoding lacks.
    fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let byte = |c| match c {
            '\u{1a}' if self.sloppy => None,
            '\u{fffd}' if self.sloppy => Some(0x1a),
            c if c.is_ascii() => Some(c as u8),
            c => self.bytes.get(&c).copied(),
        };
        text.chars().map(byte).collect()
    }
}

pub static WINDOWS_1252: LazyLock<Encoding> = LazyLock::new(|| {
    let high = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ".chars();
    Encoding::new(high.chain('\u{a0}'..='ÿ'), true, 0)
});

const WINDOWS_1250: &str = "€\u{81}‚\u{83}„…†‡\u{88}‰Š‹ŚŤŽŹ\u{90}‘’“”•–—\u{98}™š›śťžź\u{a0}ˇ˘Ł¤Ą¦§¨©Ş«¬\u{ad}®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľż\
    ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙";
/// From 0xa0 on; C1 controls come before.
const ISO_8859_2: &str = "\u{a0}Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u{ad}ŽŻ°ą˛ł´ľśˇ¸šşťź˝žż\
    ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙";
const WINDOWS_1251: &str = "ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—\u{98}™љ›њќћџ\u{a0}ЎўЈ¤Ґ¦§Ё©Є«¬\u{ad}®Ї°±Ііґµ¶·ё№є»јЅѕї\
    АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя";
const MACROMAN: &str = "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø\
    ¿¡¬√ƒ≈∆«»…\u{a0}ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\u{f8ff}ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ";
const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
    └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// In the order in which they are tried.
static ENCODINGS: LazyLock<[&Encoding; 7]> = LazyLock::new(|| {
    static OTHERS: LazyLock<[Encoding; 6]> = LazyLock::new(|| {
        [
            Encoding::new('\u{80}'..='ÿ', false, 0),
            Encoding::new(WINDOWS_1250.chars(), true, 2),
            Encoding::new(('\u{80}'..='\u{9f}').chain(ISO_8859_2.chars()), false, 2),
            Encoding::new(WINDOWS_1251.chars(), true, 3),
            Encoding::new(MACROMAN.chars(), false, 2),
            Encoding::new(CP437.chars(), false, 3),
        ]
    });
    let [latin_1, windows_1250, iso_8859_2, windows_1251, macroman, cp437] = &*OTHERS;
    [latin_1, &WINDOWS_1252, windows_1250, iso_8859_2, windows_1251, macroman, cp437]
});

/// The least weird of the texts that step after step of re-decoding gives, the text itself first.
pub fn fix_encoding(text: &str) -> String {
    let mut now = Cow::Borrowed(text);
    let mut best: Option<(String, i64)> = None;
    let mut steps_cost = 0;
    while let Some((fixed, cost)) = step(&now) {
        if fixed == *now {
            break;
        }
        steps_cost += cost;
        let cost = text_cost(&fixed) + steps_cost;
        let lowest = best.as_ref().map_or_else(|| text_cost(text), |(_, cost)| *cost);
        if cost < lowest {
            best = Some((fixed.clone(), cost));
        } else if best.is_none() {
            best = Some((text.to_string(), lowest));
        }
        now = Cow::Owned(fixed);
    }
    best.map_or_else(|| text.to_string(), |(text, _)| text)
}

/// One step of re-decoding and what it costs beside the result's weirdness.
fn step(text: &str) -> Option<(String, i64)> {
    if text.is_ascii() {
        return None;
    }
    let mut is_latin_1 = false;
    for (i, encoding) in ENCODINGS.iter().enumerate() {
        let Some(bytes) = encoding.encode(text) else { continue };
        if let Some((fixed, cost)) = decode(bytes, encoding.sloppy) {
            return Some((fixed, encoding.cost + cost));
        }
        is_latin_1 |= i == 0;
    }
    if let Some(fixed) = fix_punctuation(text) {
        return Some((fixed, 1));
    }
    if is_latin_1 { latin_1_as_windows_1252(text).map(|fixed| (fixed, 1)) } else { None }
}

/// The bytes as UTF-8, where spaces may stand for the byte A0 (which costs 2 for each A0) and, in a sloppy encoding,
/// the byte 1A for bytes that are lost.
fn decode(mut bytes: Vec<u8>, sloppy: bool) -> Option<(String, i64)> {
    let mut cost = 0;
    if let Some(altered) = restore_byte_a0(&bytes) {
        bytes = altered;
        cost = 2 * bytes.iter().filter(|b| **b == 0xa0).count() as i64;
    }
    if sloppy && bytes.contains(&0x1a) {
        bytes = replace_lossy(&bytes);
    }
    let decoded = if bytes.contains(&0xed) || bytes.contains(&0xc0) {
        decode_utf8_variants(&bytes)
    } else {
        String::from_utf8(bytes).ok()
    };
    decoded.map(|text| (text, cost))
}

/// UTF-8 sequences that some program has broken by turning the byte A0, a space in Latin-1, into an ordinary space. Two
/// bytes only where the result is a likely character.
static ALTERED_UTF8: LazyLock<BytesRegex> = LazyLock::new(|| {
    BytesRegex::new(
        r"(?x-u) [\xc2\xc3\xc5\xce\xd0]\x20
        | [\xe0-\xef]\x20[\x80-\xbf]
        | [\xe0-\xef][\x80-\xbf]\x20
        | [\xf0-\xf4]\x20[\x80-\xbf][\x80-\xbf]
        | [\xf0-\xf4][\x80-\xbf]\x20[\x80-\xbf]
        | [\xf0-\xf4][\x80-\xbf][\x80-\xbf]\x20",
    )
    .expect("a constant pattern")
});

/// The bytes with A0 put back; `None` where none is missing.
fn restore_byte_a0(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut restored = bytes.to_vec();
    let mut found = false;
    for place in ALTERED_UTF8.find_iter(bytes) {
        found = true;
        restored[place.range()].iter_mut().filter(|b| **b == b' ').for_each(|b| *b = 0xa0);
    }
    found.then_some(restored)
}

/// UTF-8 and CESU-8 sequences of which the byte 1A has replaced a part, and 1A alone.
static LOSSY_UTF8: LazyLock<BytesRegex> = LazyLock::new(|| {
    BytesRegex::new(
        r"(?x-u) [\xc2-\xdf]\x1a
        | \xed[\xa0-\xaf]\x1a\xed[\xb0-\xbf][\x1a\x80-\xbf]
        | \xed[\xa0-\xaf][\x1a\x80-\xbf]\xed[\xb0-\xbf]\x1a
        | [\xe0-\xef]\x1a[\x1a\x80-\xbf]
        | [\xe0-\xef][\x1a\x80-\xbf]\x1a
        | [\xf0-\xf4]\x1a[\x1a\x80-\xbf][\x1a\x80-\xbf]
        | [\xf0-\xf4][\x1a\x80-\xbf]\x1a[\x1a\x80-\xbf]
        | [\xf0-\xf4][\x1a\x80-\xbf][\x1a\x80-\xbf]\x1a
        | \x1a",
    )
    .expect("a constant pattern")
});

/// U+FFFD for each sequence of which something is lost.
fn replace_lossy(bytes: &[u8]) -> Vec<u8> {
    LOSSY_UTF8.replace_all(bytes, "\u{fffd}".as_bytes()).into_owned()
}

/// UTF-8 in which pairs of surrogates may be encoded one by one (CESU-8), and U+0000 as C0 80 (Java). A newline at the
/// end of the line may be taken for the last byte of either: so does ftfy, and the newline is lost.
fn decode_utf8_variants(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut plain = 0;
    let mut at = 0;
    while at < bytes.len() {
        let (code, length) = match bytes[at..] {
            [0xc0, 0x80, ..] | [0xc0, b'\n'] => (0, 2),
            [0xed, a @ 0xa0..=0xaf, b @ 0x80..=0xbf, 0xed, c @ 0xb0..=0xbf, d @ 0x80..=0xbf, ..]
            | [0xed, a @ 0xa0..=0xaf, b @ 0x80..=0xbf, 0xed, c @ 0xb0..=0xbf, d @ b'\n'] => {
                let [a, b, c, d] = [(a, 0x0f, 16), (b, 0x3f, 10), (c, 0x0f, 6), (d, 0x3f, 0)]
                    .map(|(byte, mask, shift)| (u32::from(byte) & mask) << shift);
                (0x10000 + a + b + c + d, 6)
            }
            _ => {
                at += 1;
                continue;
            }
        };
        text.push_str(std::str::from_utf8(&bytes[plain..at]).ok()?);
        text.push(char::from_u32(code)?);
        at += length;
        plain = at;
    }
    text.push_str(std::str::from_utf8(&bytes[plain..]).ok()?);
    Some(text)
}

/// General punctuation (U+2000 to U+203F) read as Windows-1252, which begins with an unmistakable "â€", is repaired
/// even where the rest of the line is sound. `None` where there is none.
fn fix_punctuation(text: &str) -> Option<String> {
    let mut pieces = text.split("â€");
    let mut fixed = pieces.next()?.to_string();
    let mut found = false;
    for piece in pieces {
        let mut rest = piece.chars();
        match rest.next().and_then(|c| WINDOWS_1252.bytes.get(&c)) {
            Some(byte @ 0x80..=0xbf) => {
                found = true;
                fixed.extend(char::from_u32(0x2000 + u32::from(byte & 0x3f)));
                fixed.push_str(rest.as_str());
            }
            _ => {
                fixed.push_str("â€");
                fixed.push_str(piece);
            }
        }
    }
    found.then_some(fixed)
}

/// C1 controls as the characters that Windows has in their place; `None` where it has none.
fn latin_1_as_windows_1252(text: &str) -> Option<String> {
    let character = |c| match c {
        '\u{81}' | '\u{8d}' | '\u{8f}' | '\u{90}' | '\u{9d}' => None,
        '\u{80}'..='\u{9f}' => Some(WINDOWS_1252.decode(c as u8)),
        c => Some(c),
    };
    text.chars().map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_has_128_different_high_characters() {
        for encoding in ENCODINGS.iter() {
            assert_eq!((encoding.high.len(), encoding.bytes.len()), (128, 128));
        }
    }

    #[test]
    fn cesu_and_java_are_decoded() {
        assert_eq!(decode_utf8_variants(b"a\xed\xa0\xbd\xed\xb8\x80\xc0\x80").unwrap(), "a\u{1f600}\0");
        assert_eq!(decode_utf8_variants(b"\xed\x95\x9c").unwrap(), "\u{d55c}");
        assert_eq!(decode_utf8_variants(b"\xed\xa0\xbdx"), None);
        assert_eq!(decode_utf8_variants(b"\xc0"), None);
        assert_eq!(decode_utf8_variants(b"\xc0\n").unwrap(), "\0");
    }

    #[test]
    fn lost_bytes_become_one_replacement_character() {
        assert_eq!(fix_encoding("â€œlossy decodingâ€\u{fffd}"), "“lossy decoding\u{fffd}");
    }
}
