//! What belongs to which labeler.

use super::{Finding, finding, hinted, path_is_there, source_is_known};
use crate::spec::Options;
use crate::spec::catalogue::SourceUse;
use crate::spec::types::{CollectSchedule, LabelFormat, LabelerKind, Spec};

/// Every rule on `labeler` that its kind decides.
pub fn rules(spec: &Spec, options: &Options) -> Vec<Finding> {
    [
        recorded_has_labels(spec, options),
        recorded_labels_are_a_known_source(spec),
        only_recorded_reads_files(spec),
        only_mock_has_a_direct_reward(spec),
        simulated_care_for_something(spec),
        splits_are_of_one_format(spec),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn recorded_has_labels(spec: &Spec, options: &Options) -> Option<Finding> {
    if spec.labeler.kind != LabelerKind::Recorded {
        return None;
    }
    match (&spec.labeler.path, &spec.labeler.source) {
        (Some(_), Some(_)) => {
            finding(&["labeler.path", "labeler.source"], "both `path` and `source` are given; keep one".into())
        }
        (Some(path), None) => path_is_there("labeler.path", path, options),
        (None, Some(_)) => None,
        (None, None) => hinted(
            &["labeler.kind", "labeler.source", "labeler.path"],
            "recorded labels need labeler.source or labeler.path, and none is given".into(),
            "name a source (`runner sources`), or give a label file or a folder of them".into(),
        ),
    }
}

fn recorded_labels_are_a_known_source(spec: &Spec) -> Option<Finding> {
    source_is_known("labeler.source", spec.labeler.source.as_deref()?, SourceUse::Labels)
}

fn only_recorded_reads_files(spec: &Spec) -> Option<Finding> {
    let given = [
        ("labeler.source", spec.labeler.source.is_some()),
        ("labeler.path", spec.labeler.path.is_some()),
        ("labeler.format", spec.labeler.format.is_some()),
        ("labeler.split", spec.labeler.split.is_some()),
    ];
    let (key, _) = given.into_iter().find(|(_, given)| *given && spec.labeler.kind != LabelerKind::Recorded)?;
    hinted(
        &[key, "labeler.kind"],
        format!("belongs to recorded labels, and labeler.kind = {:?}", spec.labeler.kind.word()),
        "set labeler.kind = \"recorded\", or remove the key".into(),
    )
}

fn only_mock_has_a_direct_reward(spec: &Spec) -> Option<Finding> {
    if spec.labeler.kind == LabelerKind::Mock || spec.collect.schedule != CollectSchedule::Direct {
        return None;
    }
    hinted(
        &["collect.schedule", "labeler.kind"],
        format!("\"direct\" trains on the mock labeler's own score, and {} labels have none", spec.labeler.kind.word()),
        "take schedule = \"offline\", or labeler.kind = \"mock\"".into(),
    )
}

fn simulated_care_for_something(spec: &Spec) -> Option<Finding> {
    let s = &spec.labeler.simulated;
    let weights = [s.weight_score, s.weight_copy, s.weight_rouge];
    if spec.labeler.kind != LabelerKind::Simulated || weights.iter().any(|weight| *weight != 0.0) {
        return None;
    }
    hinted(
        &["labeler.simulated.weight_copy", "labeler.simulated.weight_score", "labeler.simulated.weight_rouge"],
        "all weights are 0, and labels of noise alone teach nothing".into(),
        "give at least one weight".into(),
    )
}

fn splits_are_of_one_format(spec: &Spec) -> Option<Finding> {
    let (split, format) = (spec.labeler.split.as_ref()?, spec.labeler.format?);
    if format != LabelFormat::LmHumanPreferences {
        return None;
    }
    finding(
        &["labeler.split", "labeler.format"],
        format!("files of format \"lm_human_preferences\" have no splits, and {split:?} is asked for"),
    )
}
