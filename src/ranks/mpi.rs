//! Ranks by MPI (rsmpi), which moves bytes: every addition is ours.

use super::World;
use mpi::Threading;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};
use std::panic::{set_hook, take_hook};

/// Bytes of each rank that go at once: MPI counts with 32 bits.
const PIECE: usize = 1 << 24;

/// All processes that the launcher started.
pub(super) struct Mpi {
    world: SimpleCommunicator,
    /// MPI ends with it.
    _universe: Universe,
}

/// Starts MPI. From here on a panic on any thread ends the whole job: unwinding would wait for the others at MPI's end,
/// and they for this one.
pub(super) fn join() -> Result<Mpi, String> {
    let begun = mpi::initialize_with_threading(Threading::Funneled);
    let (universe, _) = begun.ok_or("MPI had been started before")?;
    let before = take_hook();
    set_hook(Box::new(move |panic| {
        before(panic);
        abort();
    }));
    Ok(Mpi { world: universe.world(), _universe: universe })
}

/// Ends every process of the job.
fn abort() {
    // SAFETY: MPI has been started, and its communicator of all processes is there from then on. Called from another
    // thread than the main one it breaks MPI_THREAD_FUNNELED, in a process that is lost anyway.
    unsafe {
        mpi::ffi::MPI_Abort(mpi::ffi::RSMPI_COMM_WORLD, 1);
    }
}

impl World for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn gather(&self, mine: &[u8]) -> Vec<Vec<u8>> {
        let mut lengths = vec![0u64; self.size()];
        self.world.all_gather_into(&(mine.len() as u64), &mut lengths[..]);
        let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
        let mut all: Vec<Vec<u8>> = lengths.iter().map(|length| Vec::with_capacity(*length as usize)).collect();
        for from in (0..longest).step_by(PIECE) {
            let length = PIECE.min(longest - from);
            // Padded to one length.
            let mut send: Vec<u8> = mine.iter().skip(from).take(length).copied().collect();
            send.resize(length, 0);
            let mut received = vec![0u8; length * all.len()];
            self.world.all_gather_into(&send[..], &mut received[..]);
            for ((own, total), part) in all.iter_mut().zip(&lengths).zip(received.chunks(length)) {
                own.extend(&part[..length.min((*total as usize).saturating_sub(from))]);
            }
        }
        all
    }

    fn exchange(&self, send: &[f32], received: &mut [f32]) {
        self.world.all_to_all_into(send, received);
    }

    fn collect(&self, mine: &[f32], all: &mut [f32]) {
        self.world.all_gather_into(mine, all);
    }

    fn to_first(&self, mine: &[f32], all: &mut [f32]) {
        let first = self.world.process_at_rank(0);
        match self.rank() {
            0 => first.gather_into_root(mine, all),
            _ => first.gather_into(mine),
        }
    }
}
