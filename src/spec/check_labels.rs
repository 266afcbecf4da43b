//! Rules between the keys of `[collect]` and `[labeler]`: schedules and who can follow them, and what people need.

use super::Options;
use super::check::{Finding, finding, hinted, path_is_there};
use super::types::*;
use std::path::Path;

/// Every rule on one resolved variant.
pub fn rules(spec: &Spec, options: &Options) -> Vec<Finding> {
    [
        keys_belong_to_the_schedule(spec),
        recorded_labels_are_old(spec),
        rounds_have_labels_and_updates(spec),
        round_labels_add_up(spec),
        initial_labels_are_some_of_all(spec),
        first_round_fills_a_batch(spec),
        people_have_a_directory(spec, options),
        only_people_have_batches(spec),
        gold_is_there(spec, options),
        instructions_are_there(spec, options),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn keys_belong_to_the_schedule(spec: &Spec) -> Option<Finding> {
    use CollectSchedule::{Batched, Online};
    let c = &spec.collect;
    let all = [
        ("collect.rounds", c.rounds.is_some(), Batched),
        ("collect.round_labels", c.round_labels.is_some(), Batched),
        ("collect.initial", c.initial.is_some(), Online),
        ("collect.retrain", c.retrain.is_some(), Online),
        ("collect.validation_share", c.validation_share.is_some(), Online),
        ("collect.outstanding", c.outstanding.is_some(), Online),
    ];
    let (key, _, schedule) = all.into_iter().find(|(_, given, schedule)| *given && c.schedule != *schedule)?;
    hinted(
        &[key, "collect.schedule"],
        format!("belongs to the {} schedule, and collect.schedule = {:?}", schedule.word(), c.schedule.word()),
        format!("set collect.schedule = {:?}, or remove the key", schedule.word()),
    )
}

fn recorded_labels_are_old(spec: &Spec) -> Option<Finding> {
    let asks = matches!(spec.collect.schedule, CollectSchedule::Batched | CollectSchedule::Online);
    if spec.labeler.kind != LabelerKind::Recorded || !asks {
        return None;
    }
    hinted(
        &["collect.schedule", "labeler.kind"],
        format!(
            "{:?} asks about new samples of π, and recorded labels are answers about old ones",
            spec.collect.schedule.word()
        ),
        "take schedule = \"offline\", or another labeler".into(),
    )
}

fn rounds_have_labels_and_updates(spec: &Spec) -> Option<Finding> {
    let c = &spec.collect;
    if c.schedule != CollectSchedule::Batched || c.round_labels.is_some() {
        return rounds_have_updates(spec);
    }
    if c.labels >= c.rounds() {
        return rounds_have_updates(spec);
    }
    finding(
        &["collect.rounds", "collect.labels"],
        format!("{} labels do not divide into {} rounds", c.labels, c.rounds()),
    )
}

fn rounds_have_updates(spec: &Spec) -> Option<Finding> {
    let rounds = spec.collect.round_labels.as_ref().map_or(spec.collect.rounds(), Vec::len);
    let updates = spec.policy.episodes / spec.policy.batch_size.max(1);
    if spec.collect.schedule != CollectSchedule::Batched || rounds <= updates {
        return None;
    }
    finding(
        &["collect.rounds", "collect.round_labels", "policy.episodes", "policy.batch_size"],
        format!("{rounds} rounds need as many PPO updates, and policy.episodes / policy.batch_size is {updates}"),
    )
}

fn round_labels_add_up(spec: &Spec) -> Option<Finding> {
    let c = &spec.collect;
    let given = c.round_labels.as_ref().filter(|_| c.schedule == CollectSchedule::Batched)?;
    let (sum, count) = (given.iter().sum::<usize>(), given.len());
    if sum != c.labels {
        return hinted(
            &["collect.round_labels", "collect.labels"],
            format!("the rounds have {sum} labels, and collect.labels = {}", c.labels),
            format!("set collect.labels = {sum}"),
        );
    }
    let rounds = c.rounds.filter(|rounds| *rounds != count)?;
    hinted(
        &["collect.round_labels", "collect.rounds"],
        format!("labels of {count} rounds are given, and collect.rounds = {rounds}"),
        format!("set collect.rounds = {count}"),
    )
}

fn initial_labels_are_some_of_all(spec: &Spec) -> Option<Finding> {
    let c = &spec.collect;
    if c.schedule != CollectSchedule::Online || c.initial() <= c.labels {
        return None;
    }
    finding(
        &["collect.initial", "collect.labels"],
        format!("{} labels before the first episode are more than all, collect.labels = {}", c.initial(), c.labels),
    )
}

fn first_round_fills_a_batch(spec: &Spec) -> Option<Finding> {
    let c = &spec.collect;
    let (first, key) = match (c.schedule, &c.round_labels) {
        (CollectSchedule::Batched, Some(given)) => (given.first().copied().unwrap_or(0), "collect.round_labels"),
        (CollectSchedule::Batched, None) => (c.labels.div_ceil(c.rounds()), "collect.rounds"),
        (CollectSchedule::Online, _) => (c.initial(), "collect.initial"),
        _ => return None,
    };
    if first >= spec.reward.batch_size || c.labels < spec.reward.batch_size {
        return None;
    }
    finding(
        &[key, "reward.batch_size", "collect.labels"],
        format!(
            "a reward step takes reward.batch_size = {} comparisons, and the first round has {first} labels",
            spec.reward.batch_size
        ),
    )
}

fn people_have_a_directory(spec: &Spec, options: &Options) -> Option<Finding> {
    if !spec.labeler.is().asked {
        return None;
    }
    let who = if spec.labeler.kind == LabelerKind::Judge { "a judge needs" } else { "people need" };
    match spec.labeler.batches.as_deref() {
        None => hinted(
            &["labeler.kind", "labeler.batches"],
            format!("{who} labeler.batches, and none is given"),
            "name a directory for questions and answers, for example \"labels/sentiment\"; it is made where it is missing"
                .into(),
        ),
        Some("") if options.for_run => hinted(
            &["labeler.batches"],
            "no directory is given".into(),
            "give it by --set labeler.batches=DIRECTORY".into(),
        ),
        Some(path) if options.check_files && Path::new(path).is_file() => {
            finding(&["labeler.batches"], format!("{path:?} is a file, and batches are directories in one"))
        }
        Some(_) => None,
    }
}

fn only_people_have_batches(spec: &Spec) -> Option<Finding> {
    let (people, asked) = (spec.labeler.kind == LabelerKind::Human, spec.labeler.is().asked);
    let given = [
        ("labeler.batches", spec.labeler.batches.is_some() && !asked),
        ("labeler.human", spec.labeler.human.is_some() && !asked),
        ("collect.outstanding", spec.collect.outstanding.is_some() && !people),
    ];
    let (key, _) = given.into_iter().find(|(_, given)| *given)?;
    hinted(
        &[key, "labeler.kind"],
        format!("belongs to labels of people, and labeler.kind = {:?}", spec.labeler.kind.word()),
        "set labeler.kind = \"human\", or remove the key".into(),
    )
}

fn gold_is_there(spec: &Spec, options: &Options) -> Option<Finding> {
    path_is_there("labeler.human.gold", spec.labeler.human.as_ref()?.gold.as_deref()?, options)
}

fn instructions_are_there(spec: &Spec, options: &Options) -> Option<Finding> {
    path_is_there("labeler.human.instructions", spec.labeler.human.as_ref()?.instructions.as_deref()?, options)
}
