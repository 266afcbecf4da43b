//! `runner ls`: what runs now; the specs and suites here (or inside the program) with the tables and figures they make, and
//! the results here with their state.

use super::run::screen_width;
use crate::report::formats::{fitted, in_columns};
use crate::spec::shipped;
use crate::stage::progress::{Progress, short};
use crate::suite::{FileKind, load::glance};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Lists `specs/*.toml` and `results/*/manifest.json` below the current directory.
pub fn ls() -> i32 {
    let width = std::io::stdout().is_terminal().then(screen_width);
    let text = list(Path::new("."), width);
    // A closed pipe (`| head`) is no failure.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    0
}

/// `width`: of the screen, where it is one.
fn list(root: &Path, width: Option<usize>) -> String {
    let results: Vec<Found> =
        sorted_entries(&root.join("results")).into_iter().filter_map(|path| Found::read(root, &path)).collect();
    let here = root.join("specs");
    let inside = (!here.is_dir()).then(shipped::folder).transpose().ok().flatten();
    let files: Vec<Listed> = sorted_entries(inside.as_deref().unwrap_or(&here))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .filter_map(|path| Listed::read(inside.as_deref().unwrap_or(root), &path, &results))
        .collect();
    let mut sections = Vec::new();
    let running: Vec<Vec<String>> = results.iter().filter_map(Found::running).collect();
    let mut section = |head: &[&str], rows: Vec<Vec<String>>| {
        if !rows.is_empty() {
            let head = head.iter().map(|word| (*word).to_owned()).collect();
            let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
            sections.push(width.map_or_else(|| in_columns(&rows), |width| fitted(&rows, width)));
        }
    };
    section(&["RUNNING", "STAGE", "READY", "ON"], running);
    let of = |suite: bool| {
        let row = |f: &Listed| vec![f.path.clone(), f.makes.clone(), f.state.clone(), f.description.clone()];
        files.iter().filter(|file| file.suite == suite).map(row).collect()
    };
    section(&["SUITE", "MAKES", "STATE", "DESCRIPTION"], of(true));
    section(&["SPEC", "REPRODUCES", "STATE", "DESCRIPTION"], of(false));
    section(&["TABLE OR FIGURE", "SUITE", "STATE", "SPECS"], targets(&files));
    let row = |f: &Found| vec![f.path.clone(), f.state.clone(), f.finished.clone(), f.of.clone()];
    section(&["RESULTS", "STATE", "FINISHED", "OF"], results.iter().map(row).collect());
    if inside.is_some() {
        sections.push(
            "There is no folder specs/ here: these are inside the program. `runner NAME` runs one, `runner init mine --from NAME` \
             writes one to change.\n"
                .to_owned(),
        );
    }
    sections.join("\n")
}

/// A file in `specs/`.
struct Listed {
    path: String,
    suite: bool,
    /// Words, with commas.
    makes: String,
    state: String,
    description: String,
}

impl Listed {
    /// Leniently: a file with mistakes is listed too, and `validate` explains them. The paper's values are no spec.
    fn read(root: &Path, path: &Path, results: &[Found]) -> Option<Self> {
        let shown = shown(root, path);
        // Inside the program a spec goes by its name.
        let shown = if root.join("specs").is_dir() { shown } else { shown.trim_end_matches(".toml").to_owned() };
        let kind = FileKind::of(path);
        let parsed = std::fs::read_to_string(path).ok().and_then(|text| text.parse::<toml::Table>().ok());
        let Some(spec) = parsed else {
            let description = "(cannot be read: see `runner validate`)".into();
            return Some(Self {
                path: shown,
                suite: kind == FileKind::Suite,
                makes: "-".into(),
                state: "-".into(),
                description,
            });
        };
        if kind == FileKind::Paper {
            return None;
        }
        let text = |key: &str| spec.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_string();
        let makes = match kind {
            FileKind::Suite => text("makes"),
            _ => {
                let words = spec.get("reproduces").and_then(toml::Value::as_array).into_iter().flatten();
                words.filter_map(toml::Value::as_str).collect::<Vec<_>>().join(", ")
            }
        };
        let runs = glance(path).and_then(|g| g["runs"].as_u64()).unwrap_or(1);
        let state = state_of(&text("name"), kind == FileKind::Suite, runs, results);
        let makes = if makes.is_empty() { "-".into() } else { makes };
        Some(Self { path: shown, suite: kind == FileKind::Suite, makes, state, description: text("description") })
    }
}

/// A results directory.
struct Found {
    path: String,
    name: String,
    state: String,
    finished: String,
    /// Members done of all, of a suite.
    of: String,
    suite: bool,
    /// An older directory that `--fresh` kept.
    aside: bool,
    /// Of the spec, or none.
    profile: Option<String>,
    /// What a runner that works here says of itself: stage and run, when it will be ready, and on what device.
    now: Option<[String; 3]>,
}

