//! One run over several processes: its ranks, from 0. Each computes a part of what a stage computes, and all hold the
//! same numbers; the first alone writes files and decides what is read from outside at a time of its own (requests to
//! stop, people's answers). Without a launcher there is one rank, and everything here is nothing.
//!
//! - this file: who is here, what ranks say to one another, and how one's error ends all
//! - `sum.rs`: sums whose order is ours, so that they do not depend on the number of ranks, each rank's slice of them
//! - `launch.rs`: how a process learns that it was started as one of several
//! - `mpi.rs`: the transport, with the feature `mpi`; it moves bytes and adds nothing
//! - `threads.rs`: the same between threads of one process, for tests
//!
//! All ranks run the same program on the same inputs and meet at the same steps. Each meeting begins with a word from
//! everybody about where he is: whoever has an error of his own says it at the next meeting instead of coming to it,
//! so that nobody waits for him.

#![warn(missing_docs)]

mod launch;
#[cfg(feature = "mpi")]
mod mpi;
pub mod sum;
pub mod threads;

pub use launch::{local, start};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What connects the ranks. Every call is collective: all ranks make the same ones in the same order.
pub trait World {
    /// This rank's number.
    fn rank(&self) -> usize;
    /// How many there are.
    fn size(&self) -> usize;
    /// Everybody's bytes in the order of ranks; lengths may differ.
    fn gather(&self, mine: &[u8]) -> Vec<Vec<u8>>;
    /// Part k of `send` goes to rank k; `received` gets the parts for this rank in the order of ranks.
    fn exchange(&self, send: &[f32], received: &mut [f32]);
    /// Everybody's `mine`, all of one length, in the order of ranks.
    fn collect(&self, mine: &[f32], all: &mut [f32]);
    /// The same on the first rank alone; `all` of the others stays as it is.
    fn to_first(&self, mine: &[f32], all: &mut [f32]);
}

/// The error of another rank, which ends this one too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("rank {rank} ended the run: {message}")]
pub struct Elsewhere {
    /// Whose it is.
    pub rank: usize,
    /// The exit code that belongs to it.
    pub code: i32,
    /// What it says.
    pub message: String,
    /// All ranks know of it: nothing is left to be said when the run ends.
    pub settled: bool,
}

/// Errors that can be another rank's, and that other ranks can be told of.
pub trait Failure: From<Elsewhere> + std::fmt::Display {
    /// The exit code that belongs to it.
    fn code(&self) -> i32;
}

thread_local! {
    /// On the one thread that speaks for its process; all others work alone.
    static HERE: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
    /// How many calls of [`alone`] this thread is in.
    static ALONE: Cell<usize> = const { Cell::new(0) };
    /// Why nobody can be met any more: a rank has left.
    static LEFT: RefCell<Option<Elsewhere>> = const { RefCell::new(None) };
}

/// Whether the process is one of several and not the first: for its threads that do not speak for it.
static NOT_FIRST: AtomicBool = AtomicBool::new(false);

/// From here on this thread speaks for one of several ranks.
pub(crate) fn enter(world: Rc<dyn World>) {
    LEFT.with(|left| *left.borrow_mut() = None);
    HERE.with(|here| *here.borrow_mut() = Some(world));
}

/// The end of [`enter`]; returns the world.
pub(crate) fn leave() -> Option<Rc<dyn World>> {
    HERE.with(|here| here.borrow_mut().take())
}

fn here() -> Option<Rc<dyn World>> {
    HERE.with(|here| here.borrow().clone())
}

/// The others, where there are some and this thread may speak to them now.
fn others() -> Option<Rc<dyn World>> {
    here().filter(|world| world.size() > 1 && ALONE.with(Cell::get) == 0)
}

/// This process's number; 0 where there is one.
pub fn rank() -> usize {
    here().map_or(0, |world| world.rank())
}

/// How many processes work on the run.
pub fn size() -> usize {
    here().map_or(1, |world| world.size())
}

