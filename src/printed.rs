//! Text that others wrote (names of labelers and files, samples of a model, cells of their files), quoted for where it
//! goes: a shell's command line, a terminal, a spreadsheet. HTML is escaped where pages are made (report/html.rs).

use std::borrow::Cow;
use std::path::Path;

/// A word of a command that a person may paste into a shell. What a shell could read as anything but letters stands in
/// single quotes, in which nothing is expanded. A word that may begin with a dash belongs behind `--`.
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into();
    }
    format!("'{}'", text.replace('\'', "'\\''")).into()
}

/// A path as a word of a command; behind ./ a name that begins with a dash is no option.
pub fn shell_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let here = if text.starts_with('-') { "./" } else { "" };
    format!("{here}{}", shell_word(&text))
}

/// Text for a terminal: control characters, which could move the cursor, change colours or run what a terminal has for
/// commands, and characters that turn the direction of writing, as `\x1b` or `\u{202e}`. Line ends and tabs stay.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !is_control(c) || matches!(c, '\n' | '\t');
    if text.chars().all(harmless) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if harmless(c) => safe.push(c),
            c if u32::from(c) < 0x100 => safe.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => safe.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        }
    }
    safe.into()
}

fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a spreadsheet computes with a cell, apostrophes before it left aside.
fn is_formula(cell: &str) -> bool {
    // Full-width signs are taken for the others (OWASP, CSV Injection).
    let signs = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    cell.trim_start_matches('\'').starts_with(signs)
}

/// A cell of a CSV file that no spreadsheet computes with: an apostrophe makes it text.
pub fn spreadsheet_cell(cell: &str) -> Cow<'_, str> {
    if is_formula(cell) { format!("'{cell}").into() } else { cell.into() }
}

/// What [`spreadsheet_cell`] was given; a cell that a person wrote is left as it is.
pub fn of_spreadsheet(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|rest| is_formula(rest)).unwrap_or(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_command_stays_a_name_in_a_shell() {
        assert_eq!(shell_word("ada@example.org"), "ada@example.org");
        assert_eq!(shell_word("labels/sentiment"), "labels/sentiment");
        for name in ["$(touch pwned)", "`id`", "a b", "it's", "a\nb", "", "~", "*", "a;b", "!x", "\"$HOME\"", "é"] {
            let script = format!("printf %s {}", shell_word(name));
            let out = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), name, "{script}");
        }
        assert_eq!((shell_path(Path::new("-rf")).as_str(), shell_path(Path::new("a b")).as_str()), ("./-rf", "'a b'"));
    }

    #[test]
    fn escape_sequences_do_not_reach_a_terminal() {
        assert_eq!(for_terminal("plain\ttext\nand é"), "plain\ttext\nand é");
        assert_eq!(for_terminal("\u{1b}]0;title\u{7}\r\u{9b}31m"), "\\x1b]0;title\\x07\\x0d\\x9b31m");
        assert_eq!(for_terminal("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn formulas_go_into_spreadsheets_as_text_and_come_back() {
        for cell in ["=1+1", "+1", "-x", "@SUM(A1)", "\tx", "'=1", "''-x", "it's", "'quoted'", "", "a=b"] {
            assert_eq!(of_spreadsheet(&spreadsheet_cell(cell)), cell, "{cell:?}");
        }
        assert_eq!(spreadsheet_cell("=HYPERLINK(\"http://x\")"), "'=HYPERLINK(\"http://x\")");
        assert_eq!((spreadsheet_cell("'hello'"), of_spreadsheet("'hello")), ("'hello'".into(), "'hello"));
    }
}
