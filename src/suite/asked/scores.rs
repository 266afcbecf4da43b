//! Scores of every model's texts under every reward model of a task: the authors' r on ours, ours on theirs. A policy
//! that only its own r likes has learned that r's mistakes.

use super::writers::{ReadyMember, RewardJudge, TextSource};
use crate::context::StageError;
use crate::metric::interval::mean_interval;
use crate::suite::types::Baseline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One writer's texts under one reward model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    /// The member whose reward model it is.
    pub reward: String,
    /// "zero-shot", or the member whose policy wrote.
    pub writer: String,
    pub n: u64,
    pub mean: f64,
    /// 95% interval over queries.
    pub low: f64,
    pub high: f64,
}

/// asked/ID.json: all of a task at one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scored {
    pub id: String,
    pub task: String,
    pub seed: u64,
    pub cells: Vec<Cell>,
}

/// The name of ρ among writers.
pub const ZERO_SHOT: &str = "zero-shot";

/// All writers of the desks under all their reward models.
pub fn score(id: &str, task: &str, seed: u64, desks: &[ReadyMember<'_>]) -> Result<Scored, StageError> {
    let Some(first) = desks.first() else {
        return Err(super::input(format!("{task}: there is no member")));
    };
    if let Some(other) = desks.iter().find(|desk| desk.sources != first.sources) {
        return Err(super::input(format!(
            "{} and {} do not have the same held-out queries, so that their scores cannot be compared: give both the same \
             task, data and tokenizer",
            first.member, other.member
        )));
    }
    let judges: Vec<RewardJudge> =
        desks.iter().map(ReadyMember::reward_model).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let zero_shot = (ZERO_SHOT.to_string(), first, TextSource::Baseline(Baseline::ZeroShot));
    let policies = desks.iter().map(|desk| (desk.member.clone(), desk, TextSource::Policy));
    let mut cells = Vec::new();
    for (writer, desk, what) in std::iter::once(zero_shot).chain(policies) {
        for judge in &judges {
            let scores: Vec<f64> = desk.scored(what, &writer, judge)?.into_iter().map(f64::from).collect();
            let (mean, low, high) = mean_interval(&scores);
            let n = scores.len() as u64;
            cells.push(Cell { reward: judge.member.clone(), writer: writer.clone(), n, mean, low, high });
        }
    }
    Ok(Scored { id: id.into(), task: task.into(), seed, cells })
}
