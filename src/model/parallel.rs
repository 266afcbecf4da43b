//! Work over a batch in shards of a fixed number of rows, on as many threads as rayon's pool has (`--threads`).
//!
//! The shards, and the order in which their results are added up, depend on the batch and the kind of device alone:
//! one core and sixty-four give the same bytes. Memory is bounded by shards at work, not by the batch (gradient
//! accumulation). The CPU backend's element-wise kernels use one thread each, so shards are also what keeps the
//! other cores busy.
//!
//! Several processes of one run (src/ranks) share the shards: each works on a run of them, and all get what came of all.

use super::device::is_cpu;
use super::gpt2::{Gpt2, Weight, Weights};
use super::gpu;
use super::loss_scale::{LossScale, scaled, times};
use super::memory::{SHARD_ROWS, SHARDS, Shape};
use super::slices::reduced;
use super::{ModelError, faults};
use crate::ranks;
use crate::ranks::sum::{Order, Tree};
use crate::spec::Dimensions;
use burn::tensor::{Device, Tensor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Gradients `[elements]` by weight name; of several ranks each has its part of the elements (slices.rs).
pub type GradientMap = BTreeMap<String, Tensor<1>>;

fn shape(model: &Gpt2, time: usize, response: usize) -> Shape {
    Shape { dimensions: model.dimensions(), vocab: model.vocab(), time, response }
}

/// Rows of a training pass, of `time` tokens each of which `response` are predicted (0: a score is learned): fewer where
/// rows are long, so that what a pass keeps for its gradient stays bounded.
pub fn training_rows(model: &Gpt2, time: usize, response: usize) -> usize {
    match is_cpu(&model.device()) {
        true => shape(model, time, response.max(1)).rows(),
        false => shape(model, time, response).gpu_rows(response > 0, false, gpu::limits()),
    }
}

/// The same on devices other than the CPU alone: on the CPU shards of the batch are small anyway, one for a thread.
pub fn device_rows(model: &Gpt2, time: usize, response: usize, dropout: bool) -> usize {
    match is_cpu(&model.device()) {
        true => SHARD_ROWS,
        false => shape(model, time, response).gpu_rows(response > 0, dropout, gpu::limits()),
    }
}

/// Rows of a pass without gradients.
pub fn pass_rows(dimensions: Dimensions, vocab: usize, time: usize, device: &Device) -> usize {
    match is_cpu(device) {
        true => SHARD_ROWS,
        false => Shape { dimensions, vocab, time, response: time }.gpu_pass_rows(gpu::limits()),
    }
}

/// Rows that are sampled at once, with room for `time` tokens each.
pub fn sampling_rows(dimensions: Dimensions, vocab: usize, time: usize, device: &Device) -> usize {
    match is_cpu(device) {
        true => SHARD_ROWS,
        false => Shape { dimensions, vocab, time, response: 1 }.gpu_sampling_rows(gpu::limits()),
    }
}

/// `work` with at most `rows` rows at a time, all of it done when this returns. Where a GPU has no memory for them it
/// is done again with half as many, and so is whatever comes later.
///
/// # Errors
/// Those of `work`; what the device did not do, which `work` cannot know.
fn fitting<R, E: From<ModelError>>(mut rows: usize, mut work: impl FnMut(usize) -> Result<R, E>) -> Result<R, E> {
    loop {
        let done = work(rows);
        match faults::confirm() {
            Ok(()) => return done,
            Err(ModelError::OutOfMemory(_)) if rows > 1 => {
                drop(done);
                rows /= 2;
                gpu::halve();
                faults::give_back_memory();
                tracing::warn!(
                    "the device has no memory for {} rows at once: going on with {rows}, and with half of all later passes; a smaller --device-memory begins so",
                    2 * rows
                );
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// `f` of each chunk of at most `rows` items, in order; the first error in that order. Ranks share the chunks. Work that a
/// GPU is given is done when this returns.
pub fn map_shards<T: Sync, R: Send + Serialize + DeserializeOwned, E: Send + From<ModelError>>(
    items: &[T],
    rows: usize,
    f: impl Fn(&[T]) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let rows = agreed(rows.clamp(1, items.len().max(1)))?;
    let own = own_items(items, rows);
    let results = ranks::alone(|| {
        fitting(rows, |rows| {
            let mut results = Vec::new();
            in_order(&shards(own, rows), usize::MAX, &f, |result| results.push(result))?;
            Ok::<_, E>(results)
        })
    })?;
    let all = ranks::gathered(results).map_err(ModelError::from)?;
    Ok(all.into_iter().flatten().collect())
}

fn shards<T>(items: &[T], rows: usize) -> Vec<&[T]> {
    items.chunks(rows.clamp(1, items.len().max(1))).collect()
}

/// The rows of a shard for all ranks: GPUs that ran out of memory take fewer at once, and ranks must cut at the same
/// places.
fn agreed(rows: usize) -> Result<usize, ModelError> {
    if ranks::shared().is_none() || !gpu::is_in_use() {
        return Ok(rows);
    }
    Ok(ranks::gathered(rows)?.into_iter().min().unwrap_or(rows))
}

/// This rank's part of `n` things: as many of them, one after the other, as each other rank has, or one fewer.
fn own(n: usize) -> Range<usize> {
    let (rank, size) = ranks::shared().unwrap_or((0, 1));
    n * rank / size..n * (rank + 1) / size
}

/// This rank's part of what is worked on in shards of so many rows.
fn own_items<T>(items: &[T], rows: usize) -> &[T] {
    let own = own(items.len().div_ceil(rows));
    &items[(own.start * rows).min(items.len())..(own.end * rows).min(items.len())]
}

/// What the workers share: whose turn it is, and what to do with results.
struct Turns<F, E> {
    next: usize,
    take: F,
    error: Option<E>,
    /// A worker has panicked; its turn will not come.
    broken: bool,
}

/// Hands `f` of each shard to `take`, in order. A worker keeps its result until the results before it have been taken,
/// so there are never more than one per worker.
fn in_order<T: Sync, R: Send, E: Send>(
    shards: &[&[T]],
    most_workers: usize,
    f: impl Fn(&[T]) -> Result<R, E> + Sync,
    mut take: impl FnMut(R) + Send,
) -> Result<(), E> {
    // Threads of their own would give a GPU streams of their own, each with its shard in memory.
    let most_workers = if gpu::is_in_use() { 1 } else { most_workers };
    let workers = rayon::current_num_threads().min(shards.len()).min(most_workers);
    if workers <= 1 {
        for shard in shards {
            take(f(shard)?);
        }
        return Ok(());
    }
    let claimed = AtomicUsize::new(0);
    let turns = Mutex::new(Turns { next: 0, take, error: None, broken: false });
    let changed = Condvar::new();
    // Plain threads and not rayon's: a rayon worker that waits inside a tensor operation may take up another shard.
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let _alarm = Alarm { turns: &turns, changed: &changed };
                while let Some((index, shard)) = claim(&claimed, shards) {
                    let result = f(shard);
                    let mut turns = turns.lock().unwrap_or_else(PoisonError::into_inner);
                    while turns.next != index && turns.error.is_none() && !turns.broken {
                        turns = changed.wait(turns).unwrap_or_else(PoisonError::into_inner);
                    }
                    if turns.error.is_some() || turns.broken {
                        break;
                    }
                    match result {
                        Ok(result) => (turns.take)(result),
                        Err(error) => turns.error = Some(error),
                    }
                    turns.next += 1;
                    changed.notify_all();
                }
            });
        }
    });
    turns.into_inner().unwrap_or_else(PoisonError::into_inner).error.map_or(Ok(()), Err)
}

