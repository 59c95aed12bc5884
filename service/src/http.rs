//! The HTTP server of a service: health, metrics, and the routes that the service adds.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Bytes of one request.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// Requests that are being answered when the work ends have so long to end too.
const GRACE: Duration = Duration::from_secs(1);

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
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
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

/// A server that has its address and does not answer yet.
pub struct Server(TcpListener);

impl Server {
    /// Takes the address, so that a service that cannot have it ends before it begins.
    ///
    /// # Errors
    /// An address that is taken or is not this machine's.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        Ok(Self(TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?))
    }

    /// The address, with the port that the system chose if none was asked for.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }

    /// Answers while the work goes on, then ends: what is being answered is answered first.
    ///
    /// # Errors
    /// The work's; a server that ends by itself.
    pub async fn serve_during<T>(self, router: Router, work: impl Future<Output = Result<T>>) -> Result<T> {
        let stop = CancellationToken::new();
        let server = axum::serve(self.0, router).with_graceful_shutdown(stop.clone().cancelled_owned()).into_future();
        tokio::pin!(server);
        let done = tokio::select! {
            ended = &mut server => {
                ended?;
                anyhow::bail!("the HTTP server ended without being told to")
            }
            done = work => done,
        };
        stop.cancel();
        // Who has not got the answer by now will not wait for it.
        let _ = tokio::time::timeout(GRACE, server).await;
        done
    }
}
