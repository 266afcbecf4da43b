//! What a run will have to do, stage by stage: how much of it is left says when it will be done.

use super::plan::estimates;
use crate::spec::Spec;
use crate::stage::experiment::Keys;
use crate::stage::progress::{Planned, Timeline};
use crate::stage::rounds::{rounds, updates};
use crate::store::cache::Key;

/// The stages of all runs of a spec. Those that wait for people's answers are not known yet, and not counted.
pub fn timeline(variants: &[(String, Spec)], device_kind: &str) -> Timeline {
    let stages = variants.iter().flat_map(|(run, spec)| {
        let keys = Keys::new(spec, run, device_kind);
        keys.map(|keys| planned(spec, &keys)).unwrap_or_default()
    });
    Timeline::new(stages.collect::<Vec<Planned>>())
}

fn planned(spec: &Spec, keys: &Keys) -> Vec<Planned> {
    let estimates = estimates(spec);
    let work = |stage: &str| estimates.iter().find(|(name, ..)| *name == stage).map_or(f64::NAN, |(_, work, _)| *work);
    let of = |key: &Key, share: f64| Planned {
        key: key.to_string(),
        stage: key.stage,
        // Reading weights takes a moment.
        work: if key.stage == "import" { 0.0 } else { share * work(key.stage) },
    };
    let all = rounds(spec);
    let learned: f64 = all.iter().map(|round| round.total as f64).sum();
    let mut stages: Vec<Planned> = [Some(&keys.pretrained), keys.supervised.as_ref(), keys.classifier.as_ref()]
        .into_iter()
        .flatten()
        .map(|key| of(key, 1.0))
        .collect();
    for link in &keys.rounds {
        let round = &link.round;
        let shares = [
            round.new as f64 / spec.collect.labels.max(1) as f64,
            round.total as f64 / learned.max(1.0),
            (round.to - round.from) as f64 / updates(spec).max(1) as f64,
        ];
        let keys = [&link.labels, &link.reward, &link.policy];
        stages.extend(keys.into_iter().zip(shares).filter_map(|(key, share)| Some(of(key.as_ref()?, share))));
    }
    stages.extend(keys.policy.iter().chain(&keys.evaluate).map(|key| of(key, 1.0)));
    stages
}
