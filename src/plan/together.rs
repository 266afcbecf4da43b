//! What the policies of one experiment's runs make together: the curve of figure 3.

use super::{KnownRun, PlanPlace, Planned, RunPlan, stage_plan, stages};
use crate::context::StageError;
use crate::spec::Spec;
use crate::stage::experiment::frontier_runs;
use crate::stage::keys::{Keys, Lack};

/// What the policies of each experiment's runs show together stands with the last of them, after which it is made.
pub fn add(
    place: &PlanPlace<'_>,
    runs: &[KnownRun<'_>],
    all: &mut Vec<Planned>,
    run_plans: &mut [RunPlan],
) -> Result<(), StageError> {
    for Together { last, item, lacks } in together(runs)? {
        if all.iter().any(|planned| planned.key == item.key) {
            continue;
        }
        let mut plan = stage_plan(place, runs[last].run, &runs[last].model, &item, &lacks);
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
pub fn together(runs: &[KnownRun<'_>]) -> Result<Vec<Together>, StageError> {
    let mut found = Vec::new();
    let mut begin = 0;
    for experiment in runs.chunk_by(|a, b| a.run.member == b.run.member) {
        let variants: Vec<(String, Spec)> =
            experiment.iter().map(|of| (of.run.name.clone(), of.run.spec.clone())).collect();
        let names: Vec<&String> = frontier_runs(&variants).into_iter().map(|(name, _)| name).collect();
        let places: Vec<usize> = (0..experiment.len()).filter(|i| names.contains(&&variants[*i].0)).collect();
        if let (Some(first), Some(last)) = (places.first(), places.last()) {
            let keys: Vec<&Keys> = places.iter().map(|i| &experiment[*i].keys).collect();
            let lacks = places.iter().flat_map(|i| experiment[*i].lacks.clone()).collect();
            let item = stages::frontier(&variants[*first].1, &keys)?;
            found.extend(item.map(|item| Together { last: begin + last, item, lacks }));
        }
        begin += experiment.len();
    }
    Ok(found)
}
