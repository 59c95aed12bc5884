//! The server: on a thread of its own, so that it answers whatever the service does, and with limits
//! to what a client may take.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::access::{Access, AccessArguments, is_health, unauthorized};
use super::connections::{Connection, Connections, Place};
use super::refusal;
use crate::thread;

/// Bytes of one request.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Bytes of a request's first line and headers.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// Memory for the bodies of all requests.
const BODIES: usize = 64 * MAX_BODY_BYTES;
/// Bytes that a client may send in vain after its answer.
const MAX_LINGER_BYTES: u64 = 64 << 20;
/// Requests that are being answered when the work ends have so long to end too.
const GRACE: Duration = Duration::from_secs(1);
/// Where the system has no files left, it is asked again after so long.
const NO_FILES: Duration = Duration::from_millis(50);

/// A server that has its address and does not answer yet.
pub struct Server {
    listener: TcpListener,
    access: Access,
}

impl Server {
    /// Takes the address, so that a service that cannot have it ends before it begins.
    ///
    /// # Errors
    /// An address that is taken or is not this machine's; one beyond loopback without a token and
    /// without the word that none is needed.
    pub fn bind(address: SocketAddr, access: &AccessArguments) -> Result<Self> {
        let access = access.at(address)?;
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, access })
    }

    /// The address, with the port that the system chose if none was asked for.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Answers while the work goes on, then ends: what is being answered is answered first.
    ///
    /// # Errors
    /// The work's; a server that ends by itself.
    pub async fn serve_during<T>(self, router: Router, work: impl Future<Output = Result<T>>) -> Result<T> {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let server = thread("http", None, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let served = runtime.block_on(self.serve(router, stopped));
            runtime.shutdown_background();
            served
        })?;
        tokio::pin!(server);
        let done = tokio::select! {
            ended = &mut server => {
                ended?;
                bail!("the HTTP server ended without being told to")
            }
            done = work => done,
        };
        stop.cancel();
        // Who has not got the answer by now will not wait for it.
        let _ = tokio::time::timeout(GRACE, server).await;
        done
    }

    async fn serve(self, router: Router, stop: CancellationToken) -> Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let connections = Arc::new(Connections::new());
        let door = Arc::new(Door { access: self.access, router, bodies: Semaphore::new(BODIES), stop: stop.clone() });
        let mut open = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = open.join_next() => continue,
                () = stop.cancelled() => break,
            };
            match accepted {
                // Where there is no place it is closed at once.
                Ok((stream, _)) => {
                    if let Some(place) = connections.add() {
                        open.spawn(door.clone().admit(stream, place));
                    }
                }
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                // There are no files left.
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    connections.close_one();
                    tokio::time::sleep(NO_FILES).await;
                }
            }
        }
        drop(listener);
        while open.join_next().await.is_some() {}
        Ok(())
    }
}

/// What every request passes on its way to the routes.
struct Door {
    access: Access,
    router: Router,
    bodies: Semaphore,
    stop: CancellationToken,
}

impl Door {
    async fn admit(self: Arc<Self>, stream: TcpStream, place: Place) {
        let (connection, for_health) = (place.connection.clone(), place.for_health);
        let service = service_fn(|request| {
            let (door, connection) = (self.clone(), connection.clone());
            Box::pin(async move { Ok::<_, Infallible>(door.answer(request, &connection, for_health).await) })
        });
        let mut serving =
            http1::Builder::new().max_buf_size(MAX_HEADER_BYTES).serve_connection(TokioIo::new(stream), service);
        let is_stopping = tokio::select! {
            // How a client ends is its own affair.
            ended = poll_fn(|context| serving.poll_without_shutdown(context)) => match ended {
                Ok(()) => false,
                Err(_) => return,
            },
            () = connection.overdue() => return,
            () = connection.closed.cancelled() => return,
            () = self.stop.cancelled() => true,
        };
        if is_stopping {
            Pin::new(&mut serving).graceful_shutdown();
            let _ = serving.await;
            return;
        }
        tokio::select! {
            () = linger(serving.into_parts().io.into_inner()) => {}
            () = connection.overdue() => {}
            () = connection.closed.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn answer(&self, request: Request<Incoming>, connection: &Connection, for_health: bool) -> Response {
        connection.waits();
        let answer = if is_health(&request) {
            // Whatever stands in its body.
            self.route(request.map(|_| Body::empty()), connection).await
        } else if for_health {
            let why = "too many requests are being answered";
            let mut refused = refusal(StatusCode::TOO_MANY_REQUESTS, "overloaded", why);
            // The next connection may have a place.
            refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            refused
        } else if !self.access.allows(&request) {
            unauthorized()
        } else {
            self.pass(request, connection).await
        };
        connection.waits();
        answer
    }

    async fn pass(&self, request: Request<Incoming>, connection: &Connection) -> Response {
        let too_large = || {
            let error = format!("a body of more than {MAX_BODY_BYTES} bytes");
            refusal(StatusCode::PAYLOAD_TOO_LARGE, "validation", error)
        };
        let length =
            request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length = length.unwrap_or(if request.body().is_end_stream() { 0 } else { MAX_BODY_BYTES });
        if length > MAX_BODY_BYTES {
            return too_large();
        }
        let bytes = u32::try_from(length).expect("it is less than the limit");
        let _held = self.bodies.acquire_many(bytes).await.expect("it is never closed");
        let (head, body) = request.into_parts();
        let Ok(body) = to_bytes(Body::new(body), MAX_BODY_BYTES).await else { return too_large() };
        self.route(Request::from_parts(head, Body::from(body)), connection).await
    }

    async fn route(&self, request: Request<Body>, connection: &Connection) -> Response {
        connection.answers();
        let Ok(response) = TowerToHyperService::new(self.router.clone()).call(request).await;
        response
    }
}

/// Reads to its end what a client still sends. Closing before it would take the answer from one that
/// was refused amid its request: the system drops what was not read yet, the answer too.
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let _ = tokio::io::copy(&mut stream.take(MAX_LINGER_BYTES), &mut tokio::io::sink()).await;
    }
}

#[cfg(test)]
mod tests;
