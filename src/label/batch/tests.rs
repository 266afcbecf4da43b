//! Batches and answers by hand: what is read, what is refused, and what quality says of it.

use super::append::append_event;
use super::outline::{Outline, outlines};
use super::quality::{BatchQuality, GUARD, Replies, automatic_drops, quality};
use super::read::{answers, batches, check_items, dropped, items, progress};
use super::*;
use crate::spec::QualitySpec;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn item(id: &str) -> Item {
    let text = |words: &str| Text { text: words.into(), ids: Vec::new() };
    let candidate = |i: usize| Candidate {
        response: text(&format!("{i}")),
        source: "reference".into(),
        logprob: None,
        valid: true,
    };
    Item {
        id: id.into(),
        query: text("q"),
        candidates: (0..4).map(candidate).collect(),
        order: vec![2, 0, 3, 1],
        gold: None,
        repeat_of: None,
    }
}

fn answer(item: &str, labeler: &str, best: usize) -> Answer {
    Answer {
        item: item.into(),
        best: Some(best),
        skip: None,
        ranking: None,
        confidence: None,
        note: None,
        labeler: labeler.into(),
        shown_at: None,
        answered_at: None,
        revision: 0,
    }
}

/// Writes a batch of `items` that wants `labelers` answers each.
fn write(dir: &Path, id: &str, items: &[Item], labelers: usize) {
    let batch = Batch {
        batch_version: BATCH_VERSION,
        id: id.into(),
        purpose: Purpose::Training,
        items: items.len(),
        labelers_per_item: labelers,
        spec: String::new(),
        spec_hash: String::new(),
        policy_hash: String::new(),
        tokenizer_hash: String::new(),
        update: 0,
        temperature: 1.0,
        seed: 1,
        instructions: String::new(),
        instructions_version: String::new(),
        created_at: String::new(),
    };
    let folder = dir.join(id);
    fs::create_dir_all(&folder).unwrap();
    let lines: String = items.iter().map(|i| serde_json::to_string(i).unwrap() + "\n").collect();
    fs::write(folder.join("items.jsonl"), lines).unwrap();
    fs::write(folder.join("batch.json"), serde_json::to_string(&batch).unwrap()).unwrap();
}

fn lines(answers: &[Answer]) -> String {
    answers.iter().map(|a| serde_json::to_string(a).unwrap() + "\n").collect()
}

#[test]
fn files_are_merged_and_the_last_revision_counts() {
    let dir = tempfile::tempdir().unwrap();
    let asked = [item("a"), item("b")];
    write(dir.path(), "r1", &asked, 2);
    fs::create_dir(dir.path().join("unfinished")).unwrap();
    let found = batches(dir.path()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(items(dir.path(), "r1").unwrap(), asked);
    let changed = Answer { revision: 2, ..answer("a", "Ada", 3) };
    let skip = Answer { best: None, skip: Some("?".into()), ..answer("b", "Bob", 0) };
    let folder = dir.path().join("r1");
    // The later revision stands first, the same line twice, and one last line is still being written.
    let own = lines(&[changed.clone(), answer("a", "Ada", 1), skip.clone(), skip]) + "{\"item\":\"b\",\"bes";
    fs::write(folder.join("answers.jsonl"), own).unwrap();
    fs::write(folder.join("answers-tool.jsonl"), lines(&[answer("a", "Bob", 3), answer("b", "Bob", 1)])).unwrap();
    fs::write(folder.join("answers.jsonl.partial-1"), "x").unwrap();
    let got = answers(dir.path(), "r1", &asked).unwrap();
    // Files by name: "answers-tool.jsonl" is before "answers.jsonl", and of equal revisions the first counts.
    assert_eq!(got.counted, [changed, answer("a", "Bob", 3), answer("b", "Bob", 1)]);
    assert!(got.problems.len() == 2 && got.problems[0].contains("answered otherwise"), "{:?}", got.problems);
    let p = progress(&found[0], &asked, &got);
    assert_eq!((p.wanted, p.have, p.complete, p.answered, p.labelers), (4, 3, 1, 2, 2));

    let event = |action| LabelerEvent {
        labeler: "Bob".into(),
        action,
        by: "Lee".into(),
        reason: String::new(),
        at: String::new(),
    };
    append_event(dir.path(), &event(LabelerAction::Drop)).unwrap();
    let got = answers(dir.path(), "r1", &asked).unwrap();
    assert_eq!((got.counted.len(), got.excluded.len()), (1, 2));
    append_event(dir.path(), &event(LabelerAction::Restore)).unwrap();
    assert_eq!(dropped(dir.path()).unwrap(), BTreeSet::new());
}

#[test]
fn lines_that_say_nothing_are_named_and_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let asked = [item("a")];
    write(dir.path(), "r1", &asked, 1);
    let none = Answer { best: None, ..answer("a", "Ada", 0) };
    let both = Answer { skip: Some("x".into()), ..answer("a", "Ada", 0) };
    let ranked = Answer { ranking: Some(vec![1, 0]), ..answer("a", "Ada", 0) };
    let sure = Answer { confidence: Some(1.5), ..answer("a", "Ada", 0) };
    let all = [answer("x", "Ada", 0), answer("a", "Ada", 4), none, both, ranked, sure, answer("a", " Ada", 0)];
    fs::write(dir.path().join("r1/answers.jsonl"), lines(&all) + "{}\n\n[1\n").unwrap();
    let got = answers(dir.path(), "r1", &asked).unwrap();
    assert_eq!(got.counted, []);
    let words = [
        "no item \"x\"",
        "best is 4",
        "neither",
        "both",
        "does not start with best",
        "1.5",
        "white space",
        "`item`",
        "",
    ];
    assert_eq!(got.problems.len(), words.len(), "{:#?}", got.problems);
    for (i, (problem, word)) in got.problems.iter().zip(words).enumerate() {
        let line = if i == 8 { 10 } else { i + 1 };
        assert!(problem.contains(&format!("answers.jsonl:{line}: ")) && problem.contains(word), "{problem}");
    }
}

