//! `runner compare`: results directories against the first of them, or one against the paper.

use crate::report::compare::paper::against_paper;
use crate::report::compare::{WrittenComparison, compare as compare_directories};
use crate::report::formats::Format;
use crate::results::ResultsError;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args)]
pub struct CompareArgs {
    /// Results directories; those whose specs differ in nothing but the seed are one experiment, and by themselves give
    /// its mean and interval over seeds
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    /// Compare the tables of each directory with the paper's values instead
    #[arg(long, value_name = "WHAT")]
    against: Option<Against>,
    #[arg(long, value_parser = super::parse_format, default_value = "text")]
    /// text, json, markdown or csv
    format: Format,
    /// Largest change for the worse that is not a regression, in each metric's own unit (scores: standard deviations of
    /// ρ's; ROUGE and shares: points of 100)
    #[arg(long, default_value_t = 0.2)]
    tolerance: f64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Against {
    /// The values of specs/paper.toml that the tables carry
    Paper,
}

/// Exit code 0, 1 on a regression beyond the tolerance, 2 if the directories cannot be compared.
pub fn compare(args: &CompareArgs) -> i32 {
    let found: Result<Vec<WrittenComparison>, ResultsError> = match args.against {
        Some(Against::Paper) => args.dirs.iter().map(|dir| against_paper(dir, args.format, args.tolerance)).collect(),
        None => compare_directories(&args.dirs, args.format, args.tolerance).map(|one| vec![one]),
    };
    match found {
        Ok(all) => {
            all.iter().for_each(|one| print!("{}", one.text));
            i32::from(all.iter().any(|one| one.regressed))
        }
        Err(e) => {
            eprintln!("error: {}", super::chain(&e));
            2
        }
    }
}
