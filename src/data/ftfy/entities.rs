//! HTML entities and character references, as ftfy 5.4.1 undoes them: `&` or `&#`, at most eight word characters, `;`.
//! Names are HTML 5's (entities.txt holds the short ones); numbers are read as Python's `int` reads them.

use super::encoding::WINDOWS_1252;
use super::weirdness::is_word;
use regex::Regex;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Word characters between `&` and `;`.
const LONGEST: usize = 8;

/// Lines of a name and its code points in base 16.
static NAMED: LazyLock<HashMap<&str, String>> = LazyLock::new(|| {
    let code = |hex| u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
    let entry = |line: &'static str| {
        line.split_once(' ').map(|(name, codes)| (name, codes.split(' ').filter_map(code).collect()))
    };
    include_str!("entities.txt").lines().filter_map(entry).collect()
});

/// What one entity stands for.
enum Meaning {
    Text(&'static str),
    /// A code point, perhaps half of a surrogate pair.
    Code(u32),
}

/// The text with its entities replaced; what is none stays.
pub fn unescape(text: &str) -> String {
    let mut out = Output { text: String::with_capacity(text.len()), high: None };
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let entity = entity_at_start(rest).unwrap_or("&");
        match meaning(entity) {
            Some(Meaning::Text(text)) => out.push_str(text),
            Some(Meaning::Code(code)) => out.push_code(code),
            None => out.push_str(entity),
        }
        rest = &rest[entity.len()..];
    }
    out.push_str(rest);
    out.end_pair();
    out.text
}

/// The entity that `text` begins with, `&` and `;` included.
fn entity_at_start(text: &str) -> Option<&str> {
    let hash = if text[1..].starts_with('#') { 2 } else { 1 };
    let name: usize = text[hash..].chars().take(LONGEST).take_while(|c| is_word(*c)).map(char::len_utf8).sum();
    let end = hash + name;
    text[end..].starts_with(';').then(|| &text[..=end])
}

fn meaning(entity: &str) -> Option<Meaning> {
    let name = entity.strip_prefix('&')?.strip_suffix(';')?;
    let Some(number) = name.strip_prefix('#') else {
        return NAMED.get(name).map(|text| Meaning::Text(text.as_str()));
    };
    let code = match number.strip_prefix('x') {
        Some(hex) => python_int(hex, 16),
        None => python_int(number, 10),
    };
    code.filter(|code| *code <= u32::from(char::MAX)).map(|code| match u8::try_from(code) {
        // As browsers do: these were meant as Windows' characters.
        Ok(byte @ 0x80..=0x9f) => Meaning::Code(u32::from(WINDOWS_1252.decode(byte))),
        _ => Meaning::Code(code),
    })
}

/// Text in which surrogates that entities made are joined in pairs; U+FFFD stands for one alone.
struct Output {
    text: String,
    high: Option<u32>,
}

impl Output {
    fn push_str(&mut self, text: &str) {
        if !text.is_empty() {
            self.end_pair();
            self.text.push_str(text);
        }
    }
    fn push_code(&mut self, code: u32) {
        if let (Some(high), 0xdc00..=0xdfff) = (self.high, code) {
            self.high = None;
            self.text.extend(char::from_u32(0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00)));
            return;
        }
        self.end_pair();
        match code {
            0xd800..=0xdbff => self.high = Some(code),
            _ => self.text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }
    /// What has been waiting for its second half will not get it.
    fn end_pair(&mut self) {
        if self.high.take().is_some() {
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Python's `int(text, base)` for word characters: decimal digits of any script, single underscores between digits, and
/// `0x` before base 16.
fn python_int(text: &str, base: u32) -> Option<u32> {
    let digits: Option<String> = text
        .chars()
        .map(|c| if c.is_ascii() { Some(c) } else { decimal_digit(c).and_then(|d| char::from_digit(d, 10)) })
        .collect();
    let mut digits = digits?;
    if base == 16
        && let Some(rest) = digits.strip_prefix("0x").or(digits.strip_prefix("0X"))
    {
        digits = rest.strip_prefix('_').unwrap_or(rest).to_string();
    }
    if digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    u32::from_str_radix(&digits.replace('_', ""), base).ok()
}

/// The value of a decimal digit of any script. Unicode keeps the ten digits of a script together, from 0 to 9.
fn decimal_digit(c: char) -> Option<u32> {
    static DIGIT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\p{Nd}$").expect("a constant pattern"));
    let is_digit = |code: u32| char::from_u32(code).is_some_and(|c| DIGIT.is_match(c.encode_utf8(&mut [0; 4])));
    let code = u32::from(c);
    is_digit(code).then(|| {
        let before = (0..code).rev().take_while(|before| is_digit(*before)).count();
        before as u32 % 10
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(
            unescape("a &lt; b &hellip; &bne; &notaname; &#65;&#x41;&#X41; &amp"),
            "a < b … =⃥ &notaname; AA&#X41; &amp"
        );
        assert_eq!(
            unescape("&CounterClockwiseContourIntegral; &; &#; &#x; &#99999999;"),
            "&CounterClockwiseContourIntegral; &; &#; &#x; &#99999999;"
        );
    }

    #[test]
    fn numbers_as_python_reads_them() {
        assert_eq!(unescape("&#6_5; &#6__5; &#_65; &#x0x41; &#x0x_41; &#٦٥; &#𝟞𝟝;"), "A &#6__5; &#_65; A A A A");
    }
}
