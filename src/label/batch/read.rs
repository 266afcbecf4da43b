//! Reads a directory of batches (see the module's description): what makes a batch unusable is an error with its place;
//! what is wrong with single answers is reported and left out, for people and other tools write those.

use super::outline::{Outline, outlines};
use super::{Answer, BATCH_VERSION, Batch, Item, LabelerAction, LabelerEvent};
use crate::label::LabelError;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Longest line in bytes; an item of four long summaries has some 20,000.
const LONGEST_LINE: u64 = 16 << 20;
/// Candidates of an item: keys 1 to 9 choose.
const MOST_CANDIDATES: usize = 9;
/// Longest name of a labeler in characters.
const LONGEST_NAME: usize = 64;

/// The answers to a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answers {
    /// One per item and labeler, the last revision, skips included; in the order of the items, then by labeler.
    pub counted: Vec<Answer>,
    /// The same of labelers whose answers do not count.
    pub excluded: Vec<Answer>,
    /// Lines that say nothing, each with `path:line` and why.
    pub problems: Vec<String>,
}

/// How far a batch is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[schemars(rename = "Progress")]
pub struct BatchProgress {
    /// Lines of items.jsonl.
    pub items: usize,
    /// Items that have as many answers and skips of different labelers as they want.
    pub complete: usize,
    /// Items with a choice of at least one labeler.
    pub answered: usize,
    /// Answers wanted in all: `labelers_per_item` of each item, one of each check.
    pub wanted: usize,
    /// Answers and skips towards `wanted`; more than an item wants do not help another.
    pub have: usize,
    /// Skips among all answers that count.
    pub skipped: usize,
    /// Labelers with an answer or a skip that counts.
    pub labelers: usize,
}

impl BatchProgress {
    /// Of several batches; `labelers` is the largest number, for the batches share them.
    pub fn and(self, other: Self) -> Self {
        Self {
            items: self.items + other.items,
            complete: self.complete + other.complete,
            answered: self.answered + other.answered,
            wanted: self.wanted + other.wanted,
            have: self.have + other.have,
            skipped: self.skipped + other.skipped,
            labelers: self.labelers.max(other.labelers),
        }
    }
}

/// The batches of a directory, by name: its directories that have a batch.json. Err: there is no such directory, or a
/// batch.json is not one.
pub fn batches(dir: &Path) -> Result<Vec<Batch>, LabelError> {
    let entries = std::fs::read_dir(dir).map_err(|e| LabelError::file(dir, e))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| LabelError::file(dir, e))?;
        let path = entry.path().join("batch.json");
        if path.is_file() {
            found.push(read_batch(&path, &entry.file_name().to_string_lossy())?);
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

fn read_batch(path: &Path, name: &str) -> Result<Batch, LabelError> {
    let text = std::fs::read_to_string(path).map_err(|e| LabelError::file(path, e))?;
    let batch: Batch = serde_json::from_str(&text).map_err(|e| {
        let message = format!("{}; schemas/batch.schema.json says what it must have", reason(&e));
        LabelError::Place { path: path.into(), line: e.line() as u64, column: e.column() as u64, message }
    })?;
    if batch.batch_version != BATCH_VERSION {
        let message = format!(
            "batch_version is {}, and this program knows {BATCH_VERSION}; use the program that wrote it",
            batch.batch_version
        );
        return Err(LabelError::file(path, message));
    }
    if batch.id != name {
        let message = format!("id is {:?}, and the directory is {name:?}; give the directory its name back", batch.id);
        return Err(LabelError::file(path, message));
    }
    if batch.labelers_per_item == 0 {
        return Err(LabelError::file(path, "labelers_per_item is 0; one or more must answer an item"));
    }
    Ok(batch)
}

/// The items of batch `id`, checked: ids are unique, there are two candidates or more, orders are permutations, `gold`
/// and `repeat_of` are there, and there are as many as batch.json says.
pub fn items(dir: &Path, id: &str) -> Result<Vec<Item>, LabelError> {
    let mut items = Vec::new();
    each_item(dir, id, &mut |item, _| items.push(item))?;
    Ok(items)
}

/// Where an item's line is in items.jsonl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineSpan {
    pub offset: u64,
    pub bytes: usize,
}

