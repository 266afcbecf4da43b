//! The two published formats (docs/labels.md): the paper's label files of token ids, and the comparisons of Stiennon et
//! al.
//! 2020. They hold answers, not questions: checks and questions without an answer are left out.

use super::{Found, Importing, Opened, Problems, blank};
use crate::data::entries::{Entries, LARGEST_LABEL};
use crate::label::batch::{Answer, Item};
use crate::label::lm_human_preferences::PADDING;
use crate::label::recorded::{RecordedPart, parse_entry};
use crate::label::{Judgement, LabelError};
use crate::spec::LabelFormat;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

type Written = Result<usize, Box<dyn std::error::Error + Send + Sync>>;

/// Every question that has an answer, and the answer.
fn labels(all: &[Opened]) -> Vec<(&Opened, &Item, &Answer, usize)> {
    let mut labels = Vec::new();
    for batch in all {
        for (item, answers) in batch.answered().filter(|(item, _)| !item.is_check()) {
            for answer in answers {
                if let Some(best) = answer.best.filter(|best| *best < item.candidates.len()) {
                    labels.push((batch, item, answer, best));
                }
            }
        }
    }
    labels
}

fn array<T>(out: &mut dyn Write, all: &[T], one: impl Fn(&T) -> Value) -> Written {
    write!(out, "[")?;
    for (i, entry) in all.iter().enumerate() {
        write!(out, "{}\n{}", if i > 0 { "," } else { "" }, one(entry))?;
    }
    writeln!(out, "\n]")?;
    Ok(all.len())
}

/// lm_human_preferences: all queries of one length, and all samples, padded on the right.
pub fn write_ids(all: &[Opened], out: &mut dyn Write) -> Written {
    let labels = labels(all);
    if let Some((_, item, ..)) = labels
        .iter()
        .find(|(_, item, ..)| item.query.ids.is_empty() || item.candidates.iter().any(|c| c.response.ids.is_empty()))
    {
        return Err(format!("item {} has no token ids; take summarize_from_feedback", item.id).into());
    }
    let query = labels.iter().map(|(_, item, ..)| item.query.ids.len()).max().unwrap_or(0);
    let sample =
        labels.iter().flat_map(|(_, item, ..)| &item.candidates).map(|c| c.response.ids.len()).max().unwrap_or(0);
    let padded = |ids: &[u32], n: usize| -> Vec<u32> {
        ids.iter().copied().chain(std::iter::repeat_n(PADDING, n.saturating_sub(ids.len()))).collect()
    };
    array(out, &labels, |(_, item, _, best)| {
        let mut entry = Map::new();
        entry.insert("query".into(), json!(padded(&item.query.ids, query)));
        for (i, candidate) in item.candidates.iter().enumerate() {
            entry.insert(format!("sample{i}"), json!(padded(&candidate.response.ids, sample)));
        }
        entry.insert("best".into(), json!(best));
        Value::Object(entry)
    })
}

/// summarize_from_feedback: one comparison per line. A confidence from 0 to 1 becomes one from 1 to 9.
pub fn write_texts(all: &[Opened], out: &mut dyn Write) -> Written {
    let labels = labels(all);
    for (batch, item, answer, best) in &labels {
        let summaries: Vec<Value> = item
            .candidates
            .iter()
            .map(|c| json!({ "text": c.response.text, "policy": c.source, "note": null }))
            .collect();
        let confidence = answer.confidence.map(|c| (1.0 + 8.0 * c.clamp(0.0, 1.0)).round() as i64);
        let entry = json!({
            "info": { "id": item.id, "post": item.query.text },
            "summaries": summaries,
            "choice": best,
            "worker": answer.labeler,
            "batch": batch.batch.id,
            "split": "train",
            "extra": confidence.map_or_else(|| json!({}), |c| json!({ "confidence": c })),
        });
        writeln!(out, "{entry}")?;
    }
    Ok(labels.len())
}

