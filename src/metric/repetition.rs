//! Whether a model's texts have collapsed: how much they repeat each other, and each of them itself. Over
//! [`words`].

use super::text::words;
use std::collections::HashSet;

/// Words of the repeated n-grams.
pub const REPEATED: usize = 4;

/// distinct-n of all texts together: different n-grams / n-grams (Li et al. 2016, "A Diversity-Promoting Objective
/// Function", section 5.2). N-grams do not cross texts; `None` where there are none. It falls with the number of texts,
/// so only equally many of similar length may be compared.
pub fn distinct(texts: &[String], n: usize) -> Option<f64> {
    let texts: Vec<Vec<String>> = texts.iter().map(|text| words(text)).collect();
    let grams = texts.iter().flat_map(|text| text.windows(n.max(1)));
    share(grams)
}

/// Share of a text's n-grams that it has had before, 1 - different / all (Welleck et al. 2020, "Neural Text Generation
/// with Unlikelihood Training", seq-rep-n); `None` where it has no n-gram.
pub fn repeated(text: &str, n: usize) -> Option<f64> {
    share(words(text).windows(n.max(1))).map(|different| 1.0 - different)
}

/// Different ones / all.
fn share<'t>(grams: impl Iterator<Item = &'t [String]>) -> Option<f64> {
    let (mut seen, mut all) = (HashSet::new(), 0usize);
    for gram in grams {
        seen.insert(gram);
        all += 1;
    }
    (all > 0).then(|| seen.len() as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let texts = ["a b a b".to_string(), "A b.".to_string(), "...".to_string()];
        assert_eq!(distinct(&texts, 1), Some(2.0 / 6.0));
        assert_eq!(distinct(&texts, 2), Some(2.0 / 4.0)); // a b, b a, a b; a b
        assert_eq!(distinct(&texts, 3), Some(1.0));
        assert_eq!(distinct(&texts, 5), None);
        assert_eq!(repeated("a b c d a b c d", 4), Some(1.0 - 4.0 / 5.0));
        assert_eq!(repeated("a b c", 4), None);
        assert_eq!(repeated("no no no no no", 4), Some(0.5));
    }
}