/// [`items`] with one item in memory at a time; returns what is known of them besides their texts.
pub fn each_item(dir: &Path, id: &str, each: &mut dyn FnMut(Item, LineSpan)) -> Result<Vec<Outline>, LabelError> {
    let batch = read_batch(&dir.join(id).join("batch.json"), id)?;
    let path = dir.join(id).join("items.jsonl");
    let mut lines = Lines::open(&path)?;
    let (mut outlines, mut numbers) = (Vec::new(), Vec::new());
    while let Some((number, line, _)) = lines.next_line()? {
        let item: Item = serde_json::from_slice(line).map_err(|e| {
            let message = format!("{}; schemas/items.schema.json says what a line must have", reason(&e));
            place(&path, number, e.column(), message)
        })?;
        check_item(&item).map_err(|message| place(&path, number, 1, format!("item {:?}: {message}", item.id)))?;
        outlines.push(Outline::of(&item));
        numbers.push(number);
        let span = LineSpan { offset: lines.offset, bytes: lines.line.len() };
        each(item, span);
    }
    let wrong = |(i, message): (usize, String)| place(&path, numbers.get(i).copied().unwrap_or(1), 1, message);
    check_outlines(&outlines).map_err(wrong)?;
    if outlines.len() != batch.items {
        let message = format!(
            "has {} items, and batch.json says {}; it is not the file that was written: restore it",
            outlines.len(),
            batch.items
        );
        return Err(LabelError::file(path, message));
    }
    Ok(outlines)
}

/// One item, read again from where [`each_item`] found it.
pub fn item_at(dir: &Path, id: &str, span: LineSpan) -> Result<Item, LabelError> {
    let path = dir.join(id).join("items.jsonl");
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(&path)?;
        file.seek(SeekFrom::Start(span.offset))?;
        let mut line = vec![0; span.bytes];
        file.read_exact(&mut line)?;
        Ok(line)
    };
    let line = read().map_err(|e| LabelError::file(&path, e))?;
    serde_json::from_slice(&line)
        .map_err(|e| LabelError::file(&path, format!("{}; it was changed while it was used", reason(&e))))
}

/// Err: the first item (from 0) that cannot be asked, and why.
pub fn check_items(items: &[Item]) -> Result<(), (usize, String)> {
    for (i, item) in items.iter().enumerate() {
        check_item(item).map_err(|message| (i, format!("item {:?}: {message}", item.id)))?;
    }
    check_outlines(&outlines(items))
}