/// The next shard that nobody works on.
fn claim<'a, T>(claimed: &AtomicUsize, shards: &[&'a [T]]) -> Option<(usize, &'a [T])> {
    let index = claimed.fetch_add(1, Ordering::Relaxed);
    shards.get(index).map(|shard| (index, *shard))
}

/// Wakes the others when a worker panics, so that they end and the panic is passed on.
struct Alarm<'a, F, E> {
    turns: &'a Mutex<Turns<F, E>>,
    changed: &'a Condvar,
}

impl<F, E> Drop for Alarm<'_, F, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.turns.lock().unwrap_or_else(PoisonError::into_inner).broken = true;
            self.changed.notify_all();
        }
    }
}

/// Sum over shards of the gradients of `f(model, shard)`, which is `[1]`, and what else `f` returns for each shard.
/// The caller scales each shard's loss so that the sum is the batch's loss. Gradients are added up shard by shard, in
/// order: there are never more of them than workers, and their sum; on ranks after the first all of their own. Work that a
/// GPU is given is done when this returns. `scale`: of the loss, where the model's products are 16 bit.
pub fn gradients<M: Weights + Clone + Sync, T: Sync, R, E>(
    model: &M,
    scale: &mut LossScale,
    items: &[T],
    rows: usize,
    f: impl Fn(&M, &[T]) -> Result<(Tensor<1>, R), E> + Sync,
) -> Result<(GradientMap, Vec<R>), E>
where
    R: Send + Serialize + DeserializeOwned,
    E: Send + From<ModelError>,
{
    scaled(model, scale, |factor| {
        sum_of_all(model, items, rows, |model, shard| f(model, shard).map(|(loss, rest)| (times(loss, factor), rest)))
    })
}

