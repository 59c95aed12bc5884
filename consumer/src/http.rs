//! Predictions for people who wait, beside health and metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use classifier::{Classes, Truncation};
use serde::{Deserialize, Serialize};
use service::http::{MAX_BODY_BYTES, Monitored, refusal};
use tokio::sync::oneshot;

use crate::health::Health;
use crate::metrics::{Code, Metrics};
use crate::predict::{Answer, NoAnswer, PredictJob, Queue};

/// Texts of one request.
const MAX_TEXTS: usize = 64;

#[derive(Clone)]
pub(crate) struct Service {
    pub predict: Queue,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
}

/// The routes.
pub(crate) fn router(service: Service) -> Router {
    // Before the one that every service has.
    let live = Router::new().route("/health/live", get(live)).with_state(service.clone());
    live.fallback_service(service::http::router(Router::new().route("/predict", post(predict)), service))
}

/// A thread that hangs does not come back by itself: whoever watches is to start the consumer
/// again.
async fn live(State(service): State<Service>) -> Response {
    match service.health.inference_thread.problem() {
        Some(problem) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("the inference thread: {problem}\n")).into_response()
        }
        None => "live\n".into_response(),
    }
}

impl Monitored for Service {
    fn problems(&self) -> Vec<(&'static str, Option<String>)> {
        self.health.problems().into()
    }

    fn remarks(&self) -> Vec<(&'static str, String)> {
        let fallback = self.health.fallback.get();
        fallback.map(|reason| ("device", format!("the model runs on the CPU: {reason}"))).into_iter().collect()
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
    let place = service.predict.place(&texts).ok_or(Refusal::Overloaded)?;
    let (reply, answer) = oneshot::channel();
    let job = PredictJob { texts, truncation: Truncation::Right, raw: false, reply, _place: place };
    if !service.predict.send(job) {
        return Err(Refusal::Unhealthy("the consumer is stopping".to_owned()));
    }
    let answer = answer.await.map_err(|_| Refusal::Unhealthy("the model does not work at the moment".to_owned()))?;
    let Answer { classes, scores } = answer.map_err(|none| match none {
        NoAnswer::TooLong(tokens, most) => Refusal::TooLong(format!("{tokens} tokens, {most} allowed")),
        NoAnswer::Failed(error) => Refusal::Backend(format!("{error:#}")),
    })?;
    let mut scores: Vec<_> = scores.iter().map(|scores| sorted(&classes, scores)).collect();
    Ok(if several { Scores::Several(scores) } else { Scores::One(scores.remove(0)) })
}

fn sorted(classes: &Classes, scores: &[f32]) -> Vec<Scored> {
    let scored = scores.iter().zip(classes.names());
    let mut scored: Vec<_> = scored.map(|(&score, label)| Scored { label: label.clone(), score }).collect();
    scored.sort_by(|one, other| other.score.total_cmp(&one.score));
    scored
}

/// Why there is no prediction; the types are those of text-embeddings-inference.
enum Refusal {
    TooLarge,
    TooMany(usize),
    TooLong(String),
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
            Self::TooLong(error) => (StatusCode::PAYLOAD_TOO_LARGE, "validation", error),
            Self::Invalid(error) => (StatusCode::UNPROCESSABLE_ENTITY, "validation", error),
            Self::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "overloaded", "the model is overloaded".to_owned()),
            Self::Unhealthy(error) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", error),
            Self::Backend(error) => (StatusCode::FAILED_DEPENDENCY, "backend", error),
        };
        refusal(status, error_type, error)
    }
}