impl Found {
    fn read(root: &Path, path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path.join("manifest.json")).ok()?;
        let manifest: Value = serde_json::from_str(&text).unwrap_or_default();
        let field = |name: &str| match &manifest[name] {
            Value::Null => "-".to_string(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let members = manifest["members"].as_array();
        let done = |all: &Vec<Value>| all.iter().filter(|m| m["state"] == "done").count();
        let of =
            members.map_or_else(|| "run".to_string(), |all| format!("suite, {} of {} runs done", done(all), all.len()));
        let held = is_held(path);
        let word = field("state");
        let progress = progress(path, members);
        let profile = manifest["profile"].as_str().map(str::to_owned);
        let mut state = match (word.as_str(), held) {
            // Its process is gone, and had no time to say so.
            ("running", false) => match &progress {
                Some(progress) => format!("killed in {}", at(progress)),
                None => "killed".to_owned(),
            },
            (_, true) => "running".to_owned(),
            (word, false) => word.to_owned(),
        };
        if let (Some(all), true) = (members, word != "done") {
            state = format!("{state}, {} of {}", done(all), all.len());
        }
        if let Some(profile) = &profile {
            state = format!("{state} ({profile} profile)");
        }
        let shown = shown(root, path);
        Some(Self {
            aside: shown.rsplit_once(".old-").is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())),
            path: shown,
            name: field("name"),
            state,
            finished: field("finished_at"),
            of,
            suite: members.is_some(),
            profile,
            now: held.then(|| {
                let stage = progress.as_ref().map_or_else(|| "starting".to_owned(), at);
                let ready = progress.as_ref().map_or_else(|| "-".to_owned(), ready);
                [stage, ready, field("device")]
            }),
        })
    }

    fn running(&self) -> Option<Vec<String>> {
        let now = self.now.as_ref()?;
        Some(std::iter::once(self.path.clone()).chain(now.iter().cloned()).collect())
    }
}

/// Of a run, or of the member of a suite that runs.
fn progress(path: &Path, members: Option<&Vec<Value>>) -> Option<Progress> {
    let running = members.and_then(|all| all.iter().find(|m| m["state"] == "running"));
    match (members, running) {
        (None, _) => Progress::read(path),
        (Some(_), Some(member)) => {
            let dir = member["dir"].as_str()?;
            let progress = Progress::read(&path.join(dir))?;
            let name = dir.rsplit('/').next().unwrap_or(dir);
            // When the suite will be ready is not known from one member.
            Some(Progress { stage: format!("{} of {name}", progress.stage), done_by: None, ..progress })
        }
        (Some(_), None) => None,
    }
}

fn at(progress: &Progress) -> String {
    let share = progress.share.map_or_else(String::new, |share| format!(", {:.0}%", 100.0 * share));
    format!("{}{share}", progress.stage)
}

/// How long a run still takes, as it said last.
fn ready(progress: &Progress) -> String {
    let by: Option<jiff::Timestamp> = progress.done_by.as_ref().and_then(|at| at.parse().ok());
    let seconds = by.map(|by| by.duration_since(jiff::Timestamp::now()).as_secs_f64());
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("in {}", short(seconds)))
}

/// The state of a spec's or suite's results: of a spec there may be several, one for each seed. What was kept aside is
/// history, and a profile's results are not the spec's.
fn state_of(name: &str, suite: bool, runs: u64, results: &[Found]) -> String {
    let of_it: Vec<&Found> = results.iter().filter(|f| f.suite == suite && f.name == name && !f.aside).collect();
    let whole: Vec<&Found> = of_it.iter().filter(|f| f.profile.is_none()).copied().collect();
    match (&whole[..], &of_it[..]) {
        ([], []) if suite => format!("not run ({runs} runs)"),
        ([], []) => "not run".into(),
        ([], [other, ..]) => format!("not run; {}", other.state),
        ([one], _) => one.state.clone(),
        (all, _) => {
            let done = all.iter().filter(|f| f.state == "done").count();
            format!("{done} of {} done", all.len())
        }
    }
}

