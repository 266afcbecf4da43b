//! A directory of batches at one look: what `runner labels status` and `agreement` say of it.

use super::append::append_event;
use super::outline::Outline;
use super::quality::{BatchQuality, PairAgreement, Replies, ShareInterval, automatic_drops, quality};
use super::read::{self, BatchProgress};
use super::{Batch, LabelerEvent, Purpose};
use crate::label::LabelError;
use crate::printed::{shell_path, shell_word};
use crate::spec::QualitySpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// One batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchStatus {
    pub id: String,
    pub purpose: Purpose,
    pub update: usize,
    pub labelers_per_item: usize,
    pub created_at: String,
    pub progress: BatchProgress,
    /// Answers of dropped labelers.
    pub excluded: usize,
    /// Lines that say nothing, with their places.
    pub problems: Vec<String>,
}

/// What `runner labels status DIR --format json` prints of a directory of batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchesReport {
    pub path: PathBuf,
    pub batches: Vec<BatchStatus>,
    pub progress: BatchProgress,
    pub quality: BatchQuality,
    /// What to do, the most urgent first.
    pub next: Vec<String>,
}

/// Whether a path is a directory of batches (or one batch), and not a file or folder of recorded labels.
pub fn is_batches(path: &Path) -> bool {
    let has_batch = |dir: &Path| dir.join("batch.json").is_file();
    has_batch(path)
        || path.join("labelers.jsonl").is_file()
        || std::fs::read_dir(path).is_ok_and(|mut d| d.any(|e| e.is_ok_and(|e| has_batch(&e.path()))))
}

/// Reads everything in a directory of batches; `only`: one batch of it.
pub fn inspect(dir: &Path, only: Option<&str>, spec: &QualitySpec) -> Result<BatchesReport, LabelError> {
    let mut all: Vec<Outline> = Vec::new();
    let mut replies = Replies::default();
    let mut batches = Vec::new();
    for batch in read::batches(dir)?.into_iter().filter(|b| only.is_none_or(|id| id == b.id)) {
        let outlines = read::each_item(dir, &batch.id, &mut |_, _| {})?;
        let answers = read::answers_to(dir, &batch.id, &outlines)?;
        replies.add(all.len(), &outlines, answers.counted.iter().chain(&answers.excluded));
        let progress = read::progress_of(batch.labelers_per_item, &outlines, &answers.counted);
        batches.push(status(batch, progress, answers.excluded.len(), answers.problems));
        all.extend(outlines);
    }
    let dropped = read::dropped(dir)?;
    let progress = batches.iter().fold(BatchProgress::default(), |sum, b| sum.and(b.progress));
    let quality = quality(&all, &replies, &dropped, spec);
    let next = next(dir, &batches, &progress, &quality, &dropped);
    Ok(BatchesReport { path: dir.into(), batches, progress, quality, next })
}

/// Drops whom a spec's thresholds give away, and returns the new lines of labelers.jsonl. Thresholds that are all off
/// read nothing.
pub fn drop_by_thresholds(dir: &Path, spec: &QualitySpec, now: &str) -> Result<Vec<LabelerEvent>, LabelError> {
    if *spec == QualitySpec::default() || !dir.is_dir() {
        return Ok(Vec::new());
    }
    let found = inspect(dir, None, spec)?.quality;
    let events = automatic_drops(spec, &found, &read::labeler_events(dir)?, now);
    events.iter().try_for_each(|event| append_event(dir, event))?;
    Ok(events)
}

fn status(batch: Batch, progress: BatchProgress, excluded: usize, problems: Vec<String>) -> BatchStatus {
    let Batch { id, purpose, update, labelers_per_item, created_at, .. } = batch;
    BatchStatus { id, purpose, update, labelers_per_item, created_at, progress, excluded, problems }
}

fn next(
    dir: &Path,
    batches: &[BatchStatus],
    progress: &BatchProgress,
    quality: &BatchQuality,
    dropped: &BTreeSet<String>,
) -> Vec<String> {
    let command_dir = shell_path(dir);
    let mut next = Vec::new();
    let problems: usize = batches.iter().map(|b| b.problems.len()).sum();
    if batches.is_empty() {
        next.push(format!(
            "there is no batch in {} yet; a run with labeler.batches = {:?} writes one",
            dir.display(),
            dir.display().to_string()
        ));
    }
    if problems > 0 {
        next.push(format!("{problems} lines of answers do not count; correct or delete them (they are named above)"));
    }
    for row in quality.labelers.iter().filter(|r| !r.remarks.is_empty() && !dropped.contains(&r.labeler)) {
        let (name, word, remarks) = (&row.labeler, shell_word(&row.labeler), row.remarks.join("; "));
        next.push(format!(
            "look at {name}'s answers ({remarks}); `runner labels drop --dir {command_dir} --reason .. -- {word}` takes them out"
        ));
    }
    if progress.wanted > progress.have {
        let left = progress.wanted - progress.have;
        next.push(format!("{left} answers are wanted: `runner labels serve {command_dir}`"));
    } else if !batches.is_empty() {
        next.push("every question has its answers: start the run again, it goes on".into());
    }
    next
}

