//! Every command that README.md, docs/, the headers of specs, `--help` and messages print is one that works: those that
//! run something are validated with their own options (tests/full_path runs them), the others are run in a scratch
//! copy.

use assert_cmd::Command;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a command is printed.
#[derive(Debug, Clone)]
struct Printed {
    place: String,
    text: String,
}

/// Commands that are not run here, by how they begin, and why.
const NOT_RUN: [(&str, &str); 20] = [
    ("runner [", "is how a command is written"),
    ("runner cluster", "asks Slurm: tests/cluster.rs, scripts/check_slurm.sh; with --dry-run it is run"),
    ("runner labels status DIR", "needs batches: tests/serve"),
    ("runner sample --format json", "a part of a command"),
    ("runner fetch SUITE", "fetches: tests/full_path"),
    ("runner fetch specs/tldr_60k_offline.toml", "fetches: tests/full_path; with --dry-run it is run"),
    ("runner import tensorflow FROM", "is how it is written"),
    ("runner import tensorflow DIR", "is how it is written"),
    ("runner import tensorflow https", "fetches: tests/full_path/released.rs"),
    ("runner labels serve", "serves until it is stopped: tests/serve"),
    ("runner doctor", "computes for a minute; .ci/run runs it"),
    ("runner labels drop", "needs answers of people: tests/serve and tests/browser"),
    ("runner labels restore", "the same"),
    ("runner labels import", "needs an answered export: tests/serve"),
    ("runner labels export", "needs batches: tests/serve"),
    ("runner labels status labels/", "needs batches: tests/serve"),
    ("runner labels agreement", "needs batches: tests/serve"),
    ("runner report results/SUITE", "needs a suite's results: tests/suites.rs"),
    ("runner stop", "needs a run in progress: tests/binary.rs"),
    ("runner logprobs --model DIR --input FILE.jsonl", "tests/weights.rs, with a file of its own"),
];

/// What a reader puts in the place of words in capitals.
const MEANT: [(&str, &str); 11] = [
    ("DIR...", "results/b"),
    ("SPEC|SUITE...", "specs/quickstart.toml"),
    ("SPEC...", "specs/quickstart.toml"),
    ("SPEC", "specs/quickstart.toml"),
    ("[NAME]", "tldr"),
    ("NAME", "tldr"),
    ("SUITE", "specs/table10_no_kl.toml"),
    ("TEXT", "Ruth"),
    ("DIR", "results/quickstart"),
    ("KEY", "policy.kl.target"),
    ("OP", "whiten"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn in_folder(folder: &str, ending: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(root().join(folder)).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = all.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    found.sort();
    found
}

/// Commands of a text: lines that are one (what follows two spaces is an explanation), and those in backquotes.
/// `comment` is what such lines begin with.
fn commands(place: &str, text: &str, comment: &str) -> Vec<Printed> {
    let mut found = Vec::new();
    let mut continued: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{place}:{}", number + 1);
        let bare = line.trim_start_matches(comment).trim_start_matches(['/', '!']).trim();
        let whole = match continued.take() {
            Some(before) => format!("{before} {bare}"),
            None => bare.to_string(),
        };
        if whole.starts_with("runner ") {
            match whole.strip_suffix('\\') {
                Some(open) => continued = Some(open.trim_end().to_string()),
                None => {
                    let command = whole.split("  ").next().unwrap_or(&whole).trim().to_string();
                    found.push(Printed { place: place.clone(), text: command });
                }
            }
        }
        let quoted = bare.split('`').skip(1).step_by(2).filter(|text| text.starts_with("runner "));
        found.extend(quoted.map(|text| Printed { place: place.clone(), text: text.into() }));
    }
    found
}

fn everything_printed() -> Vec<Printed> {
    let mut all = Vec::new();
    let shown = |path: &Path| path.strip_prefix(root()).expect("inside").display().to_string();
    for path in std::iter::once(root().join("README.md")).chain(in_folder("docs", ".md")) {
        all.extend(commands(&shown(&path), &read(&path), ""));
    }
    for path in in_folder("specs", ".toml").into_iter().chain(in_folder("specs/base", ".toml")) {
        let comments: String = read(&path)
            .lines()
            .map(|l| if l.starts_with('#') { l } else { "" })
            .fold(String::new(), |text, line| text + line + "\n");
        all.extend(commands(&shown(&path), &comments, "#"));
    }
    let help = Command::cargo_bin("runner").expect("the program").arg("--help").output().expect("it runs");
    all.extend(commands("runner --help", &String::from_utf8_lossy(&help.stdout), ""));
    all
}

/// Splits as a shell does, as far as quotes go.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut any) = (Vec::new(), String::new(), None, false);
    for c in text.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => (quote, any) = (Some(c), true),
            (None, c) if c.is_whitespace() => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            (_, c) => word.push(c),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}

