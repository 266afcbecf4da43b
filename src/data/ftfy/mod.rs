//! Repair of badly decoded text: the behaviour of ftfy 5.4.1's `fix_text` with its default options, which is the
//! version that the released code pins (its Pipfile). ftfy 6 and its ports decide differently what is broken.
//!
//! A text is repaired line by line. Each line goes through the steps below again and again until nothing changes:
//! terminal escapes, wrongly decoded bytes (`encoding.rs`), HTML entities (`entities.rs`), then single characters
//! (ligatures, full and half width, curly quotes, line breaks, control characters), then Unicode's composed form NFC.

mod encoding;
mod entities;
mod weirdness;

pub use weirdness::is_word;

use regex::Regex;
use std::borrow::Cow;
use std::sync::LazyLock;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Lines with more characters keep their encoding, as in ftfy.
const LONGEST_DECODED: usize = 1_000_000;

/// Passes over one line. Real text needs two or three. Python's ftfy has no such limit, and would take quadratic time
/// on a line of a million nested `&amp;`.
const PASSES: usize = 100;

/// The terminal's colour and cursor sequences. A regex that does not compile would be found by every test here.
static TERMINAL_ESCAPE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\x1b\[(?:\d|;)*[a-zA-Z]").expect("a constant pattern"));

/// The repaired text.
pub fn fix_text(text: &str) -> String {
    let mut fixed = String::with_capacity(text.len());
    let mut html = false;
    for line in text.split_inclusive('\n') {
        // From the first line on that looks like a tag, entities may be meant as they stand.
        html |= line.contains('<') && line.contains('>');
        fixed.push_str(&fix_line(line, !html));
    }
    fixed
}

fn fix_line(line: &str, unescape: bool) -> Cow<'_, str> {
    let mut line = Cow::Borrowed(line);
    for _ in 0..PASSES {
        if is_plain(&line) {
            break;
        }
        match pass(&line, unescape) {
            fixed if fixed == *line => break,
            fixed => line = Cow::Owned(fixed),
        }
    }
    line
}

/// No step changes such a line.
fn is_plain(line: &str) -> bool {
    line.bytes().all(|b| matches!(b, b'\t' | b'\n' | 0x0c | b' '..=b'~') && b != b'&')
}

/// Every step once.
fn pass(line: &str, unescape: bool) -> String {
    let mut line = match line.contains('\u{1b}') {
        true => TERMINAL_ESCAPE.replace_all(line, ""),
        false => Cow::Borrowed(line),
    };
    if !line.is_ascii() && (line.len() <= LONGEST_DECODED || line.chars().count() <= LONGEST_DECODED) {
        line = Cow::Owned(encoding::fix_encoding(&line));
    }
    if unescape && line.contains('&') {
        line = Cow::Owned(entities::unescape(&line));
    }
    compose(fix_characters(&line))
}

/// Each character on its own: what it is replaced by, or nothing.
fn fix_characters(line: &str) -> String {
    let mut fixed = String::with_capacity(line.len());
    let mut after_return = false;
    for c in line.chars() {
        let skip = after_return && c == '\n';
        after_return = c == '\r';
        match c {
            _ if skip => {}
            '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => fixed.push('\n'),
            c if is_control(c) => {}
            '\u{3000}' => fixed.push(' '),
            '\u{ff01}'..='\u{ffef}' => fixed.extend(std::iter::once(c).nfkc().map(straight)),
            c => match ligature(c) {
                Some(letters) => fixed.push_str(letters),
                None => fixed.push(straight(c)),
            },
        }
    }
    fixed
}

/// Curly quotes become straight ones.
fn straight(c: char) -> char {
    match c {
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => '\'',
        '\u{201c}'..='\u{201f}' => '"',
        c => c,
    }
}

/// Characters that have no place in text: ASCII and Arabic controls, the byte order mark, annotations, musical controls
/// and tags. C1 controls stay, because they tell how a text was garbled.
fn is_control(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffc}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}')
}

/// The letters of a Latin ligature or digraph, quotes already straight.
fn ligature(c: char) -> Option<&'static str> {
    Some(match c {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "'n",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        _ => return None,
    })
}

fn compose(line: String) -> String {
    match is_nfc_quick(line.chars()) {
        IsNormalized::Yes => line,
        _ => line.nfc().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays() {
        let text = "Plain text, with \"quotes\", <tags> and tabs\t.\n\nTwo lines.";
        assert_eq!(fix_text(text), text);
    }

    #[test]
    fn mojibake_of_several_rounds_is_undone() {
        assert_eq!(fix_text("schÃ¶n"), "schön");
        assert_eq!(fix_text("Itâ€™s here"), "It's here");
        assert_eq!(fix_text("lâ\u{80}\u{99}humanitÃ©"), "l'humanité");
        assert_eq!(fix_text("The more you know ðŸŒ "), "The more you know 🌠");
        assert_eq!(fix_text("ＬＯＵＤ　ＮＯＩＳＥＳ"), "LOUD NOISES");
    }

    #[test]
    fn what_only_looks_broken_stays() {
        assert_eq!(fix_text("not such a fan of Charlotte Brontë…”"), "not such a fan of Charlotte Brontë…\"");
        assert_eq!(fix_text("AHÅ™, the new sofa from IKEA®"), "AHÅ™, the new sofa from IKEA®");
    }

    #[test]
    fn entities_stay_from_the_first_tag_on() {
        assert_eq!(fix_text("&lt;3 &amp;amp;\n"), "<3 &\n");
        assert_eq!(fix_text("&amp;\n<b>&amp;</b>\n&amp;"), "&\n<b>&amp;</b>\n&amp;");
        assert_eq!(fix_text("&#xD83D;&#xDE00; &#xD83D; &#150;"), "😀 \u{fffd} –");
    }

    #[test]
    fn a_line_of_nested_entities_ends() {
        let text = format!("&{}", "amp;".repeat(10_000));
        assert!(fix_text(&text).len() < text.len());
    }
}
