//! Label Studio's JSON (labelstud.io, "Export annotations", format JSON): a list of tasks, each with `data` and
//! `annotations`. A task's data are the item's id and texts. An annotation has a result of each control of the labeling
//! interface, told apart by the control's name: that of `best` (Choices, Pairwise or Ranker) is the answer.

use super::{Found, Importing, Opened, Problems, blank, candidate, letter, place, same_places};
use crate::data::entries::{Entries, LARGEST_LABEL};
use crate::label::LabelError;
use crate::label::batch::{Answer, Item};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

/// Writes all questions as tasks, with answers as annotations; says how many tasks there are.
pub fn write(all: &[Opened], out: &mut dyn Write) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let mut tasks = 0;
    write!(out, "[")?;
    for batch in all {
        for (item, answers) in batch.answered() {
            let annotations: Vec<Value> = answers.iter().map(|answer| annotation(item, answer)).collect();
            let mut data = Map::new();
            data.insert("item".into(), json!(item.id));
            data.insert("batch".into(), json!(batch.batch.id));
            data.insert("query".into(), json!(item.query.text));
            for (place, candidate) in item.order.iter().enumerate() {
                data.insert(letter(place), json!(item.candidates.get(*candidate).map(|c| &c.response.text)));
            }
            // The same for a List, which a Ranker needs.
            let listed = |(place, candidate): (usize, &usize)| {
                let text = item.candidates.get(*candidate).map(|c| &c.response.text);
                json!({ "id": letter(place), "title": letter(place), "body": text })
            };
            data.insert("items".into(), item.order.iter().enumerate().map(listed).collect());
            let gap = if tasks > 0 { "," } else { "" };
            write!(out, "{gap}\n{}", json!({ "data": data, "annotations": annotations }))?;
            tasks += 1;
        }
    }
    writeln!(out, "\n]")?;
    Ok(tasks)
}

fn annotation(item: &Item, answer: &Answer) -> Value {
    let mut result = Vec::new();
    if let Some(best) = answer.best {
        let value = json!({ "choices": [letter(place(item, best))] });
        result.push(json!({ "from_name": "best", "to_name": "query", "type": "choices", "value": value }));
    }
    if let Some(note) = answer.note.as_ref().or(answer.skip.as_ref()) {
        let value = json!({ "text": [note] });
        result.push(json!({ "from_name": "note", "to_name": "query", "type": "textarea", "value": value }));
    }
    json!({
        "completed_by": { "email": answer.labeler },
        "was_cancelled": answer.best.is_none(),
        "created_at": answer.answered_at,
        "result": result,
    })
}

#[derive(Deserialize)]
struct Task {
    data: Option<Map<String, Value>>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    /// What annotations were called before Label Studio 1.0.
    #[serde(default)]
    completions: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    completed_by: Option<Value>,
    was_cancelled: Option<bool>,
    /// Of old completions.
    skipped: Option<bool>,
    created_at: Option<Value>,
    updated_at: Option<Value>,
    #[serde(default)]
    result: Vec<Outcome>,
}

/// What one control of the labeling interface says.
#[derive(Deserialize)]
struct Outcome {
    r#type: Option<String>,
    /// The control's name.
    from_name: Option<String>,
    /// What it is about: of a comparison of two, the names of both.
    to_name: Option<String>,
    #[serde(default)]
    value: Map<String, Value>,
}

/// Types of controls that choose among candidates.
const CHOOSING: [&str; 3] = ["choices", "pairwise", "ranker"];
/// The control of docs/label_studio.xml.
const BEST: &str = "best";

impl Outcome {
    fn is(&self, kind: &str) -> bool {
        self.r#type.as_deref() == Some(kind)
    }

    fn name(&self) -> &str {
        self.from_name.as_deref().unwrap_or_default()
    }
}