/// Items by what they hold; the ones that are no checks first.
fn by_content<K: Ord>(items: &[Item], key: impl Fn(&Item) -> K) -> BTreeMap<K, Vec<&Item>> {
    let mut all: BTreeMap<K, Vec<&Item>> = BTreeMap::new();
    let (checks, questions): (Vec<&Item>, Vec<&Item>) = items.iter().partition(|item| item.is_check());
    for item in questions.into_iter().chain(checks) {
        all.entry(key(item)).or_default().push(item);
    }
    all
}

/// Answers of the paper's format, found by the token ids of query and samples.
pub fn read_ids(
    file: &Path,
    items: &[Item],
    options: &Importing,
    problems: &mut Problems,
) -> Result<Vec<Found>, LabelError> {
    let known = by_content(items, |item| {
        (item.query.ids.clone(), item.candidates.iter().map(|c| c.response.ids.clone()).collect::<Vec<_>>())
    });
    let ids = |part: &RecordedPart| match part {
        RecordedPart::Ids(ids) => ids.clone(),
        RecordedPart::Text(_) => Vec::new(),
    };
    let mut entries = Entries::open(file, LARGEST_LABEL)?;
    let mut found = Vec::new();
    while let Some(entry) = entries.next_entry()? {
        let line = entry.line;
        match parse_entry(LabelFormat::LmHumanPreferences, entry.bytes) {
            Err(malformed) => problems.push((line, malformed.message)),
            Ok(raw) => {
                let key = (ids(&raw.query), raw.samples.iter().map(ids).collect::<Vec<_>>());
                match (known.get(&key).and_then(|all| all.first()), raw.judgement) {
                    (None, _) => problems.push((line, "this query with these samples is not of this batch".into())),
                    (Some(item), Judgement::Best(best)) => {
                        let labeler = options.labeler.clone().unwrap_or_default();
                        found.push(Found { line, answer: Answer { best: Some(best), ..blank(&item.id, labeler) } });
                    }
                    (Some(_), _) => problems.push((line, "is no comparison".into())),
                }
            }
        }
    }
    Ok(found)
}

/// Answers of summarize_from_feedback, found by `info.id`, else by the texts.
pub fn read_texts(
    file: &Path,
    items: &[Item],
    options: &Importing,
    problems: &mut Problems,
) -> Result<Vec<Found>, LabelError> {
    let by_id: BTreeMap<&str, &Item> = items.iter().map(|item| (item.id.as_str(), item)).collect();
    let known = by_content(items, |item| {
        (item.query.text.clone(), item.candidates.iter().map(|c| c.response.text.clone()).collect::<Vec<_>>())
    });
    let text = |part: &RecordedPart| match part {
        RecordedPart::Text(text) => text.clone(),
        RecordedPart::Ids(_) => String::new(),
    };
    let mut entries = Entries::open(file, LARGEST_LABEL)?;
    let mut found = Vec::new();
    while let Some(entry) = entries.next_entry()? {
        let line = entry.line;
        let raw = match parse_entry(LabelFormat::SummarizeFromFeedback, entry.bytes) {
            Ok(raw) => raw,
            Err(malformed) => {
                problems.push((line, malformed.message));
                continue;
            }
        };
        let value: Value = serde_json::from_slice(entry.bytes).unwrap_or_default();
        let named = value["info"]["id"].as_str().and_then(|id| by_id.get(id));
        let key = (text(&raw.query), raw.samples.iter().map(text).collect::<Vec<_>>());
        let same = |item: &&&Item| item.candidates.iter().map(|c| &c.response.text).eq(key.1.iter());
        let item = named.filter(same).or_else(|| known.get(&key).and_then(|all| all.first()));
        match (item, raw.judgement) {
            (None, _) => problems.push((line, "this text with these summaries is not of this batch".into())),
            (Some(item), Judgement::Best(best)) => {
                let labeler = options.labeler.clone().or(raw.worker).unwrap_or_default();
                let confidence = raw.confidence.map(|c| ((c as f64 - 1.0) / 8.0).clamp(0.0, 1.0));
                let answer = Answer { best: Some(best), confidence, ..blank(&item.id, labeler) };
                found.push(Found { line, answer });
            }
            (Some(_), _) => problems.push((line, "is no comparison".into())),
        }
    }
    Ok(found)
}
