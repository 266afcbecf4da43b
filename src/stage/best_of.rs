//! Best-of-n on held-out queries: samples of ρ, in passes of a bounded number of rows, of which scores alone are kept.

use super::evaluate::EvaluateInputs;
use crate::context::{Saved, StageError};
use crate::labeler::sample_all;
use crate::model::device::is_cpu;
use crate::model::parallel::map_shards;
use crate::results::BestOf;
use crate::rlhf::best_of::{expected, kl_bound};
use crate::spec::Spec;
use crate::task::scoring::{ROWS, Scorer};
use crate::task::{Example, Query};

/// Queries between two looks for a request to stop.
const QUERIES: usize = 8;

/// Scores of one query's samples, in the order of sampling.
type Scores = (Vec<f32>, Vec<f32>);

/// Every n that the spec asks for, estimated from the same samples: as many as the largest n to each of `examples`,
/// scored by r and by the judge.
pub fn best_of(
    saved: &mut Saved<'_>,
    spec: &Spec,
    inputs: &EvaluateInputs<'_>,
    examples: &[Example],
    judging: &Scorer,
) -> Result<Vec<BestOf>, StageError> {
    let Some(most) = spec.evaluate.best_of.iter().max().copied() else { return Ok(Vec::new()) };
    let none = || StageError::Input("evaluate.best_of: there is no r to choose the best by".into());
    let scorer = inputs.scorer.ok_or_else(none)?;
    let queries: Vec<(usize, &Query)> = examples.iter().map(|example| &example.query).enumerate().collect();
    let at_once = if is_cpu(&inputs.reference.device()) { 1 } else { queries.len() };
    let one = |(i, query): &(usize, &Query)| scores(spec, inputs, (*i, query), most, [scorer, judging]);
    let chunks: Vec<_> = queries.chunks(QUERIES).collect();
    let all: Vec<Vec<Scores>> = saved.all(chunks.len(), |i| {
        let found =
            map_shards(chunks[i], at_once, |shard| shard.iter().map(one).collect::<Result<Vec<_>, StageError>>())?;
        Ok(found.concat())
    })?;
    let all = all.concat();
    Ok(spec.evaluate.best_of.iter().map(|n| of(&all, *n)).collect())
}

/// r's and the judge's scores of `most` samples to one query.
fn scores(
    spec: &Spec,
    inputs: &EvaluateInputs<'_>,
    (i, query): (usize, &Query),
    most: usize,
    [scorer, judging]: [&Scorer; 2],
) -> Result<Scores, StageError> {
    let (mut chosen_by, mut judged) = (Vec::with_capacity(most), Vec::with_capacity(most));
    for pass in 0..most.div_ceil(ROWS) {
        let k = ROWS.min(most - pass * ROWS);
        let purpose = format!("best of n {i}/{pass}");
        let responses = sample_all(inputs.reference, spec, std::slice::from_ref(query), k, &purpose)?;
        let queries = vec![query.clone(); k];
        // As RL sees them: what the task does not cut has the fixed score.
        chosen_by.extend(scorer.scores(inputs.task, &queries, &responses)?);
        judged.extend(judging.plain(inputs.task, &queries, &responses)?);
    }
    Ok((chosen_by, judged))
}

fn of(all: &[Scores], n: usize) -> BestOf {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let score: Vec<f64> = all.iter().map(|(r, _)| expected(r, r, n)).collect();
    let contexts: Vec<f64> = all.iter().map(|(r, judged)| expected(r, judged, n)).collect();
    BestOf { n, kl_bound: kl_bound(n), score: mean(&score), judged: mean(&contexts), contexts }
}
