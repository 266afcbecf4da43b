//! Whether a device has room for a run, and if not, which key makes it fit.

use super::device::Target;
use super::memory::{Gauge, Hardware, Peak};
use super::sizes::{Model, is_given, reference};
use super::stages::items;
use super::units::bytes;
use super::{PlannedRun, units};
use crate::labeler::rounds::rounds;
use crate::spec::{Spec, SupervisedOn};
use crate::stage::keys::Keys;
use crate::store::cache::Cache;
use schemars::JsonSchema;
use serde::Serialize;

/// A stage that the device has no room for.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Misfit {
    /// The run, with its member.
    pub run: String,
    pub stage: String,
    /// Bytes that it needs at its peak, or in one array.
    pub needed_bytes: f64,
    /// Bytes that there are.
    pub limit_bytes: f64,
    /// What is too small.
    pub limit: Limit,
    /// What makes it fit.
    pub fix: String,
}

/// What a device has too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    Memory,
    /// A kernel reads arrays up to a size that the driver sets.
    Buffer,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (needed, limit) = (bytes(self.needed_bytes), bytes(self.limit_bytes));
        match self.limit {
            Limit::Memory => write!(f, "{}: {} needs {needed} of memory, and there are {limit}", self.run, self.stage)?,
            Limit::Buffer => write!(
                f,
                "{}: {} needs an array of {needed}, and this device's driver takes at most {limit}",
                self.run, self.stage
            )?,
        }
        write!(f, "; {}", self.fix)
    }
}

/// A key that decides how much is in memory at once.
struct Lever {
    key: &'static str,
    now: usize,
    /// It cannot be less.
    least: usize,
    set: fn(&mut Spec, usize),
}

/// The keys that matter for a stage, the one that changes least about the experiment first.
fn levers(spec: &Spec, stage: &str) -> Vec<Lever> {
    let lever = |key, now, least, set| Lever { key, now, least, set };
    match stage {
        "evaluate" => vec![lever("evaluate.optimum_samples", spec.evaluate.optimum_samples, 2, |s, n| {
            s.evaluate.optimum_samples = n;
        })],
        "classifier" => {
            vec![lever("labeler.classifier.batch_size", spec.labeler.classifier.batch_size, 1, |s, n| {
                s.labeler.classifier.batch_size = n;
            })]
        }
        "supervised" => {
            let mut all = vec![lever("supervised.batch_size", spec.supervised.batch_size, 1, |s, n| {
                s.supervised.batch_size = n;
            })];
            if spec.supervised.on == SupervisedOn::Text {
                all.push(lever("supervised.sequence_length", spec.supervised.sequence_length, 2, |s, n| {
                    s.supervised.sequence_length = n;
                }));
            }
            all
        }
        "pretrain" => spec.model.weights.pretrain.as_ref().map_or_else(Vec::new, |pretrain| {
            vec![
                lever("model.weights.pretrain.batch_size", pretrain.batch_size, 1, |s, n| {
                    s.model.weights.pretrain.iter_mut().for_each(|p| p.batch_size = n);
                }),
                lever("model.weights.pretrain.sequence_length", pretrain.sequence_length, 2, |s, n| {
                    s.model.weights.pretrain.iter_mut().for_each(|p| p.sequence_length = n);
                }),
            ]
        }),
        _ => Vec::new(),
    }
}

/// The names of a spec's stages, and the most that each needs in any round.
fn peaks(spec: &Spec, model: &Model, by: (Hardware, usize)) -> Vec<(&'static str, Peak)> {
    let gauge = Gauge::new(spec, model, by);
    let round = rounds(spec).len();
    let mut all = match is_given(spec) {
        true => vec![("import", gauge.import())],
        false => vec![("pretrain", gauge.pretrain())],
    };
    if spec.supervised.on != SupervisedOn::Nothing {
        all.push(("supervised", gauge.supervised()));
    }
    if spec.has_classifier() {
        all.push(("classifier", gauge.classifier()));
    }
    if spec.has_labels() {
        all.push(("labels", gauge.labels(round)));
    }
    if spec.learns_reward() {
        all.push(("reward", gauge.reward(round)));
    }
    if spec.has_rl() {
        all.push(("policy", if spec.has_dpo() { gauge.dpo() } else { gauge.policy() }));
    }
    all.push(("evaluate", gauge.evaluate()));
    all
}

