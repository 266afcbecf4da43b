//! Collecting labels. The mock labeler gets 4-way comparisons, x ~ D, y0..y3 ~ ρ(.|x), and always picks the response
//! with the highest r_s (paper section 2.1); simulated labelers get the same and choose by what they care for, with noise;
//! recorded labels of people come from files, in an order shuffled by the seed. Either way labels.jsonl holds `collect.labels` to train on and then `collect.held_out` more.

use super::StageError;
use super::context::Context;
use super::scoring::{ROWS, Rule, Scorer};
use crate::data::queries::Query;
use crate::label::draw::Draw;
use crate::label::recorded::{self, QueryOf, Reading};
use crate::label::report::LabelsReport;
use crate::label::simulated::{self, Answers, Qualities};
use crate::label::{Judgement, Label, read_lines, shared_queries};
use crate::metric::rouge::rouge;
use crate::metric::text::novelty;
use crate::model::gpt2::Gpt2;
use crate::model::sampling::{Sampled, Sampling, sample};
use crate::model::tokenizer::Tokenizer;
use crate::rlhf::reward::argmax;
use crate::spec::{DataSpec, LabelerKind, Spec, TaskSpec};
use crate::store::atomic::{write_atomic, write_atomic_with};
use crate::store::cache::Key;
use rand::RngExt;
use rand::seq::SliceRandom;
use std::io::Write;
use std::path::{Path, PathBuf};

const VERSION: u32 = 2;
/// Of the simulated labelers' rules.
const SIMULATED: u32 = 1;
/// Candidates per comparison of the mock labeler (paper section 2.1).
pub const CANDIDATES: usize = 4;
/// Most times that a response is sampled again for want of the truncation token.
const TRIES: usize = 20;
/// Recorded entries between two looks for a request to stop.
const STOP_EVERY: u64 = 1024;

/// Uniform numbers for sampling: `[response][rows]`.
pub fn uniforms(seed: u64, purpose: &str, step: u64, length: usize, rows: usize) -> Vec<Vec<f32>> {
    let mut rng = Context::stream(seed, purpose, step);
    (0..length).map(|_| (0..rows).map(|_| rng.random::<f32>()).collect()).collect()
}

/// `k` samples per query from a language model, in passes of [`ROWS`] rows.
pub fn sample_all(
    model: &Gpt2,
    spec: &Spec,
    queries: &[Query],
    k: usize,
    purpose: &str,
) -> Result<Vec<Vec<u32>>, StageError> {
    let mut responses = Vec::with_capacity(queries.len() * k);
    for (i, chunk) in queries.chunks((ROWS / k).max(1)).enumerate() {
        let u = uniforms(spec.seed, purpose, i as u64, spec.task.response_length, chunk.len() * k);
        let args = Sampling {
            queries: chunk,
            k,
            response_length: spec.task.response_length,
            temperature: spec.task.temperature,
            uniforms: &u,
            value_head: None,
        };
        let Sampled { responses: r, .. } = sample(model, &args)?;
        responses.extend(r);
    }
    Ok(responses)
}

/// [`CANDIDATES`] responses per query to compare, and how many of them still lack the truncation token: those are
/// rejected and sampled again (paper section 3.1), as long as that helps.
fn sample_complete(
    reference: &Gpt2,
    spec: &Spec,
    rule: &Rule,
    queries: &[Query],
    purpose: &str,
) -> Result<(Vec<Vec<u32>>, usize), StageError> {
    let mut responses = sample_all(reference, spec, queries, CANDIDATES, purpose)?;
    let missing = |responses: &[Vec<u32>]| -> Vec<usize> {
        (0..responses.len()).filter(|i| rule.cut(&responses[*i]).is_none()).collect()
    };
    let mut rejected = missing(&responses);
    for again in 1..=TRIES {
        if rejected.is_empty() {
            break;
        }
        let asked: Vec<Query> = rejected.iter().map(|i| queries[i / CANDIDATES].clone()).collect();
        let found = sample_all(reference, spec, &asked, 1, &format!("{purpose}, again {again}"))?;
        rejected.iter().zip(found).for_each(|(i, response)| responses[*i] = response);
        let left = missing(&responses);
        // A model that hardly ever writes the token will not do so now.
        let helps = left.len() * 20 <= rejected.len() * 19;
        rejected = left;
        if !helps {
            break;
        }
    }
    Ok((responses, rejected.len()))
}

