//! Recorded labels of people: read from files, drawn at random by the seed.

use super::rounds::Round;
use super::{Ask, Desk, Known, Labeler};
use crate::context::{Context, Kept, StageError, keep_read};
use crate::data::read_report::ReadReport;
use crate::label::draw::Draw;
use crate::label::recorded::{self, QueryOf, Reading, hashes};
use crate::label::report::LabelsReport;
use crate::label::{Label, shared_queries};
use crate::model::tokenizer::Tokenizer;
use crate::random;
use crate::spec::keyed::{LabelsKey, TextsKey};
use crate::spec::{LabelerKind, Spec};
use crate::store::atomic::{write_atomic, write_atomic_with};
use crate::store::cache::Key;
use crate::task::QueryFormat;
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

/// Labels that people gave some time ago: the files of `labeler.path`.
pub struct Recorded;

impl Labeler for Recorded {
    fn key(&self, spec: &Spec, _: &Round, upstream: &[String], _: Option<&Key>) -> Result<Known, StageError> {
        // The files' content, not their place; and nothing of the task's data, which they do not come from.
        let (labels, texts) = (LabelsKey::of(&spec.collect), TextsKey::without_data(&spec.task));
        let (format, split) = (spec.labeler.format, &spec.labeler.split);
        let files = hashes(labels_path(spec)?)?;
        let inputs = (LabelerKind::Recorded, files, format, split, labels, texts, spec.seed, upstream);
        Ok(Known::Key(Key::new("labels", super::VERSION, &inputs)?))
    }

    fn label(&self, desk: &Desk<'_>, _: &Round, _: Ask<'_>, dir: &Path) -> Result<(), StageError> {
        let (context, spec, tokenizer) = (desk.context, desk.spec, desk.tokenizer);
        let format = QueryFormat::new(&spec.task, tokenizer)?;
        let query_of = &|document: &str| format.bare_query(document, tokenizer);
        from_files(context, spec, tokenizer, query_of, dir)
    }
}

fn from_files(
    context: &Context,
    spec: &Spec,
    tokenizer: &Tokenizer,
    query_of: QueryOf<'_>,
    dir: &Path,
) -> Result<(), StageError> {
    let (labels, held_out) = (spec.collect.labels, spec.collect.held_out);
    let mut draw = Draw::new(labels + held_out);
    let mut report = read(spec, tokenizer, query_of, &mut |label| {
        let rank = random::number(spec.seed, &format!("recorded label {:?}", label.query));
        draw.add(rank, label);
        if draw.seen().is_multiple_of(STOP_EVERY) {
            context.check_stop(draw.seen() as usize, Kept::Stages)
        } else {
            Ok(())
        }
    })?;
    let drawn = draw.finish();
    keep_read(dir, &drawn_of(spec, &report)?)?;
    let known = shared_queries(&drawn[..labels], &drawn[labels..]);
    report.training = Some(labels as u64);
    report.held_out = Some(held_out as u64);
    report.held_out_with_known_query = Some(known as u64);
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

/// What a run would read, before it does.
pub fn count(spec: &Spec, tokenizer: &Tokenizer) -> Result<ReadReport, StageError> {
    let format = QueryFormat::new(&spec.task, tokenizer)?;
    let query_of = &|document: &str| format.bare_query(document, tokenizer);
    drawn_of(spec, &read(spec, tokenizer, query_of, &mut |_| Ok(()))?)
}

/// Hands over every usable label of the spec's files. Err: they cannot be used.
fn read(
    spec: &Spec,
    tokenizer: &Tokenizer,
    query_of: QueryOf<'_>,
    each: &mut dyn FnMut(Label) -> Result<(), StageError>,
) -> Result<LabelsReport, StageError> {
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
    let mut report = LabelsReport::default();
    recorded::read(labels_path(spec)?, &reading, &mut report, each)?;
    report.check()?;
    Ok(report)
}

/// What becomes of the labels that were read. Err: there are fewer than the spec needs.
fn drawn_of(spec: &Spec, report: &LabelsReport) -> Result<ReadReport, StageError> {
    let (labels, held_out) = (spec.collect.labels, spec.collect.held_out);
    let mut read = report.read_report("labeler.path")?;
    let rest = read.kept.checked_sub((labels + held_out) as u64);
    let rest = rest.ok_or_else(|| {
        too_few(Path::new(spec.labeler.path.as_deref().unwrap_or_default()), report, labels, held_out)
    })?;
    read.drop_kept("not drawn for collect.labels and collect.held_out", rest);
    Ok(read)
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
