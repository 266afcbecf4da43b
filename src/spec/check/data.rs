//! Where text comes from and how its files are read: the same rules for the task's data and for reviews.

use super::{Finding, finding, hinted, not_one_of, on_the_hub, path_is_there, source_is_known};
use crate::spec::Options;
use crate::spec::catalogue::SourceUse;
use crate::spec::names::{folder_format, format_of, safe_pattern};
use crate::spec::types::{DataFormat, DataSpec};
use std::path::Path;

/// The keys of one data source.
pub struct DataKeys {
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

pub const TASK: DataKeys = DataKeys {
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

pub const REVIEWS: DataKeys = DataKeys {
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

/// Every rule on one data source.
pub fn rules(keys: &DataKeys, data: &DataSpec, options: &Options) -> Vec<Finding> {
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
        return folder_format(path).ok();
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
        true => match folder_format(Path::new(path)) {
            Err(several) => return finding(&[keys.path, keys.format], format!("{path:?} {several}")),
            Ok(_) => return None,
        },
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
