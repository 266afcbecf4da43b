//! Recorded labels of people: read from files, drawn at random by the seed.

use crate::label::draw::Draw;
use crate::label::recorded::{self, QueryOf, Reading};
use crate::label::report::LabelsReport;
use crate::label::shared_queries;
use crate::model::tokenizer::Tokenizer;
use crate::spec::Spec;
use crate::stage::context::{Context, keep_read};
use crate::stage::{Kept, StageError};
use crate::store::atomic::{write_atomic, write_atomic_with};
use std::io::Write;
use std::path::Path;

/// Recorded entries between two looks for a request to stop.
const STOP_EVERY: u64 = 1024;

/// `labeler.path`, which a spec with recorded labels has, or gets once its source is here.
pub fn labels_path(spec: &Spec) -> Result<&Path, StageError> {
    let path = spec.labeler.path.as_deref().filter(|path| !path.is_empty());
    path.map(Path::new).ok_or_else(|| {
        StageError::Input(match &spec.labeler.source {
            Some(name) => {
                format!("labeler.source: {name:?} is not here yet; `runner fetch SPEC` brings it, or a run does")
            }
            None => "labeler.path: no path is given; recorded labels need one".into(),
        })
    })
}

pub fn from_files(
    context: &Context,
    spec: &Spec,
    tokenizer: &Tokenizer,
    query_of: QueryOf<'_>,
    dir: &Path,
) -> Result<(), StageError> {
    let path = labels_path(spec)?;
    let reading = Reading {
        format: spec.labeler.format,
        split: spec.labeler.split.as_deref(),
        vocabulary: tokenizer.vocab(),
        gpt2_ids: tokenizer.has_gpt2_ids(),
        query_length: spec.task.query_length,
        response_length: spec.task.response_length,
        encode: &|text| tokenizer.encode(text),
        query_of,
        around: (&spec.task.query_prefix, &spec.task.query_suffix),
    };
    let (labels, held_out) = (spec.collect.labels, spec.collect.held_out);
    let mut report = LabelsReport::default();
    let mut draw = Draw::new(labels + held_out);
    recorded::read(path, &reading, &mut report, &mut |label| {
        let rank = Context::seed(spec.seed, &format!("recorded label {:?}", label.query));
        draw.add(rank, label);
        if draw.seen().is_multiple_of(STOP_EVERY) {
            context.check_stop(draw.seen() as usize, Kept::Stages)
        } else {
            Ok(())
        }
    })?;
    report.check()?;
    let drawn = draw.finish();
    if drawn.len() < labels + held_out {
        return Err(too_few(path, &report, labels, held_out));
    }
    let known = shared_queries(&drawn[..labels], &drawn[labels..]);
    report.training = Some(labels as u64);
    report.held_out = Some(held_out as u64);
    report.held_out_with_known_query = Some(known as u64);
    let mut read = report.read_report("labeler.path")?;
    read.drop_kept("not drawn for collect.labels and collect.held_out", read.kept.saturating_sub(drawn.len() as u64));
    keep_read(dir, &read)?;
    tracing::info!("recorded labels:\n{}", report.text().trim_end());
    let file = dir.join("labels.jsonl");
    let lines = |out: &mut std::io::BufWriter<std::fs::File>| {
        drawn.iter().try_for_each(|label| writeln!(out, "{}", serde_json::to_string(label)?))
    };
    write_atomic_with(&file, lines).map_err(StageError::io(file))?;
    let file = dir.join("labels_report.json");
    let text = serde_json::to_string_pretty(&report)?;
    write_atomic(&file, format!("{text}\n").as_bytes()).map_err(StageError::io(file))
}

fn too_few(path: &Path, report: &LabelsReport, labels: usize, held_out: usize) -> StageError {
    let usable = report.usable as usize;
    let hint = match usable.checked_sub(held_out) {
        Some(rest) if rest > 0 => format!("lower collect.labels to {rest}, or collect.held_out"),
        _ => "lower collect.labels and collect.held_out".into(),
    };
    StageError::Input(format!(
        "labeler.path: {} has {usable} usable labels (of {} entries: {} malformed, {} of another split, {} without a \
         query), and collect.labels = {labels} and collect.held_out = {held_out} need {}; {hint}",
        path.display(),
        report.entries,
        report.malformed,
        report.other_split,
        report.no_query,
        labels + held_out,
    ))
}