/// Whether this process writes: of several, one does.
pub fn is_first() -> bool {
    here().map_or(!NOT_FIRST.load(Ordering::Relaxed), |world| world.rank() == 0)
}

/// Whether a step that this thread takes now is shared with other ranks: (rank, how many).
pub fn shared() -> Option<(usize, usize)> {
    others().map(|world| (world.rank(), world.size()))
}

/// Whatever `work` does is done by this rank without the others.
pub fn alone<T>(work: impl FnOnce() -> T) -> T {
    /// Also when it panics.
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            ALONE.with(|alone| alone.set(alone.get() - 1));
        }
    }
    ALONE.with(|alone| alone.set(alone.get() + 1));
    let _back = Back;
    work()
}

/// What ranks meet for. All but the last two go on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Gather = 1,
    First = 2,
    Sum = 3,
    Spread = 4,
    Agree = 5,
    Finish = 6,
}

/// Numbers of steps and exit codes, two words of 4 bytes each.
fn words(bytes: &[u8]) -> (u32, i32) {
    let word = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).unwrap_or([0xFF; 4]);
    (u32::from_le_bytes(word(0)), i32::from_le_bytes(word(4)))
}

/// Meets the others at `step`; an error of this rank alone comes with its code and message.
///
/// # Errors
/// Another rank's, where it has one; every rank's where they are at different steps.
fn meet(world: &dyn World, step: Step, mine: Option<(i32, &str)>) -> Result<(), Elsewhere> {
    if let Some(left) = LEFT.with(|left| left.borrow().clone()) {
        return Err(left);
    }
    let (code, message) = mine.unwrap_or((0, ""));
    let said = [(step as u32).to_le_bytes(), code.to_le_bytes()].concat();
    let all: Vec<(u32, i32)> = world.gather(&said).iter().map(|said| words(said)).collect();
    let together = all.iter().all(|(at, _)| *at == step as u32);
    if together && all.iter().all(|(_, code)| *code == 0) {
        return Ok(());
    }
    let messages = world.gather(message.as_bytes());
    let text = |rank: usize| String::from_utf8_lossy(&messages[rank]).into_owned();
    let ended = |rank: usize, code: i32, message: String| Elsewhere { rank, code, message, settled: true };
    let found = all.iter().position(|(_, code)| *code != 0).map(|rank| ended(rank, all[rank].1, text(rank)));
    let found = found.unwrap_or_else(|| {
        let rank = all.iter().position(|(at, _)| *at != step as u32).unwrap_or(0);
        let message = format!(
            "the ranks are out of step ({} here, {} there), which is a mistake of the program",
            step as u32, all[rank].0
        );
        ended(rank, 1, message)
    });
    if all.iter().any(|(at, _)| *at == Step::Finish as u32) && !together {
        LEFT.with(|left| *left.borrow_mut() = Some(found.clone()));
    }
    Err(found)
}

fn written<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Into memory, and of types that have a form: what fails here is read as nothing below.
    if ciborium::into_writer(value, &mut bytes).is_err() {
        bytes.clear();
    }
    bytes
}

fn read<T: DeserializeOwned>(bytes: &[u8], rank: usize) -> Result<T, Elsewhere> {
    let failed = |e| Elsewhere {
        rank,
        code: 1,
        message: format!("what it sent cannot be read ({e}), which is a mistake of the program"),
        settled: false,
    };
    ciborium::from_reader(bytes).map_err(failed)
}

/// Everybody's values in the order of ranks; with one rank its own.
///
/// # Errors
/// Another rank has ended.
pub fn gathered<T: Serialize + DeserializeOwned>(mine: T) -> Result<Vec<T>, Elsewhere> {
    let Some(world) = others() else { return Ok(vec![mine]) };
    meet(&*world, Step::Gather, None)?;
    let all = world.gather(&written(&mine));
    all.iter().enumerate().map(|(rank, bytes)| read(bytes, rank)).collect()
}

