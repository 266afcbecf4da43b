//! From a suite file to checked members: the file, the chosen profile, the command line; then every member's spec at
//! every seed, through the same loader that runs it alone. All mistakes of all files at once.

use super::schema::of_suites;
use super::types::{Baseline, Member, Members, Suite};
use crate::spec::paths::{portable, settle};
use crate::spec::schema::did_you_mean;
use crate::spec::source::{Node, NodeKind, merge, parse_value, problem_at, read};
use crate::spec::{self, Loaded, Origin, Problem, Selection};
use serde_json::{Value, json};
use std::path::Path;

/// What the command line adds to a suite.
#[derive(Debug, Clone)]
pub struct SuiteOptions {
    /// `member.NAME.KEY=value` for one member, `preference.KEY=value` for the suite, `KEY=value` for every member.
    pub set: Vec<String>,
    /// Of the suite, and of every member.
    pub profile: Option<String>,
    pub seeds: Option<Vec<u64>>,
    /// As in [`spec::Options`].
    pub check_files: bool,
    pub for_run: bool,
    /// Check the suite and its members under every profile; those that are not chosen as they are written.
    pub all_profiles: bool,
    /// Members that are run; the others are checked as far as the suite's own file goes.
    pub selection: Selection,
}

impl SuiteOptions {
    /// What is said of a spec, as a suite takes it.
    pub fn of(options: &spec::Options) -> Self {
        Self {
            set: options.set.clone(),
            profile: options.profile.clone(),
            seeds: options.seed.map(|seed| vec![seed]),
            check_files: options.check_files,
            for_run: options.for_run,
            all_profiles: options.all_profiles,
            selection: options.selection.clone(),
        }
    }
}

impl Default for SuiteOptions {
    fn default() -> Self {
        Self {
            set: Vec::new(),
            profile: None,
            seeds: None,
            check_files: true,
            for_run: false,
            all_profiles: false,
            selection: Selection::default(),
        }
    }
}

/// A suite with every default written out, and its members' specs.
#[derive(Debug, Clone)]
pub struct LoadedSuite {
    pub suite: Suite,
    pub profile: Option<String>,
    /// In the order in which they run: of each member all seeds. Without those that are left out.
    pub members: Vec<LoadedMember>,
}

/// One member at one seed.
#[derive(Debug, Clone)]
pub struct LoadedMember {
    pub name: String,
    pub seed: u64,
    pub loaded: Loaded,
}

impl LoadedMember {
    /// The name of its results directory.
    pub fn folder(&self) -> String {
        member_folder(&self.name, self.seed)
    }
}

/// The results directory of a member at a seed, in the suite's `members/`.
pub fn member_folder(name: &str, seed: u64) -> String {
    format!("{name}-seed-{seed}")
}

/// Reads and checks a suite. Err: every mistake found, of the suite in the order of the file, then of its members.
pub fn load(path: &Path, options: &SuiteOptions) -> Result<LoadedSuite, Vec<Problem>> {
    let mut sheet = Sheet { path, options, problems: Vec::new() };
    let mut file = read(path)?;
    sheet.check(&mut file);
    settle(&mut file, path.parent().unwrap_or(Path::new("")));
    let profiles = names(&file, "profile");
    let chosen = options.profile.as_ref();
    if let Some(name) = chosen.filter(|name| !profiles.contains(name)) {
        let list = if profiles.is_empty() { "none".into() } else { profiles.join(", ") };
        let message = format!("there is no profile {name:?} in {}", path.display());
        sheet.command_line("", message, Some(format!("profiles: {list}")));
    }
    let known = chosen.is_none_or(|name| profiles.contains(name));
    let chosen = Layout { profile: chosen.filter(|_| known).map(String::as_str), chosen: true };
    sheet.select(&names(&file, "members"));
    let loaded = sheet.lay_out(&file, chosen).map(|(tree, suite)| {
        let members = sheet.members(&tree, &suite, chosen);
        LoadedSuite { suite, profile: options.profile.clone(), members }
    });
    sheet.others(&file, &profiles, chosen);
    let mut problems = sheet.problems;
    let mut seen = Vec::new();
    problems.retain(|problem| {
        let new = !seen.contains(problem);
        seen.push(problem.clone());
        new
    });
    match loaded {
        Some(loaded) if problems.is_empty() => Ok(loaded),
        _ => Err(problems),
    }
}

