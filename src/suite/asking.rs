//! Everything that a suite asks readers, once its members have run: one question after the other, so that one that
//! cannot be asked yet does not keep the others from it.

use super::asked::comparison::{Compared, Side, compare, writer_of};
use super::asked::writers::ReadyMember;
use super::asked::{Asking, QuestionStanding, accuracy, agreement, frontier, question_id, scores};
use super::files::{MemberState, QuestionRecord};
use super::results::{MemberResults, SuiteResults};
use super::types::{Baseline, Makes, MemberComparison, Respondents};
use crate::context::{Context, StageError};
use crate::results::{Judge, Outcome};
use crate::store::atomic::write_atomic;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Folder of what was asked, in a suite's results directory.
pub const ASKED: &str = "asked";

/// Asks everything that the members' results allow; what came of each question.
pub fn ask_all(context: &Context, results: &SuiteResults) -> Vec<QuestionRecord> {
    let suite = &results.suite;
    let out = &results.dir;
    let folder = match (&suite.preference.batches, suite.preference.kind) {
        (_, Respondents::Simulated) => out.join(ASKED),
        (Some(given), Respondents::Human | Respondents::Judge) => PathBuf::from(given),
        (None, Respondents::Human | Respondents::Judge) => {
            let profile = results.manifest.as_ref().and_then(|m| m.profile.as_ref());
            Path::new("labels").join(profile.map_or(suite.name.clone(), |profile| format!("{}-{profile}", suite.name)))
        }
    };
    let asking = Asking { context, suite: &suite.name, settings: &suite.preference, batches: folder };
    match suite.makes {
        Makes::Table1StylePreference | Makes::Table5SummaryPreference | Makes::Figure4WinRateByLabels => {
            let pairs = suite.comparisons.iter().flat_map(|c| suite.seeds.iter().map(move |seed| (c, *seed)));
            pairs.map(|(c, seed)| comparison(&asking, results, c, seed)).collect()
        }
        Makes::ReleasedModels => {
            let tasks = results.tasks();
            let scored = tasks.iter().flat_map(|task| suite.seeds.iter().map(move |seed| (task, *seed)));
            let scored: Vec<_> = scored.map(|(task, seed)| scored_by_all(&asking, results, task, seed)).collect();
            let pairs = suite.comparisons.iter().flat_map(|c| suite.seeds.iter().map(move |seed| (c, *seed)));
            scored.into_iter().chain(pairs.map(|(c, seed)| comparison(&asking, results, c, seed))).collect()
        }
        Makes::Table9Agreement => {
            let members = results.members.iter().filter(|m| !m.left_out);
            members
                .map(|m| {
                    record(&question_id(&[&m.name, "four-of-zero-shot"], m.seed), Some(m.seed), agree(&asking, m, out))
                })
                .collect()
        }
        Makes::Table8Accuracy => vec![accurate(&asking, results)],
        Makes::Figure3Frontier => suite.seeds.iter().map(|seed| curve(&asking, results, *seed)).collect(),
        _ => Vec::new(),
    }
}

/// A result of asking as a line of the manifest.
fn record(id: &str, seed: Option<u64>, standing: Result<QuestionStanding, StageError>) -> QuestionRecord {
    let (outcome, message) = match standing {
        Ok(QuestionStanding::Answered) => (Outcome::Done, None),
        Ok(QuestionStanding::Waiting { done, of, at }) => {
            (Outcome::Waiting, Some(format!("waits for people: {done} of {of} are answered in {}", at.display())))
        }
        Err(error) => {
            tracing::error!("{id}: {error}");
            (error.outcome(), Some(error.to_string()))
        }
    };
    QuestionRecord { id: id.into(), seed, state: MemberState::of(outcome), exit_code: outcome.code(), message }
}

/// A question that a missing member keeps from being asked; the member's own exit code says that something failed.
fn kept(id: &str, seed: Option<u64>, why: String) -> QuestionRecord {
    QuestionRecord { id: id.into(), seed, state: MemberState::Pending, exit_code: 0, message: Some(why) }
}

fn open<'c>(asking: &Asking<'c>, member: &MemberResults, contexts: usize) -> Result<ReadyMember<'c>, StageError> {
    let missing = || StageError::Input(format!("member {} has no results", member.name));
    let run = member.run.as_ref().ok_or_else(missing)?;
    let dir = member.results.as_ref().map(|r| r.dir.clone()).ok_or_else(missing)?;
    ReadyMember::open(asking.context, &member.name, &dir, run, contexts)
}

fn comparison(asking: &Asking<'_>, results: &SuiteResults, c: &MemberComparison, seed: u64) -> QuestionRecord {
    let id = question_id(&[&c.a, &c.b], seed);
    let member = |name: &str| results.members.iter().find(|m| m.name == name && m.seed == seed);
    let mut found = Vec::new();
    for name in [&c.a, &c.b] {
        if Baseline::of(name).is_some() && results.suite.members.get(name).is_none() {
            continue;
        }
        match member(name) {
            Some(m) if m.missing.is_none() => found.push(m),
            Some(m) => {
                return kept(&id, Some(seed), format!("{name} is missing: {}", m.missing.clone().unwrap_or_default()));
            }
            None => return kept(&id, Some(seed), format!("{name} is missing")),
        }
    }
    record(&id, Some(seed), compared(asking, results, c, &found))
}

