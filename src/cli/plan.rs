//! `runner plan`: every value of the resolved spec with its origin, the stages, and what they will cost.

use super::print_problems;
use super::run::{default_out, with_paths};
use super::validate::of_suite;
use crate::model::config::read_config;
use crate::model::device::choose;
use crate::model::memory::Shape;
use crate::spec::{Dimensions, LabelerKind, Options, PretrainTokenizer, Spec, SupervisedOn, load};
use crate::stage::chain::RoundKeys;
use crate::stage::experiment::Keys;
use crate::stage::rounds::rounds;
use crate::store::cache::{Cache, Key};
use crate::suite::FileKind;
use crate::suite::load::resolved_toml;
use std::path::Path;

/// Exit code 0, or 2 if the spec is wrong.
pub fn plan(path: &Path, options: &Options, device: &str, out: Option<&Path>) -> i32 {
    match FileKind::of(path) {
        FileKind::Suite => return plan_suite(path, options, device, out),
        FileKind::Paper => {
            eprintln!("error: {} holds the paper's values; there is nothing to run", path.display());
            return 2;
        }
        FileKind::Spec => {}
    }
    let loaded = match load(path, options) {
        Ok(loaded) => loaded,
        Err(problems) => {
            print_problems(&problems);
            return 2;
        }
    };
    let device = match choose(device) {
        Ok(device) => device,
        Err(e) => {
            eprintln!("error: {e}");
            return 2;
        }
    };
    let tree = serde_json::to_value(&loaded.spec).unwrap_or_default();
    println!("# {} (origin of each value on the right)", loaded.spec.name);
    for (key, origin) in &loaded.origins {
        let value = tree.pointer(&format!("/{}", key.replace('.', "/"))).cloned().unwrap_or_default();
        println!("{:<60} # {origin}", format!("{key} = {value}"));
    }
    let out = out.map_or_else(|| default_out(&loaded.spec.name), Path::to_path_buf);
    let cache = Cache::beside(&out);
    println!("\n# device {}, results in {}", device.name, out.display());
    for (name, spec) in &with_paths(&loaded) {
        println!("\n# run {name}");
        let keys = Keys::new(spec, name, &device.kind());
        if let Err(e) = &keys {
            println!("stages cannot be looked up in the cache: {e}");
        }
        let rounds = keys.as_ref().map(|k| k.rounds.clone()).unwrap_or_default();
        let waits = rounds.iter().any(|r| r.labels.is_none());
        let keys: Vec<Key> = keys.map(|k| k.all().into_iter().cloned().collect()).unwrap_or_default();
        for (stage, flops, what) in estimates(spec) {
            // Weights that are given are imported instead of pretrained.
            let state = match keys.iter().find(|k| k.stage == stage || (stage == "pretrain" && k.stage == "import")) {
                Some(_) if rounds.len() > 1 && IN_ROUNDS.contains(&stage) => format!("in {} rounds", rounds.len()),
                Some(key) => state(&cache, Some(key)),
                None if waits && IN_ROUNDS.contains(&stage) => WAITS.into(),
                None => String::new(),
            };
            let work = if flops.is_finite() { format!("{:.3}", flops / 1e12) } else { "?".into() };
            println!("{stage:<12} {work:>9} TFLOP   {what:<32} {state}");
        }
        if rounds.len() > 1 {
            print_rounds(&cache, &rounds, spec.collect.schedule.has_rl());
        }
        let (_, rows, at_once) = training(spec);
        println!(
            "memory       {:>9.2} GB      a PPO update on the CPU, {} threads: minibatches of {rows} rows, {at_once} at once",
            memory(spec) / 1e9,
            rayon::current_num_threads()
        );
    }
    0
}

/// A stage of a suite's members.
struct Planned {
    key: Key,
    flops: f64,
    /// The first member that needs it, and how many more do.
    member: String,
    others: usize,
}

