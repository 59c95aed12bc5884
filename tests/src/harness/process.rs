//! A service as a process.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::programs::program;
use super::until;

/// A running `consumer` or `trainer`. Dropping it kills it.
pub struct Service {
    name: &'static str,
    child: Child,
    log: PathBuf,
    http: String,
}

impl Service {
    /// Starts the program of this name with these arguments; its output goes to `log`.
    pub fn start(name: &'static str, arguments: &[String], log: PathBuf) -> Self {
        let port = stack::free_port().expect("a port is free");
        let output = File::options().create(true).append(true).open(&log).expect("the log can be written");
        let child = program(name)
            .args(arguments)
            .args(["--http", &format!("127.0.0.1:{port}")])
            .stdout(output.try_clone().expect("a file can be shared"))
            .stderr(output)
            .stdin(Stdio::null())
            .spawn()
            .expect("the service can be run");
        Self { name, child, log, http: format!("http://127.0.0.1:{port}") }
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("the service can be signalled");
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        self.child.wait().expect("a child can be waited for");
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Waits for its end and returns the exit code; `None` where a signal ended it.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        until(&format!("the {}'s end", self.name), async || {
            status = self.ended();
            status.is_some()
        })
        .await;
        status.and_then(|status| status.code())
    }

    /// Waits until it says that it serves.
    pub async fn until_ready(&mut self) {
        until(&format!("a ready {}", self.name), async || {
            assert!(self.ended().is_none(), "the {} ended:\n{}", self.name, self.log());
            self.get("/health/ready").0 == 200
        })
        .await;
    }

    /// Waits until its output contains `text`.
    pub async fn until_it_says(&mut self, text: &str) {
        until(&format!("a {} that says {text:?}", self.name), async || self.log().contains(text)).await;
    }

    /// Status and body of a page; status 0 where nobody answers.
    pub fn get(&self, path: &str) -> (u16, String) {
        answer(agent().get(format!("{}{path}", self.http)).call())
    }

    /// Status and body of a POST with a JSON body.
    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        let request = agent().post(format!("{}{path}", self.http)).content_type("application/json");
        answer(request.send(body))
    }

    /// Status and parsed body of `POST /predict`.
    pub fn predict(&self, body: &Value) -> (u16, Value) {
        let (status, body) = self.post("/predict", &body.to_string());
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// A metric, summed over its labels; zero where it has no sample.
    pub fn metric(&self, name: &str) -> f64 {
        self.metric_where(name, "")
    }

    /// The same, over those samples whose line contains `label`, as in `reason="not_json"`.
    pub fn metric_where(&self, name: &str, label: &str) -> f64 {
        let (_, page) = self.get("/metrics");
        let samples = page
            .lines()
            .filter(|line| line.contains(label))
            .filter_map(|line| line.split_once([' ', '{']).map(|(found, _)| (found, line)));
        samples
            .filter(|(found, _)| *found == name)
            .filter_map(|(_, line)| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the log of the {} ---\n{}", self.name, self.log());
        }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into()
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, String) {
    match response {
        Ok(mut response) => (response.status().as_u16(), response.body_mut().read_to_string().unwrap_or_default()),
        Err(error) => (0, error.to_string()),
    }
}
