//! What a run will take, before it is run: its stages and which of them are done, floating-point operations, time,
//! memory, disk, and what is to be fetched. A suite's plan counts every stage once, whoever needs it.
//! docs/planning.md explains the numbers; `runner plan` prints them.

pub mod device;
mod disk;
pub mod explain;
mod fetch;
pub mod memory;
pub mod ranks;
mod reads;
pub mod room;
pub mod sizes;
mod stages;
pub mod text;
pub mod throughput;
mod together;
pub mod units;
pub mod values;
pub mod work;

pub use fetch::PlannedFetch;
pub use ranks::RanksPlan;
pub use reads::Read;
pub use room::Misfit;
pub use values::PlanValue;

use crate::context::StageError;
use crate::context::progress::{self, Timeline};
use crate::data::files;
use crate::data::formats::Want;
use crate::data::hub::Hub;
use crate::model::memory::Memory;
use crate::spec::{Loaded, Origin, Spec};
use crate::stage::keys::{Keys, Lack};
use crate::store::cache::{Cache, Key};
use crate::suite::LoadedSuite;
use device::Target;
use disk::StageWriter;
use reads::Reads;
use schemars::JsonSchema;
use serde::Serialize;
use sizes::Model;
use std::path::Path;
use throughput::{Throughput, ThroughputPlan};

/// A run to plan: a variant of a spec, with its paths as they are found from here.
#[derive(Debug, Clone)]
pub struct PlannedRun {
    /// Of a suite: the member, with its seed.
    pub member: Option<String>,
    /// `[runs.NAME]`, or `main`.
    pub name: String,
    pub spec: Spec,
    /// The spec says `model.size` or `model.dimensions` itself.
    pub size_given: bool,
}

impl PlannedRun {
    /// The runs of a spec; `variants`: with paths that are found from here.
    pub fn of(loaded: &Loaded, variants: Vec<(String, Spec)>, member: Option<&str>) -> Vec<Self> {
        let given = |(key, origin): (&String, &Origin)| {
            let size = key == "model.size" || key.starts_with("model.dimensions");
            size && *origin != Origin::Default
        };
        let size_given = loaded.origins.iter().any(given);
        let run = |(name, spec)| Self { member: member.map(str::to_string), name, spec, size_given };
        variants.into_iter().map(run).collect()
    }

    /// `MEMBER/NAME`, or the name alone.
    pub fn title(&self) -> String {
        match &self.member {
            Some(member) if self.name == "main" => member.clone(),
            Some(member) => format!("{member}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// The answer to `runner plan`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Plan {
    pub name: String,
    pub device: DevicePlan,
    /// What times are made from.
    pub throughput: ThroughputPlan,
    /// The results directory.
    pub results: String,
    /// The directory of the stage cache.
    pub cache: String,
    pub runs: Vec<RunPlan>,
    /// Each once, in the order in which they are first needed.
    pub stages: Vec<StagePlan>,
    pub totals: Totals,
    /// What is taken from elsewhere, each once.
    pub fetches: Vec<PlannedFetch>,
    /// What becomes of the records of files that are here, each source once.
    pub reads: Vec<Read>,
    /// What keeps the run from starting or its stages from being looked up, each once.
    pub missing: Vec<String>,
    /// Stages that the device has no room for.
    pub misfits: Vec<Misfit>,
    /// Of a spec: its values and where each comes from.
    pub values: Vec<PlanValue>,
}

/// The device of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DevicePlan {
    pub name: String,
    /// Whether it is in this machine; where it is not, nobody knows what is in its cache.
    pub here: bool,
    pub memory_bytes: Option<u64>,
    /// How its memory is known, or why not.
    pub memory_from: String,
}

/// One run of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RunPlan {
    pub name: String,
    /// Of a suite: the member, with its seed.
    pub member: Option<String>,
    pub seed: u64,
    /// ρ's parameters; none where its size is not known.
    pub parameters: Option<f64>,
    /// How they are known, or why not.
    pub model: String,
    /// Bytes in the results directory.
    pub results_bytes: Option<f64>,
    /// Of several ranks, each one's part.
    pub ranks: Option<RanksPlan>,
    /// Indices of its stages in the plan's list.
    pub stages: Vec<usize>,
}

/// Where a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "State")]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    Cached,
    /// A run continues it.
    Begun,
    ToDo,
    /// It depends on answers that people have not given.
    AfterPeople,
    /// What it depends on, or the device, is not here, so that nobody knows whether it is done; counted as to do.
    Unknown,
}

