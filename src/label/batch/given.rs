//! Reading what people answered.

use super::write::lines;
use super::{Answer, LabelerAction, LabelerEvent};
use crate::label::LabelError;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The answers of the batch in `dir` that count.
pub fn counted(dir: &Path) -> Result<Vec<Answer>, LabelError> {
    let dropped = dropped(dir.parent().unwrap_or(Path::new(".")))?;
    Ok(answers(dir)?.into_iter().filter(|a| !dropped.contains(&a.labeler)).collect())
}

/// The latest answer of each labeler to each item of the batch in `dir`.
pub fn answers(dir: &Path) -> Result<Vec<Answer>, LabelError> {
    let mut last: BTreeMap<(String, String), Answer> = BTreeMap::new();
    let entries = std::fs::read_dir(dir).map_err(|e| LabelError::file(dir, e))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("answers") && name.ends_with(".jsonl") {
            for answer in lines::<Answer>(&path)? {
                let key = (answer.item.clone(), answer.labeler.clone());
                if last.get(&key).is_none_or(|old| old.revision < answer.revision) {
                    last.insert(key, answer);
                }
            }
        }
    }
    Ok(last.into_values().collect())
}

/// Labelers whose answers do not count. `dir`: the directory of batches.
pub fn dropped(dir: &Path) -> Result<BTreeSet<String>, LabelError> {
    let path = dir.join("labelers.jsonl");
    let mut dropped = BTreeSet::new();
    if path.exists() {
        for event in lines::<LabelerEvent>(&path)? {
            match event.action {
                LabelerAction::Drop => dropped.insert(event.labeler),
                LabelerAction::Restore => dropped.remove(&event.labeler),
            };
        }
    }
    Ok(dropped)
}
