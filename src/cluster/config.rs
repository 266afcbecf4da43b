//! cluster.toml: how jobs are asked for on the clusters that a person uses. Where a job runs is no property of an
//! experiment: nothing in here is part of a spec, a suite or a key.

use super::ClusterError;
use crate::spec::Problem;
use crate::spec::schema::{NAME_PATTERN, Schema, did_you_mean, drop_null};
use crate::spec::source::{Node, problem_at, read};
use crate::store::user;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The file's name.
pub const NAME: &str = "cluster.toml";
/// What scripts say themselves.
const OURS: [&str; 15] = [
    "array",
    "chdir",
    "dependency",
    "error",
    "input",
    "job-name",
    "no-requeue",
    "open-mode",
    "output",
    "parsable",
    "requeue",
    "signal",
    "test-only",
    "wait",
    "wrap",
];

/// A cluster.toml. docs/cluster.md explains each key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterFile {
    /// Version of this file format.
    #[schemars(range(min = 1, max = 1))]
    pub cluster_version: u32,
    /// Clusters by the names that `--cluster` takes.
    pub cluster: BTreeMap<String, ClusterSpec>,
}

/// The program that places jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    #[default]
    Slurm,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterSpec {
    /// The program that places jobs there.
    #[serde(default)]
    pub engine: Engine,
    /// Options of every job, by sbatch's long names without the dashes: partition = "gpu", gres = "gpu:1", time =
    /// "12:00:00". true: an option without a value.
    #[serde(default)]
    pub submit: BTreeMap<String, Value>,
    /// What the job that draws has in their place; false: without the option. It computes only where readers are shown
    /// new samples.
    #[serde(default)]
    pub gather: BTreeMap<String, Value>,
    /// Lines of shell before the command: "module load openmpi/4.1".
    #[serde(default)]
    pub setup: String,
    /// auto, cpu, wgpu or wgpu:N, as --device.
    #[serde(default = "any_device")]
    #[schemars(regex(pattern = r"^(auto|cpu|wgpu(:[0-9]+)?)$"))]
    pub device: String,
    /// Processes of one run; above 1, jobs have as many tasks (`ntasks`), `srun --mpi=pmix -n RANKS` stands before the
    /// command, and the program needs the feature `mpi`.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 4096))]
    pub ranks: u32,
    /// Seconds before a job's time limit at which it is told to save and is queued again; one update must fit.
    #[serde(default = "two_minutes")]
    #[schemars(range(min = 1, max = 65535))]
    pub grace: u32,
    /// How many tasks run at once; all that the cluster lets, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100000))]
    pub at_most: Option<u32>,
}

fn any_device() -> String {
    "auto".into()
}

fn one() -> u32 {
    1
}

fn two_minutes() -> u32 {
    120
}

/// The schema of a cluster.toml.
pub fn cluster_schema() -> Value {
    let mut schema = schemars::schema_for!(ClusterFile).to_value();
    drop_null(&mut schema);
    schema["title"] = json!("Clusters of runner");
    schema["properties"]["cluster"]["propertyNames"] = json!({ "pattern": NAME_PATTERN });
    for key in ["submit", "gather"] {
        let options = &mut schema["$defs"]["ClusterSpec"]["properties"][key];
        options["propertyNames"] = json!({ "pattern": "^[a-z][a-z0-9-]+$" });
        options["additionalProperties"] = json!({ "type": ["string", "integer", "boolean"] });
    }
    schema
}

fn schema() -> &'static Schema {
    static CACHE: OnceLock<Schema> = OnceLock::new();
    CACHE.get_or_init(|| Schema::new(cluster_schema()))
}

/// What is wrong with a cluster.toml, for `runner validate`.
pub fn check_file(path: &Path) -> Vec<Problem> {
    load(path).err().unwrap_or_default()
}

fn load(path: &Path) -> Result<ClusterFile, Vec<Problem>> {
    let node = read(path)?;
    let problems: Vec<Problem> = schema().check(&node).into_iter().map(|mismatch| mismatch.problem).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let file: ClusterFile = serde_json::from_value(node.to_json())
        .map_err(|error| vec![problem_at(&node.origin, String::new(), error.to_string(), None)])?;
    let problems = mistakes(&file, &node);
    if problems.is_empty() { Ok(file) } else { Err(problems) }
}

