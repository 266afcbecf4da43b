//! Suites: the experiments and seeds that make one table or figure of the paper together. `runner SUITE` runs every
//! member into a results directory of its own, asks readers where the table needs them, and writes tables with the
//! paper's values beside ours. docs/suites.md describes the format.

pub mod asked;
pub mod asking;
pub mod draw;
pub mod files;
pub mod headline;
pub mod load;
mod page;
pub mod paper;
pub mod plots;
pub mod results;
pub mod schema;
mod setting;
pub mod table;
pub mod types;
pub mod verdict;

pub use files::SuiteManifest;
pub use load::{LoadedMember, LoadedSuite, load};
pub use results::SuiteResults;
pub use schema::{FileKind, suite_schema};
pub use types::Suite;
