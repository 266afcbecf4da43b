//! Sums of many vectors whose order of addition is given, so that their bytes do not depend on how many ranks share
//! the work. Prior art for the tree: ReproRed (Stelz et al.); MPI's own sum gives other bytes for 1, 2 and 4 ranks.

use super::{Elsewhere, Step, World, meet, others};
use std::rc::Rc;

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

/// The sum of all ranks' vectors of `n` numbers, in the order of ranks and of each one's `mine`, on every rank.
/// `counts`: how many each rank has. Slice k of every vector goes to rank k, which adds, and sums come back from all.
///
/// # Errors
/// Another rank has ended.
pub fn sum(mine: &[Vec<f32>], counts: &[usize], n: usize, order: Order) -> Result<Vec<f32>, Elsewhere> {
    let Some(world) = others() else { return Ok(fold(order, mine.to_vec())) };
    meet(&*world, Step::Sum, None)?;
    let mut total = vec![0.0; n];
    for from in (0..n).step_by(PIECE) {
        let to = (from + PIECE).min(n);
        piece(&world, mine, counts, (from, to), order, &mut total[from..to]);
    }
    Ok(total)
}

fn piece(
    world: &Rc<dyn World>,
    mine: &[Vec<f32>],
    counts: &[usize],
    (from, to): (usize, usize),
    order: Order,
    total: &mut [f32],
) {
    let (ranks, most) = (world.size(), counts.iter().copied().max().unwrap_or(0));
    let slice = (to - from).div_ceil(ranks);
    // [vector of a rank][rank]: this rank's slice.
    let mut received = Vec::with_capacity(most);
    let mut send = vec![0.0; slice * ranks];
    for vector in 0..most {
        // A rank that has fewer sends what nobody adds.
        if let Some(own) = mine.get(vector) {
            send[..to - from].copy_from_slice(&own[from..to]);
        }
        let mut got = vec![0.0; slice * ranks];
        world.exchange(&send, &mut got);
        received.push(got);
    }
    let of = |rank: usize| (0..counts[rank]).map(move |vector| (vector, rank));
    let parts = (0..ranks).flat_map(of).map(|(vector, rank)| received[vector][rank * slice..][..slice].to_vec());
    let sum = fold(order, parts.collect());
    let mut all = vec![0.0; slice * ranks];
    world.collect(&sum, &mut all);
    total.copy_from_slice(&all[..to - from]);
}
