//! What came of asking a judge: position bias, agreement with gold items, with itself, with people, and what it cost.

use super::judge::{Judge, Judged};
use super::prompt::Said;
use crate::label::batch::read::Answers;
use crate::label::batch::{Answer, Item};
use crate::results::JudgeReport;
use std::collections::BTreeMap;

/// Of several batches: the items, what the judge said, and what people answered to the same items.
pub fn report(judge: &Judge, batches: &[(Vec<Item>, Judged, Answers)]) -> JudgeReport {
    let mut report = JudgeReport { model: judge.model().into(), labeler: judge.name(), ..JudgeReport::default() };
    for (items, judged, people) in batches {
        report.both_orders |= judged.both_orders;
        replies(&mut report, judged);
        answers(&mut report, items, judged, people);
    }
    report
}

/// Every answer by itself.
fn replies(report: &mut JudgeReport, judged: &Judged) {
    for of_item in &judged.replies {
        for reply in of_item {
            report.requests += 1;
            report.prompt_tokens += reply.tokens.prompt;
            report.answer_tokens += reply.tokens.answer;
            report.estimated_tokens += u64::from(reply.tokens.estimated);
            match reply.said {
                Said::Place(place) => {
                    let places = report.places.len().max(reply.order.len());
                    report.places.resize(places, 0);
                    if let Some(count) = report.places.get_mut(place) {
                        *count += 1;
                    }
                }
                Said::Refused => report.refusals += 1,
                Said::Nonsense => report.nonsense += 1,
            }
        }
        let chosen = |reply: &super::judge::Reply| match reply.said {
            Said::Place(place) => reply.order.get(place).copied(),
            Said::Refused | Said::Nonsense => None,
        };
        if let [first, second] = &of_item[..]
            && let (Some(first), Some(second)) = (chosen(first), chosen(second))
        {
            report.orders.add(first == second);
        }
    }
}

/// Answers that count, one per item.
fn answers(report: &mut JudgeReport, items: &[Item], judged: &Judged, people: &Answers) {
    let by_item = |answers: &'_ [Answer]| -> BTreeMap<String, Vec<usize>> {
        let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for answer in answers {
            found.entry(answer.item.clone()).or_default().extend(answer.best);
        }
        found
    };
    let (own, others) = (by_item(&judged.answers.counted), by_item(&people.counted));
    for item in items {
        let Some(best) = own.get(&item.id).and_then(|all| all.first()) else { continue };
        let text = |candidate: usize| item.candidates.get(candidate).map(|c| &c.response.text);
        // Texts that are equal are the same choice, whoever chose.
        let same = |other: usize| text(*best) == text(other);
        report.choices += 1;
        report.chance += 1.0 / item.candidates.len().max(1) as f64;
        if let Some(gold) = item.gold {
            report.gold.add(same(gold));
        }
        if let Some(first) = item.repeat_of.as_ref().and_then(|first| own.get(first)).and_then(|all| all.first()) {
            report.repeats.add(same(*first));
        }
        others.get(&item.id).into_iter().flatten().for_each(|other| report.people.add(same(*other)));
    }
    let skipped = judged.answers.counted.iter().filter(|answer| answer.best.is_none());
    report.left_out += skipped.count() as u64;
}
