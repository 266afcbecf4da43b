//! The loop around training steps that all supervised stages share: progress, checkpoints, the cord, and the guard
//! against losses that are no numbers. A killed loop continues from its last checkpoint to the same weights.

use crate::context::{Context, Kept, StageError};
use crate::model::checkpoint::{self, LoopState};
use crate::model::gpt2::Weights;
use crate::model::optimizer::Adam;
use crate::ranks;
use crate::spec::AdamSpec;
use burn::tensor::Device;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Least time between two checkpoints.
const LEAST: Duration = Duration::from_secs(60);
/// Most of the time that goes into writing them: one part in so many.
const SHARE: u32 = 20;

/// A training loop of `steps` steps. Data order and random numbers must be functions of the step alone.
pub struct Training<'a> {
    pub context: &'a Context,
    /// For the progress bar and messages.
    pub name: String,
    pub checkpoints: PathBuf,
    pub steps: usize,
    pub adam: AdamSpec,
    /// The key to change when the loss is no number.
    pub lr_key: &'static str,
}

impl Training<'_> {
    /// Trains from `model`, or from the last checkpoint. `step` gets the step's number, the model and its Adam, and
    /// returns the model after it and the loss before it. The trained model, and the last loss.
    pub fn run<M: Weights + Clone>(
        &self,
        mut model: M,
        device: &Device,
        mut step: impl FnMut(usize, M, &mut Adam) -> Result<(M, f32), StageError>,
    ) -> Result<(M, f32), StageError> {
        let mut adam = Adam::new(self.adam);
        let mut first = 0;
        if let Some((state, loaded, optimizer)) = checkpoint::load(&self.checkpoints, &model, self.adam, device)? {
            tracing::info!("{}: continuing after step {}", self.name, state.updates);
            (first, model, adam) = (state.updates, loaded, optimizer);
        }
        let bar = self.context.bar(&self.name, first, self.steps);
        let mut loss = f32::NAN;
        let (mut saved, mut pause) = (Instant::now(), LEAST);
        for i in first..self.steps {
            if let Some(by) = self.context.stop_requested()? {
                self.save(i, &model, &adam)?;
                return Err(StageError::Stopped { by, update: i, kept: Kept::Everything });
            }
            // By the first rank's clock.
            if ranks::from_first(|| Ok::<_, StageError>(saved.elapsed() > pause))? {
                let started = Instant::now();
                self.save(i, &model, &adam)?;
                pause = LEAST.max(started.elapsed() * SHARE);
                saved = Instant::now();
            }
            (model, loss) = step(i, model, &mut adam)?;
            if !loss.is_finite() {
                let message = format!("{}: the loss is {loss} at step {i}; lower {}", self.name, self.lr_key);
                return Err(StageError::Guard { name: "nan", message });
            }
            bar.add(1, &format!("loss {loss:.3}"));
            tracing::debug!("{} step {i}: loss {loss:.4}", self.name);
        }
        bar.finish();
        Ok((model.frozen(), loss))
    }

    fn save<M: Weights + Clone>(&self, step: usize, model: &M, adam: &Adam) -> Result<(), StageError> {
        let state = LoopState { updates: step, kl_coef: 0.0, entropy_coef: 0.0, metrics_bytes: 0, requests_bytes: 0 };
        Ok(checkpoint::save(&self.checkpoints, &state, model, adam, &[])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LanguageModel;
    use crate::model::ModelError;
    use crate::model::gpt2::{Gpt2, ScalarHead, ScalarModel};
    use crate::model::parallel::gradients;
    use crate::model::sampling::to_vec;
    use crate::model::weights::named;
    use crate::spec::ModelSize;
    use std::sync::atomic::Ordering;

    fn model() -> ScalarModel {
        let (device, d) = (Device::flex(), ModelSize::Test.dimensions());
        ScalarModel { trunk: Gpt2::init(&d, 40, 1, &device), head: ScalarHead::init(d.width, 0.5, 2, &device) }
    }

    /// Squared scores go down; the cord is pulled before the step `stop`.
    fn train(context: &Context, name: &str, stop: usize) -> Result<(ScalarModel, f32), StageError> {
        let training = Training {
            context,
            name: name.into(),
            checkpoints: context.out.join(name),
            steps: 6,
            adam: AdamSpec::default(),
            lr_key: "lr",
        };
        training.run(model(), &Device::flex(), |step, model, adam| {
            if step + 1 == stop {
                context.interrupted.store(true, Ordering::SeqCst);
            }
            let rows = [vec![Some(step as u32), Some(3)], vec![Some(7), Some(step as u32)]];
            let (found, losses) = gradients(&model, &mut adam.scale, &rows, 1, |model, rows| {
                let loss = model.score(&model.trunk.batch(rows)?).powf_scalar(2.0).sum();
                let value = to_vec(loss.clone().inner())?[0];
                Ok::<_, ModelError>((loss, value))
            })?;
            Ok((adam.update(model, found, 1e-2)?, losses.iter().sum()))
        })
    }

    #[test]
    fn a_stopped_loop_continues_to_the_same_weights() {
        let dir = tempfile::tempdir().unwrap();
        let context = Context::for_tests(dir.path());
        let (whole, loss) = train(&context, "whole", 0).unwrap();
        let stopped = train(&context, "parts", 4).unwrap_err();
        assert!(matches!(stopped, StageError::Stopped { update: 4, .. }), "{stopped}");
        context.interrupted.store(false, Ordering::SeqCst);
        let (parts, last) = train(&context, "parts", 0).unwrap();
        assert_eq!(last, loss);
        let values = |m: ScalarModel| {
            named(m, "").into_iter().map(|(n, w)| (n, to_vec(w.flatten()).unwrap())).collect::<Vec<_>>()
        };
        assert!(values(whole) == values(parts));
    }
}
