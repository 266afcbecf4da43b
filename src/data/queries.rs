//! Cutting documents into queries, and responses at their truncation token (paper section 3.1; released code:
//! language/datasets.py and lm_tasks.py). Two rules make queries: whole sentences, many from a long document, and the
//! released code's excerpt, at most one from a document.

use super::clean::clean;
use super::source::Document;
use crate::model::ModelError;
use crate::model::tokenizer::Tokenizer;
use crate::spec::{Clean, QueryRule, TaskSpec, TruncateMatch};

/// A query as the model reads it, padded on the left to the task's one width; `None` is padding.
///
/// The released code pads between query and suffix instead. Both are the same to the model: padding is masked out of the
/// attention and does not advance positions, so that only the order of the real tokens counts.
pub type Query = Vec<Option<u32>>;

/// How a task cuts documents, with its texts as token ids: made once per task and tokenizer.
#[derive(Debug, Clone)]
pub struct QueryFormat {
    clean: Clean,
    rule: Rule,
    /// Tokens around every query, encoded on their own as the released code does.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    /// Most tokens of a query, without prefix and suffix.
    length: usize,
    /// Fewest; this project's own, the released code takes any.
    min_length: usize,
}

#[derive(Debug, Clone)]
enum Rule {
    /// Which ids end a sentence.
    Sentences { ends: Vec<bool> },
    /// The id after which an excerpt starts, and the one with which it ends.
    Excerpt { start: Option<u32>, end: Option<u32> },
}

impl QueryFormat {
    /// Encodes the task's texts. An excerpt's `query_start` and `query_end` must each be one token, or empty.
    pub fn new(task: &TaskSpec, tokenizer: &Tokenizer) -> Result<Self, ModelError> {
        let rule = match task.query_rule {
            QueryRule::Sentences => Rule::Sentences { ends: tokenizer.ids_containing(".")? },
            QueryRule::Excerpt => Rule::Excerpt {
                start: optional_id(tokenizer, "task.query_start", &task.query_start)?,
                end: optional_id(tokenizer, "task.query_end", &task.query_end)?,
            },
        };
        Ok(Self {
            clean: task.clean,
            rule,
            prefix: tokenizer.encode_own(&task.query_prefix)?,
            suffix: tokenizer.encode_own(&task.query_suffix)?,
            length: task.query_length,
            min_length: task.query_min_length.max(1),
        })
    }

    /// Tokens of every query, padding, prefix and suffix included.
    pub fn width(&self) -> usize {
        self.prefix.len() + self.length + self.suffix.len()
    }

    /// All queries of one document as it was read, in order; it is cleaned here. With the excerpt rule at most one.
    pub fn queries(&self, document: &str, tokenizer: &Tokenizer) -> Result<Vec<Query>, ModelError> {
        Ok(self.bare_queries(document, tokenizer)?.iter().map(|query| self.pad(query)).collect())
    }

    /// The first query of one document without padding, prefix and suffix.
    pub fn bare_query(&self, document: &str, tokenizer: &Tokenizer) -> Result<Option<Vec<u32>>, ModelError> {
        Ok(self.bare_queries(document, tokenizer)?.into_iter().next())
    }

    fn bare_queries(&self, document: &str, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>, ModelError> {
        let tokens = tokenizer.encode(&clean(document, self.clean))?;
        let found = match &self.rule {
            Rule::Sentences { ends } => sentences(&tokens, ends, self.length),
            Rule::Excerpt { start, end } => excerpt(&tokens, *start, *end, self.length).into_iter().collect(),
        };
        let fits = |query: &&[u32]| (self.min_length..=self.length).contains(&query.len());
        Ok(found.into_iter().filter(fits).map(<[u32]>::to_vec).collect())
    }

    /// Prefix, query and suffix after as much padding as the width asks for.
    fn pad(&self, query: &[u32]) -> Query {
        let padding = self.length.saturating_sub(query.len());
        let tokens = self.prefix.iter().chain(query).chain(&self.suffix);
        std::iter::repeat_n(None, padding).chain(tokens.map(|id| Some(*id))).collect()
    }
}

/// A query, and the reference summary of its document where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub query: Query,
    pub summary: Option<String>,
}