#[test]
fn batches_that_cannot_be_asked_are_refused_with_their_place() {
    let with = |change: &dyn Fn(&mut Item)| {
        let mut second = item("b");
        change(&mut second);
        check_items(&[item("a"), second]).unwrap_err()
    };
    for (change, words) in [
        (&(|i: &mut Item| i.id = "a".into()) as &dyn Fn(&mut Item), "is item 1 already"),
        (&|i| i.order = vec![0, 1, 2, 2], "each of 0 to 3 once"),
        (&|i| i.candidates.truncate(1), "has 1 candidates"),
        (&|i| i.gold = Some(4), "gold is 4"),
        (&|i| i.repeat_of = Some("z".into()), "is no item of this batch"),
        (&|i| i.repeat_of = Some("b".into()), "is itself a repeat"),
    ] {
        let (index, message) = with(change);
        assert!(index == 1 && message.contains(words), "{message}");
    }
    let mut other = item("b");
    (other.repeat_of, other.query.text) = (Some("a".into()), "another".into());
    assert!(check_items(&[item("a"), other]).unwrap_err().1.contains("another query"));

    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "r1", &[item("a"), item("b")], 1);
    let path = dir.path().join("r1/items.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let message = items(dir.path(), "r1").unwrap_err().to_string();
    assert!(message.contains("items.jsonl:2:"), "{message}");
    fs::write(&path, whole.lines().next().unwrap()).unwrap();
    let message = items(dir.path(), "r1").unwrap_err().to_string();
    assert!(message.contains("has 1 items, and batch.json says 2"), "{message}");
    fs::rename(dir.path().join("r1"), dir.path().join("r2")).unwrap();
    assert!(batches(dir.path()).unwrap_err().to_string().contains("id is \"r1\""));
    assert!(batches(&dir.path().join("nowhere")).is_err());
}

/// Four questions, a gold item (best 1) and a repeat of the first.
fn checked() -> Vec<Outline> {
    let gold = Item { gold: Some(1), ..item("gold") };
    let again = Item { repeat_of: Some("a".into()), order: vec![0, 1, 2, 3], ..item("again") };
    let items = [item("a"), item("b"), item("c"), item("d"), gold, again];
    check_items(&items).unwrap();
    outlines(&items)
}

fn judged(said: &[Answer], dropped: &[&str], spec: &QualitySpec) -> BatchQuality {
    let (items, mut replies) = (checked(), Replies::default());
    replies.add(0, &items, said);
    quality(&items, &replies, &dropped.iter().map(|d| (*d).to_string()).collect(), spec)
}

