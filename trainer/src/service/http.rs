//! Labels from people's tools, beside health and metrics.

use std::sync::{Arc, OnceLock};

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use rows::spreadsheet::{ADVICE, is_shortened};
use serde::Deserialize;
use serde_json::json;
use service::http::{MAX_BODY_BYTES, Monitored, Token, refusal, unauthorized};
use store::{NewLabel, Store, StoreError};
use tokio::runtime::Handle;

use super::metrics::{ByCode, Metrics};

#[derive(Clone)]
pub(super) struct Service {
    token: Option<Token>,
    /// Where Postgres is written to: not the thread that serves HTTP.
    runtime: Handle,
    /// There once Postgres has answered for the first time.
    pub store: Arc<OnceLock<Store>>,
    metrics: Arc<Metrics>,
}

impl Service {
    /// Within the runtime that writes to Postgres.
    pub fn new(token: Option<Token>, metrics: Arc<Metrics>) -> Self {
        Self { token, runtime: Handle::current(), store: Arc::default(), metrics }
    }
}

/// The routes.
pub(super) fn router(service: Service) -> Router {
    service::http::router(Router::new().route("/labels", post(labels)), service)
}

impl Monitored for Service {
    fn problems(&self) -> Vec<(&'static str, Option<String>)> {
        vec![("database", self.metrics.problem())]
    }

    fn metrics(&self) -> String {
        self.metrics.encode()
    }
}

/// A label as a tool sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    review_id: Option<String>,
    text: Option<String>,
    label: String,
    labeled_by: Option<String>,
}

/// A request with the right token; extracted before the body is read.
struct Authorized;

impl FromRequestParts<Service> for Authorized {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Response> {
        let refused = match service.token {
            Some(token) if token.is_shown(&parts.headers) => return Ok(Self),
            Some(_) => unauthorized(),
            None => {
                let error = "this trainer was started without a token for labels";
                refusal(StatusCode::UNAUTHORIZED, "unauthorized", error)
            }
        };
        service.metrics.label_requests.get_or_create(&ByCode { code: refused.status().as_u16() }).inc();
        Err(refused)
    }
}

async fn labels(
    _: Authorized,
    State(service): State<Service>,
    labels: Result<Json<Vec<Sent>>, JsonRejection>,
) -> Response {
    let response = match labels {
        Ok(Json(labels)) => {
            let (runtime, service) = (service.runtime.clone(), service.clone());
            runtime.spawn(async move { add(&service, labels).await }).await.unwrap_or_else(|error| failed(&error))
        }
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("more than {MAX_BODY_BYTES} bytes"))
        }
        Err(rejection) => refusal(StatusCode::UNPROCESSABLE_ENTITY, "validation", rejection.body_text()),
    };
    service.metrics.label_requests.get_or_create(&ByCode { code: response.status().as_u16() }).inc();
    response
}

/// All of them, or none.
async fn add(service: &Service, labels: Vec<Sent>) -> Response {
    let invalid = |error: &str| refusal(StatusCode::UNPROCESSABLE_ENTITY, "validation", error);
    let texts = |label: &Sent| [label.review_id.clone(), label.text.clone(), label.labeled_by.clone()];
    if labels.iter().flat_map(texts).flatten().any(|text| text.contains('\0')) {
        return invalid("Postgres holds no NUL");
    }
    if labels.iter().any(|label| label.text.as_deref().is_some_and(|text| text.trim().is_empty())) {
        return invalid("a text must not be empty");
    }
    let ids = labels.iter().filter_map(|label| label.review_id.as_deref());
    if let Some(id) = ids.into_iter().find(|id| is_shortened(id)) {
        return invalid(&format!("the review id {id:?}: {ADVICE}"));
    }
    let Some(store) = service.store.get() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "not connected to Postgres yet");
    };
    let labels: Vec<NewLabel> = labels.into_iter().map(new_label).collect();
    match store.add_labels(&labels).await {
        Ok(added) => {
            service.metrics.labels_received.inc_by(added);
            Json(json!({ "added": added })).into_response()
        }
        Err(error) => refused(&error),
    }
}

fn new_label(sent: Sent) -> NewLabel {
    NewLabel {
        review_id: sent.review_id,
        text: sent.text,
        label: sent.label,
        labeled_by: Some(sent.labeled_by.unwrap_or_else(|| "http".to_owned())),
        labeled_at: None,
        source: "http".to_owned(),
    }
}

fn refused(error: &StoreError) -> Response {
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    match error {
        StoreError::UnknownLabel { label, known } => {
            let body = json!({
                "error": error.to_string(), "error_type": "unknown_label", "label": label, "known_labels": known,
            });
            (unprocessable, Json(body)).into_response()
        }
        StoreError::NoSuchReview(_) | StoreError::OtherText { .. } | StoreError::BadLabel(_) => {
            refusal(unprocessable, "validation", error)
        }
        error if error.is_transient() => refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error),
        error => failed(error),
    }
}

fn failed(error: &impl std::fmt::Display) -> Response {
    tracing::error!(%error, "labels could not be added");
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the labels could not be added; the trainer's log says why")
}