/// What [`check_items`] asks of items together.
fn check_outlines(items: &[Outline]) -> Result<(), (usize, String)> {
    let mut known: HashMap<&str, usize> = HashMap::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        if let Some(first) = known.insert(&item.id, i) {
            return Err((i, format!("item {:?} is item {} already; ids must differ", item.id, first + 1)));
        }
    }
    for (i, item) in items.iter().enumerate() {
        let Some(original) = &item.repeat_of else { continue };
        let wrong = |message: &str| Err((i, format!("item {:?}: repeat_of {original:?} {message}", item.id)));
        match known.get(&**original).map(|place| &items[*place]) {
            None => return wrong("is no item of this batch"),
            Some(first) if first.repeat_of.is_some() => return wrong("is itself a repeat; name the first one"),
            Some(first) if first.question != item.question => {
                return wrong("has another query or other candidates; only `order` may differ");
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn check_item(item: &Item) -> Result<(), String> {
    let n = item.candidates.len();
    if item.id.is_empty() {
        return Err("the id is empty".into());
    }
    if !(2..=MOST_CANDIDATES).contains(&n) {
        return Err(format!("has {n} candidates; 2 to {MOST_CANDIDATES} can be compared"));
    }
    let mut places = item.order.clone();
    places.sort_unstable();
    if places != (0..n).collect::<Vec<_>>() {
        return Err(format!("order is {:?}; it must have each of 0 to {} once", item.order, n - 1));
    }
    match item.gold {
        Some(gold) if gold >= n => Err(format!("gold is {gold}, and there are {n} candidates, from 0 on")),
        _ => Ok(()),
    }
}

/// All answers to batch `id`, of answers.jsonl and answers-NAME.jsonl together. Err: a file cannot be read.
pub fn answers(dir: &Path, id: &str, items: &[Item]) -> Result<Answers, LabelError> {
    answers_to(dir, id, &outlines(items))
}

/// [`answers`] where the items' texts are not in memory.
pub fn answers_to(dir: &Path, id: &str, items: &[Outline]) -> Result<Answers, LabelError> {
    let dropped = dropped(dir)?;
    let mut merge = Merge::new(items);
    for path in answer_files(&dir.join(id))? {
        each_answer(&path, &mut |line, parsed| match parsed {
            Ok(answer) => merge.add(&path, line, answer),
            Err(message) => merge.problems.push(format!("{}:{line}: {message}", path.display())),
        })?;
    }
    Ok(merge.finish(&dropped))
}

/// answers.jsonl and answers-NAME.jsonl of a batch's directory, by name.
pub fn answer_files(batch: &Path) -> Result<Vec<PathBuf>, LabelError> {
    let entries = std::fs::read_dir(batch).map_err(|e| LabelError::file(batch, e))?;
    let names = entries.filter_map(Result::ok).map(|e| e.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|n| n == "answers.jsonl" || (n.starts_with("answers-") && n.ends_with(".jsonl"))).collect();
    names.sort();
    Ok(names.into_iter().map(|name| batch.join(name)).collect())
}

/// Calls `each` with every line's number and answer, or why it is none. A last line that is still being written is left
/// out.
pub fn each_answer(path: &Path, each: &mut dyn FnMut(u64, Result<Answer, String>)) -> Result<(), LabelError> {
    let mut lines = Lines::open(path)?;
    while let Some((number, line, ended)) = lines.next_line()? {
        match serde_json::from_slice::<Answer>(line) {
            Ok(answer) => each(number, Ok(answer)),
            Err(_) if !ended => {}
            Err(e) => each(number, Err(format!("column {}: {}", e.column(), reason(&e)))),
        }
    }
    Ok(())
}

/// Why an answer cannot count.
pub fn check_answer(answer: &Answer, candidates: usize) -> Result<(), String> {
    let in_range = |what: &str, choice: usize| match choice < candidates {
        true => Ok(()),
        false => Err(format!("{what} is {choice}, and there are {candidates} candidates, from 0 on")),
    };
    check_labeler(&answer.labeler)?;
    match (answer.best, &answer.skip) {
        (Some(_), Some(_)) => return Err("has both best and skip; one of them".into()),
        (None, None) => return Err("has neither best nor skip; one of them".into()),
        (Some(best), None) => in_range("best", best)?,
        (None, Some(_)) => {}
    }
    if let Some(ranking) = &answer.ranking {
        let different: HashSet<_> = ranking.iter().collect();
        ranking.iter().try_for_each(|choice| in_range("a rank", *choice))?;
        if different.len() != ranking.len() {
            return Err(format!("ranking {ranking:?} names a candidate twice"));
        }
        if answer.best.is_some() && ranking.first() != answer.best.as_ref() {
            return Err(format!("ranking {ranking:?} does not start with best"));
        }
    }
    match answer.confidence {
        Some(c) if !(0.0..=1.0).contains(&c) => Err(format!("confidence is {c}; from 0 (guessed) to 1 (sure)")),
        _ => Ok(()),
    }
}

/// Whether a labeler can be called this: 1 to 64 characters, no control characters, no white space at the ends.
pub fn check_labeler(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("the labeler has no name".into());
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(format!("labeler {name:?} has white space at an end, or control characters"));
    }
    match name.chars().count() {
        n if n > LONGEST_NAME => Err(format!("the labeler's name has {n} characters; {LONGEST_NAME} at most")),
        _ => Ok(()),
    }
}

/// Whether an answer is known to have been given after another: of equal revisions in files of different tools it
/// counts.
fn is_newer(answer: &Answer, than: &Answer) -> bool {
    let time = |answer: &Answer| answer.answered_at.as_deref()?.parse::<Timestamp>().ok();
    matches!((time(answer), time(than)), (Some(later), Some(earlier)) if later > earlier)
}

/// Answers by item and labeler while files are read.
struct Merge<'a> {
    /// Place and number of candidates of each item.
    known: HashMap<&'a str, (usize, usize)>,
    last: BTreeMap<(usize, String), (Answer, String)>,
    problems: Vec<String>,
}

impl<'a> Merge<'a> {
    fn new(items: &'a [Outline]) -> Self {
        let known = items.iter().enumerate().map(|(i, item)| (&*item.id, (i, item.candidates()))).collect();
        Self { known, last: BTreeMap::new(), problems: Vec::new() }
    }

    fn add(&mut self, path: &Path, line: u64, answer: Answer) {
        let at = format!("{}:{line}", path.display());
        let Some((item, candidates)) = self.known.get(answer.item.as_str()).copied() else {
            return self.problems.push(format!("{at}: there is no item {:?} in this batch", answer.item));
        };
        if let Err(message) = check_answer(&answer, candidates) {
            return self.problems.push(format!("{at}: item {:?}: {message}", answer.item));
        }
        let key = (item, answer.labeler.clone());
        match self.last.get(&key) {
            Some((known, _)) if known.revision > answer.revision => {}
            Some((known, _)) if known.revision == answer.revision && is_newer(&answer, known) => {
                self.last.insert(key, (answer, at));
            }
            Some((known, first)) if known.revision == answer.revision => {
                let dated = is_newer(known, &answer);
                if !dated && (known.best, &known.skip) != (answer.best, &answer.skip) {
                    self.problems.push(format!(
                        "{at}: item {:?}: {} answered otherwise at {first}, with the same revision; the first counts",
                        answer.item, answer.labeler
                    ));
                }
            }
            _ => {
                self.last.insert(key, (answer, at));
            }
        }
    }

    fn finish(self, dropped: &BTreeSet<String>) -> Answers {
        let (excluded, counted) =
            self.last.into_values().map(|(answer, _)| answer).partition(|a| dropped.contains(&a.labeler));
        Answers { counted, excluded, problems: self.problems }
    }
}

/// The lines of labelers.jsonl; none where there is no such file.
pub fn labeler_events(dir: &Path) -> Result<Vec<LabelerEvent>, LabelError> {
    let path = dir.join("labelers.jsonl");
    match path.exists() {
        true => Lines::open(&path)?.parsed("schemas/labelers.schema.json"),
        false => Ok(Vec::new()),
    }
}

/// Labelers whose answers do not count.
pub fn dropped(dir: &Path) -> Result<BTreeSet<String>, LabelError> {
    let mut dropped = BTreeSet::new();
    for event in labeler_events(dir)? {
        match event.action {
            LabelerAction::Drop => dropped.insert(event.labeler),
            LabelerAction::Restore => dropped.remove(&event.labeler),
        };
    }
    Ok(dropped)
}

/// How far a batch is. An item is complete when as many different labelers as it wants have answered or skipped it.
pub fn progress(batch: &Batch, items: &[Item], answers: &Answers) -> BatchProgress {
    progress_of(batch.labelers_per_item, &outlines(items), &answers.counted)
}

/// [`progress`] where the items' texts are not in memory.
pub fn progress_of(labelers_per_item: usize, items: &[Outline], counted: &[Answer]) -> BatchProgress {
    let mut by_item: HashMap<&str, (usize, usize)> = HashMap::new();
    for answer in counted {
        let (all, chosen) = by_item.entry(&answer.item).or_default();
        *all += 1;
        *chosen += usize::from(answer.best.is_some());
    }
    let labelers: HashSet<&str> = counted.iter().map(|a| a.labeler.as_str()).collect();
    let skipped = counted.iter().filter(|a| a.skip.is_some()).count();
    let mut progress =
        BatchProgress { items: items.len(), skipped, labelers: labelers.len(), ..BatchProgress::default() };
    for item in items {
        let wanted = item.wanted(labelers_per_item);
        let (all, chosen) = by_item.get(&*item.id).copied().unwrap_or_default();
        progress.wanted += wanted;
        progress.have += all.min(wanted);
        progress.complete += usize::from(all >= wanted);
        progress.answered += usize::from(chosen > 0);
    }
    progress
}

fn place(path: &Path, line: u64, column: usize, message: String) -> LabelError {
    LabelError::Place { path: path.into(), line, column: column as u64, message }
}

/// serde's message without its own place, which counts lines from the start of one line.
fn reason(e: &serde_json::Error) -> String {
    let text = e.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_string()
}

/// A line's number (from 1), its bytes, and whether it has an end.
type Line<'a> = (u64, &'a [u8], bool);

