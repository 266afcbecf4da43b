//! Named sources: texts, reviews, label files and weights that a spec asks for by name (`source = "tldr"`), and where
//! each of them is found. `specs/sources.toml` is the catalogue that ships with the program; a `sources.toml` of the
//! user's replaces places by name, so that one small file serves all specs on a machine with its own copies or without
//! a network.
//!
//! - `../spec/catalogue.rs`: the file format, the layers of files, and their checks
//! - `folder.rs`: where files from plain addresses are kept, and where a person may put them by hand
//! - `find.rs`: from a name to files on this machine, fetched where that is allowed
//! - `needs.rs`: what a spec takes from outside

mod find;
mod folder;
mod needs;
#[cfg(test)]
mod tests;

pub use crate::spec::catalogue::{
    Catalogue, Source, SourcePlace, SourceUse, bytes_of, check_file, is_address, sources_schema, use_file,
};
pub use find::{Finder, Located};
pub use folder::Folder;
pub use needs::{Need, Wanted, needs};
