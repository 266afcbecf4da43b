//! What a summary copies from its source, and from where (paper table 7, figures 6 and 7).
//!
//! Copied spans are the extractive fragments of Grusky, Naaman and Artzi ("Newsroom", 2018, section 4), but for a
//! shortest length; everything is counted over [`words`]. The paper says how long a copied start
//! is, three words (table 7), and not how long a copied piece must be: four words are this project's choice.

use super::text::{sentences, words};
use std::collections::HashMap;

/// Fewest words of a copied span: the longest n-gram of figure 5.
pub const SPAN_WORDS: usize = 4;
/// Words that must be equal for a response to copy the start of its source (paper table 7).
pub const START_WORDS: usize = 3;

/// A run of words that response and source share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Span {
    /// Index of its first word in the response.
    pub response: usize,
    /// Index of its first word in the source: of several places, the first.
    pub source: usize,
    pub words: usize,
}

impl Span {
    /// Where in the source it begins: 0 at the first word, below 1 at the last.
    pub fn position(&self, source_words: usize) -> f64 {
        self.source as f64 / source_words.max(1) as f64
    }
}

/// Copied spans of at least `shortest` words (1 or more), in the response's order and without overlap. From left to
/// right, the longest run that begins here and occurs in the source is one if it is long enough, and reading goes on
/// behind it; otherwise at the next word.
pub fn spans(source: &[String], response: &[String], shortest: usize) -> Vec<Span> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    source.iter().enumerate().for_each(|(j, word)| places.entry(word).or_default().push(j));
    let common = |i: usize, j: usize| source[j..].iter().zip(&response[i..]).take_while(|(a, b)| a == b).count();
    let mut found = Vec::new();
    let mut i = 0;
    while i < response.len() {
        let starts = places.get(response[i].as_str()).into_iter().flatten();
        // The first of equally long ones: `max_by_key` takes the last, hence from behind.
        let best = starts.rev().map(|j| (common(i, *j), *j)).max_by_key(|(words, _)| *words);
        match best {
            Some((length, j)) if length >= shortest.max(1) => {
                found.push(Span { response: i, source: j, words: length });
                i += length;
            }
            _ => i += 1,
        }
    }
    found
}

/// What one response copies.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Copying {
    /// Spans of at least [`SPAN_WORDS`] words.
    pub spans: Vec<Span>,
    /// Relative position in the source, 0 to 1, of each of them.
    pub positions: Vec<f64>,
    /// Share of the response's words that lie in them; `None` without words. With a shortest length of 1 it would be
    /// Grusky et al.'s coverage.
    pub copied: Option<f64>,
    /// Relative position in the source of each whole sentence of the response that occurs there.
    pub sentences: Vec<f64>,
}

/// Copied spans and sentences of a response.
pub fn copying(source: &str, response: &str) -> Copying {
    let (from, of) = (words(source), words(response));
    let spans = spans(&from, &of, SPAN_WORDS);
    let copied: usize = spans.iter().map(|s| s.words).sum();
    let place = |sentence: &[String]| from.windows(sentence.len()).position(|window| window == sentence);
    Copying {
        positions: spans.iter().map(|s| s.position(from.len())).collect(),
        copied: (!of.is_empty()).then(|| copied as f64 / of.len() as f64),
        sentences: sentences(response)
            .into_iter()
            .map(words)
            .filter(|sentence| !sentence.is_empty())
            .filter_map(|sentence| Some(place(&sentence)? as f64 / from.len().max(1) as f64))
            .collect(),
        spans,
    }
}

/// Whether the response's first [`START_WORDS`] words are the source's; a response with fewer copies nothing. `None`
/// where the source has fewer.
pub fn copies_start(source: &str, response: &str) -> Option<bool> {
    let (from, of) = (words(source), words(response));
    let start = from.get(..START_WORDS)?;
    Some(of.get(..START_WORDS) == Some(start))
}

/// The paper's rules for sources that begin with nothing worth copying (table 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preamble {
    /// TL;DR: the first word is one of "hi", "hello", "hey", "ok", "okay", "so".
    Greeting,
    /// CNN/Daily Mail: a colon in the first three words, which white space separates.
    Colon,
}