/// The lines of a file, one in memory at a time; empty ones are skipped.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    line: Vec<u8>,
    number: u64,
    /// Bytes before the current line.
    offset: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, LabelError> {
        let refused = |e: io::Error| LabelError::file(path, e);
        // Opening a pipe would wait until somebody writes into it.
        if !std::fs::metadata(path).map_err(refused)?.is_file() {
            return Err(LabelError::file(path, "is not a file; remove it"));
        }
        let reader = BufReader::with_capacity(1 << 18, File::open(path).map_err(refused)?);
        Ok(Self { path: path.into(), reader, line: Vec::new(), number: 0, offset: 0 })
    }

    fn next_line(&mut self) -> Result<Option<Line<'_>>, LabelError> {
        loop {
            self.offset += self.line.len() as u64;
            self.line.clear();
            let read = (&mut self.reader).take(LONGEST_LINE).read_until(b'\n', &mut self.line);
            let read = read.map_err(|e: io::Error| LabelError::file(&self.path, e))?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read as u64 == LONGEST_LINE {
                let message = format!("a line of more than {LONGEST_LINE} bytes; this is not such a file");
                return Err(place(&self.path, self.number, 1, message));
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        Ok(Some((self.number, self.line.trim_ascii_end(), self.line.ends_with(b"\n"))))
    }

    /// All lines but an unfinished last one; the first that is no `T` is an error that names `schema`.
    fn parsed<T: DeserializeOwned>(mut self, schema: &str) -> Result<Vec<T>, LabelError> {
        let path = self.path.clone();
        let mut all = Vec::new();
        while let Some((number, line, ended)) = self.next_line()? {
            match serde_json::from_slice(line) {
                Ok(value) => all.push(value),
                Err(_) if !ended => {}
                Err(e) => {
                    let message = format!("{}; {schema} says what a line must have", reason(&e));
                    return Err(place(&path, number, e.column(), message));
                }
            }
        }
        Ok(all)
    }
}
