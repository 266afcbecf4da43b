//! Text: where it comes from, and how a task cuts it into queries.

pub mod articles;
pub mod clean;
mod digest;
pub(crate) mod error;
pub mod files;
pub mod formats;
mod ftfy;
pub mod hub;
mod join;
pub mod posts;
pub mod queries;
pub mod reviews;
pub mod source;
pub mod storyworld;
#[cfg(test)]
mod text_tests;
pub(crate) mod words;