fn names(tree: &Node, table: &str) -> Vec<String> {
    tree.get(&[table]).and_then(Node::children).map(|children| children.keys().cloned().collect()).unwrap_or_default()
}

/// One way to lay out a suite.
#[derive(Clone, Copy, PartialEq)]
struct Layout<'a> {
    profile: Option<&'a str>,
    /// Whether it is what was asked for, and so has the command line on top.
    chosen: bool,
}

struct Sheet<'a> {
    path: &'a Path,
    options: &'a SuiteOptions,
    problems: Vec<Problem>,
}

impl Sheet<'_> {
    /// Reports what the schema refuses, and takes it out.
    fn check(&mut self, tree: &mut Node) {
        for mismatch in of_suites().check(tree) {
            let mut problem = mismatch.problem;
            if mismatch.path == ["makes"] {
                let word = tree.get(&mismatch.path).map(Node::to_json);
                problem.hint = word.as_ref().and_then(Value::as_str).and_then(spec::renamed).or(problem.hint);
            }
            if !mismatch.missing {
                tree.remove(&mismatch.path);
            }
            self.problems.push(problem);
        }
    }

    fn command_line(&mut self, path: &str, message: String, hint: Option<String>) {
        self.problems.push(Problem { file: None, line: 0, column: 0, path: path.into(), message, hint });
    }

    /// Blames what stands at `path`, or the nearest above it.
    fn refuse(&mut self, tree: &Node, path: &[&str], message: String, hint: Option<String>) {
        let node = tree.nearest(path);
        let origin = if matches!(node.origin, Origin::Default) { &tree.origin } else { &node.origin };
        self.problems.push(problem_at(origin, path.join("."), message, hint));
    }

    /// `--members` and `--skip` name members, and leave some.
    fn select(&mut self, members: &[String]) {
        let Selection { members: only, skip } = &self.options.selection;
        for (option, given) in [("--members", only), ("--skip", skip)] {
            for name in given.iter().filter(|name| !members.contains(name)) {
                let near = did_you_mean(name, members.iter().map(String::as_str)).map(|(hint, _)| hint);
                let hint = near.unwrap_or_else(|| format!("members: {}", members.join(", ")));
                self.command_line("", format!("{option}: there is no member {name:?}"), Some(hint));
            }
        }
        if !members.is_empty() && !members.iter().any(|name| self.options.selection.has(name)) {
            self.command_line("", "--members and --skip leave no member".into(), None);
        }
    }

    /// What was not chosen: profiles that name members which are not there, and where every profile is wanted, the
    /// members under each.
    fn others(&mut self, file: &Node, profiles: &[String], chosen: Layout<'_>) {
        let all = std::iter::once(None).chain(profiles.iter().map(|name| Some(name.as_str())));
        for profile in all.filter(|profile| *profile != chosen.profile) {
            let layout = Layout { profile, chosen: false };
            if let (Some((tree, suite)), true) = (self.lay_out(file, layout), self.options.all_profiles) {
                self.members(&tree, &suite, layout);
            }
        }
    }

    /// The suite in one layout.
    fn lay_out(&mut self, file: &Node, layout: Layout<'_>) -> Option<(Node, Suite)> {
        let mut tree = file.clone();
        tree.remove(&["profile"]);
        if let Some((name, overlay)) = layout.profile.and_then(|name| Some((name, file.get(&["profile", name])?))) {
            for member in names(overlay, "members").iter().filter(|m| file.get(&["members", m.as_str()]).is_none()) {
                let known = names(file, "members");
                let hint = did_you_mean(member, known.iter().map(String::as_str)).map(|(hint, _)| hint);
                let path = ["profile", name, "members", member];
                self.refuse(file, &path, "the suite has no such member".into(), hint);
            }
            merge(&mut tree, &overlay.overlay("", Some(name)));
            tree.origin = file.origin.clone();
        }
        if layout.chosen {
            self.read_set(&mut tree);
        }
        let mut suite: Suite = match serde_json::from_value(tree.to_json()) {
            Ok(suite) => suite,
            // What is missing has been reported by the schema.
            Err(_) if !self.problems.is_empty() => return None,
            Err(error) => {
                self.refuse(&tree, &[], error.to_string(), None);
                return None;
            }
        };
        suite.members.0.sort_by_key(|(name, _)| place_in(file, &["members", name]));
        if let (Some(seeds), true) = (&self.options.seeds, layout.chosen) {
            suite.seeds.clone_from(seeds);
        }
        self.rules(&tree, &suite);
        Some((tree, suite))
    }

    /// The command line, laid over the tree: first what is for every member, then what is for one, so that it wins.
    fn read_set(&mut self, tree: &mut Node) {
        let members = names(tree, "members");
        let mut for_one = Vec::new();
        for argument in &self.options.set {
            let Some((key, text)) = argument.split_once('=') else {
                let hint = Some("for example --set member.NAME.policy.kl.target=8.0".into());
                self.command_line(argument, "--set takes KEY=VALUE".into(), hint);
                continue;
            };
            let parts: Vec<&str> = key.trim().split('.').map(str::trim).collect();
            let value = parse_value(text.trim()).unwrap_or_else(|_| Value::String(text.trim().into()));
            let node = Node::from_json(&value, &Origin::CommandLine(format!("--set {argument}")));
            match parts[..] {
                ["preference", ..] => self.set_preference(tree, &parts, node),
                ["member" | "members", name, _, ..]
                    if members.iter().any(|known| known == name) && !self.options.selection.has(name) =>
                {
                    self.command_line(key, format!("member {name:?} is left out by --members or --skip"), None);
                }
                ["member" | "members", name, _, ..] if members.iter().any(|known| known == name) => {
                    for_one.push((name.to_string(), parts[2..].join("."), node));
                }
                ["member" | "members", ..] => {
                    let name = parts.get(1).copied().unwrap_or_default();
                    let near = did_you_mean(name, members.iter().map(String::as_str)).map(|(hint, _)| hint);
                    let hint = near.unwrap_or_else(|| format!("members: {}", members.join(", ")));
                    self.command_line(key, "names no key of a member: member.NAME.KEY".into(), Some(hint));
                }
                _ => members.iter().for_each(|name| set_member(tree, name, &parts.join("."), node.clone())),
            }
        }
        for (name, key, node) in for_one {
            set_member(tree, &name, &key, node);
        }
    }

    fn set_preference(&mut self, tree: &mut Node, parts: &[&str], node: Node) {
        let path: Vec<String> = parts.iter().map(|part| (*part).to_string()).collect();
        let mut set = Node::table(Origin::Default);
        set.insert(&path, node);
        for mismatch in of_suites().check(&set).into_iter().filter(|mismatch| !mismatch.missing) {
            set.remove(&mismatch.path);
            self.problems.push(mismatch.problem);
        }
        merge(tree, &set);
    }

    /// What a schema cannot say.
    fn rules(&mut self, tree: &Node, suite: &Suite) {
        for (key, message, hint) in suite.preference.mistakes(suite.makes.asks(), self.options.check_files) {
            self.refuse(tree, &["preference", key], message, hint);
        }
        if suite.has_a_seed_twice() {
            self.refuse(tree, &["seeds"], "a seed is given twice".into(), None);
        }
        if suite.preference.ways == 3 {
            self.refuse(tree, &["preference", "ways"], "must be 2 or 4, found 3".into(), None);
        }
        match (suite.makes.compares(), suite.comparisons.is_empty()) {
            (true, true) => {
                let message = format!("{} is of comparisons, and there are none", suite.makes.word());
                self.refuse(tree, &["makes"], message, Some("add [[comparisons]] with a and b".into()));
            }
            (false, false) => {
                let message = format!("{} compares no models by preference", suite.makes.word());
                self.refuse(
                    tree,
                    &["comparisons"],
                    message,
                    Some("remove them, or make a table of preferences".into()),
                );
            }
            _ => {}
        }
        for (i, comparison) in suite.comparisons.iter().enumerate() {
            let nth = format!("comparison {} ({} against {})", i + 1, comparison.a, comparison.b);
            let both = [&comparison.a, &comparison.b];
            for writer in both {
                if suite.members.get(writer).is_some() || Baseline::of(writer).is_some() {
                    continue;
                }
                let known: Vec<&str> =
                    suite.members.names().chain(Baseline::ALL.iter().map(|(name, _)| *name)).collect();
                let hint = did_you_mean(writer, known.iter().copied()).map(|(hint, _)| hint);
                let hint = hint.unwrap_or_else(|| format!("known: {}", known.join(", ")));
                self.refuse(tree, &["comparisons"], format!("{nth}: {writer:?} is no member"), Some(hint));
            }
            if comparison.a == comparison.b {
                self.refuse(tree, &["comparisons"], format!("{nth}: both are the same"), None);
            }
            if both.iter().all(|writer| Baseline::of(writer).is_some()) {
                let message = format!("{nth}: one of them must be a member, whose task and queries they share");
                self.refuse(tree, &["comparisons"], message, None);
            }
            let fixed = both.iter().find(|writer| Baseline::of(writer).is_some_and(Baseline::is_fixed));
            if let (Some(writer), 4) = (fixed, suite.preference.ways) {
                let message = format!("{nth}: {writer:?} has one text per query, and preference.ways = 4 shows two");
                self.refuse(tree, &["comparisons"], message, Some("take preference.ways = 2".into()));
            }
        }
    }

    /// Every member's spec at every seed. A member's own profiles are its own affair.
    fn members(&mut self, tree: &Node, suite: &Suite, layout: Layout<'_>) -> Vec<LoadedMember> {
        let mut found = Vec::new();
        let mut blameless: Vec<(Problem, Vec<&str>)> = Vec::new();
        let selected: Vec<&(String, Member)> =
            suite.members.0.iter().filter(|(name, _)| self.options.selection.has(name)).collect();
        for (name, member) in &selected {
            // Found beside the suite when it was read, if it is there; else one of those inside the program.
            let path = &spec::shipped::beside(Path::new(""), Path::new(&member.spec));
            if !path.is_file() {
                let message = format!("there is no spec {}", path.display());
                let beside = self.path.parent().unwrap_or(Path::new("")).join(path);
                self.refuse(tree, &["members", name, "spec"], message, spec::instead_of(&beside));
                continue;
            }
            let set = flat(&member.set);
            for seed in &suite.seeds {
                let options = spec::Options {
                    set: set.clone(),
                    profile: layout.profile.map(str::to_string),
                    seed: Some(*seed),
                    check_files: self.options.check_files,
                    for_run: self.options.for_run && layout.chosen,
                    ..spec::Options::default()
                };
                match spec::load(path, &options) {
                    Ok(loaded) => {
                        self.run_exists(tree, name, member.run.as_deref(), &loaded);
                        let loaded = loaded.of_several_seeds();
                        found.push(LoadedMember { name: name.clone(), seed: *seed, loaded });
                    }
                    Err(problems) => {
                        for problem in problems.into_iter().map(|problem| placed(tree, name, problem)) {
                            match blameless.iter_mut().find(|(known, _)| *known == problem) {
                                _ if problem.file.is_some() => self.problems.push(problem),
                                Some((_, members)) => members.push(name),
                                None => blameless.push((problem, vec![name])),
                            }
                        }
                        break;
                    }
                }
            }
        }
        // The command line speaks to all members at once, so that its mistakes are said once, with who they are of.
        self.problems.extend(blameless.into_iter().map(|(problem, members)| {
            let of = if members.len() == selected.len() { "every member".into() } else { members.join(", ") };
            Problem { message: format!("{} (for {of})", problem.message), ..problem }
        }));
        found
    }

    fn run_exists(&mut self, tree: &Node, name: &str, run: Option<&str>, loaded: &Loaded) {
        let Some(run) = run else { return };
        let runs: Vec<&str> = loaded.variants.iter().map(|(run, _)| run.as_str()).collect();
        if !runs.contains(&run) {
            let hint = format!("runs of its spec: {}", runs.join(", "));
            self.refuse(tree, &["members", name, "run"], format!("there is no run {run:?}"), Some(hint));
        }
    }
}

