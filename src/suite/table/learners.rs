//! Learners at equal KL: what PPO, RLOO, DPO and best-of-n make of the same labels, each read at the same distances from
//! ρ. No table of the paper.

use super::{Measured, absent, described, made};
use crate::results::{Row, Table};
use crate::suite::results::{MemberResults, SuiteResults};
use crate::suite::verdict::Ours;

/// What best-of-n is called, which is no member.
pub const BEST_OF: &str = "best-of-n";

/// A learner at one seed: points of KL and score by rising KL, the first ρ's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    pub learner: String,
    pub seed: u64,
    pub points: Vec<(f64, f64)>,
    /// Of best-of-n: KL is a bound.
    pub bound: bool,
    /// Held-out queries.
    pub n: u64,
}

impl Track {
    /// The score at a KL, between points linear in the square root of KL, in which scores rise about evenly (Gao et al.
    /// 2023); `None` beyond the last point.
    pub fn at(&self, kl: f64) -> Option<f64> {
        let root = |kl: f64| kl.max(0.0).sqrt();
        self.points.windows(2).find(|w| w[0].0 <= kl && kl <= w[1].0).map(|w| {
            let width = root(w[1].0) - root(w[0].0);
            let share = if width > 0.0 { (root(kl) - root(w[0].0)) / width } else { 1.0 };
            w[0].1 + share * (w[1].1 - w[0].1)
        })
    }

    fn reach(&self) -> f64 {
        self.points.last().map_or(0.0, |p| p.0)
    }
}

/// Every learner at every seed: members of one label are one learner, and whoever has best-of-n gives its points too.
pub fn tracks(results: &SuiteResults) -> Vec<Track> {
    let mut tracks: Vec<Track> = Vec::new();
    let mut add = |learner: &str, m: &MemberResults, points: Vec<(f64, f64)>, bound: bool| {
        let Some(e) = m.evaluation() else { return };
        let track = match tracks.iter_mut().position(|t| t.learner == learner && t.seed == m.seed) {
            Some(i) => &mut tracks[i],
            None => {
                let points = vec![(0.0, e.reference.mean)];
                tracks.push(Track { learner: learner.into(), seed: m.seed, points, bound, n: e.n as u64 });
                let last = tracks.len() - 1;
                &mut tracks[last]
            }
        };
        track.points.extend(points.into_iter().filter(|p| p.0 > 0.0 && p.0.is_finite() && p.1.is_finite()));
        track.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        track.points.dedup_by(|a, b| a.0 == b.0);
    };
    for m in &results.members {
        let Some(e) = m.evaluation() else { continue };
        add(&results.label(&m.name), m, vec![(e.kl.mean, e.policy.mean)], false);
        if !e.best_of.is_empty() {
            add(BEST_OF, m, e.best_of.iter().map(|b| (b.kl_bound, b.judged)).collect(), true);
        }
    }
    // Best-of-n last, whichever member has it.
    tracks.sort_by_key(|track| track.bound);
    tracks
}

/// Learners in the suite's order.
pub fn learners(tracks: &[Track]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for track in tracks {
        if !names.contains(&track.learner) {
            names.push(track.learner.clone());
        }
    }
    names
}

/// KLs at which learners are read: those of best-of-n, which has no others, as far as any other learner reaches and one
/// beyond, and the furthest that all reach at every seed.
fn distances(tracks: &[Track], names: &[String]) -> Vec<f64> {
    let reach = |name: &String| {
        let of = tracks.iter().filter(|t| t.learner == *name);
        of.map(Track::reach).fold(f64::INFINITY, f64::min)
    };
    let all = names.iter().map(reach).fold(f64::INFINITY, f64::min);
    let any = tracks.iter().filter(|t| !t.bound).map(Track::reach).fold(0.0, f64::max);
    let mut found: Vec<f64> = tracks.iter().filter(|t| t.bound).flat_map(|t| &t.points).map(|p| p.0).collect();
    found.retain(|kl| *kl > 0.0);
    found.sort_by(f64::total_cmp);
    found.dedup();
    let beyond = found.iter().position(|kl| *kl > any).map_or(found.len(), |i| i + 1);
    found.truncate(beyond);
    found.extend((all.is_finite() && all > 0.0).then_some(all));
    found.sort_by(f64::total_cmp);
    found.dedup_by(|a, b| (*a - *b).abs() < 1e-9);
    found
}

