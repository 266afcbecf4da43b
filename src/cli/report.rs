//! `runner report`: draws a results directory's tables, plots and page again, or prints its tables for pasting.

use crate::report::files::{ReportError, Table, read_json};
use crate::report::formats::{Format, write};
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct ReportArgs {
    dir: PathBuf,
    /// Print this table (its name in tables/, for example scores); default with --format: all
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Print tables as text, json, markdown, latex or csv
    #[arg(long, value_parser = super::parse_format)]
    format: Option<Format>,
}

/// Exit code 0 if drawn, 1 if that failed, 2 for a table that is not there.
pub fn report(args: &ReportArgs) -> i32 {
    let drawn = match args.dir.join("suite.toml").exists() {
        true => crate::suite::draw::draw(&args.dir).map(|_| ()),
        false => crate::report::draw(&args.dir),
    };
    if let Err(e) = drawn {
        eprintln!("error: {}", super::chain(&e));
        return 1;
    }
    if args.table.is_none() && args.format.is_none() {
        println!("{}", args.dir.join("report.html").display());
        return 0;
    }
    match tables(&args.dir, args.table.as_deref()) {
        Ok(found) => {
            let format = args.format.unwrap_or(Format::Text);
            let written: Vec<String> = found.iter().map(|table| write(table, format)).collect();
            print!("{}", written.join("\n"));
            0
        }
        Err(e) => {
            eprintln!("error: {}", super::chain(&e));
            2
        }
    }
}

/// The tables of a directory, or the one that is named.
fn tables(dir: &Path, name: Option<&str>) -> Result<Vec<Table>, ReportError> {
    let folder = dir.join("tables");
    let source = |source| ReportError::Read { path: folder.clone(), source };
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .map_err(source)?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json").map(str::to_owned))
        .collect();
    names.sort();
    if let Some(name) = name {
        if !names.iter().any(|n| n == name) {
            return Err(ReportError::Usage(format!(
                "there is no table {name:?} in {}; there are {}",
                folder.display(),
                names.join(", ")
            )));
        }
        names.retain(|n| n == name);
    }
    names.iter().map(|name| read_json(&folder.join(format!("{name}.json")))).collect()
}
