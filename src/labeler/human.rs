//! People as labelers: a round's questions become batches (batches.rs), the run ends until they are answered, and the
//! same command goes on with the answers.

use super::batches::{Answered, Progress, Sample, batches, human, look, open, parts, used};
use super::questions::Comparison;
use super::{Ask, Desk, Known, Labeler};
use crate::context::StageError;
use crate::label::batch::status::drop_by_thresholds;
use crate::label::human::HumanReport;
use crate::labeler::rounds::Round;
use crate::results::stops::now;
use crate::spec::Spec;
use crate::store::cache::Key;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// People, who answer when they come to it.
pub struct Human;

impl Labeler for Human {
    /// Of the answers, and so None while some are missing.
    fn key(&self, spec: &Spec, round: &Round, _: &[String], _: Option<&Key>) -> Result<Known, StageError> {
        match look(spec, round)? {
            Progress::Done(answered) => answered.key().map(Known::Key),
            Progress::Unasked | Progress::Waiting { .. } => Ok(Known::Unanswered),
        }
    }

    fn ready(&self, desk: &Desk<'_>, round: &Round, of: &str, ask: Ask<'_>) -> Result<(), StageError> {
        desk.sampling(of, ask, |sample| desk.answers(round, sample).map(drop))
    }

    fn label(&self, desk: &Desk<'_>, round: &Round, _: Ask<'_>, dir: &Path) -> Result<(), StageError> {
        match look(desk.spec, round)? {
            Progress::Done(answered) => answered.write(dir),
            Progress::Unasked | Progress::Waiting { .. } => {
                Err(StageError::Input(format!("{}: answers disappeared", batches(desk.spec)?.display())))
            }
        }
    }

    fn waits(&self, desk: &Desk<'_>, round: &Round, requests: &[Comparison]) -> Result<(), StageError> {
        desk.waits(round, requests)
    }

    fn report(&self, spec: &Spec, rounds: &[Round]) -> Result<Option<(&'static str, Value)>, StageError> {
        let mut all = HumanReport::default();
        for round in rounds {
            if let Progress::Done(answered) = look(spec, round)? {
                all.extend(answered.report);
            }
        }
        Ok(Some(("human", serde_json::to_value(all)?)))
    }
}

impl Desk<'_> {
    /// The answers to a round's questions. `sample` makes the questions, where they are not there yet.
    fn answers(&self, round: &Round, sample: Sample<'_>) -> Result<Answered, StageError> {
        self.written(round, sample)?;
        for event in drop_by_thresholds(batches(self.spec)?, &human(self.spec).quality, &now())? {
            tracing::warn!("{} is dropped, {}; `runner labels restore` takes that back", event.labeler, event.reason);
        }
        match look(self.spec, round)? {
            Progress::Done(answered) => {
                self.tell(&answered.report);
                Ok(answered)
            }
            Progress::Waiting { batch, answered, wanted, dropped } => {
                Err(self.waiting(batch, answered, wanted, dropped)?)
            }
            Progress::Unasked => {
                Err(StageError::Input(format!("{}: a batch disappeared", batches(self.spec)?.display())))
            }
        }
    }

    /// Online: writes the batches that `requests`, the ones of this round so far, fill, and waits where they are
    /// unanswered.
    fn waits(&self, round: &Round, requests: &[Comparison]) -> Result<(), StageError> {
        let dir = batches(self.spec)?;
        let most = self.spec.collect.outstanding();
        if requests.len() < most {
            return Ok(());
        }
        let full = requests.len() / most * most;
        for part in parts(self.spec, round).iter().filter(|part| part.numbers.iter().all(|n| *n < full)) {
            let (batch, items) = match open(self.spec, round, part)? {
                Some(there) => there,
                None => self.write(round, part, requests)?,
            };
            let (found, _) = used(self.spec, dir, &batch, &items)?;
            if !found.used.complete() {
                return Err(self.waiting(
                    dir.join(&part.id),
                    found.used.given,
                    found.used.wanted,
                    found.used.dropped,
                )?);
            }
        }
        Ok(())
    }

    fn waiting(
        &self,
        batch: PathBuf,
        answered: usize,
        wanted: usize,
        dropped: usize,
    ) -> Result<StageError, StageError> {
        let more = match dropped {
            0 => String::new(),
            n => format!(" ({n} of them by dropped labelers, which do not count)"),
        };
        let (run, serve) = (self.run.to_string(), batches(self.spec)?.to_path_buf());
        let results = self.context.out.clone();
        Ok(StageError::Waiting {
            run: run.into(),
            batch: batch.into(),
            serve: serve.into(),
            results: results.into(),
            answered,
            wanted,
            more: more.into(),
        })
    }

    fn tell(&self, report: &HumanReport) {
        for b in &report.batches {
            tracing::info!(
                "{}: {} labels of people from {} questions and {} checks; {} skipped, {} by dropped labelers",
                b.id,
                b.labels,
                b.questions,
                b.checks,
                b.skipped,
                b.dropped
            );
        }
    }
}
