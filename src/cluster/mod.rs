//! A suite on a cluster: `runner cluster submit` writes scripts and hands them to the cluster's own engine, which places
//! them; each runs one task of the suite (`run/task.rs`). What stands where is read from the members' manifests; the
//! engine is only asked what is alive.
//!
//! - `config.rs`: cluster.toml, which says how jobs are asked for; nothing that results depend on
//! - `waves.rs`: stages that several tasks share, and who makes them first
//! - `script.rs`: what a job runs
//! - `ledger.rs`: what was submitted, on disk before and after
//! - `slurm.rs`: Slurm's commands
//! - `submit.rs`, `status.rs`, `cancel.rs`: what a person asks for

pub mod cancel;
pub mod config;
pub mod ledger;
mod script;
mod slurm;
pub mod status;
pub mod submit;
mod waves;

pub use config::{ClusterFile, check_file, cluster_schema};
pub use ledger::Ledger;

use crate::results::Outcome;
use crate::spec::Problem;
use std::path::{Path, PathBuf};

/// The folder of scripts, logs and the ledger in a suite's results directory.
pub const FOLDER: &str = "cluster";

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A cluster.toml's mistakes.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<Problem>),
    /// Of the command line, or a results directory that holds something else.
    #[error("{0}")]
    Input(String),
    /// The engine is not there, or refuses.
    #[error("{0}")]
    Engine(String),
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl ClusterError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    /// How the command ends.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Config(_) | Self::Input(_) => Outcome::WrongInput,
            Self::Engine(_) | Self::Io { .. } => Outcome::Failed,
        }
    }
}
