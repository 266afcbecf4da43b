//! Cutting documents into queries (paper section 3.1; released code: language/datasets.py and lm_tasks.py). Two rules
//! make queries: whole sentences, many from a long document, and the released code's excerpt, at most one from a
//! document.

use super::Query;
use super::response::only_id;
use crate::data::clean::clean;
use crate::data::read_report::ReadReport;
use crate::data::source::Document;
use crate::model::ModelError;
use crate::model::tokenizer::Tokenizer;
use crate::spec::{Clean, QueryRule, TaskSpec, TextLines};

/// How a task cuts documents, with its texts as token ids: made once per task and tokenizer.
#[derive(Debug, Clone)]
pub struct QueryFormat {
    clean: Clean,
    cut: QueryCut,
    /// Tokens around every query, encoded on their own as the released code does.
    pub(super) prefix: Vec<u32>,
    pub(super) suffix: Vec<u32>,
    /// Most tokens of a query, without prefix and suffix.
    pub(super) length: usize,
    /// Fewest; this project's own, the released code takes any.
    min_length: usize,
}

#[derive(Debug, Clone)]
enum QueryCut {
    /// Which ids end a sentence.
    Sentences { ends: Vec<bool> },
    /// The id after which an excerpt starts, and the one with which it ends.
    Excerpt { start: Option<u32>, end: Option<u32> },
}

impl QueryFormat {
    /// Encodes the task's texts. An excerpt's `query_start` and `query_end` must each be one token, or empty.
    pub fn new(task: &TaskSpec, tokenizer: &Tokenizer) -> Result<Self, ModelError> {
        let cut = match task.query_rule {
            QueryRule::Sentences => {
                let mut ends = tokenizer.ids_containing(".")?;
                if task.data.lines == Some(TextLines::Separate) {
                    // A sentence per line, with a full stop or without.
                    let lines = tokenizer.ids_containing("\n")?;
                    ends.iter_mut().zip(lines).for_each(|(end, line)| *end |= line);
                }
                QueryCut::Sentences { ends }
            }
            QueryRule::Excerpt => QueryCut::Excerpt {
                start: optional_id(tokenizer, "task.query_start", &task.query_start)?,
                end: optional_id(tokenizer, "task.query_end", &task.query_end)?,
            },
        };
        Ok(Self {
            clean: task.clean,
            cut,
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

    /// Why a document has no query.
    fn why_none(&self, document: &str) -> &'static str {
        match clean(document, self.clean).trim().is_empty() {
            true => "empty, or so after the clean-up",
            false => "without a query by the task's rule",
        }
    }

    fn bare_queries(&self, document: &str, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>, ModelError> {
        let tokens = tokenizer.encode(&clean(document, self.clean))?;
        let found = match &self.cut {
            QueryCut::Sentences { ends } => sentences(&tokens, ends, self.length),
            QueryCut::Excerpt { start, end } => excerpt(&tokens, *start, *end, self.length).into_iter().collect(),
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
    /// Padded on the left.
    pub query: Query,
    /// Of the document, with its first query.
    pub summary: Option<String>,
}

/// All queries that the documents hold, in order. Queries of one document do not overlap, so that train and held-out
/// queries share no text. A document's summary belongs to its first query. Documents with and without queries are
/// counted in `report`.
pub fn examples(
    documents: &[Document],
    tokenizer: &Tokenizer,
    task: &TaskSpec,
    report: &mut ReadReport,
) -> Result<Vec<Example>, ModelError> {
    let format = QueryFormat::new(task, tokenizer)?;
    let mut found = Vec::new();
    for document in documents {
        let queries = format.queries(&document.text, tokenizer)?;
        match queries.is_empty() {
            true => report.drop(format.why_none(&document.text), 1),
            false => report.keep(),
        }
        let queries = queries.into_iter();
        found.extend(queries.enumerate().map(|(i, query)| {
            let summary = document.summary.as_ref().filter(|_| i == 0);
            Example { query, summary: summary.map(|text| text.trim().to_string()) }
        }));
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    use super::super::response::truncation_ids;
    use super::*;
    use crate::spec::TruncateMatch;

    #[test]
    fn queries_are_whole_sentences_padded_on_the_left() {
        let text = "A cat sat. A dog ran. A fox hid in the wood".to_string();
        let document = Document { text: text.clone(), summary: Some(" A sat.\n".into()) };
        let tokenizer = Tokenizer::train([text.as_str()].into_iter(), 300).unwrap();
        let task = TaskSpec { query_length: 40, query_min_length: 2, ..TaskSpec::default() };
        let mut report = ReadReport::new("task", "documents");
        let none = Document { text: " \n".into(), summary: None };
        let found = examples(&[document, none], &tokenizer, &task, &mut report).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(report.to_string(), "task: 2 documents, 1 kept; dropped: 1 empty, or so after the clean-up");
        assert_eq!(found[0].summary.as_deref(), Some("A sat."));
        let found: Vec<Query> = found.into_iter().map(|e| e.query).collect();
        let ids: Vec<u32> = found[0].iter().flatten().copied().collect();
        assert_eq!(tokenizer.decode(&ids).unwrap(), "A cat sat. A dog ran.");
        assert!(found[0][0].is_none() && found[0].len() == 40);
    }

    #[test]
    fn where_each_line_is_a_sentence_its_end_ends_one() {
        let text = "Happy went to the shop\nNew sun came\nA dog sat";
        let tokenizer = Tokenizer::train([text].into_iter(), 300).unwrap();
        let mut task = TaskSpec { query_length: 30, query_min_length: 2, ..TaskSpec::default() };
        let first = |task: &TaskSpec| {
            let found = QueryFormat::new(task, &tokenizer).unwrap().bare_query(text, &tokenizer).unwrap();
            found.map(|ids| tokenizer.decode(&ids).unwrap())
        };
        assert_eq!(first(&task), None);
        task.data.lines = Some(TextLines::Separate);
        assert_eq!(first(&task).as_deref(), Some("Happy went to the shop\n"));
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
        let token = TaskSpec { truncate_match: TruncateMatch::Token, ..excerpt };
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