/// Every table and figure: the suite that makes it, its state, and the specs that contribute.
fn targets(files: &[Listed]) -> Vec<Vec<String>> {
    let mut found: BTreeMap<(String, u32), (Vec<&Listed>, usize)> = BTreeMap::new();
    for file in files.iter().filter(|file| file.makes != "-") {
        for word in file.makes.split(", ") {
            // table10 after table9.
            let digits: String = word.chars().filter(char::is_ascii_digit).collect();
            let kind: String = word.chars().filter(|c| !c.is_ascii_digit()).collect();
            let (suites, specs) = found.entry((kind, digits.parse().unwrap_or(0))).or_default();
            if file.suite { suites.push(file) } else { *specs += 1 }
        }
    }
    found
        .into_iter()
        .map(|((kind, number), (suites, specs))| {
            let list = |of: &dyn Fn(&Listed) -> String| suites.iter().map(|s| of(s)).collect::<Vec<_>>().join(", ");
            let or_none = |text: String| if text.is_empty() { "-".to_string() } else { text };
            let target = if number == 0 { kind } else { format!("{kind}{number}") };
            vec![target, or_none(list(&|s| s.path.clone())), or_none(list(&|s| s.state.clone())), specs.to_string()]
        })
        .collect()
}

fn sorted_entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// Whether a runner works in a directory.
fn is_held(dir: &Path) -> bool {
    std::fs::File::open(dir.join(".lock")).is_ok_and(|file| file.try_lock_shared().is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_specs_suites_and_results_even_broken_ones() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(dir.path()))?;
            std::fs::write(path, text)
        };
        put("specs/a.toml", "name = \"a\"\ndescription = \"first\"\nreproduces = [\"figure2\"]\n")?;
        put("specs/b.toml", "name = ")?;
        put("specs/paper.toml", "paper_version = 1\n")?;
        put("specs/base/c.toml", "name = \"c\"\n")?;
        put(
            "specs/s.toml",
            "suite_version = 1\nname = \"s\"\nmakes = \"figure2\"\nseeds = [1, 2]\n[members.x]\nspec = \"a.toml\"\n",
        )?;
        put("results/a/manifest.json", "{\"name\": \"a\", \"state\": \"done\", \"finished_at\": null}")?;
        put(
            "results/s/manifest.json",
            "{\"name\": \"s\", \"state\": \"waiting\", \"members\": [{\"state\": \"done\"}, {\"state\": \"waiting\"}]}",
        )?;
        let text = list(dir.path(), None);
        assert!(text.contains("specs/a.toml  figure2     done   first\n"), "{text}");
        assert!(text.contains("specs/b.toml  -           -      (cannot be read"), "{text}");
        assert!(text.contains("specs/s.toml  figure2  waiting, 1 of 2\n"), "{text}");
        assert!(text.contains("figure2          specs/s.toml  waiting, 1 of 2  1\n"), "{text}");
        assert!(!text.contains("paper.toml") && !text.contains("base"), "{text}");
        assert!(text.contains("results/a  done             -         run\n"), "{text}");
        Ok(())
    }

    #[test]
    fn what_runs_and_what_was_killed_says_how_far_it_is() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir_all(dir.path().join("specs"))?;
        for name in ["a", "b", "c.old-1"] {
            let out = dir.path().join("results").join(name);
            std::fs::create_dir_all(&out)?;
            let manifest = "{\"name\": \"a\", \"state\": \"running\", \"device\": \"cpu\"}";
            std::fs::write(out.join("manifest.json"), manifest)?;
            let by = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(130);
            let progress = Progress {
                stage: "policy direct".into(),
                share: Some(0.36),
                updated_at: String::new(),
                done_by: Some(by.to_string()),
            };
            std::fs::write(Progress::path(&out), serde_json::to_string(&progress)?)?;
        }
        let lock = crate::store::lock::Lock::acquire(&dir.path().join("results/a"))?;
        let text = list(dir.path(), None);
        drop(lock);
        assert!(text.starts_with("RUNNING    STAGE               READY      ON\nresults/a  policy direct, 36%  in 2m "), "{text}");
        assert!(text.contains("results/b        killed in policy direct, 36%"), "{text}");
        Ok(())
    }

    #[test]
    fn a_smoke_run_is_not_the_specs_result_and_old_ones_do_not_count() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir_all(dir.path().join("specs"))?;
        std::fs::write(dir.path().join("specs/a.toml"), "name = \"a\"\n")?;
        let put = |name: &str, more: &str| {
            let out = dir.path().join("results").join(name);
            std::fs::create_dir_all(&out)?;
            std::fs::write(out.join("manifest.json"), format!("{{\"name\": \"a\", \"state\": \"done\"{more}}}"))
        };
        put("a.old-1", "")?;
        put("a-smoke", ", \"profile\": \"smoke\"")?;
        assert!(list(dir.path(), None).contains("specs/a.toml  -           not run; done (smoke profile)"), "{}", list(dir.path(), None));
        Ok(())
    }

    #[test]
    fn without_a_folder_the_programs_own_specs_are_listed_by_name() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let text = list(dir.path(), None);
        assert!(text.contains("\nquickstart ") && text.contains("inside the program"), "{text}");
        assert!(!text.contains("quickstart.toml"), "{text}");
        Ok(())
    }
}
