//! A suite's results directory as tables and plots see it: everything that could be read, and why the rest is missing.

use super::asked::agreement::Agreed;
use super::asked::comparison::Compared;
use super::asked::scores::Scored;
use super::asked::writers::task_word;
use super::files::{MemberState, SuiteManifest};
use super::load::member_folder;
use super::setting::unlike;
use super::types::{Baseline, Member, Suite};
use crate::results::{
    Evaluation, Frontier, Results, ResultsError, Run, Texts, Writer, file, read_json, read_text, with_origin,
};
use crate::spec::{self, Spec};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// One member at one seed.
#[derive(Debug, Clone)]
pub struct MemberResults {
    pub name: String,
    pub label: String,
    pub seed: u64,
    /// What there is of it.
    pub results: Option<Results>,
    /// The run of its spec that is meant, as resolved.
    pub run: Option<(String, Spec)>,
    /// Why there is no evaluation, where there is none.
    pub missing: Option<String>,
    /// It was not to be run, and nobody is asked about it.
    pub left_out: bool,
}

impl MemberResults {
    /// The run that is meant.
    pub fn the_run(&self) -> Option<&Run> {
        let (name, _) = self.run.as_ref()?;
        self.results.as_ref()?.runs.iter().find(|run| run.name == *name)
    }

    pub fn evaluation(&self) -> Option<&Evaluation> {
        self.the_run()?.evaluation.as_ref()
    }

    pub fn spec(&self) -> Option<&Spec> {
        self.run.as_ref().map(|(_, spec)| spec)
    }

    /// The task's word in the paper.
    pub fn task(&self) -> Option<String> {
        self.spec().map(task_word)
    }

    /// Measures of one writer's texts.
    pub fn texts(&self, writer: Writer) -> Option<&Texts> {
        self.evaluation()?.texts.iter().find(|texts| texts.writer == writer)
    }
}

/// Everything of a suite.
#[derive(Debug, Clone)]
pub struct SuiteResults {
    pub dir: PathBuf,
    pub text: String,
    pub suite: Suite,
    pub manifest: Option<SuiteManifest>,
    /// Every member at every seed, in the suite's order.
    pub members: Vec<MemberResults>,
    pub compared: Vec<Compared>,
    pub agreed: Vec<Agreed>,
    pub scored: Vec<Scored>,
    /// Figure 3's curve, of each seed.
    pub frontiers: Vec<Frontier>,
    /// What is absent or unreadable, in words.
    pub missing: Vec<String>,
    /// Of it, what is there and cannot be read.
    pub damaged: Vec<String>,
}

