//! Documents from files of one sentence per record, such as BookCorpus: runs of records in their order. Such files hold
//! words and punctuation apart (`he did n't wait , he ran .`), which is undone, because the stylistic tasks begin and
//! end queries at GPT-2's token for a full stop that follows a word.

/// Sentences as one document.
pub fn join(sentences: &[String]) -> String {
    let mut text = String::new();
    let mut open = true;
    for word in sentences.iter().flat_map(|sentence| sentence.split_whitespace()) {
        if !open && !closes_up(word) {
            text.push(' ');
        }
        text.push_str(match word {
            "``" | "''" => "\"",
            other => other,
        });
        open = matches!(word, "``" | "(" | "[");
    }
    text
}

/// Whether a word follows the one before without a space.
fn closes_up(word: &str) -> bool {
    let ending = ["'s", "'m", "'d", "'re", "'ve", "'ll"];
    matches!(word, "." | "," | "!" | "?" | ";" | ":" | ")" | "]" | "''" | "..." | "n't")
        || ending.iter().any(|end| word.eq_ignore_ascii_case(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(sentences: &[&str]) -> String {
        join(&sentences.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn words_and_punctuation_that_stand_apart_close_up() {
        let one = "usually , he would n't be tearing around ( or so ) , playing with his toys .";
        assert_eq!(joined(&[one]), "usually, he wouldn't be tearing around (or so), playing with his toys.");
        assert_eq!(joined(&["`` it 's late ! ''", "she said so ."]), "\"it's late!\" she said so.");
    }

    #[test]
    fn plain_sentences_stay_as_they_are() {
        assert_eq!(joined(&["He ran. ", "\"Why?\" she asked.", ""]), "He ran. \"Why?\" she asked.");
        assert_eq!(joined(&[]), "");
    }
}
