//! The mathematics of RLHF as pure functions of numbers and tensors: no files, specs' sources or devices.

#![warn(missing_docs)]

pub mod advantages;
pub mod best_of;
pub mod dpo;
pub mod entropy;
pub mod frontier;
pub mod kl;
pub mod labels;
pub mod optimum;
pub mod ppo;
pub mod reward;
pub mod rloo;
