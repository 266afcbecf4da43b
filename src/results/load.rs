//! A results directory as a whole: everything that could be read, and what could not.

use super::manifest::{Manifest, State};
use super::metrics::{name, number, read_metrics};
use super::read::{self, ResultsError};
use super::stops::StopRecord;
use super::{Evaluation, Frontier, JudgeReport, Rounds, Sample, file};
use crate::spec::{LabelerSpec, Spec};
use serde_json::{Map, Value};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Everything of one run that could be read.
#[derive(Debug, Clone, Default)]
pub struct Run {
    pub name: String,
    pub metrics: Vec<Map<String, Value>>,
    pub samples: Vec<Sample>,
    pub evaluation: Option<Evaluation>,
    /// Of batched and online collection.
    pub rounds: Option<Rounds>,
    /// Where a language model gave the labels.
    pub judge: Option<JudgeReport>,
}

/// Everything of a results directory that could be read, and what could not.
#[derive(Debug, Clone, Default)]
pub struct Results {
    pub dir: PathBuf,
    pub spec: Option<String>,
    pub manifest: Option<Manifest>,
    pub runs: Vec<Run>,
    /// The optimum of figure 3, where several policies show it together.
    pub frontier: Option<Frontier>,
    /// Who or what stopped a run here.
    pub stops: Vec<StopRecord>,
    /// What is absent or unreadable, in words.
    pub missing: Vec<String>,
    /// Of it, what is there and cannot be read, or should be there and is not: numbers that every table leaves out.
    pub damaged: Vec<String>,
}

/// A run's name with where its models are from.
pub fn with_origin(run: &str, origin: Option<&str>) -> String {
    origin.map_or_else(|| run.to_owned(), |origin| format!("{run} ({origin})"))
}

/// What a directory lacks, as it is found out.
#[derive(Default)]
struct Gaps {
    missing: Vec<String>,
    damaged: Vec<String>,
}

impl Gaps {
    fn damaged(&mut self, what: String) {
        self.missing.push(what.clone());
        self.damaged.push(what);
    }
}

impl Results {
    /// Reads what exists; only a directory that is not there at all is an error.
    pub fn load(dir: &Path) -> Result<Self, ResultsError> {
        if !dir.is_dir() {
            let message = "there is no such directory".to_owned();
            return Err(ResultsError::NotResults { path: dir.to_owned(), message });
        }
        let mut missing = Gaps::default();
        let spec = keep(dir, &dir.join(file::SPEC), read::read_text, &mut missing);
        let mut manifest: Option<Manifest> = keep(dir, &dir.join(file::MANIFEST), read::read_json, &mut missing);
        if let Some(manifest) = &mut manifest {
            manifest.state = manifest.state.now(dir);
        }
        let names = run_names(dir, manifest.as_ref());
        let mut results = Self { dir: dir.to_owned(), spec, manifest, ..Self::default() };
        for name in names {
            let home = dir.join("runs").join(&name);
            // Only what a finished run must have is missed: most have no rounds, and some no RL.
            let (done, rl) = (results.is_done(), results.spec_of(&name).is_none_or(|s| s.has_rl()));
            let due = |due: bool, file: &str| home.join(file).exists() || due;
            let run = Run {
                metrics: match due(done && rl, file::METRICS) {
                    true => keep(dir, &home.join(file::METRICS), read_metrics, &mut missing),
                    false => None,
                }
                .unwrap_or_default(),
                samples: match due(done, file::SAMPLES) {
                    true => keep(dir, &home.join(file::SAMPLES), read::read_jsonl, &mut missing),
                    false => None,
                }
                .unwrap_or_default(),
                evaluation: match due(done, file::EVALUATION) {
                    true => keep(dir, &home.join(file::EVALUATION), read::read_json, &mut missing),
                    false => None,
                },
                rounds: match due(false, file::ROUNDS) {
                    true => keep(dir, &home.join(file::ROUNDS), read::read_json, &mut missing),
                    false => None,
                },
                judge: there(dir, &format!("labels/{name}_judge.json"), read::read_json, &mut missing),
                name,
            };
            results.runs.push(run);
        }
        if results.runs.is_empty() && results.is_done() {
            missing.missing.push("runs/ holds no run".to_owned());
        }
        if results.manifest.as_ref().is_some_and(|m| m.state == State::Done) {
            results.runs.iter().for_each(|run| whole(dir, run, results.spec_of(&run.name).as_ref(), &mut missing));
        }
        let stops = there(dir, file::STOPS, read::read_jsonl, &mut missing).unwrap_or_default();
        let frontier = there(dir, file::FRONTIER, read::read_json, &mut missing);
        let Gaps { missing, damaged } = missing;
        Ok(Self { stops, frontier, missing, damaged, ..results })
    }

