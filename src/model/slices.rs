//! A model's weights over several ranks: all their numbers, in the order of their names, in slices of one length, one for
//! each rank. A rank adds up, and learns, its own slice alone: it keeps the gradient and both of Adam's moments of that
//! slice, and the new weights go to all. Adam is elementwise, so that the bytes are those of one process.

use super::ModelError;
use super::gpt2::{Weight, Weights};
use super::optimizer::{Adam, Moments};
use super::parallel::GradientMap;
use super::sampling::to_vec;
use super::weights::named;
use crate::ranks;
use crate::ranks::sum::{self, Order};
use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Range;
use std::time::Instant;

/// Where each weight's numbers are among all, and which of all are this rank's.
pub struct Slices {
    names: BTreeMap<String, Range<usize>>,
    total: usize,
    own: Range<usize>,
    device: Device,
}

impl Slices {
    /// Of a model's weights; None where one process has all of them.
    pub fn of<M: Weights + Clone>(model: &M) -> Option<Self> {
        ranks::shared()?;
        let (mut names, mut total, mut device) = (BTreeMap::new(), 0, Device::flex());
        for (name, weight) in named(model.clone(), "") {
            let n: usize = weight.shape().iter().product();
            names.insert(name, total..total + n);
            total += n;
            device = match &weight {
                Weight::Vector(t) => t.device(),
                Weight::Matrix(t) => t.device(),
            };
        }
        Some(Self { names, total, own: sum::slice(total), device })
    }

    /// The numbers of a weight that are this rank's, counted from the weight's first.
    pub fn part(&self, name: &str) -> Range<usize> {
        let all = self.names.get(name).cloned().unwrap_or(0..0);
        let (from, to) = (self.own.start.max(all.start), self.own.end.min(all.end));
        if from < to { from - all.start..to - all.start } else { 0..0 }
    }

    /// Numbers of this rank's slice from those of its parts of the weights; 0 where a weight has none.
    fn joined(&self, mut parts: impl FnMut(&str) -> Option<Tensor<1>>) -> Result<Vec<f32>, ModelError> {
        self.in_order(&|name| self.part(name).len(), &mut parts)
    }

    /// All numbers, or a slice of them, one weight after the other; `length`: how many each weight has of them.
    fn in_order(
        &self,
        length: &dyn Fn(&str) -> usize,
        values: &mut dyn FnMut(&str) -> Option<Tensor<1>>,
    ) -> Result<Vec<f32>, ModelError> {
        let mut all = Vec::with_capacity(self.names.keys().map(|name| length(name)).sum());
        for name in self.names.keys() {
            let to = all.len() + length(name);
            if let Some(tensor) = values(name) {
                all.extend(to_vec(tensor)?);
            }
            all.resize(to, 0.0);
        }
        Ok(all)
    }

    fn tensor(&self, values: &[f32]) -> Tensor<1> {
        Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &self.device)
    }
}

/// The sum of all ranks' gradients, of which each gets its part of every weight, and everything else in the order of
/// ranks. `sums`: this rank's, in the order in which they are added. Gradients go through the host's memory.
///
/// # Errors
/// Those of the device; another rank's.
pub fn reduced<M: Weights + Clone, R: Serialize + DeserializeOwned>(
    model: &M,
    mut sums: Vec<GradientMap>,
    rests: Vec<R>,
    order: Order,
) -> Result<(GradientMap, Vec<R>), ModelError> {
    let Some(slices) = Slices::of(model) else { return Ok((sums.pop().unwrap_or_default(), rests)) };
    // A rank without shards does not know which weights have gradients.
    let names: BTreeSet<String> = sums.iter().flat_map(GradientMap::keys).cloned().collect();
    let whole = |name: &str| slices.names.get(name).map_or(0, Range::len);
    let flat = |mut sum: GradientMap| slices.in_order(&whole, &mut |name| sum.remove(name));
    let flat = sums.into_iter().map(flat).collect::<Result<Vec<_>, ModelError>>()?;
    let said = ranks::gathered((names, flat.len(), rests))?;
    let counts: Vec<usize> = said.iter().map(|(_, count, _)| *count).collect();
    let began = Instant::now();
    let own = sum::reduce_scatter(&flat, &counts, slices.total, order)?;
    tracing::trace!("{} gradients added up over the ranks in {:.4} s", slices.total, began.elapsed().as_secs_f64());
    let (mut names, mut all) = (BTreeSet::new(), Vec::new());
    for (theirs, _, rests) in said {
        names.extend(theirs);
        all.extend(rests);
    }
    let (mut map, mut rest) = (GradientMap::new(), &own[..]);
    for name in slices.names.keys() {
        let (part, after) = rest.split_at(slices.part(name).len());
        if names.contains(name) && !part.is_empty() {
            map.insert(name.clone(), slices.tensor(part));
        }
        rest = after;
    }
    Ok((map, all))
}

