//! How a suite ended, in words: the first line of its page and the last of its run.

use super::files::{MemberState, SuiteManifest};
use crate::results::Table;

/// How many runs and questions are done, what became of the others, and how many values hold the paper's.
pub fn headline(manifest: Option<&SuiteManifest>, tables: &[Table]) -> String {
    let runs = manifest.map_or_else(|| "No run is recorded.".to_owned(), states);
    let rows = || tables.iter().flat_map(|table| &table.rows);
    let beside: Vec<bool> = rows().filter_map(|row| Some((row.low?..=row.high?).contains(&row.paper?))).collect();
    if beside.is_empty() {
        return runs;
    }
    let inside = beside.iter().filter(|inside| **inside).count();
    format!(
        "{runs} Of {} values with the paper's beside them, {inside} have it inside their 95% interval.",
        beside.len()
    )
}

fn states(manifest: &SuiteManifest) -> String {
    let all: Vec<MemberState> =
        manifest.members.iter().map(|m| m.state).chain(manifest.questions.iter().map(|q| q.state)).collect();
    let what = if manifest.questions.is_empty() { "runs" } else { "runs and questions to readers" };
    let count = |state: MemberState| all.iter().filter(|s| **s == state).count();
    let done = count(MemberState::Done);
    if done == all.len() {
        return format!("All {} {what} are done.", all.len());
    }
    let others = [
        (MemberState::Running, "running"),
        (MemberState::Interrupted, "interrupted"),
        (MemberState::Waiting, "waiting for people"),
        (MemberState::Stopped, "stopped"),
        (MemberState::Failed, "failed"),
        (MemberState::Pending, "not begun"),
        (MemberState::LeftOut, "left out"),
    ];
    let others: Vec<String> = others
        .into_iter()
        .filter_map(|(state, word)| {
            Some((count(state), word)).filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}"))
        })
        .collect();
    let failed = manifest.members.iter().find(|m| m.state == MemberState::Failed);
    let why = failed
        .and_then(|m| Some(format!(" {} failed: {}.", m.dir.trim_start_matches("members/"), m.error.as_deref()?)));
    format!("{done} of {} {what} are done; {}.{}", all.len(), others.join(", "), why.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tables::{row, table};
    use serde_json::json;

    fn manifest(states: &[&str]) -> SuiteManifest {
        let members: Vec<_> = states
            .iter()
            .map(|state| json!({"member": "a", "seed": 1, "dir": "members/a-seed-1", "state": state, "error": "no data"}))
            .collect();
        serde_json::from_value(
            json!({"name": "t", "makes": "table2", "state": "running", "program_version": "", "device": "cpu",
            "seeds": [1], "members": members, "started_at": ""}),
        )
        .unwrap()
    }

    #[test]
    fn a_suite_says_what_is_done_and_what_is_not() {
        assert_eq!(headline(Some(&manifest(&["done", "done"])), &[]), "All 2 runs are done.");
        let some = headline(Some(&manifest(&["done", "waiting", "failed", "failed"])), &[]);
        let expected = "1 of 4 runs are done; 1 waiting for people, 2 failed. a-seed-1 failed: no data.";
        assert_eq!(some, expected);
        let with = |paper: Option<f64>| {
            let mut line = row("x", "r", "m", (2.0, 1.0, 3.0), 9, &[1], "");
            line.paper = paper;
            line
        };
        let table = table("t", "T", vec![with(Some(2.5)), with(Some(4.0)), with(None)]);
        let text = headline(None, &[table]);
        assert_eq!(
            text,
            "No run is recorded. Of 2 values with the paper's beside them, 1 have it inside their 95% interval."
        );
    }
}
