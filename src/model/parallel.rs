//! Work over a batch in shards of a fixed number of rows, on as many threads as the machine has.
//!
//! The shards, and the order in which their results are added up, depend on the batch and the kind of device alone:
//! one core and sixty-four give the same bytes. Memory is bounded by shards at work, not by the batch (gradient
//! accumulation). The CPU backend's element-wise kernels use one thread each, so shards are also what keeps the
//! other cores busy.

use super::device::is_cpu;
use super::gpt2::{Weight, Weights};
use burn::tensor::{Device, Tensor};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Gradients `[elements]` by weight name.
pub type GradientMap = BTreeMap<String, Tensor<1>>;

/// Rows of a batch that are worked on at once: few on a CPU (one thread each), all of them elsewhere.
pub fn shard_rows(device: &Device) -> usize {
    if is_cpu(device) { 16 } else { usize::MAX }
}

/// `f` of each chunk of at most `rows` items, in order; the first error in that order.
pub fn map_shards<T: Sync, R: Send, E: Send>(
    items: &[T],
    rows: usize,
    f: impl Fn(&[T]) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let shards: Vec<&[T]> = items.chunks(rows.clamp(1, items.len().max(1))).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(shards.len());
    if workers <= 1 {
        return shards.into_iter().map(f).collect();
    }
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<R, E>>>> = shards.iter().map(|_| Mutex::new(None)).collect();
    // Plain threads and not rayon's: a rayon worker that waits inside a tensor operation may take up another shard.
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(shard) = shards.get(index) else { break };
                    let result = f(shard);
                    if result.is_err() {
                        next.store(shards.len(), Ordering::Relaxed);
                    }
                    *results[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                }
            });
        }
    });
    let mut done = Vec::with_capacity(results.len());
    for slot in results {
        // Shards are taken up in order, so none before a failed one is missing.
        if let Some(result) = slot.into_inner().unwrap_or_else(PoisonError::into_inner) {
            done.push(result?);
        }
    }
    Ok(done)
}

/// Sum over shards of the gradients of `f(model, shard)`, which is `[1]`, and what else `f` returns for each shard.
/// The caller scales each shard's loss so that the sum is the batch's loss.
pub fn gradients<M: Weights + Clone + Sync, T: Sync, R: Send, E: Send>(
    model: &M,
    items: &[T],
    rows: usize,
    f: impl Fn(&M, &[T]) -> Result<(Tensor<1>, R), E> + Sync,
) -> Result<(GradientMap, Vec<R>), E> {
    let shards = map_shards(items, rows, |shard| {
        let model = model.clone().trainable();
        let (loss, rest) = f(&model, shard)?;
        let found = loss.backward();
        let mut map = GradientMap::new();
        let collected: Result<M, Infallible> = model.map_weights(&mut |name, weight| {
            let gradient = match &weight {
                Weight::Vector(t) => t.grad(&found).map(Weight::Vector),
                Weight::Matrix(t) => t.grad(&found).map(Weight::Matrix),
            };
            if let Some(gradient) = gradient {
                map.insert(name.to_string(), gradient.flatten());
            }
            Ok(weight)
        });
        drop(collected);
        Ok((map, rest))
    })?;
    let mut total = GradientMap::new();
    let mut rests = Vec::with_capacity(shards.len());
    for (map, rest) in shards {
        for (name, gradient) in map {
            let sum = match total.remove(&name) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            total.insert(name, sum);
        }
        rests.push(rest);
    }
    Ok((total, rests))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_their_shards() {
        let items: Vec<usize> = (0..103).collect();
        let sums = map_shards(&items, 10, |s| Ok::<_, ()>(s.iter().sum::<usize>())).expect("no shard fails");
        assert_eq!(sums.len(), 11);
        assert_eq!((sums[0], sums[10]), (45, 100 + 101 + 102));
        assert_eq!(sums.iter().sum::<usize>(), items.iter().sum::<usize>());
    }

    #[test]
    fn an_error_of_a_shard_is_the_error_of_the_whole() {
        let items: Vec<usize> = (0..40).collect();
        let result = map_shards(&items, 4, |s| if s.contains(&17) { Err("seventeen") } else { Ok(()) });
        assert_eq!(result, Err("seventeen"));
    }
}
