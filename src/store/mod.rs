//! Artifacts on disk: atomic writes, content hashes, the stage cache and the directory lock.

pub mod append;
pub mod atomic;
pub mod cache;
pub mod chunks;
pub mod input;
pub mod lease;
pub mod lock;
pub mod seal;
pub mod shared;
pub mod user;
