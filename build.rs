//! Puts into the program: the git commit, for the manifest of its runs; the specs, for where there is no clone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for file in [".git/logs/HEAD", "src"] {
        if Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    embed_specs();
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_string())
    };
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        // Changes that are not committed make the commit alone a wrong answer.
        let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
        println!("cargo::rustc-env=RUNNER_GIT_COMMIT={commit}{}", if changed { "-dirty" } else { "" });
    }
}

/// `specs.rs` in OUT_DIR: every file of `specs/` by its path in there, with its bytes (src/spec/shipped.rs).
fn embed_specs() {
    println!("cargo::rerun-if-changed=specs");
    let root = std::env::current_dir().unwrap_or_default().join("specs");
    let mut files = Vec::new();
    list(&root, &mut files);
    files.sort();
    let mut text = String::from("[\n");
    for file in &files {
        let name = file.strip_prefix(&root).unwrap_or(file).to_string_lossy().replace('\\', "/");
        // A path that the compiler completes: a target directory that another clone filled, or a clone that moved, still builds.
        let inside = format!("/specs/{name}");
        text +=
            &format!("    ({name:?}, include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {inside:?})).as_slice()),\n");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("specs.rs");
    if let Err(e) = fs::write(&out, text + "]\n") {
        println!("cargo::error={}: {e}", out.display());
    }
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => list(&path, files),
            false if !entry.file_name().to_string_lossy().starts_with('.') => files.push(path),
            false => {}
        }
    }
}
