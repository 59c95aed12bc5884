//! Label Studio's JSON: tasks for its import, and labels from its export.
//!
//! Tasks are as its import takes them, with the model's answer as a prediction
//! (<https://labelstud.io/guide/tasks>); an export is its JSON or its JSON-MIN
//! (<https://labelstud.io/guide/export>).

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use store::{NewLabel, Pick};

/// The tasks of picked reviews: a project with `<Text name="text" value="$text"/>` and `<Choices
/// name="label" toName="text">` shows them.
pub fn tasks(picks: &[Pick]) -> Value {
    let task = |pick: &Pick| {
        let mut task = json!({
            "data": {"text": pick.text, "review_id": pick.review_id, "picked": pick.way.word()},
        });
        if let Some(prediction) = &pick.prediction {
            task["predictions"] = json!([{
                "model_version": pick.version.map(|version| version.to_string()),
                "score": pick.score,
                "result": [{
                    "from_name": "label", "to_name": "text", "type": "choices",
                    "value": {"choices": [prediction]},
                }],
            }]);
        }
        task
    };
    picks.iter().map(task).collect()
}

/// Whether a JSON array is one of tasks, and not of something else.
pub fn is_export(export: &Value) -> bool {
    let first = export.as_array().and_then(|tasks| tasks.first());
    first.is_some_and(|task| {
        task["data"].is_object() || task.get("annotation_id").is_some() || task.get("choice").is_some()
    })
}

/// The labels of an export. Of a task with several annotations each is a label; what was skipped is
/// none. `labeled_by` is whoever imports, where the export names nobody.
///
/// # Errors
/// What is no export; a task without text, an annotation that is no single choice, with the task's
/// number.
pub fn labels_of(export: &Value, labeled_by: &str) -> Result<Vec<NewLabel>> {
    let tasks = export.as_array().context("an export is a JSON array of tasks")?;
    let mut labels = Vec::new();
    for (task, number) in tasks.iter().zip(1..) {
        let of_task = if task["data"].is_object() { annotated(task) } else { minimal(task).map(|one| vec![one]) };
        let of_task = of_task.with_context(|| format!("task {number}"))?;
        labels.extend(of_task.into_iter().map(|annotation| annotation.label(labeled_by)));
    }
    ensure!(!labels.is_empty(), "the export has no annotation");
    Ok(labels)
}

struct Annotation {
    review_id: Option<String>,
    text: String,
    choice: String,
    by: Option<String>,
    at: Option<DateTime<Utc>>,
}

impl Annotation {
    fn label(self, labeled_by: &str) -> NewLabel {
        NewLabel {
            review_id: self.review_id,
            text: Some(self.text),
            label: self.choice,
            labeled_by: Some(self.by.unwrap_or_else(|| labeled_by.to_owned())),
            labeled_at: self.at,
            source: "label studio".to_owned(),
        }
    }
}

/// A task of the JSON export.
fn annotated(task: &Value) -> Result<Vec<Annotation>> {
    let (text, review_id) = of_data(&task["data"])?;
    let annotations = task["annotations"].as_array().context("it has no annotations: export it as JSON")?;
    let done = annotations.iter().filter(|annotation| annotation["was_cancelled"] != true);
    let annotation = |annotation: &Value| {
        let results = annotation["result"].as_array().context("an annotation has no result")?;
        let choices: Vec<&Value> = results
            .iter()
            .filter(|result| result["type"] == "choices")
            .map(|result| &result["value"]["choices"])
            .collect();
        let [choices] = choices[..] else { bail!("an annotation has {} choices, and not one", choices.len()) };
        Ok(Annotation {
            review_id: review_id.clone(),
            text: text.clone(),
            choice: single(choices)?,
            by: annotator(&annotation["completed_by"]),
            at: time(&annotation["created_at"])?,
        })
    };
    done.map(annotation).collect()
}

/// A task of the JSON-MIN export: the names of its fields are those of the project's tags.
fn minimal(task: &Value) -> Result<Annotation> {
    let (text, review_id) = of_data(task)?;
    let choice = ["label", "choice", "sentiment"].into_iter().find_map(|name| task.get(name));
    let choice = choice.context("it has none of the fields label, choice and sentiment")?;
    Ok(Annotation {
        review_id,
        text,
        choice: single(choice)?,
        by: annotator(&task["annotator"]),
        at: time(&task["created_at"])?,
    })
}

fn of_data(data: &Value) -> Result<(String, Option<String>)> {
    let text = data["text"].as_str().filter(|text| !text.trim().is_empty()).context("it has no text")?;
    ensure!(!text.contains('\0'), "Postgres holds no NUL");
    let review_id = match &data["review_id"] {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) if !id.is_f64() => Some(id.to_string()),
        Value::Null | Value::String(_) => None,
        other => bail!("the review id {other} is no text"),
    };
    Ok((text.to_owned(), review_id))
}