/// A mistake in `set` is one of the suite's file.
fn placed(tree: &Node, name: &str, problem: Problem) -> Problem {
    if problem.file.is_some() {
        return problem;
    }
    let set = tree.get(&["members", name, "set"]);
    // The deepest key of `set` that the problem's path begins with.
    let node = set.and_then(|set| {
        let keys = keyed(set);
        keys.into_iter()
            .find(|(key, _)| problem.path == *key || problem.path.starts_with(&format!("{key}.")))
            .map(|(_, n)| n)
    });
    match node.map(|node| &node.origin) {
        Some(origin @ (Origin::File { .. } | Origin::Profile { .. })) => {
            problem_at(origin, format!("members.{name}.set.{}", problem.path), problem.message, problem.hint)
        }
        _ => problem,
    }
}

/// One key of a member's `set`, which is written in one piece.
fn set_member(tree: &mut Node, name: &str, key: &str, node: Node) {
    tree.insert(&["members", name, "set", key].map(String::from), node);
}

/// Where a key was first written: the order of the file.
fn place_in(file: &Node, path: &[&str]) -> (usize, usize) {
    match file.get(path).map(|node| &node.origin) {
        Some(Origin::File { line, column, .. }) => (*line, *column),
        _ => (usize::MAX, 0),
    }
}

