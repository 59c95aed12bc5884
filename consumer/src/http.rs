//! Predictions for people who wait, beside health and metrics.

mod api;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use service::http::{MAX_BODY_BYTES, Monitored};
use tokio::sync::oneshot;
use utoipa::OpenApi as _;

use crate::health::Health;
use crate::metrics::{Code, Metrics};
use crate::predict::{Answer, NoAnswer, PredictJob, Queue};
use api::{Document, ErrorResponse, ErrorType, Info, Request, Scores, Wrong};

/// Texts of one request.
const MAX_TEXTS: usize = 64;

#[derive(Clone)]
pub(crate) struct Service {
    pub predict: Queue,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    /// Tokens of one forward pass over requests, at most.
    pub max_pass_tokens: usize,
}

/// The routes. All of them stand in the OpenAPI document too.
pub(crate) fn router(service: Service) -> Router {
    let routes = Router::new()
        .route("/predict", post(predict))
        .route("/info", get(info))
        .route("/docs", get(docs))
        .route("/api-doc/openapi.json", get(openapi));
    service::http::router(routes, service)
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
        let Health { kafka_thread, inference_thread, .. } = &*self.health;
        let threads = [("the Kafka thread", kafka_thread), ("the inference thread", inference_thread)];
        threads.into_iter().filter_map(|(name, thread)| Some((name, thread.problem()?))).collect()
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

/// Labels texts.
///
/// Texts of several requests are labeled together. While the stream has records to label, requests
/// get the share of the model's time that `--predict-share` says.
#[utoipa::path(post, path = "/predict", request_body = Request, responses(
    (status = 200, description = "The score of each class, the likeliest first", body = Scores),
    (status = 400, description = "A text is empty", body = ErrorResponse),
    (status = 413, description = "Too many texts, or a text that is too long and not to be truncated", body = ErrorResponse),
    (status = 422, description = "Not a request, a pair of texts, an unknown field", body = ErrorResponse),
    (status = 424, description = "The model fails at these texts", body = ErrorResponse),
    (status = 429, description = "Too many requests wait already", body = ErrorResponse),
    (status = 503, description = "No model works at the moment", body = ErrorResponse),
))]
async fn predict(State(service): State<Service>, request: Result<Json<Request>, JsonRejection>) -> Response {
    let started = Instant::now();
    let answer = match request {
        Ok(Json(request)) => answer(&service, request).await,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(Refusal::TooLarge(format!("more than {MAX_BODY_BYTES} bytes")))
        }
        Err(rejection) => Err(Refusal::Invalid(rejection.body_text())),
    };
    let response = answer.map(Json).into_response();
    service.metrics.predict_requests.get_or_create(&Code { code: response.status().as_u16() }).inc();
    service.metrics.predict_seconds.observe(started.elapsed().as_secs_f64());
    response
}

async fn answer(service: &Service, request: Request) -> Result<Scores, Refusal> {
    if let Some(problem) = service.health.model.problem() {
        return Err(Refusal::Unhealthy(problem));
    }
    let (truncation, raw) = (request.truncation(), request.raw_scores);
    let (texts, is_batch) = request.inputs.texts()?;
    let place = service.predict.place(&texts).ok_or(Refusal::Overloaded)?;
    let (reply, answer) = oneshot::channel();
    if !service.predict.send(PredictJob { texts, truncation, raw, reply, _place: place }) {
        return Err(Refusal::Unhealthy("the consumer is stopping".to_owned()));
    }
    let answer = answer.await.map_err(|_| Refusal::Unhealthy("the model does not work at the moment".to_owned()))?;
    let Answer { classes, scores } = answer?;
    Ok(Scores::of(&classes, &scores, is_batch))
}

/// The model that serves, and the limits of requests.
#[utoipa::path(get, path = "/info", responses(
    (status = 200, description = "As text-embeddings-inference has it", body = Info),
    (status = 503, description = "No model serves yet", body = ErrorResponse),
))]
async fn info(State(service): State<Service>) -> Response {
    let serves = service.health.serves.lock().expect("no holder panics").clone();
    match serves {
        Some(facts) => Json(Info::new(&facts, service.max_pass_tokens)).into_response(),
        None => Refusal::Unhealthy("waiting for a champion".to_owned()).into_response(),
    }
}

/// This document.
#[utoipa::path(get, path = "/docs", responses((status = 200, description = "OpenAPI, as JSON", body = serde_json::Value)))]
async fn docs() -> Response {
    Json(Document::openapi()).into_response()
}

/// This document.
#[utoipa::path(get, path = "/api-doc/openapi.json", responses((status = 200, description = "OpenAPI, as JSON", body = serde_json::Value)))]
async fn openapi() -> Response {
    docs().await
}

/// Why there is no prediction; statuses and types are those of text-embeddings-inference.
enum Refusal {
    Empty,
    TooLarge(String),
    Invalid(String),
    Overloaded,
    Unhealthy(String),
    Backend(String),
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Form(error) => Self::Invalid(error),
            Wrong::Empty => Self::Empty,
            Wrong::TooMany(count) => {
                Self::TooLarge(format!("batch size {count} > maximum allowed batch size {MAX_TEXTS}"))
            }
        }
    }
}

impl From<NoAnswer> for Refusal {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::TooLong(tokens, most) => {
                Self::TooLarge(format!("`inputs` must have less than {most} tokens. Given: {tokens}"))
            }
            NoAnswer::Failed(error) => Self::Backend(format!("{error:#}")),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error_type, error) = match self {
            Self::Empty => (StatusCode::BAD_REQUEST, ErrorType::Empty, "`inputs` cannot be empty".to_owned()),
            Self::TooLarge(error) => (StatusCode::PAYLOAD_TOO_LARGE, ErrorType::Validation, error),
            Self::Invalid(error) => (StatusCode::UNPROCESSABLE_ENTITY, ErrorType::Validation, error),
            Self::Overloaded => {
                (StatusCode::TOO_MANY_REQUESTS, ErrorType::Overloaded, "the model is overloaded".to_owned())
            }
            Self::Unhealthy(error) => (StatusCode::SERVICE_UNAVAILABLE, ErrorType::Unhealthy, error),
            Self::Backend(error) => (StatusCode::FAILED_DEPENDENCY, ErrorType::Backend, error),
        };
        (status, Json(ErrorResponse { error, error_type })).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::Heartbeat;

    #[test]
    fn a_loop_that_does_not_go_round_is_named() {
        let (kafka_thread, inference_thread) = (Heartbeat::new(Duration::ZERO), Heartbeat::new(Duration::MAX));
        let health = Arc::new(Health { kafka_thread, inference_thread, ..Health::new() });
        let (predict, _jobs) = Queue::new();
        let service = Service { predict, metrics: Arc::new(Metrics::new()), health, max_pass_tokens: 1 };
        assert!(service.hung().is_empty(), "neither has begun");
        service.health.kafka_thread.beat();
        service.health.inference_thread.beat();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(service.hung().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["the Kafka thread"]);
    }
}