impl SuiteResults {
    /// Reads what exists. Err: this is no suite's directory.
    pub fn load(dir: &Path) -> Result<Self, ResultsError> {
        let path = dir.join(file::SUITE);
        let text = read_text(&path)?;
        let suite: Suite = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            ResultsError::Content { path, line, message: error.message().to_string() }
        })?;
        let (mut missing, mut damaged) = (Vec::new(), Vec::new());
        let path = dir.join(file::MANIFEST);
        let manifest = match read_json::<SuiteManifest>(&path) {
            Ok(manifest) => Some(manifest.now(dir)),
            Err(error) => {
                missing.push(error.to_string());
                damaged.extend(path.exists().then(|| error.to_string()));
                None
            }
        };
        let mut members = Vec::new();
        for (name, member) in &suite.members.0 {
            for seed in &suite.seeds {
                let found = read_member(dir, &suite, name, member, *seed, manifest.as_ref());
                let why = found.missing.clone().filter(|_| !found.left_out);
                missing.extend(why.map(|why| format!("{name}, seed {seed}: {why}")));
                damaged.extend(found.results.iter().flat_map(|results| results.damaged.clone()));
                members.push(found);
            }
        }
        let mut unread = Vec::new();
        let asked = asked_files(dir, &mut unread);
        let (compared, scored) = (of_kind(&asked), of_kind(&asked));
        let (agreed, frontiers) = (of_kind(&asked), of_kind(&asked));
        missing.extend(unread.clone());
        damaged.extend(unread);
        let of_manifest = manifest.iter().flat_map(|m| &m.questions);
        missing.extend(of_manifest.filter_map(|q| Some(format!("{}: {}", q.id, q.message.as_ref()?))));
        Ok(Self {
            dir: dir.to_path_buf(),
            text,
            suite,
            manifest,
            members,
            compared,
            agreed,
            scored,
            frontiers,
            missing,
            damaged,
        })
    }

    /// The same with specs as they are meant now, whose paths can be found from where the program runs.
    pub fn with_specs(mut self, of: impl Fn(&str, u64) -> Option<(String, Spec)>) -> Self {
        for member in &mut self.members {
            member.run = of(&member.name, member.seed).or_else(|| member.run.take());
        }
        self
    }

    /// All seeds of a member that have an evaluation.
    pub fn evaluated<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a MemberResults> + 'a {
        self.members.iter().filter(move |m| m.name == name && m.evaluation().is_some())
    }

    /// What keeps a member from having all its seeds.
    pub fn why_missing(&self, name: &str) -> Option<String> {
        let of = self.members.iter().filter(|m| m.name == name);
        let words: Vec<String> = of.filter_map(|m| Some(format!("seed {}: {}", m.seed, m.missing.as_ref()?))).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Tasks in the order of the members.
    pub fn tasks(&self) -> Vec<String> {
        let mut tasks = Vec::new();
        for task in self.members.iter().filter_map(MemberResults::task) {
            if !tasks.contains(&task) {
                tasks.push(task);
            }
        }
        tasks
    }

    /// Names of the members of a task, in the suite's order.
    pub fn of_task(&self, task: &str) -> Vec<&str> {
        let of = |name: &str| self.members.iter().find_map(|m| if m.name == name { m.task() } else { None });
        self.suite.members.names().filter(|name| of(name).as_deref() == Some(task)).collect()
    }

    /// What makes this another setting than the paper's; nothing where it is the paper's.
    pub fn unlike_the_paper(&self) -> Vec<String> {
        let mut words = self.unlike_study();
        if words.is_empty() && self.suite.makes.is_the_papers() {
            // What is left is smaller: another model, other numbers.
            let fine =
                self.members.iter().filter_map(|m| Some(unlike(m.spec()?, self.suite.makes, &m.label))).flatten();
            fine.for_each(|word| {
                if !words.contains(&word) {
                    words.push(word);
                }
            });
        }
        words.extend(self.members.iter().find_map(|m| m.spec()?.model.precision.mark()));
        words
    }

    /// What makes it another study: made-up text, other readers.
    fn unlike_study(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut add = |yes: bool, word: String| {
            if yes && !words.contains(&word) {
                words.push(word);
            }
        };
        let profile = self.manifest.as_ref().and_then(|m| m.profile.clone());
        add(profile.is_some(), format!("{} profile", profile.unwrap_or_default()));
        let specs = || self.members.iter().filter_map(MemberResults::spec);
        add(specs().any(|s| s.task.data.synthetic.is_some()), "synthetic text".into());
        add(specs().any(|s| s.model.weights.pretrain.is_some()), "a small model made here".into());
        let asked = self.suite.preference.mark().filter(|_| self.suite.makes.asks());
        let labeled = specs().filter(|s| !s.reward.is_given()).filter_map(|s| s.labeler.mark());
        asked.into_iter().chain(labeled).for_each(|mark| add(true, mark));
        // r_s answers for people where the paper had people: everywhere but in the mock study.
        let study = self.suite.makes.is_mock_study();
        let stands_in = |s: &Spec| s.labeler.is().judges && !s.reward.is_given() && !study;
        let named = |m: &MemberResults| m.label.contains("mock");
        add(self.members.iter().any(|m| m.spec().is_some_and(stands_in) && !named(m)), "mock labels".into());
        words
    }

    /// What a reader has to know of another setting than the paper's.
    pub fn caveat(&self) -> Option<String> {
        let unlike = self.unlike_the_paper();
        let so = if self.unlike_study().is_empty() {
            "Where these numbers differ from the paper's, that may be why."
        } else {
            "These numbers show the mechanism; they neither confirm nor contradict the paper's, and say nothing about what \
             people prefer."
        };
        (!unlike.is_empty()).then(|| format!("Not the paper's setting: {}. {so}", unlike.join(", ")))
    }

    /// Whether a member was run as the paper ran it.
    pub fn is_the_papers(&self, name: &str) -> bool {
        self.unlike_study().is_empty()
            && self
                .members
                .iter()
                .filter(|m| m.name == name)
                .all(|m| m.spec().is_some_and(|spec| unlike(spec, self.suite.makes, &m.label).is_empty()))
    }

    /// A title that says where it is not the paper's setting.
    pub fn titled(&self, title: &str) -> String {
        match self.unlike_the_paper() {
            words if words.is_empty() => title.into(),
            words => format!("{title} ({}: not the paper's setting)", words.join(", ")),
        }
    }

    /// A comparison's name of a writer, as the paper's tables have it, and where its model is from if it was not
    /// trained here.
    pub fn label(&self, writer: &str) -> String {
        match Baseline::of(writer) {
            Some(Baseline::Summaries) => "reference summary".into(),
            _ => {
                let spec = self.members.iter().find(|m| m.name == writer).and_then(MemberResults::spec);
                let (label, origin) = (self.suite.label(writer), spec.and_then(Spec::policy_origin));
                with_origin(&label, origin.filter(|origin| !label.contains(origin.as_str())).as_deref())
            }
        }
    }
}

