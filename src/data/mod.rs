//! Text: where it comes from, and how a task cuts it into queries.

pub mod clean;
pub(crate) mod error;
pub mod files;
pub mod formats;
mod ftfy;
pub mod hub;
pub mod queries;
pub mod reviews;
pub mod source;
pub mod storyworld;
#[cfg(test)]
mod text_tests;
pub(crate) mod words;