/// A model whose weights are those of all ranks' slices. `learn`: the new part of a weight that is this rank's, of its name
/// and its old part.
///
/// # Errors
/// Those of the device; another rank's.
pub fn spread<M: Weights + Clone>(
    model: M,
    slices: &Slices,
    mut learn: impl FnMut(&str, Tensor<1>) -> Tensor<1>,
) -> Result<M, ModelError> {
    let mut own = Vec::new();
    for (name, weight) in named(model.clone(), "") {
        let part = slices.part(&name);
        if !part.is_empty() {
            own.push(learn(&name, weight.flatten().slice([part])));
        }
    }
    // Read from the device at once.
    let own = if own.is_empty() { Vec::new() } else { to_vec(Tensor::cat(own, 0))? };
    let began = Instant::now();
    let all = sum::all_gather(&own, slices.total)?;
    tracing::trace!("{} weights exchanged in {:.4} s", slices.total, began.elapsed().as_secs_f64());
    let new: Result<M, Infallible> = model.map_weights(&mut |name, weight| {
        let at = slices.names.get(name).cloned().unwrap_or(0..0);
        Ok(weight.like(slices.tensor(&all[at])))
    });
    Ok(match new {
        Ok(model) => model,
        Err(never) => match never {},
    })
}

/// Adam's moments of all weights; over several ranks the first gets them, in its host's memory, and the others none. All
/// ranks take part.
///
/// # Errors
/// Those of the device; another rank's.
pub fn whole_moments<M: Weights + Clone>(model: &M, adam: &Adam) -> Result<Moments, ModelError> {
    let Some(slices) = Slices::of(model) else { return Ok(adam.moments.clone()) };
    let names: BTreeSet<String> = adam.moments.keys().cloned().collect();
    let names: BTreeSet<String> = ranks::gathered(names)?.into_iter().flatten().collect();
    if names.is_empty() {
        return Ok(Moments::new());
    }
    let own = slices.joined(|name| adam.moments.get(name).map(|(m, _)| m.clone()))?;
    let first = sum::gather(&own, slices.total)?;
    let own = slices.joined(|name| adam.moments.get(name).map(|(_, v)| v.clone()))?;
    let second = sum::gather(&own, slices.total)?;
    let (Some(first), Some(second)) = (first, second) else { return Ok(Moments::new()) };
    let of = |all: &[f32], at: &Range<usize>| {
        Tensor::from_data(TensorData::new(all[at.clone()].to_vec(), [at.len()]), &Device::flex())
    };
    let both = |(name, at): (&String, &Range<usize>)| (name.clone(), (of(&first, at), of(&second, at)));
    Ok(slices.names.iter().filter(|(name, _)| names.contains(*name)).map(both).collect())
}