/// `12.3% (10 to 15)`, or a dash.
fn share(s: &ShareInterval) -> String {
    s.percent.map_or("-".into(), |p| format!("{p:.1}% ({:.0} to {:.0}, n {})", s.low, s.high, s.n))
}

/// Rows of equal width, the first line a heading.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
        let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
    }
    text
}

fn markdown(rows: &[Vec<String>]) -> String {
    let line = |row: &[String]| {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let Some((head, body)) = rows.split_first() else { return String::new() };
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    line(head) + &rule + &body.iter().map(|row| line(row)).collect::<String>()
}

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|t| (*t).to_string()).collect()
}

/// Table 9: who agrees with whom.
fn agreement_rows(q: &BatchQuality) -> Vec<Vec<String>> {
    let number = |v: Option<f64>, digits: usize| v.map_or("-".to_string(), |v| format!("{v:.digits$}"));
    let row = |name: &str, a: &Option<PairAgreement>| match a {
        None => vec![name.to_string(), "-".into(), "-".into(), "-".into(), "-".into(), "0".into()],
        Some(a) => vec![
            name.to_string(),
            format!("{:.1}", a.percent),
            format!("{} to {}", number(a.low, 1), number(a.high, 1)),
            number(a.kappa, 2),
            format!("{:.1}", a.chance),
            format!("{} of {} items", a.pairs, a.items),
        ],
    };
    let on = if q.labeler_labeler_on == "gold" { "labeler-labeler (gold items)" } else { "labeler-labeler" };
    vec![
        words(&["pair", "percent", "95%", "kappa", "chance", "pairs"]),
        row(on, &q.labeler_labeler),
        row("author-labeler", &q.author_labeler),
        row("labeler, asked again", &q.self_agreement),
    ]
}

fn labeler_rows(q: &BatchQuality) -> Vec<Vec<String>> {
    let head =
        ["labeler", "answers", "skips", "gold right", "agrees", "repeats", "first place", "seconds", "run", "remarks"];
    let rows = q.labelers.iter().map(|r| {
        let remarks = if r.dropped { "dropped".into() } else { r.remarks.join("; ") };
        vec![
            r.labeler.clone(),
            r.answers.to_string(),
            r.skips.to_string(),
            share(&r.gold),
            share(&r.others),
            share(&r.repeats),
            share(&r.first_place),
            r.seconds.map_or("-".into(), |s| format!("{s:.1}")),
            r.longest_run.to_string(),
            remarks,
        ]
    });
    std::iter::once(words(&head)).chain(rows).collect()
}

fn place_rows(q: &BatchQuality) -> Vec<Vec<String>> {
    let rows = q.places.iter().enumerate().map(|(i, s)| vec![(i + 1).to_string(), share(s)]);
    std::iter::once(words(&["place", "chosen"])).chain(rows).collect()
}

impl BatchesReport {
    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {} batches\n", self.path.display(), self.batches.len());
        let head = ["batch", "purpose", "update", "items", "answers", "complete", "skipped", "labelers"];
        let rows = self.batches.iter().map(|b| {
            let p = &b.progress;
            vec![
                b.id.clone(),
                format!("{:?}", b.purpose).to_lowercase(),
                b.update.to_string(),
                p.items.to_string(),
                format!("{} of {}", p.have, p.wanted),
                p.complete.to_string(),
                p.skipped.to_string(),
                p.labelers.to_string(),
            ]
        });
        text += &aligned(&std::iter::once(words(&head)).chain(rows).collect::<Vec<_>>());
        if !self.quality.labelers.is_empty() {
            text += &format!("\nlabelers\n{}", aligned(&labeler_rows(&self.quality)));
        }
        let problems: Vec<&String> = self.batches.iter().flat_map(|b| &b.problems).collect();
        if !problems.is_empty() {
            let _ = writeln!(text, "\n{} lines do not count", problems.len());
            text.extend(problems.iter().take(20).map(|p| format!("  {p}\n")));
        }
        text += "\nnext\n";
        text.extend(self.next.iter().map(|n| format!("  {n}\n")));
        text
    }
}

/// Agreement for a terminal.
pub fn agreement_text(q: &BatchQuality) -> String {
    format!(
        "agreement\n{}\nplaces\n{}\nlabelers\n{}",
        aligned(&agreement_rows(q)),
        aligned(&place_rows(q)),
        aligned(&labeler_rows(q))
    )
}

/// Agreement as Markdown.
pub fn agreement_markdown(q: &BatchQuality) -> String {
    format!("{}\n{}\n{}", markdown(&agreement_rows(q)), markdown(&place_rows(q)), markdown(&labeler_rows(q)))
}
