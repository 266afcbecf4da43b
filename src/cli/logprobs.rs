//! `runner logprobs`: per-token log-probabilities of responses under any model directory, JSON lines in and out.

use super::model::{CommandFailure, open, temperature, write_line};
use crate::model::gpt2::Gpt2;
use crate::model::gpt2_tokenizer::END_OF_TEXT_ID;
use crate::model::sampling::logprobs_of_pairs;
use crate::model::tokenizer::Tokenizer;
use crate::store::atomic::write_atomic_with;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::Value;
use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

/// Lines held at once.
const LINES: usize = 512;
/// UTF-8's.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// How every file that this command has written begins.
const OUTPUT_START: &[u8] = b"{\"logprobs\":";

#[derive(Args)]
#[command(
    after_help = "Each line of FILE is {\"query\": ..., \"response\": ...}, both as text or as a list of token ids; other keys are ignored. Each line of output is {\"logprobs\": [...]}: log π(response[t] | query, response[..t]) in nats, one number per response token, the logits divided by the temperature as they are in training. Lines may have any lengths.\n\nExamples:\n  runner logprobs --model results/mine/models/reference --input pairs.jsonl > out.jsonl\n  echo '{\"query\": \"I went to the\", \"response\": \" park.\"}' | runner logprobs --model DIR --input - --temperature 0.7\n  runner sample --model DIR --prompt 'Once' --format json | runner logprobs --model DIR --input -"
)]
pub struct LogprobsArgs {
    /// Model directory: config.json, model.safetensors (or shards), tokenizer.json where lines hold text
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// JSON lines; - is standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Divides the logits, as in the policy
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = temperature)]
    temperature: f64,
    /// auto, cpu, wgpu or wgpu:N (see `runner doctor`)
    #[arg(long, value_name = "D", default_value = "auto")]
    device: String,
    /// Write here (only once every line is done) and not to standard output; of what is there already, only an earlier
    /// output is replaced
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A line of output; float32 are printed with the digits they have.
#[derive(Serialize)]
struct Scored<'a> {
    logprobs: &'a [f32],
}

/// The input with what its error messages and the progress bar need.
struct Lines {
    name: String,
    reader: Box<dyn BufRead>,
    line: usize,
    /// Bytes read so far, and of the whole file where that is known.
    read: u64,
    size: Option<u64>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, CommandFailure> {
        let of = |name, reader, size| Self { name, reader, line: 0, read: 0, size };
        if path == Path::new("-") {
            return Ok(of("<stdin>".into(), Box::new(BufReader::new(io::stdin())), None));
        }
        let name = path.display().to_string();
        let error = |e: io::Error| CommandFailure::Input(format!("{name}: {e}"));
        let file = File::open(path).map_err(error)?;
        let about = file.metadata().map_err(error)?;
        let size = about.is_file().then_some(about.len());
        Ok(of(name, Box::new(BufReader::new(file)), size))
    }

    /// The next line without its end, and without the byte order mark that some editors put before the first.
    fn next(&mut self) -> Result<Option<Vec<u8>>, CommandFailure> {
        let mut bytes = Vec::new();
        let n = self
            .reader
            .read_until(b'\n', &mut bytes)
            .map_err(|e| CommandFailure::Input(format!("{}: {e}", self.name)))?;
        self.line += 1;
        self.read += n as u64;
        while bytes.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            bytes.pop();
        }
        if self.line == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Ok((n > 0).then_some(bytes))
    }

    /// Whether nothing but white space is left to read.
    fn only_blanks_follow(&mut self) -> Result<bool, CommandFailure> {
        while let Some(bytes) = self.next()? {
            if !bytes.trim_ascii().is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How far reading is, on standard error; invisible unless that is a terminal and the results go elsewhere.
    fn bar(&self, out: Option<&Path>) -> ProgressBar {
        let visible = io::stderr().is_terminal() && (out.is_some() || !io::stdout().is_terminal());
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let template =
            if self.size.is_some() { "{bar:30} {percent}% {msg} eta {eta}" } else { "{spinner} {msg} {elapsed}" };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::with_draw_target(self.size, target).with_style(style)
    }
}

/// The model and what reads a line for it.
struct Reader<'a> {
    dir: &'a Path,
    context: usize,
    vocab: usize,
    /// Read when the first text comes: ids need none.
    tokenizer: OnceCell<Tokenizer>,
}

