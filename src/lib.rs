//! Fine-tuning language models from human preferences (Ziegler et al. 2019), run from a TOML spec.

#![recursion_limit = "256"]

pub mod cli;
pub mod data;
pub mod label;
pub mod metric;
pub mod model;
pub mod printed;
pub mod report;
pub mod rlhf;
pub mod schemas;
pub mod spec;
pub mod stage;
pub mod store;
pub mod suite;