/// `set` as arguments of `--set`: tables are keys one level down.
fn flat(set: &toml::Table) -> Vec<String> {
    fn walk(key: &str, value: &toml::Value, out: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => table.iter().for_each(|(k, v)| walk(&format!("{key}.{k}"), v, out)),
            value => out.push(format!("{key}={value}")),
        }
    }
    let mut out = Vec::new();
    set.iter().for_each(|(key, value)| walk(key, value, &mut out));
    out
}

/// Every leaf of `set` by its whole key.
fn keyed(set: &Node) -> Vec<(String, &Node)> {
    fn walk<'n>(node: &'n Node, key: &str, out: &mut Vec<(String, &'n Node)>) {
        match &node.kind {
            NodeKind::Table(table) => table.iter().for_each(|(k, child)| {
                walk(child, &if key.is_empty() { k.clone() } else { format!("{key}.{k}") }, out);
            }),
            NodeKind::Leaf(_) => out.push((key.to_string(), node)),
        }
    }
    let mut out = Vec::new();
    walk(set, "", &mut out);
    out
}

/// The resolved suite as TOML, in which members' specs are as their own files say.
pub fn resolved_toml(suite: &Suite, profile: Option<&str>) -> String {
    let head = profile.map(|name| format!("# with profile {name:?}\n")).unwrap_or_default();
    match toml::to_string(suite) {
        Ok(text) => head + &text,
        Err(error) => format!("# this suite has no TOML form: {error}\n"),
    }
}

