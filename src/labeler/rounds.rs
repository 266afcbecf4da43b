//! When labels are collected and r is trained again (paper section 2.3; batched: section 4.1). All three schedules are
//! the same chain of rounds, and offline is the one that has a single round: labels, r from ρ on all labels so far, PPO
//! for some updates; labels, r, PPO; and so on.

use crate::rlhf::labels::label_schedule;
use crate::spec::{CollectSchedule, Spec};

/// One training of r and the PPO updates that follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// From 1.
    pub number: usize,
    /// Labels to train on that are new in this round.
    pub new: usize,
    /// Labels to train on so far, this round's included.
    pub total: usize,
    /// PPO updates `from..to` see this round's r.
    pub from: usize,
    /// The first update of the next round.
    pub to: usize,
}

impl Round {
    /// Place of this round's first comparison in the order of queries: the held-out ones of the first round come behind
    /// those that it trains on.
    pub fn first_query(&self, held_out: usize) -> usize {
        if self.number == 1 { 0 } else { held_out + self.total - self.new }
    }
    /// Comparisons asked in this round.
    pub fn asked(&self, held_out: usize) -> usize {
        if self.number == 1 { self.new + held_out } else { self.new }
    }
}

/// Updates of a run; of DPO its steps.
pub fn updates(spec: &Spec) -> usize {
    if spec.has_dpo() {
        let d = spec.policy.dpo();
        return (spec.collect.labels * d.epochs).div_ceil(d.batch_size.max(1));
    }
    spec.policy.episodes / spec.policy.batch_size.max(1)
}

/// The rounds of a spec, in order; none in direct mode, or where r is given. DPO's labels are one round.
pub fn rounds(spec: &Spec) -> Vec<Round> {
    let (labels, updates) = (spec.collect.labels, updates(spec));
    match spec.collect.schedule {
        _ if !spec.has_labels() => Vec::new(),
        CollectSchedule::Batched => batched(spec, updates),
        CollectSchedule::Online => online(spec, updates),
        _ => vec![Round { number: 1, new: labels, total: labels, from: 0, to: updates }],
    }
}

/// Labels of each round of the batched schedule: as given, or even, the first rounds getting what does not divide.
pub fn round_labels(spec: &Spec) -> Vec<usize> {
    let (labels, rounds) = (spec.collect.labels, spec.collect.rounds());
    match &spec.collect.round_labels {
        Some(given) => given.clone(),
        None => (0..rounds).map(|i| labels / rounds + usize::from(i < labels % rounds)).collect(),
    }
}

fn batched(spec: &Spec, updates: usize) -> Vec<Round> {
    let new = round_labels(spec);
    let n = new.len();
    let mut total = 0;
    let round = |(i, new): (usize, &usize)| {
        total += new;
        Round { number: i + 1, new: *new, total, from: i * updates / n, to: (i + 1) * updates / n }
    };
    new.iter().enumerate().map(round).collect()
}

/// Online: labels to train on that have been asked for when update `update` begins, l(n) rounded up. All are asked for
/// when the last update begins, so that the last r learns from all of them and still has an update to steer.
pub fn wanted(spec: &Spec, update: usize) -> usize {
    let (initial, total, updates) = (spec.collect.initial(), spec.collect.labels, updates(spec));
    if update + 1 >= updates {
        return total.max(initial);
    }
    let wanted = label_schedule(initial as f64, total as f64, updates as f64, update as f64).ceil() as usize;
    wanted.clamp(initial, total.max(initial))
}

/// Online: whether label `number` (from 0, in the order of asking) compares π with ρ. The first `initial` never do; of
/// the others an even share does.
pub fn is_validation(spec: &Spec, number: usize) -> bool {
    let share = spec.collect.validation_share();
    let Some(later) = number.checked_sub(spec.collect.initial()) else { return false };
    let count = |n: usize| (n as f64 * share + 1e-9).floor() as usize;
    count(later + 1) > count(later)
}

