//! What came out, in words: the first lines of a report, and the last of a run. Every number of it stands in the table
//! of scores too; where there is no result, it says why.

use super::Results;
use super::tables::{gain, held_its_target, share_of};
use crate::results::stops::{StopKind, StopRecord};
use crate::results::{Evaluation, Judge, RougeMeans, State, Writer};

/// Runs that the sentence names; the table has all.
const NAMED: usize = 4;

/// The result and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headline {
    /// One sentence; two where a run with results did not end well.
    pub result: String,
    /// What the intervals are over, and what the score is; empty where there are no numbers.
    pub basis: String,
}

/// The headline of a results directory of one spec.
pub fn headline(results: &Results) -> Headline {
    let shown: Vec<(String, &Evaluation)> =
        results.evaluations().map(|(run, e)| (results.shown_name(run), e)).collect();
    let evaluated: Vec<(&str, &Evaluation)> = shown.iter().map(|(run, e)| (run.as_str(), *e)).collect();
    let marks = results.labeler_marks();
    let numbers = numbers(&evaluated, &marks);
    let result = match (unfinished(results), numbers) {
        // Names of runs stay as they are.
        (None, Some(numbers)) if !marks.is_empty() => format!("{}.", capital(&numbers)),
        (None, Some(numbers)) => format!("{numbers}."),
        (None, None) => "There is no result: no run here has been evaluated.".to_owned(),
        (Some(why), None) => why,
        (Some(why), Some(numbers)) => format!("{why} So far, {numbers}."),
    };
    Headline { result, basis: basis(&evaluated, &results.seeds()) }
}

/// Why the runs of a directory are not all done, as a sentence.
fn unfinished(results: &Results) -> Option<String> {
    let manifest = results.manifest.as_ref()?;
    let reason = manifest.error.as_deref().map(ended);
    Some(match (manifest.state, reason) {
        (State::Done, _) => return None,
        (State::Running, _) => "The run is not finished.".to_owned(),
        (State::Interrupted, _) => "The run was interrupted; the same command continues it.".to_owned(),
        (State::Stopped, reason) => match (results.stops.last(), reason) {
            (Some(stop), _) => stopped(stop),
            (None, Some(reason)) => capital(&reason),
            (None, None) => "The run was stopped.".to_owned(),
        },
        (State::Waiting, Some(reason)) => capital(&reason),
        (State::Waiting, None) => "The run waits for people's answers.".to_owned(),
        (State::Failed, Some(reason)) => format!("The run failed: {reason}"),
        (State::Failed, None) => "The run failed; log.txt says why.".to_owned(),
    })
}

fn stopped(stop: &StopRecord) -> String {
    let after = stop.update.map_or_else(String::new, |update| format!(" after step {update}"));
    let reason = if stop.reason.is_empty() { ".".to_owned() } else { format!(": {}", ended(&stop.reason)) };
    match stop.kind {
        StopKind::Guard => format!("The guard `{}` stopped the run{after}{reason}", stop.by),
        StopKind::Person => format!("{} stopped the run{after}{reason}", capital(&stop.by)),
        StopKind::Signal => {
            format!(
                "The run was stopped ({}){after}; the same command continues it.",
                ended(&stop.by).trim_end_matches('.')
            )
        }
    }
}