const GREETINGS: [&str; 6] = ["hi", "hello", "hey", "ok", "okay", "so"];

/// Whether a source begins with an uninformative preamble.
pub fn has_preamble(source: &str, rule: Preamble) -> bool {
    match rule {
        Preamble::Greeting => words(source).first().is_some_and(|word| GREETINGS.contains(&word.as_str())),
        Preamble::Colon => source.split_whitespace().take(3).any(|word| word.contains(':')),
    }
}

/// A text in pieces, in order, and whether each is copied from the source (for showing it): [`spans`] with the white
/// space and marks between their words.
pub fn marked<'t>(source: &str, response: &'t str) -> Vec<(&'t str, bool)> {
    let places = places(response);
    let lowered: Vec<String> = places.iter().map(|(from, to)| response[*from..*to].to_lowercase()).collect();
    let (mut pieces, mut at) = (Vec::new(), 0);
    for span in spans(&words(source), &lowered, SPAN_WORDS) {
        let (from, to) = (places[span.response].0, places[span.response + span.words - 1].1);
        pieces.push((&response[at..from], false));
        pieces.push((&response[from..to], true));
        at = to;
    }
    pieces.push((&response[at..], false));
    pieces.retain(|(text, _)| !text.is_empty());
    pieces
}

/// Where each run of letters and digits begins and ends, in bytes.
fn places(text: &str) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (at, c) in text.char_indices().filter(|(_, c)| c.is_alphanumeric()) {
        match found.last_mut() {
            Some((_, end)) if *end == at => *end = at + c.len_utf8(),
            _ => found.push((at, at + c.len_utf8())),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "Hi all. My brother broke my car yesterday. I paid for it. My brother broke my bike too.";

    #[test]
    fn the_longest_run_is_taken_where_it_is_first() {
        let found = copying(SOURCE, "My brother broke my bike! He paid for it. My brother broke my");
        let span = |response, source, words| Span { response, source, words };
        assert_eq!(found.spans, [span(0, 12, 5), span(6, 9, 7)]);
        assert_eq!(found.positions, [12.0 / 18.0, 9.0 / 18.0]);
        assert_eq!(found.copied, Some(12.0 / 13.0));
        assert_eq!(found.sentences, [12.0 / 18.0, 2.0 / 18.0]);
        assert_eq!(copying(SOURCE, " ... ").copied, None);
        assert_eq!(copying("", "one two three four").copied, Some(0.0));
    }

    #[test]
    fn starts_and_preambles() {
        assert_eq!(copies_start(SOURCE, "hi all, my BROTHER is here"), Some(true));
        assert_eq!(copies_start(SOURCE, "My brother broke my car"), Some(false));
        assert_eq!(copies_start(SOURCE, "Hi all"), Some(false));
        assert_eq!(copies_start("one two", "one two"), None);
        assert!(has_preamble(" (Hello!) you", Preamble::Greeting) && !has_preamble("Sometimes", Preamble::Greeting));
        assert!(!has_preamble("", Preamble::Greeting) && !has_preamble("", Preamble::Colon));
        assert!(has_preamble("Winner: Simon Wood", Preamble::Colon) && has_preamble("at 3:45 today", Preamble::Colon));
        assert!(has_preamble("He said it: no", Preamble::Colon));
        assert!(!has_preamble("One two three four: five", Preamble::Colon));
    }

    /// Four words were once asked for; the paper's table 7 is of the first three.
    #[test]
    fn three_equal_words_are_a_copied_start() {
        assert_eq!(copies_start(SOURCE, "Hi all, my sister is here"), Some(true));
        assert_eq!(copies_start("one two three", "one two three"), Some(true));
    }

    #[test]
    fn marks_keep_the_text() {
        let text = "Well: \"My brother, broke MY bike\", İstanbul.";
        let pieces = marked(SOURCE, text);
        assert_eq!(pieces.iter().map(|(text, _)| *text).collect::<String>(), text);
        assert_eq!(pieces[1], ("My brother, broke MY bike", true));
        assert!(marked(SOURCE, "").is_empty());
    }
}
