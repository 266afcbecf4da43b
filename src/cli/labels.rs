//! `runner labels`: what label files and batches hold; see labels_batches.rs for what people answer.

use super::chain;
use super::labels_batches::{self, AgreementArgs, DecideArgs, ServeArgs};
use super::labels_exchange::{ExportArgs, ImportArgs, export_batches, import_answers};
use super::model::{CommandFailure, exit_code, write_line};
use crate::label::batch::LabelerAction;
use crate::label::batch::status::is_batches;
use crate::label::recorded::{GPT2_VOCABULARY, Reading, read};
use crate::label::report::LabelsReport;
use crate::label::{Label, LabelError};
use crate::model::ModelError;
use crate::model::gpt2_tokenizer::Gpt2Tokenizer;
use crate::printed::for_terminal;
use crate::spec::LabelFormat;
use clap::{Args, Subcommand, ValueEnum};
use std::cell::OnceCell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum LabelsCommand {
    /// Progress and quality of batches; counts, splits, workers, lengths and malformed entries of recorded label files
    #[command(
        after_help = "Formats (docs/labels.md): lm_human_preferences, a JSON array of objects of GPT-2 token ids; summarize_from_feedback, objects with info, summaries and choice; preference_pairs, objects with prompt, chosen and rejected. Lengths of text are in GPT-2's tokens. Where PATH is a directory of batches (docs/batches.md), or one batch: progress, problems, a table of labelers, and what to do next. --format json prints one object per PATH (schemas/labels_report.schema.json, schemas/batches_report.schema.json). Exit code 2: a PATH whose labels cannot be used.\n\nExamples:\n  runner labels status offline_5k.json\n  runner labels status comparisons/ --split train\n  runner labels status labels/sentiment"
    )]
    Status(StatusArgs),
    /// A page on which several people answer batches at once, and a dashboard for whoever leads them
    #[command(
        after_help = "Only this machine can open the page unless --listen says otherwise; then the printed addresses carry a token, one for labelers and one for the dashboard. The traffic is not encrypted: over networks you do not trust, put it behind a TLS proxy or an SSH tunnel. One server per directory.\n\nExamples:\n  runner labels serve labels/sentiment\n  runner labels serve labels/sentiment --results results/sentiment --listen 0.0.0.0:8080"
    )]
    Serve(ServeArgs),
    /// Take a labeler's answers out: they stay on disk and do not count
    #[command(
        after_help = "Example:\n  runner labels drop mallory --dir labels/sentiment --reason \"3 of 20 gold items\""
    )]
    Drop(DecideArgs),
    /// Count a dropped labeler's answers again
    Restore(DecideArgs),
    /// Agreement between labelers, with the authors' gold items, and of labelers with themselves (paper table 9)
    #[command(
        after_help = "Percent of pairs with 95% intervals and kappa, choices by place, and a table of labelers (schemas/quality.schema.json).\n\nExample:\n  runner labels agreement labels/sentiment --format markdown"
    )]
    Agreement(AgreementArgs),
    /// Questions and answers of batches in another tool's format
    #[command(
        after_help = "Formats (docs/batches.md): label_studio and csv hold all questions, candidates in the order in which they are to be shown; lm_human_preferences and summarize_from_feedback hold the answers that count, as label files.\n\nExamples:\n  runner labels export labels/sentiment/round-0001 --format label_studio --out tasks.json\n  runner labels export labels/sentiment --format lm_human_preferences --out labels.json"
    )]
    Export(ExportArgs),
    /// Answers made with another tool, added to a batch; the same file twice adds nothing
    #[command(
        after_help = "Every answer must be to an item of the batch; else nothing is imported and the lines are named. Exit code 2: the file cannot be imported.\n\nExample:\n  runner labels import annotations.json --format label_studio --batch labels/sentiment/round-0001"
    )]
    Import(ImportArgs),
}

#[derive(Args)]
pub struct StatusArgs {
    /// Label files, or folders of .json and .jsonl files; each as labeler.path would be
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The files' format (default: what the keys of the first entry say)
    #[arg(long, value_name = "FORMAT")]
    label_format: Option<FileFormat>,
    /// Only labels of this split
    #[arg(long)]
    split: Option<String>,
    #[arg(long, value_enum, default_value = "text")]
    format: Output,
}

