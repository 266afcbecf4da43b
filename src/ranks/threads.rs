//! Ranks that are threads of one process: for tests, and to see that nothing depends on the transport.

use super::{World, enter, leave};
use std::rc::Rc;
use std::sync::{Arc, Barrier, Mutex, PoisonError};

struct Shared {
    slots: Mutex<Vec<Vec<u8>>>,
    turn: Barrier,
}

struct Thread {
    rank: usize,
    size: usize,
    shared: Arc<Shared>,
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap_or_default()))
}

impl World for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, mine: &[u8]) -> Vec<Vec<u8>> {
        let slots = || self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots()[self.rank] = mine.to_vec();
        self.shared.turn.wait();
        let all = slots().clone();
        self.shared.turn.wait();
        all
    }

    fn exchange(&self, send: &[f32], received: &mut [f32]) {
        let part = send.len() / self.size;
        let all = self.gather(&bytes(send));
        for (rank, sent) in all.iter().enumerate() {
            let own = numbers(&sent[4 * part * self.rank..]);
            received[rank * part..][..part].iter_mut().zip(own).for_each(|(to, x)| *to = x);
        }
    }

    fn collect(&self, mine: &[f32], all: &mut [f32]) {
        let gathered = self.gather(&bytes(mine)).concat();
        all.iter_mut().zip(numbers(&gathered)).for_each(|(to, x)| *to = x);
    }

    fn to_first(&self, mine: &[f32], all: &mut [f32]) {
        let gathered = self.gather(&bytes(mine)).concat();
        if self.rank == 0 {
            all.iter_mut().zip(numbers(&gathered)).for_each(|(to, x)| *to = x);
        }
    }
}

/// What `work` returns on each of `size` ranks.
///
/// # Panics
/// Where `work` does; the other ranks then wait for ever, as a test sees.
pub fn ranks<T: Send>(size: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let shared = Arc::new(Shared { slots: Mutex::new(vec![Vec::new(); size]), turn: Barrier::new(size) });
    std::thread::scope(|scope| {
        let one = |rank: usize| {
            let (shared, work) = (Arc::clone(&shared), &work);
            scope.spawn(move || {
                enter(Rc::new(Thread { rank, size, shared }));
                let result = work(rank);
                drop(leave());
                result
            })
        };
        let all: Vec<_> = (0..size).map(one).collect();
        all.into_iter().map(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    })
}
