//! The layers of a spec, lowest first: type defaults, task preset, the `extends` chain, the file, the chosen
//! profile, (for a variant) its run, `--set`, `--seed`. What was chosen is checked with the command line; what was not
//! is checked as it is written, since the command line was not meant for it.

use super::blame::place;
use super::check::{Finding, learner::keys_of_another, rules};
use super::layers::{drop_from_runs, stack};
use super::paths::{of_profile, settle, tidy};
use super::remarks::remarks;
use super::schema::{array_hint, check, did_you_mean, expected, schema_at, wants_string};
use super::size::size_is_of_the_weights;
use super::source::{Node, NodeKind, merge, merge_runs, parse_value, problem_at, read};
use super::{Loaded, Options, Origin, Problem, Spec, expand_home, instead_of, shipped};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Reads, merges and checks a spec. Err: every mistake found, in the order of the file.
pub fn load(path: &Path, options: &Options) -> Result<Loaded, Vec<Problem>> {
    let mut layers = Vec::new();
    let mut problems = Vec::new();
    read_chain(path, &mut Vec::new(), &mut layers, &mut problems);
    if !problems.is_empty() {
        return Err(sorted(problems));
    }
    let mut sheet = Sheet {
        file: path,
        options,
        files: Node::table(start_of(path)),
        set: Node::table(Origin::Default),
        bad: BTreeSet::new(),
        broken: BTreeSet::new(),
        problems,
        remarks: Vec::new(),
    };
    for mut layer in layers {
        sheet.check_layer(&mut layer);
        merge(&mut sheet.files, &layer);
    }
    sheet.files.origin = start_of(path);
    sheet.files.remove(&["extends"]);
    if !options.selection.is_all() {
        let hint = "--members and --skip choose among the members of a suite".to_string();
        sheet.refuse("", format!("{} is a spec, and has no members", path.display()), Some(hint));
    }
    sheet.read_set();
    let loaded = sheet.resolve();
    match loaded {
        Some(loaded) if sheet.problems.is_empty() => Ok(Loaded { remarks: sorted(sheet.remarks), ..loaded }),
        _ => Err(sorted(sheet.problems)),
    }
}

fn start_of(path: &Path) -> Origin {
    Origin::File { file: path.to_path_buf(), line: 1, column: 1 }
}

fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    problems.dedup();
    problems
}

/// `path` and what it extends, lowest first.
fn read_chain(path: &Path, above: &mut Vec<(PathBuf, PathBuf)>, layers: &mut Vec<Node>, problems: &mut Vec<Problem>) {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut node = match read(path) {
        Ok(node) => node,
        Err(found) => return problems.extend(found),
    };
    if let Some(extends) = node.get(&["extends"])
        && let NodeKind::Leaf(Value::String(base)) = &extends.kind
    {
        let base = tidy(&shipped::beside(folder, &expand_home(base)));
        above.push((path.to_path_buf(), path.canonicalize().unwrap_or_else(|_| path.to_path_buf())));
        let mut refuse = |message: String| problems.push(problem_at(&extends.origin, "extends".into(), message, None));
        match base.canonicalize() {
            Err(error) => {
                let path = std::path::absolute(&base).unwrap_or_else(|_| base.clone());
                let near = instead_of(&base).map(|hint| format!("; {hint}")).unwrap_or_default();
                refuse(format!("{} cannot be read: {error}{near}", path.display()));
            }
            Ok(real) if above.iter().any(|(_, seen)| *seen == real) => {
                let chain: Vec<String> = above
                    .iter()
                    .map(|(shown, _)| shown.display().to_string())
                    .chain([base.display().to_string()])
                    .collect();
                refuse(format!("goes round in a circle: {}", chain.join(" -> ")));
            }
            Ok(_) => read_chain(&base, above, layers, problems),
        }
    }
    settle(&mut node, folder);
    layers.push(node);
}

/// Path, message and hint of an argument that cannot be read.
type Refusal = (String, String, Option<String>);

