use super::sum::{Order, Tree, all_gather, gather, reduce_scatter, slice};
use super::threads::ranks;
use super::*;

/// An error that can be another rank's.
#[derive(Debug, Clone, PartialEq)]
struct Wrong(i32, String, bool);

impl From<Elsewhere> for Wrong {
    fn from(e: Elsewhere) -> Self {
        Self(e.code, e.message, e.settled)
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.1)
    }
}

impl Failure for Wrong {
    fn code(&self) -> i32 {
        self.0
    }
}

fn numbers(block: usize, n: usize) -> Vec<f32> {
    let mut random = crate::random::SplitMix64::new(block as u64);
    (0..n).map(|_| (random.next_u64() >> 40) as f32 / 1e5 - 80.0).collect()
}

/// The whole sum, which every rank has a slice of.
fn sum(mine: &[Vec<f32>], counts: &[usize], n: usize, order: Order) -> Result<Vec<f32>, Elsewhere> {
    let own = reduce_scatter(mine, counts, n, order)?;
    assert_eq!(own.len(), slice(n).len());
    let all = all_gather(&own, n)?;
    assert!(gather(&own, n)?.is_none_or(|first| first == all));
    Ok(all)
}

/// Sums of 8 vectors that 1, 2, 4 and 8 ranks have between them.
fn sums(order: Order) -> Vec<Vec<f32>> {
    let n = 1003;
    [1, 2, 4, 8]
        .into_iter()
        .map(|size| {
            let all = ranks(size, |rank| {
                let per = 8 / size;
                let mine = (rank * per..(rank + 1) * per).map(|block| numbers(block, n));
                let mine: Vec<Vec<f32>> = match order {
                    Order::Chain => mine.collect(),
                    // A rank folds its own part of the tree.
                    Order::Tree => {
                        let plus = |mut a: Vec<f32>, b: Vec<f32>| {
                            sum::add(&mut a, &b);
                            a
                        };
                        let mut tree = Tree::default();
                        mine.for_each(|block| tree.push(block, plus));
                        vec![tree.sum(plus).unwrap()]
                    }
                };
                sum(&mine, &vec![mine.len(); size], n, order).unwrap()
            });
            assert!(all.iter().all(|found| *found == all[0]), "ranks disagree");
            all.into_iter().next().unwrap()
        })
        .collect()
}

#[test]
fn a_sum_has_the_same_bytes_for_any_number_of_ranks() {
    let (chain, tree) = (sums(Order::Chain), sums(Order::Tree));
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for found in [&chain, &tree] {
        assert!(found.iter().all(|sum| bits(sum) == bits(&found[0])));
    }
    // They are two orders: numbers with few digits in common show which is which.
    assert!(bits(&chain[0]) != bits(&tree[0]));
    let by_hand: Vec<f32> = (0..1003)
        .map(|i| {
            let x: Vec<f32> = (0..8).map(|block| numbers(block, 1003)[i]).collect();
            ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]))
        })
        .collect();
    assert!(bits(&by_hand) == bits(&tree[0]));
}

#[test]
fn slices_are_all_numbers_once_and_arrive_where_there_are_fewer_than_ranks() {
    for (size, n) in [(3, 10), (4, 4), (4, 9), (5, 3), (2, 1)] {
        let all = ranks(size, |_| {
            let own: Vec<f32> = slice(n).map(|i| i as f32).collect();
            (slice(n), all_gather(&own, n).unwrap(), gather(&own, n).unwrap())
        });
        let whole: Vec<f32> = (0..n).map(|i| i as f32).collect();
        for (rank, (_, everywhere, first)) in all.iter().enumerate() {
            assert_eq!((everywhere, first.is_some()), (&whole, rank == 0), "{size} ranks, {n} numbers");
            assert!(first.as_ref().is_none_or(|first| *first == whole));
        }
        assert!(all.into_iter().flat_map(|(own, ..)| own).eq(0..n), "{size} ranks, {n} numbers");
    }
    assert_eq!((slice(7), gather(&[1.0], 1).unwrap()), (0..7, Some(vec![1.0])), "with one rank all of it");
}