/// What `make` makes on the first rank, which does it alone. Its error is everybody's.
///
/// # Errors
/// The first rank's; another rank's that has ended.
pub fn from_first<T, E>(make: impl FnOnce() -> Result<T, E>) -> Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: Failure,
{
    let Some(world) = others() else { return make() };
    if world.rank() > 0 {
        meet(&*world, Step::First, None)?;
        let said: Result<T, (i32, String)> = read(&world.gather(&[])[0], 0)?;
        return said.map_err(|(code, message)| Elsewhere { rank: 0, code, message, settled: false }.into());
    }
    let made = alone(make);
    meet(&*world, Step::First, None)?;
    let said = made.as_ref().map_err(|e| (e.code(), e.to_string()));
    world.gather(&written(&said));
    made
}

/// A step that only the first rank takes, and before which the others do not go on.
///
/// # Errors
/// Those of [`from_first`].
pub fn by_first<E: Failure>(step: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    from_first(step)
}

/// The end of something that all ranks have done: where one of them failed, all have.
///
/// # Errors
/// This rank's own, else the first other's.
pub fn agreed<T, E: Failure>(result: Result<T, E>, settled: impl Fn(&E) -> bool) -> Result<T, E> {
    let Some(world) = others() else { return result };
    if result.as_ref().err().is_some_and(settled) {
        return result;
    }
    let said = result.as_ref().err().map(|e| (e.code(), e.to_string()));
    match meet(&*world, Step::Agree, said.as_ref().map(|(code, message)| (*code, message.as_str()))) {
        Err(other) if result.is_ok() => Err(other.into()),
        _ => result,
    }
}

/// The first in the order of ranks that has something to say.
///
/// # Errors
/// Those of [`gathered`].
pub fn any(mine: Option<String>) -> Result<Option<String>, Elsewhere> {
    Ok(gathered(mine)?.into_iter().flatten().next())
}

/// Refuses ranks that are not alike. `names` and values: what must be the same on all.
///
/// # Errors
/// A difference, on every rank: what, and which rank is unlike the first. Another rank's that has ended.
pub fn alike(host: &str, names: &[(&str, String)]) -> Result<(), Elsewhere> {
    let mine: (String, Vec<String>) = (host.into(), names.iter().map(|(_, value)| value.clone()).collect());
    let all = gathered(mine)?;
    let Some((first, others)) = all.split_first() else { return Ok(()) };
    for (i, other) in others.iter().enumerate() {
        let differing = names.iter().zip(first.1.iter().zip(&other.1)).find(|(_, (a, b))| a != b);
        if let Some(((name, _), (a, b))) = differing {
            let message = format!(
                "its {name} is {b} (on {}), and that of rank 0 is {a} (on {}): all ranks of a run must have the same",
                other.0, first.0
            );
            return Err(Elsewhere { rank: i + 1, code: 2, message, settled: true });
        }
    }
    Ok(())
}

/// For tests of what a panic on one rank does to the others: panics on the rank and at the update that the environment
/// variable `RUNNER_TEST_PANIC` names, such as `1:3`. Only of a run over several processes.
///
/// # Panics
/// There.
pub fn panic_on_request(update: usize) {
    let Some((rank, _)) = shared() else { return };
    let asked = std::env::var("RUNNER_TEST_PANIC").is_ok_and(|where_| where_ == format!("{rank}:{update}"));
    assert!(!asked, "a panic that a test asked for");
}

/// The last meeting: every process ends with the same exit code, which is the first that is not 0.
pub fn finish(code: i32) -> i32 {
    let code = match others() {
        None => code,
        Some(world) => {
            let mine = Some((code, "its own message is above")).filter(|(code, _)| *code != 0);
            match meet(&*world, Step::Finish, mine) {
                Ok(()) => code,
                Err(Elsewhere { code: other, .. }) => {
                    if code == 0 {
                        other
                    } else {
                        code
                    }
                }
            }
        }
    };
    drop(leave());
    code
}

#[cfg(test)]
mod tests;
