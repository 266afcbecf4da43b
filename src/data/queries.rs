//! Cutting documents into queries by the stylistic tasks' rule: an excerpt that starts after a '.' and ends at a
//! '.', of `query_min_length..=query_length` tokens (paper section 3.1, released code: lm_tasks.py), left-padded.

use crate::model::ModelError;
use crate::model::tokenizer::Tokenizer;
use crate::spec::TaskSpec;

/// A left-padded query of `query_length` tokens; `None` is padding.
pub type Query = Vec<Option<u32>>;

/// All queries that the documents hold, in order; every excerpt starts at a sentence start and is the longest
/// run of whole sentences that fits. Excerpts do not overlap, so that train and held-out queries share no text.
pub fn queries<T: AsRef<str>>(
    documents: &[T],
    tokenizer: &Tokenizer,
    task: &TaskSpec,
) -> Result<Vec<Query>, ModelError> {
    let ends = tokenizer.ids_containing(".")?;
    let mut found = Vec::new();
    for document in documents {
        let mut sentences: Vec<Vec<u32>> = vec![Vec::new()];
        for id in tokenizer.encode(document.as_ref())? {
            if let Some(sentence) = sentences.last_mut() {
                sentence.push(id);
            }
            if ends[id as usize] {
                sentences.push(Vec::new());
            }
        }
        // What follows the last full stop is not a whole sentence.
        sentences.pop();
        let mut query: Vec<u32> = Vec::new();
        for sentence in sentences {
            if !query.is_empty() && query.len() + sentence.len() > task.query_length {
                keep(&mut found, &query, task);
                query.clear();
            }
            query.extend(sentence);
        }
        keep(&mut found, &query, task);
    }
    Ok(found)
}

fn keep(found: &mut Vec<Query>, tokens: &[u32], task: &TaskSpec) {
    if (task.query_min_length.max(1)..=task.query_length).contains(&tokens.len()) {
        found.push(pad(tokens, task.query_length));
    }
}

/// Pads on the left to `length`.
fn pad(tokens: &[u32], length: usize) -> Query {
    let padding = length.saturating_sub(tokens.len());
    std::iter::repeat_n(None, padding).chain(tokens.iter().map(|t| Some(*t))).collect()
}

/// The response up to and including the first truncation token at or after `after`; `None` where there is none
/// (released code: lm_tasks.py, `truncate`).
pub fn truncate(response: &[u32], truncates: &[bool], after: usize) -> Option<usize> {
    (after..response.len()).find(|i| truncates.get(response[*i] as usize).copied().unwrap_or(false)).map(|i| i + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_starts_at_the_index_and_keeps_the_token() {
        let stops = [false, true];
        assert_eq!(truncate(&[1, 0, 1, 0], &stops, 1), Some(3));
        assert_eq!(truncate(&[1, 0, 1, 0], &stops, 0), Some(1));
        assert_eq!(truncate(&[1, 0, 0, 0], &stops, 1), None);
    }

    #[test]
    fn queries_are_whole_sentences_padded_on_the_left() {
        let documents = vec!["A cat sat. A dog ran. A fox hid in the wood".to_string()];
        let tokenizer = Tokenizer::train(documents.iter().map(String::as_str), 300).unwrap();
        let task = TaskSpec { query_length: 40, query_min_length: 2, ..TaskSpec::default() };
        let found = queries(&documents, &tokenizer, &task).unwrap();
        assert_eq!(found.len(), 1);
        let ids: Vec<u32> = found[0].iter().flatten().copied().collect();
        assert_eq!(tokenizer.decode(&ids).unwrap(), "A cat sat. A dog ran.");
        assert!(found[0][0].is_none() && found[0].len() == 40);
    }
}
