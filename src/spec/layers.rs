//! The layers of one tree: type defaults, task preset, the file's own layers, a run, the command line.

use super::size::fill_size;
use super::source::{Node, NodeKind, merge, parse, replaced_by};
use super::{CollectSpec, GuardsSpec, HumanSpec, Origin, Spec};
use serde_json::{Value, json};
use std::path::Path;

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

/// The presets that have numbers.
pub const PRESET_NAMES: [&str; 4] = [PRESETS[0].0, PRESETS[1].0, PRESETS[2].0, PRESETS[3].0];

/// Defaults, preset, upper layers, run, command line; the preset is the one that the layers above it name.
pub fn stack(upper: &Node, run: Option<&Node>, set: &Node) -> Node {
    let mut above = upper.clone();
    run.into_iter().chain([set]).for_each(|layer| merge(&mut above, layer));
    let named = |path: &[&str]| match above.get(path).map(|node| &node.kind) {
        Some(NodeKind::Leaf(Value::String(name))) => Some(name.clone()),
        _ => None,
    };
    let chosen = named(&["task", "preset"]);
    let preset = chosen.clone().unwrap_or_else(|| "sentiment".into());
    let paper = named(&["follows"]).is_some_and(|follows| follows == "paper");
    let mut tree = defaults();
    let made_up = named(&["task", "data", "synthetic"]).is_some();
    for mut layer in preset_layers(&preset, paper) {
        // Whoever names no task gets the numbers of one, on the text that the program makes itself; and to made-up text
        // belong made-up reviews.
        if chosen.is_none() {
            layer.remove(&["task", "data"]);
            // Whose processes there were is no number of whoever follows nobody.
            layer.remove(&["policy", "blocks"]);
            layer.remove(&["policy", "whiten_in"]);
        }
        if chosen.is_none() || made_up {
            layer.remove(&["labeler", "reviews"]);
        }
        merge(&mut tree, &layer);
    }
    for layer in [Some(upper), run, Some(set)].into_iter().flatten() {
        merge(&mut tree, layer);
    }
    let mut missing = kind_defaults(named(&["collect", "schedule"]).as_deref(), named(&["labeler", "kind"]).as_deref());
    let recorded = named(&["labeler", "kind"]).is_some_and(|kind| kind == "recorded");
    if recorded && chosen.is_some() && tree.get(&["labeler", "path"]).is_none() {
        merge(&mut missing, &recorded_default(&preset));
    }
    if tree.get(&["collect", "round_labels"]).is_some() {
        // The list says how many rounds there are.
        missing.remove(&["collect", "rounds"]);
    }
    fill(&mut tree, &missing);
    fill_size(&mut tree);
    fill_tolerance(&mut tree);
    tree.origin = upper.origin.clone();
    tree.prefix = String::new();
    tree
}

/// 16-bit products disagree by more between sampling and the full pass; whoever says a limit knows better.
fn fill_tolerance(tree: &mut Node) {
    let of = |path: &[&str]| tree.get(path).map(|node| (&node.kind, matches!(node.origin, Origin::Default)));
    let is_f16 = matches!(of(&["model", "precision"]), Some((NodeKind::Leaf(Value::String(p)), _)) if p == "f16");
    let is_default = of(&["guards", "ratio_tolerance"]).is_none_or(|(_, is_default)| is_default);
    if is_f16 && is_default {
        let limit = Node::from_json(&json!(GuardsSpec::RATIO_TOLERANCE_F16), &Origin::Default);
        tree.insert(&["guards".into(), "ratio_tolerance".into()], limit);
    }
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

/// What a preset says, as JSON of the sections that it has.
pub fn preset_values(name: &str, paper: bool) -> Value {
    let mut tree = Node::table(Origin::Default);
    preset_layers(name, paper).iter().for_each(|layer| merge(&mut tree, layer));
    tree.to_json()
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

/// The authors' offline labels of a task, where recorded ones are asked for and nothing says which.
fn recorded_default(preset: &str) -> Node {
    let size = match preset {
        "sentiment" | "descriptiveness" => "5k",
        "tldr" | "cnndm" => "60k",
        _ => return Node::table(Origin::Default),
    };
    let source = json!({ "labeler": { "source": format!("labels/{preset}_offline_{size}") } });
    Node::from_json(&source, &Origin::Preset(preset.into()))
}

/// The command line wins over the runs too.
pub fn drop_from_runs(runs: &mut Node, path: &str) {
    if path == "runs" || path.starts_with("runs.") {
        return;
    }
    let NodeKind::Table(table) = &mut runs.kind else { return };
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
