//! Fine-tuning language models from human preferences (Ziegler et al. 2019), run from a TOML spec.

#![recursion_limit = "256"]

// First, for its macros are those of all modules below.
#[macro_use]
mod output;

pub mod cli;
pub mod context;
pub mod data;
pub mod label;
pub mod labeler;
pub mod metric;
pub mod model;
pub mod plan;
pub mod printed;
pub mod random;
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
