//! Answers from outside: a language model behind an OpenAI-compatible endpoint, a program of the user's, and scores that
//! no model of ρ's kind gives.
//!
//! - `endpoint.rs`: one chat completion over HTTP, tried again where that may help
//! - `prompt.rs`: a question as the model reads it, and what its answer says
//! - `kept.rs`: every answer as it came, on disk before it is used
//! - `judge.rs`: asks all that is missing of a batch, within the budget; `counts.rs`: what came of it
//! - `program.rs`: a process that answers JSON lines; `score.rs`: rewards of a program, and ROUGE

#![warn(missing_docs)]

mod counts;
mod endpoint;
mod judge;
mod kept;
mod program;
mod prompt;
mod score;

pub use counts::report;
pub use judge::{Judge, Judged};
pub use program::{Failure, Program, key as program_key};
pub use score::{CommandScores, RougeScores};
