//! The layers of a spec, lowest first: type defaults, task preset, the `extends` chain, the file, the chosen
//! profile, (for a variant) its run, `--set`, `--seed`. Everything is checked, chosen or not.

use super::check::rules;
use super::schema::{check, did_you_mean, expected, join_prefix, schema_at, wants_string};
use super::source::{Kind, Node, merge, merge_runs, parse, parse_value, problem_at, read, replaced_by};
use super::{CollectSpec, HumanSpec, Loaded, Options, Origin, Problem, Spec, shipped};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each preset's released-code values, and what the paper says differently (`follows`).
const PRESETS: [(&str, &str, &str); 4] = [
    ("sentiment", include_str!("presets/sentiment.toml"), include_str!("presets/sentiment_paper.toml")),
    (
        "descriptiveness",
        include_str!("presets/descriptiveness.toml"),
        include_str!("presets/descriptiveness_paper.toml"),
    ),
    ("tldr", include_str!("presets/tldr.toml"), include_str!("presets/tldr_paper.toml")),
    ("cnndm", include_str!("presets/cnndm.toml"), include_str!("presets/cnndm_paper.toml")),
];

/// Reads, merges and checks a spec. Err: every mistake found, in the order of the file.
pub fn load(path: &Path, options: &Options) -> Result<Loaded, Vec<Problem>> {
    let mut layers = Vec::new();
    let mut problems = Vec::new();
    read_chain(path, &mut Vec::new(), &mut layers, &mut problems);
    if !problems.is_empty() {
        return Err(sorted(problems));
    }
    let dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut sheet = Sheet {
        file: path,
        dir: dir.clone(),
        options,
        files: Node::table(start_of(path)),
        set: Node::table(Origin::Default),
        bad: BTreeSet::new(),
        problems,
    };
    for mut layer in layers {
        sheet.check_layer(&mut layer);
        merge(&mut sheet.files, &layer);
    }
    sheet.files.origin = start_of(path);
    sheet.files.remove(&["extends"]);
    sheet.read_set();
    let loaded = sheet.resolve();
    match loaded {
        Some(loaded) if sheet.problems.is_empty() => Ok(Loaded { dir, ..loaded }),
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
    let node = match read(path) {
        Ok(node) => node,
        Err(found) => return problems.extend(found),
    };
    if let Some(extends) = node.get(&["extends"])
        && let Kind::Leaf(Value::String(base)) = &extends.kind
    {
        let base = shipped::beside(path.parent().unwrap_or(Path::new("")), base);
        above.push((path.to_path_buf(), path.canonicalize().unwrap_or_else(|_| path.to_path_buf())));
        let mut refuse = |message: String| problems.push(problem_at(&extends.origin, "extends".into(), message, None));
        match base.canonicalize() {
            Err(error) => refuse(format!("{} cannot be read: {error}", base.display())),
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
    layers.push(node);
}

/// Path, message and hint of an argument that cannot be read.
type Refusal = (String, String, Option<String>);

/// What the file and the command line say, while it is being checked.
struct Sheet<'a> {
    file: &'a Path,
    dir: PathBuf,
    options: &'a Options,
    /// The `extends` chain and the file, merged; still with `profile` and `runs`.
    files: Node,
    /// `--set` and `--seed`.
    set: Node,
    /// Keys whose value is wrong, without `profile.NAME.` and `runs.NAME.`: rules that read them keep silent.
    bad: BTreeSet<String>,
    problems: Vec<Problem>,
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
        if let ("runs", Some(name)) = (path[0].as_str(), path.get(1))
            && self.files.get(&["runs", name]).is_none()
        {
            return Err((
                key.into(),
                format!("there is no run {name:?}"),
                names_hint(name, &names(&self.files, "runs"), "runs"),
            ));
        }
        let value = match (parse_value(text), schema_at(&path)) {
            (Ok(value), _) => value,
            (Err(_), Some(schema)) if wants_string(schema) => Value::String(text.into()),
            (Err(_), None) => Value::String(text.into()),
            (Err(reason), Some(schema)) => {
                return Err((
                    key.into(),
                    format!("expected {}, found {text:?}", expected(schema)),
                    Some(format!("as TOML: {reason}")),
                ));
            }
        };
        Ok((path, Node::from_json(&value, &Origin::CommandLine(format!("--set {key}={text}")))))
    }

    /// Every profile and run is laid out and checked; the chosen one is returned.
    fn resolve(&mut self) -> Option<Loaded> {
        let profiles = names(&self.files, "profile");
        let chosen = self.options.profile.clone();
        if let Some(name) = chosen.as_ref().filter(|name| !profiles.contains(name)) {
            let hint = names_hint(name, &profiles, "profiles");
            self.refuse("", format!("there is no profile {name:?} in {}", self.file.display()), hint);
        }
        for other in profiles.iter().filter(|name| Some(*name) != chosen.as_ref()) {
            self.lay_out(Some(other));
        }
        if chosen.is_some() && profiles.iter().all(|name| Some(name) != chosen.as_ref()) {
            self.lay_out(None);
            return None;
        }
        self.lay_out(chosen.as_deref())
    }

    /// The spec and its variants under one profile.
    fn lay_out(&mut self, profile: Option<&str>) -> Option<Loaded> {
        let mut upper = self.files.clone();
        upper.remove(&["profile"]);
        if let Some((name, overlay)) = profile.and_then(|name| Some((name, self.files.get(&["profile", name])?))) {
            merge(&mut upper, &overlay.overlay(&format!("profile.{name}"), Some(name)));
        }
        upper.origin = self.files.origin.clone();
        upper.prefix = String::new();
        let mut set = self.set.clone();
        let mut runs = upper.remove(&["runs"]).unwrap_or_else(|| Node::table(Origin::Default));
        for (path, _) in self.set.leaves() {
            drop_from_runs(&mut runs, &path);
        }
        if let Some(set_runs) = set.remove(&["runs"]) {
            merge_runs(&mut runs, &set_runs);
        }
        let names: Vec<String> = runs.children().map(|table| table.keys().cloned().collect()).unwrap_or_default();

        let base = stack(&upper, None, &set);
        let spec = self.typed(&base, names.is_empty());
        let mut variants = Vec::new();
        for name in &names {
            let overlay = runs.get(&[name])?.overlay_run(name);
            let tree = stack(&upper, Some(&overlay), &set);
            variants.push((name.clone(), self.typed(&tree, true)));
        }
        let mut spec = spec?;
        let mut origins = origins(&spec, &base);
        let mut typed = Vec::new();
        let whole = serde_json::to_value(&spec).ok()?;
        for (name, variant) in variants {
            let variant = variant?;
            let changes = difference(&serde_json::to_value(&variant).ok()?, &whole);
            spec.runs.insert(name.clone(), serde_json::from_value(Value::Object(changes)).ok()?);
            typed.push((name, variant));
        }
        origins.extend(runs.leaves().into_iter().map(|(path, node)| (format!("runs.{path}"), node.origin.clone())));
        if typed.is_empty() {
            typed.push(("main".into(), spec.clone()));
        }
        Some(Loaded { spec, origins, variants: typed, dir: PathBuf::new() })
    }

    /// The tree as a spec; reports what is missing and, for a variant, the rules it breaks.
    fn typed(&mut self, tree: &Node, variant: bool) -> Option<Spec> {
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
        if variant {
            for finding in rules(&spec, &self.dir, self.options) {
                if !finding.keys.iter().any(|key| self.bad.contains(*key)) {
                    self.problems.push(place(tree, finding.keys, finding.message, finding.hint));
                }
            }
        }
        Some(spec)
    }

    /// Rules can still be checked on a spec that only lacks its name or version.
    fn only_names_missing(&self, tree: &Node) -> bool {
        check(tree).iter().all(|mismatch| mismatch.missing && mismatch.path.len() == 1)
    }
}

/// Blames the key that was set in the highest layer.
fn place(tree: &Node, keys: Vec<&'static str>, message: String, hint: Option<String>) -> Problem {
    let rank = |origin: &Origin| match origin {
        Origin::Default => 0,
        Origin::Preset(_) => 1,
        Origin::File { .. } => 2,
        Origin::Profile { .. } => 3,
        Origin::CommandLine(_) => 5,
    };
    let split = |key: &'static str| key.split('.').collect::<Vec<_>>();
    let mut best: Option<(i32, &str, &Node)> = None;
    for key in keys.iter().copied() {
        let Some(node) = tree.get(&split(key)) else { continue };
        let score = if node.prefix.starts_with("runs.") { 4 } else { rank(&node.origin) };
        if best.as_ref().is_none_or(|(highest, _, _)| score > *highest) {
            best = Some((score, key, node));
        }
    }
    let (key, node) =
        best.map_or_else(|| (keys.first().copied().unwrap_or_default(), tree), |(_, key, node)| (key, node));
    let origin = match &node.origin {
        // Nothing was written: the file as a whole is to blame.
        Origin::Default | Origin::Preset(_) => &tree.origin,
        written => written,
    };
    problem_at(origin, join_prefix(&node.prefix, &[key]), message, hint)
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

/// Defaults, preset, upper layers, run, command line; the preset is the one that the layers above it name.
fn stack(upper: &Node, run: Option<&Node>, set: &Node) -> Node {
    let mut above = upper.clone();
    run.into_iter().chain([set]).for_each(|layer| merge(&mut above, layer));
    let named = |path: &[&str]| match above.get(path).map(|node| &node.kind) {
        Some(Kind::Leaf(Value::String(name))) => Some(name.clone()),
        _ => None,
    };
    let preset = named(&["task", "preset"]).unwrap_or_else(|| "sentiment".into());
    let paper = named(&["follows"]).is_some_and(|follows| follows == "paper");
    let mut tree = defaults();
    for layer in preset_layers(&preset, paper) {
        merge(&mut tree, &layer);
    }
    for layer in [Some(upper), run, Some(set)].into_iter().flatten() {
        merge(&mut tree, layer);
    }
    let mut missing = kind_defaults(named(&["collect", "schedule"]).as_deref(), named(&["labeler", "kind"]).as_deref());
    if tree.get(&["collect", "round_labels"]).is_some() {
        // The list says how many rounds there are.
        missing.remove(&["collect", "rounds"]);
    }
    fill(&mut tree, &missing);
    tree.origin = upper.origin.clone();
    tree.prefix = String::new();
    tree
}

/// The preset's layers, lowest first.
fn preset_layers(name: &str, paper: bool) -> Vec<Node> {
    let Some((name, released, changes)) = PRESETS.iter().find(|(known, ..)| *known == name) else { return Vec::new() };
    let layer = |text: &str, origin: String| {
        let parsed = parse(text, Path::new(name)).ok()?;
        Some(Node::from_json(&parsed.to_json(), &Origin::Preset(origin)))
    };
    let released = layer(released, format!("{name} (released code)"));
    let paper = paper.then(|| layer(changes, format!("{name} (paper)"))).flatten();
    released.into_iter().chain(paper).collect()
}

/// The defaults of the types, and the sources that this program makes itself.
fn defaults() -> Node {
    let empty: Option<Spec> = serde_json::from_value(json!({ "spec_version": 1, "name": "unnamed" })).ok();
    let mut value = serde_json::to_value(empty).unwrap_or_default();
    value["task"]["data"] = json!({ "synthetic": "storyworld" });
    value["labeler"]["reviews"] = json!({ "synthetic": "reviews" });
    if let Some(object) = value.as_object_mut() {
        object.remove("spec_version");
        object.remove("name");
    }
    Node::from_json(&value, &Origin::Default)
}

/// Puts in what is missing.
fn fill(tree: &mut Node, defaults: &Node) {
    for (path, node) in defaults.leaves() {
        let path: Vec<String> = path.split('.').map(str::to_string).collect();
        if tree.get(&path).is_none() {
            tree.insert(&path, node.clone());
        }
    }
}

/// Defaults of the keys that only one schedule, or one kind of labeler, has.
fn kind_defaults(schedule: Option<&str>, labeler: Option<&str>) -> Node {
    let collect = match schedule {
        Some("batched") => json!({ "rounds": CollectSpec::ROUNDS }),
        Some("online") => {
            let mut keys =
                json!({ "retrain": CollectSpec::RETRAIN, "validation_share": CollectSpec::VALIDATION_SHARE });
            if labeler == Some("human") {
                keys["outstanding"] = json!(CollectSpec::OUTSTANDING);
            }
            keys
        }
        _ => json!({}),
    };
    let mut value = json!({ "collect": collect });
    if labeler == Some("human") {
        value["labeler"] = json!({ "human": HumanSpec::default() });
    }
    Node::from_json(&value, &Origin::Default)
}

/// The command line wins over the runs too.
fn drop_from_runs(runs: &mut Node, path: &str) {
    if path == "runs" || path.starts_with("runs.") {
        return;
    }
    let Kind::Table(table) = &mut runs.kind else { return };
    let parts: Vec<&str> = path.split('.').collect();
    for run in table.values_mut() {
        run.remove(&parts);
        for cut in 1..parts.len() {
            let (section, key) = (parts[..cut].join("."), parts[cut]);
            for dropped in replaced_by(&section, key) {
                let other: Vec<&str> = parts[..cut].iter().copied().chain([dropped]).collect();
                run.remove(&other);
            }
        }
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