/// Figure 3's curve from all policies that are there: each makes it reach further, and none is waited for.
fn curve(asking: &Asking<'_>, results: &SuiteResults, seed: u64) -> QuestionRecord {
    let id = format!("frontier-seed-{seed}");
    let mock = |m: &&MemberResults| m.evaluation().is_some_and(|e| e.judge == Judge::Mock);
    let has_policy = |m: &&MemberResults| m.spec().is_some_and(|spec| spec.has_rl() || spec.policy.is_given());
    let of_seed = results.members.iter().filter(|m| m.seed == seed && m.missing.is_none() && !m.left_out);
    let members: Vec<&MemberResults> = of_seed.filter(mock).filter(has_policy).collect();
    if members.is_empty() {
        return kept(&id, Some(seed), "no member has a policy that r_s has scored".into());
    }
    let measure = || {
        save(&results.dir, &id, &frontier::measure(asking.context, &members)?)?;
        Ok(QuestionStanding::Answered)
    };
    record(&id, Some(seed), measure())
}

/// Every member's texts of a task, and ρ's, under every member's reward model.
fn scored_by_all(asking: &Asking<'_>, results: &SuiteResults, task: &str, seed: u64) -> QuestionRecord {
    let id = question_id(&[task, "scores"], seed);
    let of_task = |m: &&MemberResults| m.seed == seed && !m.left_out && m.task().as_deref() == Some(task);
    let members: Vec<&MemberResults> = results.members.iter().filter(of_task).collect();
    if let Some(missing) = members.iter().find(|m| m.missing.is_some()) {
        return kept(
            &id,
            Some(seed),
            format!("{} is missing: {}", missing.name, missing.missing.clone().unwrap_or_default()),
        );
    }
    let score = || {
        let open = |m: &&MemberResults| open(asking, m, asking.settings.contexts);
        let desks = members.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        save(&results.dir, &id, &scores::score(&id, task, seed, &desks)?)?;
        Ok(QuestionStanding::Answered)
    };
    record(&id, Some(seed), score())
}

fn compared(
    asking: &Asking<'_>,
    results: &SuiteResults,
    c: &MemberComparison,
    members: &[&MemberResults],
) -> Result<QuestionStanding, StageError> {
    let desks = members.iter().map(|m| open(asking, m, asking.settings.contexts)).collect::<Result<Vec<_>, _>>()?;
    let first = desks.first().ok_or_else(|| StageError::Input("a comparison needs a member".into()))?;
    let side = |name: &str| match desks.iter().find(|desk| desk.member == name) {
        Some(desk) => Side { name: name.into(), desk, writer: super::asked::writers::TextSource::Policy },
        None => Side { name: name.into(), desk: first, writer: writer_of(name) },
    };
    let task = c.task.clone().unwrap_or_else(|| first.task());
    let (found, standing): (Compared, QuestionStanding) = compare(asking, &task, &side(&c.a), &side(&c.b))?;
    save(&results.dir, &found.id, &found)?;
    Ok(standing)
}

fn agree(asking: &Asking<'_>, member: &MemberResults, out: &Path) -> Result<QuestionStanding, StageError> {
    let desk = open(asking, member, asking.settings.contexts)?;
    let (found, standing) = agreement::measure(asking, &desk)?;
    save(out, &found.id, &found)?;
    Ok(standing)
}

/// Of the first seed: a person's time is not for judging the same model three times.
fn accurate(asking: &Asking<'_>, results: &SuiteResults) -> QuestionRecord {
    let first = results.suite.seeds.first().copied();
    let members: Vec<&MemberResults> =
        results.members.iter().filter(|m| Some(m.seed) == first && !m.left_out).collect();
    let there = results.dir.join(ASKED).join(accuracy::FORM).exists();
    if let (Some(missing), false) = (members.iter().find(|m| m.missing.is_some()), there) {
        return kept(
            "accuracy",
            first,
            format!("the form is written when all members have run; {} is missing", missing.name),
        );
    }
    record("accuracy", first, judge(asking, results, &members))
}

fn judge(
    asking: &Asking<'_>,
    results: &SuiteResults,
    members: &[&MemberResults],
) -> Result<QuestionStanding, StageError> {
    let open = |m: &&MemberResults| open(asking, m, asking.settings.judged);
    let desks = members.iter().filter(|m| m.missing.is_none()).map(open).collect::<Result<Vec<_>, _>>()?;
    let standing = accuracy::ask(asking, &desks.iter().collect::<Vec<_>>(), &results.dir.join(ASKED))?;
    // Where nobody is asked, nobody is waited for: the table's rows say what is missing.
    Ok(if asking.settings.kind == Respondents::Human { standing } else { QuestionStanding::Answered })
}

fn save(out: &Path, id: &str, value: &impl Serialize) -> Result<(), StageError> {
    let path = out.join(ASKED).join(format!("{id}.json"));
    let text = serde_json::to_string_pretty(value)?;
    write_atomic(&path, format!("{text}\n").as_bytes()).map_err(StageError::io(path))
}
