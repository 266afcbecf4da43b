//! Label Studio's JSON (labelstud.io, "Export annotations", format JSON): a list of tasks, each with `data` and
//! `annotations`. A task's data are the item's id and texts; an annotation's result of type `choices` names a letter.

use super::{Found, Importing, Opened, Problems, blank, candidate, letter, place};
use crate::label::LabelError;
use crate::label::batch::{Answer, Item};
use crate::label::entries::Entries;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
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
}

#[derive(Deserialize)]
struct Annotation {
    completed_by: Option<Value>,
    was_cancelled: Option<bool>,
    created_at: Option<String>,
    #[serde(default)]
    result: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    r#type: Option<String>,
    #[serde(default)]
    value: Map<String, Value>,
}

/// Answers of an export.
pub fn read(
    file: &Path,
    items: &BTreeMap<&str, &Item>,
    options: &Importing,
    problems: &mut Problems,
) -> Result<Vec<Found>, LabelError> {
    let mut entries = Entries::open(file)?;
    let mut found = Vec::new();
    while let Some(entry) = entries.next_entry()? {
        let line = entry.line;
        let task: Task = match serde_json::from_slice(entry.bytes) {
            Ok(task) => task,
            Err(e) => {
                problems.push((line, format!("is no task of Label Studio: {e}")));
                continue;
            }
        };
        let id = task.data.as_ref().and_then(|data| data.get("item")).and_then(Value::as_str);
        let Some(id) = id else {
            problems.push((
                line,
                "the task has no `data.item`; take the export named JSON, of tasks that `runner labels export` made"
                    .into(),
            ));
            continue;
        };
        let Some(item) = items.get(id) else {
            problems.push((line, format!("item {id:?} is not of this batch")));
            continue;
        };
        for annotation in task.annotations {
            let answer = answer(item, &annotation, options);
            match answer {
                Ok(answer) => found.push(Found { line, answer }),
                Err(message) => problems.push((line, format!("item {id:?}: {message}"))),
            }
        }
    }
    Ok(found)
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

fn answer(item: &Item, annotation: &Annotation, options: &Importing) -> Result<Answer, String> {
    let who = options.labeler.clone().or_else(|| labeler(annotation.completed_by.as_ref()));
    let mut answer = blank(&item.id, who.unwrap_or_default());
    answer.answered_at.clone_from(&annotation.created_at);
    let first = |outcome: &Outcome, key: &str| match outcome.value.get(key) {
        Some(Value::Array(all)) => all.first().and_then(Value::as_str).map(str::to_string),
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    };
    let of = |kind: &'static str| annotation.result.iter().filter(move |o| o.r#type.as_deref() == Some(kind));
    let note = of("textarea").find_map(|outcome| first(outcome, "text"));
    let choice = of("choices").find_map(|outcome| first(outcome, "choices"));
    match (annotation.was_cancelled.unwrap_or(false), choice) {
        (true, _) => answer.skip = Some(note.unwrap_or_else(|| "skipped".into())),
        (false, Some(choice)) => {
            (answer.best, answer.note) = (Some(candidate(item, &choice)?), note);
        }
        (false, None) => return Err("an annotation has no choice, and was not skipped".into()),
    }
    Ok(answer)
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

    #[test]
    fn what_is_no_answer_is_named_with_its_line() {
        let task = |annotation: &str| format!(r#"{{"data": {{"item": "p-00000"}}, "annotations": [{annotation}]}}"#);
        let choice = |c: &str| format!(r#"{{"result": [{{"type": "choices", "value": {{"choices": ["{c}"]}}}}]}}"#);
        let text = format!("[{},\n{},\n{},\n7]", task(&choice("d")), task(r#"{"result": []}"#), task(&choice("B")));
        let (answers, problems) = read_text(&text);
        assert_eq!(answers.iter().map(|a| a.best).collect::<Vec<_>>(), [Some(0)]);
        let lines: Vec<u64> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 4]);
        assert!(problems[0].1.contains("not one of a to c") && problems[1].1.contains("no choice"), "{problems:?}");
    }
}
