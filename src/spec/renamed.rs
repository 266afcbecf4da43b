//! What to type in place of a name that is not there: the file beside it that was meant, or what a table or figure is
//! called since names have the paper's numbers.

use super::did_you_mean;
use std::path::Path;

/// A former name, what it is called now, and what has its number now where that is something else.
const FORMER: [(&str, &str, Option<&str>); 11] = [
    ("table1", "table1_style_preference", None),
    ("table2", "table4_rouge", None),
    ("table3", "table5_summary_preference", None),
    ("table5", "table8_accuracy", Some("table5_summary_preference")),
    ("table9", "table9_agreement", None),
    ("table10", "table10_no_kl", None),
    ("figure2", "figure2_mock_curves", None),
    ("figure3", "figure3_frontier", None),
    ("figure4", "figure5_novelty", Some("figure4_win_rate_by_labels")),
    ("figure5", "figure6_copied_from", Some("figure5_novelty")),
    ("figure6", "table7_copied_start", Some("figure6_copied_from")),
];

/// What to type for a former name of a table or figure.
pub fn renamed(word: &str) -> Option<String> {
    let (former, now, number) = FORMER.iter().find(|(former, ..)| *former == word)?;
    let also = number.map_or_else(String::new, |other| format!(", and the paper's {former} is {other:?}"));
    Some(format!("names have the paper's numbers now: what was {former} here is {now:?}{also}"))
}

/// What to type for a file that is not there: nothing where its folder holds nothing like it.
pub fn instead_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if let Some(words) = renamed(path.file_stem()?.to_str()?) {
        return Some(words);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let beside: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    did_you_mean(name, beside.iter().map(String::as_str)).map(|(hint, _)| hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_s_former_name_leads_to_its_present_one() {
        assert_eq!(
            renamed("table2").unwrap(),
            "names have the paper's numbers now: what was table2 here is \"table4_rouge\""
        );
        let two = renamed("table5").unwrap();
        assert!(two.contains("\"table8_accuracy\"") && two.contains("\"table5_summary_preference\""), "{two}");
        assert_eq!(renamed("table4"), None);
    }

    #[test]
    fn a_file_that_is_not_there_has_the_nearest_one_suggested() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("quickstart.toml"), "").unwrap();
        let hint = |name: &str| instead_of(&dir.path().join(name));
        assert_eq!(hint("quikstart.toml").unwrap(), "did you mean \"quickstart.toml\"?");
        assert!(hint("table3.toml").unwrap().contains("table5_summary_preference"));
        assert_eq!(hint("something_else.toml"), None);
        assert_eq!(instead_of(Path::new("/")), None);
    }
}