/// Who answers.
pub enum Source<'a> {
    /// r_s on samples of ρ for queries of the task.
    Mock { reference: &'a Gpt2, labeler: &'a Scorer, rule: &'a Rule, queries: &'a [Query] },
    /// Simulated labelers (label/simulated.rs) on samples of ρ for queries of the task.
    Simulated {
        reference: &'a Gpt2,
        /// r_s, where they care for it.
        labeler: Option<&'a Scorer>,
        rule: &'a Rule,
        queries: &'a [Query],
        /// The reference summary of each query.
        summaries: &'a [Option<String>],
        tokenizer: &'a Tokenizer,
    },
    /// People, some time ago: the files of `labeler.path`.
    Recorded {
        /// The model's.
        tokenizer: &'a Tokenizer,
        /// The task's rule from a document to its query, without the task's prefix and suffix.
        query_of: QueryOf<'a>,
    },
}

/// What labels depend on. `upstream`: ρ, and r_s where it is the labeler.
pub fn key(spec: &Spec, upstream: &[String]) -> Result<Key, StageError> {
    match spec.labeler.kind {
        LabelerKind::Mock => {
            Ok(Key::new("labels", VERSION, &(&spec.collect, &spec.task, spec.labeler.kind, spec.seed, upstream))?)
        }
        LabelerKind::Simulated => {
            let inputs =
                ("simulated", SIMULATED, &spec.collect, &spec.task, &spec.labeler.simulated, spec.seed, upstream);
            Ok(Key::new("labels", VERSION, &inputs)?)
        }
        LabelerKind::Recorded => {
            // The files' content, not their place; and nothing of the task's data, which they do not come from.
            let task = TaskSpec { data: DataSpec::default(), ..spec.task.clone() };
            let (format, split) = (spec.labeler.format, &spec.labeler.split);
            let files = recorded::hashes(labels_path(spec)?)?;
            let inputs = ("recorded", &spec.collect, task, format, split, files, spec.seed, upstream);
            Ok(Key::new("labels", VERSION, &inputs)?)
        }
    }
}

/// The labels' directory: labels.jsonl, of recorded ones labels_report.json, of simulated ones simulated.json.
pub fn run(context: &Context, run: &str, spec: &Spec, key: &Key, source: &Source<'_>) -> Result<PathBuf, StageError> {
    context.artifact(Some(run), key, |work| match source {
        Source::Mock { reference, labeler, rule, queries } => {
            mock(context, spec, reference, labeler, rule, queries, &work.dir)
        }
        Source::Simulated { .. } => simulated(context, spec, source, &work.dir),
        Source::Recorded { tokenizer, query_of } => from_files(context, spec, tokenizer, *query_of, &work.dir),
    })
}

