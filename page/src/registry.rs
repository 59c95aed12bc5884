//! The registry as everybody sees it who looks at the models now.

use serde_json::Value;
use store::{
    Change, Deployment, DriftHour, LoadReport, Model, ModelStatus, Round, Shadow, ShadowCount, Store, StoreError,
    Trainer, Verdict, Version,
};

use crate::chart::{Node, lineage};
use crate::visit::Visit;

/// Rounds, versions and changes that are shown.
const SHOWN: u32 = 30;
/// Hours of drift.
const HOURS: u32 = 24;

/// What everybody who looks at the models sees.
pub struct Registry {
    pub champion: Option<Model>,
    pub champion_since: Option<Deployment>,
    pub can_roll_back: bool,
    pub shadow: Option<(Shadow, Vec<ShadowCount>)>,
    pub models: Vec<Model>,
    pub rounds: Vec<Round>,
    pub running: Option<Running>,
    pub requested: bool,
    pub drift: Vec<DriftHour>,
    pub lineage: String,
    pub changes: Vec<Change>,
    pub refused: Vec<LoadReport>,
    pub trainer: Option<Trainer>,
    pub new_labels: i64,
}

/// A round that goes on.
pub struct Running {
    pub round: i64,
    pub phase: String,
    /// Of a hundred.
    pub percent: Option<u32>,
}

impl Registry {
    /// Asks Postgres.
    pub async fn look(store: &Store) -> Result<Self, StoreError> {
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

/// A figure of a model, or nothing.
pub fn figure(metrics: &Value, name: &str) -> String {
    metrics[name].as_f64().map_or(String::new(), |value| format!("{value:.4}"))
}

/// How a round ended, in the person's language.
pub fn verdict(visit: &Visit, verdict: Option<Verdict>) -> &'static str {
    match verdict {
        None => visit.say("running", "进行中"),
        Some(Verdict::Accepted) => visit.say("accepted", "通过"),
        Some(Verdict::Rejected) => visit.say("rejected", "未通过"),
        Some(Verdict::Abandoned) => visit.say("given up", "已放弃"),
    }
}

/// What a version is now.
pub fn role(model: &Model, champion: Option<&Model>, shadow: Option<Version>) -> &'static str {
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
