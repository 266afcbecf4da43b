//! A language model as the labeler: a round's questions become batches (batches.rs), as those for people do, and it is
//! asked at once. Its answers are kept beside them, and labels depend on the answers alone: not on where, when, or how
//! many at a time it was asked.

use super::batches::{Progress, batches, judge, look, open, parts};
use super::{Ask, Desk, Known, Labeler};
use crate::context::{Context, StageError};
use crate::label::batch::read;
use crate::labeler::rounds::{Round, rounds};
use crate::outside::{Judge, report};
use crate::results::JudgeReport;
use crate::spec::Spec;
use crate::store::cache::Key;
use serde_json::Value;
use std::path::Path;

/// A language model behind an endpoint.
pub struct LanguageModel;

fn of(spec: &Spec) -> Result<Judge, StageError> {
    judge(spec)?.ok_or_else(|| StageError::Input("labeler.judge: no model is named".into()))
}

impl Labeler for LanguageModel {
    /// Asked about nothing yet: where all answers are there, nobody is needed.
    fn begin(&self, context: &Context, spec: &Spec) -> Result<(), StageError> {
        let judge = of(spec)?;
        for round in rounds(spec) {
            if !matches!(look(spec, &round)?, Progress::Done(_)) {
                return judge.check(context);
            }
        }
        Ok(())
    }

    /// Of the answers, and so None while some are missing.
    fn key(&self, spec: &Spec, round: &Round, _: &[String], _: Option<&Key>) -> Result<Known, StageError> {
        match look(spec, round)? {
            Progress::Done(answered) => answered.key().map(Known::Key),
            Progress::Unasked | Progress::Waiting { .. } => Ok(Known::Unanswered),
        }
    }

    fn ready(&self, desk: &Desk<'_>, round: &Round, of_questions: &str, ask: Ask<'_>) -> Result<(), StageError> {
        let judge = of(desk.spec)?;
        desk.sampling(of_questions, ask, |sample| {
            desk.written(round, sample)?;
            for part in parts(desk.spec, round) {
                let Some((_, items)) = open(desk.spec, round, &part)? else { continue };
                judge.ask(desk.context, batches(desk.spec)?, &items)?;
            }
            Ok(())
        })
    }

    fn label(&self, desk: &Desk<'_>, round: &Round, _: Ask<'_>, dir: &Path) -> Result<(), StageError> {
        match look(desk.spec, round)? {
            Progress::Done(answered) => {
                if answered.training.is_empty() {
                    return Err(StageError::Input(format!(
                        "labeler.judge: {} has answered, and none of its answers is a choice that counts; {}: see what it says \
                         in judge/answers.jsonl there",
                        of(desk.spec)?.model(),
                        batches(desk.spec)?.display()
                    )));
                }
                answered.write(dir)
            }
            Progress::Unasked | Progress::Waiting { .. } => {
                Err(StageError::Input(format!("{}: answers disappeared", batches(desk.spec)?.display())))
            }
        }
    }

    fn report(&self, spec: &Spec, rounds: &[Round]) -> Result<Option<(&'static str, Value)>, StageError> {
        let (judge, dir) = (of(spec)?, batches(spec)?);
        let (mut all, mut training, mut held_out) = (Vec::new(), 0, 0);
        for round in rounds {
            if let Progress::Done(answered) = look(spec, round)? {
                training += answered.training.len() as u64;
                held_out += answered.held_out.len() as u64;
            }
            for part in parts(spec, round) {
                let Some((batch, items)) = open(spec, round, &part)? else { continue };
                let (judged, people) = (judge.read(dir, &items)?, read::answers(dir, &batch.id, &items)?);
                all.push((items, judged, people));
            }
        }
        let found = JudgeReport { training, held_out, ..report(&judge, &all) };
        tracing::info!("{}", found.text());
        Ok(Some(("judge", serde_json::to_value(found)?)))
    }
}
