//! Statistics of results: intervals and tests that go beside every number in a table.

pub mod interval;
