//! The paper's values, from `specs/paper.toml` and `specs/paper_figure2.csv`, which the program carries with it. What
//! is not there is not known here.

use crate::spec::Problem;
use crate::spec::source::read;
use serde::Deserialize;
use std::path::Path;
use std::sync::OnceLock;

/// The files' texts as they were when the program was built.
const TEXT: &str = include_str!("../../specs/paper.toml");
const CURVES: &str = include_str!("../../specs/paper_figure2.csv");

/// How well a value is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Grade {
    /// From the paper itself or its authors, or from two independent sources.
    A,
    /// From one secondary source.
    B,
}

/// What a table's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberKind {
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
    CopiedStart,
    /// Log-odds at the end of a learning curve.
    Curve,
    /// KL and log-odds of final policies, and the best that is possible.
    Frontier,
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
    pub kind: NumberKind,
    /// Of every row that has none of its own.
    pub grade: Grade,
    /// Where in the paper, and how it came here.
    pub source: String,
    pub rows: Vec<PaperRow>,
    /// What of it is not recorded here.
    #[serde(default)]
    pub unknown: Option<String>,
}

impl PaperTable {
    /// Whether a row's value is from one secondary source.
    fn grade_of(&self, row: &PaperRow) -> Grade {
        row.grade.unwrap_or(self.grade)
    }

    /// Whether any value is from one secondary source.
    pub fn has_secondary(&self) -> bool {
        self.rows.iter().any(|row| self.grade_of(row) == Grade::B)
    }
}

/// One row; which keys it has is its table's kind's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaperRow {
    pub grade: Option<Grade>,
    pub task: Option<String>,
    pub model: Option<String>,
    pub a: Option<String>,
    pub b: Option<String>,
    /// The rest of 100 is for `b`.
    pub percent_a: Option<f64>,
    pub labels: Option<u64>,
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
    pub series: Option<String>,
    pub target: Option<f64>,
    pub kl: Option<f64>,
    pub score: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

impl PaperRow {
    /// Whether it has every key that a row of this kind needs.
    fn is_complete(&self, kind: NumberKind) -> bool {
        match kind {
            NumberKind::WinRate => {
                self.task.is_some() && self.a.is_some() && self.b.is_some() && share_of_100(self.percent_a)
            }
            NumberKind::Rouge => self.r_avg.is_some() && self.model.is_some() && self.task.is_some(),
            NumberKind::Count => self.of.is_some() && self.cnndm.is_some() && self.tldr.is_some(),
            NumberKind::Agreement => self.percent.is_some() && self.plus_minus.is_some() && self.pair.is_some(),
            NumberKind::Score => self.log_odds.is_some() && self.percent_positive.is_some() && self.variant.is_some(),
            NumberKind::Novelty => share_of_100(self.cnndm) && share_of_100(self.tldr) && self.model.is_some(),
            NumberKind::CopiedStart => share_of_100(self.percent) && self.inputs.is_some() && self.model.is_some(),
            NumberKind::Curve => {
                self.series.is_some() && self.score.is_some() && self.low <= self.high && self.low.is_some()
            }
            NumberKind::Frontier => self.series.is_some() && self.score.is_some() && self.kl.is_some(),
        }
    }
}

fn is(key: &Option<String>, word: &str) -> bool {
    key.as_deref() == Some(word)
}

fn share_of_100(value: Option<f64>) -> bool {
    value.is_some_and(|value| (0.0..=100.0).contains(&value))
}

/// A value of the paper, with the uncertainty that it states and how well it is known here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaperValue {
    pub value: f64,
    pub plus_minus: Option<f64>,
    /// The lowest and the highest seed.
    pub range: Option<(f64, f64)>,
    pub grade: Grade,
}

impl PaperValue {
    pub fn new(value: f64, grade: Grade) -> Self {
        Self { value, plus_minus: None, range: None, grade }
    }

    /// From where to where the paper's own number may lie.
    pub fn reach(&self) -> (f64, f64) {
        let reach = self.plus_minus.unwrap_or(0.0);
        self.range.unwrap_or((self.value - reach, self.value + reach))
    }
}

