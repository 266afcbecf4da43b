//! `runner ls`: what runs now; the specs and suites here (or inside the program) with the tables and figures they make,
//! and the results here with their state.

use super::run::screen_width;
use crate::context::progress::short;
use crate::report::formats::{fitted, in_columns};
use crate::results::{Progress, State, file};
use crate::spec::shipped;
use crate::store::input::read_to_string;
use crate::store::lock::holder;
use crate::suite::{FileKind, load::glance};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Lists `specs/*.toml` and `results/*/manifest.json` below the current directory.
pub fn ls() -> i32 {
    let width = std::io::stdout().is_terminal().then(screen_width);
    print!("{}", list(Path::new("."), width));
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
        let makes = |f: &Listed| if suite { f.makes.clone() } else { numbers(&f.makes) };
        let row = |f: &Listed| vec![f.path.clone(), makes(f), f.state.clone(), f.description.clone()];
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
        // A pipe would be waited for.
        let text = path.is_file().then(|| std::fs::read_to_string(path).ok()).flatten();
        let parsed = text.and_then(|text| text.parse::<toml::Table>().ok());
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
        if matches!(kind, FileKind::Paper | FileKind::Cluster) {
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
    /// Runs that are done, and all.
    runs: (usize, usize),
    /// What `--fresh` kept aside: nobody's present results.
    old: bool,
    /// What a runner that works here says of itself: stage and run, when it will be ready, and where it works.
    now: Option<[String; 3]>,
}

impl Found {
    fn read(root: &Path, path: &Path) -> Option<Self> {
        let whole = read_to_string(&path.join(file::MANIFEST)).ok();
        let manifest: Value = match &whole {
            Some(text) => serde_json::from_str(text).unwrap_or_default(),
            None => of_tasks(path)?,
        };
        let field = |name: &str| match &manifest[name] {
            Value::Null => "-".to_string(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let members = manifest["members"].as_array();
        let word = if whole.is_some() { now(path, &field("state")) } else { field("state") };
        let how = changed(&manifest);
        let progress = progress(path, members);
        let runs = members.map_or((usize::from(word == "done"), 1), |all| {
            (all.iter().filter(|m| m["state"] == "done").count(), all.len())
        });
        // Where it was when its process ended without a word.
        let how = match &progress {
            Some(progress) if word == State::Interrupted.word() => format!(" in {}{how}", at(progress)),
            _ => how,
        };
        let of = match members {
            Some(_) => format!("suite, {} of {} runs done", runs.0, runs.1),
            None => "run".to_string(),
        };
        let state = match members {
            Some(_) if word != "done" => format!("{word}, {} of {}{how}", runs.0, runs.1),
            _ => format!("{word}{how}"),
        };
        Some(Self {
            path: shown(root, path),
            name: field("name"),
            state,
            finished: field("finished_at"),
            of,
            suite: members.is_some(),
            runs,
            old: is_old(path),
            now: (word == State::Running.word()).then(|| {
                let stage = progress.as_ref().map_or_else(|| "starting".to_owned(), at);
                let ready = progress.as_ref().map_or_else(|| "-".to_owned(), ready);
                let who = holder(path).map_or_else(String::new, |who| format!(", {who}"));
                [stage, ready, format!("{}{who}", field("device"))]
            }),
        })
    }

    fn running(&self) -> Option<Vec<String>> {
        let now = self.now.as_ref()?;
        Some(std::iter::once(self.path.clone()).chain(now.iter().cloned()).collect())
    }
}

/// What a suite's manifest would say where none has been made yet: its tasks were begun one by one (`--member`), and not
/// gathered.
fn of_tasks(path: &Path) -> Option<Value> {
    let suite = path.join(file::SUITE);
    let text = read_to_string(&suite).ok()?;
    let name = text.parse::<toml::Table>().ok()?.get("name")?.as_str()?.to_string();
    let task = |dir: PathBuf| {
        let text = read_to_string(&dir.join(file::MANIFEST)).ok()?;
        let manifest: Value = serde_json::from_str(&text).ok()?;
        let state = now(&dir, manifest["state"].as_str()?);
        Some(json!({ "dir": shown(path, &dir), "state": state, "device": manifest["device"] }))
    };
    let mut members: Vec<Value> = sorted_entries(&path.join("members")).into_iter().filter_map(task).collect();
    let running = members.iter().find(|member| member["state"] == "running").cloned();
    // Those that nobody has begun are counted too.
    let runs = glance(&suite).and_then(|glance| glance["runs"].as_u64()).unwrap_or(0) as usize;
    members.resize(runs.min(100_000).max(members.len()), json!({ "state": "not begun" }));
    let state = if running.is_some() { "running" } else { "not gathered" };
    Some(
        json!({ "name": name, "state": state, "members": members, "device": running.map(|task| task["device"].clone()) }),
    )
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
            // A member says when its suite will be ready.
            Some(Progress { stage: format!("{} of {name}", progress.stage), ..progress })
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

/// A state that a manifest says, or `interrupted` where nobody works there any more.
fn now(dir: &Path, state: &str) -> String {
    let known = serde_json::from_value::<State>(Value::String(state.into()));
    known.map_or_else(|_| state.to_string(), |state| state.now(dir).word().to_string())
}

/// What makes these not the results of the spec as it stands: `done` alone would promise them.
fn changed(manifest: &Value) -> String {
    let profile = manifest["profile"].as_str().map(|name| format!("profile {name}"));
    let keys = manifest["set"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let keys: Vec<&str> = keys.map(|set| set.split('=').next().unwrap_or(set).trim()).collect();
    let set = (!keys.is_empty()).then(|| format!("with --set {}", keys.join(", ")));
    let words: Vec<String> = profile.into_iter().chain(set).collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

/// Whether `--fresh` gave the directory its name: DIR.old-N.
fn is_old(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = name.rsplit_once(".old-").map(|(_, number)| number);
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// The state of a spec's or suite's results: of a spec there may be several, one for each seed.
fn state_of(name: &str, suite: bool, runs: u64, results: &[Found]) -> String {
    let found: Vec<&Found> = results.iter().filter(|f| f.suite == suite && f.name == name && !f.old).collect();
    match found[..] {
        [] if suite => format!("not run ({runs} runs)"),
        [] => "not run".into(),
        [one] => one.state.clone(),
        _ => {
            let (done, all) = found.iter().fold((0, 0), |(done, all), f| (done + f.runs.0, all + f.runs.1));
            format!("{done} of {all} runs done in {} directories", found.len())
        }
    }
}

/// The tables and figures of a spec by their numbers alone: "table4, figure5".
fn numbers(makes: &str) -> String {
    makes.split(", ").map(|word| word.split('_').next().unwrap_or(word)).collect::<Vec<_>>().join(", ")
}

/// Every table and figure: the suite that makes it, its state, and the specs that contribute.
fn targets(files: &[Listed]) -> Vec<Vec<String>> {
    let mut found: BTreeMap<(&str, u32, &str), (Vec<&Listed>, usize)> = BTreeMap::new();
    for file in files.iter().filter(|file| file.makes != "-") {
        for word in file.makes.split(", ") {
            // Table 10 stands after table 9.
            let kind = word.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default();
            let digits: String = word[kind.len()..].chars().take_while(char::is_ascii_digit).collect();
            let (suites, specs) = found.entry((kind, digits.parse().unwrap_or(0), word)).or_default();
            if file.suite { suites.push(file) } else { *specs += 1 }
        }
    }
    found
        .into_iter()
        .map(|((_, _, target), (suites, specs))| {
            let list = |of: &dyn Fn(&Listed) -> String| suites.iter().map(|s| of(s)).collect::<Vec<_>>().join(", ");
            let or_none = |text: String| if text.is_empty() { "-".to_string() } else { text };
            vec![
                target.to_string(),
                or_none(list(&|s| s.path.clone())),
                or_none(list(&|s| s.state.clone())),
                specs.to_string(),
            ]
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
        put("specs/a.toml", "name = \"a\"\ndescription = \"first\"\nreproduces = [\"figure2_mock_curves\"]\n")?;
        put("specs/b.toml", "name = ")?;
        put("specs/paper.toml", "paper_version = 1\n")?;
        put("specs/base/c.toml", "name = \"c\"\n")?;
        put(
            "specs/s.toml",
            "suite_version = 1\nname = \"s\"\nmakes = \"figure2_mock_curves\"\nseeds = [1, 2]\n[members.x]\nspec = \"a.toml\"\n",
        )?;
        put("results/a/manifest.json", "{\"name\": \"a\", \"state\": \"done\", \"finished_at\": null}")?;
        put("results/a.old-1/manifest.json", "{\"name\": \"a\", \"state\": \"failed\"}")?;
        put(
            "results/c/manifest.json",
            "{\"name\": \"c\", \"state\": \"done\", \"profile\": \"smoke\", \"set\": [\"policy.lr = 1\"]}",
        )?;
        // It was killed: nobody holds the directory's lock.
        put("results/d/manifest.json", "{\"name\": \"d\", \"state\": \"running\"}")?;
        put(
            "results/s/manifest.json",
            "{\"name\": \"s\", \"state\": \"waiting\", \"members\": [{\"state\": \"done\"}, {\"state\": \"waiting\"}]}",
        )?;
        let text = list(dir.path(), None);
        assert!(text.contains("specs/a.toml  figure2     done   first\n"), "{text}");
        assert!(text.contains("specs/b.toml  -           -      (cannot be read"), "{text}");
        assert!(text.contains("specs/s.toml  figure2_mock_curves  waiting, 1 of 2\n"), "{text}");
        assert!(text.contains("figure2_mock_curves  specs/s.toml  waiting, 1 of 2  1\n"), "{text}");
        assert!(!text.contains("paper.toml") && !text.contains("base"), "{text}");
        let row = |path: &str| text.lines().find(|l| l.split("  ").next() == Some(path)).unwrap_or_default();
        assert!(row("results/a").contains("  done  "), "{text}");
        assert!(row("results/c").contains("  done (profile smoke, with --set policy.lr)  "), "{text}");
        assert!(row("results/d").contains("  interrupted  "), "{text}");
        // Several directories: runs are counted.
        put(
            "results/s2/manifest.json",
            "{\"name\": \"s\", \"state\": \"done\", \"members\": [{\"state\": \"done\"}]}",
        )?;
        assert!(list(dir.path(), None).contains("2 of 3 runs done in 2 directories"));
        Ok(())
    }

    #[test]
    fn tasks_of_a_suite_are_listed_before_they_are_gathered() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let suite = dir.path().join("results/t");
        let put = |path: &str, text: &str| {
            let path = suite.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(&suite))?;
            std::fs::write(path, text)
        };
        std::fs::create_dir_all(dir.path().join("specs"))?;
        std::fs::create_dir_all(dir.path().join("results/empty"))?;
        put(
            "suite.toml",
            "suite_version = 1\nname = \"t\"\nseeds = [1, 2]\n[members.x]\nspec = \"a.toml\"\n[members.y]\nspec = \"a.toml\"\n",
        )?;
        put("members/x-seed-1/manifest.json", "{\"name\": \"a\", \"state\": \"done\"}")?;
        put("members/x-seed-2/manifest.json", "{\"name\": \"a\", \"state\": \"running\", \"device\": \"cpu\"}")?;
        let text = list(dir.path(), None);
        assert!(text.contains("results/t  not gathered, 1 of 4  -         suite, 1 of 4 runs done"), "{text}");
        let lock = crate::store::lock::Lock::acquire(&suite.join("members/x-seed-2"))?;
        let text = list(dir.path(), None);
        drop(lock);
        assert!(text.starts_with("RUNNING ") && text.contains("results/t  running, 1 of 4"), "{text}");
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
        assert!(
            text.starts_with("RUNNING    STAGE               READY      ON\nresults/a  policy direct, 36%  in 2m "),
            "{text}"
        );
        assert!(text.contains("results/b        interrupted in policy direct, 36%"), "{text}");
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
