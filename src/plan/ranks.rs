//! What several ranks of one run have each, and what they say to one another (docs/mpi.md).

use super::sizes::Model;
use super::units::{bytes, count};
use crate::spec::{AlgorithmKind, Spec};
use schemars::JsonSchema;
use serde::Serialize;

/// Bytes per second of a link of 10 Gb/s.
const LINK: f64 = 1.25e9;

/// One of several ranks.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RanksPlan {
    pub ranks: usize,
    /// Episodes of a batch of the policy that each works on, and all; none where the policy has no episodes.
    pub episodes: Option<(usize, usize)>,
    /// Bytes of both of Adam's moments that each keeps.
    pub adam_bytes: f64,
    /// Bytes that each sends, and receives, per update of the policy: slices of its gradient, then of the weights.
    pub exchanged_bytes: Option<f64>,
}

impl RanksPlan {
    /// None of one process.
    pub fn of(spec: &Spec, model: &Model, ranks: usize) -> Option<Self> {
        let n = ranks as f64;
        let p = &spec.policy;
        let episodes = has_episodes(spec).then(|| (p.batch_size.div_ceil(ranks), p.batch_size));
        let steps = (p.epochs * p.minibatches) as f64;
        let exchanged = 2.0 * model.bytes() * (n - 1.0) / n * steps;
        let adam_bytes = 2.0 * model.bytes() / n;
        (ranks > 1).then(|| Self { ranks, episodes, adam_bytes, exchanged_bytes: episodes.map(|_| exchanged) })
    }

    /// For people.
    pub fn text(&self) -> String {
        let episodes = self
            .episodes
            .map_or_else(String::new, |(own, all)| format!(" works on {own} of {all} episodes of an update and"));
        let exchanged = self.exchanged_bytes.map_or_else(String::new, |all| {
            format!("; it sends and receives {} per update, {:.1} s on 10 Gb/s", bytes(all), all / LINK)
        });
        format!(
            "{}: each{episodes} keeps {} of Adam's moments{exchanged}; times are the work by the ranks, without that",
            count(self.ranks, "rank"),
            bytes(self.adam_bytes)
        )
    }
}

fn has_episodes(spec: &Spec) -> bool {
    spec.has_rl() && spec.policy.algorithm != AlgorithmKind::Dpo
}

/// Whether so many ranks can share the updates of a policy; if not, what can.
///
/// # Errors
/// They do not divide `policy.blocks`.
pub fn fit(run: &str, spec: &Spec, ranks: usize) -> Result<(), String> {
    let blocks = spec.policy.blocks;
    if ranks == 1 || !has_episodes(spec) || blocks.is_multiple_of(ranks) {
        return Ok(());
    }
    let rows = spec.policy.batch_size / spec.policy.minibatches.max(1);
    let most = 1usize << rows.trailing_zeros();
    Err(format!(
        "{run}: {ranks} ranks do not divide policy.blocks = {blocks}: each computes the gradient of as many blocks of a \
         minibatch. Start as many ranks as divide it, or set policy.blocks to a power of two that they divide (a \
         minibatch of {rows} episodes allows up to {most}); another number of blocks gives other results"
    ))
}
