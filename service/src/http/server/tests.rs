//! A real server, and clients that behave badly.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use axum::routing::{get, post};

use super::*;

/// A server with two routes, until it is dropped.
struct Running {
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    work: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Beside work that blocks its own runtime.
    fn start() -> Self {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), &AccessArguments::default()).unwrap();
        let address = server.address().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let router = Router::new()
            .route("/health/live", get(|| async { "live" }))
            .route("/length", post(|body: String| async move { body.len().to_string() }));
        let work = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let work = async {
                _ = stopped.blocking_recv_here();
                Ok(())
            };
            runtime.block_on(server.serve_during(router, work)).unwrap();
        });
        Self { address, stop: Some(stop), work: Some(work) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// The answer to these bytes, up to the end of the connection.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // The headers' limit closes at once.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    fn is_alive(&self) -> bool {
        self.ask("GET /health/live HTTP/1.0\r\n\r\n").ends_with("live")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.work.take().unwrap().join().unwrap();
    }
}

/// Blocks the thread, which async code must not: here that is the point.
trait BlockingHere {
    fn blocking_recv_here(self) -> bool;
}

impl BlockingHere for tokio::sync::oneshot::Receiver<()> {
    fn blocking_recv_here(mut self) -> bool {
        while let Err(tokio::sync::oneshot::error::TryRecvError::Empty) = self.try_recv() {
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

#[test]
fn health_answers_beside_a_flood_of_half_requests_and_a_service_that_is_blocked() {
    let server = Running::start();
    assert!(server.is_alive());
    // More than there are places for.
    let flood: Vec<_> = (0..700)
        .map(|index| {
            let mut stream = server.connect();
            let half = if index % 2 == 0 {
                "GET /health/live HT"
            } else {
                "POST /length HTTP/1.1\r\ncontent-length: 9\r\n\r\nab"
            };
            // It may be closed again already.
            let _ = stream.write_all(half.as_bytes());
            stream
        })
        .collect();
    assert!(server.is_alive());
    drop(flood);
}

#[test]
fn a_client_that_sends_its_request_too_slowly_is_left() {
    let server = Running::start();
    let started = Instant::now();
    let slow =
        ["GET /health/live HT", "POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab", ""].map(|half| {
            let mut stream = server.connect();
            stream.write_all(half.as_bytes()).unwrap();
            stream
        });
    for mut stream in slow {
        let _ = stream.read_to_string(&mut String::new());
    }
    assert!(started.elapsed() < Duration::from_secs(29), "left before this client lost its patience");
}

#[test]
fn bodies_that_never_come_take_no_room_where_health_is_asked() {
    let server = Running::start();
    let post = "POST /health/live HTTP/1.1\r\nhost: a\r\ncontent-length: 1048576\r\n\r\na";
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(post.as_bytes()).unwrap();
            stream
        })
        .collect();
    let asked = Instant::now();
    let request = "POST /length HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
    assert!(server.ask(request).ends_with('3'));
    assert!(asked.elapsed() < Duration::from_secs(10), "it waited for the others to be given up");
    drop(slow);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let server = Running::start();
    let post = |headers: &str, body: &str| {
        server.ask(&format!("POST /length HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n\r\n{body}"))
    };
    assert!(post("content-length: 3", "abc").ends_with('3'));
    assert!(post("transfer-encoding: chunked", "3\r\nabc\r\n0\r\n\r\n").ends_with('3'));
    let refused = post("content-length: 1048577", "");
    assert!(refused.starts_with("HTTP/1.1 413") && refused.contains("validation"), "{refused}");
    let chunk = format!("80000\r\n{}\r\n", "a".repeat(0x80000));
    let refused = post("transfer-encoding: chunked", &format!("{chunk}{chunk}1\r\na\r\n0\r\n\r\n"));
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    for client_reads_only_when_it_has_sent_all in 0..5 {
        let body = "a".repeat(8 << 20);
        let refused = post(&format!("content-length: {}", body.len()), &body);
        assert!(refused.starts_with("HTTP/1.1 413"), "{client_reads_only_when_it_has_sent_all}: {refused}");
    }
    let long = server.ask(&format!("GET /health/live HTTP/1.1\r\nlong: {}\r\n\r\n", "a".repeat(20_000)));
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 431"), "{long}");
    assert!(server.is_alive());
}