/// The sum over members: every stage once, whoever needs it.
fn plan_suite(path: &Path, options: &Options, device: &str, out: Option<&Path>) -> i32 {
    let loaded = match crate::suite::load(path, &of_suite(options)) {
        Ok(loaded) => loaded,
        Err(problems) => {
            print_problems(&problems);
            return 2;
        }
    };
    let device = match choose(device) {
        Ok(device) => device,
        Err(e) => {
            eprintln!("error: {e}");
            return 2;
        }
    };
    let name = &loaded.suite.name;
    let out = out.map_or_else(|| default_out(name), Path::to_path_buf);
    let cache = Cache::beside(&out);
    print!("{}", resolved_toml(&loaded.suite, loaded.profile.as_deref()));
    println!("\n# {name} makes {}; device {}, results in {}", loaded.suite.makes.word(), device.name, out.display());
    let mut stages: Vec<Planned> = Vec::new();
    let mut largest: f64 = 0.0;
    for member in &loaded.members {
        for (run, spec) in &with_paths(&member.loaded) {
            let keys = match Keys::new(spec, run, &device.kind()) {
                Ok(keys) => keys,
                Err(e) => {
                    println!("{}: stages cannot be looked up in the cache: {e}", member.folder());
                    continue;
                }
            };
            largest = largest.max(memory(spec));
            let estimates = estimates(spec);
            for key in keys.all() {
                let of = |stage: &str| stage == key.stage || (stage == "pretrain" && key.stage == "import");
                let flops = estimates.iter().find(|(stage, ..)| of(stage)).map_or(f64::NAN, |(_, flops, _)| *flops);
                match stages.iter_mut().find(|planned| planned.key == *key) {
                    Some(planned) => planned.others += 1,
                    None => stages.push(Planned { key: key.clone(), flops, member: member.folder(), others: 0 }),
                }
            }
        }
    }
    let (mut to_do, mut cached) = (0.0, 0);
    for Planned { key, flops, member, others } in &stages {
        let state = if cache.has(key) {
            "cached"
        } else if cache.has_begun(key) {
            "begun "
        } else {
            "to do "
        };
        cached += usize::from(cache.has(key));
        to_do += if cache.has(key) || !flops.is_finite() { 0.0 } else { *flops };
        let work = if flops.is_finite() { format!("{:.3}", flops / 1e12) } else { "?".into() };
        let shared = if *others == 0 { String::new() } else { format!(", and {others} more") };
        println!("{state} {work:>9} TFLOP   {:<32} {member}{shared}", key.to_string());
    }
    println!(
        "\n{} runs of {} members; {} stages, {cached} of them cached; {:.3} TFLOP to do; at most {:.2} GB for a PPO update on the CPU",
        loaded.members.len(),
        loaded.suite.members.0.len(),
        stages.len(),
        to_do / 1e12,
        largest / 1e9
    );
    let p = &loaded.suite.preference;
    if loaded.suite.makes.asks() {
        let by = if p.kind == crate::suite::types::Asked::Simulated { "simulated labelers" } else { "people" };
        println!(
            "then {by} are asked: {} comparisons of {} contexts, {} answers each",
            loaded.suite.comparisons.len().max(1) * loaded.suite.seeds.len(),
            p.contexts,
            p.labelers
        );
    }
    0
}

/// Stages that every round has.
const IN_ROUNDS: [&str; 3] = ["labels", "reward", "policy"];
/// What depends on answers that people have not given.
const WAITS: &str = "after people's answers";

/// Where a stage stands.
fn state(cache: &Cache, key: Option<&Key>) -> String {
    match key {
        Some(key) if cache.has(key) => format!("cached {key}"),
        Some(key) if cache.has_begun(key) => format!("begun  {key}"),
        Some(key) => format!("to do  {key}"),
        None => WAITS.into(),
    }
}

/// Labels, r and π of each round.
fn print_rounds(cache: &Cache, rounds: &[RoundKeys], has_rl: bool) {
    for keys in rounds {
        let r = &keys.round;
        println!(
            "round {:<3} labels  {:>7} new, {:>7} in all      {}",
            r.number,
            r.new,
            r.total,
            state(cache, keys.labels.as_ref())
        );
        println!("          reward  {:<28} {}", "from the start, on all", state(cache, keys.reward.as_ref()));
        if has_rl {
            let updates = format!("updates {} to {}", r.from + 1, r.to);
            println!("          policy  {updates:<28} {}", state(cache, keys.policy.as_ref()));
        }
    }
}

/// Weights of the blocks (the embedding's share as LM head is counted where logits are).
fn block_weights(d: &Dimensions) -> f64 {
    12.0 * d.layers as f64 * (d.width * d.width) as f64
}

/// The size of ρ: of the weights' config.json where they are there, else as the spec says.
fn dimensions(spec: &Spec) -> (Dimensions, f64) {
    let config = spec.model.weights.path.as_ref().and_then(|path| read_config(Path::new(path)).ok());
    match (config, &spec.model.weights.pretrain) {
        (Some(config), _) => (config.dimensions, config.vocab as f64),
        (None, Some(p)) if p.tokenizer == PretrainTokenizer::Trained => (spec.model.dimensions(), p.vocabulary as f64),
        _ => (spec.model.dimensions(), 50_257.0),
    }
}

