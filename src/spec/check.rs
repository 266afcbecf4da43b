//! Rules between keys, which a schema cannot say; one small function each. A finding names every key it depends on.

use super::types::*;
use super::{Options, resolve_path};
use std::path::Path;

/// A broken rule; `keys` are all the keys it reads, the likeliest culprit first.
pub struct Finding {
    pub keys: Vec<&'static str>,
    pub message: String,
    pub hint: Option<String>,
}

fn finding(keys: &[&'static str], message: String) -> Option<Finding> {
    Some(Finding { keys: keys.to_vec(), message, hint: None })
}

fn hinted(keys: &[&'static str], message: String, hint: String) -> Option<Finding> {
    Some(Finding { keys: keys.to_vec(), message, hint: Some(hint) })
}

/// Every rule on one resolved variant.
pub fn rules(spec: &Spec, dir: &Path, options: &Options) -> Vec<Finding> {
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
        seed_fits_toml(spec),
        one_source_of_weights(spec),
        weights_exist(spec, dir, options),
    ];
    let task = data_rules(&TASK_DATA, &spec.task.data, dir, options);
    // Only r_s reads reviews.
    let mock = spec.labeler.kind == LabelerKind::Mock;
    let reviews = if mock { data_rules(&REVIEWS, &spec.labeler.reviews, dir, options) } else { Vec::new() };
    let recorded = recorded_rules(spec, dir, options);
    sizes.into_iter().flatten().chain(task).chain(reviews).chain(recorded).collect()
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
    if spec.model.weights.path.is_some() || query + response <= context {
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
    if spec.labeler.kind != LabelerKind::Mock || query + response <= context {
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
    if spec.model.weights.path.is_some() || heads == 0 || width % heads == 0 {
        return None;
    }
    finding(
        &["model.dimensions.width", "model.dimensions.heads"],
        format!("a width of {width} does not divide into {heads} heads"),
    )
}

fn classifier_width_divides(spec: &Spec) -> Option<Finding> {
    let Dimensions { width, heads, .. } = spec.labeler.classifier.dimensions;
    if heads == 0 || width % heads == 0 {
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
    if spec.collect.schedule == CollectSchedule::Direct || batch <= labels {
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

fn seed_fits_toml(spec: &Spec) -> Option<Finding> {
    if i64::try_from(spec.seed).is_ok() {
        return None;
    }
    finding(&["seed"], format!("must be at most {}, the largest integer of TOML", i64::MAX))
}

fn one_source_of_weights(spec: &Spec) -> Option<Finding> {
    let keys = ["model.weights", "model.weights.path", "model.weights.pretrain"];
    match (&spec.model.weights.path, &spec.model.weights.pretrain) {
        (Some(_), Some(_)) => finding(&keys, "both `path` and `pretrain` are given; keep one".into()),
        (None, None) => finding(&keys, "neither `path` nor `pretrain` is given; give one".into()),
        _ => None,
    }
}

fn weights_exist(spec: &Spec, dir: &Path, options: &Options) -> Option<Finding> {
    path_is_there("model.weights.path", spec.model.weights.path.as_deref()?, dir, options)
}

/// An empty path is one to be given later, by `--set`.
fn path_is_there(key: &'static str, path: &str, dir: &Path, options: &Options) -> Option<Finding> {
    let give = format!("give it by --set {key}=PATH");
    if path.is_empty() {
        return if options.for_run { hinted(&[key], "no path is given".into(), give) } else { None };
    }
    if !options.check_files || resolve_path(path, dir).exists() {
        return None;
    }
    let message = format!(
        "there is no file or folder {path:?}, neither here nor in {}",
        if dir.as_os_str().is_empty() { ".".into() } else { dir.display().to_string() }
    );
    hinted(&[key], message, give)
}

fn recorded_rules(spec: &Spec, dir: &Path, options: &Options) -> Vec<Finding> {
    [
        recorded_has_a_path(spec, dir, options),
        only_recorded_reads_files(spec),
        recorded_has_no_direct_reward(spec),
        splits_are_of_one_format(spec),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn recorded_has_a_path(spec: &Spec, dir: &Path, options: &Options) -> Option<Finding> {
    if spec.labeler.kind != LabelerKind::Recorded {
        return None;
    }
    match &spec.labeler.path {
        Some(path) => path_is_there("labeler.path", path, dir, options),
        None => hinted(
            &["labeler.kind", "labeler.path"],
            "recorded labels need labeler.path, and none is given".into(),
            "give the label file, or a folder of them".into(),
        ),
    }
}

fn only_recorded_reads_files(spec: &Spec) -> Option<Finding> {
    let given = [
        ("labeler.path", spec.labeler.path.is_some()),
        ("labeler.format", spec.labeler.format.is_some()),
        ("labeler.split", spec.labeler.split.is_some()),
    ];
    let (key, _) = given.into_iter().find(|(_, given)| *given && spec.labeler.kind != LabelerKind::Recorded)?;
    hinted(
        &[key, "labeler.kind"],
        "belongs to recorded labels, and labeler.kind = \"mock\"".into(),
        "set labeler.kind = \"recorded\", or remove the key".into(),
    )
}

fn recorded_has_no_direct_reward(spec: &Spec) -> Option<Finding> {
    if spec.labeler.kind != LabelerKind::Recorded || spec.collect.schedule != CollectSchedule::Direct {
        return None;
    }
    hinted(
        &["collect.schedule", "labeler.kind"],
        "\"direct\" trains on the mock labeler's own score, and recorded labels have none".into(),
        "take schedule = \"offline\", or labeler.kind = \"mock\"".into(),
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
    path: &'static str,
    synthetic: &'static str,
    format: &'static str,
    labeled: bool,
}

const TASK_DATA: DataKeys = DataKeys {
    table: "task.data",
    path: "task.data.path",
    synthetic: "task.data.synthetic",
    format: "task.data.format",
    labeled: false,
};
const REVIEWS: DataKeys = DataKeys {
    table: "labeler.reviews",
    path: "labeler.reviews.path",
    synthetic: "labeler.reviews.synthetic",
    format: "labeler.reviews.format",
    labeled: true,
};

fn data_rules(keys: &DataKeys, data: &DataSpec, dir: &Path, options: &Options) -> Vec<Finding> {
    let path = data.path.as_deref().and_then(|path| path_is_there(keys.path, path, dir, options));
    [one_source_of_data(keys, data), format_is_known(keys, data, dir), reviews_have_labels(keys, data, dir), path]
        .into_iter()
        .flatten()
        .collect()
}

fn one_source_of_data(keys: &DataKeys, data: &DataSpec) -> Option<Finding> {
    match (&data.synthetic, &data.path) {
        (Some(_), Some(_)) => {
            finding(&[keys.path, keys.synthetic, keys.table], "both `synthetic` and `path` are given; keep one".into())
        }
        (None, None) => finding(
            &[keys.table, keys.synthetic, keys.path],
            "neither `synthetic` nor `path` is given; give one".into(),
        ),
        (Some(_), None) if data.format.is_some() => finding(
            &[keys.format, keys.synthetic, keys.path],
            "a format belongs to a `path`, and this data is synthetic".into(),
        ),
        _ => None,
    }
}

/// The format of file data: as written, else by the extension; a folder is text.
pub fn guess_format(data: &DataSpec, dir: &Path) -> Option<DataFormat> {
    if data.format.is_some() {
        return data.format;
    }
    let path = resolve_path(data.path.as_deref()?, dir);
    match path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase).as_deref() {
        _ if path.is_dir() => Some(DataFormat::Text),
        Some("txt") => Some(DataFormat::Text),
        Some("tsv") => Some(DataFormat::Tsv),
        None if !path.exists() => Some(DataFormat::Text),
        _ => None,
    }
}

fn format_is_known(keys: &DataKeys, data: &DataSpec, dir: &Path) -> Option<Finding> {
    let path = data.path.as_deref().filter(|path| !path.is_empty())?;
    if guess_format(data, dir).is_some() {
        return None;
    }
    hinted(
        &[keys.path, keys.format],
        format!("the format of {path:?} is not known from its name"),
        "add format = \"text\" or \"tsv\"".into(),
    )
}

fn reviews_have_labels(keys: &DataKeys, data: &DataSpec, dir: &Path) -> Option<Finding> {
    let path = data.path.as_deref().filter(|path| !path.is_empty())?;
    if !keys.labeled || guess_format(data, dir) != Some(DataFormat::Text) {
        return None;
    }
    let message = format!("reviews need labels, and {path:?} is plain text");
    hinted(&[keys.format, keys.path], message, "give a .tsv of text, tab, label (0/1, or stars 1 to 5)".into())
}
