//! CNN/Daily Mail's `.story` files (Hermann et al. 2015): an article, then its highlights, each after an `@highlight`
//! line. The document's text is the whole file, for the task's clean-up works on that; its summary are the highlights,
//! one per line, as the released code cuts them out (datasets/cnndm.py, `get_art_abs`, after See et al. 2017).

use super::plain::read_text;
use super::{Reader, Record, Want, no_labels};
use crate::data::error::DataError;
use std::path::Path;

const HIGHLIGHT: &str = "@highlight";
/// A line that ends with one of these needs no full stop.
const ENDS: [char; 9] = ['.', '!', '?', '\'', '`', '"', '\u{2019}', '\u{201d}', ')'];

pub fn open(path: &Path, want: Want) -> Result<Reader, DataError> {
    no_labels(path, want)?;
    // Python's text files end lines with a lone carriage return too.
    let text = read_text(path)?.replace('\r', "\n");
    let summary = highlights(&text);
    Ok(Reader::of_one(Record { text, summary, label: None }))
}

/// Every line after the first `@highlight`, stripped, with a full stop where it lacks one.
fn highlights(story: &str) -> Option<String> {
    let lines = story.lines().map(str::trim).filter(|line| !line.is_empty());
    let highlights: Vec<String> = lines
        .skip_while(|line| !line.starts_with(HIGHLIGHT))
        .filter(|line| !line.starts_with(HIGHLIGHT))
        .map(|line| if line.ends_with(ENDS) { line.to_string() } else { format!("{line}.") })
        .collect();
    (!highlights.is_empty()).then(|| highlights.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highlights_follow_the_article() {
        let story =
            "LONDON (CNN) -- It rained.\n\nIt rained\n\n@highlight\n\n  It rained  \n\n@highlight\n\nHe said \"no\"\n";
        assert_eq!(highlights(story).as_deref(), Some("It rained.\nHe said \"no\""));
        assert_eq!(highlights("No highlights here."), None);
        assert_eq!(highlights("Text\n@highlight\n"), None);
    }
}