/// The table.
pub fn build(results: &SuiteResults) -> Vec<Table> {
    let tracks = tracks(results);
    let names = learners(&tracks);
    let mut rows: Vec<Row> = Vec::new();
    for kl in distances(&tracks, &names) {
        rows.extend(names.iter().map(|name| at_equal_kl(&tracks, name, kl)));
    }
    for name in results.suite.members.names() {
        rows.extend(ends(results, name));
    }
    vec![made(results.suite.makes.word(), "Learners at equal KL", "learner", rows)]
}

fn at_equal_kl(tracks: &[Track], name: &str, kl: f64) -> Row {
    let of: Vec<&Track> = tracks.iter().filter(|t| t.learner == name).collect();
    let one = |t: &&Track| Some((t.seed, Ours { value: t.at(kl)?, low: f64::NAN, high: f64::NAN }, t.n));
    let found: Vec<_> = of.iter().filter_map(one).collect();
    let (what, metric) = (format!("score at KL {kl:.3}"), format!("score_at_{kl:.3}"));
    let words = if of.iter().any(|t| t.bound) { "its KL is at most this" } else { "" };
    match Measured::over_seeds(&found).filter(|_| found.len() == of.len()) {
        Some(measured) => described(&what, name, &metric, &measured, words),
        None => {
            let reach = of.iter().map(|t| t.reach()).fold(f64::INFINITY, f64::min);
            let mut row = absent(&what, name, &metric, None, &format!("its KL ends at {reach:.3}"));
            row.paper_note = String::new();
            row
        }
    }
}

/// Where a member ended: its KL and its score.
fn ends(results: &SuiteResults, name: &str) -> Vec<Row> {
    let scope = format!("{} ({name})", results.label(name));
    let of = |value: fn(&crate::results::Evaluation) -> f64| {
        let one = |m: &MemberResults| {
            let e = m.evaluation()?;
            Some((m.seed, Ours { value: value(e), low: f64::NAN, high: f64::NAN }, e.n as u64))
        };
        Measured::over_seeds(&results.evaluated(name).filter_map(one).collect::<Vec<_>>())
    };
    let (Some(kl), Some(score)) = (of(|e| e.kl.mean), of(|e| e.policy.mean)) else {
        let why = results.why_missing(name).unwrap_or_else(|| "no evaluation".into());
        return vec![absent("score of π on held-out queries", &scope, "score", None, &why)];
    };
    vec![
        described("KL(π, ρ) per response, nats", &scope, "kl", &kl, ""),
        described("score of π on held-out queries", &scope, "score", &score, ""),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(learner: &str, points: &[(f64, f64)], bound: bool) -> Track {
        Track { learner: learner.into(), seed: 1, points: points.to_vec(), bound, n: 8 }
    }

    #[test]
    fn scores_are_read_between_points_and_nowhere_else() {
        let t = track("ppo", &[(0.0, 1.0), (4.0, 3.0), (9.0, 3.5)], false);
        assert_eq!((t.at(0.0), t.at(1.0), t.at(9.0), t.at(9.1)), (Some(1.0), Some(2.0), Some(3.5), None));
    }

    #[test]
    fn distances_are_those_of_best_of_n_and_the_last_that_all_reach() {
        let best = track(BEST_OF, &[(0.0, 1.0), (0.2, 1.2), (1.0, 2.0), (3.0, 2.5), (4.0, 3.0)], true);
        let tracks =
            [track("ppo", &[(0.0, 1.0), (1.5, 2.0)], false), track("dpo", &[(0.0, 1.0), (0.5, 2.0)], false), best];
        assert_eq!(distances(&tracks, &learners(&tracks)), [0.2, 0.5, 1.0, 3.0]);
        let row = at_equal_kl(&tracks, "dpo", 1.0);
        assert!(row.value.is_none() && row.verdict.contains("ends at 0.500"), "{row:?}");
        assert_eq!(at_equal_kl(&tracks, BEST_OF, 1.0).verdict, "its KL is at most this");
        // Nobody has gone anywhere: the first of best-of-n says so.
        let still = [track("ppo", &[(0.0, 1.0)], false), tracks[2].clone()];
        assert_eq!(distances(&still, &learners(&still)), [0.2]);
    }
}
