//! Text: where it comes from, and how a task cuts it into queries.

pub mod clean;
mod ftfy;
pub mod queries;
pub mod reviews;
pub mod source;
pub mod storyworld;
pub(crate) mod words;