/// One choice, alone or in an array or an object of its own.
fn single(choice: &Value) -> Result<String> {
    match choice {
        Value::String(choice) => Ok(choice.clone()),
        Value::Array(choices) => match &choices[..] {
            [choice] => single(choice),
            _ => bail!("a review has one label, and not {}", choices.len()),
        },
        Value::Object(fields) => single(fields.get("choices").context("a choice has no choices")?),
        other => bail!("{other} is no choice"),
    }
}

/// Label Studio names people by number, or by their address.
fn annotator(by: &Value) -> Option<String> {
    match by {
        Value::Number(number) => Some(format!("label studio {number}")),
        Value::String(name) if !name.is_empty() => Some(name.clone()),
        Value::Object(fields) => {
            let address = fields.get("email").and_then(Value::as_str).filter(|email| !email.is_empty());
            address.map(str::to_owned).or_else(|| annotator(fields.get("id")?))
        }
        _ => None,
    }
}

fn time(at: &Value) -> Result<Option<DateTime<Utc>>> {
    let Some(at) = at.as_str() else { return Ok(None) };
    let parsed = DateTime::parse_from_rfc3339(at).with_context(|| format!("{at:?} is no time"))?;
    ensure!(parsed <= Utc::now() + TimeDelta::minutes(5), "{at} is in the future");
    Ok(Some(parsed.to_utc()))
}

#[cfg(test)]
mod tests {
    use store::{Version, Way};

    use super::*;

    #[test]
    fn a_task_carries_the_review_and_what_the_model_said() {
        let pick = Pick {
            review_id: Some("r-1".to_owned()),
            text: "很快".to_owned(),
            way: Way::Uncertain,
            probability: None,
            version: Some(Version(3)),
            prediction: Some("好评".to_owned()),
            score: Some(0.5),
            classified_at: None,
        };
        let tasks = tasks(&[pick]);
        assert_eq!(tasks[0]["data"], json!({"text": "很快", "review_id": "r-1", "picked": "uncertain"}));
        assert_eq!(tasks[0]["predictions"][0]["result"][0]["value"], json!({"choices": ["好评"]}));
        assert!(is_export(&tasks));
    }

    /// As Label Studio 1.20 writes it.
    #[test]
    fn an_export_gives_a_label_for_each_annotation_that_was_not_skipped() {
        let annotation = |choice: &str, by: Value, cancelled: bool| {
            json!({
                "id": 7, "completed_by": by, "was_cancelled": cancelled, "created_at": "2026-11-26T10:00:00.123456Z",
                "result": [{"value": {"choices": [choice]}, "from_name": "label", "to_name": "text", "type": "choices"}],
            })
        };
        let export = json!([
            {"id": 1, "data": {"text": "很快", "review_id": "r-1"}, "predictions": [],
             "annotations": [annotation("好评", json!(2), false), annotation("差评", json!({"email": "ann@x", "id": 3}), false)]},
            {"id": 2, "data": {"text": "太慢"}, "annotations": [annotation("差评", json!(2), true)]},
        ]);
        let labels = labels_of(&export, "bob").unwrap();
        let told: Vec<_> =
            labels.iter().map(|label| (label.label.as_str(), label.labeled_by.as_deref().unwrap())).collect();
        assert_eq!(told, [("好评", "label studio 2"), ("差评", "ann@x")]);
        assert_eq!(labels[0].review_id.as_deref(), Some("r-1"));
        assert_eq!(labels[0].labeled_at.unwrap().to_rfc3339(), "2026-11-26T10:00:00.123456+00:00");
    }

    #[test]
    fn the_short_export_is_read_too() {
        let export = json!([{"text": "很快", "id": 1, "label": "好评", "annotator": 1, "annotation_id": 5,
            "created_at": "2026-11-26T10:00:00Z", "lead_time": 2.5}]);
        assert!(is_export(&export));
        let labels = labels_of(&export, "bob").unwrap();
        assert_eq!((labels[0].label.as_str(), labels[0].review_id.as_deref()), ("好评", None));
    }

    #[test]
    fn what_is_no_single_choice_is_refused_with_the_task() {
        let task = |result: Value| json!([{"data": {"text": "a"}, "annotations": [{"result": result}]}]);
        let two = json!([{"type": "choices", "value": {"choices": ["a", "b"]}}]);
        for (export, expected) in [
            (json!({}), "array"),
            (json!([]), "no annotation"),
            (json!([{"data": {"text": " "}, "annotations": []}]), "task 1: it has no text"),
            (task(two), "task 1: a review has one label"),
            (
                json!([{"text": "a", "label": "b", "created_at": "9999-01-01T00:00:00Z"}]),
                "task 1: 9999-01-01T00:00:00Z is in the future",
            ),
            (task(json!([])), "task 1: an annotation has 0 choices"),
            (json!([{"text": "a", "id": 1}]), "task 1: it has none of the fields"),
        ] {
            let error = format!("{:#}", labels_of(&export, "bob").unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
        assert!(!is_export(&json!([{"review_id": "r-1", "text": "a", "label": "b"}])));
    }
}