/// A point of figure 2.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CurvePoint {
    pub series: String,
    pub episodes: f64,
    pub mean: f64,
    pub lowest: f64,
    pub highest: f64,
}

/// The embedded file. `None` only if a build carries a broken one, which its tests refuse.
pub fn paper() -> Option<&'static Paper> {
    static PAPER: OnceLock<Option<Paper>> = OnceLock::new();
    PAPER.get_or_init(|| toml::from_str(TEXT).ok()).as_ref()
}

/// Figure 2, series by series. Empty only if a build carries a broken file, which its tests refuse.
pub fn curves() -> &'static [CurvePoint] {
    static POINTS: OnceLock<Vec<CurvePoint>> = OnceLock::new();
    POINTS.get_or_init(|| csv::Reader::from_reader(CURVES.as_bytes()).deserialize().flatten().collect())
}

/// What the optimum of figure 3 is called in the file.
pub const OPTIMUM: &str = "optimum";

impl Paper {
    fn rows(&self, kind: NumberKind) -> impl Iterator<Item = (&PaperRow, Grade)> {
        let tables = self.tables.iter().filter(move |table| table.kind == kind);
        tables.flat_map(|table| table.rows.iter().map(|row| (row, table.grade_of(row))))
    }

    /// The table that a suite's table stands beside.
    pub fn table(&self, id: &str) -> Option<&PaperTable> {
        self.tables.iter().find(|table| table.id == id)
    }

    /// Percent for `a` against `b` in the table `id`.
    pub fn win_rate(&self, id: &str, task: &str, a: &str, b: &str) -> Option<PaperValue> {
        let table = self.table(id).filter(|table| table.kind == NumberKind::WinRate)?;
        table.rows.iter().filter(|row| is(&row.task, task)).find_map(|row| {
            let percent = if is(&row.a, a) && is(&row.b, b) {
                row.percent_a
            } else if is(&row.a, b) && is(&row.b, a) {
                row.percent_a.map(|percent| 100.0 - percent)
            } else {
                None
            };
            percent.map(|percent| PaperValue::new(percent, table.grade_of(row)))
        })
    }

    /// Labels and win rate against zero-shot of figure 4, by labels.
    pub fn win_rates_by_labels(&self, task: &str) -> Vec<(f64, f64)> {
        let rows = self.rows(NumberKind::WinRate).filter(|(row, _)| is(&row.task, task));
        rows.filter_map(|(row, _)| Some((row.labels? as f64, row.percent_a?))).collect()
    }

    /// Mean of ROUGE-1, -2 and -L.
    pub fn rouge(&self, task: &str, model: &str) -> Option<PaperValue> {
        let mut rows = self.rows(NumberKind::Rouge);
        let (row, grade) = rows.find(|(row, _)| is(&row.task, task) && is(&row.model, model))?;
        row.r_avg.map(|value| PaperValue::new(value, grade))
    }

    /// Of the tables that have a column for each task.
    fn column(&self, kind: NumberKind, task: &str, model: &str) -> Option<(PaperValue, &PaperRow)> {
        let (row, grade) = self.rows(kind).find(|(row, _)| is(&row.model, model))?;
        let value = match task {
            "cnndm" => row.cnndm,
            "tldr" => row.tldr,
            _ => None,
        };
        Some((PaperValue::new(value?, grade), row))
    }

    /// Accurate summaries, and of how many.
    pub fn count(&self, task: &str, model: &str) -> Option<(PaperValue, u64)> {
        let (value, row) = self.column(NumberKind::Count, task, model)?;
        Some((value, row.of?))
    }

    /// New sentences, percent.
    pub fn novelty(&self, task: &str, model: &str) -> Option<PaperValue> {
        self.column(NumberKind::Novelty, task, model).map(|(value, _)| value)
    }