fn mock(
    context: &Context,
    spec: &Spec,
    reference: &Gpt2,
    labeler: &Scorer,
    rule: &Rule,
    all: &[Query],
    dir: &Path,
) -> Result<(), StageError> {
    let total = spec.collect.labels + spec.collect.held_out;
    let order = Context::shuffled(spec.seed, "label queries", all.len(), 0, total);
    let bar = context.bar("labels", total, "comparisons");
    let (mut lines, mut incomplete) = (String::new(), 0);
    for (i, chunk) in order.chunks(ROWS / CANDIDATES).enumerate() {
        context.check_stop(i)?;
        let queries: Vec<Query> = chunk.iter().map(|q| all[*q].clone()).collect();
        let (responses, left) = sample_complete(reference, spec, rule, &queries, &format!("label samples {i}"))?;
        incomplete += left;
        let repeated: Vec<Query> = queries.iter().flat_map(|q| std::iter::repeat_n(q.clone(), CANDIDATES)).collect();
        let scores = labeler.plain(rule, &repeated, &responses)?;
        for (j, query) in queries.iter().enumerate() {
            let at = j * CANDIDATES..(j + 1) * CANDIDATES;
            let label = Label {
                query: rule.bare(query),
                samples: responses[at.clone()].to_vec(),
                judgement: Judgement::Best(argmax(&scores[at.clone()])),
                scores: Some(scores[at].to_vec()),
                worker: None,
                batch: None,
                split: None,
                confidence: None,
            };
            lines.push_str(&serde_json::to_string(&label)?);
            lines.push('\n');
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    if incomplete > 0 {
        tracing::info!(
            "{incomplete} of {} responses to compare lack the truncation token, after sampling again",
            total * CANDIDATES
        );
    }
    let path = dir.join("labels.jsonl");
    write_atomic(&path, lines.as_bytes()).map_err(StageError::io(path))
}

/// Samples first, then all choices: what labelers care for is standardised over all candidates. A label's samples stand in
/// the order in which its labeler saw them.
fn simulated(context: &Context, spec: &Spec, source: &Source<'_>, dir: &Path) -> Result<(), StageError> {
    let Source::Simulated { reference, labeler, rule, queries: all, summaries, tokenizer } = source else {
        return Ok(());
    };
    let settings = &spec.labeler.simulated;
    let total = spec.collect.labels + spec.collect.held_out;
    let order = Context::shuffled(spec.seed, "label queries", all.len(), 0, total);
    let bar = context.bar("simulated labels", total, "comparisons");
    let (mut samples, mut qualities) = (Vec::with_capacity(total), Vec::with_capacity(total));
    for (i, chunk) in order.chunks(ROWS / CANDIDATES).enumerate() {
        context.check_stop(i)?;
        let queries: Vec<Query> = chunk.iter().map(|q| all[*q].clone()).collect();
        let (responses, _) = sample_complete(reference, spec, rule, &queries, &format!("label samples {i}"))?;
        let repeated: Vec<Query> = queries.iter().flat_map(|q| std::iter::repeat_n(q.clone(), CANDIDATES)).collect();
        let scores = match labeler {
            Some(labeler) => labeler.plain(rule, &repeated, &responses)?,
            None => vec![0.0; responses.len()],
        };
        for (j, q) in chunk.iter().enumerate() {
            let at = j * CANDIDATES..(j + 1) * CANDIDATES;
            let candidates = &responses[at.clone()];
            let summary = summaries.get(*q).and_then(Option::as_deref);
            let seen = Seen { source: &tokenizer.decode(&rule.bare(&all[*q]))?, summary, rule, tokenizer };
            qualities.push(seen.qualities(spec, candidates, &scores[at])?);
            samples.push(candidates.to_vec());
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    let utilities = simulated::utilities(settings, &qualities);
    let answers: Vec<Vec<(usize, Vec<usize>)>> = (0..total).map(|i| answers(spec, i, &utilities[i])).collect();
    let mut lines = String::new();
    for (i, q) in order.iter().enumerate() {
        let worker = Context::stream(spec.seed, "simulated labeler", i as u64).random_range(0..settings.labelers);
        let (place, shown) = &answers[i][worker];
        let label = Label {
            query: rule.bare(&all[*q]),
            samples: shown.iter().map(|c| samples[i][*c].clone()).collect(),
            judgement: Judgement::Best(*place),
            scores: Some(shown.iter().map(|c| utilities[i][*c] as f32).collect()),
            worker: Some(format!("simulated-{}", worker + 1)),
            batch: None,
            split: None,
            confidence: None,
        };
        lines.push_str(&serde_json::to_string(&label)?);
        lines.push('\n');
    }
    let said: Vec<Answers> = answers
        .into_iter()
        .map(|of| {
            let (chosen, places) = of.into_iter().map(|(place, shown)| (shown[place], place)).unzip();
            Answers { chosen, places }
        })
        .collect();
    let report = simulated::report(&said, &utilities, &qualities);
    tracing::info!("{}", report.text());
    let path = dir.join("labels.jsonl");
    write_atomic(&path, lines.as_bytes()).map_err(StageError::io(path))?;
    let path = dir.join("simulated.json");
    let text = serde_json::to_string_pretty(&report)?;
    write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))
}

/// Each simulated labeler's answer to comparison `i`: the chosen place, and which candidate was shown at each place.
fn answers(spec: &Spec, i: usize, utilities: &[f64]) -> Vec<(usize, Vec<usize>)> {
    let settings = &spec.labeler.simulated;
    let one = |labeler: usize| {
        let mut rng = Context::stream(spec.seed, &format!("simulated labeler {labeler}"), i as u64);
        let mut order: Vec<usize> = (0..utilities.len()).collect();
        order.shuffle(&mut rng);
        let uniform: Vec<f64> = order.iter().map(|_| rng.random()).collect();
        (simulated::choose(settings, utilities, &order, &uniform), order)
    };
    (0..settings.labelers).map(one).collect()
}

/// What a labeler sees beside the candidates.
struct Seen<'a> {
    source: &'a str,
    summary: Option<&'a str>,
    rule: &'a Rule,
    tokenizer: &'a Tokenizer,
}

impl Seen<'_> {
    /// Of each candidate, truncated as a labeler would see it. `scores`: r_s, one per candidate.
    fn qualities(&self, spec: &Spec, candidates: &[Vec<u32>], scores: &[f32]) -> Result<Vec<Qualities>, StageError> {
        let needs_summary = spec.labeler.simulated.weight_rouge != 0.0;
        if needs_summary && self.summary.is_none() {
            return Err(StageError::Input(
                "labeler.simulated.weight_rouge: a query of task.data has no summary to compare with; set it to 0, or use \
                 data with summaries"
                    .into(),
            ));
        }
        let one = |(candidate, score): (&Vec<u32>, &f32)| {
            let text = self.tokenizer.decode(&candidate[..self.rule.cut(candidate).unwrap_or(candidate.len())])?;
            Ok(Qualities {
                score: f64::from(*score),
                copy: novelty(self.source, &text).ngram4.map_or(0.0, |new| 1.0 - new),
                rouge: self.summary.filter(|_| needs_summary).map_or(0.0, |s| rouge(&text, s, true).rouge_l.f1),
            })
        };
        candidates.iter().zip(scores).map(one).collect()
    }
}

/// `labeler.path`, which a spec with recorded labels has.
fn labels_path(spec: &Spec) -> Result<&Path, StageError> {
    let path = spec.labeler.path.as_deref().filter(|path| !path.is_empty());
    path.map(Path::new)
        .ok_or_else(|| StageError::Input("labeler.path: no path is given; recorded labels need one".into()))
}

fn from_files(
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
        query_length: spec.task.query_length,
        response_length: spec.task.response_length,
        encode: &|text| tokenizer.encode(text),
        query_of,
    };
    let (labels, held_out) = (spec.collect.labels, spec.collect.held_out);
    let mut report = LabelsReport::default();
    let mut draw = Draw::new(labels + held_out);
    recorded::read(path, &reading, &mut report, &mut |label| {
        let rank = Context::seed(spec.seed, &format!("recorded label {:?}", label.query));
        draw.add(rank, label);
        if draw.seen().is_multiple_of(STOP_EVERY) { context.check_stop(draw.seen() as usize) } else { Ok(()) }
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

/// Reads labels.jsonl.
pub fn read(dir: &Path) -> Result<Vec<Label>, StageError> {
    Ok(read_lines(&dir.join("labels.jsonl"))?)
}