/// A sentence's end, once.
fn ended(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

/// What the runs reached, without a full stop; direct mode first, because the others are measured by it.
fn numbers(evaluated: &[(&str, &Evaluation)], marks: &[String]) -> Option<String> {
    let best = evaluated.iter().find(|(_, e)| e.schedule == "direct" && gain(e).1 > 0.0).copied();
    let mut order: Vec<(&str, &Evaluation)> = best.into_iter().collect();
    order.extend(evaluated.iter().filter(|(run, _)| best.is_none_or(|(direct, _)| direct != *run)));
    let mut clauses: Vec<String> = Vec::new();
    for (run, e) in order.iter().take(NAMED) {
        let clause = match best {
            Some((name, direct)) if name != *run && e.judge == direct.judge => beside_direct(run, e, direct),
            _ => alone(run, e),
        };
        clauses.push(clause + &rouge(e));
    }
    if order.len() > NAMED {
        clauses.push(format!("{} more runs are in the table", order.len() - NAMED));
    }
    let with: String = marks
        .iter()
        .map(|mark| match mark.strip_prefix("judged") {
            Some(by) => format!("with labels judged{by}, "),
            None => format!("with {mark}, "),
        })
        .collect();
    (!clauses.is_empty()).then(|| format!("{with}{}", clauses.join("; ")))
}

/// A run by itself.
fn alone(run: &str, e: &Evaluation) -> String {
    let score = match e.judge {
        Judge::Mock => "the score",
        Judge::Reward => "its score under the learned reward model",
        Judge::Command => "its score by a program",
        Judge::Rouge => "its ROUGE-L with the reference summaries",
    };
    let (value, low, high) = gain(e);
    let by = interval(value.abs(), low, high, value < 0.0, &|v| format!("{v:.2}"), " sd");
    let moved = if !value.is_finite() {
        format!("{run}: {score} is the same for all of ρ's responses, so that a gain in sd does not exist")
    } else if low > 0.0 || (!low.is_finite() && value > 0.0) {
        format!("{run} raised {score} by {by}")
    } else if high < 0.0 || (!low.is_finite() && value < 0.0) {
        format!("{run} lowered {score} by {by}")
    } else {
        let by = interval(value, low, high, false, &|v| format!("{v:.2}"), " sd");
        format!("{run} did not change {score} by more than chance, {by},")
    };
    moved + &distance(e)
}

/// A run with a learned reward, as a share of what r_s itself as the reward reached.
fn beside_direct(run: &str, e: &Evaluation, direct: &Evaluation) -> String {
    let learned = e
        .labels
        .map_or_else(String::new, |labels| format!(", whose reward model learned from {} labels,", grouped(labels)));
    let (share, low, high) = share_of(e, direct);
    let share = interval(100.0 * share, 100.0 * low, 100.0 * high, false, &|v| format!("{v:.0}"), "%");
    format!("{run}{learned} reached {share} of that{}", distance(e))
}

/// How far π went from ρ.
fn distance(e: &Evaluation) -> String {
    let kl = e.kl.mean;
    match e.kl_target {
        Some(target) if held_its_target(kl, target) => format!(" at {kl:.1} nats of a target of {target}"),
        Some(target) => format!(" at {kl:.1} nats, which misses the target of {target}"),
        None => format!(" at {kl:.1} nats from ρ"),
    }
}

/// Mean ROUGE of π and ρ, where there are reference summaries.
fn rouge(e: &Evaluation) -> String {
    let of = |writer: Writer| -> Option<&RougeMeans> {
        e.texts.iter().find(|texts| texts.writer == writer).and_then(|texts| texts.rouge.as_ref())
    };
    let (Some(policy), Some(reference)) = (of(Writer::Policy), of(Writer::Reference)) else { return String::new() };
    let word = |r: &RougeMeans| {
        let bound = |b: Option<f64>| b.map_or(f64::NAN, |b| 100.0 * b);
        let m = r.mean;
        interval(100.0 * m.mean, bound(m.low), bound(m.high), false, &|v| format!("{v:.1}"), "")
    };
    format!(", with a mean ROUGE of {} where ρ has {}", word(policy), word(reference))
}

/// "1.55 sd (1.43 to 1.67)"; `flipped`: of a fall, told as a positive number.
fn interval(value: f64, low: f64, high: f64, flipped: bool, number: &dyn Fn(f64) -> String, unit: &str) -> String {
    let (low, high) = if flipped { (-high, -low) } else { (low, high) };
    match low.is_finite() && high.is_finite() {
        true => {
            format!("{}{unit} ({} to {}{})", number(value), number(low), number(high), unit.trim_start_matches(" sd"))
        }
        false => format!("{}{unit} (no interval)", number(value)),
    }
}

fn basis(evaluated: &[(&str, &Evaluation)], seeds: &[u64]) -> String {
    let Some((_, first)) = evaluated.first() else { return String::new() };
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let seed = if seeds.is_empty() { "one seed".to_owned() } else { format!("seed {}", seeds.join(", ")) };
    let score = match first.judge {
        Judge::Mock => "the mock labeler's log-odds of a positive text",
        Judge::Command => "that of the program which π was trained on, so that it says what was optimised",
        Judge::Rouge => {
            "ROUGE-L with the reference summary, which π was trained on, so that it says what was optimised"
        }
        Judge::Reward => {
            "that of the reward model which π was trained on, so that it says what was optimised, not what people think"
        }
    };
    format!(
        "Intervals are 95%, over {} held-out queries at {seed}; they do not cover the spread between seeds. An sd is the \
         standard deviation of the scores of ρ, the model before RL; the score is {score}. Nats: KL(π, ρ) per response.",
        grouped(first.n as u64)
    )
}

/// 11520 as 11,520.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let mut out = digits[..first].to_owned();
    for (i, c) in digits[first..].chars().enumerate() {
        if i % 3 == 0 && !out.is_empty() {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{fake, fake_summaries};

    fn changed(dir: &std::path::Path, change: impl Fn(&mut serde_json::Value)) -> Headline {
        let path = dir.join("manifest.json");
        let mut manifest: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut manifest);
        std::fs::write(&path, manifest.to_string()).unwrap();
        headline(&Results::load(dir).unwrap())
    }

    #[test]
    fn the_first_sentence_says_how_well_against_what() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), 0.0);
        let found = headline(&Results::load(dir.path()).unwrap());
        assert!(found.result.starts_with("direct raised the score by 4.78 sd (4."), "{}", found.result);
        assert!(found.result.contains(" at 6.1 nats of a target of 6; offline_512, whose reward model learned from 512 labels, reached 81% (79 to 84%) of that"), "{}", found.result);
        assert!(found.basis.contains("over 128 held-out queries at seed 1"), "{}", found.basis);
    }

    #[test]
    fn a_fall_is_no_gain_and_has_no_share() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), -8.0);
        let found = headline(&Results::load(dir.path()).unwrap()).result;
        assert!(found.starts_with("direct lowered the score by 4.11 sd (3."), "{found}");
        assert!(found.contains("; offline_512 raised the score by") && !found.contains("of that"), "{found}");
    }

    #[test]
    fn what_is_not_done_says_why() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), 0.0);
        let failed = |manifest: &mut serde_json::Value| {
            manifest["state"] = "failed".into();
            manifest["error"] = "task.data.path: no such file".into();
        };
        let found = changed(dir.path(), failed).result;
        assert!(found.starts_with("The run failed: task.data.path: no such file. So far, direct raised"), "{found}");
        std::fs::remove_dir_all(dir.path().join("runs")).unwrap();
        assert_eq!(changed(dir.path(), failed).result, "The run failed: task.data.path: no such file.");
        let waits = changed(dir.path(), |m| {
            m["state"] = "waiting".into();
            m["error"] = "main waits for people: batch b has 0 of 64 answers".into();
        });
        assert_eq!(
            (waits.result.as_str(), waits.basis.as_str()),
            ("Main waits for people: batch b has 0 of 64 answers.", "")
        );
        let stop = serde_json::json!({"kind": "person", "by": "Ada", "reason": "gibberish", "at": "x", "update": 7});
        std::fs::write(dir.path().join("stops.jsonl"), format!("{stop}\n")).unwrap();
        let stopped = changed(dir.path(), |m| m["state"] = "stopped".into()).result;
        assert_eq!(stopped, "Ada stopped the run after step 7: gibberish.");
    }

    #[test]
    fn a_learned_judge_and_summaries_are_said_to_be_that() {
        let dir = tempfile::tempdir().unwrap();
        fake_summaries(dir.path());
        let found = headline(&Results::load(dir.path()).unwrap());
        let expected = "With simulated labelers, a raised its score under the learned reward model by 1.50 sd (no interval) at 9.0 nats from ρ, with a mean ROUGE of 30.0 (25.0 to 35.0) where ρ has 30.0 (25.0 to 35.0); b raised";
        assert!(found.result.starts_with(expected), "{}", found.result);
        assert!(found.basis.contains("what was optimised"), "{}", found.basis);
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 11520, 1234567].map(grouped), ["0", "999", "1,000", "11,520", "1,234,567"]);
    }
}
