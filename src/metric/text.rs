//! Sentences, the lead-3 baseline and how much of a summary is not in its source (paper figure 5, table 4).
//!
//! Sentences are those of Unicode's standard annex 29; a line break ends one too. The annex knows no abbreviations:
//! "Mr. Smith" is cut after "Mr.". Pieces without a letter or digit ("...") are no sentences.

use std::collections::HashSet;
use unicode_segmentation::UnicodeSegmentation;

/// The sentences of a text in order, without the white space around them.
pub fn sentences(text: &str) -> Vec<&str> {
    text.lines().flat_map(str::unicode_sentences).map(str::trim).filter(|s| !s.is_empty()).collect()
}

/// The lead-3 baseline: the first three sentences, joined by spaces (fewer where the text has fewer).
pub fn lead3(text: &str) -> String {
    sentences(text).into_iter().take(3).collect::<Vec<_>>().join(" ")
}

/// Lower-cased runs of letters and digits of any script: "don't" is "don", "t".
pub fn words(text: &str) -> Vec<String> {
    text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_string).collect()
}

/// Shares (0 to 1) of a summary that do not occur in its source; `None` where the summary has no such part.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Novelty {
    pub ngram1: Option<f64>,
    pub ngram2: Option<f64>,
    pub ngram3: Option<f64>,
    pub ngram4: Option<f64>,
    pub sentence: Option<f64>,
}

/// Novelty of a summary's n-grams and sentences, over [`words`]. Every occurrence in the summary counts, repeated or
/// not; n-grams cross sentence ends. A sentence occurs in the source when its words do, side by side in that order.
pub fn novelty(source: &str, summary: &str) -> Novelty {
    let (from, of) = (words(source), words(summary));
    let ngram = |n: usize| {
        let known: HashSet<&[String]> = from.windows(n).collect();
        share(of.windows(n).map(|gram| !known.contains(gram)))
    };
    let sentence =
        share(sentences(summary).into_iter().map(words).filter(|s| !s.is_empty()).map(|s| !occurs(&s, &from)));
    Novelty { ngram1: ngram(1), ngram2: ngram(2), ngram3: ngram(3), ngram4: ngram(4), sentence }
}

fn occurs(part: &[String], whole: &[String]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

fn share(new: impl Iterator<Item = bool>) -> Option<f64> {
    let (count, all) = new.fold((0u64, 0u64), |(count, all), new| (count + u64::from(new), all + 1));
    (all > 0).then(|| count as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_at_full_stops_and_at_lines() {
        let text = "One. Two 3.5 here!  Three?\nfour\n\n... \"Five.\" Six";
        assert_eq!(sentences(text), ["One.", "Two 3.5 here!", "Three?", "four", "\"Five.\"", "Six"]);
        assert_eq!(lead3(text), "One. Two 3.5 here! Three?");
        assert_eq!(lead3("  "), "");
    }

    #[test]
    fn a_copy_has_no_novelty_and_a_changed_word_makes_its_ngrams_new() {
        let source = "The cat sat on the mat. It slept.";
        let copy = novelty(source, "the CAT sat on the mat.");
        assert_eq!((copy.ngram1, copy.ngram4, copy.sentence), (Some(0.0), Some(0.0), Some(0.0)));
        let changed = novelty(source, "The dog sat. It slept.");
        assert_eq!((changed.ngram1, changed.ngram2, changed.sentence), (Some(0.2), Some(0.75), Some(0.5)));
        assert_eq!(novelty(source, "one two").ngram3, None);
    }
}
