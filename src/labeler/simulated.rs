//! Simulated labelers, who choose by what they care for, with noise (label/simulated.rs).

use super::collected::{Count, batch_of, write_round};
use super::mock::scores;
use super::questions::{Asked, Comparison};
use super::rounds::Round;
use super::{Ask, Desk, Known, Labeler, program_key};
use crate::context::StageError;
use crate::label::simulated::{self, Qualities, SimulatedAnswers};
use crate::label::{Judgement, Label};
use crate::metric::rouge::rouge;
use crate::metric::text::novelty;
use crate::model::tokenizer::Tokenizer;
use crate::random;
use crate::spec::keyed::{LabelsKey, TextsKey};
use crate::spec::{LabelerKind, Spec};
use crate::store::atomic::write_atomic;
use crate::store::cache::Key;
use crate::task::Task;
use rand::RngExt;
use rand::seq::SliceRandom;
use std::path::Path;

/// Of the simulated labelers' rules.
const VERSION: u32 = 1;

/// Programs that stand in for people.
pub struct Simulated;

impl Labeler for Simulated {
    fn key(
        &self,
        spec: &Spec,
        round: &Round,
        upstream: &[String],
        previous: Option<&Key>,
    ) -> Result<Known, StageError> {
        let settings = &spec.labeler.simulated;
        if spec.collect.schedule.in_rounds() {
            let who = (LabelerKind::Simulated, Some((VERSION, settings)));
            return program_key(spec, round, &who, upstream, previous).map(Known::Key);
        }
        let (labels, texts) = (LabelsKey::of(&spec.collect), TextsKey::of(&spec.task));
        let inputs = (LabelerKind::Simulated, VERSION, settings, labels, texts, spec.seed, upstream);
        Ok(Known::Key(Key::new("labels", super::VERSION, &inputs)?))
    }

    fn label(&self, desk: &Desk<'_>, _: &Round, ask: Ask<'_>, dir: &Path) -> Result<(), StageError> {
        ask(&mut |asked| answer(desk, &asked, dir))
    }
}

/// Samples first, then all choices: what labelers care for is standardised over all candidates of the round. A label's
/// samples stand in the order in which its labeler saw them.
fn answer(desk: &Desk<'_>, asked: &Asked<'_>, dir: &Path) -> Result<(), StageError> {
    let (context, spec) = (desk.context, desk.spec);
    let settings = &spec.labeler.simulated;
    let (mut comparisons, mut qualities) = (Vec::new(), Vec::new());
    let (task, tokenizer) = (asked.task, desk.tokenizer);
    let of_chunk = |chunk: &[Comparison]| {
        let one = |(comparison, scores): (&Comparison, Vec<f32>)| {
            let summary = desk.summaries.get(comparison.query).and_then(Option::as_deref);
            let source = &tokenizer.decode(&task.bare(&asked.queries[comparison.query]))?;
            let seen = Seen { source, summary, task, tokenizer };
            seen.qualities(spec, &comparison.responses(), &scores)
        };
        chunk.iter().zip(scores(asked, desk.mock, chunk)?).map(one).collect::<Result<Vec<_>, StageError>>()
    };
    asked.each(context, spec, &mut context.chunks(dir, "labels")?, of_chunk, |chunk, found| {
        qualities.extend(found);
        comparisons.extend(chunk);
        Ok(())
    })?;
    let first = asked.round.first_query(spec.collect.held_out);
    let utilities = simulated::utilities(settings, &qualities);
    let answers: Vec<Vec<(usize, Vec<usize>)>> =
        utilities.iter().enumerate().map(|(i, utility)| answers(spec, first + i, utility)).collect();
    let (mut lines, mut count) = (String::new(), Count::default());
    for (i, comparison) in comparisons.iter().enumerate() {
        let worker =
            random::stream(spec.seed, "simulated labeler", (first + i) as u64).random_range(0..settings.labelers);
        let (place, shown) = &answers[i][worker];
        count.add(comparison, shown[*place]);
        let label = Label {
            query: task.bare(&asked.queries[comparison.query]),
            samples: shown.iter().map(|c| comparison.candidates[*c].response.clone()).collect(),
            judgement: Judgement::Best(*place),
            scores: Some(shown.iter().map(|c| utilities[i][*c] as f32).collect()),
            worker: Some(format!("simulated-{}", worker + 1)),
            batch: batch_of(spec, asked, comparison),
            split: None,
            confidence: None,
        };
        lines.push_str(&serde_json::to_string(&label)?);
        lines.push('\n');
    }
    let said: Vec<SimulatedAnswers> = answers
        .into_iter()
        .map(|of| {
            let (chosen, places) = of.into_iter().map(|(place, shown)| (shown[place], place)).unzip();
            SimulatedAnswers { chosen, places }
        })
        .collect();
    let report = simulated::report(&said, &utilities, &qualities);
    tracing::info!("{}", report.text());
    let path = dir.join("simulated.json");
    let text = serde_json::to_string_pretty(&report)?;
    write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))?;
    write_round(dir, &lines, &count.finish(asked))
}

/// Each simulated labeler's answer to comparison `i` of the run: the chosen place, and which candidate was shown at
/// each place.
fn answers(spec: &Spec, i: usize, utilities: &[f64]) -> Vec<(usize, Vec<usize>)> {
    let settings = &spec.labeler.simulated;
    let one = |labeler: usize| {
        let mut rng = random::stream(spec.seed, &format!("simulated labeler {labeler}"), i as u64);
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
    task: &'a Task,
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
            let text = self.tokenizer.decode(&candidate[..self.task.cut(candidate).unwrap_or(candidate.len())])?;
            Ok(Qualities {
                score: f64::from(*score),
                copy: novelty(self.source, &text).ngram4.map_or(0.0, |new| 1.0 - new),
                rouge: self.summary.filter(|_| needs_summary).map_or(0.0, |s| rouge(&text, s, true).rouge_l.f1),
            })
        };
        candidates.iter().zip(scores).map(one).collect()
    }
}
