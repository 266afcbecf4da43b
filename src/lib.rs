//! Fine-tuning language models from human preferences (Ziegler et al. 2019), run from a TOML spec.
//!
//! ```text
//!   spec ──► ρ, a language model ──► queries x ~ D, responses y ~ ρ(.|x)
//!                                         │
//!             labeler: which of four is best?   (r_s, simulated, recorded, people, a model, a program)
//!                                         │
//!                               reward model r
//!                                         │
//!        π ◄── PPO on r(x, y) - β log(π(y|x)/ρ(y|x)) ──► β follows the KL
//!        │
//!   evaluation ──► results directory ──► tables beside the paper's, plots, page
//! ```
//!
//! The program `runner` is a thin layer over [`run()`], which does all of it:
//!
//! ```
//! use runner::results::{Outcome, Results};
//! use runner::run::RunSettings;
//! use runner::spec::{Options, shipped};
//!
//! let out = tempfile::tempdir()?;
//! let spec = shipped::located("quickstart".as_ref())?;
//! let options = Options { profile: Some("smoke".into()), set: vec!["policy.episodes=32".into()], ..Options::default() };
//! let settings = RunSettings { device: "cpu".into(), out: Some(out.path().join("results")), ..RunSettings::default() };
//! let ended = runner::run(&spec, &options, settings)?;
//! assert_eq!(ended.outcome, Outcome::Done, "{:?}", ended.error);
//! let results = Results::load(&ended.out)?;
//! assert_eq!(results.evaluations().count(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The rooms, from the ground up; each knows only those before it (ARCHITECTURE.md says more, and a test holds it so):
//! [`printed`], [`random`], [`metric`], [`store`], [`rlhf`], [`spec`], [`model`], [`data`], [`task`], [`tensorflow`],
//! [`sources`], [`results`], [`label`], [`context`], [`outside`],
//! [`labeler`], [`rl`], [`stage`], [`report`], [`suite`], [`plan`],
//! [`mod@run`], [`schemas`], [`cli`].
//!
//! Stable are the command line, spec files, results directories and `runner math` (docs/). The library follows them and
//! changes with them; `examples/` are compiled and run with every change.

#![recursion_limit = "256"]

// First, for its macros are those of all modules below.
#[macro_use]
mod output;

pub mod cli;
pub mod cluster;
pub mod context;
pub mod data;
pub mod label;
pub mod labeler;
pub mod metric;
pub mod model;
pub mod outside;
pub mod plan;
pub mod printed;
pub mod random;
pub mod ranks;
pub mod report;
pub mod results;
pub mod rl;
pub mod rlhf;
pub mod run;
pub mod schemas;
pub mod sources;
pub mod spec;
pub mod stage;
pub mod store;
pub mod suite;
pub mod task;
pub mod tensorflow;

pub use run::run;