/// A weight's moment as a file has it -> this rank's part.
///
/// # Errors
/// It has not as many numbers as the weight.
pub fn own_part(slices: Option<&Slices>, name: &str, values: Vec<f32>) -> Result<Vec<f32>, ModelError> {
    let Some(slices) = slices else { return Ok(values) };
    let wanted = slices.names.get(name).map_or(0, Range::len);
    if values.len() != wanted {
        let message = format!("a moment of {name} has {} numbers, and the weight {wanted}", values.len());
        return Err(ModelError::Input(message));
    }
    Ok(values[slices.part(name)].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LanguageModel;
    use crate::model::checkpoint::{self, LoopState};
    use crate::model::gpt2::{Gpt2, ScalarHead, ScalarModel};
    use crate::model::parallel::gradients;
    use crate::ranks::threads::ranks;
    use crate::spec::{AdamSpec, ModelSize};
    use std::path::Path;

    fn model() -> ScalarModel {
        let (device, d) = (Device::flex(), ModelSize::Test.dimensions());
        ScalarModel { trunk: Gpt2::init(&d, 40, 1, &device), head: ScalarHead::init(d.width, 0.5, 2, &device) }
    }

    /// Steps on squared scores of five rows; the third has no gradient of one weight.
    fn learn(from: (ScalarModel, Adam), steps: Range<u32>) -> (ScalarModel, Adam) {
        steps.fold(from, |(model, mut adam), step| {
            let rows: Vec<_> = (0..5).map(|row| vec![Some(row * 7 % 40), Some(step)]).collect();
            let loss = |model: &ScalarModel, rows: &[Vec<Option<u32>>]| {
                Ok::<_, ModelError>((model.score(&model.trunk.batch(rows)?).powf_scalar(2.0).sum(), ()))
            };
            let mut found = gradients(&model, &mut adam.scale, &rows, 1, loss).unwrap().0;
            if step == 2 {
                found.remove("ln_f.bias");
            }
            (adam.update(model, found, 1e-2).unwrap(), adam)
        })
    }

    fn bits(all: impl IntoIterator<Item = (String, Tensor<1>)>) -> Vec<(String, Vec<u32>)> {
        let of = |(name, t)| (name, to_vec(t).unwrap().into_iter().map(f32::to_bits).collect());
        all.into_iter().map(of).collect()
    }

    fn weights(model: ScalarModel) -> Vec<(String, Vec<u32>)> {
        bits(named(model, "").into_iter().map(|(name, weight)| (name, weight.flatten())))
    }

    fn first_moments(moments: Moments) -> Vec<(String, Vec<u32>)> {
        bits(moments.into_iter().map(|(name, (m, _))| (name, m)))
    }

    #[test]
    fn ranks_keep_a_slice_of_the_moments_each_and_learn_what_one_process_does() {
        let (alone, adam) = learn((model(), Adam::new(AdamSpec::default())), 0..5);
        let (alone, moments) = (weights(alone), first_moments(adam.moments));
        let total: usize = alone.iter().map(|(_, values)| values.len()).sum();
        for size in [1, 2, 3, 4] {
            let all = ranks(size, |_| {
                let (found, adam) = learn((model(), Adam::new(AdamSpec::default())), 0..5);
                let kept: usize = adam.moments.values().map(|(m, v)| (m.dims()[0] + v.dims()[0]) / 2).sum();
                let whole = first_moments(whole_moments(&found, &adam).unwrap());
                (weights(found), kept, whole)
            });
            for (rank, (found, kept, whole)) in all.iter().enumerate() {
                assert!(*found == alone, "weights of rank {rank} of {size}");
                assert!(*kept <= total.div_ceil(size), "rank {rank} of {size} keeps moments of {kept} of {total}");
                assert!(if rank == 0 { *whole == moments } else { whole.is_empty() }, "moments of {size} ranks");
            }
            assert_eq!(all.iter().map(|(_, kept, _)| kept).sum::<usize>(), total, "{size} ranks");
        }
    }

    #[test]
    fn a_checkpoint_of_some_ranks_goes_on_with_any_number() {
        let state =
            |updates| LoopState { updates, kl_coef: 0.0, entropy_coef: 0.0, metrics_bytes: 0, requests_bytes: 0 };
        let load = |at: &Path| {
            let found = checkpoint::load(at, &model(), AdamSpec::default(), &Device::flex()).unwrap();
            let (_, model, adam) = found.expect("there is one");
            (model, adam)
        };
        let alone = weights(learn((model(), Adam::new(AdamSpec::default())), 0..6).0);
        let mut files = Vec::new();
        for sizes in [[1, 2], [2, 1], [4, 3]] {
            let dir = tempfile::tempdir().unwrap();
            ranks(sizes[0], |_| {
                let (model, adam) = learn((model(), Adam::new(AdamSpec::default())), 0..3);
                checkpoint::save(dir.path(), &state(3), &model, &adam, &[]).unwrap();
            });
            files.push(std::fs::read(dir.path().join("00000003.safetensors")).unwrap());
            for found in ranks(sizes[1], |_| weights(learn(load(dir.path()), 3..6).0)) {
                assert!(found == alone, "{sizes:?} ranks");
            }
        }
        assert!(files.iter().all(|file| *file == files[0]), "checkpoints are one file");
    }
}