/// A copy of what a reader has who cloned the repository, and files of the names that the documents use.
fn scratch() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    copy(&root().join("specs"), &dir.path().join("specs"));
    copy(&root().join("schemas"), &dir.path().join("schemas"));
    copy(&root().join("results/quickstart"), &dir.path().join("results/quickstart"));
    for name in ["a", "b", "mine"] {
        copy(&root().join("results/quickstart"), &dir.path().join("results").join(name));
    }
    fs::create_dir(dir.path().join("books")).expect("made");
    fs::write(dir.path().join("books/one.txt"), "A book.\n").expect("written");
    fs::write(dir.path().join("reviews.tsv"), "good\t1\nbad\t0\n").expect("written");
    fs::copy(root().join("tests/fixtures/labels/sentiment.json"), dir.path().join("PATH")).expect("copied");
    fs::write(dir.path().join("sources.toml"), "sources_version = 1\n").expect("written");
    fs::write(dir.path().join("cluster.toml"), documented_cluster()).expect("written");
    dir
}

/// The cluster.toml that docs/cluster.md begins with.
fn documented_cluster() -> String {
    let page = read(&root().join("docs/cluster.md"));
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a cluster.toml");
    block.lines().fold(String::new(), |text, line| text + line.trim() + "\n")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => {
                fs::copy(entry.path(), target).expect("copied");
            }
        }
    }
}

/// What is run for a command, or why nothing is.
fn arguments(printed: &Printed, dir: &Path) -> Result<Vec<String>, &'static str> {
    let left = |start: &str| printed.text.starts_with(start) && !printed.text.contains("--dry-run");
    if let Some((_, why)) = NOT_RUN.iter().find(|(start, _)| left(start)) {
        return Err(why);
    }
    if printed.text == "runner labels status" {
        return Err("names a command without its arguments");
    }
    let text = printed.text.split(" < ").next().unwrap_or(&printed.text);
    let mut words: Vec<String> = words(text).into_iter().skip(1).collect();
    if words.len() == 1 && !words[0].contains(['.', '|']) && !words[0].starts_with('-') {
        let complete = ["ls", "doctor", "schema", "sources"];
        if !complete.contains(&words[0].as_str()) {
            return Err("names a command without its arguments");
        }
    }
    if words.iter().any(|word| word == "...") || text.contains(" | ") {
        return Err("names several commands");
    }
    for word in &mut words {
        for (capital, meant) in MEANT {
            if word == capital {
                *word = meant.into();
            }
        }
    }
    if words.iter().any(|word| word == "--model") {
        words.iter_mut().filter(|w| *w == "results/quickstart").for_each(|w| *w = "specs/storyworld".into());
    }
    let spread: Vec<String> = words.iter().flat_map(|word| spread(word, dir)).collect();
    let runs = spread.first().is_some_and(|first| first.ends_with(".toml"));
    Ok(if runs { std::iter::once("validate".to_string()).chain(for_validate(&spread)).collect() } else { spread })
}

