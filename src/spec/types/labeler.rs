//! Who compares responses: r_s, recorded labels, simulated labelers, people, a language model, a program.

use super::data::DataSpec;
use super::model::Dimensions;
use super::outside::{CommandSpec, JudgeSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who answers the 4-way comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabelerKind {
    /// A sentiment classifier r_s; the response with the highest log-odds of "positive" wins (paper section 3.1.1).
    Mock,
    /// People, some time ago: labels are read from files in one of the published formats.
    Recorded,
    /// Several programs that stand in for people: they prefer what `labeler.simulated` says, with noise and a habit of
    /// taking the first one shown.
    Simulated,
    /// People, now: questions are written to `labeler.batches`, and the run waits for their answers.
    Human,
    /// A language model behind an OpenAI-compatible endpoint (`labeler.judge`): questions and answers are in
    /// `labeler.batches`, as those for people are.
    Judge,
    /// A program that reads questions as JSON lines and writes answers (`labeler.command`).
    Command,
}

/// What the rest of the program asks of a kind of labeler: where a new kind says what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// What its labels are called in plans.
    pub about: &'static str,
    /// Its answers are in files: nothing is sampled for it.
    pub recorded: bool,
    /// Its questions are batches in `labeler.batches`, and labels depend on the answers that are there.
    pub asked: bool,
    /// It is people: nothing but r can judge.
    pub people: bool,
    /// It is r_s, which also judges what comes of the labels.
    pub judges: bool,
    /// It stands in for people, and whatever shows numbers says so.
    pub simulated: bool,
    /// It saw responses as they were sampled, and r is to read them truncated; people saw them truncated.
    pub saw_whole: bool,
}

impl LabelerKind {
    /// The word used in specs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mock => "mock",
            Self::Recorded => "recorded",
            Self::Simulated => "simulated",
            Self::Human => "human",
            Self::Judge => "judge",
            Self::Command => "command",
        }
    }

    /// What it is.
    pub const fn nature(self) -> Nature {
        const NONE: Nature = Nature {
            about: "",
            recorded: false,
            asked: false,
            people: false,
            judges: false,
            simulated: false,
            saw_whole: false,
        };
        match self {
            Self::Mock => Nature { about: "comparisons answered by r_s", judges: true, saw_whole: true, ..NONE },
            Self::Recorded => Nature { about: "recorded labels", recorded: true, people: true, ..NONE },
            Self::Simulated => Nature { about: "simulated comparisons", simulated: true, saw_whole: true, ..NONE },
            Self::Human => Nature { about: "comparisons for people", asked: true, people: true, ..NONE },
            Self::Judge => Nature { about: "comparisons for a language model", asked: true, ..NONE },
            Self::Command => Nature { about: "comparisons for a program", ..NONE },
        }
    }
}

/// Published formats of human labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabelFormat {
    /// The paper's own label files: a JSON array of objects of GPT-2 token ids.
    LmHumanPreferences,
    /// The comparisons of Stiennon et al. 2020: JSON lines with info, summaries and choice.
    SummarizeFromFeedback,
    /// Objects with prompt, chosen and rejected, as TRL reads them.
    PreferencePairs,
}

/// The labeler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelerSpec {
    pub kind: LabelerKind,
    /// Recorded: a named source of labels, such as `labels/tldr_offline_60k` (`runner sources` lists them).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Recorded: the label file, or a folder of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Recorded: the files' format. Default: by the first character, `[` (lm_human_preferences) or `{`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LabelFormat>,
    /// Recorded: only labels of this split (summarize_from_feedback's `split`, for example "train").
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Human, judge: the directory of batches (docs/batches.md), made where it is missing; in a profile that does not
    /// say another one, with `-PROFILE` after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batches: Option<String>,
    /// Human: how questions are asked and answers are used. Judge: its checks, and what it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub human: Option<HumanSpec>,
    /// Judge: which model, where, and how it is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeSpec>,
    /// Command: the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandSpec>,
    /// Simulated: what the labelers care for, and how much they differ.
    pub simulated: SimulatedSpec,
    /// Rated reviews the mock classifier learns from: synthetic, or a TSV of `text<TAB>label` (label 0/1, or stars
    /// 1-5).
    pub reviews: DataSpec,
    pub classifier: ClassifierSpec,
}

impl Default for LabelerSpec {
    fn default() -> Self {
        Self {
            kind: LabelerKind::Mock,
            source: None,
            path: None,
            format: None,
            split: None,
            batches: None,
            human: None,
            judge: None,
            command: None,
            simulated: SimulatedSpec::default(),
            reviews: DataSpec::default(),
            classifier: ClassifierSpec::default(),
        }
    }
}