fn sum_of_all<M: Weights + Clone + Sync, T: Sync, R, E>(
    model: &M,
    items: &[T],
    rows: usize,
    f: impl Fn(&M, &[T]) -> Result<(Tensor<1>, R), E> + Sync,
) -> Result<(GradientMap, Vec<R>), E>
where
    R: Send + Serialize + DeserializeOwned,
    E: Send + From<ModelError>,
{
    let rows = agreed(rows.clamp(1, items.len().max(1)))?;
    let own = own_items(items, rows);
    // The sum so far is what is added to, on the first rank; others do not know it yet.
    let goes_on = ranks::shared().is_none_or(|(rank, _)| rank == 0);
    let (sums, rests) = ranks::alone(|| fitting(rows, |rows| sum_of_shards(model, own, rows, goes_on, &f)))?;
    Ok(reduced(model, sums, rests, Order::Chain)?)
}

/// Gradients of shards added up in order, or where the sum does not go on from shard to shard each by itself.
fn sum_of_shards<M: Weights + Clone + Sync, T: Sync, R: Send, E: Send>(
    model: &M,
    items: &[T],
    rows: usize,
    goes_on: bool,
    f: &(impl Fn(&M, &[T]) -> Result<(Tensor<1>, R), E> + Sync),
) -> Result<(Vec<GradientMap>, Vec<R>), E> {
    let (mut sums, mut rests): (Vec<GradientMap>, Vec<R>) = (Vec::new(), Vec::new());
    let one = |shard: &[T]| gradient(model, shard, f);
    in_order(&shards(items, rows), SHARDS, one, |(found, rest)| {
        match sums.pop_if(|_| goes_on) {
            Some(sum) => sums.push(plus(sum, found)),
            None => sums.push(found),
        }
        rests.push(rest);
    })?;
    Ok((sums, rests))
}

/// The same of a minibatch in blocks of items, each in shards of at most `rows`: a block's shards are added up in order,
/// and the blocks, a power of two of them, by a binary tree. Ranks have whole blocks, as many each.
pub fn gradients_in_blocks<M: Weights + Clone + Sync, T: Sync, R, E>(
    model: &M,
    scale: &mut LossScale,
    blocks: &[Vec<T>],
    rows: usize,
    f: impl Fn(&M, &[T]) -> Result<(Tensor<1>, R), E> + Sync,
) -> Result<(GradientMap, Vec<R>), E>
where
    R: Send + Serialize + DeserializeOwned,
    E: Send + From<ModelError>,
{
    if let [block] = blocks {
        return gradients(model, scale, block, rows, f);
    }
    let blocks = &blocks[own(blocks.len())];
    scaled(model, scale, |factor| {
        let f = |model: &M, shard: &[T]| f(model, shard).map(|(loss, rest)| (times(loss, factor), rest));
        let (sums, rests) = ranks::alone(|| fitting(rows, |rows| sum_of_blocks(model, blocks, rows, &f)))?;
        Ok(reduced(model, sums, rests, Order::Tree)?)
    })
}