fn read_member(
    dir: &Path,
    suite: &Suite,
    name: &str,
    member: &Member,
    seed: u64,
    manifest: Option<&SuiteManifest>,
) -> MemberResults {
    let home = dir.join("members").join(member_folder(name, seed));
    let mut found = MemberResults {
        name: name.into(),
        label: suite.label(name),
        seed,
        results: None,
        run: None,
        missing: None,
        left_out: false,
    };
    let record = manifest.and_then(|m| m.record(name, seed));
    found.left_out = record.is_some_and(|r| r.state == MemberState::LeftOut);
    let state = record.map_or("not run", |r| r.state.word());
    let reason = record.and_then(|r| r.error.clone()).map(|error| format!(": {error}")).unwrap_or_default();
    let why = format!("{state}{reason}");
    if !home.is_dir() {
        found.missing = Some(why);
        return found;
    }
    found.results = Results::load(&home).ok();
    let options = spec::Options { check_files: false, ..spec::Options::default() };
    let loaded = spec::load(&home.join(file::SPEC), &options).ok();
    found.run = loaded.and_then(|loaded| {
        let wanted = |(run, _): &(String, Spec)| member.run.as_ref().is_none_or(|name| name == run);
        loaded.variants.into_iter().find(wanted)
    });
    if found.evaluation().is_none() {
        found.missing = Some(if record.is_none() { "no evaluation".into() } else { why });
    }
    found
}

/// The files of `asked/`.
fn asked_files(dir: &Path, missing: &mut Vec<String>) -> Vec<serde_json::Value> {
    let entries = std::fs::read_dir(dir.join("asked")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    paths.sort();
    let read = paths
        .iter()
        .filter_map(|path| read_json(path).map_err(|error: ResultsError| missing.push(error.to_string())).ok());
    read.collect()
}

/// Those of one kind: files of another have other keys.
fn of_kind<T: DeserializeOwned>(asked: &[serde_json::Value]) -> Vec<T> {
    asked.iter().filter_map(|value| serde_json::from_value(value.clone()).ok()).collect()
}
