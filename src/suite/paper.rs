//! The paper's values, from `specs/paper.toml`, which the program carries with it. What is not there is not known here.

use crate::spec::Problem;
use crate::spec::source::read;
use serde::Deserialize;
use std::path::Path;
use std::sync::OnceLock;

/// The file's text as it was when the program was built.
const TEXT: &str = include_str!("../../specs/paper.toml");

/// What a table's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Percent for the first-named model.
    WinRate,
    /// F1 x 100.
    Rouge,
    /// Of `of`.
    Count,
    /// Percent of pairs.
    Agreement,
    /// Log-odds of "positive".
    Score,
    /// Percent of sentences.
    Novelty,
    /// Percent of summaries.
    CopyStart,
}

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paper {
    pub paper_version: u32,
    pub title: String,
    #[serde(rename = "table")]
    pub tables: Vec<PaperTable>,
}

/// One table or figure.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperTable {
    pub id: String,
    pub title: String,
    pub kind: Kind,
    /// Where in the paper.
    pub source: String,
    pub rows: Vec<PaperRow>,
    /// What of it is not recorded here.
    #[serde(default)]
    pub unknown: Option<String>,
}

/// One row; which keys it has is its table's kind's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaperRow {
    pub task: Option<String>,
    pub model: Option<String>,
    pub a: Option<String>,
    pub b: Option<String>,
    pub percent_a: Option<f64>,
    pub percent_b: Option<f64>,
    pub r_avg: Option<f64>,
    pub cnndm: Option<f64>,
    pub tldr: Option<f64>,
    pub of: Option<u64>,
    pub pair: Option<String>,
    pub percent: Option<f64>,
    pub plus_minus: Option<f64>,
    pub variant: Option<String>,
    pub log_odds: Option<f64>,
    pub percent_positive: Option<f64>,
    pub inputs: Option<String>,
}

/// A value of the paper, with the uncertainty that it states.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    pub value: f64,
    pub plus_minus: Option<f64>,
}

fn plain(value: f64) -> Value {
    Value { value, plus_minus: None }
}

/// The embedded file. `None` only if a build carries a broken one, which its tests refuse.
pub fn paper() -> Option<&'static Paper> {
    static PAPER: OnceLock<Option<Paper>> = OnceLock::new();
    PAPER.get_or_init(|| toml::from_str(TEXT).ok()).as_ref()
}

impl Paper {
    fn rows(&self, kind: Kind) -> impl Iterator<Item = &PaperRow> {
        self.tables.iter().filter(move |table| table.kind == kind).flat_map(|table| &table.rows)
    }

    /// The table that a suite's table stands beside.
    pub fn table(&self, id: &str) -> Option<&PaperTable> {
        self.tables.iter().find(|table| table.id == id)
    }

    /// Percent for `a` against `b`.
    pub fn win_rate(&self, task: &str, a: &str, b: &str) -> Option<Value> {
        let named = |row: &PaperRow, first: &str, second: &str| {
            row.task.as_deref() == Some(task) && row.a.as_deref() == Some(first) && row.b.as_deref() == Some(second)
        };
        self.rows(Kind::WinRate).find_map(|row| {
            let percent = if named(row, a, b) {
                row.percent_a
            } else if named(row, b, a) {
                row.percent_b
            } else {
                None
            };
            percent.map(plain)
        })
    }

    /// Mean of ROUGE-1, -2 and -L.
    pub fn rouge(&self, task: &str, model: &str) -> Option<Value> {
        let row = self
            .rows(Kind::Rouge)
            .find(|row| row.task.as_deref() == Some(task) && row.model.as_deref() == Some(model))?;
        row.r_avg.map(plain)
    }

    /// Of the tables that have a column for each task.
    fn column(&self, kind: Kind, task: &str, model: &str) -> Option<(f64, &PaperRow)> {
        let row = self.rows(kind).find(|row| row.model.as_deref() == Some(model))?;
        let value = match task {
            "cnndm" => row.cnndm,
            "tldr" => row.tldr,
            _ => None,
        };
        Some((value?, row))
    }

    /// Accurate summaries, and of how many.
    pub fn count(&self, task: &str, model: &str) -> Option<(Value, u64)> {
        let (value, row) = self.column(Kind::Count, task, model)?;
        Some((plain(value), row.of?))
    }

    /// New sentences, percent.
    pub fn novelty(&self, task: &str, model: &str) -> Option<Value> {
        self.column(Kind::Novelty, task, model).map(|(value, _)| plain(value))
    }