/// r is trained before the first update, and again before the first update at which all of the next
/// (N_r - N_r⁰) / retrain labels have been asked for; of several trainings that fall on one update the last is left.
fn online(spec: &Spec, updates: usize) -> Vec<Round> {
    let (initial, labels, retrain) = (spec.collect.initial(), spec.collect.labels, spec.collect.retrain());
    let mut starts: Vec<usize> = vec![0];
    let mut update = 0;
    for k in 1..=retrain {
        let enough = initial + ((labels - initial.min(labels)) * k).div_ceil(retrain);
        while update + 1 < updates && wanted(spec, update) < enough {
            update += 1;
        }
        starts.push(update);
    }
    starts.dedup();
    let mut before = 0;
    let round = |(i, from): (usize, &usize)| {
        let total = wanted(spec, *from);
        let new = total - before;
        before = total;
        let to = starts.get(i + 1).copied().unwrap_or(updates);
        Round { number: i + 1, new, total, from: *from, to }
    };
    starts.iter().enumerate().map(round).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::CollectSpec;
    use serde_json::json;

    fn spec(collect: CollectSpec, updates: usize) -> Spec {
        let mut spec: Spec = serde_json::from_value(json!({ "spec_version": 1, "name": "t" })).unwrap();
        (spec.policy.batch_size, spec.policy.episodes) = (16, 16 * updates);
        spec.collect = collect;
        spec
    }

    fn chained(rounds: &[Round], labels: usize, updates: usize) {
        assert_eq!((rounds[0].from, rounds.last().unwrap().to, rounds.last().unwrap().total), (0, updates, labels));
        for pair in rounds.windows(2) {
            assert_eq!((pair[0].to, pair[1].number), (pair[1].from, pair[0].number + 1));
            assert_eq!(pair[0].total + pair[1].new, pair[1].total);
            assert!(pair[1].new > 0 && pair[1].to > pair[1].from, "{pair:?}");
        }
    }

    #[test]
    fn offline_is_one_round_and_direct_none() {
        let all = rounds(&spec(CollectSpec::default(), 7));
        assert_eq!(all, [Round { number: 1, new: 5000, total: 5000, from: 0, to: 7 }]);
        assert_eq!((all[0].first_query(200), all[0].asked(200)), (0, 5200));
        let direct = CollectSpec { schedule: CollectSchedule::Direct, ..CollectSpec::default() };
        assert!(rounds(&spec(direct, 7)).is_empty());
    }

    #[test]
    fn batches_divide_labels_and_updates() {
        let even =
            CollectSpec { schedule: CollectSchedule::Batched, labels: 100, rounds: Some(3), ..CollectSpec::default() };
        let all = rounds(&spec(even.clone(), 10));
        chained(&all, 100, 10);
        assert_eq!(all.iter().map(|r| (r.new, r.from)).collect::<Vec<_>>(), [(34, 0), (33, 3), (33, 6)]);
        // The second round's queries come after the first round's, held-out ones included.
        assert_eq!((all[1].first_query(20), all[1].asked(20)), (54, 33));
        let given = CollectSpec { round_labels: Some(vec![70, 20, 10]), ..even };
        assert_eq!(rounds(&spec(given, 10)).iter().map(|r| r.total).collect::<Vec<_>>(), [70, 90, 100]);
    }

    #[test]
    fn online_trains_at_even_spacing_in_labels() {
        let collect = CollectSpec {
            schedule: CollectSchedule::Online,
            labels: 5000,
            initial: Some(500),
            ..CollectSpec::default()
        };
        let spec = spec(collect, 2000);
        let all = rounds(&spec);
        chained(&all, 5000, 2000);
        assert_eq!((all.len(), all[0].new), (20, 500));
        // 4500 / 19 = 236.8 labels later each time, and never more than an update too late.
        for (k, round) in all.iter().enumerate() {
            let least = 500.0 + 4500.0 / 19.0 * k as f64;
            assert!(round.total as f64 >= least && (round.total as f64) < least + 6.0, "{round:?}");
        }
        // Three quarters of the labels by half of the episodes.
        assert_eq!((wanted(&spec, 0), wanted(&spec, 1000), wanted(&spec, 2000)), (500, 3875, 5000));
    }

    #[test]
    fn few_updates_merge_trainings() {
        for (updates, labels, initial) in [(1, 10, 4), (2, 10, 4), (3, 1000, 10), (50, 60, 10), (5, 8, 8)] {
            let collect = CollectSpec {
                schedule: CollectSchedule::Online,
                labels,
                initial: Some(initial),
                ..CollectSpec::default()
            };
            let spec = spec(collect, updates);
            let all = rounds(&spec);
            if updates > 1 && labels > initial {
                chained(&all, labels, updates);
            } else {
                assert_eq!((all.len(), all[0].to), (1, updates));
            }
        }
    }

    #[test]
    fn validation_is_asked_at_a_steady_rate() {
        let collect = CollectSpec {
            schedule: CollectSchedule::Online,
            labels: 1000,
            initial: Some(100),
            validation_share: Some(0.25),
            ..CollectSpec::default()
        };
        let spec = spec(collect, 20);
        let asked: Vec<usize> = (0..1000).filter(|i| is_validation(&spec, *i)).collect();
        assert_eq!((asked.len(), asked[0]), (225, 103));
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] == 4));
    }
}