/// One stage of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StagePlan {
    pub stage: String,
    /// Name in the cache; none where it depends on what is not here.
    pub key: Option<String>,
    pub state: StageState,
    /// In a run with rounds, which one this is.
    pub round: Option<usize>,
    /// Sizes in words: "11520 episodes in 180 updates".
    pub what: String,
    /// Floating-point operations; none where they are not known.
    pub flops: Option<f64>,
    pub seconds: Option<f64>,
    /// Bytes at the peak.
    pub memory_bytes: Option<f64>,
    pub memory: Option<Memory>,
    /// Bytes of the largest single array; of a GPU.
    pub largest_buffer_bytes: Option<f64>,
    /// Bytes that it leaves in the cache, and that it has there beside them while it works.
    pub disk_bytes: Option<f64>,
    pub disk_while_running_bytes: Option<f64>,
    /// Why a number is not known.
    pub unknown: Option<String>,
    /// Indices of the runs that need it.
    pub runs: Vec<usize>,
}

/// Sums over distinct stages.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Totals {
    pub runs: usize,
    pub members: Option<usize>,
    pub seeds: Option<usize>,
    pub stages: usize,
    pub cached: usize,
    /// Of all stages, and of those that are not done; both without stages whose operations are not known.
    pub flops: f64,
    pub flops_to_do: f64,
    /// What sharing saves: operations of stages that several runs need, for all of these but the first.
    pub flops_shared: f64,
    /// Stages to do whose operations are not known: the sums are lower bounds.
    pub unknown: usize,
    /// None where the device's speed is not known.
    pub seconds_to_do: Option<f64>,
    /// The most that a stage to do needs; none where no stage's memory is known.
    pub memory_bytes: Option<f64>,
    /// The stage that needs it.
    pub memory_stage: Option<String>,
    /// What stages to do leave in the cache, the most that one has there beside it while it works, and results.
    pub cache_bytes: f64,
    pub cache_while_running_bytes: f64,
    pub results_bytes: f64,
    /// Of what is not here; the sizes that are known.
    pub fetch_bytes: f64,
    /// How many of those have no known size.
    pub fetch_unknown: usize,
}

/// Where a plan's runs go, and what on.
pub struct PlanPlace<'a> {
    pub name: &'a str,
    pub out: &'a Path,
    pub cache: &'a Cache,
    pub target: &'a Target,
    pub throughput: &'a Throughput,
}

/// A run with what its stages are named by, as far as that is known, which takes reading all that it starts from.
struct KnownRun<'a> {
    run: &'a PlannedRun,
    keys: Keys,
    lacks: Vec<Lack>,
    /// ρ's sizes, or why they are not known.
    model: Result<Model, String>,
}

impl<'a> KnownRun<'a> {
    fn of(run: &'a PlannedRun, device_kind: &str) -> Result<Self, StageError> {
        let mut lacks = Vec::new();
        let keys = Keys::planned(&run.spec, &run.name, device_kind, &mut lacks)?;
        Ok(Self { run, keys, lacks, model: sizes::reference(&run.spec, run.size_given) })
    }
}

/// A stage while the plan is made.
struct Planned {
    key: Key,
    plan: StagePlan,
}

