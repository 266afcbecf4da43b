//! `runner validate SPEC...`: everything that can be checked without running, all mistakes of all files at once.

use super::print_remarks;
use crate::cluster;
use crate::printed::for_terminal;
use crate::sources;
use crate::spec::{Options, Problem, load};
use crate::suite::{self, FileKind, paper};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Prints the problems to stdout, of every profile; the exit code: 0 all valid, 2 not.
pub fn validate(specs: &[PathBuf], options: &Options, json: bool) -> i32 {
    let mut out = std::io::stdout().lock();
    report(specs, &Options { all_profiles: true, ..options.clone() }, json, &mut out)
}

fn report(specs: &[PathBuf], options: &Options, json: bool, out: &mut impl Write) -> i32 {
    let mut results: Vec<Vec<Problem>> = specs.iter().map(|spec| problems_of(spec, options)).collect();
    // A member's mistake is its file's, however many suites name it.
    let mut seen: Vec<Problem> = Vec::new();
    for problems in &mut results {
        problems.retain(|problem| problem.file.is_none() || !seen.contains(problem));
        seen.extend(problems.iter().cloned());
    }
    let valid = results.iter().filter(|problems| problems.is_empty()).count();
    let problems: Vec<&Problem> = results.iter().flatten().collect();
    let text = if json {
        serde_json::to_string_pretty(&problems).unwrap_or_else(|error| format!("[{{\"message\": \"{error}\"}}]"))
    } else {
        let lines: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        format!("{lines}{}, {}", count(valid, "spec", " valid"), count(problems.len(), "problem", ""))
    };
    // A closed pipe (`| head`) is no failure of the specs.
    let _ = writeln!(out, "{}", for_terminal(&text));
    if problems.is_empty() { 0 } else { 2 }
}

fn problems_of(path: &Path, options: &Options) -> Vec<Problem> {
    match kind_of(path) {
        FileKind::Spec => match load(path, options) {
            Ok(loaded) => {
                print_remarks(&loaded.remarks);
                Vec::new()
            }
            Err(problems) => problems,
        },
        FileKind::Suite => suite::load(path, &suite::load::SuiteOptions::of(options)).err().unwrap_or_default(),
        FileKind::Paper => paper::check(path),
        FileKind::Sources => sources::check_file(path),
        FileKind::Cluster => cluster::check_file(path),
    }
}

/// A cluster.toml is one by its name too, so that a missing version is what is said of it.
fn kind_of(path: &Path) -> FileKind {
    match FileKind::of(path) {
        FileKind::Spec if cluster::config::is_named(path) => FileKind::Cluster,
        kind => kind,
    }
}

fn count(number: usize, word: &str, after: &str) -> String {
    format!("{number} {word}{}{after}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_every_file_and_counts() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let (good, bad) = (dir.path().join("good.toml"), dir.path().join("bad.toml"));
        std::fs::write(&good, "spec_version = 1\nname = \"good\"\n")?;
        std::fs::write(&bad, "spec_version = 1\nname = \"bad\"\npolicy.kl.tarket = 3\npolicy.lr = \"x\"\n")?;
        let mut out = Vec::new();
        assert_eq!(report(&[good.clone(), bad.clone()], &Options::default(), false, &mut out), 2);
        let text = String::from_utf8_lossy(&out);
        assert!(text.contains("bad.toml:3:11: policy.kl.tarket: unknown key; did you mean \"target\"?"), "{text}");
        assert!(text.ends_with("1 spec valid, 2 problems\n"), "{text}");
        let mut out = Vec::new();
        assert_eq!(report(&[bad], &Options::default(), true, &mut out), 2);
        let value: serde_json::Value = serde_json::from_slice(&out)?;
        assert_eq!((value[0]["line"].as_u64(), value[1]["path"].as_str()), (Some(3), Some("policy.lr")));
        assert_eq!(report(&[good], &Options::default(), true, &mut Vec::new()), 0);
        Ok(())
    }
}
