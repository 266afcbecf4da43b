//! Rules between keys, which a schema cannot say; one small function each. A finding names every key it depends on.

mod data;
mod labeler;
pub mod learner;
mod outside;
mod sizes;
mod weights;

pub use data::guess_format;
pub use outside::{PLACEHOLDERS, judge_rules};

use super::Options;
use super::catalogue::{Catalogue, SourceUse};
use super::names::{is_repository, is_revision};
use super::types::Spec;
use std::path::Path;

/// A broken rule; `keys` are all the keys it reads, the likeliest culprit first.
pub struct Finding {
    pub keys: Vec<&'static str>,
    pub message: String,
    pub hint: Option<String>,
}

pub(in crate::spec) fn finding(keys: &[&'static str], message: String) -> Option<Finding> {
    Some(Finding { keys: keys.to_vec(), message, hint: None })
}

pub(in crate::spec) fn hinted(keys: &[&'static str], message: String, hint: String) -> Option<Finding> {
    Some(Finding { keys: keys.to_vec(), message, hint: Some(hint) })
}

/// Every rule on one resolved variant.
pub fn rules(spec: &Spec, options: &Options) -> Vec<Finding> {
    let mut all = sizes::rules(spec);
    all.extend(weights::rules(spec, options));
    all.extend(data::rules(&data::TASK, &spec.task.data, options));
    // Only r_s reads reviews.
    if spec.has_classifier() {
        all.extend(data::rules(&data::REVIEWS, &spec.labeler.reviews, options));
    }
    all.extend(labeler::rules(spec, options));
    all.extend(learner::rules(spec));
    all.extend(outside::rules(spec, options));
    all.extend(super::check_labels::rules(spec, options));
    all.extend(super::given::rules(spec, options));
    all
}

/// Which of several alternatives are given, as a message; `None` if it is exactly one.
fn not_one_of(all: &[(&str, bool)]) -> Option<String> {
    let quoted = |names: Vec<&str>, last: &str| {
        let names: Vec<String> = names.into_iter().map(|n| format!("`{n}`")).collect();
        match names.split_last() {
            Some((end, rest)) if !rest.is_empty() => format!("{} {last} {end}", rest.join(", ")),
            _ => names.concat(),
        }
    };
    let given: Vec<&str> = all.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    match given.len() {
        0 => Some(format!("none of {} is given; give one", quoted(all.iter().map(|(n, _)| *n).collect(), "and"))),
        1 => None,
        2 => Some(format!("both {} are given; keep one", quoted(given, "and"))),
        _ => Some(format!("{} are all given; keep one", quoted(given, "and"))),
    }
}

/// A name on the hub is `owner/name`, and a revision is one of a name.
fn on_the_hub(
    [name_key, revision_key]: [&'static str; 2],
    what: &str,
    name: Option<&str>,
    revision: Option<&str>,
) -> Option<Finding> {
    match (name, revision) {
        (Some(name), _) if !is_repository(name) => hinted(
            &[name_key],
            format!("{name:?} is not a name on the hub"),
            "it has the form owner/name, for example openai-community/gpt2 (the oldest, like gpt2, have no owner)"
                .into(),
        ),
        (Some(_), Some(revision)) if !is_revision(revision) => {
            finding(&[revision_key], format!("{revision:?} is no branch, tag or commit"))
        }
        (None, Some(_)) => finding(
            &[revision_key, name_key],
            format!("a revision belongs to `hf`, and these {what} are not the hub's"),
        ),
        _ => None,
    }
}

/// A source has a name that the catalogue knows, and is for the part of the spec that asks for it. Mistakes of a user's
/// own sources.toml are reported by the command itself.
pub(in crate::spec) fn source_is_known(key: &'static str, name: &str, wanted: SourceUse) -> Option<Finding> {
    let (message, hint) = Catalogue::current().ok()?.refusal(name, wanted)?;
    hinted(&[key], message, hint)
}

/// An empty path is one to be given later, by `--set`.
pub(in crate::spec) fn path_is_there(key: &'static str, path: &str, options: &Options) -> Option<Finding> {
    let give = format!("give it by --set {key}=PATH");
    if path.is_empty() {
        return if options.for_run { hinted(&[key], "no path is given".into(), give) } else { None };
    }
    if !options.check_files || Path::new(path).exists() {
        return None;
    }
    let message = format!("there is no file or folder {path:?}, neither beside the file that says so nor here");
    hinted(&[key], message, give)
}
