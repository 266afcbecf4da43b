//! Where a response ends (paper section 3.1; released code: lm_tasks.py), and a reference summary as a response.

use crate::model::ModelError;
use crate::model::tokenizer::Tokenizer;
use crate::spec::{TaskSpec, TruncateMatch};

/// The one token that a text is.
pub(super) fn only_id(tokenizer: &Tokenizer, key: &str, text: &str) -> Result<u32, ModelError> {
    match tokenizer.encode_own(text)?[..] {
        [id] => Ok(id),
        ref ids => Err(ModelError::Input(format!("{key}: {text:?} is {} tokens; give text of exactly one", ids.len()))),
    }
}

/// A reference summary as the response that a model would give: after a space (GPT-2 writes a word with the space
/// before it, and the query ends without one), with the text that ends a response, cut to the task's length.
pub fn summary_response(summary: &str, tokenizer: &Tokenizer, task: &TaskSpec) -> Result<Vec<u32>, ModelError> {
    let mut response = match tokenizer.is_special(&task.truncate_at) {
        // Within the text it would be letters.
        true => [tokenizer.encode(&format!(" {}", summary.trim()))?, tokenizer.encode_own(&task.truncate_at)?].concat(),
        false => tokenizer.encode(&format!(" {}{}", summary.trim(), task.truncate_at))?,
    };
    response.truncate(task.response_length);
    Ok(response)
}

/// Which ids end a response: the one that `task.truncate_at` is, or all that contain it.
pub fn truncation_ids(task: &TaskSpec, tokenizer: &Tokenizer) -> Result<Vec<bool>, ModelError> {
    let (key, text) = ("task.truncate_at", &task.truncate_at);
    match task.truncate_match {
        TruncateMatch::Token => {
            let id = only_id(tokenizer, key, text)?;
            Ok((0..tokenizer.vocab() as u32).map(|other| other == id).collect())
        }
        TruncateMatch::Contains => {
            let ids = tokenizer.ids_containing(text)?;
            if ids.contains(&true) {
                return Ok(ids);
            }
            Err(ModelError::Input(format!("{key}: no token contains {text:?}, so every response would miss it")))
        }
    }
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
}