/// What the file and the command line say, while it is being checked.
struct Sheet<'a> {
    file: &'a Path,
    options: &'a Options,
    /// The `extends` chain and the file, merged; still with `profile` and `runs`.
    files: Node,
    /// `--set` and `--seed`.
    set: Node,
    /// Keys whose value is wrong, without `profile.NAME.` and `runs.NAME.`: rules that read them keep silent.
    bad: BTreeSet<String>,
    /// Rules that something laid out before has broken, by the keys they read: of a run, or of the spec ("").
    broken: BTreeSet<(String, Vec<&'static str>)>,
    problems: Vec<Problem>,
    /// Of the chosen layout.
    remarks: Vec<Problem>,
}

/// One way to lay out a spec.
#[derive(Clone, Copy)]
struct Layout<'a> {
    profile: Option<&'a str>,
    /// Whether it is what was asked for, and so has the command line on top.
    chosen: bool,
}

impl Sheet<'_> {
    /// Reports what the schema refuses in one layer, and takes it out. What is missing may stand in another layer.
    fn check_layer(&mut self, layer: &mut Node) {
        for mismatch in check(layer) {
            if mismatch.missing {
                continue;
            }
            layer.remove(&mismatch.path);
            self.bad.extend(
                [Some(&mismatch.path), mismatch.meant.as_ref()].into_iter().flatten().map(|path| plain_path(path)),
            );
            self.problems.push(mismatch.problem);
        }
    }

    fn refuse(&mut self, path: &str, message: String, hint: Option<String>) {
        self.problems.push(Problem { file: None, line: 0, column: 0, path: path.into(), message, hint });
    }

    fn read_set(&mut self) {
        let mut set = Node::table(Origin::CommandLine("--set".into()));
        for argument in &self.options.set {
            match self.read_argument(argument) {
                Ok((path, node)) => set.insert(&path, node),
                Err((path, message, hint)) => self.refuse(&path, message, hint),
            }
        }
        if let Some(seed) = self.options.seed {
            set.insert(&["seed".into()], Node::from_json(&json!(seed), &Origin::CommandLine(format!("--seed {seed}"))));
        }
        self.check_layer(&mut set);
        settle(&mut set, Path::new(""));
        self.set = set;
    }

    fn read_argument(&self, argument: &str) -> Result<(Vec<String>, Node), Refusal> {
        let Some((key, text)) = argument.split_once('=') else {
            return Err((
                argument.into(),
                "--set takes KEY=VALUE".into(),
                Some("for example --set policy.kl.target=8.0".into()),
            ));
        };
        let (key, text) = (key.trim(), text.trim());
        let path: Vec<String> = key.split('.').map(|part| part.trim().to_string()).collect();
        if path.iter().any(String::is_empty) {
            return Err((key.into(), "is not a dotted key".into(), Some("for example policy.kl.target".into())));
        }
        if path[0] == "profile" || path[0] == "extends" {
            return Err((key.into(), format!("`{}` cannot be set from the command line", path[0]), None));
        }
        if let ("runs", Some(name)) = (path[0].as_str(), path.get(1)) {
            let runs = self.run_names();
            if !runs.contains(name) {
                return Err((key.into(), format!("there is no run {name:?}"), names_hint(name, &runs, "runs")));
            }
        }
        let value = match (parse_value(text), schema_at(&path)) {
            (Ok(value), _) => value,
            (Err(_), Some(schema)) if wants_string(schema) => Value::String(text.into()),
            (Err(_), None) => Value::String(text.into()),
            (Err(_), Some(schema)) => {
                let found = if text.is_empty() { "nothing".into() } else { format!("{text:?}") };
                return Err((
                    key.into(),
                    format!("expected {}, found {found}", expected(schema)),
                    array_hint(schema, text),
                ));
            }
        };
        Ok((path, Node::from_json(&value, &Origin::CommandLine(format!("--set {key}={text}")))))
    }

    /// The runs of the spec, and those that only the chosen profile has.
    fn run_names(&self) -> Vec<String> {
        let mut runs = names(&self.files, "runs");
        let overlay = self.options.profile.as_ref().and_then(|name| self.files.get(&["profile", name]));
        runs.extend(overlay.map(|overlay| names(overlay, "runs")).unwrap_or_default());
        runs
    }

    /// The chosen layout, checked with the command line. Where all profiles are wanted, the others are checked by
    /// themselves; what is wrong with the chosen one is not said again of them.
    fn resolve(&mut self) -> Option<Loaded> {
        let profiles = names(&self.files, "profile");
        let chosen = self.options.profile.clone();
        let known = chosen.as_ref().is_none_or(|name| profiles.contains(name));
        if let (Some(name), false) = (&chosen, known) {
            let hint = names_hint(name, &profiles, "profiles");
            self.refuse("", format!("there is no profile {name:?} in {}", self.file.display()), hint);
        }
        let loaded = if known { self.lay_out(Layout { profile: chosen.as_deref(), chosen: true }) } else { None };
        if self.options.all_profiles {
            let others = std::iter::once(None).chain(profiles.iter().map(|name| Some(name.as_str())));
            for profile in others.filter(|other| !known || *other != chosen.as_deref()) {
                self.lay_out(Layout { profile, chosen: false });
            }
        }
        loaded
    }

    /// The spec and its variants in one layout.
    fn lay_out(&mut self, layout: Layout<'_>) -> Option<Loaded> {
        let mut upper = self.files.clone();
        upper.remove(&["profile"]);
        if let Some((name, overlay)) = layout.profile.and_then(|name| Some((name, self.files.get(&["profile", name])?)))
        {
            merge(&mut upper, &overlay.overlay(&format!("profile.{name}"), Some(name)));
            of_profile(&mut upper, name);
        }
        upper.origin = self.files.origin.clone();
        upper.prefix = String::new();
        let mut set = if layout.chosen { self.set.clone() } else { Node::table(Origin::Default) };
        let mut runs = upper.remove(&["runs"]).unwrap_or_else(|| Node::table(Origin::Default));
        for (path, _) in set.leaves() {
            drop_from_runs(&mut runs, &path);
        }
        if let Some(set_runs) = set.remove(&["runs"]) {
            merge_runs(&mut runs, &set_runs);
        }
        let names: Vec<String> = runs.children().map(|table| table.keys().cloned().collect()).unwrap_or_default();

        let base = stack(&upper, None, &set);
        let spec = self.typed(&base, names.is_empty().then_some(""), layout);
        let mut variants = Vec::new();
        for name in &names {
            let overlay = runs.get(&[name])?.overlay_run(name);
            let tree = stack(&upper, Some(&overlay), &set);
            variants.push((name.clone(), self.typed(&tree, Some(name), layout)));
        }
        let mut spec = spec?;
        let mut origins = origins(&spec, &base);
        let mut typed = Vec::new();
        let whole = serde_json::to_value(&spec).ok()?;
        for (name, variant) in variants {
            let variant = variant?;
            let mut changes = Value::Object(difference(&serde_json::to_value(&variant).ok()?, &whole));
            // PPO goes without saying, but not where it takes another's place.
            if variant.policy.algorithm.is_ppo() && !spec.policy.algorithm.is_ppo() {
                changes["policy"]["algorithm"] = json!(variant.policy.algorithm.word());
            }
            spec.runs.insert(name.clone(), serde_json::from_value(changes).ok()?);
            typed.push((name, variant));
        }
        origins.extend(runs.leaves().into_iter().map(|(path, node)| (format!("runs.{path}"), node.origin.clone())));
        if typed.is_empty() {
            typed.push(("main".into(), spec.clone()));
        }
        Some(Loaded { spec, origins, variants: typed, remarks: Vec::new() })
    }

    /// The tree as a spec; reports what is missing and, for a variant (by the run's name, or "" where the spec has no
    /// runs), the rules it breaks.
    fn typed(&mut self, tree: &Node, variant: Option<&str>, layout: Layout<'_>) -> Option<Spec> {
        let mismatches = check(tree);
        let complete = mismatches.is_empty();
        self.problems.extend(
            mismatches
                .into_iter()
                .filter(|mismatch| !self.bad.contains(&plain_path(&mismatch.path)))
                .map(|mismatch| mismatch.problem),
        );
        if !complete && !self.only_names_missing(tree) {
            return None;
        }
        let mut value = tree.to_json();
        if !complete {
            value["spec_version"] = json!(1);
            value["name"] = json!("unnamed");
        }
        let spec: Spec = match serde_json::from_value(value) {
            Ok(spec) => spec,
            Err(error) => {
                self.problems.push(problem_at(&tree.origin, String::new(), error.to_string(), None));
                return None;
            }
        };
        if let Some(run) = variant {
            self.check_rules(tree, &spec, run, layout);
        }
        Some(Spec { policy: spec.policy.clone().settled(), ..spec })
    }

    fn check_rules(&mut self, tree: &Node, spec: &Spec, run: &str, layout: Layout<'_>) {
        // Only what is asked for is run.
        let options = Options { for_run: self.options.for_run && layout.chosen, ..self.options.clone() };
        for finding in self.findings(tree, spec, &options) {
            let rule = (run.to_string(), finding.keys.clone());
            let said = !layout.chosen && self.broken.contains(&rule);
            self.broken.insert(rule);
            if !said && !finding.keys.iter().any(|key| self.bad.contains(*key)) {
                self.problems.push(place(tree, self.file, finding));
            }
        }
        if layout.chosen {
            self.remarks.extend(remarks(spec, tree).into_iter().map(|finding| place(tree, self.file, finding)));
        }
    }

    /// Broken rules of a variant: between its values, and between what was written where.
    fn findings(&self, tree: &Node, spec: &Spec, options: &Options) -> Vec<Finding> {
        let mut all = rules(spec, options);
        all.extend(size_is_of_the_weights(tree, spec));
        all.extend(keys_of_another(tree, spec, self.file));
        all
    }

    /// Rules can still be checked on a spec that only lacks its name or version.
    fn only_names_missing(&self, tree: &Node) -> bool {
        check(tree).iter().all(|mismatch| mismatch.missing && mismatch.path.len() == 1)
    }
}