impl Annotation {
    /// When it was last changed; old completions have seconds since 1970.
    fn time(&self) -> Option<String> {
        match self.updated_at.as_ref().or(self.created_at.as_ref())? {
            Value::String(text) => Some(text.clone()),
            Value::Number(seconds) => Some(Timestamp::from_second(seconds.as_f64()? as i64).ok()?.to_string()),
            _ => None,
        }
    }

    fn is_skipped(&self) -> bool {
        self.was_cancelled.or(self.skipped).unwrap_or(false)
    }
}

/// A task's annotations, and the line where it starts.
struct Annotated<'a> {
    line: u64,
    item: &'a Item,
    annotations: Vec<Annotation>,
}

/// Answers of an export: a list of tasks, or one task.
pub fn read(
    file: &Path,
    items: &BTreeMap<&str, &Item>,
    options: &Importing,
    problems: &mut Problems,
) -> Result<Vec<Found>, LabelError> {
    let mut entries = Entries::open_values(file, LARGEST_LABEL)?;
    let mut tasks = Vec::new();
    while let Some(entry) = entries.next_entry()? {
        match task(entry.bytes, items) {
            Ok((item, annotations)) => tasks.push(Annotated { line: entry.line, item, annotations }),
            Err(message) => problems.push((entry.line, message)),
        }
    }
    let control = match control(&tasks) {
        Ok(control) => control,
        Err(message) => {
            problems.push((1, message));
            return Ok(Vec::new());
        }
    };
    let mut found = Vec::new();
    for Annotated { line, item, annotations } in tasks {
        for annotation in annotations {
            match answer(item, &annotation, &control, options) {
                Ok(answer) => found.push(Found { line, answer }),
                Err(message) => problems.push((line, format!("item {:?}: {message}", item.id))),
            }
        }
    }
    Ok(found)
}

/// A task's item and what people said of it.
fn task<'a>(bytes: &[u8], items: &BTreeMap<&str, &'a Item>) -> Result<(&'a Item, Vec<Annotation>), String> {
    let task: Task = serde_json::from_slice(bytes).map_err(|e| format!("is no task of Label Studio: {e}"))?;
    let id = task.data.as_ref().and_then(|data| data.get("item")).and_then(Value::as_str);
    let id =
        id.ok_or("the task has no `data.item`; take the export named JSON, of tasks that `runner labels export` made")?;
    let item = items.get(id).ok_or_else(|| format!("item {id:?} is not of this batch"))?;
    same_places(item, |place| task.data.as_ref()?.get(&letter(place))?.as_str())?;
    Ok((item, task.annotations.into_iter().chain(task.completions).collect()))
}

/// The control whose results are the answers: `best`, else the only one in the file that chooses.
fn control(tasks: &[Annotated<'_>]) -> Result<String, String> {
    let outcomes = tasks.iter().flat_map(|task| &task.annotations).flat_map(|annotation| &annotation.result);
    let names: BTreeSet<&str> =
        outcomes.filter(|o| CHOOSING.iter().any(|kind| o.is(kind))).map(Outcome::name).collect();
    if names.contains(BEST) {
        return Ok(BEST.into());
    }
    let names: Vec<&str> = names.into_iter().collect();
    match names[..] {
        [] => Ok(BEST.into()),
        // The opposite, of an interface whose `best` nobody used.
        [name] if name.eq_ignore_ascii_case("worst") => Err(
            "the only control with results is called \"worst\"; the one that names the best is to be called \"best\""
                .into(),
        ),
        [name] => Ok(name.into()),
        _ => Err(format!(
            "has results of several controls ({}), and none is called \"best\"; call the one that names the best so",
            names.join(", ")
        )),
    }
}

/// The name of an annotator: an email or user name, or their number.
fn labeler(completed_by: Option<&Value>) -> Option<String> {
    let named = |person: &Map<String, Value>| {
        let text = |key: &str| person.get(key).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_string);
        text("email").or_else(|| text("username")).or_else(|| Some(format!("label-studio-{}", person.get("id")?)))
    };
    match completed_by? {
        Value::String(name) => Some(name.clone()),
        Value::Number(id) => Some(format!("label-studio-{id}")),
        Value::Object(person) => named(person),
        _ => None,
    }
}

