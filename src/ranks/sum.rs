//! Sums of many vectors whose order of addition is given, so that their bytes do not depend on how many ranks share
//! the work, and what every rank has a slice of. Prior art for the tree: ReproRed (Stelz et al.); MPI's own sum gives other bytes for 1, 2 and 4 ranks.

use super::{Elsewhere, Step, World, meet, others, shared};
use std::ops::Range;

/// Numbers that are exchanged at once by each rank: 16 MB, so that counts stay far below MPI's limit of 2^31 and memory
/// beside the vectors is small.
const PIECE: usize = 1 << 22;

/// In which order vectors are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// ((a + b) + c) + d.
    Chain,
    /// (a + b) + (c + d); their number is a power of two.
    Tree,
}

/// Adds up values that come one after the other by a binary tree over their places, with at most one sum for each of
/// its levels in memory.
#[derive(Debug)]
pub struct Tree<T> {
    /// Sums and over how many levels each goes, which falls.
    sums: Vec<(u32, T)>,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { sums: Vec::new() }
    }
}

impl<T> Tree<T> {
    /// The next value.
    pub fn push(&mut self, value: T, add: impl Fn(T, T) -> T) {
        let (mut level, mut value) = (0, value);
        while let Some((_, left)) = self.sums.pop_if(|(of, _)| *of == level) {
            value = add(left, value);
            level += 1;
        }
        self.sums.push((level, value));
    }

    /// The sum of as many values as a power of two; of others what is left is added from the right.
    pub fn sum(self, add: impl Fn(T, T) -> T) -> Option<T> {
        self.sums.into_iter().map(|(_, value)| value).rev().reduce(|right, left| add(left, right))
    }
}

/// `a[i] += b[i]`.
pub fn add(a: &mut [f32], b: &[f32]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += *b);
}

fn fold(order: Order, parts: Vec<Vec<f32>>) -> Vec<f32> {
    let plus = |mut a: Vec<f32>, b: Vec<f32>| {
        add(&mut a, &b);
        a
    };
    match order {
        Order::Chain => parts.into_iter().reduce(plus).unwrap_or_default(),
        Order::Tree => {
            let mut tree = Tree::default();
            parts.into_iter().for_each(|part| tree.push(part, plus));
            tree.sum(plus).unwrap_or_default()
        }
    }
}

/// The part of `n` numbers that is this rank's: as many as every other's, in the order of ranks, and fewer at the end.
pub fn slice(n: usize) -> Range<usize> {
    let (rank, size) = shared().unwrap_or((0, 1));
    let each = n.div_ceil(size);
    (rank * each).min(n)..((rank + 1) * each).min(n)
}

/// This rank's [`slice()`] of the sum of all ranks' vectors of `n` numbers, in the order of ranks and of each one's `mine`.
/// `counts`: how many each rank has. Slice k of every vector goes to rank k, which adds.
///
/// # Errors
/// Another rank has ended.
pub fn reduce_scatter(mine: &[Vec<f32>], counts: &[usize], n: usize, order: Order) -> Result<Vec<f32>, Elsewhere> {
    let Some(world) = others() else { return Ok(fold(order, mine.to_vec())) };
    meet(&*world, Step::Sum, None)?;
    let (ranks, most) = (world.size(), counts.iter().copied().max().unwrap_or(0));
    let mut total = Vec::with_capacity(slice(n).len());
    for (from, width) in pieces(n, ranks) {
        let mut received = Vec::with_capacity(most);
        let mut send = vec![0.0; width * ranks];
        for vector in 0..most {
            // A rank that has fewer sends what nobody adds.
            if let Some(own) = mine.get(vector) {
                of_slices(n, ranks, (from, width)).for_each(|(rank, at)| {
                    send[rank * width..][..at.len()].copy_from_slice(&own[at]);
                });
            }
            let mut got = vec![0.0; width * ranks];
            world.exchange(&send, &mut got);
            received.push(got);
        }
        let of = |rank: usize| (0..counts[rank]).map(move |vector| (vector, rank));
        let parts = (0..ranks).flat_map(of).map(|(vector, rank)| received[vector][rank * width..][..width].to_vec());
        total.extend(fold(order, parts.collect()));
    }
    total.resize(slice(n).len(), 0.0);
    Ok(total)
}

/// All `n` numbers, of which every rank has its [`slice()`].
///
/// # Errors
/// Another rank has ended.
pub fn all_gather(own: &[f32], n: usize) -> Result<Vec<f32>, Elsewhere> {
    let Some(world) = others() else { return Ok(own.to_vec()) };
    meet(&*world, Step::Spread, None)?;
    let mut all = vec![0.0; n];
    in_pieces(
        &*world,
        own,
        n,
        |send, received| {
            world.collect(send, received);
            true
        },
        &mut all,
    );
    Ok(all)
}

/// The same on the first rank; none on the others.
///
/// # Errors
/// Another rank has ended.
pub fn gather(own: &[f32], n: usize) -> Result<Option<Vec<f32>>, Elsewhere> {
    let Some(world) = others() else { return Ok(Some(own.to_vec())) };
    meet(&*world, Step::Spread, None)?;
    let first = world.rank() == 0;
    let mut all = vec![0.0; if first { n } else { 0 }];
    in_pieces(
        &*world,
        own,
        n,
        |send, received| {
            world.to_first(send, received);
            first
        },
        &mut all,
    );
    Ok(first.then_some(all))
}

/// Every rank's slice by pieces into `all`, where `receive` says that they have arrived.
fn in_pieces(world: &dyn World, own: &[f32], n: usize, receive: impl Fn(&[f32], &mut [f32]) -> bool, all: &mut [f32]) {
    let ranks = world.size();
    for (from, width) in pieces(n, ranks) {
        let mut send: Vec<f32> = own.iter().skip(from).take(width).copied().collect();
        // Padded to one length.
        send.resize(width, 0.0);
        let mut received = vec![0.0; width * ranks];
        if receive(&send, &mut received) {
            of_slices(n, ranks, (from, width)).for_each(|(rank, at)| {
                let length = at.len();
                all[at].copy_from_slice(&received[rank * width..][..length]);
            });
        }
    }
}

/// Slices are exchanged by pieces: where each begins in a slice, and how many numbers of every slice it has.
fn pieces(n: usize, ranks: usize) -> impl Iterator<Item = (usize, usize)> {
    let (each, most) = (n.div_ceil(ranks), (PIECE / ranks).max(1));
    (0..each).step_by(most).map(move |from| (from, most.min(each - from)))
}

/// Of a piece: every rank, and where its part lies among all `n` numbers, of which the last slice may lack some.
fn of_slices(n: usize, ranks: usize, (from, width): (usize, usize)) -> impl Iterator<Item = (usize, Range<usize>)> {
    let each = n.div_ceil(ranks);
    (0..ranks).map(move |rank| {
        (rank, (rank * each + from).min(n)..(rank * each + from + width).min((rank + 1) * each).min(n))
    })
}