#[test]
fn agreement_by_hand() {
    let timed = |a: Answer, seconds: &str| Answer {
        shown_at: Some("2026-01-01T00:00:00Z".into()),
        answered_at: Some(format!("2026-01-01T00:00:{seconds}Z")),
        ..a
    };
    let said = [
        timed(answer("a", "Ada", 0), "04"),
        timed(answer("a", "Bob", 0), "01"),
        timed(answer("b", "Ada", 1), "06"),
        timed(answer("b", "Bob", 2), "02"),
        answer("gold", "Ada", 1),
        answer("gold", "Bob", 3),
        answer("again", "Ada", 0),
        answer("again", "Bob", 1),
        answer("c", "Eve", 0),
        answer("a", "Eve", 0),
    ];
    let q = judged(&said, &["Eve"], &QualitySpec::default());
    let between = q.labeler_labeler.unwrap();
    assert_eq!((between.percent, between.pairs, between.items, between.chance), (50.0, 2, 2, 25.0));
    assert_eq!(q.author_labeler.map(|a| (a.percent, a.pairs)), Some((50.0, 2)));
    assert_eq!(q.self_agreement.map(|a| (a.percent, a.pairs)), Some((50.0, 2)));
    // Candidate 0 is second in the order 2, 0, 3, 1 of "a", 1 fourth, 2 first; in "again" 0 is first and 1 second.
    let places: Vec<u64> = q.places.iter().map(|s| s.count).collect();
    assert_eq!(places, [2, 3, 1, 2]);
    let row = |name: &str| q.labelers.iter().find(|r| r.labeler == name).unwrap();
    assert_eq!((row("Ada").gold.count, row("Ada").gold.n, row("Ada").seconds), (1, 1, Some(5.0)));
    assert_eq!((row("Ada").others.count, row("Ada").others.n), (1, 2));
    assert!(row("Eve").dropped && row("Eve").others.n == 2, "Eve is compared with those who count");
}

#[test]
fn gold_items_stand_in_where_no_question_has_two_answers() {
    let q = judged(&[answer("gold", "Ada", 1), answer("gold", "Bob", 1)], &[], &QualitySpec::default());
    assert_eq!((q.labeler_labeler.unwrap().percent, &*q.labeler_labeler_on), (100.0, "gold"));
    let q = judged(&[answer("a", "Ada", 1)], &[], &QualitySpec::default());
    assert_eq!((q.labeler_labeler, q.author_labeler, q.self_agreement), (None, None, None));
}

#[test]
fn thresholds_drop_nobody_for_a_few_misses_and_persons_have_the_last_word() {
    let items: Vec<Outline> = (0..40).map(|i| Outline::of(&Item { gold: Some(2), ..item(&format!("g{i}")) })).collect();
    let row = |labeler: &str, n: usize, right: usize| -> Vec<Answer> {
        (0..n).map(|i| answer(&format!("g{i}"), labeler, if i < right { 2 } else { i % 2 })).collect()
    };
    let said = [row("few", 2, 0), row("bad", 40, 8), row("good", 40, 30)].concat();
    let mut replies = Replies::default();
    replies.add(0, &items, &said);
    let spec = QualitySpec { min_gold_accuracy: 0.5, ..QualitySpec::default() };
    let q = quality(&items, &replies, &BTreeSet::new(), &spec);
    let drops = automatic_drops(&spec, &q, &[], "now");
    assert_eq!(drops.len(), 1);
    assert_eq!((&*drops[0].labeler, &*drops[0].by, drops[0].action), ("bad", GUARD, LabelerAction::Drop));
    assert!(drops[0].reason.contains("8 of 40 gold items"), "{}", drops[0].reason);
    let restored = LabelerEvent { action: LabelerAction::Restore, by: "Lee".into(), ..drops[0].clone() };
    assert_eq!(automatic_drops(&spec, &q, &[drops[0].clone(), restored], "now"), []);
    // "good" took candidate 2, which is shown first, thirty times in a row.
    let line = QualitySpec { max_straight_line: 20, ..QualitySpec::default() };
    let drops = automatic_drops(&line, &q, &[], "now");
    assert_eq!(drops.iter().map(|d| &*d.labeler).collect::<Vec<_>>(), ["good"]);
    assert!(automatic_drops(&QualitySpec::default(), &q, &[], "now").is_empty(), "thresholds are off by default");
}

#[test]
fn hasty_and_straight_answers_are_remarked_on() {
    let items: Vec<Outline> = (0..60).map(|i| Outline::of(&item(&format!("q{i}")))).collect();
    let hasty: Vec<Answer> = (0..60)
        .map(|i| Answer {
            shown_at: Some(format!("2026-01-01T00:{i:02}:00Z")),
            answered_at: Some(format!("2026-01-01T00:{i:02}:00.200Z")),
            ..answer(&format!("q{i}"), "Hal", 2)
        })
        .collect();
    let mut replies = Replies::default();
    replies.add(0, &items, &hasty);
    let spec = QualitySpec { min_seconds: 0.5, ..QualitySpec::default() };
    let q = quality(&items, &replies, &BTreeSet::new(), &spec);
    let hal = &q.labelers[0];
    assert_eq!((hal.fast, hal.longest_run), (60, 60));
    assert!(hal.chance_run < 10 && hal.remarks.len() == 3, "{hal:?}");
    assert_eq!(automatic_drops(&spec, &q, &[], "now").len(), 1);
}
