//! Fine-tuning language models from human preferences (Ziegler et al. 2019), run from a TOML spec.

#![recursion_limit = "256"]

pub mod data;
pub mod model;
pub mod rlhf;
pub mod spec;
pub mod store;
