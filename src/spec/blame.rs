//! Which key a broken rule is blamed on, and where the other keys it reads got their values.

use super::check::Finding;
use super::schema::join_prefix;
use super::source::{Node, NodeKind, problem_at};
use super::{Origin, Problem};
use std::path::Path;

/// How far up the layer that wrote a node lies; `file` is the spec, above all that it extends.
pub(super) fn rank(node: &Node, file: &Path) -> u8 {
    match &node.origin {
        Origin::CommandLine(_) => 6,
        _ if node.prefix.starts_with("runs.") => 5,
        Origin::Profile { .. } => 4,
        Origin::File { file: written, .. } if written == file => 3,
        Origin::File { .. } => 2,
        Origin::Preset(_) => 1,
        Origin::Default => 0,
    }
}

/// Blames the key that was set in the highest layer, and says where a person who looks there would not find the others:
/// in another file, a profile or a run.
pub fn place(tree: &Node, file: &Path, finding: Finding) -> Problem {
    let Finding { keys, message, hint } = finding;
    let node_of = |key: &str| tree.get(&key.split('.').collect::<Vec<_>>());
    let mut best: Option<(u8, &str, &Node)> = None;
    for key in keys.iter().copied() {
        let Some(node) = node_of(key) else { continue };
        let score = rank(node, file);
        if best.as_ref().is_none_or(|(highest, ..)| score > *highest) {
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
    let others: Vec<String> = keys
        .iter()
        .filter(|other| **other != key)
        .filter_map(|other| elsewhere(other, node_of(other)?, node))
        .collect();
    let message = if others.is_empty() { message } else { format!("{message} ({})", others.join(", ")) };
    // Who has just given it need not be told how.
    let given = matches!(origin, Origin::CommandLine(_));
    let hint = hint.filter(|hint| !(given && hint.starts_with("give it by --set")));
    problem_at(origin, join_prefix(&node.prefix, &[key]), message, hint)
}

/// Where a key's value was written, if not beside the blamed one.
fn elsewhere(key: &str, node: &Node, blamed: &Node) -> Option<String> {
    let (Origin::File { file, line, .. } | Origin::Profile { file, line, .. }) = &node.origin else { return None };
    if !matches!(node.kind, NodeKind::Leaf(_)) {
        return None;
    }
    let same_file = match &blamed.origin {
        Origin::File { file: other, .. } | Origin::Profile { file: other, .. } => file == other,
        _ => false,
    };
    if same_file && (node.prefix.is_empty() || node.prefix == blamed.prefix) {
        return None;
    }
    let key = join_prefix(&node.prefix, &[key]);
    Some(format!("{key} is set at {}:{line}", file.display()))
}
