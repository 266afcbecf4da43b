//! How a command, a run, a suite's member or a question to readers ends: the only place that knows exit codes.

use super::manifest::State;

/// Ends, each with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Something else went wrong: the device, the disk, the network, the program.
    Failed,
    /// The spec, a file or the command line is wrong.
    WrongInput,
    /// For answers of people; the same command goes on when they are there.
    Waiting,
    /// By a guard, a person or the operating system; the same command goes on.
    Stopped,
}

impl Outcome {
    /// The exit code of the process.
    pub fn code(self) -> i32 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::WrongInput => 2,
            Self::Waiting => 3,
            Self::Stopped => 4,
        }
    }

    /// Of a process that ended with this exit code.
    pub fn of_code(code: i32) -> Self {
        let known = [Self::Done, Self::WrongInput, Self::Waiting, Self::Stopped].into_iter().find(|o| o.code() == code);
        known.unwrap_or(Self::Failed)
    }

    /// Of two things done: a failure or wrong input (the first of them) hides behind nothing, and that people are
    /// waited for is said only where nothing was stopped.
    #[must_use]
    pub fn worse(self, second: Self) -> Self {
        let rank = |outcome: Self| match outcome {
            Self::Done => 0,
            Self::Waiting => 1,
            Self::Stopped => 2,
            Self::Failed | Self::WrongInput => 3,
        };
        if rank(second) > rank(self) { second } else { self }
    }

    /// What the manifest of a run that ended so says.
    pub fn state(self) -> State {
        match self {
            Self::Done => State::Done,
            Self::Failed | Self::WrongInput => State::Failed,
            Self::Waiting => State::Waiting,
            Self::Stopped => State::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Done, Failed, Stopped, Waiting, WrongInput};
    use super::*;

    #[test]
    fn a_failed_member_does_not_hide_behind_one_that_waits() {
        for (all, worst) in [
            (&[Done, Waiting, Failed][..], Failed),
            (&[Waiting, WrongInput, Failed], WrongInput),
            (&[Failed, Waiting, Done], Failed),
            (&[Waiting, Stopped, Waiting], Stopped),
            (&[Stopped, Failed], Failed),
            (&[Done, Waiting], Waiting),
            (&[], Done),
        ] {
            assert_eq!(all.iter().copied().fold(Done, Outcome::worse), worst, "{all:?}");
        }
    }

    #[test]
    fn exit_codes_are_a_contract() {
        assert_eq!([Done, Failed, WrongInput, Waiting, Stopped].map(Outcome::code), [0, 1, 2, 3, 4]);
    }
}
