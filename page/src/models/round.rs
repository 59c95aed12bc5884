//! One round: its numbers, how it learned, and what its candidate gets wrong.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Html;
use serde_json::Value;
use store::Round;

use crate::app::{Shared, page};
use crate::chart::{Line, lines};
use crate::failure::Failure;
use crate::registry::{figure, verdict};
use crate::visit::Visit;

/// A confusion matrix: of each true class how often which class was said.
struct Confusion {
    classes: Vec<String>,
    rows: Vec<(String, Vec<i64>)>,
}

/// A text that the candidate has wrong.
struct Wrong {
    text: String,
    label: String,
    said: String,
    score: f64,
}

/// Figures of one model.
struct Figures {
    name: &'static str,
    accuracy: String,
    macro_f1: String,
}

#[derive(Template)]
#[template(path = "round.html")]
struct Page<'a> {
    visit: &'a Visit,
    round: &'a Round,
    verdict: &'static str,
    figures: Vec<Figures>,
    confusion: Option<Confusion>,
    wrong: Vec<Wrong>,
    loss: String,
    accuracy: String,
    warnings: Vec<String>,
    parameters: String,
    evidence: String,
}

pub async fn show(State(app): Shared, visit: Visit, Path(number): Path<i64>) -> Result<Html<String>, Failure> {
    let known = app.store.rounds(1).await?.first().is_some_and(|newest| newest.round >= number);
    if !known {
        return Err(Failure::NotFound);
    }
    let round = app.store.round(number).await?;
    let evidence = round.evidence.clone().unwrap_or_default();
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut shown = evidence.clone();
    for known in ["wrong", "curve", "warnings"] {
        shown.as_object_mut().map(|fields| fields.remove(known));
    }
    page(&Page {
        verdict: verdict(&visit, round.verdict),
        figures: figures(&visit, &round),
        confusion: round.candidate_metrics.as_ref().and_then(confusion),
        wrong: evidence["wrong"].as_array().into_iter().flatten().filter_map(wrong).collect(),
        loss: curve(&evidence, "loss"),
        accuracy: curve(&evidence, "accuracy"),
        warnings: strings(&evidence["warnings"]),
        parameters: pretty(&round.parameters),
        evidence: pretty(&shown),
        round: &round,
        visit: &visit,
    })
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn figures(visit: &Visit, round: &Round) -> Vec<Figures> {
    let models = [
        (visit.say("candidate", "候选"), &round.candidate_metrics),
        (visit.say("champion then", "当时的线上模型"), &round.champion_metrics),
        (visit.say("linear model", "线性模型"), &round.baseline_metrics),
    ];
    let row = |(name, metrics): (&'static str, &Option<Value>)| {
        let metrics = metrics.as_ref()?;
        Some(Figures { name, accuracy: figure(metrics, "accuracy"), macro_f1: figure(metrics, "macro_f1") })
    };
    models.into_iter().filter_map(row).collect()
}

fn confusion(metrics: &Value) -> Option<Confusion> {
    let classes = metrics["per_class"].as_array()?;
    let classes: Vec<String> = classes.iter().filter_map(|class| class["label"].as_str().map(str::to_owned)).collect();
    let rows = metrics["confusion"].as_array()?;
    let row = |row: &Value| row.as_array().into_iter().flatten().filter_map(Value::as_i64).collect::<Vec<_>>();
    let rows = classes.iter().cloned().zip(rows.iter().map(row)).collect();
    Some(Confusion { classes, rows })
}

fn wrong(wrong: &Value) -> Option<Wrong> {
    let text = |name: &str| Some(wrong[name].as_str()?.to_owned());
    Some(Wrong { text: text("text")?, label: text("label")?, said: text("said")?, score: wrong["score"].as_f64()? })
}

/// How a figure went over the steps of the training.
fn curve(evidence: &Value, of: &str) -> String {
    let points: Vec<(f64, f64)> = (evidence["curve"].as_array().into_iter().flatten())
        .filter_map(|point| Some((point["step"].as_f64()?, point[of].as_f64()?)))
        .collect();
    let last = points.last().map_or(1.0, |(step, _)| step.max(1.0));
    let points = points.into_iter().map(|(step, value)| (step / last, value)).collect();
    lines(&[Line { name: of.to_owned(), colour: 0, points }], |value| format!("{value:.3}"))
}