    /// What a reader has to know of a run's models that were not trained here: "authors' release".
    pub fn origin_of(&self, run: &str) -> Option<String> {
        self.spec_of(run)?.origin()
    }

    /// The same of all runs.
    pub fn origin(&self) -> Option<String> {
        let mut all: Vec<String> = Vec::new();
        for origin in self.runs.iter().filter_map(|run| self.origin_of(&run.name)) {
            if !all.contains(&origin) {
                all.push(origin);
            }
        }
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// A run's name, with what [`Results::origin_of`] says.
    pub fn shown_name(&self, run: &str) -> String {
        with_origin(run, self.origin_of(run).as_deref())
    }

    /// Whether the directory should hold everything; without a manifest nobody knows better.
    pub fn is_done(&self) -> bool {
        self.manifest.as_ref().is_none_or(|m| m.state == State::Done)
    }

    /// The specs of the runs that can be read.
    pub fn specs(&self) -> impl Iterator<Item = Spec> {
        self.runs.iter().filter_map(|run| self.spec_of(&run.name))
    }

    /// In what the runs are not the paper's, in words; none where they are, or where no spec can be read.
    pub fn unlike_the_paper(&self) -> Option<String> {
        let mut words: Vec<String> = Vec::new();
        for spec in self.specs() {
            for word in unlike_the_paper(&spec) {
                if !words.contains(&word) {
                    words.push(word);
                }
            }
        }
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// Seeds of the manifest.
    pub fn seeds(&self) -> Vec<u64> {
        self.manifest.as_ref().map(|m| m.seeds.clone()).unwrap_or_default()
    }

    /// The spec of one run, with what its `[runs.NAME]` table changes; none where spec.toml cannot be read.
    pub fn spec_of(&self, run: &str) -> Option<Spec> {
        let mut table: toml::Table = self.spec.as_ref()?.parse().ok()?;
        if let Some(toml::Value::Table(mut runs)) = table.remove("runs")
            && let Some(toml::Value::Table(changes)) = runs.remove(run)
        {
            overlay(&mut table, changes);
        }
        toml::Value::Table(table).try_into().ok()
    }

    /// Whether any run's labels come from simulated labelers.
    pub fn simulated(&self) -> bool {
        self.labeler_marks().iter().any(|mark| mark == SIMULATED)
    }

    /// Who gave the labels, where that were neither people nor the paper's r_s: whatever shows numbers says so. "judged
    /// by MODEL", "simulated labelers", "labels of a program".
    pub fn labeler_marks(&self) -> Vec<String> {
        let text: Option<toml::Table> = self.spec.as_ref().and_then(|text| text.parse().ok());
        let mut tables: Vec<toml::Table> = text.iter().cloned().collect();
        for changes in text.iter().filter_map(|t| t.get("runs")?.as_table()).flat_map(toml::Table::values) {
            if let (Some(mut run), toml::Value::Table(changes)) = (text.clone(), changes.clone()) {
                overlay(&mut run, changes);
                tables.push(run);
            }
        }
        let simulated = self.evaluations().any(|(_, e)| e.simulated.is_some()).then(|| SIMULATED.to_owned());
        let mut marks: Vec<String> = Vec::new();
        for mark in tables.iter().filter_map(mark_of).chain(simulated) {
            if !marks.contains(&mark) {
                marks.push(mark);
            }
        }
        marks
    }

    /// Where matrix products were not float32, that.
    fn precision_mark(&self) -> Option<String> {
        self.specs().find_map(|spec| spec.model.precision.mark())
    }

    /// A title, with a word about who gave the labels, and about float16, where it is due.
    pub fn titled(&self, title: &str) -> String {
        let words: Vec<String> =
            self.origin().into_iter().chain(self.labeler_marks()).chain(self.precision_mark()).collect();
        if words.is_empty() { title.to_owned() } else { format!("{title} ({})", words.join("; ")) }
    }

    /// Evaluations that could be read, in the order of the runs.
    pub fn evaluations(&self) -> impl Iterator<Item = (&str, &Evaluation)> {
        self.runs.iter().filter_map(|run| Some((run.name.as_str(), run.evaluation.as_ref()?)))
    }
}

/// Of simulated labelers.
const SIMULATED: &str = "simulated labelers";

/// What has to be said of the labels of a spec's table; nothing where r is given, and nobody is asked.
fn mark_of(table: &toml::Table) -> Option<String> {
    let given = table.get("reward").is_some_and(|r| r.get("source").or(r.get("path")).is_some());
    let labeler = table.get("labeler").filter(|_| !given)?.clone();
    labeler.try_into::<LabelerSpec>().ok()?.mark()
}

/// In what a run is not the paper's, in words. The mock labeler is the paper's own in its mock study.
pub fn unlike_the_paper(spec: &Spec) -> Vec<String> {
    let size = serde_json::to_value(spec.model.size).ok().and_then(|size| size.as_str().map(str::to_owned));
    let model = match (spec.model.weights.pretrain.is_some(), size.as_deref()) {
        (true, _) => Some("a small model made here".to_owned()),
        (false, Some("774M")) => None,
        (false, Some(size)) => Some(format!("a model of size {size}")),
        (false, None) => Some("a model of another size".to_owned()),
    };
    let text = spec.task.data.synthetic.is_some().then(|| "synthetic text".to_owned());
    let labelers = spec.labeler.mark().filter(|_| !spec.reward.is_given());
    [text, model, labelers].into_iter().flatten().collect()
}

/// Of a run that is done: what lacks of the files that its tables and curves are made of.
fn whole(dir: &Path, run: &Run, spec: Option<&Spec>, missing: &mut Gaps) {
    let (evaluation, metrics) = (file::EVALUATION, file::METRICS);
    let trained = spec.is_none_or(Spec::has_rl);
    for file in [evaluation, metrics].into_iter().filter(|file| *file != metrics || trained) {
        let path = format!("runs/{}/{file}", run.name);
        if !dir.join(&path).exists() {
            missing.damaged.push(format!("{path} is not there, and the run is done"));
        } else if file == metrics && is_cut(&dir.join(&path)) {
            missing.damaged(format!("{path} ends in the middle of a line, and the run is done"));
        }
    }
    let last = run.metrics.last().and_then(|line| number(line, name::EPISODES));
    if let (true, Some(last), Some(e)) = (trained, last, &run.evaluation)
        && last < e.episodes as f64
    {
        missing.damaged(format!("runs/{}/{metrics} ends at episode {last} of {}", run.name, e.episodes));
    }
}

/// Whether the last line of a file has no end.
fn is_cut(path: &Path) -> bool {
    let mut last = [0];
    let read = fs::File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)
    });
    read.is_err() || last != *b"\n"
}