/// The plan of some runs.
pub fn plan(place: &PlanPlace<'_>, runs: &[PlannedRun]) -> Result<Plan, StageError> {
    let mut all: Vec<Planned> = Vec::new();
    let (mut run_plans, mut missing, mut fetches, mut misfits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut reads = Reads::default();
    // Keys of a device that is not here still say which runs share what.
    let kind = place.target.kind.as_deref().unwrap_or("a device that is not here");
    let known = runs.iter().map(|run| KnownRun::of(run, kind)).collect::<Result<Vec<_>, _>>()?;
    for (index, KnownRun { run, keys, lacks, model }) in known.iter().enumerate() {
        add(&mut missing, paths_to_give(&run.spec));
        add(&mut missing, place.target.without_half.clone().filter(|_| !run.spec.model.precision.is_f32()));
        add(&mut missing, lacks.iter().filter(|l| !l.waits).map(|l| l.why.clone()));
        add(&mut fetches, fetch::fetches(&run.spec));
        reads.add(&run.spec, keys, place.cache);
        let mut stages = Vec::new();
        for item in stages::items(&run.spec, keys) {
            let known = all.iter().position(|planned| planned.key == item.key);
            let at = known.unwrap_or_else(|| {
                let plan = stage_plan(place, run, model, &item, lacks);
                all.push(Planned { key: item.key.clone(), plan });
                all.len() - 1
            });
            all[at].plan.runs.push(index);
            stages.push(at);
        }
        run_plans.push(run_plan(run, model, place.target.ranks, stages));
        if let Ok(model) = &model {
            let left = |stage: &str| left_to_do(&all, index, stage);
            add(&mut misfits, room::misfits(run, model, place.target, &left));
        }
    }
    together::add(place, &known, &mut all, &mut run_plans)?;
    add(&mut missing, reads.problems);
    let stages: Vec<StagePlan> = all.into_iter().map(|planned| planned.plan).collect();
    let totals = totals(&run_plans, &stages, &fetches);
    Ok(Plan {
        name: place.name.into(),
        device: DevicePlan {
            name: place.target.name.clone(),
            here: place.target.kind.is_some(),
            memory_bytes: place.target.memory,
            memory_from: place.target.memory_from.into(),
        },
        throughput: place.throughput.plan(),
        results: place.out.display().to_string(),
        cache: place.cache.root().display().to_string(),
        runs: run_plans,
        stages,
        totals,
        fetches,
        reads: reads.all,
        missing,
        misfits,
        values: Vec::new(),
    })
}

/// The plan of a suite: that of all its runs, and how many members and seeds they are.
pub fn plan_suite(place: &PlanPlace<'_>, suite: &LoadedSuite, runs: &[PlannedRun]) -> Result<Plan, StageError> {
    let mut plan = plan(place, runs)?;
    let mut members: Vec<&str> = suite.members.iter().map(|m| m.name.as_str()).collect();
    members.dedup();
    plan.totals.members = Some(members.len());
    plan.totals.seeds = Some(suite.suite.seeds.len());
    Ok(plan)
}

/// What runs will do, for the time that is left while they do it; without what depends on answers or files that are not
/// here.
pub fn timeline(runs: &[PlannedRun], device_kind: &str) -> Timeline {
    let known: Vec<KnownRun<'_>> = runs.iter().filter_map(|run| KnownRun::of(run, device_kind).ok()).collect();
    let mut all = Vec::new();
    let mut add = |of: &KnownRun<'_>, item: &stages::StageItem| {
        let work = of.model.as_ref().ok().and_then(|model| item.work(&of.run.spec, model).ok());
        let work = work.map_or(f64::NAN, |work| work.total());
        all.push(progress::Planned { key: item.key.to_string(), stage: item.key.stage, work });
    };
    for of in &known {
        let lacking = |item: &stages::StageItem| of.lacks.iter().any(|lack| item.depends_on(lack));
        stages::items(&of.run.spec, &of.keys).iter().filter(|item| !lacking(item)).for_each(|item| add(of, item));
    }
    let shown = together::together(&known).unwrap_or_default();
    shown.iter().filter(|shown| shown.lacks.is_empty()).for_each(|shown| add(&known[shown.last], &shown.item));
    Timeline::new(all)
}

/// Files of the user that the spec leaves open, or that cannot be used.
fn paths_to_give(spec: &Spec) -> Vec<String> {
    let mut data = vec![(&spec.task.data, Want::Documents)];
    if spec.has_classifier() {
        data.push((&spec.labeler.reviews, Want::Reviews));
    }
    let given = data.into_iter().filter(|(source, _)| source.path.is_some());
    given
        .filter_map(|(source, want)| files::resolve(source, want, Hub::from_env).err())
        .map(|e| e.to_string())
        .collect()
}

/// What is new.
fn add<T: PartialEq>(all: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for one in more {
        if !all.contains(&one) {
            all.push(one);
        }
    }
}

/// Whether a run has a stage of this name that is not done.
fn left_to_do(all: &[Planned], run: usize, stage: &str) -> bool {
    all.iter().any(|p| p.plan.stage == stage && p.plan.state != StageState::Cached && p.plan.runs.contains(&run))
}

fn run_plan(run: &PlannedRun, model: &Result<Model, String>, ranks: usize, stages: Vec<usize>) -> RunPlan {
    let results = model.as_ref().ok().map(|model| StageWriter { spec: &run.spec, model }.results());
    RunPlan {
        name: run.name.clone(),
        member: run.member.clone(),
        seed: run.spec.seed,
        parameters: model.as_ref().ok().map(Model::parameters),
        model: match model {
            Ok(model) => format!("{} parameters, {}", units::parameters(model.parameters()), model.from),
            Err(why) => why.clone(),
        },
        results_bytes: results,
        ranks: model.as_ref().ok().and_then(|model| RanksPlan::of(&run.spec, model, ranks)),
        stages,
    }
}

