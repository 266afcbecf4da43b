//! `runner report`: draws a results directory's tables, plots and page again, or prints its tables for pasting.

use crate::report;
use crate::report::formats::{Format, write};
use crate::results::{Results, ResultsError, Table, file};
use crate::suite::results::SuiteResults;
use crate::suite::{draw, table};
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct ReportArgs {
    dir: PathBuf,
    /// Print this table (its name in tables/, for example scores); default with --format: all
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Print tables as text, json, markdown, latex or csv, and write nothing
    #[arg(long, value_parser = super::parse_format)]
    format: Option<Format>,
}

/// Exit code 0 if all of it is drawn or printed; 1 if that failed, or files are damaged and the rest was; 2 for a table
/// that is not there.
pub fn report(args: &ReportArgs) -> i32 {
    let (tables, damaged) = match tables(&args.dir) {
        Ok(found) => found,
        Err(e) => return failed(&e, 1),
    };
    let code = if args.table.is_none() && args.format.is_none() {
        let drawn = match is_suite(&args.dir) {
            true => draw::draw(&args.dir).map(|_| ()),
            false => report::draw(&args.dir),
        };
        if let Err(e) = drawn {
            return failed(&e, 1);
        }
        println!("{}", args.dir.join(file::REPORT).display());
        0
    } else {
        match chosen(tables, args.table.as_deref()) {
            Ok(tables) => {
                let format = args.format.unwrap_or(Format::Text);
                let written: Vec<String> = tables.iter().map(|table| write(table, format)).collect();
                print!("{}", written.join("\n"));
                0
            }
            Err(e) => failed(&e, 2),
        }
    };
    damaged.iter().for_each(|what| eprintln!("warning: left out: {what}"));
    if code == 0 && !damaged.is_empty() { 1 } else { code }
}

fn failed(error: &ResultsError, code: i32) -> i32 {
    eprintln!("error: {}", super::chain(error));
    code
}

fn is_suite(dir: &Path) -> bool {
    dir.join(file::SUITE).exists()
}

/// All tables of a directory as it is now, and the damaged files that they lack.
fn tables(dir: &Path) -> Result<(Vec<Table>, Vec<String>), ResultsError> {
    if is_suite(dir) {
        let results = SuiteResults::load(dir)?;
        return Ok((table::build(&results), results.damaged));
    }
    let results = Results::load(dir)?;
    Ok((report::tables::build(&results), results.damaged))
}

/// All, or the one that is named.
fn chosen(tables: Vec<Table>, name: Option<&str>) -> Result<Vec<Table>, ResultsError> {
    let Some(name) = name else { return Ok(tables) };
    let names: Vec<String> = tables.iter().map(|table| table.id.clone()).collect();
    let found: Vec<Table> = tables.into_iter().filter(|table| table.id == name).collect();
    match found.is_empty() {
        true => Err(ResultsError::Usage(format!("there is no table {name:?}; there are {}", names.join(", ")))),
        false => Ok(found),
    }
}
