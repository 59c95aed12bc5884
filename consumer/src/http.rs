//! Predictions for people who wait, beside health and metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use classifier::{Classes, Prediction};
use serde::{Deserialize, Serialize};
use service::http::{MAX_BODY_BYTES, Monitored, refusal};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

use crate::health::Health;
use crate::inference::{Answer, PredictJob};
use crate::metrics::{Code, Metrics};

/// Requests that wait for the model: beyond these, somebody is told to come back.
pub(crate) const PREDICT_QUEUE: usize = 32;
/// Texts of one request.
const MAX_TEXTS: usize = 64;

#[derive(Clone)]
pub(crate) struct Service {
    pub predict: mpsc::Sender<PredictJob>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
}

/// The routes.
pub(crate) fn router(service: Service) -> Router {
    service::http::router(Router::new().route("/predict", post(predict)), service)
}

impl Monitored for Service {
    fn problems(&self) -> Vec<(&'static str, Option<String>)> {
        self.health.problems().into()
    }

    fn remarks(&self) -> Vec<(&'static str, String)> {
        let fallback = self.health.fallback.get();
        let fallback = fallback.map(|reason| ("device", format!("the model runs on the CPU: {reason}")));
        fallback.into_iter().chain(self.health.partitions.remark().map(|halted| ("halted", halted))).collect()
    }

    fn hung(&self) -> Vec<(&'static str, String)> {
        self.health.kafka_thread.problem().map(|how| ("the Kafka thread", how)).into_iter().collect()
    }

    fn metrics(&self) -> String {
        let Self { metrics, health, .. } = self;
        for (part, gauge) in [
            (&health.kafka, &metrics.kafka_up),
            (&health.database, &metrics.database_up),
            (&health.model, &metrics.model_up),
        ] {
            gauge.set(part.problem().is_none().into());
        }
        metrics.device_fallback.set(health.fallback.get().is_some().into());
        metrics.encode()
    }
}

/// One text or several, as text-embeddings-inference has it.
#[derive(Deserialize)]
struct Request {
    inputs: Inputs,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Inputs {
    One(String),
    Several(Vec<String>),
}

#[derive(Serialize)]
struct Scored {
    label: String,
    score: f32,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Scores {
    One(Vec<Scored>),
    Several(Vec<Vec<Scored>>),
}

async fn predict(State(service): State<Service>, request: Result<Json<Request>, JsonRejection>) -> Response {
    let answer = match request {
        Ok(Json(request)) => answer(&service, request.inputs).await,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Refusal::TooLarge),
        Err(rejection) => Err(Refusal::Invalid(rejection.body_text())),
    };
    let response = answer.map(Json).into_response();
    service.metrics.predict_requests.get_or_create(&Code { code: response.status().as_u16() }).inc();
    response
}

async fn answer(service: &Service, inputs: Inputs) -> Result<Scores, Refusal> {
    if let Some(problem) = service.health.model.problem() {
        return Err(Refusal::Unhealthy(problem));
    }
    let (texts, several) = match inputs {
        Inputs::One(text) => (vec![text], false),
        Inputs::Several(texts) => (texts, true),
    };
    if texts.len() > MAX_TEXTS {
        return Err(Refusal::TooMany(texts.len()));
    }
    if texts.is_empty() || texts.iter().any(|text| text.trim().is_empty()) {
        return Err(Refusal::Invalid("inputs must not be empty".to_owned()));
    }
    let (reply, answer) = oneshot::channel();
    service.predict.try_send(PredictJob { texts, reply }).map_err(|error| match error {
        TrySendError::Full(_) => Refusal::Overloaded,
        TrySendError::Closed(_) => Refusal::Unhealthy("the consumer is stopping".to_owned()),
    })?;
    let Answer { classes, predictions } = answer
        .await
        .map_err(|_| Refusal::Unhealthy("the model does not work at the moment".to_owned()))?
        .map_err(|error| Refusal::Backend(format!("{error:#}")))?;
    let mut scores: Vec<_> = predictions.into_iter().map(|prediction| sorted(&classes, &prediction)).collect();
    Ok(if several { Scores::Several(scores) } else { Scores::One(scores.remove(0)) })
}

fn sorted(classes: &Classes, prediction: &Prediction) -> Vec<Scored> {
    let scored = prediction.scores.iter().zip(classes.names());
    let mut scored: Vec<_> = scored.map(|(&score, label)| Scored { label: label.clone(), score }).collect();
    scored.sort_by(|one, other| other.score.total_cmp(&one.score));
    scored
}

/// Why there is no prediction; the types are those of text-embeddings-inference.
enum Refusal {
    TooLarge,
    TooMany(usize),
    Invalid(String),
    Overloaded,
    Unhealthy(String),
    Backend(String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error_type, error) = match self {
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "validation", format!("more than {MAX_BODY_BYTES} bytes"))
            }
            Self::TooMany(count) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "validation", format!("{count} inputs, {MAX_TEXTS} allowed"))
            }
            Self::Invalid(error) => (StatusCode::UNPROCESSABLE_ENTITY, "validation", error),
            Self::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "overloaded", "the model is overloaded".to_owned()),
            Self::Unhealthy(error) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", error),
            Self::Backend(error) => (StatusCode::FAILED_DEPENDENCY, "backend", error),
        };
        refusal(status, error_type, error)
    }
}
