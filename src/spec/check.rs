//! Rules between keys, which a schema cannot say; one small function each. A finding names every key it depends on.

use super::Options;
use super::catalogue::{Catalogue, SourceUse};
use super::names::{folder_format, format_of, is_repository, is_revision, safe_pattern};
use super::types::*;
use std::path::Path;

/// A broken rule; `keys` are all the keys it reads, the likeliest culprit first.
pub struct Finding {
    pub keys: Vec<&'static str>,
    pub message: String,
    pub hint: Option<String>,
}

pub(super) fn finding(keys: &[&'static str], message: String) -> Option<Finding> {
    Some(Finding { keys: keys.to_vec(), message, hint: None })
}

pub(super) fn hinted(keys: &[&'static str], message: String, hint: String) -> Option<Finding> {
    Some(Finding { keys: keys.to_vec(), message, hint: Some(hint) })
}

/// Every rule on one resolved variant.
pub fn rules(spec: &Spec, options: &Options) -> Vec<Finding> {
    let sizes = [
        episodes_fill_batches(spec),
        batch_divides_into_minibatches(spec),
        whitening_has_rows(spec),
        query_and_response_fit_model(spec),
        query_and_response_fit_classifier(spec),
        shortest_query_fits(spec),
        truncation_inside_response(spec),
        model_width_divides(spec),
        classifier_width_divides(spec),
        sequence_fits_context(spec),
        labels_fill_a_batch(spec),
        optimum_is_affordable(spec),
        samples_have_queries(spec),
        adaptive_starts_above_zero(spec),
        entropy_bonus_starts_above_zero(spec),
        seed_fits_toml(spec),
        one_source_of_weights(spec),
        weights_on_the_hub(spec),
        weights_are_a_known_source(spec),
        weights_exist(spec, options),
    ];
    let task = data_rules(&TASK_DATA, &spec.task.data, options);
    // Only r_s reads reviews.
    let reviews = if spec.has_classifier() { data_rules(&REVIEWS, &spec.labeler.reviews, options) } else { Vec::new() };
    let recorded = recorded_rules(spec, options);
    let labels = super::check_labels::rules(spec, options);
    let given = super::given::rules(spec, options);
    sizes.into_iter().flatten().chain(task).chain(reviews).chain(recorded).chain(labels).chain(given).collect()
}

fn episodes_fill_batches(spec: &Spec) -> Option<Finding> {
    let (episodes, batch) = (spec.policy.episodes, spec.policy.batch_size);
    if batch == 0 || episodes % batch == 0 {
        return None;
    }
    let below = episodes / batch * batch;
    let near = if below == 0 { batch.to_string() } else { format!("{below} or {}", below + batch) };
    let message = format!("{episodes} episodes are no multiple of policy.batch_size = {batch}");
    hinted(&["policy.episodes", "policy.batch_size"], message, format!("take {near}"))
}

fn batch_divides_into_minibatches(spec: &Spec) -> Option<Finding> {
    let (batch, parts) = (spec.policy.batch_size, spec.policy.minibatches);
    if parts == 0 || batch % parts == 0 {
        return None;
    }
    finding(
        &["policy.minibatches", "policy.batch_size"],
        format!("a batch of {batch} does not divide into {parts} minibatches"),
    )
}

fn whitening_has_rows(spec: &Spec) -> Option<Finding> {
    let rows = spec.policy.batch_size / spec.policy.minibatches.max(1);
    if !spec.policy.whiten_rewards || rows >= 8 {
        return None;
    }
    hinted(
        &["policy.minibatches", "policy.batch_size", "policy.whiten_rewards"],
        format!("whitening rewards needs minibatches of at least 8 episodes, and batch_size / minibatches is {rows}"),
        "enlarge policy.batch_size, lower policy.minibatches, or set policy.whiten_rewards = false".into(),
    )
}

fn query_and_response_fit_model(spec: &Spec) -> Option<Finding> {
    let (query, response, context) =
        (spec.task.query_length, spec.task.response_length, spec.model.dimensions().context);
    if weights_are_given(spec) || query + response <= context {
        return None;
    }
    let keys = ["task.query_length", "task.response_length", "model.dimensions.context", "model.size"];
    finding(
        &keys,
        format!(
            "query ({query}) and response ({response}) are {} tokens, and the model's context is {context}",
            query + response
        ),
    )
}

fn query_and_response_fit_classifier(spec: &Spec) -> Option<Finding> {
    let (query, response) = (spec.task.query_length, spec.task.response_length);
    let context = spec.labeler.classifier.dimensions.context;
    if !spec.has_classifier() || query + response <= context {
        return None;
    }
    let keys = ["labeler.classifier.dimensions.context", "task.query_length", "task.response_length"];
    finding(
        &keys,
        format!(
            "the classifier's context is {context} tokens, and query ({query}) and response ({response}) are {}",
            query + response
        ),
    )
}

fn shortest_query_fits(spec: &Spec) -> Option<Finding> {
    let (shortest, longest) = (spec.task.query_min_length, spec.task.query_length);
    if shortest <= longest {
        return None;
    }
    finding(
        &["task.query_min_length", "task.query_length"],
        format!("the shortest query ({shortest}) is longer than task.query_length = {longest}"),
    )
}

fn truncation_inside_response(spec: &Spec) -> Option<Finding> {
    let (after, length) = (spec.task.truncate_after, spec.task.response_length);
    if after < length {
        return None;
    }
    let message = format!(
        "position {after} lies outside a response of {length} tokens (positions 0 to {})",
        length.saturating_sub(1)
    );
    finding(&["task.truncate_after", "task.response_length"], message)
}

fn model_width_divides(spec: &Spec) -> Option<Finding> {
    let Dimensions { width, heads, .. } = spec.model.dimensions();
    if weights_are_given(spec) || heads == 0 || width % heads == 0 {
        return None;
    }
    finding(
        &["model.dimensions.width", "model.dimensions.heads"],
        format!("a width of {width} does not divide into {heads} heads"),
    )
}

fn classifier_width_divides(spec: &Spec) -> Option<Finding> {
    let Dimensions { width, heads, .. } = spec.labeler.classifier.dimensions;
    if !spec.has_classifier() || heads == 0 || width % heads == 0 {
        return None;
    }
    let keys = ["labeler.classifier.dimensions.width", "labeler.classifier.dimensions.heads"];
    finding(&keys, format!("a width of {width} does not divide into {heads} heads"))
}

fn sequence_fits_context(spec: &Spec) -> Option<Finding> {
    let (length, context) = (spec.model.weights.pretrain.as_ref()?.sequence_length, spec.model.dimensions().context);
    if length <= context {
        return None;
    }
    let keys = ["model.weights.pretrain.sequence_length", "model.dimensions.context", "model.size"];
    finding(&keys, format!("training sequences of {length} tokens do not fit the model's context of {context}"))
}

fn labels_fill_a_batch(spec: &Spec) -> Option<Finding> {
    let (batch, labels) = (spec.reward.batch_size, spec.collect.labels);
    let no_reward = match spec.collect.schedule {
        _ if spec.reward.is_given() => true,
        CollectSchedule::Direct => true,
        CollectSchedule::Offline | CollectSchedule::Batched | CollectSchedule::Online => false,
        CollectSchedule::None => spec.labeler.kind == LabelerKind::Mock,
    };
    if no_reward || batch <= labels {
        return None;
    }
    let keys = ["reward.batch_size", "collect.labels", "collect.schedule"];
    finding(&keys, format!("a reward step takes {batch} comparisons, and only collect.labels = {labels} are collected"))
}

/// Responses sampled for figure 3; beyond this the numbers are a mistake.
const MOST_OPTIMUM_RESPONSES: usize = 10_000_000;

fn optimum_is_affordable(spec: &Spec) -> Option<Finding> {
    let (queries, samples) = (spec.evaluate.optimum_queries, spec.evaluate.optimum_samples);
    if queries.saturating_mul(samples) <= MOST_OPTIMUM_RESPONSES {
        return None;
    }
    let message = format!("{queries} queries of {samples} samples are more than {MOST_OPTIMUM_RESPONSES} responses");
    finding(&["evaluate.optimum_queries", "evaluate.optimum_samples"], message)
}

fn samples_have_queries(spec: &Spec) -> Option<Finding> {
    let (samples, queries) = (spec.evaluate.samples, spec.evaluate.queries);
    if samples <= queries {
        return None;
    }
    finding(
        &["evaluate.samples", "evaluate.queries"],
        format!("{samples} samples are to be written, and evaluate.queries = {queries}"),
    )
}

fn adaptive_starts_above_zero(spec: &Spec) -> Option<Finding> {
    if spec.policy.kl.schedule != KlSchedule::Adaptive || spec.policy.kl.init > 0.0 {
        return None;
    }
    let message = "an adaptive coefficient is multiplied, and never leaves 0".to_string();
    hinted(&["policy.kl.init", "policy.kl.schedule"], message, "start above 0, or take schedule = \"constant\"".into())
}

fn entropy_bonus_starts_above_zero(spec: &Spec) -> Option<Finding> {
    let entropy = spec.policy.entropy?;
    if entropy.target.is_none() || entropy.init > 0.0 {
        return None;
    }
    let message = "an adaptive coefficient is multiplied, and never leaves 0".to_string();
    hinted(&["policy.entropy.init", "policy.entropy.target"], message, "start above 0".into())
}

fn seed_fits_toml(spec: &Spec) -> Option<Finding> {
    if i64::try_from(spec.seed).is_ok() {
        return None;
    }
    finding(&["seed"], format!("must be at most {}, the largest integer of TOML", i64::MAX))
}

/// Weights that are not trained here bring their own sizes.
fn weights_are_given(spec: &Spec) -> bool {
    let weights = &spec.model.weights;
    weights.path.is_some() || weights.hf.is_some() || weights.source.is_some()
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

fn one_source_of_weights(spec: &Spec) -> Option<Finding> {
    let keys =
        ["model.weights", "model.weights.source", "model.weights.path", "model.weights.hf", "model.weights.pretrain"];
    let WeightsSpec { source, path, hf, pretrain, .. } = &spec.model.weights;
    let all = [
        ("source", source.is_some()),
        ("path", path.is_some()),
        ("hf", hf.is_some()),
        ("pretrain", pretrain.is_some()),
    ];
    finding(&keys, not_one_of(&all)?)
}

fn weights_on_the_hub(spec: &Spec) -> Option<Finding> {
    let WeightsSpec { hf, revision, .. } = &spec.model.weights;
    on_the_hub(["model.weights.hf", "model.weights.revision"], "weights", hf.as_deref(), revision.as_deref())
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

fn weights_are_a_known_source(spec: &Spec) -> Option<Finding> {
    source_is_known("model.weights.source", spec.model.weights.source.as_deref()?, SourceUse::Model)
}

/// A source has a name that the catalogue knows, and is for the part of the spec that asks for it. Mistakes of a user's own
/// sources.toml are reported by the command itself.
pub(super) fn source_is_known(key: &'static str, name: &str, wanted: SourceUse) -> Option<Finding> {
    let (message, hint) = Catalogue::current().ok()?.refusal(name, wanted)?;
    hinted(&[key], message, hint)
}

fn weights_exist(spec: &Spec, options: &Options) -> Option<Finding> {
    path_is_there("model.weights.path", spec.model.weights.path.as_deref()?, options)
}

/// An empty path is one to be given later, by `--set`.
pub(super) fn path_is_there(key: &'static str, path: &str, options: &Options) -> Option<Finding> {
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

fn recorded_rules(spec: &Spec, options: &Options) -> Vec<Finding> {
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

/// The keys of one data source.
struct DataKeys {
    table: &'static str,
    source: &'static str,
    path: &'static str,
    hf: &'static str,
    revision: &'static str,
    files: &'static str,
    held_out_files: &'static str,
    synthetic: &'static str,
    format: &'static str,
    lines: &'static str,
    columns: &'static str,
    join: &'static str,
    labeled: bool,
}

const TASK_DATA: DataKeys = DataKeys {
    table: "task.data",
    source: "task.data.source",
    path: "task.data.path",
    hf: "task.data.hf",
    revision: "task.data.revision",
    files: "task.data.files",
    held_out_files: "task.data.held_out_files",
    synthetic: "task.data.synthetic",
    format: "task.data.format",
    lines: "task.data.lines",
    columns: "task.data.columns",
    join: "task.data.join",
    labeled: false,
};
const REVIEWS: DataKeys = DataKeys {
    table: "labeler.reviews",
    source: "labeler.reviews.source",
    path: "labeler.reviews.path",
    hf: "labeler.reviews.hf",
    revision: "labeler.reviews.revision",
    files: "labeler.reviews.files",
    held_out_files: "labeler.reviews.held_out_files",
    synthetic: "labeler.reviews.synthetic",
    format: "labeler.reviews.format",
    lines: "labeler.reviews.lines",
    columns: "labeler.reviews.columns",
    join: "labeler.reviews.join",
    labeled: true,
};

fn data_rules(keys: &DataKeys, data: &DataSpec, options: &Options) -> Vec<Finding> {
    let path = data.path.as_deref().and_then(|path| path_is_there(keys.path, path, options));
    [
        one_source_of_data(keys, data),
        data_are_a_known_source(keys, data),
        only_files_are_described(keys, data),
        on_the_hub([keys.hf, keys.revision], "data", data.hf.as_deref(), data.revision.as_deref()),
        patterns_need_a_folder(keys, data),
        format_is_known(keys, data),
        columns_are_used(keys, data),
        lines_are_of_plain_text(keys, data),
        reviews_have_labels(keys, data),
        reviews_are_not_held_out(keys, data),
        path,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn one_source_of_data(keys: &DataKeys, data: &DataSpec) -> Option<Finding> {
    let all = [
        ("source", data.source.is_some()),
        ("synthetic", data.synthetic.is_some()),
        ("path", data.path.is_some()),
        ("hf", data.hf.is_some()),
    ];
    let message = not_one_of(&all)?;
    match all.iter().any(|(_, given)| *given) {
        true => finding(&[keys.path, keys.hf, keys.source, keys.synthetic, keys.table], message),
        false => finding(&[keys.table, keys.source, keys.synthetic, keys.path, keys.hf], message),
    }
}

fn data_are_a_known_source(keys: &DataKeys, data: &DataSpec) -> Option<Finding> {
    let wanted = if keys.labeled { SourceUse::Reviews } else { SourceUse::Text };
    source_is_known(keys.source, data.source.as_deref()?, wanted)
}

/// Synthetic data have no files, and the files of a source are described in the catalogue.
fn only_files_are_described(keys: &DataKeys, data: &DataSpec) -> Option<Finding> {
    if data.path.is_some() || data.hf.is_some() || (data.synthetic.is_none() && data.source.is_none()) {
        return None;
    }
    let first = [
        (keys.format, "a format belongs", data.format.is_some()),
        (keys.files, "`files` belongs", data.files.is_some()),
        (keys.held_out_files, "`held_out_files` belongs", data.held_out_files.is_some()),
        (keys.lines, "`lines` belongs", data.lines.is_some()),
        (keys.columns, "columns belong", !data.columns.is_empty()),
        (keys.join, "`join` belongs", data.join.is_some()),
    ]
    .into_iter()
    .find(|(_, _, given)| *given)?;
    let (key, what) = match &data.source {
        Some(name) => {
            (keys.source, format!("the source {name:?} is described in the catalogue (`runner sources {name}`)"))
        }
        None => (keys.synthetic, "this data is synthetic".into()),
    };
    finding(&[first.0, key, keys.path], format!("{} to a `path` or `hf`, and {what}", first.1))
}

/// Patterns name files of a folder or data set, relative to it.
fn patterns_need_a_folder(keys: &DataKeys, data: &DataSpec) -> Option<Finding> {
    let patterns = [(keys.files, &data.files), (keys.held_out_files, &data.held_out_files)];
    let (key, pattern) = patterns.into_iter().find_map(|(key, pattern)| Some((key, pattern.as_ref()?)))?;
    if !safe_pattern(pattern) {
        let message = format!("{pattern:?} names no files of the folder");
        return hinted(&[key], message, "write a name with * and ?, for example \"train-*.jsonl\"".into());
    }
    let path = Path::new(data.path.as_deref().filter(|path| !path.is_empty())?);
    match path.is_file() {
        true => finding(&[key, keys.path], format!("{} is one file; a pattern chooses from a folder", path.display())),
        false => None,
    }
}

/// The format of file data: as written, else by the name of the file, the pattern, or the files of the folder. `None`
/// where it cannot be told, and for a data set of the hub whose files are not named.
pub fn guess_format(data: &DataSpec) -> Option<DataFormat> {
    if data.format.is_some() {
        return data.format;
    }
    if let Some(pattern) = &data.files {
        return format_of(pattern);
    }
    let path = Path::new(data.path.as_deref()?);
    if path.is_dir() {
        return folder_format(path);
    }
    let known = path.file_name().and_then(|name| format_of(&name.to_string_lossy()));
    known.or_else(|| (path.extension().is_none() && !path.exists()).then_some(DataFormat::Text))
}

fn format_is_known(keys: &DataKeys, data: &DataSpec) -> Option<Finding> {
    if guess_format(data).is_some() {
        return None;
    }
    let hint = "add format = \"text\", \"tsv\", \"csv\", \"jsonl\", \"json\", \"parquet\" or \"stories\"".to_string();
    if let Some(pattern) = &data.files {
        return hinted(
            &[keys.files, keys.format],
            format!("the format of {pattern:?} is not known from its name"),
            hint,
        );
    }
    let path = data.path.as_deref().filter(|path| !path.is_empty())?;
    let message = match Path::new(path).is_dir() {
        true => format!("{path:?} holds files of several formats"),
        false => format!("the format of {path:?} is not known from its name"),
    };
    hinted(&[keys.path, keys.format], message, hint)
}

fn columns_are_used(keys: &DataKeys, data: &DataSpec) -> Option<Finding> {
    let format = guess_format(data)?;
    if data.columns.is_empty() || !matches!(format, DataFormat::Text | DataFormat::Stories) {
        return None;
    }
    let what = if format == DataFormat::Text { "plain text has" } else { "stories have" };
    finding(&[keys.columns, keys.format, keys.path], format!("{what} no columns"))
}

fn lines_are_of_plain_text(keys: &DataKeys, data: &DataSpec) -> Option<Finding> {
    let format = guess_format(data).filter(|format| *format != DataFormat::Text)?;
    data.lines?;
    let message = format!("says what a line of plain text is, and this data is of format {:?}", format.word());
    finding(&[keys.lines, keys.format, keys.path], message)
}

fn reviews_have_labels(keys: &DataKeys, data: &DataSpec) -> Option<Finding> {
    let name = data.path.as_deref().or(data.hf.as_deref()).filter(|name| !name.is_empty())?;
    let what = match guess_format(data) {
        Some(DataFormat::Text) => "plain text",
        Some(DataFormat::Stories) => "stories",
        _ => return None,
    };
    if !keys.labeled {
        return None;
    }
    let message = format!("reviews need labels, and {name:?} is {what}");
    hinted(
        &[keys.format, keys.path, keys.hf],
        message,
        "give a .tsv of text, tab, label (0/1, or stars 1 to 5), or csv, jsonl, json or parquet".into(),
    )
}

fn reviews_are_not_held_out(keys: &DataKeys, data: &DataSpec) -> Option<Finding> {
    if !keys.labeled || data.held_out_files.is_none() {
        return None;
    }
    finding(
        &[keys.held_out_files],
        "the classifier holds out every tenth review; name only the files to learn from".into(),
    )
}
