//! What the policies of one experiment's runs make together: the curve of figure 3.

use super::{PlanPlace, Planned, PlannedRun, RunPlan, sizes, stage_plan, stages};
use crate::context::StageError;
use crate::spec::Spec;
use crate::stage::experiment::frontier_runs;
use crate::stage::keys::{Keys, Lack};

/// What the policies of each experiment's runs show together stands with the last of them, after which it is made.
pub fn add(
    place: &PlanPlace<'_>,
    runs: &[PlannedRun],
    all: &mut Vec<Planned>,
    run_plans: &mut [RunPlan],
) -> Result<(), StageError> {
    let kind = place.target.kind.as_deref().unwrap_or("a device that is not here");
    for Together { last, item, lacks } in together(runs, kind)? {
        if all.iter().any(|planned| planned.key == item.key) {
            continue;
        }
        let run = &runs[last];
        let mut plan = stage_plan(place, run, &sizes::reference(&run.spec, run.size_given), &item, &lacks);
        plan.runs.push(last);
        run_plans[last].stages.push(all.len());
        all.push(Planned { key: item.key.clone(), plan });
    }
    Ok(())
}

/// A stage of several runs, the last of which it follows, and what they lack.
pub struct Together {
    pub last: usize,
    pub item: stages::StageItem,
    pub lacks: Vec<Lack>,
}

/// What the policies of each experiment's runs show together.
pub fn together(runs: &[PlannedRun], device_kind: &str) -> Result<Vec<Together>, StageError> {
    let mut found = Vec::new();
    let mut begin = 0;
    for experiment in runs.chunk_by(|a, b| a.member == b.member) {
        let variants: Vec<(String, Spec)> = experiment.iter().map(|run| (run.name.clone(), run.spec.clone())).collect();
        let mut lacks = Vec::new();
        let shown = frontier_runs(&variants).into_iter();
        let keys = shown.map(|(run, spec)| Keys::planned(spec, run, device_kind, &mut lacks));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let last = variants.iter().rposition(|variant| frontier_runs(&variants).contains(&variant));
        if let (Some(last), Some((_, spec))) = (last, frontier_runs(&variants).first())
            && let Some(item) = stages::frontier(spec, &keys)?
        {
            found.push(Together { last: begin + last, item, lacks });
        }
        begin += experiment.len();
    }
    Ok(found)
}