    /// Summaries that begin as their source does, percent; of all sources, or of those with an uninformative preamble.
    pub fn copy_start(&self, task: &str, preamble: bool) -> Option<Value> {
        let inputs = if preamble { "uninformative preamble" } else { "all" };
        let row = self
            .rows(Kind::CopyStart)
            .find(|row| row.task.as_deref() == Some(task) && row.inputs.as_deref() == Some(inputs))?;
        row.percent.map(plain)
    }

    /// Percent of pairs of answers; `pair`: "labeler-labeler", "author-labeler", "author-author".
    pub fn agreement(&self, task: &str, pair: &str) -> Option<Value> {
        let row = self
            .rows(Kind::Agreement)
            .find(|row| row.task.as_deref() == Some(task) && row.pair.as_deref() == Some(pair))?;
        Some(Value { value: row.percent?, plus_minus: row.plus_minus })
    }

    /// Log-odds, and percent positive.
    pub fn score(&self, variant: &str) -> Option<(Value, Value)> {
        let row = self.rows(Kind::Score).find(|row| row.variant.as_deref() == Some(variant))?;
        Some((plain(row.log_odds?), plain(row.percent_positive?)))
    }
}

/// What is wrong with a file of the paper's values.
pub fn check(path: &Path) -> Vec<Problem> {
    // TOML's own mistakes first, all of them.
    if let Err(problems) = read(path) {
        return problems;
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return vec![whole(path, 0, 0, format!("cannot be read: {error}"))],
    };
    match toml::from_str::<Paper>(&text) {
        Ok(paper) if paper.paper_version != 1 => {
            vec![whole(path, 0, 0, format!("paper_version: must be 1, found {}", paper.paper_version))]
        }
        Ok(_) => Vec::new(),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let before = text.get(..at).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            vec![whole(path, line, column, error.message().replace('\n', ", "))]
        }
    }
}

fn whole(path: &Path, line: usize, column: usize, message: String) -> Problem {
    Problem { file: Some(path.to_path_buf()), line, column, path: String::new(), message, hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_is_sound_and_every_row_says_what_its_kind_needs() {
        let paper = paper().unwrap();
        assert_eq!((paper.paper_version, paper.tables.len()), (1, 8));
        for table in &paper.tables {
            for row in &table.rows {
                let complete = match table.kind {
                    Kind::WinRate => row.percent_a.zip(row.percent_b).is_some_and(|(a, b)| a + b == 100.0),
                    Kind::Rouge => row.r_avg.is_some() && row.model.is_some(),
                    Kind::Count => row.of.is_some() && row.cnndm.is_some() && row.tldr.is_some(),
                    Kind::Agreement => row.percent.is_some() && row.plus_minus.is_some() && row.pair.is_some(),
                    Kind::Score => row.log_odds.is_some() && row.variant.is_some(),
                    Kind::Novelty => row.cnndm.is_some() && row.tldr.is_some(),
                    Kind::CopyStart => row.percent.is_some() && row.inputs.is_some(),
                };
                assert!(complete, "{}: {row:?}", table.id);
            }
        }
    }

    #[test]
    fn values_are_found_from_either_side_and_never_guessed() {
        let paper = paper().unwrap();
        assert_eq!(paper.win_rate("tldr", "60k", "lead-3").unwrap().value, 45.0);
        assert_eq!(paper.win_rate("tldr", "lead-3", "60k").unwrap().value, 55.0);
        assert_eq!(paper.win_rate("descriptiveness", "5k offline", "mock sentiment"), None);
        assert_eq!(paper.rouge("cnndm", "60k").unwrap().value, 28.731);
        assert_eq!(paper.rouge("tldr", "60k"), None);
        assert_eq!(paper.count("tldr", "60k").unwrap(), (plain(26.0), 30));
        assert_eq!(paper.agreement("tldr", "labeler-labeler").unwrap().plus_minus, Some(2.0));
        assert_eq!(paper.novelty("cnndm", "60k").unwrap().value, 2.5);
        assert_eq!(paper.copy_start("cnndm", true).unwrap().value, 1.4);
        assert_eq!(paper.score("no penalty").unwrap().1.value, 99.97);
    }

    #[test]
    fn mistakes_have_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.toml");
        std::fs::write(&path, "paper_version = 1\ntitle = \"x\"\n[[table]]\nid = \"t\"\ntitel = \"y\"\n").unwrap();
        let problems = check(&path);
        assert_eq!((problems.len(), problems[0].line), (1, 5), "{problems:?}");
    }
}