/// Tokens of a query with what surrounds it; a token of prefix or suffix is taken to have three characters.
fn query_tokens(spec: &Spec) -> usize {
    let t = &spec.task;
    t.query_length + (t.query_prefix.len() + t.query_suffix.len()).div_ceil(3)
}

/// (stage, floating-point operations, in words). Forward = 2 per weight and token, backward twice that, plus
/// attention; the LM head at response positions only.
pub(super) fn estimates(spec: &Spec) -> Vec<(&'static str, f64, String)> {
    let (d, vocabulary) = dimensions(spec);
    let t = &spec.task;
    let length = (query_tokens(spec) + t.response_length) as f64;
    let attention = |tokens: f64| 4.0 * d.layers as f64 * d.width as f64 * tokens;
    let body = length * (2.0 * block_weights(&d) + attention(length));
    let head = 2.0 * vocabulary * d.width as f64 * t.response_length as f64;
    let c = &spec.labeler.classifier;
    let (mock, recorded) = (spec.labeler.has_classifier(), spec.labeler.kind == LabelerKind::Recorded);
    let classifier = if mock { length * 2.0 * block_weights(&c.dimensions) } else { 0.0 };
    let mut stages = Vec::new();
    if let Some(p) = &spec.model.weights.pretrain {
        let tokens = (p.steps * p.batch_size * p.sequence_length) as f64;
        let per_token =
            3.0 * (2.0 * block_weights(&d) + attention(p.sequence_length as f64) + 2.0 * vocabulary * d.width as f64);
        stages.push(("pretrain", tokens * per_token, format!("{} steps, {tokens} tokens", p.steps)));
    }
    let s = &spec.supervised;
    if s.on != SupervisedOn::Nothing {
        stages.push((
            "supervised",
            f64::NAN,
            format!("{} learning rate(s), as many steps as the data has", s.lrs.len()),
        ));
    }
    if mock {
        stages.push(("classifier", 3.0 * (c.steps * c.batch_size) as f64 * classifier, format!("{} steps", c.steps)));
    }
    let rounds = rounds(spec);
    if !rounds.is_empty() {
        let labels = spec.collect.labels as f64;
        let all = labels + spec.collect.held_out as f64;
        let work = if recorded { 0.0 } else { 4.0 * all * (body + head + classifier) };
        let what = match spec.labeler.kind {
            LabelerKind::Mock => "comparisons of 4",
            LabelerKind::Recorded => "recorded labels",
            LabelerKind::Simulated => "simulated comparisons of 4",
            LabelerKind::Human => "comparisons of 4 by people",
        };
        stages.push(("labels", work, format!("{labels} {what}")));
        // Every round learns from all labels so far.
        let learned: f64 = rounds.iter().map(|r| r.total as f64).sum();
        stages.push((
            "reward",
            12.0 * learned * spec.reward.epochs as f64 * body,
            format!("{} epoch(s)", spec.reward.epochs),
        ));
    }
    let p = &spec.policy;
    if spec.collect.schedule.has_rl() {
        // Sampling, reference and score passes, then forward and backward per optimisation epoch.
        let episode = 3.0 * body + 2.0 * head + classifier + 3.0 * p.epochs as f64 * (body + head);
        stages.push((
            "policy",
            p.episodes as f64 * episode,
            format!("{} episodes in {} updates", p.episodes, p.episodes / p.batch_size),
        ));
    }
    let e = &spec.evaluate;
    let samples = (2 * e.queries + e.optimum_queries * e.optimum_samples) as f64;
    stages.push(("evaluate", samples * (body + head + classifier), format!("{samples} samples")));
    stages
}

/// Sizes of the policy's training, rows per minibatch, and rows worked on at once where there is no GPU.
fn training(spec: &Spec) -> (Shape, usize, usize) {
    let (dimensions, vocabulary) = dimensions(spec);
    let response = spec.task.response_length;
    let shape = Shape { dimensions, vocab: vocabulary as usize, time: query_tokens(spec) + response, response };
    let rows = spec.policy.batch_size / spec.policy.minibatches;
    (shape, rows, shape.rows().min(rows))
}

/// Bytes of a PPO update, and r_s.
fn memory(spec: &Spec) -> f64 {
    let (shape, rows, _) = training(spec);
    shape.update(rows, rayon::current_num_threads()) + 4.0 * block_weights(&spec.labeler.classifier.dimensions)
}