/// Lays `above` over `below`: tables merge, anything else replaces.
fn overlay(below: &mut toml::Table, above: toml::Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => overlay(old, new),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

fn keep<T>(dir: &Path, path: &Path, read: impl Fn(&Path) -> Result<T, ResultsError>, missing: &mut Gaps) -> Option<T> {
    if !path.exists() {
        missing.missing.push(format!("{} is not there", path.strip_prefix(dir).unwrap_or(path).display()));
        return None;
    }
    read(path).map_err(|e| missing.damaged(e.to_string())).ok()
}

/// A file that only some results have.
fn there<T>(dir: &Path, name: &str, read: impl Fn(&Path) -> Result<T, ResultsError>, gaps: &mut Gaps) -> Option<T> {
    let path = dir.join(name);
    if path.exists() { keep(dir, &path, read, gaps) } else { None }
}

/// Runs in the manifest's order, then those only found on disk, by name.
fn run_names(dir: &Path, manifest: Option<&Manifest>) -> Vec<String> {
    let mut names: Vec<String> = manifest.map(|m| m.runs.clone()).unwrap_or_default();
    // A name is a folder name: one that leads elsewhere is not read.
    names.retain(|name| !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\']));
    let mut found: Vec<String> = fs::read_dir(dir.join("runs"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !names.contains(name))
        .collect();
    found.sort();
    names.extend(found);
    names
}
