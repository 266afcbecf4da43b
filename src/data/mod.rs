//! Text: where it comes from, and how a task cuts it into queries.

pub mod reviews;
pub mod storyworld;
pub(crate) mod words;
pub mod queries;
pub mod source;
