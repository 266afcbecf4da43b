//! The suite spec as a person writes it: which experiments, at which seeds, make which table or figure of the paper.
//!
//! These types are the single definition of the format, as spec/types is of an experiment's: serde reads them, schemars
//! makes `schemas/suite.schema.json` from them, and files are checked against that.

use crate::spec::{Finding, JudgeSpec, Options, SimulatedSpec, judge_rules};
use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A suite. docs/suites.md explains each key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Version of this file format.
    #[schemars(range(min = 1, max = 1))]
    pub suite_version: u32,
    /// Name of the suite; the default results directory is `results/<name>`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub name: String,
    /// One sentence for `runner ls` and the report.
    #[serde(default)]
    pub description: String,
    /// The table or figure of the paper that the members make together.
    pub makes: Makes,
    /// Every member is run at each of these.
    #[serde(default = "one_seed")]
    #[schemars(length(min = 1, max = 100))]
    pub seeds: Vec<u64>,
    /// Of tables 1 and 5 and figure 4: which models are compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<MemberComparison>,
    #[serde(default)]
    pub preference: Preference,
    /// The experiments, by names that become folders.
    pub members: Members,
}

fn one_seed() -> Vec<u64> {
    vec![1]
}

/// What of the paper a suite makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Makes {
    /// Human preference between models, stylistic continuation.
    Table1StylePreference,
    /// ROUGE of summaries.
    Table4Rouge,
    /// Human preference between models, summarization.
    Table5SummaryPreference,
    /// How often summaries begin with the first words of their source.
    Table7CopiedStart,
    /// Accurate summaries of 30, as people judge them.
    Table8Accuracy,
    /// Agreement between labelers and authors.
    Table9Agreement,
    /// Mock sentiment without a KL penalty.
    Table10NoKl,
    /// Mock score against episodes, mean and range over seeds.
    Figure2MockCurves,
    /// Score against KL with the closed-form optimum.
    Figure3Frontier,
    /// Win rate against zero-shot by number of offline labels, both stylistic tasks.
    Figure4WinRateByLabels,
    /// What of summaries is not in their source.
    Figure5Novelty,
    /// Where summaries copy from (figures 6 and 7).
    Figure6CopiedFrom,
    /// The authors' released models beside ours: scores under each other's reward models, KL, texts, preference. No
    /// table of the paper.
    ReleasedModels,
    /// PPO, RLOO, DPO and best-of-n from the same labels, at equal KL; members of one label are one learner. No table of
    /// the paper.
    Learners,
    /// Learned rewards beside what they stand for, by number of labels: where r rises and r_s turns. No figure of the
    /// paper.
    Overoptimisation,
}

impl Makes {
    /// The word used in specs and `runner ls`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Table1StylePreference => "table1_style_preference",
            Self::Table4Rouge => "table4_rouge",
            Self::Table5SummaryPreference => "table5_summary_preference",
            Self::Table7CopiedStart => "table7_copied_start",
            Self::Table8Accuracy => "table8_accuracy",
            Self::Table9Agreement => "table9_agreement",
            Self::Table10NoKl => "table10_no_kl",
            Self::Figure2MockCurves => "figure2_mock_curves",
            Self::Figure3Frontier => "figure3_frontier",
            Self::Figure4WinRateByLabels => "figure4_win_rate_by_labels",
            Self::Figure5Novelty => "figure5_novelty",
            Self::Figure6CopiedFrom => "figure6_copied_from",
            Self::ReleasedModels => "released_models",
            Self::Learners => "learners",
            Self::Overoptimisation => "overoptimisation",
        }
    }

    /// Whether models are compared by their readers' preference.
    pub fn compares(self) -> bool {
        use Makes::{Figure4WinRateByLabels, ReleasedModels, Table1StylePreference, Table5SummaryPreference};
        matches!(self, Table1StylePreference | Table5SummaryPreference | Figure4WinRateByLabels | ReleasedModels)
    }

    /// Whether the paper has such a table or figure.
    pub fn is_the_papers(self) -> bool {
        !matches!(self, Self::ReleasedModels | Self::Learners | Self::Overoptimisation)
    }

    /// Whether the paper had r_s in people's place too, or it is r_s that is asked about.
    pub fn is_mock_study(self) -> bool {
        use Makes::{Figure2MockCurves, Figure3Frontier, Learners, Overoptimisation, Table10NoKl};
        matches!(self, Table10NoKl | Figure2MockCurves | Figure3Frontier | Learners | Overoptimisation)
    }

    /// Whether readers are asked anything.
    pub fn asks(self) -> bool {
        self.compares() || matches!(self, Self::Table8Accuracy | Self::Table9Agreement)
    }

    /// Whether there is something to do when the members have run, with all their models.
    pub fn has_work_after_members(self) -> bool {
        self.asks() || self == Self::Figure3Frontier
    }
}

/// One experiment of a suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The experiment's spec, relative to this file.
    pub spec: String,
    /// What the paper's table calls the model: "60k", "supervised". Default: the member's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Which of the spec's `[runs.NAME]` is meant. Default: its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Keys of the spec with other values, as `--set` would give them: `"policy.kl.target" = 8.0`.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub set: toml::Table,
}

/// Members in the order of the file, which is the order of tables and legends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Members(pub Vec<(String, Member)>);

impl Members {
    pub fn get(&self, name: &str) -> Option<&Member> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, member)| member)
    }
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, member)| (name, member)))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of members")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    members.push(entry);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl JsonSchema for Members {
    fn schema_name() -> Cow<'static, str> {
        "Members".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        BTreeMap::<String, Member>::json_schema(generator)
    }
}