/// What the schema cannot say.
fn mistakes(file: &ClusterFile, node: &Node) -> Vec<Problem> {
    let mut found = Vec::new();
    for (name, cluster) in &file.cluster {
        for (table, options) in [("submit", &cluster.submit), ("gather", &cluster.gather)] {
            for (option, value) in options {
                let mut refuse = |message: &str, hint: &str| {
                    let place = node.nearest(&["cluster", name, table, option]);
                    let path = format!("cluster.{name}.{table}.{option}");
                    found.push(problem_at(&place.origin, path, message.into(), Some(hint.into())));
                };
                if OURS.contains(&option.as_str()) {
                    refuse(
                        "is for the program to say",
                        "remove it; at_most limits an array, grace is when a job saves",
                    );
                }
                if value.as_str().is_some_and(|text| text.chars().any(|c| c.is_control() || c == '"' || c == '\\')) {
                    refuse("has a quotation mark, a backslash or a line's end in it", "sbatch reads one line");
                }
                if table == "submit" && *value == Value::Bool(false) {
                    refuse("is false, which no option of sbatch is", "remove it, or say true for one without a value");
                }
            }
        }
        if cluster.setup.contains('\0') {
            let place = node.nearest(&["cluster", name, "setup"]);
            let message = "has a zero byte in it".into();
            found.push(problem_at(&place.origin, format!("cluster.{name}.setup"), message, None));
        }
    }
    found
}

/// Where clusters are looked for: beside the suite, in the working directory, in the user's configuration directory.
fn places(suite: Option<&Path>) -> Vec<PathBuf> {
    let beside = suite.and_then(Path::parent).map(|dir| dir.join(NAME));
    let mut all: Vec<PathBuf> =
        beside.into_iter().chain([PathBuf::from(NAME)]).chain(user::config().map(|dir| dir.join(NAME))).collect();
    all.dedup();
    all
}

/// The cluster of this name; the nearest file that names it counts.
///
/// # Errors
/// No file names it: what is known, or where a file would be looked for. All mistakes of a file on the way.
pub fn find(name: &str, suite: Option<&Path>) -> Result<ClusterSpec, ClusterError> {
    let places = places(suite);
    let mut known = Vec::new();
    for path in places.iter().filter(|path| path.is_file()) {
        let mut file = load(path).map_err(ClusterError::Config)?;
        if let Some(found) = file.cluster.remove(name) {
            return Ok(found);
        }
        known.extend(file.cluster.into_keys().map(|known| (known, path.display().to_string())));
    }
    let near = did_you_mean(name, known.iter().map(|(known, _)| known.as_str())).map(|(hint, _)| hint);
    Err(ClusterError::Input(match known.is_empty() {
        true => {
            let list: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
            format!(
                "--cluster {name}: there is no {NAME}; it is looked for at {} (docs/cluster.md has one to start from)",
                list.join(", ")
            )
        }
        false => {
            let list: Vec<String> = known.iter().map(|(known, path)| format!("{known} ({path})")).collect();
            let hint = near.unwrap_or_else(|| format!("known: {}", list.join(", ")));
            format!("there is no cluster {name:?}; {hint}")
        }
    }))
}

/// Whether a name is that of a file with clusters, whatever it says.
pub fn is_named(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == NAME)
}

/// Only for tests of what uses a cluster.
#[cfg(test)]
pub fn of_text(text: &str) -> Result<ClusterFile, Vec<Problem>> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(NAME);
    std::fs::write(&path, text).expect("written");
    load(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_of_a_file_has_its_place() {
        let text = "cluster_version = 1\n[cluster.a]\nsubmitt = {}\ngrace = 0\n[cluster.b]\nsubmit = { array = \"0-3\", p = \"x\", \
                    comment = \"a\\\"b\", mem = 1.5 }\ndevice = \"tpu\"\n";
        let problems = of_text(text).unwrap_err();
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let all = said.join("\n");
        for part in ["cluster.toml:3:1", "submitt", "did you mean \"submit\"?", "cluster.toml:4:1", "mem", "device"] {
            assert!(all.contains(part), "{part}: {all}");
        }
        let text =
            "cluster_version = 1\n[cluster.b]\nsubmit = { array = \"0-3\", comment = \"a\\\"b\", exclusive = false }\n";
        let all = of_text(text).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(all.contains("submit.array: is for the program to say") && all.contains("quotation mark"), "{all}");
        assert!(all.contains("cluster.toml:3:12") && all.contains("is false"), "{all}");
    }

    #[test]
    fn defaults_are_those_of_the_docstrings() {
        let file = of_text("cluster_version = 1\n[cluster.a]\n").unwrap();
        let a = &file.cluster["a"];
        assert_eq!((a.device.as_str(), a.ranks, a.grace, a.at_most), ("auto", 1, 120, None));
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        let dir = tempfile::tempdir().unwrap();
        let suite = dir.path().join("suite.toml");
        std::fs::write(dir.path().join(NAME), "cluster_version = 1\n[cluster.h100]\n").unwrap();
        assert!(find("h100", Some(&suite)).is_ok());
        let message = find("h10", Some(&suite)).unwrap_err().to_string();
        assert!(message.contains("did you mean \"h100\"?"), "{message}");
        std::fs::write(dir.path().join(NAME), "cluster_version = 1\n[cluster.h100]\nx = 1\n").unwrap();
        assert!(matches!(find("h100", Some(&suite)), Err(ClusterError::Config(_))));
    }
}
