//! The experiment spec: its types, and how a file becomes a resolved spec.

pub mod types;
pub use types::*;
