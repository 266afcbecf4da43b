//! Text: where it comes from, in what formats, and what was read of it.

pub mod articles;
pub mod clean;
mod digest;
pub mod entries;
pub(crate) mod error;
pub mod files;
pub mod formats;
mod ftfy;
pub mod hub;
mod join;
pub mod posts;
pub mod read_report;
pub mod reviews;
pub mod source;
pub mod storyworld;
pub(crate) mod words;
