//! What the commands on a model directory share: opening it on a device, and their errors as exit codes.

use super::chain;
use crate::data::error::list;
use crate::model::ModelError;
use crate::model::config::read_config;
use crate::model::gpt2::Gpt2;
use crate::model::weights::load_gpt2;
use crate::output::reader_gone;
use crate::printed::for_terminal;
use crate::run::ready_device;
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why a command stopped.
pub enum CommandFailure {
    /// The input, the model directory or an argument is wrong.
    Input(String),
    /// Computing or writing failed.
    Run(String),
    /// Standard output or the output file cannot be written.
    Output(io::Error),
}

/// Prints the failure and gives its exit code; whoever closes our output early (`| head`) has what they wanted.
pub fn exit_code(result: Result<(), CommandFailure>) -> i32 {
    let (message, code) = match result {
        Ok(()) => return 0,
        Err(CommandFailure::Output(e)) if reader_gone(&e) => return 0,
        Err(CommandFailure::Output(e)) => (format!("cannot write the output: {e}"), 1),
        Err(CommandFailure::Run(message)) => (message, 1),
        Err(CommandFailure::Input(message)) => (message, 2),
    };
    eprintln!("error: {}", for_terminal(&message));
    code
}

/// The language model of a directory on a device that has passed its known-answer test.
pub fn open(dir: &Path, device: &str) -> Result<Gpt2, CommandFailure> {
    if !dir.is_dir() {
        return Err(CommandFailure::Input(format!("--model {}: no such directory", dir.display())));
    }
    if let Some(message) = not_a_model(dir) {
        return Err(CommandFailure::Input(format!("--model {}: {message}", dir.display())));
    }
    let chosen = ready_device(device).map_err(|e| match e {
        ModelError::Input(message) => CommandFailure::Input(message),
        e => CommandFailure::Run(chain(&e)),
    })?;
    if let Ok(config) = read_config(dir) {
        chosen.check_room(config.vocab, config.dimensions.width).map_err(|e| CommandFailure::Run(e.to_string()))?;
    }
    load_gpt2(dir, &chosen.device).map_err(|e| CommandFailure::Input(e.to_string()))
}

/// Model directories that a message names.
const MOST_MODELS: usize = 12;

/// Why a directory is none of a model, with the models that are in it if it is one of results.
fn not_a_model(dir: &Path) -> Option<String> {
    if dir.join("config.json").exists() {
        return None;
    }
    let models = models_in(dir);
    Some(match models.is_empty() {
        true => "has no config.json; a model directory holds config.json, model.safetensors and tokenizer.json".into(),
        false => {
            let names: Vec<String> = models.iter().map(|m| m.display().to_string()).collect();
            format!("is no model, but holds some; take one of {}", list(&names, MOST_MODELS))
        }
    })
}

/// The models of a results directory, or of one of its runs: `models/NAME` and `runs/RUN/models/NAME`.
fn models_in(dir: &Path) -> Vec<PathBuf> {
    let inside = |dir: PathBuf| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut all: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
        all.sort();
        all
    };
    let runs = inside(dir.join("runs")).into_iter().flat_map(|run| inside(run.join("models")));
    // A run's directory, or its `models`, given for the model.
    let models = runs.chain(inside(dir.join("models"))).chain(inside(dir.to_path_buf()));
    models.filter(|model| model.join("config.json").is_file()).collect()
}

/// Parses `--temperature`.
pub fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(t) if t.is_finite() && t > 0.0 => Ok(t),
        _ => Err("expected a number above 0".into()),
    }
}

/// Writes one JSON line.
pub fn write_line(out: &mut dyn Write, line: &impl Serialize) -> Result<(), CommandFailure> {
    let text = serde_json::to_string(line).map_err(|e| CommandFailure::Run(e.to_string()))?;
    writeln!(out, "{text}").map_err(CommandFailure::Output)
}
