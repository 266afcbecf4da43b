//! `runner ls`: the specs and suites here with the tables and figures they make, and the results here with their state.

use crate::report::files::State;
use crate::suite::{FileKind, load::glance};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Lists `specs/*.toml` and `results/*/manifest.json` below the current directory.
pub fn ls() -> i32 {
    let text = list(Path::new("."));
    // A closed pipe (`| head`) is no failure.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    0
}

fn list(root: &Path) -> String {
    let results: Vec<Found> =
        sorted_entries(&root.join("results")).into_iter().filter_map(|path| Found::read(root, &path)).collect();
    let files: Vec<Listed> = sorted_entries(&root.join("specs"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .filter_map(|path| Listed::read(root, &path, &results))
        .collect();
    let of = |suite: bool| files.iter().filter(move |file| file.suite == suite);
    let mut out = table(
        ["SUITE", "MAKES", "STATE", "DESCRIPTION"],
        &of(true).map(|f| [&f.path, &f.makes, &f.state, &f.description].map(Clone::clone)).collect::<Vec<_>>(),
    );
    out.push('\n');
    out += &table(
        ["SPEC", "REPRODUCES", "STATE", "DESCRIPTION"],
        &of(false)
            .map(|f| [f.path.clone(), numbers(&f.makes), f.state.clone(), f.description.clone()])
            .collect::<Vec<_>>(),
    );
    let by_target = targets(&files);
    if !by_target.is_empty() {
        out.push('\n');
        out += &table(["TABLE OR FIGURE", "SUITE", "STATE", "SPECS"], &by_target);
    }
    if !results.is_empty() {
        let rows: Vec<[String; 4]> =
            results.iter().map(|f| [&f.path, &f.state, &f.finished, &f.of].map(Clone::clone)).collect();
        out.push('\n');
        out += &table(["RESULTS", "STATE", "FINISHED", "OF"], &rows);
    }
    out
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
        if matches!(kind, FileKind::Paper | FileKind::Sources) {
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
        let (word, how) = (now(path, &field("state")), changed(&manifest));
        let runs = members.map_or((usize::from(word == "done"), 1), |all| {
            (all.iter().filter(|m| m["state"] == "done").count(), all.len())
        });
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
        })
    }
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
fn targets(files: &[Listed]) -> Vec<[String; 4]> {
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
            [
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

fn table(head: [&str; 4], rows: &[[String; 4]]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2)];
    let line = |row: [&str; 4]| {
        let cells: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        format!("{cells}{}", row[3]).trim_end().to_string() + "\n"
    };
    std::iter::once(line(head)).chain(rows.iter().map(|row| line(row.each_ref().map(String::as_str)))).collect()
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
        let text = list(dir.path());
        assert!(text.contains("specs/a.toml  figure2     done   first\n"), "{text}");
        assert!(text.contains("specs/b.toml  -           -      (cannot be read"), "{text}");
        assert!(text.contains("specs/s.toml  figure2_mock_curves  waiting, 1 of 2\n"), "{text}");
        assert!(text.contains("figure2_mock_curves  specs/s.toml  waiting, 1 of 2  1\n"), "{text}");
        assert!(!text.contains("paper.toml") && !text.contains("base"), "{text}");
        let row = |path: &str| text.lines().find(|l| l.split("  ").next() == Some(path)).unwrap_or_default();
        assert!(row("results/a").contains("  done  "), "{text}");
        assert!(row("results/c").contains("  done (profile smoke, with --set policy.lr)  "), "{text}");
        assert!(row("results/d").contains("  interrupted  "), "{text}");
        assert!(list(&dir.path().join("nowhere")).starts_with("SUITE"));
        // Several directories: runs are counted.
        put(
            "results/s2/manifest.json",
            "{\"name\": \"s\", \"state\": \"done\", \"members\": [{\"state\": \"done\"}]}",
        )?;
        assert!(list(dir.path()).contains("2 of 3 runs done in 2 directories"));
        Ok(())
    }
}
