//! `runner import tensorflow DIR|PREFIX|URL --to DIR`: a model of a TensorFlow checkpoint (the authors' released ones,
//! the original GPT-2) as a model directory.

use super::{chain, start_screen_log};
use crate::data::error::DataError;
use crate::data::hub::{Access, Hub};
use crate::printed::shell_path;
use crate::run::signals;
use crate::sources::{Catalogue, Folder, is_address};
use crate::spec::names::safe_name;
use crate::tensorflow::{Checkpoint, Imported, ScopeKind, TensorflowError, download, import as convert};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Subcommand)]
pub enum ImportCommand {
    /// A model of a TensorFlow checkpoint: the authors' released policies and reward models, the original GPT-2
    #[command(
        after_help = "FROM is a directory with checkpoints (hparams.json beside or above them), the prefix of one checkpoint's files, or the address of such a directory, whose files are kept in the folder of named sources and are not fetched twice.\n\nExamples:\n  runner import tensorflow https://openaipublic.blob.core.windows.net/lm-human-preferences/runs/sentiment/policy --to models/their_policy\n  runner import tensorflow runs/sentiment/reward_model --to models/their_reward_model\n  runner import tensorflow models/124M --to models/gpt2\n\nA spec takes the authors' models by name: model.weights, policy and reward have `source = \"released/sentiment/..\"` (`runner sources`). docs/formats.md has the names of all tensors."
    )]
    Tensorflow(TensorflowArgs),
}

#[derive(Args)]
pub struct TensorflowArgs {
    /// Directory, prefix of a checkpoint's files, or address of a directory
    #[arg(value_name = "DIR|PREFIX|URL")]
    from: String,
    /// New directory for the model
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Which model of the checkpoint: policy, ref_policy, reward_model, or model for GPT-2's own (default: the policy,
    /// the reward model, or the only one)
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    #[arg(long)]
    no_progress: bool,
}

/// Exit codes: 0 the model is there, 1 the network or the disk failed, 2 wrong input, 4 stopped.
pub fn import(command: &ImportCommand, level: &str) -> i32 {
    start_screen_log(level);
    let ImportCommand::Tensorflow(args) = command;
    let stop = Arc::new(AtomicBool::new(false));
    match run(args, &stop) {
        Ok(imported) => {
            say(&imported, &args.to);
            0
        }
        Err(e) if stop.load(Ordering::SeqCst) => {
            eprintln!("stopped: {}; what came is kept, and the same command continues", chain(&e));
            4
        }
        Err(e) => {
            eprintln!("error: {}", chain(&e));
            if e.is_wrong_input() { 2 } else { 1 }
        }
    }
}

fn run(args: &TensorflowArgs, stop: &Arc<AtomicBool>) -> Result<Imported, TensorflowError> {
    let from = match is_address(&args.from) {
        true => fetched(args, stop)?,
        false => PathBuf::from(&args.from),
    };
    convert(&Checkpoint::open(&from)?, args.scope.as_deref(), &args.to)
}

/// Brings the checkpoint at an address into the folder of named sources, under `tensorflow/HOST/PATH`.
fn fetched(args: &TensorflowArgs, stop: &Arc<AtomicBool>) -> Result<PathBuf, TensorflowError> {
    if let Err(e) = signals::listen(Arc::clone(stop)) {
        tracing::warn!("Ctrl-C will not be heeded: {e}");
    }
    let hub = Hub { progress: !args.no_progress, stop: Some(Arc::clone(stop)), ..Hub::from_env()? };
    let catalogue = Catalogue::current().map_err(|problems| {
        DataError::Other(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    let base = args.from.trim_end_matches('/');
    let name = base.split_once("://").map_or(base, |(_, rest)| rest).replace(':', "_");
    if !safe_name(&name) || name.contains(['?', '#']) {
        return Err(DataError::Other(format!("{:?} is not the address of a directory", args.from)).into());
    }
    let to = Folder::from_env()?.of(&format!("tensorflow/{name}"));
    download(&to, &|file, path: &Path| {
        let url = format!("{base}/{file}");
        if let Access::Offline(variable) = hub.access {
            return Err(DataError::Fetch { what: url, message: format!("{variable} is set, so nothing is fetched") });
        }
        hub.fetch_address(&catalogue.mirrored(&url), path, None)?;
        Ok(path.to_path_buf())
    })?;
    Ok(to)
}

fn say(imported: &Imported, to: &Path) {
    let left: Vec<String> = imported.left_out.iter().map(|(what, n)| format!("{n} of {what}")).collect();
    let left = if left.is_empty() { String::new() } else { format!("; left out: {}", left.join(", ")) };
    let (kind, scope) = (imported.kind.word(), crate::tensorflow::shown_scope(&imported.scope));
    eprintln!(
        "{}: the {kind} in {scope}, {} tensors, {} parameters{left}",
        to.display(),
        imported.tensors,
        imported.parameters
    );
    let path = toml::Value::from(to.to_string_lossy().into_owned());
    let next = match imported.kind {
        ScopeKind::RewardModel => format!("[reward] path = {path}"),
        ScopeKind::Policy => format!("[policy] path = {path}, or runner sample --model {}", shell_path(to)),
        ScopeKind::LanguageModel => format!("[model] weights = {{ path = {path} }}"),
    };
    eprintln!("next: {next}");
}
