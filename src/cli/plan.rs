//! `runner plan`: what a spec or suite will take; src/plan computes, this prints.

use super::{Overrides, chain, print_problems};
use crate::plan::device::Target;
use crate::plan::throughput::Throughput;
use crate::plan::units::parse_bytes;
use crate::plan::{self, Plan, PlanPlace, PlannedRun};
use crate::run::place::{default_out, results_name};
use crate::spec::{Loaded, load};
use crate::store::cache::Cache;
use crate::suite::load::resolved_toml;
use crate::suite::types::Respondents;
use crate::suite::{FileKind, LoadedSuite};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args)]
pub struct PlanArgs {
    /// A spec of an experiment, or of a suite
    #[arg(value_parser = super::spec_path())]
    spec: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    /// auto, cpu, wgpu or wgpu:N; with --memory a GPU need not be in this machine
    #[arg(long, default_value = "auto")]
    device: String,
    /// Memory of the device, such as 80GB or 24GiB (default: what the machine says; wgpu does not say it)
    #[arg(long, visible_alias = "device-memory", value_name = "SIZE", value_parser = parse_bytes)]
    memory: Option<u64>,
    /// Speed of the device in 10¹² operations per second, for times (default: what `runner doctor` measured)
    #[arg(long, value_name = "X", value_parser = parse_tflops)]
    tflops: Option<f64>,
    /// Processes that share a run (docs/mpi.md): memory, times and what is exchanged are of each
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=4096))]
    ranks: u32,
    /// Results directory (default: results/NAME of the spec); the stage cache is beside it
    #[arg(long)]
    out: Option<PathBuf>,
    /// Every value and where it comes from, not only those that are neither defaults nor the preset's
    #[arg(long)]
    values: bool,
    #[arg(long, value_enum, default_value = "text")]
    format: PlanFormat,
}

/// How a plan is printed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum PlanFormat {
    Text,
    /// As schemas/plan.schema.json says
    Json,
}

fn parse_tflops(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0);
    speed.ok_or_else(|| format!("{text:?} is not a speed; write 10¹² operations per second, such as 0.2 or 40"))
}

/// A file that can be planned.
enum Planned {
    Spec(Box<Loaded>),
    Suite(Box<LoadedSuite>),
}

/// Exit code 0, or 2 if the spec or an argument is wrong.
pub fn plan(args: &PlanArgs) -> i32 {
    match planned(args) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("error: {message}");
            2
        }
    }
}

fn planned(args: &PlanArgs) -> Result<i32, String> {
    let options = args.overrides.options(false);
    let loaded = match FileKind::of(&args.spec) {
        FileKind::Suite => crate::suite::load(&args.spec, &crate::suite::load::SuiteOptions::of(&options))
            .map(|s| Planned::Suite(Box::new(s))),
        FileKind::Spec => load(&args.spec, &options).map(|s| Planned::Spec(Box::new(s))),
        FileKind::Paper | FileKind::Sources | FileKind::Cluster => {
            return Err(format!("{} is no spec and no suite; there is nothing to run", args.spec.display()));
        }
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            print_problems(&problems);
            return Ok(2);
        }
    };
    let found = Target::find(&args.device, args.memory).map_err(|e| chain(&e))?;
    let target = Target { ranks: args.ranks as usize, ..found };
    let runs = match &loaded {
        Planned::Spec(loaded) => runs_of(loaded, None),
        Planned::Suite(loaded) => runs_of_suite(loaded),
    };
    runs.iter().try_for_each(|run| plan::ranks::fit(&run.title(), &run.spec, target.ranks))?;
    let throughput = Throughput::of(target.measured_as.as_deref(), args.tflops);
    let name = match &loaded {
        Planned::Spec(loaded) => loaded.spec.name.clone(),
        Planned::Suite(loaded) => loaded.suite.name.clone(),
    };
    let folder = results_name(&name, args.overrides.profile.as_deref(), None);
    let out = args.out.clone().unwrap_or_else(|| default_out(&folder));
    let cache = Cache::beside(&out);
    let place = PlanPlace { name: &name, out: &out, cache: &cache, target: &target, throughput: &throughput };
    let (plan, head) = match &loaded {
        Planned::Spec(loaded) => {
            let mut plan = plan::plan(&place, &runs).map_err(|e| chain(&e))?;
            plan.values = plan::values::of(loaded);
            (plan, String::new())
        }
        Planned::Suite(loaded) => {
            let plan = plan::plan_suite(&place, loaded, &runs).map_err(|e| chain(&e))?;
            let values =
                if args.values { resolved_toml(&loaded.suite, loaded.profile.as_deref()) } else { String::new() };
            (plan, asked(loaded) + &values)
        }
    };
    print(&plan, &head, args)
}

fn print(plan: &Plan, after: &str, args: &PlanArgs) -> Result<i32, String> {
    let text = match args.format {
        PlanFormat::Json => serde_json::to_string_pretty(plan).map_err(|e| e.to_string())? + "\n",
        PlanFormat::Text if after.is_empty() => plan::text::text(plan, args.values),
        PlanFormat::Text => format!("{}\n{after}", plan::text::text(plan, args.values)),
    };
    print!("{text}");
    Ok(0)
}

/// The runs of a spec, or of a member of a suite.
fn runs_of(loaded: &Loaded, member: Option<&str>) -> Vec<PlannedRun> {
    PlannedRun::of(loaded, loaded.variants.clone(), member)
}

fn runs_of_suite(loaded: &LoadedSuite) -> Vec<PlannedRun> {
    loaded.members.iter().flat_map(|member| runs_of(&member.loaded, Some(&member.folder()))).collect()
}

/// Whom a suite asks when its members are done.
fn asked(loaded: &LoadedSuite) -> String {
    if !loaded.suite.makes.asks() {
        return String::new();
    }
    let p = &loaded.suite.preference;
    let by = match (p.kind, &p.judge) {
        (Respondents::Simulated, _) => "simulated labelers",
        (Respondents::Judge, judge) => judge.as_ref().map_or("a language model", |judge| judge.model.as_str()),
        (Respondents::Human, _) => "people",
    };
    let labelers = if p.kind == Respondents::Judge { 1 } else { p.labelers };
    format!(
        "then {by} {} asked: {} comparisons of {} contexts, {} answers each\n",
        if p.kind == Respondents::Judge { "is" } else { "are" },
        loaded.suite.comparisons.len().max(1) * loaded.suite.seeds.len(),
        p.contexts,
        labelers
    )
}
