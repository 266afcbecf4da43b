//! `runner compare`: results directories against the first of them.

use crate::report::compare::Format;
use std::path::PathBuf;

/// Exit code 0, 1 on a regression beyond the tolerance, 2 if the directories cannot be compared.
pub fn compare(dirs: &[PathBuf], format: Format, tolerance: f64) -> i32 {
    match crate::report::compare::compare(dirs, format, tolerance) {
        Ok(comparison) => {
            print!("{}", comparison.text);
            i32::from(comparison.regressed)
        }
        Err(e) => {
            eprintln!("error: {}", super::chain(&e));
            2
        }
    }
}
