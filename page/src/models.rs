//! The models: which serves, where each comes from, what each is worth, and what may be done.

mod decide;
mod round;

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Html;
use axum::routing::{get, post};
use serde_json::Value;
use store::{DriftHour, Model, Round, ShadowCount, StoreError, Version};
use trainer::audit::{Accuracy, Estimate, accuracies};

use crate::app::{App, Shared, page};
use crate::chart::{Line, lines};
use crate::failure::Failure;
use crate::registry::{Registry, figure, role, verdict};
use crate::show;
use crate::visit::Visit;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/models", get(show))
        .route("/models/promote", post(decide::promote))
        .route("/models/rollback", post(decide::rollback))
        .route("/models/shadow", post(decide::shadow))
        .route("/models/shadow/stop", post(decide::stop_shadow))
        .route("/models/retrain", post(decide::retrain))
        .route("/rounds/{round}", get(round::show))
}

#[derive(Template)]
#[template(path = "models.html")]
struct Page<'a> {
    visit: &'a Visit,
    known: &'a Registry,
    accuracies: &'a BTreeMap<i64, Accuracy>,
    curve: String,
}

impl Page<'_> {
    fn role(&self, model: &Model) -> &'static str {
        role(model, self.known.champion.as_ref(), self.known.shadow.as_ref().map(|(shadow, _)| shadow.version))
    }

    fn role_name(&self, model: &Model) -> &'static str {
        match self.role(model) {
            "champion" => self.visit.say("champion", "线上模型"),
            "shadow" => self.visit.say("in the shadow", "影子模型"),
            "rejected" => self.visit.say("rejected", "未通过"),
            "collected" => self.visit.say("files deleted", "文件已删除"),
            _ => self.visit.say("challenger", "候选"),
        }
    }

    fn on_stream(&self, version: &Version) -> Option<&Estimate> {
        self.accuracies.get(&version.0)?.accuracy.as_ref()
    }

    fn held_out(&self, model: &Model) -> String {
        figure(&model.metrics, "accuracy")
    }

    fn macro_f1(&self, model: &Model) -> String {
        figure(&model.metrics, "macro_f1")
    }

    fn verdict(&self, round: &Round) -> &'static str {
        verdict(self.visit, round.verdict)
    }

    fn accuracy(&self, metrics: &Option<Value>) -> String {
        metrics.as_ref().map_or(String::new(), |metrics| figure(metrics, "accuracy"))
    }

    fn agreement(&self, counts: &[ShadowCount]) -> String {
        let all: i64 = counts.iter().map(|count| count.records).sum();
        let same = counts.iter().filter(|count| count.champion_label == count.label);
        let same: i64 = same.map(|count| count.records).sum();
        show::percent(same as f64 / all.max(1) as f64)
    }

    fn change(&self, hour: &DriftHour, what: &str) -> String {
        let size = hour.changes.get(what).and_then(|change| change.get("size")).and_then(Value::as_f64).unwrap_or(0.0);
        let mark = if hour.alarms.iter().any(|alarm| alarm == what) { " !" } else { "" };
        format!("{size:.3}{mark}")
    }
}

async fn show(State(app): Shared, visit: Visit) -> Result<Html<String>, Failure> {
    let known = app.models.get(async || Registry::look(&app.store).await).await?;
    let estimate = async || {
        let audited = app.store.audited().await?;
        Ok::<_, StoreError>(accuracies(&audited).into_iter().map(|known| (known.version.0, known)).collect())
    };
    let accuracies = app.accuracies.get(estimate).await?;
    page(&Page { curve: learning_curve(&visit, &known.rounds), known: &known, accuracies: &accuracies, visit: &visit })
}

/// The accuracy of candidates and of the champions that they were compared with, by round.
fn learning_curve(visit: &Visit, rounds: &[Round]) -> String {
    let concluded: Vec<&Round> = rounds.iter().rev().filter(|round| round.candidate_metrics.is_some()).collect();
    let last = concluded.len().saturating_sub(1).max(1) as f64;
    let line = |name: &str, colour: usize, of: fn(&Round) -> &Option<Value>| Line {
        name: name.to_owned(),
        colour,
        points: (concluded.iter().enumerate())
            .filter_map(|(at, round)| Some((at as f64 / last, of(round).as_ref()?["accuracy"].as_f64()?)))
            .collect(),
    };
    let drawn = [
        line(visit.say("candidate", "候选"), 0, |round| &round.candidate_metrics),
        line(visit.say("champion", "线上模型"), 1, |round| &round.champion_metrics),
    ];
    lines(&drawn, |value| format!("{value:.3}"))
}
