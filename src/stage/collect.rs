//! Collecting 4-way comparisons: x ~ D, y0..y3 ~ ρ(.|x), and the labeler's choice (paper section 2.1). The mock
//! labeler always picks the response with the highest r_s.

use super::StageError;
use super::context::Context;
use super::scoring::{ROWS, Rule, Scorer};
use crate::data::queries::Query;
use crate::model::gpt2::Gpt2;
use crate::model::sampling::{Sampled, Sampling, sample};
use crate::rlhf::reward::argmax;
use crate::spec::Spec;
use crate::store::atomic::write_atomic;
use crate::store::cache::Key;
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
/// Candidates per comparison (paper section 2.1).
pub const CANDIDATES: usize = 4;

/// One comparison; a line of labels.jsonl.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Token ids without padding.
    pub query: Vec<u32>,
    pub samples: Vec<Vec<u32>>,
    /// Index of the preferred sample.
    pub best: usize,
    /// The mock labeler's log-odds of "positive".
    pub scores: Vec<f32>,
}

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

/// Everything collection needs.
pub struct Inputs<'a> {
    pub reference: &'a Gpt2,
    pub labeler: &'a Scorer,
    pub rule: &'a Rule,
    pub queries: &'a [Query],
}

/// What labels depend on; `upstream`: ρ and r_s.
pub fn key(spec: &Spec, upstream: &[String]) -> Result<Key, StageError> {
    Ok(Key::new("labels", VERSION, &(&spec.collect, &spec.task, &spec.labeler, spec.seed, upstream))?)
}

/// The labels' directory.
pub fn run(context: &Context, run: &str, spec: &Spec, key: &Key, inputs: &Inputs<'_>) -> Result<PathBuf, StageError> {
    context.artifact(Some(run), key, |work| collect(context, spec, inputs, &work.dir))
}

fn collect(context: &Context, spec: &Spec, inputs: &Inputs<'_>, dir: &Path) -> Result<(), StageError> {
    let total = spec.collect.labels + spec.collect.held_out;
    let order = Context::shuffled(spec.seed, "label queries", inputs.queries.len(), 0, total);
    let bar = context.bar("labels", total, "comparisons");
    let mut lines = String::new();
    for (i, chunk) in order.chunks(ROWS / CANDIDATES).enumerate() {
        context.check_stop(i)?;
        let queries: Vec<Query> = chunk.iter().map(|q| inputs.queries[*q].clone()).collect();
        let responses = sample_all(inputs.reference, spec, &queries, CANDIDATES, &format!("label samples {i}"))?;
        let repeated: Vec<Query> = queries.iter().flat_map(|q| std::iter::repeat_n(q.clone(), CANDIDATES)).collect();
        let scores = inputs.labeler.plain(inputs.rule, &repeated, &responses)?;
        for (j, query) in queries.iter().enumerate() {
            let at = j * CANDIDATES..(j + 1) * CANDIDATES;
            let comparison = Comparison {
                query: query.iter().flatten().copied().collect(),
                samples: responses[at.clone()].to_vec(),
                best: argmax(&scores[at.clone()]),
                scores: scores[at].to_vec(),
            };
            lines.push_str(&serde_json::to_string(&comparison).map_err(|e| StageError::Input(e.to_string()))?);
            lines.push('\n');
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    let path = dir.join("labels.jsonl");
    write_atomic(&path, lines.as_bytes()).map_err(StageError::io(path))
}

/// Reads labels.jsonl.
pub fn read(dir: &Path) -> Result<Vec<Comparison>, StageError> {
    let path = dir.join("labels.jsonl");
    let text = std::fs::read_to_string(&path).map_err(StageError::io(&path))?;
    text.lines()
        .enumerate()
        .map(|(i, l)| {
            serde_json::from_str(l).map_err(|e| StageError::Input(format!("{}:{}: {e}", path.display(), i + 1)))
        })
        .collect()
}