#[derive(ValueEnum, Clone, Copy)]
#[value(rename_all = "snake_case")]
enum FileFormat {
    LmHumanPreferences,
    SummarizeFromFeedback,
    PreferencePairs,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Output {
    Text,
    Json,
}

/// Exit code 0 usable, 2 not, 1 where writing fails.
pub fn labels(command: &LabelsCommand) -> i32 {
    match command {
        LabelsCommand::Status(args) => exit_code(status(args)),
        LabelsCommand::Serve(args) => exit_code(labels_batches::serve(args)),
        LabelsCommand::Drop(args) => exit_code(labels_batches::decide(args, LabelerAction::Drop)),
        LabelsCommand::Restore(args) => exit_code(labels_batches::decide(args, LabelerAction::Restore)),
        LabelsCommand::Agreement(args) => exit_code(labels_batches::agreement(args)),
        LabelsCommand::Export(args) => exit_code(export_batches(args)),
        LabelsCommand::Import(args) => exit_code(import_answers(args)),
    }
}

fn status(args: &StatusArgs) -> Result<(), CommandFailure> {
    let mut out = io::stdout().lock();
    let mut problems = 0;
    for (i, path) in args.paths.iter().enumerate() {
        if is_batches(path) {
            problems += usize::from(batches(&mut out, path, i > 0, args)?);
            continue;
        }
        let report = inspect(path, args);
        match args.format {
            Output::Json => write_line(&mut out, &report)?,
            Output::Text => {
                let gap = if i > 0 { "\n" } else { "" };
                write!(out, "{gap}{}", for_terminal(&report.text())).map_err(CommandFailure::Output)?;
            }
        }
        out.flush().map_err(CommandFailure::Output)?;
        if let Some(problem) = &report.problem {
            // Most problems begin with the file that has them.
            let path = path.display().to_string();
            let place = if problem.starts_with(&path) { String::new() } else { format!("{path}: ") };
            eprintln!("cannot be used: {}", for_terminal(&format!("{place}{problem}")));
            problems += 1;
        }
    }
    match problems {
        0 => Ok(()),
        n => Err(CommandFailure::Input(format!("{n} of {} cannot be used", args.paths.len()))),
    }
}

/// The report on a directory of batches; whether it cannot be used.
fn batches(out: &mut impl Write, path: &Path, after: bool, args: &StatusArgs) -> Result<bool, CommandFailure> {
    let report = match labels_batches::report(path) {
        Ok(report) => report,
        Err(e) => {
            eprintln!("cannot be used: {}", chain(&e));
            return Ok(true);
        }
    };
    match args.format {
        Output::Json => write_line(out, &report)?,
        Output::Text => write!(out, "{}{}", if after { "\n" } else { "" }, for_terminal(&report.text()))
            .map_err(CommandFailure::Output)?,
    }
    out.flush().map_err(CommandFailure::Output)?;
    Ok(false)
}

/// Reads what a run would, with nothing known of its task: any length fits.
fn inspect(path: &Path, args: &StatusArgs) -> LabelsReport {
    let tokenizer = OnceCell::new();
    let encode = |text: &str| encode(&tokenizer, text);
    let reading = Reading {
        format: args.label_format.map(|format| match format {
            FileFormat::LmHumanPreferences => LabelFormat::LmHumanPreferences,
            FileFormat::SummarizeFromFeedback => LabelFormat::SummarizeFromFeedback,
            FileFormat::PreferencePairs => LabelFormat::PreferencePairs,
        }),
        split: args.split.as_deref(),
        vocabulary: GPT2_VOCABULARY,
        gpt2_ids: true,
        query_length: usize::MAX,
        response_length: usize::MAX,
        encode: &encode,
        query_of: &|text| Ok(Some(encode(text)?)),
        around: ("", ""),
    };
    let mut report = LabelsReport::default();
    let result = read::<LabelError>(path, &reading, &mut report, &mut |_: Label| Ok(()));
    report.problem = result.and_then(|()| report.check()).err().map(|e| chain(&e));
    report
}

/// GPT-2's ids of a text; the vocabulary is unpacked when the first text comes, for files of ids need none.
fn encode(tokenizer: &OnceCell<Gpt2Tokenizer>, text: &str) -> Result<Vec<u32>, ModelError> {
    let tokenizer = match tokenizer.get() {
        Some(tokenizer) => tokenizer,
        None => {
            let made = Gpt2Tokenizer::new()?;
            tokenizer.get_or_init(|| made)
        }
    };
    Ok(tokenizer.encode(text))
}
