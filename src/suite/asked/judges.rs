//! Simulated readers of finished models' texts: the same rule as of simulated labelers (label/simulated.rs), with an
//! order of its own for every answer. What they say is no evidence about people.

use super::writers::ReadyMember;
use super::{Asking, input};
use crate::context::StageError;
use crate::label::batch::{Answer, Candidate, Item};
use crate::label::simulated::{Qualities, choose, utilities};
use crate::metric::rouge::rouge;
use crate::metric::text::novelty;
use crate::random;
use crate::spec::SimulatedSpec;
use rand::RngExt;
use rand::seq::SliceRandom;

/// What readers of a member's texts care for: what the suite says, else what the member's own labelers do.
pub fn settings(asking: &Asking<'_>, desk: &ReadyMember<'_>) -> SimulatedSpec {
    match (&asking.settings.simulated, desk.spec.labeler.is().judges) {
        (Some(given), _) => given.clone(),
        (None, true) => SimulatedSpec { weight_score: 1.0, weight_copy: 0.0, ..SimulatedSpec::default() },
        (None, false) => desk.spec.labeler.simulated.clone(),
    }
}

/// The share of a text's 4-grams that its source has too.
pub fn copied(source: &str, text: &str) -> f64 {
    novelty(source, text).ngram4.map_or(0.0, |new| 1.0 - new)
}

/// `asking.settings.labelers` answers to every item. Items stand in the order of the desk's queries, and `place[i]` is
/// the query of item `i`.
pub fn answers(
    asking: &Asking<'_>,
    desk: &ReadyMember<'_>,
    items: &[Item],
    id: &str,
) -> Result<Vec<Answer>, StageError> {
    let settings = settings(asking, desk);
    let candidates: Vec<Vec<Candidate>> = items.iter().map(|item| item.candidates.clone()).collect();
    let scores = desk.scores(&candidates, settings.weight_score != 0.0)?;
    let mut qualities = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let summary = desk.summary(i).filter(|_| settings.weight_rouge != 0.0);
        if settings.weight_rouge != 0.0 && summary.is_none() {
            return Err(input("preference.simulated.weight_rouge: a query has no reference summary; set it to 0"));
        }
        let one = |(candidate, score): (&Candidate, &f32)| Qualities {
            score: f64::from(*score),
            copy: copied(&item.query.text, &candidate.response.text),
            rouge: summary.map_or(0.0, |s| rouge(&candidate.response.text, s, true).rouge_l.f1),
        };
        qualities.push(item.candidates.iter().zip(&scores[i]).map(one).collect::<Vec<_>>());
    }
    let utilities = utilities(&settings, &qualities);
    let mut found = Vec::new();
    for (i, (item, utility)) in items.iter().zip(&utilities).enumerate() {
        for labeler in 1..=asking.settings.labelers {
            let mut rng = random::stream(desk.spec.seed, &format!("simulated reader {labeler} of {id}"), i as u64);
            let mut order: Vec<usize> = (0..utility.len()).collect();
            order.shuffle(&mut rng);
            let uniform: Vec<f64> = order.iter().map(|_| rng.random()).collect();
            let place = choose(&settings, utility, &order, &uniform);
            found.push(Answer {
                item: item.id.clone(),
                best: order.get(place).copied(),
                skip: None,
                ranking: None,
                confidence: None,
                note: None,
                labeler: format!("simulated-{labeler}"),
                shown_at: None,
                answered_at: None,
                revision: 0,
            });
        }
    }
    Ok(found)
}
