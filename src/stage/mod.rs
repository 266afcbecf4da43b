//! The stages of an experiment, one file each. A stage reads the artifacts of the ones before it and writes its
//! own into the cache; a finished one is reused.

pub mod best_of;
pub mod chain;
pub mod classifier;
pub mod dpo;
pub mod evaluate;
pub mod experiment;
pub mod frontier;
pub mod given;
pub mod keys;
pub mod labels;
pub mod measures;
pub mod policy;
pub mod pretrain;
pub mod quality;
pub mod reward;
pub mod sources;
pub mod supervised;
pub mod training;

#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod label_tests;
#[cfg(test)]
mod rank_tests;
#[cfg(test)]
mod test_world;
