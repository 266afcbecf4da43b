//! From a TOML file to a checked spec: layers (defaults, preset, `extends`, file, profile, command line),
//! every mistake reported at once with its place, and the JSON Schema that editors use.

mod blame;
pub mod catalogue;
mod changed;
mod check;
mod check_labels;
pub mod config;
mod given;
pub mod keyed;
mod layers;
mod load;
pub mod names;
pub mod paths;
mod remarks;
mod renamed;
pub(crate) mod schema;
pub mod shipped;
mod size;
pub(crate) mod source;
pub mod types;

pub(crate) use changed::{Changed, changed_from_preset};
pub use check::{Finding, PLACEHOLDERS as JUDGE_PLACEHOLDERS, guess_format, judge_rules};
pub use given::is_released;
pub(crate) use layers::{PRESET_NAMES as PRESETS, preset_values};
pub use load::load;
pub(crate) use renamed::{instead_of, renamed};
pub(crate) use schema::did_you_mean;
pub use schema::spec_schema;
pub use types::*;

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// One mistake in a spec.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// None: the command line.
    pub file: Option<PathBuf>,
    /// From 1; 0 where a line makes no sense (a missing file, the command line).
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Dotted path of the key, e.g. `policy.kl.target`; empty for the whole file.
    pub path: String,
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) if self.line > 0 => write!(f, "{}:{}:{}: ", file.display(), self.line, self.column)?,
            Some(file) => write!(f, "{}: ", file.display())?,
            None => f.write_str("command line: ")?,
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// What the command line adds to a file.
#[derive(Debug, Clone)]
pub struct Options {
    /// `a.b.c=value`, the value in TOML; bare text is accepted where a string is wanted.
    pub set: Vec<String>,
    pub profile: Option<String>,
    pub seed: Option<u64>,
    /// Report referenced files that do not exist.
    pub check_files: bool,
    /// Also report what only a run needs: an empty path, to be given by `--set`.
    pub for_run: bool,
    /// Check every profile, not the chosen one alone: those that are not chosen as they are written, without what the
    /// command line says.
    pub all_profiles: bool,
    /// Of a suite: which of its members. A spec has none.
    pub selection: Selection,
}

/// Some members of a suite, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these; empty: all.
    pub members: Vec<String>,
    pub skip: Vec<String>,
}

impl Selection {
    /// Everything is selected.
    pub fn is_all(&self) -> bool {
        self.members.is_empty() && self.skip.is_empty()
    }

    pub fn has(&self, name: &str) -> bool {
        (self.members.is_empty() || self.members.iter().any(|member| member == name))
            && !self.skip.iter().any(|member| member == name)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            set: Vec::new(),
            profile: None,
            seed: None,
            check_files: true,
            for_run: false,
            all_profiles: false,
            selection: Selection::default(),
        }
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Default,
    Preset(String),
    File {
        file: PathBuf,
        line: usize,
        column: usize,
    },
    Profile {
        name: String,
        file: PathBuf,
        line: usize,
        column: usize,
    },
    /// The argument, e.g. `--set policy.lr=1e-4`.
    CommandLine(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset(name) => write!(f, "preset {name}"),
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Profile { name, file, line, column } => {
                write!(f, "profile {name} ({}:{line}:{column})", file.display())
            }
            Self::CommandLine(argument) => f.write_str(argument),
        }
    }
}

/// A spec with every default written out, and where each value came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// `runs` holds, for each run, what it changes.
    pub spec: Spec,
    /// By the dotted path of each leaf of `spec`.
    pub origins: BTreeMap<String, Origin>,
    /// Each run with its changes applied and no `runs` of its own; without runs, one called `main`. Their paths can be
    /// used as they stand: see [`paths`].
    pub variants: Vec<(String, Spec)>,
    /// Values that can be meant and seldom are.
    pub remarks: Vec<Problem>,
}

/// The resolved spec as TOML; [`load`] reads it back to the same spec and variants.
pub fn resolved_toml(spec: &Spec) -> String {
    match toml::to_string(spec) {
        Ok(text) => text,
        Err(error) => format!("# this spec has no TOML form: {error}\n"),
    }
}

/// `~` and `~/..` as the home directory; anything else as it is.
pub fn expand_home(path: &str) -> PathBuf {
    let rest = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match (rest, std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests;