fn peak_of(spec: &Spec, model: &Model, by: (Hardware, usize), stage: &str) -> Option<Peak> {
    peaks(spec, model, by).into_iter().find(|(name, _)| *name == stage).map(|(_, peak)| peak)
}

/// Stages of a run that a device has no room for. `left`: whether a stage of this name is still to be done.
pub fn misfits(run: &PlannedRun, model: &Model, target: &Target, left: &dyn Fn(&str) -> bool) -> Vec<Misfit> {
    let mut all = Vec::new();
    for (stage, peak) in peaks(&run.spec, model, (target.hardware, target.ranks)) {
        let Some((limit, needed, limit_bytes)) = lacking(&peak, target) else { continue };
        if left(stage) {
            let fix = fix(&run.spec, model, target, stage, &peak);
            let (run, stage) = (run.title(), stage.into());
            all.push(Misfit { run, stage, needed_bytes: needed, limit_bytes, limit, fix });
        }
    }
    all
}

/// What is too small for a peak: what is needed, and what there is.
fn lacking(peak: &Peak, target: &Target) -> Option<(Limit, f64, f64)> {
    let total = peak.memory.total();
    let over = |needed: f64, limit: Option<u64>| limit.map(|l| l as f64).filter(|limit| needed > *limit);
    over(total, target.memory)
        .map(|limit| (Limit::Memory, total, limit))
        .or_else(|| over(peak.largest_buffer, target.largest_buffer).map(|l| (Limit::Buffer, peak.largest_buffer, l)))
}

/// What makes a stage fit: a key halved until it does, fewer threads on the CPU, the CPU in place of a GPU, or what
/// must give way where none of it helps.
fn fix(spec: &Spec, model: &Model, target: &Target, stage: &str, peak: &Peak) -> String {
    let mut ways = Vec::new();
    if let Hardware::Cpu { threads } = target.hardware {
        let fewer = (1..threads).rev().find_map(|threads| {
            let peak = peak_of(spec, model, (Hardware::Cpu { threads }, target.ranks), stage)?;
            lacking(&peak, target).is_none().then(|| (threads, peak.memory.total()))
        });
        ways.extend(fewer.map(|(threads, total)| format!("--threads {threads} ({})", bytes(total))));
    }
    for lever in levers(spec, stage) {
        ways.extend(halved(spec, model, target, stage, &lever));
    }
    if matches!(target.hardware, Hardware::Gpu(_)) {
        let cpu = Hardware::Cpu { threads: rayon::current_num_threads() };
        let total = peak_of(spec, model, (cpu, target.ranks), stage).map_or(f64::INFINITY, |peak| peak.memory.total());
        let fits = super::device::machine_memory().is_none_or(|has| total <= has as f64);
        ways.extend(fits.then(|| format!("--device cpu ({})", bytes(total))));
    }
    match ways.is_empty() {
        false => format!("what makes it fit: {}", ways.join(", or ")),
        true => format!(
            "no batch is small enough ({} of it are weights, gradients and Adam of {} parameters): take a smaller model (model.size, model.weights), shorter texts (task.query_length), or a device with more memory",
            bytes(peak.memory.weights + peak.memory.gradients + peak.memory.adam),
            units::parameters(model.parameters())
        ),
    }
}

fn halved(spec: &Spec, model: &Model, target: &Target, stage: &str, lever: &Lever) -> Option<String> {
    let mut value = lever.now;
    // An odd batch would no longer divide the episodes.
    while value.is_multiple_of(2) && value / 2 >= lever.least.max(1) {
        value /= 2;
        let mut spec = spec.clone();
        (lever.set)(&mut spec, value);
        let peak = peak_of(&spec, model, (target.hardware, target.ranks), stage)?;
        if lacking(&peak, target).is_none() {
            return Some(format!("{} = {value} instead of {} ({})", lever.key, lever.now, bytes(peak.memory.total())));
        }
    }
    None
}