impl Node {
    fn overlay_run(&self, name: &str) -> Node {
        let profile = match &self.origin {
            Origin::Profile { name, .. } => Some(name.clone()),
            _ => None,
        };
        self.overlay(&format!("runs.{name}"), profile.as_deref())
    }
}

fn origins(spec: &Spec, tree: &Node) -> BTreeMap<String, Origin> {
    let value = serde_json::to_value(spec).unwrap_or_default();
    let resolved = Node::from_json(&value, &Origin::Default);
    let leaves = resolved.leaves();
    let origin =
        |path: &str| tree.get(&path.split('.').collect::<Vec<_>>()).map_or(Origin::Default, |node| node.origin.clone());
    leaves
        .into_iter()
        .filter(|(path, _)| !path.starts_with("runs."))
        .map(|(path, _)| (path.clone(), origin(&path)))
        .collect()
}

/// What a variant changes. A key that the variant lacks was dropped by another, so its whole table is written.
fn difference(variant: &Value, base: &Value) -> Map<String, Value> {
    let (Value::Object(variant), Value::Object(base)) = (variant, base) else { return Map::new() };
    let lacks = base.keys().any(|key| !variant.contains_key(key));
    let mut out = Map::new();
    for (key, value) in variant {
        match base.get(key) {
            Some(same) if same == value && !lacks => {}
            Some(other @ Value::Object(_)) if value.is_object() && !lacks => {
                out.insert(key.clone(), Value::Object(difference(value, other)));
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    out
}

/// A dotted path without the `profile.NAME` or `runs.NAME` it stands under.
fn plain_path(path: &[String]) -> String {
    let mut rest = path;
    while matches!(rest.first().map(String::as_str), Some("runs" | "profile")) {
        rest = rest.get(2..).unwrap_or_default();
    }
    rest.join(".")
}

fn names(tree: &Node, table: &str) -> Vec<String> {
    tree.get(&[table]).and_then(Node::children).map(|children| children.keys().cloned().collect()).unwrap_or_default()
}

fn names_hint(name: &str, names: &[String], what: &str) -> Option<String> {
    let near = did_you_mean(name, names.iter().map(String::as_str)).map(|(hint, _)| format!("{hint} "));
    let list = if names.is_empty() { "none".to_string() } else { names.join(", ") };
    Some(format!("{}{what}: {list}", near.unwrap_or_default()))
}
