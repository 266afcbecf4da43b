//! `runner init`: a spec to start from, on top of one that the program has inside.

use super::chain;
use super::model::{CommandFailure, exit_code};
use crate::spec::{Options, Spec, did_you_mean, load, shipped};
use crate::store::atomic::write_atomic;
use crate::suite::FileKind;
use clap::Args;
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct InitArgs {
    /// Name of the new spec or suite, and of its file NAME.toml here
    #[arg(default_value = "mine")]
    name: String,
    /// The spec or suite to start from (`runner ls` lists them)
    #[arg(long, value_name = "SPEC", default_value = "quickstart")]
    from: String,
}

/// Exit code 0, 2 for a name that cannot be used, 1 where writing fails.
pub fn init(args: &InitArgs) -> i32 {
    exit_code(run(Path::new(""), args).map(|path| {
        let path = path.display();
        eprintln!(
            "{path}: starts from {}; change what you like, then:\n  runner plan {path}\n  runner {path}",
            args.from
        );
    }))
}

fn run(dir: &Path, args: &InitArgs) -> Result<PathBuf, CommandFailure> {
    let name = args.name.strip_suffix(".toml").unwrap_or(&args.name);
    let good = (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if !good {
        return Err(CommandFailure::Input(format!("{name:?} is no name: 1 to 64 letters, digits, _ and -")));
    }
    let parent = shipped::meant(Path::new(&args.from)).ok_or_else(|| {
        let known: Vec<&str> = shipped::names().filter_map(|name| name.strip_suffix(".toml")).collect();
        let near =
            did_you_mean(&args.from, known.iter().copied()).map_or_else(String::new, |(hint, _)| format!("; {hint}"));
        CommandFailure::Input(format!("the program has no spec {:?} inside{near}; `runner ls` lists them", args.from))
    })?;
    let folder = shipped::folder().map_err(|e| CommandFailure::Run(chain(&e)))?;
    let source = folder.join(parent);
    let text = match FileKind::of(&source) {
        FileKind::Spec => spec_text(name, parent, &source)?,
        FileKind::Suite => suite_text(name, &source)?,
        FileKind::Paper | FileKind::Sources | FileKind::Cluster => {
            return Err(CommandFailure::Input(format!("{parent} is no spec and no suite; there is nothing to run")));
        }
    };
    let path = dir.join(format!("{name}.toml"));
    if path.exists() {
        return Err(CommandFailure::Input(format!("{} is there already; give another name", path.display())));
    }
    write_atomic(&path, text.as_bytes()).map_err(|e| CommandFailure::Run(format!("{}: {e}", path.display())))?;
    Ok(path)
}

/// A spec that extends another: the keys that one changes first, commented out, with the values that they have there.
fn spec_text(name: &str, parent: &str, source: &Path) -> Result<String, CommandFailure> {
    let options = Options { check_files: false, ..Options::default() };
    let loaded = load(source, &options).map_err(|problems| {
        CommandFailure::Run(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    let mut text = format!(
        "# What is not written here is as in {parent}, which the program has inside: `runner plan {name}.toml` shows every value\n\
         # and where it comes from. Take the # away from what you want to change.\n\
         spec_version = 1\nname = {name:?}\ndescription = \"\"\nextends = {parent:?}\nreproduces = []\n"
    );
    for (table, keys) in starting_keys(&loaded.spec) {
        let _ = writeln!(text, "\n#[{table}]");
        for (key, value, comment) in keys {
            let _ = writeln!(text, "{:<32} # {comment}", format!("#{key} = {value}"));
        }
    }
    Ok(text)
}

type Keys = Vec<(&'static str, String, &'static str)>;

fn starting_keys(spec: &Spec) -> Vec<(&'static str, Keys)> {
    let mut tables: Vec<(&'static str, Keys)> = Vec::new();
    if spec.task.data.path.is_some() {
        tables.push(("task", vec![("data", "{ path = \"DATA\" }".into(), "the task's text: docs/data.md")]));
    }
    let collect = ("labels", spec.collect.labels.to_string(), "comparisons that the reward model learns from");
    tables.push(("collect", vec![collect]));
    if spec.has_rl() {
        let p = &spec.policy;
        tables.push((
            "policy",
            vec![
                ("episodes", p.episodes.to_string(), "responses that RL samples, in all"),
                ("lr", format!("{:?}", p.lr), "learning rate"),
            ],
        ));
        tables.push((
            "policy.kl",
            vec![("target", format!("{:?}", p.kl.target), "nats that π is steered to, away from ρ")],
        ));
    }
    tables.push((
        "evaluate",
        vec![("queries", spec.evaluate.queries.to_string(), "held-out queries; more make intervals narrower")],
    ));
    tables
}

/// A suite as it is, under another name; its members' specs are found inside the program.
fn suite_text(name: &str, source: &Path) -> Result<String, CommandFailure> {
    let text =
        std::fs::read_to_string(source).map_err(|e| CommandFailure::Run(format!("{}: {e}", source.display())))?;
    let named = |line: &str| line.split_once('=').is_some_and(|(key, _)| key.trim() == "name");
    let mut head = true;
    let lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("#:schema"))
        .map(|line| {
            head &= !line.trim_start().starts_with('[');
            if head && named(line) { format!("name = {name:?}") } else { line.to_owned() }
        })
        .collect();
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite;

    fn made(dir: &Path, name: &str, from: &str) -> Result<PathBuf, String> {
        let args = InitArgs { name: name.into(), from: from.into() };
        run(dir, &args).map_err(|failure| match failure {
            CommandFailure::Input(message) | CommandFailure::Run(message) => message,
            CommandFailure::Output(e) => e.to_string(),
        })
    }

    #[test]
    fn every_spec_inside_can_be_started_from_and_the_new_one_is_valid() {
        let dir = tempfile::tempdir().unwrap();
        let folder = shipped::folder().unwrap();
        let runs = |name: &&str| matches!(FileKind::of(&folder.join(name)), FileKind::Spec | FileKind::Suite);
        for from in shipped::names().filter(runs) {
            let path = made(dir.path(), &format!("my_{}", from.trim_end_matches(".toml")), from).unwrap();
            // What is commented out is right too.
            let text = std::fs::read_to_string(&path).unwrap().replace("\n#[", "\n[");
            let text: Vec<&str> =
                text.lines().map(|l| l.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(l)).collect();
            std::fs::write(&path, text.join("\n")).unwrap();
            let problems: Vec<String> = match FileKind::of(&path) {
                FileKind::Suite => {
                    let options = suite::load::SuiteOptions { check_files: false, ..Default::default() };
                    suite::load(&path, &options).err().unwrap_or_default()
                }
                _ => load(&path, &Options { check_files: false, ..Options::default() }).err().unwrap_or_default(),
            }
            .iter()
            .map(ToString::to_string)
            .collect();
            assert!(problems.is_empty(), "{from}: {problems:?}\n{}", text.join("\n"));
        }
    }

    #[test]
    fn nothing_is_overwritten_and_names_are_names() {
        let dir = tempfile::tempdir().unwrap();
        made(dir.path(), "mine", "quickstart").unwrap();
        assert!(made(dir.path(), "mine", "quickstart").unwrap_err().contains("there already"));
        assert!(made(dir.path(), "../x", "quickstart").unwrap_err().contains("no name"));
        assert!(made(dir.path(), "x", "qickstart").unwrap_err().contains("quickstart"));
        assert!(made(dir.path(), "x", "paper").unwrap_err().contains("nothing to run"));
    }
}
