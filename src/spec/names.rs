//! What names say before anything is read: which stay inside their folder, which are the hub's, and what format a
//! file's is.

use super::DataFormat;
use std::ffi::OsStr;
use std::path::Path;

/// Files about a data set rather than of it, and texts of these names.
const ABOUT_DATA: [&str; 3] = ["dataset_infos.json", "dataset_info.json", "state.json"];
const ABOUT_STEMS: [&str; 7] = ["readme", "license", "licence", "copying", "notice", "changelog", "citation"];

/// Whether a file name stays inside the folder that it is put in.
pub fn safe_name(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    !name.contains(['\\', ':']) && !name.chars().any(char::is_control) && name.split('/').all(part)
}

/// Whether this looks like `owner/name`, or like one of the hub's oldest names, which have no owner (`gpt2`): the hub
/// leads from those to the present ones, and the cache keeps them under the name that was asked for, as Python's tools
/// do.
pub fn is_repository(name: &str) -> bool {
    let part = |part: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && part.len() <= 96 && part.chars().all(good) && !part.starts_with('.') && !part.contains("..")
    };
    name.split_once('/').map_or_else(|| part(name), |(owner, name)| part(owner) && part(name)) && !name.contains("--")
}

/// Whether this can be a branch, tag or commit.
pub fn is_revision(revision: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    safe_name(revision) && revision.len() <= 255 && revision.chars().all(good) && !revision.contains("..")
}

/// Whether a pattern stays inside its folder.
pub fn safe_pattern(pattern: &str) -> bool {
    !pattern.is_empty() && !pattern.starts_with('/') && pattern.split('/').all(|part| part != "..")
}

/// Whether a file is about the data rather than of it.
pub fn is_about_data(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let stem = name.split('.').next().unwrap_or(&name);
    ABOUT_DATA.contains(&name.as_str()) || (name.ends_with(".txt") && ABOUT_STEMS.contains(&stem))
}

/// The one format of a folder's data files, given by their names. A folder without any is one of text, which says what
/// it lacks. Err: there are several.
pub fn one_format(names: &[String]) -> Result<DataFormat, String> {
    let mut formats: Vec<(DataFormat, &String)> = Vec::new();
    for name in names.iter().filter(|name| !is_about_data(name)) {
        if let Some(format) = format_of(name)
            && formats.iter().all(|(known, _)| *known != format)
        {
            formats.push((format, name));
        }
    }
    match formats[..] {
        [] => Ok(names.iter().find_map(|name| format_of(name)).unwrap_or(DataFormat::Text)),
        [(format, _)] => Ok(format),
        [(format, first), (_, second), ..] => Err(format!(
            "holds files of several formats, {first} and {second}; choose with files = \"*{}\" or format = \"{}\"",
            ending(format),
            format.word()
        )),
    }
}

/// The one format of the files in a folder. Err: there are several, named by a file of each.
pub fn folder_format(dir: &Path) -> Result<DataFormat, String> {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten().filter(|entry| !entry.path().is_dir());
    let names: Vec<String> = files.map(|entry| shown(&entry.file_name())).filter(|n| !n.starts_with('.')).collect();
    one_format(&names)
}

pub fn ending(format: DataFormat) -> &'static str {
    match format {
        DataFormat::Text => ".txt",
        DataFormat::Tsv => ".tsv",
        DataFormat::Csv => ".csv",
        DataFormat::Jsonl => ".jsonl",
        DataFormat::Json => ".json",
        DataFormat::Parquet => ".parquet",
        DataFormat::Stories => ".story",
    }
}

/// A file name for people and patterns: bytes that are no UTF-8 as `\xHH`, so that different names stay different.
pub fn shown(name: &OsStr) -> String {
    name.as_encoded_bytes()
        .utf8_chunks()
        .flat_map(|chunk| {
            let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}"));
            std::iter::once(chunk.valid().to_string()).chain(invalid)
        })
        .collect()
}

/// The format that a file name (or the end of a pattern) tells; `.gz` or `.zst` may follow it.
pub fn format_of(name: &str) -> Option<DataFormat> {
    let name = name.to_ascii_lowercase();
    let packed = [".gz", ".zst", ".zstd"].into_iter().find_map(|ending| name.strip_suffix(ending));
    let plain = packed.unwrap_or(&name);
    let format = match plain.rsplit_once('.')?.1 {
        "txt" => DataFormat::Text,
        "tsv" => DataFormat::Tsv,
        "csv" => DataFormat::Csv,
        "jsonl" | "ndjson" => DataFormat::Jsonl,
        "json" => DataFormat::Json,
        "parquet" => DataFormat::Parquet,
        "story" => DataFormat::Stories,
        _ => return None,
    };
    (packed.is_none() || format != DataFormat::Parquet).then_some(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_their_folder() {
        for good in ["a", "data/train-0.parquet", "a b/ü.csv", ".gitattributes"] {
            assert!(safe_name(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a\\b", "a\n", ".", "a/", "C:x"] {
            assert!(!safe_name(bad), "{bad}");
        }
    }

    #[test]
    fn names_on_the_hub_are_told_from_others() {
        for good in ["openai-community/gpt2", "a/b.c_d-e", "gpt2", "distilgpt2"] {
            assert!(is_repository(good), "{good}");
        }
        let addresses = ["https://huggingface.co/a/b", "a b/c", "/b", "a/"];
        for bad in ["", ".gpt2", "gpt2--x", "a/b/c", "../b", "a/..", "a--b/c"].into_iter().chain(addresses) {
            assert!(!is_repository(bad), "{bad}");
        }
        assert!(is_revision("refs/pr/3") && is_revision("main") && is_revision("v1.0"));
        assert!(!is_revision("a b") && !is_revision("../main") && !is_revision("") && !is_revision("a?b"));
    }
}