fn answer(item: &Item, annotation: &Annotation, control: &str, options: &Importing) -> Result<Answer, String> {
    let who = options.labeler.clone().or_else(|| labeler(annotation.completed_by.as_ref()));
    let mut answer = blank(&item.id, who.unwrap_or_default());
    answer.answered_at = annotation.time();
    let note =
        annotation.result.iter().filter(|o| o.is("textarea")).find_map(|outcome| match outcome.value.get("text") {
            Some(Value::Array(all)) => all.first().and_then(Value::as_str).map(str::to_string),
            Some(Value::String(text)) => Some(text.clone()),
            _ => None,
        });
    if annotation.is_skipped() {
        answer.skip = Some(note.unwrap_or_else(|| "skipped".into()));
        return Ok(answer);
    }
    answer.note = note;
    let mut chosen = annotation.result.iter().filter(|o| o.name() == control && CHOOSING.iter().any(|kind| o.is(kind)));
    match (chosen.next(), chosen.next()) {
        (None, _) => return Err("an annotation has no choice, and was not skipped".into()),
        (Some(_), Some(_)) => return Err(format!("an annotation has several results of the control {control:?}")),
        (Some(outcome), None) if outcome.is("ranker") => {
            let ranking = ranking(item, outcome)?;
            answer.best = ranking.first().copied();
            answer.ranking = (ranking.len() == item.candidates.len()).then_some(ranking);
        }
        (Some(outcome), None) if outcome.is("pairwise") => answer.best = Some(selected(item, outcome)?),
        (Some(outcome), None) => answer.best = Some(choice(item, outcome)?),
    }
    Ok(answer)
}

/// The one candidate of a `Choices` control.
fn choice(item: &Item, outcome: &Outcome) -> Result<usize, String> {
    let all: Vec<&str> = match outcome.value.get("choices") {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => vec![text],
        _ => Vec::new(),
    };
    match all[..] {
        [one] => candidate(item, one),
        [] => Err("an annotation has no choice, and was not skipped".into()),
        _ => {
            Err(format!("several choices ({}) are no answer; the control is to have choice=\"single\"", all.join(", ")))
        }
    }
}

/// The preferred side of a `Pairwise` control: of the two that it names, or of the first two.
fn selected(item: &Item, outcome: &Outcome) -> Result<usize, String> {
    if item.candidates.len() != 2 {
        return Err(format!(
            "a pairwise comparison says which of 2 is better, and there are {} candidates",
            item.candidates.len()
        ));
    }
    let names: Vec<&str> = outcome.to_name.as_deref().unwrap_or_default().split(',').map(str::trim).collect();
    let side = match outcome.value.get("selected").and_then(Value::as_str) {
        Some("left") => 0,
        Some("right") => 1,
        other => return Err(format!("a pairwise comparison is \"left\" or \"right\", and not {other:?}")),
    };
    // Objects of other names than the candidates' stand in their order.
    let named: Vec<usize> = names.iter().filter_map(|name| candidate(item, name).ok()).collect();
    match named[..] {
        [left, right] if left != right => Ok([left, right][side]),
        _ => item.order.get(side).copied().ok_or_else(|| "the item has no order".into()),
    }
}