/// All queries that the documents hold, in order. Queries of one document do not overlap, so that train and held-out
/// queries share no text. A document's summary belongs to its first query.
pub fn examples(documents: &[Document], tokenizer: &Tokenizer, task: &TaskSpec) -> Result<Vec<Example>, ModelError> {
    let format = QueryFormat::new(task, tokenizer)?;
    let mut found = Vec::new();
    for document in documents {
        let queries = format.queries(&document.text, tokenizer)?.into_iter();
        found.extend(queries.enumerate().map(|(i, query)| {
            let summary = document.summary.as_ref().filter(|_| i == 0);
            Example { query, summary: summary.map(|text| text.trim().to_string()) }
        }));
    }
    Ok(found)
}

/// A reference summary as the response that a model would give: after a space (GPT-2 writes a word with the space before
/// it, and the query ends without one), with the text that ends a response, cut to the task's length.
pub fn summary_response(summary: &str, tokenizer: &Tokenizer, task: &TaskSpec) -> Result<Vec<u32>, ModelError> {
    let mut response = match tokenizer.is_special(&task.truncate_at) {
        // Within the text it would be letters.
        true => [tokenizer.encode(&format!(" {}", summary.trim()))?, tokenizer.encode_own(&task.truncate_at)?].concat(),
        false => tokenizer.encode(&format!(" {}{}", summary.trim(), task.truncate_at))?,
    };
    response.truncate(task.response_length);
    Ok(response)
}

/// The longest runs of whole sentences of at most `length` tokens, one after the other; a longer sentence is a run.
fn sentences<'t>(tokens: &'t [u32], ends: &[bool], length: usize) -> Vec<&'t [u32]> {
    let is_end = |id: u32| ends.get(id as usize).copied().unwrap_or(false);
    let mut runs = Vec::new();
    let (mut start, mut whole) = (0, 0);
    for i in (0..tokens.len()).filter(|i| is_end(tokens[*i])) {
        if whole > start && i + 1 - start > length {
            runs.push(&tokens[start..whole]);
            start = whole;
        }
        whole = i + 1;
    }
    // What follows the last full stop is not a whole sentence.
    runs.push(&tokens[start..whole]);
    runs
}

/// The released code's excerpt: what follows the first `start`, at most `length` tokens, up to the last `end` in it.
/// `None` where a document lacks one of them. A document that ends with its first `start` is taken whole.
fn excerpt(tokens: &[u32], start: Option<u32>, end: Option<u32>, length: usize) -> Option<&[u32]> {
    let tokens = match start {
        None => tokens,
        Some(start) => match &tokens[tokens.iter().position(|id| *id == start)? + 1..] {
            [] => tokens,
            rest => rest,
        },
    };
    let tokens = &tokens[..length.min(tokens.len())];
    match end {
        None => Some(tokens),
        Some(end) => Some(&tokens[..=tokens.iter().rposition(|id| *id == end)?]),
    }
}

fn optional_id(tokenizer: &Tokenizer, key: &str, text: &str) -> Result<Option<u32>, ModelError> {
    if text.is_empty() { Ok(None) } else { only_id(tokenizer, key, text).map(Some) }
}

