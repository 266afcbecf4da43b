//! `runner sample`: continuations of a prompt under any model directory, drawn as the trainer draws them: from all
//! tokens of the tokenizer, of a fixed length, continuing through the end of text. The prompt is text, whatever it
//! holds.

use super::model::{CommandFailure, open, temperature, write_line};
use crate::model::gpt2::Gpt2;
use crate::model::sampling::{Sampled, Sampling, logprobs, sample as draw};
use crate::model::tokenizer::Tokenizer;
use crate::model::vocabulary::fitted;
use crate::printed::for_terminal;
use crate::random;
use clap::{Args, ValueEnum};
use rand::RngExt;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

/// Samples that share a prefill.
const SHARED: usize = 16;

#[derive(Args)]
#[command(
    after_help = "The same seed gives the same samples on the same device, and the first samples do not depend on -k. --format json prints one line per sample: {\"query\": ids, \"response\": ids, \"text\": ..., \"logprobs\": [...]}, which `runner logprobs --input -` reads.\n\nExample:\n  runner sample --model results/mine/runs/labels_2k/models/policy --prompt 'I went to the park.' -k 4 --temperature 0.7"
)]
pub struct SampleArgs {
    /// Model directory: config.json, model.safetensors (or shards), tokenizer.json
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// What to continue, all of it as text; empty: start from the model's end of text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: String,
    /// Number of samples
    #[arg(short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    k: u32,
    /// Tokens per sample
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    length: u32,
    /// Divides the logits
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = temperature)]
    temperature: f64,
    /// Root of the random stream
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// auto, cpu, wgpu or wgpu:N (see `runner doctor`)
    #[arg(long, value_name = "D", default_value = "auto")]
    device: String,
    /// text: prompt and continuation; json: one object per line
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// A sample with --format json.
#[derive(Serialize)]
struct Line<'a> {
    query: &'a [u32],
    response: &'a [u32],
    text: &'a str,
    logprobs: &'a [f32],
}

/// Exit code 0 done, 2 for a wrong model or prompt, 1 where computing or writing fails.
pub fn sample(args: &SampleArgs) -> i32 {
    super::model::exit_code(run(args))
}

fn run(args: &SampleArgs) -> Result<(), CommandFailure> {
    let given = open(&args.model, &args.device)?;
    let tokenizer = Tokenizer::load(&args.model).map_err(|e| CommandFailure::Input(e.to_string()))?;
    let model = fitted(given.clone(), &tokenizer).map_err(|e| CommandFailure::Input(e.to_string()))?;
    let mut query = tokenizer.encode(&args.prompt).map_err(|e| CommandFailure::Input(e.to_string()))?;
    if query.is_empty() {
        query.push(tokenizer.end_of_text());
    }
    let (length, context) = (args.length as usize, model.dimensions().context);
    if let Some(id) = query.iter().find(|id| **id as usize >= model.vocab()) {
        return Err(CommandFailure::Input(format!(
            "--prompt: token {id} is outside the model's vocabulary of {}",
            model.vocab()
        )));
    }
    if query.len() + length > context {
        return Err(CommandFailure::Input(format!(
            "the prompt's {} tokens and --length {length} are more than the model's context of {context}",
            query.len()
        )));
    }
    let mut out = io::stdout().lock();
    let terminal = out.is_terminal();
    let k = args.k as usize;
    for first in (0..k).step_by(SHARED) {
        let mut sampled = samples(&model, args, &query, first, SHARED.min(k - first))?;
        if given.vocab() > model.vocab() {
            // What is printed is what `runner logprobs` and transformers say of this directory, with all of its rows.
            let queries = vec![query.iter().map(|t| Some(*t)).collect(); sampled.responses.len()];
            let scored = logprobs(&given, &queries, &sampled.responses, args.temperature);
            sampled.logprobs = scored.map_err(|e| CommandFailure::Run(e.to_string()))?;
        }
        for (i, (response, logprobs)) in sampled.responses.iter().zip(&sampled.logprobs).enumerate() {
            let text = tokenizer.decode(response).map_err(|e| CommandFailure::Run(e.to_string()))?;
            match args.format {
                Format::Json => write_line(&mut out, &Line { query: &query, response, text: &text, logprobs })?,
                Format::Text => {
                    let heading = if k == 1 { String::new() } else { format!("--- {} of {k}\n", first + i + 1) };
                    let sample = format!("{}{text}", args.prompt);
                    // A pipe gets what the model wrote; a terminal does not do what it says.
                    let shown = if terminal { for_terminal(&sample) } else { sample.as_str().into() };
                    writeln!(out, "{heading}{shown}").map_err(CommandFailure::Output)?
                }
            }
        }
        out.flush().map_err(CommandFailure::Output)?;
    }
    Ok(())
}

/// Samples `first..first + count`, each from a stream of its own.
fn samples(
    model: &Gpt2,
    args: &SampleArgs,
    query: &[u32],
    first: usize,
    count: usize,
) -> Result<Sampled, CommandFailure> {
    let length = args.length as usize;
    let mut uniforms = vec![vec![0.0; count]; length];
    for row in 0..count {
        let mut stream = random::stream(args.seed, "sample", (first + row) as u64);
        uniforms.iter_mut().for_each(|step| step[row] = stream.random::<f32>());
    }
    let queries = [query.iter().map(|t| Some(*t)).collect::<Vec<_>>()];
    let sampling = Sampling {
        queries: &queries,
        k: count,
        response_length: length,
        temperature: args.temperature,
        uniforms: &uniforms,
        value_head: None,
    };
    draw(model, &sampling).map_err(|e| CommandFailure::Run(e.to_string()))
}