/// `specs/*.toml` as a shell spreads it.
fn spread(word: &str, dir: &Path) -> Vec<String> {
    match word.strip_suffix("/*.toml") {
        Some(folder) => {
            let found = fs::read_dir(dir.join(folder)).expect("a folder").map(|entry| entry.expect("an entry").path());
            let toml = found.filter(|path| path.extension().is_some_and(|e| e == "toml"));
            toml.map(|path| path.strip_prefix(dir).expect("inside").display().to_string()).collect()
        }
        None => vec![word.to_string()],
    }
}

/// Options of a run that a check does not take.
fn for_validate(words: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut skip = false;
    for word in words {
        let takes_value = ["--device", "--out", "--seeds", "--memory", "--members", "--skip", "--member", "--until"]
            .contains(&word.as_str());
        let alone = ["--fresh", "--no-progress", "--gather"].contains(&word.as_str());
        if !(std::mem::take(&mut skip) || takes_value || alone) {
            kept.push(word.clone());
        }
        skip = takes_value;
    }
    kept
}

/// What `runner math OP` reads, for the operations that documents name.
fn math_input(arguments: &[String]) -> &'static str {
    match arguments.get(1).map(String::as_str) {
        Some("label_schedule") => r#"{"initial": 10, "total": 100, "episodes": 1000, "at": [0, 500]}"#,
        _ => r#"{"values": [[1.0, 2.0], [3.0, 4.0]], "shift_mean": true}"#,
    }
}

#[test]
fn every_printed_command_works() {
    let dir = scratch();
    let (mut failed, mut run, mut left) = (Vec::new(), 0, 0);
    let mut seen: Vec<Vec<String>> = Vec::new();
    for printed in everything_printed() {
        let arguments = match arguments(&printed, dir.path()) {
            Ok(arguments) => arguments,
            Err(_) => {
                left += 1;
                continue;
            }
        };
        if seen.contains(&arguments) {
            continue;
        }
        seen.push(arguments.clone());
        run += 1;
        let mut command = Command::cargo_bin("runner").expect("the program");
        command.current_dir(dir.path()).env_remove("RUNNER_CACHE").env("XDG_CONFIG_HOME", dir.path().join("none"));
        command
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HOME", dir.path().join("hf"))
            .env("RUNNER_SOURCES", dir.path().join("kept"));
        let out = command.args(&arguments).write_stdin(math_input(&arguments)).output().expect("it runs");
        // A comparison may say that something regressed; a wrong command is 2.
        let good = match arguments.first().map(String::as_str) {
            Some("compare") => matches!(out.status.code(), Some(0 | 1)),
            _ => out.status.code() == Some(0),
        };
        if !good {
            let said = [out.stderr, out.stdout].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            failed.push(format!("{}: `{}` ({:?}):\n{said}", printed.place, printed.text, out.status.code()));
        }
    }
    println!("{run} commands run, {left} left out with a reason, {} failed", failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(run > 60, "only {run} commands were found");
}

/// Commands in backquotes within the program's own messages: at least, they are commands that it takes.
#[test]
fn every_command_in_a_message_is_one_of_the_program() {
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    let mut failed = Vec::new();
    for path in files {
        for printed in commands(&path.display().to_string(), &read(&path), "//") {
            // The parts of a message that are filled in, and words in capitals, are something of the right kind.
            let words: Vec<String> =
                words(&printed.text).into_iter().map(|w| if w.contains('{') { "x".into() } else { w }).collect();
            let plain =
                words.iter().take_while(|word| !word.contains(['|', '.', '['])).skip(1).cloned().collect::<Vec<_>>();
            let subcommand: Vec<String> =
                plain.into_iter().take_while(|w| w.chars().all(|c| c.is_ascii_lowercase())).collect();
            if subcommand.is_empty() {
                continue;
            }
            let known = (1..=subcommand.len()).rev().any(|length| {
                let mut command = Command::cargo_bin("runner").expect("the program");
                let out = command.args(&subcommand[..length]).arg("--help").output().expect("it runs");
                out.status.success()
            });
            if !known {
                failed.push(format!("{}: `{}`", printed.place, printed.text));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => walk(&path, files),
            false if path.extension().is_some_and(|e| e == "rs") => files.push(path),
            false => {}
        }
    }
}
