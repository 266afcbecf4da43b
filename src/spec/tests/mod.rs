//! Whole files through `load`: layers, origins, runs, and the words of every kind of mistake.

mod files;
mod layers;
mod learners;
mod mistakes;
mod rules;

use super::*;
use std::error::Error;
use std::path::Path;

type Outcome = Result<(), Box<dyn Error>>;

const HEAD: &str = "spec_version = 1\nname = \"t\"\n";

fn set(arguments: &[&str]) -> Options {
    Options { set: arguments.iter().map(|argument| argument.to_string()).collect(), ..Options::default() }
}

fn load_text(text: &str, options: &Options) -> Result<Loaded, Vec<String>> {
    let dir = tempfile::tempdir().map_err(|error| vec![error.to_string()])?;
    let path = dir.path().join("x.toml");
    std::fs::write(&path, text).map_err(|error| vec![error.to_string()])?;
    let prefix = format!("{}/", dir.path().display());
    load(&path, options)
        .map_err(|problems| problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect())
}

/// The problems of a file that starts with a valid head of two lines.
fn problems(body: &str) -> Vec<String> {
    load_text(&format!("{HEAD}{body}"), &all_profiles()).err().unwrap_or_default()
}

/// As `runner validate` checks.
fn all_profiles() -> Options {
    Options { all_profiles: true, ..Options::default() }
}

fn ok(body: &str, options: &Options) -> Result<Loaded, Box<dyn Error>> {
    load_text(&format!("{HEAD}{body}"), options).map_err(|problems| problems.join("\n").into())
}