/// Refuses runs that a device has no room for: a message with the key that makes each fit. Stages that are done need
/// none.
pub fn check(runs: &[PlannedRun], cache: &Cache, target: &Target) -> Result<(), String> {
    let mut found: Vec<Misfit> = Vec::new();
    for run in runs {
        // What has no known size is for its stage to say.
        let Ok(model) = reference(&run.spec, run.size_given) else { continue };
        if misfits(run, &model, target, &|_| true).is_empty() {
            continue;
        }
        // Only now: keys read whole files.
        let kind = target.kind.as_deref().unwrap_or_default();
        let keys = Keys::planned(&run.spec, &run.name, kind, &mut Vec::new());
        let to_do: Vec<&'static str> = match &keys {
            Ok(keys) => {
                items(&run.spec, keys).iter().map(|i| &i.key).filter(|k| !cache.has(k)).map(|k| k.stage).collect()
            }
            Err(_) => continue,
        };
        super::add(&mut found, misfits(run, &model, target, &|stage| to_do.contains(&stage)));
    }
    if found.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = found.iter().map(Misfit::to_string).collect();
    Err(format!(
        "{} has no room for this run:\n  {}\n`runner plan` shows what every stage needs; --no-memory-check runs all the same",
        target.name,
        lines.join("\n  ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gpu::Limits;
    use serde_json::json;

    fn run(value: serde_json::Value) -> PlannedRun {
        let spec = serde_json::from_value(value).unwrap();
        PlannedRun { member: None, name: "main".into(), spec, size_given: true }
    }

    fn on(hardware: Hardware, memory: u64) -> Target {
        Target {
            name: "a test".into(),
            hardware,
            ranks: 1,
            kind: Some("test".into()),
            memory: Some(memory),
            memory_from: "",
            largest_buffer: None,
            measured_as: None,
        }
    }

    fn offline(batch: usize) -> PlannedRun {
        run(json!({
            "spec_version": 1, "name": "t", "model": { "weights": { "hf": "openai-community/gpt2" } },
            "task": { "query_length": 64, "response_length": 24 }, "labeler": { "kind": "recorded" },
            "policy": { "batch_size": batch, "episodes": batch },
        }))
    }

    fn found(run: &PlannedRun, target: &Target) -> Vec<Misfit> {
        misfits(run, &reference(&run.spec, true).unwrap(), target, &|_| true)
    }

    /// A card of this many bytes.
    fn card(memory: u64) -> Target {
        on(Hardware::Gpu(Limits::known(Some(memory), None)), memory)
    }

    #[test]
    fn any_batch_fits_a_card_that_has_room_for_the_model() {
        for batch in [512, 100_000] {
            assert_eq!(found(&offline(batch), &card(24_000_000_000)), []);
            assert_eq!(found(&offline(batch), &card(8_000_000_000)), []);
        }
        let none = found(&offline(512), &card(2_000_000_000));
        let policy = none.iter().find(|m| m.stage == "policy").unwrap();
        assert_eq!(policy.limit, Limit::Memory);
        assert!(!policy.fix.contains("batch_size ="), "{policy}");
    }

    #[test]
    fn on_the_cpu_threads_and_samples_help_and_the_batch_does_not() {
        let sixteen = on(Hardware::Cpu { threads: 8 }, 8_000_000_000);
        let policy = found(&offline(512), &sixteen).into_iter().find(|m| m.stage == "policy").unwrap();
        assert!(policy.fix.contains("--threads") && !policy.fix.contains("batch_size"), "{policy}");
        let mut large = offline(512);
        large.spec.evaluate.optimum_samples = 4096;
        let evaluate = found(&large, &sixteen).into_iter().find(|m| m.stage == "evaluate").unwrap();
        assert!(evaluate.fix.contains("evaluate.optimum_samples = "), "{evaluate}");
    }

    #[test]
    fn an_array_that_the_driver_refuses_is_a_misfit_of_its_own() {
        let of = |bytes: u64| {
            let limits = Limits::known(Some(80_000_000_000), Some(bytes));
            let target = Target { largest_buffer: Some(bytes), ..on(Hardware::Gpu(limits), 80_000_000_000) };
            found(&offline(512), &target)
        };
        // Passes are cut to it, down to one row.
        assert_eq!(of(128 << 20), []);
        let misfit = of(1 << 20).into_iter().find(|m| m.stage == "policy").unwrap();
        // The MLP's inside; logits and scores come in pieces.
        assert_eq!((misfit.limit, misfit.needed_bytes), (Limit::Buffer, 4.0 * 88.0 * 4.0 * 768.0));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_way_out() {
        let cache = Cache::new("/nowhere");
        let message = check(&[offline(512)], &cache, &card(2_000_000_000)).unwrap_err();
        assert!(message.contains("policy needs") && message.contains("--no-memory-check"), "{message}");
        assert!(check(&[offline(512)], &cache, &card(80_000_000_000)).is_ok());
    }
}