fn stage_plan(
    place: &PlanPlace<'_>,
    run: &PlannedRun,
    model: &Result<Model, String>,
    item: &stages::StageItem,
    lacks: &[Lack],
) -> StagePlan {
    let lack = lacks.iter().find(|lack| item.depends_on(lack));
    let state = match (lack, place.target.kind.is_some()) {
        (Some(Lack { waits: true, .. }), _) => StageState::AfterPeople,
        (Some(_), _) | (None, false) => StageState::Unknown,
        (None, true) if place.cache.has(&item.key) => StageState::Cached,
        (None, true) if place.cache.has_begun(&item.key) => StageState::Begun,
        (None, true) => StageState::ToDo,
    };
    let known = lack.is_none() && place.target.kind.is_some();
    let mut plan = StagePlan {
        stage: item.key.stage.into(),
        key: known.then(|| item.key.to_string()),
        state,
        round: item.round,
        what: item.what(&run.spec),
        flops: None,
        seconds: None,
        memory_bytes: None,
        memory: None,
        largest_buffer_bytes: None,
        disk_bytes: None,
        disk_while_running_bytes: None,
        unknown: None,
        runs: Vec::new(),
    };
    let model = match model {
        Ok(model) => model,
        Err(why) => {
            plan.unknown = Some(why.clone());
            return plan;
        }
    };
    match item.work(&run.spec, model) {
        Ok(work) => {
            plan.flops = Some(work.total());
            let alone = place.throughput.seconds(&work, item.width(&run.spec, model));
            plan.seconds = alone.map(|seconds| seconds / place.target.ranks as f64);
        }
        Err(why) => plan.unknown = Some(why),
    }
    let peak = item.memory(&run.spec, model, (place.target.hardware, place.target.ranks));
    plan.memory_bytes = Some(peak.memory.total());
    plan.memory = Some(peak.memory);
    plan.largest_buffer_bytes = (peak.largest_buffer > 0.0).then_some(peak.largest_buffer);
    let disk = item.disk(&run.spec, model);
    (plan.disk_bytes, plan.disk_while_running_bytes) = (Some(disk.kept), Some(disk.while_running));
    plan
}

fn totals(runs: &[RunPlan], stages: &[StagePlan], fetches: &[PlannedFetch]) -> Totals {
    let to_do: Vec<&StagePlan> = stages.iter().filter(|s| s.state != StageState::Cached).collect();
    let sum = |of: &dyn Fn(&StagePlan) -> f64, stages: &[&StagePlan]| stages.iter().map(|s| of(s)).sum::<f64>();
    let all: Vec<&StagePlan> = stages.iter().collect();
    let flops = |s: &StagePlan| s.flops.unwrap_or(0.0);
    // Stages whose operations are not known have no time either, and the sum is a lower bound as that of operations is.
    let timed: Vec<f64> = to_do.iter().filter(|s| s.flops.is_some()).map(|s| s.seconds.unwrap_or(f64::NAN)).collect();
    let seconds: f64 = timed.iter().sum();
    let largest = to_do.iter().filter_map(|s| Some((s.memory_bytes?, &s.stage))).max_by(|a, b| a.0.total_cmp(&b.0));
    let absent: Vec<&PlannedFetch> = fetches.iter().filter(|f| !f.present).collect();
    Totals {
        runs: runs.len(),
        members: None,
        seeds: None,
        stages: stages.len(),
        cached: stages.len() - to_do.len(),
        flops: sum(&flops, &all),
        flops_to_do: sum(&flops, &to_do),
        flops_shared: sum(&|s| flops(s) * (s.runs.len() - 1) as f64, &all),
        unknown: to_do.iter().filter(|s| s.flops.is_none()).count(),
        seconds_to_do: (!seconds.is_nan()).then_some(seconds),
        memory_bytes: largest.map(|(bytes, _)| bytes),
        memory_stage: largest.map(|(_, stage)| stage.clone()),
        cache_bytes: sum(&|s| s.disk_bytes.unwrap_or(0.0), &to_do),
        cache_while_running_bytes: to_do.iter().filter_map(|s| s.disk_while_running_bytes).fold(0.0, f64::max),
        results_bytes: results_bytes(runs, stages),
        fetch_bytes: absent.iter().filter_map(|f| f.bytes).sum::<u64>() as f64,
        fetch_unknown: absent.iter().filter(|f| f.bytes.is_none()).count(),
    }
}

/// Each run's own, and for each results directory ρ and the model that it was fine-tuned to.
fn results_bytes(runs: &[RunPlan], stages: &[StagePlan]) -> f64 {
    let mut seen: Vec<&Option<String>> = Vec::new();
    let mut bytes = 0.0;
    for run in runs {
        bytes += run.results_bytes.unwrap_or(0.0);
        if seen.contains(&&run.member) {
            continue;
        }
        seen.push(&run.member);
        let copies = |stage: &&StagePlan| ["pretrain", "import", "supervised"].contains(&stage.stage.as_str());
        bytes += run.stages.iter().map(|i| &stages[*i]).filter(copies).filter_map(|s| s.disk_bytes).sum::<f64>();
    }
    bytes
}

#[cfg(test)]
mod tests;