impl LabelerSpec {
    /// What the labeler is.
    pub fn is(&self) -> Nature {
        self.kind.nature()
    }
    /// What whoever shows numbers has to say about who gave the labels; nothing of people, and of the paper's r_s.
    pub fn mark(&self) -> Option<String> {
        match self.kind {
            LabelerKind::Mock | LabelerKind::Recorded | LabelerKind::Human => None,
            LabelerKind::Simulated => Some("simulated labelers".into()),
            LabelerKind::Judge => {
                let model = self.judge.as_ref().map(|judge| judge.model.as_str()).filter(|model| !model.is_empty());
                Some(format!("judged by {}", model.unwrap_or("a language model")))
            }
            LabelerKind::Command => Some("labels of a program".into()),
        }
    }
    /// Whether r_s is trained: it is the mock labeler, or part of what simulated ones care for.
    pub fn has_classifier(&self) -> bool {
        match self.kind {
            LabelerKind::Mock => true,
            LabelerKind::Recorded | LabelerKind::Human | LabelerKind::Judge | LabelerKind::Command => false,
            LabelerKind::Simulated => self.simulated.weight_score != 0.0,
        }
    }
}

/// What several answers to one question become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// A label each.
    #[default]
    Each,
    /// One label, the answer given most often; of equally frequent ones one drawn at random.
    Majority,
}

/// Questions for people, and what becomes of their answers (paper section 2.1 and appendix; three labelers and a
/// majority are the paper's for evaluation).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HumanSpec {
    /// Different labelers who answer each question.
    #[schemars(range(min = 1, max = 100))]
    pub labelers_per_item: usize,
    pub combine: Combine,
    /// Questions whose best answer is known, one item per line (schemas/items.schema.json, `gold` set). They check
    /// labelers and are never trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gold: Option<String>,
    /// Gold questions put among the others, per question.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gold_share: f64,
    /// Questions that are asked a second time, as a share of all.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub repeat_share: f64,
    /// A Markdown file of what labelers are told. Default: the task's own text (src/label/instructions.rs).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    pub quality: QualitySpec,
}

impl Default for HumanSpec {
    fn default() -> Self {
        Self {
            labelers_per_item: 1,
            combine: Combine::Each,
            gold: None,
            gold_share: 0.05,
            repeat_share: 0.0,
            instructions: None,
            quality: QualitySpec::default(),
        }
    }
}

/// Simulated labelers. Each takes the candidate with the largest sum of weight · standardised quality (mean 0,
/// deviation 1 over all candidates of all comparisons), position bias and noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatedSpec {
    /// How many there are; each comparison is answered by one of them, drawn at random.
    #[schemars(range(min = 1, max = 1000))]
    pub labelers: usize,
    /// Weight of r_s, the mock labeler's log-odds of "positive"; at 0 no r_s is trained.
    #[schemars(range(min = -1000.0, max = 1000.0))]
    pub weight_score: f64,
    /// Weight of the share of the response's 4-grams that the source has too.
    #[schemars(range(min = -1000.0, max = 1000.0))]
    pub weight_copy: f64,
    /// Weight of ROUGE-L (F1) with the reference summary, which all queries must then have.
    #[schemars(range(min = -1000.0, max = 1000.0))]
    pub weight_rouge: f64,
    /// Added to the candidate that is shown first; the order is random for every answer.
    #[schemars(range(min = -1000.0, max = 1000.0))]
    pub position_bias: f64,
    /// Scale of the Gumbel noise that each labeler adds to each candidate: choices are a softmax at this temperature.
    /// At 0 all labelers are one.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub temperature: f64,
}

impl Default for SimulatedSpec {
    fn default() -> Self {
        Self {
            labelers: 5,
            weight_score: 0.0,
            weight_copy: 1.0,
            weight_rouge: 0.0,
            position_bias: 0.2,
            temperature: 1.0,
        }
    }
}

/// Training of the mock sentiment classifier r_s. Paper: 6 layers, 8 heads, 512 wide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierSpec {
    pub dimensions: Dimensions,
    /// Synthetic reviews to generate (ignored for data read from files).
    #[schemars(range(min = 10, max = 100000000))]
    pub reviews: usize,
    #[schemars(range(min = 1, max = 100000000))]
    pub steps: usize,
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: usize,
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lr: f64,
}

impl Default for ClassifierSpec {
    fn default() -> Self {
        Self {
            dimensions: Dimensions { layers: 6, heads: 8, width: 512, context: 128 },
            reviews: 20_000,
            steps: 2_000,
            batch_size: 32,
            lr: 3e-4,
        }
    }
}

/// When a labeler's answers stop to count without anybody deciding (`labeler.human.quality`); at 0 a threshold is off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QualitySpec {
    /// Share of gold items to get right; a labeler is dropped when the whole 95% interval of theirs is below.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_gold_accuracy: f64,
    /// Most choices of one place in a row.
    #[schemars(range(min = 0, max = 1000000))]
    pub max_straight_line: usize,
    /// Least median of seconds per answer, over ten answers or more.
    #[schemars(range(min = 0.0, max = 86400.0))]
    pub min_seconds: f64,
}
