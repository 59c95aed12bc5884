//! The HTTP server of a service: health, metrics, and the routes that the service adds.

mod access;
mod connections;
mod server;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;

pub use access::{AccessArguments, Token, unauthorized};
pub use server::{MAX_BODY_BYTES, Server};

/// What a service tells of itself.
pub trait Monitored: Clone + Send + Sync + 'static {
    /// The things that must work, each with what is wrong with it: all `None` means ready.
    fn problems(&self) -> Vec<(&'static str, Option<String>)>;

    /// What else `/health/ready` tells; it changes nothing about being ready.
    fn remarks(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// What hangs and does not come back by itself: the service is to be started again.
    fn hung(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The metrics as of now, see [`encode`].
    fn metrics(&self) -> String;
}

/// A service's own routes, and those that every service has: `/health/live`, `/health/ready` and
/// `/metrics`.
pub fn router<S: Monitored>(routes: Router<S>, service: S) -> Router {
    routes
        .route("/health/live", get(live::<S>))
        .route("/health/ready", get(ready::<S>))
        .route("/metrics", get(metrics::<S>))
        .with_state(service)
}

async fn live<S: Monitored>(State(service): State<S>) -> Response {
    let hung: Vec<String> = service.hung().into_iter().map(|(part, how)| format!("{part}: {how}\n")).collect();
    if hung.is_empty() {
        "live\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, hung.concat()).into_response()
    }
}

async fn ready<S: Monitored>(State(service): State<S>) -> Response {
    let problems = service.problems();
    let ready = problems.iter().all(|(_, problem)| problem.is_none());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let parts = problems.into_iter().map(|(part, problem)| (part, problem.unwrap_or_else(|| "ok".to_owned())));
    let parts = parts.chain(service.remarks()).map(|(part, state)| (part.to_owned(), state.into()));
    (status, Json(parts.collect::<serde_json::Map<_, _>>())).into_response()
}

async fn metrics<S: Monitored>(State(service): State<S>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], service.metrics()).into_response()
}

/// Metrics in the text format of OpenMetrics.
pub fn encode(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("a string takes any text");
    text
}

/// The answer to a request that is not done: a status, a type for programs, and an error for
/// people.
pub fn refusal(status: StatusCode, error_type: &str, error: impl ToString) -> Response {
    (status, Json(serde_json::json!({ "error": error.to_string(), "error_type": error_type }))).into_response()
}