/// The suite with paths that hold for a file in `out`.
pub fn portable_suite(suite: &Suite, out: &Path) -> Suite {
    let of_member = |(name, member): &(String, Member)| {
        let mut value = json!({ "members": { name: member } });
        portable(&mut value, out);
        serde_json::from_value(value["members"][name].take()).unwrap_or_else(|_| member.clone())
    };
    let members = suite.members.0.iter().map(|entry| (entry.0.clone(), of_member(entry))).collect();
    let mut preference = json!({ "preference": &suite.preference });
    portable(&mut preference, out);
    let preference = serde_json::from_value(preference["preference"].take());
    Suite {
        members: Members(members),
        preference: preference.unwrap_or_else(|_| suite.preference.clone()),
        ..suite.clone()
    }
}

/// Of a file that only has to be listed: its name, what it makes, its description and members; nothing where it cannot
/// be read.
pub fn glance(path: &Path) -> Option<Value> {
    // A pipe would be waited for.
    if !path.is_file() {
        return None;
    }
    let table: toml::Table = std::fs::read_to_string(path).ok()?.parse().ok()?;
    let text = |key: &str| table.get(key).and_then(toml::Value::as_str).map(str::to_string);
    let members = table.get("members").and_then(toml::Value::as_table).map_or(0, toml::Table::len);
    let seeds = table.get("seeds").and_then(toml::Value::as_array).map_or(1, Vec::len);
    Some(json!({ "name": text("name"), "makes": text("makes"), "description": text("description"),
        "runs": members * seeds }))
}

#[cfg(test)]
mod tests;
