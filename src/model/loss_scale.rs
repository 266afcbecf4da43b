//! Loss scaling: where factors of products are float16, a loss is multiplied by a power of two before its gradient is
//! computed, and the gradient divided by it in float32, so that small gradients are not rounded to zero on their way
//! ("Mixed Precision Training", Micikevicius et al. 2018). As PyTorch's GradScaler: it begins at 2¹⁶, is halved when
//! a gradient is not finite, and doubled after 2,000 steps without. Other than there no step is left out: its gradient is
//! computed again, so that a run has as many updates as its spec says.

use super::ModelError;
use super::gpt2::Weights;
use super::parallel::GradientMap;
use super::sampling::to_vec;
use crate::ranks;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// The first scale is 2 to this power, as GradScaler's.
const FIRST: i32 = 16;
/// Beyond this float32 itself would overflow, and below 1 there is nothing to gain.
const LARGEST: i32 = 24;
/// Steps in a row after which it is doubled.
const PATIENCE: u32 = 2_000;

/// The scale of one training's losses, and how it came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossScale {
    /// Of 2.
    exponent: i32,
    /// Steps since it last changed.
    steps: u32,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { exponent: FIRST, steps: 0 }
    }
}

impl LossScale {
    /// Whether it is that of a training that has not begun, or has no need of one.
    pub fn is_unused(&self) -> bool {
        *self == Self::default()
    }

    /// What a loss is multiplied by.
    pub fn factor(self) -> f64 {
        f64::from(self.exponent).exp2()
    }

    /// After a gradient that was finite.
    fn kept(&mut self) {
        self.steps += 1;
        if self.steps >= PATIENCE {
            *self = Self { exponent: (self.exponent + 1).min(LARGEST), steps: 0 };
        }
    }

    /// After one that was not. None: it cannot be smaller.
    fn halved(&mut self) -> Option<()> {
        *self = Self { exponent: (self.exponent > 0).then(|| self.exponent - 1)?, steps: 0 };
        Some(())
    }
}

/// The loss, of `[1]`, times a factor; at 1 itself.
pub fn times(loss: Tensor<1>, factor: f64) -> Tensor<1> {
    if factor == 1.0 { loss } else { loss * factor }
}

/// A step's gradient by `work`, which is given what to multiply its losses by. Of a float32 model that is 1 and the
/// gradient what it is; else `work` is asked again with a smaller factor until the gradient is finite. One that is
/// finite with none is handed on: whoever looks at the loss sees the same.
///
/// # Errors
/// Those of `work`, and of the device.
pub fn scaled<M: Weights, R, E: From<ModelError>>(
    model: &M,
    scale: &mut LossScale,
    mut work: impl FnMut(f64) -> Result<(GradientMap, R), E>,
) -> Result<(GradientMap, R), E> {
    if model.precision().is_f32() {
        return work(1.0);
    }
    loop {
        let (found, rest) = work(scale.factor())?;
        let finite = is_finite(&found)?;
        if finite {
            let inverse = scale.factor().recip();
            scale.kept();
            return Ok((found.into_iter().map(|(name, g)| (name, g * inverse)).collect(), rest));
        }
        if scale.halved().is_none() {
            tracing::warn!(
                "a gradient is not finite although its loss is not scaled: a number of the model is beyond float16's 65,504, or the loss is none; model.precision = \"f32\" holds larger ones"
            );
            return Ok((found, rest));
        }
        tracing::debug!("a gradient is beyond float16: losses are scaled by {} from here on", scale.factor());
    }
}

/// Whether a gradient is finite, by that of the position embedding: what overflows in any product of the backward pass
/// is a factor of what flows on to the embeddings, and no finite number comes of one that is not. Of several ranks each has
/// a part of it, or none.
fn is_finite(found: &GradientMap) -> Result<bool, ModelError> {
    let own = match found.get("wpe.weight") {
        Some(gradient) => to_vec(gradient.clone().sum())?.iter().all(|sum| sum.is_finite()),
        None => true,
    };
    match ranks::shared() {
        None => Ok(own),
        Some(_) => Ok(ranks::gathered(own)?.into_iter().all(|finite| finite)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gpt2::Gpt2;
    use crate::spec::{ModelSize, Precision};
    use burn::tensor::{Device, TensorData};

    fn model(p: Precision) -> Gpt2 {
        Gpt2::init(&ModelSize::Test.dimensions(), 9, 1, &Device::flex()).with(p)
    }

    /// A gradient of 3 that overflows at factors above `most`.
    fn gradient(factor: f64, most: f64) -> Result<(GradientMap, f64), ModelError> {
        let value = if factor > most { f32::NAN } else { 3.0 * factor as f32 };
        let tensor = Tensor::<1>::from_data(TensorData::new(vec![value, 0.0], [2]), &Device::flex());
        Ok(([("wpe.weight".to_string(), tensor)].into(), factor))
    }

    #[test]
    fn a_gradient_that_overflows_is_computed_again_and_comes_out_unscaled() {
        let mut scale = LossScale::default();
        let work = |most: f64| move |factor| gradient(factor, most);
        for _ in 0..2 {
            let (found, factor) = scaled(&model(Precision::F16), &mut scale, work(1000.0)).unwrap();
            assert_eq!((to_vec(found["wpe.weight"].clone()).unwrap(), factor), (vec![3.0, 0.0], 512.0));
        }
        // What is no number without a scale stays so.
        let (found, factor) = scaled(&model(Precision::F16), &mut scale, work(0.0)).unwrap();
        assert!(to_vec(found["wpe.weight"].clone()).unwrap()[0].is_nan() && factor == 1.0);
        // float32 knows no scale.
        let mut scale = LossScale::default();
        let (_, factor) = scaled(&model(Precision::F32), &mut scale, work(2.0)).unwrap();
        assert!(factor == 1.0 && scale.is_unused());
    }

    #[test]
    fn it_grows_after_many_steps_and_not_without_end() {
        let mut scale = LossScale::default();
        let after = |scale: &mut LossScale, steps: u32| {
            (0..steps).for_each(|_| scale.kept());
            scale.factor()
        };
        assert_eq!((after(&mut scale, PATIENCE - 1), after(&mut scale, 1)), (65_536.0, 131_072.0));
        assert_eq!(after(&mut scale, 100 * PATIENCE), f64::from(LARGEST).exp2());
    }
}
