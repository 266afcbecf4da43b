//! Statistics of results and measures of text: what goes beside every number in a table.

pub mod agreement;
pub mod copying;
pub mod interval;
pub mod preference;
pub mod repetition;
pub mod rouge;
pub mod stem;
pub mod text;
