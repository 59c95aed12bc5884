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
use store::{
    Change, Deployment, DriftHour, LoadReport, Model, ModelStatus, Round, Shadow, ShadowCount, Store, StoreError,
    Trainer, Verdict, Version,
};
use trainer::audit::{Accuracy, Estimate, accuracies};

use crate::chart::{Line, Node, lineage, lines};
use crate::failure::Failure;
use crate::server::{App, Shared, page};
use crate::show;
use crate::visit::Visit;

/// Rounds, versions and changes that are shown.
const SHOWN: u32 = 30;
/// Hours of drift.
const HOURS: u32 = 24;

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

/// What everybody who looks at the models sees.
pub struct Registry {
    champion: Option<Model>,
    champion_since: Option<Deployment>,
    can_roll_back: bool,
    shadow: Option<(Shadow, Vec<ShadowCount>)>,
    models: Vec<Model>,
    rounds: Vec<Round>,
    running: Option<Running>,
    requested: bool,
    drift: Vec<DriftHour>,
    lineage: String,
    changes: Vec<Change>,
    refused: Vec<LoadReport>,
    trainer: Option<Trainer>,
    new_labels: i64,
}

/// A round that goes on.
struct Running {
    round: i64,
    phase: String,
    /// Of a hundred.
    percent: Option<u32>,
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

fn figure(metrics: &Value, name: &str) -> String {
    metrics[name].as_f64().map_or(String::new(), |value| format!("{value:.4}"))
}

fn verdict(visit: &Visit, verdict: Option<Verdict>) -> &'static str {
    match verdict {
        None => visit.say("running", "进行中"),
        Some(Verdict::Accepted) => visit.say("accepted", "通过"),
        Some(Verdict::Rejected) => visit.say("rejected", "未通过"),
        Some(Verdict::Abandoned) => visit.say("given up", "已放弃"),
    }
}

fn role(model: &Model, champion: Option<&Model>, shadow: Option<Version>) -> &'static str {
    if champion.is_some_and(|champion| champion.version == model.version) {
        "champion"
    } else if shadow == Some(model.version) {
        "shadow"
    } else if model.collected_at.is_some() {
        "collected"
    } else if model.status == ModelStatus::Rejected {
        "rejected"
    } else {
        "challenger"
    }
}

impl Registry {
    async fn look(store: &Store) -> Result<Self, StoreError> {
        let champion = store.champion().await?;
        let deployments = store.deployments().await?;
        let shadow = match store.shadow().await? {
            Some((shadow, _)) => {
                let counts = store.shadow_counts(shadow.id).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "what the shadow said could not be counted: it is shown without");
                    Vec::new()
                });
                Some((shadow, counts))
            }
            None => None,
        };
        let mut models = store.models().await?;
        models.truncate(SHOWN as usize);
        let rounds = store.rounds(SHOWN).await?;
        let drift = match &champion {
            Some(champion) => store.drift_hours(Some(champion.version), HOURS).await?,
            None => Vec::new(),
        };
        let mut refused = store.load_reports().await?;
        refused.retain(|report| report.reason.is_some());
        refused.truncate(10);
        let is_other =
            |deployment: &Deployment| champion.as_ref().is_some_and(|champion| champion.version != deployment.version);
        Ok(Self {
            can_roll_back: deployments.iter().any(is_other),
            champion_since: deployments.into_iter().next(),
            lineage: picture(&models, champion.as_ref(), shadow.as_ref().map(|(shadow, _)| shadow.version)),
            running: rounds.first().filter(|round| round.verdict.is_none()).map(running),
            requested: store.open_request().await?.is_some(),
            changes: store.changes(SHOWN).await?,
            trainer: store.trainer().await?,
            new_labels: store.new_labels().await?,
            refused,
            drift,
            champion,
            shadow,
            models,
            rounds,
        })
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

fn running(round: &Round) -> Running {
    let told = round.progress.as_ref().unwrap_or(&Value::Null);
    let percent = match (told["step"].as_f64(), told["steps"].as_f64()) {
        (Some(step), Some(steps)) if steps > 0.0 => Some((100.0 * step / steps).round() as u32),
        _ => None,
    };
    let phase = told["phase"].as_str().unwrap_or("running").to_owned();
    Running { round: round.round, phase, percent }
}

fn picture(models: &[Model], champion: Option<&Model>, shadow: Option<Version>) -> String {
    let node = |model: &Model| {
        let accuracy = figure(&model.metrics, "accuracy");
        Node {
            version: model.version.0,
            parent: model.parent.map(|parent| parent.0),
            role: role(model, champion, shadow),
            caption: if accuracy.is_empty() { String::new() } else { format!("accuracy {accuracy}") },
        }
    };
    // The oldest first: a version comes after the one that it was trained from.
    lineage(&models.iter().rev().map(node).collect::<Vec<_>>())
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
