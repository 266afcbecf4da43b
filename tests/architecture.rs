//! The house stays as ARCHITECTURE.md draws it: every arrow between rooms runs down, functions and files are short.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest function and file of src, in lines.
const FUNCTION: usize = 60;
const FILE: usize = 500;
/// Tables of words.
const WORDS: [&str; 1] = ["src/data/storyworld.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All source files with their paths from the root.
fn sources() -> Vec<(String, String)> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            match entry.is_dir() {
                true => walk(&entry, out),
                false if entry.extension().is_some_and(|e| e == "rs") => out.push(entry),
                false => {}
            }
        }
    }
    let mut all = Vec::new();
    walk(&root().join("src"), &mut all);
    all.sort();
    let name = |path: &Path| path.strip_prefix(root()).expect("below").to_string_lossy().replace('\\', "/");
    all.iter().map(|path| (name(path), fs::read_to_string(path).expect("UTF-8"))).collect()
}

/// The rooms in ARCHITECTURE.md, from the ground up: rows of its table that begin with a number.
fn rooms() -> Vec<String> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let rows =
        text.lines().filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit()));
    rows.map(|row| row.split('`').nth(1).expect("a room's name in `backticks`").to_string()).collect()
}

/// The first name of a path in src, without `.rs`.
fn room_of(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap_or(file);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

/// Names after `crate::`, one by one, in braces too.
fn uses(text: &str) -> Vec<&str> {
    let name =
        |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum::<usize>();
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push(&rest[..name(rest)]),
            Some(inside) => {
                let (mut depth, mut start) = (0, true);
                for (i, c) in inside.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && c.is_alphanumeric() => {
                            found.push(&inside[i..i + name(&inside[i..])]);
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

#[test]
fn every_arrow_runs_down() {
    let rooms = rooms();
    let floor = |room: &str| rooms.iter().position(|known| known == room);
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let from = room_of(&file);
        if matches!(from, "lib" | "main") {
            continue;
        }
        let Some(own) = floor(from) else {
            wrong.push(format!("{file}: the room `{from}` is not in ARCHITECTURE.md"));
            continue;
        };
        for used in uses(&text).into_iter().filter(|used| *used != from) {
            match floor(used) {
                Some(below) if below < own => {}
                Some(_) => wrong.push(format!("{file}: `{from}` uses `{used}`, which is above it")),
                None => wrong.push(format!("{file}: uses `crate::{used}`, which is no room")),
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_of_the_list_is_there() {
    for room in rooms() {
        let (folder, file) = (root().join("src").join(&room), root().join(format!("src/{room}.rs")));
        assert!(folder.is_dir() || file.is_file(), "{room}");
    }
}

/// Lines of the functions of a file, without its tests.
fn functions(text: &str) -> Vec<(String, usize)> {
    let body = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines: Vec<&str> = body.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        let Some(at) = bare.find("fn ").filter(|at| {
            bare[..*at]
                .split(' ')
                .all(|w| w.is_empty() || w.starts_with("pub") || ["const", "async", "unsafe"].contains(&w))
        }) else {
            continue;
        };
        // What ends with a semicolon is declared and has no body.
        let signature = lines[start..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if bare.ends_with('}') || signature.is_some_and(|line| line.ends_with(';')) {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| line.starts_with(&closing)).unwrap_or(0);
        found.push((bare[at + 3..].chars().take_while(|c| *c != '(' && *c != '<').collect(), end + 1));
    }
    found
}

#[test]
fn functions_and_files_are_short() {
    let mut long = Vec::new();
    for (file, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE && !WORDS.contains(&file.as_str()) {
            long.push(format!("{file}: {lines} lines"));
        }
        if file.contains("test") {
            continue;
        }
        let found = functions(&text).into_iter().filter(|(_, lines)| *lines > FUNCTION);
        long.extend(found.map(|(name, lines)| format!("{file}: {name}: {lines} lines")));
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert_eq!(uses("use crate::{a, b::{c, d}, e}; crate::f::g"), ["a", "b", "e", "f"]);
    let text = "    pub fn one(\n        x: u8,\n    ) {\n        two();\n    }\n\nfn three() -> u8 {\n}\n    fn declared(\n        x: u8,\n    );\n#[cfg(test)]\nmod tests {\n";
    assert_eq!(functions(text), [("one".to_string(), 5), ("three".to_string(), 2)]);
}