#[test]
fn a_rank_without_vectors_adds_nothing() {
    let all = ranks(3, |rank| {
        let mine = if rank == 1 { vec![] } else { vec![vec![-0.0f32, rank as f32]] };
        sum(&mine, &[1, 0, 1], 2, Order::Chain).unwrap()
    });
    assert!(all.iter().all(|found| found[0].to_bits() == (-0.0f32).to_bits() && found[1] == 2.0), "{all:?}");
}

#[test]
fn what_ranks_say_arrives_bit_by_bit() {
    let odd = vec![f32::NAN, -0.0, f32::INFINITY, 1e-42, 0.1];
    let all = ranks(2, |rank| gathered((rank, odd.clone(), f64::NAN)).unwrap());
    for found in all {
        assert_eq!(found.iter().map(|(rank, ..)| *rank).collect::<Vec<_>>(), [0, 1]);
        assert!(found.iter().all(|(_, x, y)| x[0].is_nan() && y.is_nan() && x[1].is_sign_negative()));
        assert!(found.iter().all(|(_, x, _)| x[2..] == odd[2..]));
    }
    assert_eq!(gathered(7).unwrap(), [7], "with one rank its own");
}

#[test]
fn an_error_of_one_rank_ends_all_and_they_can_go_on_with_something_else() {
    let results = ranks(4, |rank| {
        let work = || -> Result<(), Wrong> {
            gathered(1)?;
            if rank == 2 {
                return Err(Wrong(4, "the disk is full".into(), false));
            }
            gathered(2)?;
            gathered(3)?;
            Ok(())
        };
        let first = agreed(work(), |e| e.2);
        let second = agreed(Ok::<_, Wrong>(()), |e| e.2);
        (first, second, finish(0))
    });
    for (rank, (first, second, code)) in results.into_iter().enumerate() {
        assert_eq!(first, Err(Wrong(4, "the disk is full".into(), rank != 2)), "rank {rank}");
        assert_eq!((second, code), (Ok(()), 0));
    }
}

#[test]
fn a_rank_that_leaves_early_takes_the_others_along() {
    let codes = ranks(3, |rank| {
        if rank == 1 {
            return (finish(2), None);
        }
        let met = gathered(0u8).map(drop);
        let again = gathered(0u8).map(drop);
        (finish(0), Some((met, again)))
    });
    for (code, met) in codes {
        assert_eq!(code, 2);
        if let Some((met, again)) = met {
            assert!(met.is_err() && again == met, "{met:?}");
        }
    }
}

#[test]
fn the_first_rank_decides_and_its_error_is_everybodys() {
    let results = ranks(3, |rank| {
        let said = from_first(|| Ok::<_, Wrong>(format!("rank {rank}"))).unwrap();
        let failed = from_first::<(), _>(|| Err(Wrong(3, "waits".into(), false)));
        let inside = from_first(|| Ok::<_, Wrong>(gathered(rank).unwrap().len())).unwrap();
        (said, failed.unwrap_err().0, inside, finish(3))
    });
    assert!(results.iter().all(|found| *found == ("rank 0".to_string(), 3, 1, 3)), "{results:?}");
}

#[test]
fn ranks_that_are_unlike_refuse_to_work_together() {
    let results = ranks(2, |rank| alike("here", &[("version", "1".into()), ("device", format!("gpu {rank}"))]));
    for result in results {
        let error = result.unwrap_err();
        assert_eq!((error.rank, error.code), (1, 2));
        assert!(error.message.contains("its device is gpu 1") && error.message.contains("rank 0 is gpu 0"), "{error}");
    }
    assert!(alike("here", &[("version", "1".into())]).is_ok());
}

#[test]
fn ranks_out_of_step_say_so_instead_of_waiting() {
    let results = ranks(2, |rank| match rank {
        0 => gathered(1).map(drop),
        _ => sum(&[vec![1.0]], &[1, 1], 1, Order::Chain).map(drop),
    });
    assert!(results.iter().all(|r| r.as_ref().is_err_and(|e| e.message.contains("out of step"))), "{results:?}");
}
