//! Clean-up of a task's documents before they become tokens, equal to the released code's (datasets/tldr.py and
//! datasets/cnndm.py, with ftfy 5.4.1). Its stylistic tasks read passages that were clean already.
//!
//! Regular expressions and `strip` there are Python's: white space includes the separators U+001C to U+001F, and
//! lengths count characters. docs/data.md lists the rules in order.

use super::ftfy::{fix_text, is_word};
use crate::spec::Clean;
use regex::Regex;
use std::sync::LazyLock;

/// The cleaned document.
pub fn clean(text: &str, rule: Clean) -> String {
    match rule {
        Clean::None => text.to_string(),
        Clean::Tldr => strip(&at_most_two_newlines(&fix_text(text))).to_string(),
        Clean::Cnndm => {
            let text = at_most_two_newlines(&fix_text(&clean_start(text)));
            let article = text.split("@highlight").next().unwrap_or(&text);
            strip(article).to_string()
        }
    }
}

/// Three and more newlines become two.
fn at_most_two_newlines(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut newlines = 0;
    for c in text.chars() {
        newlines = if c == '\n' { newlines + 1 } else { 0 };
        if newlines <= 2 {
            kept.push(c);
        }
    }
    kept
}

/// What the released code takes from the beginning of a news article, its `clean_up_start`: mistakes included.
fn clean_start(text: &str) -> String {
    let text = after_last(&CNN_LEAD, without_byline(text));
    let text = without_cnn_mark(text);
    let text = after_last(&UPDATED, without_and_line(&text));
    strip(&text.replace(['’', '‘'], "'")).to_string()
}

/// The first two lines of a text that begins with "By" are a byline; so is "Byzantium fell" and the line after it.
fn without_byline(text: &str) -> &str {
    if !text.starts_with("By") {
        return text;
    }
    text.splitn(3, '\n').nth(2).unwrap_or_default()
}

/// A lead as in "LONDON, England (CNN) -- The".
static CNN_LEAD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\(CNN\) +--").expect("a constant pattern"));

/// A line with the time of an update. The released code means to end it with a year, but asks only for one of these
/// characters, after which the line may go on: the last of them in the line ends the match.
static UPDATED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r".*UPDATED:[\s\x1c-\x1f]+[0-9]{2}:[0-9]{2}.*[0-5|]").expect("a constant pattern"));

/// What follows the last match.
fn after_last<'t>(pattern: &Regex, text: &'t str) -> &'t str {
    let last = pattern.find_iter(text).last();
    last.map_or(text, |found| &text[found.end()..])
}

/// Of the first 100 characters, only what follows the last "(CNN)".
fn without_cnn_mark(text: &str) -> String {
    let end = text.char_indices().nth(100).map_or(text.len(), |(at, _)| at);
    let (start, rest) = text.split_at(end);
    let kept = start.rsplit("(CNN)").next().unwrap_or(start);
    format!("{kept}{rest}")
}

/// A first line "and WORD" is left over from a byline of two.
fn without_and_line(text: &str) -> &str {
    let line = text.strip_prefix("and ").and_then(|rest| rest.split_once('\n'));
    match line {
        Some((word, rest)) if !word.is_empty() && word.chars().all(is_word) => rest,
        _ => text,
    }
}

/// Python's `str.strip`.
fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cnndm(text: &str) -> String {
        clean(text, Clean::Cnndm)
    }

    #[test]
    fn bylines_and_leads_go() {
        assert_eq!(cnndm("By\nJane Doe\nThe text."), "The text.");
        assert_eq!(cnndm("By . Jane Doe .\nPUBLISHED: . 10:00\nand Smith\nThe text."), "The text.");
        assert_eq!(cnndm("Byzantium fell.\nMore"), "");
        assert_eq!(cnndm("LONDON (CNN)  -- The text. (CNN) -- It."), "It.");
        assert_eq!(cnndm("ROME (CNN)The text."), "The text.");
        assert_eq!(cnndm(&format!("{}(CNN)The text.", "é".repeat(95))), "The text.");
        assert_eq!(cnndm(&format!("{}(CNN)x", "é".repeat(96))), format!("{}(CNN)x", "é".repeat(96)));
    }

    #[test]
    fn an_update_line_ends_at_its_last_digit_of_a_year() {
        assert_eq!(cnndm("PUBLISHED: . 09:00 . | . UPDATED: . 10:00"), "PUBLISHED: . 09:00 . | . UPDATED: . 10:00");
        assert_eq!(cnndm("x\nUPDATED:\n\n10:44 EST, 13 May 2013 . The text"), ". The text");
        assert_eq!(cnndm("UPDATED: 10:44 EST, May 6 . The 5 men"), "men");
    }

    #[test]
    fn highlights_go_and_newlines_shrink() {
        assert_eq!(cnndm("The ‘text’.\n\n\n\nMore.\n\n@highlight\n\nIt."), "The 'text'.\n\nMore.");
        assert_eq!(clean("\u{1f} a\r\n\r\n\r\nb \u{a0}\u{3000}", Clean::Tldr), "a\n\nb");
        assert_eq!(clean(" a ", Clean::None), " a ");
    }
}
