//! What is drawn of the summaries of a task: the writers' measures, over members and seeds.

use crate::report::text_plots::{Series, color_of, spread};
use crate::results::{Estimate, Writer};
use crate::suite::results::{MemberResults, SuiteResults};

/// The writers of a task: lead-3, the reference summaries and ρ once, then every member.
pub(super) fn series(results: &SuiteResults, task: &str) -> Vec<Series> {
    let mut models = 0;
    let mut found = Vec::new();
    let of_task: Vec<&MemberResults> = results.members.iter().filter(|m| m.task().as_deref() == Some(task)).collect();
    for (writer, name) in
        [(Writer::Lead3, "lead-3"), (Writer::Summary, "reference summaries"), (Writer::Reference, "zero-shot")]
    {
        let members: Vec<&MemberResults> = of_task.iter().copied().filter(|m| usable(m, writer)).collect();
        found.extend(pooled(&first_of_each_seed(&members), writer, name.into(), &mut models));
    }
    for name in results.of_task(task) {
        let members: Vec<&MemberResults> = of_task.iter().copied().filter(|m| m.name == name).collect();
        found.extend(pooled(&members, Writer::Policy, results.label(name), &mut models));
    }
    found
}

/// ρ of a member whose RL started from a supervised model is that model.
fn usable(member: &MemberResults, writer: Writer) -> bool {
    use crate::spec::{CollectSchedule, SupervisedOn};
    let from_rho = |s: &crate::spec::Spec| {
        s.supervised.on != SupervisedOn::Summaries || s.collect.schedule == CollectSchedule::None
    };
    member.texts(writer).is_some() && (writer != Writer::Reference || member.spec().is_some_and(from_rho))
}

fn first_of_each_seed<'a>(members: &[&'a MemberResults]) -> Vec<&'a MemberResults> {
    let mut seeds = Vec::new();
    members
        .iter()
        .copied()
        .filter(|m| {
            let new = !seeds.contains(&m.seed);
            seeds.push(m.seed);
            new
        })
        .collect()
}

/// One writer's measures over seeds: the mean of means with the interval of their spread, positions summed.
fn pooled(members: &[&MemberResults], writer: Writer, name: String, models: &mut usize) -> Option<Series> {
    let texts: Vec<_> = members.iter().filter_map(|m| m.texts(writer)).filter(|t| t.copying.is_some()).collect();
    let color = if texts.is_empty() { return None } else { color_of(writer, models) };
    if let [one] = texts[..] {
        return Some(Series::new(name, color, one));
    }
    let all: Vec<Series> = texts.iter().map(|t| Series::new(name.clone(), color, t)).collect();
    let mean = |i: usize| {
        let values: Vec<f64> = all.iter().filter_map(|s| Some(s.novelty[i]?.mean)).collect();
        let n = all.iter().filter_map(|s| Some(s.novelty[i]?.n)).sum();
        let (mean, low, high) = crate::metric::interval::mean_interval(&values);
        let known = |v: f64| v.is_finite().then_some(v.clamp(0.0, 1.0));
        (!values.is_empty()).then(|| Estimate { mean, low: known(low), high: known(high), n })
    };
    let parts = texts.iter().filter_map(|t| Some(t.copying.as_ref()?.span_positions.len())).max().unwrap_or(0);
    let count = |i: usize| texts.iter().filter_map(|t| t.copying.as_ref()?.span_positions.get(i)).sum::<u64>();
    let counts: Vec<u64> = (0..parts).map(count).collect();
    let positions = spread(&counts, texts.iter().map(|t| t.n).sum());
    Some(Series { name, color, writer, novelty: std::array::from_fn(mean), positions })
}
