//! Tables 4 and 7 and figures 5 to 7: what the summaries of a suite's members are like, beside those of ρ, lead-3 and
//! people, from the members' own evaluations.

use super::{Measured, absent, made};
use crate::metric::interval::wilson;
use crate::results::{Estimate, Row, Table, Texts, Writer};
use crate::suite::paper::{Grade, PaperValue, paper};
use crate::suite::results::{MemberResults, SuiteResults};
use crate::suite::verdict::{Middle, Ours};

/// Percent of an estimate of shares.
fn percent(e: Estimate) -> (Ours, u64) {
    let bound = |b: Option<f64>| b.map_or(f64::NAN, |b| 100.0 * b);
    (Ours { value: 100.0 * e.mean, low: bound(e.low), high: bound(e.high) }, e.n)
}

/// What is taken from one writer's measures.
type Pick<'p> = &'p dyn Fn(&Texts) -> Option<(Ours, u64)>;

/// A member's policy at all its seeds.
fn of_policy(results: &SuiteResults, member: &str, pick: Pick<'_>) -> Option<Measured> {
    let one = |m: &MemberResults| {
        let (ours, n) = pick(m.texts(Writer::Policy)?)?;
        Some((m.seed, ours, n))
    };
    Measured::over_seeds(&results.evaluated(member).filter_map(one).collect::<Vec<_>>())
}

/// A baseline of a task: of the first member at each seed that has it, since the members of a task share it.
fn of_baseline(results: &SuiteResults, task: &str, writer: Writer, pick: Pick<'_>) -> Option<Measured> {
    let found: Vec<(u64, Ours, u64)> = results
        .suite
        .seeds
        .iter()
        .filter_map(|seed| {
            let members = results.members.iter().filter(|m| m.seed == *seed && m.task().as_deref() == Some(task));
            // Where ρ was fine-tuned before RL, `reference` is that model, not the one that it came from.
            let mut of = members.filter(|m| writer != Writer::Reference || is_zero_shot(m));
            let (ours, n) = of.find_map(|m| pick(m.texts(writer)?))?;
            Some((*seed, ours, n))
        })
        .collect();
    Measured::over_seeds(&found)
}

/// Whether the reference of a member's evaluation is ρ as it comes: RL on top of a supervised model starts from that.
fn is_zero_shot(member: &MemberResults) -> bool {
    use crate::spec::{CollectSchedule, SupervisedOn};
    member
        .spec()
        .is_some_and(|s| s.supervised.on != SupervisedOn::Summaries || s.collect.schedule == CollectSchedule::None)
}

const BASELINES: [(Writer, &str); 3] =
    [(Writer::Lead3, "lead-3"), (Writer::Summary, "reference summary"), (Writer::Reference, "zero-shot")];

/// Rows of one measure, of the baselines and then of the members, task by task.
struct Sheet<'a> {
    results: &'a SuiteResults,
    /// Between which writers a direction is told.
    middle: (Writer, &'static str),
    what: &'static str,
    metric: &'static str,
    paper: &'a dyn Fn(&str, &str) -> Option<PaperValue>,
    skip: &'static [Writer],
}

impl Sheet<'_> {
    fn rows(&self, pick: Pick<'_>) -> Vec<Row> {
        let mut rows = Vec::new();
        for task in self.results.tasks() {
            let middle = of_baseline(self.results, &task, self.middle.0, pick).map(|m| m.ours.value);
            let middle = middle.zip((self.paper)(&task, self.middle.1)).map(|(ours, paper)| Middle {
                ours,
                paper: paper.value,
                name: self.middle.1,
            });
            for (writer, label) in BASELINES.into_iter().filter(|(writer, _)| !self.skip.contains(writer)) {
                if let Some(measured) = of_baseline(self.results, &task, writer, pick) {
                    let middle = middle.filter(|_| writer != self.middle.0);
                    rows.push(self.row(&task, label, &measured, middle));
                }
            }
            for member in self.results.of_task(&task) {
                let label = self.results.label(member);
                match of_policy(self.results, member, pick) {
                    Some(measured) => rows.push(self.row(&task, &label, &measured, middle)),
                    None => rows.push(self.absent(&task, member, &label)),
                }
            }
        }
        let known: Vec<&str> = self.results.tasks().iter().flat_map(|task| self.results.of_task(task)).collect();
        let lost = self.results.suite.members.names().filter(|name| !known.contains(name));
        rows.extend(lost.map(|name| self.absent("–", name, &self.results.label(name))));
        rows
    }

    fn row(&self, task: &str, label: &str, measured: &Measured, middle: Option<Middle<'_>>) -> Row {
        let name = format!("{label}: {}", self.what);
        measured.row(&name, task, self.metric, (self.paper)(task, label), middle)
    }

    fn absent(&self, task: &str, member: &str, label: &str) -> Row {
        let why = self.results.why_missing(member).unwrap_or_else(|| "its evaluation has no such measure".into());
        absent(&format!("{label}: {}", self.what), task, self.metric, (self.paper)(task, label), &why)
    }
}

fn nothing(_: &str, _: &str) -> Option<PaperValue> {
    None
}