/// The candidates of a `Ranker` control, best first: its one list, or the bucket `best`.
fn ranking(item: &Item, outcome: &Outcome) -> Result<Vec<usize>, String> {
    let lists = outcome.value.get("ranker").and_then(Value::as_object).ok_or("a ranker without lists")?;
    let named = lists.iter().filter(|(name, _)| *name != "_").collect::<Vec<_>>();
    let list = match named[..] {
        [(_, list)] => list,
        _ => lists.get(BEST).ok_or("a ranker of several buckets, none of them called \"best\"")?,
    };
    let ids: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let ranking = ids.iter().map(|id| candidate(item, id)).collect::<Result<Vec<usize>, String>>()?;
    match (named.len(), ranking.len()) {
        (_, 0) => Err("a ranker puts no candidate first, and the annotation was not skipped".into()),
        (1, count) if count == item.candidates.len() => Ok(ranking),
        (_, 1) => Ok(ranking),
        (_, count) => Err(format!("a ranker names {count} of {} candidates as the best", item.candidates.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::batch::{Candidate, Text};

    fn item() -> Item {
        let text = |text: &str| Text { text: text.into(), ids: Vec::new() };
        let candidate = |t: &str| Candidate { response: text(t), source: "policy".into(), logprob: None, valid: true };
        Item {
            id: "p-00000".into(),
            query: text("q"),
            candidates: ["zero", "one", "two"].map(candidate).to_vec(),
            order: vec![2, 0, 1],
            gold: None,
            repeat_of: None,
        }
    }

    fn read_text(text: &str) -> (Vec<Answer>, Problems) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("export.json");
        std::fs::write(&path, text).unwrap();
        let (item, mut problems) = (item(), Problems::new());
        let items = BTreeMap::from([("p-00000", &item)]);
        let found = read(&path, &items, &Importing::default(), &mut problems).unwrap();
        (found.into_iter().map(|f| f.answer).collect(), problems)
    }

    /// As Label Studio 1.x writes it: many more keys than are read, annotators by number.
    #[test]
    fn an_export_of_label_studio_is_read() {
        let (answers, problems) = read_text(
            r#"[{"id": 7, "annotations": [
                {"id": 1, "completed_by": 3, "result": [
                    {"id": "x", "type": "choices", "value": {"choices": ["a"]}, "origin": "manual", "to_name": "query", "from_name": "best"},
                    {"id": "y", "type": "textarea", "value": {"text": ["close"]}, "to_name": "query", "from_name": "note"}],
                 "was_cancelled": false, "ground_truth": false, "created_at": "2026-01-01T10:00:00.123456Z", "lead_time": 4.5, "task": 7},
                {"id": 2, "completed_by": {"id": 4, "email": "b@example.org", "first_name": ""}, "result": [], "was_cancelled": true}],
              "file_upload": "tasks.json", "drafts": [], "predictions": [], "data": {"item": "p-00000", "query": "q", "a": "two"},
              "meta": {}, "inner_id": 1, "total_annotations": 1}]"#,
        );
        assert!(problems.is_empty(), "{problems:?}");
        // Place a is candidate 2.
        assert_eq!((answers[0].best, answers[0].labeler.as_str()), (Some(2), "label-studio-3"));
        assert_eq!(answers[0].note.as_deref(), Some("close"));
        assert_eq!((answers[1].skip.as_deref(), answers[1].labeler.as_str()), (Some("skipped"), "b@example.org"));
    }

    fn result(kind: &str, name: &str, value: &str) -> String {
        format!(r#"{{"type": "{kind}", "from_name": "{name}", "to_name": "b,a", "value": {value}}}"#)
    }

    fn annotation(results: &[String], more: &str) -> String {
        format!(r#"{{"completed_by": 3, "result": [{}]{more}}}"#, results.join(","))
    }

    fn read_annotations(annotations: &[String]) -> (Vec<Answer>, Problems) {
        read_text(&format!(r#"{{"data": {{"item": "p-00000"}}, "annotations": [{}]}}"#, annotations.join(",")))
    }

    #[test]
    fn the_worst_answer_is_not_taken_for_the_best_because_it_stands_first() {
        let both =
            [result("choices", "worst", r#"{"choices": ["c"]}"#), result("choices", "best", r#"{"choices": ["b"]}"#)];
        let (answers, problems) = read_annotations(&[annotation(&both, "")]);
        assert_eq!((answers[0].best, problems.len()), (Some(0), 0));
        let (answers, problems) = read_annotations(&[annotation(&both[..1], "")]);
        assert!(answers.is_empty() && problems[0].1.contains("is called \"worst\""), "{problems:?}");
        let other = [result("choices", "x", r#"{"choices": ["c"]}"#), result("choices", "y", r#"{"choices": ["b"]}"#)];
        let (_, problems) = read_annotations(&[annotation(&other, "")]);
        assert!(problems[0].1.contains("several controls (x, y)"), "{problems:?}");
        let (answers, _) = read_annotations(&[annotation(&other[1..], "")]);
        assert_eq!(answers[0].best, Some(0));
    }

    #[test]
    fn several_choices_are_no_answer() {
        let (answers, problems) =
            read_annotations(&[annotation(&[result("choices", "best", r#"{"choices": ["a", "c"]}"#)], "")]);
        assert!(answers.is_empty() && problems[0].1.contains("several choices (a, c) are no answer"), "{problems:?}");
    }

    #[test]
    fn rankings_are_read_and_pairs_of_three_are_refused() {
        let ranked = result("ranker", "rank", r#"{"ranker": {"rank": ["b", "a", "c"]}}"#);
        let bucket = result("ranker", "rank", r#"{"ranker": {"_": ["a", "b"], "best": ["c"], "rest": []}}"#);
        let (answers, problems) = read_annotations(&[annotation(&[ranked], ""), annotation(&[bucket], "")]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!((answers[0].best, answers[0].ranking.as_deref()), (Some(0), Some(&[0, 2, 1][..])));
        assert_eq!((answers[1].best, &answers[1].ranking), (Some(1), &None));
        let pair = result("pairwise", "pw", r#"{"selected": "left"}"#);
        let (_, problems) = read_annotations(&[annotation(&[pair], "")]);
        assert!(problems[0].1.contains("which of 2 is better, and there are 3 candidates"), "{problems:?}");
    }

    #[test]
    fn a_pair_is_told_by_the_names_of_its_sides() {
        let mut two = item();
        two.candidates.pop();
        two.order = vec![1, 0];
        let outcome = |to: &str, side: &str| Outcome {
            r#type: Some("pairwise".into()),
            from_name: Some("pw".into()),
            to_name: Some(to.into()),
            value: json!({ "selected": side }).as_object().unwrap().clone(),
        };
        // Place a is candidate 1; objects of other names stand in the order of places.
        for (to, side, best) in
            [("a,b", "left", 1), ("b,a", "left", 0), ("text1,text2", "left", 1), ("text1,text2", "right", 0)]
        {
            assert_eq!(selected(&two, &outcome(to, side)), Ok(best), "{to} {side}");
        }
        assert!(selected(&two, &outcome("a,b", "middle")).is_err());
    }

    #[test]
    fn completions_of_old_exports_and_single_tasks_are_read() {
        let (answers, problems) = read_text(
            r#"{
              "completions": [{"created_at": 1600000000, "result": [{"type": "choices", "from_name": "best", "value": {"choices": ["1"]}}]},
                              {"skipped": true, "result": []}],
              "data": {"item": "p-00000"}
            }"#,
        );
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!((answers[0].best, answers[0].answered_at.as_deref()), (Some(2), Some("2020-09-13T12:26:40Z")));
        assert_eq!(answers[1].skip.as_deref(), Some("skipped"));
    }

    #[test]
    fn what_is_no_answer_is_named_with_its_line() {
        let task = |annotation: &str| format!(r#"{{"data": {{"item": "p-00000"}}, "annotations": [{annotation}]}}"#);
        let choice = |c: &str| format!(r#"{{"result": [{{"type": "choices", "value": {{"choices": ["{c}"]}}}}]}}"#);
        let text = format!("[{},\n{},\n{},\n7]", task(&choice("d")), task(r#"{"result": []}"#), task(&choice("B")));
        let (answers, mut problems) = read_text(&text);
        problems.sort();
        assert_eq!(answers.iter().map(|a| a.best).collect::<Vec<_>>(), [Some(0)]);
        let lines: Vec<u64> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 4]);
        assert!(problems[0].1.contains("not one of a to c") && problems[1].1.contains("no choice"), "{problems:?}");
    }
}
