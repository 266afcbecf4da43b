//! `runner labels export` and `runner labels import`: batches in other tools' formats.

use super::model::CommandFailure;
use crate::label::exchange::{Format, Importing, export, import};
use crate::output::Out;
use crate::printed::for_terminal;
use clap::{Args, ValueEnum};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

#[derive(ValueEnum, Clone, Copy)]
#[value(rename_all = "snake_case")]
enum Exchange {
    LmHumanPreferences,
    SummarizeFromFeedback,
    LabelStudio,
    Csv,
}

impl From<Exchange> for Format {
    fn from(format: Exchange) -> Self {
        match format {
            Exchange::LmHumanPreferences => Self::LmHumanPreferences,
            Exchange::SummarizeFromFeedback => Self::SummarizeFromFeedback,
            Exchange::LabelStudio => Self::LabelStudio,
            Exchange::Csv => Self::Csv,
        }
    }
}

#[derive(Args)]
pub struct ExportArgs {
    /// A batch, or a directory of batches (labeler.batches)
    dir: PathBuf,
    #[arg(long, value_enum)]
    format: Exchange,
    /// File to write (default: standard output)
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub struct ImportArgs {
    /// Answers made by another tool
    file: PathBuf,
    #[arg(long, value_enum)]
    format: Exchange,
    /// The batch that they answer: labeler.batches/ID
    #[arg(long)]
    batch: PathBuf,
    /// Who answered, where the file does not say
    #[arg(long)]
    labeler: Option<String>,
    /// Answers go into answers-NAME.jsonl of the batch (default: the file's name)
    #[arg(long)]
    name: Option<String>,
}

/// Writes batches in another tool's format.
pub fn export_batches(args: &ExportArgs) -> Result<(), CommandFailure> {
    let input = |e: crate::label::LabelError| CommandFailure::Input(super::chain(&e));
    let exported = match &args.out {
        Some(path) => {
            let file = File::create(path).map_err(|e| CommandFailure::Input(format!("{}: {e}", path.display())))?;
            let mut out = BufWriter::new(file);
            let exported = export(&args.dir, args.format.into(), &mut out).map_err(input)?;
            out.flush().map_err(|e| CommandFailure::Input(format!("{}: {e}", path.display())))?;
            exported
        }
        None => {
            let mut out = BufWriter::new(Out::new());
            let exported = export(&args.dir, args.format.into(), &mut out).map_err(input)?;
            out.flush().map_err(CommandFailure::Output)?;
            exported
        }
    };
    eprintln!("{} entries of {} batch(es)", exported.entries, exported.batches);
    Ok(())
}

/// Adds another tool's answers to a batch.
pub fn import_answers(args: &ImportArgs) -> Result<(), CommandFailure> {
    let options = Importing { labeler: args.labeler.clone(), name: args.name.clone() };
    let done = import(&args.file, args.format.into(), &args.batch, &options)
        .map_err(|e| CommandFailure::Input(super::chain(&e)))?;
    eprintln!("{} answers, {} of them new, in {}", done.answers, done.new, done.path.display());
    if !done.report.dropped.is_empty() || !done.report.remarks.is_empty() {
        eprintln!("{}", for_terminal(&done.report.to_string()));
    }
    Ok(())
}