/// Table 4.
pub fn rouge(results: &SuiteResults) -> Vec<Table> {
    let mean = |task: &str, model: &str| paper()?.rouge(task, model);
    let sheet = |what, metric, paper| Sheet {
        results,
        middle: (Writer::Lead3, "lead-3"),
        what,
        metric,
        paper,
        skip: &[Writer::Summary],
    };
    let of =
        |pick: fn(&crate::results::RougeMeans) -> Estimate| move |t: &Texts| Some(percent(pick(t.rouge.as_ref()?)));
    let mut rows = sheet("mean of ROUGE-1, -2, -L", "rouge_mean", &mean).rows(&of(|r| r.mean));
    rows.extend(sheet("ROUGE-1", "rouge1", &nothing).rows(&of(|r| r.rouge1)));
    rows.extend(sheet("ROUGE-2", "rouge2", &nothing).rows(&of(|r| r.rouge2)));
    rows.extend(sheet("ROUGE-L", "rougeL", &nothing).rows(&of(|r| r.rouge_l)));
    vec![made(results.suite.makes.word(), "Table 4: ROUGE (F1 x 100) against the reference summaries", "task", rows)]
}

/// Figure 5.
pub fn novelty(results: &SuiteResults) -> Vec<Table> {
    let recorded = |task: &str, model: &str| paper()?.novelty(task, model);
    let sheet = |what, metric, paper| Sheet {
        results,
        middle: (Writer::Reference, "zero-shot"),
        what,
        metric,
        paper,
        skip: &[],
    };
    let mut rows = sheet("new sentences, %", "novel_sentences", &recorded)
        .rows(&|t: &Texts| Some(percent(t.novelty.as_ref()?.sentence?)));
    type Ngram = fn(&crate::results::NoveltyMeans) -> Option<Estimate>;
    let ngrams: [(&'static str, &'static str, Ngram); 4] = [
        ("new words, %", "novel_1grams", |n| n.ngram1),
        ("new 2-grams, %", "novel_2grams", |n| n.ngram2),
        ("new 3-grams, %", "novel_3grams", |n| n.ngram3),
        ("new 4-grams, %", "novel_4grams", |n| n.ngram4),
    ];
    for (what, metric, pick) in ngrams {
        rows.extend(sheet(what, metric, &nothing).rows(&|t: &Texts| Some(percent(pick(t.novelty.as_ref()?)?))));
    }
    vec![made(results.suite.makes.word(), "Figure 5: what of the summaries is not in their source", "task", rows)]
}

/// Table 7.
pub fn copied_start(results: &SuiteResults) -> Vec<Table> {
    let recorded = |preamble: bool| move |task: &str, model: &str| paper()?.copied_start(task, model, preamble);
    let (all, after_preamble) = (recorded(false), recorded(true));
    let sheet = |what, metric, paper| Sheet {
        results,
        middle: (Writer::Reference, "zero-shot"),
        what,
        metric,
        paper,
        // Which begins as its source does by definition.
        skip: &[Writer::Lead3],
    };
    let share = |s: crate::results::Share| {
        let (low, high) = wilson(s.count, s.n);
        (s.n > 0)
            .then(|| (Ours { value: 100.0 * s.count as f64 / s.n as f64, low: 100.0 * low, high: 100.0 * high }, s.n))
    };
    let mut rows = sheet("begins with its source's first 3 words, %", "copied_start", &all)
        .rows(&|t: &Texts| share(t.copying.as_ref()?.start));
    rows.extend(
        sheet("the same, after an uninformative preamble, %", "copied_start_preamble", &after_preamble)
            .rows(&|t: &Texts| share(t.copying.as_ref()?.start_after_preamble)),
    );
    preamble_direction(&mut rows);
    vec![made(results.suite.makes.word(), "Table 7: how often summaries begin as their source does", "task", rows)]
}

/// Figures 6 and 7.
pub fn copied_from(results: &SuiteResults) -> Vec<Table> {
    let sheet = |what, metric| Sheet {
        results,
        middle: (Writer::Reference, "zero-shot"),
        what,
        metric,
        paper: &nothing,
        skip: &[],
    };
    let mut rows = sheet("words in copied spans of 4 or more, %", "copied_words")
        .rows(&|t: &Texts| Some(percent(t.copying.as_ref()?.copied?)));
    rows.extend(
        sheet("where copied spans begin, % of the source", "copied_position")
            .rows(&|t: &Texts| Some(percent(t.copying.as_ref()?.span_position?))),
    );
    vec![made(results.suite.makes.word(), "Figures 6 and 7: where summaries copy from", "task", rows)]
}

/// The paper's finding is a difference between inputs: starts are copied, but not after a preamble that says nothing.
fn preamble_direction(rows: &mut [Row]) {
    let of: Vec<(String, String, Option<f64>, Option<f64>)> = rows
        .iter()
        .filter(|row| row.metric == "copied_start")
        .map(|row| (row.run.clone(), writer(row), row.value, row.paper))
        .collect();
    for row in rows.iter_mut().filter(|row| row.metric == "copied_start_preamble" && row.paper.is_some()) {
        let all = of.iter().find(|(task, who, ..)| *task == row.run && *who == writer(row));
        let Some((_, _, Some(ours), Some(paper))) = all else { continue };
        let (Some(value), Some(low), Some(high), Some(recorded)) = (row.value, row.low, row.high, row.paper) else {
            continue;
        };
        let middle = Middle { ours: *ours, paper: *paper, name: "all inputs" };
        let value_of_paper = Some(PaperValue::new(recorded, Grade::A));
        row.verdict = crate::suite::verdict::verdict(Ours { value, low, high }, value_of_paper, Some(middle));
    }
}

fn writer(row: &Row) -> String {
    row.name.split(':').next().unwrap_or_default().to_string()
}
