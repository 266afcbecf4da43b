//! Labelers that are programs: r_s, which always picks the response with the highest log-odds of "positive" (paper section
//! 3.1.1), and simulated ones, who choose by what they care for, with noise (label/simulated.rs). Both answer at once.

use super::questions::{Asked, Comparison, VALIDATION_REFERENCES};
use super::{RoundLabels, Tally, write_round};
use crate::context::{Context, StageError};
use crate::label::simulated::{self, Answers, Qualities};
use crate::label::{Judgement, Label};
use crate::metric::rouge::rouge;
use crate::metric::text::novelty;
use crate::model::tokenizer::Tokenizer;
use crate::random;
use crate::rlhf::reward::argmax;
use crate::spec::{CollectSchedule, Spec};
use crate::store::atomic::write_atomic;
use crate::task::scoring::Scorer;
use crate::task::{Query, Task};
use rand::RngExt;
use rand::seq::SliceRandom;
use std::path::Path;

/// What a label says about the round that it comes from; nothing where there is only one.
fn batch_of(spec: &Spec, asked: &Asked<'_>, comparison: &Comparison) -> Option<String> {
    let many = matches!(spec.collect.schedule, CollectSchedule::Batched | CollectSchedule::Online);
    let kind = if comparison.validation { "-validation" } else { "" };
    many.then(|| format!("round-{:04}{kind}", asked.round.number))
}

/// Finds how often π won, and counts labels.
#[derive(Default)]
struct Count {
    n: usize,
    validation: Tally,
}

impl Count {
    fn add(&mut self, comparison: &Comparison, best: usize) {
        self.n += 1;
        if comparison.validation {
            self.validation.add(best >= VALIDATION_REFERENCES);
        }
    }

    fn finish(self, asked: &Asked<'_>) -> RoundLabels {
        let training = asked.round.new.min(self.n);
        RoundLabels { round: asked.round.number, training, held_out: self.n - training, validation: self.validation }
    }
}

/// r_s answers.
pub fn mock(context: &Context, spec: &Spec, asked: &Asked<'_>, labeler: &Scorer, dir: &Path) -> Result<(), StageError> {
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
fn scores(asked: &Asked<'_>, labeler: Option<&Scorer>, chunk: &[Comparison]) -> Result<Vec<Vec<f32>>, StageError> {
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

/// What simulated labelers need beside the questions.
pub struct Simulation<'a> {
    /// r_s, where they care for it.
    pub labeler: Option<&'a Scorer>,
    /// The reference summary of each query.
    pub summaries: &'a [Option<String>],
    pub tokenizer: &'a Tokenizer,
}

/// Samples first, then all choices: what labelers care for is standardised over all candidates of the round. A label's
/// samples stand in the order in which its labeler saw them.
pub fn simulated(
    context: &Context,
    spec: &Spec,
    asked: &Asked<'_>,
    simulation: &Simulation<'_>,
    dir: &Path,
) -> Result<(), StageError> {
    let settings = &spec.labeler.simulated;
    let (mut comparisons, mut qualities) = (Vec::new(), Vec::new());
    let (task, tokenizer) = (asked.task, simulation.tokenizer);
    let answer = |chunk: &[Comparison]| {
        let one = |(comparison, scores): (&Comparison, Vec<f32>)| {
            let summary = simulation.summaries.get(comparison.query).and_then(Option::as_deref);
            let source = &tokenizer.decode(&task.bare(&asked.queries[comparison.query]))?;
            let seen = Seen { source, summary, task, tokenizer };
            seen.qualities(spec, &comparison.responses(), &scores)
        };
        chunk.iter().zip(scores(asked, simulation.labeler, chunk)?).map(one).collect::<Result<Vec<_>, StageError>>()
    };
    asked.each(context, spec, &mut context.chunks(dir, "labels")?, answer, |chunk, of_chunk| {
        qualities.extend(of_chunk);
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
    let said: Vec<Answers> = answers
        .into_iter()
        .map(|of| {
            let (chosen, places) = of.into_iter().map(|(place, shown)| (shown[place], place)).unzip();
            Answers { chosen, places }
        })
        .collect();
    let report = simulated::report(&said, &utilities, &qualities);
    tracing::info!("{}", report.text());
    let path = dir.join("simulated.json");
    let text = serde_json::to_string_pretty(&report)?;
    write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))?;
    write_round(dir, &lines, &count.finish(asked))
}

/// Each simulated labeler's answer to comparison `i` of the run: the chosen place, and which candidate was shown at each place.
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