/// The one token that a text is.
fn only_id(tokenizer: &Tokenizer, key: &str, text: &str) -> Result<u32, ModelError> {
    match tokenizer.encode_own(text)?[..] {
        [id] => Ok(id),
        ref ids => Err(ModelError::Input(format!("{key}: {text:?} is {} tokens; give text of exactly one", ids.len()))),
    }
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

    #[test]
    fn queries_are_whole_sentences_padded_on_the_left() {
        let text = "A cat sat. A dog ran. A fox hid in the wood".to_string();
        let document = Document { text: text.clone(), summary: Some(" A sat.\n".into()) };
        let tokenizer = Tokenizer::train([text.as_str()].into_iter(), 300).unwrap();
        let task = TaskSpec { query_length: 40, query_min_length: 2, ..TaskSpec::default() };
        let found = examples(&[document], &tokenizer, &task).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].summary.as_deref(), Some("A sat."));
        let found: Vec<Query> = found.into_iter().map(|e| e.query).collect();
        let ids: Vec<u32> = found[0].iter().flatten().copied().collect();
        assert_eq!(tokenizer.decode(&ids).unwrap(), "A cat sat. A dog ran.");
        assert!(found[0][0].is_none() && found[0].len() == 40);
    }

    #[test]
    fn sentences_that_do_not_fit_start_the_next_run() {
        let ends = [false, true];
        let tokens = [0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1, 0];
        let runs = sentences(&tokens, &ends, 5);
        assert_eq!(runs, [&tokens[..5], &tokens[5..10], &tokens[10..12]]);
        assert_eq!(sentences(&tokens, &ends, 3), [&tokens[..2], &tokens[2..5], &tokens[5..10], &tokens[10..12]]);
        assert_eq!(sentences(&[0, 0], &ends, 3), [&[0u32; 0]]);
    }

    #[test]
    fn excerpts_start_after_the_first_and_end_with_the_last() {
        let tokens = [5, 1, 6, 1, 7, 2, 8, 2, 9];
        assert_eq!(excerpt(&tokens, None, None, 3), Some(&tokens[..3]));
        assert_eq!(excerpt(&tokens, Some(1), None, 100), Some(&tokens[2..]));
        assert_eq!(excerpt(&tokens, Some(1), Some(2), 100), Some(&tokens[2..8]));
        assert_eq!(excerpt(&tokens, Some(1), Some(2), 5), Some(&tokens[2..6]));
        assert_eq!(excerpt(&tokens, Some(1), Some(2), 3), None);
        assert_eq!(excerpt(&tokens, Some(3), None, 100), None);
        assert_eq!(excerpt(&tokens, Some(9), Some(2), 100), Some(&tokens[..8]));
        assert_eq!(excerpt(&[], None, None, 100), Some(&[0u32; 0][..]));
    }

    #[test]
    fn texts_of_several_tokens_are_refused_by_their_key() {
        let tokenizer = Tokenizer::gpt2().unwrap();
        let excerpt = TaskSpec { query_rule: QueryRule::Excerpt, ..TaskSpec::default() };
        let start = TaskSpec { query_start: "Hello, world".into(), ..excerpt.clone() };
        let message = QueryFormat::new(&start, &tokenizer).unwrap_err().to_string();
        assert!(message.contains("task.query_start: \"Hello, world\" is 3 tokens"), "{message}");
        let token = TaskSpec { truncate_match: TruncateMatch::Token, ..excerpt.clone() };
        let ids = truncation_ids(&token, &tokenizer).unwrap();
        assert_eq!(ids.iter().enumerate().filter(|(_, yes)| **yes).map(|(id, _)| id).collect::<Vec<_>>(), [13]);
        let empty = TaskSpec { truncate_at: String::new(), ..token };
        assert!(truncation_ids(&empty, &tokenizer).unwrap_err().to_string().contains("task.truncate_at"));
    }

    #[test]
    fn prefix_and_suffix_surround_the_query_behind_the_padding() {
        let tokenizer = Tokenizer::gpt2().unwrap();
        let task = TaskSpec {
            query_rule: QueryRule::Excerpt,
            query_end: String::new(),
            query_prefix: "Article:\n\n".into(),
            query_suffix: "\n\nTL;DR:".into(),
            query_length: 5,
            query_min_length: 2,
            ..TaskSpec::default()
        };
        let format = QueryFormat::new(&task, &tokenizer).unwrap();
        let query = format.queries("A post", &tokenizer).unwrap().remove(0);
        assert_eq!(query.len(), format.width());
        assert!(query[..3].iter().all(Option::is_none) && query[3..].iter().all(Option::is_some));
        let ids: Vec<u32> = query.into_iter().flatten().collect();
        assert_eq!(tokenizer.decode(&ids).unwrap(), "Article:\n\nA post\n\nTL;DR:");
        assert!(format.queries("A", &tokenizer).unwrap().is_empty());
    }
}