    /// A model's summaries that begin as their source does, percent; of all sources, or of those with an uninformative
    /// preamble.
    pub fn copied_start(&self, task: &str, model: &str, preamble: bool) -> Option<PaperValue> {
        let inputs = if preamble { "uninformative preamble" } else { "all" };
        let named = |row: &PaperRow| is(&row.task, task) && is(&row.model, model) && is(&row.inputs, inputs);
        let (row, grade) = self.rows(NumberKind::CopiedStart).find(|(row, _)| named(row))?;
        row.percent.map(|percent| PaperValue::new(percent, grade))
    }

    /// Percent of pairs of answers; `pair`: "labeler-labeler", "author-labeler", "author-author".
    pub fn agreement(&self, task: &str, pair: &str) -> Option<PaperValue> {
        let mut rows = self.rows(NumberKind::Agreement);
        let (row, grade) = rows.find(|(row, _)| is(&row.task, task) && is(&row.pair, pair))?;
        Some(PaperValue { plus_minus: row.plus_minus, ..PaperValue::new(row.percent?, grade) })
    }

    /// Log-odds, and percent positive.
    pub fn score(&self, variant: &str) -> Option<(PaperValue, PaperValue)> {
        let (row, grade) = self.rows(NumberKind::Score).find(|(row, _)| is(&row.variant, variant))?;
        Some((PaperValue::new(row.log_odds?, grade), PaperValue::new(row.percent_positive?, grade)))
    }

    /// Score at the end of a curve of figure 2, with the range of its seeds.
    pub fn curve_end(&self, series: &str) -> Option<PaperValue> {
        let (row, grade) = self.rows(NumberKind::Curve).find(|(row, _)| is(&row.series, series))?;
        Some(PaperValue { range: row.low.zip(row.high), ..PaperValue::new(row.score?, grade) })
    }

    /// KL and score of every point of a series of figure 3.
    pub fn frontier(&self, series: &str) -> Vec<(f64, f64)> {
        let rows = self.rows(NumberKind::Frontier).filter(|(row, _)| is(&row.series, series));
        rows.filter_map(|(row, _)| row.kl.zip(row.score)).collect()
    }

    /// Score of the policy of a series that was steered to a KL of `target`.
    pub fn frontier_score(&self, series: &str, target: f64) -> Option<PaperValue> {
        let mut rows = self.rows(NumberKind::Frontier);
        let (row, grade) = rows.find(|(row, _)| is(&row.series, series) && row.target == Some(target))?;
        row.score.map(|score| PaperValue::new(score, grade))
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
        Ok(paper) => incomplete(&paper).into_iter().map(|message| whole(path, 0, 0, message)).collect(),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let before = text.get(..at).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            vec![whole(path, line, column, error.message().replace('\n', ", "))]
        }
    }
}

/// Rows without what their kind needs.
fn incomplete(paper: &Paper) -> Vec<String> {
    let mut messages = Vec::new();
    for table in &paper.tables {
        let rows = table.rows.iter().enumerate().filter(|(_, row)| !row.is_complete(table.kind));
        messages.extend(rows.map(|(i, _)| {
            format!(
                "{}: row {} has not every key of a {:?}, or a percentage beyond 0 to 100",
                table.id,
                i + 1,
                table.kind
            )
        }));
    }
    messages
}

