//! r_s as the labeler: it always picks the response with the highest log-odds of "positive" (paper section 3.1.1).

use super::collected::{Count, batch_of, write_round};
use super::questions::{Asked, Comparison};
use super::{Ask, Desk, Known, Labeler, program_key};
use crate::context::StageError;
use crate::label::{Judgement, Label};
use crate::labeler::rounds::Round;
use crate::rlhf::reward::argmax;
use crate::spec::keyed::{LabelsKey, TextsKey};
use crate::spec::{LabelerKind, Spec};
use crate::store::cache::Key;
use crate::task::{Query, Scorer};
use std::path::Path;

/// The mock labeler.
pub struct Mock;

impl Labeler for Mock {
    fn key(
        &self,
        spec: &Spec,
        round: &Round,
        upstream: &[String],
        previous: Option<&Key>,
    ) -> Result<Known, StageError> {
        if spec.collect.schedule.in_rounds() {
            let who = (LabelerKind::Mock, None::<()>);
            return program_key(spec, round, &who, upstream, previous).map(Known::Key);
        }
        let inputs = (LabelerKind::Mock, LabelsKey::of(&spec.collect), TextsKey::of(&spec.task), spec.seed, upstream);
        Ok(Known::Key(Key::new("labels", super::VERSION, &inputs)?))
    }

    fn label(&self, desk: &Desk<'_>, _: &Round, ask: Ask<'_>, dir: &Path) -> Result<(), StageError> {
        let mock = desk.mock.ok_or_else(|| StageError::Input("the mock labeler needs r_s".into()))?;
        ask(&mut |asked| answer(desk, &asked, mock, dir))
    }
}

fn answer(desk: &Desk<'_>, asked: &Asked<'_>, labeler: &Scorer, dir: &Path) -> Result<(), StageError> {
    let (context, spec) = (desk.context, desk.spec);
    let (mut lines, mut count) = (String::new(), Count::default());
    let mut saved = context.chunks(dir, "labels")?;
    let answer = |chunk: &[Comparison]| scores(asked, Some(labeler), chunk);
    asked.each(context, spec, &mut saved, answer, |chunk, scores| {
        for (comparison, scores) in chunk.iter().zip(scores) {
            let best = argmax(&scores);
            count.add(comparison, best);
            let label = Label {
                query: asked.task.bare(&asked.queries[comparison.query]),
                samples: comparison.responses(),
                judgement: Judgement::Best(best),
                scores: Some(scores),
                worker: None,
                batch: batch_of(spec, asked, comparison),
                split: None,
                confidence: None,
            };
            lines.push_str(&serde_json::to_string(&label)?);
            lines.push('\n');
        }
        Ok(())
    })?;
    write_round(dir, &lines, &count.finish(asked))
}

/// Scores of r_s for all candidates, or zeros without it: `[comparisons][candidates]`.
pub(super) fn scores(
    asked: &Asked<'_>,
    labeler: Option<&Scorer>,
    chunk: &[Comparison],
) -> Result<Vec<Vec<f32>>, StageError> {
    let responses: Vec<Vec<u32>> = chunk.iter().flat_map(Comparison::responses).collect();
    let repeated: Vec<Query> =
        chunk.iter().flat_map(|c| std::iter::repeat_n(asked.queries[c.query].clone(), c.candidates.len())).collect();
    let scores = match labeler {
        Some(labeler) => labeler.plain(asked.task, &repeated, &responses)?,
        None => vec![0.0; responses.len()],
    };
    let mut rest = &scores[..];
    let take = |c: &Comparison| {
        let (these, after) = rest.split_at(c.candidates.len());
        rest = after;
        these.to_vec()
    };
    Ok(chunk.iter().map(take).collect())
}