/// Two writers whose texts are compared: each a member's name, or of the other's task "zero-shot" (ρ), "best-of-16" (of
/// as many samples of ρ the one that the other's r likes best), "lead-3" or "reference" (the reference summaries).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "Comparison")]
#[serde(deny_unknown_fields)]
pub struct MemberComparison {
    pub a: String,
    pub b: String,
    /// The paper's word for the task, to find its row. Default: the member's `task.preset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

/// Who is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "Asked")]
#[serde(rename_all = "snake_case")]
pub enum Respondents {
    /// People: the suite writes batches of questions, and waits (exit code 3) for their answers.
    #[default]
    Human,
    /// A language model (`preference.judge`), once per item. What it says is marked wherever it stands.
    Judge,
    /// Programs (label/simulated.rs). What they say is no evidence about people, and is marked wherever it stands.
    Simulated,
}

/// How readers compare texts (paper section 3: 1024 contexts, three labelers each, the majority's choice).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Preference {
    /// Held-out queries, the same for both models.
    #[schemars(range(min = 1, max = 1000000))]
    pub contexts: usize,
    /// Answers per item; of a judge always one.
    #[schemars(range(min = 1, max = 100))]
    pub labelers: usize,
    /// Texts shown at once: 2 (a, b), or 4 (two of each).
    #[schemars(range(min = 2, max = 4))]
    pub ways: usize,
    pub kind: Respondents,
    /// Human, judge: where batches of questions are written and answers are found. Default: `labels/NAME` of the suite,
    /// `labels/NAME-PROFILE` with a profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batches: Option<String>,
    /// Human: labelers who are the authors, whose agreement table 9 reports apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// Simulated: what they care for. Default: what the member's own simulated labelers do; r_s where it has a mock
    /// labeler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulated: Option<SimulatedSpec>,
    /// Judge: which model, where, and how it is asked. Its answers are kept in `batches`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeSpec>,
    /// Table 8: summaries of each model to judge.
    #[schemars(range(min = 1, max = 100000))]
    pub judged: usize,
}

impl Default for Preference {
    fn default() -> Self {
        Self {
            contexts: 1024,
            labelers: 3,
            ways: 2,
            kind: Respondents::Human,
            batches: None,
            authors: Vec::new(),
            simulated: None,
            judge: None,
            judged: 30,
        }
    }
}

impl Preference {
    /// What a schema cannot say: key, message, hint. `asks`: the suite asks readers.
    pub fn mistakes(&self, asks: bool, check_files: bool) -> Vec<(&'static str, String, Option<String>)> {
        let judge = self.judge.as_ref().filter(|judge| !judge.model.trim().is_empty());
        match (self.kind, judge) {
            (Respondents::Judge, None) if asks => {
                let hint = "name the model as the endpoint does: preference.judge.model = \"gpt-4o-mini\"";
                vec![("kind", "a judge needs preference.judge.model, and none is given".into(), Some(hint.into()))]
            }
            (Respondents::Judge, Some(judge)) => {
                let options = Options { check_files, ..Options::default() };
                let one = |found: Finding| {
                    let key = found.keys.first().map_or("", |key| key.trim_start_matches("labeler.judge."));
                    let ours = |text: String| text.replace("labeler.judge", "preference.judge");
                    ("judge", format!("{key}: {}", ours(found.message)), found.hint.map(ours))
                };
                judge_rules(judge, &options).into_iter().map(one).collect()
            }
            (_, Some(_)) => {
                let hint = "set preference.kind = \"judge\", or remove the table";
                vec![("judge", "belongs to a judge, and preference.kind is another".into(), Some(hint.into()))]
            }
            _ => Vec::new(),
        }
    }

    /// What has to be said of readers who are not people.
    pub fn mark(&self) -> Option<String> {
        match self.kind {
            Respondents::Human => None,
            Respondents::Judge => {
                let model = self.judge.as_ref().map_or("a language model", |judge| judge.model.as_str());
                Some(format!("judged by {model}"))
            }
            Respondents::Simulated => Some("simulated labelers".into()),
        }
    }
}

/// A writer that is no member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// ρ; where books were fine-tuned on before RL (paper section 3.1), after that.
    ZeroShot,
    Lead3,
    /// The reference summaries.
    Summaries,
    /// Of so many samples of ρ the one that r likes best.
    BestOf(usize),
}

impl Baseline {
    /// All, by the names that suites use; best-of-n with any n from 2 to 1024.
    pub const ALL: [(&'static str, Self); 4] = [
        ("zero-shot", Self::ZeroShot),
        ("lead-3", Self::Lead3),
        ("reference", Self::Summaries),
        ("best-of-16", Self::BestOf(16)),
    ];
    /// Most samples of best-of-n.
    const MOST: usize = 1024;

    /// By its name in a suite.
    pub fn of(name: &str) -> Option<Self> {
        let known = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, baseline)| *baseline);
        known.or_else(|| {
            let n = name.strip_prefix("best-of-")?;
            let n = n.parse().ok().filter(|parsed: &usize| parsed.to_string() == n)?;
            (2..=Self::MOST).contains(&n).then_some(Self::BestOf(n))
        })
    }

    /// Whether it has one text per query, however often it is asked.
    pub fn is_fixed(self) -> bool {
        matches!(self, Self::Lead3 | Self::Summaries)
    }
}

impl Suite {
    /// Whether two of its seeds are the same.
    pub fn has_a_seed_twice(&self) -> bool {
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        seeds.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// What the paper's table calls a writer.
    pub fn label(&self, writer: &str) -> String {
        match (Baseline::of(writer), self.members.get(writer)) {
            (Some(Baseline::Summaries), _) => "reference summary".into(),
            (_, Some(Member { label: Some(label), .. })) => label.clone(),
            _ => writer.into(),
        }
    }
}