fn whole(path: &Path, line: usize, column: usize, message: String) -> Problem {
    Problem { file: Some(path.to_path_buf()), line, column, path: String::new(), message, hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_files_are_sound_and_every_row_says_what_its_kind_needs() {
        let paper = paper().unwrap();
        assert_eq!((paper.paper_version, paper.tables.len()), (1, 11));
        assert_eq!(incomplete(paper), Vec::<String>::new());
        let lines = CURVES.lines().count() - 1;
        assert_eq!((curves().len(), lines), (4 * 98, 4 * 98), "a line of figure 2 that cannot be read");
        assert!(curves().iter().all(|p| p.lowest <= p.mean && p.mean <= p.highest));
    }

    /// Every id is what a suite makes, or nothing would ever stand beside its values.
    #[test]
    fn every_table_of_the_paper_is_made_by_a_suite() {
        let made = |id: &str| serde_json::from_value::<crate::suite::types::Makes>(id.into());
        for table in &paper().unwrap().tables {
            assert_eq!(made(&table.id).unwrap().word(), table.id);
        }
    }

    #[test]
    fn the_end_of_figure_2_is_the_end_of_its_curves() {
        for series in ["direct", "60k labels", "20k labels", "5k labels"] {
            let end = paper().unwrap().curve_end(series).unwrap();
            let last: Vec<f64> =
                curves().iter().filter(|p| p.series == series && p.episodes >= 1.9e6).map(|p| p.mean).collect();
            let mean = last.iter().sum::<f64>() / last.len() as f64;
            // The curve is drawn every 20,480 episodes, the mean taken over all of its points.
            assert!((mean - end.value).abs() < 0.01, "{series}: {mean} and {end:?}");
        }
    }

    #[test]
    fn values_are_found_from_either_side_and_never_guessed() {
        let paper = paper().unwrap();
        let table5 = |a, b| paper.win_rate("table5_summary_preference", "tldr", a, b);
        assert_eq!(table5("60k", "lead-3").unwrap().value, 45.0);
        assert_eq!(table5("lead-3", "60k").unwrap().value, 55.0);
        assert_eq!(table5("60k", "supervised + 60k"), None);
        assert_eq!(paper.win_rate("table1_style_preference", "descriptiveness", "5k offline", "mock sentiment"), None);
        assert_eq!(paper.rouge("cnndm", "60k").unwrap().value, 28.731);
        assert_eq!(paper.rouge("tldr", "30k"), None);
        assert_eq!(paper.count("tldr", "60k").unwrap(), (PaperValue::new(26.0, Grade::A), 30));
        assert_eq!(paper.agreement("tldr", "labeler-labeler").unwrap().reach(), (44.0, 48.0));
        assert_eq!(paper.novelty("cnndm", "60k").unwrap().value, 2.49);
        assert_eq!(paper.copied_start("cnndm", "60k", true).unwrap().value, 1.4);
        assert_eq!(paper.copied_start("cnndm", "supervised", true), None);
        assert_eq!(paper.score("no penalty").unwrap().1.value, 99.97);
        assert_eq!(paper.curve_end("5k labels").unwrap().reach(), (1.86, 2.16));
        assert_eq!(paper.frontier_score("direct, 64M episodes", 8.0).unwrap().value, 3.91);
        assert_eq!((paper.frontier("20k labels").len(), paper.frontier(OPTIMUM).len()), (7, 10));
        assert_eq!(paper.win_rates_by_labels("sentiment")[3], (2500.0, 86.2));
    }

    /// The row about 5k online labels was once turned round: the printed table has 48 for offline.
    #[test]
    fn of_descriptiveness_5k_online_labels_won_by_52_to_48() {
        let of = |a, b| paper().unwrap().win_rate("table1_style_preference", "descriptiveness", a, b).unwrap().value;
        assert_eq!((of("5k offline", "5k online"), of("5k online", "5k offline")), (48.0, 52.0));
    }

    #[test]
    fn what_one_secondary_source_says_is_marked() {
        let paper = paper().unwrap();
        assert_eq!(paper.rouge("tldr", "60k").unwrap().grade, Grade::B);
        assert_eq!(paper.rouge("cnndm", "60k").unwrap().grade, Grade::A);
        assert_eq!(paper.win_rate("table5_summary_preference", "tldr", "60k", "30k").unwrap().grade, Grade::B);
        assert!(paper.table("table4_rouge").unwrap().has_secondary());
        assert!(!paper.table("figure5_novelty").unwrap().has_secondary());
    }

    #[test]
    fn mistakes_have_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.toml");
        std::fs::write(&path, "paper_version = 1\ntitle = \"x\"\n[[table]]\nid = \"t\"\ntitel = \"y\"\n").unwrap();
        let problems = check(&path);
        assert_eq!((problems.len(), problems[0].line), (1, 5), "{problems:?}");
        let lacking = TEXT.replace("percent_a = 88", "percent = 88").replace("percent_a = 77", "percent_a = 770");
        std::fs::write(&path, lacking).unwrap();
        let problems = check(&path);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].message.starts_with("table1_style_preference: row 1 has not every key"), "{problems:?}");
    }
}