impl Reader<'_> {
    /// Query and response of one line; the message of an error starts with `:column` where that is known.
    fn pair(&self, bytes: &[u8]) -> Result<(Vec<u32>, Vec<u32>), String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|e| {
            let text = e.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            format!(":{}: not JSON: {text}", e.column())
        })?;
        let pair = (self.ids(&value, "query")?, self.ids(&value, "response")?);
        let length = pair.0.len() + pair.1.len();
        if length > self.context {
            return Err(format!(
                ": query and response have {length} tokens ({} + {}); the model's context is {}",
                pair.0.len(),
                pair.1.len(),
                self.context
            ));
        }
        Ok(pair)
    }

    fn ids(&self, line: &Value, key: &str) -> Result<Vec<u32>, String> {
        let ids = match &line[key] {
            Value::String(text) => self.encode(text).map_err(|e| format!(": `{key}`: {e}"))?,
            Value::Array(ids) => ids
                .iter()
                .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
                .collect::<Option<_>>()
                .ok_or_else(|| format!(": `{key}` holds something that is not a token id"))?,
            Value::Null if line.get(key).is_none() => return Err(format!(": `{key}` is missing")),
            _ => return Err(format!(": `{key}` is neither text nor a list of token ids")),
        };
        if ids.is_empty() {
            let ids = self.tokenizer.get().map_or(END_OF_TEXT_ID, Tokenizer::end_of_text);
            let start = || format!("; [{ids}], the model's end of text, starts from nothing");
            let hint = if key == "query" && (ids as usize) < self.vocab { start() } else { String::new() };
            return Err(format!(": `{key}` is empty{hint}"));
        }
        match ids.iter().find(|id| **id as usize >= self.vocab) {
            Some(id) => Err(format!(": `{key}`: token {id} is outside the model's vocabulary of {}", self.vocab)),
            None => Ok(ids),
        }
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let tokenizer = match self.tokenizer.get() {
            Some(tokenizer) => tokenizer,
            None => {
                let loaded = Tokenizer::load(self.dir).map_err(|e| e.to_string())?;
                self.tokenizer.get_or_init(|| loaded)
            }
        };
        tokenizer.encode(text).map_err(|e| e.to_string())
    }
}

/// Exit code 0 done, 2 for a wrong line or model, 1 where computing or writing fails.
pub fn logprobs(args: &LogprobsArgs) -> i32 {
    super::model::exit_code(run(args))
}

fn run(args: &LogprobsArgs) -> Result<(), CommandFailure> {
    // Input and output first: what is wrong with them should not take as long to see as a large model to load.
    let mut lines = Lines::open(&args.input)?;
    args.out.as_deref().map_or(Ok(()), check_out)?;
    let model = open(&args.model, &args.device)?;
    let bar = lines.bar(args.out.as_deref());
    let result = match &args.out {
        None => score_all(&model, args, &mut lines, &mut io::stdout().lock(), &bar),
        Some(path) => {
            let mut result = Ok(());
            let written = write_atomic_with(path, |file| {
                result = score_all(&model, args, &mut lines, file, &bar);
                result.as_ref().map_or_else(|_| Err(io::Error::other("stopped")), |()| Ok(()))
            });
            let failed = |e: io::Error| CommandFailure::Run(format!("{}: cannot be written: {e}", path.display()));
            match result {
                Err(CommandFailure::Output(e)) => Err(failed(e)),
                result => result.and(written.map_err(failed)),
            }
        }
    };
    bar.finish_and_clear();
    result
}

/// Refuses to put the output in the place of something that is not an earlier output.
fn check_out(path: &Path) -> Result<(), CommandFailure> {
    let refused = |message: String| Err(CommandFailure::Input(format!("--out {}: {message}", path.display())));
    let about = match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return refused(e.to_string()),
        Ok(about) => about,
    };
    if !about.is_file() {
        return refused("is not a file; without --out, results go to standard output".into());
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|f| f.take(OUTPUT_START.len() as u64).read_to_end(&mut start));
    match read {
        Err(e) => refused(e.to_string()),
        Ok(_) if start.is_empty() || start == OUTPUT_START => Ok(()),
        Ok(_) => refused("is there, and `runner logprobs` did not write it; remove it, or choose another name".into()),
    }
}

/// Lines in, lines out, at most [`LINES`] at a time; the results of what came before a wrong line are written.
fn score_all(
    model: &Gpt2,
    args: &LogprobsArgs,
    lines: &mut Lines,
    out: &mut dyn Write,
    bar: &ProgressBar,
) -> Result<(), CommandFailure> {
    let reader = Reader {
        dir: &args.model,
        context: model.dimensions().context,
        vocab: model.vocab(),
        tokenizer: OnceCell::new(),
    };
    loop {
        let (mut pairs, mut wrong) = (Vec::with_capacity(LINES), None);
        let first = lines.line + 1;
        while pairs.len() < LINES {
            let Some(bytes) = lines.next()? else { break };
            let line = lines.line;
            let pair = match bytes.trim_ascii().is_empty() {
                // Blank lines at the end are nothing; others would make output and input lines differ in number.
                true if lines.only_blanks_follow()? => break,
                true => Err(": is blank, but more lines follow; each needs a query and a response".into()),
                false => reader.pair(&bytes),
            };
            match pair {
                Ok(pair) => pairs.push(pair),
                Err(message) => {
                    wrong = Some(CommandFailure::Input(format!("{}:{line}{message}", lines.name)));
                    break;
                }
            }
        }
        let (count, done) = (pairs.len(), pairs.len() < LINES);
        let scored =
            logprobs_of_pairs(model, &pairs, args.temperature).map_err(|e| CommandFailure::Run(e.to_string()))?;
        for (i, logprobs) in scored.into_iter().enumerate() {
            if logprobs.iter().any(|p| !p.is_finite()) {
                let line = first + i;
                return Err(CommandFailure::Run(format!(
                    "{}:{line}: a log-probability is not finite; the weights overflow or hold NaN, or --temperature {} is too extreme for floats",
                    lines.name, args.temperature
                )));
            }
            write_line(out, &Scored { logprobs: &logprobs })?;
        }
        out.flush().map_err(CommandFailure::Output)?;
        bar.set_position(lines.read);
        bar.set_message(format!("{} lines", first - 1 + count));
        if let Some(failure) = wrong {
            return Err(failure);
        }
        if done {
            return Ok(());
        }
    }
}