fn sum_of_blocks<M: Weights + Clone + Sync, T: Sync, R: Send, E: Send>(
    model: &M,
    blocks: &[Vec<T>],
    rows: usize,
    f: &(impl Fn(&M, &[T]) -> Result<(Tensor<1>, R), E> + Sync),
) -> Result<(Vec<GradientMap>, Vec<R>), E> {
    let of_blocks: Vec<Vec<&[T]>> = blocks.iter().map(|block| shards(block, rows)).collect();
    let mut left = of_blocks.iter().map(Vec::len);
    let (mut tree, mut sum, mut rests): (Tree<GradientMap>, Option<GradientMap>, Vec<R>) =
        (Tree::default(), None, Vec::new());
    let mut missing = left.next().unwrap_or(0);
    let one = |shard: &[T]| gradient(model, shard, f);
    in_order(&of_blocks.concat(), SHARDS, one, |(found, rest)| {
        rests.push(rest);
        let block = match sum.take() {
            Some(sum) => plus(sum, found),
            None => found,
        };
        missing -= 1;
        match missing {
            0 => {
                tree.push(block, plus);
                missing = left.next().unwrap_or(0);
            }
            _ => sum = Some(block),
        }
    })?;
    Ok((tree.sum(plus).into_iter().collect(), rests))
}

/// Gradients of one shard, and what else comes of it.
fn gradient<M: Weights + Clone, T, R, E>(
    model: &M,
    shard: &[T],
    f: &impl Fn(&M, &[T]) -> Result<(Tensor<1>, R), E>,
) -> Result<(GradientMap, R), E> {
    let model = model.clone().trainable();
    let (loss, rest) = f(&model, shard)?;
    Ok((collect(model, loss), rest))
}

/// Both added up.
fn plus(mut total: GradientMap, found: GradientMap) -> GradientMap {
    for (name, gradient) in found {
        let sum = match total.remove(&name) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        total.insert(name, sum);
    }
    total
}

/// Gradients of `loss` to the model's weights.
fn collect<M: Weights>(model: M, loss: Tensor<1>) -> GradientMap {
    let mut found = loss.backward();
    let mut map = GradientMap::new();
    let collected: Result<M, Infallible> = model.map_weights(&mut |name, weight| {
        // Removed and not copied, so that the sum can be made in place.
        let gradient = match &weight {
            Weight::Vector(t) => t.grad_remove(&mut found).map(Weight::Vector),
            Weight::Matrix(t) => t.grad_remove(&mut found).map(Weight::Matrix),
        };
        if let Some(gradient) = gradient {
            map.insert(name.to_string(), gradient.flatten());
        }
        Ok(weight)
    });
    drop(collected);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Failed(usize);

    impl From<ModelError> for Failed {
        fn from(_: ModelError) -> Self {
            Self(usize::MAX)
        }
    }

    #[test]
    fn results_keep_the_order_of_their_shards() {
        let items: Vec<usize> = (0..103).collect();
        let sums = map_shards(&items, 10, |s| Ok::<_, Failed>(s.iter().sum::<usize>())).expect("no shard fails");
        assert_eq!(sums.len(), 11);
        assert_eq!((sums[0], sums[10]), (45, 100 + 101 + 102));
        assert_eq!(sums.iter().sum::<usize>(), items.iter().sum::<usize>());
    }

    #[test]
    fn an_error_of_a_shard_is_the_error_of_the_whole() {
        let items: Vec<usize> = (0..40).collect();
        let result = map_shards(&items, 4, |s| if s.contains(&17) { Err(Failed(17)) } else { Ok(()) });
        assert_eq!(result, Err(Failed(17)));
    }

    #[test]
    fn the_first_error_in_order_is_returned_and_a_panic_is_passed_on() {
        let items: Vec<usize> = (0..40).collect();
        let late = |s: &[usize]| if s[0] >= 12 { Err(Failed(s[0])) } else { Ok(s[0]) };
        assert_eq!(map_shards(&items, 4, late), Err(Failed(12)));
        let panics = |s: &[usize]| if s[0] == 8 { panic!("eight") } else { Ok::<_, Failed>(()) };
        assert!(std::panic::catch_unwind(|| map_shards(&items, 4, panics)).is_err());
    }

    #[test]
    fn ranks_share_shards_and_all_have_all_results() {
        let items: Vec<usize> = (0..103).collect();
        let f = |s: &[usize]| Ok::<_, ModelError>(s.to_vec());
        let alone = map_shards(&items, 10, f).expect("no shard fails");
        for size in [2, 3, 16] {
            let all = ranks::threads::ranks(size, |_| map_shards(&items, 10, f).expect("no shard fails"));
            assert!(all.iter().all(|found| *found == alone), "{size} ranks");
        }
    }
}
